"""Rows that went through Arrow are those that DuckDB gives in the same process: the same values of the same types."""

from __future__ import annotations

import math
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbt.adapters.lakehouse.jobs.rows import ArrowRows, connection, decode, encode, first, plain, reading

# Literals of every type, with those at its edges.
LITERALS = {
    "BOOLEAN": ["true", "false"],
    "TINYINT": ["-128", "127"],
    "UTINYINT": ["0", "255"],
    "BIGINT": ["-9223372036854775808", "9223372036854775807"],
    "UBIGINT": ["18446744073709551615"],
    "HUGEINT": ["-170141183460469231731687303715884105728", "170141183460469231731687303715884105727", "0"],
    "UHUGEINT": ["340282366920938463463374607431768211455"],
    "BIGNUM": ["'123456789012345678901234567890123456789012345678901234567890'", "-1"],
    "FLOAT": ["1.1", "'nan'", "'-inf'"],
    "DOUBLE": ["1.1", "'nan'", "'inf'", "-0.0"],
    "DECIMAL(4,1)": ["-999.9", "0"],
    "DECIMAL(18,3)": ["999999999999999.999"],
    "DECIMAL(38,10)": ["1234567890123456789012345678.0123456789", "-0.5"],
    "VARCHAR": ["'x'", "''", "'grüße 🦆'", "chr(0)"],
    "BLOB": ["'\\x00\\xFF'", "''"],
    "BIT": ["'1'", "'010101010101010101'"],
    "UUID": ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-0000-0000-000000000000'"],
    "JSON": ["'{\"a\": [1, null]}'"],
    "DATE": ["'2020-02-29'", "'0001-01-01'", "'9999-12-31'", "'infinity'", "'-infinity'"],
    "TIME": ["'23:59:59.999999'", "'00:00:00'"],
    "TIME_NS": ["'12:00:00.123456789'"],
    "TIMETZ": ["'12:00:00.5+02'", "'00:00:00-11:30'"],
    "TIMESTAMP": ["'2020-01-01 12:00:00.000001'", "'infinity'", "'1677-01-01'"],
    "TIMESTAMP_S": ["'2020-01-01 12:00:00'"],
    "TIMESTAMP_MS": ["'2020-01-01 12:00:00.001'"],
    "TIMESTAMP_NS": ["'2020-01-01 12:00:00.123456789'"],
    "TIMESTAMPTZ": ["'2020-07-01 12:00:00+00'", "'2020-01-01 12:00:00-05'", "'infinity'"],
    "INTERVAL": ["'1 year 2 months'", "'-3 days'", "'4 hours 0.000001 seconds'"],
    "ENUM('a', 'b', 'ü')": ["'a'", "'ü'"],
}
ZONES = ["UTC", "Europe/Zurich", "America/St_Johns", "Asia/Kathmandu"]


def of(kind: str, literal: str) -> str:
    return f"CAST({literal} AS {kind})"


scalars = st.sampled_from([(kind, of(kind, literal)) for kind, literals in LITERALS.items() for literal in literals])


@st.composite
def nested(draw: st.DrawFn, depth: int = 2) -> tuple[str, str]:
    """A type and a SQL expression of it."""
    shape = draw(st.sampled_from(["scalar", "list", "array", "struct", "map", "union", "null"]))
    if depth == 0 or shape == "scalar":
        return draw(scalars)
    kind, value = draw(nested(depth=depth - 1))
    if shape == "null":
        return kind, f"CAST(NULL AS {kind})"
    if shape == "list":
        count = draw(st.integers(0, 3))
        return f"{kind}[]", f"CAST([{', '.join([value, 'NULL'][i % 2] for i in range(count))}] AS {kind}[])"
    if shape == "array":
        return f"{kind}[2]", f"CAST([{value}, NULL] AS {kind}[2])"
    if shape == "struct":
        other, second = draw(nested(depth=depth - 1))
        return f'STRUCT(a {kind}, "B c" {other})', f"{{'a': {value}, 'B c': {second}}}"
    if shape == "map":
        return f"MAP(VARCHAR, {kind})", f"MAP {{'k': {value}, 'l': NULL}}::MAP(VARCHAR, {kind})"
    if "ENUM" in kind:
        return kind, value  # Arrow's enumerations cannot be taken out of its unions, and DuckDB does not read them all.
    return f"UNION(u {kind}, n INTEGER)", f"CAST(union_value(u := {value}) AS UNION(u {kind}, n INTEGER))"


