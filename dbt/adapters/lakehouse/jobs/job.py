"""What a worker is asked and what it answers. Frozen values with a JSON form, so that a worker may be anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dbt.adapters.lakehouse.tables.values import Column, Constraints, TableSpec, Written

SchemaChange = Literal["ignore", "fail", "append_new_columns", "sync_all_columns"]
"""dbt's ``on_schema_change``."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """A relation that the job's SQL may name: a table (``metadata_location``), a view (``sql``), or only its columns.

    Columns alone stand for relations whose names and types are wanted but not their rows (``information_schema``).
    Views come after what they read.
    """

    database: str
    schema: str
    name: str
    metadata_location: str | None = None
    sql: str | None = None
    columns: tuple[Column, ...] = ()
    is_view: bool = False


@dataclass(frozen=True, kw_only=True)
class PythonCode:
    """A Python model: dbt's compiled code, and the path of the user's file for tracebacks."""

    code: str
    path: str


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

    With ``keeps_layout`` the replaced table keeps its partitions, sort order, properties, comments, required columns and
    history, and ``spec`` says nothing.
    """

    spec: TableSpec
    sql: str | None = None
    python: PythonCode | None = None
    replaces: str | None = None
    keeps_layout: bool = False
    kind: Literal["create"] = "create"


@dataclass(frozen=True, kw_only=True)
class Append:
    """Add rows to the table at ``base``, or replace the partitions they fall in (``overwrite``)."""

    base: str
    sql: str | None = None
    python: PythonCode | None = None
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


Action = Query | Describe | Create | Append | Edit | Alter


@dataclass(frozen=True, kw_only=True)
class Job:
    """One execution. ``key`` makes it idempotent: two runs of one key write different files, and one result is used.

    ``default_schema`` is where unqualified names are looked up, in ``database``. ``setup`` are statements to run first.
    """

    key: str
    database: str
    default_schema: str
    action: Action
    inputs: tuple[Input, ...] = ()
    setup: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What came of a job: a written table, or columns with rows (or an Arrow table), or a count of changed rows."""

    written: Written | None = None
    columns: tuple[Column, ...] = ()
    rows: Sequence[tuple[Any, ...]] = ()
    arrow: Any = None
    rows_affected: int | None = None
    log: str = ""


def job_to_json(job: Job) -> str:
    """The JSON form of a job."""
    return _codecs()[0].encode(job)  # type: ignore[no-any-return]


def job_from_json(text: str) -> Job:
    """The inverse of ``job_to_json``. Raises ``ValueError`` on what is not a job."""
    try:
        return _codecs()[1].decode(text)  # type: ignore[no-any-return]
    except Exception as error:  # mashumaro has no common base for its errors
        raise ValueError(f"not a job: {error}") from error


def _codecs() -> tuple[Any, Any]:
    # Imported late: only remote executors need the JSON form.
    from mashumaro.codecs.json import JSONDecoder, JSONEncoder

    return JSONEncoder(Job), JSONDecoder(Job)
