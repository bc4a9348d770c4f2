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
_CHANCE = frozenset(
    {"random", "secrets", "uuid", "urandom", "uuid1", "uuid4", "default_rng", "sample", "shuffle", "hash"}
)
_TIME = frozenset({"now", "today", "utcnow", "time", "time_ns", "monotonic", "perf_counter"})
# fmt: off
_OUTSIDE = frozenset((
    "open", "environ", "getenv", "urlopen", "requests", "httpx", "socket", "subprocess", "connect", "glob", "iterdir",
    "listdir", "scandir", "rglob", "getpid", "getcwd", "cwd", "gethostname",
))
# fmt: on
_HIDING = frozenset({"import_module", "__import__", "runpy", "exec", "eval", "spec_from_file_location"})
_READERS = ("read_", "scan_", "from_csv")
_FILES = frozenset({"open", "glob", "rglob", "iterdir", "listdir", "scandir"})
_ENDING = (
    r"\.(?:csv|tsv|txt|parquet|json|jsonl|ndjson|geojson|xlsx|xls|arrow|feather|ipc|avro|orc|duckdb|ddb|db|sqlite|pkl|pickle"
    r"|npy|npz)(?:\.\w+)?"
)
_NAMED_FILES = re.compile(
    rf"""\b(?:from|join)\s+(?:'[^']*|"\Z)|['"][^'"]*{_ENDING}['"]|\A[^\s'"()]*{_ENDING}\Z|\A[^'"()]*/[^'"()]*{_ENDING}\Z""",
    re.IGNORECASE,
)
"""In a text: what SQL reads from a text, which DuckDB takes for a file, or the beginning of it; a file by its ending."""
_CALLS = re.compile(r'((?:(?:"[^"]+"|\w+)\.)*(?:"[^"]+"|\w+))\s*\(', re.ASCII)
_VALUES = re.compile(r"\b(?:current_(?:date|time|timestamp)|localtime|localtimestamp)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What was found; ``sql`` are texts in the code that may be SQL, of expressions what they call."""

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
    files: set[str] = field(default_factory=set)
    itself: bool = False


def normal(code: str) -> str:
    """Python code without layout and comments. What is no Python stays as it is, for Python to say what is wrong."""
    try:
        return ast.dump(ast.parse(code))
    except (SyntaxError, ValueError):
        return code


def look_at(source: PythonSource, target: str, *, files: bool = False, folders: Iterable[str] = ()) -> Known:
    """What a model's code depends on; ``target`` is the name of its own table. With ``files`` it may read some: its author
    said which. ``folders`` are others than the project's own whose modules it may import.
    """
    more = tuple(map(Path, folders))
    user, marker, _ = source.code.partition(_POSTFIX)
    try:
        seen = _see(ast.parse(user if marker else source.code), target)
    except (SyntaxError, ValueError):
        return Known(parts={}, obstacles=("its code cannot be parsed",))
    version = source.python_version or ".".join(map(str, sys.version_info[:2]))
    parts = {"python": version}
    if source.packages:
        parts["packages"] = ", ".join(sorted(source.packages))
    lost: list[str] = []
    allowed = _FILES if files else frozenset()
    everything = [("its code", seen)]
    for module in sorted(seen.imports):
        own = _project_files(module, Path(source.path), more)
        if own:
            parts[f"module {module}"] = _text_of(own)
            inner = _see_files(own)
            everything.append((f"its module {module}", inner))
            installed = {name for name in inner.imports if not _project_files(name, min(own), more)}
        else:
            installed = {module}
        for name in sorted(installed - sys.stdlib_module_names):
            known = _version(name)
            parts[f"package {name}"] = known or "not found"
            if known is None and not source.packages:
                lost.append(f"its code imports {name}, which is not found from here")
    return Known(
        parts=parts,
        obstacles=(*(why for where, one in everything for why in _obstacles(where, one, allowed)), *lost),
        time=tuple(
            f"{where} names {name}, which depends on the time"
            for where, one in everything
            for name in sorted(one.names & _TIME)
        ),
        sql=tuple(sql for _, one in everything for text in one.texts if (sql := _sql_in(text))),
        reads_itself=seen.itself,
    )


def _sql_in(text: str) -> str:
    """A text that may be a query; of one that may be an expression (``relation.filter('at < now()')``), what it calls."""
    if {"select", "from"} & set(text.lower().split()):
        return text
    return ", ".join((*(f"{name}()" for name in _CALLS.findall(text)), *_VALUES.findall(text)))


def _obstacles(where: str, seen: _Seen, allowed: frozenset[str]) -> Iterator[str]:
    names = (seen.names | seen.imports) - allowed
    for name in sorted(names & _CHANCE):
        yield f"{where} names {name}, which is left to chance"
    for name in sorted(names):
        if name in _OUTSIDE or (name.startswith(_READERS) and not allowed):
            yield f"{where} names {name}, which is not in the lake"
    for file in sorted(seen.files if not allowed else ()):
        yield f"{where} names {file}, which is not in the lake"
    for name in sorted(names & _HIDING):
        yield f"{where} names {name}, which runs code that cannot be seen"


def _see(tree: ast.AST, target: str) -> _Seen:
    seen = _Seen()
    prose: set[ast.AST] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant() as said):
                prose.add(said)
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
                seen.files.update(() if node in prose else _NAMED_FILES.findall(text))
                seen.itself = seen.itself or bool(re.search(rf"\b{re.escape(target)}\b", text, re.IGNORECASE))
    return seen


