from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt.adapters.lakehouse.catalog.merge import (
    base_contents,
    conflict_message,
    describe,
    three_way,
)
from dbt.adapters.lakehouse.catalog.model import Commit, Conflict, ConflictKind, Key

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
