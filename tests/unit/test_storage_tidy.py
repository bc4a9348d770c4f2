"""Many files deleted at once, and what dead writers left: on this machine and in S3."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from s3_server import BUCKET, S3

from dbt.adapters.lakehouse.storage import LocalStorage, storage_for, uri_of


def test_folders_go_with_their_last_file_up_to_a_bound(tmp_path: Path) -> None:
    store, lake = LocalStorage(), tmp_path / "lake"
    for name in ("s/t/1/data/a/0.parquet", "s/t/1/metadata/0.json", "s/u/1/data/0.parquet"):
        store.write(uri_of(lake / name), b"x")
    gone = [uri_of(lake / "s/t/1/data/a/0.parquet"), uri_of(lake / "s/t/1/metadata/0.json"), uri_of(lake / "s/no")]
    store.delete_files(gone, below=uri_of(lake))
    assert [str(path.relative_to(lake)) for path in sorted(lake.rglob("*"))] == [
        *("s", "s/u", "s/u/1", "s/u/1/data", "s/u/1/data/0.parquet")
    ]
    store.delete_files([uri_of(lake / "s/u/1/data/0.parquet")], below=uri_of(lake))
    assert list(lake.iterdir()) == []  # it stays itself, empty as it is


def test_only_old_empty_folders_are_tidied_away(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    for name in ("old/a/b", "young/a", "full"):
        (lake / name).mkdir(parents=True)
    (lake / "full" / "file").write_text("x")
    for folder in (lake / "old/a/b", lake / "old/a", lake / "old", lake / "full", lake / "young", lake):
        os.utime(folder, (0, 0))
    assert LocalStorage().tidy(uri_of(lake), time.time() - 60) == 3
    assert {str(path.relative_to(lake)) for path in lake.rglob("*")} == {"young", "young/a", "full", "full/file"}
    assert LocalStorage().tidy(uri_of(lake / "nowhere"), time.time()) == 0


def test_writers_are_not_disturbed_by_folders_that_go(tmp_path: Path) -> None:
    """Files of one folder come and go, and with the last one the folder, while others are written to it."""
    store, done, failed = LocalStorage(), threading.Event(), []

    def write(worker: int) -> None:
        try:
            for number in range(300):
                uri = uri_of(tmp_path / f"s/t/{worker}-{number}")
                store.write(uri, b"x")
                store.duckdb_path(uri_of(tmp_path / f"s/t/{worker}/{number}"), folder=True)
                store.delete_files([uri], below=uri_of(tmp_path))
                Path(tmp_path / f"s/t/{worker}/{number}").rmdir()
        except Exception as error:  # told to the test below
            failed.append(error)

    def remove() -> None:
        while not done.is_set():
            store.delete_files([uri_of(tmp_path / "s/t/none")], below=uri_of(tmp_path))

    remover = threading.Thread(target=remove)
    writers = [threading.Thread(target=write, args=(worker,)) for worker in range(3)]
    for thread in (remover, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    remover.join()
    assert failed == []


def test_many_objects_and_unfinished_uploads_in_s3(s3: S3) -> None:
    store = storage_for(s3.uri, s3.options)
    for number in range(5):
        store.write(f"{s3.uri}/s/{number}", b"x")
    store.delete_files([f"{s3.uri}/s/{number}" for number in (0, 1, 2, 9)], below=s3.uri)
    assert s3.names() == {"s/3", "s/4"}
    client = s3.client()
    client.create_multipart_upload(Bucket=BUCKET, Key=f"{s3.folder}/s/begun")
    begun = time.time()
    assert store.tidy(s3.uri, begun - 3600) == 0
    assert store.tidy(s3.uri, begun + 3600) == 1
    assert s3.unfinished() == []
    assert store.tidy(s3.uri, begun + 3600) == 0
