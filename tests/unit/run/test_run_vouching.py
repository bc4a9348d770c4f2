"""A run that wrote nothing is on record where that makes something clean, and only there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from dbt.adapters.lakehouse.catalog.model import RefKind, RunStatus
from dbt.adapters.lakehouse.errors import TaintedError
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.values import Build, Name

OpenRun = Callable[..., LakeRun]
NODE = "model.shop.t"


def build(run: LakeRun) -> LakeRun:
    session = run.session()
    session.build(Build(name=Name(database="lake", schema="s", name="t"), sql="select 1 as id", node=NODE))
    session.close()
    return run


@pytest.fixture
def fork(lake: EmbeddedLake, open_run: OpenRun) -> str:
    """A branch that starts where a run failed after it wrote a table."""
    failed = build(open_run())
    failed.fail("something else", {NODE: {"status": "success"}})
    assert failed.branch is not None
    lake.catalog.create_ref("fix", RefKind.BRANCH, failed.branch)
    return "fix"


def merge(lake: EmbeddedLake, source: str) -> None:
    assert lake.catalog.merge(source, "main", author="ada", message="merge").commit


@pytest.mark.parametrize("status", ["success", "reused", "pass", "warn"])
def test_a_run_that_finds_all_as_it_should_be_vouches_for_it(lake, open_run, fork, status):
    with pytest.raises(TaintedError):
        merge(lake, fork)
    run = open_run(branch=fork)
    build(run)
    assert run.branch is None, "the table stands there already"
    assert run.publish({NODE: {"status": status}}) is None
    assert lake.catalog.run(run.request.id).status is RunStatus.PUBLISHED
    merge(lake, fork)


@pytest.mark.parametrize("nodes", [{}, {NODE: {"status": "skipped"}}, {"model.shop.other": {"status": "success"}}])
def test_a_run_that_did_not_pass_over_it_does_not(lake, open_run, fork, nodes):
    build(open_run(branch=fork)).publish(nodes)
    with pytest.raises(TaintedError):
        merge(lake, fork)


@pytest.mark.parametrize("command", ["dbt compile", "dbt generate", "dbt show", "dbt clone"])
def test_a_command_that_only_looks_at_nodes_does_not(lake, open_run, fork, command):
    run = build(open_run(branch=fork, command=command))
    run.publish({NODE: {"status": "success"}})
    assert lake.catalog.run(run.request.id) is None
    with pytest.raises(TaintedError):
        merge(lake, fork)


def test_a_command_that_only_looks_at_nodes_vouches_for_none_though_it_wrote(lake, open_run, fork):
    run = open_run(branch=fork, command="dbt compile")
    with contextlib.closing(run.session()) as session:
        session.build(Build(name=Name(database="lake", schema="s", name="other"), sql="select 1 as id"))
    assert run.publish({NODE: {"status": "success"}}) is not None
    with pytest.raises(TaintedError):
        merge(lake, fork)


def test_a_run_that_failed_does_not(lake, open_run, fork):
    run = build(open_run(branch=fork))
    run.fail("on purpose", {NODE: {"status": "success"}})
    assert lake.catalog.run(run.request.id) is None
    with pytest.raises(TaintedError):
        merge(lake, fork)


def test_where_all_passed_a_run_that_wrote_nothing_leaves_no_record(lake, open_run):
    build(open_run()).publish({NODE: {"status": "success"}})
    build(open_run()).fail("on purpose", {NODE: {"status": "success"}})
    before = lake.runs()
    run = build(open_run())
    assert run.publish({NODE: {"status": "reused"}}) is None
    assert lake.runs() == before


def test_what_was_accepted_knowingly_is_vouched_for_where_it_is(lake, open_run, fork):
    lake.catalog.merge(fork, "main", author="ada", message="take it", accept_tainted=True)
    lake.catalog.create_ref("next", RefKind.BRANCH, "main~1")
    with pytest.raises(TaintedError):
        lake.catalog.merge("main", "next", author="ada", message="merge")
    run = build(open_run())
    assert run.publish({NODE: {"status": "reused"}}) is None
    assert lake.catalog.merge("main", "next", author="ada", message="merge").commit
