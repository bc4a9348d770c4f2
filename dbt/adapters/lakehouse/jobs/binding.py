"""Binds the SQL of many nodes, one after the other and without data: what each would read and make is there by its columns.

A relation is made in DuckDB when the first draft reads it: a table with the right columns and no rows, or the view itself.
A false alarm would be worse than an error that shows later, so that only what DuckDB's binder says for certain counts; errors
that may come from elsewhere (files, values, what hooks prepare) are given as the reason why nothing can be told.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

import duckdb

from dbt.adapters.lakehouse.errors import LakehouseError, SandboxError, SchemaMismatch, UnsupportedType
from dbt.adapters.lakehouse.jobs.engine import Engine
from dbt.adapters.lakehouse.jobs.job import Bind, Bound, Input, Place, Sketch
from dbt.adapters.lakehouse.quoting import quote
from dbt.adapters.lakehouse.tables.values import Column

Check = Callable[[str], None]
"""Raises ``SandboxError`` for SQL that is not let through."""

RESULTS_OF_HOOKS = "what it reads may be prepared by hooks"
WAITS = "it reads what could not be checked"

_LINE = re.compile(r"\n+LINE (\d+):.*", re.DOTALL)
_ABSENT = re.compile(r"Catalog Error: .*(does not exist|is not in the catalog)", re.DOTALL)
_UNCERTAIN = ("PIVOT", "Contents of view were altered", "prepared statement parameter")
_BEFORE = "DESCRIBE "


def bind(
    engine: Engine, cursor: duckdb.DuckDBPyConnection, action: Bind, check: Check | None = None
) -> tuple[Bound, ...]:
    """What binding each draft shows. ``cursor`` stands where unqualified names are looked up."""
    with _without_python(cursor):
        try:
            binding = _Binding(engine, cursor, action, check)
            return tuple(binding.look(draft) for draft in action.drafts)
        finally:
            engine.bind(())


@contextlib.contextmanager
def _without_python(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Tables that are missing are not found among this module's own variables."""
    try:
        cursor.execute("SET python_enable_replacements = false")
    except duckdb.InvalidInputException:
        # A sandbox has locked its configuration, and lets nothing of Python's be read.
        yield
        return
    try:
        yield
    finally:
        cursor.execute("RESET python_enable_replacements")


