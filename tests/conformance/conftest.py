"""Servers that conformance suites run against.

A suite that needs a server which is not installed is skipped, and says so, unless the environment names the server in
``LAKEHOUSE_TEST_REQUIRE`` (separated by commas): then it fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import postgres_server
import pytest


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a database on a PostgreSQL server of this session's own, reached over a Unix socket."""
    programs = postgres_server.programs()
    if programs is None:
        _missing("postgres", "initdb is neither on PATH nor in /usr/lib/postgresql/*/bin")
    pytest.importorskip("psycopg")
    with postgres_server.running(programs) as url:
        yield url


def _missing(server: str, why: str) -> None:
    if server in os.environ.get("LAKEHOUSE_TEST_REQUIRE", "").split(","):
        pytest.fail(f"{server} is required by LAKEHOUSE_TEST_REQUIRE, but {why}")
    pytest.skip(f"no {server}: {why}")
