from __future__ import annotations

from types import SimpleNamespace

import pytest
from pyiceberg.table import StaticTable

from dbt.adapters.lakehouse.errors import ConfigError, ConstraintViolated, SchemaMismatch
from dbt.adapters.lakehouse.tables import evolve, reader, writer
from dbt.adapters.lakehouse.tables.values import Constraints


@pytest.fixture
def base(lake):
    query = "SELECT 1 AS id, 'x' AS name, 1.5::DECIMAL(4,1) AS price, 'a'::ENUM('a') AS kind"
    return writer.create(lake.con, query, lake.spec(sort_by=("id",))).metadata_location


def both(lake, written):
    """Rows as we read them; pyiceberg must see as many rows and the same columns."""
    arrow = StaticTable.from_metadata(written.metadata_location).scan().to_arrow()
    found = lake.rows(written)
    assert arrow.num_rows == len(found)
    assert arrow.column_names == [c.name for c in written.columns]
    return found


def test_add_a_nested_column(lake, base):
    written = evolve.add_column(lake.con, base, "extra", "STRUCT(a INTEGER, b ENUM('u', 'v')[])")
    assert both(lake, written)[0][-1] is None
    assert written.columns[-1].type == "STRUCT(\"a\" INTEGER, \"b\" ENUM('u', 'v')[])"
    assert written.snapshot_id == reader.describe(base).snapshot_id
    query = "SELECT 2 AS id, 'y' AS name, 2 AS price, 'a' AS kind, {'a': 1, 'b': ['v']} AS extra"
    assert both(lake, writer.append(lake.con, query, written.metadata_location))[1][-1] == {"a": 1, "b": ["v"]}


def test_drop_add_again_and_rename(lake, base):
    dropped = evolve.drop_column(base, "NAME")
    assert [c.name for c in dropped.columns] == ["id", "price", "kind"]
    again = evolve.add_column(lake.con, dropped.metadata_location, "name", "VARCHAR")
    assert both(lake, again)[0][-1] is None
    renamed = evolve.rename_column(again.metadata_location, "kind", "sort of")
    assert lake.con.execute(
        f'SELECT "sort of", typeof("sort of") FROM ({reader.select_sql(renamed.metadata_location)})'
    ).fetchone() == ("a", "ENUM('a')")
    assert lake.rows(base)[0][:2] == (1, "x")


def test_wider_types(lake, base):
    written = evolve.change_type(lake.con, base, "ID", "BIGINT")
    written = evolve.change_type(lake.con, written.metadata_location, "price", "DECIMAL(10,1)")
    assert [c.type for c in written.columns][:3] == ["BIGINT", "VARCHAR", "DECIMAL(10,1)"]
    assert len(both(lake, written)) == 1
    assert evolve.change_type(lake.con, written.metadata_location, "id", "BIGINT") == written


@pytest.mark.parametrize(
    ("column", "kind"), [("id", "VARCHAR"), ("price", "DECIMAL(10,2)"), ("id", "HUGEINT"), ("kind", "VARCHAR")]
)
def test_other_types_need_a_rewrite(lake, base, column, kind):
    with pytest.raises(SchemaMismatch, match="without rewriting the table"):
        evolve.change_type(lake.con, base, column, kind)


def test_not_null(lake, base):
    written = evolve.set_not_null(lake.con, base, "Name")
    assert [c.required for c in written.columns] == [False, True, False, False]
    with pytest.raises(ConstraintViolated):
        writer.append(lake.con, "SELECT 1 AS id", written.metadata_location, columns=["id"])
    relaxed = evolve.drop_not_null(written.metadata_location, "name")
    with_null = writer.append(lake.con, "SELECT 1 AS id", relaxed.metadata_location, columns=["id"])
    with pytest.raises(ConstraintViolated, match="name is null in 1 rows"):
        evolve.set_not_null(lake.con, with_null.metadata_location, "name")


def test_dropping_a_key_column_that_is_required_keeps_the_rest(lake):
    spec = lake.spec(constraints=Constraints(primary_key=("a", "b")))
    table = writer.create(lake.con, "SELECT 1 AS a, 2 AS b, 3 AS c", spec)
    written = evolve.drop_column(table.metadata_location, "b")
    assert StaticTable.from_metadata(written.metadata_location).schema().identifier_field_ids == [1]


def test_comments_and_properties(lake, base):
    written = evolve.set_comments(base, table="all of it", columns={"ID": "key", "name": None})
    assert written.comment == "all of it"
    assert written.columns[0].comment == "key"
    written = evolve.set_properties(written.metadata_location, {"owner": "me"}, remove=["comment"])
    assert written.comment is None
    assert StaticTable.from_metadata(written.metadata_location).properties["owner"] == "me"
    assert both(lake, written)
    assert "schema = MAP" not in reader.select_sql(written.metadata_location)
    with pytest.raises(ConfigError, match=r"gc\.enabled"):
        evolve.set_properties(base, {"gc.enabled": "true"})


def test_what_cannot_be(lake, base):
    with pytest.raises(SchemaMismatch, match="no column 'nope'; its columns are id, name"):
        evolve.drop_column(base, "nope")
    with pytest.raises(SchemaMismatch, match="already"):
        evolve.add_column(lake.con, base, "Name", "INTEGER")
    with pytest.raises(SchemaMismatch, match="taken"):
        evolve.rename_column(base, "id", "NAME")
    with pytest.raises(SchemaMismatch, match="cannot have type"):
        evolve.add_column(lake.con, base, "x", "NOPE")
    partitioned = writer.create(lake.con, "SELECT 1 AS a, 2 AS b", lake.spec("p", partition_by=("a",)))
    with pytest.raises(SchemaMismatch, match="partitioned by it"):
        evolve.drop_column(partitioned.metadata_location, "a")
    one = writer.create(lake.con, "SELECT 1 AS a", lake.spec("one"))
    with pytest.raises(SchemaMismatch, match="last column"):
        evolve.drop_column(one.metadata_location, "a")


def test_several_changes_at_once(lake, base):
    def change(what, column="", to=None, required=False):
        return SimpleNamespace(what=what, column=column, to=to, required=required)

    written = evolve.apply(
        lake.con,
        base,
        [
            change("add_column", "extra", "INTEGER"),
            change("rename_column", "name", "title"),
            change("set_type", "id", "BIGINT"),
            change("set_required", "title", required=True),
            change("drop_column", "price"),
            change("comment", to="new"),
            change("column_comment", "id", "key"),
            change("property", "owner", "me"),
        ],
    )
    assert [(c.name, c.type, c.required, c.comment) for c in written.columns] == [
        ("id", "BIGINT", False, "key"),
        ("title", "VARCHAR", True, None),
        ("kind", "ENUM('a')", False, None),
        ("extra", "INTEGER", False, None),
    ]
    assert written.comment == "new"
    assert both(lake, written) == [(1, "x", "a", None)]
