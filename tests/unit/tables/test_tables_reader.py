from __future__ import annotations

import subprocess
import sys

import duckdb
import pytest

from dbt.adapters.lakehouse.errors import StorageError, TableError
from dbt.adapters.lakehouse.storage import storage_for
from dbt.adapters.lakehouse.tables import commits, evolve, metadata, reader, writer


def test_values_cost_nothing_to_import():
    code = (
        "import sys, dbt.adapters.lakehouse.tables.values, dbt.adapters.lakehouse.storage;"
        "print([m for m in ('pyiceberg', 'duckdb', 'pyarrow') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_tables_import_neither_catalog_nor_dbt_nor_pyicebergs_arrow():
    code = (
        "import sys; from dbt.adapters.lakehouse.tables import writer, rows, evolve, maintenance;"
        "print([m for m in sys.modules if m.startswith(('dbt.adapters.lakehouse.catalog', 'dbt.adapters.lakehouse.run',"
        " 'dbt.adapters.base', 'dbt_common', 'pyiceberg.io.pyarrow', 'pyarrow'))])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_a_written_table_is_read_without_touching_its_metadata(lake):
    table = writer.create(lake.con, "SELECT 1 AS a", lake.spec())
    for file in lake.files():
        if not file.endswith(".parquet"):
            storage_for(file).delete(file)
    assert lake.rows(table) == [(1,)]


@pytest.mark.skipif(
    duckdb.__version__ == "2.0.0", reason="DuckDB 2.0.0 does not estimate rows by what a scan is told of its files"
)
def test_a_view_knows_how_many_rows_there_are(lake):
    table = writer.create(lake.con, "SELECT i AS a FROM range(123456) r(i)", lake.spec())
    changed = evolve.add_column(lake.con, table.metadata_location, "b", "INTEGER")
    for written in (table, changed):
        lake.con.execute(f"CREATE OR REPLACE VIEW v AS {reader.select_sql(written.metadata_location)}")
        assert "123,456 rows" in lake.con.execute("EXPLAIN FROM v").fetchall()[0][1].replace(
            "123456 rows", "123,456 rows"
        )


def test_files_of_the_current_schema_are_read_without_a_schema(lake):
    table = writer.create(lake.con, "SELECT 1 AS a", lake.spec())
    changed = evolve.add_column(lake.con, table.metadata_location, "b", "INTEGER")
    assert "schema = MAP" in reader.select_sql(changed.metadata_location)
    rewritten = writer.overwrite(lake.con, "SELECT 2 AS a, 3 AS b", changed.metadata_location)
    assert "schema = MAP" not in reader.select_sql(rewritten.metadata_location)
    assert lake.rows(rewritten) == [(2, 3)]
    # read anew, and when the snapshot that added the file is no longer told of
    again = metadata._read(rewritten.metadata_location)
    assert "schema = MAP" not in reader.select(again)
    location = rewritten.metadata_location
    for i in range(commits.SNAPSHOTS_KEPT):
        location = writer.append(lake.con, f"SELECT {i} AS a, 0 AS b", location).metadata_location
    assert "schema = MAP" in reader.select_sql(location)
    assert len(lake.rows(location)) == commits.SNAPSHOTS_KEPT + 1


def test_missing_and_broken_metadata(lake):
    with pytest.raises(StorageError, match="does not exist"):
        reader.select_sql(f"{lake.uri}/t/metadata/nope.metadata.json")
    broken = f"{lake.uri}/t/metadata/broken.metadata.json"
    storage_for(broken).write(broken, b'{"format-version": 2}')
    with pytest.raises(TableError, match="no Iceberg table metadata"):
        reader.select_sql(broken)


def test_the_cache_forgets_the_oldest():
    cache = metadata._Cache(weight=0)
    first, second = (metadata.Table(metadata_location=name, metadata=_Nothing()) for name in "ab")  # type: ignore[arg-type]
    cache.put(first)
    cache.put(second)
    assert cache.get("a") is None
    assert cache.get("b") is second


class _Nothing:
    snapshots = ()

    @staticmethod
    def schema():
        return _Nothing

    fields = ()
