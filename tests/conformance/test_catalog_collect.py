"""What garbage collection may take: exactly what nothing names, and what nothing has named for long enough."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from catalog_acts import NOBODY, branch, commit, drop, end_run, put, start_run, table, versions

from dbt.adapters.lakehouse.catalog import sql_collect, sql_states
from dbt.adapters.lakehouse.catalog.base import Collectable
from dbt.adapters.lakehouse.catalog.model import (
    Collection,
    Commit,
    RefKind,
    Retention,
    ReusableResult,
    RunStatus,
    TableEntry,
    time_text,
)
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.errors import Collected, RefNotFound

NOTHING = timedelta()
NOW = Retention(history=NOTHING, failed_runs=NOTHING, results=NOTHING, grace=NOTHING)
WEEK = Retention(
    history=timedelta(days=7), failed_runs=timedelta(days=7), results=timedelta(days=7), grace=timedelta(days=1)
)

_TIMES = {
    "commits": ["time"],
    "refs": ["created_at"],
    "moves": ["time"],
    "runs": ["started_at", "heartbeat_at", "finished_at"],
    "results": ["made_at"],
}


def days_pass(catalog: SqlCatalog, days: float) -> None:
    """Let everything that happened so far have happened so much earlier."""
    with catalog._database.write() as connection:
        for name, columns in _TIMES.items():
            for column in columns:
                for (text,) in connection.execute(sa.text(f"SELECT DISTINCT {column} FROM {name}")).all():
                    if text is not None:
                        earlier = time_text(datetime.fromisoformat(text) - timedelta(days=days))
                        update = sa.text(f"UPDATE {name} SET {column} = :new WHERE {column} = :old")
                        connection.execute(update, {"new": earlier, "old": text})


def location(name: str, version: int = 1) -> str:
    return table(name, version).metadata_location


def result(name: str, entry: TableEntry | None, run: str | None = None) -> ReusableResult:
    return ReusableResult(
        fingerprint=f"{name:0<64}",
        parts={},
        node=f"model.p.{name}",
        entry=entry,
        run=run,
        author="anna",
        made_at=datetime.now(UTC),
        seconds=1.0,
    )


def gone(catalog: SqlCatalog, commits: Iterable[Commit]) -> list[bool]:
    return [catalog.resolve(one.id).collected for one in commits]


def collect(catalog: SqlCatalog, retention: Retention = NOW) -> Collection:
    """Collect, after a dry run said what that does and did nothing."""
    before = [catalog.refs(), catalog.runs(), [one.collected for one in catalog.log(catalog.resolve("main").id)]]
    planned = catalog.collect(retention, dry_run=True)
    assert before == [
        catalog.refs(),
        catalog.runs(),
        [one.collected for one in catalog.log(catalog.resolve("main").id)],
    ]
    done = catalog.collect(retention)
    if retention == NOW:  # else the cut-off has gone on by now
        assert dataclasses.replace(planned, keep_since=done.keep_since) == done
    return done


def test_what_the_heads_hold_stays_and_the_rest_goes(index):
    assert isinstance(index, Collectable)
    first = commit(index, "main", put(table("a", 1)), put(table("b", 1)))
    second = commit(index, "main", put(table("a", 2)))
    third = commit(index, "main", drop("b"))
    before = datetime.now(UTC)
    found = collect(index)
    assert found.live == {location("a", 2)}
    assert before <= found.keep_since <= datetime.now(UTC)
    assert gone(index, [first, second, third]) == [True, True, False]
    assert found.commits == 3  # the empty one that the lake began with is among them
    assert [one.id for one in index.log(third.id)][:3] == [third.id, second.id, first.id]
    again = collect(index)
    assert (again.live, again.commits) == (found.live, 0)


def test_branches_tags_and_bases_of_open_runs_keep_what_they_name(index):
    commits = [commit(index, "main", put(table("a", version))) for version in range(1, 6)]
    branch(index, "dev", commits[0].id)
    index.create_ref("v1", RefKind.TAG, commits[1].id)
    start_run(index, "open", commits[2].id)
    index.delete_ref("run/open", expected=commits[2].id)
    assert collect(index).live == {location("a", version) for version in (1, 2, 3, 5)}
    assert gone(index, commits) == [False, False, False, True, False]
    end_run(index, "open", RunStatus.ABANDONED)
    index.delete_ref("v1", expected=commits[1].id)
    assert collect(index).live == {location("a", 1), location("a", 5)}


def test_commits_are_kept_for_as_long_as_history_is(index):
    old = [commit(index, "main", put(table("a", version))) for version in (1, 2)]
    days_pass(index, 5)
    reset = commit(index, "main", put(table("a", 3)))
    index.assign("main", old[0].id, expected=reset.id)
    days_pass(index, 5)
    new = commit(index, "main", put(table("a", 4)))
    found = collect(index, WEEK)
    # main showed the second until it was moved from the third, which can still be brought back, to the first.
    assert found.live == {location("a", version) for version in (1, 2, 3, 4)}
    assert gone(index, [*old, reset, new]) == [False] * 4
    days_pass(index, 4)
    assert collect(index, WEEK).live == {location("a", 1), location("a", 4)}
    assert gone(index, [*old, reset, new]) == [False, True, True, False]
    days_pass(index, 4)
    assert collect(index, WEEK).live == {location("a", 4)}


def test_what_was_taken_does_not_come_back_because_more_history_is_kept(index):
    commits = [commit(index, "main", put(table("a", version))) for version in (1, 2, 3)]
    assert collect(index).live == {location("a", 3)}
    later = collect(index, WEEK)
    assert (later.live, later.commits) == ({location("a", 3)}, 0)
    assert gone(index, commits) == [True, True, False]


def test_history_is_kept_at_least_as_long_as_files_are(index):
    old = commit(index, "main", put(table("a", 1)))
    commit(index, "main", put(table("a", 2)))
    days_pass(index, 1)
    short = dataclasses.replace(WEEK, history=timedelta(hours=1), grace=timedelta(days=2))
    found = collect(index, short)
    assert location("a", 1) in found.live
    assert datetime.now(UTC) - found.keep_since >= timedelta(days=2)
    days_pass(index, 2)
    commit(index, "main", put(table("a", 3)))
    assert collect(index, short).live == {location("a", 2), location("a", 3)}
    assert gone(index, [old]) == [True]


def test_branches_of_ended_runs_go_after_a_while_and_what_may_be_published_stays(index):
    statuses = {
        "failed": RunStatus.FAILED,
        "abandoned": RunStatus.ABANDONED,
        "continued": RunStatus.CONTINUED,
        "passed": RunStatus.PASSED,
        "open": RunStatus.OPEN,
    }
    for name, status in statuses.items():
        start_run(index, name)
        commit(index, f"run/{name}", put(table(name)), run=name)
        end_run(index, name, status)
    days_pass(index, 3)
    start_run(index, "late")
    commit(index, "run/late", put(table("late")), run="late")
    end_run(index, "late", RunStatus.FAILED)
    assert collect(index, WEEK).branches == ()
    days_pass(index, 5)
    found = collect(index, WEEK)
    assert found.branches == ("run/abandoned", "run/continued", "run/failed")
    assert found.live == {location(name) for name in ("passed", "open", "late")}
    assert {record.id for record in index.runs()} == {*statuses, "late"}
    with pytest.raises(RefNotFound):
        index.resolve("run/failed")


def test_results_go_after_a_while_and_keep_their_tables_until_then(index):
    start_run(index, "one")
    commit(index, "run/one", put(table("a")), put(table("b")), run="one")
    end_run(index, "one", RunStatus.FAILED)
    index.remember(result("a", table("a"), "one"))
    index.remember(result("test", None, "one"))
    days_pass(index, 8)
    index.remember(result("b", table("b"), "one"))
    commit(index, "main", put(table("c")))
    index.remember(result("c", table("c")))
    found = collect(index, dataclasses.replace(WEEK, results=timedelta(days=9)))
    assert (found.results, found.live) == (0, {location(name) for name in "abc"})
    days_pass(index, 2)
    found = collect(index, dataclasses.replace(WEEK, results=timedelta(days=5)))
    assert found.results == 2
    assert found.live == {location("b"), location("c")}
    assert index.recall(f"{'a':0<64}") is None
    assert index.recall(f"{'b':0<64}").entry == table("b")
    days_pass(index, 9)
    found = collect(index, WEEK)
    assert found.results == 1  # c is there anyway
    assert index.recall(f"{'c':0<64}") is not None


def test_what_was_collected_is_never_let_in_again(index):
    old = commit(index, "main", put(table("a", 1)))
    new = commit(index, "main", put(table("a", 2)))
    branch(index, "dev")
    collect(index)
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    for bring in (
        lambda: index.create_ref("back", RefKind.BRANCH, old.id),
        lambda: index.create_ref("v0", RefKind.TAG, "main~1"),
        lambda: index.assign("dev", old.id, expected=new.id),
        lambda: index.assign("dev", f"main@{old.time.isoformat()}", expected=new.id),
    ):
        with pytest.raises(Collected, match=rf"leads to commit {old.id[:8]}, whose files were collected on {when}"):
            bring()
    for again in (
        lambda: commit(index, "main", put(table("a", 1))),
        lambda: commit(index, "main", put(dataclasses.replace(table("a", 1), name="clone"))),
        lambda: index.remember(result("a", table("a", 1))),
    ):
        with pytest.raises(Collected, match=rf"v1\.metadata\.json were collected on {when}.*build the table again"):
            again()
    assert index.resolve("main") == new
    assert index.recall(f"{'a':0<64}") is None
    assert commit(index, "main", put(table("a", 3)))


def test_a_collected_commit_is_not_merged_and_serves_as_a_base_all_the_same(index):
    commit(index, "main", put(table("a", 1)), put(table("b", 1)))
    branch(index, "dev")
    lost = commit(index, "dev", put(table("a", 2)))
    index.assign("dev", "main", expected=lost.id)
    commit(index, "dev", put(table("a", 3)))
    commit(index, "main", put(table("b", 2)))
    collect(index)
    with pytest.raises(Collected, match=lost.id[:8]):
        index.merge(lost.id, "main", **NOBODY)
    base = index.merge("dev", "main", **NOBODY).base
    assert index.resolve(base).collected
    assert versions(index, "main") == {"s.a": 3, "s.b": 2}
    assert index.merge(base, "main", **NOBODY).commit is None


def test_what_was_taken_from_a_run_that_did_not_pass_taints_no_more(index):
    start_run(index, "bad")
    commit(index, "run/bad", put(table("a")), run="bad")
    end_run(index, "bad", RunStatus.FAILED)
    collect(index)
    branch(index, "dev")
    commit(index, "dev", put(table("a", 2)))
    assert index.merge("dev", "main", **NOBODY).commit


@pytest.mark.parametrize("seed", range(12))
def test_what_stays_is_what_stands_at_a_commit_that_stays(index, monkeypatch, seed):
    """Against reading every state that stays: forks of forks that are laid together, drops, merges, moves, old tags."""
    monkeypatch.setattr(sql_states, "MAX_DEPTH", 3)
    chance = random.Random(seed)
    names, made = ["main"], [index.resolve("main").id]
    number = 0
    for step in range(60):
        name = chance.choice(names)
        what = chance.random()
        if what < 0.55:
            number += 1
            some = chance.sample("abcdef", chance.randint(1, 3))
            puts = [drop(one) if chance.random() < 0.2 else put(table(one, number)) for one in some]
            made.append(commit(index, name, *puts).id)
        elif what < 0.75:
            kind = RefKind.TAG if chance.random() < 0.3 else RefKind.BRANCH
            index.create_ref(f"ref{step}", kind, chance.choice([name, chance.choice(made)]))
            if kind is RefKind.BRANCH:
                names.append(f"ref{step}")
        elif what < 0.85 and name != "main":
            index.delete_ref(name, expected=index.resolve(name).id)
            names.remove(name)
        elif what < 0.95:
            merged = index.merge(chance.choice(names), name, fast_forward=chance.random() < 0.5, **NOBODY)
            made += [merged.commit.id] if merged.commit else []
        else:
            index.assign(name, chance.choice(made), expected=index.resolve(name).id)
        if step == 35:
            days_pass(index, 1)
    retention = NOW if chance.random() < 0.5 else dataclasses.replace(NOW, history=timedelta(hours=12))
    found = index.collect(retention)
    kept = [one for one in {*made, *(ref.commit for ref in index.refs())} if not index.resolve(one).collected]
    assert {ref.commit for ref in index.refs()} <= set(kept)
    standing = {
        entry.metadata_location
        for one in kept
        for entry in index.entries(one).values()
        if isinstance(entry, TableEntry)
    }
    assert found.live == standing
    if retention == NOW:
        assert set(kept) == {ref.commit for ref in index.refs()}


# beside others, and killed

COLLECT = """
import sys
from datetime import timedelta
from dbt.adapters.lakehouse.catalog import sql_collect, sql_locations
from dbt.adapters.lakehouse.catalog.model import Retention
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog

