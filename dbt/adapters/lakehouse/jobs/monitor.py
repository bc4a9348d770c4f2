"""Tells whoever watches a job how far it is, about once a second."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from types import TracebackType

from dbt.adapters.lakehouse.jobs.job import Progress, Watch

FIRST_SECONDS = 3.0
SECONDS = 1.0


class Monitor:
    """While its block runs, ``watch`` is told what ``progress`` says; from the third second on, since most jobs are shorter."""

    def __init__(self, progress: Callable[[], Progress], watch: Watch | None) -> None:
        self._progress, self._watch = progress, watch
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="lakehouse-monitor", daemon=True)

    def __enter__(self) -> None:
        if self._watch is not None:
            self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._watch is not None:
            self._done.set()
            self._thread.join()

    def _tell(self) -> None:
        assert self._watch is not None
        wait = FIRST_SECONDS
        while not self._done.wait(wait):
            self._watch(self._progress())
            wait = SECONDS


def size_of(folders: Iterable[str]) -> int:
    """Bytes of the files below local folders; those that vanish meanwhile, or were never made, count nothing."""
    size = 0
    for folder in folders:
        for path, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):
                    size += os.stat(os.path.join(path, name)).st_size  # noqa: PTH116, PTH118  # many files, often
    return size
