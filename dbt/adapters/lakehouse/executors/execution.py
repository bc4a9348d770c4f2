"""One job's way through a pool: its turn, its attempts, its record."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TypeVar

from dbt.adapters.lakehouse.errors import (
    ConfigError,
    JobCancelled,
    JobError,
    JobTimeout,
    LakehouseError,
    OutOfMemory,
    WorkerDied,
    error_to_json,
)
from dbt.adapters.lakehouse.executors import retries
from dbt.adapters.lakehouse.executors.base import Requester
from dbt.adapters.lakehouse.executors.limits import Budget, PoolOptions, limited
from dbt.adapters.lakehouse.executors.records import LOG_LINES, Attempt, JobLog, JobRecord, State
from dbt.adapters.lakehouse.executors.slots import Session, Slot, Slots
from dbt.adapters.lakehouse.executors.worker_process import Chunks, Died, WorkerProcess
from dbt.adapters.lakehouse.jobs.job import Job, JobResult, LogLine, Progress, Watch, job_to_json
from dbt.adapters.lakehouse.tables.values import Column

if TYPE_CHECKING:
    import pyarrow as pa

_T = TypeVar("_T")
_MOST_DEATHS = 2
_BROKEN = ("INTERNAL Error", "FATAL Error", "the worker failed")
"""How errors begin after which DuckDB, or the worker itself, is not to be trusted any more."""
_TELL_LOG_SECONDS = 1.0


class Execution:
    """One job, from when it is submitted until it is over. ``cancel`` may come from any thread."""

    def __init__(
        self,
        slots: Slots,
        budget: Budget,
        options: PoolOptions,
        log: JobLog,
        session: Session,
        requester: Requester,
        job: Job,
        watch: Watch | None,
        ended: Callable[[Execution], None],
    ) -> None:
        self._slots = slots
        self._budget = budget
        self._options = options
        self._log = log
        self._session = session
        self._job = job
        self._watch = watch
        self._ended = ended
        self.waited = 0.0
        self._cancelled = threading.Event()
        self._slot: Slot | None = None
        self._began, self._began_at = time.monotonic(), time.time()
        self._failures = 0
        self._deaths = 0
        self._more = False
        self._stateful = False
        self._lines: list[str] = []
        self._told = time.monotonic()
        self.record = JobRecord(
            key=job.key,
            label=job.label,
            user=requester.user,
            run=requester.run,
            state="queued",
            priority=job.resources.priority,
            submitted_at=time.time(),
            envelope=job_to_json(job),
            resources=asdict(job.resources),
        )

    def run(self) -> JobResult:
        """Run it in the calling thread."""
        result = self._try(lambda process, job: process.run(job, self._event, session=self._session))
        self._over(None)
        return result

    def stream(self) -> PoolStream:
        """Run it as far as its first rows; the stream goes on from there."""
        return PoolStream(self, self._try(lambda process, job: process.stream(job, self._event, session=self._session)))

    def cancel(self) -> None:
        """End it, wherever it is."""
        self._cancelled.set()
        slot = self._slot
        if slot is not None and not self._slots.refuse(slot, JobCancelled("the job was cancelled while it was queued")):
            self._slots.stop(slot, "cancelled")

    def _try(self, act: Callable[[WorkerProcess, Job], _T]) -> _T:
        """Attempt by attempt; the slot of the one that succeeds is not given back yet."""
        self._set("queued")
        while True:
            try:
                return self._attempt(act)
            except LakehouseError as error:
                failure = self._judge(error)
                if failure is not None:
                    self._over(failure)
                    if failure is error:
                        raise
                    raise failure from error
            except BaseException as error:
                # The thread itself was interrupted: nobody waits for an answer any more.
                if self._slot is not None:
                    self._slots.give_back(self._slot, usable=False)
                self._over(JobCancelled(f"interrupted by {type(error).__name__}"))
                raise

    def _attempt(self, act: Callable[[WorkerProcess, Job], _T]) -> _T:
        share = self._budget.part(self._job, more=self._more)
        self._slot = slot = Slot(
            user=self.record.user, priority=self.record.priority, session=self._session, share=share
        )
        if self._cancelled.is_set():
            raise JobCancelled("the job was cancelled before it started")
        queued = time.monotonic()
        process = self._slots.take(slot, self._wait, again=bool(self.record.attempts))
        self._began, self._began_at = time.monotonic(), time.time()
        self.waited += self._began - queued
        if self._cancelled.is_set():
            raise JobCancelled("the job was cancelled before it started")
        self._stateful = process.stateful
        self._slots.begin(slot, self._timeout())
        self._set("running")
        return act(process, limited(self._job, share))

    def _judge(self, error: LakehouseError) -> LakehouseError | None:
        """What an attempt's error means: None to try again, after a pause, or what to raise."""
        slot = self._slot
        self._note(error)
        stopped = self._why_stopped(error)
        if stopped is not None:
            return stopped
        if slot is None or not slot.granted or isinstance(error, ConfigError):
            return error
        if isinstance(error, Died):
            self._deaths += 1
            if self._stateful:
                return WorkerDied(
                    f"{error}; temporary tables and settings of its session are gone with it: begin a new one"
                )
        if self._ran_out(error) and not self._more and self._budget.more(self._job):
            self._more = True
            self._say(f"trying again with {self._job.resources.max_memory} of memory, since: {error}")
            return None
        return self._again(error)

    def _why_stopped(self, error: LakehouseError) -> LakehouseError | None:
        """What to raise where the attempt was ended from outside."""
        slot = self._slot
        if self._cancelled.is_set() or (slot is not None and slot.stopped == "cancelled"):
            return error if isinstance(error, JobCancelled) else JobCancelled("the job was cancelled while it ran")
        if slot is not None and slot.stopped == "timeout":
            seconds = self._timeout() or 0
            return JobTimeout(
                f"{self._job.label} was stopped after its timeout of {seconds:g} s; give it more, or less to do"
            )
        return None

    def _timeout(self) -> float | None:
        return self._options.timeout if self._job.resources.timeout is None else self._job.resources.timeout

    @staticmethod
    def _ran_out(error: LakehouseError) -> bool:
        """DuckDB's or Python's word for it, or the kernel's: it kills what takes too much."""
        return isinstance(error, OutOfMemory) or (isinstance(error, Died) and error.signal == 9)

    def _again(self, error: LakehouseError) -> LakehouseError | None:
        allowed = self._job.resources.retries if self._job.resources.retries is not None else self._options.retries
        self._failures += 1
        if not retries.passes(error):
            return error
        if self._failures > allowed or self._deaths >= _MOST_DEATHS:
            return self._given_up(error)
        pause = retries.pause(self._failures, self._options.backoff_seconds)
        self._say(f"trying again in {pause:.1f} s ({self._failures} of {allowed}), since: {error}")
        self._set("queued")
        if self._cancelled.wait(pause):
            return JobCancelled("the job was cancelled while it waited for another attempt")
        return None

    def _given_up(self, error: LakehouseError) -> LakehouseError:
        if not isinstance(error, WorkerDied):
            return error
        times = "once" if self._deaths <= 1 else f"{self._deaths} times"
        return WorkerDied(
            f"{self._job.label} (job {self._job.key}) lost its worker {times}: {error}. It may need more memory "
            "(the kernel's log tells whom it killed), or crash native code: see the job's log"
        )

    def _note(self, error: LakehouseError | None) -> None:
        """Write an attempt down, and let its slot go."""
        slot = self._slot
        if slot is None or not slot.granted:
            return
        usable = not isinstance(error, Died) and not str(error or "").startswith(_BROKEN)
        if slot.process is not None:
            attempt = Attempt(
                worker=slot.process.pid,
                started_at=self._began_at,
                seconds=max(time.monotonic() - self._began, 0.0),
                error=None if error is None else error_to_json(error),
            )
            self.record = replace(self.record, attempts=(*self.record.attempts, attempt))
        self._slots.give_back(slot, usable=usable)

    def _over(self, error: LakehouseError | None) -> None:
        """The end: ``error`` is what the caller is told."""
        if error is None:
            self._note(None)
        self._slot = None
        self._set(_state(error), finished_at=time.time(), error=None if error is None else error_to_json(error))
        self._ended(self)

    def finish(self, error: LakehouseError | None) -> LakehouseError | None:
        """The end of a stream; what to raise instead of its error."""
        if error is None:
            self._over(None)
            return None
        self._note(error)
        error = self._why_stopped(error) or (self._given_up(error) if isinstance(error, WorkerDied) else error)
        self._over(error)
        return error

    def _set(self, state: State, **changes: Any) -> None:
        if state == "running":
            changes["started_at"] = self.record.started_at or time.time()
        self.record = replace(self.record, state=state, **changes)
        self._log.record(self.record)
        self._flush()

    def _wait(self, before: int) -> None:
        seconds = time.time() - self.record.submitted_at
        self._event(Progress(seconds=seconds, waiting=before, attempt=len(self.record.attempts) + 1))

    def _say(self, text: str) -> None:
        self._event(LogLine(text=text, stream="executor"))

    def _event(self, event: Progress | LogLine) -> None:
        if isinstance(event, Progress):
            event = replace(event, attempt=len(self.record.attempts) + 1)
            self.record = replace(self.record, progress=asdict(event))
        else:
            self._lines.append(event.text)
            del self._lines[:-LOG_LINES]
            if time.monotonic() - self._told > _TELL_LOG_SECONDS:
                self._flush()
        if self._watch is not None:
            self._watch(event)

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        self._told = time.monotonic()
        if lines:
            self._log.append_log(self.record.key, lines)


