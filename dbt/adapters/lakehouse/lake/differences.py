"""In what two results of a node differ, and why its inputs did: followed from commit to commit up to the root cause."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import (
    Commit,
    Entry,
    Key,
    ReusableResult,
    RunRecord,
    SchemaEntry,
    TableEntry,
    content_id,
    differences,
    identity,
)
from dbt.adapters.lakehouse.errors import LakehouseError

Kind = Literal["mode", "code", "file", "macro", "input", "configuration", "engine", "environment", "time", "state"]

_RESULTS = 100
_DEEPEST = 20
_CONTEXT = 2
_HASHED = "sha256:"
_INPUT = "input "
_CALCULATED = ("view", "function")
_QUERY_COMMENT = re.compile(r'\A\s*/\* \{"app": "dbt".*?\} \*/\s*', re.DOTALL)
_OF_DBT = "# This part is user provided model code"
_KINDS: Mapping[str, Kind] = {
    "mode": "mode",
    "code": "code",
    "statements": "code",
    "matching": "code",
    "setup": "code",
    "file": "file",
    "engine": "engine",
    "python": "environment",
    "packages": "environment",
    "period": "time",
    "starts from": "state",
    "input itself": "state",
}
_ORDER: Sequence[Kind] = (
    "mode", "code", "file", "macro", "configuration", "environment", "engine", "time", "input", "state",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One part in which two results differ. None as a value: that result had no such part.

    ``diff`` are the lines of a unified diff, where both texts are known. ``because`` says of an input how it became another.
    """

    part: str
    kind: Kind
    before: str | None = None
    after: str | None = None
    diff: tuple[str, ...] = ()
    because: Cause | None = None


@dataclass(frozen=True, kw_only=True)
class Cause:
    """How a relation became what it is: who put it there, and in what it differs from what it was.

    ``not_reusable``: its node runs every time. ``told``: its differences stand elsewhere in the same answer. ``commit`` is
    None where nothing is known (or may be read) of that.
    """

    relation: str
    node: str | None = None
    kind: str = "table"
    is_new: bool = False
    commit: Commit | None = None
    differences: tuple[Difference, ...] = ()
    not_reusable: tuple[str, ...] = ()
    told: bool = False


