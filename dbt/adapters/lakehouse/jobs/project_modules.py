"""Modules of a project are imported anew for its next model, as they are in a process of its own.

A process that stays (``lakehouse dev``, ``dbtRunner``) would go on with what a module's file said when it was first imported,
and results would be kept, and found by others, as those of the file as it is now.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

_lock = threading.Lock()
_running: list[Path] = []
_roots: set[Path] = set()
_before: set[str] = set()


@contextlib.contextmanager
def forgotten_after(model: str, folders: Iterable[str] = ()) -> Iterator[None]:
    """What a model (a file of the project) imports of its project within this is forgotten once no other model runs.

    So is what it imports from ``folders``, which Python looks into from now on, after all others.
    """
    folders = tuple(folders)
    reachable(folders)
    root = _project_of(Path(model).absolute())
    with _lock:
        if not _running:
            _roots.clear()
            _before.clear()
            _before.update(sys.modules)
        _running.append(root)
        _roots.update((root, *map(Path, folders)))
    try:
        yield
    finally:
        with _lock:
            _running.remove(root)
            if not _running:
                _forget()


def reachable(folders: Iterable[str]) -> None:
    """Have Python look for modules in these folders, after all others."""
    with _lock:
        sys.path.extend(folder for folder in folders if folder not in sys.path)


def _forget() -> None:
    new = [name for name in sys.modules if name not in _before]
    for name in new:
        if any(_is_below(sys.modules[name], root) for root in _roots):
            del sys.modules[name]
    # Of folders that were looked into, Python remembers what was in them.
    importlib.invalidate_caches()


def _project_of(model: Path) -> Path:
    """The project's folder; that of the model where there is none."""
    return next((folder for folder in model.parents if (folder / "dbt_project.yml").is_file()), model.parent)


def _is_below(module: ModuleType | None, root: Path) -> bool:
    file = getattr(module, "__file__", None)
    places = [file] if file else list(getattr(module, "__path__", ()))
    return any(
        Path(place).is_relative_to(root) and not {"site-packages", "dist-packages"} & set(Path(place).parts)
        for place in places
    )
