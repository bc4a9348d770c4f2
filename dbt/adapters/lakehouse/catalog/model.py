"""The catalog's values. All frozen; none knows a database."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from dbt.adapters.lakehouse.jobs import function
from dbt.adapters.lakehouse.jobs.function import Definition
from dbt.adapters.lakehouse.tables.values import Column, Constraints, ForeignKey


@dataclass(frozen=True, order=True)
class Key:
    """Where an entry lives: schema and name, folded to lower case since DuckDB's names ignore case.

    A key with an empty name stands for the schema itself.
    """

    schema: str
    name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "schema", self.schema.lower())
        object.__setattr__(self, "name", self.name.lower())

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.name else self.schema


@dataclass(frozen=True, kw_only=True)
class Materialized:
    """What makes a table a materialized view: the query whose rows it holds, and all that says how they become the table.

    ``setup`` runs before the query in the same session; the rest as in ``tables.values.TableSpec``.
    """

    sql: str
    setup: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    sort_by: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    constraints: Constraints = field(default_factory=Constraints)


@dataclass(frozen=True, kw_only=True)
class TableEntry:
    """An Iceberg table at one state.

    ``rows`` and ``size_bytes`` are totals of the snapshot. ``node`` is the dbt node (or tool) that wrote it, ``inputs``
    the content ids of the entries it was computed from, by key (``schema.name``), as far as known. Tables of the same
    ``content`` have the same columns and rows; None says that nothing is known of that. ``layout``: see ``Written``. A
    materialized view is a table with the ``view`` that it stands for: what reads it reads the table.
    """

    schema: str
    name: str
    metadata_location: str
    table_uuid: str
    snapshot_id: int | None
    location: str
    columns: tuple[Column, ...]
    rows: int
    size_bytes: int
    comment: str | None = None
    node: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    content: str | None = None
    layout: str | None = None
    view: Materialized | None = None
    kind: Literal["table"] = "table"


@dataclass(frozen=True, kw_only=True)
class ViewEntry:
    """A view: its SELECT in DuckDB's SQL, with fully qualified names, and its columns when it was created.

    ``engine`` stands for the DuckDB and the settings with which they were found; None says that more went into them.
    """

    schema: str
    name: str
    sql: str
    columns: tuple[Column, ...]
    comment: str | None = None
    node: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    engine: str | None = None
    kind: Literal["view"] = "view"


@dataclass(frozen=True, kw_only=True)
class FunctionEntry:
    """A function that SQL can call. Its ``name`` ends with ``()``: relations and functions may be called the same.

    ``inputs`` are what its body reads and calls.
    """

    schema: str
    name: str
    definition: Definition
    comment: str | None = None
    node: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["function"] = "function"


@dataclass(frozen=True, kw_only=True)
class SchemaEntry:
    """A schema that was created, so that it exists while empty.

    ``grants`` say who may do what with its relations, as ``(relation, privilege, user or role)``, sorted. They are of names:
    what is made anew under a name is what they speak of.
    """

    schema: str
    name: Literal[""] = ""
    grants: tuple[tuple[str, str, str], ...] = ()
    kind: Literal["schema"] = "schema"


Entry = TableEntry | ViewEntry | FunctionEntry | SchemaEntry

_ENTRY_TYPES: dict[str, type[TableEntry] | type[ViewEntry] | type[FunctionEntry] | type[SchemaEntry]] = {
    "table": TableEntry,
    "view": ViewEntry,
    "function": FunctionEntry,
    "schema": SchemaEntry,
}


def kind_of(entry: Entry) -> str:
    """What an entry is to people: its kind, and ``materialized_view`` for the tables that are one."""
    return "materialized_view" if isinstance(entry, TableEntry) and entry.view is not None else entry.kind


def key_of(entry: Entry) -> Key:
    """The key an entry is filed under."""
    return Key(entry.schema, entry.name)


def entry_to_json(entry: Entry) -> str:
    """Canonical JSON: the same entry gives the same text, which ``content_id`` hashes."""
    said: dict[str, Any] = dict(vars(entry))  # dataclasses.asdict copies everything, which takes ten times as long
    if "columns" in said:
        said["columns"] = [vars(column) for column in said["columns"]]
    if "inputs" in said:
        said["inputs"] = dict(said["inputs"])
    if "definition" in said:
        said["definition"] = function.to_raw(said["definition"])
    if said.get("view") is not None:
        said["view"] = _view_to_json(said["view"])
    for name in ("content", "layout", "engine", "view"):
        if said.get(name, "") is None:
            del said[name]  # entries from before there was such a field keep their ids
    if not said.get("grants", True):
        del said["grants"]
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _view_to_json(view: Materialized) -> dict[str, Any]:
    said = dataclasses.asdict(view)
    return {name: said[name] for name, value in vars(view).items() if value and value != Constraints()}


def entry_from_json(text: str) -> Entry:
    """The inverse of ``entry_to_json``; keys it does not know are refused with ``TypeError``."""
    raw: dict[str, Any] = json.loads(text)
    if "columns" in raw:
        raw["columns"] = tuple(_column(**column) for column in raw["columns"])
    if "view" in raw:
        raw["view"] = _materialized(raw["view"])
    if "definition" in raw:
        raw["definition"] = function.from_raw(raw["definition"])
    if "grants" in raw:
        raw["grants"] = tuple(map(tuple, raw["grants"]))
    return _ENTRY_TYPES[raw["kind"]](**raw)


def _materialized(raw: Mapping[str, Any]) -> Materialized:
    said: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()}
    if "constraints" in said:
        promised = said["constraints"]
        lists = {name: tuple(promised[name]) for name in ("not_null", "primary_key")}
        sets: dict[str, Any] = {name: tuple(map(tuple, promised[name])) for name in ("unique", "checks", "names")}
        keys = tuple(
            ForeignKey(columns=tuple(key["columns"]), relation=key["relation"], to=tuple(key["to"]))
            for key in promised["foreign"]
        )
        said["constraints"] = Constraints(**lists, **sets, foreign=keys, table=promised["table"])
    return Materialized(**said)


# Versions of a table have most of their columns in common, and to make one takes longer than to find it.
_column = functools.lru_cache(maxsize=1 << 16)(Column)


def content_id(entry: Entry) -> str:
    """SHA-256 of the canonical JSON, 40 hex digits: two entries are the same exactly if their ids are."""
    return hashlib.sha256(entry_to_json(entry).encode()).hexdigest()[:40]


def identity(table: TableEntry) -> str:
    """What is in a table, as one value: tables of the same identity have the same columns and rows, in the same order."""
    return table.content or f"at:{hashlib.sha256(table.metadata_location.encode()).hexdigest()}"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One key before and after, as content ids; None where it did not or does not exist."""

    key: Key
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True)
class Put:
    """A wish: let ``entry`` stand at ``key`` (None: let nothing stand there), provided ``expected`` stands there now.

    ``expected`` is a content id, None for "nothing there", or ``ANY``.
    """

    key: Key
    entry: Entry | None
    expected: str | None


