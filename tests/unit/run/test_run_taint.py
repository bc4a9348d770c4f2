"""What a run left that did not pass, on a real lake: forked, fixed, reused, cloned, changed by statements (invariant 6)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from dbt.adapters.lakehouse.catalog.model import MergeResult, RefKind
from dbt.adapters.lakehouse.errors import TaintedError
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.values import Build, Built, Name

OpenRun = Callable[..., LakeRun]


def build(run: LakeRun, name: str, sql: str, **more: Any) -> Built:
    with contextlib.closing(run.session()) as session:
        table = Name(database="lake", schema="s", name=name)
        return session.build(Build(name=table, sql=sql, node=f"model.shop.{name}", **more))


def say(run: LakeRun, sql: str) -> None:
    with contextlib.closing(run.session()) as session:
        session.execute(sql, fetch=False)


def nodes(*names: str, status: str = "success") -> dict[str, Any]:
    return {f"model.shop.{name}": {"status": status} for name in names}


def merge(lake: EmbeddedLake, source: str, target: str = "main") -> MergeResult:
    return lake.catalog.merge(source, target, author="bob", message="merge")


def branch(lake: EmbeddedLake, name: str, at: str = "main") -> None:
    lake.catalog.create_ref(name, RefKind.BRANCH, at)


def tables(lake: EmbeddedLake, ref: str = "main") -> set[str]:
    return {key.name for key in lake.catalog.entries(lake.catalog.resolve(ref).id) if key.name}


@pytest.fixture
def failed(lake: EmbeddedLake, open_run: OpenRun) -> str:
    """A run that built ``good`` and failed before the next; its branch."""
    run = open_run()
    build(run, "good", "select range as id from range(10)")
    run.fail("1 failed", {**nodes("good"), **nodes("bad", status="error")})
    assert run.branch is not None
    return run.branch


def test_fork_fix_run_again_and_merge_reuses_the_good_part(lake, open_run, failed):
    branch(lake, "fix", failed)
    with pytest.raises(TaintedError, match=r"tables: s\.good\. Continue the run"):
        merge(lake, "fix")
    run = open_run(branch="fix")
    assert build(run, "good", "select range as id from range(10)").reused is not None
    build(run, "bad", "select count(*) as n from s.good")
    run.publish(nodes("good", "bad"))
    assert merge(lake, "fix").commit is not None
    assert tables(lake) == {"good", "bad"}


def test_a_run_that_does_not_have_the_node_does_not_carry_it_out(lake, open_run, failed):
    branch(lake, "fix", failed)
    run = open_run(branch="fix")
    build(run, "bad", "select count(*) as n from s.good")
    run.publish(nodes("bad"))
    with pytest.raises(TaintedError, match=r"tables: s\.good\."):
        merge(lake, "fix")
    assert tables(lake) == set()


@pytest.mark.parametrize(
    "statements",
    [
        ['create table s.copy clone "lake@{failed}".s.good'],
        ['create table s.copy clone "lake@{failed}".s.good', "insert into s.copy values (11)"],
        ['create table s.first clone "lake@{failed}".s.good', "alter table s.first rename to copy"],
    ],
    ids=["cloned", "cloned and changed", "cloned and renamed"],
)
def test_a_clone_in_a_run_that_passes_is_no_way_out(lake, open_run, failed, statements):
    run = open_run()
    for statement in statements:
        say(run, statement.format(failed=failed))
    with pytest.raises(TaintedError, match=r"tables: s\.copy"):
        run.publish(nodes("copy", "good"))
    assert tables(lake) == set()


def test_a_copy_is_a_table_of_its_own(lake, open_run, failed):
    run = open_run()
    build(run, "copy", f'select * from "lake@{failed}".s.good')
    run.publish(nodes("copy"))
    assert tables(lake) == {"copy"}


def test_a_statement_on_it_is_no_way_out_and_making_it_anew_is(lake, open_run, failed):
    branch(lake, "fix", failed)
    run = open_run(branch="fix")
    say(run, "insert into s.good values (11)")
    run.publish(nodes("other"))
    with pytest.raises(TaintedError, match=r"tables: s\.good\."):
        merge(lake, "fix")
    run = open_run(branch="fix")
    say(run, "create or replace table s.good as select 1 as id")
    run.publish(nodes("other"))
    assert merge(lake, "fix").commit is not None


def test_what_was_reused_and_published_may_be_cloned(lake, open_run, failed):
    run = open_run()
    assert build(run, "good", "select range as id from range(10)").reused is not None
    run.publish(nodes("good"))
    run = open_run()
    say(run, "create table s.copy clone s.good")
    run.publish(nodes("copy"))
    assert tables(lake) == {"good", "copy"}


def test_a_run_that_continues_the_failed_one_carries_everything(lake, open_run, failed):
    run = open_run(continues=failed.removeprefix("run/"))
    build(run, "bad", "select count(*) as n from s.good")
    run.publish(nodes("bad"))
    assert tables(lake) == {"good", "bad"}
