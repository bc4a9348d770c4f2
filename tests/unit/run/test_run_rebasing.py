"""A run's branch starts over from its target's new head."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from dbt.adapters.lakehouse.catalog.model import Key, RunStatus, TableEntry
from dbt.adapters.lakehouse.errors import ConflictError, HeadMoved, MergeConflict
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import Build, Name

OpenRun = Callable[..., LakeRun]


def build(run: LakeRun, node: str, sql: str, *, hook: str | None = None) -> None:
    session = run.session(node)
    try:
        session.build(Build(name=Name(database="lake", schema="s", name=node), sql=sql, node=node))
        if hook is not None:
            session.execute(hook)
    finally:
        session.close()


def rows(lake: EmbeddedLake, sql: str, ref: str = "main") -> list[Any]:
    session = lake.read(ref)
    try:
        return sorted(session.execute(sql).rows)
    finally:
        session.close()


@pytest.fixture
def raced(open_run: OpenRun, session: RunSession) -> LakeRun:
    """A run that built a and b from a source, and c; the target got another a, and another source."""
    session.execute("CREATE SCHEMA s; CREATE TABLE s.source AS SELECT 1 AS id")
    run = open_run()
    build(run, "a", "SELECT id FROM s.source")
    build(run, "b", "SELECT id + 1 AS id FROM s.a")
    build(run, "c", "SELECT 5 AS id")
    session.execute("INSERT INTO s.source VALUES (2); CREATE TABLE s.a AS SELECT 7 AS id")
    return run


def test_what_is_in_the_way_is_told(raced: LakeRun, lake: EmbeddedLake) -> None:
    moved = raced.moved()
    assert moved is not None
    assert moved.head == lake.catalog.resolve("main").id
    assert list(moved.conflicts) == ["s.a"]
    assert set(moved.changed) == {"s.a", "s.source"}
    assert moved.wrote == {"a": ("s.a",), "b": ("s.b",), "c": ("s.c",)}
    assert moved.read["b"] == ("s.a",)


def test_what_is_kept_keeps_its_entry_and_its_provenance(raced: LakeRun, lake: EmbeddedLake) -> None:
    before = lake.catalog.lookup(raced.own().commit, [Key("s", "c")])
    made = lake.catalog.last_change(raced.own().commit, Key("s", "c"))
    head = lake.catalog.resolve("main").id
    raced.rebase(head, ["a", "b"])
    assert lake.catalog.lookup(raced.own().commit, [Key("s", "c"), Key("s", "b")]) == before
    assert [ref.name for ref in lake.catalog.refs()] == ["main", f"run/{raced.request.id}"]
    commit = lake.catalog.last_change(raced.own().commit, Key("s", "c"))
    assert made is not None
    assert commit is not None
    assert (commit.provenance, commit.message) == (made.provenance, made.message)
    assert (commit.parents, commit.run) == ((head,), raced.request.id)
    assert raced.session().execute("SELECT id FROM s.a").rows == [(7,)]
    assert sorted(raced.session().execute("SELECT id FROM s.source").rows) == [(1,), (2,)]
    assert raced.moved() is None
    build(raced, "a", "SELECT id FROM s.source")
    assert raced.publish() is not None
    assert rows(lake, "SELECT id FROM s.a") == [(1,), (2,)]
    assert rows(lake, "SELECT id FROM s.c") == [(5,)]
    (record,) = lake.runs()
    assert (record.status, record.base) == (RunStatus.PUBLISHED, head)


def test_it_is_published_unless_the_target_moved(raced: LakeRun, lake: EmbeddedLake) -> None:
    moved = raced.publish_unless_moved({"model.x": {"status": "success"}})
    assert moved == raced.moved()
    assert moved is not None
    assert lake.runs()[0].status is RunStatus.OPEN
    raced.rebase(moved.head, ["a", "b"])
    build(raced, "a", "SELECT id FROM s.source")
    assert raced.publish_unless_moved({"model.x": {"status": "success"}}) is None
    (record,) = lake.runs()
    assert (record.status, record.nodes) == (RunStatus.PUBLISHED, {"model.x": {"status": "success"}})
    commit = raced.publish()
    assert commit is not None
    assert commit.id == record.published == lake.catalog.resolve("main").id
    raced.fail("too late")
    assert lake.runs()[0].status is RunStatus.PUBLISHED


def test_it_starts_from_the_head_of_the_target_alone(raced: LakeRun, lake: EmbeddedLake, session: RunSession) -> None:
    moved = raced.moved()
    assert moved is not None
    session.execute("CREATE TABLE s.more AS SELECT 1 AS id")
    was = raced.own().commit
    with pytest.raises(HeadMoved, match="moved on"):
        raced.rebase(moved.head, ["a", "b"])
    assert lake.catalog.resolve(raced.branch or "").id == was


def test_what_would_be_kept_and_is_in_conflict_stops_it(raced: LakeRun, lake: EmbeddedLake) -> None:
    was = raced.own().commit
    with pytest.raises(ConflictError, match=r"s\.a changed on both sides"):
        raced.rebase(lake.catalog.resolve("main").id, ["b"])
    assert lake.catalog.resolve(raced.branch or "").id == was
    with pytest.raises(MergeConflict):
        raced.publish()


def test_a_table_of_several_nodes_is_made_again_by_all_of_them(
    open_run: OpenRun, lake: EmbeddedLake, session: RunSession
) -> None:
    session.execute("CREATE SCHEMA s; CREATE TABLE s.audit (who VARCHAR)")
    run = open_run()
    build(run, "a", "SELECT 1 AS id", hook="INSERT INTO s.audit VALUES ('a')")
    build(run, "b", "SELECT 2 AS id", hook="INSERT INTO s.audit VALUES ('b')")
    session.execute("CREATE TABLE s.a AS SELECT 7 AS id")
    moved = run.moved()
    assert moved is not None
    assert moved.wrote == {"a": ("s.a", "s.audit"), "b": ("s.audit", "s.b")}
    with pytest.raises(ConflictError, match=r"s\.audit would have to be made again, but b wrote it, too"):
        run.rebase(moved.head, ["a"])
    run.rebase(moved.head, ["a", "b"])
    assert run.session().execute("SELECT * FROM s.audit").rows == []


def test_a_drop_is_carried_over(open_run: OpenRun, lake: EmbeddedLake, session: RunSession) -> None:
    session.execute("CREATE SCHEMA s; CREATE TABLE s.old AS SELECT 1 AS id")
    run = open_run()
    build(run, "a", "SELECT 1 AS id", hook="DROP TABLE s.old")
    build(run, "b", "SELECT 2 AS id")
    session.execute("CREATE TABLE s.b AS SELECT 7 AS id")
    run.rebase(lake.catalog.resolve("main").id, ["b"])
    build(run, "b", "SELECT 3 AS id")
    run.publish()
    names = {key.name for key, entry in lake.catalog.entries(lake.catalog.resolve("main").id).items() if key.name}
    assert names == {"a", "b"}


def test_a_run_that_continues_one_in_conflict_starts_from_the_new_head(
    raced: LakeRun, lake: EmbeddedLake, open_run: OpenRun
) -> None:
    with pytest.raises(MergeConflict):
        raced.publish({"c": {"status": "success"}})
    moved = raced.moved()
    assert moved is not None, "what is in conflict is known after it failed, too"
    run = open_run(continues=raced.request.id, again=("a", "b"))
    assert run.session().execute("SELECT id FROM s.a").rows == [(7,)]
    build(run, "a", "SELECT id FROM s.source")
    build(run, "b", "SELECT id + 1 AS id FROM s.a")
    nodes = {name: {"status": "success"} for name in "ab"}
    assert run.publish(nodes) is not None
    assert rows(lake, "SELECT id FROM s.b") == [(2,), (3,)]
    assert rows(lake, "SELECT id FROM s.c") == [(5,)]
    assert {record.status for record in lake.runs()} == {RunStatus.PUBLISHED, RunStatus.CONTINUED}


REBASE = """
import os, signal, sys
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.values import Build, Name, RunRequest
from dbt.adapters.lakehouse.settings import LakeSettings

