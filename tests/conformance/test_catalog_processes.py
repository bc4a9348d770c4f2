"""Several processes on one SQLite catalog, some of which are killed."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbt.adapters.lakehouse.catalog.model import ViewEntry
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog

WORKER = Path(__file__).with_name("catalog_worker.py")
ROUNDS = 8


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'catalog.db'}"


def start(verb: str, url: str, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", str(WORKER), verb, url, name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextlib.contextmanager
def opened(url: str) -> Iterator[SqlCatalog]:
    catalog = SqlCatalog.open(url, create=False)
    try:
        yield catalog
    finally:
        catalog.close()


def versions(catalog: SqlCatalog, commit: str) -> dict[str, str]:
    return {key.name: entry.sql for key, entry in catalog.entries(commit).items() if isinstance(entry, ViewEntry)}


def test_processes_that_create_commit_and_merge_at_once_lose_nothing(url):
    workers = [start("merge", url, f"worker{number}", ROUNDS) for number in range(4)]
    failures = [worker.communicate(timeout=120)[1] for worker in workers]
    assert failures == [""] * 4
    with opened(url) as catalog:
        head = catalog.resolve("main").id
        expected = {f"worker{n}-{kind}": f"select {ROUNDS}" for n in range(4) for kind in ("own", "direct")}
        assert versions(catalog, head) == expected
        assert len(catalog.log(head)) == 1 + 4 * 2 * ROUNDS
        assert len(catalog.log(head, first_parent=False)) == 1 + 4 * 3 * ROUNDS


def test_an_open_catalog_survives_a_fork(url):
    _, failure = start("fork", url, "worker", 3).communicate(timeout=120)
    assert failure == ""
    with opened(url) as catalog:
        names = {f"worker{who}-{kind}" for who in ("0", "1", "-parent") for kind in ("own", "direct")}
        assert versions(catalog, catalog.resolve("main").id) == dict.fromkeys(names, "select 3")


@pytest.mark.kills
def test_a_process_killed_at_any_moment_leaves_whole_commits(url, tmp_path):
    said: list[str] = []
    for life in range(4):
        worker = start("kill", url, f"life{life}", 100_000)
        assert worker.stdout is not None
        said += [worker.stdout.readline().strip() for _ in range(random.Random(life).randint(1, 40))]
        worker.kill()
        # Not by communicate(), which does not see what readline() has buffered. A last line may have been cut off.
        said += [line for line in worker.stdout.read().split("\n") if len(line) == 40]
        worker.communicate(timeout=60)
        with opened(url) as catalog:
            head = catalog.resolve("main")
            assert {commit.id for commit in catalog.log(head.id)} >= set(said)
            assert head.id == said[-1] or head.parents == (said[-1],)
            state = versions(catalog, head.id)
            assert state == dict.fromkeys("ab", f"select {head.message}")
            for commit in catalog.log(head.id, 5)[:-1]:
                assert len(catalog.changes(commit.id)) == 2
    with contextlib.closing(sqlite3.connect(tmp_path / "catalog.db")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
