"""What garbage collection may take, decided in one transaction in which nobody else writes.

Commits stay that something names: branches, tags, open runs; those that are young; and whatever a branch showed since then.
All others are marked as collected. Their rows remain, for the log, for provenance and for merges, which only compare ids; but
a table that stands at none of the commits that stay is gone, and is never let in again.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from dbt.adapters.lakehouse.catalog import sql_history, sql_locations, sql_moves, sql_refs, sql_results, sql_runs
from dbt.adapters.lakehouse.catalog.model import Collection, Ref, RefKind, Retention, RunStatus, time_text
from dbt.adapters.lakehouse.catalog.sql_states import chunks

if TYPE_CHECKING:
    from collections.abc import Collection as Several
    from collections.abc import Iterable, Iterator, Sequence

_ENDED = (RunStatus.FAILED, RunStatus.ABANDONED, RunStatus.CONTINUED, RunStatus.PUBLISHED)
"""Runs of whose branches nothing is to come any more. (One that is published has none, unless its process died right then.)"""


def collect(connection: sa.Connection, retention: Retention, *, dry_run: bool) -> Collection:
    """See ``base.Collectable``. With ``dry_run`` nothing is changed, and any transaction that reads will do."""
    now = datetime.now(UTC)
    since = now - max(retention.history, retention.grace)
    dropped = _ended_runs(connection, now - retention.failed_runs)
    names = {ref.name for ref in dropped}
    refs = [ref for ref in sql_refs.everything(connection) if ref.name not in names]
    places = [
        _Place(id=row[0], line=row[1], seq=row[2], is_young=row[3] > time_text(since), is_collected=row[4] is not None)
        for row in connection.execute(_PLACES)
    ]
    # What an earlier collection took does not come back because this one keeps more.
    kept = _kept(connection, refs, places, since) - {place.id for place in places if place.is_collected}
    live = _locations(connection, _standing(connection, [place for place in places if place.id in kept]))
    results = sql_results.older(connection, now - retention.results, live)
    live |= sql_results.locations(connection, without=results)
    taken = [place.id for place in places if place.id not in kept and not place.is_collected]
    if not dry_run:
        for ref in dropped:
            sql_refs.drop(connection, ref.name)
        sql_results.forget(connection, results)
        for chunk in chunks(taken):
            connection.execute(_TAKE, {"ids": chunk, "now": time_text(now)})
        sql_locations.take(connection, live, time_text(now))
    return Collection(
        live=frozenset(live),
        keep_since=now - retention.grace,
        commits=len(taken),
        branches=tuple(sorted(names)),
        results=len(results),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """Where a commit stands, and what matters of it."""

    id: str
    line: int
    seq: int
    is_young: bool
    is_collected: bool


def _ended_runs(connection: sa.Connection, before: datetime) -> list[Ref]:
    """The branches of runs that ended before a time and have nothing left to publish."""
    records = {record.id: record for record in sql_runs.newest(connection, None)}
    found = []
    for ref in sql_refs.everything(connection, RefKind.BRANCH):
        if ref.run is None or ref.protected:
            continue
        record = records.get(ref.run)
        ended = ref.created_at if record is None else record.finished_at or record.heartbeat_at
        if ended < before and (record is None or record.status in _ENDED):
            found.append(ref)
    return found


def _kept(connection: sa.Connection, refs: Sequence[Ref], places: Iterable[_Place], since: datetime) -> set[str]:
    """The commits that stay."""
    kept = {place.id for place in places if place.is_young}
    kept.update(ref.commit for ref in refs)
    kept.update(connection.execute(_OPEN_BASES, {"open": RunStatus.OPEN.value}).scalars())
    kept.update(sql_moves.since(connection, since))
    for ref in refs:
        if ref.kind is RefKind.BRANCH and (shown := sql_history.showed(connection, ref, since)) is not None:
            kept.add(shown)
    return kept


# What stands at some commit that stays. Reading each state by itself would cost the size of the lake each time. Instead every
# line is read once, from those that were forked last to the first. A row counts if a commit that stays saw it on its own line,
# or if a line forked from there saw it, which is so unless that line had its own say at the key by its first commit that stays.


@dataclass(kw_only=True)
class _Line:
    """Which sequence numbers of a line are looked at: by its own commits, and through lines that were forked there."""

    id: int
    parent: int | None
    fork: int
    own: list[int] = field(default_factory=list)
    through: dict[int, set[tuple[str, str]]] = field(default_factory=dict)

    def look(self, seq: int, hidden: set[tuple[str, str]]) -> None:
        """A line that was forked at ``seq`` sees what stood there, but for keys of which it says something else."""
        known = self.through.get(seq)
        self.through[seq] = hidden if known is None else known & hidden


def _standing(connection: sa.Connection, kept: Iterable[_Place]) -> set[str]:
    """The ids of all contents that stand at the commits that stay."""
    lines: dict[int, _Line] = {}
    depths: list[tuple[int, int]] = []
    for row in connection.execute(_LINES):
        lines[row.id] = _Line(id=row.id, parent=row.parent_line, fork=row.fork_seq or 0)
        depths.append((row.depth, row.id))
    for place in kept:
        lines[place.line].own.append(place.seq)
    found: set[str] = set()
    for _, one in sorted(depths, reverse=True):
        line = lines.pop(one)
        if line.own or line.through:
            found |= _seen_on(connection, line, lines.get(line.parent) if line.parent is not None else None)
    return found


def _seen_on(connection: sa.Connection, line: _Line, parent: _Line | None) -> set[str]:
    """What is seen of a line's own rows; its parent is told what is seen through it."""
    own = sorted(line.own)
    first = own[0] if own else None
    # What a fork sees of lines below, from the first commit that stays on, that commit sees itself.
    early = sorted(seq for seq in line.through if first is None or seq < first)
    forks = sorted(line.through)
    lowest = min([*own[:1], *forks[:1]])
    said_by: defaultdict[int, set[tuple[str, str]]] = defaultdict(set)
    looks = [*early, *([first] if first is not None else [])]
    found: set[str] = set()
    arguments = {"line": line.id, "high": max([*own[-1:], *forks[-1:]])}
    if parent is None:
        arguments["low"] = lowest
    # Without a parent, what was superseded before anybody who stays looked matters to nobody.
    for row in connection.execute(_ROWS if parent is not None else _LATE_ROWS, arguments):
        key, seq, until, content = (row[0], row[1]), row[2], row[3], row[4]
        if content is not None and until > lowest and _is_seen(key, seq, until, own, forks, line):
            found.add(content)
        if parent is not None:
            at = bisect_left(looks, seq)
            if at < len(looks):
                said_by[looks[at]].add(key)
    if parent is not None:
        hidden: set[tuple[str, str]] = set()
        for seq in looks:
            hidden = hidden | said_by[seq]
            parent.look(line.fork, hidden | line.through[seq] if seq != first else hidden)
    return found