ANY = "*"
"""As ``Put.expected``: whatever stands there."""


@dataclass(frozen=True, kw_only=True)
class Commit:
    """An immutable state of the lake.

    ``id`` is 40 hex digits, the hash of everything else here and of the commit's changes. ``parents``: none for the
    first commit, one for a change, two for a merge (target first). ``time`` is UTC. ``run`` names the dbt invocation
    that made it, if one did; ``provenance`` is JSON-able and says how it came about. ``collected``: garbage collection
    may have taken files of its tables, so that it can be told of but not read; the id does not depend on it.
    """

    id: str
    parents: tuple[str, ...]
    author: str
    message: str
    time: datetime
    run: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    collected: bool = False


def commit_id(
    *,
    parents: tuple[str, ...],
    author: str,
    message: str,
    time: datetime,
    run: str | None,
    provenance: Mapping[str, Any],
    changes: Iterable[Change],
) -> str:
    """SHA-256 over the canonical JSON of everything a commit says, 40 hex digits."""
    said = {
        "parents": parents,
        "author": author,
        "message": message,
        "time": time_text(time),
        "run": run,
        "provenance": provenance,
        "changes": [[change.key.schema, change.key.name, change.before, change.after] for change in changes],
    }
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def time_text(time: datetime) -> str:
    """A time in UTC with microseconds, always 32 characters long, so that texts sort as times do."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


class RefKind(enum.StrEnum):
    """What a name is."""

    BRANCH = "branch"
    TAG = "tag"


@dataclass(frozen=True, kw_only=True)
class Ref:
    """A branch or tag and the commit it names. ``run`` is set on run branches. ``created_at`` is UTC."""

    name: str
    kind: RefKind
    commit: str
    created_at: datetime
    protected: bool = False
    run: str | None = None


class ConflictKind(enum.StrEnum):
    """Why two changes of one key cannot both hold.

    SCHEMA_CHANGED: both sides changed the columns of one table, and not to the same. READ_CHANGED: the source only read
    what stands there, and the target changed it (``isolation: serializable``).
    """

    BOTH_CHANGED = "both_changed"
    BOTH_CREATED = "both_created"
    CHANGED_AND_DROPPED = "changed_and_dropped"
    SCHEMA_CHANGED = "schema_changed"
    READ_CHANGED = "read_changed"


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """One key that source and target of a merge both changed since their merge base.

    ``source_commit`` and ``target_commit`` are the newest commits on each side that changed it, where known.
    """

    key: Key
    kind: ConflictKind
    base: str | None
    source: str | None
    target: str | None
    source_commit: Commit | None = None
    target_commit: Commit | None = None


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What is to stand at a key where a merge conflicts: ``entry``, or nothing.

    It holds as long as the two sides have there what it was settled for: the content ids ``source`` and ``target`` (None:
    nothing). Otherwise the conflict remains.
    """

    key: Key
    source: str | None
    target: str | None
    entry: Entry | None


