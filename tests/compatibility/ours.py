"""How tests/functional/adapter runs each class of dbt-tests-adapter, read from the tests themselves."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from suite import ROOT

FOLDER = Path(__file__).parents[1] / "functional" / "adapter"


@dataclass(frozen=True, kw_only=True)
class OurClass:
    """A class of tests that runs a class of the suite."""

    file: str
    name: str
    runs: tuple[str, ...]
    """The class of the suite, as ``module.Class``; several where it is put together of them."""
    changed: tuple[str, ...]
    """What it replaces of it; nothing where the class runs as it is."""
    each_node: bool
    """Does it run with ``publish: each_node``, which is nothing of the class itself?"""
    why: str
    """Its docstring, or that of what it takes its changes from, in one line."""

    @property
    def id(self) -> str:
        return f"{self.file}::{self.name}"


@cache
def our_classes() -> tuple[OurClass, ...]:
    """All of them, in the order of files and of the source."""
    found = []
    for path in sorted(FOLDER.glob("test_*.py")):
        module = _load(path)
        for kind in vars(module).values():
            if inspect.isclass(kind) and kind.__module__ == module.__name__ and kind.__name__.startswith("Test"):
                ours = _read(path.name, kind)
                if ours is not None:
                    found.append(ours)
    return tuple(found)


def _load(path: Path) -> ModuleType:
    name = f"adapter_suite.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    beside = [str(FOLDER), str(FOLDER.parent)]  # what tests import from beside them, as pytest lets them
    sys.path[:0] = beside
    sys.modules[name] = module  # dataclasses in it look their module up
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
        for folder in beside:
            sys.path.remove(folder)
    return module


def _read(file: str, kind: type) -> OurClass | None:
    theirs = [base for base in kind.__mro__ if base.__module__.startswith(f"{ROOT}.")]
    if not theirs:
        return None
    ours = [base for base in kind.__mro__ if base is not object and base not in theirs]
    added = {name for base in ours for name in vars(base) if not name.startswith("_") or hasattr(theirs[0], name)}
    changed = sorted(name for name in added if not name.startswith("__") and name not in ("publish_mode", "pytestmark"))
    why = next((text for base in ours if (text := vars(base).get("__doc__"))), "")
    last = [base for base in theirs if not any(base in other.__mro__[1:] for other in theirs)]
    return OurClass(
        file=file,
        name=kind.__name__,
        runs=tuple(f"{base.__module__.removeprefix(ROOT + '.')}.{base.__name__}" for base in last),
        changed=tuple(changed),
        each_node="publish_mode" in added,
        why=" ".join(why.split()),
    )
