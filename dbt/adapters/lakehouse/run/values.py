"""What goes into a run and what comes out of it: names, builds, results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dbt.adapters.lakehouse.catalog.model import Entry, Key, MergeResult
from dbt.adapters.lakehouse.jobs.function import Definition
from dbt.adapters.lakehouse.jobs.job import Bound, PythonNeeds, Resources, SchemaChange
from dbt.adapters.lakehouse.quoting import qualified
from dbt.adapters.lakehouse.settings import Allowed, Isolation, PublishMode
from dbt.adapters.lakehouse.tables.values import Column, Constraints, TimeRange


@dataclass(frozen=True, kw_only=True)
class Name:
    """A relation as SQL names it. ``database`` is the lake's own name, or ``lake@<ref>`` for another state of it."""

    database: str
    schema: str
    name: str

    def __str__(self) -> str:
        return qualified(self.database, self.schema, self.name)


def rows_of(node: str | None) -> str:
    """What makes the table that a node's Python code fills for the moment, to be merged from."""
    return f"{node} (its rows)"


@dataclass(frozen=True, kw_only=True)
class Reused:
    """Whose result stands there now: the run that made it (None where every statement counts at once), its author, and the
    seconds that it took then. A view that is as it was names nobody.
    """

    run: str | None
    author: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a statement gave: named and typed columns with rows as DuckDB's Python values, or a count of rows changed.

    ``reused``: the same was answered before.
    """

    columns: tuple[Column, ...] = ()
    rows: Sequence[tuple[Any, ...]] = ()
    rows_affected: int | None = None
    message: str = "OK"
    reused: Reused | None = None


@dataclass(frozen=True, kw_only=True)
class PythonSource:
    """A Python model: dbt's compiled code, where the user's file is, and the relations that ``dbt.ref`` may name.

    ``line`` is the number of the file's lines before the code: empty ones, which dbt cuts off. For the rest see
    ``jobs.job.PythonCode``.
    """

    code: str
    path: str
    line: int = 0
    reads: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    python_version: str | None = None
    internet_access: bool = False


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A microbatch of a model: it replaces the table's rows of ``range`` by its own rows of it.

    It is the ``number``-th ``of`` those that dbt runs (0, if that is not known). All but the last may be joined to the table
    later than they are built.
    """

    range: TimeRange
    number: int = 0
    of: int = 0


Reuse = Literal["auto", "always", "hour", "day", "never"]
"""Whether a node's result may be reused: where it is a function of what is known (``auto``); ``always``, on its author's word;
as well if it depends on the time, which then matters by the ``hour`` or ``day``; ``never``."""


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """A file that a build reads: the ``digest`` of its content, and what is made of it (``how``), without the file's name."""

    digest: str
    how: str


