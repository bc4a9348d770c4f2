"""dbt's connections: each thread's session in the invocation's run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from dbt.adapters.contracts.connection import AdapterResponse, Connection, ConnectionState
from dbt.adapters.events.logging import AdapterLogger
from dbt.adapters.exceptions import FailedToConnectError
from dbt.adapters.sql import SQLConnectionManager
from dbt_common.events.contextvars import get_node_info
from dbt_common.exceptions import CompilationError, DbtDatabaseError, DbtRuntimeError

from dbt.adapters.lakehouse.errors import ConfigError, ConstraintViolated, LakehouseError, SchemaMismatch, SqlError
from dbt.adapters.lakehouse.lake.base import Result, Session
from dbt.adapters.lakehouse.run.values import Build, Reused

if TYPE_CHECKING:
    import agate

    from dbt.adapters.lakehouse.credentials import LakehouseCredentials

logger = AdapterLogger("Lakehouse")


@contextlib.contextmanager
def dbt_errors(placed: Callable[[str], str] = str) -> Iterator[None]:
    """The one place where this package's errors become dbt's; ``placed`` says where in the user's files DuckDB's are."""
    try:
        yield
    except SqlError as error:
        raise DbtDatabaseError(placed(str(error))) from error
    except ConstraintViolated as error:
        raise DbtDatabaseError(str(error)) from error
    except (ConfigError, SchemaMismatch) as error:
        raise CompilationError(str(error)) from error
    except LakehouseError as error:
        raise DbtRuntimeError(str(error)) from error


REUSED = "REUSED"
"""The code in dbt's results of a node whose table was made before."""


@dataclass
class ReusedResponse(AdapterResponse):
    """What dbt says of a node that was not run: whose run made its table, and the seconds that this saved."""

    run: str | None = None
    author: str | None = None
    seconds_saved: float = 0.0

    @classmethod
    def of(cls, reused: Reused) -> ReusedResponse:
        """From what a session says."""
        by = f"run {reused.run[:8]} by {reused.author}" if reused.run else reused.author
        # Of a view that is as it was there is nobody to name.
        return cls(
            _message=f"REUSED ({by}, {reused.seconds:.1f}s saved)" if by else "REUSED (unchanged)",
            code=REUSED,
            run=reused.run,
            author=reused.author,
            seconds_saved=round(reused.seconds, 3),
        )


class SessionHandle:
    """What dbt calls a handle: a session, and a cursor on it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.fetch = True
        self.test: str | None = None
        self.build: Build | None = None

    def cursor(self) -> SessionCursor:
        """A new cursor; statements run one at a time all the same."""
        return SessionCursor(self)

    def rollback(self) -> None:
        """What a session wrote is on the run's branch; whether it counts is decided when the run ends."""

    def cancel(self) -> None:
        """Interrupt what runs."""
        self.session.cancel()

    def close(self) -> None:
        """Give the worker back."""
        self.session.close()


