"""What a worker is asked and what it answers. Frozen values with a JSON form, so that a worker may be anywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dbt.adapters.lakehouse.jobs.function import Definition
from dbt.adapters.lakehouse.jobs.listed import Listing
from dbt.adapters.lakehouse.tables.values import Column, Constraints, Expiry, Staged, TableSpec, TimeRange, Written
from dbt.adapters.lakehouse.telemetry import Phase

SchemaChange = Literal["ignore", "fail", "append_new_columns", "sync_all_columns"]
"""dbt's ``on_schema_change``."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """What the job's SQL may name: a table (``metadata_location``), a view (``sql``), a ``function``, or only columns.

    Of an ``attached`` database (``jobs.attached``) nothing is bound, but it is there; without a name all of it is meant.
    A source that a plugin loads (``jobs.plugins``) is loaded once ``of_run``.
    Columns alone stand for relations whose names and types are wanted but not their rows. A ``listing`` is all that there is
    in a state of the lake, of which nothing is bound: ``information_schema`` tells of it.
    Views and functions come after what they read. The name of a function ends with ``()``.
    """

    database: str
    schema: str
    name: str
    metadata_location: str | None = None
    sql: str | None = None
    columns: tuple[Column, ...] = ()
    is_view: bool = False
    attached: bool = False
    of_run: str | None = None
    function: Definition | None = None
    listing: Listing | None = None


@dataclass(frozen=True, kw_only=True)
class PythonCode:
    """A Python model: dbt's compiled code, and for tracebacks the path of the user's file and the lines there before it.

    ``packages`` are requirements (PEP 508) beyond what the worker has, ``python_version`` (``3.12``) the interpreter, None
    for the worker's own. Without ``internet_access`` its process has no network, where the system can take it away.
    ``isolated`` asks for a process of its own even where packages and interpreter do not. ``modules`` are folders of modules
    that it may import.
    """

    code: str
    path: str
    line: int = 0
    packages: tuple[str, ...] = ()
    python_version: str | None = None
    internet_access: bool = False
    isolated: bool = False
    modules: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PythonNeeds:
    """What the environment of a Python model follows from; see ``PythonCode``."""

    packages: tuple[str, ...] = ()
    python_version: str | None = None


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a job may take; None leaves a limit to the executor.

    ``cpus`` are DuckDB's threads, ``memory`` (``1GB``) its limit, ``max_memory`` what one further attempt gets after the
    first ran out. ``timeout`` is in seconds for one attempt, ``retries`` counts further attempts after passing failures.
    Jobs of higher ``priority`` leave the queue first.
    """

    cpus: int | None = None
    memory: str | None = None
    max_memory: str | None = None
    timeout: float | None = None
    retries: int | None = None
    priority: int = 0


@dataclass(frozen=True, kw_only=True)
class Query:
    """Run a statement and give its rows back (at most ``limit``), if it has any and ``fetch`` asks for them."""

    sql: str
    fetch: bool = True
    arrow: bool = False
    limit: int | None = None
    kind: Literal["query"] = "query"


@dataclass(frozen=True, kw_only=True)
class Describe:
    """Give the columns of a SELECT without running it."""

    sql: str
    kind: Literal["describe"] = "describe"


@dataclass(frozen=True, kw_only=True)
class Create:
    """Write rows as a new table, or as the new content of one (``replaces``: its metadata location).

    The rows are those of ``sql``, of a Python model, or of a file that holds an Arrow IPC stream (``arrow``: its path on
    the worker's machine): exactly one of them is set.
    With ``keeps_layout`` the replaced table keeps its partitions, sort order, properties, comments, required columns and
    history, and ``spec`` says nothing.
    """

    spec: TableSpec
    sql: str | None = None
    python: PythonCode | None = None
    arrow: str | None = None
    replaces: str | None = None
    keeps_layout: bool = False
    kind: Literal["create"] = "create"


@dataclass(frozen=True, kw_only=True)
class Append:
    """Add rows (see ``Create``) to the table at ``base``, or replace the partitions they fall in (``overwrite``)."""

    base: str
    sql: str | None = None
    python: PythonCode | None = None
    arrow: str | None = None
    overwrite: bool = False
    on_schema_change: SchemaChange = "ignore"
    constraints: Constraints = field(default_factory=Constraints)
    kind: Literal["append"] = "append"


