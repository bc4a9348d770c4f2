"""Runs, their sessions, and sessions that read one commit."""

from __future__ import annotations

import asyncio
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Annotated, Any, TypeVar

import anyio.to_thread
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from dbt.adapters.lakehouse.catalog.model import Commit, Entry
from dbt.adapters.lakehouse.errors import BadRequest
from dbt.adapters.lakehouse.jobs.function import SUFFIX
from dbt.adapters.lakehouse.lake.remote import wire
from dbt.adapters.lakehouse.run.details import Details
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import Built, Looked, Moved, Recalled, RunRequest
from dbt.adapters.lakehouse.service import replies
from dbt.adapters.lakehouse.service.asking import Asker, asker
from dbt.adapters.lakehouse.service.builds import build, permitted
from dbt.adapters.lakehouse.service.runs import HeldRun, HeldSession, built_before
from dbt.adapters.lakehouse.service.streams import streamed
from dbt.adapters.lakehouse.service.threads import quickly
from dbt.adapters.lakehouse.tables.values import Column

T = TypeVar("T")

_LOOK_SECONDS = 0.5
"""How often it is looked whether the client of a query is still there."""

_ID = r"^[A-Za-z0-9][A-Za-z0-9-]{3,99}$"
RunId = Annotated[str, Path(pattern=_ID, description="dbt's invocation id")]
SessionId = Annotated[str, Path(pattern=_ID, description="made up by the client, one a thread")]


class Place(ABC):
    """Where a session's requests go: to the session of a run or of one commit."""

    by: Asker

    @abstractmethod
    def held(self) -> HeldSession:
        """The session, made if it is new."""

    def do(self, work: Callable[[RunSession], T]) -> tuple[T, dict[str, str]]:
        """Carry out a request once; its answer, and the headers that tell of the session."""
        held = self.held()
        try:
            answer = held.do(self.by.key, work)
        finally:
            self.after()
        return answer, {wire.SESSION_HEADER: held.state} if held.stateful else {}

    async def attend(self, work: Callable[[], T]) -> T:
        """Do what may take long in a thread. What a run is for goes on without its client, until the run's lease ends."""
        return await anyio.to_thread.run_sync(work)

    def after(self) -> None:  # noqa: B027 # most have nothing to do
        """After each request."""

    @abstractmethod
    def cancel(self) -> None:
        """Interrupt the session."""

    @abstractmethod
    def close(self) -> None:
        """End the session."""


class RunPlace(Place):
    """A session of a run."""

    def __init__(self, request: Request, run_id: str, session_id: str, node: str | None) -> None:
        self.by = asker(request)
        self._run_id, self._id, self._node = run_id, session_id, node

    @cached_property
    def _run(self) -> HeldRun:
        return self.by.service.runs.get(self.by.principal, self.by.catalog, self._run_id)

    def held(self) -> HeldSession:
        """See ``Place``."""
        return self._run.session(self._id, self.by.state, self._node)

    def after(self) -> None:
        """See ``Place``."""
        self._run.remember()

    def cancel(self) -> None:
        """See ``Place``."""
        self._run.cancel(self._id)

    def close(self) -> None:
        """See ``Place``."""
        self._run.close_session(self._id)


class ReadPlace(Place):
    """A session that reads one commit."""

    def __init__(self, request: Request, session_id: str, ref: str, default_schema: str, *, once: bool) -> None:
        self.by = asker(request)
        self._request = request
        self._id, self._ref, self._schema, self._once = session_id, ref, default_schema, once

    def held(self) -> HeldSession:
        """See ``Place``."""
        by = self.by
        return by.service.runs.read(by.principal, by.catalog, self._id, self._ref, self._schema, by.state)

    async def attend(self, work: Callable[[], T]) -> T:
        """See ``Place``. A query whose client is gone is ended: no lease would do that, and it may be one without an end."""
        task = asyncio.ensure_future(anyio.to_thread.run_sync(work))
        while not (await asyncio.wait({task}, timeout=_LOOK_SECONDS))[0]:
            if await self._request.is_disconnected():
                await quickly(self._leave)
                break
        return await task

    def _leave(self) -> None:
        self.cancel()
        self.close()

    def after(self) -> None:
        """See ``Place``."""
        if self._once:
            self.close()

    def cancel(self) -> None:
        """See ``Place``."""
        self.by.service.runs.cancel_read(self.by.principal, self._id)

    def close(self) -> None:
        """See ``Place``."""
        self.by.service.runs.close_read(self.by.principal, self._id)


# FastAPI calls these for each request; as coroutines, without a thread. They look nothing up.


async def _run_place(
    request: Request,
    run_id: RunId,
    session_id: SessionId,
    node: Annotated[str | None, Query(max_length=1000, description="the node that the session works on")] = None,
) -> Place:
    return RunPlace(request, run_id, session_id, node)


