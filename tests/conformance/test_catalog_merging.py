"""What can be asked of a merge beside its two sides; and what a branch showed before it was moved."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest
from catalog_acts import NOBODY, branch, commit, drop, put, start_run, table, versions

from dbt.adapters.lakehouse.catalog.model import (
    ConflictKind,
    Entry,
    Key,
    RefKind,
    RunStatus,
    Settled,
    TableEntry,
    ViewEntry,
    content_id,
)
from dbt.adapters.lakehouse.errors import BadRequest, HeadMoved, RefNotFound
from dbt.adapters.lakehouse.tables.values import Column

A, B = Key("s", "a"), Key("s", "b")


def with_columns(name: str, version: int, *columns: str) -> TableEntry:
    found = tuple(Column(name=one, type="BIGINT", field_id=at) for at, one in enumerate(columns, 1))
    return dataclasses.replace(table(name, version), columns=found)


def settled(source: Entry | None, target: Entry | None, entry: Entry | None, key: Key = A) -> Settled:
    def of(one: Entry | None) -> str | None:
        return content_id(one) if one is not None else None

    return Settled(key=key, source=of(source), target=of(target), entry=entry)


# what was looked at


def test_only_the_changes_that_were_looked_at_are_merged(index):
    commit(index, "main", put(table("a")))
    branch(index, "dev")
    commit(index, "dev", put(table("a", 2)), put(table("b")))
    seen = index.merge("dev", "main", dry_run=True, **NOBODY).changes
    commit(index, "main", put(table("b")))
    before = index.resolve("main").id
    with pytest.raises(HeadMoved, match=r"'main' changed meanwhile at s\.b; look at what the merge comes to"):
        index.merge("dev", "main", expected_changes=seen, **NOBODY)
    assert index.resolve("main").id == before
    seen = index.merge("dev", "main", dry_run=True, **NOBODY).changes
    commit(index, "main", put(table("c")))
    assert index.merge("dev", "main", expected_changes=seen, **NOBODY).commit
    assert versions(index, "main") == {"s.a": 2, "s.b": 1, "s.c": 1}
    commit(index, "dev", put(table("d")))
    with pytest.raises(HeadMoved):
        index.merge("dev", "main", expected_changes=[], **NOBODY)


# settled conflicts


@pytest.fixture
def parted(index):
    """Both sides changed a; the source changed b."""
    commit(index, "main", put(table("a")), put(table("b")))
    branch(index, "dev")
    commit(index, "dev", put(table("a", 2)), put(table("b", 2)))
    commit(index, "main", put(table("a", 3)))
    return index


@pytest.mark.parametrize("entry", [table("a", 2), table("a", 9), None], ids=["theirs", "both", "neither"])
def test_a_settled_conflict_takes_what_it_was_settled_to(parted, entry):
    answer = settled(table("a", 2), table("a", 3), entry)
    plan = parted.merge("dev", "main", settled=[answer], dry_run=True, **NOBODY)
    assert (plan.conflicts, plan.commit) == ((), None)
    result = parted.merge("dev", "main", settled=[answer], **NOBODY)
    assert result.changes == plan.changes == parted.changes(result.commit.id)
    assert versions(parted, "main") == {"s.b": 2} | ({"s.a": entry.snapshot_id} if entry else {})
    assert parted.merge("dev", "main", **NOBODY).commit is None


def test_a_conflict_settled_to_what_the_target_has_changes_nothing_there(parted):
    result = parted.merge("dev", "main", settled=[settled(table("a", 2), table("a", 3), table("a", 3))], **NOBODY)
    assert [str(change.key) for change in result.changes] == ["s.b"]
    assert versions(parted, "main") == {"s.a": 3, "s.b": 2}


@pytest.mark.parametrize("moved", ["dev", "main"])
def test_a_conflict_whose_sides_moved_since_it_was_settled_stays_one(parted, moved):
    answer = settled(table("a", 2), table("a", 3), table("a", 9))
    head = commit(parted, moved, put(table("a", 4)))
    result = parted.merge("dev", "main", settled=[answer], **NOBODY)
    assert [str(conflict.key) for conflict in result.conflicts] == ["s.a"]
    assert result.commit is None
    assert parted.resolve(moved) == head


def test_where_there_is_no_conflict_what_was_settled_counts_for_nothing(parted):
    answers = [settled(table("b", 2), table("b", 1), table("b", 9), B), settled(table("a", 2), table("a", 3), None)]
    parted.merge("dev", "main", settled=answers, **NOBODY)
    assert versions(parted, "main") == {"s.b": 2}


def test_a_change_against_a_drop_can_be_settled_either_way(index):
    for name, entry in (("kept", table("a", 2)), ("dropped", None)):
        branch(index, name)
        commit(index, name, put(table("a")))
        branch(index, f"{name}-dev", name)
        commit(index, f"{name}-dev", put(table("a", 2)))
        commit(index, name, drop("a"))
        answer = settled(table("a", 2), None, entry)
        assert index.merge(f"{name}-dev", name, settled=[answer], **NOBODY).commit
        assert versions(index, name) == ({"s.a": 2} if entry else {})


@pytest.mark.parametrize("open_catalog", ["service"], indirect=True)
def test_clients_of_a_service_do_not_settle_conflicts_themselves(catalog):
    branch(catalog, "dev")
    with pytest.raises(BadRequest, match="does not settle"):
        catalog.merge("dev", "main", settled=[settled(None, None, table("a"))], **NOBODY)
    with pytest.raises(BadRequest):
        catalog.merge("dev", "main", reads={A: None}, **NOBODY)


# schemas


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        (("id", "x"), ("id", "y"), ConflictKind.SCHEMA_CHANGED),
        (("id", "x"), (), ConflictKind.SCHEMA_CHANGED),
        (("id", "x"), ("id", "x"), ConflictKind.BOTH_CHANGED),
        (("id", "x"), ("id",), ConflictKind.BOTH_CHANGED),
        (("id",), ("id",), ConflictKind.BOTH_CHANGED),
    ],
)
def test_a_schema_that_both_sides_changed_differently_is_a_conflict_of_its_own_kind(catalog, source, target, kind):
    commit(catalog, "main", put(with_columns("a", 1, "id")))
    branch(catalog, "dev")
    theirs = commit(catalog, "dev", put(with_columns("a", 2, *source)))
    ours = commit(catalog, "main", put(with_columns("a", 3, *target)))
    (conflict,) = catalog.merge("dev", "main", **NOBODY).conflicts
    assert conflict.kind is kind
    assert (conflict.source_commit, conflict.target_commit) == (theirs, ours)


def test_columns_of_views_and_of_what_was_created_twice_are_no_conflict_of_schemas(catalog):
    def view(*columns: str) -> ViewEntry:
        said = with_columns("v", 1, *columns).columns
        return ViewEntry(schema="s", name="v", sql=f"select {columns}", columns=said)

    commit(catalog, "main", put(view("id")))
    branch(catalog, "dev")
    commit(catalog, "dev", put(view("x")), put(with_columns("a", 1, "x")))
    commit(catalog, "main", put(view("y")), put(with_columns("a", 1, "y")))
    kinds = {str(one.key): one.kind for one in catalog.merge("dev", "main", **NOBODY).conflicts}
    assert kinds == {"s.a": ConflictKind.BOTH_CREATED, "s.v": ConflictKind.BOTH_CHANGED}


# what was read


def test_what_a_merge_was_computed_from_must_still_stand_on_the_target(index):
    commit(index, "main", put(table("a")), put(table("b")))
    branch(index, "dev")
    commit(index, "dev", put(table("c")))
    reads = {A: content_id(table("a")), Key("s", "none"): None}
    assert index.merge("dev", "main", reads=reads, dry_run=True, **NOBODY).conflicts == ()
    commit(index, "main", put(table("b", 2)))
    assert index.merge("dev", "main", reads=reads, dry_run=True, **NOBODY).conflicts == ()
    moved = commit(index, "main", put(table("a", 2)), put(table("none")))
    result = index.merge("dev", "main", reads=reads, **NOBODY)
    assert result.commit is None
    assert [(str(c.key), c.kind, c.target_commit) for c in result.conflicts] == [
        ("s.a", ConflictKind.READ_CHANGED, moved),
        ("s.none", ConflictKind.READ_CHANGED, moved),
    ]
    assert (result.conflicts[0].base, result.conflicts[0].target) == (reads[A], content_id(table("a", 2)))
    assert [str(change.key) for change in result.changes] == ["s.c"]
    assert index.merge("dev", "main", **NOBODY).commit


def test_what_was_read_and_dropped_since_is_a_conflict(index):
    commit(index, "main", put(table("a")))
    branch(index, "dev")
    commit(index, "dev", put(table("c")))
    commit(index, "main", drop("a"))
    (conflict,) = index.merge("dev", "main", reads={A: content_id(table("a"))}, **NOBODY).conflicts
    assert (conflict.kind, conflict.target) == (ConflictKind.READ_CHANGED, None)


def test_a_run_that_lost_what_it_read_is_not_published(index):
    commit(index, "main", put(table("a")))
    start_run(index, "one")
    commit(index, "run/one", put(table("c")), run="one")
    commit(index, "main", put(table("a", 2)))
    reads = {A: content_id(table("a"))}
    assert index.merge("run/one", "main", run="one", reads=reads, **NOBODY).conflicts
    assert index.run("one").status is RunStatus.OPEN
    assert versions(index, "main") == {"s.a": 2}


# fast-forward


def test_a_target_that_the_source_leads_to_is_moved_there(catalog):
    old = commit(catalog, "main", put(table("a")))
    branch(catalog, "dev")
    commit(catalog, "dev", put(table("a", 2)))
    head = commit(catalog, "dev", put(table("b")))
    plan = catalog.merge("dev", "main", fast_forward=True, dry_run=True, **NOBODY)
    assert (plan.fast_forward, plan.commit, catalog.resolve("main")) == (True, None, old)
    result = catalog.merge("dev", "main", fast_forward=True, **NOBODY)
    assert (result.fast_forward, result.commit, result.base) == (True, head, old.id)
    assert result.changes == plan.changes == catalog.diff(old.id, head.id)
    assert catalog.resolve("main") == catalog.resolve("dev") == head
    again = catalog.merge("dev", "main", fast_forward=True, **NOBODY)
    assert (again.fast_forward, again.commit) == (False, None)


def test_after_a_fast_forward_both_branches_go_their_own_ways(catalog):
    branch(catalog, "dev")
    commit(catalog, "dev", put(table("a")))
    catalog.merge("dev", "main", fast_forward=True, **NOBODY)
    commit(catalog, "main", put(table("b")))
    commit(catalog, "dev", put(table("c")))
    commit(catalog, "main", put(table("a", 2)))
    assert versions(catalog, "main") == {"s.a": 2, "s.b": 1}
    assert versions(catalog, "dev") == {"s.a": 1, "s.c": 1}
    assert catalog.merge("dev", "main", **NOBODY).conflicts == ()
    assert versions(catalog, "main") == {"s.a": 2, "s.b": 1, "s.c": 1}


def test_where_both_sides_moved_there_is_a_merge_commit_and_runs_always_make_one(catalog):
    branch(catalog, "dev")
    commit(catalog, "dev", put(table("a")))
    commit(catalog, "main", put(table("b")))
    result = catalog.merge("dev", "main", fast_forward=True, **NOBODY)
    assert not result.fast_forward
    assert len(result.commit.parents) == 2
    start_run(catalog, "one")
    commit(catalog, "run/one", put(table("c")), run="one")
    assert len(catalog.merge("run/one", "main", run="one", **NOBODY).commit.parents) == 2


def test_a_protected_branch_gets_a_commit_that_says_who_merged(catalog):
    branch(catalog, "dev")
    head = commit(catalog, "dev", put(table("a")))
    before = catalog.resolve("main")
    catalog.protect("main", True)
    merged = catalog.merge("dev", "main", fast_forward=True, **NOBODY)
    assert (merged.fast_forward, merged.commit) == (False, catalog.resolve("main"))
    assert merged.commit.parents == (before.id, head.id)


# what a branch showed


def test_a_time_leads_to_what_a_branch_showed_then_whatever_moved_it_since(catalog):
    first = commit(catalog, "main", put(table("a", 1)))
    second = commit(catalog, "main", put(table("a", 2)))
    catalog.assign("main", first.id, expected=second.id)
    third = commit(catalog, "main", put(table("a", 3)))
    branch(catalog, "dev")
    there = commit(catalog, "dev", put(table("a", 4)))
    fourth = commit(catalog, "dev", put(table("a", 5)))
    catalog.merge("dev", "main", fast_forward=True, **NOBODY)
    last = commit(catalog, "main", put(table("a", 6)))

    def at(commit_: object, later: timedelta = timedelta()) -> object:
        return catalog.resolve(f"main@{(commit_.time + later).isoformat()}")

    tick = timedelta(microseconds=1)
    assert [at(one) for one in (first, second, third, last)] == [first, second, third, last]
    assert at(third, -tick) == first  # it had been put back there in between
    assert at(there) == at(fourth) == third  # they were made elsewhere, and came to main later
    assert at(last, -tick) == fourth
    assert catalog.resolve(f"dev@{there.time.isoformat()}") == there
    # After another step it is history that counts, not what the branch showed.
    assert catalog.resolve(f"main~1@{there.time.isoformat()}") == there
    assert catalog.resolve(f"{last.id}@{second.time.isoformat()}") == first


def test_a_branch_of_the_same_name_made_later_is_another(catalog):
    first = commit(catalog, "main", put(table("a", 1)))
    branch(catalog, "dev")
    gone = commit(catalog, "dev", put(table("b")))
    catalog.assign("dev", "main", expected=gone.id)
    assert catalog.resolve(f"dev@{gone.time.isoformat()}") == gone
    catalog.delete_ref("dev", expected=first.id)
    branch(catalog, "dev")
    assert catalog.resolve(f"dev@{gone.time.isoformat()}") == first
    catalog.create_ref("v1", RefKind.TAG, "main")
    assert catalog.resolve(f"v1@{gone.time.isoformat()}") == first


def test_there_is_nothing_before_the_first_commit_however_a_branch_was_moved(catalog):
    first = catalog.log(catalog.resolve("main").id)[-1]
    head = commit(catalog, "main", put(table("a")))
    catalog.assign("main", first.id, expected=head.id)
    with pytest.raises(RefNotFound, match="no commit yet"):
        catalog.resolve(f"main@{(first.time - timedelta(seconds=1)).isoformat()}")


def test_moves_to_where_a_branch_is_already_leave_no_trace(catalog):
    head = commit(catalog, "main", put(table("a")))
    catalog.assign("main", head.id, expected=head.id)
    later = commit(catalog, "main", put(table("b")))
    assert catalog.resolve(f"main@{later.time.isoformat()}") == later
    assert catalog.resolve(f"main@{head.time.isoformat()}") == head
