"""What this project's nodes were compiled to and built by, so that unchanged ones need not be compiled again.

One JSON file in dbt's target folder: for each node a few entries, found by the key of what the node was compiled from
(see ``compiled``). It is a cache: without it everything is compiled as ever.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbt.adapters.lakehouse.__version__ import version
from dbt.adapters.lakehouse.compiled import Sources
from dbt.adapters.lakehouse.run.values import Build, View, Wish
from dbt.adapters.lakehouse.templates import Named

FILE = "lakehouse_builds.json"
_FORMAT = 3
"""Raise this when the same template would be understood in another way than before."""
_VARIANTS = 4
"""So many entries are kept for a node: it may be built for several targets by turns."""


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """What a node was compiled to, and the one thing that was then asked of the lake."""

    compiled: str | None
    wish: Wish


class Memory:
    """The file's content; changes are kept until ``save``. Safe for use by several threads."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._lock = threading.Lock()
        self._said: dict[str, list[Build | View | str | None]] = {}
        self._nodes, self.scans = _load(self._path)
        self._changed = False

    def recall(self, node: str, key: str) -> Remembered | None:
        """What is known of a node that is compiled from what ``key`` stands for."""
        said = self._nodes.get(node, {}).get(key)
        if said is None:
            return None
        try:
            return Remembered(compiled=said["compiled"], wish=_wish(node, said))
        except (KeyError, ValueError, TypeError):
            return None

    # while nodes run

    def asked(self, node: str, what: Build | View | str | None) -> None:
        """A node asked for a build, a view, or a test's rows (the query); None for anything else, which is not remembered."""
        with self._lock:
            self._said.setdefault(node, []).append(what)

    def ended(self, node: str, key: str | None, compiled: str | None, *, passed: bool) -> None:
        """A node ended; if it passed, and asked for nothing but what can be asked for again, that is remembered."""
        with self._lock:
            said = self._said.pop(node, [])
            document = _document(said)
            if not passed or key is None or document is None:
                return
            variants = self._nodes.setdefault(node, {})
            variants.pop(key, None)
            variants[key] = {"compiled": compiled, **document}
            while len(variants) > _VARIANTS:
                del variants[next(iter(variants))]
            self._changed = True

    def save(self, scans: Mapping[str, Named], nodes: frozenset[str]) -> None:
        """Write the file, if anything is new; ``scans`` and ``nodes`` are what the project has now, all else is forgotten."""
        with self._lock:
            if not self._changed and scans.keys() <= self.scans.keys():
                return
            document = {
                "format": _FORMAT,
                "version": version,
                "scans": {key: dataclasses.asdict(value) for key, value in scans.items()},
                "nodes": {name: variants for name, variants in self._nodes.items() if name in nodes},
            }
            self._changed = False
        temporary = self._path.with_name(f".{FILE}.{uuid.uuid4().hex[:8]}")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(document))
            temporary.replace(self._path)


@dataclass(frozen=True, kw_only=True)
class Remembering:
    """An invocation that remembers its nodes: their keys, taken before the first of them ran, and dbt's manifest.

    ``compiled`` are copies of nodes that were compiled before their turn.
    """

    memory: Memory
    sources: Sources
    keys: Mapping[str, str | None]
    manifest: Any
    compiled: dict[str, Any] = field(default_factory=dict)
    _elsewhere: set[str] = field(default_factory=set)

    def forget(self, nodes: Iterable[str]) -> None:
        """These run once more, in another state of the lake than their keys were taken in."""
        self._elsewhere.update(nodes)

    def take_compiled(self, node: str) -> Any | None:
        """The compiled copy of a node, if compiling it once more would give the same."""
        copy = self.compiled.pop(node, None)
        return copy if self.keys.get(node) is not None and node not in self._elsewhere else None

    def asked(self, node: str, what: Build | View | str | None) -> None:
        """See ``Memory.asked``."""
        if node in self.keys:
            self.memory.asked(node, what)

    def ended(self, node: str, *, passed: bool) -> None:
        """See ``Memory.ended``."""
        if node in self.keys:
            known = self.manifest.nodes.get(node)
            key = None if node in self._elsewhere else self.keys[node]
            if known is not None and known.resource_type == "seed" and self.sources.key(known, exists=False) != key:
                key = None  # its file was edited meanwhile
            self.memory.ended(node, key, getattr(known, "compiled_code", None), passed=passed)

    def save(self) -> None:
        """Write down what is new."""
        self.memory.save(self.sources.scans, frozenset((*self.manifest.nodes, *self.manifest.unit_tests)))


def _load(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Named]]:
    """Nodes and scans of the file; nothing where it is missing, broken, or by another version of this package."""
    try:
        document = json.loads(path.read_text())
        if (document["format"], document["version"]) != (_FORMAT, version):
            return {}, {}
        nodes = {name: dict(variants) for name, variants in document["nodes"].items()}
        return nodes, {key: _named(value) for key, value in document["scans"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, {}


def _named(value: Mapping[str, Any]) -> Named:
    return Named(
        plain=tuple(value["plain"]),
        dotted=tuple((name, attribute) for name, attribute in value["dotted"]),
        dispatched=tuple(value["dispatched"]),
        environment=tuple(value["environment"]),
        own=tuple(value["own"]),
        unclear=bool(value["unclear"]),
    )


def _document(said: Sequence[Build | View | str | None]) -> dict[str, Any] | None:
    """What a node asked for, if it was a build, a view, a test's rows, or first a relation for a test and then its rows."""
    first, rest = said[:1], said[1:]
    match first, rest:
        case [str() as test], []:
            return {"test": test}
        case [Build() | View() as relation], []:
            return {_kind(relation): _dump(relation)}
        case [Build() | View() as relation], [str() as test]:
            return {_kind(relation): _dump(relation), "test": test}
    return None


def _kind(said: Build | View) -> str:
    return "build" if isinstance(said, Build) else "view"


def _dump(said: Build | View) -> str:
    from dbt.adapters.lakehouse.lake.remote import wire

    return wire.dump(type(said), said).decode()


def _wish(node: str, said: Mapping[str, Any]) -> Wish:
    from dbt.adapters.lakehouse.lake.remote import wire

    kinds: dict[str, Any] = {"build": Build, "view": View}
    known = {kind: wire.adapter(kinds[kind]).validate_json(said[kind]) for kind in kinds if kind in said}
    return Wish(id=node, test=said.get("test"), **known)
