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
from functools import cache
from itertools import chain
from typing import TypeVar

from pyiceberg.avro.decoder import new_decoder
from pyiceberg.avro.file import AvroFile
from pyiceberg.avro.reader import Reader
from pyiceberg.avro.resolver import resolve_reader
from pyiceberg.manifest import ManifestEntryStatus
from pyiceberg.schema import Schema
from pyiceberg.typedef import Record
from pyiceberg.types import NestedField, StructType
from pyiceberg.utils.schema_conversion import AvroSchemaConversion

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
        manifests = set(chain.from_iterable(reading.all(_manifests, lists)))
        files = set(chain.from_iterable(reading.all(_files, manifests)))
    beside = {uri for _, statistics in told for uri in statistics}
    return Reachable(files=frozenset(heads | lists | manifests | files | beside), unreadable=reading.unreadable)


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


def _manifests(location: str) -> list[str]:
    with _Avro(IO.new_input(location)) as listing:
        (path,) = listing.places(_MANIFEST_PATH)
        return [record[path] for record in listing]


def _files(location: str) -> list[str]:
    with _Avro(IO.new_input(location)) as manifest:
        status, file, path = manifest.places(_STATUS, _DATA_FILE, _FILE_PATH)
        return [record[file][path] for record in manifest if record[status] != ManifestEntryStatus.DELETED]


_MANIFEST_PATH, _STATUS, _DATA_FILE, _FILE_PATH = 500, 0, 2, 100
"""Field ids of Iceberg's spec (Manifest Lists, Manifests)."""


class _Avro(AvroFile[Record]):
    """An Avro file read as it was written. How to is worked out once for each schema, since that takes longer than reading."""

    def __enter__(self) -> _Avro:
        """See AvroFile."""
        with self.input_file.open() as file:
            self.decoder = new_decoder(file.read())
        self.header = self._read_header()
        self.schema, self.reader = _shape(self.header.meta["avro.schema"])
        return self

    def places(self, *field_ids: int) -> list[int]:
        """Where fields stand in their records. Raises ``ValueError`` where there is no such field."""
        found = {field.field_id: place for fields in _structs(self.schema) for place, field in enumerate(fields)}
        missing = [field_id for field_id in field_ids if field_id not in found]
        if missing:
            raise ValueError(f"it has no field {missing[0]}")
        return [found[field_id] for field_id in field_ids]


def _structs(schema: Schema) -> list[tuple[NestedField, ...]]:
    """The fields of a record, and those of the data file in it."""
    inner = [field.field_type for field in schema.fields if field.field_id == _DATA_FILE]
    return [schema.fields, *(kind.fields for kind in inner if isinstance(kind, StructType))]


@cache
def _shape(text: str) -> tuple[Schema, Reader]:
    schema = AvroSchemaConversion().avro_to_iceberg(json.loads(text))
    return schema, resolve_reader(schema, schema)
