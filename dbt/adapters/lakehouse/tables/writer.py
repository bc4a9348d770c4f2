"""A query to a table: new, replaced, appended to, or its partitions overwritten. One COPY, then one commit."""

from __future__ import annotations

from dbt.adapters.lakehouse.tables import one_door  # noqa: F401

# isort: split

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pyiceberg.table.snapshots import Operation

from dbt.adapters.lakehouse.errors import ConfigError, SchemaMismatch, TableError
from dbt.adapters.lakehouse.quoting import quote
from dbt.adapters.lakehouse.storage import storage_for
from dbt.adapters.lakehouse.tables import changes, commits, constraints, content, parquet, partitions, reader, schema
from dbt.adapters.lakehouse.tables import metadata as tables
from dbt.adapters.lakehouse.tables.changes import OnSchemaChange
from dbt.adapters.lakehouse.tables.commits import Change
from dbt.adapters.lakehouse.tables.evolve import find
from dbt.adapters.lakehouse.tables.metadata import Table
from dbt.adapters.lakehouse.tables.parquet import Attempt
from dbt.adapters.lakehouse.tables.schema import MEANINGS, QueryColumn
from dbt.adapters.lakehouse.tables.values import Constraints, TableSpec, Written

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.manifest import DataFile
    from pyiceberg.table.metadata import TableMetadataV2

_NO_CONSTRAINTS = Constraints()


def create(con: duckdb.DuckDBPyConnection, query: str, spec: TableSpec, *, replaces: str | None = None) -> Written:
    """A new table with a query's columns and rows, or new content and schema for the one at ``replaces``.

    A replaced table keeps the field ids of columns that keep name and type, and none of its history.
    """
    columns = schema.describe(con, query)
    previous = tables.load_metadata(replaces) if replaces else None
    table = Table(metadata_location="", metadata=_new_metadata(columns, spec, previous))
    with parquet.attempt(spec.location) as made:
        select = changes.stored_select(columns, table.metadata, schema.subquery(query))
        added = parquet.write(con, select, parquet.layout(table.metadata), made)
        change = Change(operation=Operation.APPEND, added=added)
        return _commit(con, table, change, spec.constraints, made)


def append(
    con: duckdb.DuckDBPyConnection,
    query: str,
    base: str,
    *,
    on_schema_change: OnSchemaChange = "ignore",
    constraints: Constraints = _NO_CONSTRAINTS,
    columns: Sequence[str] | None = None,
) -> Written:
    """The table at ``base`` with a query's rows added.

    Columns are matched by name, and a difference is dealt with as dbt's ``on_schema_change`` says. ``columns`` instead
    names the query's columns by their place, as ``INSERT INTO t (columns)`` does; the table's others are null then.
    """
    found = _named(schema.describe(con, query), columns)
    table = tables.load(base)
    with parquet.attempt(table.metadata.location) as made:
        table, change = _added(con, query, found, table, on_schema_change, columns, made)
        return _commit(con, table, change, constraints, made)


def overwrite(
    con: duckdb.DuckDBPyConnection,
    query: str,
    base: str,
    *,
    on_schema_change: OnSchemaChange = "ignore",
    constraints: Constraints = _NO_CONSTRAINTS,
    columns: Sequence[str] | None = None,
) -> Written:
    """The table at ``base`` with the partitions that occur in the query replaced by its rows; all, if unpartitioned.

    A partition whose rows are written as the same bytes as it has stays as it is.
    """
    found = _named(schema.describe(con, query), columns)
    table = tables.load(base)
    with parquet.attempt(table.metadata.location) as made:
        before = table
        table, change = _added(con, query, found, table, on_schema_change, columns, made)
        # Rows that are there already are not looked at again, so that constraints must not be new either.
        free = replace(constraints, table="") == _NO_CONSTRAINTS
        same = _unchanged(table, change.added) if free and table is before and not change.update else set()
        added = [f for f in change.added if str(f.partition) not in same]
        for file in change.added:
            if str(file.partition) in same:
                storage_for(file.file_path).delete(file.file_path)
        if same and not added:
            return tables.describe(table)
        removed = _replaced(table, added)
        change = Change(operation=Operation.OVERWRITE, added=added, removed=removed, update=change.update)
        return _commit(con, table, change, constraints, made)


