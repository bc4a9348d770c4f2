"""Merges of a real lake: planned, settled, guarded, and carried out as they were planned."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dbt.adapters.lakehouse.catalog.model import ConflictKind, Key, RefKind, TableEntry
from dbt.adapters.lakehouse.errors import ConfigError, Guarded, HeadMoved, RefNotFound, RefProtected, TaintedError
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.values import Build, Merged, MergeRequest, Name
from dbt.adapters.lakehouse.settings import PublishMode

OpenRun = Callable[..., LakeRun]
T, U = Key("s", "t"), Key("s", "u")


@pytest.fixture
def write(open_run: OpenRun) -> Callable[..., None]:
    """Publish a table to a branch by a run, as a node of dbt would."""

    def build(branch: str, sql: str, *, name: str = "t", node: str | None = None, **more: Any) -> None:
        run = open_run(branch=branch, author="ann")
        session = run.session()
        table = Name(database="lake", schema="s", name=name)
        session.build(Build(name=table, sql=sql, node=node or f"model.shop.{name}", **more))
        session.close()
        run.publish()

    return build


Write = Callable[..., None]


def merge(lake: EmbeddedLake, source: str = "dev", target: str = "main", **more: Any) -> Merged:
    return lake.versions.merge(MergeRequest(source=source, target=target, author="bob", **more))


def branch(lake: EmbeddedLake, name: str = "dev", at: str = "main") -> None:
    lake.catalog.create_ref(name, RefKind.BRANCH, at)


def rows(lake: EmbeddedLake, name: str = "t", ref: str = "main") -> list[Any]:
    session = lake.read(ref, once=True)
    try:
        return [row[0] for row in session.execute(f"select * from s.{name} order by 1").rows]
    finally:
        session.close()


def head(lake: EmbeddedLake, ref: str = "main") -> str:
    return lake.catalog.resolve(ref).id


@pytest.fixture
def apart(lake: EmbeddedLake, write: Write) -> EmbeddedLake:
    """``main`` and ``dev`` have each made ``s.t`` anew, and ``dev`` has ``s.u`` beside."""
    write("main", "select 1 as id")
    branch(lake)
    write("dev", "select 2 as id")
    write("dev", "select 20 as id", name="u")
    write("main", "select 3 as id")
    return lake


def test_a_merge_brings_what_changed(lake: EmbeddedLake, write: Write) -> None:
    write("main", "select 1 as id")
    branch(lake)
    write("dev", "select 2 as id")
    write("main", "select 5 as id", name="u")
    dry = merge(lake, dry_run=True)
    assert (dry.possible, dry.commit, [change.key for change in dry.changes]) == (True, None, [T])
    merged = merge(lake)
    assert merged.commit is not None
    assert (merged.commit.author, merged.commit.message) == ("bob", "Merge dev into main")
    assert merged.changes == dry.changes
    assert (rows(lake), rows(lake, "u")) == ([2], [5])
    again = merge(lake)
    assert (again.commit, again.changes, again.possible) == (None, (), True)


def test_conflicts_change_nothing_and_name_both_commits(apart: EmbeddedLake) -> None:
    before = head(apart)
    merged = merge(apart)
    assert not merged.possible
    [conflict] = merged.conflicts
    assert (conflict.key, conflict.kind) == (T, ConflictKind.BOTH_CHANGED)
    assert conflict.source_commit is not None
    assert conflict.target_commit is not None
    assert [item.key for item in merged.not_settled] == [T]
    assert head(apart) == before


@pytest.mark.parametrize(("take", "expected"), [("theirs", [2]), ("ours", [3])])
@pytest.mark.parametrize("named", [True, False])
def test_a_side_is_taken(apart: EmbeddedLake, take: Any, expected: list[int], named: bool) -> None:
    wish: dict[str, Any] = {"take": {T: take}} if named else {"take_all": take}
    dry = merge(apart, dry_run=True, **wish)
    assert (dry.possible, [(item.key, item.how) for item in dry.settled]) == (True, [(T, take)])
    merged = merge(apart, **wish)
    assert merged.commit is not None
    assert merged.commit.provenance["settled"] == {"s.t": take}
    assert {change.key for change in merged.changes} == {change.key for change in dry.changes}
    assert (rows(apart), rows(apart, "u")) == (expected, [20])
    assert merge(apart).commit is None


def test_what_is_named_goes_before_what_is_taken_of_all(apart: EmbeddedLake, write: Write) -> None:
    write("main", "select 30 as id", name="u")
    merged = merge(apart, take={U: "ours"}, take_all="theirs")
    assert {item.key: item.how for item in merged.settled} == {T: "theirs", U: "ours"}
    assert (rows(apart), rows(apart, "u")) == ([2], [30])


def test_a_dropped_table_can_be_taken_or_kept(lake: EmbeddedLake, write: Write, open_run: OpenRun) -> None:
    write("main", "select 1 as id")
    branch(lake)
    branch(lake, "other")
    write("main", "select 3 as id")
    for name in ("dev", "other"):
        run = open_run(branch=name)
        session = run.session()
        session.execute("drop table s.t")
        session.close()
        run.publish()
    assert merge(lake).conflicts[0].kind is ConflictKind.CHANGED_AND_DROPPED
    assert merge(lake, take_all="ours").commit
    assert rows(lake) == [3]
    assert merge(lake, "other", take_all="theirs").commit
    assert lake.catalog.lookup(head(lake), [T]) == {}


def test_a_choice_of_what_is_no_conflict_is_refused(apart: EmbeddedLake) -> None:
    before = head(apart)
    with pytest.raises(ConfigError, match=r"nothing is to be taken of s\.u.*conflicts: s\.t"):
        merge(apart, take={U: "ours"})
    assert head(apart) == before


def test_rows_of_both_are_one_table_where_that_can_be(lake: EmbeddedLake, write: Write) -> None:
    write("main", "select 1 as id, 'a' as part", partition_by=("part",))
    branch(lake)
    for name, value, part in (("dev", 2, "b"), ("main", 3, "c")):
        write(name, f"select {value} as id, '{part}' as part", mode="append")
    before = head(lake)
    dry = merge(lake, dry_run=True)
    assert [(item.key, item.how) for item in dry.settled] == [(T, "combined")]
    assert [entry.rows for entry in dry.made if isinstance(entry, TableEntry)] == [3]
    merged = merge(lake)
    assert merged.commit is not None
    assert merged.commit.parents[0] == before
    assert merged.commit.provenance["settled"] == {"s.t": "combined"}
    assert rows(lake) == [1, 2, 3]


def test_rows_that_may_be_the_same_are_put_together_on_demand(lake: EmbeddedLake, write: Write) -> None:
    write("main", "select 1 as id")
    branch(lake)
    for name, value in (("dev", 2), ("main", 3)):
        write(name, f"select {value} as id", mode="append")
    refused = merge(lake)
    assert [item.key for item in refused.not_settled] == [T]
    assert "both sides added rows" in refused.not_settled[0].why
    assert merge(lake, take_all="both").commit
    assert rows(lake) == [1, 2, 3]


def test_rows_that_were_accepted_stay_tainted_where_they_became_part_of_a_table(
    lake: EmbeddedLake, write: Write, open_run: OpenRun
) -> None:
    write("main", "select 1 as id")
    branch(lake)
    branch(lake, "prod")
    failed = open_run()
    session = failed.session()
    table = Name(database="lake", schema="s", name="t")
    session.build(Build(name=table, sql="select 66 as id", node="model.shop.t", mode="append"))
    session.close()
    failed.fail("on purpose", {})
    write("dev", "select 2 as id", mode="append")
    merged = merge(lake, failed.branch or "", "dev", accept_tainted=True, take_all="both")
    assert merged.commit is not None
    assert rows(lake, ref="dev") == [1, 2, 66]
    with pytest.raises(TaintedError, match=failed.request.id[:8]):
        merge(lake, "dev", "prod")
    assert rows(lake, ref="prod") == [1]
    again = open_run(branch="dev")
    session = again.session()
    session.build(Build(name=table, sql="select 3 as id", node="model.shop.t", mode="append"))
    session.close()
    again.publish({"model.shop.t": {"status": "success"}})
    assert merge(lake, "dev", "prod").commit


def test_rows_of_both_cannot_be_had_of_tables_made_anew(apart: EmbeddedLake) -> None:
    before = head(apart)
    merged = merge(apart, take_all="both")
    assert (merged.commit, [item.key for item in merged.not_settled]) == (None, [T])
    assert head(apart) == before


# guards


def test_another_owner_is_refused_and_named(lake: EmbeddedLake, write: Write) -> None:
    write("main", "select 1 as id")
    branch(lake)
    write("dev", "select 2 as id", node="model.shop.t")
    assert merge(lake).commit
    lake.catalog.commit("dev", [], author="x", message="x")
    run_of = lake.catalog.last_change(head(lake), T)
    assert run_of is not None
    branch(lake, "crm", "main~1")
    drop_and_make(lake, write, "crm")
    before = head(lake)
    dry = merge(lake, "crm", dry_run=True, take_all="theirs")
    assert [(refusal.guard, refusal.key) for refusal in dry.refusals] == [("owner", T)]
    with pytest.raises(
        Guarded, match=rf"model.shop.t wrote it, model.crm.t would.*by ann, run {(run_of.run or '')[:8]}"
    ):
        merge(lake, "crm", take_all="theirs")
    assert head(lake) == before
    merged = merge(lake, "crm", take_all="theirs", allow=frozenset({"owner"}))
    assert merged.commit is not None
    assert [(one["guard"], one["table"]) for one in merged.commit.provenance["allowed"]] == [("owner", "s.t")]


def drop_and_make(lake: EmbeddedLake, write: Write, name: str) -> None:
    """Make ``s.t`` on a branch by the model of another project, whose config lets it (``allow_takeover``)."""
    write(name, "select 9 as id", node="model.crm.t", provenance={"allow": ["owner"]})
    write(name, "select 10 as id", node="model.crm.t")


def test_columns_count_on_protected_branches(lake: EmbeddedLake, write: Write) -> None:
    write("main", "select 1::integer as id, 'a' as name")
    branch(lake)
    write("dev", "select 2::bigint as id, 'b' as name, 1.5 as more")
    lake.catalog.protect("main", True)
    assert merge(lake).commit
    write("dev", "select 'x' as id")
    dry = merge(lake, dry_run=True)
    assert [refusal.guard for refusal in dry.refusals] == ["schema"]
    with pytest.raises(Guarded, match=r"column 'id' would become VARCHAR.*column 'name' would go.*--allow schema"):
        merge(lake)
    assert merge(lake, allow=frozenset({"schema"})).commit
    write("dev", "select 1 as n")
    lake.catalog.protect("main", False)
    assert merge(lake).commit


def test_a_model_may_be_configured_to_pass(lake: EmbeddedLake, write: Write) -> None:
    write("main", "select 1 as id, 'a' as name")
    branch(lake)
    lake.catalog.protect("main", True)
    write("dev", "select 2 as id", provenance={"allow": ["schema"]})
    merged = merge(lake)
    assert merged.commit is not None
    assert [one["guard"] for one in merged.commit.provenance["allowed"]] == ["schema"]


# heads


def test_a_moved_target_is_planned_for_anew(lake: EmbeddedLake, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("main", "select 1 as id")
    branch(lake)
    write("dev", "select 2 as id")
    merging = lake.catalog.merge
    moves = iter(["select 7 as id"])

    def merge_late(*arguments: Any, **more: Any) -> Any:
        if not more["dry_run"]:
            for sql in moves:
                write("main", sql, name="u")
        return merging(*arguments, **more)

    monkeypatch.setattr(lake.catalog, "merge", merge_late)
    merged = merge(lake)
    assert merged.commit is not None
    assert (rows(lake), rows(lake, "u")) == ([2], [7])


def test_what_conflicts_only_since_it_was_planned_is_not_merged(
    lake: EmbeddedLake, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("main", "select 1 as id")
    branch(lake)
    write("dev", "select 2 as id")
    merging = lake.catalog.merge
    moves = iter(["select 7 as id"])

    def merge_late(*arguments: Any, **more: Any) -> Any:
        if not more["dry_run"]:
            for sql in moves:
                write("main", sql)
        return merging(*arguments, **more)

    monkeypatch.setattr(lake.catalog, "merge", merge_late)
    merged = merge(lake)
    assert (merged.commit, [conflict.key for conflict in merged.conflicts]) == (None, [T])
    assert rows(lake) == [7]


def test_a_target_that_must_not_move_is_not_waited_for(lake: EmbeddedLake, write: Write) -> None:
    old = head(lake)
    branch(lake)
    write("dev", "select 2 as id")
    write("main", "select 1 as id", name="u")
    with pytest.raises(HeadMoved, match=rf"'main' moved from {old[:8]}"):
        merge(lake, expected_target=old)
    with pytest.raises(HeadMoved, match="'dev' moved from"):
        merge(lake, expected_source=old)
    with pytest.raises(RefNotFound):
        merge(lake, "nothing")
    assert merge(lake, expected_target=head(lake), expected_source=head(lake, "dev")).commit


def test_merges_at_once_all_happen(lake: EmbeddedLake, write: Write) -> None:
    names = [f"dev{number}" for number in range(8)]
    for number, name in enumerate(names):
        branch(lake, name)
        write(name, f"select {number} as id", name=f"t{number}")
    done: list[Merged] = []
    threads = [threading.Thread(target=lambda name=name: done.append(merge(lake, name))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(merged.commit is not None for merged in done)
    assert len(done) == len(names)
    assert [rows(lake, f"t{number}") for number in range(8)] == [[number] for number in range(8)]


# taint


def test_a_dry_run_tells_of_taint_and_a_merge_is_refused(lake: EmbeddedLake, open_run: OpenRun) -> None:
    run = open_run()
    session = run.session()
    session.build(Build(name=Name(database="lake", schema="s", name="t"), sql="select 1 as id", node="model.shop.t"))
    session.close()
    run.fail("a test failed", {"model.shop.t": {"status": "success"}})
    assert run.branch is not None
    branch(lake, "dev", run.branch)
    before = head(lake)
    dry = merge(lake, dry_run=True)
    assert dry.tainted is not None
    assert [change.key for change in dry.changes if change.key.name] == [T]
    assert not dry.possible
    with pytest.raises(TaintedError, match="did not pass"):
        merge(lake)
    assert head(lake) == before
    assert merge(lake, accept_tainted=True).commit
    assert rows(lake) == [1]


# each node for itself


def test_nodes_that_are_visible_at_once_are_guarded_one_by_one(
    lake: EmbeddedLake, write: Write, open_run: OpenRun
) -> None:
    write("main", "select 1 as id")
    table = Name(database="lake", schema="s", name="t")
    other = Build(name=table, sql="select 2 as id", node="model.crm.t")
    live = open_run(publish=PublishMode.EACH_NODE)
    session = live.session()
    before = head(lake)
    with pytest.raises(Guarded, match=r"writing to branch 'main' is refused: s\.t: model\.shop\.t wrote it"):
        session.build(other)
    assert head(lake) == before
    session.build(dataclasses.replace(other, provenance={"allow": ["owner"]}))
    session.build(dataclasses.replace(other, sql="select 3 as id"))
    session.close()
    assert rows(lake) == [3]
    allowed = open_run(publish=PublishMode.EACH_NODE, allow=frozenset({"owner"})).session()
    allowed.build(dataclasses.replace(other, node="model.shop.t"))
    allowed.close()
    assert rows(lake) == [2]


def test_protected_branches_take_merges_alone(lake: EmbeddedLake, write: Write, open_run: OpenRun) -> None:
    write("main", "select 1 as id")
    lake.catalog.protect("main", True)
    before = head(lake)
    with pytest.raises(RefProtected, match="with publish: each_node every node is written to it"):
        open_run(publish=PublishMode.EACH_NODE, command="dbt build").session()
    statement = open_run(publish=PublishMode.EACH_NODE, command="dbt").session()
    assert statement.execute("select id from s.t").rows == [(1,)]
    with pytest.raises(RefProtected, match="changes by merges alone; commit to a branch of your own and merge that"):
        statement.execute("insert into s.t values (2)")
    statement.close()
    with pytest.raises(RefProtected):
        lake.catalog.assign("main", "main~1", expected=before)
    with pytest.raises(RefProtected):
        lake.catalog.delete_ref("main", expected=before)
    assert head(lake) == before
    write("main", "select 2 as id")
    assert rows(lake) == [2]


def test_a_protected_branch_is_not_just_moved_forward(lake: EmbeddedLake, write: Write) -> None:
    """Its log says who merged."""
    branch(lake)
    write("dev", "select 1 as a")
    lake.catalog.protect("main", True)
    assert not merge(lake, fast_forward=True).fast_forward
    merged = lake.catalog.resolve("main")
    assert (merged.author, len(merged.parents)) == ("bob", 2)
    lake.catalog.create_ref("other", RefKind.BRANCH, merged.parents[0])
    assert merge(lake, target="other", fast_forward=True).fast_forward
