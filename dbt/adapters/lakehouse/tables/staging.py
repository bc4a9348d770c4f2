"""Rows written beside a table by several writers at once, and joined to it in one snapshot.

Each writer stages the rows of a time range of its own. A join takes away what the table has of all the ranges and adds
the staged files. A writer's rows lie in its own range and ranges do not overlap, so that a join is the same in any order,
and in one go or in several.
"""

from __future__ import annotations

from dbt.adapters.lakehouse.tables import one_door  # noqa: F401

# isort: split

import dataclasses
import hashlib
import itertools
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pyiceberg.conversions import from_bytes, to_bytes
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table.snapshots import Operation
from pyiceberg.typedef import Record
from pyiceberg.types import DateType, TimestampType, TimestamptzType

from dbt.adapters.lakehouse.errors import SchemaMismatch
from dbt.adapters.lakehouse.tables import changes, commits, constraints, deletes, parquet, reader, schema
from dbt.adapters.lakehouse.tables import metadata as tables
from dbt.adapters.lakehouse.tables.changes import OnSchemaChange
from dbt.adapters.lakehouse.tables.commits import Change
from dbt.adapters.lakehouse.tables.duckdb_types import find_column
from dbt.adapters.lakehouse.tables.metadata import Table
from dbt.adapters.lakehouse.tables.reader import FILE, POSITION
from dbt.adapters.lakehouse.tables.values import Constraints, Staged, StagedFile, TimeRange, Written

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.table.metadata import TableMetadataV2
    from pyiceberg.types import NestedField

_NO_CONSTRAINTS = Constraints()
_NUMBERS = itertools.count()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SLACK = timedelta(days=2)
"""How far a file's bounds may be off a range before it is passed over: more than time zones and dates can make of it."""

_RANGES_A_QUERY = 100

SMALL_ROWS = 20_000
"""Staged files of fewer rows are written together when there are more than SMALL_FILES of them."""

SMALL_FILES = 32


def stage(
    con: duckdb.DuckDBPyConnection,
    query: str,
    base: str,
    time: TimeRange,
    *,
    on_schema_change: OnSchemaChange = "ignore",
    constraints: Constraints = _NO_CONSTRAINTS,
) -> Staged | None:
    """The query's rows of a time range in files for the table at ``base``; None if the table must change its columns first.

    Rows are held against all constraints that can be judged by themselves; uniqueness is for the join.
    """
    query = f"SELECT * FROM {schema.subquery(query)} AS batch WHERE {time.condition}"
    columns = schema.describe(con, query)
    table = tables.load(base)
    if changes.plan(columns, table.metadata, on_schema_change).metadata is not table.metadata:
        return None
    with parquet.attempt(table.metadata.location) as made:
        select = changes.stored_select(columns, table.metadata, schema.subquery(query))
        files = parquet.write(con, select, parquet.layout(table.metadata), made)
        _check(con, table, files, dataclasses.replace(constraints, unique=()))
        return Staged(
            range=time, shape=shape(table.metadata), files=tuple(_description(f, table.metadata) for f in files)
        )


def join(
    con: duckdb.DuckDBPyConnection,
    base: str,
    staged: Sequence[Staged],
    *,
    constraints: Constraints = _NO_CONSTRAINTS,
) -> Written:
    """The table at ``base`` with its rows of the staged time ranges replaced by the staged rows.

    Raises SchemaMismatch if the table has other columns or partitions now than when they were staged.
    """
    table = tables.load(base)
    current = shape(table.metadata)
    if any(item.shape != current for item in staged):
        raise SchemaMismatch(
            f"the columns or partitions of {constraints.table or table.metadata.location} changed while rows for it were "
            "computed; run again"
        )
    ordered = sorted(staged, key=lambda item: instant(item.range.start))
    files = [_data_file(f, table.metadata) for item in ordered for f in item.files]
    gone = f"lakehouse_replaced_{next(_NUMBERS)}"
    try:
        deleted = _find(con, table, merged(item.range for item in ordered), gone)
        removal = deletes.plan(table, deleted)
        with parquet.attempt(table.metadata.location) as made:
            added = _added(con, table, files, removal, gone, made)
            change = Change(
                operation=Operation.OVERWRITE if deleted else Operation.APPEND,
                added=added,
                deletes=deletes.write(con, table, removal.marked, gone, made),
                removed=removal.replaced,
            )
            _check(con, table, change.added, constraints, change)
            return tables.describe(
                commits.commit(table, change, made),
                rows_written=sum(item.rows for item in staged),
                rows_deleted=sum(deleted.values()),
            )
    finally:
        con.execute(f"DROP TABLE IF EXISTS {gone}")