async def _read_place(
    request: Request,
    session_id: SessionId,
    commit: Annotated[str | None, Query(pattern="^[0-9a-f]{40}$", description="the commit to read")] = None,
    ref: Annotated[
        str | None, Query(description="instead of a commit, what leads to one when the session is made")
    ] = None,
    default_schema: Annotated[str, Query(description="where unqualified names are looked up")] = "main",
    once: Annotated[bool, Query(description="the session ends with this request")] = False,
) -> Place:
    if (commit is None) == (ref is None):
        raise BadRequest("a session that reads is given either the commit to read or a ref")
    return ReadPlace(request, session_id, commit or ref or "", default_schema, once=once)


_Find = Callable[..., Awaitable[Place]]


def _to_the_letter(kind: type) -> Any:
    """A dependency that refuses a document of a kind in which a number stands for a truth value, or the like."""

    async def check(request: Request) -> None:
        try:
            wire.adapter(kind).validate_json(await request.body(), strict=True)
        except ValueError as error:
            raise BadRequest(f"the request's document is none of {kind.__name__}: {error}") from error

    return Depends(check)


def routers() -> list[APIRouter]:
    """All of it."""
    routes = APIRouter(prefix="/v1")
    _add_runs(routes)
    found = [routes]
    places: tuple[tuple[str, _Find, str], ...] = (
        ("/runs/{run_id}/sessions/{session_id}", _run_place, "sessions of a run"),
        ("/reads/{session_id}", _read_place, "sessions that read"),
    )
    for path, place, tag in places:
        sessions = APIRouter(prefix=f"/v1{path}", tags=[tag])
        _add_reading(sessions, place)
        _add_ending(sessions, place)
        if place is _run_place:
            _add_writing(sessions)
        found.append(sessions)
    return found


def _held(request: Request, run_id: str) -> tuple[Asker, HeldRun]:
    by = asker(request)
    return by, by.service.runs.get(by.principal, by.catalog, run_id)


def _opened(by: Asker, held: HeldRun) -> Response:
    run = held.run
    said = wire.OpenedRun(
        id=run.request.id,
        base=run.memory.base,
        branch=run.branch,
        lease=by.service.runs.lease,
        request=run.request,
    )
    return replies.document(wire.OpenedRun, said)


def _add_runs(routes: APIRouter) -> None:
    @routes.post("/runs", response_model=wire.OpenedRun, tags=["runs"])
    def open_run(request: Request, wish: RunRequest) -> Response:
        """Open a run: nothing is written yet. Its author is whom the token belongs to."""
        by = asker(request)
        by.service.check_accepts()
        by.service.gate.check_run(by.principal, wish)
        return _opened(by, by.service.runs.open(by.principal, by.catalog, wish))

    @routes.get("/runs/{run_id}", response_model=wire.OpenedRun, tags=["runs"])
    def known_run(request: Request, run_id: RunId) -> Response:
        """A run that is open here, or ended a moment ago."""
        return _opened(*_held(request, run_id))

    @routes.post("/runs/{run_id}/heartbeat", tags=["runs"])
    async def heartbeat(request: Request, run_id: RunId) -> None:
        """The client lives."""

        def beat() -> None:
            by, held = _held(request, run_id)
            by.service.runs.heartbeat(held)

        await quickly(beat)

    @routes.post("/runs/{run_id}/publish", response_model=Commit | None, tags=["runs"])
    def publish(request: Request, run_id: RunId, wish: wire.Publish) -> Response:
        """End a run as passed."""
        by, held = _held(request, run_id)
        commit = held.once.do(by.key, lambda: held.publish(wish.nodes))
        held.close()
        return replies.document(Commit | None, commit)

    @routes.post("/runs/{run_id}/publish_unless_moved", response_model=Moved | None, tags=["runs"])
    def publish_unless_moved(request: Request, run_id: RunId, wish: wire.Publish) -> Response:
        """End a run as passed, or tell what keeps it from being published; then it goes on."""
        by, held = _held(request, run_id)
        moved = held.once.do(by.key, lambda: held.publish_unless_moved(wish.nodes))
        if moved is None:
            held.close()
        return replies.document(Moved | None, moved)

    @routes.post("/runs/{run_id}/moved", response_model=Moved | None, tags=["runs"])
    def moved(request: Request, run_id: RunId) -> Response:
        """What would keep a run from being published now."""
        _, held = _held(request, run_id)
        return replies.document(Moved | None, held.run.moved())

    @routes.post("/runs/{run_id}/rebase", tags=["runs"])
    def rebase(request: Request, run_id: RunId, wish: wire.Rebase) -> None:
        """Start a run over from the head of its target, with what it wrote but for what is made again."""
        by, held = _held(request, run_id)
        held.once.do(by.key, lambda: held.rebase(wish.head, wish.again))

    @routes.post("/runs/{run_id}/fail", tags=["runs"])
    def fail(request: Request, run_id: RunId, wish: wire.Fail) -> None:
        """End a run as failed, or as abandoned."""
        _, held = _held(request, run_id)
        held.run.fail(wish.reason, wish.nodes, abandoned=wish.abandoned)
        held.close()

    @routes.post("/runs/{run_id}/cancel", tags=["runs"])
    async def cancel_run(request: Request, run_id: RunId) -> None:
        """Interrupt all sessions of a run."""
        await quickly(lambda: _held(request, run_id)[1].cancel())


