"""Compaction: the same rows in the same order in fewer, larger files, without delete files, under less metadata.

Files of an unpartitioned table are brought together with their neighbours only, in the order in which they are read (those
of which rows are deleted come last): so rows keep their order, but for that by which the table is sorted. In a partitioned
table this holds within each partition, as far as writing it keeps it.
"""

from __future__ import annotations

from dbt.adapters.lakehouse.tables import one_door  # noqa: F401

# isort: split

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from pyiceberg.table.snapshots import Operation

from dbt.adapters.lakehouse.tables import commits, parquet, reader
from dbt.adapters.lakehouse.tables import metadata as tables
from dbt.adapters.lakehouse.tables.commits import Change
from dbt.adapters.lakehouse.tables.metadata import LiveFile, Table
from dbt.adapters.lakehouse.tables.values import Expiry, Extent

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.manifest import DataFile

    from dbt.adapters.lakehouse.tables.parquet import Attempt
    from dbt.adapters.lakehouse.tables.values import Written

SMALL_BYTES = 64 * 1024 * 1024
"""Files below this size are brought together, where a partition has more than one."""

MANY_MANIFESTS = 10
"""Manifests from which on they are merged."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a table has to gain: ``groups`` of files to be written as one each, ``manifests`` to be merged, snapshots to expire.

    ``kept`` are the snapshots that the new metadata tells of, beside the one that is made if files or manifests change.
    """

    groups: tuple[tuple[LiveFile, ...], ...] = ()
    manifests: bool = False
    kept: tuple[Any, ...] = field(default=(), repr=False)
    expires: bool = False

    @property
    def rewrites(self) -> bool:
        """Whether it takes a new snapshot."""
        return bool(self.groups) or self.manifests

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return self.rewrites or self.expires


def plan(table: Table, expiry: Expiry | None = None) -> Plan:
    """What to do for a table. Snapshots expire where something else is done, or else where the expiry says so."""
    groups = _groups(table)
    manifests = len(table.manifests) >= MANY_MANIFESTS
    snapshots = tuple(table.metadata.snapshots)
    kept = snapshots if expiry is None else _kept(table, expiry, new=bool(groups) or manifests)
    alone = expiry is not None and expiry.alone
    return Plan(groups=groups, manifests=manifests, kept=kept, expires=alone and len(kept) < len(snapshots))


def extent(table: Table) -> Extent:
    """How a table lies."""
    return Extent(
        files=len(table.data),
        deletes=len(table.deletes),
        manifests=len(table.manifests),
        snapshots=len(table.metadata.snapshots),
        size_bytes=table.size_bytes,
    )


def compact(con: duckdb.DuckDBPyConnection, base: str, expiry: Expiry | None = None) -> Written:
    """The table at ``base`` with small files brought together, deleted rows gone for good, and manifests merged.

    A table that has nothing to gain is given back as it is.
    """
    table = tables.load(base)
    todo = plan(table, expiry)
    if not todo.needed:
        return tables.describe(table)
    with parquet.attempt(table.metadata.location) as made:
        if not todo.rewrites:
            metadata = table.metadata.model_copy(update=_telling_of(table, todo.kept))
            return tables.describe(commits.save(table.with_metadata(metadata), made))
        change = _change(con, table, todo, made)
        return tables.describe(commits.commit(table, change, made))


def _change(con: duckdb.DuckDBPyConnection, table: Table, todo: Plan, made: Attempt) -> Change:
    layout = parquet.layout(table.metadata)
    written: dict[str, list[DataFile]] = {}
    for group in todo.groups:
        written[group[0].path] = parquet.write(con, _select(table, group), layout, made)
    gone = {file.path for group in todo.groups for file in group}
    order: list[str] = []
    for file in _as_read(table):
        order += [new.file_path for new in written.get(file.path, ())]
        if file.path not in gone:
            order.append(file.path)
    return Change(
        operation=Operation.REPLACE,
        added=list(chain.from_iterable(written.values())),
        # Every file that rows were deleted from is written anew, so that no delete file speaks of any that stays.
        removed=gone | {file.path for file in table.deletes} if todo.groups else gone,
        update=_telling_of(table, todo.kept),
        order=order,
    )


