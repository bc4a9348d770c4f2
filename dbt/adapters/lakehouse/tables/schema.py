"""The Iceberg schema of a query's columns, and what stands between those columns and the files.

Iceberg spec, *Schemas and Data Types*: every field has an id that stays with it for life; a new field takes an id that the
table never used, counted by ``last-column-id``.
"""

from __future__ import annotations

from dbt.adapters.lakehouse.tables import one_door  # noqa: F401

# isort: split

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyiceberg.schema import Schema
from pyiceberg.types import DoubleType, FloatType, IcebergType, ListType, MapType, NestedField, StructType

from dbt.adapters.lakehouse.errors import ConfigError, SchemaMismatch
from dbt.adapters.lakehouse.quoting import literal
from dbt.adapters.lakehouse.tables import duckdb_types as types
from dbt.adapters.lakehouse.tables.duckdb_types import Meanings, fold

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.table.metadata import TableMetadataV2

    from dbt.adapters.lakehouse.tables.values import Constraints

MEANINGS = "lakehouse.duckdb-types"
"""The table property that holds the DuckDB types Iceberg has no name for, as JSON: field id to type."""

ERROR_MARK = "\u2063"
"""Starts the messages that our own SQL raises, so that they can be told from the query's own errors."""


KEPT = frozenset({"__lakehouse_file", "__lakehouse_position"})
"""Names of columns that stand beside those of a table while its rows are changed."""


@dataclass(frozen=True, kw_only=True)
class QueryColumn:
    """A column as a query yields it; ``duck`` is its DuckDBPyType."""

    name: str
    duck: Any


def subquery(query: str) -> str:
    """A query in parentheses, whatever its text ends with."""
    return f"({query.strip().rstrip(';')}\n)"


def describe(con: duckdb.DuckDBPyConnection, query: str) -> tuple[QueryColumn, ...]:
    """The columns of a query, without running it. Two that differ in case only are a SchemaMismatch."""
    found = con.execute(f"SELECT * FROM {subquery(query)} LIMIT 0").description or []
    columns = tuple(QueryColumn(name=name, duck=duck) for name, duck, *_ in found)
    if not columns:
        raise SchemaMismatch("the query has no columns")
    folded = {fold(column.name) for column in columns}
    if own := sorted(folded & KEPT):
        raise SchemaMismatch(
            f"the query has a column {own[0]!r}, a name that the lake keeps for itself; rename it with AS"
        )
    # A subquery renames the second "a" to "a_1"; ask for the query's own names only where that may have happened.
    if any((match := _NUMBERED.fullmatch(name)) and match[1] in folded for name in folded):
        _refuse_duplicates([name for name, *_ in con.execute(f"DESCRIBE {subquery(query)[1:-1]}").fetchall()])
    return columns


_NUMBERED = re.compile(r"(.*)_\d+", re.DOTALL)


