"""Types are shown as DuckDB writes them."""

from __future__ import annotations

import duckdb
import pytest

from dbt.adapters.lakehouse.tables.type_text import as_duckdb_writes


@pytest.mark.parametrize(
    "type_text",
    [
        "INTEGER",
        "DECIMAL(10,2)[]",
        'STRUCT("x" INTEGER, "Ab_1" VARCHAR[])',
        'STRUCT("select" INTEGER, "value" DATE, "date" DATE, "a b" INTEGER, "1a" INTEGER, "q""t" INTEGER, "é" INTEGER)',
        'MAP(VARCHAR, STRUCT("a" STRUCT("b" INTEGER)[]))',
        """STRUCT("e" ENUM('"x"', 'it''s "y"'), "z" INTEGER)""",
    ],
)
def test_fields_are_quoted_where_duckdb_quotes_them(type_text: str) -> None:
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT typeof(NULL::{type_text})").fetchone()
    assert found == (as_duckdb_writes(type_text),)
