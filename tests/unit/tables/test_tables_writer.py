from __future__ import annotations

import sys
import threading

import duckdb
import pytest
from pyiceberg.table import StaticTable

from dbt.adapters.lakehouse.errors import ConfigError, ConstraintViolated, SchemaMismatch, TableError
from dbt.adapters.lakehouse.tables import commits, metadata, reader, writer
from dbt.adapters.lakehouse.tables.values import Constraints


@pytest.fixture
def orders(lake):
    return writer.create(lake.con, "SELECT i AS id, 'n' || i AS name FROM range(3) r(i)", lake.spec())


def ids(location):
    return {f.name: f.field_id for f in StaticTable.from_metadata(location).schema().fields}


def test_create_describes_what_it_wrote(lake):
    spec = lake.spec(
        comment="all orders",
        column_comments={"ID": "key"},
        properties={"owner": "me"},
        constraints=Constraints(primary_key=("Id",), not_null=("name",)),
    )
    table = writer.create(lake.con, "SELECT 1 AS id, 'x' AS name -- comment", spec)
    assert (table.rows, table.rows_written, table.rows_deleted) == (1, 1, 0)
    assert table.comment == "all orders"
    assert [(c.name, c.type, c.required, c.comment) for c in table.columns] == [
        ("id", "INTEGER", True, "key"),
        ("name", "VARCHAR", True, None),
    ]
    assert reader.describe(table.metadata_location).columns == table.columns
    stored = StaticTable.from_metadata(table.metadata_location)
    assert stored.schema().identifier_field_ids == [1]
    assert stored.properties["owner"] == "me"
    assert stored.properties["gc.enabled"] == "false"
    assert stored.properties["write.metadata.delete-after-commit.enabled"] == "false"
    assert stored.metadata.format_version == 2
    assert str(stored.metadata.table_uuid) == spec.table_uuid
    assert all(task.file.file_path.startswith("file:///") for task in stored.scan().plan_files())


def test_a_table_without_rows_has_columns_and_no_files(lake):
    table = writer.create(lake.con, "SELECT 1 AS id, 'x'::ENUM('x') AS kind WHERE false", lake.spec())
    assert table.rows == 0
    assert lake.rows(table) == []
    assert lake.con.execute(f"DESCRIBE {reader.select_sql(table.metadata_location)}").fetchall()[1][1] == "ENUM('x')"
    assert not [f for f in lake.files() if f.endswith(".parquet")]
    assert lake.rows(writer.append(lake.con, "SELECT 2 AS id, 'x' AS kind", table.metadata_location)) == [(2, "x")]


def test_replacing_keeps_ids_of_columns_that_stay_and_never_uses_one_again(lake, orders):
    spec = lake.spec()
    replaced = writer.create(
        lake.con, "SELECT 'a' AS new, 1::BIGINT AS id, 2 AS name", spec, replaces=orders.metadata_location
    )
    assert ids(replaced.metadata_location) == {"new": 3, "id": 1, "name": 4}
    assert len(StaticTable.from_metadata(replaced.metadata_location).metadata.snapshots) == 1
    again = writer.create(lake.con, "SELECT 'a' AS name", spec, replaces=replaced.metadata_location)
    assert ids(again.metadata_location) == {"name": 5}
    assert lake.rows(orders) == [(0, "n0"), (1, "n1"), (2, "n2")]


def test_append_matches_by_name_and_keeps_the_old_location_as_it_was(lake, orders):
    table = writer.append(lake.con, 'SELECT \'x\' AS "NAME", 7 AS "Id", 1 AS other', orders.metadata_location)
    assert lake.rows(table) == [(0, "n0"), (1, "n1"), (2, "n2"), (7, "x")]
    assert (table.rows, table.rows_written) == (4, 1)
    assert orders.rows == len(lake.rows(orders)) == 3
    assert table.table_uuid == orders.table_uuid


def test_append_by_place(lake, orders):
    table = writer.append(lake.con, "SELECT 9", orders.metadata_location, columns=["ID"])
    assert lake.rows(table, "id, name")[-1] == (9, None)
    with pytest.raises(SchemaMismatch, match="1 columns are named for the 2"):
        writer.append(lake.con, "SELECT 9, 8", orders.metadata_location, columns=["id"])
    with pytest.raises(SchemaMismatch, match="no column 'nope'"):
        writer.append(lake.con, "SELECT 9", orders.metadata_location, columns=["nope"])


