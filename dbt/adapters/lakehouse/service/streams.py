"""Rows over HTTP while they are made: no more of them are asked for than the client takes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio.to_thread
from fastapi.responses import StreamingResponse

from dbt.adapters.lakehouse.errors import ConfigError, LakehouseError
from dbt.adapters.lakehouse.lake.remote import wire
from dbt.adapters.lakehouse.lake.remote.rows import failed

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.executors.base import RowStream
    from dbt.adapters.lakehouse.service.runs import HeldSession


T = TypeVar("T")


class Place(Protocol):
    """Where a session is found (``routes_runs.Place``)."""

    def held(self) -> HeldSession:
        """The session."""
        ...

    async def attend(self, work: Callable[[], T]) -> T:
        """Do what may take long."""
        ...

    def after(self) -> None:
        """After each request."""
        ...


async def streamed(sql: str, place: Place) -> StreamingResponse:
    """The answer to a SELECT. What goes wrong before the first rows is raised."""
    rows = await place.attend(lambda: _Rows(sql, place))
    return StreamingResponse(rows.chunks(), media_type=wire.ARROW, headers=rows.headers)


class _Rows:
    """A query in a session, which does nothing else meanwhile."""

    def __init__(self, sql: str, place: Place) -> None:
        held = place.held()
        self._ended = contextlib.ExitStack()
        self._lock = threading.Lock()
        with contextlib.ExitStack() as stack:
            session = stack.enter_context(held.hold())
            stack.callback(place.after)
            self._stream: RowStream = session.stream(sql)
            stack.callback(self._stream.close)
            self._buffers: Iterator[Any] = iter(self._stream.ipc())
            first = next(self._buffers, None)
            if first is None:
                raise ConfigError("the statement gives no rows; only a SELECT can be fetched as Arrow")
            self._first = memoryview(first)
            self._ended = stack.pop_all()
        self.headers = {wire.SESSION_HEADER: held.state} if held.stateful else {}

    async def chunks(self) -> AsyncIterator[Any]:
        """The body of the answer."""
        try:
            yield self._first
            while (chunk := await anyio.to_thread.run_sync(self._next, abandon_on_cancel=True)) is not None:
                yield chunk
        finally:
            # Whether it was read to the end or the client left. Not awaited: the task may be cancelled already.
            threading.Thread(target=self._end, name="lakehouse-stream-end", daemon=True).start()

    def _next(self) -> Any:
        try:
            chunk = next(self._buffers, None)
        except LakehouseError as error:
            self._buffers = iter(())
            return failed(self._schema(), wire.error_document(error))
        return None if chunk is None else memoryview(chunk)

    def _schema(self) -> Any:
        import pyarrow as pa

        return pa.ipc.read_schema(pa.BufferReader(pa.py_buffer(self._first)))

    def _end(self) -> None:
        with self._lock:
            self._ended.close()
