"""What every catalog does, whatever it is kept in."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from catalog_acts import NOBODY, a_run, branch, commit, drop, end_run, put, start_run, table, versions

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import (
    ANY,
    Change,
    Commit,
    ConflictKind,
    Key,
    Put,
    RefKind,
    ReusableResult,
    RunStatus,
    SchemaEntry,
    ViewEntry,
    content_id,
)
from dbt.adapters.lakehouse.catalog.sql_states import MAX_DEPTH
from dbt.adapters.lakehouse.errors import (
    ConflictError,
    HeadMoved,
    InvalidRef,
    RefExists,
    RefNotFound,
    RefProtected,
    TaintedError,
)
from dbt.adapters.lakehouse.tables.values import Column

Open = Callable[[], Catalog]


# a new catalog, and opening


def test_a_name_of_few_hex_digits_is_a_name_first(catalog: Catalog) -> None:
    head = catalog.resolve("main")
    catalog.create_ref("feed", RefKind.BRANCH, "main")
    catalog.create_ref(head.id[:5], RefKind.TAG, "main")
    assert catalog.resolve("feed").id == head.id
    assert catalog.resolve(head.id[:5].upper()).id == head.id


def test_a_run_branch_is_named_by_the_first_characters_of_its_run(catalog: Catalog) -> None:
    for run in ("3f2a91c4-1", "3f2a91c4-2", "77aa0000-1"):
        start_run(catalog, run, "main")
        commit(catalog, f"run/{run}", put(table(f"of_{run}")), run=run)
    catalog.create_ref("run/77aa0000-1.again", RefKind.BRANCH, "main", run="77aa0000-1")
    head = catalog.resolve("run/77aa0000-1")
    assert catalog.resolve("run/77aa").id == head.id
    assert catalog.resolve("run/77aa0000~1").id == catalog.resolve("main").id
    with pytest.raises(InvalidRef, match=r"'run/3f2a' is ambiguous: 2 run branches start so \(run/3f2a91c4-1, "):
        catalog.resolve("run/3f2a")
    for unknown in ("run/77a", "run/9999", "run/"):
        with pytest.raises((RefNotFound, InvalidRef)):
            catalog.resolve(unknown)
    end_run(catalog, "77aa0000-1", RunStatus.PASSED)
    catalog.merge("run/77aa", "main", **NOBODY)
    record = catalog.run("77aa0000-1")
    assert record is not None
    assert record.status is RunStatus.PUBLISHED


def test_a_new_catalog_has_main_at_an_empty_commit(catalog):
    (main,) = catalog.refs()
    assert (main.name, main.kind, main.protected) == ("main", RefKind.BRANCH, False)
    first = catalog.resolve("main")
    assert first.id == main.commit
    assert first.parents == ()
    assert first.time.utcoffset() == timedelta(0)
    assert catalog.entries(first.id) == {}
    assert catalog.changes(first.id) == ()
    assert catalog.log(first.id) == [first]
    assert catalog.log(first.id, 10**30) == [first]
    assert catalog.runs(10**30) == []


def test_what_one_handle_wrote_another_reads(open_catalog):
    one, other = open_catalog(), open_catalog()
    written = commit(one, "main", put(table("a")))
    assert other.resolve("main") == written
    assert other.entries(written.id) == {Key("s", "a"): table("a")}


def test_many_may_open_a_new_catalog_at_once(open_catalog):
    with ThreadPoolExecutor(8) as threads:
        catalogs = list(threads.map(lambda _: open_catalog(), range(8)))
    assert len({catalog.resolve("main").id for catalog in catalogs}) == 1


# commits and states


def test_a_commit_holds_what_was_put_and_leaves_earlier_states_alone(catalog):
    first = commit(catalog, "main", put(table("a")), put(table("b")))
    view = ViewEntry(schema="s", name="v", sql="select 1 as x", columns=(Column(name="x", type="INTEGER"),))
    second = commit(catalog, "main", put(table("a", 2)), drop("b"), put(view), put(SchemaEntry(schema="empty")))
    assert catalog.entries(first.id) == {Key("s", "a"): table("a"), Key("s", "b"): table("b")}
    assert catalog.entries(second.id) == {
        Key("empty", ""): SchemaEntry(schema="empty"),
        Key("s", "a"): table("a", 2),
        Key("s", "v"): view,
    }
    assert second.parents == (first.id,)
    assert second.time > first.time
    assert catalog.resolve("main") == second


def test_a_commit_says_who_what_and_why(catalog):
    provenance = {"node": "model.a", "inputs": ["s.b"], "größe": 1.5}
    made = catalog.commit("main", [], author="änne", message="zwei\nZeilen", run="r1", provenance=provenance)
    read = catalog.resolve("main")
    assert read == made
    assert (read.author, read.message, read.run, read.provenance) == ("änne", "zwei\nZeilen", "r1", provenance)


def test_keys_ignore_case_and_states_can_be_read_in_part(catalog):
    at = commit(catalog, "main", put(table("a")), put(table("b", schema="T")), put(SchemaEntry(schema="t"))).id
    assert set(catalog.entries(at, "T")) == {Key("t", "b"), Key("t", "")}
    assert catalog.entries(at, "nowhere") == {}
    assert set(catalog.lookup(at, [Key("S", "A"), Key("s", "b"), Key("t", "B")])) == {Key("s", "a"), Key("t", "b")}
    assert catalog.lookup(at, []) == {}


def test_reading_an_unknown_commit_says_so(catalog):
    for read in (catalog.entries, catalog.log, catalog.changes):
        with pytest.raises(RefNotFound, match="no commit"):
            read("0" * 40)
    with pytest.raises(RefNotFound, match="no commit"):
        catalog.lookup("0" * 40, [Key("s", "a")])


def test_puts_state_what_they_expect(catalog):
    head = commit(catalog, "main", put(table("a"), expected=None))
    with pytest.raises(HeadMoved, match=r"s\.a on branch 'main'.*by commit .*anna"):
        commit(catalog, "main", put(table("b")), put(table("a", 2), expected=None))
    with pytest.raises(HeadMoved, match="nothing instead of"):
        commit(catalog, "main", put(table("b"), expected=content_id(table("b"))))
    assert catalog.resolve("main") == head
    commit(catalog, "main", put(table("a", 2), expected=content_id(table("a"))))
    assert versions(catalog, "main") == {"s.a": 2}


def test_an_expected_head_must_hold(catalog):
    old = catalog.resolve("main")
    new = commit(catalog, "main", put(table("a")))
    with pytest.raises(HeadMoved, match=rf"branch 'main' moved from {old.id[:8]} to {new.id[:8]}"):
        catalog.commit("main", [put(table("b"))], expected_head=old.id, **NOBODY)
    catalog.commit("main", [put(table("b"))], expected_head=new.id, **NOBODY)


def test_changes_are_what_a_commit_changed_and_no_more(catalog):
    commit(catalog, "main", put(table("a")), put(table("b")), put(table("c")))
    made = commit(catalog, "main", put(table("a", 2)), put(table("b")), drop("c"), drop("d"), put(table("e")))
    ids = {(name, v): content_id(table(name, v)) for name in "abce" for v in (1, 2)}
    assert catalog.changes(made.id) == (
        Change(key=Key("s", "a"), before=ids["a", 1], after=ids["a", 2]),
        Change(key=Key("s", "c"), before=ids["c", 1], after=None),
        Change(key=Key("s", "e"), before=None, after=ids["e", 1]),
    )
    assert catalog.contents([ids["a", 1], ids["a", 2], "0" * 40]) == {
        ids["a", 1]: table("a"),
        ids["a", 2]: table("a", 2),
    }


def test_a_dropped_table_can_come_back(catalog):
    first = commit(catalog, "main", put(table("a")))
    second = commit(catalog, "main", drop("a"))
    third = commit(catalog, "main", put(table("a"), expected=None))
    assert [bool(catalog.entries(c.id)) for c in (first, second, third)] == [True, False, True]
    assert catalog.diff(first.id, third.id) == ()


def test_commits_go_to_branches_that_exist_and_are_not_protected(catalog):
    catalog.create_ref("v1", RefKind.TAG, "main")
    with pytest.raises(RefNotFound, match="did you mean 'main'"):
        commit(catalog, "mian", put(table("a")))
    with pytest.raises(InvalidRef, match="tag"):
        commit(catalog, "v1", put(table("a")))
    assert catalog.protect("main", True).protected
    with pytest.raises(RefProtected, match="merge"):
        commit(catalog, "main", put(table("a")))
    assert not catalog.protect("main", False).protected
    commit(catalog, "main", put(table("a")))


def test_puts_that_nobody_can_mean_are_refused(catalog):
    with pytest.raises(ValueError, match="two puts"):
        commit(catalog, "main", put(table("a")), put(table("A", 2)))
    with pytest.raises(ValueError, match="holds the entry"):
        commit(catalog, "main", Put(key=Key("s", "a"), entry=table("b"), expected=ANY))


def test_a_large_commit_and_a_large_lookup(catalog):
    names = [f"t{number:04}" for number in range(1500)]
    first = commit(catalog, "main", *(put(table(name)) for name in names))
    branch(catalog, "dev")
    second = commit(catalog, "dev", *(put(table(name, 2)) for name in names))
    assert len(catalog.lookup(first.id, [Key("s", name) for name in names])) == 1500
    assert len(catalog.diff(first.id, second.id)) == 1500
    result = catalog.merge("dev", "main", **NOBODY)
    assert len(result.changes) == 1500
    assert set(versions(catalog, "main").values()) == {2}


# branches and tags


def test_a_branch_starts_where_it_was_created_and_goes_its_own_way(catalog):
    commit(catalog, "main", put(table("a")), put(table("b")))
    branch(catalog, "dev")
    commit(catalog, "dev", put(table("a", 2)), drop("b"))
    commit(catalog, "main", put(table("b", 3)), put(table("c")))
    assert versions(catalog, "dev") == {"s.a": 2}
    assert versions(catalog, "main") == {"s.a": 1, "s.b": 3, "s.c": 1}


def test_two_branches_from_one_commit_do_not_see_one_another(catalog):
    at = commit(catalog, "main", put(table("a"))).id
    for number, name in enumerate(("x", "y", "z"), start=2):
        branch(catalog, name, at)
        commit(catalog, name, put(table("a", number)))
    assert [versions(catalog, name)["s.a"] for name in ("main", "x", "y", "z")] == [1, 2, 3, 4]


def test_refs_are_listed_by_name_and_kind(catalog):
    branch(catalog, "dev")
    catalog.create_ref("v1", RefKind.TAG, "main")
    catalog.create_ref("run/1", RefKind.BRANCH, "dev", run="1")
    assert [ref.name for ref in catalog.refs()] == ["dev", "main", "run/1", "v1"]
    assert [ref.name for ref in catalog.refs(RefKind.TAG)] == ["v1"]
    assert [ref.run for ref in catalog.refs(RefKind.BRANCH)] == [None, None, "1"]


def test_names_are_taken_once_and_checked(catalog):
    branch(catalog, "dev")
    with pytest.raises(RefExists, match="'dev'"):
        catalog.create_ref("dev", RefKind.TAG, "main")
    with pytest.raises(RefNotFound, match="'nothing'"):
        branch(catalog, "x", "nothing")
    for name in ("run/1", "a b", "deadbeef", ""):
        with pytest.raises(InvalidRef):
            branch(catalog, name)


def test_deleting_a_branch_leaves_what_forked_from_it(catalog):
    commit(catalog, "main", put(table("a")))
    branch(catalog, "dev")
    lost = commit(catalog, "dev", put(table("a", 2)), put(table("b")))
    branch(catalog, "child", "dev")
    commit(catalog, "child", put(table("c")))
    with pytest.raises(HeadMoved, match="moved"):
        catalog.delete_ref("dev", expected=catalog.resolve("main").id)
    catalog.delete_ref("dev", expected=lost.id)
    with pytest.raises(RefNotFound):
        catalog.resolve("dev")
    assert versions(catalog, "child") == {"s.a": 2, "s.b": 1, "s.c": 1}
    assert versions(catalog, lost.id) == {"s.a": 2, "s.b": 1}
    branch(catalog, "dev", "main")
    commit(catalog, "dev", put(table("d")))
    assert versions(catalog, "dev") == {"s.a": 1, "s.d": 1}


def test_some_refs_cannot_be_deleted(catalog):
    head = catalog.resolve("main").id
    with pytest.raises(RefProtected, match="main"):
        catalog.delete_ref("main", expected=head)
    branch(catalog, "prod")
    catalog.protect("prod", True)
    with pytest.raises(RefProtected, match="prod"):
        catalog.delete_ref("prod", expected=head)
    with pytest.raises(RefNotFound):
        catalog.delete_ref("nothing", expected=head)
    catalog.create_ref("v1", RefKind.TAG, "main")
    catalog.delete_ref("v1", expected=head)
    assert [ref.name for ref in catalog.refs()] == ["main", "prod"]


def test_assign_moves_a_branch_anywhere_and_it_goes_on_from_there(catalog):
    first = commit(catalog, "main", put(table("a")))
    second = commit(catalog, "main", put(table("a", 2)))
    with pytest.raises(HeadMoved):
        catalog.assign("main", first.id, expected=first.id)
    assert catalog.assign("main", "main~1", expected=second.id).commit == first.id
    third = commit(catalog, "main", put(table("b")))
    assert third.parents == (first.id,)
    assert versions(catalog, "main") == {"s.a": 1, "s.b": 1}
    assert versions(catalog, second.id) == {"s.a": 2}
    catalog.assign("main", second.id, expected=third.id)
    commit(catalog, "main", put(table("c")))
    assert versions(catalog, "main") == {"s.a": 2, "s.c": 1}
    catalog.protect("main", True)
    with pytest.raises(RefProtected):
        catalog.assign("main", first.id, expected=catalog.resolve("main").id)


def test_a_long_chain_of_forks_stays_readable(catalog):
    commit(catalog, "main", put(table("a")), put(table("gone")))
    commit(catalog, "main", drop("gone"))
    below, heads = "main", []
    for number in range(2, MAX_DEPTH * 2 + 6):
        branch(catalog, f"b{number}", below)
        below = f"b{number}"
        extra = drop("a") if number == 40 else put(table("a", number))
        heads.append(commit(catalog, below, extra, put(table(f"t{number}"))))
    final = versions(catalog, below)
    assert len(final) == len(heads) + 1
    assert final["s.a"] == MAX_DEPTH * 2 + 5
    assert "s.a" not in versions(catalog, "b40")
    assert versions(catalog, "b41")["s.a"] == 41
    assert [c.id for c in catalog.log(heads[-1].id, len(heads))] == [c.id for c in reversed(heads)]
    assert catalog.resolve(f"{below}~{len(heads) - 1}") == heads[0]
    assert len(catalog.diff(heads[0].id, heads[-1].id)) == len(heads)
    assert len(catalog.merge(below, "main", **NOBODY).changes) == len(final)


# addressing and history


def test_ref_expressions_lead_to_commits(catalog):
    first = commit(catalog, "main", put(table("a")))
    second = commit(catalog, "main", put(table("a", 2)))
    branch(catalog, "dev")
    third = commit(catalog, "dev", put(table("a", 3)))
    catalog.create_ref("v1", RefKind.TAG, first.id)
    leads = {
        "v1": first,
        second.id: second,
        second.id[:12].upper(): second,
        "dev~1": second,
        "dev~2": first,
        "dev~~": first,
        "dev~0": third,
        f"dev@{first.id[:10]}": first,
        f"dev@{first.id}": first,
        f"main@{second.time.isoformat()}": second,
        f"main@{(second.time - timedelta(microseconds=1)).isoformat()}": first,
        f"dev@{first.time.isoformat()}": first,
        "dev@2999-01-01": third,
    }
    assert {text: catalog.resolve(text) for text in leads} == leads


@pytest.mark.parametrize(
    ("text", "error", "why"),
    [
        ("mian", RefNotFound, "did you mean 'main'"),
        ("0123456789", RefNotFound, "no branch, tag or commit"),
        ("main~7", RefNotFound, "not 7 commits before"),
        ("main@2001-01-01", RefNotFound, "no commit yet at 2001-01-01"),
        ("main@0123456789", RefNotFound, "no commit that starts with 0123456789 is reachable"),
        ("main@yesterday", InvalidRef, "yesterday"),
        ("ma in", InvalidRef, "' '"),
    ],
)
def test_ref_expressions_that_lead_nowhere_say_why(catalog, text, error, why):
    with pytest.raises(error, match=why):
        catalog.resolve(text)


def test_a_commit_that_the_branch_does_not_hold_is_not_found_through_it(catalog):
    branch(catalog, "dev")
    elsewhere = commit(catalog, "dev", put(table("a")))
    with pytest.raises(RefNotFound, match="reachable"):
        catalog.resolve(f"main@{elsewhere.id[:10]}")
    catalog.merge("dev", "main", **NOBODY)
    assert catalog.resolve(f"main@{elsewhere.id[:10]}") == elsewhere


def test_the_state_at_a_time_is_what_the_branch_showed_then(catalog):
    before = commit(catalog, "main", put(table("a")))
    branch(catalog, "dev")
    commit(catalog, "dev", put(table("a", 2)))
    between = commit(catalog, "main", put(table("b")))
    merged = catalog.merge("dev", "main", **NOBODY).commit
    assert before.time < between.time < merged.time
    assert catalog.resolve(f"main@{(merged.time - timedelta(microseconds=1)).isoformat()}") == between


def test_log_follows_first_parents_or_all(catalog):
    (first,) = catalog.log(catalog.resolve("main").id)
    branch(catalog, "dev")
    theirs = commit(catalog, "dev", put(table("a")))
    ours = commit(catalog, "main", put(table("b")))
    merged = catalog.merge("dev", "main", **NOBODY).commit
    assert merged.parents == (ours.id, theirs.id)
    assert catalog.log(merged.id) == [merged, ours, first]
    assert catalog.log(merged.id, 2) == [merged, ours]
    assert catalog.log(merged.id, first_parent=False) == [merged, ours, theirs, first]
    assert catalog.log(merged.id, 3, first_parent=False) == [merged, ours, theirs]


def test_diff_says_what_differs_however_the_commits_are_related(catalog):
    base = commit(catalog, "main", put(table("a")), put(table("b")))
    branch(catalog, "x")
    branch(catalog, "y")
    x = commit(catalog, "x", put(table("a", 2)), put(table("new")))
    y = commit(catalog, "y", drop("b"), put(table("new")))

    def keys(old: Commit, new: Commit) -> list[tuple[str, bool, bool]]:
        return [(str(c.key), c.before is not None, c.after is not None) for c in catalog.diff(old.id, new.id)]

    assert keys(base, x) == [("s.a", True, True), ("s.new", False, True)]
    assert keys(x, base) == [("s.a", True, True), ("s.new", True, False)]
    assert keys(x, y) == [("s.a", True, True), ("s.b", True, False)]
    assert keys(x, x) == []


# merges


def test_a_merge_brings_the_changes_of_one_branch_into_another(catalog):
    base = commit(catalog, "main", put(table("a")), put(table("b")), put(table("c")))
    branch(catalog, "dev")
    commit(catalog, "dev", put(table("a", 2)))
    theirs = commit(catalog, "dev", drop("b"), put(table("d")))
    ours = commit(catalog, "main", put(table("c", 5)))
    trial = catalog.merge("dev", "main", dry_run=True, **NOBODY)
    assert trial.commit is None
    assert catalog.resolve("main") == ours
    result = catalog.merge("dev", "main", author="bert", message="publish", provenance={"why": 1})
    assert result.base == base.id
    assert result.conflicts == ()
    assert (
        result.changes == trial.changes == catalog.changes(result.commit.id) == catalog.diff(ours.id, result.commit.id)
    )
    assert result.commit == catalog.resolve("main")
    assert result.commit.parents == (ours.id, theirs.id)
    assert (result.commit.author, result.commit.provenance) == ("bert", {"why": 1})
    assert versions(catalog, "main") == {"s.a": 2, "s.c": 5, "s.d": 1}
    assert catalog.resolve("dev") == theirs


def test_what_is_merged_already_is_not_merged_again(catalog):
    branch(catalog, "dev")
    theirs = commit(catalog, "dev", put(table("a")))
    merged = catalog.merge("dev", "main", **NOBODY).commit
    again = catalog.merge("dev", "main", **NOBODY)
    assert (again.base, again.changes, again.commit) == (theirs.id, (), None)
    assert catalog.merge("main", "main", **NOBODY).commit is None
    assert catalog.resolve("main") == merged


def test_a_merge_does_not_bring_back_what_an_earlier_one_brought(catalog):
    branch(catalog, "dev")
    commit(catalog, "dev", put(table("a")))
    catalog.merge("dev", "main", **NOBODY)
    commit(catalog, "main", put(table("a", 9)))
    commit(catalog, "dev", put(table("b")))
    result = catalog.merge("dev", "main", **NOBODY)
    assert [str(change.key) for change in result.changes] == ["s.b"]
    assert versions(catalog, "main") == {"s.a": 9, "s.b": 1}


def test_the_same_change_on_both_sides_is_no_conflict(catalog):
    commit(catalog, "main", put(table("a")), put(table("b")))
    branch(catalog, "dev")
    for side in ("dev", "main"):
        commit(catalog, side, put(table("a", 2)), drop("b"), put(table("new")), put(SchemaEntry(schema="t")))
    result = catalog.merge("dev", "main", **NOBODY)
    assert (result.changes, result.conflicts) == ((), ())
    assert versions(catalog, "main") == {"s.a": 2, "s.new": 1, "t": None}


def test_conflicts_change_nothing_and_name_the_commits_of_both_sides(catalog):
    commit(catalog, "main", put(table("a")), put(table("b")), put(table("c")))
    branch(catalog, "dev")
    commit(catalog, "dev", put(table("a", 2)))
    theirs = commit(catalog, "dev", put(table("a", 3)), put(table("new", 1)), drop("b"))
    fine = commit(catalog, "dev", put(table("c", 2)))
    ours = commit(catalog, "main", put(table("a", 4)), put(table("new", 2)))
    head = commit(catalog, "main", put(table("b", 2)))
    for dry_run in (True, False):
        result = catalog.merge("dev", "main", dry_run=dry_run, **NOBODY)
        assert [(str(c.key), c.kind) for c in result.conflicts] == [
            ("s.a", ConflictKind.BOTH_CHANGED),
            ("s.b", ConflictKind.CHANGED_AND_DROPPED),
            ("s.new", ConflictKind.BOTH_CREATED),
        ]
        assert [c.source_commit for c in result.conflicts] == [theirs] * 3
        assert [c.target_commit for c in result.conflicts] == [ours, head, ours]
        a = result.conflicts[0]
        assert (a.base, a.source, a.target) == tuple(content_id(table("a", v)) for v in (1, 3, 4))
        assert [str(change.key) for change in result.changes] == ["s.c"]
        assert result.commit is None
    assert catalog.resolve("main") == head
    assert catalog.resolve("dev") == fine


def test_a_conflict_is_settled_by_merging_the_other_way(catalog):
    branch(catalog, "dev")
    commit(catalog, "dev", put(table("a", 1)))
    commit(catalog, "main", put(table("a", 2)))
    assert catalog.merge("dev", "main", **NOBODY).conflicts
    catalog.assign("dev", "main", expected=catalog.resolve("dev").id)
    commit(catalog, "dev", put(table("a", 1)))
    catalog.merge("dev", "main", **NOBODY)
    assert versions(catalog, "main") == {"s.a": 1}


def test_criss_cross_merges_do_not_bring_back_what_was_undone(catalog):
    commit(catalog, "main", put(table("a", 1)), put(table("b", 1)))
    branch(catalog, "x")
    branch(catalog, "y")
    x = commit(catalog, "x", put(table("a", 2)))
    y = commit(catalog, "y", put(table("b", 2)))
    assert catalog.merge(y.id, "x", **NOBODY).commit
    assert catalog.merge(x.id, "y", **NOBODY).commit
    # Both hold a2 and b2 now, over two merge bases; x undoes a, and y changes nothing.
    commit(catalog, "x", put(table("a", 1)))
    commit(catalog, "y", put(table("c", 1)))
    result = catalog.merge("x", "y", **NOBODY)
    assert result.conflicts == ()
    assert versions(catalog, "y") == {"s.a": 1, "s.b": 2, "s.c": 1}


def test_a_schema_dropped_here_and_used_there_lives_on_for_what_was_created(catalog):
    commit(catalog, "main", put(SchemaEntry(schema="s")), put(table("a")))
    branch(catalog, "dev")
    commit(catalog, "dev", drop(""), drop("a"))
    commit(catalog, "main", put(table("b")))
    assert catalog.merge("dev", "main", **NOBODY).conflicts == ()
    assert versions(catalog, "main") == {"s.b": 1}


def test_a_schema_dropped_here_and_a_table_of_it_changed_there_is_a_conflict(catalog):
    commit(catalog, "main", put(SchemaEntry(schema="s")), put(table("a")))
    branch(catalog, "dev")
    commit(catalog, "dev", drop(""), drop("a"))
    commit(catalog, "main", put(table("a", 2)))
    (conflict,) = catalog.merge("dev", "main", **NOBODY).conflicts
    assert (str(conflict.key), conflict.kind) == ("s.a", ConflictKind.CHANGED_AND_DROPPED)


def test_merges_go_to_branches_that_are_where_they_were_expected(catalog):
    old = catalog.resolve("main")
    branch(catalog, "dev")
    commit(catalog, "dev", put(table("a")))
    head = commit(catalog, "main", put(table("b")))
    catalog.create_ref("v1", RefKind.TAG, "main")
    with pytest.raises(HeadMoved, match=rf"from {old.id[:8]} to {head.id[:8]}.*run again"):
        catalog.merge("dev", "main", expected_target=old.id, **NOBODY)
    with pytest.raises(RefNotFound):
        catalog.merge("nothing", "main", **NOBODY)
    with pytest.raises(RefNotFound):
        catalog.merge("dev", "nothing", **NOBODY)
    with pytest.raises(InvalidRef):
        catalog.merge("dev", "v1", **NOBODY)
    catalog.protect("main", True)
    assert catalog.merge("dev", "main", expected_target=head.id, **NOBODY).commit


def test_only_the_commit_that_was_looked_at_is_merged(catalog):
    branch(catalog, "dev")
    seen = commit(catalog, "dev", put(table("a")))
    moved = commit(catalog, "dev", put(table("b")))
    with pytest.raises(HeadMoved, match=rf"'dev' moved from {seen.id[:8]} to {moved.id[:8]}"):
        catalog.merge("dev", "main", expected_source=seen.id, **NOBODY)
    assert versions(catalog, "main") == {}
    assert catalog.merge("dev", "main", expected_source=moved.id, **NOBODY).commit


# runs and taint


def test_runs_are_kept_and_found(catalog):
    first, second = a_run("3f2a-1"), a_run("3f2b-2", RunStatus.FAILED)
    catalog.save_run(first)
    catalog.save_run(second)
    assert catalog.runs() == [second, first]
    assert catalog.runs(1) == [second]
    assert catalog.run("3f2a-1") == catalog.run("3f2a") == first
    assert catalog.run("3f2") is None
    assert catalog.run("nothing") is None
    changed = a_run("3f2a-1", RunStatus.PASSED)
    catalog.save_run(changed)
    assert catalog.run("3f2a-1") == changed
    catalog.save_run(a_run("3f2a-2"))
    with pytest.raises(InvalidRef, match="ambiguous"):
        catalog.run("3f2a-")


def test_a_heartbeat_is_for_open_runs(catalog):
    for name, status in (("open", RunStatus.OPEN), ("done", RunStatus.FAILED)):
        catalog.save_run(a_run(name, status))
        before = catalog.run(name)
        catalog.heartbeat(name)
        assert (catalog.run(name).heartbeat_at > before.heartbeat_at) == (name == "open")
    catalog.heartbeat("nothing")


def test_publishing_a_run_says_so_of_it_and_of_those_it_continues(catalog):
    start_run(catalog, "one")
    commit(catalog, "run/one", put(table("a")), run="one")
    end_run(catalog, "one", RunStatus.FAILED)
    start_run(catalog, "two", "run/one", continues="one")
    end_run(catalog, "two", RunStatus.ABANDONED)
    start_run(catalog, "three", "run/two", continues="two")
    commit(catalog, "run/three", put(table("b")), run="three")
    result = catalog.merge("run/three", "main", run="three", **NOBODY)
    assert versions(catalog, "main") == {"s.a": 1, "s.b": 1}
    assert [catalog.run(name).status for name in ("one", "two", "three")] == ["continued", "continued", "published"]
    assert catalog.run("three").published == result.commit.id
    assert catalog.run("three").finished_at is not None
    with pytest.raises(ConflictError, match="published"):
        end_run(catalog, "three", RunStatus.ABANDONED)
    end_run(catalog, "three", RunStatus.PUBLISHED)


def test_a_run_that_ran_into_conflicts_is_not_published(catalog):
    start_run(catalog, "one")
    commit(catalog, "run/one", put(table("a")), run="one")
    commit(catalog, "main", put(table("a", 2)))
    assert catalog.merge("run/one", "main", run="one", **NOBODY).conflicts
    assert catalog.run("one").status is RunStatus.OPEN
    assert catalog.merge("run/one", "main", run="one", dry_run=True, **NOBODY).conflicts


@pytest.mark.parametrize("status", [RunStatus.OPEN, RunStatus.FAILED, RunStatus.ABANDONED])
def test_what_a_run_wrote_that_did_not_pass_reaches_no_other_branch(catalog, status):
    start_run(catalog, "bad")
    commit(catalog, "run/bad", put(table("a")), run="bad")
    end_run(catalog, "bad", status)
    branch(catalog, "fork", "run/bad")
    commit(catalog, "fork", put(table("b")))
    head = catalog.resolve("main")
    for source in ("run/bad", "fork", "fork~1"):
        for dry_run in (True, False):
            with pytest.raises(TaintedError, match=rf"bad \({status}\); tables: s\.a"):
                catalog.merge(source, "main", dry_run=dry_run, **NOBODY)
        with pytest.raises(TaintedError):
            catalog.assign("main", source, expected=head.id)
    assert catalog.resolve("main") == head
    assert catalog.merge("main", "fork", **NOBODY).commit is None
    assert catalog.merge("fork", "main", accept_tainted=True, **NOBODY).commit


def test_a_commit_of_a_run_that_nobody_recorded_is_tainted(catalog):
    branch(catalog, "dev")
    commit(catalog, "dev", put(table("a")), run="unheard-of")
    with pytest.raises(TaintedError, match=r"unheard- \(not recorded\)"):
        catalog.merge("dev", "main", **NOBODY)


def test_a_branch_that_a_run_that_passed_fixed_may_travel(catalog):
    start_run(catalog, "bad")
    commit(catalog, "run/bad", put(table("a")), run="bad")
    end_run(catalog, "bad", RunStatus.FAILED)
    branch(catalog, "fork", "run/bad")
    start_run(catalog, "good", "fork", continues="bad", target="fork")
    commit(catalog, "run/good", put(table("a", 2)), run="good")
    catalog.merge("run/good", "fork", run="good", **NOBODY)
    assert catalog.run("bad").status is RunStatus.CONTINUED
    # The repair does not make the unrepaired state fit to travel.
    with pytest.raises(TaintedError):
        catalog.merge("run/bad", "main", **NOBODY)
    assert catalog.merge("fork", "main", **NOBODY).commit
    assert versions(catalog, "main") == {"s.a": 2}


def test_merging_the_branch_of_a_run_that_passed_publishes_it(catalog):
    start_run(catalog, "first")
    commit(catalog, "run/first", put(table("a")), run="first")
    end_run(catalog, "first", RunStatus.FAILED)
    start_run(catalog, "manual", "run/first", continues="first")
    end_run(catalog, "manual", RunStatus.PASSED)
    branch(catalog, "elsewhere")
    catalog.merge("run/manual", "elsewhere", **NOBODY)
    assert catalog.run("manual").status is RunStatus.PASSED
    result = catalog.merge("run/manual", "main", **NOBODY)
    assert (catalog.run("manual").status, catalog.run("manual").published) == (RunStatus.PUBLISHED, result.commit.id)
    assert catalog.run("first").status is RunStatus.CONTINUED


# at the same time


def test_threads_that_commit_and_merge_lose_nothing(open_catalog):
    def work(number: int) -> None:
        mine = f"w{number}"
        branch(catalog, mine)
        for step in range(1, 6):
            commit(catalog, mine, put(table(f"t{number}", step)))
            commit(catalog, "main", put(table(f"direct{number}", step)))
            assert catalog.merge(mine, "main", **NOBODY).commit

    catalog = open_catalog()
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
    assert versions(catalog, "main") == {f"s.{kind}{n}": 5 for kind in ("t", "direct") for n in range(6)}
    assert len(catalog.log(catalog.resolve("main").id)) == 1 + 6 * 5 * 2


def test_of_those_who_expect_the_same_head_one_wins(open_catalog):
    catalogs = [open_catalog() for _ in range(4)]
    head = catalogs[0].resolve("main").id
    start = threading.Barrier(4)

    def attempt(catalog: Catalog) -> bool:
        start.wait()
        try:
            catalog.commit("main", [put(table("a"))], expected_head=head, **NOBODY)
        except HeadMoved:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(attempt, catalogs)) == [False, False, False, True]


def test_a_commit_id_covers_everything_a_commit_says(catalog):
    branch(catalog, "x")
    branch(catalog, "y")
    assert commit(catalog, "x", put(table("a"))).id != commit(catalog, "y", put(table("a"))).id


def test_the_last_change_of_a_key_is_found_through_forks_and_merges(catalog):
    key = Key("s", "orders")

    def changed(ref: str) -> str | None:
        found = catalog.last_change(catalog.resolve(ref).id, key)
        return None if found is None else found.id

    assert changed("main") is None
    first = commit(catalog, "main", put(table("orders")))
    commit(catalog, "main", put(table("other")))
    branch(catalog, "dev")
    assert changed("dev") == changed("main") == first.id
    second = commit(catalog, "dev", put(table("orders", 2)))
    commit(catalog, "dev", put(table("more")))
    catalog.merge("dev", "main", **NOBODY)
    commit(catalog, "main", put(table("other", 2)))
    assert changed("main") == second.id, "the merge only brought it"
    assert changed("main~2") == first.id
    gone = commit(catalog, "main", drop("orders"))
    assert changed("main") == gone.id
    assert catalog.last_change(gone.id, Key("s", "other")).message != gone.message
    with pytest.raises(RefNotFound):
        catalog.last_change("f" * 40, key)


def test_the_last_change_is_found_below_a_long_chain_of_forks(catalog):
    made = commit(catalog, "main", put(table("orders")))
    at = "main"
    for number in range(MAX_DEPTH + 3):
        branch(catalog, f"fork{number}", at)
        at = f"fork{number}"
        commit(catalog, at, put(table("other", number + 1)))
    assert catalog.last_change(catalog.resolve(at).id, Key("s", "orders")).id == made.id


# results by fingerprint


def a_result(fingerprint: str, node: str = "model.a", *, seconds: float = 1.5, at: int = 0) -> ReusableResult:
    return ReusableResult(
        fingerprint=fingerprint,
        parts={"code": "abc", "input s.source": "def"},
        node=node,
        entry=dataclasses.replace(table("orders"), content="rows:1"),
        run="0001-run",
        author="anna",
        made_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=at),
        seconds=seconds,
        answer={"failures": 0},
    )


def test_results_are_found_by_fingerprint_and_by_node(index):
    assert index.recall("f1") is None
    index.remember(a_result("f1"))
    index.remember(a_result("f2", at=1))
    index.remember(dataclasses.replace(a_result("f3", node="test.a"), entry=None, run=None))
    assert index.recall("f1") == a_result("f1")
    assert index.recall("f3").entry is None
    assert [result.fingerprint for result in index.recall_node("model.a")] == ["f2", "f1"]
    assert [result.fingerprint for result in index.recall_node("model.a", 1)] == ["f2"]
    index.remember(a_result("f1", seconds=9.0, at=2))
    assert index.recall("f1").seconds == 9.0
    assert [result.fingerprint for result in index.recall_node("model.a")] == ["f1", "f2"]


def test_an_entry_without_content_has_the_id_that_it_always_had():
    assert content_id(table("orders")) == "6941035110bc55b01239471a10575629c7786ee8"
    assert content_id(dataclasses.replace(table("orders"), content="rows:1")) != content_id(table("orders"))


def test_a_claim_holds_while_its_run_lives(index):
    for name in ("0001-run", "0002-run"):
        index.save_run(a_run(name))
    assert index.claim("f1", "0001-run") is None
    assert index.claim("f1", "0001-run") is None
    assert index.claim("f1", "0002-run") == "0001-run"
    assert index.claim("f2", "0002-run") is None
    index.release("f1", "0002-run")
    assert index.claim("f1", "0002-run") == "0001-run"
    index.release("f1", "0001-run")
    assert index.claim("f1", "0002-run") is None
    assert index.claim("f1", "0001-run", instead_of="0002-run") is None
    index.save_run(a_run("0001-run", RunStatus.FAILED))
    assert index.claim("f1", "0002-run") is None
    index.remember(a_result("f1"))
    index.save_run(a_run("0001-run"))
    assert index.claim("f1", "0001-run") is None


def test_a_claim_of_a_silent_run_is_void(index):
    silent = dataclasses.replace(a_run("0001-run"), heartbeat_at=datetime.now(UTC) - timedelta(minutes=2))
    index.save_run(silent)
    index.save_run(a_run("0002-run"))
    assert index.claim("f1", "0001-run") is None
    assert index.claim("f1", "0002-run") is None
    index.heartbeat("0001-run")
    assert index.claim("f1", "0001-run") == "0002-run"


def test_one_of_many_gets_a_claim(open_index):
    handles = [open_index() for _ in range(4)]
    for number in range(4):
        handles[0].save_run(a_run(f"000{number}-run"))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: handles[n].claim("f1", f"000{n}-run"), range(4)))
    assert answers.count(None) == 1
    assert set(answers) - {None} == {f"000{answers.index(None)}-run"}
