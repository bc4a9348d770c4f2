"""Going back, on every catalog: what is on the branch afterwards, whoever else works on it and whenever a process dies."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from dbt.adapters.lakehouse.catalog.base import Catalog, Collectable
from dbt.adapters.lakehouse.catalog.model import ANY, Key, Put, RefKind, Retention, RunStatus, TableEntry, content_id
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.errors import Collected, HeadMoved
from dbt.adapters.lakehouse.run import reverting, rewriting
from dbt.adapters.lakehouse.run.going_back import ResetRequest, Reverted, RevertRequest
from dbt.adapters.lakehouse.run.liveness import is_dead
from dbt.adapters.lakehouse.tables.values import Column

Open = Callable[[], Catalog]


def table(name: str, version: int, *read: TableEntry) -> TableEntry:
    return TableEntry(
        schema="s",
        name=name,
        metadata_location=f"file:///lake/{name}/{version}.json",
        table_uuid=name,
        snapshot_id=version,
        location=f"file:///lake/{name}",
        columns=(Column(name="a", type="BIGINT"),),
        rows=version,
        size_bytes=1,
        inputs={f"s.{one.name}": content_id(one) for one in read},
        content=f"{name}-{version}",
    )


def write(catalog: Catalog, version: int) -> str:
    parent = table("t1", version)
    puts = [Put(key=Key("s", one.name), entry=one, expected=ANY) for one in (parent, table("t2", version, parent))]
    return catalog.commit("main", puts, author="grace", message=f"Version {version}").id


def shown(catalog: Catalog) -> dict[str, int]:
    entries = catalog.entries(catalog.resolve("main").id)
    return {key.name: entry.rows for key, entry in entries.items() if isinstance(entry, TableEntry)}


@pytest.mark.parametrize("protected", [False, True])
def test_there_and_back(open_catalog: Open, protected: bool) -> None:
    catalog = open_catalog()
    first, second = write(catalog, 1), write(catalog, 2)
    catalog.protect("main", protected)
    one = RevertRequest(branch="main", author="ada", tables=(Key("s", "t1"),), to=first)
    refused = reverting.revert(catalog, one)
    assert [(str(item.key), item.why) for item in refused.dependants] == [("s.t2", "computed_from")]
    assert catalog.resolve("main").id == second
    undone = reverting.revert(catalog, RevertRequest(branch="main", author="ada", commit=second))
    assert undone.commit is not None
    assert (shown(catalog), undone.commit.parents[0]) == ({"t1": 1, "t2": 1}, second)
    rewriting.reset(catalog, ResetRequest(branch="main", to=second, author="ada"))
    assert shown(catalog) == {"t1": 2, "t2": 2}
    assert reverting.stale(catalog, "main") == []
    assert [ref.name for ref in catalog.refs()] == ["main"]


@pytest.mark.parametrize("protected", [False, True])
def test_of_several_at_once_one_goes_back(open_catalog: Open, protected: bool) -> None:
    catalogs = [open_catalog() for _ in range(4)]
    write(catalogs[0], 1)
    second = write(catalogs[0], 2)
    catalogs[0].protect("main", protected)
    start = threading.Barrier(len(catalogs))

    def go(catalog: Catalog) -> Reverted | None:
        start.wait()
        try:
            return reverting.revert(catalog, RevertRequest(branch="main", author="ada", commit=second))
        except HeadMoved:
            return None

    with ThreadPoolExecutor(len(catalogs)) as pool:
        results = list(pool.map(go, catalogs))
    # Who comes too late finds the branch moved, or that it is undone already.
    assert [result.commit.parents[0] for result in results if result and result.commit] == [second]
    assert shown(catalogs[0]) == {"t1": 1, "t2": 1}
    assert [ref.name for ref in catalogs[0].refs()] == ["main"]


def test_what_was_collected_does_not_come_back(open_index: Open) -> None:
    catalog = open_index()
    assert isinstance(catalog, Collectable)
    first, _, third = (write(catalog, version) for version in (1, 2, 3))
    now = timedelta(0)
    catalog.collect(Retention(history=now, failed_runs=now, results=now, grace=now))
    both = (Key("s", "t1"), Key("s", "t2"))
    for protected in (False, True):
        catalog.protect("main", protected)
        with pytest.raises(Collected):
            reverting.revert(catalog, RevertRequest(branch="main", author="ada", commit=third))
        with pytest.raises(Collected):
            reverting.revert(catalog, RevertRequest(branch="main", author="ada", tables=both, to=first))
        with pytest.raises(Collected):
            rewriting.reset(catalog, ResetRequest(branch="main", to=first, author="ada"))
    assert catalog.resolve("main").id == third
    assert [ref.name for ref in catalog.refs()] == ["main"]


DYING = """
import os, signal, sys
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.run import reverting
from dbt.adapters.lakehouse.run.going_back import RevertRequest

url, commit, verb, when, count = sys.argv[1:]
catalog, calls = SqlCatalog.open(url), 0
original = getattr(catalog, verb)

def dying(*arguments, **more):
    global calls
    calls += 1
    if calls == int(count) and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    answer = original(*arguments, **more)
    if calls == int(count):
        os.kill(os.getpid(), signal.SIGKILL)
    return answer

setattr(catalog, verb, dying)
reverting.revert(catalog, RevertRequest(branch="main", author="ada", commit=commit))
"""


@pytest.mark.parametrize(
    ("verb", "when", "count"),
    [
        ("save_run", "after", 1),
        ("create_ref", "after", 1),
        ("commit", "after", 1),
        ("merge", "after", 1),
        ("save_run", "after", 2),
        ("delete_ref", "before", 1),
    ],
)
def test_a_process_that_dies_on_the_way_leaves_the_branch_whole(
    tmp_path: Path, verb: str, when: str, count: int
) -> None:
    url = f"sqlite:///{tmp_path}/catalog.sqlite"
    catalog = SqlCatalog.open(url)
    write(catalog, 1)
    second = write(catalog, 2)
    catalog.protect("main", True)
    done = subprocess.run([sys.executable, "-c", DYING, url, second, verb, when, str(count)], capture_output=True)
    assert done.returncode == -9, done.stderr
    version = 1 if (verb, count) in (("merge", 1), ("save_run", 2), ("delete_ref", 1)) else 2
    assert shown(catalog) == {"t1": version, "t2": version}
    (record,) = catalog.runs()
    # What is left is what any run leaves: a branch that garbage collection takes, of a run that is published or dead.
    assert record.status is RunStatus.PUBLISHED if version == 1 else is_dead(record)
    assert {ref.name for ref in catalog.refs(RefKind.BRANCH)} <= {"main", record.branch}
    reverting.revert(catalog, RevertRequest(branch="main", author="ada", commit=second))
    assert shown(catalog) == {"t1": 1, "t2": 1}
    catalog.close()