@dataclass(frozen=True, kw_only=True)
class MergeResult:
    """What a merge did, or with ``dry_run`` would do.

    ``commit`` is the merge commit; None if there was nothing to merge, on a dry run, or on conflicts. ``changes`` are
    those that the target gets (or would get, the conflicting ones left out). With ``fast_forward`` the target was moved (or
    would be) to the commit of the source, which ``commit`` is then, and no commit was made.
    """

    base: str
    changes: tuple[Change, ...]
    conflicts: tuple[Conflict, ...] = ()
    commit: Commit | None = None
    fast_forward: bool = False


class RunStatus(enum.StrEnum):
    """Where a run stands.

    OPEN: working. PASSED: passed, left on its branch (``publish: manual``). PUBLISHED: merged. FAILED: ended with
    errors. ABANDONED: cancelled, or its process died. CONTINUED: failed or abandoned, and another run that started from
    its branch is published.
    """

    OPEN = "open"
    PASSED = "passed"
    PUBLISHED = "published"
    FAILED = "failed"
    ABANDONED = "abandoned"
    CONTINUED = "continued"

    @property
    def clean(self) -> bool:
        """Whether what the run wrote may reach another branch (invariant 6)."""
        return self in (RunStatus.PASSED, RunStatus.PUBLISHED, RunStatus.CONTINUED)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A dbt invocation that wrote, as the catalog remembers it.

    ``id`` is dbt's invocation id; ``branch`` its run branch, ``target`` the branch it publishes to, ``base`` the commit
    it read from. ``owner`` says which process works on it (``host:pid:start``). ``heartbeat_at`` is when that process
    last said that it lives. ``continues`` names the run whose branch it started from. ``published`` is the merge
    commit. Times are UTC.
    """

    id: str
    branch: str
    target: str
    base: str
    command: str
    status: RunStatus
    owner: str
    started_at: datetime
    heartbeat_at: datetime
    finished_at: datetime | None = None
    continues: str | None = None
    published: str | None = None
    error: str | None = None
    nodes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ReusableResult:
    """What a node gave, filed under the fingerprint of all that shaped it.

    ``parts`` are what the fingerprint was made of, by name, so that two can be compared. ``entry`` is the table; None for a
    test that passed, whose one row is in ``answer``. ``run`` made it (None where every statement counts at once) for
    ``author``, and took ``seconds`` for it. ``made_at`` is UTC.
    """

    fingerprint: str
    parts: Mapping[str, str]
    node: str
    entry: TableEntry | None
    run: str | None
    author: str
    made_at: datetime
    seconds: float
    answer: Mapping[str, Any] = field(default_factory=dict)


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """The parts in which two fingerprints differ, with their values on both sides."""
    names = sorted(old.keys() | new.keys())
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How long what is no longer named by anything can be brought back.

    ``history``: commits, and what branches showed. ``failed_runs``: the branches of runs that ended without passing.
    ``results``: results that could be reused. ``grace``: files younger than this are never deleted.
    """

    history: timedelta = timedelta(days=7)
    failed_runs: timedelta = timedelta(days=7)
    results: timedelta = timedelta(days=30)
    grace: timedelta = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Collection:
    """What a catalog decided that garbage collection may take, or on a dry run would decide.

    ``live`` are the metadata locations of all table entries that stay; ``keep_since`` the time (UTC) since when files stay
    whatever they are. ``commits`` were marked as collected, ``branches`` of runs dropped, ``results`` forgotten.
    """

    live: frozenset[str]
    keep_since: datetime
    commits: int = 0
    branches: tuple[str, ...] = ()
    results: int = 0
