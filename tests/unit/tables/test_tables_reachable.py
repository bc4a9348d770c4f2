"""The files that states of a table consist of, found by reading paths alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbt.adapters.lakehouse.errors import StorageError
from dbt.adapters.lakehouse.storage import storage_for
from dbt.adapters.lakehouse.tables import metadata, reachable, rows, writer


def test_every_file_of_a_table_and_of_its_earlier_snapshots(lake):
    table = writer.create(lake.con, "SELECT range AS id FROM range(5)", lake.spec())
    first = table.metadata_location
    table = writer.append(lake.con, "SELECT 7 AS id", first)
    table = rows.delete(lake.con, table.metadata_location, "id = 3")
    last = writer.overwrite(lake.con, "SELECT 9 AS id", table.metadata_location).metadata_location
    between = {uri for uri in lake.files() if uri.endswith(".metadata.json")} - {last}
    found = reachable.of_tables([last])
    # The last state tells of all snapshots; of what was there before it needs all but their metadata files.
    assert found.files == lake.files() - between
    assert not found.unreadable
    assert reachable.of_tables([first, last]).files == found.files | {first}
    for one in (first, last):
        table = metadata.load(one)
        live = {file.path for file in (*table.data, *table.deletes)}
        assert live <= reachable.of_tables([one]).files


def test_nothing_is_reachable_from_nothing():
    assert reachable.of_tables([]).files == frozenset()


def test_what_cannot_be_read_is_told_and_the_rest_found(lake):
    good = writer.create(lake.con, "SELECT 1 AS id", lake.spec("good")).metadata_location
    bad = writer.create(lake.con, "SELECT 1 AS id", lake.spec("bad")).metadata_location
    listing = metadata.load(bad).metadata.current_snapshot().manifest_list
    Path(listing.removeprefix("file://")).write_bytes(b"no Avro")
    gone, empty = bad + ".gone", bad + ".empty"
    storage_for(empty).write(empty, b"[]")
    found = reachable.of_tables([good, bad, gone, empty])
    assert reachable.of_tables([good]).files < found.files
    assert set(found.unreadable) == {listing, gone, empty}
    assert "does not exist" in found.unreadable[gone]


def test_a_store_that_is_away_for_a_moment_ends_the_search(lake, s3, faults):
    """Nothing may be taken for unreachable because the network was."""
    options = s3.at(faults.endpoint).options
    store = storage_for(s3.uri, {**options, "retries": "0"})
    store.write(f"{s3.uri}/t/metadata/1.metadata.json", b"{}")
    faults.add("slow_down")
    with pytest.raises(StorageError) as error:
        reachable.of_tables([f"{s3.uri}/t/metadata/1.metadata.json"])
    assert error.value.passing
