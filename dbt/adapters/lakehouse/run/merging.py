"""The one door through which states of the lake are merged: plan, settle conflicts, guard, then merge what was planned.

What was planned is what is merged: the source must be at the commit that the plan was made for, and the target get the very
changes that the guards have seen. Else the plan is made anew, unless the request says where the branches must be.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

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
    content_id,
)
from dbt.adapters.lakehouse.catalog.refs import is_run_name, short
from dbt.adapters.lakehouse.errors import ConfigError, Guarded, HeadMoved, TaintedError
from dbt.adapters.lakehouse.run import guards, reads
from dbt.adapters.lakehouse.run.rewriting import refuse_if_reset
from dbt.adapters.lakehouse.run.values import Merged, MergeRequest, NotSettled, Refusal, SettledHow, Take
from dbt.adapters.lakehouse.settings import LakeSettings

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.run.combining import NotCombined

TRIES = 20
"""So many times a merge is planned while others keep changing the same tables; each time, one of them got through."""


class Combine(Protocol):
    """Makes one table, view or function of the two of a conflict. See ``combining.combine``."""

    def __call__(self, conflict: Conflict, *, asked: bool, dry_run: bool) -> Entry | NotCombined:
        """Its entry, or why there is none."""
        ...


def combiner(catalog: Catalog, settings: LakeSettings) -> Combine:
    """Combines tables of a lake."""

    def combine(conflict: Conflict, *, asked: bool, dry_run: bool) -> Entry | NotCombined:
        # Imported late: most merges have no conflicts, and need nothing of what reads Iceberg.
        from dbt.adapters.lakehouse.run import combining

        return combining.combine(catalog, settings, conflict, asked=asked, dry_run=dry_run)

    return combine


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A merge as it would be, of one commit: how conflicts are settled, what guards were told to let pass.

    ``changes`` are those of no conflict. Nothing was written: tables that are to be combined are not there yet.
    """

    source: Commit
    merged: Merged
    changes: tuple[Change, ...]
    conflicts: tuple[Conflict, ...] = ()
    reads: Mapping[Key, str | None] | None = None
    passed: tuple[Refusal, ...] = ()


def merge(catalog: Catalog, request: MergeRequest, combine: Combine | None = None) -> Merged:
    """Merge as requested, in one transaction; without ``combine``, no two tables become one.

    With conflicts nothing is changed and the result lists them. Raises ``Guarded`` for what a guard refuses, and what
    ``Catalog.merge`` raises; a dry run tells of what guards refuse, and of what is tainted, in its result.
    """
    for attempt in range(TRIES):
        try:
            planned = plan(catalog, request, combine)
            if request.dry_run or planned.merged.conflicts:
                return planned.merged
            return _carry_out(catalog, request, planned, combine)
        except HeadMoved:
            if request.expected_target or request.expected_source or attempt == TRIES - 1:
                raise
            time.sleep(random.uniform(0, 0.005 * min(attempt, 10)))
    raise AssertionError("the last attempt returns or raises")


def plan(catalog: Catalog, request: MergeRequest, combine: Combine | None = None) -> Plan:
    """What the request comes to on the present heads. Raises as ``merge`` does, but changes nothing."""
    source, target = catalog.resolve(request.source), catalog.resolve(request.target)
    if request.expected_source is not None and request.expected_source != source.id:
        raise HeadMoved(
            f"{request.source!r} moved from {short(request.expected_source)} to {short(source.id)}; "
            "look at it and merge again"
        )
    if request.run is not None and not request.dry_run:
        refuse_if_reset(catalog, request.run, request.target, target.id)
    if request.reads is None and is_run_name(request.source):
        request = dataclasses.replace(request, reads=reads.of_branch(catalog, request.source, source))
    result, tainted = _dry_run(catalog, request, source)
    settled, how, why_not = _settle(catalog, request, result.conflicts, combine, dry_run=True)
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
        made=_made(how, entries) if request.dry_run else (),
    )
    return Plan(
        source=source,
        merged=merged,
        changes=result.changes,
        conflicts=result.conflicts,
        reads=request.reads,
        passed=passed,
    )


def _made(how: Iterable[SettledHow], entries: Mapping[Key, Entry | None]) -> tuple[Entry, ...]:
    """Entries that no side has."""
    made = (entries[one.key] for one in how if one.how in ("both", "combined"))
    return tuple(entry for entry in made if entry is not None)


def _dry_run(catalog: Catalog, request: MergeRequest, source: Commit) -> tuple[MergeResult, str | None]:
    try:
        return _merge(catalog, request, source, dry_run=True), None
    except TaintedError as error:
        if not request.dry_run:
            raise
        accepting = dataclasses.replace(request, accept_tainted=True)
        return _merge(catalog, accepting, source, dry_run=True), str(error)


