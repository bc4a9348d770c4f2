"""A warm DuckDB in which a job's inputs are bound under the names that its SQL uses."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator

import duckdb

from dbt.adapters.lakehouse.errors import JobCancelled, OutOfMemory, SandboxError, SqlError, StorageError
from dbt.adapters.lakehouse.jobs import attached, function_sql, plugins
from dbt.adapters.lakehouse.jobs.instance import Instance
from dbt.adapters.lakehouse.jobs.job import Input
from dbt.adapters.lakehouse.jobs.listing import Listings
from dbt.adapters.lakehouse.jobs.s3_access import unreachable
from dbt.adapters.lakehouse.quoting import qualified, quote
from dbt.adapters.lakehouse.settings import LakeSettings

__all__ = ["Engine", "duckdb_errors"]

_BoundName = tuple[str, str, str]

_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def _folded(name: _BoundName) -> _BoundName:
    """A name as DuckDB compares it: ASCII letters without their case."""
    database, schema, relation = (part.translate(_LOWER) for part in name)
    return database, schema, relation


_ROWS = "__lakehouse_loaded_rows"

_PROGRESS = "SET enable_progress_bar = true; SET enable_progress_bar_print = false; SET progress_bar_time = 0"
"""So that another thread can ask how far a query is. Nothing is printed."""


class Engine:
    """One in-memory DuckDB whose attached, empty databases stand for states of the lake.

    A table input becomes a view over its Parquet files. Bindings are kept between jobs while they stay the same. For one
    job at a time; ``interrupt`` alone may come from another thread.
    """

    def __init__(self, settings: LakeSettings, instance: Instance | None = None) -> None:
        self.instance = instance or Instance(settings)
        self.connection = self.instance.connection
        self._bound: dict[_BoundName, tuple[str, ...]] = {}
        self._natives: set[str] = set()
        self.register: Callable[[duckdb.DuckDBPyConnection, Input], None] | None = None
        """Lets DuckDB know a function in Python; whoever binds one sets it."""
        self._databases: set[str] = set()
        self._schemas: set[tuple[str, str]] = set()
        self._beside = {one.alias.lower(): one for one in settings.attached}
        self._reached: set[str] = set()
        self._loaded: set[tuple[str, str, str]] = set()
        # What plugins attached stays as long as the DuckDB that they prepared.
        self._there = self._attached_now() if self.instance.plugins is not None else frozenset()
        self._listings = Listings(self.connection)
        self._home = (settings.database, "main")
        self.attach(settings.database)

    @property
    def memory_limit(self) -> str:
        """What a job may use before it must spill."""
        return self.instance.memory_limit

    def limit(self, cpus: int | None, memory: str | None) -> None:
        """Give DuckDB a job's threads and memory; None stands for what the settings say."""
        self.instance.limit(cpus, memory)

    def attach(self, database: str) -> None:
        """Make a database of that name, once."""
        if database not in self._databases:
            self.connection.execute(f"ATTACH ':memory:' AS {quote(database)}")
            self._databases.add(database)

    def ensure_schema(self, database: str, schema: str) -> None:
        """Make a schema in a database, once."""
        if (database, schema) not in self._schemas:
            self.attach(database)
            self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(database)}.{quote(schema)}")
            self._schemas.add((database, schema))

    def cursor(self, database: str, schema: str) -> duckdb.DuckDBPyConnection:
        """A connection of its own (temporary tables, settings) whose unqualified names mean ``database.schema``."""
        self.ensure_schema(database, schema)
        self._home = (database, schema)
        cursor = self.connection.cursor()
        cursor.execute(f"USE {quote(database)}.{quote(schema)}; {_PROGRESS}")
        if self.instance.plugins is not None:
            self.instance.plugins.prepare_cursor(cursor)
        return cursor

    def bind(self, inputs: Iterable[Input]) -> None:
        """Let exactly these inputs stand in the databases, at the states they name."""
        self.instance.grant.renew()
        inputs = list(inputs)
        for alias in {item.database for item in inputs if item.attached}:
            self.reach(alias)
        for item in inputs:
            if item.of_run is not None:
                self._load(item)
        self._list(inputs)
        inputs = [item for item in inputs if not item.attached and item.listing is None]
        wanted = {_folded((item.database, item.schema, item.name)) for item in inputs}
        for gone in [key for key in self._bound if key not in wanted]:
            self.unbind(gone)
        moved = False
        for item in inputs:
            name = (item.database, item.schema, item.name)
            identity = _identity(item)
            # A view is bound anew when anything below it may have moved, since DuckDB remembers the types it saw.
            if self._bound.get(_folded(name)) != identity or (moved and item.sql is not None):
                self._bind_one(item, name)
                self._bound[_folded(name)] = identity
                moved = True

    def _list(self, inputs: list[Input]) -> None:
        """Have DuckDB tell of what the inputs list, and of nothing else in the lake."""
        wanted = [(item.database, item.listing) for item in inputs if item.listing is not None]
        for database, listing in wanted:
            for schema in {one.schema for one in listing}:
                self.ensure_schema(database, schema)
        self._listings.show(wanted, self._home)

    def reach(self, alias: str) -> None:
        """Attach a database beside the lake, unless it is there. Raises ``Unattached``."""
        one = self._beside[alias.lower()]
        if one.type == plugins.TYPE:
            self.attach(one.alias)
        elif one.alias not in self._reached:
            attached.attach(self.connection, one)
            self._reached.add(one.alias)

    def _load(self, item: Input) -> None:
        """Have a plugin load a source, or take what it loaded for the run already."""
        place = (item.database, item.schema, item.name)
        if place in self._loaded or self.instance.plugins is None or item.of_run is None:
            return
        self.ensure_schema(item.database, item.schema)
        self.connection.register(_ROWS, self.instance.plugins.load(place, item.of_run))
        try:
            self.connection.execute(f"CREATE OR REPLACE TABLE {qualified(*place)} AS SELECT * FROM {_ROWS}")
        finally:
            self.connection.unregister(_ROWS)
        self._loaded.add(place)

    def _attached_now(self) -> frozenset[str]:
        rows = self.connection.execute(
            "SELECT lower(database_name) FROM duckdb_databases() WHERE NOT internal"
        ).fetchall()
        return frozenset(row[0] for row in rows)

    def leave(self, *, by_hand: bool = False) -> None:
        """Let go of databases beside the lake; with ``by_hand`` also of those that a statement attached."""
        for place in self._loaded:
            self.connection.execute(f"DROP TABLE IF EXISTS {qualified(*place)}")
        self._loaded.clear()
        leaving, self._reached = set(self._reached), set()
        if by_hand:
            known = {*map(str.lower, self._databases), *self._there, "memory"}
            rows = self.connection.execute("SELECT database_name FROM duckdb_databases() WHERE NOT internal").fetchall()
            leaving |= {name for (name,) in rows if name.lower() not in known}
        for name in leaving:
            self.connection.execute(f"DETACH DATABASE IF EXISTS {quote(name)}")

    def put(self, item: Input) -> None:
        """Let one more input stand in the databases, in the place of what is bound under its name."""
        name = (item.database, item.schema, item.name)
        self._bind_one(item, name)
        self._bound[_folded(name)] = _identity(item)

    def _bind_one(self, item: Input, name: _BoundName) -> None:
        self.ensure_schema(item.database, item.schema)
        if _folded(name) in self._bound:
            self.unbind(name)
        if item.function is not None:
            self._bind_function(item)
            return
        if item.columns and item.sql is None and item.metadata_location is None:
            columns = ", ".join(f"{quote(c.name)} {c.type}" for c in item.columns)
            body = f"TABLE {qualified(*name)} ({columns})"
            if item.is_view:
                nulls = ", ".join(f"NULL::{c.type} AS {quote(c.name)}" for c in item.columns)
                body = f"VIEW {qualified(*name)} AS SELECT {nulls}"
        else:
            body = f"VIEW {qualified(*name)} AS {item.sql if item.sql is not None else _select(item)}"
        self._create(name, f"CREATE {body}")

    def _create(self, name: _BoundName, statement: str) -> None:
        statements = self.connection.extract_statements(statement)
        if len(statements) != 1:
            # Entries of a catalog are not all of this package's making: a query or a type may hold more than it says.
            raise SqlError(
                f"{qualified(*name)} cannot be bound: its definition is more than one statement; create it anew"
            )
        self.connection.execute(statements[0])

    def _bind_function(self, item: Input) -> None:
        assert item.function is not None
        if item.function.language == "python" and item.function.native not in self._natives:
            assert self.register is not None
            self.register(self.connection, item)
            self._natives.add(item.function.native)
        for statement in function_sql.macros(item.database, item.schema, item.name, item.function):
            self._create((item.database, item.schema, item.name), statement)

    def unbind(self, name: _BoundName) -> None:
        """Drop whatever stands at a name, however it is spelled."""
        identity = self._bound.pop(_folded(name), None)
        if identity is not None and identity[0] == "function":
            for statement in function_sql.drops(*name, count=int(identity[1])):
                self.connection.execute(statement)
            return
        kind = "TABLE" if identity is not None and identity[:2] == ("", "table") else "VIEW"
        self.connection.execute(f"DROP {kind} IF EXISTS {qualified(*name)}")

    def close(self) -> None:
        """Stop DuckDB and remove what it spilled."""
        self.instance.close()


