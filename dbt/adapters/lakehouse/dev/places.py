"""Which files of a project count: what dbt reads, and not what editors, dbt and the lake write beside it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT_WIDE = (
    "dbt_project.yml",
    "packages.yml",
    "dependencies.yml",
    "package-lock.yml",
    "selectors.yml",
    "catalogs.yml",
)
"""Files beside models that may change every node."""

_RESOURCES = {
    "model-paths": ("models",),
    "seed-paths": ("seeds",),
    "snapshot-paths": ("snapshots",),
    "macro-paths": ("macros",),
    "test-paths": ("tests",),
    "analysis-paths": ("analyses",),
    "function-paths": ("functions",),
    "docs-paths": (),
}
"""What folders are called in dbt_project.yml, and where dbt looks by itself."""

_SUFFIXES = frozenset({".sql", ".py", ".yml", ".yaml", ".csv", ".md", ".json"})
_OF_EDITORS = re.compile(r"^\.|~$|^#.*#$|___jb_|^4913$")
_OF_MACHINES = frozenset({"__pycache__", "node_modules"})


@dataclass(frozen=True, kw_only=True)
class Places:
    """Folders to watch, with all below them (``trees``) or by themselves (``folders``).

    ``files`` are those of the folders that count for the whole project, ``expected`` the trees that are not there (yet);
    what lies in ``skipped`` counts nowhere.
    """

    root: Path
    trees: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    files: frozenset[Path] = frozenset()
    expected: frozenset[Path] = frozenset()
    skipped: frozenset[Path] = frozenset()

    def counts(self, path: Path, *, deleted: bool = False) -> bool:
        """Whether a change of a file or folder is one of the project."""
        if path in self.files or path in self.expected or path in self.trees:
            return True
        tree = next((tree for tree in self.trees if path.is_relative_to(tree)), None)
        if any(path.is_relative_to(folder) for folder in self.skipped):
            return False
        if tree is None:
            # Modules that Python models import may stand beside dbt_project.yml.
            return path.parent == self.root and path.suffix == ".py" and not _OF_EDITORS.search(path.name)
        parts = path.relative_to(tree).parts
        if any(_OF_EDITORS.search(part) or part in _OF_MACHINES for part in parts):
            return False
        # A folder that is moved brings or takes its files along without a word about them.
        return path.suffix in _SUFFIXES or (not path.suffix if deleted else path.is_dir())


def places(root: Path, profiles: Path | None = None) -> Places:
    """The places of the project in ``root`` whose profile is in ``profiles``, as its files are now, be they right or wrong."""
    root = root.resolve()
    project = _read(root / "dbt_project.yml")
    wanted = {root / name for key, names in _RESOURCES.items() for name in _texts(project.get(key), names)}
    packages = root / (_texts(project.get("packages-install-path"), ("dbt_packages",)) or ("dbt_packages",))[0]
    # Besides: packages of dbt that lie somewhere else on this machine, and packages of Python that models may import.
    wanted |= {found for found in packages.glob("*") if found.is_symlink()}
    wanted |= {found.parent for found in root.glob("*/__init__.py") if not _OF_EDITORS.search(found.parent.name)}
    wanted = {folder.resolve() for folder in wanted}
    there = {folder for folder in wanted if folder.is_dir()}
    files = {root / name for name in PROJECT_WIDE}
    folders = {root}
    if profiles is not None and profiles.is_dir():
        folders.add(profiles.resolve())
        files.add(profiles.resolve() / "profiles.yml")
    head = _git_head(root)
    if head is not None:
        folders.add(head.parent)
        files.add(head)
    skipped = [target_folder(root), packages]
    skipped += [root / name for name in _texts(project.get("log-path"), ("logs",))]
    return Places(
        root=root,
        trees=tuple(sorted(tree for tree in there if not any(other in tree.parents for other in there))),
        folders=tuple(sorted(folders)),
        files=frozenset(files),
        expected=frozenset(wanted - there),
        skipped=frozenset(folder.resolve() for folder in skipped),
    )


def target_folder(root: Path) -> Path:
    """Where dbt commands write, as far as that can be told before dbt has read the project."""
    said = os.environ.get("DBT_TARGET_PATH") or _read(root / "dbt_project.yml").get("target-path")
    return root / (_texts(said, ("target",)) or ("target",))[0]


def _read(file: Path) -> Mapping[str, Any]:
    import yaml  # type: ignore[import-untyped]

    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _texts(value: object, default: tuple[str, ...]) -> tuple[str, ...]:
    """Folders that a project names; what dbt would have to render is left to the default."""
    names = [value] if isinstance(value, str) else value if isinstance(value, list) else list(default)
    return tuple(name for name in names if isinstance(name, str) and "{" not in name)


def _git_head(root: Path) -> Path | None:
    """The file that says which branch is checked out: the lake's branch may follow it."""
    for folder in (root, *root.parents):
        git = folder / ".git"
        if git.is_dir():
            return git / "HEAD"
        if git.is_file():  # a worktree: "gitdir: <where its own HEAD is>"
            own = (folder / git.read_text().strip().removeprefix("gitdir: ")).resolve()
            return own / "HEAD" if own.is_dir() else None
    return None
