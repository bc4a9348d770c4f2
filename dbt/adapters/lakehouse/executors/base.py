"""The seam between a run and whatever executes its jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dbt.adapters.lakehouse.jobs.job import Job, JobResult, Watch


@dataclass(frozen=True, kw_only=True)
class Requester:
    """Who asks for work: queues are fair between users."""

    user: str = "local"
    run: str | None = None


class Lease(Protocol):
    """Work for one session: its temporary tables and settings last until ``release``."""

    def run(self, job: Job, watch: Watch | None = None) -> JobResult:
        """Run a job and wait for it; ``watch`` is told how it goes."""
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

    def close(self) -> None:
        """Stop all workers."""
        ...
