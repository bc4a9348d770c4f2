"""A metadata location to the SELECT that reads the table exactly as it is there.

The SELECT names every file, so that DuckDB lists nothing and a view over it never changes. Files that were written under
the current schema are read as they are, which plans best; others by field id (``schema = MAP {…}``). Rows that position
deletes name are taken out by an anti-join, over the files that have any only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.quoting import literal, quote
from dbt.adapters.lakehouse.storage import storage_for
from dbt.adapters.lakehouse.tables import fresh, metadata
from dbt.adapters.lakehouse.tables.duckdb_types import fold, to_duckdb
from dbt.adapters.lakehouse.tables.metadata import LiveFile, Table
from dbt.adapters.lakehouse.tables.schema import meanings_of

if TYPE_CHECKING:
    from pyiceberg.schema import Schema
    from pyiceberg.types import NestedField

    from dbt.adapters.lakehouse.tables.values import Written

FILE, POSITION = "__lakehouse_file", "__lakehouse_position"
"""Columns that ``scan`` adds on request: the number of a row's file in the list it was given, and its place therein."""


def select_sql(metadata_location: str) -> str:
    """The SELECT that reads the table at a metadata location."""
    return select(metadata.load(metadata_location))


def describe(metadata_location: str) -> Written:
    """What a catalog entry says of the table at a metadata location."""
    return metadata.describe(metadata.load(metadata_location))


def select(table: Table) -> str:
    """The SELECT that reads a table."""
    return scan(table, table.data)


@dataclass(frozen=True, kw_only=True)
class _Scan:
    """What the branches of one SELECT have in common."""

    table: Table
    by_id: bool
    names: dict[int, str]
    positions: bool
    stored: bool


def scan(table: Table, files: Sequence[LiveFile], *, numbers: Sequence[int] | None = None, stored: bool = False) -> str:
    """A SELECT over some of a table's data files, their deleted rows left out.

    With ``stored`` columns come in the types that files hold, else in those that DuckDB users see. With ``numbers``, one
    for each file, the columns FILE and POSITION come last and say where a row is.
    """
    positions = numbers is not None
    if not files:
        return _empty(table, positions=positions, stored=stored)
    with_deletes = deletes_by_file(table, files)
    # DuckDB's virtual columns give way to columns of a file that have their names: read those files by field id.
    needs_virtual = positions or bool(with_deletes)
    hidden = needs_virtual and any(fold(f.name) in _VIRTUAL for f in table.schema.fields)
    by_id = hidden or any(written_otherwise(table, file) for file in files)
    names = {f.field_id: f"c{f.field_id}" if hidden else f.name for f in table.schema.fields}
    common = _Scan(table=table, by_id=by_id, names=names, positions=positions, stored=stored)
    numbers = numbers if numbers is not None else range(len(files))
    if not with_deletes:
        return _branch(common, files, numbers)
    numbered = list(zip(numbers, files, strict=True))
    clean = [(n, f) for n, f in numbered if f.path not in with_deletes]
    dirty = [(n, f) for n, f in numbered if f.path in with_deletes]
    branches = [_branch(common, [f for _, f in clean], [n for n, _ in clean])] if clean else []
    branches.append(_deleted_branch(common, [f for _, f in dirty], [n for n, _ in dirty], with_deletes))
    return " UNION ALL ".join(branches)


_VIRTUAL = frozenset({"filename", "file_index", "file_row_number"})


def deletes_by_file(table: Table, files: Sequence[LiveFile]) -> dict[str, list[LiveFile]]:
    """Which delete files may speak of which data files (spec: Scan Planning)."""
    found: dict[str, list[LiveFile]] = {}
    if not table.deletes:
        return found
    targeted: dict[str | None, list[LiveFile]] = {}
    for delete in table.deletes:
        targeted.setdefault(delete.target, []).append(delete)
    for file in files:
        own = [d for d in targeted.get(file.path, ()) if d.sequence >= file.sequence]
        own += [
            d
            for d in targeted.get(None, ())
            if d.sequence >= file.sequence
            and d.file.spec_id == file.file.spec_id
            and d.file.partition == file.file.partition
        ]
        if own:
            found[file.path] = own
    return found


def written_otherwise(table: Table, file: LiveFile) -> bool:
    """Whether a file may hold other columns than the current schema's, or the same in another order or type."""
    current = _shape(table.schema)
    if len(table.metadata.schemas) == 1:
        return False
    snapshot = table.metadata.snapshot_by_id(file.snapshot_id)
    written = (
        None
        if snapshot is None
        else next((s for s in table.metadata.schemas if s.schema_id == snapshot.schema_id), None)
    )
    if written is not None:
        return _shape(written) != current
    # The snapshot that added the file is no longer told of: any schema of the table may be the one.
    return any(_shape(schema) != current for schema in table.metadata.schemas)


def _shape(schema: Schema) -> list[tuple[int, str, str]]:
    return [(f.field_id, f.name, to_duckdb(f.field_type)) for f in schema.fields]


