"""Compaction on a lake: fewer files under the same rows, and nothing that reads them runs again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyiceberg.table import StaticTable

from dbt.adapters.lakehouse.catalog.model import Key, TableEntry, identity
from dbt.adapters.lakehouse.errors import ConfigError, NotInLake, RefNotFound
from dbt.adapters.lakehouse.executors.base import Requester
from dbt.adapters.lakehouse.jobs.job import Job, JobResult, Watch
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run import compaction
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.upkeep import CompactRequest
from dbt.adapters.lakehouse.run.values import Build, Name
from dbt.adapters.lakehouse.settings import PublishMode
from dbt.adapters.lakehouse.tables import maintenance, metadata, reader

OpenRun = Callable[..., LakeRun]


def entry_of(lake: EmbeddedLake, name: str = "t", ref: str = "main") -> TableEntry:
    key = Key("s", name)
    found = lake.catalog.lookup(lake.catalog.resolve(ref).id, [key])[key]
    assert isinstance(found, TableEntry)
    return found


def rows(entry: TableEntry) -> list[tuple[Any, ...]]:
    """All rows in the order in which they lie."""
    with duckdb.connect() as con:
        return con.execute(reader.select_sql(entry.metadata_location)).fetchall()


def scattered(session: RunSession, name: str = "t", files: int = 4) -> None:
    """A table of many files."""
    session.execute(f"CREATE TABLE s.{name} AS SELECT range AS id, 'x' AS word FROM range(0, 100)")
    for part in range(1, files):
        session.execute(f"INSERT INTO s.{name} SELECT range, 'y' FROM range({part * 100}, {part * 100 + 100})")


def test_rows_stay_in_their_order_and_files_become_one(lake: EmbeddedLake, session: RunSession) -> None:
    scattered(session)
    # So many that a row is deleted by a file of its own that says so.
    session.execute("INSERT INTO s.t SELECT range, 'z' FROM range(1000, 301_000)")
    session.execute("DELETE FROM s.t WHERE id = 1007")
    before = entry_of(lake)
    old = maintenance.extent(metadata.load(before.metadata_location))
    assert (old.files, old.deletes) == (5, 1)
    done = lake.maintenance.compact(CompactRequest(branch="main", author="ann"))
    after = entry_of(lake)
    assert sorted(rows(before)) == rows(after)
    assert identity(after) == identity(before)
    assert (after.rows, after.table_uuid, after.columns) == (300_399, before.table_uuid, before.columns)
    (table,) = done.tables
    assert (table.schema, table.name, table.before, table.problem) == ("s", "t", old, None)
    assert table.after is not None
    assert (table.after.files, table.after.deletes, table.after.manifests, table.after.snapshots) == (1, 0, 3, 7)
    commit = lake.catalog.resolve("main")
    assert (done.commit, commit.author, commit.message) == (commit.id, "ann", "Compact s.t")
    assert commit.provenance["compacted"]["s.t"]["before"]["files"] == 5
    # Another reader finds the same.
    found = StaticTable.from_metadata(after.metadata_location).scan().to_arrow()
    assert sorted(found["id"].to_pylist()) == sorted(row[0] for row in rows(before))
    again = lake.maintenance.compact(CompactRequest(branch="main"))
    assert (again.considered, again.tables, again.commit) == (1, (), None)


def test_nothing_that_reads_it_runs_again_and_no_build_brings_the_old_files_back(
    lake: EmbeddedLake, open_run: OpenRun
) -> None:
    session = open_run(publish=PublishMode.EACH_NODE).session()
    session.execute("CREATE TABLE s.raw AS SELECT range AS id FROM range(10)")
    for number in range(3):
        session.execute(f"INSERT INTO s.raw SELECT {100 + number}")
    parent = Build(name=Name(database="lake", schema="s", name="t"), sql="SELECT id FROM s.raw", node="model.t")
    append = Build(
        name=parent.name, sql="SELECT id + 1000 AS id FROM s.raw", mode="append", node="model.t", reuse="never"
    )
    child = Build(
        name=Name(database="lake", schema="s", name="child"), sql="SELECT count(*) AS n FROM s.t", node="model.child"
    )
    session.build(parent)
    for _ in range(3):
        session.build(append)
    session.build(child)
    session.close()
    before = entry_of(lake)
    assert lake.maintenance.compact(CompactRequest(branch="main", tables=(Key("s", "t"), Key("s", "raw")))).tables != ()
    after = entry_of(lake)
    assert after.metadata_location != before.metadata_location
    session = open_run(publish=PublishMode.EACH_NODE).session()
    built = session.build(child)
    assert built.reused is not None
    session.close()
    # A build whose result is known puts no old files in the place of the compacted ones.
    assert entry_of(lake).metadata_location == after.metadata_location


def test_a_build_that_is_reused_keeps_the_compacted_files(
    lake: EmbeddedLake, open_run: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_run(publish=PublishMode.EACH_NODE).session()
    session.execute("CREATE TABLE s.raw AS SELECT range AS id FROM range(100_000)")
    build = Build(
        name=Name(database="lake", schema="s", name="t"),
        sql="SELECT id FROM s.raw",
        node="model.t",
    )
    session.build(build)
    old = entry_of(lake)
    monkeypatch.setattr(maintenance, "MANY_MANIFESTS", 1)
    lake.maintenance.compact(CompactRequest(branch="main", tables=(Key("s", "t"),)))
    compacted = entry_of(lake)
    assert compacted.metadata_location != old.metadata_location
    again = session.build(build)
    assert again.reused is not None
    assert again.entry == compacted
    session.close()


def test_partitions_and_sort_order_are_kept(lake: EmbeddedLake, open_run: OpenRun) -> None:
    session = open_run(publish=PublishMode.EACH_NODE).session()
    build = Build(
        name=Name(database="lake", schema="s", name="t"),
        sql="SELECT range % 3 AS p, range AS id FROM range(30)",
        partition_by=("p",),
        sort_by=("id desc",),
        reuse="never",
    )
    session.build(build)
    for _ in range(2):
        session.execute("INSERT INTO s.t SELECT range % 3, range + 100 FROM range(30)")
    session.close()
    before = entry_of(lake)
    lake.maintenance.compact(CompactRequest(branch="main"))
    after = entry_of(lake)
    table = metadata.load(after.metadata_location)
    assert len(metadata.load(before.metadata_location).data) == 9
    assert len(table.data) == 3
    assert table.metadata.spec() == metadata.load(before.metadata_location).metadata.spec()
    assert sorted(rows(after)) == sorted(rows(before))
    for file in table.data:
        with duckdb.connect() as con:
            ids = [row[0] for row in con.execute(f"SELECT id FROM read_parquet('{file.path[7:]}')").fetchall()]
        assert ids == sorted(ids, reverse=True)


def test_large_files_stay_where_they_are_among_the_small_ones(
    lake: EmbeddedLake, session: RunSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.execute("CREATE TABLE s.t AS SELECT range AS id FROM range(0, 10)")
    session.execute("INSERT INTO s.t SELECT range FROM range(10, 20)")
    session.execute("INSERT INTO s.t SELECT range FROM range(20, 60_000)")
    session.execute("INSERT INTO s.t SELECT range FROM range(60_000, 60_010)")
    session.execute("INSERT INTO s.t SELECT range FROM range(60_010, 60_020)")
    monkeypatch.setattr(maintenance, "SMALL_BYTES", 10_000)
    before = entry_of(lake)
    large = metadata.load(before.metadata_location).data[2].path
    lake.maintenance.compact(CompactRequest(branch="main"))
    after = entry_of(lake)
    files = metadata.load(after.metadata_location).data
    assert (len(files), files[1].path) == (3, large)
    assert rows(after) == rows(before) == [(number,) for number in range(60_020)]


def test_many_manifests_are_merged_and_snapshots_expire_on_request(lake: EmbeddedLake, session: RunSession) -> None:
    session.execute("CREATE TABLE s.t AS SELECT 1 AS id")
    for number in range(3):
        session.execute(f"CREATE OR REPLACE TABLE s.t AS SELECT {number} AS id")
    before = entry_of(lake)
    assert lake.maintenance.compact(CompactRequest(branch="main")).tables == ()
    session.execute("INSERT INTO s.t SELECT 7")
    session.execute("DELETE FROM s.t WHERE id = 7")
    lake.maintenance.compact(CompactRequest(branch="main"))
    session.execute("INSERT INTO s.t SELECT 8")
    lake.maintenance.compact(CompactRequest(branch="main", snapshots=2))
    told = metadata.load(entry_of(lake).metadata_location).metadata
    assert len(told.snapshots) == 2
    done = lake.maintenance.compact(CompactRequest(branch="main", snapshots=1))
    (table,) = done.tables
    assert table.after is not None
    assert (table.before.snapshots, table.after.snapshots) == (2, 1)
    assert rows(entry_of(lake)) == [(2,), (8,)]
    assert lake.maintenance.compact(CompactRequest(branch="main", older_than=timedelta(0))).tables == ()
    assert rows(before) == [(2,)]


def test_a_protected_branch_gets_it_by_one_merge(lake: EmbeddedLake, session: RunSession) -> None:
    scattered(session, "t", files=2)
    scattered(session, "u", files=2)
    head = lake.catalog.resolve("main").id
    lake.catalog.protect("main", True)
    done = lake.maintenance.compact(CompactRequest(branch="main", author="ann"))
    commit = lake.catalog.resolve("main")
    assert (commit.id, commit.parents[0], len(commit.parents)) == (done.commit, head, 2)
    assert [table.problem for table in done.tables] == [None, None]
    assert {change.key for change in lake.catalog.changes(commit.id)} == {Key("s", "t"), Key("s", "u")}
    assert [ref.name for ref in lake.catalog.refs()] == ["main"]


class _Meanwhile:
    """An executor before whose first compaction somebody else does something."""

    def __init__(self, lake: EmbeddedLake, act: Callable[[], None]) -> None:
        self._inner = lake._executor
        self._act: Callable[[], None] | None = act

    def lease(self, requester: Requester | None = None) -> Any:
        inner, outer = self._inner.lease(requester), self

        class Watched:
            def run(self, job: Job, watch: Watch | None = None) -> JobResult:
                result = inner.run(job, watch)
                act, outer._act = outer._act, None
                if act is not None:
                    act()
                return result

            def release(self) -> None:
                inner.release()

        return Watched()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.mark.parametrize("protected", [False, True])
def test_what_somebody_changes_meanwhile_stays_as_they_left_it(
    lake: EmbeddedLake, open_run: OpenRun, protected: bool
) -> None:
    session = open_run(publish=PublishMode.EACH_NODE).session()
    scattered(session, "t", files=2)
    scattered(session, "u", files=2)

    def change() -> None:
        if protected:
            lake.catalog.protect("main", False)
        session.execute("INSERT INTO s.t SELECT 999, 'meanwhile'")
        if protected:
            lake.catalog.protect("main", True)

    if protected:
        lake.catalog.protect("main", True)
    executor = _Meanwhile(lake, change)
    done = compaction.compact(lake.catalog, executor, lake.settings, CompactRequest(branch="main"))  # type: ignore[arg-type]
    first, second = done.tables
    assert first.problem is not None
    assert "changed on branch 'main' while it was being compacted" in first.problem
    assert first.after is None
    assert (second.name, second.problem) == ("u", None)
    assert (999, "meanwhile") in rows(entry_of(lake))
    assert len(metadata.load(entry_of(lake, "u").metadata_location).data) == 1
    session.close()


def test_a_run_in_flight_that_added_rows_still_publishes(lake: EmbeddedLake, open_run: OpenRun) -> None:
    """A nightly compaction must not fail the builds that run beside it."""
    first = open_run()
    session = first.session()
    session.execute("CREATE SCHEMA s")
    scattered(session, files=3)
    session.close()
    first.publish()
    run = open_run()
    session = run.session()
    session.execute("INSERT INTO s.t SELECT 777, 'in flight'")
    lake.maintenance.compact(CompactRequest(branch="main"))
    session.close()
    run.publish()
    after = rows(entry_of(lake))
    assert len(after) == 301
    assert (777, "in flight") in after


def test_a_dry_run_and_requests_that_make_no_sense(lake: EmbeddedLake, session: RunSession) -> None:
    scattered(session)
    session.execute("CREATE VIEW s.v AS SELECT 1 AS a")
    head = lake.catalog.resolve("main").id
    planned = lake.maintenance.compact(CompactRequest(branch="main", dry_run=True))
    assert [(table.name, table.after) for table in planned.tables] == [("t", None)]
    assert lake.catalog.resolve("main").id == head
    for error, request in (
        (RefNotFound, CompactRequest(branch="nowhere")),
        (NotInLake, CompactRequest(branch="main", tables=(Key("s", "none"),))),
        (NotInLake, CompactRequest(branch="main", tables=(Key("s", "v"),))),
        (ConfigError, CompactRequest(branch="main", snapshots=0)),
        (ConfigError, CompactRequest(branch="run/0001-run")),
    ):
        with pytest.raises(error):
            lake.maintenance.compact(request)
    assert lake.catalog.resolve("main").id == head


def test_a_table_whose_files_are_damaged_does_not_keep_the_others(lake: EmbeddedLake, session: RunSession) -> None:
    scattered(session, "t", files=2)
    scattered(session, "u", files=2)
    broken = metadata.load(entry_of(lake).metadata_location).data[0].path
    Path(broken.removeprefix("file://")).write_bytes(b"no Parquet")
    done = lake.maintenance.compact(CompactRequest(branch="main"))
    first, second = done.tables
    assert first.problem is not None
    assert second.problem is None
    assert len(metadata.load(entry_of(lake, "u").metadata_location).data) == 1
