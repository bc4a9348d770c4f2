"""Worker processes and the right to run in them: who may start now, on which, and what becomes of it afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dbt.adapters.lakehouse.errors import Busy, JobCancelled, LakehouseError, WorkerDied
from dbt.adapters.lakehouse.executors.limits import Budget, PoolOptions, Share, size_of
from dbt.adapters.lakehouse.executors.queue import FairQueue, Ticket
from dbt.adapters.lakehouse.executors.worker_process import WorkerProcess
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.storage import worker_environment

_TELL_SECONDS = 1.0
_TICK_SECONDS = 0.1
_TIMEOUT_GRACE_SECONDS = 1.0
_CLOSE_SECONDS = 2.0


@dataclass(eq=False)
class Session:
    """What a lease has of the pool: a worker that it comes back to, which is ``kept`` from others while it has state."""

    last: WorkerProcess | None = None
    kept: WorkerProcess | None = None
    ended: bool = False


@dataclass(eq=False, kw_only=True)
class Slot(Ticket):
    """The right to run one attempt; ``stopped`` says why it was ended from outside."""

    session: Session
    share: Share
    granted: bool = False
    settled: threading.Event = field(default_factory=threading.Event)
    refused: LakehouseError | None = None
    process: WorkerProcess | None = None
    stopped: Literal["cancelled", "timeout"] | None = None
    deadline: float | None = None
    kill_at: float | None = None


class Slots:
    """All worker processes of a pool. Every method may be called from any thread."""

    def __init__(self, settings: LakeSettings, options: PoolOptions, budget: Budget, folder: Path) -> None:
        self._settings = settings
        self._options = options
        self._total = budget.total
        self._folder = folder
        self._workers = max(settings.workers, 1)
        extra = self._workers if options.extra_workers is None else options.extra_workers
        self._most = self._workers + extra
        self._bloated = size_of(options.recycle_memory)
        self._lock = threading.Lock()
        self._queue: FairQueue[Slot] = FairQueue(options.queue_length, options.queue_per_user)
        self._idle: list[WorkerProcess] = []
        self._running: set[Slot] = set()
        self._processes = 0
        self._all: set[WorkerProcess] = set()
        self._free_cpus, self._free_memory = self._total.cpus, self._total.memory
        self._closed = False
        self.cold_starts = 0
        # Workers end with the thread that started them, so that it must be one that lasts.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="lakehouse-pool")
        self._wake = threading.Event()
        self._watching: threading.Thread | None = None
        self._unwatched = False

    def take(self, slot: Slot, told: Callable[[int], None], *, again: bool = False) -> WorkerProcess:
        """Wait for the slot's turn and for a worker to run it. Raises ``Busy``, ``JobCancelled``, or why none started."""
        patience = time.monotonic() + self._options.wait_seconds
        with self._lock:
            if self._closed:
                raise JobCancelled("the pool of workers is closed")
            if slot.refused is not None:
                raise slot.refused
            slot.pinned = slot.session.kept is not None
            self._queue.add(slot, again=again)
            self._dispatch()
        try:
            while not slot.settled.wait(_TELL_SECONDS):
                told(self.before(slot))
                if time.monotonic() > patience:
                    self.refuse(
                        slot, Busy(f"no worker became free in {self._options.wait_seconds:.0f} s; try again later")
                    )
        except BaseException:
            self.refuse(slot, JobCancelled("interrupted"))
            if slot.granted:
                self.give_back(slot)
            raise
        if slot.refused is not None:
            raise slot.refused
        if slot.process is None:
            self._start(slot)
        assert slot.process is not None
        return slot.process

    def before(self, slot: Slot) -> int:
        """How many wait before a slot."""
        with self._lock:
            return self._queue.before(slot)

    def refuse(self, slot: Slot, error: LakehouseError) -> bool:
        """Keep a slot from being granted, if it was not yet: whoever waits for it gets the error."""
        with self._lock:
            if slot.granted:
                return False
            slot.refused = slot.refused or error
            if self._queue.remove(slot):
                self._dispatch()
        slot.settled.set()
        return True

    def _dispatch(self) -> None:
        while (slot := self._queue.take(self._fits)) is not None:
            slot.granted = True
            slot.process = self._choose(slot.session)
            if slot.process is None:
                self._processes += 1
            self._free_cpus -= slot.share.cpus
            self._free_memory -= slot.share.memory
            self._running.add(slot)
            slot.settled.set()

    def _fits(self, slot: Slot) -> bool:
        if len(self._running) >= self._workers:
            return False
        if slot.share.cpus > self._free_cpus or slot.share.memory > self._free_memory:
            return False
        return slot.session.kept is not None or bool(self._idle) or self._processes < self._most

    def _choose(self, session: Session) -> WorkerProcess | None:
        """The session's own worker, else the one that was last of use."""
        if session.kept is not None:
            return session.kept
        self._drop_dead()
        if session.last in self._idle:
            self._idle.remove(session.last)
            return session.last
        return self._idle.pop() if self._idle else None

    def _drop_dead(self) -> None:
        for process in [process for process in self._idle if not process.alive()]:
            self._idle.remove(process)
            self._forget(process)
            process.close()

    def _start(self, slot: Slot) -> None:
        number = self.cold_starts = self.cold_starts + 1
        folder = self._folder / f"worker-{number}-{id(slot):x}"
        try:
            start = self._starter.submit(WorkerProcess, self._settings, folder, self._environment())
            slot.process = process = start.result()
            with self._lock:
                self._all.add(process)
                stopped = slot.stopped or self._closed
            if stopped:
                process.kill()
            process.greet()
        except OSError as error:
            self.give_back(slot, usable=False)
            raise WorkerDied(f"no worker process could be started: {error}") from error
        except BaseException:
            self.give_back(slot, usable=False)
            raise

    def _environment(self) -> dict[str, str]:
        reached = worker_environment(self._settings.warehouse, self._settings.storage_options)
        return {**reached, **self._options.environment}

    def begin(self, slot: Slot, timeout: float | None) -> None:
        """The attempt starts now: its limits hold from here on."""
        assert slot.process is not None
        slot.process.limit_memory(slot.share.process_memory)
        if timeout is not None:
            slot.deadline = time.monotonic() + timeout
            self._watch()

    def stop(self, slot: Slot, why: Literal["cancelled", "timeout"]) -> None:
        """Interrupt the attempt, and kill its process if that does not help soon."""
        with self._lock:
            # Afterwards its worker is somebody else's.
            if slot not in self._running:
                return
            slot.stopped = slot.stopped or why
            grace = self._options.grace_seconds if why == "cancelled" else _TIMEOUT_GRACE_SECONDS
            slot.kill_at = time.monotonic() + grace
            if slot.process is not None:
                slot.process.cancel()
        self._watch()

    def give_back(self, slot: Slot, *, usable: bool = True) -> None:
        """The attempt is over. A worker that was stopped, died or grew old ends."""
        process, session = slot.process, slot.session
        ending: WorkerProcess | None = None
        with self._lock:
            if slot not in self._running:
                return
            self._running.remove(slot)
            self._free_cpus += slot.share.cpus
            self._free_memory += slot.share.memory
            self._queue.done(slot)
            session.kept, session.last = None, process
            if process is None:
                self._processes -= 1
            elif not usable or slot.stopped or self._closed:
                ending = process
            elif process.stateful and not session.ended:
                session.kept = process
            elif self._old(process):
                ending = process
            else:
                self._rest(process)
            if ending is not None:
                self._forget(ending)
            self._dispatch()
        if ending is not None:
            ending.close()

    def _old(self, process: WorkerProcess) -> bool:
        return process.jobs >= self._options.recycle_jobs or process.resident() > self._bloated

    def _rest(self, process: WorkerProcess) -> None:
        process.idle_since = time.monotonic()
        process.session, process.stateful = None, False
        self._idle.append(process)
        if self._watching is None or self._unwatched:
            self._watch()

    def _forget(self, process: WorkerProcess) -> None:
        self._processes -= 1
        self._all.discard(process)

    def end(self, session: Session) -> None:
        """The session is over; others may have its worker."""
        with self._lock:
            session.ended = True
            process, session.kept = session.kept, None
            if process is None or any(slot.session is session for slot in self._running):
                return
            if not self._closed and not self._old(process):
                self._rest(process)
                process = None
            else:
                self._forget(process)
            self._dispatch()
        if process is not None:
            process.close()

    def counts(self) -> dict[str, int]:
        """Numbers for people and metrics."""
        with self._lock:
            return {
                "workers": self._processes,
                "idle": len(self._idle),
                "busy": len(self._running),
                "queued": len(self._queue),
            }

    def _watch(self) -> None:
        """Have somebody look after deadlines and idle workers."""
        if self._watching is None:
            self._watching = threading.Thread(target=self._look_after, name="lakehouse-pool-watch", daemon=True)
            self._watching.start()
        self._wake.set()

    def _look_after(self) -> None:
        while not self._closed:
            self._wake.wait(self._tick())
            self._wake.clear()
            now = time.monotonic()
            with self._lock:
                for slot in self._running:
                    if slot.kill_at is not None and slot.kill_at <= now and slot.process is not None:
                        slot.process.kill()
                late = [slot for slot in self._running if slot.deadline is not None and slot.deadline <= now]
            for slot in late:
                if slot.stopped is None:
                    self.stop(slot, "timeout")
            self._end_idle(now - self._options.idle_seconds)

    def _tick(self) -> float | None:
        with self._lock:
            self._unwatched = False
            if any(slot.kill_at is not None or slot.deadline is not None for slot in self._running):
                return _TICK_SECONDS
            # There is nothing to wait for: whoever gives it something must wake it.
            self._unwatched = not self._idle
            if self._unwatched:
                return None
            oldest = min(process.idle_since for process in self._idle)
        return max(oldest + self._options.idle_seconds - time.monotonic(), _TICK_SECONDS)

    def _end_idle(self, since: float) -> None:
        with self._lock:
            ending = [process for process in self._idle if process.idle_since <= since]
            for process in ending:
                self._idle.remove(process)
                self._forget(process)
        for process in ending:
            process.close()

    def close(self) -> None:
        """Refuse what waits, kill what runs, end all processes."""
        with self._lock:
            self._closed = True
            waiting = self._queue.waiting()
            idle, self._idle = self._idle, []
            running = list(self._running)
            kept = self._all - set(idle) - {slot.process for slot in running}
            for process in (*idle, *kept):
                self._forget(process)
        for slot in waiting:
            self.refuse(slot, JobCancelled("the pool of workers was closed before this job started"))
        for slot in running:
            slot.stopped = slot.stopped or "cancelled"
            if slot.process is not None:
                slot.process.kill()
        for process in (*idle, *kept):
            process.close()
        until = time.monotonic() + _CLOSE_SECONDS
        while self.counts()["busy"] and time.monotonic() < until:
            time.sleep(0.01)
        for slot in running:
            # Whose rows nobody reads any more, and nobody closed.
            self.give_back(slot)
        self._wake.set()
        if self._watching is not None:
            self._watching.join()
        self._starter.shutdown()
