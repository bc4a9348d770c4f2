"""Sixteen processes commit, merge and move branches at once, some are killed, and all that was seen fits one order.

``history_worker`` is what the processes do, ``history_checker`` what must be true of it. ``LAKEHOUSE_TEST_LONG=1`` works
longer.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from history_checker import Log, Operation, faults, load, read_log
from history_worker import COUNTERS, GROUPS

WORKER = Path(__file__).with_name("history_worker.py")
SECONDS = 120 if os.environ.get("LAKEHOUSE_TEST_LONG") else 12
PROCESSES = 16
APPLICATION = "history"


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path) -> tuple[str, Callable[[], Log]]:
    """A catalog's URL, and what reads its log once nobody works on it any more."""
    if request.param == "sqlite":
        file = tmp_path / "catalog.db"
        return f"sqlite:///{file}", lambda: _sqlite_log(file)
    server = request.getfixturevalue("postgres")
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA history")
    here = f"{server}&options={quote('-csearch_path=history')}"
    return f"{here}&application_name={APPLICATION}", lambda: _postgres_log(here)


def _sqlite_log(file: Path) -> Log:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return read_log(lambda query: connection.execute(query).fetchall())


def _postgres_log(url: str) -> Log:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:

        def ask(query: str) -> Sequence[Any]:
            return connection.execute(query).fetchall()  # type: ignore[call-overload,no-any-return]

        # What a killed process had asked for goes on in the server until that sees that nobody listens.
        deadline = time.monotonic() + 60
        while ask(f"SELECT 1 FROM pg_stat_activity WHERE application_name = '{APPLICATION}'"):
            assert time.monotonic() < deadline, "the server still works for processes that are gone"
            time.sleep(0.05)
        return read_log(ask)


@pytest.mark.kills
def test_what_processes_do_at_once_has_an_order(database, tmp_path):
    url, log_of = database
    command = [sys.executable, "-W", "error", WORKER, url, tmp_path, str(SECONDS), "1", str(PROCESSES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10 * SECONDS + 200)
    assert (done.returncode, done.stderr) == (0, "")
    operations, log = load(tmp_path), log_of()
    start = json.loads((tmp_path / "start.json").read_text())
    assert faults(operations, log, start, GROUPS, COUNTERS) == []
    # It would be no wonder if nothing had happened.
    happened = Counter(map(_outcome, operations))
    for expected in _EXPECTED:
        assert happened[expected], f"{expected} did not happen; what did: {happened}"
    assert any(operation.result is None for operation in operations)


def _outcome(operation: Operation) -> tuple[str, str]:
    result = operation.result or {}
    said = "killed" if operation.result is None else operation.refused
    return operation.verb, said or next((what for what in ("conflicts", "forward") if result.get(what)), "done")


_EXPECTED = [
    ("commit", "done"),
    ("commit", "head_moved"),
    ("merge", "done"),
    ("merge", "conflicts"),
    ("merge", "tainted"),
    ("merge", "forward"),
    ("collect", "done"),
    ("assign", "done"),
    ("assign", "head_moved"),
    ("create", "ref_exists"),
    ("delete", "done"),
    ("state", "done"),
    ("heads", "done"),
]
