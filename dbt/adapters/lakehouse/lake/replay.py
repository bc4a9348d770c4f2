"""What a run did, step by step, as its commits keep it; and each step done again on another branch.

A step is a build, a view, or a statement. Rows that came from outside of the lake (seeds, imports) are data, not code: the
table that was made of them is taken as it was. So is what a commit says too little of.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import (
    Change,
    Commit,
    FunctionEntry,
    Key,
    RunRecord,
    RunStatus,
    SchemaEntry,
    TableEntry,
    ViewEntry,
    kind_of,
)
from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.errors import ConflictError, JobCancelled, LakehouseError, NotInLake, RefNotFound
from dbt.adapters.lakehouse.jobs.function import called
from dbt.adapters.lakehouse.lake.base import Name, Run, Session
from dbt.adapters.lakehouse.run.recipe import build_of, unpacked, view_of, whole
from dbt.adapters.lakehouse.run.tokens import tokenize
from dbt.adapters.lakehouse.run.values import Build, Function, View

CODE = "it is a function, which is nothing but its code, and was taken as it was"
DATA = "its rows came from outside of the lake: they are data, not code, and were taken as they were"
UNKNOWN = "its commit does not say how it was made, so that it was taken as it was"
STAGED = "its batches were staged by an earlier run, whose code is not known here; they were taken as they were"

_LOG = 256
_KEPT = ("raw_code", "path", "allow")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to do again: ``builds``, a ``view`` (after its ``setup``), or a ``statement``; else the entries that its
    ``commit`` left at ``keys`` are to be ``taken``, which says why.

    ``needs`` are keys that it reads. ``defines`` are macros to make before it, ``refs`` what other refs led to then. ``kept``
    is what the new commit is to say as the old one did.
    """

    commit: Commit
    keys: tuple[Key, ...]
    node: str | None = None
    builds: tuple[Build, ...] = ()
    view: View | None = None
    setup: tuple[str, ...] = ()
    statement: str | None = None
    taken: str | None = None
    needs: frozenset[Key] = frozenset()
    defines: tuple[str, ...] = ()
    refs: tuple[tuple[str, str], ...] = ()
    kept: Mapping[str, Any] = field(default_factory=dict)

    @property
    def continues(self) -> bool:
        """Whether it starts from what stands at its keys."""
        return bool(self.statement) or any(build.mode != "create" for build in self.builds)


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of a step; ``why`` it failed, was left out, or was not computed."""

    step: Step
    outcome: Literal["done", "taken", "failed", "skipped"]
    why: str | None = None
    rows: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Past:
    """A run that is over: the state that it started from (``base``) and the last one of its own (``head``), as commits."""

    record: RunRecord
    base: Commit
    head: Commit
    steps: tuple[Step, ...]


_MOVES = ("lakehouse revert", "lakehouse reset")
"""Commands that make runs, on protected branches, in which nothing is computed."""


def past(catalog: Catalog, run: str, database: str) -> Past:
    """A run by its id or the first digits of it. Raises ``RefNotFound``, ``ConflictError`` while it is at work."""
    record = catalog.run(run)
    if record is None:
        raise RefNotFound(f"no run {run!r}; `lakehouse runs` shows which there are")
    if record.status is RunStatus.OPEN:
        raise ConflictError(f"run {short(record.id)} is still at work; run it again once it has ended")
    base, head = catalog.resolve(record.base), _head(catalog, record)
    commits = _between(catalog, base, head)
    steps = [*_unwritten(catalog, record, base, commits, database)]
    for commit in commits:
        steps += _steps(commit, catalog.changes(commit.id), database)
    if not steps:
        raise NotInLake(f"run {short(record.id)} wrote nothing that could be run again")
    if all(step.taken for step in steps) and any(step.taken not in (CODE, DATA) for step in steps):
        if record.command in _MOVES:
            raise NotInLake(f"run {short(record.id)} was `{record.command}`, which puts back what others computed")
        raise NotInLake(
            f"run {short(record.id)} cannot be run again: its commits do not say how what they hold was made, as those of "
            "earlier versions of dbt-lakehouse do not; runs from now on can"
        )
    return Past(record=record, base=base, head=head, steps=tuple(steps))


def _head(catalog: Catalog, record: RunRecord) -> Commit:
    if record.published is not None:
        published = catalog.resolve(record.published)
        return catalog.resolve(published.parents[1]) if len(published.parents) > 1 else published
    try:
        return catalog.resolve(record.branch)
    except RefNotFound as error:
        raise RefNotFound(
            f"run {short(record.id)} ({record.status.value}) left nothing to run again: its branch {record.branch!r} is gone"
        ) from error


def _between(catalog: Catalog, base: Commit, head: Commit) -> list[Commit]:
    """The commits after ``base`` up to ``head``, oldest first."""
    limit = _LOG
    while True:
        commits = catalog.log(head.id, limit)
        ids = [commit.id for commit in commits]
        if base.id in ids:
            return commits[: ids.index(base.id)][::-1]
        if len(commits) < limit:
            raise RefNotFound(f"commit {short(base.id)}, which the run started from, is no longer in its history")
        limit *= 8


def _unwritten(
    catalog: Catalog, record: RunRecord, base: Commit, commits: Sequence[Commit], database: str
) -> Iterator[Step]:
    """Nodes that were reused and stood there already: their code is in the commits that put them there."""
    reused = [node for node, said in record.nodes.items() if isinstance(said, Mapping) and "reused" in said]
    written = {change.key for commit in commits for change in catalog.changes(commit.id)}
    standing = catalog.entries(base.id) if reused else {}
    at = {entry.node: key for key, entry in standing.items() if isinstance(entry, TableEntry)}
    for node in reused:
        key = at.get(node)
        if key is None or key in written:
            continue
        commit = catalog.last_change(base.id, key)
        for step in _steps(commit, catalog.changes(commit.id), database) if commit is not None else ():
            # What it started from then does not stand there any more, and what it made of that is nothing new.
            if step.keys == (key,) and step.builds and not step.continues:
                yield step


def _steps(commit: Commit, changes: Iterable[Change], database: str) -> Iterator[Step]:
    """What a commit did."""
    said = commit.provenance
    changes = [change for change in changes if change.key.name]
    keys = tuple(change.key for change in changes)
    around: dict[str, Any] = {
        "commit": commit,
        "defines": tuple(said.get("definitions") or ()),
        "refs": tuple((said.get("refs") or {}).items()),
        "needs": _needs(said.get("inputs") or {}),
        "node": said.get("node"),
        "kept": {name: said[name] for name in _KEPT if name in said},
    }
    if said.get("statement") is not None:
        yield Step(keys=keys, statement=said["statement"], **around)
    elif said.get("recalled"):
        recipes = {Key(*one["relation"]): one for one in unpacked(said["recipes"])} if "recipes" in said else {}
        for change in changes:
            needs = _needs((said["recalled"].get(str(change.key)) or {}).get("inputs") or {})
            yield _recalled(change.key, recipes.get(change.key), {**around, "needs": needs}, database)
    elif said.get("mode") == "batches":
        builds = tuple(build_of(one, database) for one in unpacked(said["recipes"])) if "recipes" in said else ()
        yield Step(keys=keys, builds=builds, taken=None if builds else STAGED, **around)
    elif said.get("mode") == "function":
        yield Step(keys=keys, taken=CODE, **around)
    else:
        recipe = whole(said)
        yield (_made(keys, recipe, around, database) if recipe else Step(keys=keys, taken=UNKNOWN, **around))


def _recalled(key: Key, recipe: Mapping[str, Any] | None, around: dict[str, Any], database: str) -> Step:
    """One of the tables that a commit put in place at once."""
    if recipe is None:
        return Step(keys=(key,), taken=UNKNOWN, **around)
    return _made((key,), recipe, {**around, "node": recipe.get("node")}, database)


def _made(keys: tuple[Key, ...], recipe: Mapping[str, Any], around: dict[str, Any], database: str) -> Step:
    if recipe.get("mode") == "view":
        view, setup = view_of(recipe, database)
        return Step(keys=keys, view=view, setup=setup, **around)
    if recipe.get("local") or recipe.get("from_caller"):
        return Step(keys=keys, taken=DATA, **around)
    return Step(keys=keys, builds=(build_of(recipe, database),), **around)


def _needs(inputs: Mapping[str, str]) -> frozenset[Key]:
    """Keys of the run's own state among recorded inputs; of a name with more dots nobody knows which part is the schema."""
    return frozenset(Key(*name.split(".")) for name in inputs if "@" not in name and name.count(".") == 1)


