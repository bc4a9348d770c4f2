"""Going back: what a commit changed is undone, or tables are put back as they were. And what is stale.

Nothing is taken out of history: what goes back is a new commit, which can be gone back from in the same way.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import (
    Change,
    Commit,
    Conflict,
    ConflictKind,
    Entry,
    Key,
    Ref,
    SchemaEntry,
    content_id,
)
from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.errors import ConfigError, NotInLake, RefNotFound
from dbt.adapters.lakehouse.run import provenance
from dbt.adapters.lakehouse.run.dependants import Dependant, Plan, Planner
from dbt.adapters.lakehouse.run.going_back import Reverted, RevertRequest
from dbt.adapters.lakehouse.run.provenance import Past, Stale, State, same
from dbt.adapters.lakehouse.run.rewriting import Rewrite, branch_of, id_of, refuse_collected, tainted_runs

Contents = Callable[[Iterable[str]], Mapping[str, Entry]]
"""See ``Catalog.contents``. Whoever may not see all that went into an entry still is to be told that it is gone."""


def revert(catalog: Catalog, request: RevertRequest, contents: Contents | None = None) -> Reverted:
    """Undo a commit, or put tables back, in one new commit. ``contents`` knows what entries were computed from.

    With conflicts, or with dependants that nothing was said of, nothing is changed and the result lists them. Raises
    ``RefNotFound``, ``NotInLake``, ``HeadMoved`` (the branch moved meanwhile), ``TaintedError``.
    """
    branch = branch_of(catalog, request.branch, request.expected)
    now = catalog.entries(branch.commit)
    wish = _undone(catalog, request, branch, now) if request.commit is not None else _put_back(catalog, request, now)
    past = _past(contents or catalog.contents, (*now.values(), *wish.then.values()))
    planner = Planner(now=now, then=wish.then, past=past, together=_Together(catalog, branch.commit, now))
    plan = Plan(puts=wish.goals) if wish.conflicts else planner.plan(wish.goals)
    kept, open_ = _chosen(request, plan)
    puts = {key: plan.puts[key] for key in plan.puts if key in wish.goals or key in kept}
    if request.knowingly:
        # What is not taken along may be what others need that go back.
        left = [one for one in planner.unfounded(puts) if one not in open_]
        plan, open_ = dataclasses.replace(plan, dependants=(*plan.dependants, *left)), [*open_, *left]
    changes = _changes(now, _with_schemas(now, wish.then, puts))
    refused = bool(wish.conflicts or (open_ and not request.knowingly))
    result = Reverted(
        branch=branch.name,
        head=branch.commit,
        changes=changes,
        conflicts=wish.conflicts,
        dependants=_with_writers(catalog, branch.commit, plan.dependants),
        refused=refused,
    )
    if refused or not changes:
        return result
    tainted = tainted_runs(catalog, branch, wish.at, changes, accept=request.accept_tainted)
    if request.dry_run:
        refuse_collected(catalog, catalog.resolve(wish.at), puts)
        return result
    said = {**wish.said, **({"with_dependants": sorted(map(str, kept))} if kept else {})}
    said |= {"knowingly": sorted({str(one.key) for one in open_})} if open_ else {}
    said |= {"accepted_tainted": tainted} if tainted else {}
    change = Rewrite(
        branch=branch,
        puts=_with_schemas(now, wish.then, puts),
        now=now,
        author=request.author,
        message=request.message or wish.message,
        provenance={"command": "lakehouse revert", **said},
        accept_tainted=request.accept_tainted,
    )
    return dataclasses.replace(result, commit=change.apply(catalog))


@dataclass(frozen=True, kw_only=True)
class _Wish:
    """What was asked for: ``goals`` is what is to stand, ``then`` the state (at commit ``at``) that they are from."""

    at: str
    then: State
    goals: Mapping[Key, Entry | None]
    message: str
    said: Mapping[str, Any]
    conflicts: tuple[Conflict, ...] = ()


def _undone(catalog: Catalog, request: RevertRequest, branch: Ref, now: State) -> _Wish:
    assert request.commit is not None
    if request.tables or request.to is not None:
        raise ConfigError(
            "revert either undoes a commit, or puts tables back as they were at a ref: give one of the two"
        )
    commit = _reachable(catalog, branch, catalog.resolve(request.commit))
    if not commit.parents:
        raise ConfigError(f"commit {short(commit.id)} made the lake; there is nothing before it to go back to")
    parent = commit.parents[0]
    changes = catalog.changes(commit.id)
    known = catalog.contents({one for change in changes for one in (change.before, change.after) if one is not None})
    goals: dict[Key, Entry | None] = {}
    conflicts: list[Conflict] = []
    for change in changes:
        before, after = known.get(change.before or ""), known.get(change.after or "")
        verdict = _verdict(now.get(change.key), before, after)
        if verdict == "undo":
            goals[change.key] = before
        elif verdict == "conflict":
            conflicts.append(_conflict(catalog, branch.commit, change, now.get(change.key), commit))
    return _Wish(
        at=parent,
        then=catalog.entries(parent),
        goals=goals,
        conflicts=tuple(conflicts),
        message=f"Revert {_first_line(commit.message)!r} ({short(commit.id)})",
        said={"reverts": commit.id},
    )


def _verdict(stands: Entry | None, before: Entry | None, after: Entry | None) -> str:
    """What is to become of a key that a commit changed: ``undo`` it, nothing (``done``), or it is a ``conflict``."""
    if stands == after:
        return "undo"
    if stands == before or _but_for_inputs(before) == _but_for_inputs(after):
        return "done"
    if same(stands, after):
        return "undo"
    return "done" if same(stands, before) else "conflict"


def _but_for_inputs(entry: Entry | None) -> Entry | None:
    return entry if entry is None or isinstance(entry, SchemaEntry) else dataclasses.replace(entry, inputs={})


def _conflict(catalog: Catalog, head: str, change: Change, stands: Entry | None, commit: Commit) -> Conflict:
    gone = change.before is None or stands is None
    return Conflict(
        key=change.key,
        kind=ConflictKind.CHANGED_AND_DROPPED if gone else ConflictKind.BOTH_CHANGED,
        base=change.after,
        source=change.before,
        target=None if stands is None else content_id(stands),
        source_commit=commit,
        target_commit=catalog.last_change(head, change.key),
    )


def _reachable(catalog: Catalog, branch: Ref, commit: Commit) -> Commit:
    try:
        return catalog.resolve(f"{branch.commit}@{commit.id}")
    except RefNotFound as error:
        raise RefNotFound(
            f"commit {short(commit.id)} is not in the history of branch {branch.name!r}, so that there is nothing to undo; "
            f"`lakehouse log {branch.name} --all` shows what is"
        ) from error


def _put_back(catalog: Catalog, request: RevertRequest, now: State) -> _Wish:
    if request.to is None or not request.tables:
        raise ConfigError("revert takes a commit to undo, or tables and the ref to put them back to (`--to REF`)")
    at = catalog.resolve(request.to)
    then = catalog.entries(at.id)
    goals: dict[Key, Entry | None] = {}
    for key in request.tables:
        if key not in now and key not in then:
            known = sorted({str(one) for one in (*now, *then) if one.name})
            raise NotInLake(
                f"no table or view {key} on branch {request.branch!r} or at {request.to!r}{_like(str(key), known)}"
            )
        if now.get(key) != then.get(key):
            goals[key] = then.get(key)
    names = ", ".join(map(str, request.tables[:3])) + ("…" if len(request.tables) > 3 else "")
    return _Wish(
        at=at.id,
        then=then,
        goals=goals,
        message=f"Put back {names} as at {request.to}",
        said={"reverts": [str(key) for key in request.tables], "to": at.id},
    )


def _like(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else "; `lakehouse tables` shows what there is"


def _chosen(request: RevertRequest, plan: Plan) -> tuple[set[Key], list[Dependant]]:
    """Dependants that are taken along, and those that nothing is done about."""
    kept = {one.key for one in plan.dependants if one.becomes is not None} if request.with_dependants else set()
    return kept, [one for one in plan.dependants if one.becomes is None or one.key not in kept]


@dataclass(kw_only=False)
class _Together:
    """What the run that wrote an entry left on the branch beside it, and stands there still."""

    catalog: Catalog
    head: str
    now: State
    _of_runs: dict[str, list[Key]] = field(default_factory=dict)

    def __call__(self, key: Key) -> list[Key]:
        by = self.catalog.last_change(self.head, key)
        if by is None or by.run is None:
            return []
        if by.run not in self._of_runs:
            self._of_runs[by.run] = self._of_run(by.run)
        return self._of_runs[by.run]

    def _of_run(self, run: str) -> list[Key]:
        record = self.catalog.run(run)
        if record is None or record.published is None:
            return []
        return [
            change.key
            for change in self.catalog.changes(record.published)
            if (stands := self.now.get(change.key)) is not None and content_id(stands) == change.after
        ]


def _with_writers(catalog: Catalog, head: str, found: Iterable[Dependant]) -> tuple[Dependant, ...]:
    return tuple(dataclasses.replace(one, by=catalog.last_change(head, one.key)) for one in found)


def _with_schemas(now: State, then: State, puts: Mapping[Key, Entry | None]) -> dict[Key, Entry | None]:
    """Puts, with the schemas that tables come back to, and without those that would be dropped under tables that stay."""
    result = dict(puts)
    stays = {key.schema for key in now if key.name and key not in puts}
    stays |= {key.schema for key, entry in puts.items() if key.name and entry is not None}
    for key, entry in puts.items():
        home = Key(key.schema, "")
        if key == home and entry is None and key.schema in stays:
            del result[key]
        elif key.name and entry is not None and home not in now and home in then:
            result[home] = then[home]
    return result


def _changes(now: State, puts: Mapping[Key, Entry | None]) -> tuple[Change, ...]:
    found = [
        Change(key=key, before=id_of(now.get(key)), after=id_of(entry))
        for key, entry in sorted(puts.items(), key=_by_key)
    ]
    return tuple(change for change in found if change.before != change.after)


def _by_key(item: tuple[Key, Entry | None]) -> Key:
    return item[0]


def _past(contents: Contents, entries: Iterable[Entry]) -> Past:
    ids = provenance.recorded_ids(entries)
    return Past(contents(ids) if ids else {})


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


# stale


def stale(catalog: Catalog, ref: str, contents: Contents | None = None, *, who: bool = True) -> list[Stale]:
    """Entries at a ref that do not stand on what they were computed from; with ``who``, the commits that moved it."""
    commit = catalog.resolve(ref)
    state = catalog.entries(commit.id)
    found = list(provenance.stale(state, _past(contents or catalog.contents, state.values())).values())
    if not who:
        return found
    by: dict[Key, Commit | None] = {}
    for key in {moved.input for one in found for moved in one.moved}:
        by[key] = catalog.last_change(commit.id, key)
    return [
        dataclasses.replace(one, moved=tuple(dataclasses.replace(item, by=by[item.input]) for item in one.moved))
        for one in found
    ]
