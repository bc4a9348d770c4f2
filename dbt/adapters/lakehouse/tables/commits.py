"""The commit that makes a table's next state: manifests, a snapshot, a new ``metadata.json``.

Iceberg spec, *Snapshots*, *Manifest Lists* and *Table Metadata*. Files are only ever added: what is no longer referred to
is left to garbage collection, since other branches may refer to it.
"""

from __future__ import annotations

from dbt.adapters.lakehouse.tables import one_door  # noqa: F401

# isort: split

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
)
from pyiceberg.table.refs import SnapshotRef, SnapshotRefType
from pyiceberg.table.snapshots import Operation, Snapshot, SnapshotLogEntry, Summary

from dbt.adapters.lakehouse.storage import storage_for
from dbt.adapters.lakehouse.tables.avro import ManifestListWriter, ManifestWriter
from dbt.adapters.lakehouse.tables.metadata import CACHE, LiveFile, Table, now
from dbt.adapters.lakehouse.tables.told import CHANGED, changed_ms
from dbt.adapters.lakehouse.telemetry import phase

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadataV2

    from dbt.adapters.lakehouse.tables.parquet import Attempt

SNAPSHOTS_KEPT = 20
"""Snapshots that a table's metadata tells of, at most; the catalog's commits lead to older states."""

MANIFESTS_KEPT = 20
"""Manifests from which on they are merged."""

REPEATED = "source-snapshot-id"
"""Iceberg's name, in a snapshot's summary, for the snapshot whose changes it repeats."""


FILES_IN_MANIFEST = 10_000
"""Files that a manifest tells of at most, where all of them are written anew."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a commit does to a table's files, and the schema or properties it sets beside.

    With ``order``, the paths of all data files that the table has then, they come in that order, in new manifests. They are
    of the table's present partition spec. ``repeats`` is a snapshot of the same table, made elsewhere, whose changes these are.
    """

    operation: Operation
    added: Sequence[DataFile] = ()
    deletes: Sequence[DataFile] = ()
    removed: Collection[str] = ()
    update: Mapping[str, Any] = field(default_factory=dict)
    order: Sequence[str] | None = None
    repeats: int | None = None


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


@phase("write")
def commit(base: Table, change: Change, made: Attempt) -> Table:
    """The table after a change, its metadata written. ``base`` is read only; nobody sees the new table but by location."""
    snapshot_id = uuid4().int >> 65
    metadata = base.metadata.model_copy(update=change.update)
    sequence = metadata.last_sequence_number + 1
    writer = _Manifests(base, metadata, snapshot_id, sequence, made)
    if change.order is not None:
        data = writer.arrange(change, change.order)
    else:
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
        timestamp_ms=max(now(), metadata.last_updated_ms + 1),
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
    CACHE.put(saved)
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

    def arrange(self, change: Change, order: Sequence[str]) -> list[LiveFile]:
        """All data files in an order, in manifests of their own; delete files stay as far as they stay."""
        old = {f.path: f for f in self._base.data}
        new = {f.file_path: f for f in change.added}
        live: list[LiveFile] = []
        for start in range(0, len(order), FILES_IN_MANIFEST):
            chunk = order[start : start + FILES_IN_MANIFEST]
            entries = [self._existing(old[path]) if path in old else self._added(new[path]) for path in chunk]
            manifest = self._write(entries, self._metadata.default_spec_id, ManifestContent.DATA).manifest_path
            live += [
                replace(old[path], manifest=manifest) if path in old else self._live(new[path], manifest)
                for path in chunk
            ]
        removed = set(change.removed)
        for files, content in (
            (self._base.data, ManifestContent.DATA),
            (self._base.deletes, ManifestContent.DELETES),
        ):
            told = [f for f in files if f.path in removed or content is ManifestContent.DELETES]
            for spec_id in sorted({f.file.spec_id for f in told}):
                self._rewrite([f for f in told if f.file.spec_id == spec_id], removed, spec_id, content)
        return live

    def add(self, files: Sequence[DataFile], content: ManifestContent) -> list[LiveFile]:
        """New files, as a new manifest for each partition spec among them."""
        live: list[LiveFile] = []
        for spec_id in sorted({f.spec_id for f in files}):
            group = [f for f in files if f.spec_id == spec_id]
            manifest = self._write([self._added(f) for f in group], spec_id, content)
            live.extend(self._live(f, manifest.manifest_path) for f in group)
        return live

    def _live(self, file: DataFile, manifest: str) -> LiveFile:
        return LiveFile(
            file=file,
            snapshot_id=self._snapshot_id,
            sequence=self._sequence,
            file_sequence=self._sequence,
            manifest=manifest,
        )

    def _rewrite(self, files: list[LiveFile], removed: set[str], spec_id: int, content: ManifestContent) -> None:
        stays = [f for f in files if f.path not in removed]
        goes = [f for f in files if f.path in removed]
        deleted = ManifestEntryStatus.DELETED
        entries = [self._existing(f) for f in stays]
        entries += [self._entry(deleted, f.file, self._snapshot_id, f.sequence, f.file_sequence) for f in goes]
        manifest = self._write(entries, spec_id, content)
        self.kept.extend(replace(f, manifest=manifest.manifest_path) for f in stays)

    def _added(self, file: DataFile) -> ManifestEntry:
        return self._entry(ManifestEntryStatus.ADDED, file, self._snapshot_id, None, None)

    def _existing(self, file: LiveFile) -> ManifestEntry:
        return self._entry(ManifestEntryStatus.EXISTING, file.file, file.snapshot_id, file.sequence, file.file_sequence)

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
    if change.repeats is not None:
        shown[REPEATED] = str(change.repeats)
    if change.operation is Operation.REPLACE:
        shown[CHANGED] = str(changed_ms(base.metadata))
    return Summary(change.operation, **shown, **{name: str(value) for name, value in totals.items()})


def _rows(files: Sequence[DataFile]) -> int:
    return sum(f.record_count for f in files)


def _size(files: Sequence[DataFile]) -> int:
    return sum(f.file_size_in_bytes for f in files)
