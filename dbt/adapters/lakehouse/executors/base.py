"""The seam between a run and whatever executes its jobs."""

from __future__ import annotations

from typing import Protocol

from dbt.adapters.lakehouse.jobs.job import Job, JobResult


class Lease(Protocol):
    """A worker for one session: its temporary tables and settings last until ``release``."""

    def run(self, job: Job) -> JobResult:
        """Run a job and wait for it."""
        ...

    def cancel(self) -> None:
        """From any thread: interrupt the job; it raises ``JobCancelled``, and so does every later one."""
        ...

    def release(self) -> None:
        """Give the worker back."""
        ...


class Executor(Protocol):
    """A source of workers."""

    def lease(self) -> Lease:
        """A worker, waiting for one to be free if need be."""
        ...

    def close(self) -> None:
        """Stop all workers."""
        ...
