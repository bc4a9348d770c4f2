"""Batches whose rows are in the table already: known again by what they are made of, and then not run.

A batch replaces the table's rows of its time by its own, so that doing it twice is doing it once. Once all batches of a run
are joined, the table that came of it is kept with each of them: who asks for the same batch on a table of the same content
is told that it is there. In between, what is known of a table counts only while nothing but batches of other times is joined.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.catalog.model import Key, ReusableResult, TableEntry, identity
from dbt.adapters.lakehouse.run import fingerprint
from dbt.adapters.lakehouse.run.fingerprint import Fingerprint
from dbt.adapters.lakehouse.run.values import Build, Built, Reused
from dbt.adapters.lakehouse.tables.values import TimeRange

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.run.lifecycle import LakeRun
    from dbt.adapters.lakehouse.run.session import RunSession


@dataclass(frozen=True, kw_only=True)
class Known:
    """A batch whose rows are a function of ``mark``, which says nothing of the table yet.

    ``kept`` is the fingerprint under which it is known already, with a table.
    """

    mark: Fingerprint
    range: TimeRange
    node: str
    seconds: float = 0.0
    kept: str = ""

    def on(self, table: TableEntry) -> Fingerprint:
        """The fingerprint of the batch on a table."""
        return fingerprint.starting_from(self.mark, table)


class Present:
    """What a run knows to be in its tables: batches by table, and the content that the table has with them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Key, tuple[str, dict[str, Known]]] = {}

    def add(self, key: Key, known: Iterable[Known], before: TableEntry | None, after: TableEntry) -> None:
        """Batches were joined to ``before``, or found in it; ``after`` has them. None: nothing that was known counts."""
        with self._lock:
            content, found = self._known.get(key, ("", {}))
            if before is None or content != identity(before):
                found = {}
            for one in known:
                found = {mark: other for mark, other in found.items() if not overlap(one.range, other.range)}
                found[one.mark.id] = one
            self._known[key] = identity(after), found

    def get(self, key: Key, table: TableEntry) -> list[Known]:
        """The batches that a table has."""
        with self._lock:
            content, found = self._known.get(key, ("", {}))
            return list(found.values()) if content == identity(table) else []


def overlap(one: TimeRange, other: TimeRange) -> bool:
    """Whether two ranges have any time in common."""
    from dbt.adapters.lakehouse.tables.staging import instant

    return instant(one.start) < instant(other.end) and instant(other.start) < instant(one.end)


def mark_of(session: RunSession, run: LakeRun, build: Build) -> Known | None:
    """What a batch is known by; None if it is not a function of what is known, or not to be reused."""
    if run.index is None or build.reuse == "never" or build.batch is None or build.sql is None:
        return None
    own = Key(build.name.schema, build.name.name)
    if any(Key(i.schema, i.name) == own and session.state.is_own(i.database) for i in session.inputs(build.sql)):
        return None  # what it reads changes with each batch
    mark = fingerprint.of_batch(session, build)
    if mark.obstacles:
        return None
    return Known(mark=mark, range=build.batch.range, node=build.node or str(build.name))


def find(session: RunSession, run: LakeRun, build: Build, known: Known) -> Built | None:
    """The table, if it has the batch already."""
    key = Key(build.name.schema, build.name.name)
    table = session.state.own.get(key)
    if run.index is None or build.rebuild or not isinstance(table, TableEntry):
        return None
    result = run.index.recall(known.on(table).id)
    if result is None or result.entry is None:
        return None
    found = dataclasses.replace(known, seconds=result.seconds, kept=result.fingerprint)
    run.present.add(key, [found], table, table)
    return Built(entry=table, reused=Reused(run=result.run, author=result.author, seconds=result.seconds))


def keep(session: RunSession, run: LakeRun, build: Build) -> None:
    """After the last batch: remember of all that they are in the table as it is now."""
    key = Key(build.name.schema, build.name.name)
    table = session.state.own.get(key)
    if run.index is None or not isinstance(table, TableEntry) or run.batches.count(key):
        return
    for known in run.present.get(key, table):
        mark = known.on(table)
        if mark.id == known.kept:
            continue
        run.index.remember(
            ReusableResult(
                fingerprint=mark.id,
                parts=mark.parts,
                node=known.node,
                entry=table,
                run=None if run.live else run.request.id,
                author=run.request.author,
                made_at=datetime.now(UTC),
                seconds=round(known.seconds, 6),
            )
        )
