"""A past run once more: its stored code, on the data that it saw, on a branch of its own; and what came out otherwise.

::

    rerun(lake, RerunRequest(run="3f2a91c0", author="ann"), database="lake")

Speaks to a lake by its protocols alone, so that it makes no difference where the lake is. The target of the past run is not
touched.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import Key, RefKind, RunRecord, RunStatus
from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.errors import Collected, ConfigError, Denied, JobCancelled, LakehouseError, RefExists
from dbt.adapters.lakehouse.lake.base import Lake, Run, RunRequest
from dbt.adapters.lakehouse.lake.compare import ColumnChange
from dbt.adapters.lakehouse.lake.replay import Done, Past, Replay, Step, past

COMMAND = "lakehouse rerun"
_MOST_NAMES = 100


@dataclass(frozen=True, kw_only=True)
class RerunRequest:
    """Which run is to be done again (its id or the first digits of it), by whom, and on which new branch.

    Without ``branch`` it is one called ``rerun/…``, which goes again if everything came out equal, unless ``keep`` says not.
    """

    run: str
    author: str
    branch: str | None = None
    keep: bool = False


@dataclass(frozen=True, kw_only=True)
class Retold:
    """A table or view that a run made, then and now.

    ``outcome``: ``equal``; ``differs``: in its ``columns`` (added, removed, retyped), or in the values of ``values``; ``taken``
    as it was, not computed; ``failed`` or ``skipped``: it could not be made. ``why`` says how that came, as far as it is known.
    """

    schema: str
    name: str
    kind: Literal["table", "view"] | None
    node: str | None
    outcome: Literal["equal", "differs", "taken", "failed", "skipped"]
    rows_before: int | None = None
    rows_after: int | None = None
    columns: tuple[ColumnChange, ...] = ()
    values: tuple[str, ...] = ()
    reordered: bool = False
    why: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """What came of it. ``branch`` holds it (None: it is gone, since everything was equal); ``commit`` is its last state.

    ``notes`` are what else a reader should know.
    """

    original: RunRecord
    run: str
    branch: str | None
    commit: str
    tables: tuple[Retold, ...]
    notes: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether all that was computed is what it was then."""
        return all(table.outcome in ("equal", "taken") for table in self.tables)


def rerun(
    lake: Lake, request: RerunRequest, *, database: str = "lake", tell: Callable[[str], object] = lambda _: None
) -> Rerun:
    """Do a past run again and compare. ``database`` is what SQL calls the lake; ``tell`` hears what is being done.

    Raises ``RefNotFound`` if the run is gone, ``Collected`` if what it saw is, ``ConflictError`` while it is at work,
    ``RefExists`` if the branch exists. What a step raises is part of the result.
    """
    # Imported late: comparing is the last thing, and the steps may not come to it.
    from dbt.adapters.lakehouse.lake.retold import Teller

    catalog = lake.catalog
    before = past(catalog, request.run, database)
    _check_names(before, database)
    branch = _branch(catalog, request, before)
    again = lake.open_run(_request(request, before, branch))
    try:
        done = _replay(again, before, database, tell)
        made = catalog.resolve(again.branch).id if again.branch is not None else before.base.id
        ended = _end(again, done, branch, made) if _passed(before) else _fail(catalog, again, done, branch, before)
        tell("comparing")
        with Teller(lake, before, made, done, database) as teller:
            tables = tuple(teller.tell(key) for key in _keys(before.steps))
    except BaseException as error:
        cancelled = isinstance(error, JobCancelled) or not isinstance(error, LakehouseError)
        again.fail(str(error) or "interrupted", abandoned=cancelled)
        _forget(catalog, branch)
        raise
    result = Rerun(
        original=before.record,
        run=again.request.id,
        branch=ended.branch,
        commit=made,
        tables=tables,
        notes=(*_notes(before), *ended.notes),
    )
    if result.equal and not request.keep and request.branch is None:
        _forget(catalog, branch)
        return Rerun(**{**vars(result), "branch": None})
    return result


def _check_names(before: Past, database: str) -> None:
    names = {step.commit.provenance.get("database", database) for step in before.steps}
    if others := sorted(names - {database}):
        raise ConfigError(
            f"the SQL of run {short(before.record.id)} calls the lake {others[0]!r}, and here it is called {database!r}; "
            "take the profile that the run was made with (--profile, --target)"
        )


def _branch(catalog: Catalog, request: RerunRequest, before: Past) -> str:
    """A new branch at the state that the run started from. Raises ``Collected`` if that is gone."""
    try:
        return _new_branch(catalog, request, before)
    except Collected as error:
        raise Collected(f"the data that run {short(before.record.id)} saw is gone with the garbage: {error}") from error


