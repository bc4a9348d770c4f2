"""Runs jobs in an engine: binds their inputs, executes, writes, answers."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import duckdb

from dbt.adapters.lakehouse import telemetry
from dbt.adapters.lakehouse.errors import JobCancelled, TableError
from dbt.adapters.lakehouse.jobs import attached, function_sql, python_model, sound
from dbt.adapters.lakehouse.jobs.engine import Engine, duckdb_errors
from dbt.adapters.lakehouse.jobs.job import (
    Alter,
    Append,
    Bind,
    Compact,
    Create,
    Describe,
    Edit,
    Job,
    JobResult,
    Join,
    Progress,
    PythonCode,
    Query,
    Sink,
    Stage,
    Watch,
)
from dbt.adapters.lakehouse.jobs.monitor import Monitor, size_of
from dbt.adapters.lakehouse.jobs.rows import rows_of
from dbt.adapters.lakehouse.jobs.sandbox import Sandbox
from dbt.adapters.lakehouse.jobs.traces import leaves_nothing
from dbt.adapters.lakehouse.quoting import qualified, quote
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.tables import content, fresh
from dbt.adapters.lakehouse.tables.values import Column, Staged, Written

if TYPE_CHECKING:
    import pyarrow as pa

    from dbt.adapters.lakehouse.jobs.function_process import FunctionProcesses
    from dbt.adapters.lakehouse.jobs.python_process import PythonProcesses

_INTERRUPT_SECONDS = 0.05
_STAGED = "__lakehouse_rows"
_BATCH = 10_000
_HOLDS_RESULTS = int(duckdb.__version__.partition(".")[0]) >= 2
_COUNTED = (
    duckdb.StatementType.INSERT,
    duckdb.StatementType.UPDATE,
    duckdb.StatementType.DELETE,
    duckdb.StatementType.MERGE_INTO,
    duckdb.StatementType.CREATE,
    duckdb.StatementType.COPY,
)


_Isolate = Callable[[PythonCode], "contextlib.AbstractContextManager[pa.Table] | None"]
"""Gives the rows of a Python model that runs in a process of its own; None for one that does not."""


class Worker:
    """A warm engine and, between ``begin`` and ``end``, one session's connection in it.

    Temporary tables and settings live as long as the session. One job at a time; ``cancel`` may come from any thread.
    """

    def __init__(self, settings: LakeSettings, *, isolate_python: bool = False) -> None:
        """With ``isolate_python`` every Python model runs in a process of its own; else those that need it."""
        self._settings = settings
        self._isolate_python = isolate_python
        self._pythons: PythonProcesses | None = None
        self._python: _Isolate | None = None
        self._functions: FunctionProcesses | None = None
        self._sandbox = Sandbox(settings) if settings.sandbox else None
        self._present = Engine(settings) if self._sandbox is None else None
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._home: tuple[str, str] | None = None
        self._defined: set[str] = set()
        self._touched = False
        self._by_hand = False
        self._ordered: bool | None = None
        self._cancelled = threading.Event()
        self._running = threading.Event()
        self._started = 0.0
        self._folders: list[str] = []
        self.written: Callable[[], int] | None = None
        """Bytes that the job has written so far, where somebody knows better than the sizes of its local files."""

    @property
    def _engine(self) -> Engine:
        """The engine of the job that runs."""
        assert self._present is not None, "no job runs"
        return self._present

    def begin(self) -> None:
        """Start a session; the connection is made by its first job."""
        self._cancelled.clear()

    def end(self) -> None:
        """End the session: its temporary tables and settings are gone."""
        if self._functions is not None and (self._isolate_python or self._settings.module_paths):
            # What a function keeps in its process is not for the next one, who may be somebody else.
            self._functions.close()
        self._defined.clear()
        if self._sandbox is not None and self._sandbox.end(self._present):
            return
        self._leave()
        if self._sandbox is None and not self._touched:
            return  # the next session may have the connection: a new one costs as much as a small query
        self._touched = False
        if self._cursor is not None:
            self._cursor.close()
        self._cursor = self._home = None
        if self._sandbox is not None:
            # What one session was allowed to open, nobody else shall find open.
            self._present = None

    def _leave(self) -> None:
        """Let go of what the session had attached, so that others may write to it, or it may be another next time."""
        if self._sandbox is None and self._present is not None:
            by_hand, self._by_hand = self._by_hand, False
            with contextlib.suppress(duckdb.Error):
                self._present.leave(by_hand=by_hand)

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
            connections = [self._cursor]
            if self._present is not None:
                connections.append(self._present.connection)
            if self._sandbox is not None:
                connections.append(self._sandbox.entering)
            for connection in connections:
                if connection is not None:
                    with contextlib.suppress(duckdb.Error):  # one that was closed this moment
                        connection.interrupt()
            time.sleep(_INTERRUPT_SECONDS)

    def close(self) -> None:
        """Stop the engine."""
        self.end()
        if self._functions is not None:
            self._functions.close()
        if self._cursor is not None:
            self._cursor.close()
        if self._present is not None:
            self._present.close()
        if self._sandbox is not None:
            self._sandbox.close()

    def progress(self) -> Progress:
        """How far the job is that runs; from any thread."""
        cursor = self._cursor
        percent = cursor.query_progress() if cursor is not None and self._running.is_set() else -1.0
        return Progress(
            seconds=time.monotonic() - self._started,
            percent=percent if percent > 0 else None,
            size_bytes=self.written() if self.written is not None else size_of(self._folders),
        )

    def run(self, job: Job, watch: Watch | None = None, sink: Sink | None = None) -> JobResult:
        """Run one job; the rows of a query go to ``sink``, if there is one, and not into the result.

        Raises ``SqlError``, ``PythonModelError``, ``OutOfMemory``, ``JobCancelled``, and ``TableError``s.
        """
        if self._cancelled.is_set():
            raise JobCancelled("the run was cancelled before this job started")
        self._started = time.monotonic()
        self._running.set()
        try:
            with attached.masking(self._settings.attached), telemetry.record() as phases, Monitor(self.progress, watch):
                result = self._run(job, watch, sink)
            return dataclasses.replace(result, phases=tuple(phases))
        except BaseException:
            self._touched = True
            if self._sandbox is not None and self._cursor is not None:
                self._sandbox.spoil()
                # A statement that failed within a transaction would fail all that the session does after it.
                with contextlib.suppress(duckdb.Error):
                    self._cursor.execute("ROLLBACK")
            raise
        finally:
            self._running.clear()
            self._folders = []
            if self._sandbox is not None:
                self._sandbox.rest()

    def _run(self, job: Job, watch: Watch | None, sink: Sink | None) -> JobResult:
        with function_sql.explaining(job), self._errors(job), self._calling(job, watch):
            checked = self._check(job)
            cursor = self._connect(job)
            if not checked:
                self._check(job)
            if not leaves_nothing(job):
                self._touched, self._ordered = True, None
            with telemetry.phase("bind"):
                self._engine.register = self._functions.register if self._functions is not None else None
                self._engine.bind(job.inputs)
            if self._sandbox is not None:
                self._sandbox.settle(cursor)
            for statement in (*job.definitions, *job.setup):
                if statement not in self._defined:
                    self._set_up(cursor, statement)
            self._defined.update(job.definitions)
            self._python = lambda code: self._isolated(code, job, cursor, watch)
            with self._writing(watch), content.identifying(job.identified):
                result = self._act(cursor, job, sink)
        if self._sandbox is not None:
            self._sandbox.note(job)
        return result

    def _writing(self, watch: Watch | None) -> contextlib.AbstractContextManager[None]:
        """Where the job's files are made; noted, so that somebody who watches sees them grow."""
        if self._sandbox is not None:
            return fresh.keeping(self._engine.instance.staging, self._folders)
        return fresh.noting(self._folders) if watch is not None else contextlib.nullcontext()

    def _check(self, job: Job) -> bool:
        """Have the sandbox look at the job's SQL, where a connection is there to parse it with that opens no other files."""
        if self._sandbox is None:
            return True
        if self._cursor is None:
            return False
        self._sandbox.check(self._cursor, job, self._defined)
        return True

    def _isolated(
        self, code: PythonCode, job: Job, cursor: duckdb.DuckDBPyConnection, watch: Watch | None
    ) -> contextlib.AbstractContextManager[pa.Table] | None:
        """The rows of a Python model that runs in a process of its own; None if it is to run in this one."""
        if not (self._isolate_python or code.isolated or code.packages or code.python_version):
            return None
        # Imported late: few models need it.
        from dbt.adapters.lakehouse.jobs.python_process import Call, PythonProcesses

        if self._pythons is None:
            self._pythons = PythonProcesses(self._settings, foreign=self._isolate_python)
        call = Call(code=code, job=job, cursor=cursor, watch=watch, cancelled=self._cancelled.is_set)
        return self._pythons.rows(call)

    def _calling(self, job: Job, watch: Watch | None) -> contextlib.AbstractContextManager[None]:
        """Where the job's functions in Python run."""
        if not any(item.function is not None and item.function.language == "python" for item in job.inputs):
            return contextlib.nullcontext()
        # Imported late: few lakes have any.
        from dbt.adapters.lakehouse.jobs.function_process import FunctionProcesses

        if self._functions is None:
            self._functions = FunctionProcesses(self._settings, self._cancelled.is_set, foreign=self._isolate_python)
        return self._functions.job(job, self._limit_of(job) or "1GB", watch)

    def _errors(self, job: Job) -> contextlib.AbstractContextManager[None]:
        return duckdb_errors(self._limit_of(job), sandboxed=self._sandbox is not None)

    def _limit_of(self, job: Job) -> str | None:
        own = self._present.instance.own_memory if self._present is not None else self._settings.memory_limit
        return job.resources.memory or own

    def _set_up(self, cursor: duckdb.DuckDBPyConnection, statement: str) -> None:
        if self._sandbox is not None:
            self._sandbox.run_setup(cursor, statement)
        else:
            cursor.execute(statement)

    def _connect(self, job: Job) -> duckdb.DuckDBPyConnection:
        if self._sandbox is not None:
            fresh = self._sandbox.admit(job, self._present, self._cursor)
            if fresh is not None:
                self._present, self._cursor = fresh
                self._defined.clear()
            if self._cancelled.is_set():
                raise JobCancelled("the job was cancelled before it ran")
            assert self._cursor is not None
            return self._cursor
        self._engine.limit(job.resources.cpus, job.resources.memory)
        if self._cursor is None or self._home != (job.database, job.default_schema):
            self._touched = True
            self.end()
            self._cursor = self._engine.cursor(job.database, job.default_schema)
            self._home = (job.database, job.default_schema)
        return self._cursor

    def _act(self, cursor: duckdb.DuckDBPyConnection, job: Job, sink: Sink | None) -> JobResult:
        action = job.action
        match action:
            case Query():
                if self._sandbox is not None:
                    rest = self._sandbox.without_settings(action.sql)
                    if rest is None:
                        return JobResult()
                    action = dataclasses.replace(action, sql=rest)
                self._by_hand = self._by_hand or "attach" in action.sql.lower()
                return _answer(cursor, action, sink)
            case Describe():
                if self._functions is not None:
                    self._functions.check(job)
                return JobResult(columns=describe(cursor, action.sql))
            case Create():
                return self._write(cursor, action, lambda sql: _create(cursor, action, sql))
            case Append():
                return self._write(cursor, action, lambda sql: _append(cursor, action, sql))
            case Edit():
                return self._edit(cursor, action, sink)
            case Alter() | Join() | Compact():
                return JobResult(written=_changed(cursor, action))
            case Stage():
                with _rows(cursor, action, self._python) as sql:
                    return JobResult(staged=_stage(cursor, action, sql))
            case Bind():
                return self._bind(cursor, action)

    def _bind(self, cursor: duckdb.DuckDBPyConnection, action: Bind) -> JobResult:
        # Imported late: one job of a run does this, if any.
        from dbt.adapters.lakehouse.jobs import binding

        check = self._sandbox.reading(cursor) if self._sandbox is not None else None
        return JobResult(bound=binding.bind(self._engine, cursor, action, check))

    def _write(
        self, cursor: duckdb.DuckDBPyConnection, action: Create | Append, write: Callable[[str], Written]
    ) -> JobResult:
        # Imported late: pyiceberg takes a third of a second.
        from dbt.adapters.lakehouse.tables import parquet

        # Asked once, as long as no job may have set it: it holds for the whole DuckDB, which a sandbox has another one of.
        if self._sandbox is None and self._ordered is None and not self._touched:
            self._ordered = parquet.preserves_order(cursor)
        with _rows(cursor, action, self._python) as sql, parquet.ordered(self._ordered):
            written = write(sql)
        return JobResult(written=written, rows_affected=written.rows_written)

    def _edit(self, cursor: duckdb.DuckDBPyConnection, action: Edit, sink: Sink | None) -> JobResult:
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
                said = _answer(cursor, Query(sql=statement), sink)

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

    def __init__(
        self, cursor: duckdb.DuckDBPyConnection, action: Create | Append | Stage, isolate: _Isolate | None
    ) -> None:
        self._cursor, self._sql, self._python, self._arrow = cursor, action.sql, action.python, action.arrow
        self._isolate = isolate
        self._kept = contextlib.ExitStack()
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
        isolated = self._isolate(self._python) if self._isolate is not None else None
        if isolated is None:
            return python_model.expose(python_model.run_model(self._python, self._cursor), self._cursor)
        with contextlib.ExitStack() as opened:
            sql = python_model.expose(opened.enter_context(isolated), self._cursor)
            self._kept = opened.pop_all()
        return sql

    def __exit__(self, *_: object) -> None:
        with self._kept:
            self._clear()

    def _clear(self) -> None:
        if self._staged:
            self._cursor.execute(f"DROP TABLE IF EXISTS {_STAGED}")
        if self._python is not None or self._arrow is not None:
            python_model.conceal(self._cursor)


