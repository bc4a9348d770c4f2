"""Constraints, checked on what a write is about to commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.errors import ConfigError, ConstraintViolated
from dbt.adapters.lakehouse.tables import commits, reader
from dbt.adapters.lakehouse.tables import metadata as tables
from dbt.adapters.lakehouse.tables.duckdb_types import find_column, quote

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.manifest import DataFile
    from pyiceberg.types import NestedField

    from dbt.adapters.lakehouse.tables.commits import Change
    from dbt.adapters.lakehouse.tables.metadata import Table
    from dbt.adapters.lakehouse.tables.values import Constraints

_SHOWN = 3


def check(con: duckdb.DuckDBPyConnection, base: Table, change: Change, constraints: Constraints) -> None:
    """Raise ConstraintViolated if the new files, or for uniqueness the whole table to be, break a constraint.

    Columns that the schema requires are checked whether ``constraints`` names them or not.
    """
    after = commits.preview(base, change)
    if not change.added:
        return
    name = constraints.table or base.metadata.location.rsplit("/", 1)[-1]
    fields = after.schema.fields
    new = after.data[len(after.data) - len(change.added) :]
    wanted = {_field(fields, column).field_id for column in (*constraints.not_null, *constraints.primary_key)}
    for field in fields:
        if field.required or field.field_id in wanted:
            _check_not_null(con, after, new, field, name)
    for label, expression in constraints.checks:
        _check_expression(con, after, new, label, expression, name)
    groups = [constraints.primary_key] if constraints.primary_key else []
    for group in dict.fromkeys((*groups, *constraints.unique)):
        _check_unique(con, after, new, [_field(fields, column) for column in group], name)


def _field(fields: tuple[NestedField, ...], column: str) -> NestedField:
    field = find_column(fields, column)
    if field is None:
        names = ", ".join(f.name for f in fields[:50])
        raise ConfigError(f"a constraint names column {column!r}, which is not among {names}; correct the name")
    return field


def _check_not_null(
    con: duckdb.DuckDBPyConnection, table: Table, new: Sequence[tables.LiveFile], field: NestedField, name: str
) -> None:
    if all(_null_count(f.file, field) == 0 for f in new):
        return
    column = quote(field.name)
    rows = con.execute(f"SELECT * FROM ({reader.scan(table, new)}) WHERE {column} IS NULL LIMIT {_SHOWN}")
    found = _shown(rows)
    if found:
        raise ConstraintViolated(f"NOT NULL constraint failed: {name}.{field.name}; it is null in rows like {found}")


def _null_count(file: DataFile, field: NestedField) -> int | None:
    return (file.null_value_counts or {}).get(field.field_id)


def _check_expression(
    con: duckdb.DuckDBPyConnection,
    table: Table,
    new: Sequence[tables.LiveFile],
    label: str,
    expression: str,
    name: str,
) -> None:
    shown = f"{label} ({expression})" if label else expression
    found = _shown(con.execute(f"SELECT * FROM ({reader.scan(table, new)}) WHERE NOT ({expression}\n) LIMIT {_SHOWN}"))
    if found:
        raise ConstraintViolated(f"CHECK constraint failed: {name}: {shown}; it is false for rows like {found}")


def _check_unique(
    con: duckdb.DuckDBPyConnection,
    table: Table,
    new: Sequence[tables.LiveFile],
    group: Sequence[NestedField],
    name: str,
) -> None:
    columns = ", ".join(quote(f.name) for f in group)
    present = " AND ".join(f"{quote(f.name)} IS NOT NULL" for f in group)
    source = f"SELECT {columns} FROM ({reader.select(table)}) WHERE {present}"
    if len(new) < len(table.data):
        # Keys that no new row has were unique before: only those that come now can clash.
        source += f" AND ({columns}) IN (SELECT ({columns}) FROM ({reader.scan(table, new)}))"
    found = _shown(con.execute(f"SELECT {columns} FROM ({source}) GROUP BY ALL HAVING count(*) > 1 LIMIT {_SHOWN}"))
    if found:
        names = ", ".join(f"{name}.{f.name}" for f in group)
        raise ConstraintViolated(f"UNIQUE constraint failed: {names}; more than one row has {found}")


def _shown(rows: Any) -> str:
    names = [column[0] for column in rows.description]
    return "; ".join(
        "(" + ", ".join(f"{name}={value!r}" for name, value in zip(names, row, strict=True))[:300] + ")"
        for row in rows.fetchall()
    )
