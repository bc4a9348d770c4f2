from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt.adapters.lakehouse.errors import ConfigError, StorageError
from dbt.adapters.lakehouse.storage import folder_name, storage_for, uri_of


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return uri_of(tmp_path)


def test_write_read_list_delete(uri):
    storage = storage_for(uri)
    for name in ("a", "b/c", "b/d%20e", "b/ü f"):
        storage.write(f"{uri}/x/{name}", name.encode())
    assert storage.read(f"{uri}/x/b/d%20e") == b"b/d%20e"
    listed = {file.uri: file.size for file in storage.list_prefix(f"{uri}/x")}
    assert listed == {f"{uri}/x/{name}": len(name.encode()) for name in ("a", "b/c", "b/d%20e", "b/ü f")}
    assert storage.exists(f"{uri}/x/a")
    storage.delete(f"{uri}/x/a")
    storage.delete(f"{uri}/x/a")
    assert not storage.exists(f"{uri}/x/a")
    storage.delete_prefix(f"{uri}/x")
    storage.delete_prefix(f"{uri}/x")
    assert list(storage.list_prefix(f"{uri}/x")) == []


def test_a_file_is_never_overwritten(uri):
    storage = storage_for(uri)
    storage.write(f"{uri}/a", b"1")
    with pytest.raises(StorageError, match="exists already"):
        storage.write(f"{uri}/a", b"2")
    assert storage.read(f"{uri}/a") == b"1"


def test_a_full_disk_leaves_nothing_and_says_so(uri, monkeypatch):
    class Full:
        def __init__(self, handle, _mode):
            self.handle = handle

        def __enter__(self):
            return self

        def __exit__(self, *_):
            os.close(self.handle)

        def write(self, _content):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdopen", Full)
    with pytest.raises(StorageError, match=r"a: the disk is full, free some space"):
        storage_for(uri).write(f"{uri}/a", b"1")
    assert not storage_for(uri).exists(f"{uri}/a")


def test_a_file_in_the_way(uri):
    storage = storage_for(uri)
    storage.write(f"{uri}/a", b"1")
    with pytest.raises(StorageError, match="cannot write"):
        storage.write(f"{uri}/a/b", b"1")
    with pytest.raises(StorageError, match="cannot write"):
        storage.duckdb_path(f"{uri}/a/b", folder=True)
    with pytest.raises(StorageError, match="cannot read"):
        storage.read(f"{uri}/a/b")


def test_a_file_that_vanished(uri):
    with pytest.raises(StorageError, match=r"nope does not exist \(any more\)"):
        storage_for(uri).read(f"{uri}/nope")


@pytest.mark.parametrize(
    ("location", "message"), [("s3a://b/p", "s3://"), ("/a/b", "file:///"), ("file://host/a", "file:///")]
)
def test_other_locations_are_refused(location, message):
    with pytest.raises(ConfigError, match=message):
        storage_for(location)


@pytest.mark.parametrize("path", ["/a?b", "/a#b"])
def test_paths_that_readers_cut_are_refused(path):
    with pytest.raises(ConfigError, match="cut it off"):
        storage_for(uri_of(path)).read(uri_of(path))


@given(st.text(min_size=1, max_size=40))
def test_a_folder_name_is_one_plain_segment_and_differs_where_names_differ(name):
    found = folder_name(name) if name.isprintable() else "x"
    assert found.isascii()
    assert not set(found) & set("/?#*[ \\")
    assert found not in (".", "..")


def test_folder_names():
    assert [folder_name(n) for n in ("orders", "a b", "..", "a.b", "ü")] == [
        "orders",
        "a%20b",
        "%2E%2E",
        "a.b",
        "%C3%BC",
    ]


def test_names_that_are_too_long_for_a_file_system_stay_apart() -> None:
    names = ["ü" * 200, "ü" * 201, "x" * 300]
    folders = [folder_name(name) for name in names]
    assert len(set(folders)) == 3
    assert all(len(folder) < 256 for folder in folders)
    assert folders[2].startswith("x" * 100)
