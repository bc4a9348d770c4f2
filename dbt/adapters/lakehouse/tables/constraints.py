"""Constraints, checked on what a write is about to commit.

Where the statistics of the new files do not answer, one pass over them answers for all constraints that look at a row by
itself; each unique set and each foreign key takes one of its own, over its columns alone. Only where rows break something
they are looked for again, to be shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.errors import ConfigError, ConstraintViolated
from dbt.adapters.lakehouse.quoting import quote
from dbt.adapters.lakehouse.tables import commits, offenders, reader
from dbt.adapters.lakehouse.tables import metadata as tables
from dbt.adapters.lakehouse.tables.duckdb_types import find_column, fold

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.manifest import DataFile
    from pyiceberg.types import NestedField

    from dbt.adapters.lakehouse.tables.commits import Change
    from dbt.adapters.lakehouse.tables.metadata import Table
    from dbt.adapters.lakehouse.tables.values import Constraints, ForeignKey


def check(con: duckdb.DuckDBPyConnection, base: Table, change: Change, constraints: Constraints) -> None:
    """Raise ConstraintViolated if the new files, or for uniqueness the whole table to be, break a constraint.

    Columns that the schema requires are checked whether ``constraints`` names them or not.
    """
    after = commits.preview(base, change)
    if not change.added:
        return
    name = constraints.table or base.metadata.location.rsplit("/", 1)[-1]
    new = after.data[len(after.data) - len(change.added) :]
    _Judge(con=con, table=after, new=new, wanted=constraints, name=name).judge()


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """What each row must fulfil by itself: SQL that is true for those that do not, and how that is told."""

    broken: str
    told: str
    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Judge:
    """A table as it will be, its new files, and what is wanted of them."""

    con: duckdb.DuckDBPyConnection
    table: Table
    new: Sequence[tables.LiveFile]
    wanted: Constraints
    name: str

    @property
    def fields(self) -> tuple[NestedField, ...]:
        return self.table.schema.fields

    @property
    def columns(self) -> list[str]:
        return [field.name for field in self.fields]

    def judge(self) -> None:
        groups = [self.wanted.primary_key] if self.wanted.primary_key else []
        unique = [self._group(group) for group in dict.fromkeys((*groups, *self.wanted.unique))]
        foreign = [(key, self._group(key.columns)) for key in self.wanted.foreign]
        self._rows([*self._not_null(), *self._checks()])
        for group in unique:
            self._unique(group)
        for key, group in foreign:
            self._foreign(key, group)

    def _group(self, columns: Iterable[str]) -> tuple[NestedField, ...]:
        return tuple(_field(self.fields, column) for column in columns)

    # rows by themselves

    def _not_null(self) -> Iterable[_Rule]:
        wanted = {field.field_id for field in self._group((*self.wanted.not_null, *self.wanted.primary_key))}
        for field in self.fields:
            if not field.required and field.field_id not in wanted:
                continue
            if all(_null_count(f.file, field) == 0 for f in self.new):
                continue
            label = self._label("not_null", [field.name]) or self._label("primary_key", [field.name])
            told = f"NOT NULL constraint failed: {self.name}.{field.name}{label} is null"
            yield _Rule(broken=f"{quote(field.name)} IS NULL", told=told, columns=(field.name,))

    def _checks(self) -> Iterable[_Rule]:
        for label, expression in self.wanted.checks:
            shown = f"{label} ({expression})" if label else expression
            yield _Rule(
                broken=f"NOT ({expression}\n)",
                told=f"CHECK constraint failed: {self.name}: {shown} is false",
                columns=tuple(self._named_in(expression)),
            )

    def _named_in(self, expression: str) -> list[str]:
        words = {fold(word) for word in re.findall(r'"(?:[^"]|"")*"|\w+', expression)}
        return [name for name in self.columns if fold(name) in words or fold(quote(name)) in words]

    def _rows(self, rules: Sequence[_Rule]) -> None:
        if not rules:
            return
        rows = reader.scan(self.table, self.new)
        counts = ", ".join(f"count(*) FILTER (WHERE {rule.broken})" for rule in rules)
        try:
            broken = " OR ".join(f"({rule.broken})" for rule in rules)
            found = self.con.execute(f"SELECT {counts} FROM ({rows}) WHERE {broken}").fetchone()
        except _duckdb_errors() as error:
            raise self._unusable(rows, rules, error) from error
        for rule, count in zip(rules, found or (), strict=True):
            if count:
                broken = f"SELECT * FROM ({rows}) WHERE {rule.broken}"
                raise self._violated(rule.told, count, broken, (*rule.columns, *self.wanted.primary_key))

    def _unusable(self, rows: str, rules: Sequence[_Rule], error: Exception) -> Exception:
        """What to say of an expression that does not fit the table; the error itself if it is none's."""
        for rule in rules:
            try:
                self.con.execute(f"SELECT {rule.broken} FROM ({rows}) LIMIT 0")
            except _duckdb_errors() as own:
                text = rule.broken[len("NOT (") : -len("\n)")]
                said = str(own).split("\n\nLINE ", 1)[0]
                return ConfigError(
                    f"check constraint {text!r} of {self.name} does not fit its columns: {said}; correct its expression"
                )
        return error

    # rows among others

    def _unique(self, group: Sequence[NestedField]) -> None:
        columns = ", ".join(quote(field.name) for field in group)
        present = " AND ".join(f"{quote(field.name)} IS NOT NULL" for field in group)
        source = f"SELECT {columns} FROM ({reader.select(self.table)}) WHERE {present}"
        if len(self.new) < len(self.table.data):
            # Keys that no new row has were unique before: only those that come now can clash.
            source += f" AND ({columns}) IN (SELECT ({columns}) FROM ({reader.scan(self.table, self.new)}))"
        count = _unused("n", group)
        shared = f"SELECT {columns}, count(*) AS {count} FROM ({source}) GROUP BY {columns} HAVING count(*) > 1"
        if self.con.execute(f"{shared} LIMIT 1").fetchone() is None:
            return
        found = self.con.execute(f"SELECT count(*), sum({count}) FROM ({shared})").fetchone()
        assert found is not None
        names = [field.name for field in group]
        kind = "primary_key" if tuple(names) == tuple(self.wanted.primary_key) else "unique"
        label = self._label(kind, names) or self._label("unique", names)
        table = offenders.shown(self.con, f"{shared} ORDER BY {count} DESC", names, extra=count)
        raise ConstraintViolated(
            f"UNIQUE constraint failed: {', '.join(f'{self.name}.{name}' for name in names)}{label}: "
            f"{_rows(int(found[1]))} share {_values(int(found[0]))}; let the model give each once:{table}"
        )

    def _foreign(self, key: ForeignKey, group: Sequence[NestedField]) -> None:
        columns = ", ".join(quote(field.name) for field in group)
        present = " AND ".join(f"{quote(field.name)} IS NOT NULL" for field in group)
        rows = reader.scan(self.table, self.new)
        broken = f"SELECT * FROM ({rows}) WHERE {present} AND ({columns}) NOT IN ({self._parents(key)})"
        found = self.con.execute(f"SELECT count(*) FROM ({broken})").fetchone()
        if found is None or not found[0]:
            return
        label = self._label("foreign_key", key.columns)
        names = ", ".join(f"{self.name}.{field.name}" for field in group)
        raise self._violated(
            f"FOREIGN KEY constraint failed: {names}{label} is not in {key.relation or self.name} ({', '.join(key.to)})",
            int(found[0]),
            broken,
            (*key.columns, *self.wanted.primary_key),
        )

    def _parents(self, key: ForeignKey) -> str:
        """The values that may be referred to, none of them null, which NOT IN would take for all."""
        present = " AND ".join(f"{quote(name)} IS NOT NULL" for name in key.to)
        row = f"({', '.join(quote(name) for name in key.to)})"
        return f"SELECT {row} FROM ({key.reads if key.relation else reader.select(self.table)}) WHERE {present}"

    # telling

    def _violated(self, told: str, count: int, broken: str, first: Sequence[str]) -> ConstraintViolated:
        table = offenders.shown(self.con, broken, self.columns, first)
        among = f", {offenders.ROWS} of them" if count > offenders.ROWS else ""
        return ConstraintViolated(f"{told} in {_rows(count)}{among}:{table}")

    def _label(self, kind: str, columns: Sequence[str]) -> str:
        name = self.wanted.name_of(kind, columns)
        return f" ({name})" if name else ""


def _field(fields: tuple[NestedField, ...], column: str) -> NestedField:
    field = find_column(fields, column)
    if field is None:
        names = ", ".join(f.name for f in fields[:50])
        raise ConfigError(f"a constraint names column {column!r}, which is not among {names}; correct the name")
    return field


def _null_count(file: DataFile, field: NestedField) -> int | None:
    return (file.null_value_counts or {}).get(field.field_id)


def _unused(name: str, group: Sequence[NestedField]) -> str:
    """A column name that none of the group has."""
    while any(fold(field.name) == name for field in group):
        name += "_"
    return name


def _rows(count: int) -> str:
    return f"{count} row{'s'[: count != 1]}"


def _values(count: int) -> str:
    return f"{count} value{'s'[: count != 1]}"


def _duckdb_errors() -> tuple[type[Exception], ...]:
    import duckdb

    return (duckdb.BinderException, duckdb.ParserException, duckdb.CatalogException)
