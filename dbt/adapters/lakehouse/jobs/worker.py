"""Runs jobs in an engine: binds their inputs, executes, writes, answers."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import duckdb

from dbt.adapters.lakehouse import telemetry
from dbt.adapters.lakehouse.errors import JobCancelled
from dbt.adapters.lakehouse.jobs import python_model
from dbt.adapters.lakehouse.jobs.engine import Engine, duckdb_errors, qualified, quote
from dbt.adapters.lakehouse.jobs.job import (
    Alter,
    Append,
    Create,
    Describe,
    Edit,
    Job,
    JobResult,
    Query,
    Watch,
)
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.tables.values import Column, Written

if TYPE_CHECKING:
    import pyarrow as pa

_INTERRUPT_SECONDS = 0.05
_STAGED = "__lakehouse_rows"
_BATCH = 10_000
_COUNTED = (
    duckdb.StatementType.INSERT,
    duckdb.StatementType.UPDATE,
    duckdb.StatementType.DELETE,
    duckdb.StatementType.MERGE_INTO,
    duckdb.StatementType.CREATE,
    duckdb.StatementType.COPY,
)


class Worker:
    """A warm engine and, between ``begin`` and ``end``, one session's connection in it.

    Temporary tables and settings live as long as the session. One job at a time; ``cancel`` may come from any thread.
    """

    def __init__(self, settings: LakeSettings) -> None:
        self._engine = Engine(settings)
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._home: tuple[str, str] | None = None
        self._defined: set[str] = set()
        self._cancelled = threading.Event()
        self._running = threading.Event()

    def begin(self) -> None:
        """Start a session; the connection is made by its first job."""
        self._cancelled.clear()

    def end(self) -> None:
        """End the session: its temporary tables and settings are gone."""
        if self._cursor is not None:
            self._cursor.close()
        self._cursor = self._home = None
        self._defined.clear()

    @property
    def cancelled(self) -> bool:
        """Whether this session was cancelled; what its last job left half done is then still in the engine."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Interrupt the job that runs, and refuse further ones until the next ``begin``."""
        self._cancelled.set()
        threading.Thread(target=self._interrupt, daemon=True).start()

    def _interrupt(self) -> None:
        """Interrupt until the job has ended: one that is between two statements would not notice a single time."""
        while self._cancelled.is_set() and self._running.is_set():
            cursor = self._cursor
            if cursor is not None:
                cursor.interrupt()
            time.sleep(_INTERRUPT_SECONDS)

    def close(self) -> None:
        """Stop the engine."""
        self.end()
        self._engine.close()

    def run(self, job: Job, watch: Watch | None = None) -> JobResult:
        """Run one job. Raises ``SqlError``, ``PythonModelError``, ``OutOfMemory``, ``JobCancelled``, and ``TableError``s."""
        if self._cancelled.is_set():
            raise JobCancelled("the run was cancelled before this job started")
        self._running.set()
        try:
            with duckdb_errors(self._engine.memory_limit), telemetry.record() as phases:
                cursor = self._connect(job)
                with telemetry.phase("bind"):
                    self._engine.bind(job.inputs)
                for statement in (*job.definitions, *job.setup):
                    if statement not in self._defined:
                        cursor.execute(statement)
                self._defined.update(job.definitions)
                result = self._act(cursor, job)
            return dataclasses.replace(result, phases=tuple(phases))
        finally:
            self._running.clear()

    def _connect(self, job: Job) -> duckdb.DuckDBPyConnection:
        if self._cursor is None or self._home != (job.database, job.default_schema):
            self.end()
            self._cursor = self._engine.cursor(job.database, job.default_schema)
            self._home = (job.database, job.default_schema)
        return self._cursor

    def _act(self, cursor: duckdb.DuckDBPyConnection, job: Job) -> JobResult:
        action = job.action
        match action:
            case Query():
                return _answer(cursor, action)
            case Describe():
                return JobResult(columns=describe(cursor, action.sql))
            case Create():
                return self._write(cursor, action, lambda sql: _create(cursor, action, sql))
            case Append():
                return self._write(cursor, action, lambda sql: _append(cursor, action, sql))
            case Edit():
                return self._edit(cursor, action)
            case Alter():
                return JobResult(written=_alter(cursor, action))

    def _write(
        self, cursor: duckdb.DuckDBPyConnection, action: Create | Append, write: Callable[[str], Written]
    ) -> JobResult:
        with _rows(cursor, action) as sql:
            written = write(sql)
        return JobResult(written=written, rows_affected=written.rows_written)

    def _edit(self, cursor: duckdb.DuckDBPyConnection, action: Edit) -> JobResult:
        from dbt.adapters.lakehouse.tables import rows, writer

        target = action.target
        assert target.metadata_location is not None
        base = target.metadata_location
        name = (target.database, target.schema, target.name)
        if not action.statements:
            written = rows.delete(cursor, base, action.matching, alias=quote(action.alias))
            return JobResult(written=written, rows_affected=written.rows_deleted)
        if action.source is not None:
            cursor.execute(f"CREATE OR REPLACE TEMP TABLE {quote(action.source)} AS {action.sql}")
            if action.on_schema_change != "ignore":
                columns = "*" if action.incoming is None else ", ".join(map(quote, action.incoming))
                incoming = f"SELECT {columns} FROM {quote(action.source)}"
                base = writer.evolve(cursor, incoming, base, action.on_schema_change)
        # The statements name the table itself, so a real table takes the place of its view while they run.
        self._engine.ensure_schema(target.database, target.schema)
        self._engine.unbind(name)

        said = JobResult()

        def edit(_table: str) -> None:
            nonlocal said
            for statement in action.statements:
                said = _answer(cursor, Query(sql=statement))

        try:
            written = rows.patch(
                cursor,
                base,
                matching=action.matching,
                edit=edit,
                alias=quote(action.alias),
                work_table=qualified(*name),
                constraints=action.constraints,
            )
        finally:
            if action.source is not None:
                cursor.execute(f"DROP TABLE IF EXISTS {quote(action.source)}")
        return JobResult(written=written, columns=said.columns, rows=said.rows, rows_affected=said.rows_affected)


