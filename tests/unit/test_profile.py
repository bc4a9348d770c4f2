from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.profile import (
    allowed,
    from_branch,
    git_branch,
    isolation,
    lake_settings,
    publish_conflict,
    publish_mode,
    service_settings,
    target_branch,
    validate,
)
from dbt.adapters.lakehouse.settings import Isolation, PublishConflict, PublishMode


def profile(**keys: Any) -> dict[str, Any]:
    return {"type": "lakehouse", "warehouse": "./lake", "schema": "analytics", **keys}


def test_a_short_profile_has_sensible_defaults(tmp_path: Path) -> None:
    settings = lake_settings(profile(), tmp_path)
    assert settings.warehouse == f"file://{tmp_path}/lake"
    assert settings.catalog == f"sqlite:///{tmp_path}/lake/catalog.sqlite"
    assert settings.database == "lake"
    assert settings.workers == 1
    assert target_branch(profile(), tmp_path) == from_branch(profile()) == "main"
    assert publish_mode(profile()) is PublishMode.ON_SUCCESS


@pytest.mark.parametrize("ref", ["v1", "main~2", "main@3f2a91", "main@2026-11-20T10:00", "3f2a91c4"])
def test_a_branch_may_start_at_any_ref(ref: str) -> None:
    assert from_branch(profile(from_branch=ref)) == ref


def test_every_key_is_carried_over(tmp_path: Path) -> None:
    settings = lake_settings(
        profile(
            warehouse="~/lake/",
            catalog="sqlite:///./state/c.sqlite",
            database="hub",
            threads=4,
            memory_limit="4GB",
            temp_directory="tmp",
            extensions=["icu"],
            settings={"preserve_insertion_order": False, "threads": 2},
            isolation="snapshot",
            executor="local",
            reuse=True,
        ),
        tmp_path,
    )
    assert settings.warehouse == f"file://{Path.home()}/lake"
    assert settings.catalog == f"sqlite:///{tmp_path}/state/c.sqlite"
    assert (settings.database, settings.workers, settings.memory_limit) == ("hub", 4, "4GB")
    assert settings.temp_directory == f"{tmp_path}/tmp"
    assert settings.extensions == ("icu",)
    assert settings.duckdb_settings == {"preserve_insertion_order": "false", "threads": "2"}


@pytest.mark.parametrize(
    ("warehouse", "path"),
    [
        ("lake", "{project}/lake"),
        ("../lake", "{parent}/lake"),
        ("/data/lake/", "/data/lake"),
        ("file:///data/lake", "/data/lake"),
        ("file:/data/lake", "/data/lake"),
        ("my lake", "{project}/my lake"),
    ],
)
def test_warehouses_start_at_the_project(warehouse: str, path: str, tmp_path: Path) -> None:
    expected = path.format(project=tmp_path, parent=tmp_path.parent)
    assert lake_settings(profile(warehouse=warehouse), tmp_path).warehouse == f"file://{expected}"