def _select(table: Table, group: Sequence[LiveFile]) -> str:
    """The rows of some files in their order, which the search for deleted ones would not keep."""
    if not reader.deletes_by_file(table, group):
        return reader.scan(table, group, stored=True)
    numbered = reader.scan(table, group, numbers=range(len(group)), stored=True)
    hidden = f"{reader.FILE}, {reader.POSITION}"
    return f"SELECT * EXCLUDE ({hidden}) FROM ({numbered}) ORDER BY {hidden}"


def _as_read(table: Table) -> list[LiveFile]:
    """The data files in the order in which a SELECT gives their rows (``reader.scan``)."""
    deleted = reader.deletes_by_file(table, table.data)
    return sorted(table.data, key=lambda file: file.path in deleted)


def _telling_of(table: Table, kept: Sequence[Any]) -> dict[str, Any]:
    ids = {snapshot.snapshot_id for snapshot in kept}
    log = [entry for entry in table.metadata.snapshot_log if entry.snapshot_id in ids]
    return {"snapshots": list(kept), "snapshot_log": log}


def _kept(table: Table, expiry: Expiry, *, new: bool) -> tuple[Any, ...]:
    """Snapshots that the metadata goes on telling of: the latest, those young enough, the present one, and those with a name."""
    metadata = table.metadata
    named = {ref.snapshot_id for name, ref in metadata.refs.items() if name != "main"}
    if not new and metadata.current_snapshot_id is not None:
        named.add(metadata.current_snapshot_id)
    count = expiry.snapshots - int(new)
    latest = {snapshot.snapshot_id for snapshot in metadata.snapshots[-count:]} if count > 0 else set()
    return tuple(
        snapshot
        for snapshot in metadata.snapshots
        if snapshot.snapshot_id in latest | named
        or (expiry.before_ms is not None and snapshot.timestamp_ms >= expiry.before_ms)
    )


def _groups(table: Table) -> tuple[tuple[LiveFile, ...], ...]:
    deleted = reader.deletes_by_file(table, table.data)
    spec_id = table.metadata.default_spec_id
    certain = {f.path for f in table.data if f.path in deleted or f.file.spec_id != spec_id}
    if table.metadata.spec().fields:
        chosen = _chosen(table, certain)
        return (chosen,) if chosen else ()
    return tuple(
        tuple(group)
        for group in _neighbours(table, certain)
        if len(group) > 1 or any(file.path in certain for file in group)
    )


def _chosen(table: Table, certain: set[str]) -> tuple[LiveFile, ...]:
    """Of a partitioned table, the files that its partitions have too many of."""
    small: dict[str, list[LiveFile]] = {}
    for file in table.data:
        if file.file.file_size_in_bytes < SMALL_BYTES:
            small.setdefault(f"{file.file.spec_id} {file.file.partition}", []).append(file)
    paths = certain | {f.path for group in small.values() if len(group) > 1 for f in group}
    return tuple(f for f in _as_read(table) if f.path in paths)


def _neighbours(table: Table, certain: set[str]) -> list[list[LiveFile]]:
    """Files next to one another that are small, or must be written anew; no more of them together than make a large one."""
    most = parquet.layout(table.metadata).file_size or parquet.FILE_SIZE
    found: list[list[LiveFile]] = []
    size, begun = 0, False
    for file in _as_read(table):
        bytes_ = file.file.file_size_in_bytes
        if bytes_ >= min(SMALL_BYTES, most) and file.path not in certain:
            begun = False
            continue
        if not begun or size + bytes_ > most:
            found.append([])
            size, begun = 0, True
        found[-1].append(file)
        size += bytes_
    return found