def _identity(item: Input) -> tuple[str, ...]:
    name = (item.database, item.schema, item.name)
    if item.function is not None:
        return ("function", str(len(item.function.signatures)), item.function.identity, *name)
    if item.sql is not None:
        return ("view", item.sql, *name)
    kind = "view" if item.is_view else "table"
    return (item.metadata_location or "", kind, *(column.name + column.type for column in item.columns), *name)


def _select(item: Input) -> str:
    # Imported late: pyiceberg takes a third of a second, which a project of views alone need not pay.
    from dbt.adapters.lakehouse.tables import reader

    assert item.metadata_location is not None
    return reader.select_sql(item.metadata_location)


@contextlib.contextmanager
def duckdb_errors(memory_limit: str | None = None, *, sandboxed: bool = False) -> Iterator[None]:
    """Translate DuckDB's exceptions into this package's."""
    try:
        yield
    except duckdb.InterruptException as error:
        raise JobCancelled("the job was cancelled while it ran") from error
    except duckdb.OutOfMemoryException as error:
        limit = f" of {memory_limit}" if memory_limit else ""
        raise OutOfMemory(
            f"the job needs more memory than its limit{limit} and could not spill the rest to disk; "
            "give the model more `memory`, raise memory_limit in the profile, or lower its threads. "
            f"DuckDB says: {error}"
        ) from error
    except duckdb.PermissionException as error:
        raise SandboxError(
            f"{error}; in the sandbox, SQL reads its inputs and nothing else: name relations of the lake, or, in a model "
            "that must read what is outside, declare `external_access: true` where the operator of the service allows it"
        ) from error
    except duckdb.Error as error:
        raise (
            unreachable(error) or _gone(error) or SqlError(f"{error}{_unknown_database(error, sandboxed)}")
        ) from error


def _unknown_database(error: duckdb.Error, sandboxed: bool) -> str:
    if not re.search(r'Catalog "[^"]*" does not exist', str(error)):
        return ""
    if sandboxed:
        return (
            "; jobs of a service read nothing but the lake, no attached databases and nothing that plugins load: bring in what "
            "is wanted with `lakehouse import SCHEMA.NAME FILE`"
        )
    return (
        "; the profile's `attach` names databases beside the lake, and one that a statement attached is there as long as its "
        "node runs"
    )


_FILE_OF_TABLE = re.compile(r"[^\s\"']*/[0-9a-f]{8}/data/[0-9a-f]{32}[^\"']*\.parquet")
_MISSING = ("No files found", "No such file", "404", "Not Found")


def _gone(error: duckdb.Error) -> StorageError | None:
    """What an error of DuckDB means if it is that a table's file is not there."""
    found = _FILE_OF_TABLE.search(str(error))
    if found is None or not isinstance(error, duckdb.IOException) or not any(word in str(error) for word in _MISSING):
        return None
    return StorageError(
        f"{found[0]} does not exist (any more): the state that is read was collected as garbage meanwhile, or the file was "
        "removed by hand; read the table as it is now, or build it again"
    )
