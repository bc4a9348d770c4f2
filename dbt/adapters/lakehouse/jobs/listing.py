"""What SQL is told of the lake that a job does not read: ``information_schema``, ``SHOW TABLES``, ``duckdb_columns()``.

In a job's DuckDB stand only the job's inputs, and tables stand there as views. DuckDB's own views of the catalog are all made
of four functions, of which macros of the same names take the place for as long as a job asks: they give what DuckDB itself
says of everything else, and of the lake what the listing says. To fill a table with 10,000 names takes milliseconds; to
make 10,000 relations takes seconds.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.jobs.listed import Listed, Listing
from dbt.adapters.lakehouse.quoting import literal, quote
from dbt.adapters.lakehouse.tables.type_text import as_duckdb_writes

if TYPE_CHECKING:
    import duckdb

_HOME = "memory.main"
_PREFIX = "__lakehouse_listed_"
_FIRST_ID = 1_000_000
"""Ids of what is listed begin here, above those that DuckDB gives."""


class Listings:
    """The listings of one DuckDB, which stand there while a job wants them."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._macros: list[str] = []

    def show(self, wanted: Sequence[tuple[str, Listing]], home: tuple[str, str]) -> None:
        """Let DuckDB tell of these states by the databases' names, and of no others; ``home`` is where names are looked up."""
        self.hide()
        if not wanted:
            return
        databases = [database for database, _ in wanted]
        for kind, rows in _tables(wanted).items():
            self._fill(kind, rows)
        for function, fields in _FIELDS.items():
            name = ".".join(map(quote, (*home, f"duckdb_{function}")))
            self._connection.execute(
                f"CREATE OR REPLACE MACRO {name}() AS TABLE {self._body(function, fields, databases)}"
            )
            self._macros.append(name)

    def hide(self) -> None:
        """Have DuckDB speak for itself again."""
        while self._macros:
            self._connection.execute(f"DROP MACRO TABLE IF EXISTS {self._macros.pop()}")
            if not self._macros:
                for kind in ("schemas", "relations", "columns"):
                    self._connection.execute(f"DROP TABLE IF EXISTS {_HOME}.{_PREFIX}{kind}")

    def _fill(self, kind: str, rows: dict[str, list[Any]]) -> None:
        # Imported late: few jobs ask for the catalog.
        import pyarrow as pa

        table = pa.table({name: pa.array(values, _ARROW.get(name, "string")) for name, values in rows.items()})
        self._connection.register(f"{_PREFIX}rows", table)
        try:
            self._connection.execute(f"CREATE OR REPLACE TABLE {_HOME}.{_PREFIX}{kind} AS FROM {_PREFIX}rows")
        finally:
            self._connection.unregister(f"{_PREFIX}rows")

    def _body(self, function: str, fields: dict[str, str], databases: Iterable[str]) -> str:
        """The SELECT that stands for one of DuckDB's functions, with whatever columns this version of it has."""
        original = f"system.main.duckdb_{function}()"
        described = self._connection.execute(f"DESCRIBE SELECT * FROM {original}").fetchall()
        columns = ", ".join(f"CAST({fields.get(row[0], 'NULL')} AS {row[1]}) AS {quote(row[0])}" for row in described)
        known = ", ".join(literal(database.lower()) for database in databases)
        own = f"starts_with({_NAMED[function]}, {literal(_PREFIX)})" if function in ("tables", "columns") else "false"
        return (
            f"SELECT * FROM {original} WHERE NOT (lower(database_name) IN ({known}) "
            f"AND (NOT internal OR schema_name = 'main')) AND NOT {own} "
            f"UNION ALL SELECT {columns} FROM {_HOME}.{_PREFIX}{_SOURCE[function]} AS l WHERE {_WHERE[function]}"
        )