@dataclass(frozen=True, kw_only=True)
class Edit:
    """Run ``statements`` on the table at ``base`` under its own name, over the rows for which ``matching`` holds.

    ``matching`` sees the table as ``alias``; None means all rows. With ``source``, ``sql`` is put
    in a temporary table of that name first; ``incoming`` names those of its
    columns that belong to the table, where not all do. ``statements`` may be empty with ``matching``: then the rows are deleted.
    """

    target: Input
    matching: str | None
    statements: tuple[str, ...]
    alias: str = "t"
    source: str | None = None
    sql: str | None = None
    incoming: tuple[str, ...] | None = None
    on_schema_change: SchemaChange = "ignore"
    constraints: Constraints = field(default_factory=Constraints)
    kind: Literal["edit"] = "edit"


@dataclass(frozen=True, kw_only=True)
class Alteration:
    """One change of a table's schema or description; which fields count depends on ``what``."""

    what: Literal[
        "add_column",
        "drop_column",
        "rename_column",
        "set_type",
        "set_required",
        "comment",
        "column_comment",
        "property",
    ]
    column: str = ""
    to: str | None = None
    required: bool = False


@dataclass(frozen=True, kw_only=True)
class Alter:
    """Change the schema or the descriptions of the table at ``base``; rows are rewritten only where they must be."""

    base: str
    alterations: tuple[Alteration, ...]
    kind: Literal["alter"] = "alter"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Write those of the rows (see ``Create``) that lie in ``range`` for the table at ``base``, without adding them to it.

    The answer has no ``staged`` if the table must change its columns before it can take the rows.
    """

    base: str
    range: TimeRange
    sql: str | None = None
    python: PythonCode | None = None
    arrow: str | None = None
    on_schema_change: SchemaChange = "ignore"
    constraints: Constraints = field(default_factory=Constraints)
    kind: Literal["stage"] = "stage"


@dataclass(frozen=True, kw_only=True)
class Join:
    """Put staged rows in the place of what the table at ``base`` has of their time ranges."""

    base: str
    staged: tuple[Staged, ...]
    constraints: Constraints = field(default_factory=Constraints)
    kind: Literal["join"] = "join"


@dataclass(frozen=True, kw_only=True)
class Compact:
    """Bring the files of the table at ``base`` together, without changing a row; see ``tables.maintenance``."""

    base: str
    expiry: Expiry | None = None
    kind: Literal["compact"] = "compact"


Place = tuple[str, str, str]
"""Database, schema and name of a relation."""


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """A relation as it stands, or a node as it is going to run: as much of it as binding SQL takes.

    It is at ``place`` once it ran (None: a test, say). Its columns are ``columns``, or those of ``sql``, which reads the
    relations at ``reads``; a ``why`` says that neither is known. ``setup`` are statements that run before it, ``contract``
    the columns that it promises. With ``base`` its rows go to the table of that metadata location, by ``on_schema_change``,
    which counts where it is ``ignore`` only with ``all_columns``. With ``unless_moved`` its ``columns`` are right only if
    those of all that it reads are what they were. ``tolerant`` says that what is not there may be made before it runs;
    ``doubtful`` that no error of its binding proves that it will fail.
    """

    node: str
    place: Place | None = None
    makes: Literal["table", "view", "nothing"] = "nothing"
    sql: str | None = None
    columns: tuple[Column, ...] = ()
    reads: tuple[Place, ...] = ()
    setup: tuple[str, ...] = ()
    contract: tuple[Column, ...] = ()
    base: str | None = None
    on_schema_change: SchemaChange = "ignore"
    all_columns: bool = False
    unless_moved: bool = False
    tolerant: bool = False
    doubtful: bool = False
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Bind:
    """Bind the SQL of ``drafts``, in this order, without data.

    Each sees what those before it will make, and else what is ``standing``.
    """

    drafts: tuple[Sketch, ...]
    standing: tuple[Sketch, ...] = ()
    kind: Literal["bind"] = "bind"


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What binding a node's SQL showed: its columns, or what is wrong (``error``), or ``why`` that cannot be told.

    ``line`` is the line of the SQL that DuckDB names. ``promised`` are the columns of its contract with DuckDB's names of
    their types, where they differ from ``columns``. With ``waits`` it could not be looked at because of what it reads.
    """

    node: str
    columns: tuple[Column, ...] = ()
    promised: tuple[Column, ...] = ()
    error: str = ""
    line: int | None = None
    why: str = ""
    waits: bool = False


