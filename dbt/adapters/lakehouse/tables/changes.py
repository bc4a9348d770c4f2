"""How a query's columns and a table's are brought together: dbt's ``on_schema_change``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dbt.adapters.lakehouse.errors import ConfigError, SchemaMismatch
from dbt.adapters.lakehouse.quoting import quote
from dbt.adapters.lakehouse.tables import duckdb_types as types
from dbt.adapters.lakehouse.tables import evolve
from dbt.adapters.lakehouse.tables.duckdb_types import fold
from dbt.adapters.lakehouse.tables.schema import (
    QueryColumn,
    meanings_of,
    readable_type,
    stored_expression,
    with_meanings,
)

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadataV2

OnSchemaChange = Literal["ignore", "fail", "append_new_columns", "sync_all_columns"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A query's columns beside a table's: what only one of them has, and what has another type in the query."""

    new: tuple[QueryColumn, ...]
    missing: tuple[str, ...]
    retyped: tuple[QueryColumn, ...]

    def __bool__(self) -> bool:
        return bool(self.new or self.missing or self.retyped)


def difference(columns: Sequence[QueryColumn], metadata: TableMetadataV2) -> Difference:
    """Compare by name, its case aside, and by type as it is once stored (a SMALLINT equals the int it becomes)."""
    fields = metadata.schema().fields
    meanings = meanings_of(metadata.properties)
    kinds = {fold(f.name): types.to_duckdb(f.field_type, f.field_id, meanings) for f in fields}
    names = {fold(c.name) for c in columns}
    return Difference(
        new=tuple(c for c in columns if fold(c.name) not in kinds),
        missing=tuple(f.name for f in fields if fold(f.name) not in names),
        retyped=tuple(c for c in columns if fold(c.name) in kinds and readable_type(c) != kinds[fold(c.name)]),
    )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The metadata that rows of the query fit, and the columns whose files must be written anew for it."""

    metadata: TableMetadataV2
    rewritten: tuple[str, ...] = ()


def plan(columns: Sequence[QueryColumn], metadata: TableMetadataV2, on_schema_change: OnSchemaChange) -> Plan:
    """What a table becomes when a query with these columns is added to it. SchemaMismatch where it must not change."""
    found = difference(columns, metadata)
    match on_schema_change:
        case "ignore":
            if found.missing:
                raise SchemaMismatch(
                    f"the query lacks the table's column {found.missing[0]!r}; its columns are "
                    f"{', '.join(c.name for c in columns[:50])}; select it, or set on_schema_change"
                )
        case "fail":
            if found:
                raise SchemaMismatch(_out_of_sync(found))
        case "append_new_columns":
            for column in found.new:
                metadata = evolve.with_column(metadata, column)
        case "sync_all_columns":
            return _synced(found, metadata)
        case _:
            raise ConfigError(
                f"on_schema_change {on_schema_change!r} is none of ignore, fail, append_new_columns, sync_all_columns"
            )
    return Plan(metadata=metadata)


def _synced(found: Difference, metadata: TableMetadataV2) -> Plan:
    for column in found.new:
        metadata = evolve.with_column(metadata, column)
    if found.missing:
        metadata = evolve.without_columns(metadata, found.missing)
    rewritten = []
    for column in found.retyped:
        try:
            metadata = evolve.with_type(metadata, column)
        except SchemaMismatch:
            metadata = _retyped(metadata, column)
            rewritten.append(evolve.find(metadata, column.name).name)
    return Plan(metadata=metadata, rewritten=tuple(rewritten))


def _retyped(metadata: TableMetadataV2, column: QueryColumn) -> TableMetadataV2:
    """The column in its old place with a new type, which for Iceberg is another field: it takes a new id."""
    old = evolve.find(metadata, column.name)
    for spec in metadata.partition_specs:
        if any(f.source_id == old.field_id for f in spec.fields):
            raise SchemaMismatch(
                f"column {old.name!r} cannot change its type to {readable_type(column)}, since the table is partitioned by "
                "it; build the table anew (dbt: --full-refresh)"
            )
    new, meanings, last = evolve.new_field(metadata, QueryColumn(name=old.name, duck=column.duck))
    new = new.model_copy(update={"doc": old.doc, "required": old.required})
    fields = [new if f.field_id == old.field_id else f for f in metadata.schema().fields]
    properties = with_meanings(metadata.properties, {**meanings_of(metadata.properties), **meanings})
    order = metadata.sort_order()
    update = {}
    if any(f.source_id == old.field_id for f in order.fields):
        moved = [
            f.model_copy(update={"source_id": new.field_id}) if f.source_id == old.field_id else f for f in order.fields
        ]
        following = order.model_copy(update={"order_id": order.order_id + 1, "fields": moved})
        update = {"sort_orders": [*metadata.sort_orders, following], "default_sort_order_id": following.order_id}
    return evolve.with_schema(metadata, fields, properties=properties, last_column_id=last, **update)


def _out_of_sync(found: Difference) -> str:
    new = [f"{c.name} ({readable_type(c)})" for c in found.new]
    types_changed = [{"column_name": c.name, "new_type": readable_type(c)} for c in found.retyped]
    return (
        "The source and target schemas on this incremental model are out of sync!\n"
        "They can be reconciled in several ways:\n"
        "  - set the `on_schema_change` config to either append_new_columns or sync_all_columns, "
        "depending on your situation.\n"
        "  - Re-run the incremental model with `full_refresh: True` to update the target schema.\n"
        "  - update the schema manually and re-run the process.\n\n"
        "Additional troubleshooting context:\n"
        f"   Source columns not in target: {new}\n"
        f"   Target columns not in source: {list(found.missing)}\n"
        f"   New column types: {types_changed}"
    )


def stored_select(columns: Sequence[QueryColumn], metadata: TableMetadataV2, relation: str) -> str:
    """A SELECT of the table's columns, as files hold them, from a relation with a query's; null where it has none."""
    by_name = {fold(c.name): c for c in columns}
    meanings = meanings_of(metadata.properties)
    terms = []
    straight = len(columns) == len(metadata.schema().fields)
    for number, field in enumerate(metadata.schema().fields):
        name = quote(field.name)
        column = by_name.get(fold(field.name))
        if column is None:
            terms.append(f"CAST(NULL AS {types.to_duckdb(field.field_type)}) AS {name}")
            straight = False
            continue
        source = quote(column.name)
        stored = stored_expression(column, field, meanings, source)
        straight = straight and stored == source == name and columns[number] is column
        terms.append(f"{stored} AS {name}")
    return f"SELECT * FROM {relation}" if straight else f"SELECT {', '.join(terms)} FROM {relation}"
