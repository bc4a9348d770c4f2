"""DuckDB's types to Iceberg's and back.

==========================================  ======================  ===================================
DuckDB                                      Iceberg                 read back by DuckDB as
==========================================  ======================  ===================================
BOOLEAN, DATE, TIME, UUID, BLOB, VARCHAR    the same                the same
TINYINT, SMALLINT, UTINYINT, USMALLINT      int                     INTEGER
INTEGER, BIGINT, FLOAT, DOUBLE, DECIMAL     the same                the same
UINTEGER                                    long                    BIGINT (every value fits, and adds up)
TIMESTAMP, TIMESTAMP WITH TIME ZONE         timestamp, timestamptz  the same
TIMESTAMP_S, TIMESTAMP_MS, TIMESTAMP_NS     timestamp               the same; nanoseconds are refused
UBIGINT                                     decimal(20, 0)          UBIGINT
HUGEINT, UHUGEINT                           decimal(38, 0)          the same; 39 digits are refused
ENUM, JSON, INTERVAL, BIT, BIGNUM,          string                  the same
TIME WITH TIME ZONE
T[n]                                        list                    T[n]
STRUCT, MAP, T[]                            the same                the same
UNION, VARIANT, GEOMETRY, TIME_NS, others   refused
==========================================  ======================  ===================================

What Iceberg's type alone does not say is the *meaning*: it is kept by field id in the table property
``lakehouse.duckdb-types``, as DuckDB's name of the type, or ``[n]`` for the length of a fixed-size array.
"""

from __future__ import annotations

from dbt.adapters.lakehouse.tables import one_door  # noqa: F401

# isort: split

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from dbt.adapters.lakehouse.errors import UnsupportedType
from dbt.adapters.lakehouse.quoting import literal, quote

Meanings = dict[int, str]
"""DuckDB types by field id, where Iceberg's type does not say them."""

_PLAIN: dict[str, IcebergType] = {
    "boolean": BooleanType(),
    "null": IntegerType(),  # what DuckDB 2.0 says of a bare null, which is an INTEGER before
    "tinyint": IntegerType(),
    "smallint": IntegerType(),
    "utinyint": IntegerType(),
    "usmallint": IntegerType(),
    "integer": IntegerType(),
    "uinteger": LongType(),
    "bigint": LongType(),
    "float": FloatType(),
    "double": DoubleType(),
    "date": DateType(),
    "time": TimeType(),
    "timestamp": TimestampType(),
    "timestamp with time zone": TimestamptzType(),
    "varchar": StringType(),
    "blob": BinaryType(),
    "uuid": UUIDType(),
}

_KEPT: dict[str, IcebergType] = {
    "ubigint": DecimalType(20, 0),
    "hugeint": DecimalType(38, 0),
    "uhugeint": DecimalType(38, 0),
    "interval": StringType(),
    "bit": StringType(),
    "bignum": StringType(),
    "time with time zone": StringType(),
    "timestamp_s": TimestampType(),
    "timestamp_ms": TimestampType(),
    "timestamp_ns": TimestampType(),
}

LOSSY = frozenset({"hugeint", "uhugeint", "timestamp_ns"})
"""Types some of whose values do not fit what they are stored as."""

_CASTS = {
    "union": "VARCHAR, or one column for each member",
    "variant": "JSON",
    "geometry": "BLOB by ST_AsWKB(…)",
    "time_ns": "TIME",
    "timestamp with time zone_ns": "TIMESTAMP WITH TIME ZONE",
}

_DUCKDB: dict[type[IcebergType], str] = {
    BooleanType: "BOOLEAN",
    IntegerType: "INTEGER",
    LongType: "BIGINT",
    FloatType: "FLOAT",
    DoubleType: "DOUBLE",
    DateType: "DATE",
    TimeType: "TIME",
    TimestampType: "TIMESTAMP",
    TimestamptzType: "TIMESTAMP WITH TIME ZONE",
    StringType: "VARCHAR",
    BinaryType: "BLOB",
    FixedType: "BLOB",
    UUIDType: "UUID",
}


def to_iceberg(column: str, duck: Any, field_id: int, ids: Iterator[int], meanings: Meanings) -> IcebergType:
    """The Iceberg type of a DuckDB type (a DuckDBPyType) whose field has ``field_id``.

    Ids of nested fields are taken from ``ids``; what Iceberg's type does not say is put in ``meanings``.
    """
    kind = duck.id
    if kind == "varchar":
        if str(duck) == "JSON":
            meanings[field_id] = "JSON"
        return StringType()
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind in _KEPT:
        meanings[field_id] = kind.upper()
        return _KEPT[kind]
    if kind == "decimal":
        size = dict(duck.children)
        return DecimalType(size["precision"], size["scale"])
    if kind == "enum":
        values = dict(duck.children)["values"]
        meanings[field_id] = f"ENUM({', '.join(literal(value) for value in values)})"
        return StringType()
    nested = _NESTED.get(kind)
    if nested is None:
        _refuse(column, duck)
    return nested(column, duck, field_id, ids, meanings)