Action = Query | Describe | Create | Append | Edit | Alter | Stage | Join | Compact | Bind


@dataclass(frozen=True, kw_only=True)
class Job:
    """One execution. ``key`` makes it idempotent: two runs of one key write different files, and one result is used.

    ``default_schema`` is where unqualified names are looked up, in ``database``. ``definitions`` are statements that every
    session of the run begins with (macros); a worker runs each of them once a session. ``setup`` are statements to run
    before this job. ``label`` is what people call it: a node's name, or ``query``. With ``external_access`` the SQL may read
    what is outside the lake, where the executor allows that at all. ``identified`` says whether what it writes is to have a
    content identity.
    """

    key: str
    database: str
    default_schema: str
    action: Action
    inputs: tuple[Input, ...] = ()
    definitions: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)
    label: str = "query"
    external_access: bool = False
    identified: bool = True


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a running job is: ``percent`` (0 to 100, None where DuckDB cannot tell) after ``seconds``.

    ``size_bytes`` were written so far; ``waiting`` counts the jobs before it while it is still queued.
    """

    seconds: float
    percent: float | None = None
    size_bytes: int = 0
    waiting: int = 0
    attempt: int = 1
    kind: Literal["progress"] = "progress"

    def __str__(self) -> str:
        parts = [f"{self.seconds:.0f} s"]
        if self.waiting:
            parts.append(f"queued behind {self.waiting}")
        if self.percent is not None:
            parts.append(f"{self.percent:.0f} %")
        if self.size_bytes:
            parts.append(f"{self.size_bytes / 1e6:.0f} MB written")
        if self.attempt > 1:
            parts.append(f"attempt {self.attempt}")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A line that a job printed, or that the executor says about it (``stream`` is then ``executor``)."""

    text: str
    stream: Literal["stdout", "stderr", "executor"] = "stdout"
    kind: Literal["log"] = "log"

    def __str__(self) -> str:
        return printable(self.text)


def printable(text: str) -> str:
    """A line that somebody else wrote, for a terminal: what would move its cursor or change its title is spelled out."""
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


Sink = Callable[[tuple[Column, ...], Any], None]
"""Given a query's columns and a ``pyarrow.RecordBatchReader`` of its rows, while the job runs. What it raises ends the job."""

Watch = Callable[[Progress | LogLine], None]
"""Told what a job does while it runs, from any thread. It must be quick, and must not raise."""


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What came of a job: a written table, staged rows, columns with rows (or an Arrow table), a count of changed rows, or
    what binding showed.

    ``phases`` say what its time went into.
    """

    written: Written | None = None
    staged: Staged | None = None
    columns: tuple[Column, ...] = ()
    rows: Sequence[tuple[Any, ...]] = ()
    arrow: Any = None
    rows_affected: int | None = None
    bound: tuple[Bound, ...] = ()
    phases: tuple[Phase, ...] = ()


def job_to_json(job: Job) -> str:
    """The JSON form of a job."""
    return _encoder(Job)(job)  # type: ignore[no-any-return]


def job_from_json(text: str) -> Job:
    """The inverse of ``job_to_json``. Raises ``ValueError`` on what is not a job."""
    try:
        return _decoder(Job)(text)  # type: ignore[no-any-return]
    except Exception as error:  # mashumaro has no common base for its errors
        raise ValueError(f"not a job: {error}") from error


def result_to_json(result: JobResult) -> str:
    """The JSON form of a result without its rows, which travel as Arrow."""
    return _encoder(JobResult)(replace(result, rows=(), arrow=None))  # type: ignore[no-any-return]


def result_from_json(text: str) -> JobResult:
    """The inverse of ``result_to_json``. Raises ``ValueError`` on what is not a result."""
    try:
        return _decoder(JobResult)(text)  # type: ignore[no-any-return]
    except Exception as error:
        raise ValueError(f"not a job's result: {error}") from error


@functools.cache
def _encoder(of: type) -> Any:
    # Imported late, and made once: only remote executors need the JSON form, and a codec takes a tenth of a second.
    from mashumaro.codecs.json import JSONEncoder

    return JSONEncoder(of).encode


@functools.cache
def _decoder(of: type) -> Any:
    from mashumaro.codecs.json import JSONDecoder

    return JSONDecoder(of).decode
