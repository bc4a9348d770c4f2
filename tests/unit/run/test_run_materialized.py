"""Materialized views: tables that keep their query, and are brought up to date by it alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from dbt.adapters.lakehouse.catalog.model import (
    Key,
    Materialized,
    TableEntry,
    content_id,
    entry_from_json,
    entry_to_json,
    kind_of,
)
from dbt.adapters.lakehouse.errors import ConstraintViolated, NotInLake, SqlError
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.materialized import ViewChanges, changes
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.upkeep import CompactRequest
from dbt.adapters.lakehouse.run.values import Build, Built, MergeRequest, Name
from dbt.adapters.lakehouse.settings import PublishMode
from dbt.adapters.lakehouse.tables.values import Constraints

OpenRun = Callable[..., LakeRun]
QUERY = "SELECT k, count(*) AS n FROM lake.s.t GROUP BY k ORDER BY k"


def name(table: str) -> Name:
    return Name(database="lake", schema="s", name=table)


def view(session: RunSession, sql: str = QUERY, **more: Any) -> Built:
    return session.build(Build(name=name("v"), sql=sql, node="model.v", materialized_view=True, **more))


def entry(session: RunSession, table: str = "v") -> TableEntry:
    found = session.lookup(name(table))
    assert isinstance(found, TableEntry)
    return found


def rows(session: RunSession, sql: str = "FROM lake.s.v ORDER BY ALL") -> list[tuple[Any, ...]]:
    return [tuple(row) for row in session.execute(sql).rows]


@pytest.fixture
def filled(session: RunSession) -> RunSession:
    session.execute("CREATE TABLE lake.s.t AS SELECT unnest([1, 1, 2]) AS k")
    return session


def test_an_entry_without_a_query_has_the_id_that_it_had_before_there_were_any():
    table = TableEntry(
        schema="s",
        name="t",
        metadata_location="m",
        table_uuid="u",
        snapshot_id=1,
        location="l",
        columns=(),
        rows=1,
        size_bytes=1,
    )
    assert content_id(table) == "bdf6c23030336930e3192d8a50de3e5bcf843863"
    promised = Constraints(not_null=("a",), unique=(("a", "b"),), primary_key=("a",), checks=(("", "a > 1"),))
    kept = Materialized(
        sql="SELECT 1", sort_by=("a",), properties={"x": "y"}, setup=("SET x = 1",), constraints=promised
    )
    for one in (Materialized(sql="SELECT 1"), kept):
        materialized = dataclasses.replace(table, view=one)
        assert entry_from_json(entry_to_json(materialized)) == materialized
        assert content_id(materialized) != content_id(table)
        assert kind_of(materialized) == "materialized_view"


def test_only_an_input_that_changed_builds_one_anew(filled):
    assert view(filled).reused is None
    assert entry(filled).view == Materialized(sql=QUERY)
    assert view(filled).reused is not None
    filled.execute("INSERT INTO lake.s.t VALUES (2)")
    assert rows(filled) == [(1, 2), (2, 1)], "as it was left"
    assert view(filled).reused is None
    assert rows(filled) == [(1, 2), (2, 2)]
    filled.execute("UPDATE lake.s.t SET k = k WHERE k = 7")
    assert view(filled).reused is not None


def test_a_table_of_the_same_code_is_the_same_table(filled):
    table = filled.build(Build(name=name("v"), sql=QUERY, node="model.v")).entry
    assert table.view is None
    built = view(filled)
    assert built.reused is not None
    assert dataclasses.replace(entry(filled), view=None) == table
    back = filled.build(Build(name=name("v"), sql=QUERY, node="model.v"))
    assert back.reused is not None
    assert entry(filled) == table


def test_statements_make_refresh_and_drop_one(filled):
    filled.execute("CREATE MATERIALIZED VIEW s.v AS (SELECT max(k) AS k FROM s.t)")
    assert rows(filled) == [(2,)]
    with pytest.raises(SqlError, match="exists already"):
        filled.execute("CREATE MATERIALIZED VIEW lake.s.v AS SELECT 1 AS k")
    filled.execute("CREATE MATERIALIZED VIEW IF NOT EXISTS lake.s.v AS SELECT 1 AS k")
    filled.execute("INSERT INTO s.t VALUES (9)")
    assert filled.execute("REFRESH MATERIALIZED VIEW lake.s.v").message == "REFRESH 1"
    assert rows(filled) == [(9,)]
    filled.execute("DELETE FROM s.t")
    filled.execute("CREATE OR REPLACE MATERIALIZED VIEW lake.s.v (a) AS SELECT k FROM s.t")
    assert [column.name for column in entry(filled).columns] == ["a"]
    filled.execute("ALTER MATERIALIZED VIEW lake.s.v RENAME TO w")
    filled.execute("COMMENT ON MATERIALIZED VIEW lake.s.w IS 'why'")
    filled.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY s.w WITH DATA")
    moved = entry(filled, "w")
    assert (moved.comment, kind_of(moved), moved.rows) == ("why", "materialized_view", 0)
    with pytest.raises(SqlError, match="is a materialized view, not a table; say DROP MATERIALIZED VIEW"):
        filled.execute("DROP TABLE lake.s.w")
    with pytest.raises(SqlError, match="is a table, not a materialized view; say DROP TABLE"):
        filled.execute("DROP MATERIALIZED VIEW lake.s.t")
    filled.execute("DROP MATERIALIZED VIEW lake.s.w CASCADE")
    filled.execute("DROP MATERIALIZED VIEW IF EXISTS lake.s.w")
    assert filled.lookup(name("w")) is None


def test_one_that_lost_its_rows_is_another_table(filled):
    filled.execute("CREATE MATERIALIZED VIEW s.v AS SELECT k FROM s.t")
    before = entry(filled)
    filled.execute("DELETE FROM s.t; REFRESH MATERIALIZED VIEW s.v")
    after = entry(filled)
    assert (before.rows, after.rows) == (3, 0)
    assert before.content != after.content
    assert after.inputs == {"s.t": filled.state.own.content(Key("s", "t"))}


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO lake.s.v VALUES (1, 1)",
        "UPDATE lake.s.v SET n = 0",
        "DELETE FROM lake.s.v",
        "TRUNCATE TABLE lake.s.v",
        "MERGE INTO lake.s.v USING (SELECT 1 AS k) x ON v.k = x.k WHEN MATCHED THEN DELETE",
        "ALTER TABLE lake.s.v ADD COLUMN x INTEGER",
        "ALTER TABLE lake.s.v ALTER COLUMN n TYPE INTEGER",
    ],
)
def test_nobody_changes_its_rows_by_hand(filled, statement):
    view(filled)
    before = entry(filled)
    with pytest.raises(SqlError, match=r"is a materialized view; .* REFRESH MATERIALIZED VIEW"):
        filled.execute(statement)
    assert entry(filled) == before


def test_nor_does_a_build_that_adds_rows(filled):
    view(filled)
    with pytest.raises(SqlError, match="is a materialized view"):
        filled.build(Build(name=name("v"), sql="SELECT 1 AS k, 1 AS n", mode="append"))


def test_refresh_keeps_what_was_configured(filled):
    promised = Constraints(not_null=("k",), unique=(("k",),))
    more = {"partition_by": ("k",), "properties": {"owner": "ann"}, "constraints": promised}
    view(filled, **more, comment="why", column_comments={"n": "how many"})
    before = entry(filled)
    filled.execute("INSERT INTO lake.s.t VALUES (3); REFRESH MATERIALIZED VIEW lake.s.v")
    after = entry(filled)
    assert (after.view, after.comment, after.columns) == (before.view, "why", before.columns)
    assert (after.layout, after.node, after.table_uuid) == (before.layout, "model.v", before.table_uuid)
    filled.execute("INSERT INTO lake.s.t VALUES (NULL)")
    with pytest.raises(ConstraintViolated, match=r"s\.v"):
        filled.execute("REFRESH MATERIALIZED VIEW lake.s.v")
    assert entry(filled) == after


def test_what_cannot_be_refreshed_says_why(filled):
    with pytest.raises(SqlError, match="is a table, not a materialized view"):
        filled.execute("REFRESH MATERIALIZED VIEW lake.s.t")
    with pytest.raises(NotInLake, match=r"materialized view .* does not exist"):
        filled.execute("REFRESH MATERIALIZED VIEW lake.s.nothing")
    view(filled, sql="SELECT twice(2) AS x", setup=("CREATE MACRO twice(x) AS x * 2",))
    with pytest.raises(SqlError, match="sql_header"):
        filled.execute("REFRESH MATERIALIZED VIEW lake.s.v")


def test_a_clone_is_one_too_and_a_table_if_that_is_said(filled):
    view(filled)
    filled.execute("CREATE MATERIALIZED VIEW lake.s.w CLONE lake.s.v; CREATE TABLE lake.s.x CLONE lake.s.v")
    assert entry(filled, "w") == dataclasses.replace(entry(filled), name="w")
    assert entry(filled, "x") == dataclasses.replace(entry(filled), name="x", view=None)
    filled.execute("INSERT INTO lake.s.t VALUES (3); REFRESH MATERIALIZED VIEW lake.s.w")
    assert len(rows(filled)) == 2
    assert len(rows(filled, "FROM lake.s.w")) == 3
    with pytest.raises(SqlError, match="is a table, not a materialized view"):
        filled.execute("CREATE MATERIALIZED VIEW lake.s.y CLONE lake.s.t")


def test_a_view_is_cloned_by_its_sql(filled):
    filled.execute("CREATE VIEW lake.s.seen AS SELECT k FROM lake.s.t; CREATE VIEW lake.s.also CLONE lake.s.seen")
    seen, also = filled.lookup(name("seen")), filled.lookup(name("also"))
    assert also == dataclasses.replace(seen, name="also")
    filled.execute("CREATE OR REPLACE VIEW lake.s.also CLONE lake.s.seen")
    for statement in ("CREATE VIEW lake.s.w CLONE lake.s.t", "CREATE MATERIALIZED VIEW lake.s.w CLONE lake.s.seen"):
        with pytest.raises(NotInLake, match=r"is not a (materialized )?view of the lake"):
            filled.execute(statement)
    with pytest.raises(NotInLake, match="only tables can be cloned"):
        filled.execute("CREATE TABLE lake.s.w CLONE lake.s.seen")


def test_two_branches_that_refreshed_one_are_in_conflict(lake: EmbeddedLake, open_run: OpenRun):
    def on(branch: str, *statements: str) -> None:
        run = open_run(branch=branch, publish=PublishMode.EACH_NODE)
        with closing(run.session()) as session:
            for statement in statements:
                session.execute(statement)

    on("main", "CREATE TABLE s.t AS SELECT 1 AS k", "CREATE MATERIALIZED VIEW s.v AS SELECT k FROM s.t")
    on("dev", "INSERT INTO s.t VALUES (2)", "REFRESH MATERIALIZED VIEW s.v")
    on("main", "INSERT INTO s.t VALUES (3)", "REFRESH MATERIALIZED VIEW s.v")
    merged = lake.versions.merge(MergeRequest(source="dev", target="main", author="a", dry_run=True))
    assert [one.key for one in merged.conflicts] == [Key("s", "v")], "rows of two queries' results make no third one"
    assert [one.key for one in merged.settled] == [Key("s", "t")]


def test_a_property_is_altered_without_a_new_file(filled):
    view(filled, properties={"owner": "ann", "gone": "soon"})
    before = entry(filled)
    built = view(filled, properties={"owner": "bob"})
    assert built.rows_written == 0
    after = entry(filled)
    assert (after.snapshot_id, after.content) == (before.snapshot_id, before.content)
    assert after.metadata_location != before.metadata_location
    assert after.view == Materialized(sql=QUERY, properties={"owner": "bob"})
    assert view(filled, properties={"owner": "bob"}).reused is not None
    filled.execute("INSERT INTO lake.s.t VALUES (5)")
    assert view(filled, properties={"owner": "eve"}).rows_written == 3, "with other rows to come, all is built"
    assert view(filled, properties={"owner": "zoe"}, rebuild=True).rows_written == 3
    assert view(filled, properties={"write.target-file-size-bytes": "1000000"}).rows_written == 3


def test_what_is_configured_otherwise():
    one = Materialized(sql="SELECT 1", partition_by=("a",), properties={"x": "1", "write.y": "2"})
    assert changes(one, ("a",), (), {"x": "1", "write.y": "2"}) == ViewChanges()
    assert changes(one, ("b",), ("c",), {"x": "1", "write.y": "2"}) == ViewChanges(files=("partition_by", "sort_by"))
    assert changes(one, ("a",), (), {"z": "1"}) == ViewChanges(
        metadata=("table_properties.x", "table_properties.z"), files=("table_properties.write.y",)
    )


def test_it_stays_one_on_other_branches_and_after_compaction(lake: EmbeddedLake, open_run: OpenRun):
    run = open_run()
    with closing(run.session()) as session:
        session.execute("CREATE TABLE lake.s.t AS SELECT unnest([1, 1, 2]) AS k")
        view(session)
    run.publish()
    other = open_run(branch="dev")
    with closing(other.session()) as session:
        session.execute("INSERT INTO lake.s.t VALUES (4)")
        assert view(session).reused is None
        assert len(rows(session)) == 3
        assert len(rows(session, 'FROM "lake@main".s.v')) == 2
    other.publish()
    again = open_run()
    with closing(again.session()) as session:
        assert view(session).reused is not None
    for ref, count in (("main", 2), ("dev", 3)):
        found = lake.catalog.lookup(lake.catalog.resolve(ref).id, [Key("s", "v")])[Key("s", "v")]
        assert isinstance(found, TableEntry)
        assert (kind_of(found), found.rows) == ("materialized_view", count)
    assert lake.versions.stale("dev") == []
    lake.maintenance.compact(CompactRequest(branch="dev", snapshots=1))
    late = open_run(branch="dev")
    with closing(late.session()) as session:
        assert view(session).reused is not None
        assert kind_of(entry(session)) == "materialized_view"
        session.execute("INSERT INTO lake.s.t VALUES (5)")
    late.publish()
    assert [(one.key, one.moved[0].input) for one in lake.versions.stale("dev")] == [(Key("s", "v"), Key("s", "t"))]
