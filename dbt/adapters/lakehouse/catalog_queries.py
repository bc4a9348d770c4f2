"""What ``dbt docs generate`` and dbt's tests ask, answered from catalog entries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse import nested_columns
from dbt.adapters.lakehouse.catalog.model import TableEntry, ViewEntry, kind_of
from dbt.adapters.lakehouse.lake.base import Details, Name, Session
from dbt.adapters.lakehouse.tables.type_text import as_duckdb_writes
from dbt.adapters.lakehouse.tables.values import Column

if TYPE_CHECKING:
    import agate

COLUMNS = (
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
    ("bytes", "Size", "Bytes of the table's data and delete files"),
    ("files", "Files", "Data files of the table"),
    ("delete_files", "Delete files", "Files that say which rows of data files are gone; compaction takes them away"),
    ("last_modified", "Last modified", "When rows changed last, UTC; of a view, in any table that it reads"),
    ("partition_by", "Partitioned by", "Columns, or transforms of them, by which rows are put in different files"),
    ("sort_by", "Sorted by", "Columns by which rows were sorted as they were written"),
    ("branch", "Branch", "The branch or ref that this was read at"),
    ("commit", "Commit", "The commit of that branch that this was read at"),
    ("snapshot_id", "Snapshot", "Iceberg snapshot that is current"),
    ("metadata_location", "Metadata", "Iceberg metadata that any engine can read the table from"),
)
_NUMBERS = ("row_count", "bytes", "files", "delete_files")


def catalog(session: Session, database: str, schemas: Iterable[str]) -> agate.Table:
    """Every column of every relation of some schemas, a row each, in dbt's shape."""
    entries = [entry for schema in sorted(schemas) for entry in session.relations(database, schema)]
    return catalog_of(session, [Name(database=database, schema=one.schema, name=one.name) for one in entries])


def catalog_of(session: Session, names: Iterable[Name]) -> agate.Table:
    """The same for single relations."""
    import agate
    from dbt_common.clients.agate_helper import Integer

    text, number, truth = agate.Text(cast_nulls=False), Integer(), agate.Boolean()
    types = {name: number if name == "column_index" else text for name in COLUMNS}
    for key, *_ in _STATS:
        kinds = {"label": text, "value": number if key in _NUMBERS else text, "description": text, "include": truth}
        types |= {f"stats:{key}:{part}": kind for part, kind in kinds.items()}
    found = session.details(tuple(names))
    rows = [row for details in found if details is not None for row in _rows(details)]
    # With the types said: to find out what a quarter of a million values are takes seconds.
    return agate.Table(rows, list(types), list(types.values()))


def _rows(details: Details) -> list[tuple[Any, ...]]:
    entry, values = details.entry, _values(details)
    stats: list[Any] = []
    for key, label, description in _STATS:
        stats += [label, values.get(key), description, key in values]
    place = (details.name.database, entry.schema, entry.name, _kind(entry), entry.comment)
    return [
        (*place, column.name, index, column.type, column.comment, entry.node, *stats)
        for index, column in _columns(entry)
    ]


def _columns(entry: TableEntry | ViewEntry) -> Iterator[tuple[int, Column]]:
    """Columns by their position, each with those within it after it, by the names that YAML has for them."""
    names = {column.name for column in entry.columns}
    for index, column in enumerate(entry.columns, 1):
        kind = as_duckdb_writes(column.type)
        yield index, Column(name=column.name, type=kind, comment=column.comment)
        for name, inner in nested_columns.paths(column.name, kind):
            if name not in names:
                yield index, Column(name=name, type=inner)


def _kind(entry: TableEntry | ViewEntry) -> str:
    return {"table": "BASE TABLE"}.get(kind_of(entry), kind_of(entry).replace("_", " ").upper())


def _values(details: Details) -> dict[str, Any]:
    """The statistics that there are, by key."""
    entry = details.entry
    said: dict[str, Any] = {"branch": details.ref, "commit": details.commit}
    if details.modified is not None:
        said["last_modified"] = f"{details.modified:%Y-%m-%d %H:%M:%S}"
    if isinstance(entry, ViewEntry):
        return said
    said |= {
        "row_count": entry.rows,
        "bytes": entry.size_bytes,
        # As text: dbt's JSON readers take numbers for floats, which do not hold 64 bits.
        "snapshot_id": str(entry.snapshot_id),
        "metadata_location": entry.metadata_location,
        "files": details.files,
        "delete_files": details.deletes or None,
        "partition_by": ", ".join(details.partition_by) or None,
        "sort_by": ", ".join(details.sort_by) or None,
    }
    return {key: value for key, value in said.items() if value is not None}


def single(session: Session, name: Name) -> Any:
    """Dbt's ``CatalogTable`` of one relation; None if it does not exist."""
    from dbt_common.contracts.metadata import CatalogTable, ColumnMetadata, StatsItem, TableMetadata

    (details,) = session.details([name])
    if details is None:
        return None
    entry, values = details.entry, _values(details)
    metadata = TableMetadata(
        type=_kind(entry),
        schema=entry.schema,
        name=entry.name,
        database=name.database,
        comment=entry.comment,
        owner=entry.node,
    )
    columns = {
        c.name: ColumnMetadata(type=c.type, index=index, name=c.name, comment=c.comment) for index, c in _columns(entry)
    }
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
