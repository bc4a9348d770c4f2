"""What COPY … RETURN_STATS says of a file, as the DataFile that goes into a manifest.

Iceberg spec, *Manifests* (fields 108 to 128) and *Appendix D: Single-value serialization*. Wrong bounds make other
engines skip rows, so a bound that cannot be told exactly is left out.
"""

from __future__ import annotations

from dbt.adapters.lakehouse.tables import one_door  # noqa: F401

# isort: split

import datetime
import re
import struct
import uuid
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.typedef import Record
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from dbt.adapters.lakehouse.errors import UnsupportedType
from dbt.adapters.lakehouse.quoting import quote
from dbt.adapters.lakehouse.tables.schema import nested_fields

if TYPE_CHECKING:
    from pyiceberg.schema import Schema

BOUND_LENGTH = 16
"""Characters of a text, or bytes of a blob, that a bound keeps (the default of write.metadata.metrics)."""

_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()
_DAY_MICROS = 86_400_000_000
_MOMENT = re.compile(r"(\d+)-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d)(?:\.(\d+))?)?(?:\+00)?( \(BC\))?")
_CLOCK = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.(\d+))?")


class Leaf:
    """A primitive field and whether a file's bounds may speak of it (not inside lists and maps)."""

    __slots__ = ("bounded", "column", "field_id", "kind")

    def __init__(self, field_id: int, kind: IcebergType, column: str, bounded: bool) -> None:
        self.field_id = field_id
        self.kind = kind
        self.column = column
        self.bounded = bounded


def leaves(schema: Schema) -> dict[str, Leaf]:
    """The primitive fields of a schema by the path that COPY's statistics name them with."""
    found: dict[str, Leaf] = {}
    for field in schema.fields:
        found.update(_leaves_below(quote(field.name), field, field.name, True))
    return found


def _leaves_below(path: str, field: NestedField, column: str, bounded: bool) -> Iterator[tuple[str, Leaf]]:
    kind = field.field_type
    if kind.is_primitive:
        yield path, Leaf(field.field_id, kind, column, bounded and not isinstance(kind, UUIDType))
        return
    # Spec: no bounds inside lists and maps, whose values are many to a row.
    for inner in nested_fields(kind):
        yield from _leaves_below(f"{path}.{quote(inner.name)}", inner, column, bounded and kind.is_struct)


def parse(kind: IcebergType, text: str) -> Any:
    """A value of COPY's statistics in pyiceberg's inner form: days and microseconds as int, the rest as usual.

    None if the text says no finite value: infinity has no place in Iceberg's dates and timestamps.
    """
    reader = _PARSERS.get(type(kind))
    return reader(text) if reader else None


def _integer(text: str) -> int:
    return int(text)


def _boolean(text: str) -> bool:
    return text in ("1", "true")


def _moment(text: str) -> tuple[int, int] | None:
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    year, month, day = int(match[1]), int(match[2]), int(match[3])
    days = _days(1 - year if match[8] else year, month, day)
    micros = _micros(match[4], match[5], match[6], match[7]) if match[4] else 0
    return days, micros


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970 of a day in the proleptic Gregorian calendar, whose years Python's date ends at 9999."""
    cycles, rest = divmod(year - 2000, 400)
    return cycles * 146_097 + datetime.date(2000 + rest, month, day).toordinal() - _EPOCH_DAY


def _micros(hour: str, minute: str, second: str, fraction: str | None) -> int:
    return (int(hour) * 3600 + int(minute) * 60 + int(second)) * 1_000_000 + int((fraction or "").ljust(6, "0")[:6])


def _date(text: str) -> int | None:
    moment = _moment(text)
    return moment[0] if moment else None


def _timestamp(text: str) -> int | None:
    moment = _moment(text)
    return moment[0] * _DAY_MICROS + moment[1] if moment else None


def _time(text: str) -> int | None:
    match = _CLOCK.fullmatch(text)
    micros = _micros(match[1], match[2], match[3], match[4]) if match else _DAY_MICROS
    return micros if micros < _DAY_MICROS else None


_PARSERS: dict[type[IcebergType], Any] = {
    BooleanType: _boolean,
    IntegerType: _integer,
    LongType: _integer,
    FloatType: float,
    DoubleType: float,
    DecimalType: Decimal,
    DateType: _date,
    TimeType: _time,
    TimestampType: _timestamp,
    TimestamptzType: _timestamp,
    StringType: str,
    BinaryType: bytes.fromhex,
    UUIDType: uuid.UUID,
}


