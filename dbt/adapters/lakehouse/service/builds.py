"""Builds over HTTP: what happens on the way is told while it happens."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import logging
import struct
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from dbt.adapters.lakehouse.errors import BadRequest, LakehouseError, ServiceError
from dbt.adapters.lakehouse.jobs.job import LogLine, Progress, Resources
from dbt.adapters.lakehouse.lake.remote import wire
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import Build, Built, FileSource, Wish
from dbt.adapters.lakehouse.service.asking import Asker
from dbt.adapters.lakehouse.service.runs import built_before
from dbt.adapters.lakehouse.service.threads import building

log = logging.getLogger("lakehouse.service")

QUIET_SECONDS = 15.0
"""After this long without news an empty event is sent, so that proxies see life."""

_LONGEST_BUILD = 64 << 20
_LONGEST_SIZE = 40
_MOST_RETRIES = 100
_MOST_PRIORITY = 1000


async def build(request: Request, by: Asker, do: Callable[[Callable[[RunSession], Built]], Any]) -> Response:
    """Carry out the build that a request holds, in the session that ``do`` works in."""
    stack = contextlib.ExitStack()
    try:
        wish = await _read(request, by.service.config.limits.upload, stack)
        by.service.gate.check_build(by.principal, wish)
    except BaseException:
        stack.close()
        raise
    return StreamingResponse(_events(wish, do, stack), media_type=wire.LINES)


def permitted(by: Asker, wish: Wish) -> Wish:
    """A wish for an earlier result, as it may be asked for: as the build itself, without what its client alone can know."""
    if wish.build is None:
        return wish
    by.service.gate.check_build(by.principal, wish.build)
    if wish.build.arrow is not None or wish.build.local:
        raise BadRequest("what is made of the client's files cannot be recalled; build it")
    return dataclasses.replace(wish, build=dataclasses.replace(wish.build, file=None))


async def _events(wish: Build, do: Callable[..., Any], stack: contextlib.ExitStack) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[wire.Event] = asyncio.Queue()

    def put(event: wire.Event) -> None:
        # The loop is closed where the process ends in the middle of it.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(queue.put_nowait, event)

    def watch(said: Progress | LogLine) -> None:
        put(wire.Event(said=said))

    def work() -> None:
        try:
            built, _ = do(lambda session: built_before(session, wish.name) or session.build(wish, watch))
            put(wire.Event(said=built))
        except LakehouseError as error:
            put(wire.Event(said=wire.error_document(error)))
        except Exception:
            log.exception("a build failed")
            broken = ServiceError("the service failed on this build, and its log says why")
            put(wire.Event(said=wire.error_document(broken)))
        finally:
            stack.close()

    task = asyncio.ensure_future(building(work))
    while True:
        getting = asyncio.ensure_future(queue.get())
        await asyncio.wait({getting, task}, timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if getting.done():
            event = getting.result()
            yield wire.dump(wire.Event, event) + b"\n"
            if isinstance(event.said, Built | wire.ErrorDocument):
                return
        else:
            getting.cancel()
            if task.done() and queue.empty():
                return
            yield wire.dump(wire.Event, wire.Event()) + b"\n"


async def _read(request: Request, most: int, stack: contextlib.ExitStack) -> Build:
    """The build in a request's body; rows that come along go to a file."""
    content = request.headers.get("content-type", "").partition(";")[0].strip()
    if content == wire.JSON:
        return _checked(await request.body(), rows=None)
    if content != wire.BUILD_WITH_ROWS:
        raise BadRequest(f"a build is {wire.JSON} or {wire.BUILD_WITH_ROWS}, not {content or 'nothing'}")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lakehouse-rows-")))
    file = folder / "rows.arrow"
    head = bytearray()
    length: int | None = None
    digest = hashlib.sha256()
    with file.open("wb") as target:
        got = 0
        async for chunk in request.stream():
            got += len(chunk)
            if got > most:
                raise BadRequest(f"the rows are more than the {most / 1e9:g} GB that this service takes in one request")
            if length is not None and len(head) == length:
                digest.update(chunk)
                await anyio.to_thread.run_sync(target.write, chunk)
                continue
            head += chunk
            if length is None and len(head) >= 4:
                (length,) = struct.unpack(">I", head[:4])
                if length > _LONGEST_BUILD:
                    raise BadRequest(f"the build's document claims {length} bytes; it may have {_LONGEST_BUILD}")
                del head[:4]
            if length is not None and len(head) > length:
                digest.update(head[length:])
                target.write(head[length:])
                del head[length:]
    if length is None or len(head) < length:
        raise BadRequest("the request ended before the build's document did")
    return _checked(bytes(head), rows=str(file), digest=digest.hexdigest())


def _checked(text: bytes, rows: str | None, digest: str = "") -> Build:
    """The build, which must not name files of this machine by itself."""
    try:
        # To the letter: what is almost a build was not made by this package's client.
        wish: Build = wire.adapter(Build).validate_json(text, strict=True)
    except ValueError as error:
        raise BadRequest(f"the request's document is no build: {error}") from error
    if wish.arrow is not None:
        raise BadRequest("a build's rows come along with the request; 'arrow' is not for clients")
    if wish.local != (rows is not None):
        raise BadRequest("a 'local' build brings its rows with it, and no other does")
    _check_resources(wish.resources)
    # What is in the client's file is its word, on which nobody else's results shall depend. What came of it is known.
    file = FileSource(digest=digest, how="an Arrow stream") if rows is not None and wish.file is not None else None
    return dataclasses.replace(wish, arrow=rows, local=False, file=file, sql=wish.sql if rows is None else None)


def _check_resources(wanted: Resources) -> None:
    """Raise ``BadRequest`` for what would let one model occupy the service; what a pool has, the pool itself knows."""
    if wanted.retries is not None and not 0 <= wanted.retries <= _MOST_RETRIES:
        raise BadRequest(f"retries {wanted.retries}: a service tries a model again 0 to {_MOST_RETRIES} times")
    if not -_MOST_PRIORITY <= wanted.priority <= _MOST_PRIORITY:
        raise BadRequest(f"priority {wanted.priority}: write a number from -{_MOST_PRIORITY} to {_MOST_PRIORITY}")
    if wanted.timeout is not None and not 0 < wanted.timeout < float("inf"):
        raise BadRequest(f"timeout {wanted.timeout}: write a number of seconds above 0")
    for size in (wanted.memory, wanted.max_memory):
        if size is not None and len(size) > _LONGEST_SIZE:
            raise BadRequest("memory: a size is written like 4GB")