def _refuse_duplicates(names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if fold(name) in seen:
            other = seen[fold(name)]
            clash = (
                f"two columns named {name!r}"
                if other == name
                else f"columns {other!r} and {name!r}, alike but for case"
            )
            raise SchemaMismatch(f"the query has {clash}; rename one of them with AS")
        seen[fold(name)] = name


def build(
    columns: Sequence[QueryColumn],
    *,
    previous: TableMetadataV2 | None = None,
    comments: Mapping[str, str] | None = None,
    constraints: Constraints | None = None,
) -> tuple[Schema, Meanings, int]:
    """The schema for a query's columns, its DuckDB meanings and the new ``last-column-id``.

    Columns that keep the name and type they have in ``previous`` keep their field ids, nested ones included.
    """
    old_fields = previous.schema().fields if previous else ()
    old_meanings = meanings_of(previous.properties) if previous else {}
    ids = itertools.count((previous.last_column_id if previous else 0) + 1)
    kept = {c.name: f for c in columns if (f := _kept_field(c, old_fields, old_meanings)) is not None}
    tops = {c.name: kept[c.name].field_id if c.name in kept else next(ids) for c in columns}
    docs = {fold(name): doc for name, doc in (comments or {}).items()}
    required = required_names([c.name for c in columns], constraints)
    meanings: Meanings = {}
    fields = []
    for column in columns:
        top = tops[column.name]
        if column.name in kept:
            kind = kept[column.name].field_type
            meanings.update(_meanings_below(kept[column.name], old_meanings))
        else:
            kind = types.to_iceberg(column.name, column.duck, top, ids, meanings)
        kind = _documented(kind, fold(column.name), docs)
        fields.append(
            NestedField.model_construct(
                field_id=top,
                name=column.name,
                field_type=kind,
                required=column.name in required,
                doc=docs.get(fold(column.name)),
            )
        )
    schema = Schema(*fields, schema_id=0, identifier_field_ids=_identifiers(fields, constraints))
    return schema, meanings, max(next(ids) - 1, previous.last_column_id if previous else 0)


def _documented(kind: IcebergType, path: str, docs: Mapping[str, str]) -> IcebergType:
    """A type whose fields have the docs of their paths (``address.city``); elements of lists and values of maps have none."""
    if isinstance(kind, StructType):
        return StructType(
            *(
                NestedField.model_construct(
                    field_id=f.field_id,
                    name=f.name,
                    field_type=_documented(f.field_type, f"{path}.{fold(f.name)}", docs),
                    required=f.required,
                    doc=docs.get(f"{path}.{fold(f.name)}"),
                )
                for f in kind.fields
            )
        )
    if isinstance(kind, ListType):
        element = _documented(kind.element_type, path, docs)
        return ListType(element_id=kind.element_id, element_type=element, element_required=kind.element_required)
    if isinstance(kind, MapType):
        value = _documented(kind.value_type, path, docs)
        return MapType(
            key_id=kind.key_id,
            key_type=kind.key_type,
            value_id=kind.value_id,
            value_type=value,
            value_required=kind.value_required,
        )
    return kind


def _kept_field(column: QueryColumn, fields: tuple[NestedField, ...], meanings: Meanings) -> NestedField | None:
    old = types.find_column(fields, column.name)
    if old is None or old.name != column.name:
        return None
    return old if readable_type(column) == types.to_duckdb(old.field_type, old.field_id, meanings) else None


def _meanings_below(field: NestedField, meanings: Meanings) -> Meanings:
    below = set(ids_below(field))
    return {field_id: kind for field_id, kind in meanings.items() if field_id in below}


def ids_below(field: NestedField) -> Iterator[int]:
    """A field's id and those of everything nested in it."""
    yield field.field_id
    kind = field.field_type
    for inner in nested_fields(kind):
        yield from ids_below(inner)


def nested_fields(kind: IcebergType) -> tuple[NestedField, ...]:
    """The fields directly inside a type; none in a primitive."""
    if isinstance(kind, StructType):
        return kind.fields
    if isinstance(kind, ListType):
        return (kind.element_field,)
    return (kind.key_field, kind.value_field) if isinstance(kind, MapType) else ()


def readable_type(column: QueryColumn) -> str:
    """The type, in DuckDB's words, that a query's column has once it was stored and is read back."""
    meanings: Meanings = {}
    ids = itertools.count(1)
    kind = types.to_iceberg(column.name, column.duck, 0, ids, meanings)
    return types.to_duckdb(kind, 0, meanings)


def required_names(names: Sequence[str], constraints: Constraints | None) -> set[str]:
    """Which of the columns must not be null; a constraint on a column that is not there is a ConfigError."""
    if constraints is None:
        return set()
    by_fold = {fold(name): name for name in names}
    wanted = (*constraints.not_null, *constraints.primary_key)
    for name in (*wanted, *(name for group in constraints.unique for name in group)):
        if fold(name) not in by_fold:
            raise ConfigError(
                f"a constraint names column {name!r}, which is not among {', '.join(names)}; correct the name"
            )
    return {by_fold[fold(name)] for name in wanted}


def _identifiers(fields: Sequence[NestedField], constraints: Constraints | None) -> list[int]:
    """Identifier field ids (spec: required primitives, no float or double); none if a key column is another kind."""
    keys = {fold(name) for name in constraints.primary_key} if constraints else set()
    found = [f for f in fields if fold(f.name) in keys]
    fit = all(f.field_type.is_primitive and not isinstance(f.field_type, FloatType | DoubleType) for f in found)
    return [f.field_id for f in found] if fit else []


def meanings_of(properties: Mapping[str, str]) -> Meanings:
    """The DuckDB types by field id that the table's properties keep."""
    text = properties.get(MEANINGS)
    return {int(field_id): kind for field_id, kind in json.loads(text).items()} if text else {}


def with_meanings(properties: Mapping[str, str], meanings: Meanings) -> dict[str, str]:
    """The properties with exactly these DuckDB types kept."""
    rest = {key: value for key, value in properties.items() if key != MEANINGS}
    return {**rest, MEANINGS: json.dumps(meanings)} if meanings else rest


def stored_expression(column: QueryColumn, field: NestedField, meanings: Meanings, source: str) -> str:
    """SQL that turns a query's column, written ``source``, into what the files hold of a table's column.

    The value is first cast to the table's own type. One that does not fit what that is stored as (39 digits, nanoseconds)
    raises a marked error which names the column.
    """
    stored = types.to_duckdb(field.field_type)
    shown, lossy = str(column.duck), types.is_lossy(column.duck)
    if shown == stored:
        return source
    wanted = types.to_duckdb(field.field_type, field.field_id, meanings)
    if readable_type(column) != wanted:
        source, shown = f"CAST({source} AS {wanted})", wanted
        lossy = any(name in wanted for name in _LOSSY_NAMES)
    if not lossy:
        return source if shown == stored else f"CAST({source} AS {stored})"
    message = literal(
        f"{ERROR_MARK}column {column.name!r} of type {shown} has a value that does not fit {stored}, "
        f"which Iceberg stores it as; round it, or cast the column to VARCHAR"
    )
    tried = f"TRY_CAST({source} AS {stored})"
    return f"CASE WHEN CAST({tried} AS {shown}) IS DISTINCT FROM {source} THEN error({message}) ELSE {tried} END"


_LOSSY_NAMES = tuple(name.upper() for name in types.LOSSY)