warehouse, catalog, method, when = sys.argv[1:]
lake = EmbeddedLake.open(LakeSettings(warehouse=warehouse, catalog=catalog))
run = lake.open_run(RunRequest(id="dies", command="test", branch="main"))
session = run.session("c")
session.build(Build(name=Name(database="lake", schema="s", name="c"), sql="SELECT 5 AS id", node="c"))
session.build(Build(name=Name(database="lake", schema="s", name="a"), sql="SELECT 1 AS id", node="a"))
other = lake.open_run(RunRequest(id="other", command="test", branch="main"))
theirs = other.session()
theirs.execute("CREATE TABLE s.a AS SELECT 7 AS id")
other.publish()
call = getattr(SqlCatalog, method)

def fatal(*args, **kwargs):
    if when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    call(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(SqlCatalog, method, fatal)
run.rebase(lake.catalog.resolve("main").id, ["a"])
"""


@pytest.mark.parametrize(
    "instant",
    ["after create_ref", "after commit", "before assign", "after assign", "after save_run", "after delete_ref"],
)
def test_a_kill_on_the_way_leaves_a_run_that_can_be_continued(
    lake: EmbeddedLake, session: RunSession, open_run: OpenRun, instant: str
) -> None:
    session.execute("CREATE SCHEMA s")
    when, method = instant.split()
    settings = lake.settings
    done = subprocess.run(
        [sys.executable, "-c", REBASE, settings.warehouse, settings.catalog, method, when],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -9, done.stderr
    record = next(record for record in lake.runs() if record.id == "dies")
    assert record.status is RunStatus.ABANDONED
    assert rows(lake, "SELECT id FROM s.a") == [(7,)]
    run = open_run(continues="dies", again=("a",))
    assert run.session().execute("SELECT id FROM s.c").rows == [(5,)]
    build(run, "a", "SELECT 2 AS id")
    assert run.publish({name: {"status": "success"} for name in "ac"}) is not None
    assert rows(lake, "SELECT id FROM s.a") == [(2,)]
    (entry,) = lake.catalog.lookup(lake.catalog.resolve("main").id, [Key("s", "c")]).values()
    assert isinstance(entry, TableEntry)
    assert rows(lake, "SELECT id FROM s.c") == [(5,)]
