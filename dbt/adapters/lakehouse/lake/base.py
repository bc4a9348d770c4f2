"""A lake, a run on it, a session in it: what the adapter and the command line speak to.

::

    Lake ── open_run ──► Run ── session ──► Session   (one a thread; statements, builds, look-ups)
      └──── read ─────────────────────────► Session   (read-only, at one commit)

An embedded lake does the work in this process; a remote one sends the same calls to a service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import Commit, Entry, RunRecord
from dbt.adapters.lakehouse.settings import PublishMode
from dbt.adapters.lakehouse.tables.values import Column, Constraints

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class Name:
    """A relation as SQL names it. ``database`` is the lake's own name, or ``lake@<ref>`` for another state of it."""

    database: str
    schema: str
    name: str

    def __str__(self) -> str:
        return ".".join('"' + part.replace('"', '""') + '"' for part in (self.database, self.schema, self.name))


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a statement gave: named and typed columns with rows as DuckDB's Python values, or a count of rows changed."""

    columns: tuple[Column, ...] = ()
    rows: Sequence[tuple[Any, ...]] = ()
    rows_affected: int | None = None
    message: str = "OK"


@dataclass(frozen=True, kw_only=True)
class PythonSource:
    """A Python model: dbt's compiled code, where the user's file is, and the relations that ``dbt.ref`` may name."""

    code: str
    path: str
    reads: tuple[str, ...] = ()


SchemaChange = Literal["ignore", "fail", "append_new_columns", "sync_all_columns"]
"""dbt's ``on_schema_change``."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """A node's rows, and how they become the table at ``name``.

    ``mode``: ``create`` makes or replaces the table; ``append`` adds the rows; ``overwrite`` replaces the partitions that
    occur in them; ``merge`` runs ``statements`` (SQL on the target's own name and on ``source``, a name under which the
    rows stand) over those rows of the target for which ``matching`` holds (SQL over alias ``t`` and ``source``; None: all).
    Exactly one of ``sql`` and ``python`` is set. ``setup`` are statements to run first in the same session.
    """

    name: Name
    mode: Literal["create", "append", "overwrite", "merge"] = "create"
    sql: str | None = None
    python: PythonSource | None = None
    setup: tuple[str, ...] = ()
    source: str | None = None
    statements: tuple[str, ...] = ()
    matching: str | None = None
    on_schema_change: SchemaChange = "ignore"
    partition_by: tuple[str, ...] = ()
    sort_by: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    comment: str | None = None
    column_comments: Mapping[str, str] = field(default_factory=dict)
    constraints: Constraints = field(default_factory=Constraints)
    node: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a build made: the entry that stands on the run's branch now, and the rows it wrote and deleted."""

    entry: Entry
    rows_written: int = 0
    rows_deleted: int = 0


class Session(Protocol):
    """One thread's way into a run (or into one commit, read-only). Not shared between threads, but for ``cancel``."""

    def execute(self, sql: str, *, fetch: bool = True, limit: int | None = None) -> Result:
        """Run one or more statements; the result is the last one's.

        SELECTs read the run's state (and ``"lake@<ref>"``). INSERT, UPDATE, DELETE, MERGE, TRUNCATE, CREATE, ALTER, DROP
        and COMMENT on lake relations change the run's branch. Anything else runs in the session's own DuckDB. Raises
        ``SqlError``, ``JobCancelled``, and what writing raises.
        """
        ...

    def arrow(self, sql: str) -> pa.Table:
        """The rows of one SELECT as an Arrow table."""
        ...

    def describe(self, sql: str, setup: tuple[str, ...] = ()) -> tuple[Column, ...]:
        """The columns a SELECT would give, without running it."""
        ...

    def build(self, build: Build) -> Built:
        """Run a node and put its table on the run's branch."""
        ...

    def create_view(self, name: Name, sql: str, **more: Any) -> Built:
        """Put a view on the run's branch; its SQL is bound once, so that errors show here."""
        ...

    def lookup(self, name: Name) -> Entry | None:
        """What stands at a name in this session's state (or at the ref that the name's database gives)."""
        ...

    def relations(self, database: str, schema: str | None = None) -> list[Entry]:
        """All entries, or those of a schema."""
        ...

    def cancel(self) -> None:
        """From any thread: interrupt what runs; it raises ``JobCancelled``."""
        ...

    def close(self) -> None:
        """Give the worker back; temporary objects are gone."""
        ...


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What a run is to be.

    ``branch`` is the target's branch, created from ``from_branch`` when it does not exist yet. ``continues`` names a run
    that did not pass and whose branch this one starts from. ``default_schema`` is where unqualified names are looked up.
    """

    id: str
    command: str
    branch: str
    from_branch: str = "main"
    publish: PublishMode = PublishMode.ON_SUCCESS
    default_schema: str = "main"
    author: str = "unknown"
    continues: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


class Run(Protocol):
    """One transaction on a branch: reads one state plus its own writes; nothing is visible until ``publish``."""

    request: RunRequest

    def session(self) -> Session:
        """A session for the calling thread."""
        ...

    @property
    def branch(self) -> str | None:
        """The run branch, or None while nothing was written (or with ``publish: each_node``, ever)."""
        ...

    def publish(self, nodes: Mapping[str, Any] | None = None) -> Commit | None:
        """End the run as passed: merge its branch into the target's, in one transaction (or leave it, ``manual``).

        None if nothing was written. Raises ``MergeConflict`` and changes nothing if the target moved under it.
        """
        ...

    def fail(self, reason: str, nodes: Mapping[str, Any] | None = None, *, abandoned: bool = False) -> None:
        """End the run as failed (or abandoned: cancelled); its branch stays. Idempotent, and no-op after ``publish``."""
        ...

    def cancel(self) -> None:
        """Interrupt all sessions; later work raises ``JobCancelled``."""
        ...


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of ``dbt debug``: what was tried, whether it works, what to do if not."""

    name: str
    ok: bool
    detail: str


class Lake(Protocol):
    """A lake and its catalog."""

    @property
    def catalog(self) -> Catalog:
        """Branches, commits and entries."""
        ...

    def open_run(self, request: RunRequest) -> Run:
        """A run on a branch. Costs nothing until something is read or written."""
        ...

    def read(self, ref: str, default_schema: str = "main") -> Session:
        """A read-only session at the commit that a ref leads to."""
        ...

    def runs(self, limit: int | None = None) -> list[RunRecord]:
        """Runs, newest first; those whose process is gone have become abandoned."""
        ...

    def check(self) -> list[Check]:
        """Try warehouse, catalog and DuckDB for real."""
        ...

    def close(self) -> None:
        """Stop workers, give back connections."""
        ...
