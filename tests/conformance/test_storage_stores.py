"""Both stores of files keep the promises of ``Storage``."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dbt.adapters.lakehouse.errors import StorageError
from dbt.adapters.lakehouse.storage import Storage, storage_for, uri_of

NAMES = ("a", "b/c", "b/d%20e", "b/ü f", "b/x=1/y", "b/q+&,;:@'()~", "e/f/g/h")


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Storage, str]:
    if request.param == "local":
        return storage_for(uri_of(tmp_path)), uri_of(tmp_path)
    s3 = request.getfixturevalue("s3")
    return storage_for(s3.uri, s3.options), s3.uri


def test_what_is_written_is_read_and_listed(place):
    storage, uri = place
    for name in NAMES:
        storage.write(f"{uri}/x/{name}", name.encode())
    assert [storage.read(f"{uri}/x/{name}") for name in NAMES] == [name.encode() for name in NAMES]
    listed = {file.uri: file.size for file in storage.list_prefix(f"{uri}/x")}
    assert listed == {f"{uri}/x/{name}": len(name.encode()) for name in NAMES}
    assert {file.uri for file in storage.list_prefix(f"{uri}/x/b")} < set(listed)
    assert all(file.modified > 1_700_000_000 for file in storage.list_prefix(uri))


def test_an_empty_file_and_a_large_one(place):
    storage, uri = place
    large = bytes(range(256)) * 40_000
    for name, content in (("empty", b""), ("large", large)):
        storage.write(f"{uri}/{name}", content)
        assert storage.read(f"{uri}/{name}") == content


def test_what_is_deleted_is_gone_and_its_neighbours_are_not(place):
    storage, uri = place
    for name in ("a", "ab", "a.c/d", "b/c"):
        storage.write(f"{uri}/x/{name}", b"1")
    storage.delete(f"{uri}/x/a")
    storage.delete(f"{uri}/x/a")
    storage.delete(f"{uri}/nowhere/a")
    assert {file.uri for file in storage.list_prefix(uri)} == {f"{uri}/x/{name}" for name in ("ab", "a.c/d", "b/c")}
    storage.delete_prefix(f"{uri}/x/a.c")
    storage.delete_prefix(f"{uri}/x/a.c")
    assert {file.uri for file in storage.list_prefix(uri)} == {f"{uri}/x/ab", f"{uri}/x/b/c"}
    storage.delete_prefix(f"{uri}/x")
    assert list(storage.list_prefix(uri)) == []


def test_files_and_folders_exist_or_do_not(place):
    storage, uri = place
    storage.write(f"{uri}/a/b", b"1")
    assert storage.exists(f"{uri}/a/b")
    assert storage.exists(f"{uri}/a")
    assert not storage.exists(f"{uri}/a/c")
    assert not storage.exists(f"{uri}/b")


def test_a_file_is_never_overwritten(place):
    storage, uri = place
    storage.write(f"{uri}/a", b"1")
    with pytest.raises(StorageError, match="exists already"):
        storage.write(f"{uri}/a", b"2")
    assert storage.read(f"{uri}/a") == b"1"


def test_of_many_writers_one_wins(place):
    storage, uri = place
    won: list[int] = []
    lost: list[bool] = []
    barrier = threading.Barrier(8)

    def write(number: int) -> None:
        barrier.wait()
        try:
            storage.write(f"{uri}/a", str(number).encode() * 1000)
        except StorageError as error:
            lost.append(error.passing)
        else:
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert lost == [False] * 7
    assert storage.read(f"{uri}/a") == str(won[0]).encode() * 1000


def test_what_is_not_there_says_so(place):
    storage, uri = place
    with pytest.raises(StorageError, match=r"nope does not exist \(any more\)") as caught:
        storage.read(f"{uri}/nope")
    assert not caught.value.passing
    assert list(storage.list_prefix(f"{uri}/nope")) == []


def test_a_folder_is_filled(place, tmp_path):
    storage, uri = place
    private = tmp_path / "private"
    private.mkdir()
    with storage.filling(f"{uri}/data", lambda: str(private)) as folder:
        for name in ("1", "x=a%20b/2", "x=a%20b/3", "x=c/4"):
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(name.encode() * 10)
    found = {file.uri.removeprefix(f"{uri}/data/"): storage.read(file.uri) for file in storage.list_prefix(uri)}
    assert found == {name: name.encode() * 10 for name in ("1", "x=a%20b/2", "x=a%20b/3", "x=c/4")}
    assert list(private.iterdir()) == []


def test_a_folder_that_was_not_filled_to_the_end_can_be_removed(place, tmp_path):
    storage, uri = place

    def fill() -> None:
        with storage.filling(f"{uri}/data", lambda: str(tmp_path / "private")) as folder:
            Path(folder, "1").write_bytes(b"1")
            raise RuntimeError("midway")

    (tmp_path / "private").mkdir()
    with pytest.raises(RuntimeError, match="midway"):
        fill()
    assert list((tmp_path / "private").iterdir()) == []
    storage.delete_prefix(f"{uri}/data")
    assert list(storage.list_prefix(f"{uri}/data")) == []


def test_duckdb_reads_a_file_under_its_name(place, s3):
    import duckdb

    from dbt.adapters.lakehouse.jobs.s3_access import Grant
    from dbt.adapters.lakehouse.settings import LakeSettings

    storage, uri = place
    with duckdb.connect() as con:
        Grant(con, LakeSettings(warehouse=s3.uri, catalog="", storage_options=s3.options))
        for name in NAMES:
            storage.write(f"{uri}/{name}", name.encode())
            path = storage.duckdb_path(f"{uri}/{name}").replace("'", "''")
            assert con.execute(f"SELECT content FROM read_text('{path}')").fetchall() == [(name,)]
