"""Three-way merge of states, key by key. Pure.

A key that one side changed takes that side's entry. A key that both sides changed is a conflict, unless both made the
same of it: the same content, or both dropped it.

A schema is a key like any other, and its entry never changes, so it cannot conflict: when one side drops a schema and
the other creates a table in it, nothing of what either wrote is lost. The table stays, and a schema that holds tables
exists without an entry. If the other side *changed* a table that went with the schema, that table is the conflict.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from dbt.adapters.lakehouse.catalog.model import Change, Conflict, ConflictKind, Entry, Key, Settled, TableEntry
from dbt.adapters.lakehouse.catalog.refs import short

Contents = Mapping[Key, str | None]
"""What stands at some keys, as content ids; None where nothing does."""

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


def with_schemas(conflict: Conflict, entries: Mapping[str, Entry]) -> Conflict:
    """A conflict, told as one of schemas if both sides changed the columns of a table, and not to the same."""
    if conflict.kind is not ConflictKind.BOTH_CHANGED:
        return conflict
    shapes = [_shape(entries.get(one or "")) for one in (conflict.base, conflict.source, conflict.target)]
    if None in shapes or len(set(shapes)) < len(shapes):
        return conflict
    return replace(conflict, kind=ConflictKind.SCHEMA_CHANGED)


def _shape(entry: Entry | None) -> tuple[tuple[str, str, bool], ...] | None:
    if not isinstance(entry, TableEntry):
        return None
    return tuple((column.name.lower(), column.type, column.required) for column in entry.columns)


def settle(
    conflicts: Iterable[Conflict], settled: Iterable[Settled], content: Callable[[Entry], str]
) -> tuple[tuple[Change, ...], tuple[Conflict, ...]]:
    """What the target gets where conflicts are settled for what both sides hold, and the conflicts that remain."""
    answers = {one.key: one for one in settled}
    changes, left = [], []
    for conflict in conflicts:
        answer = answers.get(conflict.key)
        if answer is None or (answer.source, answer.target) != (conflict.source, conflict.target):
            left.append(conflict)
            continue
        after = content(answer.entry) if answer.entry is not None else None
        if after != conflict.target:
            changes.append(Change(key=conflict.key, before=conflict.target, after=after))
    return tuple(changes), tuple(left)


def unread(
    reads: Mapping[Key, str | None], source: Contents, target: Contents, known: Iterable[Key]
) -> tuple[Conflict, ...]:
    """Conflicts where the target no longer holds what was read, but for keys that are known to conflict anyway."""
    moved = sorted(key for key in reads.keys() - set(known) if target[key] != reads[key])
    kind = ConflictKind.READ_CHANGED
    return tuple(Conflict(key=key, kind=kind, base=reads[key], source=source[key], target=target[key]) for key in moved)


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
        f"build those again on the head of {target!r}, or settle them: "
        f"`lakehouse merge {source} --into {target} --take ours` (or theirs)"
    )
