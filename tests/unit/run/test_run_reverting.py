"""Going back on an embedded lake: what stands on what goes is known, and nothing is left on something that is gone."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from dbt.adapters.lakehouse.catalog.model import Key, RefKind, RunStatus
from dbt.adapters.lakehouse.errors import (
    Collected,
    ConfigError,
    ConflictError,
    HeadMoved,
    InvalidRef,
    NotInLake,
    RefNotFound,
    TaintedError,
)
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.going_back import ResetRequest, Reverted, RevertRequest
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.upkeep import CollectRequest
from dbt.adapters.lakehouse.run.values import Build, Name

OpenRun = Callable[..., LakeRun]


class Shop:
    """Runs on a lake, each of which builds tables of schema ``s`` by SQL (and views, which begin with ``view:``)."""

    def __init__(self, lake: EmbeddedLake, open_run: OpenRun) -> None:
        self.lake, self.catalog = lake, lake.catalog
        self._open_run = open_run

    def run(self, branch: str = "main", publish: bool = True, **tables: str) -> str:
        """The commit that publishes the run; the run's id, if it is not to pass."""
        run = self._open_run(branch=branch)
        with_session = run.session()
        for name, sql in tables.items():
            place = Name(database="lake", schema="s", name=name)
            if sql.startswith("view:"):
                with_session.create_view(place, sql.removeprefix("view:"), node=f"model.shop.{name}")
            else:
                with_session.build(Build(name=place, sql=sql, node=f"model.shop.{name}"))
        with_session.close()
        if not publish:
            run.fail("a test failed", {})
            return run.request.id
        commit = run.publish({f"model.shop.{name}": {"status": "success"} for name in tables})
        assert commit is not None
        return commit.id

    def revert(self, *what: str, branch: str = "main", **more: Any) -> Reverted:
        keys = {"commit": what[0]} if "to" not in more else {"tables": tuple(Key("s", name) for name in what)}
        return self.lake.versions.revert(RevertRequest(branch=branch, author="ada", **keys, **more))

    def reset(self, branch: str, to: str, **more: Any) -> Reverted:
        return self.lake.versions.reset(ResetRequest(branch=branch, to=to, author="ada", **more))

    def rows(self, name: str, ref: str = "main") -> list[Any]:
        with_session = self.lake.read(ref, "s")
        try:
            return [row[0] for row in with_session.execute(f"SELECT * FROM {name} ORDER BY 1").rows]
        finally:
            with_session.close()

    def head(self, branch: str = "main") -> str:
        return self.catalog.resolve(branch).id

    def stale(self, ref: str = "main") -> dict[str, list[tuple[str, str]]]:
        return {
            str(one.key): [(str(moved.input), moved.what) for moved in one.moved]
            for one in self.lake.versions.stale(ref)
        }

    def names(self, ref: str = "main") -> set[str]:
        return {key.name for key in self.catalog.entries(self.head(ref)) if key.name}


@pytest.fixture
def shop(lake: EmbeddedLake, open_run: OpenRun) -> Shop:
    return Shop(lake, open_run)


def dependants(result: Reverted) -> list[tuple[str, str, str]]:
    return [(one.key.name, one.why, one.of.name) for one in result.dependants]


# the published counterexample


def test_one_of_two_tables_that_a_run_wrote_is_not_taken_back_alone(shop: Shop) -> None:
    shop.run(t1="SELECT 1 AS a", t2="SELECT a * 10 AS a FROM s.t1")
    before = shop.head()
    second = shop.run(t1="SELECT 2 AS a", t2="SELECT a * 10 AS a FROM s.t1")
    refused = shop.revert("t1", to=before)
    assert refused.refused
    assert refused.commit is None
    assert dependants(refused) == [("t2", "computed_from", "t1")]
    assert refused.dependants[0].by is not None
    assert (shop.head(), shop.rows("t1"), shop.rows("t2")) == (second, [2], [20])
    taken = shop.revert("t1", to=before, with_dependants=True)
    assert taken.commit is not None
    assert (shop.rows("t1"), shop.rows("t2")) == ([1], [10])
    assert shop.stale() == {}
    said = taken.commit.provenance
    assert (said["reverts"], said["to"], said["with_dependants"]) == (["s.t1"], before, ["s.t2"])


