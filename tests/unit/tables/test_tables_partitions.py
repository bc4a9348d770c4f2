from __future__ import annotations

import datetime
import uuid

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.table import StaticTable

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.storage import uri_of
from dbt.adapters.lakehouse.tables import reader, writer
from dbt.adapters.lakehouse.tables.values import TableSpec

UTC = datetime.UTC
MOMENTS = st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1))
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
CASES = [
    ("identity", pa.int32(), st.integers(-5, 5)),
    ("identity", pa.string(), TEXT | st.sampled_from(["", "NULL", "__HIVE_DEFAULT_PARTITION__", "a/b=c", "z" * 400])),
    ("identity", pa.date32(), st.dates()),
    ("identity", pa.bool_(), st.booleans()),
    ("identity", pa.decimal128(38, 2), st.decimals(-(10**35), 10**35, places=2)),
    ("identity", pa.timestamp("us"), MOMENTS),
    ("identity", pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(UTC))),
    ("identity", pa.time64("us"), st.times()),
    ("identity", pa.binary(), st.binary(max_size=5)),
    *((t, pa.date32(), st.dates()) for t in ("year", "month", "day")),
    *((t, pa.timestamp("us"), MOMENTS) for t in ("year", "month", "day", "hour")),
    *((t, pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(UTC))) for t in ("year", "month", "day", "hour")),
    ("truncate(7, x)", pa.int32(), st.integers(-(2**31) + 7, 2**31 - 1)),
    ("truncate(10, x)", pa.int64(), st.integers(-(2**63) + 10, 2**63 - 1)),
    ("truncate(2, x)", pa.string(), TEXT),
    ("truncate(2, x)", pa.binary(), st.binary(max_size=5)),
    ("truncate(50, x)", pa.decimal128(18, 2), st.decimals(-(10**9), 10**9, places=2)),
    ("bucket(4, x)", pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    ("bucket(4, x)", pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    ("bucket(4, x)", pa.string(), TEXT | st.just("z" * 400)),
    ("bucket(4, x)", pa.date32(), st.dates()),
    ("bucket(4, x)", pa.timestamp("us"), MOMENTS),
    ("bucket(4, x)", pa.decimal128(18, 2), st.decimals(-(10**9), 10**9, places=2)),
    ("bucket(4, x)", pa.binary(), st.binary(max_size=5)),
    ("void", pa.int32(), st.integers(-5, 5)),
]


@pytest.mark.parametrize(("transform", "kind", "values"), CASES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_partition_values_are_those_of_pyicebergs_transforms(transform, kind, values, con, tmp_path, data):
    column = data.draw(st.lists(values | st.none(), min_size=1, max_size=8))
    text = transform if "(" in transform else f"{transform}(x)"
    con.execute("SET TimeZone = 'America/New_York'")
    con.register("source", pa.table({"x": pa.array(column, kind)}))
    spec = TableSpec(location=uri_of(tmp_path / uuid.uuid4().hex), table_uuid=str(uuid.uuid4()), partition_by=(text,))
    written = writer.create(con, "FROM source", spec)
    assert written.rows == len(column)
    missing = con.execute(
        f"(SELECT hash(x), count(*) FROM ({reader.select_sql(written.metadata_location)}) GROUP BY ALL) EXCEPT ALL "
        "(SELECT hash(x), count(*) FROM source GROUP BY ALL)"
    ).fetchall()
    assert missing == []
    table = StaticTable.from_metadata(written.metadata_location)
    field = table.spec().fields[0]
    source = table.schema().fields[0].field_type
    apply = field.transform.transform(source) if transform != "void" else lambda _: None
    for task in table.scan().plan_files():
        path = task.file.file_path.removeprefix("file://")
        rows = con.sql("SELECT x FROM read_parquet(?, hive_partitioning = false)", params=[[path]]).to_arrow_table()
        assert {_comparable(apply(v)) for v in _inner(rows["x"])} == {_comparable(task.file.partition[0])}


def _inner(column):
    """Values as transforms take them: moments as integers, since Python's have no more than four digits of year."""
    kind = column.type
    if pa.types.is_date32(kind):
        return column.cast(pa.int32()).to_pylist()
    if pa.types.is_timestamp(kind) or pa.types.is_time64(kind):
        return column.cast(pa.int64()).to_pylist()
    return column.to_pylist()


def _comparable(value):
    return value.hex() if isinstance(value, bytes) else value


@pytest.mark.parametrize(
    ("partition_by", "names"),
    [
        (("DT",), ["dt"]),
        (("day(TS)",), ["ts_day"]),
        (("days(ts)", "Region"), ["ts_day", "region"]),
        (("bucket(8, id)",), ["id_bucket"]),
        (("bucket[8](id)",), ["id_bucket"]),
        (("truncate(region, 3)",), ["region_trunc"]),
        (('"od d"',), ["od d"]),
        (("month(dt)", "void(id)"), ["dt_month", "id_null"]),
    ],
)
def test_partition_by_finds_columns_in_any_case(lake, partition_by, names):
    table = writer.create(lake.con, QUERY, lake.spec(partition_by=partition_by))
    assert [f.name for f in StaticTable.from_metadata(table.metadata_location).spec().fields] == names
    assert len(lake.rows(table)) == 10


QUERY = """SELECT i AS id, DATE '2020-01-01' + i::INTEGER AS dt, TIMESTAMP '2020-01-01' + INTERVAL (i) HOUR AS ts,
           'region' || (i % 3) AS region, i % 2 AS "od d", [i] AS list, i::DOUBLE AS ratio FROM range(10) r(i)"""


@pytest.mark.parametrize(
    ("partition_by", "message"),
    [
        ("nope", "columns are id, dt, ts, region"),
        ("week(ts)", "identity, year, month"),
        ("day(nope)", "columns are id, dt, ts, region"),
        ("day(id)", "does not apply to column 'id'"),
        ("list", "does not apply to column 'list'"),
        ("ratio", "another column"),
        ("bucket(id)", r"bucket\(16, column\)"),
        ("bucket(0, id)", r"bucket\(16, column\)"),
    ],
)
def test_a_wrong_partition_by_says_what_is_right(lake, partition_by, message):
    with pytest.raises(ConfigError, match=message):
        writer.create(lake.con, QUERY, lake.spec(partition_by=(partition_by,)))
    assert not lake.files()


def test_a_column_twice_is_refused(lake):
    with pytest.raises(ConfigError, match="twice"):
        writer.create(lake.con, QUERY, lake.spec(partition_by=("dt", "DT")))


def test_sort_by_orders_rows_and_is_declared(lake):
    table = writer.create(lake.con, QUERY, lake.spec(sort_by=("Region desc nulls first", "id")))
    found = lake.con.execute(f"SELECT region, id FROM ({reader.select_sql(table.metadata_location)})").fetchall()
    assert found == sorted(found, key=lambda row: (-int(row[0][-1]), row[1]))
    (task,) = StaticTable.from_metadata(table.metadata_location).scan().plan_files()
    assert task.file.sort_order_id == 1
    with pytest.raises(ConfigError, match="columns are id"):
        writer.create(lake.con, QUERY, lake.spec("other", sort_by=("nope",)))


def test_many_partitions(lake):
    table = writer.create(
        lake.con, "SELECT i % 300 AS p, i FROM range(3000) r(i)", lake.spec(partition_by=("p",), sort_by=("i",))
    )
    assert table.rows == 3000
    files = list(StaticTable.from_metadata(table.metadata_location).scan(row_filter="p = 17").plan_files())
    assert sum(task.file.record_count for task in files) == 10
