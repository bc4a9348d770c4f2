from __future__ import annotations

import pytest
from pyiceberg.table import StaticTable

from dbt.adapters.lakehouse.errors import SchemaMismatch, UnsupportedType
from dbt.adapters.lakehouse.tables import reader, writer

# value as SQL, DuckDB's type when read back (None: the same), Iceberg's type
VALUES = [
    ("true", None, "boolean"),
    ("(-128)::TINYINT", "INTEGER", "int"),
    ("(-32768)::SMALLINT", "INTEGER", "int"),
    ("255::UTINYINT", "INTEGER", "int"),
    ("65535::USMALLINT", "INTEGER", "int"),
    ("4294967295::UINTEGER", "BIGINT", "long"),
    ("2147483647", None, "int"),
    ("(-9223372036854775808)::BIGINT", None, "long"),
    ("18446744073709551615::UBIGINT", None, "decimal(20, 0)"),
    ("99999999999999999999999999999999999999::HUGEINT", None, "decimal(38, 0)"),
    ("99999999999999999999999999999999999999::UHUGEINT", None, "decimal(38, 0)"),
    ("1.5::FLOAT", None, "float"),
    ("'nan'::DOUBLE", None, "double"),
    ("'-inf'::DOUBLE", None, "double"),
    ("(-12345678901234567890123456789012345.678)::DECIMAL(38,3)", None, "decimal(38, 3)"),
    ("0.1::DECIMAL(4,1)", None, "decimal(4, 1)"),
    ("DATE '0044-03-15 (BC)'", None, "date"),
    ("DATE '12345-01-01'", None, "date"),
    ("TIME '23:59:59.999999'", None, "time"),
    ("TIMESTAMP '1969-12-31 23:59:59.999999'", None, "timestamp"),
    ("TIMESTAMP_S '2020-01-01 12:00:00'", None, "timestamp"),
    ("TIMESTAMP_MS '2020-01-01 12:00:00.123'", None, "timestamp"),
    ("TIMESTAMP_NS '2020-01-01 12:00:00.123456'", None, "timestamp"),
    ("TIMESTAMPTZ '2020-01-01 12:00:00+02'", None, "timestamptz"),
    ("'𝒳 and \"quotes\"'", None, "string"),
    ("'\\xFF\\x00'::BLOB", None, "binary"),
    ("'00112233-4455-6677-8899-aabbccddeeff'::UUID", None, "uuid"),
    ("'b''c'::ENUM('a', 'b''c')", None, "string"),
    ("'{\"a\": [1]}'::JSON", None, "string"),
    ("INTERVAL '14 months 3 days 4 hours 1 microsecond'", None, "string"),
    ("INTERVAL '-1 month'", None, "string"),
    ("'10101'::BIT", None, "string"),
    ("'12:00:00.5+01:30'::TIMETZ", None, "string"),
    ("123456789012345678901234567890123456789012345::BIGNUM", None, "string"),
    ("[1.5, NULL]::FLOAT[2]", None, "list<float>"),
    ("[[1, 2], NULL, []]", None, "list<list<int>>"),
    ("[[1, 2]]::INTEGER[2][]", None, "list<list<int>>"),
    ("MAP {'a': 5::HUGEINT}", None, "map<string, decimal(38, 0)>"),
    ("{'a.b': 1, 'c': {'d\"': ['x'::ENUM('x', 'y')]}}", None, None),
    ("[{'at': TIMESTAMP_NS '2020-01-01 12:00:00.123456', 'doc': '1'::JSON}]", None, None),
]


@pytest.mark.parametrize(("value", "back", "iceberg"), VALUES)
def test_a_value_comes_back_as_it_was(lake, value, back, iceberg):
    query = f"SELECT {value} AS x UNION ALL SELECT NULL"
    table = writer.create(lake.con, query, lake.spec())

    wanted = back or lake.con.execute(f"SELECT typeof({value})").fetchone()[0]
    assert lake.con.execute(
        f"SELECT typeof(x) FROM ({reader.select_sql(table.metadata_location)}) LIMIT 1"
    ).fetchone() == (wanted,)
    different = lake.con.execute(
        f"SELECT count(*) FROM ({reader.select_sql(table.metadata_location)}) WHERE x IS NOT NULL "
        f"AND (x IS DISTINCT FROM {value} OR x::VARCHAR <> ({value})::VARCHAR)"
    ).fetchone()
    assert different == (0,)
    assert lake.con.execute(f"SELECT count(x) FROM ({reader.select_sql(table.metadata_location)})").fetchone() == (1,)
    field = StaticTable.from_metadata(table.metadata_location).schema().fields[0]
    assert iceberg is None or str(field.field_type) == iceberg


