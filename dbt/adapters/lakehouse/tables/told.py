"""What a table's metadata says of it beyond its rows: when these changed last, and how they lie. No manifest is read."""

from __future__ import annotations

from dbt.adapters.lakehouse.tables import one_door  # noqa: F401

# isort: split

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyiceberg.table.snapshots import Operation

from dbt.adapters.lakehouse.tables import metadata as tables

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadataV2

CHANGED = "rows-changed-at-ms"
"""In the summary of a snapshot that only rewrote files: when the rows changed that are in them."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """``changed_at`` is UTC. Counts are None where another engine wrote a snapshot without them.

    ``partition_by`` and ``sort_by`` are as a model's configuration has them.
    """

    changed_at: datetime
    files: int | None
    deletes: int | None
    partition_by: tuple[str, ...]
    sort_by: tuple[str, ...]


def told(metadata_location: str) -> Told:
    """Read a table's metadata. Raises ``StorageError``, ``TableError``."""
    metadata = tables.load_metadata(metadata_location)
    snapshot = metadata.current_snapshot()
    summary = snapshot.summary.additional_properties if snapshot is not None and snapshot.summary is not None else {}
    names = {field.field_id: field.name for field in metadata.schema().fields}
    return Told(
        changed_at=datetime.fromtimestamp(changed_ms(metadata) / 1000, UTC),
        files=_count(summary, "total-data-files") if snapshot is not None else 0,
        deletes=_count(summary, "total-delete-files") if snapshot is not None else 0,
        partition_by=tuple(
            _transformed(str(field.transform), names.get(field.source_id, field.name))
            for field in metadata.spec().fields
            if str(field.transform) != "void"
        ),
        sort_by=tuple(
            _transformed(str(field.transform), names.get(field.source_id, "?"))
            + (" desc" if field.direction.value == "desc" else "")
            + (" nulls last" if field.null_order.value == "nulls-last" else "")
            for field in metadata.sort_order().fields
        ),
    )


def changed_ms(metadata: TableMetadataV2) -> int:
    """When a table's rows changed last, in milliseconds since 1970: to rewrite files as they are (compaction) is no change."""
    snapshot = metadata.current_snapshot()
    if snapshot is None:
        return metadata.last_updated_ms
    while snapshot.summary is not None and snapshot.summary.operation is Operation.REPLACE:
        if CHANGED in snapshot.summary.additional_properties:
            return int(snapshot.summary.additional_properties[CHANGED])
        parent = metadata.snapshot_by_id(snapshot.parent_snapshot_id) if snapshot.parent_snapshot_id else None
        if parent is None:
            break  # expired, and written by another engine: no later than this
        snapshot = parent
    return snapshot.timestamp_ms


def _count(summary: Mapping[str, str], key: str) -> int | None:
    return int(summary[key]) if key in summary else None


def _transformed(transform: str, column: str) -> str:
    """``bucket[16]`` of a column as ``bucket(16, column)``."""
    if transform == "identity":
        return column
    name, _, width = transform.removesuffix("]").partition("[")
    return f"{name}({width}, {column})" if width else f"{name}({column})"