class _Binding:
    def __init__(self, engine: Engine, cursor: duckdb.DuckDBPyConnection, action: Bind, check: Check | None) -> None:
        self._engine, self._cursor, self._check = engine, cursor, check
        self._there = {_fold(item.place): item for item in action.standing if item.place is not None}
        self._awaited = {_fold(item.place) for item in action.drafts if item.place is not None}
        self._unknown: set[Place] = set()
        self._moved: set[Place] = set()
        # When a relation was put into DuckDB, so that views are made anew after what they read.
        self._stamps: dict[Place, int] = {}
        self._above: list[Place] = []
        self._stored: dict[str, str] = {}

    def look(self, draft: Sketch) -> Bound:
        """Bind one draft, and let those after it see what it will make."""
        bound = self._look(draft)
        if draft.place is not None:
            self._will_be(draft, draft.place, bound)
        return bound

    def _look(self, draft: Sketch) -> Bound:
        if draft.why:
            return Bound(node=draft.node, why=draft.why)
        if not self._all_ready(draft):
            return Bound(node=draft.node, why=WAITS, waits=True)
        if draft.sql is None:
            if draft.unless_moved and any(_fold(place) in self._moved for place in draft.reads):
                return Bound(node=draft.node, why="its inputs have other columns now", waits=True)
            return Bound(node=draft.node, columns=draft.columns)
        # Without what stands before it, which those who put it in parentheses cut off, too.
        sql = draft.sql.strip()
        above = draft.sql[: draft.sql.find(sql)].count("\n")
        try:
            return self._bound(draft, sql)
        except (SchemaMismatch, UnsupportedType) as error:
            return Bound(node=draft.node, error=str(error))
        except SandboxError as error:
            return Bound(node=draft.node, why=f"the sandbox says: {error}")
        except duckdb.Error as error:
            return _judged(draft, error, above)

    # one draft

    def _bound(self, draft: Sketch, sql: str) -> Bound:
        if self._check is not None:
            if draft.setup:
                return Bound(node=draft.node, why="statements run before it")
            self._check(sql)
        cursor = self._cursor
        if len(cursor.extract_statements(sql)) != 1:
            return Bound(node=draft.node, why="its columns come from the data (PIVOT)")
        if not draft.setup:
            return self._described(draft, sql)
        cursor.execute("BEGIN")
        try:
            for statement in draft.setup:
                try:
                    cursor.execute(statement)
                except duckdb.Error as error:
                    return Bound(node=draft.node, why=f"its header cannot be run ahead: {_first(error)}")
            return self._described(draft, sql)
        finally:
            cursor.execute("ROLLBACK")

    def _described(self, draft: Sketch, sql: str) -> Bound:
        if draft.makes == "table" and not draft.contract:
            return Bound(node=draft.node, columns=self._table(draft, sql))
        found = self._describe(sql)
        if draft.contract:
            promised = self._promised(draft.contract)
            if not _keeps(found, promised):
                return Bound(node=draft.node, columns=found, promised=promised)
            by_name = {column.name: column for column in found}
            # A model with a contract selects the columns in its order.
            order = ", ".join(quote(column.name) for column in promised)
            found = tuple(by_name[column.name] for column in promised)
            sql = f"SELECT {order} FROM ({sql}\n) AS model_subq"
        if draft.makes == "table":
            found = self._table(draft, sql)
        elif draft.makes == "view":
            _refuse_twins(found)
        return Bound(node=draft.node, columns=found)

    def _describe(self, sql: str) -> tuple[Column, ...]:
        rows = self._cursor.execute(f"{_BEFORE}{sql}").fetchall()
        return tuple(Column(name=row[0], type=row[1]) for row in rows)

    def _promised(self, contract: tuple[Column, ...]) -> tuple[Column, ...]:
        terms = ", ".join(f"CAST(NULL AS {column.type}) AS {quote(column.name)}" for column in contract)
        return self._describe(f"SELECT {terms}")

    def _table(self, draft: Sketch, sql: str) -> tuple[Column, ...]:
        """The columns of a table that a query's rows go to, as they are read back."""
        # Imported late: pyiceberg takes a third of a second, which a project of views alone need not pay.
        from dbt.adapters.lakehouse.tables import changes, duckdb_types, metadata, schema

        columns = schema.describe(self._cursor, sql)
        if draft.base is None:
            return tuple(Column(name=column.name, type=self._readable(column)) for column in columns)
        table = metadata.load_metadata(draft.base)
        if draft.on_schema_change != "ignore" or draft.all_columns:
            table = changes.plan(columns, table, draft.on_schema_change).metadata
        known = schema.meanings_of(table.properties)
        return tuple(
            Column(name=field.name, type=duckdb_types.to_duckdb(field.field_type, field.field_id, known))
            for field in table.schema().fields
        )

    def _readable(self, column: object) -> str:
        from dbt.adapters.lakehouse.tables import schema

        assert isinstance(column, schema.QueryColumn)
        shown = str(column.duck)
        if shown not in self._stored:
            self._stored[shown] = schema.readable_type(column)
        return self._stored[shown]

    # what stands where

    def _will_be(self, draft: Sketch, place: Place, bound: Bound) -> None:
        """From here on the draft's result stands at its place."""
        folded = _fold(place)
        self._awaited.discard(folded)
        columns = bound.columns
        if bound.promised or (bound.error and draft.contract):
            # What comes after it is held to what it promised.
            columns = bound.promised or self._promise_of(draft)
        if not columns:
            self._unknown.add(folded)
            return
        self._unknown.discard(folded)
        before = self._there.get(folded)
        if before is None or _kinds(before.columns) != _kinds(columns):
            self._moved.add(folded)
        as_view = draft.makes == "view" and bound.columns == columns and not draft.setup and not draft.contract
        self._there[folded] = (
            Sketch(node=draft.node, place=place, makes="view", sql=draft.sql, columns=columns, reads=draft.reads)
            if as_view
            else Sketch(node=draft.node, place=place, makes="table", columns=columns)
        )
        self._stamps.pop(folded, None)

    def _promise_of(self, draft: Sketch) -> tuple[Column, ...]:
        try:
            return self._promised(draft.contract)
        except duckdb.Error:
            return ()

    def _all_ready(self, item: Sketch) -> bool:
        # Each is made ready by asking, and so all are asked.
        return False not in [self._ready(_fold(place)) for place in item.reads]

    def _ready(self, place: Place) -> bool:
        """Have what stands at a place ready in DuckDB; whether its columns are known. What does not exist is ready, too."""
        if place in self._unknown:
            return False
        item = self._there.get(place)
        if item is None:
            # Made by a later draft, on which nothing here depends as far as dbt knows: who comes first is not told.
            return place not in self._awaited
        if place in self._above:
            return False
        self._above.append(place)
        try:
            if not self._all_ready(item):
                return False
        finally:
            self._above.pop()
        below = [self._stamps.get(_fold(inner), 0) for inner in item.reads]
        if place not in self._stamps or any(stamp > self._stamps[place] for stamp in below):
            return self._put(place, item)
        return True

    def _put(self, place: Place, item: Sketch) -> bool:
        assert item.place is not None
        database, schema, name = item.place
        sql = item.sql if item.makes == "view" else None
        try:
            if sql is not None and self._check is not None:
                self._check(sql)
            columns = () if sql is not None else item.columns
            self._engine.put(
                Input(database=database, schema=schema, name=name, sql=sql, columns=columns, is_view=sql is not None)
            )
        except (duckdb.Error, LakehouseError):
            self._unknown.add(place)
            return False
        self._stamps[place] = max(self._stamps.values(), default=0) + 1
        return True


