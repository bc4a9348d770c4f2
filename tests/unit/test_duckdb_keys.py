"""Every key of a dbt-duckdb profile works here as well, or is refused with words that say what to write instead."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dbt.adapters.duckdb.credentials import DuckDBCredentials

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.profile import external_branch, external_root, lake_settings, service_settings, validate

BASE: dict[str, Any] = {"type": "lakehouse", "warehouse": "./lake", "schema": "main"}
WORKS: dict[str, Any] = {
    "database": "shop",
    "schema": "analytics",
    "extensions": ["httpfs", {"name": "h3", "repo": "community"}],
    "settings": {"TimeZone": "UTC", "preserve_insertion_order": True},
    "secrets": [{"type": "s3", "key_id": "a", "secret": "b", "scope": ["s3://one", "s3://two"]}],
    "external_root": "out",
    "use_credential_provider": "aws",
    "filesystems": [{"fs": "memory"}],
    "module_paths": ["lib"],
    "attach": [{"path": "other.duckdb", "alias": "other"}],
    "plugins": [{"module": "excel"}],
}
REFUSED: dict[str, tuple[Any, str]] = {
    "path": ("shop.duckdb", "'warehouse'"),
    "config_options": ({"threads": 4}, "'settings'"),
    "retries": ({"connect_attempts": 3}, "http_retries: 6"),
    "keep_open": (True, "remove it"),
    "disable_transactions": (True, "remove it"),
    "is_ducklake": (True, "remove it"),
    "remote": ({"host": "db", "port": 5433, "user": "u"}, "'service'"),
    "motherduck_token": ("hush", "'warehouse'"),
    "flights": ({"enabled_by_default": True}, "packages:"),
}
KEYS = sorted(field.name for field in dataclasses.fields(DuckDBCredentials))


@pytest.mark.parametrize("key", KEYS)
def test_each_key_of_dbt_duckdb_works_or_is_refused_with_what_to_write(key: str) -> None:
    if key in WORKS:
        validate({**BASE, key: WORKS[key]})
        return
    value, instead = REFUSED[key]
    with pytest.raises(ConfigError, match=f"unknown profile key '{key}'; ") as caught:
        validate({**BASE, key: value})
    assert instead in str(caught.value)
    assert "hush" not in str(caught.value)


def test_keys_become_settings(tmp_path: Path) -> None:
    settings = lake_settings({**BASE, **WORKS}, tmp_path)
    assert settings.extensions == ("httpfs", "h3")
    assert settings.repositories == {"h3": "community"}
    assert settings.duckdb_settings == {"TimeZone": "UTC", "preserve_insertion_order": "true"}
    assert settings.module_paths == (str(tmp_path / "lib"),)
    assert settings.filesystems == ({"fs": "memory"},)
    assert [secret["type"] for secret in settings.secrets] == ["s3", "s3"]
    assert settings.secrets[1]["provider"] == "credential_chain"
    assert "'b'" not in repr(settings)


def test_where_external_models_go() -> None:
    assert (external_root(BASE), external_branch(BASE)) == (".", "main")
    said = {**BASE, "external_root": "out", "external_branch": "prod"}
    assert (external_root(said), external_branch(said)) == ("out", "prod")


@pytest.mark.parametrize(
    "key", ["secrets", "filesystems", "module_paths", "use_credential_provider", "extensions", "settings"]
)
def test_what_a_service_decides_is_refused_beside_it(key: str, tmp_path: Path) -> None:
    said = {"type": "lakehouse", "service": "http://127.0.0.1:1", "schema": "main", key: WORKS[key]}
    with pytest.raises(ConfigError, match=f"{key!r} stands beside 'service'"):
        service_settings(said, tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("secrets", {"type": "s3"}, "is no list"),
        ("secrets", ["s3"], "a secret is a mapping"),
        ("secrets", [{"secret": "hush"}], "'type' must be a word"),
        ("secrets", [{"type": "s3); DROP"}], "'type' must be a word"),
        ("secrets", [{"type": "s3", "name": 'a"b'}], "'name' must be a word"),
        ("secrets", [{"type": "s3", "provider": "x y"}], "'provider' must be a word"),
        ("secrets", [{"type": "s3", "key id": "hush"}], "'key id' is no name"),
        ("secrets", [{"type": "s3", "key_id": [["hush"]]}], "'key_id' is neither"),
        ("secrets", [{"type": "http", "extra_http_headers": {"a": {"hush": 1}}}], "'extra_http_headers' is neither"),
        ("secrets", [{"type": "s3", "persistent": True}], "secret 1 of the list"),
        ("use_credential_provider", "gcp", "aws alone"),
        ("filesystems", {"fs": "gcs"}, "is no list"),
        ("filesystems", [{"token": "hush"}], "entry 1"),
        ("module_paths", "lib", "a list of folders"),
        ("module_paths", [""], "a list of folders"),
        ("extensions", [{"name": "h3"}], "nor {name: …, repo: …}"),
        ("extensions", [{"name": "a b", "repo": "community"}], "nor {name: …, repo: …}"),
        ("extensions", [{"name": "h3", "repo": "community", "x": 1}], "nor {name: …, repo: …}"),
        ("external_root", "", "text"),
        ("external_branch", "run/1", "belong to runs"),
    ],
)
def test_wrong_values_are_refused_without_showing_secrets(key: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate({**BASE, key: value})
    assert said in str(caught.value)
    assert "hush" not in str(caught.value)


def test_the_fragment_of_a_profile_in_the_docs_is_valid() -> None:
    text = (Path(__file__).parents[2] / "docs" / "files.md").read_text()
    (fragment,) = [block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "type: lakehouse" in block]
    output = yaml.safe_load(fragment)["dev"]
    validate(output)
    assert {"secrets", "filesystems", "extensions", "settings", "module_paths"} <= output.keys()