def wait(connection, live, now):
    take(connection, live, now)
    print("about to commit", flush=True)
    sys.stdin.readline()

take, sql_locations.take = sql_locations.take, wait
none = timedelta()
catalog = SqlCatalog.open(sys.argv[1])
catalog.collect(Retention(history=none, failed_runs=none, results=none, grace=none))
print("done", flush=True)
catalog.close()
"""


def collector(url: str) -> subprocess.Popen[str]:
    """A process that has decided everything, and waits before its transaction ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", COLLECT, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "about to commit"
    return process


@pytest.fixture
def lake(catalog_url):
    """A lake with something to collect, and its URL."""
    catalog = SqlCatalog.open(catalog_url)
    commit(catalog, "main", put(table("a", 1)))
    commit(catalog, "main", put(table("a", 2)))
    yield catalog, catalog_url
    catalog.close()


def test_a_collection_that_is_killed_took_nothing(lake):
    catalog, url = lake
    head = catalog.resolve("main")
    process = collector(url)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert gone(catalog, catalog.log(head.id)) == [False] * 3
    assert versions(catalog, "main~1") == {"s.a": 1}
    commit(catalog, "main", put(table("a", 1)))
    assert collect(catalog).live == {location("a", 1)}


def test_reads_go_on_and_writes_wait_so_that_none_brings_back_what_is_taken(lake):
    catalog, url = lake
    process = collector(url)
    assert versions(catalog, "main") == {"s.a": 2}
    said: list[str] = []

    def bring_back() -> None:
        try:
            catalog.create_ref("back", RefKind.BRANCH, "main~1")
            said.append("brought back")
        except Collected:
            said.append("refused")

    writer = threading.Thread(target=bring_back)
    writer.start()
    writer.join(timeout=0.5)
    assert said == []
    process.communicate("go on\n", timeout=60)
    writer.join(timeout=60)
    assert said == ["refused"]
    assert [ref.name for ref in catalog.refs()] == ["main"]


