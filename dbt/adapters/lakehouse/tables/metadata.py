"""A table's state, and the commit that makes the next one: manifests, a snapshot, a new ``metadata.json``.

Iceberg spec, *Snapshots*, *Manifest Lists* and *Table Metadata*, format version 2. Files are only ever added: what is no
longer referred to is left to garbage collection, since other branches may refer to it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    read_manifest_list,
)
from pyiceberg.table.metadata import TableMetadataUtil, TableMetadataV2
from pyiceberg.table.refs import SnapshotRef, SnapshotRefType
from pyiceberg.table.snapshots import Operation, Snapshot, SnapshotLogEntry, Summary

from dbt.adapters.lakehouse.errors import StorageError, TableError
from dbt.adapters.lakehouse.storage import storage_for
from dbt.adapters.lakehouse.tables.avro import ManifestListWriter, ManifestWriter
from dbt.adapters.lakehouse.tables.duckdb_types import to_duckdb
from dbt.adapters.lakehouse.tables.fileio import IO
from dbt.adapters.lakehouse.tables.schema import meanings_of
from dbt.adapters.lakehouse.tables.values import Column, Written

if TYPE_CHECKING:
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table.sorting import SortOrder

    from dbt.adapters.lakehouse.tables.parquet import Attempt

SNAPSHOTS_KEPT = 20
MANIFESTS_KEPT = 20
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


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a commit does to a table's files, and the schema or properties it sets beside."""

    operation: Operation
    added: Sequence[DataFile] = ()
    deletes: Sequence[DataFile] = ()
    removed: Collection[str] = ()
    update: Mapping[str, Any] = field(default_factory=dict)


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
        last_updated_ms=_now(),
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
    cached = _CACHE.get(metadata_location)
    if cached is None:
        cached = _read(metadata_location)
        _CACHE.put(cached)
    return cached


def load_metadata(metadata_location: str) -> TableMetadataV2:
    """What ``metadata.json`` says, without the manifests: all that is needed of a table that is about to be replaced."""
    cached = _CACHE.get(metadata_location)
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


def preview(base: Table, change: Change) -> Table:
    """The table as a commit would make it, with nothing written: for checks on its rows."""
    removed = set(change.removed)
    sequence = base.metadata.last_sequence_number + 1
    added = [
        LiveFile(file=f, snapshot_id=-1, sequence=sequence, file_sequence=sequence, manifest="")
        for f in (*change.added, *change.deletes)
    ]
    return Table(
        metadata_location="",
        metadata=base.metadata.model_copy(update=change.update),
        data=(*(f for f in base.data if f.path not in removed), *added[: len(change.added)]),
        deletes=(*(f for f in base.deletes if f.path not in removed), *added[len(change.added) :]),
    )


def commit(base: Table, change: Change, made: Attempt) -> Table:
    """The table after a change, its metadata written. ``base`` is read only; nobody sees the new table but by location."""
    snapshot_id = uuid4().int >> 65
    metadata = base.metadata.model_copy(update=change.update)
    sequence = metadata.last_sequence_number + 1
    writer = _Manifests(base, metadata, snapshot_id, sequence, made)
    writer.keep(change)
    data = writer.add(change.added, ManifestContent.DATA)
    deletes = writer.add(change.deletes, ManifestContent.DELETES)
    live_data = (*(f for f in writer.kept if f.file.content == DataFileContent.DATA), *data)
    live_deletes = (*(f for f in writer.kept if f.file.content != DataFileContent.DATA), *deletes)
    listed = made.metadata_file(f"snap-{snapshot_id}-0-{uuid4().hex}.avro")
    parent = metadata.current_snapshot_id
    with ManifestListWriter(listed, snapshot_id, parent, sequence) as listing:
        listing.add_manifests(writer.manifests)
    snapshot = Snapshot.model_construct(
        snapshot_id=snapshot_id,
        parent_snapshot_id=parent,
        sequence_number=sequence,
        timestamp_ms=max(_now(), metadata.last_updated_ms + 1),
        manifest_list=listed,
        summary=_summary(base, change, live_data, live_deletes),
        schema_id=metadata.current_schema_id,
        first_row_id=None,
        added_rows=None,
    )
    table = Table(
        metadata_location="",
        metadata=_with_snapshot(metadata, snapshot),
        manifests=tuple(writer.manifests),
        data=live_data,
        deletes=live_deletes,
    )
    return save(table, made)


