"""The one door through which states of the lake are merged: plan, settle conflicts, guard, then merge what was planned.

What was planned is what is merged: source and target must be at the commits that the plan was made for. When they moved,
it is made anew, unless the request says where the target must be.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import (
    Change,
    Commit,
    Conflict,
    ConflictKind,
    Entry,
    Key,
    MergeResult,
    RefKind,
    Settled,
    TableEntry,
    content_id,
)
from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.errors import ConfigError, Guarded, HeadMoved, TaintedError
from dbt.adapters.lakehouse.run import guards
from dbt.adapters.lakehouse.run.values import Merged, MergeRequest, NotSettled, Refusal, SettledHow, Take

TRIES = 50
"""So many times a merge is planned while others keep moving the branches; each time, one of them got through."""


class NotCombined(Protocol):
    """Why one table cannot be made of two (see ``combining``)."""

    @property
    def why(self) -> str:
        """In words."""
        ...


Combine = Callable[[Conflict, bool], "TableEntry | NotCombined"]
"""Makes one table of the two of a conflict; that somebody asked for it widens what is thought safe."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A merge as it would be, of one commit into another: how conflicts are settled, what guards were told to let pass."""

    source: Commit
    target: Commit
    merged: Merged
    settled: tuple[Settled, ...] = ()
    passed: tuple[Refusal, ...] = ()


def merge(catalog: Catalog, request: MergeRequest, combine: Combine | None = None) -> Merged:
    """Merge as requested, in one transaction; without ``combine``, no two tables become one.

    With conflicts nothing is changed and the result lists them. Raises ``Guarded`` for what a guard refuses, and what
    ``Catalog.merge`` raises; a dry run tells of what guards refuse, and of what is tainted, in its result.
    """
    for attempt in range(TRIES):
        try:
            planned = plan(catalog, request, combine)
            return (
                planned.merged if request.dry_run or planned.merged.conflicts else _carry_out(catalog, request, planned)
            )
        except HeadMoved:
            if request.expected_target is not None or attempt == TRIES - 1:
                raise
            time.sleep(random.uniform(0, 0.005 * min(attempt, 10)))
    raise AssertionError("the last attempt returns or raises")


def plan(catalog: Catalog, request: MergeRequest, combine: Combine | None = None) -> Plan:
    """What the request comes to on the present heads. Raises as ``merge`` does, but changes nothing."""
    source, target = catalog.resolve(request.source), catalog.resolve(request.target)
    if request.expected_target is not None and request.expected_target != target.id:
        raise HeadMoved(
            f"{request.target!r} is at {short(target.id)}, not at {short(request.expected_target)} as expected; "
            "look at its new head and merge again"
        )
    result, tainted = _dry_run(catalog, request, source, target)
    settled, how, why_not = _settle(catalog, request, result.conflicts, combine)
    _check_taken(request, result.conflicts)
    entries = {one.key: one.entry for one in settled}
    changes = tuple(sorted((*result.changes, *_changed(settled)), key=lambda change: change.key))
    refused, passed = _guard(catalog, request, source, target, changes, entries)
    merged = dataclasses.replace(
        Merged(**vars(result)),
        changes=changes,
        conflicts=tuple(conflict for conflict in result.conflicts if conflict.key not in entries),
        settled=how,
        not_settled=why_not,
        refusals=refused,
        tainted=tainted,
    )
    return Plan(source=source, target=target, merged=merged, settled=settled, passed=passed)


def _dry_run(catalog: Catalog, request: MergeRequest, source: Commit, target: Commit) -> tuple[MergeResult, str | None]:
    try:
        return _merge(catalog, request, source, target, dry_run=True), None
    except TaintedError as error:
        if not request.dry_run:
            raise
        return _merge(catalog, dataclasses.replace(request, accept_tainted=True), source, target, dry_run=True), str(
            error
        )


def _carry_out(catalog: Catalog, request: MergeRequest, planned: Plan) -> Merged:
    """Raises ``Guarded``; ``HeadMoved`` if a branch moved since."""
    if planned.merged.refusals:
        raise Guarded(guards.message(f"merging {request.source!r} into {request.target!r}", planned.merged.refusals))
    provenance = {**request.provenance, **_noted(planned)}
    result = _merge(
        catalog,
        dataclasses.replace(request, provenance=provenance),
        planned.source,
        planned.target,
        settled=planned.settled,
    )
    return Merged(**vars(result), settled=planned.merged.settled)


def _merge(
    catalog: Catalog,
    request: MergeRequest,
    source: Commit,
    target: Commit,
    *,
    dry_run: bool = False,
    settled: Sequence[Settled] = (),
) -> MergeResult:
    return catalog.merge(
        request.source,
        request.target,
        author=request.author,
        message=request.message or f"Merge {request.source} into {request.target}",
        expected_target=target.id,
        expected_source=source.id,
        run=request.run,
        provenance=request.provenance,
        dry_run=dry_run,
        accept_tainted=request.accept_tainted,
        # What was accepted, or let pass, is to be read in a commit.
        fast_forward=request.fast_forward and not (request.accept_tainted or request.allow),
        settled=settled,
        reads=request.reads,
    )