def test_append_of_no_rows(lake, orders):
    table = writer.append(lake.con, "SELECT 1 AS id, 'x' AS name WHERE false", orders.metadata_location)
    assert lake.rows(table) == lake.rows(orders)
    assert table.rows_written == 0


def test_ignore_lacks_a_column(lake, orders):
    with pytest.raises(SchemaMismatch, match="lacks the table's column 'name'"):
        writer.append(lake.con, "SELECT 1 AS id", orders.metadata_location)


def test_fail_shows_what_dbt_shows(lake, orders):
    with pytest.raises(SchemaMismatch, match="out of sync") as caught:
        writer.append(
            lake.con, "SELECT 'x' AS id, 1::UTINYINT AS extra", orders.metadata_location, on_schema_change="fail"
        )
    text = str(caught.value)
    assert "Source columns not in target: ['extra (INTEGER)']" in text
    assert "Target columns not in source: ['name']" in text
    assert "New column types: [{'column_name': 'id', 'new_type': 'VARCHAR'}]" in text


def test_fail_lets_types_pass_that_are_stored_alike(lake):
    table = writer.create(lake.con, "SELECT 1::SMALLINT AS a, 'x'::ENUM('x', 'y') AS b", lake.spec())
    query = "SELECT 2::SMALLINT AS a, 'y'::ENUM('x', 'y') AS b"
    assert lake.rows(writer.append(lake.con, query, table.metadata_location, on_schema_change="fail"))[-1] == (2, "y")


def test_append_new_columns(lake, orders):
    query = "SELECT 5 AS id, {'a': 1, 'b': ['x']} AS extra"
    table = writer.append(lake.con, query, orders.metadata_location, on_schema_change="append_new_columns")
    assert lake.rows(table, "id, name, extra")[-1] == (5, None, {"a": 1, "b": ["x"]})
    assert lake.rows(table, "id, name, extra")[0] == (0, "n0", None)


def test_sync_all_columns_promotes_drops_and_adds(lake):
    table = writer.create(lake.con, "SELECT 1 AS a, 1.5::FLOAT AS b, 1.5::DECIMAL(4,1) AS c, 'x' AS d", lake.spec())
    query = "SELECT 5000000000 AS a, 2.5::DOUBLE AS b, 12345678.5::DECIMAL(12,1) AS c, 7 AS e"
    synced = writer.append(lake.con, query, table.metadata_location, on_schema_change="sync_all_columns")
    assert [(c.name, c.type) for c in synced.columns] == [
        ("a", "BIGINT"), ("b", "DOUBLE"), ("c", "DECIMAL(12,1)"), ("e", "INTEGER"),
    ]  # fmt: skip
    assert ids(synced.metadata_location) == {"a": 1, "b": 2, "c": 3, "e": 5}
    assert [(float(a), b, float(c), e) for a, b, c, e in lake.rows(synced)] == [
        (1, 1.5, 1.5, None), (5e9, 2.5, 12345678.5, 7),
    ]  # fmt: skip
    assert StaticTable.from_metadata(synced.metadata_location).scan().to_arrow().num_rows == 2


def test_sync_all_columns_rewrites_for_other_types(lake, orders):
    query = "SELECT 'seven' AS id, 'x' AS name"
    synced = writer.append(lake.con, query, orders.metadata_location, on_schema_change="sync_all_columns")
    assert lake.rows(synced) == [("0", "n0"), ("1", "n1"), ("2", "n2"), ("seven", "x")]
    assert ids(synced.metadata_location) == {"id": 3, "name": 2}
    before = lake.files()
    with pytest.raises(SchemaMismatch, match="cannot take the new column types"):
        writer.append(
            lake.con, "SELECT 1 AS id, 'x' AS name", synced.metadata_location, on_schema_change="sync_all_columns"
        )
    assert lake.files() == before


