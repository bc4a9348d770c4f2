from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from dbt.adapters.lakehouse.cli.values import distinct, row_objects, to_json, to_text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (2**100, 2**100),
        (1.5, 1.5),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (Decimal("0.10"), "0.10"),
        (Decimal("1E+3"), "1000"),
        (date(2020, 1, 2), "2020-01-02"),
        (time(10, 30), "10:30:00"),
        (datetime(2020, 1, 2, 3, 4, 5, 600), "2020-01-02T03:04:05.000600"),
        (datetime(2020, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))), "2020-01-02T01:00:00+00:00"),
        (datetime(2020, 1, 2, tzinfo=UTC), "2020-01-02T00:00:00+00:00"),
        (timedelta(days=1, seconds=5, microseconds=500000), "P1DT5.5S"),
        (timedelta(), "PT0S"),
        (timedelta(seconds=-90), "-PT90S"),
        (timedelta(days=3), "P3D"),
        (b"\x00\xff", "00ff"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ([1, [Decimal("2.0")]], [1, ["2.0"]]),
        ({"a": {"b": b"\x01"}}, {"a": {"b": "01"}}),
        ({1: "x", date(2020, 1, 1): "y"}, {"1": "x", "2020-01-01": "y"}),
    ],
)
def test_values_as_json(value: Any, expected: Any) -> None:
    converted = to_json(value)
    assert converted == expected
    assert json.loads(json.dumps(converted, allow_nan=False)) == expected


def test_values_as_text() -> None:
    assert to_text(None) == ""
    assert to_text("a\nb") == "a\nb"
    assert to_text(True) == "true"
    assert to_text({"a": [1, "é"]}) == '{"a": [1, "é"]}'


def test_columns_of_one_name_stay_apart() -> None:
    assert distinct(["a", "b", "a", "a"]) == ["a", "b", "a_1", "a_2"]
    assert distinct(["a", "a", "a_1"]) == ["a", "a_2", "a_1"]
    assert row_objects(["x", "x"], [(1, 2)]) == [{"x": 1, "x_1": 2}]
