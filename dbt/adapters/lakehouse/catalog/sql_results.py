"""Results by fingerprint, and claims on those that are being computed, in SQL."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from dbt.adapters.lakehouse.catalog import sql_locations
from dbt.adapters.lakehouse.catalog.model import (
    ReusableResult,
    RunStatus,
    TableEntry,
    entry_from_json,
    entry_to_json,
    time_text,
)
from dbt.adapters.lakehouse.catalog.sql_states import chunks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

SILENCE = timedelta(seconds=60)
"""After this much silence of its run, a claim is void."""


def recall(connection: sa.Connection, fingerprint: str) -> ReusableResult | None:
    """The result of a fingerprint."""
    row = connection.execute(_RECALL, {"fingerprint": fingerprint}).one_or_none()
    return _result(row) if row is not None else None


def recall_node(connection: sa.Connection, node: str, limit: int | None) -> list[ReusableResult]:
    """Results of a node, newest first."""
    rows: Sequence[Any] = connection.execute(
        _RECALL_NODE, {"node": node, "limit": limit if limit is not None else 2**62}
    ).all()
    return [_result(row) for row in rows]


def remember(connection: sa.Connection, result: ReusableResult) -> None:
    """File a result; nobody needs to wait for it any longer. Raises ``Collected`` if its files are gone."""
    if result.entry is not None:
        sql_locations.file(connection, [result.entry], result.run)
    connection.execute(
        _REMEMBER,
        {
            "fingerprint": result.fingerprint,
            "node": result.node,
            "parts": json.dumps(dict(result.parts), sort_keys=True, ensure_ascii=False),
            "entry": entry_to_json(result.entry) if result.entry is not None else None,
            "answer": json.dumps(dict(result.answer), sort_keys=True, ensure_ascii=False),
            "run": result.run,
            "author": result.author,
            "made_at": time_text(result.made_at),
            "seconds": result.seconds,
        },
    )
    connection.execute(_SETTLE, {"fingerprint": result.fingerprint})


def older(connection: sa.Connection, before: datetime, live: Collection[str]) -> set[str]:
    """The fingerprints of results made before a time, but for those whose table is there anyway."""
    rows = connection.execute(_OLDER, {"before": time_text(before)})
    return {row.fingerprint for row in rows if row.entry is None or _location(row.entry) not in live}


def locations(connection: sa.Connection, *, without: Collection[str]) -> set[str]:
    """The metadata locations of the tables of all other results."""
    return {_location(row.entry) for row in connection.execute(_TABLES) if row.fingerprint not in without}


def forget(connection: sa.Connection, fingerprints: Iterable[str]) -> None:
    """Strike results off."""
    for chunk in chunks(sorted(fingerprints)):
        connection.execute(_FORGET, {"fingerprints": chunk})


def _location(entry: str) -> str:
    return str(json.loads(entry)["metadata_location"])


def claim(connection: sa.Connection, fingerprint: str, run: str, instead_of: str | None) -> str | None:
    """Take a claim unless another living run has it; that run's id then."""
    given = {"fingerprint": fingerprint, "run": run}
    # Insert first: where two come at once, the second waits here for the first, and then sees its row.
    if connection.execute(_CLAIM, given).rowcount == 1:
        return None
    holder = connection.execute(_HOLDER, {"fingerprint": fingerprint}).one()
    alive = (
        holder.status == RunStatus.OPEN.value
        and holder.heartbeat_at is not None
        and datetime.now(UTC) - datetime.fromisoformat(holder.heartbeat_at) < SILENCE
    )
    if alive and holder.run not in (run, instead_of):
        return str(holder.run)
    connection.execute(_TAKE_OVER, given)
    return None


def release(connection: sa.Connection, fingerprint: str, run: str) -> None:
    """Give up a claim, if it is this run's."""
    connection.execute(_RELEASE, {"fingerprint": fingerprint, "run": run})


def _result(row: Any) -> ReusableResult:
    entry = entry_from_json(row.entry) if row.entry is not None else None
    assert entry is None or isinstance(entry, TableEntry)
    return ReusableResult(
        fingerprint=row.fingerprint,
        parts=json.loads(row.parts),
        node=row.node,
        entry=entry,
        run=row.run,
        author=row.author,
        made_at=datetime.fromisoformat(row.made_at),
        seconds=row.seconds,
        answer=json.loads(row.answer),
    )


_NAMES = ("fingerprint", "node", "parts", "entry", "answer", "run", "author", "made_at", "seconds")
_COLUMNS = ", ".join(_NAMES)
_RECALL = sa.text(f"SELECT {_COLUMNS} FROM results WHERE fingerprint = :fingerprint")
_RECALL_NODE = sa.text(
    f"SELECT {_COLUMNS} FROM results WHERE node = :node ORDER BY made_at DESC, fingerprint LIMIT :limit"
)
_REMEMBER = sa.text(f"""
    INSERT INTO results ({_COLUMNS}) VALUES ({", ".join(f":{name}" for name in _NAMES)})
    ON CONFLICT (fingerprint) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _NAMES[1:])}
""")
_OLDER = sa.text("SELECT fingerprint, entry FROM results WHERE made_at < :before")
_TABLES = sa.text("SELECT fingerprint, entry FROM results WHERE entry IS NOT NULL")
_FORGET = sa.text("DELETE FROM results WHERE fingerprint IN :fingerprints").bindparams(
    sa.bindparam("fingerprints", expanding=True)
)
_SETTLE = sa.text("DELETE FROM claims WHERE fingerprint = :fingerprint")
_CLAIM = sa.text(
    "INSERT INTO claims (fingerprint, run) VALUES (:fingerprint, :run) ON CONFLICT (fingerprint) DO NOTHING"
)
_HOLDER = sa.text("""
    SELECT claims.run, runs.status, runs.heartbeat_at
    FROM claims LEFT JOIN runs ON runs.id = claims.run
    WHERE claims.fingerprint = :fingerprint
""")
_TAKE_OVER = sa.text("UPDATE claims SET run = :run WHERE fingerprint = :fingerprint")
_RELEASE = sa.text("DELETE FROM claims WHERE fingerprint = :fingerprint AND run = :run")
