"""What the installed dbt-tests-adapter has: every class with tests, found by importing its modules."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import dbt.tests.adapter

ROOT = "dbt.tests.adapter"


@dataclass(frozen=True, kw_only=True, order=True)
class SuiteClass:
    """A class of dbt-tests-adapter that has tests, its own or inherited."""

    module: str
    """Below ``dbt.tests.adapter``, such as ``basic.test_base``."""
    name: str
    tests: tuple[str, ...]
    empty_subclass_of: str | None
    """The class of the same module that this one repeats word for word."""

    @property
    def id(self) -> str:
        return f"{self.module}.{self.name}"


def folder() -> Path:
    """Where the suite is installed."""
    return Path(next(iter(dbt.tests.adapter.__path__)))


@cache
def classes() -> tuple[SuiteClass, ...]:
    """All of them, in the order of modules and, in a module, of the source."""
    found: list[SuiteClass] = []
    for path in sorted(folder().rglob("*.py")):
        parts = path.relative_to(folder()).with_suffix("").parts
        if parts[-1] != "__init__":
            found += _of_module(".".join(parts))
    return tuple(found)


def _of_module(name: str) -> list[SuiteClass]:
    module = importlib.import_module(f"{ROOT}.{name}")
    own = [each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == module.__name__]
    return [
        SuiteClass(module=name, name=each.__name__, tests=tests, empty_subclass_of=_repeated(each))
        for each in own
        if (tests := _tests(each))
    ]


def _tests(kind: type) -> tuple[str, ...]:
    return tuple(name for name in dir(kind) if name.startswith("test") and inspect.isfunction(getattr(kind, name)))


def _repeated(kind: type) -> str | None:
    """The one base in the same module to which ``kind`` adds nothing."""
    added = [name for name in vars(kind) if name == "pytestmark" or not name.startswith("__")]
    (base, *others) = kind.__bases__
    if added or others or base.__module__ != kind.__module__ or not _tests(base):
        return None
    return _repeated(base) or base.__name__


def our_file(module: str) -> str:
    """The name of the file in tests/functional/adapter that runs a module: its package and its own name, said once."""
    *packages, name = module.split(".")
    package = "_".join(packages)
    name = name.removeprefix("test_")
    return f"test_{name}.py" if f"{name}_".startswith(f"{package}_") else f"test_{package}_{name}.py"
