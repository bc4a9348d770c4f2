"""``isolation: serializable``: what a run read must not have moved on its target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dbt.adapters.lakehouse.catalog.model import ConflictKind, RunStatus
from dbt.adapters.lakehouse.errors import MergeConflict
from dbt.adapters.lakehouse.executors.local import LocalExecutor
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import Build, MergeRequest, Name
from dbt.adapters.lakehouse.settings import Isolation, PublishMode

OpenRun = Callable[..., LakeRun]


def name(table: str) -> Name:
    return Name(database="lake", schema="s", name=table)


def build(run: LakeRun, table: str, sql: str, **more: Any) -> None:
    session = run.session(f"model.shop.{table}")
    session.build(Build(name=name(table), sql=sql, node=f"model.shop.{table}", **more))
    session.close()


def move(open_run: OpenRun, table: str = "raw", sql: str = "select 7 as id") -> LakeRun:
    """Publish another version of a table, as somebody else."""
    run = open_run(author="ann")
    build(run, table, sql)
    run.publish()
    return run


def rows(lake: EmbeddedLake, table: str, ref: str = "main") -> list[Any]:
    session = lake.read(ref, once=True)
    try:
        return [row[0] for row in session.execute(f"select * from s.{table} order by 1").rows]
    finally:
        session.close()


@pytest.fixture
def serializable(open_run: OpenRun, session: RunSession) -> OpenRun:
    session.execute(
        "create schema s; create table s.raw as select 1 as id; create table s.other as select 1 as id; "
        "create view s.v as select * from s.raw"
    )

    def opened(**more: Any) -> LakeRun:
        return open_run(isolation=Isolation.SERIALIZABLE, **more)

    return opened


def refused(run: LakeRun) -> MergeConflict:
    with pytest.raises(MergeConflict) as caught:
        run.publish()
    return caught.value


@pytest.mark.parametrize("sql", ["select * from s.raw", "select * from s.v", 'select * from "lake".s.RAW'])
def test_what_a_build_read_must_not_move(
    lake: EmbeddedLake, open_run: OpenRun, serializable: OpenRun, sql: str
) -> None:
    run = serializable()
    build(run, "t", sql)
    other = move(open_run)
    head = lake.catalog.resolve("main").id
    error = refused(run)
    assert f"changed by run {other.request.id[:8]} while" in str(error)
    assert "s.raw, which it read, changed (isolation: serializable)" in str(error)
    [conflict] = error.conflicts
    assert (str(conflict.key), conflict.kind) == ("s.raw", ConflictKind.READ_CHANGED)
    assert conflict.target_commit is not None
    assert conflict.target_commit.author == "ann"
    assert lake.catalog.resolve("main").id == head
    again = serializable()
    build(again, "t", sql)
    again.publish()
    assert rows(lake, "t") == [7]


@pytest.mark.parametrize(
    "statement",
    [
        "select count(*) from s.raw",
        "create table s.c as select * from s.raw",
        "update s.t set id = (select max(id) from s.raw)",
    ],
)
def test_so_it_is_with_statements(lake: EmbeddedLake, open_run: OpenRun, serializable: OpenRun, statement: str) -> None:
    run = serializable()
    build(run, "t", "select 1 as id")
    session = run.session()
    session.execute(statement)
    session.close()
    move(open_run)
    assert [str(conflict.key) for conflict in refused(run).conflicts] == ["s.raw"]


def test_so_it_is_with_tests_that_passed_before(open_run: OpenRun, serializable: OpenRun) -> None:
    verdict = "count(*) as failures, count(*) != 0 as should_warn, count(*) != 0 as should_error"
    question = f"select {verdict} from s.raw where id is null"

    def ask(run: LakeRun) -> bool:
        session = run.session()
        answer = session.execute(question, test="test.shop.not_null_raw_id.0123456789")
        session.close()
        return answer.reused is not None

    assert not ask(open_run())
    run = serializable()
    assert ask(run)
    build(run, "t", "select 1 as id")
    move(open_run)
    assert [str(conflict.key) for conflict in refused(run).conflicts] == ["s.raw"]


def test_what_it_did_not_read_may_move_and_what_it_made_itself_is_its_own(
    lake: EmbeddedLake, open_run: OpenRun, serializable: OpenRun
) -> None:
    run = serializable()
    build(run, "t", "select 5 as id")
    build(run, "u", "select * from s.t")
    session = run.session()
    session.execute('select * from "lake@main".s.raw')
    session.close()
    move(open_run)
    move(open_run, "other")
    assert run.publish() is not None
    assert (rows(lake, "u"), rows(lake, "raw")) == ([5], [7])


def test_with_snapshot_isolation_reads_may_move(lake: EmbeddedLake, open_run: OpenRun, serializable: OpenRun) -> None:
    run = open_run()
    build(run, "t", "select * from s.raw")
    move(open_run)
    assert run.publish() is not None
    assert (rows(lake, "t"), rows(lake, "raw")) == ([1], [7])


def test_write_skew_is_what_it_prevents(lake: EmbeddedLake, serializable: OpenRun) -> None:
    one, two = serializable(), serializable()
    build(one, "raw", "select id + 10 as id from s.other")
    build(two, "other", "select id + 10 as id from s.raw")
    assert one.publish() is not None
    assert [str(conflict.key) for conflict in refused(two).conflicts] == ["s.raw"]


def test_rows_are_not_put_together_with_those_that_a_run_has_not_seen(
    lake: EmbeddedLake, open_run: OpenRun, serializable: OpenRun
) -> None:
    run = serializable()
    session = run.session()
    session.execute("select count(*) from s.raw; insert into s.raw values (50)")
    session.close()
    other = open_run()
    session = other.session()
    session.execute("insert into s.raw values (100)")
    session.close()
    other.publish()
    assert "s.raw" in [str(conflict.key) for conflict in refused(run).conflicts]
    assert rows(lake, "raw") == [1, 100]


def test_a_run_that_goes_on_answers_for_what_the_first_one_read(
    lake: EmbeddedLake, open_run: OpenRun, serializable: OpenRun
) -> None:
    first = serializable(command="dbt build")
    build(first, "t", "select * from s.raw")
    first.fail("a model failed", {"model.shop.t": {"status": "success"}})
    move(open_run)
    retry = serializable(command="dbt retry", continues=first.request.id)
    build(retry, "u", "select 1 as id")
    assert [str(conflict.key) for conflict in refused(retry).conflicts] == ["s.raw"]
    assert lake.catalog.lookup(lake.catalog.resolve("main").id, []) == {}


def test_what_read_what_moved_can_be_run_again(lake: EmbeddedLake, open_run: OpenRun, serializable: OpenRun) -> None:
    run = serializable()
    build(run, "t", "select * from s.raw")
    build(run, "u", "select 1 as id")
    move(open_run)
    moved = run.moved()
    assert moved is not None
    assert list(moved.conflicts) == ["s.raw"]
    assert moved.read["model.shop.t"] == ("s.raw",)
    run.rebase(moved.head, ["model.shop.t"])
    build(run, "t", "select * from s.raw")
    assert run.publish() is not None
    assert (rows(lake, "t"), rows(lake, "u")) == ([7], [1])


def test_a_run_that_is_taken_up_elsewhere_remembers_what_it_read(
    lake: EmbeddedLake, open_run: OpenRun, serializable: OpenRun
) -> None:
    run = serializable()
    build(run, "t", "select 1 as id")
    session = run.session("test.shop.count")
    session.execute("select count(*) from s.raw")
    session.close()
    move(open_run)
    executor = LocalExecutor(lake.settings)
    again = LakeRun.resume(lake.catalog, executor, lake.settings, run.request, run.memory, owner="service:ann")
    assert [str(conflict.key) for conflict in refused(again).conflicts] == ["s.raw"]
    executor.close()


def test_a_run_that_is_left_stays_serializable(lake: EmbeddedLake, open_run: OpenRun, serializable: OpenRun) -> None:
    run = serializable(publish=PublishMode.MANUAL)
    build(run, "t", "select * from s.raw")
    run.publish({"model.shop.t": {"status": "success"}})
    assert run.branch is not None
    move(open_run)
    request = MergeRequest(source=run.branch, target="main", author="bob", take_all="theirs")
    merged = lake.versions.merge(request)
    assert merged.commit is None
    assert [(str(one.key), one.kind) for one in merged.conflicts] == [("s.raw", ConflictKind.READ_CHANGED)]
    assert [str(one.key) for one in merged.not_settled] == ["s.raw"]
    record = lake.catalog.run(run.request.id)
    assert record is not None
    assert record.status is RunStatus.PASSED