def _branch(common: _Scan, files: Sequence[LiveFile], numbers: Sequence[int]) -> str:
    rows = sum(f.file.record_count for f in files)
    columns = _columns(common, "")
    if common.positions:
        columns += f", {_renumbered('file_index', numbers)} AS {FILE}, file_row_number AS {POSITION}"
    return f"SELECT {columns} FROM {_read(common, files, rows)}"


def _deleted_branch(
    common: _Scan, files: Sequence[LiveFile], numbers: Sequence[int], deletes: dict[str, list[LiveFile]]
) -> str:
    gone = sum(d.file.record_count for d in {d.path: d for f in files for d in deletes[f.path]}.values())
    rows = max(sum(f.file.record_count for f in files) - gone, 1)
    columns = _columns(common, "p.")
    if common.positions:
        columns += f", {_renumbered('p.file_index', numbers)} AS {FILE}, p.file_row_number AS {POSITION}"
    return (
        f"SELECT {columns} FROM {_read(common, files, rows)} AS p ANTI JOIN ({_deleted(files, deletes)}) AS d "
        "ON p.file_index = d.file AND p.file_row_number = d.pos"
    )


def _deleted(files: Sequence[LiveFile], deletes: dict[str, list[LiveFile]]) -> str:
    """The positions that delete files name, with the number of the data file in ``files``."""
    if all(len(deletes[f.path]) == 1 and deletes[f.path][0].target for f in files):
        # The n-th delete file is about the n-th data file: no paths need comparing.
        return f"SELECT file_index AS file, pos FROM read_parquet([{paths([deletes[f.path][0] for f in files])}])"
    every = {d.path: d for f in files for d in deletes[f.path]}
    pairs = ", ".join(f"({number}, {literal(f.path)})" for number, f in enumerate(files))
    return (
        f"SELECT DISTINCT n.file::UBIGINT AS file, r.pos FROM read_parquet([{paths(list(every.values()))}]) AS r "
        f"JOIN (VALUES {pairs}) AS n(file, path) ON n.path = r.file_path"
    )


def _renumbered(column: str, numbers: Sequence[int]) -> str:
    if list(numbers) == list(range(len(numbers))):
        return f"{column}::BIGINT"
    return f"([{', '.join(map(str, numbers))}]::BIGINT[])[{column}::BIGINT + 1]"


def _columns(common: _Scan, alias: str) -> str:
    meanings = meanings_of(common.table.metadata.properties)
    fields = common.table.schema.fields
    terms = []
    for f in fields:
        term = alias + quote(common.names[f.field_id])
        shown = to_duckdb(f.field_type, f.field_id, meanings)
        if not common.stored and shown != to_duckdb(f.field_type):
            term = f"CAST({term} AS {shown})"
        terms.append(term if term == alias + quote(f.name) else f"{term} AS {quote(f.name)}")
    plain = not alias and all(term == quote(f.name) for term, f in zip(terms, fields, strict=True))
    return "*" if plain and not common.positions else ", ".join(terms)


def stored_columns(table: Table, alias: str) -> list[str]:
    """The table's columns as SQL identifiers."""
    return [alias + quote(f.name) for f in table.schema.fields]


def _read(common: _Scan, files: Sequence[LiveFile], rows: int) -> str:
    options = "hive_partitioning = false"
    if common.by_id:
        options += f", schema = MAP {{{', '.join(_mapped(common, f) for f in common.table.schema.fields)}}}"
    return f"read_parquet([{paths(files)}], {options}, explicit_cardinality = {rows})"


def _mapped(common: _Scan, field: NestedField) -> str:
    name = literal(common.names[field.field_id])
    return f"{field.field_id}: {{name: {name}, type: {literal(to_duckdb(field.field_type))}, default_value: NULL}}"


def paths(files: Sequence[LiveFile]) -> str:
    """Files as a list of SQL literals, for read_parquet."""
    storage = storage_for(files[0].path)
    return ", ".join(literal(_literally(fresh.path_of(f.path) or storage.duckdb_path(f.path))) for f in files)


def names(uri: str) -> tuple[str, str]:
    """What DuckDB calls a file when it opens it, and how ``paths`` writes it."""
    path = storage_for(uri).duckdb_path(uri)
    return path, _literally(path)


def _literally(path: str) -> str:
    return _PATTERN.sub(r"[\g<0>]", path)


_PATTERN = re.compile(r"[*?\[]")


def _empty(table: Table, *, positions: bool, stored: bool) -> str:
    meanings = {} if stored else meanings_of(table.metadata.properties)
    terms = [
        f"CAST(NULL AS {to_duckdb(f.field_type, f.field_id, meanings)}) AS {quote(f.name)}" for f in table.schema.fields
    ]
    if positions:
        terms += [f"CAST(NULL AS BIGINT) AS {FILE}", f"CAST(NULL AS BIGINT) AS {POSITION}"]
    return f"SELECT {', '.join(terms)} WHERE false"
