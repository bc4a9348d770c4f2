"""What a Python model depends on beside its inputs, as far as its code shows: modules, packages, clock, chance, files.

Python is not run to find out, so this is a reading of names: what is suspected here may be harmless, which the author says
with ``reuse: true``; what is well hidden is not found, which the author says with ``reuse: false``.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dbt.adapters.lakehouse.run.values import PythonSource

_POSTFIX = "# This part is user provided model code"
_CHANCE = frozenset({"random", "secrets", "uuid", "urandom", "uuid1", "uuid4", "default_rng", "sample", "shuffle"})
_TIME = frozenset({"now", "today", "utcnow", "time", "time_ns", "monotonic", "perf_counter"})
_OUTSIDE = frozenset(
    {"open", "environ", "getenv", "urlopen", "requests", "httpx", "socket", "subprocess", "connect", "glob", "iterdir"}
)
_READERS = ("read_", "scan_", "from_csv")


@dataclass(frozen=True, kw_only=True)
class Known:
    """What was found; ``sql`` are texts in the code that may be SQL."""

    parts: Mapping[str, str]
    obstacles: tuple[str, ...] = ()
    time: tuple[str, ...] = ()
    sql: tuple[str, ...] = ()
    reads_itself: bool = False


@dataclass(kw_only=True)
class _Seen:
    names: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)
    itself: bool = False


def normal(code: str) -> str:
    """Python code without layout and comments. What is no Python stays as it is, for Python to say what is wrong."""
    try:
        return ast.dump(ast.parse(code))
    except (SyntaxError, ValueError):
        return code


def look_at(source: PythonSource, target: str) -> Known:
    """What a model's code depends on; ``target`` is the name of its own table."""
    user, marker, _ = source.code.partition(_POSTFIX)
    try:
        seen = _see(ast.parse(user if marker else source.code), target)
    except (SyntaxError, ValueError):
        return Known(parts={}, obstacles=("its code cannot be parsed",))
    version = source.python_version or ".".join(map(str, sys.version_info[:2]))
    parts = {"python": version}
    if source.packages:
        parts["packages"] = ", ".join(sorted(source.packages))
    for module in sorted(seen.imports):
        parts.update(_module(module, Path(source.path)))
    names = seen.names | seen.imports
    return Known(
        parts=parts,
        obstacles=(
            *(f"its code names {name}, which is left to chance" for name in sorted(names & _CHANCE)),
            *(f"its code names {name}, which is not in the lake" for name in sorted(names) if _is_outside(name)),
        ),
        time=tuple(f"its code names {name}, which depends on the time" for name in sorted(seen.names & _TIME)),
        sql=tuple(text for text in seen.texts if {"select", "from"} & set(text.lower().split())),
        reads_itself=seen.itself,
    )


def _is_outside(name: str) -> bool:
    return name in _OUTSIDE or name.startswith(_READERS)


def _see(tree: ast.AST, target: str) -> _Seen:
    seen = _Seen()
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                seen.imports.update(alias.name.partition(".")[0] for alias in node.names)
                seen.names.update(part for alias in node.names for part in alias.name.split("."))
            case ast.ImportFrom():
                seen.imports.update({node.module.partition(".")[0]} if node.module and not node.level else ())
                seen.names.update(alias.name for alias in node.names)
            case ast.Name():
                seen.names.add(node.id)
            case ast.Attribute():
                seen.names.add(node.attr)
                seen.itself = seen.itself or node.attr == "this"
            case ast.Constant(value=str() as text):
                seen.texts.append(text)
                seen.itself = seen.itself or bool(re.search(rf"\b{re.escape(target)}\b", text, re.IGNORECASE))
    return seen


def _module(name: str, model: Path) -> dict[str, str]:
    """A module as a part: a file of the project by its text, anything installed by its version."""
    if name in sys.stdlib_module_names or name == "__future__":
        return {}
    file = _file_of(name, model)
    if file is None:
        return {f"module {name}": "not found"}
    if not _is_installed(file):
        return {f"module {name}": _text_of(file)}
    return {f"package {name}": _version(name)}


def _file_of(name: str, model: Path) -> Path | None:
    for folder in _project_folders(model):
        for candidate in (folder / f"{name}.py", folder / name / "__init__.py"):
            if candidate.is_file():
                return candidate
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if found is None:
        return None
    if found.origin and found.origin not in ("built-in", "frozen", "namespace"):
        return Path(found.origin)
    places = list(found.submodule_search_locations or ())
    return Path(places[0]) if places else None


def _project_folders(model: Path) -> Iterator[Path]:
    for folder in model.parents:
        yield folder
        if (folder / "dbt_project.yml").is_file():
            return


def _text_of(file: Path) -> str:
    """The hash of a module of the project, with all of the project that it imports."""
    total = hashlib.sha256()
    for one in sorted(_with_imports(file)):
        total.update(normal(one.read_text(encoding="utf-8")).encode() + b"\0")
    return total.hexdigest()


def _with_imports(file: Path) -> set[Path]:
    found: set[Path] = set()
    todo = {file}
    while todo:
        one = todo.pop()
        files = set(one.parent.rglob("*.py")) if one.name == "__init__.py" else {one}
        found |= files
        for name in sorted(_imports(files)):
            inner = _file_of(name, one) if name not in sys.stdlib_module_names else None
            if inner is not None and inner.suffix == ".py" and not _is_installed(inner) and inner not in found:
                todo.add(inner)
    return found


def _is_installed(file: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & set(file.parts))


def _imports(files: Iterable[Path]) -> set[str]:
    found: set[str] = set()
    for file in files:
        try:
            found |= _see(ast.parse(file.read_text(encoding="utf-8")), "\0").imports
        except (SyntaxError, ValueError):
            continue
    return found


def _version(module: str) -> str:
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        distributions = _distributions().get(module) or [module]
        try:
            return importlib.metadata.version(distributions[0])
        except importlib.metadata.PackageNotFoundError:
            return "unknown"


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()
