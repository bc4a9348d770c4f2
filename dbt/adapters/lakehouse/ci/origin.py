"""Which pull request this is and which code is here, as the environment of a CI job says."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dbt.adapters.lakehouse.catalog.refs import check_name
from dbt.adapters.lakehouse.errors import ConfigError, InvalidRef

PREFIX = "ci/"
"""What names of branches begin with that belong to pull requests."""

_PULL = re.compile(r"refs/pull/(\d+)/")
_ENVIRONMENT = re.compile(r"""env_var\(\s*['"](\w+)""")
_SECRET = "DBT_ENV_SECRET"
"""dbt keeps variables that begin so out of models; they are not looked at here either."""

_LOCK = "package-lock.yml"
"""dbt writes it beside the project; it may or may not be in git."""

_SHAPING = ("type", "schema", "database", "settings", "extensions", "from_branch")
"""Keys of a profile that may show in what a build gives."""


def branch_of(environment: Mapping[str, str]) -> str | None:
    """The lake's branch of the pull (or merge) request that a CI job is about; None if it is about none.

    GitHub: the number in the event's file or in GITHUB_REF, else GITHUB_HEAD_REF. GitLab: CI_MERGE_REQUEST_IID.
    """
    number = _number(environment.get("GITHUB_EVENT_PATH"))
    if number is None and (match := _PULL.match(environment.get("GITHUB_REF", ""))):
        number = int(match[1])
    if number is not None:
        return f"{PREFIX}pr-{number}"
    if request := environment.get("CI_MERGE_REQUEST_IID"):
        return _checked(f"{PREFIX}mr-{request}", "CI_MERGE_REQUEST_IID")
    if head := environment.get("GITHUB_HEAD_REF"):
        return _checked(f"{PREFIX}{head}", "GITHUB_HEAD_REF")
    return None


def _number(file: str | None) -> int | None:
    """The number of the pull request in the file that describes GitHub's event."""
    if not file:
        return None
    try:
        number = json.loads(Path(file).read_text(encoding="utf-8"))["pull_request"]["number"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return number if isinstance(number, int) else None


def _checked(name: str, variable: str) -> str:
    try:
        check_name(name)
    except InvalidRef as error:
        raise ConfigError(f"{variable} gives the branch {name!r}, but {error}; name one with --branch") from error
    return name


def revision(project_dir: Path) -> str | None:
    """The commit that git has checked out around a project, if there is one."""
    return _git(project_dir, "rev-parse", "HEAD")


def code_of(project_dir: Path, profile: Mapping[str, Any], arguments: Sequence[str]) -> str | None:
    """A digest of all that shapes what a build gives on the same data: files, dbt's arguments, the environment's
    variables that the project reads, the profile, and installed packages. None where that cannot be told: without git, or
    with files in the project that are not committed.
    """
    tree = _git(project_dir, "rev-parse", "HEAD^{tree}")
    if tree is None or _git(project_dir, "status", "--porcelain", "--", ".", f":(exclude){_LOCK}") != "":
        return None
    # What a profile reads shapes where the lake is, and may be secret.
    read = _git(project_dir, "grep", "-hIE", "env_var", "--", ".", ":(exclude,glob)**/profiles.yml") or ""
    names = {match[1] for match in _ENVIRONMENT.finditer(read)}
    names |= {name for name in os.environ if name.startswith("DBT_") and not name.startswith("DBT_INVOCATION")}
    said = {
        "tree": tree,
        "project": _git(project_dir, "rev-parse", "--show-prefix"),
        "arguments": list(arguments),
        "environment": {n: os.environ.get(n) for n in sorted(names) if not n.startswith(_SECRET)},
        "profile": {key: profile.get(key) for key in _SHAPING},
        "dbt_packages": _dbt_packages(project_dir),
        "packages": sorted(f"{d.metadata['Name']}=={d.version}" for d in importlib.metadata.distributions()),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def _dbt_packages(project_dir: Path) -> list[tuple[str, str]]:
    """What ``dbt deps`` wrote down and installed: versions need not be pinned in what git has."""
    files = [project_dir / _LOCK, *sorted(project_dir.glob("dbt_packages/*/dbt_project.yml"))]
    return [
        (str(file.relative_to(project_dir)), hashlib.sha256(file.read_bytes()).hexdigest())
        for file in files
        if file.is_file()
    ]


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None if it is not installed or refuses."""
    try:
        ended = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return ended.stdout.strip() if ended.returncode == 0 else None
