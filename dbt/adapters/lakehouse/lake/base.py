"""A lake, a run on it, a session in it: what the adapter and the command line speak to.

::

    Lake ── open_run ──► Run ── session ──► Session   (one a thread; statements, builds, look-ups)
      └──── read ─────────────────────────► Session   (read-only, at one commit)

An embedded lake does the work in this process; a remote one sends the same calls to a service.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import Commit, Entry, RunRecord
from dbt.adapters.lakehouse.jobs.job import LogLine, Progress, Resources, SchemaChange, Watch
from dbt.adapters.lakehouse.run.details import Details
from dbt.adapters.lakehouse.run.going_back import ResetRequest, Reverted, RevertRequest
from dbt.adapters.lakehouse.run.provenance import Stale
from dbt.adapters.lakehouse.run.upkeep import CollectRequest, Compacted, CompactRequest, Garbage
from dbt.adapters.lakehouse.run.values import (
    Build,
    Built,
    Draft,
    Function,
    Looked,
    Merged,
    MergeRequest,
    Moved,
    Name,
    PythonSource,
    Recalled,
    Result,
    RunRequest,
    View,
    Wish,
)
from dbt.adapters.lakehouse.tables.values import Column

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Build",
    "Built",
    "Check",
    "CollectRequest",
    "CompactRequest",
    "Compacted",
    "Details",
    "Draft",
    "Function",
    "Garbage",
    "Lake",
    "LogLine",
    "Looked",
    "Maintenance",
    "MergeRequest",
    "Merged",
    "Moved",
    "Name",
    "Progress",
    "PythonSource",
    "Recalled",
    "ResetRequest",
    "Resources",
    "Result",
    "RevertRequest",
    "Reverted",
    "Run",
    "RunRequest",
    "SchemaChange",
    "Session",
    "Stale",
    "Versions",
    "View",
    "Watch",
    "Wish",
]


class Session(Protocol):
    """One thread's way into a run (or into one commit, read-only). Not shared between threads, but for ``cancel``."""

    def execute(self, sql: str, *, fetch: bool = True, limit: int | None = None, test: str | None = None) -> Result:
        """Run one or more statements; the result is the last one's.

        ``test`` names the dbt test whose query this is: if it passed before on the same content, it is not run again.

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

    def bind(self, drafts: Sequence[Draft]) -> list[Looked]:
        """Bind the SQL of nodes before any of them runs, parents first, without data and without writing anything.

        Each sees the columns of what those before it will make, and else of what stands there.
        """
        ...

    def build(self, build: Build, watch: Watch | None = None) -> Built:
        """Run a node and put its table on the run's branch; ``watch`` is told how its job goes."""
        ...

    def recall(self, wishes: Sequence[Wish]) -> list[Recalled | None]:
        """Put in place, at once, the results of those nodes for which nothing has to be run; None for all others.

        Parents come before their children, which see what was put in place for them.
        """
        ...

    def create_view(self, name: Name, sql: str, **more: Any) -> Built:
        """Put a view on the run's branch; its SQL is bound once, so that errors show here."""
        ...

    def create_function(self, function: Function, *, rebuild: bool = False) -> Built:
        """Put a function on the run's branch, of which DuckDB has seen types and body; one in Python was loaded.

        Raises ``SqlError`` and ``FunctionError`` for what is none. With ``rebuild`` one that stands there is made anew.
        """
        ...

    def lookup(self, name: Name) -> Entry | None:
        """What stands at a name in this session's state (or at the ref that the name's database gives)."""
        ...

    def relations(self, database: str, schema: str | None = None) -> list[Entry]:
        """All entries, or those of a schema."""
        ...

    def details(self, names: Sequence[Name]) -> list[Details | None]:
        """What is known of tables and views, those of which nothing stands there (None) included; see ``Details``.

        For many at once: their metadata is read, which the catalog has no part in.
        """
        ...

    def schemas(self, database: str) -> list[str]:
        """Names of the schemas in a state of the lake."""
        ...

    def cancel(self) -> None:
        """From any thread: interrupt what runs; it raises ``JobCancelled``."""
        ...

    def close(self) -> None:
        """Give the worker back; temporary objects are gone."""
        ...


class Run(Protocol):
    """One transaction on a branch: reads one state plus its own writes; nothing is visible until ``publish``."""

    request: RunRequest

    def session(self, node: str | None = None) -> Session:
        """A session for the calling thread, which works on a node, if it is known."""
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

    def publish_unless_moved(self, nodes: Mapping[str, Any] | None = None) -> Moved | None:
        """As ``publish``; but if the target moved under it, the run goes on, and what keeps it from being published is told."""
        ...

    def moved(self) -> Moved | None:
        """What would keep the run from being published now; None if nothing does, or if it is not to be published."""
        ...

    def rebase(self, head: str, again: Collection[str]) -> None:
        """Start over from ``head``, which is the target's: with what the run wrote, but for what the nodes ``again`` made.

        Raises ``HeadMoved`` if the target moved on, and ``ConflictError``, changing nothing, if what is kept cannot stand there.
        No session is at work meanwhile; later ones read the new state.
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


class Versions(Protocol):
    """Verbs on whole states of the lake that look at what they would do before they do it: what guards and proofs need."""

    def merge(self, request: MergeRequest) -> Merged:
        """Merge a state into a branch, in one transaction.

        With conflicts nothing is changed and the result lists them. Raises ``Guarded`` for what a guard refuses,
        ``TaintedError``, ``HeadMoved``, and what ``Catalog.merge`` raises.
        """
        ...

    def revert(self, request: RevertRequest) -> Reverted:
        """Undo a commit, or put tables back as they were at a ref, by a new commit.

        With conflicts, or with dependants that nothing was said of, nothing is changed and the result lists them. Raises
        ``RefNotFound``, ``NotInLake``, ``HeadMoved``, ``TaintedError``, ``Collected``.
        """
        ...

    def reset(self, request: ResetRequest) -> Reverted:
        """Let a branch hold what a ref holds: by moving it, or if it is protected, by a new commit.

        Raises ``RefNotFound``, ``HeadMoved``, ``TaintedError``, ``Collected``.
        """
        ...

    def stale(self, ref: str, *, who: bool = True) -> list[Stale]:
        """Entries at a ref that do not stand on what they were computed from, by key; with ``who``, what commits moved that."""
        ...


class Maintenance(Protocol):
    """What keeps a lake small and fast. Over a service it is for those who may administer it."""

    def collect(self, request: CollectRequest) -> Garbage:
        """Collect garbage: what no branch, tag, retained commit, open run or reusable result leads to."""
        ...

    def compact(self, request: CompactRequest) -> Compacted:
        """Bring the files of tables together, without changing a row, as commits on a branch."""
        ...


class Lake(Protocol):
    """A lake and its catalog."""

    @property
    def catalog(self) -> Catalog:
        """Branches, commits and entries."""
        ...

    @property
    def versions(self) -> Versions:
        """Merging and going back."""
        ...

    @property
    def maintenance(self) -> Maintenance:
        """Collecting garbage and compacting."""
        ...

    def open_run(self, request: RunRequest) -> Run:
        """A run on a branch. Costs nothing until something is read or written."""
        ...

    def read(self, ref: str, default_schema: str = "main", *, once: bool = False) -> Session:
        """A read-only session at the commit that a ref leads to.

        With ``once`` it is for a single statement, and the ref is looked up with it: over a service, that is one request.
        """
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
