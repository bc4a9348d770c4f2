from __future__ import annotations

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.table import StaticTable

from dbt.adapters.lakehouse.errors import ConstraintViolated
from dbt.adapters.lakehouse.tables import deletes, maintenance, metadata, reader, rows, writer
from dbt.adapters.lakehouse.tables.values import Constraints

BASE = "SELECT i AS id, i % 5 AS p, 'n' || (i % 7) AS name, i / 4.0 AS d FROM range(1000) r(i)"


@pytest.fixture(params=["delete files", "rewrites"])
def small_files(request, monkeypatch):
    monkeypatch.setattr(deletes, "REWRITTEN_ROWS", 0 if request.param == "delete files" else 20_000)


@pytest.fixture
def table(lake):
    return writer.create(lake.con, BASE, lake.spec())


def check(lake, written):
    """Rows, totals and what a second engine sees agree, from memory and read anew."""
    found = lake.rows(written)
    assert written.rows == len(found)
    again = metadata._read(written.metadata_location)
    assert lake.con.execute(f"SELECT * FROM ({reader.select(again)}) ORDER BY ALL").fetchall() == found
    stored = StaticTable.from_metadata(written.metadata_location)
    assert stored.scan().to_arrow().num_rows == len(found)
    summary = stored.metadata.current_snapshot().summary.additional_properties
    assert int(summary["total-records"]) - int(summary["total-position-deletes"]) == len(found)
    assert int(summary["total-data-files"]) == len(again.data)
    assert int(summary["total-delete-files"]) == len(again.deletes)
    assert int(summary["total-files-size"]) == written.size_bytes
    targets = [d.target for d in again.deletes]
    assert None not in targets
    assert len(set(targets)) == len(targets)
    return found


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("delete"), st.sampled_from(["id % 10 = 3", "p = 2", "id < 30", "d > 200 OR NULL", "name IS NULL"])
        ),
        st.tuples(
            st.just("patch"),
            st.sampled_from([None, "id % 9 = 1", "t.p IN (SELECT 1)", "id BETWEEN 100 AND 120", "name IS NULL"]),
            st.sampled_from(
                [
                    "UPDATE {} SET d = d",
                    "UPDATE {} SET name = NULL WHERE id % 2 = 0",
                    "DELETE FROM {} WHERE id % 3 = 0",
                    "INSERT INTO {} SELECT * FROM {} WHERE id % 4 = 0",
                    "INSERT INTO {} VALUES (5, 1, 'x', 0.5), (5, 1, 'x', 0.5), (NULL, NULL, NULL, NULL)",
                    "UPDATE {} SET id = id + 1; DELETE FROM {} WHERE name = 'n1'; INSERT INTO {} VALUES (1, 2, 'n', -0.0)",
                    "UPDATE {} SET d = -0.0 WHERE d = 0; UPDATE {} SET p = 9 - p WHERE id < 50",
                ]
            ),
        ),
        st.tuples(st.just("append")),
        st.tuples(st.just("compact")),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("partition_by", [(), ("p",)])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
def test_any_operations_do_what_they_do_to_a_native_table(lake, small_files, partition_by, operations):
    con = lake.con
    written = writer.create(con, BASE, lake.spec(partition_by=partition_by))
    con.execute(f"CREATE OR REPLACE TABLE native AS {BASE}")
    for what, *rest in operations:
        location = written.metadata_location
        if what == "delete":
            written = rows.delete(con, location, rest[0])
            con.execute(f"DELETE FROM native WHERE {rest[0]}")
        elif what == "append":
            written = writer.append(con, "FROM native LIMIT 10", location)
            con.execute("INSERT INTO native FROM native LIMIT 10")
        elif what == "compact":
            written = maintenance.compact(con, location)
            assert not metadata.load(written.metadata_location).deletes
        else:
            matching, edit = rest
            written = rows.patch(
                con, location, matching=matching, edit=lambda name, edit=edit: con.execute(edit.replace("{}", name))
            )
            con.execute(f"CREATE OR REPLACE TABLE part AS SELECT * FROM native AS t WHERE {matching or 'true'}")
            con.execute(f"DELETE FROM native AS t WHERE {matching or 'true'}")
            con.execute(edit.replace("{}", "part"))
            con.execute("INSERT INTO native FROM part")
        check(lake, written)
        text = "SELECT id, p, name, d::VARCHAR AS d FROM"
        wanted = con.execute(f"{text} native ORDER BY ALL").fetchall()
        assert con.execute(f"{text} ({reader.select_sql(written.metadata_location)}) ORDER BY ALL").fetchall() == wanted


def test_an_edit_that_changes_nothing_gives_the_table_back(lake, table):
    before = lake.files()
    same = rows.patch(
        lake.con, table.metadata_location, matching=None, edit=lambda name: lake.con.execute(f"UPDATE {name} SET d = d")
    )
    assert same.metadata_location == table.metadata_location
    assert (same.rows_written, same.rows_deleted) == (0, 0)
    assert rows.delete(lake.con, table.metadata_location, "NULL").metadata_location == table.metadata_location
    assert lake.files() == before


def test_only_rows_that_changed_are_written(lake, monkeypatch):
    monkeypatch.setattr(deletes, "REWRITTEN_ROWS", 0)
    table = writer.create(lake.con, BASE, lake.spec())
    changed = rows.patch(
        lake.con,
        table.metadata_location,
        matching=None,
        edit=lambda name: lake.con.execute(f"UPDATE {name} SET name = 'new' WHERE id IN (3, 500)"),
    )
    assert (changed.rows_written, changed.rows_deleted, changed.rows) == (2, 2, 1000)
    (delete,) = metadata.load(changed.metadata_location).deletes
    assert delete.file.record_count == 2