def test_evolve_prepares_a_table_for_a_query(lake, orders):
    assert writer.evolve(lake.con, "FROM (SELECT 1 AS id, 'x' AS name)", orders.metadata_location, "ignore") == (
        orders.metadata_location
    )
    location = writer.evolve(
        lake.con, "SELECT 1 AS id, 'x' AS name, 2 AS more", orders.metadata_location, "append_new_columns"
    )
    assert lake.rows(location)[0] == (0, "n0", None)


def test_overwrite_replaces_the_partitions_that_occur(lake):
    query = "SELECT i AS id, i % 3 AS p FROM range(9) r(i)"
    table = writer.create(lake.con, query, lake.spec(partition_by=("p",)))
    table = writer.append(lake.con, "SELECT 100 AS id, NULL AS p", table.metadata_location)
    changed = writer.overwrite(lake.con, "SELECT 50 AS id, 1 AS p UNION ALL SELECT 51, NULL", table.metadata_location)
    assert sorted(lake.rows(changed, "p, id"), key=str) == sorted(
        [(0, 0), (0, 3), (0, 6), (1, 50), (2, 2), (2, 5), (2, 8), (None, 51)], key=str
    )
    assert (changed.rows, changed.rows_written, changed.rows_deleted) == (8, 2, 4)
    same = writer.overwrite(lake.con, "SELECT 1 AS id, 1 AS p WHERE false", changed.metadata_location)
    assert lake.rows(same) == lake.rows(changed)


def test_overwrite_of_an_unpartitioned_table_replaces_all(lake, orders):
    table = writer.overwrite(lake.con, "SELECT 9 AS id, 'z' AS name", orders.metadata_location)
    assert lake.rows(table) == [(9, "z")]
    assert (table.rows, table.rows_deleted) == (1, 3)
    assert len(StaticTable.from_metadata(table.metadata_location).metadata.snapshots) == 2


@pytest.mark.parametrize(
    ("query", "constraints", "message"),
    [
        (
            "SELECT NULL::INT AS id, 'x' AS name",
            Constraints(not_null=("ID",)),
            r"NOT NULL constraint failed: orders\.id",
        ),
        ("SELECT {'a': 1} AS id UNION ALL SELECT NULL", Constraints(not_null=("id",)), r"NOT NULL .* orders\.id"),
        (
            "SELECT unnest([1, 2, 1]) AS id",
            Constraints(unique=(("id",),)),
            r"UNIQUE constraint failed: orders\.id: 2 rows share 1 value",
        ),
        ("SELECT unnest([1, 1]) AS id", Constraints(primary_key=("id",)), r"UNIQUE constraint failed: orders\.id"),
        ("SELECT NULL::INT AS id", Constraints(primary_key=("id",)), r"NOT NULL constraint failed: orders\.id"),
        (
            "SELECT unnest([1, -2]) AS id",
            Constraints(checks=(("positive", "id > 0"),)),
            r"CHECK constraint failed: orders: positive \(id > 0\) is false in 1 row:\s+id\s+-+\s+-2",
        ),
    ],
)
def test_a_broken_constraint_leaves_nothing_behind(lake, query, constraints, message):
    with pytest.raises(ConstraintViolated, match=message):
        writer.create(lake.con, query, lake.spec(constraints=constraints))
    assert not lake.files()


def test_nulls_never_clash_and_null_checks_pass(lake):
    constraints = Constraints(unique=(("id", "name"),), checks=(("", "id > 0"),))
    query = "SELECT NULL::INT AS id, 'x' AS name FROM range(2)"
    assert writer.create(lake.con, query, lake.spec(constraints=constraints)).rows == 2


def test_uniqueness_holds_over_the_whole_table(lake, orders):
    wanted = Constraints(unique=(("id",),))
    with pytest.raises(
        ConstraintViolated, match=r"orders\.id: 2 rows share 1 value; .*:\s+id \| rows\s+---\+-----\s+2  \| 2"
    ):
        writer.append(lake.con, "SELECT 2 AS id, 'x' AS name", orders.metadata_location, constraints=wanted)
    writer.append(lake.con, "SELECT 3 AS id, 'x' AS name", orders.metadata_location, constraints=wanted)


