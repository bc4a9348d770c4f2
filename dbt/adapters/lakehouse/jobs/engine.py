"""A warm DuckDB in which a job's inputs are bound under the names that its SQL uses."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb

from dbt.adapters.lakehouse.errors import ConfigError, JobCancelled, OutOfMemory, SqlError
from dbt.adapters.lakehouse.jobs.job import Input
from dbt.adapters.lakehouse.settings import LakeSettings

_BoundName = tuple[str, str, str]

_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def _folded(name: _BoundName) -> _BoundName:
    """A name as DuckDB compares it: ASCII letters without their case."""
    database, schema, relation = (part.translate(_LOWER) for part in name)
    return database, schema, relation


def quote(identifier: str) -> str:
    """A SQL identifier in double quotes."""
    return '"' + identifier.replace('"', '""') + '"'


def qualified(database: str, schema: str, name: str) -> str:
    """A relation's full name in SQL."""
    return ".".join((quote(database), quote(schema), quote(name)))


class Engine:
    """One in-memory DuckDB whose attached, empty databases stand for states of the lake.

    A table input becomes a view over its Parquet files. Bindings are kept between jobs while they stay the same. For one
    job at a time; ``interrupt`` alone may come from another thread.
    """

    def __init__(self, settings: LakeSettings) -> None:
        self._settings = settings
        self._temp = Path(tempfile.mkdtemp(prefix="lakehouse-", dir=settings.temp_directory))
        self._bound: dict[_BoundName, tuple[str, ...]] = {}
        self._databases: set[str] = set()
        self._schemas: set[tuple[str, str]] = set()
        config: dict[str, str | bool | int | float | list[str]] = {"temp_directory": str(self._temp)}
        if settings.memory_limit is not None:
            config["memory_limit"] = settings.memory_limit
        try:
            self.connection = duckdb.connect(":memory:", config=config)
        except duckdb.Error as error:
            raise ConfigError(f"DuckDB does not start with memory_limit {settings.memory_limit!r}: {error}") from error
        self.memory_limit = settings.memory_limit or self._share_memory()
        self._apply_settings()
        self.attach(settings.database)

    def _share_memory(self) -> str:
        """Divide what DuckDB would take (which minds containers' limits) among the workers."""
        row = self.connection.execute("SELECT current_setting('memory_limit')").fetchone()
        assert row is not None
        amount, unit = str(row[0]).split()
        share = f"{float(amount) / max(self._settings.workers, 1):.2f} {unit}"
        self.connection.execute(f"SET memory_limit = '{share}'")
        return share

    def _apply_settings(self) -> None:
        for name in self._settings.extensions:
            load_extension(self.connection, name)
        for key, value in self._settings.duckdb_settings.items():
            try:
                self.connection.execute(f"SET GLOBAL {quote(key)} = '{str(value).replace(chr(39), chr(39) * 2)}'")
            except duckdb.Error as error:
                raise ConfigError(f"DuckDB refuses the setting {key!r} = {value!r} of the profile: {error}") from error

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
        cursor = self.connection.cursor()
        cursor.execute(f"USE {quote(database)}.{quote(schema)}")
        return cursor

    def bind(self, inputs: Iterable[Input]) -> None:
        """Let exactly these inputs stand in the databases, at the states they name."""
        inputs = list(inputs)
        wanted = {_folded((item.database, item.schema, item.name)) for item in inputs}
        for gone in [key for key in self._bound if key not in wanted]:
            self.unbind(gone)
        moved = False
        for item in inputs:
            name = (item.database, item.schema, item.name)
            identity = (
                (
                    item.metadata_location or "",
                    "table" if not item.is_view else "view",
                    *(c.name + c.type for c in item.columns),
                    *name,
                )
                if item.sql is None
                else ("view", item.sql, *name)
            )
            # A view is bound anew when anything below it may have moved, since DuckDB remembers the types it saw.
            if self._bound.get(_folded(name)) != identity or (moved and item.sql is not None):
                self._bind_one(item, name)
                self._bound[_folded(name)] = identity
                moved = True

    def _bind_one(self, item: Input, name: _BoundName) -> None:
        self.ensure_schema(item.database, item.schema)
        if _folded(name) in self._bound:
            self.unbind(name)
        if item.columns and item.sql is None and item.metadata_location is None:
            columns = ", ".join(f"{quote(c.name)} {c.type}" for c in item.columns)
            body = f"TABLE {qualified(*name)} ({columns})"
            if item.is_view:
                nulls = ", ".join(f"NULL::{c.type} AS {quote(c.name)}" for c in item.columns)
                body = f"VIEW {qualified(*name)} AS SELECT {nulls}"
        else:
            body = f"VIEW {qualified(*name)} AS {item.sql if item.sql is not None else _select(item)}"
        self.connection.execute(f"CREATE {body}")

    def unbind(self, name: _BoundName) -> None:
        """Drop whatever stands at a name, however it is spelled."""
        identity = self._bound.pop(_folded(name), None)
        kind = "TABLE" if identity is not None and identity[:2] == ("", "table") else "VIEW"
        self.connection.execute(f"DROP {kind} IF EXISTS {qualified(*name)}")

    def close(self) -> None:
        """Stop DuckDB and remove what it spilled."""
        self.connection.close()
        shutil.rmtree(self._temp, ignore_errors=True)


def _select(item: Input) -> str:
    # Imported late: pyiceberg takes a third of a second, which a project of views alone need not pay.
    from dbt.adapters.lakehouse.tables import reader

    assert item.metadata_location is not None
    return reader.select_sql(item.metadata_location)


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load a DuckDB extension: from its PyPI wheel ``duckdb-extension-<name>`` if installed, else as DuckDB finds it."""
    import importlib.util

    module = importlib.util.find_spec(f"duckdb_extension_{name}")
    if module is not None and module.submodule_search_locations:
        folder = Path(next(iter(module.submodule_search_locations)))
        file = folder / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
        if file.exists():
            connection.execute(f"LOAD '{os.fspath(file)}'")
            return
    try:
        connection.install_extension(name)
        connection.load_extension(name)
    except duckdb.Error as error:
        raise ConfigError(
            f"the DuckDB extension {name!r} cannot be loaded: {error}; "
            f"without access to DuckDB's repository, pip install duckdb-extension-{name}=={duckdb.__version__}"
        ) from error


@contextlib.contextmanager
def duckdb_errors(memory_limit: str | None = None) -> Iterator[None]:
    """Translate DuckDB's exceptions into this package's."""
    try:
        yield
    except duckdb.InterruptException as error:
        raise JobCancelled("the job was cancelled while it ran") from error
    except duckdb.OutOfMemoryException as error:
        limit = f" of {memory_limit}" if memory_limit else ""
        raise OutOfMemory(
            f"the job needs more memory than its limit{limit} and could not spill the rest to disk; "
            f"raise memory_limit in the profile or lower its threads. DuckDB says: {error}"
        ) from error
    except duckdb.Error as error:
        raise SqlError(str(error)) from error