_ARROW = {
    "id": "int64",
    "schema_id": "int64",
    "place": "int32",
    "rows": "int64",
    "columns": "int64",
    "required": "bool",
}
_NAMED = {"tables": "table_name", "columns": "table_name"}
_SOURCE = {"schemas": "schemas", "tables": "relations", "views": "relations", "columns": "columns"}
_WHERE = {"schemas": "true", "tables": "l.kind = 'table'", "views": "l.kind = 'view'", "columns": "true"}
_BITS = {"TINYINT": 8, "SMALLINT": 16, "INTEGER": 32, "BIGINT": 64, "HUGEINT": 128, "FLOAT": 24, "DOUBLE": 53}
_DIGITS, _SCALE = (
    f"TRY_CAST(regexp_extract(l.type, '^DECIMAL\\((\\d+),\\s*(\\d+)\\)$', {group}) AS INT)" for group in (1, 2)
)
_PRECISION = (
    f"CASE l.type {' '.join(f'WHEN {literal(name)} THEN {bits}' for name, bits in _BITS.items())} ELSE {_DIGITS} END"
)
_COMMON = {
    "database_name": "l.database",
    "schema_name": "l.schema",
    "schema_oid": "l.schema_id",
    "comment": "l.comment",
}
_COMMON |= {"tags": "MAP {}", "internal": "false"}
_FIELDS: dict[str, dict[str, str]] = {
    "schemas": {**_COMMON, "oid": "l.schema_id"},
    "tables": {
        **_COMMON,
        "table_name": "l.name",
        "table_oid": "l.id",
        "temporary": "false",
        "has_primary_key": "false",
        "estimated_size": "l.rows",
        "column_count": "l.columns",
        "index_count": "0",
        "check_constraint_count": "0",
        "sql": "l.sql",
    },
    "views": {
        **_COMMON,
        "view_name": "l.name",
        "view_oid": "l.id",
        "temporary": "false",
        "column_count": "l.columns",
        "sql": "l.sql",
        "is_bound": "true",
    },
    "columns": {
        **_COMMON,
        "table_name": "l.name",
        "table_oid": "l.id",
        "column_name": "l.column",
        "column_index": "l.place",
        "is_nullable": "NOT l.required",
        "data_type": "l.type",
        "numeric_precision": _PRECISION,
        "numeric_precision_radix": f"CASE WHEN {_DIGITS} IS NOT NULL THEN 10 WHEN {_PRECISION} IS NOT NULL THEN 2 END",
        "numeric_scale": f"CASE WHEN {_PRECISION} IS NOT NULL THEN coalesce({_SCALE}, 0) END",
    },
}


def _tables(wanted: Sequence[tuple[str, Listing]]) -> dict[str, dict[str, list[Any]]]:
    """The rows of the tables that the macros read, as columns."""
    schemas: list[tuple[Any, ...]] = []
    relations: list[tuple[Any, ...]] = []
    columns: list[tuple[Any, ...]] = []
    ids: Iterator[int] = iter(range(_FIRST_ID, 1 << 62))
    for database, listing in wanted:
        names = {one.schema.lower(): one.schema for one in listing}
        known = {folded: (next(ids), names[folded]) for folded in sorted(names)}
        schemas += [(database, schema_id, schema, None) for schema_id, schema in known.values()]
        for one in listing:
            if one.kind == "schema":
                continue
            schema_id, own = known[one.schema.lower()][0], next(ids)
            place = (database, schema_id, one.schema, own, one.name)
            relations.append((*place, one.kind, one.comment, one.rows, len(one.columns), _definition(one)))
            columns += [
                (*place, c.name, number, as_duckdb_writes(c.type), c.required, c.comment)
                for number, c in enumerate(one.columns, 1)
            ]
    place_names = ("database", "schema_id", "schema")
    return {
        "schemas": _by_name((*place_names, "comment"), schemas),
        "relations": _by_name((*place_names, "id", "name", "kind", "comment", "rows", "columns", "sql"), relations),
        "columns": _by_name((*place_names, "id", "name", "column", "place", "type", "required", "comment"), columns),
    }


def _by_name(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _definition(one: Listed) -> str:
    name = f"{_bare(one.schema)}.{_bare(one.name)}"
    if one.kind == "view":
        return f"CREATE VIEW {name} AS {one.sql};"
    columns = (f"{_bare(c.name)} {as_duckdb_writes(c.type)}{' NOT NULL' if c.required else ''}" for c in one.columns)
    return f"CREATE TABLE {name}({', '.join(columns)});"


@functools.lru_cache(maxsize=1 << 16)
def _bare(name: str) -> str:
    return name if name.isidentifier() and name == name.lower() else quote(name)
