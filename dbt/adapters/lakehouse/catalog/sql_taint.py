"""What ``taint`` judges, gathered in SQL. Where only runs that passed had a hand in it, that costs next to nothing."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Protocol

from dbt.adapters.lakehouse.catalog import sql_history, sql_locations, sql_runs, sql_states
from dbt.adapters.lakehouse.catalog.graph import Node, is_ancestor, only_in
from dbt.adapters.lakehouse.catalog.model import Change, Entry, Key, RunRecord, TableEntry
from dbt.adapters.lakehouse.catalog.taint import PASSED, Step, Suspect, Tracer, passed, tainted_message, vouches
from dbt.adapters.lakehouse.errors import TaintedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import sqlalchemy as sa

    from dbt.adapters.lakehouse.catalog.sql_history import Nodes


class Load(Protocol):
    """Reads entries by content id."""

    def __call__(self, connection: sa.Connection, ids: Iterable[str]) -> dict[str, Entry]:
        """Those that exist."""
        ...


def refuse(suspects: Collection[Suspect], records: Mapping[str, RunRecord], names: tuple[str, str]) -> None:
    """Raise ``TaintedError`` if there are any."""
    if suspects:
        raise TaintedError(tainted_message(*names, suspects, records))


def suspects(
    connection: sa.Connection,
    load: Load,
    nodes: Nodes,
    source: str,
    target: str,
    brought: Sequence[Change],
    *,
    acting: str | None,
) -> tuple[list[Suspect], dict[str, RunRecord]]:
    """Which of the entries that would be brought from one commit to another are tainted, and the runs that concerns.

    ``brought`` says what the target holds and the source holds instead, wherever that is to count. ``acting`` is the run that
    is being published.
    """
    carried = only_in(nodes, source, target)
    runs = {node.run for node in carried if node.run is not None}
    unproven = sql_locations.unproven_runs(connection)
    bad = (runs | unproven) - sql_runs.passed_among(connection, runs | unproven) - {acting}
    if not bad or not brought:
        return [], {}
    steps = _steps(connection, nodes, carried, [change.key for change in brought])
    # What stands on the target is not tainted; and it is most of what was there before.
    held = {change.before for change in brought} | {None}
    contents = {one for some in steps.values() for step in some for one in (step.before, step.after)} - held
    entries = load(connection, [one for one in contents if one is not None])
    tables = {one.metadata_location for one in entries.values() if isinstance(one, TableEntry)}
    writers = {location: run for location, run in sql_locations.unproven(connection, tables).items() if run in bad}
    tracer = Tracer(steps, entries, writers, bad)
    found = [one for change in brought if (one := tracer.suspect(change.key, change.after)) is not None]
    if not found:
        return [], {}
    records = _who_may_vouch(connection, carried, acting)
    records.update(sql_runs.with_continued(connection, {*records, *(one.run for one in found)}))
    return _unvouched(connection, nodes, carried, found, records, acting), records


def _steps(
    connection: sa.Connection, nodes: Nodes, carried: Collection[Node], keys: Collection[Key]
) -> dict[Key, list[Step]]:
    """What the commits that travel changed at some keys, the latest first."""
    by_id = {node.id: node for node in carried}
    rows = [row for row in sql_history.changes_of(connection, nodes, carried, keys) if row.id in by_id]
    said = sql_history.commits(connection, {row.id for row in rows})
    steps: defaultdict[Key, list[Step]] = defaultdict(list)
    for row in rows:
        step = Step(
            key=Key(row.schema_name, row.table_name),
            commit=row.id,
            generation=by_id[row.id].generation,
            run=by_id[row.id].run,
            before=row.before,
            after=row.content,
            said=said[row.id].provenance,
        )
        steps[step.key].append(step)
    return {key: sorted(some, key=lambda step: -step.generation) for key, some in steps.items()}


def _who_may_vouch(connection: sa.Connection, carried: Collection[Node], acting: str | None) -> dict[str, RunRecord]:
    """The runs that passed and began with one of the commits that travel; no other can have begun with what is tainted."""
    found = sql_runs.begun_at(connection, [node.id for node in carried])
    return {record.id: record for record in found if record.status in PASSED or record.id == acting}


def _unvouched(
    connection: sa.Connection,
    nodes: Nodes,
    carried: Collection[Node],
    found: Collection[Suspect],
    records: Mapping[str, RunRecord],
    acting: str | None,
) -> list[Suspect]:
    travels = {node.id for node in carried}
    left = list(found)
    for record in records.values():
        if record.base not in travels or not passed(record.id, records, acting):
            continue
        ours = [
            one
            for one in left
            if vouches(record, one, records) and one.commit in travels and is_ancestor(nodes, one.commit, record.base)
        ]
        end = sql_history.end_of(connection, record) if ours else record.base
        if not ours or end not in travels:
            continue
        held = sql_states.contents_of(connection, sql_states.layers(connection, end), {one.key for one in ours})
        answered = {one.key for one in ours if held[one.key] in one.contents}
        left = [one for one in left if one.key not in answered]
    return left