@dataclass(frozen=True, kw_only=True)
class Version:
    """What stood at a key: the state (a commit's id) in which it did, and the commit that put it there."""

    key: Key
    state: str
    entry: Entry
    commit: Commit

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What its commit says of how it came about."""
        said = self.commit.provenance
        recalled: Mapping[str, Any] = said.get("recalled") or {}
        return {**said, **recalled.get(str(self.key), {})}

    @property
    def node(self) -> str | None:
        """The node that made it."""
        return None if isinstance(self.entry, SchemaEntry) else self.entry.node


@dataclass(frozen=True, kw_only=True)
class Place:
    """A key, and the state (a commit's id) to look it up in."""

    key: Key
    state: str


class History:
    """Reads versions and results, each once. What may not be read, or was collected, is as if it never was."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._results: dict[str, list[ReusableResult]] = {}

    def results(self, node: str) -> list[ReusableResult]:
        """What a node gave and may be reused, newest first."""
        if node not in self._results:
            self._results[node] = self.catalog.recall_node(node, _RESULTS)
        return self._results[node]

    def version(self, state: str, key: Key) -> Version | None:
        """What stands at a key in the state of a commit (id)."""
        try:
            entry = self.catalog.lookup(state, [key]).get(key)
            commit = self.catalog.last_change(state, key) if entry is not None else None
        except LakehouseError:
            return None
        return Version(key=key, state=state, entry=entry, commit=commit) if entry and commit else None

    def before(self, version: Version) -> Version | None:
        """What stood there before, in the state in which it was made."""
        parents = version.commit.parents
        found = self.version(parents[0], version.key) if parents else None
        return None if found is None else dataclasses.replace(found, state=found.commit.id)

    def inputs(self, version: Version) -> dict[str, tuple[str, Place]]:
        """What a version was computed from: the content id of each relation, and where it stood. By the relations' names
        alone, if those tell them apart: another schema does not make another input.

        A view is computed when it is read, and a function when it is called: they have what stands there in the state in
        which they were looked at.
        """
        if isinstance(version.entry, SchemaEntry):
            return {}
        names = list(version.entry.inputs)
        tables = [_split(name)[1] for name in names]
        found: dict[str, tuple[str, Place]] = {}
        for name, table in zip(names, tables, strict=True):
            state = name.partition("@")[2] or (
                version.state if version.entry.kind in _CALCULATED else version.commit.id
            )
            place = Place(key=Key(*_split(name)), state=state)
            content = version.entry.inputs[name]
            if version.entry.kind in _CALCULATED:
                there = self.at(place)
                content = content_id(there.entry) if there is not None else ""
            if place.key != version.key:
                found[table if tables.count(table) == 1 else name] = content, place
        return found

    def at(self, place: Place | None) -> Version | None:
        """What stands at a place."""
        return self.version(place.state, place.key) if place is not None else None

    def parts(self, version: Version) -> Mapping[str, str] | None:
        """What the version's fingerprint was made of."""
        found = self.result(version)
        return found.parts if found is not None else None

    def result(self, version: Version) -> ReusableResult | None:
        """The result that a version has, as it may be reused."""
        mark = version.provenance.get("fingerprint")
        if mark is None or version.node is None:
            return None
        return next((result for result in self.results(version.node) if result.fingerprint == mark), None)

    def run(self, run: str | None) -> RunRecord | None:
        """A run by its id."""
        if run is None:
            return None
        try:
            return self.catalog.run(run)
        except LakehouseError:
            return None

    def head(self, record: RunRecord) -> str | None:
        """The last state (a commit's id) of a run's own branch; None if it is gone."""
        try:
            if record.published is not None:
                parents = self.catalog.resolve(record.published).parents
                return parents[1] if len(parents) > 1 else record.published
            return self.catalog.resolve(record.branch).id
        except LakehouseError:
            return None

    def made(self, result: ReusableResult) -> Version | None:
        """A result as its run first put it into the lake."""
        record = self.run(result.run)
        head = self.head(record) if record is not None else None
        if head is None or result.entry is None:
            return None
        return self.version(head, Key(result.entry.schema, result.entry.name))

    def code(self, version: Version) -> tuple[str, str]:
        """A version's compiled code without what dbt adds to it, and the schema that it was compiled for."""
        if not {"sql", "python"} & version.provenance.keys():
            # What was known was not compiled again.
            result = self.result(version)
            version = (self.made(result) if result is not None else None) or version
        said = version.provenance
        schema = version.entry.schema
        if said.get("python"):
            return str(said["python"]).partition(_OF_DBT)[0].strip(), schema
        return without_comment(said.get("sql") or ""), schema


class Comparison:
    """Compares versions, and follows inputs that differ. Each relation is told of once."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._told: set[tuple[str, str, str]] = set()

    def of(self, old: Version, new: Version, depth: int = 0) -> tuple[Difference, ...]:
        """In what two versions of one node differ: by their fingerprints, else by what their commits say."""
        before, after = self._history.parts(old), self._history.parts(new)
        if before is not None and after is not None:
            found = list(self._of_parts(before, after, old, new, depth))
        else:
            found = list(self._of_commits(old, new, depth))
        return tuple(sorted(found, key=lambda one: (_ORDER.index(one.kind), one.part)))

    def of_parts(
        self,
        before: Mapping[str, str],
        after: Mapping[str, str],
        texts: tuple[str, str] | None,
        states: tuple[str | None, str | None],
    ) -> tuple[Difference, ...]:
        """As ``of`` for results that are no relations: tests. ``texts`` and ``states`` are those before and after."""
        found = []
        for part, (was, now) in differences(before, after).items():
            if part == "code" and texts is not None:
                found.append(Difference(part=part, kind="code", before=was, after=now, diff=lines_of(*texts)))
            elif part.startswith(_INPUT):
                there, here = (self._named(state, _label(part)) for state in states)
                cause = self._cause(there, here, 0)
                found.append(Difference(part=part, kind="input", before=was, after=now, because=cause))
            else:
                found.extend(_plain(part, was, now))
        return tuple(sorted(found, key=lambda one: (_ORDER.index(one.kind), one.part)))

    # by fingerprint

    def _of_parts(
        self, before: Mapping[str, str], after: Mapping[str, str], old: Version, new: Version, depth: int
    ) -> Iterator[Difference]:
        there, here = self._history.inputs(old), self._history.inputs(new)
        for part, (was, now) in differences(before, after).items():
            if part == "code":
                yield Difference(part=part, kind="code", before=was, after=now, diff=self._code_diff(old, new))
            elif part.startswith(_INPUT) and part not in _KINDS:
                label = _label(part)
                cause = self._cause(there.get(label, _NOWHERE)[1], here.get(label, _NOWHERE)[1], depth)
                yield Difference(part=part, kind="input", before=was, after=now, because=cause)
            else:
                yield from _plain(part, was, now)

    # by commit: views, and what is not reusable

    def _of_commits(self, old: Version, new: Version, depth: int) -> Iterator[Difference]:
        diff = self._code_diff(old, new)
        if diff:
            yield Difference(part="code", kind="code", diff=diff)
        if {old.provenance.get("mode"), new.provenance.get("mode")} > {"view"}:
            yield from _plain("mode", old.provenance.get("mode"), new.provenance.get("mode"))
        before, after = self._history.inputs(old), self._history.inputs(new)
        for name in sorted(before.keys() | after.keys()):
            (was, there), (now, here) = before.get(name, _NOWHERE), after.get(name, _NOWHERE)
            if was != now and not self._have_same_rows(there, here):
                cause = self._cause(there, here, depth)
                yield Difference(part=f"{_INPUT}{name}", kind="input", before=was, after=now, because=cause)

    def _code_diff(self, old: Version, new: Version) -> tuple[str, ...]:
        if new.provenance.get("mode") == "batches":
            # The compiled code of each batch has its own times in it.
            return lines_of(*(str(one.provenance.get("raw_code") or "") for one in (old, new)))
        (before, was_for), (after, is_for) = self._history.code(old), self._history.code(new)
        if was_for != is_for:
            # The same code in two schemas must not differ by their names.
            before = before.replace(f'"{was_for}".', f'"{is_for}".')
        return lines_of(before, after) if before and after else ()

    def _have_same_rows(self, one: Place | None, other: Place | None) -> bool:
        """Whether two places have tables of the same rows, as far as known."""
        versions = self._history.at(one), self._history.at(other)
        tables = [item.entry for item in versions if item is not None and isinstance(item.entry, TableEntry)]
        return len(tables) == 2 and identity(tables[0]) == identity(tables[1])

    # upstream

    def _cause(self, old: Place | None, new: Place | None, depth: int) -> Cause | None:
        """Why what stands at a place is another than what stood at the other."""
        was, now = self._history.at(old), self._history.at(new)
        if now is None:
            return None
        relation, kind = f"{now.entry.schema}.{now.entry.name}", now.entry.kind
        place = (str(now.key), content_id(now.entry), content_id(was.entry) if was is not None else "")
        if place in self._told or depth > _DEEPEST:
            return Cause(relation=relation, node=now.node, kind=kind, commit=now.commit, told=True)
        self._told.add(place)
        return Cause(
            relation=relation,
            node=now.node,
            kind=kind,
            is_new=was is None,
            commit=now.commit,
            differences=self.of(was, now, depth + 1) if was is not None and now.node is not None else (),
            not_reusable=tuple(now.provenance.get("not_reusable") or ()),
        )

    def _named(self, state: str | None, label: str) -> Place | None:
        """The only relation of a name in a state."""
        if state is None:
            return None
        try:
            found = [key for key in self._history.catalog.entries(state) if key.name == label]
        except LakehouseError:
            return None
        return Place(key=found[0], state=state) if len(found) == 1 else None


_NOWHERE: tuple[str | None, Place | None] = (None, None)


def _label(part: str) -> str:
    return part.removeprefix(_INPUT).partition("#")[0]


def _split(name: str) -> tuple[str, str]:
    schema, _, table = name.partition("@")[0].partition(".")
    return schema.lower(), table.lower()


def _plain(part: str, was: str | None, now: str | None) -> Iterator[Difference]:
    """A part that is its own text; those that are objects by their keys."""
    first = part.partition(" ")[0]
    kind: Kind = _KINDS.get(part, "configuration")
    if first in ("macro", "function"):
        kind = "macro"
    elif first in ("module", "package"):
        kind = "environment"
    old, new = _object(was), _object(now)
    if old is None or new is None:
        yield Difference(part=part, kind=kind, before=was, after=now)
        return
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield Difference(part=f"{part}: {name}", kind=kind, before=_said(old.get(name)), after=_said(new.get(name)))


def _object(value: str | None) -> dict[str, Any] | None:
    """What a part says, if it is an object: one level of it."""
    if value is None or not value.startswith("{"):
        return None
    try:
        read = json.loads(value)
    except ValueError:
        return None
    flat: dict[str, Any] = {}
    for name, item in read.items():
        if isinstance(item, dict):
            flat.update({f"{name}.{inner}": value for inner, value in item.items()})
        else:
            flat[name] = item
    return flat


def _said(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def without_comment(sql: str) -> str:
    """SQL without dbt's query comment, which names target and version."""
    return _QUERY_COMMENT.sub("", sql).strip()


def lines_of(before: str, after: str) -> tuple[str, ...]:
    """The lines of a unified diff, without its head."""
    old, new = _lines(before), _lines(after)
    return tuple(list(difflib.unified_diff(old, new, lineterm="", n=_CONTEXT))[2:])


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def is_hash(value: str | None) -> bool:
    """Whether of a part no more than a hash is known."""
    return value is not None and value.startswith(_HASHED)
