"""Which commit of git a project's files are of, and whether they were changed since: asked of git beside other work."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

TIMEOUT = 5.0
"""So many seconds git may take; what is not known by then is not said."""

_COMMAND = ("git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=normal", "-z")


class GitState:
    """Asks git in a thread of its own as soon as it is made; ``said`` waits for the answer."""

    def __init__(self, project: Path, made_by_runs: Collection[Path] = ()) -> None:
        """``made_by_runs`` are folders and files of the project that dbt writes: new ones do not make the tree dirty."""
        self._said: dict[str, Any] | None = None
        self._thread: threading.Thread | None = None
        # Outside of a repository, not even a process is started.
        root = next((folder for folder in (project, *project.parents) if (folder / ".git").exists()), None)
        if root is not None:
            self._thread = threading.Thread(target=self._ask, args=(root, tuple(made_by_runs)), daemon=True)
            self._thread.start()

    def said(self) -> dict[str, Any] | None:
        """``commit`` (None before the first one), ``branch`` (None if it is detached) and ``dirty``.

        None where there is no repository, or no git, or no answer in time.
        """
        if self._thread is not None:
            self._thread.join(TIMEOUT)
        return self._said

    def _ask(self, root: Path, made_by_runs: tuple[Path, ...]) -> None:
        try:
            answer = subprocess.run(
                _COMMAND,
                cwd=root,
                # What a hook of git says of its own repository is not about this one.
                env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT,
                check=True,
            ).stdout
        except (OSError, subprocess.SubprocessError):
            return
        self._said = read(answer.decode(errors="surrogateescape"), root, made_by_runs)


def read(status: str, root: Path, made_by_runs: Collection[Path] = ()) -> dict[str, Any]:
    """What ``git status --porcelain=v2 --branch -z`` says of the tree at ``root``."""
    said: dict[str, Any] = {"commit": None, "branch": None, "dirty": False}
    for line in status.split("\0"):
        if line.startswith("# branch.oid ") and not line.endswith("(initial)"):
            said["commit"] = line.removeprefix("# branch.oid ")
        elif line.startswith("# branch.head ") and not line.endswith("(detached)"):
            said["branch"] = line.removeprefix("# branch.head ")
        elif line.startswith(("1 ", "2 ", "u ")):
            said["dirty"] = True
        elif line.startswith("? "):
            path = root / line.removeprefix("? ")
            said["dirty"] = said["dirty"] or not any(path == made or made in path.parents for made in made_by_runs)
    return said
