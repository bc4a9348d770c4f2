"""Records of runs in SQL."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from dbt.adapters.lakehouse.catalog.model import RunRecord, RunStatus, time_text
from dbt.adapters.lakehouse.catalog.sql_states import chunks
from dbt.adapters.lakehouse.catalog.taint import PASSED, continued_by
from dbt.adapters.lakehouse.errors import ConflictError, InvalidRef

if TYPE_CHECKING:
    from collections.abc import Iterable

_MIN_PREFIX = 4


def save(connection: sa.Connection, record: RunRecord) -> None:
    """Insert or update a record. What is published stays so: its commits may have been built upon."""
    values = _values(record)
    if connection.execute(_SAVE, values).rowcount != 1:
        raise ConflictError(
            f"run {record.id} is published and cannot become {record.status}; "
            "revert its merge commit if it should not have been"
        )


def get(connection: sa.Connection, run_id: str) -> RunRecord | None:
    """One run by id or unique prefix."""
    exact = connection.execute(_GET, {"id": run_id}).one_or_none()
    if exact is not None:
        return _record(exact)
    if len(run_id) < _MIN_PREFIX:
        return None
    rows = connection.execute(_STARTING_WITH, {"prefix": run_id, "length": len(run_id)}).all()
    if len(rows) > 1:
        some = ", ".join(row.id for row in rows[:4])
        raise InvalidRef(f"run id {run_id!r} is ambiguous: {len(rows)} runs start so ({some}); write more characters")
    return _record(rows[0]) if rows else None


def newest(connection: sa.Connection, limit: int | None) -> list[RunRecord]:
    """Runs, newest first."""
    rows = connection.execute(_NEWEST, {"limit": 2**62 if limit is None else min(limit, 2**62)})
    return [_record(row) for row in rows]


def heartbeat(connection: sa.Connection, run_id: str) -> None:
    """Move on the heartbeat of a run that is open; others have none."""
    connection.execute(_HEARTBEAT, {"id": run_id, "now": time_text(datetime.now(UTC)), "open": RunStatus.OPEN.value})


def passed_among(connection: sa.Connection, ids: Iterable[str]) -> set[str]:
    """Those of the runs that passed."""
    passed = [status.value for status in PASSED]
    return {
        row[0]
        for chunk in chunks(sorted(ids))
        for row in connection.execute(_PASSED_AMONG, {"ids": chunk, "passed": passed})
    }


def begun_at(connection: sa.Connection, commits: Iterable[str]) -> list[RunRecord]:
    """The runs that began with one of some commits."""
    return [
        _record(row) for chunk in chunks(sorted(commits)) for row in connection.execute(_BEGUN_AT, {"commits": chunk})
    ]


def with_continued(connection: sa.Connection, ids: Iterable[str]) -> dict[str, RunRecord]:
    """The records of some runs and of all that they continue, as far as recorded."""
    records: dict[str, RunRecord] = {}
    todo = set(ids)
    while todo:
        rows = connection.execute(_SOME, {"ids": sorted(todo)}).all()
        records.update((row.id, _record(row)) for row in rows)
        todo = {row.continues for row in rows if row.continues} - records.keys()
    return records


def publish(connection: sa.Connection, run_id: str, branch: str, commit: str | None) -> None:
    """A run was merged into a branch (by ``commit``, if anything was to merge).

    If that is the branch it was meant for, it is PUBLISHED now, and the runs that it continues are CONTINUED.
    """
    records = with_continued(connection, [run_id])
    if run_id not in records or records[run_id].target != branch:
        return
    now = time_text(datetime.now(UTC))
    connection.execute(_PUBLISH, {"id": run_id, "status": RunStatus.PUBLISHED.value, "commit": commit, "now": now})
    for earlier in sorted(continued_by(run_id, records)):
        if earlier in records and not records[earlier].status.clean:
            connection.execute(_CONTINUE, {"id": earlier, "status": RunStatus.CONTINUED.value, "now": now})


def _values(record: RunRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "branch": record.branch,
        "target": record.target,
        "base": record.base,
        "command": record.command,
        "status": record.status.value,
        "owner": record.owner,
        "started_at": time_text(record.started_at),
        "heartbeat_at": time_text(record.heartbeat_at),
        "finished_at": time_text(record.finished_at) if record.finished_at else None,
        "continues": record.continues,
        "published": record.published,
        "error": record.error,
        "nodes": json.dumps(dict(record.nodes), sort_keys=True, ensure_ascii=False),
    }


def _record(row: sa.Row[tuple[object, ...]]) -> RunRecord:
    return RunRecord(
        id=row.id,
        branch=row.branch,
        target=row.target,
        base=row.base,
        command=row.command,
        status=RunStatus(row.status),
        owner=row.owner,
        started_at=datetime.fromisoformat(row.started_at),
        heartbeat_at=datetime.fromisoformat(row.heartbeat_at),
        finished_at=datetime.fromisoformat(row.finished_at) if row.finished_at else None,
        continues=row.continues,
        published=row.published,
        error=row.error,
        nodes=json.loads(row.nodes),
    )


_NAMES = (
    "id", "branch", "target", "base", "command", "status", "owner", "started_at", "heartbeat_at", "finished_at",
    "continues", "published", "error", "nodes",
)  # fmt: skip
_COLUMNS = ", ".join(_NAMES)
_SAVE = sa.text(f"""
    INSERT INTO runs ({_COLUMNS}) VALUES ({", ".join(f":{name}" for name in _NAMES)})
    ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _NAMES[1:])}
    WHERE runs.status <> '{RunStatus.PUBLISHED.value}' OR excluded.status = '{RunStatus.PUBLISHED.value}'
""")
_GET = sa.text(f"SELECT {_COLUMNS} FROM runs WHERE id = :id")
_SOME = sa.text(f"SELECT {_COLUMNS} FROM runs WHERE id IN :ids").bindparams(sa.bindparam("ids", expanding=True))
_PASSED_AMONG = sa.text("SELECT id FROM runs WHERE id IN :ids AND status IN :passed").bindparams(
    sa.bindparam("ids", expanding=True), sa.bindparam("passed", expanding=True)
)
_BEGUN_AT = sa.text(f"SELECT {_COLUMNS} FROM runs WHERE base IN :commits").bindparams(
    sa.bindparam("commits", expanding=True)
)
_STARTING_WITH = sa.text(f"SELECT {_COLUMNS} FROM runs WHERE substr(id, 1, :length) = :prefix ORDER BY id")
_NEWEST = sa.text(f"SELECT {_COLUMNS} FROM runs ORDER BY started_at DESC, id LIMIT :limit")
_HEARTBEAT = sa.text("UPDATE runs SET heartbeat_at = :now WHERE id = :id AND status = :open")
_PUBLISH = sa.text("""
    UPDATE runs
    SET status = :status, published = coalesce(:commit, published), finished_at = coalesce(finished_at, :now)
    WHERE id = :id
""")
_CONTINUE = sa.text("UPDATE runs SET status = :status, finished_at = coalesce(finished_at, :now) WHERE id = :id")