@dataclass(frozen=True, kw_only=True)
class Build:
    """A node's rows, and how they become the table at ``name``.

    ``mode``: ``create`` makes or replaces the table; ``append`` adds the rows; ``overwrite`` replaces the partitions that
    occur in them; ``merge`` runs ``statements`` (SQL on the target's own name and on ``source``, a name under which the
    rows stand) over those rows of the target for which ``matching`` holds (SQL over alias ``t`` and ``source``; None: all).
    ``incoming`` names the columns of ``source`` that belong to the table, where not all do. ``batch`` says of a merge that
    its statements do nothing but replace the rows of a time, so that it may be computed beside others.
    Exactly one of ``sql``, ``python`` and ``arrow`` (the path of a file that holds an Arrow IPC stream, where the lake is)
    is set. ``setup`` are statements to run first in the same session. ``local`` says that ``sql`` reads files of the
    caller's machine and nothing of the lake (seeds); ``file`` says which. ``resources`` and ``external_access``: see
    ``jobs.job``. With ``rebuild`` an earlier result is not looked for, but this one is kept for others, unless ``reuse`` is
    ``never``. ``files`` are paths and patterns outside of the lake that it reads; with ``more_files`` nobody says that these
    are all. Without ``content_identity`` the table is not compared with others of the same rows. ``deciding`` says of a
    merge that which rows it changes is decided by these texts (the first is a SELECT, the others are expressions), so that
    a time that is asked for elsewhere only gets into rows that it writes. With ``materialized_view`` the table that is
    created keeps ``sql``, as that of which it has the rows.
    """

    name: Name
    mode: Literal["create", "append", "overwrite", "merge"] = "create"
    sql: str | None = None
    python: PythonSource | None = None
    arrow: str | None = None
    local: bool = False
    setup: tuple[str, ...] = ()
    source: str | None = None
    statements: tuple[str, ...] = ()
    matching: str | None = None
    batch: Batch | None = None
    incoming: tuple[str, ...] | None = None
    on_schema_change: SchemaChange = "ignore"
    partition_by: tuple[str, ...] = ()
    sort_by: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    comment: str | None = None
    column_comments: Mapping[str, str] = field(default_factory=dict)
    constraints: Constraints = field(default_factory=Constraints)
    node: str | None = None
    resources: Resources = field(default_factory=Resources)
    external_access: bool = False
    file: FileSource | None = None
    reuse: Reuse = "auto"
    rebuild: bool = False
    content_identity: bool = True
    deciding: tuple[str, ...] | None = None
    materialized_view: bool = False
    files: tuple[str, ...] = ()
    more_files: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a build made: the entry that stands on the run's branch now, and the rows it wrote and deleted.

    ``reused``: it was made before. Else ``why_not`` says why it is not a function of what is known, if it is not.
    """

    entry: Entry
    rows_written: int = 0
    rows_deleted: int = 0
    reused: Reused | None = None
    why_not: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class View:
    """A view at ``name``: what ``Session.create_view`` takes. Without ``setup``, since that may change what it says."""

    name: Name
    sql: str
    node: str | None = None
    comment: str | None = None
    column_comments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function at ``name``, which SQL can call: what ``Session.create_function`` takes."""

    name: Name
    definition: Definition
    node: str | None = None
    comment: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A node's result, wanted only if nothing has to be run for it: a build, a view, the answer of a test's query, or a relation
    and then the answer of a query on it.

    It counts on those of ``after``, which are other wishes; with ``as_they_stood``, on tables that stood there before.
    A ``lenient`` test is one of severity ``warn``.
    """

    id: str
    after: tuple[str, ...] = ()
    as_they_stood: bool = False
    lenient: bool = False
    build: Build | None = None
    view: View | None = None
    test: str | None = None


@dataclass(frozen=True, kw_only=True)
class Recalled:
    """A wish that came true; of a test, with the ``failures`` that it counted when it passed.

    ``placed``: it did not stand there before.
    """

    reused: Reused
    failures: int | None = None
    placed: bool = False


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A node that is going to run, as far as it is known before: what ``Session.bind`` looks at.

    It makes the table or view ``name`` (or ``nothing``: a test) of the rows of ``sql``, which runs after ``setup``; its
    columns may be known without SQL (``columns``), or ``why`` not. With ``extends`` the rows go to the table that stands
    there, if one does, by ``on_schema_change``; ``all_columns`` says that they need all of its columns even if that is
    ``ignore``. ``contract`` are the columns that it promises, with types as they were written. ``python`` is the code of a
    Python model, which makes what it made last time if neither it nor the columns of what it reads (``python_reads``:
    relations in SQL) are others now. ``tolerant``: what is not there may be made before it runs. ``outside``: it may read
    what is outside the lake.
    """

    node: str
    name: Name | None = None
    makes: Literal["table", "view", "nothing"] = "nothing"
    sql: str | None = None
    setup: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    contract: tuple[Column, ...] = ()
    extends: bool = False
    on_schema_change: SchemaChange = "ignore"
    all_columns: bool = False
    python: str | None = None
    python_reads: tuple[str, ...] = ()
    tolerant: bool = False
    outside: bool = False
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What looking at a draft showed. ``missing`` are relations that it names in full and that nobody makes."""

    bound: Bound
    missing: tuple[Name, ...] = ()


Take = Literal["ours", "theirs", "both"]
"""What to make of a table that source and target of a merge both changed: what the target has (``ours``), what the source has
(``theirs``), or one table with the rows of both."""


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What a run is to be.

    ``branch`` is the target's branch, created from ``from_branch`` when it does not exist yet. ``continues`` names a run
    that did not pass and whose branch this one starts from. ``message`` is that of the commit which publishes it.
    ``again`` are the nodes of that run that this one builds once more. ``default_schema`` is where unqualified names are
    looked up. ``environments`` are those that its Python models will need, so that they can be made while other models run.
    ``allow`` are guards to let pass.
    """

    id: str
    command: str
    branch: str
    from_branch: str = "main"
    publish: PublishMode = PublishMode.ON_SUCCESS
    default_schema: str = "main"
    author: str = "unknown"
    continues: str | None = None
    message: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    environments: tuple[PythonNeeds, ...] = ()
    again: tuple[str, ...] = ()
    isolation: Isolation = Isolation.SNAPSHOT
    allow: frozenset[Allowed] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What keeps a run that passed from being published: its target moved to the commit ``head``, ``by`` whom and what for.

    ``conflicts`` are keys that cannot be merged, each with a line for people; ``changed`` all that the target changed since.
    ``wrote`` and ``read`` are keys by node, as far as they are known; those of no node (hooks of the invocation) stand at "".
    """

    head: str
    by: str
    conflicts: Mapping[str, str]
    changed: tuple[str, ...] = ()
    wrote: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    read: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunMemory:
    """What a run remembers of what it read: the commit it started from (None before it looked), the commits that other refs
    led to when it first read them, the statements its sessions begin with, and the batches that wait to be joined.
    ``reads``: of a serializable run, the names of what each node read.
    """

    base: str | None = None
    others: Mapping[str, str] = field(default_factory=dict)
    definitions: tuple[str, ...] = ()
    staged: tuple[str, ...] = ()
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MergeRequest:
    """A merge of ``source`` into the branch ``target``.

    ``take`` settles conflicts, by key; ``take_all`` those that it does not name. ``allow`` are guards to let pass.
    ``fast_forward`` lets the target just move to the source's commit where nothing has to be merged. ``run`` says that this
    publishes that run, and ``reads`` what it read: content ids that must stand on the target still. ``expected_target``
    and ``expected_source``: see ``Catalog.merge``; without them, a merge is planned anew when a branch moves under it.
    """

    source: str
    target: str
    author: str
    message: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    dry_run: bool = False
    take: Mapping[Key, Take] = field(default_factory=dict)
    take_all: Take | None = None
    accept_tainted: bool = False
    allow: frozenset[Allowed] = frozenset()
    fast_forward: bool = False
    run: str | None = None
    reads: Mapping[Key, str | None] | None = None
    expected_target: str | None = None
    expected_source: str | None = None


@dataclass(frozen=True, kw_only=True)
class SettledHow:
    """How a conflict was settled: by what was asked (``ours``, ``theirs``, ``both``), or ``combined``, which is always safe."""

    key: Key
    how: Literal["ours", "theirs", "both", "combined"]


@dataclass(frozen=True, kw_only=True)
class NotSettled:
    """Why no one table can be made of the two of a conflict."""

    key: Key
    why: str


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A change that a guard refuses: which, at what key, and why in words."""

    guard: Allowed
    key: Key
    why: str


@dataclass(frozen=True, kw_only=True)
class Merged(MergeResult):
    """What a merge did, or with ``dry_run`` would do, and what became of its conflicts.

    ``changes`` hold those of settled conflicts, too. ``refusals`` and ``tainted`` say what keeps it from happening; they are
    set on a dry run alone, else they are raised. So are ``made``: entries of combined tables as they would be.
    """

    settled: tuple[SettledHow, ...] = ()
    not_settled: tuple[NotSettled, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    tainted: str | None = None
    made: tuple[Entry, ...] = ()

    @property
    def possible(self) -> bool:
        """Whether nothing keeps it from happening."""
        return not (self.conflicts or self.refusals or self.tainted)