def _carry_out(catalog: Catalog, request: MergeRequest, planned: Plan, combine: Combine | None) -> Merged:
    """Raises ``Guarded``; ``HeadMoved`` if a branch moved since."""
    if planned.merged.refusals:
        raise Guarded(guards.message(f"merging {request.source!r} into {request.target!r}", planned.merged.refusals))
    request = dataclasses.replace(request, reads=planned.reads)
    settled, _, _ = _settle(catalog, request, planned.conflicts, combine, dry_run=False)
    request = dataclasses.replace(request, provenance={**request.provenance, **_noted(planned)})
    result = _merge(catalog, request, planned.source, settled=settled, expected=(*planned.changes, *_changed(settled)))
    if result.conflicts:
        raise HeadMoved(
            f"branch {request.target!r} changed meanwhile at {', '.join(str(one.key) for one in result.conflicts[:5])}; "
            "look at its new head and merge again"
        )
    return Merged(**vars(result), settled=planned.merged.settled)


def _merge(
    catalog: Catalog,
    request: MergeRequest,
    source: Commit,
    *,
    dry_run: bool = False,
    settled: Sequence[Settled] = (),
    expected: Sequence[Change] | None = None,
) -> MergeResult:
    return catalog.merge(
        request.source,
        request.target,
        author=request.author,
        message=request.message or f"Merge {request.source} into {request.target}",
        expected_target=request.expected_target,
        expected_source=source.id,
        expected_changes=expected,
        run=request.run,
        provenance=request.provenance,
        dry_run=dry_run,
        accept_tainted=request.accept_tainted,
        fast_forward=request.fast_forward
        and not _is_for_a_commit(request)
        and not is_protected(catalog, request.target),
        settled=settled,
        reads=request.reads,
    )


def _is_for_a_commit(request: MergeRequest) -> bool:
    """Whether a merge is to be read in a commit of its own: what was accepted, or let pass, and what runs publish."""
    return bool(request.accept_tainted or request.allow or request.run or is_run_name(request.source))


def _noted(planned: Plan) -> dict[str, Any]:
    """What the merge's commit says of decisions that were taken for it."""
    settled = {str(one.key): one.how for one in planned.merged.settled}
    passed = [{"guard": refusal.guard, "table": str(refusal.key), "why": refusal.why} for refusal in planned.passed]
    return {**({"settled": settled} if settled else {}), **({"allowed": passed} if passed else {})}


# conflicts


def _settle(
    catalog: Catalog,
    request: MergeRequest,
    conflicts: Sequence[Conflict],
    combine: Combine | None,
    *,
    dry_run: bool,
) -> tuple[tuple[Settled, ...], tuple[SettledHow, ...], tuple[NotSettled, ...]]:
    settled: list[Settled] = []
    how: list[SettledHow] = []
    why_not: list[NotSettled] = []
    taken = [(conflict, request.take.get(conflict.key, request.take_all)) for conflict in conflicts]
    sides = catalog.contents(
        {one for conflict, take in taken if take is not None if (one := _side(conflict, take)) is not None}
    )
    read = {conflict.key for conflict in conflicts if _is_about_reads(conflict, request.reads or {})}
    for conflict, take in taken:
        if conflict.key in read:
            if take is not None:
                why_not.append(NotSettled(key=conflict.key, why="what was read from it would still be another"))
            continue
        entry: Entry | None
        if take in ("ours", "theirs"):
            entry = sides.get(_side(conflict, take) or "")
        elif combine is None:
            continue
        else:
            made = combine(conflict, asked=take == "both", dry_run=dry_run)
            if not isinstance(made, Entry):
                why_not.append(NotSettled(key=conflict.key, why=made.why))
                continue
            entry = made
        settled.append(Settled(key=conflict.key, source=conflict.source, target=conflict.target, entry=entry))
        how.append(SettledHow(key=conflict.key, how=take or "combined"))
    return tuple(settled), tuple(how), tuple(why_not)


def _is_about_reads(conflict: Conflict, read: Mapping[Key, str | None]) -> bool:
    """Whether what the source read of a key is not what the target has: no choice between tables helps there."""
    return conflict.kind is ConflictKind.READ_CHANGED or read.get(conflict.key, conflict.target) != conflict.target


def _side(conflict: Conflict, take: Take) -> str | None:
    return {"ours": conflict.target, "theirs": conflict.source}.get(take)


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


@runtime_checkable
class Protecting(Protocol):
    """A catalog that protects more branches than are marked so."""

    def protects(self, branch: str) -> bool:
        """Whether a branch counts as protected."""
        ...


def is_protected(catalog: Catalog, branch: str) -> bool:
    """Whether a branch is protected."""
    if isinstance(catalog, Protecting):
        return catalog.protects(branch)
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