def test_required_columns_stay_required(lake):
    spec = lake.spec(constraints=Constraints(not_null=("id",)))
    table = writer.create(lake.con, "SELECT 1 AS id, 2 AS b", spec)
    with pytest.raises(ConstraintViolated, match=r"orders\.id"):
        writer.append(lake.con, "SELECT NULL AS id, 2 AS b", table.metadata_location)
    with pytest.raises(ConstraintViolated, match=r"orders\.id"):
        writer.append(lake.con, "SELECT 2 AS b", table.metadata_location, columns=["b"])


def test_a_constraint_on_an_unknown_column(lake):
    with pytest.raises(ConfigError, match="'nope'"):
        writer.create(lake.con, "SELECT 1 AS id", lake.spec(constraints=Constraints(not_null=("nope",))))


@pytest.mark.skipif(
    duckdb.__version__ == "2.0.0" and sys.version_info >= (3, 13),
    reason="DuckDB 2.0.0 hangs at times on Python 3.13 when a COPY fails half way",
)
def test_a_query_that_fails_half_way_leaves_nothing(lake, orders):
    before = lake.files()
    query = "SELECT CASE WHEN i < 900000 THEN i ELSE error('boom') END AS id, 'x' AS name FROM range(1000000) r(i)"
    with pytest.raises(duckdb.Error, match="boom"):
        writer.append(lake.con, query, orders.metadata_location)
    assert lake.files() == before


def test_an_interrupt_leaves_nothing(lake):
    timer = threading.Timer(0.4, lake.con.interrupt)
    timer.start()
    with pytest.raises(duckdb.InterruptException):
        writer.create(lake.con, "SELECT hash(i) AS a FROM range(4000000000) r(i)", lake.spec())
    timer.join()
    assert not lake.files()


@pytest.mark.parametrize("name", ["gc.enabled", "lakehouse.duckdb-types", "format-version"])
def test_properties_of_the_lake_are_refused(lake, name):
    with pytest.raises(ConfigError, match=name):
        writer.create(lake.con, "SELECT 1 AS a", lake.spec(properties={name: "3"}))


def test_metadata_does_not_grow_without_end(lake, orders):
    location = orders.metadata_location
    for i in range(45):
        location = writer.append(lake.con, f"SELECT {i} AS id, 'x' AS name", location).metadata_location
    table = metadata.load(location)
    assert len(table.metadata.snapshots) == len(table.metadata.snapshot_log) == commits.SNAPSHOTS_KEPT
    assert len(table.manifests) <= commits.MANIFESTS_KEPT + 1
    assert table.rows == 48
    again = metadata._read(location)
    assert {f.path: (f.sequence, f.snapshot_id) for f in again.data} == {
        f.path: (f.sequence, f.snapshot_id) for f in table.data
    }
    assert StaticTable.from_metadata(location).scan().to_arrow().num_rows == 48
    for i in range(5):
        location = writer.overwrite(lake.con, f"SELECT {i} AS id, 'x' AS name", location).metadata_location
    assert len(metadata.load(location).manifests) <= 2


def test_a_folder_with_odd_characters(lake):
    table = writer.create(lake.con, "SELECT 1 AS a", lake.spec("it's [a] b%20c=ü*"))
    assert lake.rows(table) == [(1,)]
    assert StaticTable.from_metadata(table.metadata_location).scan().to_arrow().num_rows == 1


def test_rows_keep_the_order_of_the_query(lake):
    table = writer.create(lake.con, "SELECT i FROM range(500000) r(i) ORDER BY hash(i)", lake.spec())
    assert len(metadata.load(table.metadata_location).data) == 1
    ordered = "SELECT count(*) FROM (SELECT hash(i) < lag(hash(i)) OVER () AS back FROM ({})) WHERE back"
    assert lake.con.execute(ordered.format(reader.select_sql(table.metadata_location))).fetchone() == (0,)


def test_a_file_size_makes_several_files(lake):
    size = {"write.target-file-size-bytes": "1000000"}
    table = writer.create(lake.con, "SELECT hash(i) AS h FROM range(1000000) r(i)", lake.spec(properties=size))
    assert len(metadata.load(table.metadata_location).data) > 2
    assert len(lake.rows(table, "h")) == 1000000
    lake.con.execute("SET preserve_insertion_order = false")
    assert writer.create(lake.con, "SELECT 1 AS a", lake.spec("b")).rows == 1


