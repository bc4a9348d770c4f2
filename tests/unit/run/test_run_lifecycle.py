"""Runs without dbt: what they see, how they end, and what becomes of those that do not."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dbt.adapters.lakehouse.catalog.model import RefKind, RunRecord, RunStatus
from dbt.adapters.lakehouse.errors import (
    CatalogError,
    ConfigError,
    HeadMoved,
    InvalidRef,
    JobCancelled,
    MergeConflict,
    RefNotFound,
)
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.liveness import LEASE, is_dead, this_process
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import Build, Name
from dbt.adapters.lakehouse.settings import PublishMode

OpenRun = Callable[..., LakeRun]

SLOW = "SELECT count(*) FROM range(1000000) a(i), range(1000000) b(j) WHERE i + j < 0"


def main_rows(lake: EmbeddedLake, sql: str) -> list[Any]:
    session = lake.read("main")
    try:
        return list(session.execute(sql).rows)
    finally:
        session.close()


def test_nothing_is_seen_before_publish_and_everything_after(
    lake: EmbeddedLake, open_run: OpenRun, session: RunSession
) -> None:
    session.execute("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS a")
    run = open_run()
    inside = run.session()
    assert run.branch is None
    inside.execute("INSERT INTO s.t VALUES (2); CREATE TABLE s.u AS SELECT * FROM s.t")
    assert run.branch == f"run/{run.request.id}"
    assert main_rows(lake, "SELECT * FROM s.t") == [(1,)]
    session.execute("CREATE TABLE s.other AS SELECT 1 AS a")
    assert inside.execute("SELECT count(*) FROM s.u").rows == [(2,)]
    assert [entry.name for entry in inside.relations("lake", "s")] == ["t", "u"]
    commit = run.publish({"model.x": {"status": "success"}})
    assert commit is not None
    assert commit.parents[0] != run.branch
    assert sorted(main_rows(lake, "SELECT * FROM s.u")) == [(1,), (2,)]
    assert main_rows(lake, "SELECT * FROM s.other") == [(1,)]
    (record,) = lake.runs()
    assert (record.status, record.published) == (RunStatus.PUBLISHED, commit.id)
    assert record.nodes == {"model.x": {"status": "success"}}
    assert [ref.name for ref in lake.catalog.refs()] == ["main"]
    run.fail("too late")
    assert lake.runs()[0].status is RunStatus.PUBLISHED


def test_a_run_that_wrote_nothing_leaves_no_trace(lake: EmbeddedLake, open_run: OpenRun) -> None:
    for end in (lambda run: run.publish(), lambda run: run.fail("x"), lambda run: run.cancel()):
        run = open_run()
        run.session().execute("SELECT 1")
        end(run)
    assert lake.runs() == []
    assert [ref.name for ref in lake.catalog.refs()] == ["main"]


def test_other_refs_hold_still_for_the_whole_run(open_run: OpenRun, session: RunSession) -> None:
    session.execute("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS a")
    run = open_run()
    question = 'SELECT a FROM "lake@main".s.t'
    assert run.session().execute(question).rows == [(1,)]
    session.execute("UPDATE s.t SET a = 2")
    assert run.session().execute(question).rows == [(1,)]
    assert open_run().session().execute(question).rows == [(2,)]


def test_the_second_of_two_runs_on_one_table_is_told_who_was_first(
    lake: EmbeddedLake, open_run: OpenRun, session: RunSession
) -> None:
    session.execute("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS a")
    one, two = open_run(), open_run()
    one.session().execute("INSERT INTO s.t VALUES (2)")
    two.session().execute("UPDATE s.t SET a = 3; CREATE TABLE s.u AS SELECT 1 AS a")
    one.publish()
    head = lake.catalog.resolve("main").id
    with pytest.raises(
        MergeConflict, match=f"changed by run {one.request.id[:8]} .*s.t changed on both sides"
    ) as caught:
        two.publish()
    assert [str(conflict.key) for conflict in caught.value.conflicts] == ["s.t"]
    assert lake.catalog.resolve("main").id == head
    assert {run.id: run.status for run in lake.runs()} == {
        one.request.id: RunStatus.PUBLISHED,
        two.request.id: RunStatus.FAILED,
    }


def test_a_live_session_does_not_overwrite_what_it_did_not_see(open_run: OpenRun, session: RunSession) -> None:
    session.execute("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS a")
    other = open_run(publish=PublishMode.EACH_NODE).session()
    real = session.submit

    def slowly(*args: Any, **keys: Any) -> Any:
        answer = real(*args, **keys)
        session.submit = real  # type: ignore[method-assign]
        other.execute("INSERT INTO s.t VALUES (2)")
        return answer

    session.submit = slowly  # type: ignore[method-assign]
    with pytest.raises(HeadMoved, match=r"s\.t changed on branch 'main'"):
        session.execute("DELETE FROM s.t")
    assert sorted(session.execute("SELECT * FROM s.t").rows) == [(1,), (2,)]


def test_a_merge_that_cannot_be_is_written_down(
    lake: EmbeddedLake, open_run: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run()
    run.session().execute("CREATE SCHEMA s")

    def full(*_: object, **__: object) -> None:
        raise CatalogError("no room")

    monkeypatch.setattr(lake.catalog, "merge", full)
    with pytest.raises(CatalogError, match="no room"):
        run.publish()
    assert [(record.status, record.error) for record in lake.runs()] == [(RunStatus.FAILED, "no room")]


def test_a_branch_comes_from_another_which_must_exist(lake: EmbeddedLake, open_run: OpenRun) -> None:
    with pytest.raises(RefNotFound, match="'nowhere'"):
        open_run(branch="dev", from_branch="nowhere").session()
    open_run(branch="dev").session()
    assert [ref.name for ref in lake.catalog.refs(RefKind.BRANCH)] == ["dev", "main"]


def test_nobody_writes_to_the_branch_of_another_run(lake: EmbeddedLake, open_run: OpenRun) -> None:
    failed = open_run()
    failed.session().execute("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS a")
    failed.fail("on purpose")
    assert failed.branch is not None
    head = lake.catalog.resolve(failed.branch).id
    for name in (failed.branch, failed.branch[:8]):
        with pytest.raises(InvalidRef, match=r"is the branch of a run, which nobody else writes to; .* --from run/"):
            open_run(branch=name).session().execute("INSERT INTO s.t SELECT 2")
    assert lake.catalog.resolve(failed.branch).id == head


def test_a_continued_run_starts_from_what_the_failed_one_left(lake: EmbeddedLake, open_run: OpenRun) -> None:
    failed = open_run()
    failed.session().execute("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS a")
    failed.fail("on purpose")
    again = open_run(continues=failed.request.id)
    again.session().execute("CREATE TABLE s.u AS SELECT * FROM s.t")
    again.publish()
    assert main_rows(lake, "SELECT * FROM s.u") == [(1,)]
    assert {run.id: run.status for run in lake.runs()} == {
        failed.request.id: RunStatus.CONTINUED,
        again.request.id: RunStatus.PUBLISHED,
    }
    # What is published, or meant for another branch, is not continued.
    for other in (open_run(continues=again.request.id), open_run(continues=failed.request.id, branch="dev")):
        assert other.own().commit == lake.catalog.resolve("main").id


def test_cancel_ends_what_runs_within_a_moment(lake: EmbeddedLake, open_run: OpenRun) -> None:
    run = open_run()
    session = run.session()
    session.execute("CREATE SCHEMA s")
    errors: list[BaseException] = []

    def work() -> None:
        try:
            session.execute(f"CREATE TABLE s.t AS {SLOW}")
        except JobCancelled as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)
    started = time.monotonic()
    run.cancel()
    thread.join(20)
    assert not thread.is_alive()
    assert time.monotonic() - started < 3
    assert len(errors) == 1
    with pytest.raises(JobCancelled):
        session.execute("SELECT 1")
    run.session().execute("CREATE TABLE s.ended AS SELECT 1 AS a")  # hooks of --fail-fast, by the thread that cancelled
    run.fail("cancelled", abandoned=True)
    assert [record.status for record in lake.runs()] == [RunStatus.ABANDONED]


def test_a_macro_holds_for_the_whole_run_on_every_worker(open_run: OpenRun) -> None:
    run = open_run()
    hook = run.session()
    hook.execute("CREATE MACRO twice(a) AS a * 2; CREATE OR REPLACE MACRO thrice(a) AS twice(a) + a")
    other = run.session()
    assert other.execute("SELECT thrice(2)").rows == [(6,)]
    hook.close()
    assert run.session().execute("SELECT twice(2)").rows == [(4,)]


def record(**more: Any) -> RunRecord:
    now = datetime.now(UTC)
    keys = {"id": "r", "branch": "run/r", "target": "main", "base": "c", "command": "x", "status": RunStatus.OPEN}
    return RunRecord(**{**keys, "owner": this_process(), "started_at": now, "heartbeat_at": now, **more})


def test_who_counts_as_dead() -> None:
    host, silent = socket.gethostname(), datetime.now(UTC) - 2 * LEASE
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    gone = f"{host}:{child.pid}:1"
    assert child.wait() == 0
    assert not is_dead(record())
    assert not is_dead(record(heartbeat_at=silent)), "a process that is there may be slow"
    assert is_dead(record(owner=gone))
    assert is_dead(record(owner=f"{host}:{os.getpid()}:12345")), "the number belongs to another process by now"
    assert not is_dead(record(owner="elsewhere:1:1"))
    assert is_dead(record(owner="elsewhere:1:1", heartbeat_at=silent))
    assert not is_dead(record(owner="elsewhere:1:1"), now=datetime.now(UTC) + LEASE - timedelta(seconds=5))
    assert not is_dead(record(owner=gone, status=RunStatus.PUBLISHED))


def test_a_run_whose_process_is_gone_becomes_abandoned(lake: EmbeddedLake, open_run: OpenRun) -> None:
    run = open_run()
    run.session().execute("CREATE SCHEMA s")
    (open_record,) = lake.runs()
    assert open_record.status is RunStatus.OPEN
    lake.catalog.save_run(dataclasses.replace(open_record, owner=f"{socket.gethostname()}:999999999:1"))
    (swept,) = lake.runs()
    assert swept.status is RunStatus.ABANDONED
    assert swept.error == "the process that worked on this run is gone"


@pytest.mark.parametrize(("schema", "table"), [("", "t"), ("s", ""), ("s", "a\0b")])
def test_names_that_cannot_be_said_are_refused(open_run: OpenRun, schema: str, table: str) -> None:
    run = open_run()
    session = run.session()
    name = Name(database="lake", schema=schema, name=table)
    with pytest.raises(ConfigError, match="is no name of a table or view"):
        session.build(Build(name=name, sql="SELECT 1 AS a"))
    with pytest.raises(ConfigError, match="is no name of a table or view"):
        session.create_view(name, "SELECT 1 AS a")
    session.close()
    assert run.branch is None
