"""pyiceberg's manifest writers, with the Avro schema worked out once for each partition type.

Working it out takes pyiceberg three milliseconds for a manifest and its list, most of what a small table costs.
"""

from __future__ import annotations

from dbt.adapters.lakehouse.tables import one_door  # noqa: F401

# isort: split

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from pyiceberg.avro.codecs import AVRO_CODEC_KEY
from pyiceberg.avro.file import MAGIC, META_SCHEMA, AvroFileHeader, AvroOutputFile
from pyiceberg.avro.resolver import construct_writer, resolve_writer
from pyiceberg.avro.writer import Writer
from pyiceberg.manifest import (
    MANIFEST_LIST_FILE_SCHEMAS,
    ManifestContent,
    ManifestListWriterV2,
    ManifestWriterV2,
    data_file_with_partition,
    manifest_entry_schema_with_data_file,
)
from pyiceberg.utils.schema_conversion import AvroSchemaConversion

from dbt.adapters.lakehouse.tables.fileio import IO

if TYPE_CHECKING:
    from pyiceberg.io import OutputFile
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.types import StructType

# Manifests are small and mostly read from the page cache: deflating them takes longer than it saves.
_CODEC: Final = "null"
_SYNC_SIZE = 16


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """What every Avro file of one schema has in common."""

    writer: Writer
    schema_json: str
    schema: Schema


def _shape(schema: Schema, name: str) -> _Shape:
    return _Shape(
        writer=resolve_writer(record_schema=schema, file_schema=schema),
        schema_json=json.dumps(AvroSchemaConversion().iceberg_to_avro(schema, schema_name=name)),
        schema=schema,
    )


_SHAPES: dict[str, _Shape] = {}


def _entry_shape(partition: StructType) -> _Shape:
    key = repr(partition)
    found = _SHAPES.get(key)
    if found is None:
        file = data_file_with_partition(format_version=2, partition_type=partition)
        found = _shape(manifest_entry_schema_with_data_file(format_version=2, data_file=file), "manifest_entry")
        _SHAPES[key] = found
    return found


@cache
def _list_shape() -> _Shape:
    return _shape(MANIFEST_LIST_FILE_SCHEMAS[2], "manifest_file")


@cache
def _header_writer() -> Writer:
    return construct_writer(META_SCHEMA)


class _Output(AvroOutputFile[Any]):
    """An Avro file of a known shape."""

    def __init__(self, output_file: OutputFile, shape: _Shape, metadata: Mapping[str, str]) -> None:
        # Everything AvroOutputFile.__init__ sets, without resolving the schema again.
        self.output_file = output_file
        self.file_schema = shape.schema
        self.sync_bytes = os.urandom(_SYNC_SIZE)
        self.writer = shape.writer
        self.metadata = dict(metadata)
        self._schema_json = shape.schema_json

    def _write_header(self) -> None:
        # _CODEC has the same name in Iceberg's properties and in Avro.
        meta = {**self.metadata, "avro.schema": self._schema_json, AVRO_CODEC_KEY: _CODEC}
        _header_writer().write(self.encoder, AvroFileHeader(MAGIC, meta, self.sync_bytes))


class ManifestWriter(ManifestWriterV2):
    """Writes a manifest of data files or, which pyiceberg does not offer, of delete files (spec: Manifests)."""

    def __init__(
        self, spec: PartitionSpec, schema: Schema, location: str, snapshot_id: int, content: ManifestContent
    ) -> None:
        super().__init__(spec, schema, IO.new_output(location), snapshot_id, _CODEC)
        self._content = content

    def content(self) -> ManifestContent:
        """See ManifestWriterV2."""
        return self._content

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes" if self._content == ManifestContent.DELETES else "data"}

    def new_writer(self) -> AvroOutputFile[Any]:
        """See ManifestWriterV2."""
        return _Output(self._output_file, _entry_shape(self._spec.partition_type(self._schema)), self._meta)


class ManifestListWriter(ManifestListWriterV2):
    """Writes the list of a snapshot's manifests (spec: Manifest Lists)."""

    def __init__(self, location: str, snapshot_id: int, parent: int | None, sequence: int) -> None:
        super().__init__(IO.new_output(location), snapshot_id, parent, sequence, _CODEC)

    def __enter__(self) -> ManifestListWriter:
        """See ManifestListWriterV2."""
        self._writer = _Output(self._output_file, _list_shape(), self._meta)
        self._writer.__enter__()
        return self
