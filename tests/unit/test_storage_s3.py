"""What is S3's alone: credentials, errors, and writes whose answer is lost."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from s3_faults import Faults
from s3_server import BUCKET, READER_KEY, READER_SECRET, ROLE, S3

from dbt.adapters.lakehouse.errors import ConfigError, StorageError
from dbt.adapters.lakehouse.storage import storage_for, worker_environment
from dbt.adapters.lakehouse.storage.places import s3_storage

FAST = {"retries": "1", "timeout": "1"}


def opened(s3: S3, **options: str):
    return s3_storage(s3.uri, {**s3.options, **options})


def test_what_lies_below_a_warehouse_is_reached_with_its_options(s3):
    mine, theirs = s3.below("a"), s3.below("a-b")
    storage_for(mine.uri, mine.options)
    storage_for(theirs.uri, {**theirs.options, "access_key_id": READER_KEY, "secret_access_key": READER_SECRET})
    storage_for(f"{mine.uri}/t/x").write(f"{mine.uri}/t/x", b"1")
    assert storage_for(f"{theirs.uri}/t/x") is storage_for(theirs.uri)
    with pytest.raises(StorageError, match="access is denied"):
        storage_for(f"{theirs.uri}/t/x").write(f"{theirs.uri}/t/x", b"1")


def test_other_options_for_a_warehouse_take_the_place_of_the_old(s3):
    wrong = opened(s3, secret_access_key="wrong")
    with pytest.raises(StorageError, match="does not belong to the key"):
        wrong.read(f"{s3.uri}/a")
    right = opened(s3)
    assert right is opened(s3)
    assert storage_for(f"{s3.uri}/a") is right
    assert list(right.list_prefix(s3.uri)) == []


@pytest.mark.parametrize(
    ("options", "says", "passing"),
    [
        ({"access_key_id": "nobody"}, "does not know the access key", False),
        ({"secret_access_key": "wrong"}, "does not belong to the key", False),
        ({"access_key_id": READER_KEY, "secret_access_key": READER_SECRET}, "access is denied", False),
        ({"endpoint": "http://127.0.0.1:9", **FAST}, "cannot be reached", True),
        ({"endpoint": "http://nowhere.invalid", **FAST}, "cannot be reached", True),
    ],
)
def test_errors_say_what_to_do_and_whether_to_wait(s3, options, says, passing):
    storage = opened(s3, **options)
    verbs = [
        lambda: storage.write(f"{s3.uri}/a", b"1"),
        lambda: storage.delete(f"{s3.uri}/a"),
    ]
    if "access is denied" not in says:
        verbs += [
            lambda: storage.read(f"{s3.uri}/a"),
            lambda: storage.exists(f"{s3.uri}/a"),
            lambda: list(storage.list_prefix(s3.uri)),
            lambda: storage.delete_prefix(s3.uri),
        ]
    for verb in verbs:
        with pytest.raises(StorageError) as caught:
            verb()
        # The answer to HEAD has no body that could say which of the things is wrong.
        assert says in str(caught.value) or "look for" in str(caught.value)
        assert s3.uri in str(caught.value)
        assert caught.value.passing is passing
        assert "lake-secret" not in str(caught.value)
    storage_for(s3.uri, s3.options)


def test_a_bucket_that_does_not_exist(s3):
    uri = "s3://nobody-has-this/lake"
    storage = storage_for(uri, s3.options)
    for verb in (lambda: storage.read(f"{uri}/a"), lambda: list(storage.list_prefix(uri))):
        with pytest.raises(StorageError, match="no such bucket, create it or correct `warehouse`") as caught:
            verb()
        assert not caught.value.passing


def test_without_credentials_it_is_said_which_are_needed(s3, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    storage = s3_storage(s3.uri, {"endpoint": s3.options["endpoint"]})
    for verb in (lambda: storage.read(f"{s3.uri}/a"), storage.access.keys):
        with pytest.raises(StorageError, match="no credentials were found"):
            verb()
    missing = s3_storage(s3.uri, {"endpoint": s3.options["endpoint"], "profile": "nope"})
    with pytest.raises(StorageError, match=r"profile .*nope.* could not be found; correct `profile`"):
        missing.read(f"{s3.uri}/a")


def test_the_credentials_of_the_aws_tools_are_found(s3, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        f"[lake]\naws_access_key_id = {s3.key}\naws_secret_access_key = {s3.secret}\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    base = {"endpoint": s3.options["endpoint"], "region": "us-east-1"}
    s3_storage(s3.uri, {**base, "profile": "lake"}).write(f"{s3.uri}/a", b"1")
    # A worker has another HOME, and is told where to look.
    told = worker_environment(s3.uri, base)
    monkeypatch.setenv("HOME", "/nonexistent")
    for name, value in {**told, "AWS_PROFILE": "lake"}.items():
        monkeypatch.setenv(name, value)
    assert s3_storage(s3.uri, base).read(f"{s3.uri}/a") == b"1"
    assert worker_environment(s3.uri, s3.options) == {}
    assert worker_environment(f"file://{tmp_path}", {}) == {}


def test_a_role_reaches_the_warehouse_alone(s3):
    mine, other = s3.below("mine"), s3.below("mine-not")
    opened(other).write(f"{other.uri}/a", b"1")
    storage = opened(mine, assume_role=ROLE)
    assert storage.access.keys().token
    storage.write(f"{mine.uri}/a", b"1")
    assert storage.read(f"{mine.uri}/a") == b"1"
    assert len(list(storage.list_prefix(mine.uri))) == 1
    storage.delete_prefix(mine.uri)
    assert mine.names() == set()
    for verb in (
        lambda: storage.read(f"{other.uri}/a"),
        lambda: storage.write(f"{other.uri}/b", b"1"),
        lambda: list(storage.list_prefix(other.uri)),
        lambda: storage.delete(f"{other.uri}/a"),
        lambda: list(storage.list_prefix(f"s3://{BUCKET}")),
    ):
        with pytest.raises(StorageError, match="access is denied"):
            verb()
    assert other.names() == {"a"}


def test_credentials_of_a_role_are_renewed_before_they_end(s3, faults):
    storage = s3_storage(s3.uri, {**s3.at(faults.endpoint).options, "assume_role": ROLE})
    first = storage.access.keys()
    assert storage.access.keys() == first
    # The clock of the credentials is put forward to five minutes before their end.
    credentials = storage.access._session_and_client()[0].get_credentials()
    credentials._expiry_time = datetime.now(UTC) + timedelta(minutes=5)
    second = storage.access.keys()
    assert second != first
    storage.write(f"{s3.uri}/a", b"1")
    assert len([seen for seen in faults.seen if seen == "POST /"]) == 2
    opened(s3)


def test_a_role_that_may_not_be_assumed(s3):
    storage = opened(s3, assume_role="arn:aws:iam::000000000000:role/Nobody")
    with pytest.raises(StorageError) as caught:
        storage.access.keys()
    assert not caught.value.passing
    opened(s3)


def test_a_write_whose_answer_is_lost_is_known_as_ours(s3, faults):
    storage = opened(s3.at(faults.endpoint))
    fault = faults.add("lost", method="PUT", times=1)
    storage.write(f"{s3.uri}/a", b"mine")
    assert fault.met
    assert storage.read(f"{s3.uri}/a") == b"mine"
    fault = faults.add("lost", method="PUT", times=1)
    with pytest.raises(StorageError, match="exists already"):
        storage.write(f"{s3.uri}/a", b"other")
    assert fault.met


def test_unfinished_uploads_go_with_their_folder(s3):
    storage, client = opened(s3), s3.client()
    for name in ("x/a", "y/a"):
        client.create_multipart_upload(Bucket=BUCKET, Key=f"{s3.folder}/{name}")
    storage.delete_prefix(f"{s3.uri}/x")
    assert s3.unfinished() == [f"{s3.folder}/y/a"]
    storage.delete_prefix(s3.uri)
    assert s3.unfinished() == []


def test_more_files_than_one_request_lists_or_deletes(s3, tmp_path):
    storage = opened(s3)
    with storage.filling(f"{s3.uri}/x", lambda: str(tmp_path)) as folder:
        for number in range(1005):
            Path(folder, str(number)).write_bytes(b"1")
    assert len(list(storage.list_prefix(s3.uri))) == 1005
    storage.delete_prefix(s3.uri)
    assert s3.names() == set()


def test_many_threads_make_one_client(s3):
    access = opened(s3, retries="9").access
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(access.client)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(client) for client in found}) == 1


def test_wrong_options_are_refused_where_a_lake_is_opened():
    with pytest.raises(ConfigError, match="did you mean 'endpoint'"):
        storage_for("s3://bucket/lake", {"endpont": "x"})


def test_the_proxy_lets_through_what_is_no_fault(s3, faults: Faults):
    storage = opened(s3.at(faults.endpoint))
    storage.write(f"{s3.uri}/a", b"1")
    assert storage.read(f"{s3.uri}/a") == b"1"
    assert [seen.split()[0] for seen in faults.seen] == ["PUT", "GET"]