def bound(kind: IcebergType, text: str, *, upper: bool) -> bytes | None:
    """The bound of a column as manifests hold it; None where there is none that is certain."""
    if isinstance(kind, StringType):
        return _text_bound(text, upper)
    value = parse(kind, text)
    if value is None:
        return None
    if isinstance(kind, BinaryType):
        return _blob_bound(value, upper)
    if isinstance(kind, FloatType | DoubleType):
        # -0.0 sorts before 0.0 in Iceberg; DuckDB holds them equal and may report either.
        value = value or (0.0 if upper else -0.0)
        return struct.pack("<f" if isinstance(kind, FloatType) else "<d", value)
    if isinstance(kind, DecimalType):
        return _unscaled(value, kind.scale)
    if isinstance(kind, BooleanType):
        return b"\x01" if value else b"\x00"
    return struct.pack("<i" if isinstance(kind, IntegerType | DateType) else "<q", value)


def _unscaled(value: Decimal, scale: int) -> bytes:
    """A decimal's unscaled value, big-endian in as few bytes as hold it (Decimal's own arithmetic rounds to 28 digits)."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    number: int = int("".join(map(str, digits))) * 10 ** (scale + exponent)
    number = -number if sign else number
    return number.to_bytes((number if number >= 0 else ~number).bit_length() // 8 + 1, "big", signed=True)


def _text_bound(text: str, upper: bool) -> bytes | None:
    if len(text) <= BOUND_LENGTH:
        return text.encode()
    kept = text[:BOUND_LENGTH]
    if not upper:
        return kept.encode()
    for at in range(BOUND_LENGTH - 1, -1, -1):
        following = ord(kept[at]) + 1
        if following == 0xD800:  # surrogates are no characters: the next one is beyond them
            following = 0xE000
        if following < 0x110000:
            return (kept[:at] + chr(following)).encode()
    return None


def _blob_bound(value: bytes, upper: bool) -> bytes | None:
    if len(value) <= BOUND_LENGTH or not upper:
        return value[:BOUND_LENGTH]
    kept = value[:BOUND_LENGTH].rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else None


def data_file(
    uri: str,
    count: int,
    size: int,
    columns: dict[str, dict[str, str]],
    known: dict[str, Leaf],
    *,
    spec_id: int = 0,
    partition: Sequence[Any] = (),
    sort_order_id: int | None = None,
) -> DataFile:
    """The DataFile of a Parquet file from what COPY returned of it.

    Raises UnsupportedType if a column holds a value beyond Iceberg's range: an infinite date or timestamp, 24:00:00.
    """
    sizes: dict[int, int] = {}
    values: dict[int, int] = {}
    nulls: dict[int, int] = {}
    nans: dict[int, int] = {}
    lower: dict[int, bytes] = {}
    upper: dict[int, bytes] = {}
    for path, facts in columns.items():
        leaf = known.get(path)
        if leaf is None:
            continue
        field_id = leaf.field_id
        sizes[field_id] = int(facts["column_size_bytes"])
        # Inside lists and maps DuckDB counts slots, empty lists among them, which is not what Iceberg counts.
        if leaf.bounded or isinstance(leaf.kind, UUIDType):
            values[field_id] = int(facts["num_values"])
            if "null_count" in facts:
                nulls[field_id] = int(facts["null_count"])
        low, high = facts.get("min"), facts.get("max")
        if low is None or high is None:
            continue
        if low in _BEYOND or high in _BEYOND:
            _refuse_beyond(leaf, low, high)
        if not leaf.bounded:
            continue
        has_nan = facts.get("has_nan")
        if has_nan == "false":
            nans[field_id] = 0
        elif has_nan == "true":
            continue  # engines disagree on where NaN sorts, so no bound is safe
        _set_bounds(leaf, low, high, lower, upper)
    file = DataFile(
        DataFileContent.DATA, uri, FileFormat.PARQUET, Record(*partition), count, size,
        sizes, values, nulls, nans, lower, upper, None, None, None, sort_order_id,
    )  # fmt: skip
    file.spec_id = spec_id
    return file


def _set_bounds(leaf: Leaf, low: str, high: str, lower: dict[int, bytes], upper: dict[int, bytes]) -> None:
    least = bound(leaf.kind, low, upper=False)
    if least is not None:
        lower[leaf.field_id] = least
    most = bound(leaf.kind, high, upper=True)
    if most is not None:
        upper[leaf.field_id] = most


_BEYOND = frozenset({"infinity", "-infinity", "24:00:00"})


def _refuse_beyond(leaf: Leaf, low: str, high: str) -> None:
    if isinstance(leaf.kind, DateType | TimestampType | TimestamptzType | TimeType):
        value = low if low in _BEYOND else high
        raise UnsupportedType(
            f"column {leaf.column!r} holds the {leaf.kind} {value!r}, which Iceberg has no value for; "
            f"store null or an ordinary value instead, or cast the column to VARCHAR"
        )