def test_two_collections_at_once_do_what_one_does(lake):
    catalog, url = lake
    process = collector(url)
    found: list[Collection] = []
    other = threading.Thread(target=lambda: found.append(catalog.collect(NOW)))
    other.start()
    process.communicate("go on\n", timeout=60)
    other.join(timeout=60)
    assert [(one.live, one.commits) for one in found] == [({location("a", 2)}, 0)]


def test_a_large_lake_is_collected_by_reading_each_line_once(tmp_path: Path):
    catalog = SqlCatalog.open(str(tmp_path / "catalog.db"))
    commit(catalog, "main", *(put(table(f"t{number}")) for number in range(3000)))
    for number in range(100):
        commit(catalog, "main", *(put(table(f"t{number * 10 + one}", 2)) for one in range(10)))
        if number % 2:
            catalog.create_ref(f"v{number}", RefKind.TAG, "main")
            branch(catalog, f"old{number}", f"main~{number}")
            commit(catalog, f"old{number}", put(table(f"own{number}")))
    with catalog._database.read() as connection:
        statements: list[str] = []
        sa.event.listen(connection, "before_cursor_execute", lambda *said: statements.append(said[2]))
        found = sql_collect.collect(connection, NOW, dry_run=True)
    assert len(found.live) == 2990 + 1000 + 50  # of ten tables no ref is as old as the first state
    assert len([one for one in statements if "FROM entries" in one]) <= 51
    catalog.close()