def save(table: Table, made: Attempt) -> Table:
    """Write a table's metadata to a new location and remember it there."""
    location = made.metadata_file(f"{table.metadata.last_sequence_number:05d}-{uuid4()}.metadata.json")
    storage_for(location).write(location, table.metadata.model_dump_json(exclude_none=True).encode())
    saved = replace(table, metadata_location=location)
    _CACHE.put(saved)
    return saved


def _with_snapshot(metadata: TableMetadataV2, snapshot: Snapshot) -> TableMetadataV2:
    """The metadata with a new current snapshot; of the earlier ones the last few are kept, and those that refs name."""
    named = {ref.snapshot_id for name, ref in metadata.refs.items() if name != "main"}
    recent = metadata.snapshots[-(SNAPSHOTS_KEPT - 1) :]
    kept = [s for s in metadata.snapshots if s in recent or s.snapshot_id in named]
    ids = {s.snapshot_id for s in kept}
    log = [entry for entry in metadata.snapshot_log if entry.snapshot_id in ids]
    log.append(SnapshotLogEntry.model_construct(snapshot_id=snapshot.snapshot_id, timestamp_ms=snapshot.timestamp_ms))
    main = SnapshotRef.model_construct(snapshot_id=snapshot.snapshot_id, snapshot_ref_type=SnapshotRefType.BRANCH)
    return metadata.model_copy(
        update={
            "snapshots": [*kept, snapshot],
            "snapshot_log": log,
            "current_snapshot_id": snapshot.snapshot_id,
            "last_sequence_number": snapshot.sequence_number,
            "last_updated_ms": snapshot.timestamp_ms,
            "refs": {**metadata.refs, "main": main},
        }
    )


class _Manifests:
    """The manifests of the snapshot that is being made."""

    def __init__(self, base: Table, metadata: TableMetadataV2, snapshot_id: int, sequence: int, made: Attempt) -> None:
        self.kept: list[LiveFile] = []
        self.manifests: list[ManifestFile] = []
        self._base, self._metadata = base, metadata
        self._snapshot_id, self._sequence, self._made = snapshot_id, sequence, made

    def keep(self, change: Change) -> None:
        """Carry over what stays. A manifest is written anew only if files leave it, or there are too many of them."""
        removed = set(change.removed)
        by_manifest: dict[str, list[LiveFile]] = {m.manifest_path: [] for m in self._base.manifests}
        for file in (*self._base.data, *self._base.deletes):
            by_manifest[file.manifest].append(file)
        merge = len([m for m in self._base.manifests if by_manifest[m.manifest_path]]) >= MANIFESTS_KEPT
        merged: dict[tuple[int, ManifestContent], list[LiveFile]] = {}
        for manifest in self._base.manifests:
            files = by_manifest[manifest.manifest_path]
            if not files:
                continue  # it only told of files deleted by an earlier snapshot
            if not merge and not any(f.path in removed for f in files):
                self.manifests.append(manifest)
                self.kept.extend(files)
                continue
            group = (manifest.partition_spec_id, manifest.content)
            key = group if merge else (*group, manifest.manifest_path)
            merged.setdefault(key, []).extend(files)  # type: ignore[arg-type]
        for (spec_id, content, *_), files in merged.items():
            self._rewrite(files, removed, spec_id, content)

    def add(self, files: Sequence[DataFile], content: ManifestContent) -> list[LiveFile]:
        """New files, as a new manifest for each partition spec among them."""
        live: list[LiveFile] = []
        for spec_id in sorted({f.spec_id for f in files}):
            group = [f for f in files if f.spec_id == spec_id]
            entries = [self._entry(ManifestEntryStatus.ADDED, f, self._snapshot_id, None, None) for f in group]
            manifest = self._write(entries, spec_id, content)
            live.extend(
                LiveFile(
                    file=f,
                    snapshot_id=self._snapshot_id,
                    sequence=self._sequence,
                    file_sequence=self._sequence,
                    manifest=manifest.manifest_path,
                )
                for f in group
            )
        return live

    def _rewrite(self, files: list[LiveFile], removed: set[str], spec_id: int, content: ManifestContent) -> None:
        stays = [f for f in files if f.path not in removed]
        goes = [f for f in files if f.path in removed]
        existing, deleted = ManifestEntryStatus.EXISTING, ManifestEntryStatus.DELETED
        entries = [self._entry(existing, f.file, f.snapshot_id, f.sequence, f.file_sequence) for f in stays]
        entries += [self._entry(deleted, f.file, self._snapshot_id, f.sequence, f.file_sequence) for f in goes]
        manifest = self._write(entries, spec_id, content)
        self.kept.extend(replace(f, manifest=manifest.manifest_path) for f in stays)

    @staticmethod
    def _entry(
        status: ManifestEntryStatus, file: DataFile, snapshot_id: int, sequence: int | None, file_sequence: int | None
    ) -> ManifestEntry:
        return ManifestEntry(status, snapshot_id, sequence, file_sequence, file)

    def _write(self, entries: list[ManifestEntry], spec_id: int, content: ManifestContent) -> ManifestFile:
        location = self._made.metadata_file(f"{self._made.name}-m{len(self._made.metadata_files)}.avro")
        spec = self._metadata.specs()[spec_id]
        with ManifestWriter(spec, self._metadata.schema(), location, self._snapshot_id, content) as writer:
            for entry in entries:
                writer.add_entry(entry)
        manifest: ManifestFile = writer.to_manifest_file()
        self.manifests.append(manifest)
        return manifest


