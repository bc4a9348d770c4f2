"""Warm DuckDB workers in this process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from types import TracebackType

from dbt.adapters.lakehouse.executors.base import Requester
from dbt.adapters.lakehouse.executors.local_stream import LocalStream
from dbt.adapters.lakehouse.jobs.job import Job, JobResult, PythonNeeds, Watch
from dbt.adapters.lakehouse.jobs.worker import Worker
from dbt.adapters.lakehouse.settings import LakeSettings

_JOIN_SECONDS = 5.0


class LocalExecutor:
    """Keeps up to ``settings.workers`` idle workers warm. A lease beyond that makes one more, which ends with its lease.

    More can be needed for a moment, as dbt lists schemas and runs hooks on threads of their own; making them wait for a
    thread that itself waits could lock up.
    """

    def __init__(self, settings: LakeSettings) -> None:
        self._settings = settings
        self._idle: list[Worker] = []
        self._lock = threading.Lock()
        self._closed = False
        self._ended = threading.Event()
        self._preparing: list[threading.Thread] = []

    def lease(self, requester: Requester | None = None) -> LocalLease:
        """A warm worker if one is idle, else a new one."""
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        return LocalLease(self, worker or Worker(self._settings))

    def give_back(self, worker: Worker) -> None:
        """Called by a lease: keep the worker warm, or stop it if there are enough, or if a job was torn out of it."""
        with self._lock:
            if not (self._closed or worker.cancelled) and len(self._idle) < self._settings.workers:
                self._idle.append(worker)
                return
        worker.close()

    def prepare(self, needs: Sequence[PythonNeeds]) -> None:
        """See ``base.Executor``."""
        if not any(one.packages or one.python_version for one in needs):
            return
        # Imported late: few runs need it.
        from dbt.adapters.lakehouse.jobs.python_env import Environments

        environments = Environments(self._settings.environments)
        thread = threading.Thread(
            target=environments.make, args=(needs, self._ended.is_set), name="lakehouse-environments", daemon=True
        )
        with self._lock:
            if self._closed:
                return
            self._preparing.append(thread)
            thread.start()

    def close(self) -> None:
        """Stop idle workers; those on lease stop when given back."""
        self._ended.set()
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            preparing, self._preparing = self._preparing, []
        for thread in preparing:
            thread.join(_JOIN_SECONDS)
        for worker in idle:
            worker.close()


class LocalLease:
    """See ``base.Lease``."""

    def __init__(self, executor: LocalExecutor, worker: Worker) -> None:
        self._executor = executor
        self._worker: Worker | None = worker
        worker.begin()

    def __enter__(self) -> LocalLease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    def run(self, job: Job, watch: Watch | None = None) -> JobResult:
        """Run a job in the calling thread."""
        assert self._worker is not None, "the lease was released"
        return self._worker.run(job, watch)

    def stream(self, job: Job, watch: Watch | None = None) -> LocalStream:
        """See ``base.Lease``."""
        worker = self._worker
        assert worker is not None, "the lease was released"
        return LocalStream(lambda sink: worker.run(job, watch, sink), job)

    def cancel(self) -> None:
        """Interrupt the job that runs."""
        worker = self._worker
        if worker is not None:
            worker.cancel()

    def release(self) -> None:
        """Give the worker back. Idempotent."""
        worker, self._worker = self._worker, None
        if worker is not None:
            with contextlib.suppress(Exception):
                worker.end()
            self._executor.give_back(worker)
