"""What goes into a write and what comes out of it. Values only: importing this costs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dbt.adapters.lakehouse.quoting import quote


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column as readers see it: ``type`` is DuckDB's name of it, ``field_id`` Iceberg's (0 in views)."""

    name: str
    type: str
    field_id: int = 0
    required: bool = False
    comment: str | None = None


@dataclass(frozen=True, kw_only=True)
class ForeignKey:
    """Columns whose values must be found together in a row of a relation, which is written as SQL writes it.

    Without a relation it is the table itself, as it will be. Rows with a null among the columns pass.
    """

    columns: tuple[str, ...]
    relation: str
    to: tuple[str, ...]

    @property
    def reads(self) -> str:
        """SQL for the values that may stand in the columns."""
        return f"SELECT {', '.join(quote(name) for name in self.to)} FROM {self.relation}"


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """What rows must satisfy before a write may commit.

    ``not_null``: column names. ``unique``: sets of columns (a primary key is one of these and not null as well);
    rows with a null in the set never clash. ``primary_key`` becomes Iceberg's identifier fields. ``checks``: SQL
    expressions over the columns, by name or "" (false breaks it; null does not). ``foreign``: keys of other relations.
    ``names`` are what their author calls constraints that have a name, by kind and columns (``unique a, b``). ``table`` is
    what messages call the table.
    """

    not_null: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    primary_key: tuple[str, ...] = ()
    checks: tuple[tuple[str, str], ...] = ()
    foreign: tuple[ForeignKey, ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    table: str = ""

    @property
    def reads(self) -> tuple[str, ...]:
        """SQL that reads and calls what else the rows are held against: other relations, functions of the lake."""
        foreign = tuple(key.reads for key in self.foreign if key.relation)
        return foreign + tuple(f"SELECT ({expression}\n)" for _, expression in self.checks)

    def name_of(self, kind: str, columns: Iterable[str]) -> str:
        """What the author calls a constraint; empty if nothing."""
        return dict(self.names).get(name_key(kind, columns), "")


def name_key(kind: str, columns: Iterable[str]) -> str:
    """How ``Constraints.names`` speaks of a constraint."""
    return f"{kind} {', '.join(column.lower() for column in columns)}"


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """What a table shall be like, apart from its rows.

    ``location`` is the URI of the table's own folder (``file:///…``), ``table_uuid`` its identity, kept when a table is
    replaced. ``partition_by`` holds column names and Iceberg transforms (``day(ts)``, ``bucket(16, id)``); ``sort_by``
    columns with optional ``asc|desc`` and ``nulls first|last``. Comments become Iceberg docs.
    """

    location: str
    table_uuid: str
    partition_by: tuple[str, ...] = ()
    sort_by: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    comment: str | None = None
    column_comments: Mapping[str, str] = field(default_factory=dict)
    constraints: Constraints = field(default_factory=Constraints)


@dataclass(frozen=True, kw_only=True)
class Written:
    """A table after a write: where its new metadata is, and what a catalog entry says of it.

    ``rows`` and ``size_bytes`` are totals of the table, ``rows_written`` and ``rows_deleted`` what this write did. ``content``
    says what is in the table (``content.of_table``); None where that is not known. ``layout`` says how its rows are laid out
    and what properties it has, as one value.
    """

    metadata_location: str
    table_uuid: str
    snapshot_id: int | None
    location: str
    columns: tuple[Column, ...]
    rows: int
    size_bytes: int
    comment: str | None = None
    rows_written: int = 0
    rows_deleted: int = 0
    content: str | None = None
    layout: str | None = None


@dataclass(frozen=True, kw_only=True)
class Expiry:
    """Which snapshots a compacted table's metadata goes on telling of: the last ``snapshots`` of them, the present one included.

    Those since ``before_ms`` (milliseconds since 1970) stay too. ``alone``: a table is written anew for that alone.
    """

    snapshots: int = 1
    before_ms: int | None = None
    alone: bool = False


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How a table lies: data files, delete files, manifests, snapshots that its metadata tells of, bytes of the files."""

    files: int
    deletes: int
    manifests: int
    snapshots: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class TimeRange:
    """The rows whose ``column``, a SQL expression, is at least ``start`` and before ``end``, both as SQL reads times."""

    column: str
    start: str
    end: str

    @property
    def condition(self) -> str:
        """As SQL."""
        return f"{self.column} >= '{self.start}' AND {self.column} < '{self.end}'"


@dataclass(frozen=True, kw_only=True)
class StagedFile:
    """A data file that is written and belongs to no table yet: what a manifest will say of it, bytes in hexadecimal."""

    path: str
    rows: int
    size_bytes: int
    partition: tuple[str | None, ...] = ()
    sort_order_id: int | None = None
    column_sizes: Mapping[int, int] = field(default_factory=dict)
    value_counts: Mapping[int, int] = field(default_factory=dict)
    null_counts: Mapping[int, int] = field(default_factory=dict)
    nan_counts: Mapping[int, int] = field(default_factory=dict)
    lower: Mapping[int, str] = field(default_factory=dict)
    upper: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Staged:
    """Rows that wait to take the place of a table's rows of ``range``, in files for a table of ``shape``."""

    range: TimeRange
    shape: str
    files: tuple[StagedFile, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(file.rows for file in self.files)
