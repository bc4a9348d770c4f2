"""What is quoted means to DuckDB what it was."""

import duckdb
import pytest

from dbt.adapters.lakehouse.quoting import literal, qualified, quote

ODD = ["plain", 'a "name"', "it's", "a.b", "", "ünï code", "line\nbreak", "back\\slash", "$1", "--"]


@pytest.mark.parametrize("text", ODD)
def test_texts(text: str) -> None:
    assert duckdb.sql(f"SELECT {literal(text)}").fetchone() == (text,)


@pytest.mark.parametrize("name", [name for name in ODD if name])
def test_names(name: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE SCHEMA {quote(name)}")
        connection.execute(f"CREATE TABLE {qualified('memory', name, name)} AS SELECT 1 AS {quote(name)}")
        assert connection.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall() == [(name, name)]
        assert connection.execute(f"SELECT {quote(name)} FROM {qualified(name, name)}").fetchall() == [(1,)]
