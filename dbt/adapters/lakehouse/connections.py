"""dbt's connections: each thread's session in the invocation's run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from dbt.adapters.contracts.connection import AdapterResponse, Connection, ConnectionState
from dbt.adapters.events.logging import AdapterLogger
from dbt.adapters.exceptions import FailedToConnectError
from dbt.adapters.sql import SQLConnectionManager
from dbt_common.exceptions import CompilationError, DbtDatabaseError, DbtRuntimeError

from dbt.adapters.lakehouse.errors import ConfigError, ConstraintViolated, LakehouseError, SchemaMismatch, SqlError
from dbt.adapters.lakehouse.lake.base import Result, Session

if TYPE_CHECKING:
    import agate

logger = AdapterLogger("Lakehouse")


@contextlib.contextmanager
def dbt_errors() -> Iterator[None]:
    """The one place where this package's errors become dbt's."""
    try:
        yield
    except (SqlError, ConstraintViolated) as error:
        raise DbtDatabaseError(str(error)) from error
    except (ConfigError, SchemaMismatch) as error:
        raise CompilationError(str(error)) from error
    except LakehouseError as error:
        raise DbtRuntimeError(str(error)) from error


class SessionHandle:
    """What dbt calls a handle: a session, and a cursor on it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.fetch = True

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
        self._result = self._handle.session.execute(sql, fetch=self._handle.fetch)
        self._at = 0

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
    """Opens sessions through ``session_source``, which the adapter sets: the run of the invocation is its business."""

    TYPE = "lakehouse"
    session_source: Callable[[], Session]

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
            with dbt_errors():
                yield
        except DbtRuntimeError:
            logger.debug(f"Error running SQL: {sql}")
            self.rollback_if_open()
            raise

    @classmethod
    def get_response(cls, cursor: SessionCursor) -> AdapterResponse:
        """What a statement did."""
        if cursor.rowcount >= 0:
            return AdapterResponse(_message=cursor.message, rows_affected=cursor.rowcount)
        return AdapterResponse(_message=cursor.message)

    def execute(
        self, sql: str, auto_begin: bool = False, fetch: bool = False, limit: int | None = None
    ) -> tuple[AdapterResponse, agate.Table]:
        """Run SQL; rows are brought over only if they are wanted."""
        handle: SessionHandle = self.get_thread_connection().handle
        handle.fetch = fetch
        try:
            return super().execute(sql, auto_begin, fetch, limit)
        finally:
            handle.fetch = True

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