def _list(column: str, duck: Any, field_id: int, ids: Iterator[int], meanings: Meanings) -> IcebergType:
    children = dict(duck.children)
    if duck.id == "array":
        meanings[field_id] = f"[{children['size']}]"
    element = next(ids)
    inner = to_iceberg(column, children["child"], element, ids, meanings)
    return ListType(element_id=element, element_type=inner, element_required=False)


def _map(column: str, duck: Any, field_id: int, ids: Iterator[int], meanings: Meanings) -> IcebergType:
    del field_id
    children = dict(duck.children)
    key, value = next(ids), next(ids)
    key_type = to_iceberg(column, children["key"], key, ids, meanings)
    value_type = to_iceberg(column, children["value"], value, ids, meanings)
    return MapType(key_id=key, key_type=key_type, value_id=value, value_type=value_type, value_required=False)


def _struct(column: str, duck: Any, field_id: int, ids: Iterator[int], meanings: Meanings) -> IcebergType:
    del field_id
    children = duck.children
    if not children or any(not name for name, _ in children):
        raise UnsupportedType(
            f"column {column!r} has type {duck}, a struct without field names, which Iceberg cannot hold; "
            "name its fields: struct_pack(a := …, b := …)"
        )
    numbered = [(next(ids), name, inner) for name, inner in children]
    return StructType(
        *(
            NestedField(number, name, to_iceberg(column, inner, number, ids, meanings), required=False)
            for number, name, inner in numbered
        )
    )


_NESTED: dict[str, Callable[[str, Any, int, Iterator[int], Meanings], IcebergType]] = {
    "list": _list,
    "array": _list,
    "map": _map,
    "struct": _struct,
    "tuple": _struct,  # what DuckDB 2.0 calls a struct without names
}


def _refuse(column: str, duck: Any) -> NoReturn:
    kind = str(duck.id)
    raise UnsupportedType(
        f"column {column!r} has type {duck}, which Iceberg cannot hold without loss; cast it to {_CASTS.get(kind, 'VARCHAR')}"
    )


def to_duckdb(kind: IcebergType, field_id: int = 0, meanings: Mapping[int, str] | None = None) -> str:
    """DuckDB's name of an Iceberg type: as the files hold it, or with ``meanings`` as DuckDB users see it."""
    known = meanings or {}
    kept = known.get(field_id)
    if isinstance(kind, ListType):
        element = to_duckdb(kind.element_type, kind.element_id, meanings)
        return element + (kept or "[]")
    if isinstance(kind, MapType):
        key = to_duckdb(kind.key_type, kind.key_id, meanings)
        return f"MAP({key}, {to_duckdb(kind.value_type, kind.value_id, meanings)})"
    if isinstance(kind, StructType):
        inner = (f"{quote(f.name)} {to_duckdb(f.field_type, f.field_id, meanings)}" for f in kind.fields)
        return f"STRUCT({', '.join(inner)})"
    if kept is not None:
        return kept
    if isinstance(kind, DecimalType):
        return f"DECIMAL({kind.precision},{kind.scale})"
    name = _DUCKDB.get(type(kind))
    if name is None:
        raise UnsupportedType(f"field {field_id} has the Iceberg type {kind}, which this version does not read")
    return name


def is_lossy(duck: Any) -> bool:
    """Whether a DuckDB type has values that do not fit what they are stored as."""
    if duck.id in LOSSY:
        return True
    if duck.id in ("list", "array", "map", "struct"):
        return any(is_lossy(inner) for name, inner in duck.children if name != "size")
    return False


def promotes(old: IcebergType, new: IcebergType) -> bool:
    """Whether Iceberg lets a column change from ``old`` to ``new`` without rewriting files (spec: Schema Evolution)."""
    if isinstance(old, IntegerType):
        return isinstance(new, LongType)
    if isinstance(old, FloatType):
        return isinstance(new, DoubleType)
    if isinstance(old, DecimalType) and isinstance(new, DecimalType):
        return new.scale == old.scale and new.precision > old.precision
    return False


def field_ids(fields: tuple[NestedField, ...]) -> str:
    """Fields as the FIELD_IDS option of COPY."""
    return "{" + ", ".join(f"{quote(f.name)}: {_field_id(f.field_id, f.field_type)}" for f in fields) + "}"


def _field_id(field_id: int, kind: IcebergType) -> str:
    if isinstance(kind, StructType):
        inner = ", ".join(f"{quote(f.name)}: {_field_id(f.field_id, f.field_type)}" for f in kind.fields)
    elif isinstance(kind, ListType):
        inner = f"element: {_field_id(kind.element_id, kind.element_type)}"
    elif isinstance(kind, MapType):
        inner = f"key: {_field_id(kind.key_id, kind.key_type)}, value: {_field_id(kind.value_id, kind.value_type)}"
    else:
        return str(field_id)
    return f"{{__duckdb_field_id: {field_id}, {inner}}}"


def fold(name: str) -> str:
    """A name as DuckDB compares it: ASCII letters without their case, all else as it is."""
    return name.translate(_LOWER)


_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def find_column(fields: tuple[NestedField, ...], name: str) -> NestedField | None:
    """The top-level field of that name, its case aside."""
    folded = fold(name)
    return next((f for f in fields if fold(f.name) == folded), None)
