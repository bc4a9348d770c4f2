"""Rows of a query that runs in this process, taken while it runs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.errors import JobCancelled
from dbt.adapters.lakehouse.jobs.job import Job, JobResult, Query, Sink
from dbt.adapters.lakehouse.jobs.rows import first
from dbt.adapters.lakehouse.tables.values import Column

if TYPE_CHECKING:
    import pyarrow as pa

_BATCHES = 2


class _Left(Exception):
    """Nobody wants the rows any more."""


class LocalStream:
    """See ``base.RowStream``. The query runs in a thread of its own, a few batches ahead of who reads."""

    def __init__(self, run: Callable[[Sink], JobResult], job: Job) -> None:
        self.columns: tuple[Column, ...] = ()
        self._limit = job.action.limit if isinstance(job.action, Query) else None
        self._given: queue.Queue[Any] = queue.Queue(_BATCHES)
        self._left = threading.Event()
        self._schema: pa.Schema | None = None
        self._thread = threading.Thread(target=self._run, args=(run,), daemon=True)
        self._thread.start()
        head = self._given.get()
        if isinstance(head, BaseException):
            self._join()
            raise head
        if head is None:
            self._join()
        else:
            self.columns, self._schema = head

    def __enter__(self) -> LocalStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, run: Callable[[Sink], JobResult]) -> None:
        end: BaseException | None = None
        try:
            run(self._sink)
        except _Left:
            end = JobCancelled("the rows were not read to the end")
        except BaseException as error:
            end = error
        self._put(end, last=True)

    def _sink(self, columns: tuple[Column, ...], reader: pa.RecordBatchReader) -> None:
        self._put((columns, reader.schema))
        for batch in first(reader, self._limit):
            self._put(batch)

    def _put(self, item: Any, *, last: bool = False) -> None:
        while not self._left.is_set():
            try:
                self._given.put(item, timeout=0.05)
            except queue.Full:
                continue
            return
        if not last:
            raise _Left

    def _batches(self) -> Iterator[pa.RecordBatch]:
        while (item := self._given.get()) is not None:
            if isinstance(item, BaseException):
                self._join()
                raise item
            yield item
        self._join()

    def reader(self) -> pa.RecordBatchReader:
        """See ``base.RowStream``."""
        import pyarrow as pa

        if self._schema is None:
            return pa.RecordBatchReader.from_batches(pa.schema([]), iter(()))
        return pa.RecordBatchReader.from_batches(self._schema, self._batches())

    def ipc(self) -> Iterator[Any]:
        """See ``base.RowStream``."""
        import pyarrow as pa

        if self._schema is None:
            return
        buffer = _Parts()
        with pa.ipc.new_stream(buffer, self._schema) as writer:
            for batch in self._batches():
                writer.write_batch(batch)
                yield from buffer.taken()
        yield from buffer.taken()

    def close(self) -> None:
        """See ``base.RowStream``."""
        self._left.set()
        self._join()

    def _join(self) -> None:
        self._left.set()
        self._thread.join()


class _Parts:
    """A file to write to that gives its parts away."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[Any] = []

    def write(self, data: Any) -> int:
        """Keep some bytes."""
        self._parts.append(data)
        return memoryview(data).nbytes

    def taken(self) -> list[Any]:
        """What was written since the last time."""
        parts, self._parts = self._parts, []
        return parts

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is held."""
