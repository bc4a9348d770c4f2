"""Servers that conformance suites run against.

A suite that needs a server which is not installed is skipped, and says so, unless the environment names the server in
``LAKEHOUSE_TEST_REQUIRE`` (separated by commas): then it fails.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from urllib.parse import quote

import postgres_server
import pytest
from service_thread import TOKEN, open_service, serving

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake
from dbt.adapters.lakehouse.settings import ServiceSettings

Open = Callable[[], Catalog]

_numbers = itertools.count()


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


@pytest.fixture(params=["sqlite", "postgres", "service"])
def open_catalog(request, tmp_path) -> Iterator[Open]:
    """Opens the same catalog as often as it is called: each a handle of its own."""
    if request.param == "service":
        with open_service(tmp_path) as service, serving(service) as address, contextlib.ExitStack() as opened:
            settings = ServiceSettings(url=address, token=TOKEN)
            yield lambda: opened.enter_context(contextlib.closing(RemoteLake(settings))).catalog
        return
    yield from _opener(request, tmp_path)


@pytest.fixture(params=["sqlite", "postgres"])
def open_index(request, tmp_path) -> Iterator[Open]:
    """As ``open_catalog``, where results are remembered too: behind a service that is the service's own business."""
    yield from _opener(request, tmp_path)


@pytest.fixture
def index(open_index: Open) -> Catalog:
    return open_index()


@pytest.fixture(params=["sqlite", "postgres"])
def catalog_url(request, tmp_path) -> str:
    """Where a new catalog may be."""
    return _url(request, tmp_path)


def _url(request, tmp_path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalog.db'}"
    return _postgres_schema(request.getfixturevalue("postgres"))


def _opener(request, tmp_path) -> Iterator[Open]:
    url = _url(request, tmp_path)
    opened: list[SqlCatalog] = []

    def open_it() -> Catalog:
        opened.append(SqlCatalog.open(url))
        return opened[-1]

    yield open_it
    for catalog in opened:
        catalog.close()


def _postgres_schema(url: str) -> str:
    import psycopg

    name = f"catalog_{next(_numbers)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{url}&options={quote(f'-csearch_path={name}')}"


@pytest.fixture
def catalog(open_catalog: Open) -> Catalog:
    return open_catalog()
