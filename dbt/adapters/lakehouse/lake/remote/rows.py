"""Rows as they travel: thin"""

from __future__ import annotations

from typing import IO, Any

from dbt.adapters.lakehouse.errors import ServiceError
from dbt.adapters.lakehouse.jobs.engine import duckdb_errors
from dbt.adapters.lakehouse.lake.remote import wire
from dbt.adapters.lakehouse.run.values import Result


def result_of(content: str, data: bytes) -> Result:
    """A statement's result."""
    if content != wire.ARROW:
        answer: wire.Answer = wire.load(wire.Answer, data)
        return Result(
            columns=answer.columns, rows=answer.rows, rows_affected=answer.rows_affected, message=answer.message
        )

    raise ServiceError("no")


def write_local(sql: str, target: IO[bytes]) -> None:
    """The rows of SQL that reads files of this machine, as an Arrow stream."""
    import duckdb
    import pyarrow as pa

    with duckdb_errors(), duckdb.connect() as connection:
        connection.execute("SET arrow_lossless_conversion = true")
        connection.execute(sql)
        reader = connection.to_arrow_reader()
        with pa.ipc.new_stream(target, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)


class Batches:
    """The rows of an answer, batch by batch."""

    def __init__(self, response: Any) -> None:
        raise NotImplementedError