def test_what_goes_back_knowingly_is_written_down_and_stale(shop: Shop) -> None:
    before = shop.run(t1="SELECT 1 AS a", t2="SELECT a * 10 AS a FROM s.t1")
    shop.run(t1="SELECT 2 AS a", t2="SELECT a * 10 AS a FROM s.t1")
    result = shop.revert("t1", to=before, knowingly=True)
    assert result.commit is not None
    assert result.commit.provenance["knowingly"] == ["s.t2"]
    assert (shop.rows("t1"), shop.rows("t2")) == ([1], [20])
    assert shop.stale() == {"s.t2": [("s.t1", "changed")]}
    stale = shop.lake.versions.stale("main")[0]
    by = stale.moved[0].by
    assert by is not None
    assert by.id == result.commit.id
    assert stale.moved[0].recorded_snapshot != stale.moved[0].standing_snapshot


def test_the_child_alone_does_not_go_back_to_what_was_made_of_another_parent(shop: Shop) -> None:
    before = shop.run(t1="SELECT 1 AS a", t2="SELECT a * 10 AS a FROM s.t1")
    shop.run(t1="SELECT 2 AS a", t2="SELECT a * 10 AS a FROM s.t1")
    refused = shop.revert("t2", to=before)
    assert refused.refused
    assert dependants(refused) == [("t1", "written_together", "t2")]
    shop.revert("t2", to=before, with_dependants=True)
    assert (shop.rows("t1"), shop.rows("t2")) == ([1], [10])


# a commit


def test_a_publish_is_undone_as_a_whole(shop: Shop) -> None:
    shop.run(t1="SELECT 1 AS a", old="SELECT 7 AS a")
    first = shop.head()
    bad = shop.run(t1="SELECT 2 AS a", t2="SELECT a * 10 AS a FROM s.t1")
    shop.run(elsewhere="SELECT 5 AS a")
    result = shop.revert(bad)
    assert not result.refused
    assert {change.key.name for change in result.changes} == {"t1", "t2"}
    assert shop.names() == {"t1", "old", "elsewhere"}
    assert (shop.rows("t1"), shop.stale()) == ([1], {})
    assert result.commit is not None
    assert result.commit.provenance["reverts"] == bad
    assert result.commit.message.startswith("Revert ")
    # And that can be undone as well.
    shop.revert(result.commit.id)
    assert (shop.rows("t1"), shop.rows("t2")) == ([2], [20])
    assert shop.head() != first


def test_what_was_computed_from_it_later_is_named_and_goes_along(shop: Shop) -> None:
    shop.run(t1="SELECT 1 AS a")
    bad = shop.run(t1="SELECT 2 AS a")
    shop.run(t3="SELECT a + 100 AS a FROM s.t1")
    shop.run(t4="SELECT a + 1000 AS a FROM s.t3", apart="SELECT 1 AS a")
    refused = shop.revert(bad)
    assert refused.refused
    assert [(one.key.name, one.of.name, one.depth, one.becomes) for one in refused.dependants] == [
        ("t3", "t1", 1, "dropped"),
        ("t4", "t3", 2, "dropped"),
    ]
    dry = shop.revert(bad, with_dependants=True, dry_run=True)
    assert (dry.commit, dry.refused) == (None, False)
    assert shop.names() == {"t1", "t3", "t4", "apart"}
    shop.revert(bad, with_dependants=True)
    assert (shop.names(), shop.rows("t1"), shop.stale()) == ({"t1", "apart"}, [1], {})


def test_what_changed_since_is_a_conflict_that_names_the_commit(shop: Shop) -> None:
    shop.run(t1="SELECT 1 AS a", t2="SELECT 1 AS a")
    bad = shop.run(t1="SELECT 2 AS a", t2="SELECT 2 AS a")
    since = shop.run(t2="SELECT 3 AS a")
    result = shop.revert(bad)
    assert result.refused
    assert [str(conflict.key) for conflict in result.conflicts] == ["s.t2"]
    by = result.conflicts[0].target_commit
    assert by is not None
    assert by.id == shop.catalog.resolve(since).parents[1]
    assert shop.rows("t1") == [2]


