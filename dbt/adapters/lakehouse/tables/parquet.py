"""One COPY: a query to Parquet files in a folder of their own, and the DataFiles that describe them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import duckdb

from dbt.adapters.lakehouse.errors import StorageError, TableError, UnsupportedType
from dbt.adapters.lakehouse.quoting import literal, quote
from dbt.adapters.lakehouse.storage import Storage, storage_for
from dbt.adapters.lakehouse.tables import content, fresh, partitions, stats
from dbt.adapters.lakehouse.tables.duckdb_types import field_ids
from dbt.adapters.lakehouse.tables.schema import ERROR_MARK
from dbt.adapters.lakehouse.telemetry import phase

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table.metadata import TableMetadataV2
    from pyiceberg.table.sorting import SortOrder

FILE_SIZE = 256 * 1024 * 1024
"""Size at which a new file is begun, where rows need not keep their order."""

FILE_SIZE_PROPERTY = "write.target-file-size-bytes"


@dataclass(kw_only=True)
class Attempt:
    """The files of one write: its own folder for data, and the metadata files it wrote so far."""

    location: str
    name: str = field(default_factory=lambda: uuid4().hex)
    metadata_files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    def folder(self) -> str:
        """A new folder for data files."""
        uri = f"{self.location}/data/{self.name}" + (f"-{len(self.folders)}" if self.folders else "")
        self.folders.append(uri)
        return uri

    def metadata_file(self, name: str) -> str:
        """The location of a new file in the metadata folder."""
        uri = f"{self.location}/metadata/{name}"
        self.metadata_files.append(uri)
        return uri


@contextlib.contextmanager
def attempt(location: str) -> Iterator[Attempt]:
    """A write that leaves nothing behind unless its block ends well.

    DuckDB leaves a complete but truncated file when a COPY fails or is interrupted, so everything goes, whatever happened.
    """
    made = Attempt(location=location)
    try:
        yield made
    except BaseException:
        _remove(storage_for(location), made)
        raise


def _remove(storage: Storage, made: Attempt) -> None:
    """Take away what can be; a store that cannot be reached keeps the rest, which no table refers to."""
    for remove, uris in ((storage.delete_prefix, made.folders), (storage.delete, made.metadata_files)):
        for uri in uris:
            try:
                remove(uri)
            except StorageError as error:
                if error.passing:
                    return
            except Exception:  # what went wrong first is what is told
                continue


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a table's rows lie in files. ``file_size`` in bytes: None leaves it to the connection's settings."""

    schema: Schema
    spec: PartitionSpec
    order: SortOrder
    file_size: int | None = None


def layout(metadata: TableMetadataV2) -> Layout:
    """How a table's metadata wants rows to lie."""
    size = metadata.properties.get(FILE_SIZE_PROPERTY)
    return Layout(
        schema=metadata.schema(),
        spec=metadata.spec(),
        order=metadata.sort_order(),
        file_size=int(size) if size and size.isdigit() else None,
    )


def write(con: duckdb.DuckDBPyConnection, select: str, layout: Layout, made: Attempt) -> list[DataFile]:
    """Write the rows of ``select``, whose columns are exactly the schema's as stored, and describe the files.

    An empty file is not among them. Raises UnsupportedType for values that Iceberg cannot hold.

    COPY with FILE_SIZE_BYTES shuffles row groups among threads. DuckDB users rely on the order of a query's rows, so a
    write is one file unless the connection does not preserve order anyway or the table asks for a file size.
    """
    storage = storage_for(made.location)
    folder = made.folder()
    known = stats.leaves(layout.schema)
    if layout.spec.fields:
        return _write_partitions(con, select, layout, storage, folder, known)
    order = partitions.order_by(layout.schema, layout.order)
    file_size = layout.file_size or (None if preserves_order(con) else FILE_SIZE)
    order_id = layout.order.order_id if order and not file_size else None
    with filling(con, storage, folder) as target:
        written = _copy(
            con,
            f"SELECT * FROM ({select}){order}" if order else select,
            target if file_size else f"{target}/00000.parquet",
            f"FIELD_IDS {field_ids(layout.schema.fields)}"
            + (f", FILE_SIZE_BYTES {file_size}, {_NAMES}" if file_size else ""),
        )
        return [
            stats.data_file(
                folder + content.named(path)[len(target) :], count, size, columns, known, sort_order_id=order_id
            )
            for path, count, size, columns in _kept(written)
        ]


@contextlib.contextmanager
def filling(con: duckdb.DuckDBPyConnection, storage: Storage, folder: str) -> Iterator[str]:
    """A local folder for the connection to write files into that belong into a folder of the store (``Storage.filling``)."""
    at_hand = fresh.present() or fresh.Fresh(folders=[])
    staging = at_hand.staging
    private = partial(_private_folder, con) if staging is None else lambda: staging
    with storage.filling(folder, private, kept=at_hand.kept) as target:
        at_hand.folders.append(target)
        yield target


