"""Rows as JSON, CSV and cells. Nothing is lost on the way but what is said here.

Decimals become text, since JSON's readers make binary fractions of them; so do NaN and the infinities, which JSON does not
have. Whole numbers stay numbers at any size. Times are ISO 8601 (with a time zone: in UTC), intervals are ISO 8601
durations, blobs are hex digits. Lists stay lists; structs and maps become objects.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any


def to_json(value: Any) -> Any:
    """A DuckDB value as what ``json.dumps`` takes."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _infinite(value)
    if isinstance(value, Mapping):
        return {_key(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else str(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo is None else value.astimezone(UTC)).isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return _interval(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return str(value)  # UUID and whatever else DuckDB may come up with


def _infinite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _key(value: Any) -> str:
    converted = to_json(value)
    return converted if isinstance(converted, str) else json.dumps(converted)


def _interval(value: timedelta) -> str:
    sign, value = ("-", -value) if value < timedelta() else ("", value)
    days = f"{value.days}D" if value.days else ""
    seconds = Decimal(value.seconds) + Decimal(value.microseconds) / 1_000_000
    clock = f"T{seconds.normalize():f}S" if seconds or not days else ""
    return f"{sign}P{days}{clock}"


def to_text(value: Any) -> str:
    """A value as CSV and tables show it: nothing for null, nested values as JSON."""
    converted = to_json(value)
    if converted is None:
        return ""
    return converted if isinstance(converted, str) else json.dumps(converted, ensure_ascii=False)


def distinct(names: Sequence[str]) -> list[str]:
    """Column names of which none occurs twice, as the keys of an object: ``a``, ``a_1``."""
    taken: set[str] = set()
    given = set(names)
    result = []
    for name in names:
        candidate, count = name, 0
        while candidate in taken or (count and candidate in given):
            count += 1
            candidate = f"{name}_{count}"
        taken.add(candidate)
        result.append(candidate)
    return result


def row_objects(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Rows as JSON objects."""
    keys = distinct(names)
    return [dict(zip(keys, map(to_json, row), strict=True)) for row in rows]