def _add_reading(routes: APIRouter, find: _Find) -> None:
    here = Depends(find)

    @routes.post("/execute", response_model=wire.Answer)
    async def execute(wish: wire.Execute, place: Place = here) -> Response:
        """Run statements; rows of the last one come as an Arrow stream."""

        def work() -> Response:
            result, more = place.do(
                lambda session: session.execute(wish.sql, fetch=wish.fetch, limit=wish.limit, test=wish.test)
            )
            answer = wire.Answer(
                columns=result.columns,
                rows_affected=result.rows_affected,
                message=result.message,
                reused=result.reused,
                rows=tuple(tuple(row) for row in result.rows) if result.reused is not None else (),
            )
            return replies.rows(answer, result.rows, headers=more)

        return await place.attend(work)

    @routes.post("/arrow", response_class=StreamingResponse)
    async def arrow(wish: wire.Select, place: Place = here) -> Response:
        """The rows of one SELECT as an Arrow stream, while they are made."""
        return await streamed(wish.sql, place)

    @routes.post("/describe", response_model=tuple[Column, ...])
    def describe(wish: wire.DescribeSelect, place: Place = here) -> Response:
        """Columns that a SELECT would give."""
        columns, more = place.do(lambda session: session.describe(wish.sql, wish.setup))
        return replies.document(tuple[Column, ...], columns, headers=more)

    @routes.post("/bind", response_model=list[Looked], dependencies=[_to_the_letter(wire.BindDrafts)])
    def bind(wish: wire.BindDrafts, place: Place = here) -> Response:
        """What binding the SQL of nodes shows before any of them runs."""
        looked, more = place.do(lambda session: session.bind(wish.drafts))
        return replies.document(list[Looked], looked, headers=more)

    @routes.post("/lookup", response_model=Entry | None)
    def lookup(wish: wire.Lookup, place: Place = here) -> Response:
        """What stands at a name."""
        entry, more = place.do(lambda session: session.lookup(wish.name))
        return replies.document(Entry | None, entry, headers=more)

    @routes.post("/relations", response_model=list[Entry])
    def relations(wish: wire.Relations, place: Place = here) -> Response:
        """Tables and views, of one schema if it is named."""
        entries, more = place.do(lambda session: session.relations(wish.database, wish.schema))
        return replies.document(list[Entry], entries, headers=more)

    @routes.post("/details", response_model=list[Details | None])
    def details(wish: wire.Look, place: Place = here) -> Response:
        """What is known of tables and views beyond what the catalog says, many at once."""
        found, more = place.do(lambda session: session.details(wish.names))
        return replies.document(list[Details | None], found, headers=more)

    @routes.post("/schemas", response_model=list[str])
    def schemas(wish: wire.Schemas, place: Place = here) -> Response:
        """Names of schemas."""
        names, more = place.do(lambda session: session.schemas(wish.database))
        return replies.document(list[str], names, headers=more)


def _add_writing(routes: APIRouter) -> None:
    here = Depends(_run_place)

    @routes.post("/create_view", response_model=Built)
    def create_view(wish: wire.CreateView, place: Place = here) -> Response:
        """Put a view on the run's branch."""

        def work(session: RunSession) -> Built:
            return built_before(session, wish.name) or session.create_view(
                wish.name,
                wish.sql,
                node=wish.node,
                comment=wish.comment,
                column_comments=wish.column_comments,
                setup=wish.setup,
                rebuild=wish.rebuild,
                provenance=wish.provenance,
            )

        built, more = place.do(work)
        return replies.document(Built, built, headers=more)

    @routes.post("/create_function", response_model=Built)
    def create_function(wish: wire.CreateFunction, place: Place = here) -> Response:
        """Put a function on the run's branch."""

        def work(session: RunSession) -> Built:
            name = dataclasses.replace(wish.function.name, name=wish.function.name.name + SUFFIX)
            return built_before(session, name) or session.create_function(wish.function, rebuild=wish.rebuild)

        built, more = place.do(work)
        return replies.document(Built, built, headers=more)

    @routes.post("/recall", response_model=list[Recalled | None], dependencies=[_to_the_letter(wire.Recall)])
    def recall(wish: wire.Recall, place: Place = here) -> Response:
        """Put in place the results of those nodes for which nothing has to be run."""
        wishes = [permitted(place.by, one) for one in wish.wishes]
        answers, more = place.do(lambda session: session.recall(wishes))
        return replies.document(list[Recalled | None], answers, headers=more)

    @routes.post("/build", response_model=wire.Event)
    async def build_table(request: Request, place: Place = here) -> Response:
        """Build a node's table. The answer comes line by line: progress, what the job printed, at last what came of it."""
        return await build(request, place.by, place.do)


def _add_ending(routes: APIRouter, find: _Find) -> None:
    here = Depends(find)

    @routes.post("/cancel")
    async def cancel(place: Place = here) -> None:
        """Interrupt what runs in the session."""
        await quickly(place.cancel)

    @routes.post("/close")
    def close(place: Place = here) -> None:
        """End the session."""
        place.close()
