"""Which files tables consist of: all that their metadata leads to, older snapshots included.

Each manifest is read once, however many states share it.
"""

from __future__ import annotations

from dbt.adapters.lakehouse.tables import one_door  # noqa: F401

# isort: split

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from pyiceberg.manifest import ManifestFile, read_manifest_list

from dbt.adapters.lakehouse.errors import StorageError
from dbt.adapters.lakehouse.storage import storage_for
from dbt.adapters.lakehouse.tables.fileio import IO

_T = TypeVar("_T")

_THREADS = 16

_STATISTICS = ("statistics", "partition-statistics")


@dataclass(frozen=True, kw_only=True)
class Reachable:
    """The ``files`` of tables, by location. ``unreadable`` says of metadata files, lists and manifests why they told nothing."""

    files: frozenset[str]
    unreadable: Mapping[str, str]


def of_tables(metadata_locations: Iterable[str]) -> Reachable:
    """All files of the tables at metadata locations. Raises ``StorageError`` where a store cannot be reached for now."""
    heads = set(metadata_locations)
    with ThreadPoolExecutor(_THREADS, "lakehouse-reachable") as pool:
        reading = _Reading(pool)
        told = reading.all(_told, heads)
        lists = {uri for snapshots, _ in told for uri in snapshots}
        listed = chain.from_iterable(reading.all(_manifests, lists))
        manifests = {manifest.manifest_path: manifest for manifest in listed}
        files = set(chain.from_iterable(reading.all(lambda path: _files(manifests[path]), manifests)))
    beside = {uri for _, statistics in told for uri in statistics}
    return Reachable(files=frozenset(heads | lists | manifests.keys() | files | beside), unreadable=reading.unreadable)


class _Reading:
    """Reads many files at once, and notes which of them cannot be read."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self.unreadable: dict[str, str] = {}

    def all(self, read: Callable[[str], _T], locations: Iterable[str]) -> list[_T]:
        """What is in those files that can be read."""

        def attempt(location: str) -> list[_T]:
            try:
                return [read(location)]
            except StorageError as error:
                if error.passing:
                    raise
                self.unreadable[location] = str(error)
            except Exception as error:  # pyiceberg has no common base for what a broken file makes it raise
                self.unreadable[location] = f"{location} is no file of an Iceberg table: {error}"
            return []

        return list(chain.from_iterable(self._pool.map(attempt, locations)))


def _told(location: str) -> tuple[list[str], list[str]]:
    """The manifest lists of all snapshots that a metadata file tells of, and files of statistics."""
    told = json.loads(storage_for(location).read(location))
    statistics = [item["statistics-path"] for name in _STATISTICS for item in told.get(name, ())]
    return [snapshot["manifest-list"] for snapshot in told.get("snapshots", ())], statistics


def _manifests(location: str) -> list[ManifestFile]:
    return list(read_manifest_list(IO.new_input(location)))


def _files(manifest: ManifestFile) -> list[str]:
    return [entry.data_file.file_path for entry in manifest.fetch_manifest_entry(IO)]
