"""What is known of relations beyond what the catalog says: what their tables' metadata tells, in one go for many."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.catalog.model import Key, TableEntry, ViewEntry
from dbt.adapters.lakehouse.errors import LakehouseError, StorageError, TableError
from dbt.adapters.lakehouse.run.values import Name

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.run.session import RunSession
    from dbt.adapters.lakehouse.tables.told import Told

_AT_ONCE = 16
"""Metadata files that are read side by side, where each of them is a request."""


@dataclass(frozen=True, kw_only=True)
class Details:
    """A table or view as it stands at ``commit``, which ``ref`` led to (a branch, or what the database's name says).

    ``modified`` (UTC) is when rows changed last that one reads there: of a table by its own snapshots, of a view the
    newest of all tables that it reads; None where no table of the lake is read. Neither compaction nor another name for
    the same files (reuse, a clone, a merge) changes rows. ``files`` and ``deletes`` count data and delete files of a
    table, where they are known. ``problem`` says why its metadata could not be read; then the rest is not known.
    """

    name: Name
    entry: TableEntry | ViewEntry
    ref: str
    commit: str
    modified: datetime | None = None
    files: int | None = None
    deletes: int | None = None
    partition_by: tuple[str, ...] = ()
    sort_by: tuple[str, ...] = ()
    problem: str = ""


def details(session: RunSession, names: Sequence[Name]) -> list[Details | None]:
    """Of each name in its turn; None where no table or view of the lake stands.

    Raises ``RefNotFound`` where a database's name says a ref that does not exist.
    """
    _look_up(session, names)
    found = [_standing(session, name) for name in names]
    reads = [_tables_below(session, item) if item is not None else () for item in found]
    read = _read({location for below in reads for location in below})
    return [
        _detailed(item, below, read) if item is not None else None for item, below in zip(found, reads, strict=True)
    ]


def _look_up(session: RunSession, names: Sequence[Name]) -> None:
    """Have the catalog say at once what stands at all names of a state."""
    for database in {name.database for name in names}:
        snapshot = session.state.snapshot(database)
        if snapshot is not None:
            snapshot.look_up(Key(name.schema, name.name) for name in names if name.database == database)


def _standing(session: RunSession, name: Name) -> Details | None:
    snapshot = session.state.snapshot(name.database)
    entry = snapshot.get(Key(name.schema, name.name)) if snapshot is not None else None
    if snapshot is None or not isinstance(entry, TableEntry | ViewEntry):
        return None
    own = session.run.request.branch if session.run is not None else snapshot.commit
    ref = own if session.state.is_own(name.database) else name.database.partition("@")[2]
    return Details(name=name, entry=entry, ref=ref, commit=snapshot.commit)


def _tables_below(session: RunSession, item: Details) -> Sequence[str]:
    """Metadata locations of the tables that one reads at a name, as far as that can be told."""
    if isinstance(item.entry, TableEntry):
        return (item.entry.metadata_location,)
    try:
        inputs = session.planner.inputs(f"SELECT * FROM {item.name}")
    except LakehouseError:  # a view of a state that is gone, or that reads itself
        return ()
    return [one.metadata_location for one in inputs if one.metadata_location is not None]


def _read(locations: Iterable[str]) -> Mapping[str, Told | LakehouseError]:
    locations = list(locations)
    if not locations:
        return {}
    # Imported late: pyiceberg takes a third of a second.
    from dbt.adapters.lakehouse.tables.told import told

    def one(location: str) -> Told | LakehouseError:
        try:
            return told(location)
        except (StorageError, TableError) as error:
            return error

    with ThreadPoolExecutor(min(_AT_ONCE, len(locations))) as threads:
        return dict(zip(locations, threads.map(one, locations), strict=True))


def _detailed(item: Details, below: Sequence[str], read: Mapping[str, Told | LakehouseError]) -> Details:
    times: list[datetime] = []
    for location in below:
        said = read[location]
        if isinstance(said, LakehouseError):
            return dataclasses.replace(item, problem=str(said))
        times.append(said.changed_at)
    of_table = read[item.entry.metadata_location] if isinstance(item.entry, TableEntry) else None
    if of_table is None or isinstance(of_table, LakehouseError):
        return dataclasses.replace(item, modified=max(times, default=None))
    return dataclasses.replace(
        item,
        modified=of_table.changed_at,
        files=of_table.files,
        deletes=of_table.deletes,
        partition_by=of_table.partition_by,
        sort_by=of_table.sort_by,
    )
