"""Merging in SQL: what ``merge`` decides, applied to the branch that the transaction holds."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.catalog import sql_history, sql_refs, sql_runs, sql_states
from dbt.adapters.lakehouse.catalog.graph import Node, merge_bases, only_in
from dbt.adapters.lakehouse.catalog.merge import (
    PASSED,
    Contents,
    base_contents,
    tainted_message,
    tainted_runs,
    three_way,
)
from dbt.adapters.lakehouse.catalog.model import Conflict, Key, MergeResult
from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.catalog.sql_history import Nodes, Note
from dbt.adapters.lakehouse.errors import HeadMoved, TaintedError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import sqlalchemy as sa

_COMMITS_NAMED = 50


def merge(
    connection: sa.Connection,
    source: str,
    held: sql_refs.Held,
    note: Note,
    *,
    dry_run: bool,
    accept_tainted: bool,
    expected_source: str | None = None,
) -> MergeResult:
    """Merge the commit that ``source`` leads to into a branch, which must be locked unless ``dry_run``."""
    theirs, ours = sql_history.resolve(connection, source), held.ref.commit
    if expected_source is not None and theirs != expected_source:
        raise HeadMoved(
            f"{source!r} moved from {short(expected_source)} to {short(theirs)}; look at it and merge again"
        )
    nodes = Nodes(connection)
    bases = merge_bases(nodes, ours, [theirs])
    run = note.run or _passed_run_of(connection, source)
    if bases == [theirs]:
        result = MergeResult(base=theirs, changes=())
    else:
        if not accept_tainted:
            refuse_tainted(connection, nodes, theirs, ours, acting=run, names=(source, held.ref.name))
        result = _planned(connection, nodes, bases, theirs, ours)
        if not (dry_run or result.conflicts):
            commit = sql_history.record(connection, held, result.changes, note, merged=theirs)
            result = dataclasses.replace(result, commit=commit)
    if run is not None and not (dry_run or result.conflicts):
        sql_runs.publish(connection, run, held.ref.name, result.commit.id if result.commit else None)
    return result


def _passed_run_of(connection: sa.Connection, source: str) -> str | None:
    """The run whose branch ``source`` names, if that run passed: to merge its branch is to publish it."""
    held = sql_refs.get(connection, source)
    if held is None or held.ref.run is None:
        return None
    record = sql_runs.get(connection, held.ref.run)
    return record.id if record is not None and record.status in PASSED else None


def refuse_tainted(
    connection: sa.Connection, nodes: Nodes, source: str, target: str, *, acting: str | None, names: tuple[str, str]
) -> None:
    """Raise ``TaintedError`` if ``source`` leads to commits of runs that did not pass and ``target`` does not yet."""
    carried = [node for node in only_in(nodes, source, target) if node.run is not None]
    runs = {node.run for node in carried if node.run is not None}
    if not runs:
        return
    records = sql_runs.with_continued(connection, runs | ({acting} if acting else set()))
    tainted = tainted_runs(runs, records, acting)
    if not tainted:
        return
    commits = [node.id for node in carried if node.run in tainted][:_COMMITS_NAMED]
    keys = [
        change.key
        for commit in commits
        for change in sql_states.changes_at(connection, sql_history.place(connection, commit).layer)
    ]
    raise TaintedError(tainted_message(*names, tainted, records, keys))


def _planned(connection: sa.Connection, nodes: Nodes, bases: Sequence[str], source: str, target: str) -> MergeResult:
    """What merging two commits comes to. Only keys that the source has otherwise than a base can matter."""
    states = {commit: sql_states.layers(connection, commit) for commit in (*bases, source, target)}
    keys: set[Key] = set()
    for base in bases:
        keys |= sql_states.changed_keys(connection, states[base], states[source])

    def contents(commit: str, some: Collection[Key]) -> Contents:
        if commit not in states:
            states[commit] = sql_states.layers(connection, commit)
        return sql_states.contents_of(connection, states[commit], some)

    def older(some: Sequence[str], other: str) -> list[str]:
        return merge_bases(nodes, other, some)

    was = base_contents(bases, keys, contents, older)
    is_now = was if bases == [target] else contents(target, keys)
    changes, conflicts = three_way(keys, was, contents(source, keys), is_now)
    return MergeResult(
        base=bases[0],
        changes=changes,
        conflicts=_with_commits(connection, nodes, source, target, conflicts) if conflicts else (),
    )


def _with_commits(
    connection: sa.Connection, nodes: Nodes, source: str, target: str, conflicts: Sequence[Conflict]
) -> tuple[Conflict, ...]:
    """Conflicts, with the newest commit that changed the key on each side."""
    keys = [conflict.key for conflict in conflicts]

    def newest(side: list[Node]) -> dict[Key, str]:
        return sql_history.newest_changes(connection, nodes, side, keys)

    by_source, by_target = newest(only_in(nodes, source, target)), newest(only_in(nodes, target, source))
    commits = sql_history.commits(connection, {*by_source.values(), *by_target.values()})
    return tuple(
        dataclasses.replace(
            conflict,
            source_commit=commits.get(by_source.get(conflict.key, "")),
            target_commit=commits.get(by_target.get(conflict.key, "")),
        )
        for conflict in conflicts
    )