def test_a_pivot_over_the_data_is_refused_where_duckdb_takes_it_apart_and_one_over_given_values_is_not(lake):
    lake.con.execute("CREATE TABLE sales AS SELECT i % 2 AS year, i AS amount FROM range(4) r(i)")
    table = writer.create(lake.con, "FROM sales PIVOT (sum(amount) FOR year IN (0, 1))", lake.spec())
    assert lake.rows(table) == [(2, 4)]
    over_data = "PIVOT sales ON year USING sum(amount)"
    if int(duckdb.__version__.partition(".")[0]) >= 2:
        assert lake.rows(writer.create(lake.con, over_data, lake.spec("other"))) == [(2, 4)]
        return
    with pytest.raises((TableError, duckdb.Error)):
        writer.create(lake.con, over_data, lake.spec("other"))
    assert not lake.files("other")


@pytest.fixture
def described(lake):
    spec = lake.spec(
        partition_by=("part",),
        sort_by=("rank desc",),
        comment="the table",
        column_comments={"id": "the key", "note": "a note"},
        properties={"owner": "me"},
        constraints=Constraints(not_null=("id", "note")),
    )
    query = "SELECT i AS id, i % 2 AS part, -i AS rank, 'n' || i AS note FROM range(6) r(i)"
    return writer.create(lake.con, query, spec)


def test_a_rewrite_keeps_all_but_the_rows_and_the_columns(lake, described):
    base = described.metadata_location
    query = f"SELECT * REPLACE (id::VARCHAR AS ID), 5 AS added FROM ({reader.select_sql(base)})"
    table = writer.rewrite(lake.con, query, base)
    before, after = metadata.load_metadata(base), metadata.load_metadata(table.metadata_location)
    assert (after.table_uuid, after.location, after.spec()) == (before.table_uuid, before.location, before.spec())
    assert after.sort_order() == before.sort_order()
    assert after.properties == before.properties
    assert (table.comment, table.rows, table.rows_written, table.rows_deleted) == ("the table", 6, 6, 6)
    assert [(c.name, c.type, c.field_id, c.required, c.comment) for c in table.columns] == [
        ("id", "VARCHAR", 6, True, "the key"),
        ("part", "BIGINT", 2, False, None),
        ("rank", "BIGINT", 3, False, None),
        ("note", "VARCHAR", 4, True, "a note"),
        ("added", "INTEGER", 5, False, None),
    ]
    assert lake.rows(table)[0] == ("0", 0, 0, "n0", 5)
    replaced = writer.overwrite(
        lake.con, "SELECT '9' AS id, 1 AS part, 0 AS rank, 'n' AS note, 1 AS added", table.metadata_location
    )
    assert lake.rows(replaced, "id") == [("0",), ("2",), ("4",), ("9",)]
    assert lake.rows(described, "id") == [(i,) for i in range(6)]


@pytest.mark.parametrize(("column", "how"), [("part", "partitioned"), ("rank", "sorted")])
def test_a_rewrite_refuses_another_type_of_a_column_that_lays_the_table_out(lake, described, column, how):
    base = described.metadata_location
    files = lake.files()
    query = f"SELECT * REPLACE ({column}::VARCHAR AS {column}) FROM ({reader.select_sql(base)})"
    with pytest.raises(SchemaMismatch, match=f"'{column}' cannot change its type .*{how} by it"):
        writer.rewrite(lake.con, query, base)
    assert lake.files() == files


def test_a_rewrite_without_a_row_or_with_a_null_where_none_may_be(lake, described):
    base = described.metadata_location
    select = reader.select_sql(base)
    with pytest.raises(ConstraintViolated, match="id"):
        writer.rewrite(lake.con, f"SELECT * REPLACE (nullif(id, 3)::VARCHAR AS id) FROM ({select})", base)
    table = writer.rewrite(lake.con, f"SELECT * EXCLUDE (note) FROM ({select}) WHERE false", base)
    assert (table.rows, [c.name for c in table.columns]) == (0, ["id", "part", "rank"])
