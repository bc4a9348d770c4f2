"""A run whose target moved: what keeps it from being published, and its branch started over from the target's new head.

What the run wrote is carried over commit by commit, so that each entry keeps its provenance, but for what is to be made again.
The new line is written aside; the run branch is then moved there in one step. Whoever dies before leaves the run as it was, and
after it, a run that can be continued.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.merge import describe
from dbt.adapters.lakehouse.catalog.model import ANY, Commit, Key, MergeResult, Put, RefKind, RunRecord
from dbt.adapters.lakehouse.catalog.refs import aside, short
from dbt.adapters.lakehouse.errors import ConflictError, HeadMoved, RefNotFound
from dbt.adapters.lakehouse.run.values import Moved

NOBODY = ""
"""In the place of a node: a statement of no node, such as an on-run-start hook."""

_LINE = 256


@dataclass(frozen=True, kw_only=True)
class Line:
    """What a run did since it left its target: its commits, oldest first, and who wrote which key."""

    commits: tuple[Commit, ...]
    wrote: Mapping[Key, frozenset[str]]
    last: Mapping[Key, str]
    read: Mapping[str, frozenset[str]]


def line(catalog: Catalog, head: str, base: str) -> Line:
    """The commits after ``base`` that lead to ``head``. Raises ``ConflictError`` if they do not begin there."""
    wrote: defaultdict[Key, set[str]] = defaultdict(set)
    read: defaultdict[str, set[str]] = defaultdict(set)
    last: dict[Key, str] = {}
    commits = tuple(reversed(_since(catalog, head, base)))
    for commit in commits:
        for change in catalog.changes(commit.id):
            said = _said(commit, change.key)
            last[change.key] = commit.id
            wrote[change.key].add(_maker(said))
            read[_maker(said)].update(_inputs(said.get("inputs")))
    return Line(
        commits=commits,
        wrote={key: frozenset(nodes) for key, nodes in wrote.items()},
        last=last,
        read={node: frozenset(keys) for node, keys in read.items()},
    )


def _since(catalog: Catalog, head: str, base: str) -> list[Commit]:
    limit = _LINE
    while True:
        commits = catalog.log(head, limit)
        ids = [commit.id for commit in commits]
        if base in ids:
            return commits[: ids.index(base)]
        if len(commits) < limit:
            raise ConflictError(
                f"commit {short(head)} does not follow {short(base)}, from which it is to be taken away"
            )
        limit *= 8


def _said(commit: Commit, key: Key) -> Mapping[str, Any]:
    """What a commit says of the entry at a key; one that put several results in place says it of each."""
    recalled = commit.provenance.get("recalled")
    said = recalled.get(str(key)) if isinstance(recalled, Mapping) else None
    return said if isinstance(said, Mapping) else commit.provenance


def _maker(said: Mapping[str, Any]) -> str:
    """The node that wrote a key: its table's, or the one whose hook it was."""
    return str(said.get("node") or said.get("acting") or NOBODY)


def _inputs(said: Any) -> Iterable[str]:
    """Keys that a result was computed from, without those at other refs."""
    return [name for name in said if "@" not in name] if isinstance(said, Mapping) else ()


def _standing(catalog: Catalog, head: str, known: Line) -> Iterator[tuple[str, Iterable[str]]]:
    """What the entries that a run wrote name as their inputs, by node."""
    for key, entry in catalog.lookup(head, known.wrote).items():
        for node in known.wrote[key]:
            yield node, _inputs(getattr(entry, "inputs", None))


