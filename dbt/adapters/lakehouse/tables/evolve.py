"""Changes of a table that touch its metadata only: columns added, dropped, renamed, retyped; comments; properties.

Iceberg spec, *Schema Evolution*: field ids stay, so that files need no rewriting. Every function takes the metadata
location of a table and returns the table at a new one; its snapshot stays the same.
"""

from __future__ import annotations

from dbt.adapters.lakehouse.tables import one_door  # noqa: F401

# isort: split

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pyiceberg.schema import Schema
from pyiceberg.table.sorting import SortOrder
from pyiceberg.types import NestedField

from dbt.adapters.lakehouse.errors import ConfigError, ConstraintViolated, SchemaMismatch
from dbt.adapters.lakehouse.quoting import quote
from dbt.adapters.lakehouse.tables import commits, reader
from dbt.adapters.lakehouse.tables import duckdb_types as types
from dbt.adapters.lakehouse.tables import metadata as tables
from dbt.adapters.lakehouse.tables.duckdb_types import find_column
from dbt.adapters.lakehouse.tables.metadata import ALWAYS, COMMENT, Table
from dbt.adapters.lakehouse.tables.parquet import attempt
from dbt.adapters.lakehouse.tables.schema import (
    MEANINGS,
    QueryColumn,
    describe,
    ids_below,
    meanings_of,
    with_meanings,
)

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.table.metadata import TableMetadataV2

    from dbt.adapters.lakehouse.tables.values import Written


class Alteration(Protocol):
    """One change by name: ``what`` is add_column, drop_column, rename_column, set_type, set_required, comment,
    column_comment or property; the other fields say of which column (or property) and to what.
    """

    @property
    def what(self) -> str: ...  # noqa: D102
    @property
    def column(self) -> str: ...  # noqa: D102
    @property
    def to(self) -> str | None: ...  # noqa: D102
    @property
    def required(self) -> bool: ...  # noqa: D102


def apply(con: duckdb.DuckDBPyConnection, base: str, alterations: Iterable[Alteration]) -> Written:
    """Several changes, in order, as one."""
    table = tables.load(base)
    metadata = table.metadata
    for change in alterations:
        metadata = _applied(con, Table.with_metadata(table, metadata), change)
    return _saved(table, metadata)


def _applied(con: duckdb.DuckDBPyConnection, table: Table, change: Alteration) -> TableMetadataV2:
    metadata = table.metadata
    match change.what:
        case "add_column":
            return with_column(metadata, _column(con, change.column, change.to or ""))
        case "drop_column":
            return without_columns(metadata, [change.column])
        case "rename_column":
            return with_name(metadata, change.column, change.to or "")
        case "set_type":
            return with_type(metadata, _column(con, change.column, change.to or ""))
        case "set_required":
            if change.required:
                _check_no_nulls(con, table, change.column)
            return with_required(metadata, change.column, change.required)
        case "comment":
            return with_properties(metadata, {COMMENT: change.to} if change.to else {}, [COMMENT])
        case "column_comment":
            return with_comments(metadata, {change.column: change.to})
        case "property":
            name = change.column
            return with_properties(metadata, {name: change.to} if change.to is not None else {}, [name])
    raise ConfigError(f"{change.what!r} is no change of a table")


def add_column(con: duckdb.DuckDBPyConnection, base: str, name: str, duckdb_type: str) -> Written:
    """A new, last column, null in every row there is. The type is DuckDB's, nested ones included."""
    table = tables.load(base)
    return _saved(table, with_column(table.metadata, _column(con, name, duckdb_type)))


def drop_column(base: str, name: str) -> Written:
    """The table without a column; one that it is partitioned by cannot go."""
    table = tables.load(base)
    return _saved(table, without_columns(table.metadata, [name]))


def rename_column(base: str, name: str, to: str) -> Written:
    """The table with a column under another name."""
    table = tables.load(base)
    return _saved(table, with_name(table.metadata, name, to))


def change_type(con: duckdb.DuckDBPyConnection, base: str, name: str, duckdb_type: str) -> Written:
    """The table with a wider column (int to long, float to double, a decimal of more digits). Else SchemaMismatch."""
    table = tables.load(base)
    return _saved(table, with_type(table.metadata, _column(con, name, duckdb_type)))


