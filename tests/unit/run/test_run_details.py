"""What is known of relations beyond the catalog: when rows changed, how files lie."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dbt.adapters.lakehouse.errors import RefNotFound
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.details import Details
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.upkeep import CompactRequest
from dbt.adapters.lakehouse.run.values import Build, Name


def named(text: str, database: str = "lake") -> Name:
    schema, name = text.split(".")
    return Name(database=database, schema=schema, name=name)


def known(session: RunSession, text: str, database: str = "lake") -> Details:
    (found,) = session.details([named(text, database)])
    assert found is not None
    return found


def modified(session: RunSession, text: str, database: str = "lake") -> datetime:
    time = known(session, text, database).modified
    assert time is not None
    return time


def test_a_table_tells_how_it_lies_and_where_it_was_read(session: RunSession) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    session.build(
        Build(
            name=named("s.t"),
            sql="SELECT i, (DATE '2026-01-01' + i::int)::timestamp AS at FROM range(3) r(i)",
            partition_by=("day(at)", "truncate(10, i)"),
            sort_by=("i desc",),
        )
    )
    found = known(session, "s.t")
    assert (found.ref, found.commit) == ("main", session.state.own.commit)
    assert (found.files, found.deletes) == (3, 0)
    assert found.partition_by == ("day(at)", "truncate(10, i)")
    assert found.sort_by[0].startswith("i desc")
    assert found.modified is not None
    assert before <= found.modified <= datetime.now(UTC)


def test_rows_that_change_make_a_table_newer_and_columns_do_not(session: RunSession) -> None:
    session.execute("CREATE TABLE s.t AS SELECT 1 AS a")
    made = modified(session, "s.t")
    session.execute("ALTER TABLE s.t ADD COLUMN b int")
    session.execute("COMMENT ON TABLE s.t IS 'told'")
    assert modified(session, "s.t") == made
    session.execute("INSERT INTO s.t VALUES (2, 3)")
    added = modified(session, "s.t")
    assert added > made
    session.execute("DELETE FROM s.t WHERE a = 1")
    assert modified(session, "s.t") > added


def test_compaction_makes_nothing_newer(lake: EmbeddedLake, session: RunSession) -> None:
    session.execute("CREATE TABLE s.t AS SELECT 1 AS a")
    for number in range(3):
        session.execute(f"INSERT INTO s.t VALUES ({number})")
    last, files = modified(session, "s.t"), known(session, "s.t").files
    for _ in range(2):
        lake.maintenance.compact(CompactRequest(author="ann", branch="main", snapshots=1))
    compacted = known(session, "s.t")
    assert (files, compacted.files) == (4, 1)
    assert compacted.modified == last


def test_another_name_for_the_same_rows_is_as_old_as_they_are(session: RunSession) -> None:
    session.execute("CREATE TABLE s.t AS SELECT 1 AS a")
    session.execute("CREATE TABLE s.copy CLONE s.t")
    first = session.build(Build(name=named("s.a"), sql="SELECT a + 1 AS b FROM s.t"))
    second = session.build(Build(name=named("s.b"), sql="SELECT a + 1 AS b FROM s.t"))
    assert (first.reused is None, second.reused is None) == (True, False)
    assert modified(session, "s.copy") == modified(session, "s.t")
    assert modified(session, "s.a") == modified(session, "s.b")


def test_a_view_is_as_new_as_the_newest_table_that_it_reads(session: RunSession) -> None:
    session.execute("CREATE TABLE s.old AS SELECT 1 AS a")
    session.execute("CREATE TABLE s.new AS SELECT 2 AS a")
    session.execute("CREATE VIEW s.inner_view AS SELECT * FROM s.new")
    session.execute("CREATE VIEW s.v AS SELECT * FROM s.old UNION ALL SELECT * FROM s.inner_view")
    session.execute("CREATE VIEW s.nothing AS SELECT 1 AS a")
    assert modified(session, "s.v") == modified(session, "s.new") > modified(session, "s.old")
    nothing = known(session, "s.nothing")
    assert (nothing.modified, nothing.files, nothing.problem) == (None, None, "")


def test_states_are_told_apart(lake: EmbeddedLake, session: RunSession) -> None:
    session.execute("CREATE TABLE s.t AS SELECT 1 AS a")
    session.execute("CREATE VIEW s.v AS SELECT * FROM s.t")
    before, then = session.state.own.commit, modified(session, "s.v")
    session.execute("INSERT INTO s.t VALUES (2)")
    old = known(session, "s.v", f"lake@{before}")
    assert (old.modified, old.ref, old.commit) == (then, before, before)
    assert modified(session, "s.v") > then
    reading = lake.read("main")
    try:
        (found,) = reading.details([named("s.t")])
    finally:
        reading.close()
    assert found is not None
    assert found.ref == found.commit == session.state.own.commit
    with pytest.raises(RefNotFound, match="nope"):
        session.details([named("s.t", "lake@nope")])


def test_what_is_not_there_is_none_and_hides_nothing_else(session: RunSession) -> None:
    session.execute("CREATE TABLE s.t AS SELECT 1 AS a")
    found = session.details([named("s.nope"), named("s.t"), named("main.t", "other"), named("s.T")])
    assert [one.entry.name if one is not None else None for one in found] == [None, "t", None, "t"]
    assert session.details([]) == []


def test_metadata_that_is_gone_is_a_problem_of_its_table_alone(tmp_path: Path, session: RunSession) -> None:
    from dbt.adapters.lakehouse.tables.metadata import CACHE

    session.execute("CREATE TABLE s.bad AS SELECT 1 AS a")
    session.execute("CREATE TABLE s.good AS SELECT 1 AS a")
    location = known(session, "s.bad").entry.metadata_location  # type: ignore[union-attr]
    Path(location.removeprefix("file://")).unlink()
    CACHE._tables.pop(location)
    bad, good = session.details([named("s.bad"), named("s.good")])
    assert bad is not None
    assert good is not None
    assert location in bad.problem
    assert (bad.modified, bad.files) == (None, None)
    assert good.modified is not None
