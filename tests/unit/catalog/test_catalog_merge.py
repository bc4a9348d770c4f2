from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt.adapters.lakehouse.catalog.merge import (
    base_contents,
    conflict_message,
    continued_by,
    describe,
    tainted_message,
    tainted_runs,
    three_way,
)
from dbt.adapters.lakehouse.catalog.model import Commit, Conflict, ConflictKind, Key, RunRecord, RunStatus

NOW = datetime(2026, 11, 20, tzinfo=UTC)
KEYS = [Key("s", name) for name in "abcd"]
states = st.fixed_dictionaries({key: st.sampled_from([None, "1", "2", "3"]) for key in KEYS})


@given(states, states, states)
def test_every_key_takes_the_changed_side_or_is_a_conflict(base, source, target):
    changes, conflicts = three_way(KEYS, base, source, target)
    merged = dict(target) | {change.key: change.after for change in changes}
    clashing = {conflict.key for conflict in conflicts}
    for key in KEYS:
        sides = {source[key], target[key]} - {base[key]}
        assert (key in clashing) == (len(sides) == 2)
        expected = target[key] if key in clashing else next(iter(sides), base[key])
        assert merged[key] == expected
    assert all(change.before == target[change.key] != change.after for change in changes)


@given(states, states, states)
def test_swapping_the_sides_gives_the_same_state_and_the_same_conflicts(base, source, target):
    there, clash = three_way(KEYS, base, source, target)
    back, also = three_way(KEYS, base, target, source)
    assert [c.key for c in clash] == [c.key for c in also]
    merged = target | {change.key: change.after for change in there}
    other = source | {change.key: change.after for change in back}
    assert all(merged[key] == other[key] for key in KEYS if key not in {c.key for c in clash})


@pytest.mark.parametrize(
    ("base", "source", "target", "kind"),
    [
        (None, "1", "2", ConflictKind.BOTH_CREATED),
        ("1", "2", "3", ConflictKind.BOTH_CHANGED),
        ("1", None, "2", ConflictKind.CHANGED_AND_DROPPED),
        ("1", "2", None, ConflictKind.CHANGED_AND_DROPPED),
    ],
)
def test_kinds_of_conflict(base, source, target, kind):
    key = Key("s", "t")
    changes, conflicts = three_way([key], {key: base}, {key: source}, {key: target})
    assert changes == ()
    assert conflicts == (Conflict(key=key, kind=kind, base=base, source=source, target=target),)


@pytest.mark.parametrize(("base", "both"), [(None, "1"), ("1", "2"), ("1", None)])
def test_the_same_change_on_both_sides_is_no_conflict(base, both):
    key = Key("s", "t")
    assert three_way([key], {key: base}, {key: both}, {key: both}) == ((), ())


def test_with_one_base_it_is_asked_as_it_stands():
    key = Key("s", "t")
    contents = {"b": {key: "1"}}
    assert base_contents(["b"], [key], lambda commit, _: contents[commit], no_older) == {key: "1"}
    assert base_contents([], [key], lambda commit, _: contents[commit], no_older) == {key: None}


def test_of_two_bases_the_one_that_changed_a_key_counts():
    key = Key("s", "t")
    contents = {"o": {key: "1"}, "a": {key: "1"}, "b": {key: "2"}}

    def look_up(commit, _keys):
        return contents[commit]

    for bases in (["a", "b"], ["b", "a"]):
        assert base_contents(bases, [key], look_up, lambda *_: ["o"]) == {key: "2"}


def test_two_bases_that_both_changed_a_key_equal_nothing():
    key = Key("s", "t")
    contents = {"o": {key: "1"}, "a": {key: "2"}, "b": {key: "3"}}
    base = base_contents(["a", "b"], [key], lambda commit, _: contents[commit], lambda *_: ["o"])
    changes, conflicts = three_way([key], base, {key: "2"}, {key: "3"})
    assert changes == ()
    assert conflicts[0].base is None
    assert three_way([key], base, {key: "2"}, {key: "2"}) == ((), ())


def no_older(*_):
    raise AssertionError("nothing to settle")


# taint


def run(name: str, status: RunStatus, continues: str | None = None) -> RunRecord:
    return RunRecord(
        id=name,
        branch=f"run/{name}",
        target="main",
        base="0" * 40,
        command="build",
        status=status,
        owner="host:1:1",
        started_at=NOW,
        heartbeat_at=NOW,
        continues=continues,
    )


def records(*runs: RunRecord) -> MappingProxyType[str, RunRecord]:
    return MappingProxyType({record.id: record for record in runs})


@pytest.mark.parametrize("status", list(RunStatus))
def test_only_passed_and_published_runs_travel_for_their_own_sake(status):
    travels = status in (RunStatus.PASSED, RunStatus.PUBLISHED)
    assert tainted_runs({"x"}, records(run("x", status)), None) == ([] if travels else ["x"])


def test_a_run_that_is_being_published_vouches_for_itself_and_all_it_continues():
    known = records(
        run("a", RunStatus.FAILED),
        run("b", RunStatus.ABANDONED, "a"),
        run("c", RunStatus.OPEN, "b"),
        run("d", RunStatus.FAILED),
    )
    assert tainted_runs({"a", "b", "c", "d"}, known, "c") == ["d"]
    assert continued_by("c", known) == ["b", "a"]


def test_a_failed_run_travels_with_the_passed_run_that_continues_it_and_not_without():
    known = records(run("a", RunStatus.CONTINUED), run("b", RunStatus.PUBLISHED, "a"))
    assert tainted_runs({"a", "b"}, known, None) == []
    assert tainted_runs({"a"}, known, None) == ["a"]


def test_a_run_without_a_record_does_not_travel():
    assert tainted_runs({"x"}, {}, None) == ["x"]
    assert tainted_runs({"x"}, {}, "x") == []


def test_runs_that_continue_one_another_in_a_circle_end():
    known = records(run("a", RunStatus.FAILED, "b"), run("b", RunStatus.FAILED, "a"))
    assert continued_by("a", known) == ["b"]


# messages


def test_messages_name_both_sides_and_the_next_step():
    commit = Commit(id="3f2a91bc" + "0" * 32, parents=(), author="anna", message="build orders", time=NOW)
    conflict = Conflict(
        key=Key("s", "orders"),
        kind=ConflictKind.CHANGED_AND_DROPPED,
        base="1",
        source=None,
        target="2",
        source_commit=None,
        target_commit=commit,
    )
    assert (
        describe(conflict)
        == "s.orders: dropped on the source and changed on the target by 3f2a91bc (anna: build orders)"
    )
    message = conflict_message("dev", "main", [conflict] * 7)
    assert "'dev'" in message
    assert "and 2 more" in message
    tainted = tainted_message("dev", "main", ["a"], records(run("a", RunStatus.FAILED)), [Key("s", "orders")])
    assert "a (failed)" in tainted
    assert "s.orders" in tainted
    assert "dbt retry" in tainted