def set_not_null(con: duckdb.DuckDBPyConnection, base: str, name: str) -> Written:
    """The table with a column that is never null; a row where it is null raises ConstraintViolated."""
    table = tables.load(base)
    _check_no_nulls(con, table, name)
    return _saved(table, with_required(table.metadata, name, True))


def drop_not_null(base: str, name: str) -> Written:
    """The table with a column that may be null."""
    table = tables.load(base)
    return _saved(table, with_required(table.metadata, name, False))


def set_comments(base: str, *, table: str | None = None, columns: Mapping[str, str | None] | None = None) -> Written:
    """The table described anew; a comment that is None or "" goes away, ``table=None`` leaves the table's as it is."""
    found = tables.load(base)
    metadata = with_comments(found.metadata, columns or {})
    if table is not None:
        metadata = with_properties(metadata, {COMMENT: table} if table else {}, [COMMENT])
    return _saved(found, metadata)


def set_properties(base: str, properties: Mapping[str, str], remove: Sequence[str] = ()) -> Written:
    """The table with properties set and removed; those that this package relies on cannot be."""
    table = tables.load(base)
    return _saved(table, with_properties(table.metadata, properties, remove))


def _saved(table: Table, metadata: TableMetadataV2) -> Written:
    if metadata is table.metadata:
        return tables.describe(table)
    with attempt(metadata.location) as made:
        return tables.describe(commits.save(Table.with_metadata(table, metadata), made))


def _column(con: duckdb.DuckDBPyConnection, name: str, duckdb_type: str) -> QueryColumn:
    import duckdb

    try:
        return describe(con, f"SELECT CAST(NULL AS {duckdb_type}) AS {quote(name)}")[0]
    except duckdb.Error as error:
        raise SchemaMismatch(f"column {name!r} cannot have type {duckdb_type!r}: {error}") from error


# From here on: metadata to metadata, for the functions above and for writes that change the schema on their way.


def with_schema(metadata: TableMetadataV2, fields: Sequence[NestedField], **update: Any) -> TableMetadataV2:
    """The metadata with a new current schema of these fields."""
    current = metadata.schema()
    ids = {f.field_id for f in fields if f.required}
    schema = Schema(
        *fields,
        schema_id=max(s.schema_id for s in metadata.schemas) + 1,
        identifier_field_ids=[i for i in current.identifier_field_ids if i in ids],
    )
    known = {i for f in fields for i in ids_below(f)}
    kept = {i: kind for i, kind in meanings_of(update.get("properties", metadata.properties)).items() if i in known}
    return metadata.model_copy(
        update={
            **update,
            "schemas": [*metadata.schemas, schema],
            "current_schema_id": schema.schema_id,
            "properties": with_meanings(update.get("properties", metadata.properties), kept),
            "last_updated_ms": metadata.last_updated_ms + 1,
        }
    )


def find(metadata: TableMetadataV2, name: str) -> NestedField:
    """A column by name; SchemaMismatch if there is none."""
    fields = metadata.schema().fields
    field = find_column(fields, name)
    if field is None:
        raise SchemaMismatch(
            f"the table has no column {name!r}; its columns are {', '.join(f.name for f in fields[:50])}"
        )
    return field


def with_column(metadata: TableMetadataV2, column: QueryColumn) -> TableMetadataV2:
    """The metadata with a new last column."""
    fields = metadata.schema().fields
    if find_column(fields, column.name) is not None:
        raise SchemaMismatch(f"the table has a column {column.name!r} already; choose another name")
    field, meanings, last = new_field(metadata, column)
    properties = with_meanings(metadata.properties, {**meanings_of(metadata.properties), **meanings})
    return with_schema(metadata, [*fields, field], properties=properties, last_column_id=last)


def new_field(metadata: TableMetadataV2, column: QueryColumn) -> tuple[NestedField, types.Meanings, int]:
    """An optional field with new ids for a query's column, its DuckDB meanings and the new last-column-id."""
    ids = itertools.count(metadata.last_column_id + 1)
    top = next(ids)
    meanings: types.Meanings = {}
    kind = types.to_iceberg(column.name, column.duck, top, ids, meanings)
    return NestedField(top, column.name, kind, required=False), meanings, next(ids) - 1


