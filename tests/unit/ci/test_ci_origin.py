"""Which pull request and which code: from the environment, and from real repositories."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dbt.adapters.lakehouse.ci.origin import branch_of, code_of, revision
from dbt.adapters.lakehouse.errors import ConfigError

PROFILE: dict[str, Any] = {"type": "lakehouse", "warehouse": "./lake", "schema": "shop"}


def event(folder: Path, content: Any) -> str:
    file = folder / "event.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(file)


@pytest.mark.parametrize(
    ("environment", "branch"),
    [
        ({"GITHUB_REF": "refs/pull/42/merge", "GITHUB_HEAD_REF": "feature"}, "ci/pr-42"),
        ({"GITHUB_REF": "refs/heads/main", "GITHUB_HEAD_REF": "feature/x"}, "ci/feature/x"),
        ({"GITHUB_REF": "refs/heads/main", "GITHUB_HEAD_REF": ""}, None),
        ({"CI_MERGE_REQUEST_IID": "17", "CI_COMMIT_REF_NAME": "x"}, "ci/mr-17"),
        ({}, None),
    ],
)
def test_branches_by_the_environment(environment: dict[str, str], branch: str | None) -> None:
    assert branch_of(environment) == branch


@pytest.mark.parametrize(
    ("content", "branch"),
    [
        # A request that is closed with a merge has the base's ref; its event knows its number.
        ({"action": "closed", "number": 42, "pull_request": {"number": 42}}, "ci/pr-42"),
        ({"ref": "refs/heads/main", "commits": []}, None),
        ({"pull_request": {"number": "42; rm"}}, None),
        ({"pull_request": None}, None),
        ("no json", None),
        ("[]", None),
    ],
)
def test_branches_by_the_event(tmp_path: Path, content: Any, branch: str | None) -> None:
    assert branch_of({"GITHUB_EVENT_PATH": event(tmp_path, content), "GITHUB_REF": "refs/heads/main"}) == branch
    assert branch_of({"GITHUB_EVENT_PATH": str(tmp_path / "none"), "GITHUB_REF": "refs/pull/1/merge"}) == "ci/pr-1"


def test_names_that_no_branch_can_have() -> None:
    with pytest.raises(ConfigError, match=r"GITHUB_HEAD_REF gives the branch 'ci/a b', but .*; name one with --branch"):
        branch_of({"GITHUB_HEAD_REF": "a b"})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in a folder of a repository."""
    for name in ("SHOP_YEAR", "DBT_TARGET", "LAKE_PASSWORD", "DBT_ENV_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    project = tmp_path / "repository" / "project"
    (project / "models").mkdir(parents=True)
    (project / "models" / "a.sql").write_text("select {{ env_var('SHOP_YEAR', '2020') }} as year")
    (project / "profiles.yml").write_text("p: \"{{ env_var('LAKE_PASSWORD') }}\"")
    (project / "models" / "b.sql").write_text("select {{ env_var('DBT_ENV_SECRET_KEY') }}")
    (project.parent / ".gitignore").write_text("target/\n")
    git(project, "init", "-q", "-b", "main", "..")
    commit(project)
    return project


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=ann", "-c", "user.email=ann@example.com"]
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(folder: Path) -> None:
    git(folder, "add", "-A", ":/")
    git(folder, "commit", "-q", "--allow-empty", "-m", "x")


def test_the_same_code_in_another_commit_and_place(project: Path, tmp_path: Path) -> None:
    code = code_of(project, PROFILE, ["--target", "prod"])
    assert code is not None
    assert revision(project) == git(project, "rev-parse", "HEAD")
    # As after a squash: another commit of the same files; elsewhere, with files that git ignores.
    commit(project)
    git(tmp_path, "clone", "-q", str(project.parent), "clone")
    clone = tmp_path / "clone" / "project"
    (clone / "target").mkdir()
    (clone / "target" / "x").write_text("x")
    assert code_of(clone, PROFILE, ["--target", "prod"]) == code
    assert code_of(clone, {**PROFILE, "warehouse": "s3://x/y", "token": "t"}, ["--target", "prod"]) == code


def test_what_makes_another_code(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [code_of(project, PROFILE, [])]
    found.append(code_of(project, PROFILE, ["--full-refresh"]))
    found.append(code_of(project, {**PROFILE, "schema": "other"}, []))
    with monkeypatch.context() as changed:
        changed.setenv("SHOP_YEAR", "2021")
        found.append(code_of(project, PROFILE, []))
    with monkeypatch.context() as changed:
        changed.setenv("DBT_TARGET", "prod")
        found.append(code_of(project, PROFILE, []))
    (project / "models" / "a.sql").write_text("select 2 as year")
    commit(project)
    found.append(code_of(project, PROFILE, []))
    assert None not in found
    assert len(set(found)) == len(found)


def test_packages_of_dbt_count(project: Path) -> None:
    (project.parent / ".gitignore").write_text("target/\ndbt_packages/\n")
    commit(project)
    found = [code_of(project, PROFILE, [])]
    # dbt writes the lock file, whether or not it is in git.
    for version in ("1", "2"):
        (project / "package-lock.yml").write_text(f"packages: [{{version: {version}}}]")
        found.append(code_of(project, PROFILE, []))
    commit(project)
    installed = project / "dbt_packages" / "tools"
    installed.mkdir(parents=True)
    for version in ("1", "2"):
        (installed / "dbt_project.yml").write_text(f"version: {version}")
        found.append(code_of(project, PROFILE, []))
    assert None not in found
    assert len(set(found)) == len(found)


def test_secrets_are_not_looked_at(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = code_of(project, PROFILE, [])
    monkeypatch.setenv("LAKE_PASSWORD", "secret")
    monkeypatch.setenv("DBT_ENV_SECRET_KEY", "secret")
    assert code_of(project, PROFILE, []) == code


def test_code_that_nobody_can_tell(project: Path, tmp_path: Path) -> None:
    (project.parent / "notes.txt").write_text("outside of the project")
    assert code_of(project, PROFILE, []) is not None
    (project / "models" / "new.sql").write_text("select 1")
    assert code_of(project, PROFILE, []) is None
    commit(project)
    (project / "models" / "a.sql").write_text("select 3")
    assert code_of(project, PROFILE, []) is None
    outside = tmp_path / "outside"
    outside.mkdir()
    assert (code_of(outside, PROFILE, []), revision(outside)) == (None, None)