def _check(
    con: duckdb.DuckDBPyConnection,
    table: Table,
    files: Sequence[DataFile],
    wanted: Constraints,
    change: Change | None = None,
) -> None:
    """Rows on their own (without a change), or the uniqueness of all (with one)."""
    if change is None:
        constraints.check(
            con,
            table,
            Change(operation=Operation.APPEND, added=files),
            dataclasses.replace(wanted, not_null=(*wanted.not_null, *wanted.primary_key), primary_key=()),
        )
    elif wanted.unique or wanted.primary_key:
        constraints.check(con, table, change, dataclasses.replace(wanted, not_null=(), checks=(), foreign=()))


def shape(metadata: TableMetadataV2) -> str:
    """What files must be made for to belong to a table: its columns, partitions and order, as a hash."""
    schema, spec, order = metadata.schema(), metadata.spec(), metadata.sort_order()
    fields = [f"{f.field_id} {f.name} {f.field_type} {f.required}" for f in schema.fields]
    text = f"{metadata.table_uuid} {fields} {spec} {order}"
    return hashlib.sha256(text.encode()).hexdigest()


# time ranges


def instant(text: str) -> datetime:
    """A time as dbt writes it; UTC, if it does not say."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def merged(ranges: Iterable[TimeRange]) -> list[TimeRange]:
    """Ranges in the order of time, those made one that follow upon each other without a gap."""
    found: list[TimeRange] = []
    for item in sorted(ranges, key=lambda item: instant(item.start)):
        last = found[-1] if found else None
        if last is not None and last.column == item.column and instant(last.end) == instant(item.start):
            found[-1] = dataclasses.replace(last, end=item.end)
        else:
            found.append(item)
    return found


def _find(con: duckdb.DuckDBPyConnection, table: Table, ranges: Sequence[TimeRange], gone: str) -> dict[int, int]:
    """Put the places of rows in any range in the table ``gone``, and count them by the number of their file."""
    numbers = _candidates(table, ranges)
    files = [table.data[n] for n in numbers]
    con.execute(f"CREATE TEMP TABLE {gone} ({FILE} BIGINT, {POSITION} BIGINT)")
    if not files:
        return {}
    scan = reader.scan(table, files, numbers=numbers)
    for start in range(0, len(ranges), _RANGES_A_QUERY):
        conditions = " OR ".join(f"({r.condition}\n)" for r in ranges[start : start + _RANGES_A_QUERY])
        con.execute(
            f"INSERT INTO {gone} SELECT {FILE}, {POSITION} FROM ({scan}) AS t WHERE ({conditions}) ORDER BY ALL"
        )
    return dict(con.execute(f"SELECT {FILE}, count(*) FROM {gone} GROUP BY ALL").fetchall())


def _candidates(table: Table, ranges: Sequence[TimeRange]) -> list[int]:
    """Numbers of the files that may hold rows of the ranges, by what manifests tell of their bounds."""
    everything = list(range(len(table.data)))
    field = _column(table, ranges)
    if field is None:
        return everything
    starts = [instant(r.start) - _SLACK for r in ranges]
    ends = [instant(r.end) + _SLACK for r in ranges]
    if ends != sorted(ends):
        return everything
    found = []
    for number in everything:
        bounds = _bounds(table.data[number].file, field)
        if bounds is None:
            found.append(number)
            continue
        before = bisect_right(starts, bounds[1])
        # The last range that begins before the file ends is the one that reaches furthest.
        if before and ends[before - 1] >= bounds[0]:
            found.append(number)
    return found


def _column(table: Table, ranges: Sequence[TimeRange]) -> NestedField | None:
    """The column of time, if the ranges speak of one by its plain name."""
    names = {r.column for r in ranges}
    if len(names) != 1:
        return None
    field = find_column(table.schema.fields, names.pop().strip().strip('"'))
    times = (DateType, TimestampType, TimestamptzType)
    return field if field is not None and isinstance(field.field_type, times) else None


def _bounds(file: DataFile, field: NestedField) -> tuple[datetime, datetime] | None:
    low, high = ((bounds or {}).get(field.field_id) for bounds in (file.lower_bounds, file.upper_bounds))
    if low is None or high is None:
        return None
    unit = timedelta(days=1) if isinstance(field.field_type, DateType) else timedelta(microseconds=1)
    try:
        kind: Any = field.field_type
        first, last = (_EPOCH + unit * int(from_bytes(kind, value)) for value in (low, high))
    except OverflowError:  # before the year 1, or after 9999
        return None
    return first, last


# files


def _added(
    con: duckdb.DuckDBPyConnection,
    table: Table,
    files: Sequence[DataFile],
    removal: deletes.Removal,
    gone: str,
    made: parquet.Attempt,
) -> list[DataFile]:
    """The staged files, many small ones written anew as few, and what is left of files that lose rows."""
    small = [f for f in files if f.record_count < SMALL_ROWS]
    selects = [deletes.survivors(table, removal.rewritten, gone)] if removal.rewritten else []
    if len(small) <= SMALL_FILES:
        small = []
    else:
        staged = commits.preview(table, Change(operation=Operation.APPEND, added=small))
        columns = ", ".join(reader.stored_columns(staged, "s."))
        scan = reader.scan(staged, staged.data[len(table.data) :], stored=True)
        selects.append(f"SELECT {columns} FROM ({scan}) AS s")
    rewritten = parquet.write(con, " UNION ALL ".join(selects), parquet.layout(table.metadata), made) if selects else []
    together = {f.file_path for f in small}
    return [*(f for f in files if f.file_path not in together), *rewritten]


def _description(file: DataFile, metadata: TableMetadataV2) -> StagedFile:
    kinds = metadata.spec().partition_type(metadata.schema()).fields
    values = [file.partition[place] for place in range(len(kinds))]
    return StagedFile(
        path=file.file_path,
        rows=file.record_count,
        size_bytes=file.file_size_in_bytes,
        partition=tuple(
            None if value is None else to_bytes(kind.field_type, value).hex()  # type: ignore[arg-type]
            for kind, value in zip(kinds, values, strict=True)
        ),
        sort_order_id=file.sort_order_id,
        column_sizes=dict(file.column_sizes or {}),
        value_counts=dict(file.value_counts or {}),
        null_counts=dict(file.null_value_counts or {}),
        nan_counts=dict(file.nan_value_counts or {}),
        lower={key: value.hex() for key, value in (file.lower_bounds or {}).items()},
        upper={key: value.hex() for key, value in (file.upper_bounds or {}).items()},
    )


def _data_file(staged: StagedFile, metadata: TableMetadataV2) -> DataFile:
    spec = metadata.spec()
    kinds = spec.partition_type(metadata.schema()).fields
    values = [
        None if text is None else from_bytes(kind.field_type, bytes.fromhex(text))  # type: ignore[arg-type]
        for kind, text in zip(kinds, staged.partition, strict=True)
    ]
    file = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=staged.path,
        file_format=FileFormat.PARQUET,
        partition=Record(*values),
        record_count=staged.rows,
        file_size_in_bytes=staged.size_bytes,
        column_sizes=dict(staged.column_sizes),
        value_counts=dict(staged.value_counts),
        null_value_counts=dict(staged.null_counts),
        nan_value_counts=dict(staged.nan_counts),
        lower_bounds={key: bytes.fromhex(value) for key, value in staged.lower.items()},
        upper_bounds={key: bytes.fromhex(value) for key, value in staged.upper.items()},
        sort_order_id=staged.sort_order_id,
    )
    file.spec_id = spec.spec_id
    return file
