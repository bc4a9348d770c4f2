"""What is remembered of jobs: enough to show them, and to run again what was given up."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

State = Literal["queued", "running", "done", "failed", "cancelled", "dead"]
OPEN: tuple[State, ...] = ("queued", "running")
LOG_LINES = 200
"""How many lines of a job's log are kept, the last ones."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try: in which process, when (seconds since 1970), for how long, and what went wrong."""

    worker: int
    started_at: float
    seconds: float
    error: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """A job and what became of it.

    ``dead`` is a job that was given up though the reason was not its own; ``failed`` one whose reason was. Times are seconds
    since 1970. ``error``: see ``errors.error_to_json``. ``progress`` and ``resources`` are the fields of those values;
    ``envelope`` is the job's JSON form.
    """

    key: str
    label: str
    user: str
    run: str | None
    state: State
    priority: int
    submitted_at: float
    envelope: str
    started_at: float | None = None
    finished_at: float | None = None
    attempts: tuple[Attempt, ...] = ()
    error: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None
    resources: dict[str, Any] = field(default_factory=dict)
    logs: tuple[str, ...] = ()


class JobLog(Protocol):
    """Where records are kept. Called from many threads."""

    def record(self, record: JobRecord) -> None:
        """Keep a record in place of the one with its key; its ``logs`` are not meant, they come by ``append_log``."""
        ...

    def append_log(self, key: str, lines: Sequence[str]) -> None:
        """Add lines to a job's log, of which the last ``LOG_LINES`` are kept."""
        ...

    def get(self, key: str) -> JobRecord | None:
        """A record with its log."""
        ...

    def list(self, limit: int = 100, state: State | None = None, user: str | None = None) -> Sequence[JobRecord]:
        """Records, the latest submitted first."""
        ...


class MemoryJobLog:
    """Keeps the last ``length`` records in memory."""

    def __init__(self, length: int = 1000) -> None:
        self._length = length
        self._records: OrderedDict[str, JobRecord] = OrderedDict()
        self._lock = threading.Lock()

    def record(self, record: JobRecord) -> None:
        """See ``JobLog``."""
        with self._lock:
            known = self._records.get(record.key)
            self._records[record.key] = replace(record, logs=known.logs if known is not None else ())
            while len(self._records) > self._length:
                self._records.popitem(last=False)

    def append_log(self, key: str, lines: Sequence[str]) -> None:
        """See ``JobLog``."""
        with self._lock:
            known = self._records.get(key)
            if known is not None:
                self._records[key] = replace(known, logs=(*known.logs, *lines)[-LOG_LINES:])

    def get(self, key: str) -> JobRecord | None:
        """See ``JobLog``."""
        with self._lock:
            return self._records.get(key)

    def list(self, limit: int = 100, state: State | None = None, user: str | None = None) -> Sequence[JobRecord]:
        """See ``JobLog``."""
        with self._lock:
            found = list(self._records.values())
        found = [r for r in found if state in (None, r.state) and user in (None, r.user)]
        return sorted(found, key=lambda r: r.submitted_at, reverse=True)[:limit]
