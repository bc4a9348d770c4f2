"""Rows of a table changed or deleted: the new rows in new files, the old ones by delete files or a rewrite.

Equality deletes are never written: engines take minutes to read what a join finds in milliseconds.
"""

from __future__ import annotations

from dbt.adapters.lakehouse.tables import one_door  # noqa: F401

# isort: split

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pyiceberg.table.snapshots import Operation

from dbt.adapters.lakehouse.quoting import quote
from dbt.adapters.lakehouse.tables import changes, commits, constraints, deletes, parquet, reader, schema
from dbt.adapters.lakehouse.tables import metadata as tables
from dbt.adapters.lakehouse.tables.commits import Change
from dbt.adapters.lakehouse.tables.duckdb_types import fold, to_duckdb
from dbt.adapters.lakehouse.tables.metadata import Table
from dbt.adapters.lakehouse.tables.reader import FILE, POSITION
from dbt.adapters.lakehouse.tables.values import Constraints, Written

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.manifest import DataFile

_NO_CONSTRAINTS = Constraints()
_NUMBERS = itertools.count()


def patch(
    con: duckdb.DuckDBPyConnection,
    base: str,
    *,
    matching: str | None,
    edit: Callable[[str], None],
    alias: str = "t",
    work_table: str | None = None,
    constraints: Constraints = _NO_CONSTRAINTS,
) -> Written:
    """The table at ``base`` after ``edit`` changed the rows for which the SQL predicate ``matching`` holds.

    Those rows (all, if None; ``matching`` sees them as ``alias``) are put in a table with exactly the table's columns:
    a temporary one, or ``work_table``, a name as SQL writes it. ``edit`` is given its name and may do to it whatever SQL
    can. Then the rows it started from are gone from the table, and those it ends with are in; rows that the edit left as
    they were stay where they are. An edit that changes nothing gives the table at ``base`` back.
    """
    table = tables.load(base)
    with _temporary(con, "before", "gone", "same") as (before, gone, same):
        work = work_table or f"lakehouse_work_{next(_NUMBERS)}"
        _take_out(con, table, matching, alias, before)
        try:
            _create_work(con, table, before, work, temporary=work_table is None)
            edit(work)
            kept = _keep_unchanged(con, table, before, work, same)
            if _is_same(con, table, before, work, same if kept else None):
                return tables.describe(table)
            left = f" WHERE NOT EXISTS (FROM {same} AS s WHERE s.place = {{}}.rowid)" if kept else ""
            con.execute(
                f"CREATE TEMP TABLE {gone} AS SELECT {FILE}, {POSITION} FROM {before} AS b{left.format('b')} "
                f"ORDER BY {FILE}, {POSITION}"
            )
            new = f"SELECT * FROM {work} AS w{left.format('w')}"
            return _replace(con, table, gone, new, constraints, " ORDER BY w.rowid" if kept else "")
        finally:
            _drop(con, work)


def delete(con: duckdb.DuckDBPyConnection, base: str, predicate: str | None, *, alias: str = "t") -> Written:
    """The table at ``base`` without the rows for which an SQL predicate is true; None deletes all.

    A row for which it is null stays. If there is none to delete, this is the table at ``base`` itself.
    """
    table = tables.load(base)
    with _temporary(con, "gone") as (gone,):
        con.execute(
            f"CREATE TEMP TABLE {gone} AS SELECT {FILE}, {POSITION} FROM ({_places(table)}) AS {alias}"
            f"{_where(predicate)} ORDER BY {FILE}, {POSITION}"
        )
        return _replace(con, table, gone, None, _NO_CONSTRAINTS)


def _places(table: Table) -> str:
    return reader.scan(table, table.data, numbers=range(len(table.data)))


def _where(predicate: str | None) -> str:
    return f" WHERE ({predicate}\n)" if predicate is not None else ""


def _take_out(con: duckdb.DuckDBPyConnection, table: Table, matching: str | None, alias: str, before: str) -> None:
    con.execute(f"CREATE TEMP TABLE {before} AS SELECT {alias}.* FROM ({_places(table)}) AS {alias}{_where(matching)}")


def _create_work(con: duckdb.DuckDBPyConnection, table: Table, before: str, work: str, *, temporary: bool) -> None:
    del table
    kind = "TEMP TABLE" if temporary else "TABLE"
    con.execute(f"CREATE {kind} {work} AS SELECT * EXCLUDE ({FILE}, {POSITION}) FROM {before}")