def moved(catalog: Catalog, record: RunRecord, plan: MergeResult, read: Mapping[str, Collection[str]]) -> Moved | None:
    """What keeps a run from being published, after a merge of its branch was planned; ``read`` by node, as far as is known."""
    if not plan.conflicts:
        return None
    newest, head = catalog.resolve(record.target), catalog.resolve(record.branch)
    known = line(catalog, head.id, plan.base)
    wrote: defaultdict[str, set[str]] = defaultdict(set)
    for key, nodes in known.wrote.items():
        for node in nodes if key.name else ():
            wrote[node].add(str(key))
    reads: defaultdict[str, set[str]] = defaultdict(set)
    # What is read for nobody in particular, when results are looked up, leads to nothing by itself.
    noted = ((node, keys) for node, keys in read.items() if node != NOBODY)
    for node, keys in (*known.read.items(), *_standing(catalog, head.id, known), *noted):
        reads[node].update(keys)
    return Moved(
        head=newest.id,
        by=f"{newest.author}: {newest.message}",
        conflicts={str(conflict.key): describe(conflict) for conflict in plan.conflicts},
        changed=tuple(str(one.key) for one in catalog.diff(plan.base, newest.id) if one.key.name),
        wrote={node: tuple(sorted(keys)) for node, keys in sorted(wrote.items())},
        read={node: tuple(sorted(keys)) for node, keys in sorted(reads.items())},
    )


def rebase(catalog: Catalog, record: RunRecord, base: str, head: str, again: Collection[str]) -> Commit:
    """Let a run's branch start at ``head``, with what the run wrote since ``base`` but for what the nodes ``again`` made.

    Returns where the branch is then. Raises ``HeadMoved`` if the target is not at ``head``, and ``ConflictError``, changing
    nothing, if what is carried over cannot stand there.
    """
    target, branch = catalog.resolve(record.target), catalog.resolve(record.branch)
    if target.id != head:
        raise HeadMoved(f"branch {record.target!r} moved on from {short(head)} to {short(target.id)}")
    new = aside(record.branch)
    # One that is left over is of a process that died here before.
    with contextlib.suppress(RefNotFound):
        catalog.delete_ref(new, expected=catalog.resolve(new).id)
    if base == head:
        return branch
    known = line(catalog, branch.id, base)
    kept = _kept(catalog, known, base, head, branch.id, frozenset(again))
    catalog.create_ref(new, RefKind.BRANCH, head, run=record.id)
    try:
        _carry(catalog, record, known, kept, new)
        arrived = catalog.resolve(new)
        catalog.assign(record.branch, arrived.id, expected=branch.id)
    finally:
        catalog.delete_ref(new, expected=catalog.resolve(new).id)
    return arrived


def _kept(
    catalog: Catalog, known: Line, base: str, head: str, branch: str, again: frozenset[str]
) -> dict[Key, str | None]:
    """What is carried over: content ids by key."""
    theirs = {change.key: change.after for change in catalog.diff(base, head)}
    kept: dict[Key, str | None] = {}
    for change in catalog.diff(base, branch):
        key, nodes = change.key, known.wrote.get(change.key, frozenset())
        if key.name and nodes & again:
            if nodes - again:
                others = ", ".join(sorted(node or "statements of no node" for node in nodes - again))
                raise ConflictError(f"{key} would have to be made again, but {others} wrote it, too")
            continue
        if key in theirs:
            if theirs[key] == change.after or not key.name:
                continue
            raise ConflictError(f"{key} changed on both sides, and no node that is run again makes it")
        kept[key] = change.after
    return kept


def _carry(catalog: Catalog, record: RunRecord, known: Line, kept: Mapping[Key, str | None], branch: str) -> None:
    """Commit what is kept once more, each key with the commit that last changed it."""
    entries = catalog.contents({content for content in kept.values() if content is not None})
    by_commit: defaultdict[str, list[Key]] = defaultdict(list)
    for key in sorted(kept):
        by_commit[known.last[key]].append(key)
    for commit in known.commits:
        keys: Sequence[Key] = by_commit.get(commit.id, ())
        if not keys:
            continue
        contents = [(key, kept[key]) for key in keys]
        catalog.commit(
            branch,
            [Put(key=key, entry=None if one is None else entries[one], expected=ANY) for key, one in contents],
            author=commit.author,
            message=commit.message,
            run=record.id,
            provenance={**_of_another(commit, record), **commit.provenance},
        )


def _of_another(commit: Commit, record: RunRecord) -> dict[str, Any]:
    """Who made what is carried over, where that is the run that this one continues: this one answers for it."""
    if commit.run in (None, record.id):
        return {}
    return {"reused": {"run": commit.run, "author": commit.author, "seconds": 0.0}}
