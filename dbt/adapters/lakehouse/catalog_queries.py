"""What ``dbt docs generate`` and dbt's tests ask, answered from catalog entries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.catalog.model import Entry, TableEntry, ViewEntry
from dbt.adapters.lakehouse.lake.base import Name, Session

if TYPE_CHECKING:
    import agate

_COLUMNS = (
    "table_database",
    "table_schema",
    "table_name",
    "table_type",
    "table_comment",
    "column_name",
    "column_index",
    "column_type",
    "column_comment",
    "table_owner",
)
_STATS = (
    ("row_count", "Rows", "Rows of the table"),
    ("bytes", "Size", "Bytes of the table's data files"),
    ("snapshot_id", "Snapshot", "Iceberg snapshot that is current"),
    ("metadata_location", "Metadata", "Iceberg metadata that any engine can read the table from"),
)


def catalog(session: Session, database: str, schemas: Iterable[str]) -> agate.Table:
    """Every column of every relation of some schemas, a row each, in dbt's shape."""
    entries = [entry for schema in sorted(schemas) for entry in session.relations(database, schema)]
    return _table(database, entries)


def catalog_of(session: Session, names: Iterable[Name]) -> agate.Table:
    """The same for single relations."""
    found: list[tuple[str, Entry]] = []
    for name in names:
        entry = session.lookup(name)
        if entry is not None:
            found.append((name.database, entry))
    database = found[0][0] if found else ""
    return _table(database, [entry for _, entry in found])


def _table(database: str, entries: Iterable[Entry]) -> agate.Table:
    from dbt_common.clients.agate_helper import table_from_data_flat

    names = [
        *_COLUMNS,
        *(f"stats:{key}:{part}" for key, *_ in _STATS for part in ("label", "value", "description", "include")),
    ]
    rows = [row for entry in entries for row in _rows(database, entry)]
    return table_from_data_flat([dict(zip(names, row, strict=True)) for row in rows], names)


def _rows(database: str, entry: Entry) -> list[tuple[Any, ...]]:
    if not isinstance(entry, TableEntry | ViewEntry):
        return []
    kind = "BASE TABLE" if isinstance(entry, TableEntry) else "VIEW"
    values = _values(entry)
    stats: list[Any] = []
    for key, label, description in _STATS:
        stats += [label, values.get(key), description, key in values]
    return [
        (database, entry.schema, entry.name, kind, entry.comment, c.name, index, c.type, c.comment, None, *stats)
        for index, c in enumerate(entry.columns, 1)
    ]


def _values(entry: TableEntry | ViewEntry) -> dict[str, Any]:
    if isinstance(entry, ViewEntry):
        return {}
    return {
        "row_count": entry.rows,
        "bytes": entry.size_bytes,
        # As text: dbt's JSON readers take numbers for floats, which do not hold 64 bits.
        "snapshot_id": str(entry.snapshot_id),
        "metadata_location": entry.metadata_location,
    }


def single(session: Session, name: Name) -> Any:
    """Dbt's ``CatalogTable`` of one relation; None if it does not exist."""
    from dbt_common.contracts.metadata import CatalogTable, ColumnMetadata, StatsItem, TableMetadata

    entry = session.lookup(name)
    if not isinstance(entry, TableEntry | ViewEntry):
        return None
    metadata = TableMetadata(
        type="BASE TABLE" if isinstance(entry, TableEntry) else "VIEW",
        schema=entry.schema,
        name=entry.name,
        database=name.database,
        comment=entry.comment,
    )
    columns = {
        c.name: ColumnMetadata(type=c.type, index=index, name=c.name, comment=c.comment)
        for index, c in enumerate(entry.columns, 1)
    }
    values = _values(entry)
    stats = {
        key: StatsItem(id=key, label=label, value=values[key], include=True, description=description)
        for key, label, description in _STATS
        if key in values
    }
    stats["has_stats"] = StatsItem(
        id="has_stats",
        label="Has Stats?",
        value=bool(values),
        include=False,
        description="Indicates whether there are statistics for this table",
    )
    return CatalogTable(metadata=metadata, columns=columns, stats=stats)


def rows_different_sql(columns: str, relation_a: str, relation_b: str, operator: str) -> str:
    """SQL for one row: how many rows the relations differ in number, and how many rows only one of them has."""
    return (
        f"WITH a AS (SELECT {columns} FROM {relation_a}), b AS (SELECT {columns} FROM {relation_b}), "
        f"only_one AS ((SELECT * FROM a {operator} SELECT * FROM b) UNION ALL (SELECT * FROM b {operator} SELECT * FROM a)) "
        "SELECT (SELECT count(*) FROM a) - (SELECT count(*) FROM b) AS row_count_difference, "
        "(SELECT count(*) FROM only_one) AS num_mismatched"
    )
