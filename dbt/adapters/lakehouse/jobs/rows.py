"""Rows as an Arrow IPC stream in DuckDB's lossless form, decoded by DuckDB when somebody looks at them."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_BATCH = 122_880
_DUCKDB_ERROR = re.compile(r"[A-Z][A-Za-z-]+(?: [A-Za-z-]+){0,3} Error: ")
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

    with pa.ipc.open_stream(pa.py_buffer(ipc)) as reader, connection().cursor() as cursor:
        zone = _zone(reader.schema)
        if zone is not None:
            cursor.execute("SET TimeZone = ?", [zone])
        return cursor.from_arrow(reader).fetchall()


def plain(reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """Rows in the types that DuckDB gives to Arrow by default, from those of its lossless form.

    The answer reads from ``reader``, which must be open as long.
    """
    if not any(_lossless(field.type) for field in reader.schema):
        return reader
    cursor = connection().cursor()
    zone = _zone(reader.schema)
    if zone is not None:
        cursor.execute("SET TimeZone = ?", [zone])
    return reading(cursor.from_arrow(reader).to_arrow_reader(_BATCH))


def reading(reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """The same rows; what DuckDB raises while it makes them is one of its own errors again, and not a text in Arrow's."""
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
        # The last one: an error that came through another query has that one's words before it.
        *_, start = 0, *(found.start() for found in _DUCKDB_ERROR.finditer(text))
        kind = next((kind for name, kind in kinds.items() if text.startswith(f"{name} Error", start)), duckdb.Error)
        raise kind(text[start:]) from error


def connection() -> duckdb.DuckDBPyConnection:
    """A DuckDB without any data, one a process, for decoding and parsing; use a cursor of it."""
    with _starting:
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