def without_columns(metadata: TableMetadataV2, names: Sequence[str]) -> TableMetadataV2:
    """The metadata without columns; a sort order that uses one of them is given up."""
    gone = {find(metadata, name).field_id: name for name in names}
    for spec in metadata.partition_specs:
        for field in spec.fields:
            if field.source_id in gone:
                raise SchemaMismatch(
                    f"column {gone[field.source_id]!r} cannot be dropped, since the table is partitioned by it; "
                    "build the table anew with another partition_by (dbt: --full-refresh)"
                )
    fields = [f for f in metadata.schema().fields if f.field_id not in gone]
    if not fields:
        raise SchemaMismatch("the last column of a table cannot be dropped; drop the table instead")
    update: dict[str, Any] = {}
    if any(f.source_id in gone for f in metadata.sort_order().fields):
        orders = [order for order in metadata.sort_orders if order.order_id]
        update = {"sort_orders": [SortOrder(order_id=0), *orders], "default_sort_order_id": 0}
    return with_schema(metadata, fields, **update)


def with_name(metadata: TableMetadataV2, name: str, to: str) -> TableMetadataV2:
    """The metadata with a column renamed."""
    field = find(metadata, name)
    other = find_column(metadata.schema().fields, to)
    if not to or (other is not None and other.field_id != field.field_id):
        raise SchemaMismatch(f"column {name!r} cannot be named {to!r}, a name that is taken or empty; choose another")
    return _with_field(metadata, field, name=to)


def with_type(metadata: TableMetadataV2, column: QueryColumn) -> TableMetadataV2:
    """The metadata with a column of a wider type."""
    field = find(metadata, column.name)
    meanings = meanings_of(metadata.properties)
    new, new_meanings, _ = new_field(metadata, column)
    before = types.to_duckdb(field.field_type, field.field_id, meanings)
    after = types.to_duckdb(new.field_type, new.field_id, new_meanings)
    if before == after:
        return metadata
    if new_meanings or field.field_id in meanings or not types.promotes(field.field_type, new.field_type):
        raise SchemaMismatch(
            f"column {field.name!r} cannot change from {before} to {after} without rewriting the table; "
            f"write it anew with CAST({quote(field.name)} AS {after})"
        )
    return _with_field(metadata, field, field_type=new.field_type)


def with_required(metadata: TableMetadataV2, name: str, required: bool) -> TableMetadataV2:
    """The metadata with a column that must not, or may, be null."""
    field = find(metadata, name)
    return metadata if field.required == required else _with_field(metadata, field, required=required)


def with_comments(metadata: TableMetadataV2, comments: Mapping[str, str | None]) -> TableMetadataV2:
    """The metadata with columns described."""
    docs = {find(metadata, name).field_id: doc or None for name, doc in comments.items()}
    fields = metadata.schema().fields
    if all(docs.get(f.field_id, f.doc) == f.doc for f in fields):
        return metadata
    return with_schema(metadata, [_changed(f, doc=docs.get(f.field_id, f.doc)) for f in fields])


def with_properties(
    metadata: TableMetadataV2, properties: Mapping[str, str], remove: Sequence[str] = ()
) -> TableMetadataV2:
    """The metadata with properties set and removed."""
    for name in (*properties, *remove):
        if name in ALWAYS or name in (MEANINGS, "format-version"):
            raise ConfigError(f"table property {name!r} is the lake's own and cannot be changed; leave it out")
    result = {**{k: v for k, v in metadata.properties.items() if k not in remove}, **properties}
    if result == metadata.properties:
        return metadata
    return metadata.model_copy(update={"properties": result, "last_updated_ms": metadata.last_updated_ms + 1})


def _with_field(metadata: TableMetadataV2, field: NestedField, **change: Any) -> TableMetadataV2:
    fields = metadata.schema().fields
    return with_schema(metadata, [_changed(f, **change) if f.field_id == field.field_id else f for f in fields])


def _changed(field: NestedField, **change: Any) -> NestedField:
    facts = {"name": field.name, "field_type": field.field_type, "required": field.required, "doc": field.doc, **change}
    return NestedField(field_id=field.field_id, **facts)


def _check_no_nulls(con: duckdb.DuckDBPyConnection, table: Table, name: str) -> None:
    field = find(table.metadata, name)
    counts = [(f.file.null_value_counts or {}).get(field.field_id) for f in table.data]
    if all(count == 0 for count in counts):
        return
    found = con.execute(f"SELECT count(*) FROM ({reader.select(table)}) WHERE {quote(field.name)} IS NULL").fetchone()
    if found and found[0]:
        raise ConstraintViolated(
            f"NOT NULL constraint failed: {field.name} is null in {found[0]} rows; fill them before setting it"
        )
