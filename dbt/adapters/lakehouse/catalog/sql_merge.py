"""Merging in SQL: what ``merge`` decides, applied to the branch that the transaction holds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.catalog import (
    sql_history,
    sql_locations,
    sql_refs,
    sql_runs,
    sql_states,
    sql_taint,
)
from dbt.adapters.lakehouse.catalog.graph import Node, merge_bases, only_in
from dbt.adapters.lakehouse.catalog.merge import Contents as Standing
from dbt.adapters.lakehouse.catalog.merge import base_contents, settle, three_way, unread, with_schemas
from dbt.adapters.lakehouse.catalog.model import (
    Change,
    Conflict,
    Entry,
    Key,
    MergeResult,
    Settled,
    TableEntry,
    content_id,
)
from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.catalog.sql_history import Nodes, Note
from dbt.adapters.lakehouse.catalog.taint import PASSED
from dbt.adapters.lakehouse.errors import HeadMoved

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import sqlalchemy as sa

    from dbt.adapters.lakehouse.catalog.sql_contents import Contents
    from dbt.adapters.lakehouse.catalog.taint import Suspect


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is asked of a merge, beside the two sides (see ``base.Catalog.merge``)."""

    dry_run: bool = False
    accept_tainted: bool = False
    fast_forward: bool = False
    settled: Sequence[Settled] = ()
    reads: Mapping[Key, str | None] | None = None
    expected_source: str | None = None
    expected_changes: Sequence[Change] | None = None


def merge(
    connection: sa.Connection, contents: Contents, source: str, held: sql_refs.Held, note: Note, wish: Wish
) -> MergeResult:
    """Merge the commit that ``source`` leads to into a branch, which must be locked unless it is a dry run."""
    theirs, ours = sql_history.resolve(connection, source), held.ref.commit
    if wish.expected_source is not None and wish.expected_source != theirs:
        raise HeadMoved(
            f"{source!r} moved from {short(wish.expected_source)} to {short(theirs)}; look at it and merge again"
        )
    nodes = Nodes(connection)
    bases = merge_bases(nodes, ours, [theirs])
    run = note.run or _passed_run_of(connection, source)
    if bases == [theirs]:
        result = MergeResult(base=theirs, changes=())
    else:
        sql_history.refuse_collected(connection, theirs, source)
        plan = _plan(connection, contents, nodes, bases, theirs, ours, wish)
        suspects, records = sql_taint.suspects(connection, contents.load, nodes, theirs, ours, plan.brought, acting=run)
        if not wish.accept_tainted:
            sql_taint.refuse(suspects, records, (source, held.ref.name))
        result = plan.result
        _check_changes(held.ref.name, result, wish)
        forward = wish.fast_forward and not held.ref.protected and bases == [ours]
        if forward and not (suspects or result.conflicts):
            result = dataclasses.replace(result, fast_forward=True)
        if not (wish.dry_run or result.conflicts):
            result = _carry_out(connection, contents, held, note, result, wish, theirs, suspects)
    if run is not None and not (wish.dry_run or result.conflicts):
        if held.ref.run is None:
            sql_locations.prove_run(connection, run)
        sql_runs.publish(connection, run, held.ref.name, result.commit.id if result.commit else None)
    return result


def _check_changes(target: str, result: MergeResult, wish: Wish) -> None:
    """Raise ``HeadMoved`` where the merge comes to something else than what was looked at."""
    if wish.expected_changes is None or result.conflicts or set(wish.expected_changes) == set(result.changes):
        return
    others = {change.key for change in set(wish.expected_changes) ^ set(result.changes)}
    names = ", ".join(str(key) for key in sorted(others)[:5])
    raise HeadMoved(f"{target!r} changed meanwhile at {names}; look at what the merge comes to and merge again")