class SessionCursor:
    """As much of DB-API's cursor as dbt uses."""

    def __init__(self, handle: SessionHandle) -> None:
        self._handle = handle
        self._result = Result()
        self._at = 0

    def execute(self, sql: str, bindings: Any = None) -> None:
        """Run a statement. Parameters are not taken: nothing in dbt for DuckDB needs them."""
        if bindings:
            raise DbtRuntimeError("parameters are not supported here; write values into the statement")
        self._at = 0
        build = self._handle.build
        if build is None:
            self._result = self._handle.session.execute(sql, fetch=self._handle.fetch, test=self._handle.test)
            return
        built = self._handle.session.build(build)
        rows = built.rows_written
        self._result = Result(rows_affected=rows, message=f"CREATE TABLE {rows}", reused=built.reused)

    @property
    def description(self) -> list[tuple[str, str]] | None:
        """Names and types of the result's columns."""
        return [(column.name, column.type) for column in self._result.columns] or None

    @property
    def rowcount(self) -> int:
        """Rows changed, or -1."""
        return -1 if self._result.rows_affected is None else self._result.rows_affected

    @property
    def message(self) -> str:
        """What the statement did."""
        return self._result.message

    @property
    def reused(self) -> Reused | None:
        """Whose answer this is, if it was given before."""
        return self._result.reused

    def fetchall(self) -> list[tuple[Any, ...]]:
        """The rows that were not fetched yet."""
        return self.fetchmany(len(self._result.rows))

    def fetchmany(self, size: int) -> list[tuple[Any, ...]]:
        """The next rows."""
        rows = list(self._result.rows[self._at : self._at + size])
        self._at += len(rows)
        return rows

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row."""
        rows = self.fetchmany(1)
        return rows[0] if rows else None

    def close(self) -> None:
        """Nothing is held."""


class LakehouseConnectionManager(SQLConnectionManager):
    """Opens sessions through ``session_source``, which the adapter sets: the run of the invocation is its business.

    ``asked`` hears of each statement: of a test's query that query, of others None. ``placed`` says of a message of DuckDB's
    where in the user's files the node that runs went wrong.
    """

    TYPE = "lakehouse"
    session_source: Callable[[], Session]
    asked: Callable[[str | None], None]
    placed: Callable[[str], str]
    own_table: Callable[[str, Session], Build | None]

    def open(self, connection: Connection) -> Connection:  # type: ignore[override] # dbt calls it on the instance
        """Open a session for this thread."""
        if connection.state == ConnectionState.OPEN:
            return connection
        try:
            connection.handle = SessionHandle(self.session_source())
        except LakehouseError as error:
            connection.handle = None
            connection.state = ConnectionState.FAIL
            raise FailedToConnectError(str(error)) from error
        connection.state = ConnectionState.OPEN
        return connection

    @classmethod
    def _close_handle(cls, connection: Connection) -> None:
        """As in dbt, but untold: each node's session ends with the node, and the line costs more than ending it does."""
        if connection.handle is not None:
            connection.handle.close()

    def session(self) -> Session:
        """The calling thread's session."""
        handle: SessionHandle = self.get_thread_connection().handle
        return handle.session

    def cancel(self, connection: Connection) -> None:
        """Interrupt another thread's work."""
        connection.handle.cancel()

    @contextlib.contextmanager
    def exception_handler(self, sql: str) -> Iterator[None]:
        """Translate errors of a statement."""
        try:
            with dbt_errors(self.placed):
                yield
        except DbtRuntimeError:
            logger.debug(f"Error running SQL: {sql}")
            self.rollback_if_open()
            raise

    @classmethod
    def get_response(cls, cursor: SessionCursor) -> AdapterResponse:
        """What a statement did."""
        if cursor.reused is not None:
            return ReusedResponse.of(cursor.reused)
        if cursor.rowcount >= 0:
            return AdapterResponse(_message=cursor.message, rows_affected=cursor.rowcount)
        return AdapterResponse(_message=cursor.message)

    def execute(
        self, sql: str, auto_begin: bool = False, fetch: bool = False, limit: int | None = None
    ) -> tuple[AdapterResponse, agate.Table]:
        """Run SQL; rows are brought over only if they are wanted."""
        handle: SessionHandle = self.get_thread_connection().handle
        handle.fetch = fetch
        handle.test = self._test() if fetch else None
        handle.build = self.own_table(sql, handle.session)
        try:
            if handle.test is not None or not _asks_for_columns(sql):
                self.asked(None if handle.test is None else sql)
            return super().execute(sql, auto_begin, fetch, limit)
        finally:
            handle.fetch, handle.test, handle.build = True, None, None

    def _test(self) -> str | None:
        """The dbt test that runs on this thread, if its answer may be one that was given before."""
        node = get_node_info()
        credentials = cast("LakehouseCredentials", self.profile.credentials)
        tests = node.get("resource_type") in ("test", "unit_test")
        return str(node["unique_id"]) if tests and credentials.reuses() else None

    # A run is the transaction; a connection has none of its own, but dbt likes to keep count of them.

    def add_begin_query(self) -> None:
        """Nothing to send."""

    def add_commit_query(self) -> None:
        """Nothing to send."""

    def commit_if_has_connection(self) -> None:
        """Close dbt's idea of a transaction, if it has one."""
        connection = self.get_if_exists()
        if connection is not None and connection.transaction_open:
            self.commit()  # type: ignore[no-untyped-call]


def _asks_for_columns(sql: str) -> bool:
    """Whether this is dbt's way to ask for the columns of a query, which depend on nothing but the query and what it reads."""
    return " ".join(sql.lower().split()[-4:]) == "where false limit 0"