def _keep_unchanged(con: duckdb.DuckDBPyConnection, table: Table, before: str, work: str, same: str) -> bool:
    """Find the rows that are the same before and after, by their row id.

    This is a matter of cost alone: any pairing of equal rows, one to one, is right, and row ids make one (an UPDATE
    leaves a row's id as it is, and both tables were filled in the same order).
    """
    fields = table.schema.fields
    if any(fold(f.name) == "rowid" for f in fields):
        return False  # a column hides the row id
    meanings = schema.meanings_of(table.metadata.properties)
    terms = ["b.rowid = w.rowid"]
    for f in fields:
        left, right = f"b.{quote(f.name)}", f"w.{quote(f.name)}"
        terms.append(f"{left} IS NOT DISTINCT FROM {right}")
        if any(kind in to_duckdb(f.field_type, f.field_id, meanings) for kind in _LOOSELY_EQUAL):
            terms.append(f"CAST({left} AS VARCHAR) IS NOT DISTINCT FROM CAST({right} AS VARCHAR)")
    con.execute(
        f"CREATE TEMP TABLE {same} AS SELECT b.rowid AS place FROM {before} AS b, {work} AS w WHERE {' AND '.join(terms)}"
    )
    found = con.execute(f"SELECT count(*) FROM {same}").fetchone()
    return found is not None and found[0] > 0


def _is_same(con: duckdb.DuckDBPyConnection, table: Table, before: str, work: str, same: str | None) -> bool:
    """Whether the rows beside those that were paired are the same before and after, in any order.

    Incremental models delete and insert the same rows again and again. Hashes tell cheaply that rows differ; that they do
    not is looked at closely.
    """
    meanings = schema.meanings_of(table.metadata.properties)
    columns = ", ".join(
        f"CAST({quote(f.name)} AS VARCHAR)"
        if any(kind in to_duckdb(f.field_type, f.field_id, meanings) for kind in _LOOSELY_EQUAL)
        else quote(f.name)
        for f in table.schema.fields
    )
    if any(fold(f.name) == "rowid" for f in table.schema.fields):
        return False  # a column hides the row id
    left = f" WHERE NOT EXISTS (FROM {same} AS s WHERE s.place = t.rowid)" if same is not None else ""
    old, new = (f"SELECT {columns} FROM {name} AS t{left}" for name in (before, work))
    totals = [
        con.execute(f"SELECT count(*), bit_xor(hash(r)), sum(hash(r)::HUGEINT) FROM ({rows}) AS r").fetchone()
        for rows in (old, new)
    ]
    if totals[0] != totals[1]:
        return False
    return con.execute(f"SELECT 1 FROM ({old} EXCEPT ALL {new}) LIMIT 1").fetchone() is None


_LOOSELY_EQUAL = ("FLOAT", "DOUBLE", "INTERVAL", "TIME WITH TIME ZONE")
"""Types with unequal values that compare as equal: 0.0 and -0.0, 30 days and a month."""


def _replace(
    con: duckdb.DuckDBPyConnection, table: Table, gone: str, new: str | None, wanted: Constraints, order: str = ""
) -> Written:
    """Commit that the rows at the places in ``gone`` are replaced by those of ``new``, in an ``order`` where they are few."""
    counts = dict(con.execute(f"SELECT {FILE}, count(*) FROM {gone} GROUP BY ALL").fetchall())
    inserted = _count(con, new)
    if not counts and not inserted:
        return tables.describe(table)
    removal = deletes.plan(table, counts)
    metadata = table.metadata
    layout = parquet.layout(metadata)
    with parquet.attempt(metadata.location) as made:
        selects = [deletes.survivors(table, removal.rewritten, gone)] if removal.rewritten else []
        if new is not None and inserted:
            columns = schema.describe(con, new)
            changes.plan(columns, metadata, "ignore")  # refuses a table that the edit took columns from
            ordered = f"{new}{order}" if inserted <= deletes.ORDERED_ROWS else new
            selects.append(changes.stored_select(columns, metadata, f"({ordered})"))
        added: list[DataFile] = parquet.write(con, " UNION ALL ".join(selects), layout, made) if selects else []
        change = Change(
            operation=Operation.OVERWRITE if added else Operation.DELETE,
            added=added,
            deletes=deletes.write(con, table, removal.marked, gone, made),
            removed=removal.replaced,
        )
        constraints.check(con, table, change, wanted)
        return tables.describe(
            commits.commit(table, change, made), rows_written=inserted, rows_deleted=sum(counts.values())
        )


def _count(con: duckdb.DuckDBPyConnection, query: str | None) -> int:
    if query is None:
        return 0
    row = con.execute(f"SELECT count(*) FROM ({query})").fetchone()
    return int(row[0]) if row else 0


@contextlib.contextmanager
def _temporary(con: duckdb.DuckDBPyConnection, *purposes: str) -> Iterator[tuple[str, ...]]:
    """Names for temporary tables, which are dropped in the end."""
    number = next(_NUMBERS)
    names = tuple(f"lakehouse_{purpose}_{number}" for purpose in purposes)
    try:
        yield names
    finally:
        for name in names:
            _drop(con, name)


def _drop(con: duckdb.DuckDBPyConnection, name: str) -> None:
    import duckdb

    # After a failed statement the caller's transaction may be aborted, in which nothing more can be done.
    with contextlib.suppress(duckdb.Error):
        con.execute(f"DROP TABLE IF EXISTS {name}")