def test_what_is_undone_already_and_what_was_never_there(shop: Shop) -> None:
    first = shop.run(t1="SELECT 1 AS a")
    bad = shop.run(t1="SELECT 2 AS a")
    shop.revert(bad)
    head = shop.head()
    again = shop.revert(bad)
    assert (again.commit, again.changes, again.refused, shop.head()) == (None, (), False, head)
    assert shop.revert("t1", to=first).commit is None
    shop.catalog.create_ref("dev", RefKind.BRANCH, first)
    elsewhere = shop.run(branch="dev", t9="SELECT 1 AS a")
    with pytest.raises(RefNotFound, match="not in the history"):
        shop.revert(elsewhere)
    with pytest.raises(NotInLake, match=r"did you mean s\.t1"):
        shop.revert("tt1", to=first)
    with pytest.raises(RefNotFound, match="no branch"):
        shop.revert(bad, branch="nowhere")
    with pytest.raises(ConfigError, match="made the lake"):
        shop.revert(shop.catalog.log(shop.head())[-1].id)
    with pytest.raises(ConfigError, match="--to"):
        shop.lake.versions.revert(RevertRequest(branch="main", author="ada"))


def test_an_import_that_came_between_does_not_keep_a_publish_from_being_undone(shop: Shop) -> None:
    shop.run(raw="SELECT 1 AS a")
    shop.run(t1="SELECT a AS a FROM s.raw")
    shop.run(raw="SELECT 5 AS a")
    assert shop.stale() == {"s.t1": [("s.raw", "changed")]}
    bad = shop.run(t1="SELECT a * 2 AS a FROM s.raw")
    assert shop.stale() == {}
    # Before it, t1 was behind its source as well: that is what the branch held.
    assert shop.revert(bad).refused is False
    assert shop.rows("t1") == [1]


def test_a_table_does_not_go_back_behind_its_source_unseen(shop: Shop) -> None:
    shop.run(raw="SELECT 1 AS a")
    first = shop.run(t1="SELECT a AS a FROM s.raw")
    shop.run(raw="SELECT 5 AS a")
    shop.run(t1="SELECT a AS a FROM s.raw")
    refused = shop.revert("t1", to=first)
    assert dependants(refused) == [("t1", "inputs_moved", "raw")]
    assert shop.revert("t1", to=first, with_dependants=True).refused
    both = shop.revert("t1", "raw", to=first)
    assert both.commit is not None
    assert (shop.rows("t1"), shop.stale()) == ([1], {})


# views


def test_views_are_fine_unless_they_name_columns_that_go(shop: Shop) -> None:
    first = shop.run(t1="SELECT 1 AS a")
    second = shop.run(t1="SELECT 2 AS a, 3 AS b")
    shop.run(narrow="view:SELECT a FROM s.t1", wide="view:SELECT b + 1 AS c FROM s.t1")
    refused = shop.revert("t1", to=first)
    assert dependants(refused) == [("wide", "columns_missing", "t1")]
    shop.revert("t1", to=first, knowingly=True)
    assert shop.stale() == {"s.wide": [("s.t1", "columns")]}
    assert shop.rows("narrow") == [1]
    shop.reset("main", second)
    assert shop.stale() == {}


def test_a_table_over_a_view_stands_on_what_the_view_reads(shop: Shop) -> None:
    first = shop.run(t1="SELECT 1 AS a")
    shop.run(t1="SELECT 2 AS a")
    shop.run(v="view:SELECT a FROM s.t1")
    shop.run(t2="SELECT a FROM s.v")
    refused = shop.revert("t1", to=first)
    assert ("t2", "computed_from", "t1") in dependants(refused)
    assert shop.stale() == {}
    # Remarks in a view's SQL change nothing; other SQL does.
    shop.run(v="view:SELECT a -- the same\n FROM s.t1")
    assert shop.stale() == {}
    shop.run(v="view:SELECT a + 1 AS a FROM s.t1")
    assert shop.stale() == {"s.t2": [("s.v", "changed")]}


# what is stale


def test_stale_by_change_by_drop_and_through_others_but_not_by_version(shop: Shop) -> None:
    shop.run(t1="SELECT 1 AS a", t2="SELECT a FROM s.t1", t3="SELECT a FROM s.t2")
    shop.run(t1="SELECT 1 AS a WHERE true")  # other code, the same rows
    assert shop.stale() == {}
    shop.run(t1="SELECT 2 AS a")
    found = {str(one.key): one for one in shop.lake.versions.stale("main")}
    assert [moved.what for moved in found["s.t2"].moved] == ["changed"]
    assert (found["s.t3"].moved, [str(key) for key in found["s.t3"].through]) == ((), ["s.t2"])
    run = shop._open_run()
    session = run.session()
    session.execute("DROP TABLE s.t1")
    session.close()
    run.publish({})
    assert shop.stale()["s.t2"] == [("s.t1", "dropped")]
    by = shop.lake.versions.stale("main")[0].moved[0].by
    assert by is not None
    assert by.message == "Drop s.t1"