def test_all_null_columns_have_a_type(lake):
    table = writer.create(
        lake.con, "SELECT NULL AS a, [NULL] AS b, NULL::STRUCT(x INT) AS c FROM range(3)", lake.spec()
    )
    assert lake.rows(table) == [(None, [None], None)] * 3
    assert [c.type for c in table.columns] == ["INTEGER", "INTEGER[]", 'STRUCT("x" INTEGER)']


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("union_value(a := 1)", "VARCHAR"),
        ("1::VARIANT", "JSON"),
        ("'12:00:00'::TIME_NS", "TIME"),
        ("[{'a': '12:00:00'::TIME_NS}]", "TIME"),
        ("row(1, 2)", "struct_pack"),
    ],
)
def test_a_type_without_a_place_is_refused_with_a_cast_that_works(lake, value, hint):
    with pytest.raises(UnsupportedType, match=rf"(?s)column 'bad'.*{hint}"):
        writer.create(lake.con, f"SELECT 1 AS good, {value} AS bad", lake.spec())
    assert not lake.files()


@pytest.mark.parametrize(
    "value",
    [
        "170141183460469231731687303715884105727::HUGEINT",
        "340282366920938463463374607431768211455::UHUGEINT",
        "[170141183460469231731687303715884105727::HUGEINT]",
        "TIMESTAMP_NS '2020-01-01 12:00:00.123456789'",
        "{'a': TIMESTAMP_NS '2020-01-01 12:00:00.000000001'}",
        "DATE 'infinity'",
        "TIMESTAMP '-infinity'",
        "TIMESTAMPTZ 'infinity'",
        "[{'a': DATE '-infinity'}]",
        "TIME '24:00:00'",
    ],
)
def test_a_value_that_does_not_fit_is_refused_and_nothing_is_left(lake, value):
    with pytest.raises(UnsupportedType, match="column 'bad'"):
        writer.create(lake.con, f"SELECT i, {value} AS bad FROM range(5) r(i)", lake.spec())
    assert not lake.files()


def test_infinity_in_text_is_text(lake):
    assert lake.rows(writer.create(lake.con, "SELECT 'infinity' AS a, '24:00:00' AS b", lake.spec())) == [
        ("infinity", "24:00:00")
    ]


def test_column_names_are_taken_as_they_are(lake):
    names = ["a.b", 'q"x', "with space", "select", "naïve 🎈", "it's", "filename", "file_row_number", "rowid", "%s {}"]
    columns = ", ".join(f'{i} AS "{name.replace(chr(34), chr(34) * 2)}"' for i, name in enumerate(names))
    table = writer.create(lake.con, f"SELECT {columns}", lake.spec())
    assert [c.name for c in table.columns] == names
    assert lake.rows(table) == [tuple(range(len(names)))]
    assert StaticTable.from_metadata(table.metadata_location).scan().to_arrow().column_names == names


def test_many_columns(lake):
    columns = ", ".join(f"{i} AS column_{i}" for i in range(1600))
    table = writer.create(lake.con, f"SELECT {columns}", lake.spec())
    assert lake.rows(table) == [tuple(range(1600))]


@pytest.mark.parametrize(
    "query", ["SELECT 1 AS a, 2 AS a", "SELECT 1 AS a, 2 AS b, 3 AS A", "WITH q AS (SELECT 1 AS x) SELECT x, x FROM q"]
)
def test_two_columns_of_one_name_are_refused(lake, query):
    with pytest.raises(SchemaMismatch, match="rename one of them"):
        writer.create(lake.con, query, lake.spec())


def test_names_that_look_numbered_are_no_duplicates(lake):
    table = writer.create(lake.con, "SELECT 1 AS a, 2 AS a_1", lake.spec())
    assert [c.name for c in table.columns] == ["a", "a_1"]