def _see_files(files: Iterable[Path]) -> _Seen:
    """What several files name, together."""
    total = _Seen()
    for file in files:
        try:
            seen = _see(ast.parse(file.read_text(encoding="utf-8")), "\0")
        except (SyntaxError, ValueError):
            continue
        total.names |= seen.names
        total.imports |= seen.imports
        total.texts += seen.texts
        total.files |= seen.files
    return total


def _project_files(name: str, importer: Path, more: tuple[Path, ...]) -> frozenset[Path]:
    """The files of the project that importing a module may run; none if it is not of the project."""
    found: set[Path] = set()
    todo = [(name, importer)]
    done: set[str] = set()
    while todo:
        module, of = todo.pop()
        files = _files_of(module, of, more) - found if module not in sys.stdlib_module_names else set()
        found |= files
        done.add(module)
        todo += [(inner, file) for file in files for inner in sorted(_see_files([file]).imports - done)]
    return frozenset(found)


def _files_of(name: str, importer: Path, more: tuple[Path, ...]) -> set[Path]:
    """A module's own files, with all of its package."""
    for folder in (*_project_folders(importer), *more):
        if (folder / f"{name}.py").is_file():
            return {folder / f"{name}.py"}
        if files := set((folder / name).rglob("*.py")):
            return files
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return set()
    places = [Path(place) for place in (spec.submodule_search_locations or ())] if spec is not None else []
    files = {file for place in places for file in place.rglob("*.py") if not _is_installed(place)}
    if not places and spec is not None and spec.has_location and spec.origin and not _is_installed(Path(spec.origin)):
        files.add(Path(spec.origin))
    return {file for file in files if file.suffix == ".py"}


def _project_folders(importer: Path) -> list[Path]:
    """The folders of the project around a file, nearest first."""
    folders = list(importer.parents)
    root = next((at for at, folder in enumerate(folders) if (folder / "dbt_project.yml").is_file()), 0)
    return folders[: root + 1]


def _is_installed(file: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & set(file.parts))


def _text_of(files: Iterable[Path]) -> str:
    """The hash of what files say."""
    total = hashlib.sha256()
    for one in sorted(files):
        total.update(normal(one.read_text(encoding="utf-8")).encode() + b"\0")
    return total.hexdigest()


def _version(module: str) -> str | None:
    """The version of the distribution that a module is of; None if there is none here."""
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        distributions = _distributions().get(module)
    try:
        return importlib.metadata.version(distributions[0]) if distributions else None
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()
