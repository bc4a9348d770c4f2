"""The seam between a run and whatever executes its jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dbt.adapters.lakehouse.jobs.job import Job, JobResult, PythonNeeds, Watch
from dbt.adapters.lakehouse.tables.values import Column

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class Requester:
    """Who asks for work: queues are fair between users."""

    user: str = "local"
    run: str | None = None


class RowStream(Protocol):
    """Rows of a query that still runs. Its worker is busy until they are read to the end, or ``close``.

    Take the rows one way, once. An error in their midst is raised where they are read.
    """

    columns: tuple[Column, ...]

    def reader(self) -> pa.RecordBatchReader:
        """The rows, in DuckDB's lossless form unless the query asked for ``arrow``."""
        ...

    def ipc(self) -> Iterator[Any]:
        """The same as buffers which together are one Arrow IPC stream; none if the statement has no rows."""
        ...

    def close(self) -> None:
        """Interrupt the query, if it runs. Idempotent."""
        ...


class Lease(Protocol):
    """Work for one session: its temporary tables and settings last until ``release``."""

    def run(self, job: Job, watch: Watch | None = None) -> JobResult:
        """Run a job and wait for it; ``watch`` is told how it goes."""
        ...

    def stream(self, job: Job, watch: Watch | None = None) -> RowStream:
        """Run a query and give its rows while they are made, no more at a time than fit into a few buffers."""
        ...

    def cancel(self) -> None:
        """From any thread: interrupt the job; it raises ``JobCancelled``, and so does every later one."""
        ...

    def release(self) -> None:
        """End the session."""
        ...


class Executor(Protocol):
    """A source of workers."""

    def lease(self, requester: Requester | None = None) -> Lease:
        """A session's way to a worker. It may wait for one to be free, now or when a job is run."""
        ...

    def prepare(self, needs: Sequence[PythonNeeds]) -> None:
        """Python models will come that need this: begin to make it, in the background. Quick, and never raises."""
        ...

    def close(self) -> None:
        """Stop all workers."""
        ...
