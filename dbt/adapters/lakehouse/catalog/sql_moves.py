"""Moves of branches in SQL: what one pointed to before it was assigned, or fast-forwarded, to another commit.

History tells what a branch showed at a time only while the branch grows by its own commits.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from dbt.adapters.lakehouse.catalog.model import time_text

_TICK = timedelta(microseconds=1)


def add(connection: sa.Connection, name: str, old: str, new: str) -> None:
    """A locked branch is being moved."""
    # Clocks differ: what the branch showed comes before what it shows now, whoever committed or moved it.
    times = [datetime.fromisoformat(row[0]) for row in connection.execute(_TIMES, {"commits": [old, new]})]
    last = latest(connection, name)
    earlier = [time + _TICK for time in times] + ([last + _TICK] if last is not None else [])
    time = max([datetime.now(UTC), *earlier])
    connection.execute(_ADD, {"name": name, "time": time_text(time), "old": old, "new": new})


def latest(connection: sa.Connection, name: str) -> datetime | None:
    """When a branch was last moved."""
    found = connection.execute(_LATEST, {"name": name}).scalar()
    return None if found is None else datetime.fromisoformat(found)


def shown_before(connection: sa.Connection, name: str, time: datetime) -> str | None:
    """The commit that a branch was at when it was first moved after a time; None if it was not."""
    found: str | None = connection.execute(_BEFORE, {"name": name, "time": time_text(time)}).scalar()
    return found


def since(connection: sa.Connection, time: datetime) -> set[str]:
    """All commits that branches were moved from, or to, after a time."""
    rows = connection.execute(_SINCE, {"time": time_text(time)})
    return {commit for row in rows for commit in (row.from_commit, row.to_commit)}


def forget(connection: sa.Connection, name: str) -> None:
    """A branch is being deleted; one of the same name that is made later is another."""
    connection.execute(_FORGET, {"name": name})


_TIMES = sa.text("SELECT time FROM commits WHERE id IN :commits").bindparams(sa.bindparam("commits", expanding=True))
_ADD = sa.text("INSERT INTO moves (name, time, from_commit, to_commit) VALUES (:name, :time, :old, :new)")
_LATEST = sa.text("SELECT max(time) FROM moves WHERE name = :name")
_BEFORE = sa.text("SELECT from_commit FROM moves WHERE name = :name AND time > :time ORDER BY time LIMIT 1")
_SINCE = sa.text("SELECT from_commit, to_commit FROM moves WHERE time > :time")
_FORGET = sa.text("DELETE FROM moves WHERE name = :name")