def _judged(draft: Sketch, error: duckdb.Error, above: int) -> Bound:
    """What an error of DuckDB's binder says of a draft; ``above`` are the lines before those that DuckDB saw."""
    text = str(error)
    certain = isinstance(error, duckdb.BinderException | duckdb.CatalogException | duckdb.ParserException)
    if not certain or draft.doubtful or any(word in text for word in _UNCERTAIN):
        return Bound(node=draft.node, why=f"DuckDB says ahead of it: {_first(error)}")
    if draft.tolerant and _ABSENT.match(text):
        return Bound(node=draft.node, why=RESULTS_OF_HOOKS)
    line = _LINE.search(text)
    number = int(line.group(1)) + above if line is not None else None
    return Bound(node=draft.node, error=_LINE.sub("", text).strip(), line=number)


def _first(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _keeps(found: tuple[Column, ...], promised: tuple[Column, ...]) -> bool:
    """Whether a query's columns are those of a contract, in any order, as dbt compares them."""
    wanted = {column.name: column.type for column in promised}
    return len(found) == len(promised) and all(wanted.get(column.name) == column.type for column in found)


def _refuse_twins(columns: tuple[Column, ...]) -> None:
    seen: set[str] = set()
    for column in columns:
        if column.name.lower() in seen:
            raise SchemaMismatch(f"the view has two columns named {column.name!r}; give one of them an alias")
        seen.add(column.name.lower())


def _kinds(columns: tuple[Column, ...]) -> list[tuple[str, str]]:
    return [(column.name, column.type) for column in columns]


def _fold(place: Place) -> Place:
    database, schema, name = place
    return database.lower(), schema.lower(), name.lower()
