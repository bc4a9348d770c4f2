"""Rows between service and client: an Arrow IPC stream in DuckDB's lossless form, decoded where somebody looks at them.

What is to be said beside the rows stands in the metadata of the stream's schema. An error in their midst is the custom
metadata of a last batch without rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from dbt.adapters.lakehouse.errors import LakehouseError, ServiceError
from dbt.adapters.lakehouse.jobs.rows import ArrowRows, plain
from dbt.adapters.lakehouse.lake.remote import wire
from dbt.adapters.lakehouse.run.values import Result

if TYPE_CHECKING:
    import pyarrow as pa

ERROR = b"lakehouse-error"
"""The key of the batch's metadata under which a ``wire.ErrorDocument`` travels."""


def with_answer(ipc: Any, answer: wire.Answer) -> list[Any]:
    """The buffers of a stream whose schema says what is to be said beside the rows."""
    import pyarrow as pa

    buffer = pa.py_buffer(ipc)
    source = pa.BufferReader(buffer)
    schema = pa.ipc.read_schema(source)
    said = {**(schema.metadata or {}), wire.META: wire.dump(wire.Answer, answer)}
    return [memoryview(schema.with_metadata(said).serialize()), memoryview(buffer)[source.tell() :]]


def result_of(content: str, data: bytes) -> Result:
    """A statement's result, of its answer's body."""
    if content != wire.ARROW:
        answer: wire.Answer = wire.load(wire.Answer, data)
        return Result(
            columns=answer.columns,
            rows=answer.rows,
            rows_affected=answer.rows_affected,
            message=answer.message,
            reused=answer.reused,
        )
    import pyarrow as pa

    schema = pa.ipc.read_schema(pa.BufferReader(data))
    answer = wire.load(wire.Answer, (schema.metadata or {})[wire.META])
    rows = ArrowRows(data)
    return Result(columns=answer.columns, rows=rows, rows_affected=answer.rows_affected, message=answer.message)


def failed(schema: pa.Schema, error: wire.ErrorDocument) -> bytes:
    """The end of a stream that could not be finished: a message to put after its last whole one."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    writer = pa.ipc.new_stream(sink, schema)
    empty = pa.RecordBatch.from_pylist([], schema=schema)
    writer.write_batch(empty, custom_metadata={ERROR: wire.dump(wire.ErrorDocument, error)})
    writer.close()
    source = pa.BufferReader(sink.getvalue())
    pa.ipc.read_schema(source)
    ended: bytes = source.read()
    return ended


class Batches:
    """The rows of an answer, batch by batch, as they arrive. Closed early, the service stops making them."""

    def __init__(self, response: Any) -> None:
        import pyarrow as pa

        self._response = response
        try:
            self._stream = pa.ipc.open_stream(pa.PythonFile(response, mode="r"))
        except (pa.ArrowInvalid, OSError) as error:
            response.close()
            raise ServiceError(f"the service's answer is no Arrow stream: {error}") from error
        self.schema: pa.Schema = self._stream.schema
        self._whole = False
        self.error: LakehouseError | None = None

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Batches in DuckDB's lossless form. Raises what the service met while it made them."""
        import pyarrow as pa

        while True:
            try:
                batch, more = self._stream.read_next_batch_with_custom_metadata()
            except StopIteration:
                self._whole = True
                return
            except (pa.ArrowException, OSError) as error:
                raise ServiceError(f"the service's answer broke off: {error}") from error
            if more is not None and ERROR in more:
                self.error = wire.error_of(wire.load(wire.ErrorDocument, more[ERROR]))
                raise self.error
            yield batch

    def table(self) -> pa.Table:
        """All rows in plain Arrow types. Raises what the service met while it made them."""
        with self._errors():
            return self.reader().read_all()

    def plain(self) -> Iterator[pa.RecordBatch]:
        """Batches in plain Arrow types, as they arrive. Raises what the service met while it made them."""
        with self._errors():
            yield from self.reader()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            if self.error is not None:  # on its way through DuckDB it has become one of DuckDB's own
                raise self.error from None
            raise

    def reader(self) -> pa.RecordBatchReader:
        """The rows in plain Arrow types, as DuckDB gives them to anybody."""
        import pyarrow as pa

        reader: pa.RecordBatchReader = plain(pa.RecordBatchReader.from_batches(self.schema, iter(self)))
        return reader

    def close(self) -> None:
        """Give the connection back, or break it if rows are left."""
        if self._whole:
            with contextlib.suppress(Exception):
                self._response.drain_conn()
            self._response.release_conn()
        else:
            self._response.close()


def write_local(sql: str, target: IO[bytes]) -> None:
    """The rows of SQL that reads files of this machine, as an Arrow stream. Raises ``SqlError``."""
    import duckdb
    import pyarrow as pa

    from dbt.adapters.lakehouse.jobs.engine import duckdb_errors

    with duckdb_errors(), duckdb.connect() as connection:
        connection.execute("SET arrow_lossless_conversion = true")
        reader = connection.sql(sql).to_arrow_reader()
        with pa.ipc.new_stream(target, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)