def _state(error: LakehouseError | None) -> State:
    if error is None:
        return "done"
    if isinstance(error, JobCancelled):
        return "cancelled"
    return "dead" if retries.passes(error) else "failed"


class PoolStream:
    """See ``base.RowStream``."""

    def __init__(self, execution: Execution, chunks: Chunks) -> None:
        self.columns: tuple[Column, ...] = chunks.columns
        self._execution = execution
        self._chunks = chunks
        self._ended = False
        self._sizes = self._until_the_end()
        if not chunks.columns:
            next(self._sizes, None)

    def __enter__(self) -> PoolStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _until_the_end(self) -> Iterator[int]:
        try:
            yield from self._chunks.sizes
        except LakehouseError as error:
            self._ended = True
            raise self._execution.finish(error) or JobError(str(error)) from error
        if not self._ended:
            self._ended = True
            self._execution.finish(None)

    def ipc(self) -> Iterator[Any]:
        """See ``base.RowStream``."""
        return self._chunks.file(self._sizes).chunks()

    def reader(self) -> pa.RecordBatchReader:
        """See ``base.RowStream``."""
        import pyarrow as pa

        if not self.columns:
            return pa.RecordBatchReader.from_batches(pa.schema([]), iter(()))
        source = pa.ipc.open_stream(pa.PythonFile(self._chunks.file(self._sizes), mode="r"))
        return pa.RecordBatchReader.from_batches(source.schema, self._batches(source))

    def _batches(self, source: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        yield from source
        # What comes after the last batch: how it ended.
        for _ in self._sizes:
            pass

    def close(self) -> None:
        """See ``base.RowStream``."""
        if not self._ended:
            self._ended = True
            self._execution.cancel()
            self._execution.finish(JobCancelled("the rows were not read to the end"))
