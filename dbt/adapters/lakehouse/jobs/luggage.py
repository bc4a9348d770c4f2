"""What a session made in one DuckDB, taken along into the next: temporary tables, views, macros, types, variables.

Tables and the values of variables go through a DuckDB file, which keeps every type. The rest is text.
"""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import Any

import duckdb

from dbt.adapters.lakehouse.jobs.tokens import Token, split, tokenize
from dbt.adapters.lakehouse.quoting import literal, quote

_NUMBERS = itertools.count()
_FILE = "__lakehouse_session"
_VARIABLES = "variables"
_OWN = "database_name IN ('temp', 'memory') AND NOT internal"
_SEQUENCES = (
    "SELECT database_name, schema_name, sequence_name, if(temporary, replace(sql, 'CREATE SEQ', 'CREATE TEMP SEQ'), sql) "
    "FROM duckdb_sequences() WHERE database_name IN ('temp', 'memory')"
)
_INDEXES = (
    "SELECT database_name, schema_name, index_name, sql FROM duckdb_indexes() "
    "WHERE database_name IN ('temp', 'memory') AND sql IS NOT NULL"
)
_REPEATED = frozenset({"macro", "function", "type"})


class Luggage:
    """One session's things on their way, and the statements that are repeated in every new DuckDB."""

    def __init__(self) -> None:
        self._repeated: list[str] = []
        self._views: dict[str, str] = {}
        self.heavy = False
        """Whether there may be tables, views or variables."""

    def note(self, sql: str) -> None:
        """Look at statements that were run: those that made a macro, a type or a prepared statement are kept."""
        for statement in split(sql):
            words = [token.word for token in tokenize(statement)[:6]]
            if not words:
                continue
            self.heavy = self.heavy or words[0] in ("create", "set", "prepare", "execute")
            made = words[0] in ("create", "drop") and _REPEATED & set(words[1:])
            if (made and "table" not in words[1:3]) or words[0] in ("prepare", "deallocate"):
                self._repeated.append(statement)

    def pack(self, cursor: duckdb.DuckDBPyConnection, folder: Path) -> Path | None:
        """Put the session's tables and variables into a file in the folder; None if there are none."""
        if not self.heavy:
            return None
        found = cursor.execute(f"SELECT view_name, sql FROM duckdb_views() WHERE {_OWN} AND temporary").fetchall()
        self._views.update({name.lower(): sql for name, sql in found})
        tables = _tables(cursor)
        orders = [("sequence", *row) for row in cursor.execute(_SEQUENCES).fetchall()]
        orders += [("table", *table) for table in tables]
        orders += [("index", *row) for row in cursor.execute(_INDEXES).fetchall()]
        variables = [row[0] for row in cursor.execute("SELECT name FROM duckdb_variables()").fetchall()]
        if not orders and not variables:
            return None
        with contextlib.suppress(duckdb.Error):
            cursor.execute("COMMIT")  # a transaction that was left open ends as the session's work does
        file = folder / f"session-{next(_NUMBERS)}.duckdb"
        cursor.execute(f"ATTACH {literal(str(file))} AS {_FILE}")
        try:
            cursor.execute(
                f"CREATE TABLE {_FILE}.main.orders (kind TEXT, database TEXT, schema TEXT, name TEXT, sql TEXT)"
            )
            if orders:
                cursor.executemany(f"INSERT INTO {_FILE}.main.orders VALUES (?, ?, ?, ?, ?)", orders)
            for number, (database, schema, name, _) in enumerate(tables):
                path = ".".join(map(quote, (database, schema, name)))
                cursor.execute(f"CREATE TABLE {_FILE}.main.t{number} AS FROM {path}")
            values = ", ".join(f"getvariable({literal(name)}) AS {quote(name)}" for name in variables)
            cursor.execute(f"CREATE TABLE {_FILE}.main.{_VARIABLES} AS SELECT {values or 'NULL AS nothing'}")
        finally:
            cursor.execute(f"DETACH {_FILE}")
        return file

    def unpack(self, cursor: duckdb.DuckDBPyConnection, file: Path | None, home: tuple[str, str]) -> None:
        """Make them in another DuckDB, and repeat what is text."""
        self._repeat(cursor)
        if file is None:
            return
        cursor.execute(f"ATTACH {literal(str(file))} AS {_FILE} (READ_ONLY)")
        try:
            orders = cursor.execute(f"FROM {_FILE}.main.orders").fetchall()
            number = 0
            for kind, database, schema, name, sql in orders:
                if kind == "table":
                    _make_table(cursor, database, schema, name, sql, number)
                    number += 1
                else:
                    with contextlib.suppress(duckdb.CatalogException):  # an index that came with its table's keys
                        _within(cursor, database, schema, sql)
            names = [row[0] for row in cursor.execute(f"DESCRIBE {_FILE}.main.{_VARIABLES}").fetchall()]
            for name in names:
                value = f"(SELECT {quote(name)} FROM {_FILE}.main.{_VARIABLES})"
                if name != "nothing":
                    cursor.execute(f"SET VARIABLE {quote(name)} = {value}")
        finally:
            cursor.execute(f"USE {'.'.join(map(quote, home))}")
            cursor.execute(f"DETACH {_FILE}")
        self._repeat(cursor)

    def _repeat(self, cursor: duckdb.DuckDBPyConnection) -> None:
        for statement in self._repeated:
            # What was dropped, replaced, or reads what is not bound now, need not work again.
            with contextlib.suppress(duckdb.Error):
                cursor.execute(statement)

    def settle(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Make the session's views, once what they read is bound; those that cannot be made wait for another job."""
        for name, sql in list(self._views.items()):
            with contextlib.suppress(duckdb.BinderException, duckdb.CatalogException):
                cursor.execute(sql)
                del self._views[name]

    def drop_waiting(self, sql: str) -> bool:
        """Whether a statement dropped a view that waits to be made, which DuckDB would not find."""
        tokens = [token for token in tokenize(sql) if token.word not in ("if", "exists")]
        if [token.word for token in tokens[:2]] != ["drop", "view"] or len(tokens) < 3:
            return False
        return self._views.pop(tokens[-1].name.lower(), None) is not None


def _tables(cursor: duckdb.DuckDBPyConnection) -> list[Any]:
    return cursor.execute(
        f"SELECT database_name, schema_name, table_name, sql FROM duckdb_tables() WHERE {_OWN}"
    ).fetchall()


def _within(cursor: duckdb.DuckDBPyConnection, database: str, schema: str, sql: str) -> None:
    """Run a definition, which DuckDB keeps without the schema it is in, there."""
    if database == "memory":
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS memory.{quote(schema)}")
        cursor.execute(f"USE memory.{quote(schema)}")
    cursor.execute(sql)


def _make_table(
    cursor: duckdb.DuckDBPyConnection, database: str, schema: str, name: str, sql: str, number: int
) -> None:
    _within(cursor, database, schema, sql)
    columns = ", ".join(quote(column) for column in stored_columns(sql))
    path = ".".join(map(quote, (database, schema, name)))
    cursor.execute(f"INSERT INTO {path} ({columns}) SELECT {columns} FROM {_FILE}.main.t{number}")


def stored_columns(sql: str) -> list[str]:
    """The columns of a CREATE TABLE, as DuckDB writes it, that are not computed from others."""
    found: list[str] = []
    item: list[Token] = []
    for token in [*(t for t in tokenize(sql) if t.depth == 1), None]:
        if token is not None and token.text != ",":
            item.append(token)
            continue
        if item and item[0].word not in _CONSTRAINT_WORDS and not _generated(item):
            found.append(item[0].name)
        item = []
    return found


_CONSTRAINT_WORDS = frozenset({"check", "primary", "unique", "foreign", "constraint"})


def _generated(item: list[Token]) -> bool:
    words = [token.word for token in item]
    return any(pair == ("generated", "always") for pair in itertools.pairwise(words))
