from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dbt.adapters.lakehouse.storage import storage_for, uri_of
from dbt.adapters.lakehouse.tables import reader
from dbt.adapters.lakehouse.tables.values import TableSpec, Written


class Lake:
    """A folder of tables, and a connection that reads them."""

    def __init__(self, con: duckdb.DuckDBPyConnection, folder: Path) -> None:
        self.con = con
        self.uri = uri_of(folder)

    def spec(self, name: str = "orders", **rest: Any) -> TableSpec:
        return TableSpec(location=f"{self.uri}/{name}", table_uuid=str(uuid.uuid4()), **rest)

    def rows(self, table: Written | str, columns: str = "*") -> list[tuple[Any, ...]]:
        location = table if isinstance(table, str) else table.metadata_location
        return self.con.execute(f"SELECT {columns} FROM ({reader.select_sql(location)}) ORDER BY ALL").fetchall()

    def files(self, name: str = "") -> set[str]:
        uri = f"{self.uri}/{name}" if name else self.uri
        return {file.uri for file in storage_for(uri).list_prefix(uri)}


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET threads = 2")
        yield connection


@pytest.fixture
def lake(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> Lake:
    return Lake(con, tmp_path / "lake")