def rewrite(con: duckdb.DuckDBPyConnection, query: str, base: str) -> Written:
    """The table at ``base`` with a query's columns and rows as its own, laid out and described as it was.

    Partitions, sort order, properties, comments, required columns, identity and location stay, and so do the field ids
    of columns that keep name and type. New columns come last. A column that partitions or sorts keeps its type, or a
    wider one: else SchemaMismatch.
    """
    columns = schema.describe(con, query)
    table = tables.load(base)
    plan = changes.plan(columns, table.metadata, "sync_all_columns")
    sorting = {f.source_id for f in table.metadata.sort_order().fields}
    for name in plan.rewritten:
        if find(table.metadata, name).field_id in sorting:
            raise SchemaMismatch(
                f"column {name!r} cannot change its type in place, since the table is sorted by it; "
                "build the table anew (dbt: --full-refresh)"
            )
    with parquet.attempt(table.metadata.location) as made:
        select = changes.stored_select(columns, plan.metadata, schema.subquery(query))
        added = parquet.write(con, select, parquet.layout(plan.metadata), made)
        removed = {f.path for f in (*table.data, *table.deletes)}
        change = Change(operation=Operation.OVERWRITE, added=added, removed=removed, update=dict(plan.metadata))
        return _commit(con, table, change, _NO_CONSTRAINTS, made)


def evolve(con: duckdb.DuckDBPyConnection, query: str, base: str, on_schema_change: OnSchemaChange) -> str:
    """The metadata location of the table at ``base`` once its schema fits a query's, as ``on_schema_change`` says."""
    columns = schema.describe(con, query)
    table = tables.load(base)
    plan = changes.plan(columns, table.metadata, on_schema_change)
    if plan.metadata is table.metadata:
        return base
    with parquet.attempt(table.metadata.location) as made:
        if plan.rewritten:
            return _rewritten(con, table, plan.metadata, made).metadata_location
        return commits.save(table.with_metadata(plan.metadata), made).metadata_location


def _new_metadata(columns: Sequence[QueryColumn], spec: TableSpec, previous: TableMetadataV2 | None) -> TableMetadataV2:
    built, meanings, last = schema.build(
        columns,
        previous=previous,
        comments=spec.column_comments,
        constraints=spec.constraints,
    )
    return tables.new_metadata(
        location=spec.location.rstrip("/"),
        table_uuid=spec.table_uuid,
        schema=built,
        spec=partitions.partition_spec(built, spec.partition_by),
        order=partitions.sort_order(built, spec.sort_by),
        last_column_id=last,
        properties=schema.with_meanings(_properties(spec), meanings),
    )


def _properties(spec: TableSpec) -> dict[str, str]:
    given = dict(spec.properties)
    version = given.pop("format-version", "2")
    if str(version) != "2":
        raise ConfigError(f"table property format-version is {version!r}, and this version writes 2; leave it out")
    _refuse_own(given)
    if spec.comment:
        given[tables.COMMENT] = spec.comment
    return {**given, **tables.ALWAYS}


def _refuse_own(given: Mapping[str, str]) -> None:
    for name, value in given.items():
        if name == MEANINGS or str(value).lower() != tables.ALWAYS.get(name, str(value).lower()):
            raise ConfigError(f"table property {name!r} is the lake's own and cannot be set to {value!r}; leave it out")


def _named(found: tuple[QueryColumn, ...], columns: Sequence[str] | None) -> tuple[QueryColumn, ...]:
    if columns is None:
        return found
    if len(columns) != len(found):
        raise SchemaMismatch(f"{len(columns)} columns are named for the {len(found)} that the query has")
    return tuple(QueryColumn(name=name, duck=column.duck) for name, column in zip(columns, found, strict=True))


