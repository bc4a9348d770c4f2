"""Tells whoever watches a job how far it is, about once a second."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType

from dbt.adapters.lakehouse.jobs.job import Progress, Watch

FIRST_SECONDS = 3.0
SECONDS = 1.0


class Monitor:
    """While its block runs, ``watch`` is told what ``progress`` says; from the third second on, since most jobs are shorter.

    Those that are get no thread: one thread for all jobs looks whether a job came to its third second.
    """

    def __init__(self, progress: Callable[[], Progress], watch: Watch | None) -> None:
        self._progress, self._watch = progress, watch
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._done: threading.Event | None = None
        self.over = False

    def __enter__(self) -> None:
        if self._watch is not None:
            _LATER.add(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with self._lock:
            self.over = True
            thread = self._thread
        if thread is not None and self._done is not None:
            self._done.set()
            thread.join()

    def begin(self) -> None:
        """Start to tell, unless the block has ended."""
        with self._lock:
            if not self.over:
                self._done = threading.Event()
                self._thread = threading.Thread(target=self._tell, name="lakehouse-monitor", daemon=True)
                self._thread.start()

    def _tell(self) -> None:
        assert self._watch is not None
        assert self._done is not None
        while True:
            self._watch(self._progress())
            if self._done.wait(SECONDS):
                return


class _Later:
    """Begins monitors ``FIRST_SECONDS`` after they were added. Its thread lives while any waits for that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[float, Monitor]] = deque()
        self._thread: threading.Thread | None = None

    def add(self, monitor: Monitor) -> None:
        with self._lock:
            self._waiting.append((time.monotonic() + FIRST_SECONDS, monitor))
            # One that did not come along when the process forked is not alive.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._look, name="lakehouse-monitors", daemon=True)
                self._thread.start()

    def _look(self) -> None:
        while (left := self._begin_due()) is not None:
            time.sleep(left)

    def _begin_due(self) -> float | None:
        """Seconds until the next monitor is due; None when none is left, which ends the thread."""
        with self._lock:
            while self._waiting:
                due, monitor = self._waiting[0]
                left = due - time.monotonic()
                if left > 0 and not monitor.over:
                    return left
                self._waiting.popleft()
                monitor.begin()
            self._thread = None
            return None


_LATER = _Later()


def size_of(folders: Iterable[str]) -> int:
    """Bytes of the files below local folders; those that vanish meanwhile, or were never made, count nothing."""
    size = 0
    for folder in folders:
        for path, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):
                    size += os.stat(os.path.join(path, name)).st_size  # noqa: PTH116, PTH118  # many files, often
    return size
