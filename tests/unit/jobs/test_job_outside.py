"""What a profile gives each worker's DuckDB to reach what is outside: secrets, file systems, extensions, settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.jobs.instance import Instance
from dbt.adapters.lakehouse.jobs.secrets import is_secret, s3_secret, statement
from dbt.adapters.lakehouse.settings import LakeSettings


def instance(tmp_path: Path, **more: Any) -> Instance:
    return Instance(LakeSettings(warehouse=f"file://{tmp_path}", catalog="sqlite:///", **more))


def rows(opened: Instance, sql: str) -> list[tuple[Any, ...]]:
    # A job's own cursor, as a worker has it.
    with opened.connection.cursor() as cursor:
        return cursor.execute(sql).fetchall()


def test_secrets_are_in_memory_alone(tmp_path: Path) -> None:
    secrets: list[dict[str, Any]] = [
        {"type": "s3", "key_id": "a'b", "secret": "hush", "scope": ["s3://one", "s3://two"], "use_ssl": False},
        {"type": "http", "name": "api", "extra_http_headers": {"Authorization": "Bearer hush"}, "persistent": False},
    ]
    opened = instance(tmp_path, secrets=tuple(secrets))
    try:
        found = rows(opened, "SELECT name, type, persistent, scope FROM duckdb_secrets() ORDER BY name")
        assert found == [
            ("__dbt_secret_1", "s3", False, ["s3://one", "s3://two"]),
            ("api", "http", False, []),
        ]
        assert rows(opened, "SELECT secret_string LIKE '%key_id=a''b%' FROM duckdb_secrets() WHERE type = 's3'") == [
            (True,)
        ]
        assert "hush" not in repr(opened._settings)
    finally:
        opened.close()


def test_a_refused_secret_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        instance(tmp_path, secrets=({"type": "s3", "keyid": "hush"},))
    assert "secret 1 of the profile, of type s3" in str(caught.value)
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_statements_of_secrets_hold_what_was_said_to_the_letter() -> None:
    said = {
        "type": "s3",
        "provider": "config",
        "name": "mine",
        "secret": "it's",
        "scope": "s3://a",
        "session_token": None,
    }
    assert statement(said, 1) == (
        "CREATE OR REPLACE TEMPORARY SECRET \"mine\" (type s3, provider config, secret 'it''s', scope 's3://a')"
    )


def test_settings_that_are_secrets_are_known_by_their_names() -> None:
    for name in ("s3_secret_access_key", "s3_session_token", "azure_storage_connection_string", "http_proxy_password"):
        assert is_secret(name)
    for name in ("TimeZone", "memory_limit", "s3_region", "preserve_insertion_order"):
        assert not is_secret(name)


def test_a_refused_setting_that_is_a_secret_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'no_such_token'") as caught:
        instance(tmp_path, duckdb_settings={"no_such_token": "hush"})
    assert "hush" not in str(caught.value)


def test_files_of_another_file_system(tmp_path: Path) -> None:
    opened = instance(tmp_path, filesystems=({"fs": "memory"},))
    try:
        rows(opened, "COPY (SELECT 42 AS n) TO 'memory://folder/one.parquet'")
        assert rows(opened, "FROM 'memory://folder/*.parquet'") == [(42,)]
    finally:
        opened.close()
    # Another worker reaches the same.
    other = instance(tmp_path, filesystems=({"fs": "memory"},))
    try:
        assert rows(other, "FROM 'memory://folder/one.parquet'") == [(42,)]
    finally:
        other.close()


def test_options_of_a_file_system_reach_it(tmp_path: Path) -> None:
    opened = instance(tmp_path, filesystems=({"fs": "dir", "path": str(tmp_path), "target_protocol": "file"},))
    try:
        rows(opened, "COPY (SELECT 7 AS n) TO 'dir://seven.csv'")
        assert (tmp_path / "seven.csv").read_text().split() == ["n", "7"]
    finally:
        opened.close()


@pytest.mark.parametrize("spec", [{"fs": "no-such"}, {"fs": "dir", "path": 1, "hush": "hush"}])
def test_a_file_system_that_does_not_work(tmp_path: Path, spec: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"file system '{spec['fs']}' of the profile cannot be used") as caught:
        instance(tmp_path, filesystems=(spec,))
    assert "fsspec must be installed" in str(caught.value)


def test_an_extension_of_another_repository_is_asked_for_there(tmp_path: Path) -> None:
    place = tmp_path / "nothing-here"
    with pytest.raises(ConfigError, match="extension 'nosuch' cannot be loaded"):
        instance(tmp_path, extensions=("nosuch",), repositories={"nosuch": str(place)})


def test_an_instance_that_does_not_start_leaves_nothing(tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    spill.mkdir()
    with pytest.raises(ConfigError):
        instance(tmp_path, temp_directory=str(spill), filesystems=({"fs": "no-such"},))
    assert list(spill.iterdir()) == []


def test_what_duckdb_says_without_any_of_it(tmp_path: Path) -> None:
    opened = instance(tmp_path)
    try:
        with pytest.raises(duckdb.Error):
            rows(opened, "FROM 'memory://folder/one.parquet'")
        assert rows(opened, "FROM duckdb_secrets()") == []
    finally:
        opened.close()


def test_the_secret_of_the_longest_scope_is_that_of_a_location_in_s3() -> None:
    secrets: list[dict[str, Any]] = [
        {"type": "s3", "key_id": "any", "secret": "x"},
        {"type": "S3", "KEY_ID": "one", "SECRET": "x", "scope": "s3://one", "endpoint": "minio:9000", "use_ssl": False},
        {"type": "s3", "key_id": "deep", "secret": "x", "scope": ["s3://two", "s3://one/deep"], "url_style": "path"},
        {"type": "gcs", "key_id": "gcs", "secret": "x", "scope": "s3://one/deep/er"},
    ]

    def key(uri: str) -> str | None:
        found = s3_secret(uri, secrets)
        return found.access_key_id if found is not None else None

    assert [key(f"s3://{place}") for place in ("other/a", "one/a", "one/deep/er/a", "two/a")] == [
        "any",
        "one",
        "deep",
        "deep",
    ]
    one = s3_secret("s3://one/a", secrets)
    assert one is not None
    assert one.url == "http://minio:9000"
    assert s3_secret("s3://other/a", secrets[1:]) is None