def _private_folder(con: duckdb.DuckDBPyConnection) -> str:
    """Where a connection may write what nobody else is to see: also in a sandbox, it spills there."""
    row = con.execute("SELECT current_setting('temp_directory')").fetchone()
    folder = str(row[0]) if row and row[0] else ""
    if not os.path.isabs(folder):  # noqa: PTH117 # DuckDB's own default stands in the working directory
        return tempfile.gettempdir()
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    return folder


_NAMES = "OVERWRITE_OR_IGNORE, FILENAME_PATTERN '{uuidv7}'"


_ORDERED: ContextVar[bool | None] = ContextVar("insertion order preserved", default=None)


@contextlib.contextmanager
def ordered(known: bool | None) -> Iterator[None]:
    """What is known of whether the block's connection preserves the order of rows; None: to be asked when it matters."""
    token = _ORDERED.set(known)
    try:
        yield
    finally:
        _ORDERED.reset(token)


def preserves_order(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether a connection preserves the order of rows, which costs a query where it is not known."""
    known = _ORDERED.get()
    if known is not None:
        return known
    row = con.execute("SELECT current_setting('preserve_insertion_order')").fetchone()
    return row is not None and bool(row[0])


def _write_partitions(
    con: duckdb.DuckDBPyConnection,
    select: str,
    layout: Layout,
    storage: Storage,
    folder: str,
    known: dict[str, stats.Leaf],
) -> list[DataFile]:
    split = partitions.splitter(con, layout.schema, layout.spec)
    options = f"FIELD_IDS {field_ids(layout.schema.fields)}"
    order = partitions.order_by(layout.schema, layout.order)
    if split.helpers:
        options += f", PARTITION_BY ({', '.join(quote(name) for name in split.helpers)}), {_NAMES}"
        helpers = ", ".join(f"{expression} AS {quote(name)}" for name, expression in split.helpers.items())
        select = f"SELECT *, {helpers} FROM ({select})"
    else:  # void transforms alone: one partition, of null
        options += f", FILE_SIZE_BYTES {layout.file_size or FILE_SIZE}, {_NAMES}"
    with filling(con, storage, folder) as target:
        try:
            written = _copy(con, f"SELECT * FROM ({select}){order}" if order else select, target, options)
        finally:
            partitions.release(con, split)
        files = [
            stats.data_file(
                folder + path[len(target) :],
                count,
                size,
                columns,
                known,
                spec_id=layout.spec.spec_id,
                partition=split.values(columns, count, partial(_exact, con, path)),
            )
            for path, count, size, columns in (
                (content.named(path), count, size, columns) for path, count, size, columns in _kept(written)
            )
        ]
        # Their order is that in which threads ended; the same rows are to be the same table.
        return sorted(files, key=lambda file: _place(file.file_path))


def _place(uri: str) -> tuple[str, str]:
    """A partition's folder, and what is in the file, where that is known."""
    folder, _, name = uri.rpartition("/")
    return folder, content.digest_of(name) or ""


@phase("execute")
def _copy(con: duckdb.DuckDBPyConnection, select: str, target: str, options: str) -> list[tuple[Any, ...]]:
    copy = f"COPY ({select}) TO {literal(target)} (FORMAT parquet, RETURN_STATS, {options})"
    if "pivot" in copy.lower() and len(con.extract_statements(copy)) > 1:
        # DuckDB takes it apart and answers for the last part alone, so that what was written would be lost.
        raise TableError(
            "a PIVOT whose columns come from the data cannot be written; put its rows in a temporary table first"
        )
    try:
        return con.execute(copy).fetchall()
    except duckdb.Error as error:
        _, mark, text = str(error).partition(ERROR_MARK)
        if mark:
            raise UnsupportedType(text.partition("\n")[0]) from error
        if isinstance(error, duckdb.IOException) and target in str(error):
            raise StorageError(
                f"cannot write below {target}: {error}; free or unlock the folder and run again"
            ) from error
        raise


def _kept(written: Sequence[tuple[Any, ...]]) -> Iterator[tuple[str, int, int, dict[str, dict[str, str]]]]:
    """The files that hold rows, with their rows, bytes and statistics; those that hold none are deleted."""
    for path, count, size, _, columns, *_ in written:  # DuckDB 2.0 says one thing more of each file
        if count:
            yield path, count, size, columns
        else:
            Path(path).unlink(missing_ok=True)


def _exact(con: duckdb.DuckDBPyConnection, path: str, column: str) -> dict[str, str]:
    name = quote(column)
    row = con.execute(
        f"SELECT min({name}), max({name}) FROM read_parquet({literal(path)}, hive_partitioning = false)"
    ).fetchone()
    assert row is not None
    low, high = (value.hex() if isinstance(value, bytes) else str(value) for value in row)
    return {"min": low, "max": high}