def test_a_postgresql_catalog_is_taken_as_it_is(tmp_path: Path) -> None:
    url = "postgresql://me:secret@host/db"
    assert lake_settings(profile(catalog=url), tmp_path).catalog == url


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"type": "duckdb"}, "'duckdb'; only outputs of type lakehouse"),
        ({"warehous": "x"}, "did you mean 'warehouse'"),
        ({"path": "x.duckdb"}, "write where the lake is as 'warehouse'"),
        ({"zzz": 1}, "these are known: type, warehouse"),
        ({"branch": None}, "'branch' is empty"),
        ({"warehouse": "s3://bucket"}, "a folder of its own: s3://bucket/lake"),
        ({"warehouse": "s3://bucket/a b"}, "choose another folder"),
        ({"warehouse": "s3://bucket/a//b"}, "choose another folder"),
        ({"warehouse": "s3:///lake"}, "names no bucket"),
        ({"warehouse": "s3a://bucket/lake"}, "s3://bucket/folder is needed"),
        ({"warehouse": "gs://bucket"}, "a local path, file:///"),
        ({"warehouse": "file://lake"}, "a local path, file:///"),
        ({"warehouse": "/"}, "folder of its own"),
        ({"warehouse": 3}, "a path is needed"),
        ({"warehouse": ""}, "a path is needed"),
        ({"catalog": "catalog.sqlite"}, "sqlite:///path/to/catalog.sqlite or postgresql"),
        ({"catalog": "sqlite://"}, "sqlite:///path"),
        ({"catalog": "sqlite:///:memory:"}, "sqlite:///path"),
        ({"database": "Memory"}, "DuckDB keeps that name"),
        ({"database": "lake@v1"}, "neither '@'"),
        ({"database": 'la"ke'}, "nor quotes"),
        ({"schema": 1}, "text is needed"),
        ({"branch": 2024}, "put it in quotes"),
        ({"branch": "deadbeef"}, "read as a commit id"),
        ({"branch": "run/1"}, "belong to runs"),
        ({"branch": "a b"}, "write the name of the lake's branch instead: branch: main"),
        ({"from_branch": "-x"}, "'from_branch' is '-x'"),
        ({"from_branch": "main@yesterday"}, "'from_branch' is 'main@yesterday'; 'yesterday' in ref"),
        ({"publish": "always"}, "known values: on_success, each_node, manual"),
        ({"publish": True}, "known values"),
        ({"publish_conflict": "retry"}, "known values: fail, rerun"),
        ({"reuse": "yes"}, "on or off"),
        ({"reuse": 1}, "on or off"),
        ({"isolation": "chaos"}, "known values: snapshot, serializable"),
        ({"allow": "everything"}, "known values: owner, schema"),
        ({"allow": ["owner", 1]}, "known values: owner, schema"),
        ({"executor": "ray"}, "not available in this version; local is"),
        ({"service": "lake.example.com"}, "the URL of a service is needed"),
        ({"service": "ftp://x"}, "http://127.0.0.1:8585"),
        ({"token": "two words"}, "text without spaces"),
        ({"token": "secret-token"}, "is for a service"),
        ({"service_ca": "ca.pem"}, "is for a service"),
        ({"threads": 0}, "1 or more"),
        ({"threads": "4"}, "as_number"),
        ({"threads": True}, "1 or more"),
        ({"memory_limit": "80%"}, "number with a unit"),
        ({"memory_limit": 4}, "number with a unit"),
        ({"temp_directory": ["x"]}, "text is needed"),
        ({"storage_options": "x"}, "a mapping"),
        ({"storage_options": {"acces_key_id": "x"}}, "did you mean 'access_key_id'?"),
        ({"storage_options": {"s3.access-key-id": "x"}}, "here it is called 'access_key_id'"),
        ({"storage_options": {"s3_url_style": "path"}}, "here it is called 'path_style' (true or false)"),
        ({"storage_options": {"AWS_SECRET_ACCESS_KEY": "x"}}, "here it is called 'secret_access_key'"),
        ({"storage_options": {"zzz": 1}}, "these are known: endpoint, region"),
        ({"storage_options": {"region": "eu-north-1"}}, "'storage_options' is for a warehouse on S3"),
        ({"settings": {"a": [1]}}, "neither text nor a number"),
        ({"settings": {"a": None}}, "neither text nor a number"),
        ({"extensions": "icu"}, "a list of extensions"),
        ({"extensions": [{"name": "icu"}]}, "not the name of a DuckDB extension"),
    ],
)
def test_a_wrong_key_is_named_with_what_would_be_right(keys: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        lake_settings(profile(**keys), tmp_path)
    assert says in str(caught.value)
    assert next(iter(keys)) in str(caught.value)


def test_a_profile_without_a_warehouse_says_so() -> None:
    with pytest.raises(ConfigError, match="no 'warehouse'"):
        validate({"type": "lakehouse"})


def test_a_service_stands_alone(tmp_path: Path) -> None:
    whole = {"type": "lakehouse", "service": "https://lake.example.com/", "token": "lh_x", "service_ca": "ca.pem"}
    settings = service_settings(whole, tmp_path)
    assert settings is not None
    assert (settings.url, settings.token) == ("https://lake.example.com", "lh_x")
    assert settings.ca == str(tmp_path / "ca.pem")
    assert "lh_x" not in repr(settings)
    assert service_settings({"type": "lakehouse", "warehouse": "./lake"}, tmp_path) is None
    for key, value in {
        "warehouse": "./lake",
        "catalog": "sqlite:///c.sqlite",
        "memory_limit": "1GB",
        "settings": {"a": 1},
        "extensions": ["icu"],
    }.items():
        with pytest.raises(ConfigError, match=f"'{key}' stands beside 'service'"):
            service_settings({**whole, key: value}, tmp_path)
    with pytest.raises(ConfigError, match="this needs the lake itself"):
        lake_settings(whole, tmp_path)


def test_the_token_may_stand_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_TOKEN", "lh_env")
    settings = service_settings({"type": "lakehouse", "service": "http://127.0.0.1:8585"}, tmp_path)
    assert settings is not None
    assert settings.token == "lh_env"


def test_secrets_stay_out_of_messages(tmp_path: Path) -> None:
    for keys in ({"token": "s3cret"}, {"storage_options": {"k": ["s3cret"]}}, {"catalog": "mysql://u:s3cret@h/d"}):
        with pytest.raises(ConfigError) as caught:
            lake_settings(profile(**keys), tmp_path)
        assert "s3cret" not in str(caught.value)


S3 = {"warehouse": "s3://bucket/lake/", "catalog": "sqlite:///c.sqlite"}


def test_a_warehouse_on_s3(tmp_path: Path) -> None:
    options = {"endpoint": "127.0.0.1:9000", "path_style": True, "use_ssl": False, "timeout": 5}
    settings = lake_settings(profile(**S3, storage_options=options), tmp_path)
    assert settings.warehouse == "s3://bucket/lake"
    assert settings.catalog == f"sqlite:///{tmp_path}/c.sqlite"
    expected = {"endpoint": "127.0.0.1:9000", "path_style": "true", "use_ssl": "false", "timeout": "5"}
    assert settings.storage_options == expected


def test_a_warehouse_on_s3_needs_a_catalog(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'catalog' is missing: a warehouse on S3 .* sqlite:///path"):
        lake_settings(profile(warehouse="s3://bucket/lake"), tmp_path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"access_key_id": "k"}, "'secret_access_key' is missing"),
        ({"secret_access_key": "s3cret"}, "'access_key_id' is missing"),
        ({"session_token": "s3cret"}, "'session_token' stands without"),
        ({"access_key_id": "k", "secret_access_key": "s3cret", "profile": "p"}, "remove one of them"),
        ({"external_id": "s3cret"}, "'assume_role' is missing"),
        ({"assume_role": "worker"}, "the ARN of a role is needed"),
        ({"endpoint": "http://user:s3cret@host"}, "'endpoint' is 'host'"),
        ({"endpoint": "host/path"}, "a host is needed"),
        ({"endpoint": "ftp://host"}, "a host is needed"),
        ({"sts_endpoint": "sts"}, "a URL is needed"),
        ({"path_style": "yes"}, "true or false is needed"),
        ({"use_ssl": 1}, "true or false is needed"),
        ({"retries": -1}, "a number from 0 to 100"),
        ({"timeout": "soon"}, "a number from 1 to 3600"),
        ({"session_seconds": 60}, "a number from 900"),
        ({"region": " "}, "'region' is empty"),
        ({"secret": "s3cret"}, "here it is called 'secret_access_key'"),
    ],
)
def test_wrong_storage_options_say_what_would_be_right(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        lake_settings(profile(**S3, storage_options=options), tmp_path)
    assert says in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_settings_do_not_show_secrets(tmp_path: Path) -> None:
    options = {"access_key_id": "k", "secret_access_key": "s3cret", "session_token": "s3cret"}
    keys = {**S3, "catalog": "postgresql://u:s3cret@h/d"}
    settings = lake_settings(profile(**keys, storage_options=options), tmp_path)
    assert settings.storage_options == options
    assert "s3cret" not in repr(settings)


# branch: git


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--initial-branch", "feature/prices")
    return folder


def test_git_branch_of_a_fresh_repository_and_from_below(repository: Path) -> None:
    below = repository / "a" / "b"
    below.mkdir(parents=True)
    assert target_branch(profile(branch="git"), repository) == "feature/prices"
    assert git_branch(below) == "feature/prices"


def test_the_environment_names_a_branch_for_one_command(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_BRANCH", "ci/pr-42")
    assert target_branch(profile(branch="prod"), repository) == "ci/pr-42"
    # Even where git has no branch checked out, as in the jobs of a CI.
    git(repository, "commit", "--allow-empty", "-m", "x")
    git(repository, "checkout", "--detach")
    assert target_branch(profile(branch="git"), repository) == "ci/pr-42"
    monkeypatch.setenv("LAKEHOUSE_BRANCH", "run/1")
    with pytest.raises(ConfigError, match="LAKEHOUSE_BRANCH is 'run/1'"):
        target_branch(profile(), repository)
    monkeypatch.setenv("LAKEHOUSE_BRANCH", "")
    assert target_branch(profile(branch="prod"), repository) == "prod"


def test_the_environment_says_when_to_publish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_PUBLISH", "on_success")
    assert publish_mode(profile(publish="manual")) is PublishMode.ON_SUCCESS
    monkeypatch.setenv("LAKEHOUSE_PUBLISH", "often")
    with pytest.raises(ConfigError, match="LAKEHOUSE_PUBLISH is 'often'; known values: on_success"):
        publish_mode(profile())


def test_what_is_done_when_the_target_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    assert publish_conflict(profile()) is PublishConflict.FAIL
    assert publish_conflict(profile(publish_conflict="rerun")) is PublishConflict.RERUN
    monkeypatch.setenv("LAKEHOUSE_PUBLISH_CONFLICT", "fail")
    assert publish_conflict(profile(publish_conflict="rerun")) is PublishConflict.FAIL
    monkeypatch.setenv("LAKEHOUSE_PUBLISH_CONFLICT", "again")
    with pytest.raises(ConfigError, match="LAKEHOUSE_PUBLISH_CONFLICT is 'again'; known values: fail, rerun"):
        publish_conflict(profile())


def test_git_branch_of_a_worktree(repository: Path, tmp_path: Path) -> None:
    git(repository, "commit", "--allow-empty", "-m", "x")
    git(repository, "worktree", "add", "-b", "other", str(tmp_path / "tree"))
    assert git_branch(tmp_path / "tree") == "other"
    assert git_branch(repository) == "feature/prices"


def test_a_detached_head_asks_for_a_name(repository: Path) -> None:
    git(repository, "commit", "--allow-empty", "-m", "x")
    git(repository, "checkout", "--detach")
    with pytest.raises(ConfigError, match=r"no branch checked out .*env_var"):
        git_branch(repository)


def test_no_repository_asks_for_a_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="in no git repository; name the branch"):
        target_branch(profile(branch="git"), tmp_path)


@pytest.mark.parametrize("name", ["deadbeef", "run/1", "a(b)"])
def test_a_git_branch_that_the_catalog_refuses(repository: Path, name: str) -> None:
    git(repository, "symbolic-ref", "HEAD", f"refs/heads/{name}")
    with pytest.raises(ConfigError, match="instead: branch: main"):
        git_branch(repository)


def test_importing_it_is_cheap() -> None:
    heavy = "dbt.cli", "duckdb", "pyarrow", "pyiceberg", "sqlalchemy", "jinja2", "yaml"
    script = f"import sys, dbt.adapters.lakehouse.profile; print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"


def test_what_guards_let_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAKEHOUSE_ALLOW", raising=False)
    assert allowed(profile()) == frozenset()
    assert allowed(profile(allow="owner")) == {"owner"}
    assert allowed(profile(allow=["owner", "schema"])) == {"owner", "schema"}
    monkeypatch.setenv("LAKEHOUSE_ALLOW", "schema, owner")
    assert allowed(profile()) == {"owner", "schema"}
    monkeypatch.setenv("LAKEHOUSE_ALLOW", "")
    assert allowed(profile(allow="owner")) == frozenset()
    monkeypatch.setenv("LAKEHOUSE_ALLOW", "all")
    with pytest.raises(ConfigError, match="LAKEHOUSE_ALLOW is 'all'; known values: owner, schema"):
        allowed(profile())


def test_isolation_is_about_what_is_published_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAKEHOUSE_PUBLISH", raising=False)
    assert isolation(profile()) is Isolation.SNAPSHOT
    assert isolation(profile(isolation="serializable", publish="manual")) is Isolation.SERIALIZABLE
    with pytest.raises(ConfigError, match="let publish be on_success, or isolation snapshot"):
        isolation(profile(isolation="serializable", publish="each_node"))