class Replay:
    """Does steps again in a run. What reads the result of a step that failed is left out."""

    def __init__(self, run: Run, database: str) -> None:
        self._run = run
        self._database = database
        self._lost: set[Key] = set()

    def do(self, step: Step) -> Done:
        """Do one step; steps come in the order in which they were done. Raises ``JobCancelled``."""
        missing = sorted((step.needs | (set(step.keys) if step.continues else set())) & self._lost)
        if missing:
            self._lost.update(step.keys)
            return Done(step=step, outcome="skipped", why=f"it counts on {', '.join(map(str, missing))}")
        started = time.perf_counter()
        try:
            # Each in a session of its own: what one left there must not reach another by chance.
            with contextlib.closing(self._run.session()) as session:
                for text in step.defines:
                    session.execute(text)
                rows = self._make(step, session) if step.taken is None else None
                if step.taken is not None:
                    self._take(step, session)
        except JobCancelled:
            raise
        except LakehouseError as error:
            self._lost.update(step.keys)
            return Done(step=step, outcome="failed", why=str(error), seconds=time.perf_counter() - started)
        self._lost.difference_update(step.keys)
        return Done(
            step=step,
            outcome="done" if step.taken is None else "taken",
            why=step.taken,
            rows=rows,
            seconds=time.perf_counter() - started,
        )

    def _make(self, step: Step, session: Session) -> int | None:
        if step.view is not None:
            view = step.view
            more: dict[str, Any] = {
                "comment": view.comment,
                "column_comments": view.column_comments,
                "setup": step.setup,
            }
            session.create_view(view.name, view.sql, node=view.node, rebuild=True, provenance=step.kept, **more)
            return None
        if step.statement is not None:
            rows: int | None = session.execute(pinned(step.statement, step.refs, self._database)).rows_affected
            return rows
        builds = [
            replace(_pinned_build(build, step.refs, self._database), provenance=step.kept) for build in step.builds
        ]
        return sum(session.build(build).rows_written for build in builds)

    def _take(self, step: Step, session: Session) -> None:
        """Put the tables and views in place that the commit left."""
        for key in step.keys:
            here = Name(database=self._database, schema=key.schema, name=key.name)
            there = replace(here, database=f"{self._database}@{step.commit.id}")
            then, now = session.lookup(there), session.lookup(here)
            if isinstance(then, TableEntry):
                kind = kind_of(then).replace("_", " ").upper()
                session.execute(f"CREATE OR REPLACE {kind} {_called(here, then)} CLONE {there}")
            elif isinstance(then, ViewEntry):
                session.create_view(_called(here, then), then.sql, node=then.node, comment=then.comment, rebuild=True)
            elif isinstance(then, FunctionEntry):
                name = replace(here, name=called(then.name))
                function = Function(name=name, definition=then.definition, node=then.node, comment=then.comment)
                session.create_function(function, rebuild=True)
            elif isinstance(now, FunctionEntry):
                session.execute(f"DROP FUNCTION {replace(here, name=called(now.name))}")
            elif now is not None and not isinstance(now, SchemaEntry):
                session.execute(f"DROP {kind_of(now).replace('_', ' ').upper()} {here}")


