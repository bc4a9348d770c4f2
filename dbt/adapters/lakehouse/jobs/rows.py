"""Rows as an Arrow IPC stream in DuckDB's lossless form, decoded by DuckDB when somebody looks at them."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_BATCH = 122_880
_SMALL = 1 << 14
_starting = threading.Lock()


class ArrowRows(Sequence[tuple[Any, ...]]):
    """Rows of a query: ``ipc`` as they came, and as a sequence the Python values that DuckDB itself would have given."""

    def __init__(self, ipc: Any) -> None:
        self.ipc = ipc

    @functools.cached_property
    def _rows(self) -> list[tuple[Any, ...]]:
        return decode(self.ipc)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[Any, ...]]: ...
    def __getitem__(self, index: int | slice) -> tuple[Any, ...] | list[tuple[Any, ...]]:
        return self._rows[index]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._rows)

    def __eq__(self, other: object) -> bool:
        return self._rows == (other._rows if isinstance(other, ArrowRows) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._rows)


def encode(reader: pa.RecordBatchReader, limit: int | None = None) -> pa.Buffer:
    """An IPC stream of the first ``limit`` rows of a reader."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, reader.schema) as writer:
        for batch in first(reader, limit):
            writer.write_batch(batch)
    return sink.getvalue()


def first(batches: Iterable[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    """The first ``limit`` rows; no batch is asked for beyond them."""
    left = limit
    for batch in batches if left != 0 else ():
        if left is not None:
            batch = batch.slice(0, left)
            left -= batch.num_rows
        yield batch
        if left == 0:
            return


def decode(ipc: Any) -> list[tuple[Any, ...]]:
    """The rows of an IPC stream as Python values."""
    import pyarrow as pa

    with pa.ipc.open_stream(pa.py_buffer(ipc)) as reader:
        if len(memoryview(ipc)) < _SMALL and all(_simple(field.type) for field in reader.schema):
            # A millisecond less than with DuckDB, which matters where there is but a row or two.
            return list(zip(*(_values(column) for column in reader.read_all().columns), strict=True))
        return _through_duckdb(reader.read_all()).fetchall()


def _through_duckdb(table: pa.Table) -> duckdb.DuckDBPyRelation:
    """A query that gives the rows of a table. Its columns are numbered: names need not be different from each other."""
    import pyarrow as pa

    cursor = connection().cursor()
    zone = _zone(table.schema)
    if zone is not None:
        cursor.execute("SET TimeZone = ?", [zone])
    columns = [column.cast(_without_enums(column.type)) for column in table.columns]
    return cursor.from_arrow(pa.table(columns, names=[f"c{index}" for index in range(len(columns))]))


def _without_enums(kind: pa.DataType) -> pa.DataType:
    """A type with text for enumerations, whose values are the same.

    Of those in an array, DuckDB would read the numbers alone; on those in an empty list, it would fail for good.
    """
    import pyarrow as pa

    def inner(field: pa.Field) -> pa.Field:
        return field.with_type(_without_enums(field.type))

    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(inner(kind.value_field), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(inner(kind.value_field))
    if pa.types.is_struct(kind):
        return pa.struct([inner(field) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(inner(kind.key_field), inner(kind.item_field))
    return kind


def _simple(kind: pa.DataType) -> bool:
    """Whether Arrow's Python value is DuckDB's, too."""
    import pyarrow as pa

    tests = (pa.types.is_integer, pa.types.is_float64, pa.types.is_string, pa.types.is_binary)
    return isinstance(kind, pa.Bool8Type) or any(test(kind) for test in tests)


def _values(column: pa.ChunkedArray) -> list[Any]:
    return column.to_pylist()  # type: ignore[no-any-return]


def plain(reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """Rows in the types that DuckDB gives to Arrow by default, from those of its lossless form.

    The answer reads from ``reader``, which must be open as long.
    """
    import pyarrow as pa

    wanted = [index for index, field in enumerate(reader.schema) if _lossless(field.type)]
    if not wanted:
        return reader
    schema = _plain(pa.Table.from_batches([], reader.schema), wanted).schema
    batches = (
        converted
        for batch in reader
        for converted in _plain(pa.Table.from_batches([batch]), wanted).combine_chunks().to_batches()
    )
    return pa.RecordBatchReader.from_batches(schema, batches)


def _plain(table: pa.Table, wanted: Sequence[int]) -> pa.Table:
    """A table whose columns at these places went through DuckDB."""
    converted = _through_duckdb(table.select(wanted)).to_arrow_table()
    for place, index in enumerate(wanted):
        field = converted.schema.field(place).with_name(table.schema.field(index).name)
        table = table.set_column(index, field, converted.column(place))
    return table


def rows_of(cursor: duckdb.DuckDBPyConnection | duckdb.DuckDBPyRelation) -> pa.RecordBatchReader:
    """The rows of a query, made as they are read. Raises DuckDB's errors, now and then."""
    import duckdb

    try:
        return reading(cursor.to_arrow_reader(_BATCH))
    except OSError as error:
        raise duckdb.NotImplementedException(f"{error}; cast the column to another type, such as JSON") from error


def reading(reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """The same rows; what DuckDB raises while it makes them is an error of its own again, and not a text in Arrow's."""
    import pyarrow as pa

    return pa.RecordBatchReader.from_batches(reader.schema, _batches(reader))


def _batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    import duckdb
    import pyarrow as pa

    kinds = {
        "INTERRUPT": duckdb.InterruptException,
        "Out of Memory": duckdb.OutOfMemoryException,
        "Permission": duckdb.PermissionException,
    }
    try:
        yield from reader
    except (OSError, pa.ArrowException) as error:
        text = str(error)
        kind = next((kind for name, kind in kinds.items() if text.startswith(f"{name} Error")), duckdb.Error)
        raise kind(text) from error


def connection() -> duckdb.DuckDBPyConnection:
    """A DuckDB without any data, one a process, for decoding and parsing; use a cursor of it."""
    import duckdb

    with _starting:
        try:
            _shared().execute("SELECT 1")
        except duckdb.Error:
            # Something made it give up for good, which is no reason to do so, too.
            _shared.cache_clear()
        return _shared()


@functools.cache
def _shared() -> duckdb.DuckDBPyConnection:
    import duckdb

    return duckdb.connect(config={"threads": 1, "enable_external_access": False})


def _types(kind: pa.DataType) -> Iterator[pa.DataType]:
    import pyarrow as pa

    yield kind
    inner = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    for index in range(inner.num_fields):
        yield from _types(inner.field(index).type)


def _lossless(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return any(isinstance(found, pa.BaseExtensionType) for found in _types(kind))


def _zone(schema: pa.Schema) -> str | None:
    """The time zone of the session that the rows are from, if one of their types tells it."""
    import pyarrow as pa

    for field in schema:
        for found in _types(field.type):
            if pa.types.is_timestamp(found) and found.tz is not None:
                return str(found.tz)
    return None