def _new_branch(catalog: Catalog, request: RerunRequest, before: Past) -> str:
    start = before.base.id
    if request.branch is not None:
        return catalog.create_ref(request.branch, RefKind.BRANCH, start).name
    name = f"rerun/{short(before.record.id)}"
    for number in range(2, _MOST_NAMES):
        try:
            return catalog.create_ref(name, RefKind.BRANCH, start).name
        except RefExists:
            name = f"rerun/{short(before.record.id)}-{number}"
        except Denied as error:
            raise Denied(f"{error}; name a branch that you may make with --branch") from error
    raise RefExists(f"there are many branches called {name!r} and alike; delete some, or name another with --branch")


def _request(request: RerunRequest, before: Past, branch: str) -> RunRequest:
    schemas = [step.commit.provenance.get("default_schema") for step in before.steps]
    return RunRequest(
        id=str(uuid.uuid4()),
        command=f"{COMMAND} {short(before.record.id)}",
        branch=branch,
        default_schema=next(filter(None, reversed(schemas)), "main"),
        author=request.author,
        message=f"Run {before.record.command} again (run {short(before.record.id)})",
        provenance={"command": COMMAND, "rerun_of": before.record.id},
    )


def _replay(run: Run, before: Past, database: str, tell: Callable[[str], object]) -> list[Done]:
    replay = Replay(run, database)
    done = []
    for number, step in enumerate(before.steps, 1):
        tell(f"{number} of {len(before.steps)}: {step.node or ', '.join(map(str, step.keys)) or step.commit.message}")
        done.append(replay.do(step))
    return done


@dataclass(frozen=True, kw_only=True)
class _Ended:
    branch: str | None
    notes: tuple[str, ...] = ()


def _end(run: Run, done: Sequence[Done], branch: str, made: str) -> _Ended:
    """End the run: on its new branch if every step was done, else left on its own."""
    nodes = _nodes(done)
    failed = [one for one in done if one.outcome == "failed"]
    kept = run.branch
    if failed:
        run.fail(f"{len(failed)} of {len(done)} steps failed", nodes)
        return _Ended(branch=kept or branch)
    try:
        run.publish(nodes)
    except LakehouseError as error:
        return _Ended(branch=kept or branch, notes=(f"what was made stays at commit {short(made)}: {error}",))
    return _Ended(branch=branch)


def _fail(catalog: Catalog, run: Run, done: Sequence[Done], branch: str, before: Past) -> _Ended:
    """End what repeats a run that did not pass: no better than that run, since its tests and what it left out are not made.

    The new branch is where it is to be looked at, as tainted as what the run wrote then.
    """
    record, own = before.record, run.branch
    run.fail(f"run {short(record.id)}, which it repeats, did not pass ({record.status.value})", _nodes(done))
    if own is None or any(one.outcome == "failed" for one in done):
        return _Ended(branch=own or branch)
    try:
        catalog.assign(branch, own, expected=before.base.id, accept_tainted=True)
    except LakehouseError as error:
        return _Ended(branch=own, notes=(f"what was made stays on branch {own}: {error}",))
    _forget(catalog, own)
    return _Ended(branch=branch)


def _passed(before: Past) -> bool:
    return before.record.status in (RunStatus.PASSED, RunStatus.PUBLISHED)


def _nodes(done: Sequence[Done]) -> dict[str, Any]:
    statuses = {"done": "success", "taken": "success", "failed": "error", "skipped": "skipped"}
    return {one.step.node: _said(statuses[one.outcome], one) for one in done if one.step.node is not None}


def _said(status: str, one: Done) -> Mapping[str, Any]:
    said: dict[str, Any] = {"status": status, "seconds": round(one.seconds, 6), "message": one.why}
    return said if one.rows is None else {**said, "rows": one.rows}


def _keys(steps: Sequence[Step]) -> list[Key]:
    """All that the steps made, in the order in which it was made first."""
    return list(dict.fromkeys(key for step in steps for key in step.keys))


def _notes(before: Past) -> list[str]:
    notes = []
    if any(step.commit.provenance.get("session_changed") for step in before.steps):
        notes.append(
            "settings and temporary tables that hooks made in their session are not kept, and were not made again"
        )
    if not _passed(before):
        notes.append(f"the run {before.record.status.value}, and was done again as far as it came")
    return notes


def _forget(catalog: Catalog, branch: str) -> None:
    """Delete the new branch; its commits stay until garbage is collected."""
    try:
        catalog.delete_ref(branch, expected=catalog.resolve(branch).id)
    except LakehouseError:
        return
