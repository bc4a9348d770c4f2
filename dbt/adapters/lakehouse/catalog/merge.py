"""Three-way merge of states, key by key, and the rule that keeps tainted commits in. Pure.

A key that one side changed takes that side's entry. A key that both sides changed is a conflict, unless both made the
same of it: the same content, or both dropped it.

A schema is a key like any other, and its entry never changes, so it cannot conflict: when one side drops a schema and
the other creates a table in it, nothing of what either wrote is lost. The table stays, and a schema that holds tables
exists without an entry. If the other side *changed* a table that went with the schema, that table is the conflict.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from dbt.adapters.lakehouse.catalog.model import Change, Conflict, ConflictKind, Key, RunRecord, RunStatus
from dbt.adapters.lakehouse.catalog.refs import short

Contents = Mapping[Key, str | None]
"""What stands at some keys, as content ids; None where nothing does."""

PASSED = (RunStatus.PASSED, RunStatus.PUBLISHED)
"""Runs whose commits may travel for their own sake."""

_DISPUTED = "disputed"
"""What a virtual base holds where its own bases disagree; equal to no content id."""


def base_contents(
    bases: Sequence[str],
    keys: Collection[Key],
    contents: Callable[[str, Collection[Key]], Contents],
    older: Callable[[Sequence[str], str], list[str]],
) -> dict[Key, str | None]:
    """What the merge base of two sides holds at ``keys``.

    With one base that is ``contents(base, keys)``. After criss-cross merges there are several: then it is what merging
    them with one another gives (each against the bases before it, which ``older`` finds), and a value equal to nothing
    where that would conflict. Taking any one of them instead would bring back what was undone on a side.
    """
    if not bases:
        return dict.fromkeys(keys)
    merged = dict(contents(bases[0], keys))
    for count in range(1, len(bases)):
        other = contents(bases[count], keys)
        apart = [key for key in keys if merged[key] != other[key]]
        if not apart:
            continue
        origin = base_contents(older(bases[:count], bases[count]), apart, contents, older)
        for key in apart:
            if merged[key] == origin[key]:
                merged[key] = other[key]
            elif other[key] != origin[key]:
                merged[key] = _DISPUTED
    return merged


def three_way(
    keys: Iterable[Key], base: Contents, source: Contents, target: Contents
) -> tuple[tuple[Change, ...], tuple[Conflict, ...]]:
    """The changes that bring ``source`` into ``target``, and the conflicts, both by key."""
    changes, conflicts = [], []
    for key in sorted(keys):
        was, theirs, ours = base[key], source[key], target[key]
        if theirs in (ours, was):
            continue
        if ours == was:
            changes.append(Change(key=key, before=ours, after=theirs))
        else:
            known = None if was == _DISPUTED else was
            kind = _kind(was, theirs, ours)
            conflicts.append(Conflict(key=key, kind=kind, base=known, source=theirs, target=ours))
    return tuple(changes), tuple(conflicts)


def _kind(base: str | None, source: str | None, target: str | None) -> ConflictKind:
    if source is None or target is None:
        return ConflictKind.CHANGED_AND_DROPPED
    return ConflictKind.BOTH_CREATED if base is None else ConflictKind.BOTH_CHANGED


def describe(conflict: Conflict) -> str:
    """One line for people: the key, what happened on each side and in which commit."""
    verbs = {
        ConflictKind.BOTH_CREATED: ("created", "created"),
        ConflictKind.BOTH_CHANGED: ("changed", "changed"),
        ConflictKind.SCHEMA_CHANGED: ("given other columns", "given different ones"),
        ConflictKind.READ_CHANGED: ("read", "changed since"),
        ConflictKind.CHANGED_AND_DROPPED: (
            "dropped" if conflict.source is None else "changed",
            "dropped" if conflict.target is None else "changed",
        ),
    }[conflict.kind]
    sides = []
    for verb, side, commit in zip(
        verbs, ("source", "target"), (conflict.source_commit, conflict.target_commit), strict=True
    ):
        by = f" by {short(commit.id)} ({commit.author}: {commit.message})" if commit else ""
        sides.append(f"{verb} on the {side}{by}")
    return f"{conflict.key}: {' and '.join(sides)}"


def conflict_message(source: str, target: str, conflicts: Sequence[Conflict]) -> str:
    """The message of a ``MergeConflict``: what could not be merged into what, why, and what to do."""
    shown = "; ".join(describe(conflict) for conflict in conflicts[:5])
    more = f"; and {len(conflicts) - 5} more" if len(conflicts) > 5 else ""
    return (
        f"{source!r} cannot be merged into {target!r}, both changed the same: {shown}{more}. Nothing was changed; "
        f"build those again on the head of {target!r}, or merge {target!r} into your branch and settle them there"
    )


def tainted_runs(carried: Collection[str], records: Mapping[str, RunRecord], acting: str | None) -> list[str]:
    """Those of the runs whose commits a merge would carry that keep it from happening (invariant 6), sorted.

    A run may travel if it passed, or if a run that continues it travels along and passed. ``acting`` is the run that is
    being published: it vouches for itself and for what it continues. A status of CONTINUED is not enough by itself:
    it says that the repair exists, not that it is part of *this* merge. A run without a record did not pass.
    """
    vouched = {run for run in carried if run in records and records[run].status in PASSED}
    if acting is not None:
        vouched.add(acting)
    for run in tuple(vouched):
        vouched.update(continued_by(run, records))
    return sorted(set(carried) - vouched)


def continued_by(run: str, records: Mapping[str, RunRecord]) -> list[str]:
    """The runs that a run continues, nearest first: the one it started from, the one that started from, and so on."""
    chain: list[str] = []
    record = records.get(run)
    while record is not None and record.continues and record.continues not in (run, *chain):
        chain.append(record.continues)
        record = records.get(record.continues)
    return chain


def tainted_message(
    source: str, target: str, runs: Sequence[str], records: Mapping[str, RunRecord], keys: Iterable[Key]
) -> str:
    """The message of a ``TaintedError``: which runs, which tables, and how to go on."""
    named = ", ".join(f"{run[:8]} ({records[run].status if run in records else 'not recorded'})" for run in runs[:5])
    tables = [str(key) for key in sorted(set(keys))]
    shown = ", ".join(tables[:5]) + (f" and {len(tables) - 5} more" if len(tables) > 5 else "")
    return (
        f"{source!r} cannot go to {target!r}: it holds what runs that did not pass wrote: {named}; tables: "
        f"{shown or 'none'}. Continue the run until it passes (`dbt retry`), or accept it knowingly"
    )