def exact(value: Any) -> Any:
    """A form in which values are equal only if they are of the same types, and NaN is equal to itself."""
    if isinstance(value, float):
        return "float", "nan" if math.isnan(value) else (value, math.copysign(1, value))
    if isinstance(value, dict):
        return "dict", [(exact(key), exact(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value).__name__, [exact(item) for item in value]
    return type(value).__name__, repr(value)


def both_ways(sql: str, zone: str = "UTC") -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    with duckdb.connect() as con:
        con.execute("SET arrow_lossless_conversion = true")
        con.execute("SET TimeZone = ?", [zone])
        direct = con.execute(sql).fetchall()
        return direct, decode(encode(con.sql(sql).to_arrow_reader(1000)))


@pytest.mark.parametrize("kind", LITERALS)
@pytest.mark.parametrize("zone", ZONES[:2])
def test_every_type(kind: str, zone: str) -> None:
    values = ", ".join(f"({of(kind, literal)})" for literal in LITERALS[kind])
    direct, decoded = both_ways(f"FROM (VALUES {values}, (NULL)) t(v)", zone)
    assert exact(decoded) == exact(direct)


@settings(max_examples=150, deadline=None)
@given(columns=st.lists(nested(), min_size=1, max_size=3), zone=st.sampled_from(ZONES))
def test_any_columns(columns: list[tuple[str, str]], zone: str) -> None:
    select = ", ".join(f"{value} AS c{index}" for index, (_, value) in enumerate(columns))
    direct, decoded = both_ways(f"SELECT {select}", zone)
    assert exact(decoded) == exact(direct)


def test_names_do_not_matter() -> None:
    direct, decoded = both_ways('SELECT 1 AS a, [true] AS a, \'x\' AS """q""", 4 AS "A"')
    assert decoded == direct == [(1, [True], "x", 4)]


@pytest.mark.parametrize("rows", [0, 1, 5000, 300_000])
def test_few_rows_and_many(rows: int) -> None:
    sql = f"SELECT i, i / 3.0 AS d, 'x' || i AS s, i % 2 = 0 AS b FROM range({rows}) t(i)"
    direct, decoded = both_ways(sql)
    assert exact(decoded) == exact(direct)


def rows_of(sql: str) -> ArrowRows:
    with duckdb.connect() as con:
        con.execute("SET arrow_lossless_conversion = true")
        return ArrowRows(encode(con.sql(sql).to_arrow_reader(1000)))


def test_they_are_a_sequence() -> None:
    rows = rows_of("FROM range(3)")
    assert (len(rows), rows[1], rows[-1], rows[:2]) == (3, (1,), (2,), [(0,), (1,)])
    assert rows == [(0,), (1,), (2,)]
    assert rows == rows_of("FROM range(3)")
    assert rows != [(0,)]
    assert (2,) in rows
    assert repr(rows) == "[(0,), (1,), (2,)]"
    assert not rows_of("FROM range(0)")


@pytest.mark.parametrize("limit", [None, 0, 1, 999, 1000, 1001, 5000, 9999])
def test_no_more_than_wanted(limit: int | None) -> None:
    with duckdb.connect() as con:
        got = list(first(con.sql("FROM range(5000)").to_arrow_reader(1000), limit))
    assert sum(batch.num_rows for batch in got) == (5000 if limit is None else min(limit, 5000))


def test_plain_is_what_duckdb_gives_to_arrow() -> None:
    sql = "SELECT 1::HUGEINT h, true b, uuid() u, TIMESTAMPTZ '2020-01-01 00:00:00+00' t, {'x': [1::UHUGEINT]} s FROM range(3000)"
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'Europe/Zurich'")
        expected = con.sql(sql).to_arrow_table().schema
        con.execute("SET arrow_lossless_conversion = true")
        lossless = con.sql(sql).to_arrow_reader(1000)
        assert lossless.schema != expected
        table = plain(lossless).read_all()
    assert table.schema == expected
    assert table.num_rows == 3000


def test_what_is_plain_already_is_not_touched() -> None:
    with duckdb.connect() as con:
        reader = con.sql("FROM range(3)").to_arrow_reader(1000)
        assert plain(reader) is reader


@pytest.mark.parametrize("through", [reading, lambda reader: plain(reading(reader))])
def test_errors_are_duckdbs_own(through: Any) -> None:
    with duckdb.connect(config={"memory_limit": "50MB", "temp_directory": ""}) as con:
        con.execute("SET arrow_lossless_conversion = true")
        late = "SELECT true AS b, CASE WHEN i = 299999 THEN 'x' ELSE '1' END::INT AS n FROM range(300000) t(i)"
        with pytest.raises(duckdb.Error, match=r"^Conversion Error: Could not convert string 'x'"):
            through(con.sql(late).to_arrow_reader(1000)).read_all()
        much = "SELECT true AS b, i FROM range(10000000) t(i) ORDER BY hash(i)"
        with pytest.raises(duckdb.OutOfMemoryException):
            through(con.sql(much).to_arrow_reader(1000)).read_all()


def test_what_is_no_arrow_is_refused() -> None:
    with pytest.raises(pa.ArrowInvalid):
        decode(b"nothing of the kind")


def test_a_duckdb_that_gave_up_is_replaced() -> None:
    broken = connection()
    broken.close()
    assert connection() is not broken
    assert decode(rows_of("SELECT 1::HUGEINT AS h").ipc) == [(1,)]


@pytest.mark.parametrize(
    "kind", ["ENUM('a')[]", "ENUM('a')[][]", "STRUCT(e ENUM('a')[], b BOOLEAN)", "MAP(VARCHAR, ENUM('a'))"]
)
@pytest.mark.parametrize(
    "value", ["NULL", "[]", "['a', NULL]", "[['a'], []]", "{'e': [], 'b': true}", "MAP {}", "MAP {'k': 'a'}"]
)
def test_enumerations_within(kind: str, value: str) -> None:
    try:
        direct, decoded = both_ways(f"SELECT CAST({value} AS {kind}) AS v, true AS b")
    except (duckdb.ConversionException, duckdb.BinderException):
        return  # a value of another type
    assert exact(decoded) == exact(direct)
