"""Bounds: an engine that trusts them must find every row."""

from __future__ import annotations

import datetime
import decimal
import uuid

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.expressions import EqualTo, GreaterThanOrEqual, IsNull, LessThanOrEqual, NotEqualTo
from pyiceberg.table import StaticTable
from pyiceberg.types import BinaryType, DateType, DoubleType, StringType, TimestampType

from dbt.adapters.lakehouse.storage import uri_of
from dbt.adapters.lakehouse.tables import stats, writer
from dbt.adapters.lakehouse.tables.values import TableSpec

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
LONG_TEXT = st.builds(
    lambda head, n, tail: head * n + tail,
    st.sampled_from(["a", "é", "\U0010ffff", "\ud7ff", "\x7f"]),
    st.integers(0, 20),
    TEXT,
)
COLUMNS = {
    "int": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "long": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "double": (pa.float64(), st.floats(allow_nan=False)),
    # pyiceberg takes an infinite literal for one beyond a float32 and finds nothing, whatever the bounds say
    "float": (pa.float32(), st.floats(width=32, allow_nan=False, allow_infinity=False)),
    "text": (pa.string(), TEXT | LONG_TEXT),
    "blob": (
        pa.binary(),
        st.binary(max_size=40) | st.builds(lambda n, t: b"\xff" * n + t, st.integers(0, 20), st.binary()),
    ),
    "date": (pa.date32(), st.dates()),
    "timestamp": (pa.timestamp("us"), st.datetimes()),
    "timestamptz": (pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(datetime.UTC))),
    "time": (pa.time64("us"), st.times()),
    "decimal": (pa.decimal128(20, 4), st.decimals(-(10**15), 10**15, places=4, allow_nan=False)),
    "boolean": (pa.bool_(), st.booleans()),
}


@pytest.mark.parametrize("kind", COLUMNS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_pyiceberg_filters_find_every_row(kind, con, tmp_path, data):
    arrow, values = COLUMNS[kind]
    column = data.draw(st.lists(values | st.none(), min_size=1, max_size=6))
    rows = pa.table({"x": pa.array(column, arrow)})
    con.register("source", rows)
    spec = TableSpec(location=uri_of(tmp_path / uuid.uuid4().hex), table_uuid=str(uuid.uuid4()))
    written = writer.create(con, "FROM source", spec)
    table = StaticTable.from_metadata(written.metadata_location)

    def count(predicate):
        # planning alone, on manifests: what the bounds say
        return sum(task.file.record_count for task in table.scan(row_filter=predicate).plan_files())

    stored = rows["x"].to_pylist()
    for value in stored:
        if value is None:
            assert count(IsNull("x")) == len(column)
            continue
        for predicate in (EqualTo, GreaterThanOrEqual, LessThanOrEqual):
            assert count(predicate("x", value)) == len(column), predicate
    other = [v for v in stored if v is not None and v != stored[0]]
    if stored[0] is not None and other:
        assert count(NotEqualTo("x", stored[0])) == len(column)


def test_nan_leaves_a_column_without_bounds(lake):
    table = writer.create(lake.con, "SELECT unnest([1.0, 'nan'::DOUBLE]) AS x, 1.0::DOUBLE AS y", lake.spec())
    (task,) = StaticTable.from_metadata(table.metadata_location).scan().plan_files()
    assert 1 not in task.file.lower_bounds
    assert 1 not in task.file.upper_bounds
    assert 2 in task.file.lower_bounds
    assert task.file.nan_value_counts == {2: 0}


def test_fields_in_structs_have_bounds_and_those_in_lists_and_maps_have_none(lake):
    table = writer.create(lake.con, "SELECT {'a': 7} AS s, [8] AS l, MAP {9: 10} AS m", lake.spec())
    table = StaticTable.from_metadata(table.metadata_location)
    (task,) = table.scan().plan_files()
    inner = table.schema().find_field("s.a").field_id
    assert set(task.file.lower_bounds) == {inner}
    assert set(task.file.value_counts) == {inner}


@pytest.mark.parametrize(
    ("kind", "text", "upper", "bound"),
    [
        (StringType(), "a" * 16, True, b"a" * 16),
        (StringType(), "a" * 17, False, b"a" * 16),
        (StringType(), "a" * 17, True, b"a" * 15 + b"b"),
        (StringType(), "a" + "\U0010ffff" * 16, True, b"b"),
        (StringType(), "\U0010ffff" * 17, True, None),
        (StringType(), "a" * 15 + "\ud7ff" + "x", True, ("a" * 15 + "\ue000").encode()),
        (BinaryType(), "FF" * 17, True, None),
        (BinaryType(), "01" + "FF" * 16, True, b"\x02"),
        (DoubleType(), "0.0", False, b"\0\0\0\0\0\0\0\x80"),
        (DoubleType(), "-0.0", True, b"\0" * 8),
        (DateType(), "0001-01-01 (BC)", True, (-719528).to_bytes(4, "little", signed=True)),
        (DateType(), "infinity", True, None),
        (TimestampType(), "12345-01-01 00:00:00.5", True, None),
    ],
)
def test_bounds(kind, text, upper, bound):
    found = stats.bound(kind, text, upper=upper)
    if isinstance(kind, TimestampType):
        days = (datetime.date(2345, 1, 1) - datetime.date(1970, 1, 1)).days + 25 * 146_097
        assert int.from_bytes(found, "little") == days * 86_400_000_000 + 500_000
    else:
        assert found == bound


def test_decimal_bounds_are_unscaled_big_endian(lake):
    table = writer.create(lake.con, "SELECT -1.5::DECIMAL(10,2) AS x", lake.spec())
    (task,) = StaticTable.from_metadata(table.metadata_location).scan().plan_files()
    assert int.from_bytes(task.file.lower_bounds[1], "big", signed=True) == -150
    assert decimal.Decimal("-1.50") == lake.rows(table)[0][0]