class _rows:  # noqa: N801 - used as a function: the rows of SQL or of a Python model, as a SELECT
    """Context in which a SELECT gives the rows of a query or of a Python model."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, action: Create | Append) -> None:
        self._cursor, self._sql, self._python, self._arrow = cursor, action.sql, action.python, action.arrow
        self._staged = False

    def __enter__(self) -> str:
        if self._arrow is not None:
            return python_model.expose(_arrow_rows(self._arrow), self._cursor)
        if self._python is None:
            assert self._sql is not None
            if len(self._cursor.extract_statements(self._sql)) == 1:
                return self._sql
            # A PIVOT whose columns come from the data: DuckDB makes several statements of it, which COPY answers empty.
            self._cursor.execute(f"CREATE OR REPLACE TEMP TABLE {_STAGED} AS {self._sql}")
            self._staged = True
            return f"SELECT * FROM {_STAGED}"
        return python_model.expose(python_model.run_model(self._python, self._cursor), self._cursor)

    def __exit__(self, *_: object) -> None:
        if self._staged:
            self._cursor.execute(f"DROP TABLE IF EXISTS {_STAGED}")
        if self._python is not None or self._arrow is not None:
            python_model.conceal(self._cursor)


def _arrow_rows(path: str) -> pa.Table:
    """An Arrow IPC stream in a file, memory-mapped."""
    import pyarrow as pa

    with pa.memory_map(path) as source, pa.ipc.open_stream(source) as reader:
        return reader.read_all()


def describe(cursor: duckdb.DuckDBPyConnection, sql: str) -> tuple[Column, ...]:
    """Columns of a SELECT, bound but not run."""
    rows = cursor.execute(f"DESCRIBE {sql}").fetchall()
    return tuple(Column(name=row[0], type=row[1], required=row[2] == "NO") for row in rows)


@telemetry.phase("execute")
def _answer(cursor: duckdb.DuckDBPyConnection, action: Query) -> JobResult:
    cursor.execute(action.sql)
    description = cursor.description
    if not description:
        return JobResult()
    if not action.fetch:
        # DuckDB computes rows as they are fetched: without this, an error in a later row would never happen.
        while cursor.fetchmany(_BATCH):
            pass
        return JobResult()
    if _is_count(cursor, action.sql, description):
        counted = cursor.fetchall()
        return JobResult(rows_affected=counted[0][0] if counted else 0)
    columns = tuple(Column(name=column[0], type=str(column[1])) for column in description)
    if action.arrow:
        return JobResult(columns=columns, arrow=cursor.to_arrow_table())
    rows: list[tuple[Any, ...]] = cursor.fetchall() if action.limit is None else cursor.fetchmany(action.limit)
    return JobResult(columns=columns, rows=rows)


def _is_count(cursor: duckdb.DuckDBPyConnection, sql: str, description: list[tuple[Any, ...]]) -> bool:
    """Whether the one row is DuckDB's count of changed rows, rather than a column that somebody called so."""
    if len(description) != 1 or description[0][0] != "Count":
        return False
    return cursor.extract_statements(sql)[-1].type in _COUNTED


def _create(cursor: duckdb.DuckDBPyConnection, action: Create, sql: str) -> Written:
    from dbt.adapters.lakehouse.tables import writer

    if action.keeps_layout and action.replaces is not None:
        return writer.rewrite(cursor, sql, action.replaces)
    return writer.create(cursor, sql, action.spec, replaces=action.replaces)


def _append(cursor: duckdb.DuckDBPyConnection, action: Append, sql: str) -> Written:
    from dbt.adapters.lakehouse.tables import writer

    write = writer.overwrite if action.overwrite else writer.append
    return write(
        cursor,
        sql,
        action.base,
        on_schema_change=action.on_schema_change,
        constraints=action.constraints,
    )


def _alter(cursor: duckdb.DuckDBPyConnection, action: Alter) -> Written:
    from dbt.adapters.lakehouse.tables import evolve

    return evolve.apply(cursor, action.base, action.alterations)