def test_a_table_does_not_go_stale_by_reading_itself_or_another_ref(shop: Shop) -> None:
    shop.run(t1="SELECT 1 AS a", log="SELECT 1 AS a")
    run = shop._open_run()
    session = run.session()
    log = Name(database="lake", schema="s", name="log")
    session.build(Build(name=log, mode="append", sql="SELECT max(a) + 1 AS a FROM s.log"))
    session.build(Build(name=dataclasses.replace(log, name="audit"), sql='SELECT count(*) AS n FROM "lake@main".s.t1'))
    session.execute("CREATE TABLE s.made AS SELECT a FROM s.t1")
    session.execute("CREATE TABLE s.asked AS SELECT table_name FROM information_schema.tables")
    session.close()
    run.publish({})
    assert shop.stale() == {}
    shop.run(t1="SELECT 2 AS a")
    assert shop.stale() == {"s.made": [("s.t1", "changed")]}


def test_what_a_statement_read_is_known_as_well(shop: Shop) -> None:
    first = shop.run(t1="SELECT 1 AS a", kept="SELECT 0 AS a", untouched="SELECT 0 AS a")
    run = shop._open_run()
    with contextlib.closing(run.session()) as session:
        session.execute("INSERT INTO s.kept SELECT a + (SELECT count(*) FROM s.kept) FROM s.t1")
        session.execute("DELETE FROM s.untouched WHERE a IN (SELECT a FROM s.t1)")
    run.publish({})
    assert shop.rows("kept") == [0, 2]
    second = shop.run(t1="SELECT 5 AS a")
    assert shop.stale() == {"s.kept": [("s.t1", "changed")]}
    shop.reset("main", f"{second}~1")
    assert shop.stale() == {}
    assert dependants(shop.revert("t1", to=f"{first}~1")) == [("kept", "computed_from", "t1")]


# reset and protected branches


def test_a_reset_moves_the_branch_and_back(shop: Shop) -> None:
    first = shop.run(t1="SELECT 1 AS a")
    second = shop.run(t1="SELECT 2 AS a", t2="SELECT 3 AS a")
    result = shop.reset("main", first, dry_run=True)
    assert (len(result.changes), result.commit, shop.head()) == (2, None, second)
    result = shop.reset("main", first)
    assert (shop.head(), shop.rows("t1"), result.head) == (first, [1], second)
    shop.reset("main", result.head)
    assert shop.head() == second
    assert shop.reset("main", "main").commit is None
    with pytest.raises(HeadMoved, match="moved from"):
        shop.reset("main", first, expected=first)


def test_a_run_at_work_does_not_bring_back_what_a_reset_took(shop: Shop) -> None:
    first = shop.run(t1="SELECT 1 AS a")
    second = shop.run(t1="SELECT 2 AS a")

    def build(run: LakeRun) -> LakeRun:
        with contextlib.closing(run.session()) as session:
            place = Name(database="lake", schema="s", name="t9")
            session.build(Build(name=place, sql="SELECT 9 AS a", node="model.shop.t9"))
        return run

    failed = build(shop._open_run())
    failed.fail("a test failed", {})
    again = build(shop._open_run(continues=failed.request.id))
    at_work = build(shop._open_run())
    shop.reset("main", first)
    for run in (at_work, again):
        with pytest.raises(ConflictError, match="was reset while run"):
            run.publish({})
        assert (shop.head(), shop.rows("t1")) == (first, [1])
    build(shop._open_run()).publish({})
    assert (shop.names(), shop.rows("t1")) == ({"t1", "t9"}, [1])
    # By a new commit, as on a protected branch, the run's own changes find their place.
    shop.reset("main", second)
    shop.catalog.protect("main", True)
    at_work = build(shop._open_run())
    continued = build(shop._open_run(continues=failed.request.id))
    shop.reset("main", first)
    at_work.publish({})
    assert (shop.names(), shop.rows("t1")) == ({"t1", "t9"}, [1])
    continued.fail("enough", {})


