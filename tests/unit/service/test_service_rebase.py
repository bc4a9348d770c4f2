"""Runs that start over on their target's new head, over HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_thread import serving

from dbt.adapters.lakehouse.catalog.model import RunStatus
from dbt.adapters.lakehouse.errors import ConflictError, Denied, MergeConflict
from dbt.adapters.lakehouse.lake.base import Build, Moved, Name, Run, RunRequest
from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake
from dbt.adapters.lakehouse.service.config import ServiceConfig
from dbt.adapters.lakehouse.service.core import Service
from dbt.adapters.lakehouse.service.start import open_service
from dbt.adapters.lakehouse.settings import LakeSettings, ServiceSettings

REQUEST = RunRequest(id="mine-run", command="dbt build", branch="main", default_schema="s")


class Place:
    """A lake, services on it one after the other, and clients."""

    def __init__(self, folder: Path) -> None:
        self._where = LakeSettings(warehouse=f"file://{folder}/lake", catalog=f"sqlite:///{folder}/lake/catalog.sqlite")
        self._tokens: dict[str, str] = {}

    @contextlib.contextmanager
    def service(self) -> Iterator[tuple[Service, str]]:
        service = open_service(self._where, ServiceConfig.of({"workers": {"count": 2, "memory": "1GB"}}))
        service.start()
        try:
            with serving(service) as url:
                yield service, url
        finally:
            service.close()

    @contextlib.contextmanager
    def client(self, service: tuple[Service, str], user: str = "pia") -> Iterator[RemoteLake]:
        if user not in self._tokens:
            made = service[0].store.create_token(name="t", user=user, role="publisher", created_by="test")
            self._tokens[user] = made[1]
        lake = RemoteLake(ServiceSettings(url=service[1], token=self._tokens[user]))
        try:
            yield lake
        finally:
            lake.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def build(run: Run, node: str, sql: str, hook: str | None = None) -> None:
    session = run.session(node)
    session.build(Build(name=Name(database="lake", schema="s", name=node), sql=sql, node=node))
    if hook is not None:
        session.execute(hook)
    session.close()


def race(lake: RemoteLake) -> tuple[Run, Moved]:
    """A run with a and c, of which the target got another a meanwhile."""
    run = lake.open_run(REQUEST)
    build(run, "a", "select 1 as id", hook="create table s.beside as select 1 as id")
    build(run, "c", "select 5 as id")
    other = lake.open_run(RunRequest(id="other-run", command="dbt build", branch="main", default_schema="s"))
    build(other, "a", "select 7 as id")
    assert other.publish() is not None
    moved = run.publish_unless_moved()
    assert moved is not None
    return run, moved


def rows(lake: RemoteLake, table: str) -> list[tuple[int, ...]]:
    session = lake.read("main", "s")
    try:
        return [tuple(row) for row in session.execute(f"from {table}").rows]
    finally:
        session.close()


def test_a_run_starts_over(place: Place) -> None:
    with place.service() as service, place.client(service) as lake:
        run, moved = race(lake)
        assert moved.wrote == {"a": ("s.a", "s.beside"), "c": ("s.c",)}
        assert list(moved.conflicts) == ["s.a"]
        run.rebase(moved.head, ["a"])
        assert run.moved() is None
        build(run, "a", "select 2 as id", hook="create table s.beside as select 2 as id")
        assert run.publish_unless_moved({"a": {"status": "success"}}) is None
        published = run.publish()
        assert published is not None
        assert published.parents[0] == moved.head
        assert rows(lake, "a") == rows(lake, "beside") == [(2,)]
        assert rows(lake, "c") == [(5,)]
        assert [ref.name for ref in lake.catalog.refs()] == ["main"]


def test_a_service_that_was_restarted_goes_on_with_it(place: Place) -> None:
    with place.service() as service, place.client(service) as lake:
        run, moved = race(lake)
        run.rebase(moved.head, ["a"])
    with place.service() as service, place.client(service) as lake:
        run = lake.open_run(REQUEST)
        build(run, "a", "select 2 as id")
        assert run.publish() is not None
        assert rows(lake, "a") == [(2,)]
        assert rows(lake, "c") == [(5,)]


def test_what_is_in_conflict_is_told_after_it_failed_but_a_run_that_ended_stays(place: Place) -> None:
    with place.service() as service, place.client(service) as lake:
        run, moved = race(lake)
        with pytest.raises(MergeConflict):
            run.publish()
        assert run.moved() == moved
        with pytest.raises(ConflictError, match="is failed"):
            run.rebase(moved.head, ["a"])
        assert lake.runs()[0].status in (RunStatus.FAILED, RunStatus.PUBLISHED)


def test_it_is_nobody_elses_to_start_over(place: Place) -> None:
    with place.service() as service, place.client(service) as lake, place.client(service, "quin") as stranger:
        _, moved = race(lake)
        theirs = stranger.open_run(RunRequest(id="theirs-run", command="dbt build", branch="main"))
        theirs._opened = True  # type: ignore[attr-defined] # as one that forges requests would
        theirs._path = f"/v1/runs/{REQUEST.id}"  # type: ignore[attr-defined]
        for forged in (lambda: theirs.rebase(moved.head, ["a"]), theirs.moved, theirs.publish_unless_moved):
            with pytest.raises(Denied):
                forged()