def _added(
    con: duckdb.DuckDBPyConnection,
    query: str,
    found: tuple[QueryColumn, ...],
    table: Table,
    on_schema_change: OnSchemaChange,
    columns: Sequence[str] | None,
    made: Attempt,
) -> tuple[Table, Change]:
    """The query's rows as new files, and the table they go to: the same, or rewritten where a type changed."""
    relation = schema.subquery(query)
    update: dict[str, object] = {}
    if columns is not None:
        for name in columns:
            find(table.metadata, name)
        relation += f" AS q({', '.join(quote(name) for name in columns)})"
    else:
        plan = changes.plan(found, table.metadata, on_schema_change)
        if plan.rewritten:
            table = _rewritten(con, table, plan.metadata, made)
        elif plan.metadata is not table.metadata:
            update = dict(plan.metadata)
    metadata = table.metadata.model_copy(update=update)
    added = parquet.write(con, changes.stored_select(found, metadata, relation), parquet.layout(metadata), made)
    return table, Change(operation=Operation.APPEND, added=added, update=update)


def _rewritten(con: duckdb.DuckDBPyConnection, table: Table, metadata: TableMetadataV2, made: Attempt) -> Table:
    """All rows of the table, written anew under another schema."""
    import duckdb

    query = reader.select(table)
    columns = schema.describe(con, query)
    select = changes.stored_select(columns, metadata, f"({query})")
    try:
        added = parquet.write(con, select, parquet.layout(metadata), made)
    except duckdb.ConversionException as error:
        raise SchemaMismatch(
            f"the rows that the table has cannot take the new column types: {error}; "
            "clean them up or build the table anew (dbt: --full-refresh)"
        ) from error
    removed = {f.path for f in (*table.data, *table.deletes)}
    change = Change(operation=Operation.OVERWRITE, added=added, removed=removed, update=dict(metadata))
    return commits.commit(table, change, made)


def _unchanged(table: Table, added: Sequence[DataFile]) -> set[str]:
    """The partitions (as text) of some new files that already hold just the same bytes in the same order."""
    if any(f.file.spec_id != table.metadata.default_spec_id for f in table.data):
        return set()
    old, new = _contents(f.file for f in table.data), _contents(added)
    deleted = {str(f.file.partition) for f in table.deletes}
    return {at for at, digests in new.items() if at not in deleted and None not in digests and old.get(at) == digests}


def _contents(files: Iterable[DataFile]) -> dict[str, list[str | None]]:
    found: dict[str, list[str | None]] = {}
    for file in files:
        found.setdefault(str(file.partition), []).append(content.digest_of(file.file_path))
    return found


def _replaced(table: Table, added: Sequence[DataFile]) -> set[str]:
    spec = table.metadata.spec()
    if not spec.fields:
        return {f.path for f in (*table.data, *table.deletes)}
    other = next((f for f in table.data if f.file.spec_id != spec.spec_id), None)
    if other is not None:
        raise TableError(
            f"{other.path} lies in a partition of an earlier partition spec, so partitions cannot be overwritten; "
            "compact the table first"
        )
    replaced = {str(f.partition) for f in added}
    return {f.path for f in (*table.data, *table.deletes) if str(f.file.partition) in replaced}


def _commit(
    con: duckdb.DuckDBPyConnection, table: Table, change: Change, wanted: Constraints, made: Attempt
) -> Written:
    constraints.check(con, table, change, wanted)
    committed = commits.commit(table, change, made)
    return tables.describe(
        committed,
        rows_written=sum(f.record_count for f in change.added),
        rows_deleted=max(0, _rows_gone(table, change)),
    )


def _rows_gone(table: Table, change: Change) -> int:
    removed = set(change.removed)
    gone = sum(f.file.record_count for f in table.data if f.path in removed)
    return gone - sum(f.file.record_count for f in table.deletes if f.path in removed)
