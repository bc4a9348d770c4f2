"""Compaction: the same rows in fewer, larger files, without delete files."""

from __future__ import annotations

from dbt.adapters.lakehouse.tables import one_door  # noqa: F401

# isort: split

from typing import TYPE_CHECKING

from pyiceberg.table.snapshots import Operation

from dbt.adapters.lakehouse.tables import commits, parquet, reader
from dbt.adapters.lakehouse.tables import metadata as tables
from dbt.adapters.lakehouse.tables.commits import Change
from dbt.adapters.lakehouse.tables.metadata import LiveFile, Table

if TYPE_CHECKING:
    import duckdb

    from dbt.adapters.lakehouse.tables.values import Written

SMALL_BYTES = 64 * 1024 * 1024
"""Files below this size are brought together, where a partition has more than one."""


def compact(con: duckdb.DuckDBPyConnection, base: str) -> Written:
    """The table at ``base`` with small files brought together and deleted rows gone for good.

    A table that has nothing to gain is given back as it is.
    """
    table = tables.load(base)
    chosen = _chosen(table)
    if not chosen:
        return tables.describe(table)
    paths = {f.path for f in chosen}
    dropped = {d.path for found in reader.deletes_by_file(table, chosen).values() for d in found}
    metadata = table.metadata
    layout = parquet.layout(metadata)
    with parquet.attempt(metadata.location) as made:
        added = parquet.write(con, reader.scan(table, chosen, stored=True), layout, made)
        change = Change(operation=Operation.REPLACE, added=added, removed=paths | dropped)
        return tables.describe(commits.commit(table, change, made))


def _chosen(table: Table) -> list[LiveFile]:
    deleted = reader.deletes_by_file(table, table.data)
    spec_id = table.metadata.default_spec_id
    certain = [f for f in table.data if f.path in deleted or f.file.spec_id != spec_id]
    small: dict[str, list[LiveFile]] = {}
    for file in table.data:
        if file.file.file_size_in_bytes < SMALL_BYTES:
            small.setdefault(f"{file.file.spec_id} {file.file.partition}", []).append(file)
    paths = {f.path for f in certain}
    for group in small.values():
        if len(group) > 1:
            paths.update(f.path for f in group)
    return [f for f in table.data if f.path in paths]
