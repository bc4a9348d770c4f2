"""A table's state at one metadata location, read once and remembered: locations are never written twice.

Iceberg spec, *Table Metadata* and *Manifests*, format version 2.
"""

from __future__ import annotations

from dbt.adapters.lakehouse.tables import one_door  # noqa: F401

# isort: split

import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING
from uuid import UUID

from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    ManifestFile,
    read_manifest_list,
)
from pyiceberg.table.metadata import TableMetadataUtil, TableMetadataV2

from dbt.adapters.lakehouse.errors import StorageError, TableError
from dbt.adapters.lakehouse.storage import storage_for
from dbt.adapters.lakehouse.tables import content
from dbt.adapters.lakehouse.tables.duckdb_types import to_duckdb
from dbt.adapters.lakehouse.tables.fileio import IO
from dbt.adapters.lakehouse.tables.schema import MEANINGS, meanings_of
from dbt.adapters.lakehouse.tables.values import Column, Written

if TYPE_CHECKING:
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table.sorting import SortOrder


PATH_FIELD, POSITION_FIELD = 2147483546, 2147483545
"""Field ids of a position delete file (spec: Reserved Field IDs)."""

ALWAYS = {
    # Files belong to every branch that refers to them: only this lake's garbage collection may delete.
    "gc.enabled": "false",
    "write.metadata.delete-after-commit.enabled": "false",
}
COMMENT = "comment"


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveFile:
    """A data or delete file of the current snapshot, with what its manifest entry says of its origin."""

    file: DataFile
    snapshot_id: int
    sequence: int
    file_sequence: int
    manifest: str

    @property
    def path(self) -> str:
        """The file's location."""
        return self.file.file_path

    @property
    def target(self) -> str | None:
        """The one data file whose rows a delete file is about; None if it may be about several."""
        low = (self.file.lower_bounds or {}).get(PATH_FIELD)
        high = (self.file.upper_bounds or {}).get(PATH_FIELD)
        return low.decode() if low is not None and low == high else None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table at one metadata location, or (location "") one that is still to be committed."""

    metadata_location: str
    metadata: TableMetadataV2
    manifests: tuple[ManifestFile, ...] = ()
    data: tuple[LiveFile, ...] = ()
    deletes: tuple[LiveFile, ...] = ()

    @property
    def schema(self) -> Schema:
        """The current schema."""
        return self.metadata.schema()

    def with_metadata(self, metadata: TableMetadataV2) -> Table:
        """The same files under other metadata, not saved yet."""
        return replace(self, metadata=metadata, metadata_location="")

    @property
    def rows(self) -> int:
        """Rows that a reader sees, position deletes taken off."""
        return sum(f.file.record_count for f in self.data) - sum(f.file.record_count for f in self.deletes)

    @property
    def size_bytes(self) -> int:
        """Bytes of its data and delete files."""
        return sum(f.file.file_size_in_bytes for f in (*self.data, *self.deletes))


def new_metadata(
    *,
    location: str,
    table_uuid: str,
    schema: Schema,
    spec: PartitionSpec,
    order: SortOrder,
    last_column_id: int,
    properties: Mapping[str, str],
) -> TableMetadataV2:
    """The metadata of a table without snapshots. Field ids are taken as they are."""
    return TableMetadataV2.model_construct(
        format_version=2,
        location=location,
        table_uuid=UUID(table_uuid),
        last_updated_ms=now(),
        last_column_id=last_column_id,
        schemas=[schema],
        current_schema_id=schema.schema_id,
        partition_specs=[spec],
        default_spec_id=spec.spec_id,
        last_partition_id=max((f.field_id for f in spec.fields), default=999),
        properties=dict(properties),
        current_snapshot_id=None,
        snapshots=[],
        snapshot_log=[],
        metadata_log=[],
        sort_orders=[order],
        default_sort_order_id=order.order_id,
        refs={},
        statistics=[],
        partition_statistics=[],
        last_sequence_number=0,
    )


def load(metadata_location: str) -> Table:
    """The table at a metadata location, from the cache if it was written or read by this process."""
    cached = CACHE.get(metadata_location)
    if cached is None:
        cached = _read(metadata_location)
        CACHE.put(cached)
    return cached


def load_metadata(metadata_location: str) -> TableMetadataV2:
    """What ``metadata.json`` says, without the manifests: all that is needed of a table that is about to be replaced."""
    cached = CACHE.get(metadata_location)
    return cached.metadata if cached is not None else _parse(metadata_location)


def _parse(metadata_location: str) -> TableMetadataV2:
    text = storage_for(metadata_location).read(metadata_location)
    try:
        metadata = TableMetadataUtil.parse_raw(text.decode())
    except Exception as error:
        raise TableError(f"{metadata_location} is no Iceberg table metadata: {error}") from error
    if not isinstance(metadata, TableMetadataV2):
        raise TableError(
            f"{metadata_location} has Iceberg format version {metadata.format_version}, and this version reads 2; "
            "copy the table into the lake with the engine that wrote it"
        )
    return metadata


def _read(metadata_location: str) -> Table:
    metadata = _parse(metadata_location)
    snapshot = metadata.current_snapshot()
    if snapshot is None:
        return Table(metadata_location=metadata_location, metadata=metadata)
    try:
        manifests = tuple(read_manifest_list(IO.new_input(snapshot.manifest_list)))
        live = [file for manifest in manifests for file in _live_files(manifest)]
    except StorageError:
        raise
    except Exception as error:
        raise TableError(f"the manifests of {metadata_location} cannot be read: {error}") from error
    if any(f.file.content == DataFileContent.EQUALITY_DELETES for f in live):
        raise TableError(
            f"{metadata_location} has equality deletes, which this version does not read; compact it with the engine "
            "that wrote it"
        )
    return Table(
        metadata_location=metadata_location,
        metadata=metadata,
        manifests=manifests,
        data=tuple(f for f in live if f.file.content == DataFileContent.DATA),
        deletes=tuple(f for f in live if f.file.content == DataFileContent.POSITION_DELETES),
    )


def _live_files(manifest: ManifestFile) -> list[LiveFile]:
    return [
        LiveFile(
            file=entry.data_file,
            snapshot_id=entry.snapshot_id or 0,
            sequence=entry.sequence_number or 0,
            file_sequence=entry.file_sequence_number or 0,
            manifest=manifest.manifest_path,
        )
        for entry in manifest.fetch_manifest_entry(IO)
    ]


def now() -> int:
    """Milliseconds since 1970, as Iceberg counts time."""
    return int(time.time() * 1000)


def describe(table: Table, *, rows_written: int = 0, rows_deleted: int = 0) -> Written:
    """A table as the value that goes into a catalog entry."""
    metadata = table.metadata
    meanings = meanings_of(metadata.properties)
    columns = tuple(
        Column(
            name=f.name,
            type=to_duckdb(f.field_type, f.field_id, meanings),
            field_id=f.field_id,
            required=f.required,
            comment=f.doc,
        )
        for f in table.schema.fields
    )
    return Written(
        metadata_location=table.metadata_location,
        table_uuid=str(metadata.table_uuid),
        snapshot_id=metadata.current_snapshot_id,
        location=metadata.location,
        columns=columns,
        rows=table.rows,
        size_bytes=table.size_bytes,
        comment=metadata.properties.get(COMMENT),
        rows_written=rows_written,
        rows_deleted=rows_deleted,
        content=content.of_table(table, columns),
        layout=_layout(metadata),
    )


def _layout(metadata: TableMetadataV2) -> str:
    names = {f.field_id: f.name for f in metadata.schema().fields}
    said = (
        [(names.get(f.source_id), str(f.transform)) for f in metadata.spec().fields],
        [
            (names.get(f.source_id), str(f.transform), str(f.direction), str(f.null_order))
            for f in metadata.sort_order().fields
        ],
        sorted((name, value) for name, value in metadata.properties.items() if name not in (COMMENT, MEANINGS)),
    )
    return hashlib.sha256(repr(said).encode()).hexdigest()


class _Cache:
    """The tables used last, by metadata location; bounded by the number of files they consist of."""

    def __init__(self, weight: int) -> None:
        self._tables: OrderedDict[str, Table] = OrderedDict()
        self._free = weight
        self._lock = Lock()

    def get(self, location: str) -> Table | None:
        with self._lock:
            table = self._tables.get(location)
            if table is not None:
                self._tables.move_to_end(location)
            return table

    def put(self, table: Table) -> None:
        with self._lock:
            if table.metadata_location in self._tables:
                return
            self._tables[table.metadata_location] = table
            self._free -= _weight(table)
            while self._free < 0 and len(self._tables) > 1:
                _, oldest = self._tables.popitem(last=False)
                self._free += _weight(oldest)


def _weight(table: Table) -> int:
    return 10 + len(table.data) + len(table.deletes) + len(table.metadata.snapshots) + len(table.schema.fields)


CACHE = _Cache(weight=200_000)