def test_a_protected_branch_goes_back_by_a_new_commit(shop: Shop) -> None:
    first = shop.run(t1="SELECT 1 AS a")
    second = shop.run(t1="SELECT 2 AS a", t2="SELECT 3 AS a")
    shop.catalog.protect("main", True)
    result = shop.reset("main", first)
    assert result.commit is not None
    assert shop.head() == result.commit.id != first
    assert shop.catalog.diff(first, shop.head()) == ()
    assert [commit.id for commit in shop.catalog.log(shop.head(), 2)] == [result.commit.id, second]
    assert result.commit.provenance["resets_to"] == first
    assert [ref.name for ref in shop.catalog.refs(RefKind.BRANCH)] == ["main"]
    record = shop.catalog.runs(1)[0]
    assert (record.status, record.published, record.command) == (
        RunStatus.PUBLISHED,
        result.commit.id,
        "lakehouse reset",
    )
    undone = shop.revert(result.commit.id)
    assert undone.commit is not None
    assert (shop.rows("t1"), shop.rows("t2")) == ([2], [3])
    assert shop.reset("main", second).commit is None


def test_what_a_failed_run_wrote_does_not_come_in_by_going_back(shop: Shop) -> None:
    shop.run(t1="SELECT 1 AS a")
    failed = shop.run(publish=False, t1="SELECT 2 AS a")
    branch = f"run/{failed}"
    with pytest.raises(TaintedError, match="did not pass"):
        shop.revert("t1", to=branch)
    with pytest.raises(TaintedError):
        shop.reset("main", branch)
    shop.catalog.protect("main", True)
    with pytest.raises(TaintedError):
        shop.reset("main", branch)
    assert [ref.name for ref in shop.catalog.refs(RefKind.BRANCH)] == ["main", branch]
    with pytest.raises(InvalidRef, match="branch of run"):
        shop.reset(branch, "main")
    accepted = shop.revert("t1", to=branch, accept_tainted=True)
    assert accepted.commit is not None
    assert accepted.commit.provenance["accepted_tainted"] == [failed]
    assert shop.rows("t1") == [2]


def test_what_a_run_vouched_for_since_comes_in_by_going_back(shop: Shop) -> None:
    shop.run(t1="SELECT 1 AS a")
    failed = shop.run(publish=False, t1="SELECT 2 AS a")
    shop.catalog.create_ref("fixed", RefKind.BRANCH, f"run/{failed}")
    shop.run(branch="fixed", t1="SELECT 2 AS a", t2="SELECT a FROM s.t1")
    before = shop.head()
    assert shop.revert("t1", to="fixed").commit is not None
    shop.reset("main", before)
    assert shop.reset("main", "fixed", dry_run=True).changes != ()
    assert shop.reset("main", "fixed").commit is not None
    assert (shop.rows("t1"), shop.rows("t2")) == ([2], [2])


def test_a_dry_run_refuses_what_would_be_refused(shop: Shop) -> None:
    first = shop.run(t1="SELECT 1 AS a")
    second = shop.run(t1="SELECT 2 AS a")
    failed = shop.run(publish=False, t1="SELECT 3 AS a")
    nothing = timedelta(0)
    wish = CollectRequest(history=nothing, results=nothing, grace=nothing, alone=True)
    assert shop.lake.maintenance.collect(wish).commits > 0
    for protected in (False, True):
        shop.catalog.protect("main", protected)
        for dry_run in (True, False):
            with pytest.raises(TaintedError):
                shop.reset("main", f"run/{failed}", dry_run=dry_run)
            with pytest.raises(Collected):
                shop.reset("main", first, dry_run=dry_run)
            with pytest.raises(Collected):
                shop.revert("t1", to=first, dry_run=dry_run)
            with pytest.raises(Collected):
                shop.revert(second, dry_run=dry_run)
    assert shop.head() == second


def test_a_branch_that_moves_meanwhile_is_left_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.run(t1="SELECT 1 AS a")
    bad = shop.run(t1="SELECT 2 AS a")
    changes = shop.catalog.changes

    def slow(commit: str) -> Any:
        """Somebody publishes between the look at the branch and the commit on it."""
        monkeypatch.setattr(shop.catalog, "changes", changes)
        shop.run(t2="SELECT 9 AS a")
        return changes(commit)

    for protected in (False, True):
        shop.catalog.protect("main", protected)
        monkeypatch.setattr(shop.catalog, "changes", slow)
        with pytest.raises(HeadMoved):
            shop.revert(bad)
        assert (shop.rows("t1"), shop.rows("t2")) == ([2], [9])
        shop.catalog.protect("main", False)
        shop.reset("main", bad)
    assert [ref.name for ref in shop.catalog.refs(RefKind.BRANCH)] == ["main"]
