"""Records of jobs that outlive the process which ran them.

A service runs many small jobs, and each changes its record several times: changes are written together a few times a
second, off the jobs' way. A dead letter is written before the job is answered, since somebody will want to run it again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from dbt.adapters.lakehouse.catalog.sql_database import Database
from dbt.adapters.lakehouse.errors import LakehouseError
from dbt.adapters.lakehouse.executors.records import LOG_LINES, OPEN, Attempt, JobRecord, State

FLUSH_SECONDS = 0.25
"""How long a change may wait to be written."""

_HELD = 20_000
"""How many ended records wait in memory for a store that cannot be written; the oldest give way."""

_LOST = {
    "kind": "service",
    "message": "the service was stopped while this job was under way; its client asks again when it needs the result",
}


class StoredJobLog:
    """See ``executors.records.JobLog``: in the store of a service."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._held: dict[str, JobRecord] = {}
        self._changed: dict[str, None] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._flush_for_ever, name="lakehouse-job-log", daemon=True)
        self._thread.start()

    def record(self, record: JobRecord) -> None:
        """See ``JobLog``."""
        with self._lock:
            known = self._held.get(record.key)
        if known is None and record.state != "queued":
            known = self._load(record.key)
        with self._lock:
            known = self._held.get(record.key, known)
            self._held[record.key] = dataclasses.replace(record, logs=known.logs if known is not None else ())
            self._changed[record.key] = None
        if record.state == "dead":
            self.flush()

    def append_log(self, key: str, lines: Sequence[str]) -> None:
        """See ``JobLog``."""
        with self._lock:
            known = self._held.get(key)
        known = known if known is not None else self._load(key)
        if known is None:
            return
        with self._lock:
            known = self._held.get(key, known)
            self._held[key] = dataclasses.replace(known, logs=(*known.logs, *lines)[-LOG_LINES:])
            self._changed[key] = None

    def get(self, key: str) -> JobRecord | None:
        """See ``JobLog``."""
        with self._lock:
            held = self._held.get(key)
        return held if held is not None else self._load(key)

    def list(self, limit: int = 100, state: State | None = None, user: str | None = None) -> Sequence[JobRecord]:
        """See ``JobLog``."""
        self.flush()
        conditions = [text for text, value in (("state = :state", state), ("user_name = :user", user)) if value]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        query = sa.text(f"{_SELECT} {where} ORDER BY submitted_at DESC, key LIMIT :limit")
        with self._database.read() as connection:
            rows = connection.execute(query, {"limit": limit, "state": state, "user": user})
            return [_record(row) for row in rows]

    def flush(self) -> None:
        """Write what has changed. Raises ``CatalogError``; what could not be written is tried again."""
        with self._writing:
            with self._lock:
                changed, self._changed = self._changed, {}
                records = [self._held[key] for key in changed if key in self._held]
            if not records:
                return
            try:
                # In one order for everybody: two processes that write the same records must not wait for one another.
                rows = [_values(record) for record in sorted(records, key=lambda record: record.key)]
                with self._database.write() as connection:
                    connection.execute(_SAVE, rows)
            except BaseException:
                with self._lock:
                    self._changed = {**changed, **self._changed}
                    self._give_way()
                raise
            self._let_go(records)

    def _let_go(self, written: Iterable[JobRecord]) -> None:
        """Hold ended jobs no longer, unless they changed while they were written."""
        with self._lock:
            for record in written:
                if record.state not in OPEN and self._held.get(record.key) is record:
                    del self._held[record.key]

    def _give_way(self) -> None:
        ended = [key for key, record in self._held.items() if record.state not in OPEN]
        for key in ended[: max(0, len(ended) - _HELD)]:
            del self._held[key]
            self._changed.pop(key, None)

    def _flush_for_ever(self) -> None:
        while not self._stop.wait(FLUSH_SECONDS):
            if self._changed:
                # A store that is away for a moment is tried again with the next round.
                with contextlib.suppress(LakehouseError):
                    self.flush()

    def _load(self, key: str) -> JobRecord | None:
        with self._database.read() as connection:
            row = connection.execute(sa.text(f"{_SELECT} WHERE key = :key"), {"key": key}).one_or_none()
            return None if row is None else _record(row)

    def end_lost(self) -> int:
        """Mark what an earlier process of the service left under way as failed; how many those were."""
        lost = [record for state in OPEN for record in self.list(limit=1_000_000, state=state)]
        with self._lock:
            lost = [record for record in lost if record.key not in self._held]
        for record in lost:
            self.record(dataclasses.replace(record, state="failed", finished_at=time.time(), error=_LOST))
        return len(lost)

    def prune(self, age: timedelta, count: int) -> int:
        """Forget jobs that ended longer ago than ``age``, and the oldest of those beyond ``count``; how many those were."""
        with self._database.write() as connection:
            values = {"before": time.time() - age.total_seconds(), "count": count}
            old = connection.execute(_PRUNE_OLD, values).rowcount
            return old + connection.execute(_PRUNE_MANY, values).rowcount

    def close(self) -> None:
        """Write the rest and stop."""
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(LakehouseError):
            self.flush()


_IN_COLUMNS = ("key", "label", "user", "state", "submitted_at", "finished_at", "envelope", "logs")


def _values(record: JobRecord) -> dict[str, Any]:
    said = dataclasses.asdict(record)
    return {
        "key": record.key,
        "label": record.label,
        "user_name": record.user,
        "state": record.state,
        "submitted_at": record.submitted_at,
        "finished_at": record.finished_at,
        "envelope": record.envelope,
        "record": json.dumps({name: value for name, value in said.items() if name not in _IN_COLUMNS}, default=str),
        "logs": json.dumps(record.logs),
    }


def _record(row: sa.Row[Any]) -> JobRecord:
    said = json.loads(row.record)
    said["attempts"] = tuple(Attempt(**attempt) for attempt in said["attempts"])
    return JobRecord(
        key=row.key,
        label=row.label,
        user=row.user_name,
        state=row.state,
        submitted_at=row.submitted_at,
        finished_at=row.finished_at,
        envelope=row.envelope,
        logs=tuple(json.loads(row.logs)),
        **said,
    )


_NAMES = ("key", "label", "user_name", "state", "submitted_at", "finished_at", "envelope", "record", "logs")
_SELECT = f"SELECT {', '.join(_NAMES)} FROM lakehouse_service_jobs"
_SAVE = sa.text(f"""
    INSERT INTO lakehouse_service_jobs ({", ".join(_NAMES)}) VALUES ({", ".join(f":{name}" for name in _NAMES)})
    ON CONFLICT (key) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _NAMES[1:])}
""")
_ENDED = f"state NOT IN ({', '.join(repr(state) for state in OPEN)})"
_PRUNE_OLD = sa.text(f"DELETE FROM lakehouse_service_jobs WHERE {_ENDED} AND finished_at < :before")
_PRUNE_MANY = sa.text(f"""
    DELETE FROM lakehouse_service_jobs WHERE {_ENDED} AND key IN (
        SELECT key FROM lakehouse_service_jobs WHERE {_ENDED} ORDER BY submitted_at DESC, key LIMIT 1000000 OFFSET :count
    )
""")
