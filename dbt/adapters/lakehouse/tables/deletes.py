"""Rows taken out of a table, given the places they are in: which files go, are rewritten, or get a delete file.

Iceberg spec, *Position Delete Files*. A data file never has more than one delete file of ours: a new one repeats what the
old one says and takes its place, so that deletes do not pile up and reading costs one anti-join at most.
"""

from __future__ import annotations

from dbt.adapters.lakehouse.tables import one_door  # noqa: F401

# isort: split

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyiceberg.manifest import DataFile, DataFileContent, FileFormat

from dbt.adapters.lakehouse.quoting import literal
from dbt.adapters.lakehouse.storage import storage_for
from dbt.adapters.lakehouse.tables import content, parquet, reader
from dbt.adapters.lakehouse.tables.metadata import PATH_FIELD, POSITION_FIELD, LiveFile, Table
from dbt.adapters.lakehouse.tables.reader import FILE, POSITION

if TYPE_CHECKING:
    import duckdb

    from dbt.adapters.lakehouse.tables.parquet import Attempt

REWRITTEN_SHARE = 0.3
"""Share of deleted rows from which a data file is rewritten rather than given a delete file."""

REWRITTEN_ROWS = 20_000
"""Up to so many rows a data file is rewritten always: that takes no longer than a delete file, and reads faster."""

ORDERED_ROWS = 200_000
"""Up to so many rows keep their order when their files are rewritten, which takes a few milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What becomes of the files that rows are deleted from, by their numbers in ``table.data``."""

    dropped: tuple[int, ...]
    rewritten: tuple[int, ...]
    marked: tuple[int, ...]
    replaced: frozenset[str]


def plan(table: Table, gone: Mapping[int, int]) -> Removal:
    """Decide from the number of rows that go from each file (``gone``)."""
    existing = reader.deletes_by_file(table, table.data) if table.deletes else {}
    dropped, rewritten, marked = [], [], []
    replaced: set[str] = set()
    for number, file in enumerate(table.data):
        own = existing.get(file.path, [])
        # A delete file that speaks of several data files (another engine's) is folded in at the first occasion.
        foreign = any(d.target is None for d in own)
        if number not in gone and not foreign:
            continue
        rows = file.file.record_count
        deleted = gone.get(number, 0) + sum(d.file.record_count for d in own)
        if foreign or (deleted < rows and (deleted >= REWRITTEN_SHARE * rows or rows <= REWRITTEN_ROWS)):
            rewritten.append(number)
        elif deleted >= rows:
            dropped.append(number)
        else:
            marked.append(number)
        replaced.update(d.path for d in own)
        if number not in marked:
            replaced.add(file.path)
    return Removal(
        dropped=tuple(dropped), rewritten=tuple(rewritten), marked=tuple(marked), replaced=frozenset(replaced)
    )


def survivors(table: Table, numbers: Sequence[int], gone: str) -> str:
    """A SELECT, as files hold them, of the rows of some files that are not in the table ``gone``.

    They keep their order where they are few: a join promises none, and the same rows in another order are another table.
    """
    columns = ", ".join(reader.stored_columns(table, "s."))
    scan = reader.scan(table, [table.data[n] for n in numbers], numbers=numbers, stored=True)
    few = sum(table.data[n].file.record_count for n in numbers) <= ORDERED_ROWS
    order = f" ORDER BY {FILE}, {POSITION}" if few else ""
    return f"(SELECT {columns} FROM ({scan}) AS s ANTI JOIN {gone} AS g USING ({FILE}, {POSITION}){order})"


def write(
    con: duckdb.DuckDBPyConnection, table: Table, numbers: Sequence[int], gone: str, made: Attempt
) -> list[DataFile]:
    """A delete file for each of some data files: the places in the table ``gone``, and those of its old delete file."""
    if not numbers:
        return []
    folder = made.folder()
    existing = reader.deletes_by_file(table, [table.data[n] for n in numbers])
    with parquet.filling(con, storage_for(made.location), folder) as target:
        return [
            _write_one(con, table.data[number], number, gone, existing.get(table.data[number].path, []), folder, target)
            for number in numbers
        ]


def _write_one(
    con: duckdb.DuckDBPyConnection,
    data: LiveFile,
    number: int,
    gone: str,
    old: Sequence[LiveFile],
    folder: str,
    target: str,
) -> DataFile:
    places = f"SELECT {POSITION} AS pos FROM {gone} WHERE {FILE} = {number}"
    if old:
        places += f" UNION SELECT pos FROM read_parquet([{reader.paths(old)}])"
    written = f"{target}/delete-{number:05d}.parquet"
    row = con.execute(
        f"COPY (SELECT {literal(data.path)} AS file_path, pos FROM ({places}) ORDER BY pos) TO {literal(written)} "
        f"(FORMAT parquet, RETURN_STATS, FIELD_IDS {{file_path: {PATH_FIELD}, pos: {POSITION_FIELD}}})"
    ).fetchone()
    assert row is not None
    _, count, size, _, columns, *_ = row
    name = _named(con, written)[len(target) + 1 :]
    low, high = (int(columns['"pos"'][end]).to_bytes(8, "little") for end in ("min", "max"))
    path = data.path.encode()
    file = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=f"{folder}/{name}",
        file_format=FileFormat.PARQUET,
        partition=data.file.partition,
        record_count=count,
        file_size_in_bytes=size,
        value_counts={PATH_FIELD: count, POSITION_FIELD: count},
        null_value_counts={PATH_FIELD: 0, POSITION_FIELD: 0},
        lower_bounds={PATH_FIELD: path, POSITION_FIELD: low},
        upper_bounds={PATH_FIELD: path, POSITION_FIELD: high},
    )
    file.spec_id = data.file.spec_id
    return file


def _named(con: duckdb.DuckDBPyConnection, path: str) -> str:
    """Name a delete file by its positions alone: the data file's path, which is in it too, is another each time."""
    if not content.wanted():
        return path
    positions = f"{path}.positions"
    con.execute(f"COPY (SELECT pos FROM read_parquet({literal(path)})) TO {literal(positions)} (FORMAT parquet)")
    return content.named(path, positions)