def _is_seen(key: tuple[str, str], seq: int, until: int, own: Sequence[int], forks: Sequence[int], line: _Line) -> bool:
    at = bisect_left(own, seq)
    if at < len(own) and own[at] < until:
        return True
    return any(key not in line.through[fork] for fork in _between(forks, seq, until))


def _between(numbers: Sequence[int], low: int, high: int) -> Iterator[int]:
    at = bisect_left(numbers, low)
    while at < len(numbers) and numbers[at] < high:
        yield numbers[at]
        at += 1


def _locations(connection: sa.Connection, contents: Several[str]) -> set[str]:
    """The metadata locations of those contents that are tables."""
    return {
        json.loads(row[0])["metadata_location"]
        for chunk in chunks(sorted(contents))
        for row in connection.execute(_CONTENTS, {"ids": chunk})
    }


_PLACES = sa.text("SELECT id, line, seq, time, collected FROM commits")
_OPEN_BASES = sa.text("SELECT base FROM runs WHERE status = :open")
_LINES = sa.text("SELECT id, parent_line, fork_seq, depth FROM lines")
_ROWS = sa.text("""
    SELECT schema_name, table_name, seq, until_seq, content FROM entries WHERE line = :line AND seq <= :high
""")
_LATE_ROWS = sa.text("""
    SELECT schema_name, table_name, seq, until_seq, content FROM entries
    WHERE line = :line AND until_seq > :low AND seq <= :high
""")
_CONTENTS = sa.text("SELECT json FROM contents WHERE id IN :ids AND kind = 'table'").bindparams(
    sa.bindparam("ids", expanding=True)
)
_TAKE = sa.text("UPDATE commits SET collected = :now WHERE id IN :ids").bindparams(sa.bindparam("ids", expanding=True))