def _arrow_rows(path: str) -> pa.Table:
    """An Arrow IPC stream in a file, memory-mapped. It is checked: a wrong offset would lead anywhere in this process."""
    import pyarrow as pa

    try:
        with pa.memory_map(path) as source, pa.ipc.open_stream(source) as reader:
            table = reader.read_all()
        sound.check(table)
    except (OSError, pa.ArrowException) as error:
        raise TableError(f"the rows that came along are no sound Arrow stream: {error}") from error
    return table


def describe(cursor: duckdb.DuckDBPyConnection, sql: str) -> tuple[Column, ...]:
    """Columns of a SELECT, bound but not run."""
    rows = cursor.execute(f"DESCRIBE {sql}").fetchall()
    return tuple(Column(name=row[0], type=row[1], required=row[2] == "NO") for row in rows)


@telemetry.phase("execute")
def _answer(cursor: duckdb.DuckDBPyConnection, action: Query, sink: Sink | None = None) -> JobResult:
    relation = _relation(cursor, action.sql) if action.arrow or sink is not None else None
    source = cursor.execute(action.sql) if relation is None else relation
    description = source.description
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
    if sink is not None:
        sink(columns, rows_of(source))
        return JobResult(columns=columns)
    if action.arrow:
        return JobResult(columns=columns, arrow=source.to_arrow_table())
    rows: list[tuple[Any, ...]] = cursor.fetchall() if action.limit is None else cursor.fetchmany(action.limit)
    return JobResult(columns=columns, rows=rows)


def _relation(cursor: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyRelation | None:
    """A SELECT as a relation, where only that gives Arrow as it is computed.

    What ``execute`` answers is held and copied as a whole on its way to Arrow since DuckDB 2.0, which warns of that.
    """
    if not _HOLDS_RESULTS:
        return None
    statements = cursor.extract_statements(sql)
    return cursor.sql(sql) if [one.type for one in statements] == [duckdb.StatementType.SELECT] else None


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


def _changed(cursor: duckdb.DuckDBPyConnection, action: Alter | Join | Compact) -> Written:
    from dbt.adapters.lakehouse.tables import evolve, maintenance, staging

    match action:
        case Alter():
            return evolve.apply(cursor, action.base, action.alterations)
        case Join():
            return staging.join(cursor, action.base, action.staged, constraints=action.constraints)
        case Compact():
            return maintenance.compact(cursor, action.base, action.expiry)


def _stage(cursor: duckdb.DuckDBPyConnection, action: Stage, sql: str) -> Staged | None:
    from dbt.adapters.lakehouse.tables import staging

    return staging.stage(
        cursor,
        sql,
        action.base,
        action.range,
        on_schema_change=action.on_schema_change,
        constraints=action.constraints,
    )