def _noted(planned: Plan) -> dict[str, Any]:
    """What the merge's commit says of decisions that were taken for it."""
    settled = {str(one.key): one.how for one in planned.merged.settled}
    passed = [{"guard": refusal.guard, "table": str(refusal.key), "why": refusal.why} for refusal in planned.passed]
    return {**({"settled": settled} if settled else {}), **({"allowed": passed} if passed else {})}


# conflicts


def _settle(
    catalog: Catalog, request: MergeRequest, conflicts: Sequence[Conflict], combine: Combine | None
) -> tuple[tuple[Settled, ...], tuple[SettledHow, ...], tuple[NotSettled, ...]]:
    settled: list[Settled] = []
    how: list[SettledHow] = []
    why_not: list[NotSettled] = []
    taken = [(conflict, request.take.get(conflict.key, request.take_all)) for conflict in conflicts]
    sides = catalog.contents(
        {one for conflict, take in taken if take is not None if (one := _side(conflict, take)) is not None}
    )
    read = {conflict.key for conflict in conflicts if conflict.kind is ConflictKind.READ_CHANGED}
    for conflict, take in taken:
        if conflict.key in read:
            if take is not None:
                why_not.append(NotSettled(key=conflict.key, why="what was read from it would still be another"))
            continue
        entry: Entry | NotCombined | None
        if take in ("ours", "theirs"):
            entry = sides.get(_side(conflict, take) or "")
        elif combine is None or not _are_tables(conflict):
            if take is not None:
                why_not.append(NotSettled(key=conflict.key, why="only two tables that were one before can be combined"))
            continue
        else:
            entry = combine(conflict, take == "both")
            if not isinstance(entry, TableEntry):
                why_not.append(NotSettled(key=conflict.key, why=entry.why))
                continue
        settled.append(Settled(key=conflict.key, source=conflict.source, target=conflict.target, entry=entry))
        how.append(SettledHow(key=conflict.key, how=take or "combined"))
    return tuple(settled), tuple(how), tuple(why_not)


def _side(conflict: Conflict, take: Take) -> str | None:
    return {"ours": conflict.target, "theirs": conflict.source}.get(take)


def _are_tables(conflict: Conflict) -> bool:
    """Whether something stands on both sides and stood before; what, is for ``combine`` to say."""
    return None not in (conflict.base, conflict.source, conflict.target)


def _check_taken(request: MergeRequest, conflicts: Iterable[Conflict]) -> None:
    """Raise ``ConfigError`` for a choice about a table that is no conflict: it may be misspelt."""
    keys = {conflict.key for conflict in conflicts}
    beside = sorted(str(key) for key in request.take.keys() - keys)
    if beside:
        there = f"; conflicts: {', '.join(map(str, sorted(keys)))}" if keys else ""
        raise ConfigError(
            f"nothing is to be taken of {', '.join(beside)}, which is no conflict between {request.source!r} and "
            f"{request.target!r}{there}; leave it out"
        )


def _changed(settled: Iterable[Settled]) -> Iterable[Change]:
    for one in settled:
        after = content_id(one.entry) if one.entry is not None else None
        if after != one.target:
            yield Change(key=one.key, before=one.target, after=after)


# guards


def _guard(
    catalog: Catalog,
    request: MergeRequest,
    source: Commit,
    target: Commit,
    changes: Sequence[Change],
    made: Mapping[Key, Entry | None],
) -> tuple[tuple[Refusal, ...], tuple[Refusal, ...]]:
    """What guards refuse of the changes, and what they would but were told to let pass. ``made``: entries by key."""
    both = [change for change in changes if change.before is not None and change.after is not None]
    ids = {one for change in both for one in (change.before, change.after) if one is not None}
    entries: dict[str, Entry] = catalog.contents(ids) if ids else {}
    entries.update({content_id(entry): entry for entry in made.values() if entry is not None})
    found = [
        refusal
        for change in both
        for refusal in guards.refusals(change.key, entries.get(change.before or ""), entries.get(change.after or ""))
    ]
    if any(refusal.guard == "schema" for refusal in found) and not is_protected(catalog, request.target):
        found = [refusal for refusal in found if refusal.guard != "schema"]
    passed = [one for one in found if one.guard in request.allow or one.guard in _allowed(catalog, source, one.key)]
    refused = [_with_author(catalog, target, one) for one in found if one not in passed]
    return tuple(refused), tuple(passed)


def is_protected(catalog: Catalog, branch: str) -> bool:
    """Whether a branch is protected."""
    return any(ref.protected for ref in catalog.refs(RefKind.BRANCH) if ref.name == branch)


def _allowed(catalog: Catalog, source: Commit, key: Key) -> Collection[str]:
    last = catalog.last_change(source.id, key)
    return guards.allowed_by(last.provenance, key) if last is not None else ()


def _with_author(catalog: Catalog, target: Commit, refusal: Refusal) -> Refusal:
    last = catalog.last_change(target.id, refusal.key)
    if last is None:
        return refusal
    by = f"run {last.run[:8]}" if last.run is not None else f"commit {short(last.id)}"
    return dataclasses.replace(refusal, why=f"{refusal.why} (last written by {last.author}, {by})")
