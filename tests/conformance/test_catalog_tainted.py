"""What runs that did not pass wrote stays where it is until a run that passed vouches for it (invariant 6)."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from catalog_acts import NOBODY, branch, commit, drop, end_run, put, start_run, table, versions

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import (
    Key,
    Put,
    RefKind,
    RunStatus,
    SchemaEntry,
    Settled,
    TableEntry,
    ViewEntry,
    content_id,
)
from dbt.adapters.lakehouse.errors import TaintedError


def model(name: str, version: int = 1) -> TableEntry:
    """A table that its model wrote."""
    return dataclasses.replace(table(name, version), node=f"model.p.{name}")


def under(name: str, entry: TableEntry) -> TableEntry:
    """The same files under another name."""
    return dataclasses.replace(entry, name=name)


def write(catalog: Catalog, branch_: str, *puts: Put, run: str | None = None, **said: Any) -> str:
    return catalog.commit(branch_, puts, run=run, provenance=said, **NOBODY).id


def build(catalog: Catalog, run: str, *entries: TableEntry, mode: str = "create") -> None:
    for entry in entries:
        write(catalog, f"run/{run}", put(entry), run=run, mode=mode, node=entry.node)


def refused(catalog: Catalog, source: str, *tables: str, target: str = "main") -> None:
    """Merging is refused for exactly these tables, and nothing moves."""
    head = catalog.resolve(target)
    for dry_run in (True, False):
        with pytest.raises(TaintedError) as caught:
            catalog.merge(source, target, dry_run=dry_run, **NOBODY)
        named = str(caught.value).partition("tables: ")[2].partition(". ")[0]
        assert named.split(", ") == [f"s.{name}" for name in tables]
    assert catalog.resolve(target) == head


@pytest.fixture
def broken(catalog):
    """Main has t1 and t2; a run built t1 anew, failed at t2, and somebody forked its branch."""
    commit(catalog, "main", put(model("t1")), put(model("t2")))
    start_run(catalog, "bad")
    build(catalog, "bad", model("t1", 2))
    end_run(catalog, "bad", RunStatus.FAILED, "model.p.t1")
    branch(catalog, "fix", "run/bad")
    return catalog


def a_fixing_run(
    catalog: Catalog, name: str, *entries: TableEntry, at: str = "fix", also: tuple[str, ...] = ()
) -> None:
    """A run on a branch that builds some tables and finds the nodes in ``also`` fine as they are."""
    start_run(catalog, name, at, target=at)
    build(catalog, name, *entries)
    end_run(catalog, name, RunStatus.OPEN, *(entry.node or "" for entry in entries), *also)
    catalog.merge(f"run/{name}", at, run=name, **NOBODY)


def test_a_fork_that_a_passing_run_fixed_goes_and_the_good_part_with_it(broken):
    refused(broken, "fix", "t1")
    a_fixing_run(broken, "good", model("t2", 2), also=("model.p.t1",))
    assert broken.run("good").status is RunStatus.PUBLISHED
    assert broken.merge("fix", "main", **NOBODY).commit
    assert versions(broken, "main") == {"s.t1": 2, "s.t2": 2}


def test_a_run_that_found_everything_fine_as_it_is_vouches_without_a_commit(broken):
    a_fixing_run(broken, "good", also=("model.p.t1", "model.p.t2"))
    assert broken.resolve("fix") == broken.resolve("run/bad")
    assert broken.merge("fix", "main", **NOBODY).commit


def test_a_run_that_left_the_node_out_vouches_for_nothing(broken):
    a_fixing_run(broken, "other", model("t2", 2))
    refused(broken, "fix", "t1")
    a_fixing_run(broken, "then", also=("model.p.t1",))
    assert broken.merge("fix", "main", **NOBODY).commit


@pytest.mark.parametrize("status", ["error", "fail", "skipped", "runtime error", "partial success"])
def test_a_node_that_did_not_pass_is_not_vouched_for(broken, status):
    start_run(broken, "good", "fix", target="fix")
    record = broken.run("good")
    nodes = {"model.p.t1": {"status": status}}
    broken.save_run(dataclasses.replace(record, status=RunStatus.PASSED, nodes=nodes))
    refused(broken, "fix", "t1")


def test_a_run_that_failed_again_vouches_for_nothing(broken):
    start_run(broken, "again", "fix", target="fix")
    build(broken, "again", model("t2", 2))
    end_run(broken, "again", RunStatus.FAILED, "model.p.t1", "model.p.t2")
    refused(broken, "run/again", "t1", "t2")
    refused(broken, "fix", "t1")


def test_a_run_that_began_before_it_was_written_vouches_for_nothing(broken):
    a_fixing_run(broken, "elsewhere", model("t3"), at="main", also=("model.p.t1",))
    refused(broken, "fix", "t1")


def test_a_repair_vouches_only_where_it_travels_along(broken):
    a_fixing_run(broken, "good", model("t2", 2), also=("model.p.t1",))
    refused(broken, "run/bad", "t1")
    branch(broken, "half", "run/bad")
    commit(broken, "half", put(table("own")))
    refused(broken, "half", "t1")


def test_what_a_repair_replaced_does_not_come_back_by_it(broken):
    a_fixing_run(broken, "good", model("t1", 3))
    assert versions(broken, "fix")["s.t1"] == 3
    write(broken, "fix", put(model("t1", 2)))
    refused(broken, "fix", "t1")


def test_a_second_actor_leaks_nothing_by_commits_of_their_own(broken):
    commit(broken, "fix", put(table("own")))
    branch(broken, "deeper", "fix")
    commit(broken, "deeper", put(table("own", 2)))
    branch(broken, "dev")
    commit(broken, "dev", put(table("more")))
    broken.merge("deeper", "dev", accept_tainted=True, **NOBODY)
    for source in ("run/bad", "fix", "fix~1", "deeper", "dev"):
        refused(broken, source, "t1")
        with pytest.raises(TaintedError, match=r"bad \(failed\); tables: s\.t1\."):
            broken.assign("main", source, expected=broken.resolve("main").id)
    with pytest.raises(TaintedError):
        broken.merge("fix", "main", fast_forward=True, **NOBODY)


def test_what_was_overwritten_or_dropped_since_does_not_taint(broken):
    commit(broken, "fix", drop("t1"))
    assert broken.merge("fix", "main", dry_run=True, **NOBODY).conflicts == ()
    branch(broken, "over", "fix~1")
    write(broken, "over", put(model("t1", 3)), mode="create")
    assert broken.merge("over", "main", **NOBODY).commit
    assert versions(broken, "main") == {"s.t1": 3, "s.t2": 1}


def test_what_the_target_has_anyway_does_not_taint(broken):
    write(broken, "main", put(model("t1", 2)))
    commit(broken, "fix", put(table("own")))
    assert broken.merge("fix", "main", **NOBODY).commit


def test_statements_on_a_tainted_table_do_not_make_it_clean(broken):
    start_run(broken, "hooks", "fix", target="fix")
    write(broken, "run/hooks", put(model("t1", 3)), run="hooks", statement="insert into t1")
    end_run(broken, "hooks", RunStatus.PASSED, "model.p.t2")
    refused(broken, "run/hooks", "t1")
    broken.merge("run/hooks", "fix", accept_tainted=True, **NOBODY)
    refused(broken, "fix", "t1")
    a_fixing_run(broken, "good", also=("model.p.t1",))
    assert broken.merge("fix", "main", **NOBODY).commit


def test_rows_added_by_hand_to_a_tainted_table_do_not_make_it_clean(broken):
    write(broken, "fix", put(model("t1", 3)), mode="append")
    refused(broken, "fix", "t1")
    write(broken, "fix", put(model("t1", 4)), replaces=True, statement="create or replace table t1")
    assert broken.merge("fix", "main", **NOBODY).commit


def test_a_run_of_no_node_that_adds_rows_to_a_tainted_table_does_not_make_it_clean(broken):
    start_run(broken, "import", "fix", target="fix")
    nobodys = dataclasses.replace(model("t1", 3), node=None)
    write(broken, "run/import", put(nobodys), run="import", mode="append")
    end_run(broken, "import", RunStatus.OPEN, "s.t1")
    assert broken.merge("run/import", "fix", run="import", **NOBODY).commit
    refused(broken, "fix", "t1")


def test_an_incremental_run_on_a_tainted_table_vouches_for_the_whole(broken):
    start_run(broken, "more", "fix", target="fix")
    write(broken, "run/more", put(model("t1", 3)), run="more", mode="append", node="model.p.t1")
    end_run(broken, "more", RunStatus.OPEN, "model.p.t1")
    assert broken.merge("run/more", "fix", run="more", **NOBODY).commit
    assert broken.merge("fix", "main", **NOBODY).commit


def test_a_clone_is_as_tainted_as_what_it_is_a_clone_of(broken):
    branch(broken, "dev")
    commit(broken, "dev", put(table("own")))
    start_run(broken, "clone", "dev", target="dev")
    entry = under("copy", model("t1", 2))
    write(broken, "run/clone", put(entry), run="clone", statement="create table copy clone t1")
    end_run(broken, "clone", RunStatus.PASSED, "model.p.t1")
    refused(broken, "run/clone", "copy")
    with pytest.raises(TaintedError):
        broken.merge("run/clone", "dev", run="clone", **NOBODY)
    write(broken, "run/clone", put(under("copy", model("t1", 3))), run="clone", statement="insert into copy")
    end_run(broken, "clone", RunStatus.PASSED, "model.p.t2")
    refused(broken, "run/clone", "copy")


def test_a_step_back_or_a_new_name_does_not_make_it_clean_either(broken):
    branch(broken, "dev")
    write(broken, "dev", put(model("t1", 2)))
    refused(broken, "dev", "t1")
    branch(broken, "renamed", "fix")
    write(broken, "renamed", drop("t1"), put(under("t9", model("t1", 2))))
    refused(broken, "renamed", "t9")


def test_what_was_vouched_for_may_be_cloned_by_anybody(broken):
    a_fixing_run(broken, "good", also=("model.p.t1",))
    broken.merge("fix", "main", **NOBODY)
    branch(broken, "dev")
    write(broken, "dev", put(under("copy", model("t1", 2))), statement="create table copy clone t1")
    assert broken.merge("dev", "main", **NOBODY).commit


@pytest.mark.parametrize("said", [{"reused": {"run": "bad"}}, {"recalled": {"s.t1": {"node": "model.p.t1"}}}])
def test_what_was_reused_by_its_fingerprint_is_the_reusing_run_s_own(broken, said):
    branch(broken, "dev")
    start_run(broken, "reuse", "dev", target="dev")
    write(broken, "run/reuse", put(model("t1", 2)), run="reuse", **said)
    end_run(broken, "reuse", RunStatus.OPEN, "model.p.t1")
    assert broken.merge("run/reuse", "dev", run="reuse", **NOBODY).commit
    assert broken.merge("dev", "main", **NOBODY).commit


def test_what_hooks_wrote_is_vouched_for_by_continuing_alone(catalog):
    start_run(catalog, "bad")
    write(catalog, "run/bad", put(SchemaEntry(schema="s")), put(table("audit")), run="bad", statement="insert")
    end_run(catalog, "bad", RunStatus.FAILED)
    branch(catalog, "fix", "run/bad")
    a_fixing_run(catalog, "good", model("t1"), also=("model.p.t1",))
    refused(catalog, "fix", "audit")
    start_run(catalog, "retry", "run/bad", continues="bad")
    build(catalog, "retry", model("t1", 2))
    catalog.merge("run/retry", "main", run="retry", **NOBODY)
    assert versions(catalog, "main") == {"s": None, "s.audit": 1, "s.t1": 2}
    assert catalog.run("bad").status is RunStatus.CONTINUED


def test_a_run_vouches_by_continuing_only_for_what_it_began_with(catalog):
    start_run(catalog, "bad")
    build(catalog, "bad", model("t1"))
    start_run(catalog, "retry", "run/bad", continues="bad")
    build(catalog, "bad", model("t2"))  # its process was not dead after all
    end_run(catalog, "bad", RunStatus.ABANDONED)
    build(catalog, "retry", model("t3"))
    end_run(catalog, "retry", RunStatus.PASSED, "model.p.t3")
    branch(catalog, "both", "run/retry")
    assert catalog.merge("both", "main", dry_run=True, **NOBODY).conflicts == ()
    catalog.merge("run/bad", "both", accept_tainted=True, **NOBODY)
    refused(catalog, "both", "t2")


def test_views_and_drops_of_a_failed_run_are_tainted_and_empty_schemas_are_not(catalog):
    commit(catalog, "main", put(model("t1")))
    start_run(catalog, "bad")
    view = ViewEntry(schema="s", name="v", sql="select 1", columns=(), node="model.p.v")
    write(catalog, "run/bad", put(SchemaEntry(schema="new")), put(view), drop("t1"), run="bad")
    end_run(catalog, "bad", RunStatus.FAILED)
    refused(catalog, "run/bad", "t1", "v")
    branch(catalog, "fix", "run/bad")
    write(catalog, "fix", put(model("t1", 2)), Put(key=Key("s", "v"), entry=None, expected="*"), mode="create")
    assert catalog.merge("fix", "main", **NOBODY).commit
    assert versions(catalog, "main") == {"new": None, "s.t1": 2}


def test_what_is_accepted_is_named_in_the_commit_and_stays_tainted_elsewhere(broken):
    branch(broken, "prod")
    result = broken.merge("fix", "main", accept_tainted=True, fast_forward=True, **NOBODY)
    assert not result.fast_forward
    assert result.commit.provenance["accepted_tainted"] == ["bad"]
    assert broken.resolve("main") == result.commit
    refused(broken, "main", "t1", target="prod")
    clean = broken.merge("prod", "main", accept_tainted=True, **NOBODY)
    assert clean.commit is None
    commit(broken, "prod", put(table("own")))
    clean = broken.merge("prod", "main", accept_tainted=True, **NOBODY)
    assert "accepted_tainted" not in clean.commit.provenance
    broken.create_ref("v1", RefKind.TAG, "main")
    branch(broken, "dev", "v1")
    start_run(broken, "next", "dev", target="dev")
    build(broken, "next", model("t2", 2))
    assert broken.merge("run/next", "dev", run="next", **NOBODY).commit
    assert broken.merge("dev", "main", **NOBODY).commit


def test_of_a_conflict_that_is_settled_for_the_target_nothing_is_tainted(index):
    commit(index, "main", put(model("t1")))
    start_run(index, "bad")
    build(index, "bad", model("t1", 2))
    end_run(index, "bad", RunStatus.FAILED)
    ours = model("t1", 3)
    write(index, "main", put(ours), mode="create")
    sides = {"key": Key("s", "t1"), "source": content_id(model("t1", 2)), "target": content_id(ours)}
    with pytest.raises(TaintedError):
        index.merge("run/bad", "main", **NOBODY)
    with pytest.raises(TaintedError):
        index.merge("run/bad", "main", settled=[Settled(entry=model("t1", 2), **sides)], **NOBODY)
    with pytest.raises(TaintedError):
        index.merge("run/bad", "main", settled=[Settled(entry=model("t1", 4), **sides)], **NOBODY)
    assert index.merge("run/bad", "main", settled=[Settled(entry=ours, **sides)], **NOBODY).commit
    assert versions(index, "main") == {"s.t1": 3}
