"""What breaks a constraint is told with the rows that do, and only what was asked for is looked at."""

import re

import pytest

from dbt.adapters.lakehouse.errors import ConfigError, ConstraintViolated
from dbt.adapters.lakehouse.tables import offenders, rows, writer
from dbt.adapters.lakehouse.tables.values import Constraints, ForeignKey

ORDERS = "SELECT i AS id, 'c' || (i % 3) AS color, i * 10 AS price FROM range(10) r(i)"


def broken(lake, query, **wanted):
    with pytest.raises(ConstraintViolated) as caught:
        writer.create(lake.con, query, lake.spec(constraints=Constraints(table="shop.orders", **wanted)))
    assert not lake.files()
    return str(caught.value)


def test_rows_without_a_value(lake):
    query = "SELECT i AS id, CASE WHEN i % 2 = 0 THEN 'red' END AS color FROM range(20) r(i)"
    said = broken(lake, query, not_null=("color",), names=(("not_null color", "has_color"),))
    assert said.splitlines() == [
        "NOT NULL constraint failed: shop.orders.color (has_color) is null in 10 rows, 5 of them:",
        "  color | id",
        "  ------+---",
        "  NULL  | 1",
        "  NULL  | 3",
        "  NULL  | 5",
        "  NULL  | 7",
        "  NULL  | 9",
    ]


def test_rows_for_which_a_check_is_false(lake):
    said = broken(lake, ORDERS, primary_key=("id",), checks=(("cheap", '"PRICE" < 80 -- not too much'),))
    assert said.splitlines() == [
        'CHECK constraint failed: shop.orders: cheap ("PRICE" < 80 -- not too much) is false in 2 rows:',
        "  price | id | color",
        "  ------+----+------",
        "  80    | 8  | c2",
        "  90    | 9  | c0",
    ]


def test_values_that_rows_share(lake):
    said = broken(lake, ORDERS, unique=(("color",),), names=(("unique color", "one_each"),))
    assert said.splitlines()[0] == (
        "UNIQUE constraint failed: shop.orders.color (one_each): 10 rows share 3 values; let the model give each once:"
    )
    assert [line.split() for line in said.splitlines()[1:]] == [
        ["color", "|", "rows"],
        ["------+-----"],
        ["c0", "|", "4"],
        ["c1", "|", "3"],
        ["c2", "|", "3"],
    ]


def test_a_set_of_columns_that_has_a_column_called_like_the_count(lake):
    said = broken(lake, "SELECT 1 AS n, 2 AS n_ FROM range(2)", unique=(("n", "n_"),))
    assert "shop.orders.n, shop.orders.n_: 2 rows share 1 value" in said


def test_keys_that_the_other_relation_does_not_have(lake):
    lake.con.execute("CREATE TABLE parents AS SELECT i AS pid, i AS other FROM range(8) r(i) UNION ALL SELECT NULL, 3")
    key = ForeignKey(columns=("id",), relation="parents", to=("pid",))
    said = broken(lake, ORDERS, foreign=(key,), names=(("foreign_key id", "known"),))
    assert said.splitlines()[0] == (
        "FOREIGN KEY constraint failed: shop.orders.id (known) is not in parents (pid) in 2 rows:"
    )
    assert [line.split()[0] for line in said.splitlines()[3:]] == ["8", "9"]
    two = ForeignKey(columns=("id", "price"), relation="parents", to=("pid", "other"))
    assert "in 9 rows, 5 of them:" in broken(lake, ORDERS, foreign=(two,))
    fits = "SELECT NULL::INT AS id, 1 AS price UNION ALL SELECT 7, 7"
    made = writer.create(lake.con, fits, lake.spec(constraints=Constraints(foreign=(key, two))))
    assert made.rows == 2


def test_a_table_that_refers_to_itself(lake):
    key = Constraints(foreign=(ForeignKey(columns=("boss",), relation="", to=("id",)),), table="shop.people")
    tree = "SELECT * FROM (VALUES (1, NULL), (2, 1), (3, 2)) AS t(id, boss)"
    made = writer.create(lake.con, tree, lake.spec(constraints=key))
    more = "SELECT 4 AS id, 3 AS boss UNION ALL SELECT 5, 9"
    with pytest.raises(ConstraintViolated, match=r"shop\.people\.boss is not in shop\.people \(id\) in 1 row"):
        writer.append(lake.con, more, made.metadata_location, constraints=key)
    assert writer.append(lake.con, f"{more} LIMIT 1", made.metadata_location, constraints=key).rows == 4


def test_only_new_rows_are_shown_of_a_table_that_had_rows(lake):
    free = writer.create(lake.con, ORDERS, lake.spec())
    wanted = Constraints(checks=(("", "price < 50"),), not_null=("color",))
    with pytest.raises(ConstraintViolated, match="is false in 1 row:"):
        writer.append(lake.con, "SELECT 1 AS id, 'x' AS color, 51 AS price", free.metadata_location, constraints=wanted)
    with pytest.raises(ConstraintViolated, match=r"orders\.color is null in 2 rows:"):
        rows.patch(
            lake.con,
            free.metadata_location,
            matching="id < 2",
            edit=lambda name: lake.con.execute(f"UPDATE {name} SET color = NULL"),
            constraints=wanted,
        )


def test_values_that_no_terminal_should_be_given(lake):
    query = r"""SELECT e'\x1b[31mred\n' || chr(8238) || 'x' AS a, repeat('ä', 100) AS b, '\x00\xFF'::BLOB AS c,
        NULL::INT AS d, '日本' AS e, [1, 2] AS f, {'x': timestamp '290000-01-01'} AS g, 1 AS h"""
    said = broken(lake, query, not_null=("d",))
    assert all(line.isprintable() for line in said.splitlines())
    head, bar, row = said.splitlines()[1:]
    assert head.split(" | ")[-1] == "… 2 more"
    assert r"\x1b[31mred\n\u202ex" in row
    assert "…" in row
    assert "日本" in row
    assert len(bar) < 180


def test_columns_of_a_wide_table_that_matter_come_first(lake):
    query = f"SELECT {', '.join(f'{i} AS c{i}' for i in range(1600))}"
    said = broken(lake, query, checks=(("", "c1599 < c1000"),))
    assert re.findall(r"\w+", said.splitlines()[1])[:2] == ["c1000", "c1599"]
    assert said.splitlines()[1].endswith("… 1594 more")


def test_an_expression_that_does_not_fit_the_columns(lake):
    wanted = Constraints(checks=(("", "id > 0"), ("odd", "prize > 0")), table="shop.orders")
    with pytest.raises(ConfigError, match=r"check constraint 'prize > 0' of shop\.orders does not fit its columns"):
        writer.create(lake.con, ORDERS, lake.spec(constraints=wanted))
    assert not lake.files()


def test_a_table_of_nothing_but_a_head():
    assert offenders.as_table(["a", "b"], []) == "\n  a | b\n  --+--"
