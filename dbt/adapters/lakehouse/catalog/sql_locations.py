"""Every state of a table that was committed, by its metadata file, in SQL: who wrote it, and whether its files are gone.

Entries travel: a clone, a rename or a step back lets the same files stand elsewhere, under a commit of somebody who did not
write them. Here stands who did, as long as nothing vouches for it (``taint``), and what garbage collection took.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import sqlalchemy as sa

from dbt.adapters.lakehouse.catalog.sql_states import chunks
from dbt.adapters.lakehouse.errors import Collected

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from dbt.adapters.lakehouse.catalog.model import TableEntry


def file(connection: sa.Connection, tables: Iterable[TableEntry], run: str | None) -> None:
    """Write down who wrote tables that were not there before. Raises ``Collected`` for files that are gone."""
    names = {table.metadata_location: f"{table.schema}.{table.name}" for table in tables}
    known: dict[str, str | None] = {}
    for chunk in chunks(sorted(names)):
        known.update((row[0], row[1]) for row in connection.execute(_KNOWN, {"locations": chunk}))
    for location, gone in known.items():
        if gone is not None:
            raise Collected(
                f"the files of table {names[location]} at {location} were collected on {gone[:16]} UTC, since nothing named "
                "them any longer; build the table again"
            )
    fresh = [{"location": location, "run": run} for location in sorted(names) if location not in known]
    if fresh:
        connection.execute(_FILE, fresh)


def unproven_runs(connection: sa.Connection) -> set[str]:
    """The runs for whose tables nothing vouches so far."""
    return set(connection.execute(_RUNS).scalars())


def unproven(connection: sa.Connection, locations: Iterable[str]) -> dict[str, str]:
    """Those of the locations for which nothing vouches, and the run that wrote each."""
    return {
        row[0]: row[1]
        for chunk in chunks(sorted(set(locations)))
        for row in connection.execute(_UNPROVEN, {"locations": chunk})
    }


def prove(connection: sa.Connection, locations: Iterable[str]) -> None:
    """From now on something vouches for these."""
    for chunk in chunks(sorted(set(locations))):
        connection.execute(_PROVE, {"locations": chunk})


def prove_run(connection: sa.Connection, run: str) -> None:
    """From now on something vouches for all that a run wrote, what it wrote on the way included."""
    connection.execute(_PROVE_RUN, {"run": run})


def take(connection: sa.Connection, live: Collection[str], now: str) -> None:
    """Mark all but the live ones as gone, for ever."""
    gone = [row[0] for row in connection.execute(_PRESENT) if row[0] not in live]
    for chunk in chunks(sorted(gone)):
        connection.execute(_TAKE, {"locations": chunk, "now": now})


def fill(connection: sa.Connection) -> None:
    """For a catalog of a time when nobody wrote this down: what no other commit holds is of the run that did not pass."""
    writers: dict[str, str | None] = {}
    for row in connection.execute(_WRITERS):
        writers[row[0]] = row[1] and writers.get(row[0], row[1])
    rows: dict[str, str | None] = {}
    for row in connection.execute(_TABLES):
        location, run = json.loads(row[1])["metadata_location"], writers.get(row[0])
        rows[location] = run and rows.get(location, run)
    for chunk in chunks(sorted(rows)):
        connection.execute(_FILE, [{"location": location, "run": rows[location]} for location in chunk])


def _many(text: str) -> sa.TextClause:
    return sa.text(text).bindparams(sa.bindparam("locations", expanding=True))


_KNOWN = _many("SELECT location, gone FROM locations WHERE location IN :locations")
_FILE = sa.text("INSERT INTO locations (location, run) VALUES (:location, :run) ON CONFLICT (location) DO NOTHING")
_RUNS = sa.text("SELECT DISTINCT run FROM locations WHERE run IS NOT NULL")
_UNPROVEN = _many("SELECT location, run FROM locations WHERE location IN :locations AND run IS NOT NULL")
_PROVE = _many("UPDATE locations SET run = NULL WHERE location IN :locations AND run IS NOT NULL")
_PROVE_RUN = sa.text("UPDATE locations SET run = NULL WHERE run = :run")
_PRESENT = sa.text("SELECT location FROM locations WHERE gone IS NULL")
_TAKE = _many("UPDATE locations SET gone = :now, run = NULL WHERE location IN :locations")
_TABLES = sa.text("SELECT id, json FROM contents WHERE kind = 'table'")
_WRITERS = sa.text("""
    SELECT entries.content, CASE WHEN runs.status IN ('passed', 'published') THEN NULL ELSE commits.run END
    FROM entries
    JOIN commits ON commits.line = entries.line AND commits.seq = entries.seq
    LEFT JOIN runs ON runs.id = commits.run
    WHERE entries.content IS NOT NULL
""")