def _passed_run_of(connection: sa.Connection, source: str) -> str | None:
    """The run whose branch ``source`` names, if that run passed: to merge its branch is to publish it."""
    held = sql_refs.named(connection, source)
    if held is None or held.ref.run is None:
        return None
    record = sql_runs.get(connection, held.ref.run)
    return record.id if record is not None and record.status in PASSED else None


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What merging two commits comes to. ``brought`` are the keys at which the target would get something, on both sides."""

    result: MergeResult
    brought: Sequence[Change]


def _plan(
    connection: sa.Connection,
    contents: Contents,
    nodes: Nodes,
    bases: Sequence[str],
    source: str,
    target: str,
    wish: Wish,
) -> _Plan:
    """What a merge comes to. Only keys that the source has otherwise than a base, or that were read, can matter."""
    states = {commit: sql_states.layers(connection, commit) for commit in (*bases, source, target)}
    keys = set(wish.reads or ())
    for base in bases:
        keys |= sql_states.changed_keys(connection, states[base], states[source])

    def standing(commit: str, some: Collection[Key]) -> Standing:
        if commit not in states:
            states[commit] = sql_states.layers(connection, commit)
        return sql_states.contents_of(connection, states[commit], some)

    def older(some: Sequence[str], other: str) -> list[str]:
        return merge_bases(nodes, other, some)

    was = base_contents(bases, keys, standing, older)
    theirs = standing(source, keys)
    ours = was if bases == [target] else standing(target, keys)
    changes, found = three_way(keys, was, theirs, ours)
    settled, conflicts = settle(found, wish.settled, content_id)
    conflicts += unread(wish.reads or {}, theirs, ours, [conflict.key for conflict in conflicts])
    conflicts = tuple(sorted(conflicts, key=lambda conflict: conflict.key))
    left_out = {conflict.key for conflict in conflicts}
    kept = [change for change in (*changes, *settled) if change.key not in left_out]
    result = MergeResult(
        base=bases[0],
        changes=tuple(sorted(kept, key=lambda change: change.key)),
        conflicts=_explained(connection, contents, nodes, source, target, conflicts) if conflicts else (),
    )
    brought = {change.key for change in kept} | {conflict.key for conflict in found if conflict.key in left_out}
    sides = [Change(key=key, before=ours[key], after=theirs[key]) for key in sorted(brought)]
    return _Plan(result=result, brought=sides)


def _carry_out(
    connection: sa.Connection,
    contents: Contents,
    held: sql_refs.Held,
    note: Note,
    result: MergeResult,
    wish: Wish,
    source: str,
    suspects: Sequence[Suspect],
) -> MergeResult:
    """Do what was planned without conflicts."""
    if suspects:
        runs = sorted({suspect.run for suspect in suspects})
        note = dataclasses.replace(note, provenance={**note.provenance, "accepted_tainted": runs})
    if wish.settled:
        _store_settled(connection, contents, result.changes, wish.settled, note)
    if result.fast_forward:
        sql_refs.move_away(connection, held.ref, source)
        commit = sql_history.commits(connection, [source])[source]
    else:
        commit = sql_history.record(connection, held, result.changes, note, merged=source)
    if held.ref.run is None:
        _prove(connection, contents, result.changes, suspects)
    return dataclasses.replace(result, commit=commit)


def _store_settled(
    connection: sa.Connection, contents: Contents, changes: Sequence[Change], settled: Sequence[Settled], note: Note
) -> None:
    brought = {change.after for change in changes}
    entries = [one.entry for one in settled if one.entry is not None and content_id(one.entry) in brought]
    sql_locations.file(connection, (one for one in entries if isinstance(one, TableEntry)), note.run)
    contents.store(connection, entries)


def _prove(
    connection: sa.Connection, contents: Contents, changes: Sequence[Change], suspects: Sequence[Suspect]
) -> None:
    """Whoever merged these vouched for them: from now on they may stand anywhere, under any name."""
    if not sql_locations.unproven_runs(connection):
        return
    tainted = {suspect.key for suspect in suspects}
    ids = [change.after for change in changes if change.after is not None and change.key not in tainted]
    entries = contents.load(connection, ids).values()
    sql_locations.prove(connection, (one.metadata_location for one in entries if isinstance(one, TableEntry)))


def _explained(
    connection: sa.Connection,
    contents: Contents,
    nodes: Nodes,
    source: str,
    target: str,
    conflicts: Sequence[Conflict],
) -> tuple[Conflict, ...]:
    """Conflicts by their kind, with the newest commit that changed the key on each side."""
    keys = [conflict.key for conflict in conflicts]

    def newest(side: list[Node]) -> dict[Key, str]:
        return sql_history.newest_changes(connection, nodes, side, keys)

    by_source, by_target = newest(only_in(nodes, source, target)), newest(only_in(nodes, target, source))
    commits = sql_history.commits(connection, {*by_source.values(), *by_target.values()})
    ids = {
        one for conflict in conflicts for one in (conflict.base, conflict.source, conflict.target) if one is not None
    }
    entries: Mapping[str, Entry] = contents.load(connection, ids)
    return tuple(
        dataclasses.replace(
            with_schemas(conflict, entries),
            source_commit=commits.get(by_source.get(conflict.key, "")),
            target_commit=commits.get(by_target.get(conflict.key, "")),
        )
        for conflict in conflicts
    )