def test_a_file_all_of_whose_rows_go_is_dropped(lake, small_files):
    table = writer.create(lake.con, BASE, lake.spec(partition_by=("p",)))
    changed = rows.delete(lake.con, table.metadata_location, "p = 3")
    state = metadata.load(changed.metadata_location)
    assert len(state.data) == 4
    assert not state.deletes
    assert rows.delete(lake.con, changed.metadata_location, None).rows == 0


def test_many_deleted_rows_make_a_rewrite(lake, monkeypatch):
    monkeypatch.setattr(deletes, "REWRITTEN_ROWS", 0)
    table = writer.create(lake.con, BASE, lake.spec())
    few = rows.delete(lake.con, table.metadata_location, "id % 5 = 1")
    assert len(metadata.load(few.metadata_location).deletes) == 1
    more = rows.delete(lake.con, few.metadata_location, "id % 5 = 2")
    state = metadata.load(more.metadata_location)
    assert not state.deletes
    assert [f.file.record_count for f in state.data] == [600]


def test_the_work_table_has_the_tables_columns_and_types(lake):
    con = lake.con
    table = writer.create(con, "SELECT 'a'::ENUM('a', 'b') AS kind, [1.5]::FLOAT[1] AS v, 5::HUGEINT AS h", lake.spec())
    seen = []

    def edit(name):
        seen.extend(con.execute(f"DESCRIBE {name}").fetchall())
        con.execute(f"UPDATE {name} SET kind = 'b', h = h + 1")

    changed = rows.patch(con, table.metadata_location, matching="kind = 'a'", edit=edit)
    assert [row[:2] for row in seen] == [("kind", "ENUM('a', 'b')"), ("v", "FLOAT[1]"), ("h", "HUGEINT")]
    assert lake.rows(changed) == [("b", (1.5,), 6)]


def test_a_work_table_of_a_given_name_and_an_alias(lake, table):
    con = lake.con
    con.execute("ATTACH ':memory:' AS lake; CREATE SCHEMA lake.s")
    changed = rows.patch(
        con,
        table.metadata_location,
        matching="DBT_INTERNAL_DEST.id = 5",
        alias="DBT_INTERNAL_DEST",
        work_table='"lake"."s"."orders"',
        edit=lambda name: con.execute("UPDATE lake.s.orders SET name = 'five'"),
    )
    assert ("five",) in lake.rows(changed, "name")
    assert con.execute("SELECT count(*) FROM duckdb_tables()").fetchone() == (0,)


def test_columns_named_like_what_we_use(lake, small_files):
    con = lake.con
    query = "SELECT i AS filename, i + 1 AS file_row_number, i + 2 AS rowid, i AS file_index FROM range(100) r(i)"
    table = writer.create(con, query, lake.spec())
    changed = rows.delete(con, table.metadata_location, "filename = 3")
    changed = rows.patch(
        con,
        changed.metadata_location,
        matching="rowid < 10",
        edit=lambda name: con.execute(f"UPDATE {name} SET file_index = 0"),
    )
    found = check(lake, changed)
    assert len(found) == 99
    assert sum(row[3] == 0 for row in found) == 7
    assert lake.con.execute(f"DESCRIBE {reader.select_sql(changed.metadata_location)}").fetchall()[0][0] == "filename"


def test_a_broken_constraint_or_edit_leaves_all_as_it_was(lake, table):
    before = lake.files()
    with pytest.raises(ConstraintViolated, match=r"UNIQUE constraint failed: orders\.id"):
        rows.patch(
            lake.con,
            table.metadata_location,
            matching="id = 1",
            edit=lambda name: lake.con.execute(f"UPDATE {name} SET id = 2"),
            constraints=Constraints(unique=(("id",),)),
        )
    with pytest.raises(duckdb.Error):
        rows.patch(
            lake.con,
            table.metadata_location,
            matching="id = 1",
            edit=lambda name: lake.con.execute(f"UPDATE {name} SET x = 2"),
        )
    assert lake.files() == before
    assert lake.con.execute("SELECT count(*) FROM duckdb_tables()").fetchone() == (0,)


@pytest.mark.skipif(
    duckdb.__version__ == "2.0.0",
    reason="DuckDB 2.0.0 fails on a field of a struct that a file is older than (INTERNAL Error: Vector::Reference)",
)
def test_after_a_column_was_added_and_renamed(lake, table, small_files):
    from dbt.adapters.lakehouse.tables import evolve

    con = lake.con
    location = evolve.add_column(con, table.metadata_location, "extra", "STRUCT(a INTEGER)").metadata_location
    location = evolve.rename_column(location, "name", "title").metadata_location
    changed = rows.patch(
        con,
        location,
        matching="id < 3",
        edit=lambda name: con.execute(f"UPDATE {name} SET extra = {{'a': id}}, title = 'x'"),
    )
    changed = rows.delete(con, changed.metadata_location, "extra.a = 1")
    found = check(lake, changed)
    assert [row for row in found if row[4] is not None] == [(0, 0, "x", 0.0, {"a": 0}), (2, 2, "x", 0.5, {"a": 2})]


def test_compaction_brings_small_files_together(lake, table):
    location = table.metadata_location
    for i in range(4):
        location = writer.append(
            lake.con, f"SELECT {i} AS id, 1 AS p, 'x' AS name, 0.0 AS d", location
        ).metadata_location
    compacted = maintenance.compact(lake.con, location)
    assert len(metadata.load(compacted.metadata_location).data) == 1
    assert lake.rows(compacted) == lake.rows(location)
    assert check(lake, compacted)
    assert maintenance.compact(lake.con, compacted.metadata_location).metadata_location == compacted.metadata_location