def _called(name: Name, entry: TableEntry | ViewEntry) -> Name:
    return replace(name, schema=entry.schema, name=entry.name)


def pinned(sql: str, refs: Iterable[tuple[str, str]], database: str) -> str:
    """A statement in which other refs are the commits that they led to."""
    to = {f"{database}@{ref}".lower(): f'"{database}@{commit}"' for ref, commit in refs}
    if not to:
        return sql
    raw = sql.encode()
    for token in reversed(tokenize(sql)):
        if token.is_name and token.name.lower() in to:
            raw = raw[: token.start] + to[token.name.lower()].encode() + raw[token.end :]
    return raw.decode()


def _pinned_build(build: Build, refs: tuple[tuple[str, str], ...], database: str) -> Build:
    if not refs:
        return build
    if build.python is not None:
        source = build.python
        code, reads = source.code, source.reads
        for ref, commit in refs:
            # dbt writes the names of relations into the code as they are in SQL.
            old, new = f'"{database}@{ref}"', f'"{database}@{commit}"'
            code, reads = code.replace(old, new), tuple(name.replace(old, new) for name in reads)
        return replace(build, python=replace(source, code=code, reads=reads))
    texts = {"statements": build.statements, "setup": build.setup}
    changed: dict[str, Any] = {
        name: tuple(pinned(text, refs, database) for text in found) for name, found in texts.items()
    }
    return replace(build, sql=pinned(build.sql or "", refs, database), **changed)
