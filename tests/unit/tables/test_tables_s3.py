"""Tables in a real S3 server that is slow, overloaded or cut off for a while, or for good."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from s3_faults import Faults
from s3_server import S3

from dbt.adapters.lakehouse.errors import SqlError, StorageError
from dbt.adapters.lakehouse.jobs.engine import duckdb_errors
from dbt.adapters.lakehouse.jobs.s3_access import Grant
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.storage import storage_for
from dbt.adapters.lakehouse.tables import maintenance, metadata, reader, rows, writer
from dbt.adapters.lakehouse.tables.values import TableSpec, Written

QUERY = "SELECT i AS id, i % 3 AS p, 'n' || i AS name FROM range(3000) r(i)"


class Tables:
    """Tables below a location, written and read as by a process that has just started."""

    def __init__(self, folder: Path, s3: S3, **options: str) -> None:
        self.s3 = s3
        settings = LakeSettings(warehouse=s3.uri, catalog="", storage_options={**s3.options, **options})
        self.con = duckdb.connect(config={"temp_directory": str(folder)})
        self.con.execute("SET threads = 2; SET enable_external_file_cache = false")
        self.grant = Grant(self.con, settings)

    def create(self, query: str = QUERY, name: str = "t", **rest: Any) -> Written:
        with duckdb_errors():
            spec = TableSpec(location=f"{self.s3.uri}/{name}", table_uuid=str(uuid.uuid4()), **rest)
            return writer.create(self.con, query, spec)

    def rows(self, table: Written, columns: str = "count(*), sum(id)") -> list[tuple[Any, ...]]:
        with duckdb_errors():
            read = reader.select(metadata._read(table.metadata_location))
            return self.con.execute(f"SELECT {columns} FROM ({read})").fetchall()


@pytest.fixture
def tables(s3: S3, faults: Faults, tmp_path: Path) -> Iterator[Tables]:
    found = Tables(tmp_path / "private", s3.at(faults.endpoint))
    yield found
    found.con.close()


@pytest.fixture
def impatient(s3: S3, faults: Faults, tmp_path: Path) -> Iterator[Tables]:
    found = Tables(tmp_path / "private", s3.at(faults.endpoint), retries="1", timeout="1")
    yield found
    found.con.close()


ALL = [(3000, sum(range(3000)))]


@pytest.mark.parametrize("kind", ["slow_down", "lost"])
def test_writes_survive_what_passes(tables: Tables, faults: Faults, kind: str) -> None:
    met = [faults.add(kind, method="PUT", path=path, times=2) for path in (".parquet", ".avro", ".metadata.json")]
    table = tables.create(partition_by=("p",))
    assert [len(fault.met) for fault in met] == [2, 2, 2]
    assert tables.rows(table) == ALL
    assert sorted(Path(key).suffix for key in tables.s3.names()) == [".avro"] * 2 + [".json"] + [".parquet"] * 3


@pytest.mark.parametrize("kind", ["slow_down", "cut", "lost"])
def test_reads_survive_what_passes(tables: Tables, faults: Faults, kind: str) -> None:
    table = tables.create()
    met = [faults.add(kind, method="GET", path=path, times=2) for path in (".metadata.json", ".avro", ".parquet")]
    assert tables.rows(table) == ALL
    assert [len(fault.met) for fault in met] == [2, 2, 2]


def test_a_slow_store_is_waited_for(tables: Tables, faults: Faults) -> None:
    faults.add("late", seconds=0.2, times=6)
    assert tables.rows(tables.create()) == ALL


@pytest.mark.parametrize(
    ("kind", "path"),
    [("slow_down", ".parquet"), ("lost", ".parquet"), ("slow_down", ".avro"), ("lost", ".metadata.json")],
)
def test_writes_that_fail_leave_nothing_and_may_be_tried_again(
    impatient: Tables, faults: Faults, kind: str, path: str, tmp_path: Path
) -> None:
    faults.add(kind, method="PUT", path=path)
    with pytest.raises(StorageError) as caught:
        impatient.create(partition_by=("p",))
    assert caught.value.passing
    assert impatient.s3.uri in str(caught.value)
    assert impatient.s3.names() == set()
    assert impatient.s3.unfinished() == []
    assert not [path for path in (tmp_path / "private").rglob("*") if path.is_file()]
    faults.heal()
    assert impatient.rows(impatient.create()) == ALL


def test_a_store_that_is_away_is_not_asked_for_each_file(impatient: Tables, faults: Faults) -> None:
    faults.add("slow_down", method="PUT", path=".metadata.json")
    for method in ("GET", "POST", "DELETE"):
        faults.add("slow_down", method=method)
    with pytest.raises(StorageError) as caught:
        impatient.create()
    assert caught.value.passing
    last = next(index for index, seen in enumerate(faults.seen) if ".metadata.json" in seen)
    assert len(faults.seen[last:]) == 4  # twice the write, twice the first request to clean up


@pytest.mark.parametrize(
    ("kind", "path"),
    [("slow_down", ".parquet"), ("lost", ".parquet"), ("late", ".parquet"), ("slow_down", ".avro"), ("cut", ".json")],
)
def test_reads_that_fail_say_that_it_may_pass(impatient: Tables, faults: Faults, kind: str, path: str) -> None:
    table = impatient.create()
    faults.add(kind, path=path, seconds=2.5)
    with pytest.raises(StorageError) as caught:
        impatient.rows(table)
    assert caught.value.passing
    faults.heal()
    assert impatient.rows(table) == ALL


def test_a_large_file_is_sent_in_parts_or_not_at_all(impatient: Tables, faults: Faults) -> None:
    wide = "SELECT i AS id, 0 AS p, sha256(i::VARCHAR) AS name FROM range(500000) r(i)"
    fault = faults.add("slow_down", method="PUT", path="partNumber=2")
    with pytest.raises(StorageError) as caught:
        impatient.create(wide)
    assert fault.met
    assert caught.value.passing
    assert impatient.s3.names() == set()
    assert impatient.s3.unfinished() == []
    faults.heal()
    assert impatient.rows(impatient.create(wide)) == [(500_000, sum(range(500_000)))]
    assert any("partNumber=2" in seen for seen in faults.seen)


def test_a_query_that_fails_sends_nothing(tables: Tables, faults: Faults) -> None:
    with pytest.raises(SqlError, match="no"):
        tables.create("SELECT i, CASE WHEN i = 299999 THEN error('no') END AS x FROM range(300000) r(i)")
    assert not [seen for seen in faults.seen if seen.startswith("PUT")]
    assert tables.s3.names() == set()


def test_a_table_through_its_life(tables: Tables) -> None:
    con = tables.con
    table = tables.create(partition_by=("p",), properties={"write.target-file-size-bytes": "1000000"})
    more = "SELECT 5000 + i AS id, i % 4 AS p, NULL AS name FROM range(10) r(i)"
    table = writer.append(con, more, table.metadata_location)
    table = rows.delete(con, table.metadata_location, "id % 2 = 1")
    expected = [(1505, sum(range(0, 3000, 2)) + sum(range(5000, 5010, 2)))]
    assert tables.rows(table) == expected
    before = table
    table = maintenance.compact(con, table.metadata_location)
    assert tables.rows(table) == expected == tables.rows(before)


def test_two_lakes_with_other_keys_in_one_process(s3: S3, tmp_path: Path) -> None:
    from s3_server import READER_KEY, READER_SECRET

    mine, theirs = Tables(tmp_path / "a", s3.below("mine")), s3.below("theirs")
    storage_for(theirs.uri, {**theirs.options, "access_key_id": READER_KEY, "secret_access_key": READER_SECRET})
    table = mine.create()
    assert mine.rows(table) == ALL
    with pytest.raises(StorageError, match="access is denied") as caught:
        storage_for(f"{theirs.uri}/t/x").write(f"{theirs.uri}/t/x", b"")
    assert not caught.value.passing
    mine.con.close()
