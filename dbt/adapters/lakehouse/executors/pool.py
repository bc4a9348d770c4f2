"""Jobs in worker processes."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TypeVar

from dbt.adapters.lakehouse.errors import Busy, ConfigError, JobCancelled, LakehouseError
from dbt.adapters.lakehouse.executors.base import Requester
from dbt.adapters.lakehouse.executors.discard import discard
from dbt.adapters.lakehouse.executors.execution import Execution, PoolStream
from dbt.adapters.lakehouse.executors.folder import PoolFolder
from dbt.adapters.lakehouse.executors.limits import Budget, PoolOptions
from dbt.adapters.lakehouse.executors.preparation import Preparation
from dbt.adapters.lakehouse.executors.records import OPEN, JobLog, JobRecord, MemoryJobLog
from dbt.adapters.lakehouse.executors.slots import Session, Slots
from dbt.adapters.lakehouse.executors.worker_process import bare_environment
from dbt.adapters.lakehouse.jobs.job import Job, JobResult, PythonNeeds, Watch, job_from_json
from dbt.adapters.lakehouse.settings import LakeSettings

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class PoolStats:
    """Numbers for metrics; ``results`` counts jobs by how they ended (``done``, or their error's kind)."""

    workers: int
    idle: int
    busy: int
    queued: int
    cold_starts: int
    retries: int
    wait_seconds: float
    results: dict[str, int] = field(default_factory=dict)


class PoolExecutor:
    """Up to ``settings.workers`` processes run jobs; none are there while there is nothing to do."""

    def __init__(self, settings: LakeSettings, options: PoolOptions | None = None, log: JobLog | None = None) -> None:
        self._options = options or PoolOptions()
        self._budget = Budget(settings, self._options)
        self.log: JobLog = log or MemoryJobLog()
        self._folder = PoolFolder(settings.temp_directory)
        self._slots = Slots(settings, self._options, self._budget, self._folder.path)
        scratch = self._folder.path / "preparation"
        self._preparation = Preparation(
            settings.environments, scratch, bare_environment(scratch, self._options.environment)
        )
        self._lock = threading.Lock()
        self._live: set[Execution] = set()
        self._results: Counter[str] = Counter()
        self._retries = 0
        self._wait_seconds = 0.0
        self._draining = False
        self._closed = False

    def lease(self, requester: Requester | None = None) -> PoolLease:
        """A session; it gets a worker when it has a job."""
        return PoolLease(self, requester or Requester())

    def prepare(self, needs: Sequence[PythonNeeds]) -> None:
        """See ``base.Executor``."""
        self._preparation.add(one for one in needs if one.packages or one.python_version)

    def execute(
        self,
        session: Session,
        requester: Requester,
        job: Job,
        watch: Watch | None,
        act: Callable[[Execution], _T],
        began: Callable[[Execution], None],
    ) -> _T:
        """Let a lease's job go its way; ``began`` is told of it before it is queued."""
        self._budget.part(job)
        self._budget.more(job)
        execution = Execution(
            self._slots, self._budget, self._options, self.log, session, requester, job, watch, self._ended
        )
        with self._lock:
            if self._draining:
                raise Busy("the pool of workers is shutting down; try again later")
            self._live.add(execution)
        began(execution)
        return act(execution)

    def _ended(self, execution: Execution) -> None:
        record = execution.record
        with self._lock:
            self._live.discard(execution)
            self._results["done" if record.error is None else record.error["kind"]] += 1
            self._retries += max(len(record.attempts) - 1, 0)
            self._wait_seconds += execution.waited

    def end(self, session: Session) -> None:
        """A lease's session is over."""
        self._slots.end(session)

    def jobs(self) -> tuple[JobRecord, ...]:
        """What is queued or runs now."""
        with self._lock:
            return tuple(sorted((e.record for e in self._live), key=lambda record: record.submitted_at))

    def cancel_job(self, key: str) -> bool:
        """Cancel a job; False if none of that key is queued or runs."""
        with self._lock:
            found = [execution for execution in self._live if execution.record.key == key]
        for execution in found:
            execution.cancel()
        return bool(found)

    def replay(self, key: str) -> JobRecord:
        """Run a job again that failed or was given up, wait for it, and give its new record; what it writes is removed.

        Raises ``ConfigError`` if there is no such record.
        """
        record = self.log.get(key)
        if record is None:
            raise ConfigError(f"no job {key!r} is on record; `lakehouse jobs list` shows those that are")
        if record.state in OPEN:
            raise ConfigError(f"job {key!r} is {record.state}; only what is over can be replayed")
        try:
            job = replace(job_from_json(record.envelope), key=f"{key}-replay-{uuid.uuid4().hex[:8]}")
        except ValueError as error:
            raise ConfigError(f"job {key!r} cannot be replayed, its record holds {error}") from error
        lease = PoolLease(self, Requester(user=record.user, run=record.run))
        try:
            result = lease.run(job)
        except LakehouseError:
            pass
        else:
            discard(job.action, result)
        finally:
            lease.release()
        again = self.log.get(job.key)
        assert again is not None
        return again

    def stats(self) -> PoolStats:
        """Numbers since the pool was made."""
        counts = self._slots.counts()
        with self._lock:
            return PoolStats(
                **counts,
                cold_starts=self._slots.cold_starts,
                retries=self._retries,
                wait_seconds=self._wait_seconds,
                results=dict(self._results),
            )

    def drain(self, timeout: float) -> bool:
        """Take no more jobs, and wait for those that are there; whether they were all over in time."""
        with self._lock:
            self._draining = True
        until = time.monotonic() + timeout
        while self.jobs() and time.monotonic() < until:
            time.sleep(0.02)
        return not self.jobs()

    def close(self) -> None:
        """End all jobs and workers. Idempotent."""
        with self._lock:
            self._draining = True
            closed, self._closed = self._closed, True
            live = list(self._live)
        if closed:
            return
        for execution in live:
            execution.cancel()
        self._preparation.close()
        self._slots.close()
        self._folder.close()


class PoolLease:
    """See ``base.Lease``."""

    def __init__(self, pool: PoolExecutor, requester: Requester) -> None:
        self._pool = pool
        self._requester = requester
        self._session = Session()
        self._cancelled = False
        self._running: Execution | None = None
        self._stream: PoolStream | None = None

    def __enter__(self) -> PoolLease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    def run(self, job: Job, watch: Watch | None = None) -> JobResult:
        """Run a job; the calling thread waits."""
        return self._execute(job, watch, Execution.run)

    def stream(self, job: Job, watch: Watch | None = None) -> PoolStream:
        """See ``base.Lease``."""
        self._stream = self._execute(job, watch, Execution.stream)
        return self._stream

    def _execute(self, job: Job, watch: Watch | None, act: Callable[[Execution], _T]) -> _T:
        assert not self._session.ended, "the lease was released"
        if self._cancelled:
            raise JobCancelled("the run was cancelled before this job started")
        return self._pool.execute(self._session, self._requester, job, watch, act, self._began)

    def _began(self, execution: Execution) -> None:
        self._running = execution
        if self._cancelled:
            execution.cancel()

    def cancel(self) -> None:
        """Interrupt the job that is queued or runs."""
        self._cancelled = True
        execution = self._running
        if execution is not None:
            execution.cancel()

    def release(self) -> None:
        """End the session; its worker is free for others. Idempotent."""
        if self._stream is not None:
            self._stream.close()
        if not self._session.ended:
            self._pool.end(self._session)
