"""What git says of a project, told by a real git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dbt.adapters.lakehouse import git_state
from dbt.adapters.lakehouse.git_state import GitState

WHO = ("-c", "user.name=ann", "-c", "user.email=ann@example.com", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *WHO, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in a folder of a repository, with one commit."""
    project = tmp_path / "repository" / "dbt"
    project.mkdir(parents=True)
    git(project.parent, "init", "-b", "trunk")
    (project / "model.sql").write_text("select 1")
    git(project.parent, "add", ".")
    git(project.parent, "commit", "-m", "first")
    return project


def test_commit_branch_and_a_clean_tree(project: Path) -> None:
    commit = git(project, "rev-parse", "HEAD")
    assert GitState(project).said() == {"commit": commit, "branch": "trunk", "dirty": False}
    git(project, "checkout", "--detach")
    assert GitState(project).said() == {"commit": commit, "branch": None, "dirty": False}


@pytest.mark.parametrize(
    ("name", "dirty"), [("dbt/model.sql", True), ("dbt/new.sql", True), ("elsewhere.md", True), ("dbt/lake/x", False)]
)
def test_what_makes_a_tree_dirty(project: Path, name: str, dirty: bool) -> None:
    file = project.parent / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("select 2")
    said = GitState(project, [project / "lake"]).said()
    assert said is not None
    assert said["dirty"] is dirty


def test_what_is_staged_or_renamed_makes_a_tree_dirty(project: Path) -> None:
    git(project, "mv", "model.sql", "other name.sql")
    said = GitState(project, [project / "other name.sql"]).said()
    assert said is not None
    assert said["dirty"]


def test_before_the_first_commit_there_is_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "-b", "trunk")
    assert GitState(tmp_path).said() == {"commit": None, "branch": "trunk", "dirty": False}


def test_without_a_repository_or_with_a_broken_one_nothing_is_said(tmp_path: Path) -> None:
    assert GitState(tmp_path).said() is None
    (tmp_path / ".git").write_text("gitdir: /nowhere")
    assert GitState(tmp_path).said() is None


def test_without_git_nothing_is_said(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert GitState(project).said() is None


def test_variables_of_a_git_that_runs_us_do_not_lead_astray(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert GitState(project).said() is not None


def test_a_git_that_does_not_answer_is_not_waited_for(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(git_state, "TIMEOUT", 0.2)
    assert GitState(project).said() is None