def _summary(base: Table, change: Change, data: Sequence[LiveFile], deletes: Sequence[LiveFile]) -> Summary:
    removed = set(change.removed)
    gone = [f.file for f in base.data if f.path in removed]
    gone_deletes = [f.file for f in base.deletes if f.path in removed]
    facts = {
        "added-data-files": len(change.added),
        "added-records": _rows(change.added),
        "added-files-size": _size([*change.added, *change.deletes]),
        "added-delete-files": len(change.deletes),
        "added-position-delete-files": len(change.deletes),
        "added-position-deletes": _rows(change.deletes),
        "deleted-data-files": len(gone),
        "deleted-records": _rows(gone),
        "removed-files-size": _size([*gone, *gone_deletes]),
        "removed-delete-files": len(gone_deletes),
        "removed-position-delete-files": len(gone_deletes),
        "removed-position-deletes": _rows(gone_deletes),
    }
    totals = {
        "total-data-files": len(data),
        "total-delete-files": len(deletes),
        "total-records": _rows([f.file for f in data]),
        "total-files-size": _size([f.file for f in (*data, *deletes)]),
        "total-position-deletes": _rows([f.file for f in deletes]),
        "total-equality-deletes": 0,
    }
    shown = {name: str(value) for name, value in facts.items() if value}
    return Summary(change.operation, **shown, **{name: str(value) for name, value in totals.items()})


def _rows(files: Sequence[DataFile]) -> int:
    return sum(f.record_count for f in files)


def _size(files: Sequence[DataFile]) -> int:
    return sum(f.file_size_in_bytes for f in files)


def _now() -> int:
    return int(time.time() * 1000)


def describe(table: Table, *, rows_written: int = 0, rows_deleted: int = 0) -> Written:
    """A table as the value that goes into a catalog entry."""
    metadata = table.metadata
    meanings = meanings_of(metadata.properties)
    return Written(
        metadata_location=table.metadata_location,
        table_uuid=str(metadata.table_uuid),
        snapshot_id=metadata.current_snapshot_id,
        location=metadata.location,
        columns=tuple(
            Column(
                name=f.name,
                type=to_duckdb(f.field_type, f.field_id, meanings),
                field_id=f.field_id,
                required=f.required,
                comment=f.doc,
            )
            for f in table.schema.fields
        ),
        rows=table.rows,
        size_bytes=table.size_bytes,
        comment=metadata.properties.get(COMMENT),
        rows_written=rows_written,
        rows_deleted=rows_deleted,
    )


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


_CACHE = _Cache(weight=200_000)
