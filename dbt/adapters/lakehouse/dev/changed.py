"""What differs between two parses of a project, and how dbt is told to build it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from dbt_common.exceptions import DbtBaseException

from dbt.adapters.lakehouse.dev.values import Node
from dbt.adapters.lakehouse.row_keys import row_key

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

_NODE = re.compile(r"^(?P<kind>model|seed|snapshot|test|unit_test|function) (?P<name>\S+) \(.*\)$", re.MULTILINE)
_BUILT = ("model", "seed", "snapshot", "test", "unit_test", "function")
_RELATIONS = ("model", "seed", "snapshot")


@dataclass(frozen=True, kw_only=True)
class Edits:
    """Ids of nodes: those that must be built, of these the ones whose own text was edited, and those that are gone."""

    modified: frozenset[str] = frozenset()
    edited: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()


def edits(before: Manifest | None, now: Manifest, files: Collection[str]) -> Edits:
    """What changed between two parses; ``files`` were saved since, by their paths in the project.

    Changed is what dbt's ``state:modified`` says: text, configuration, contract, macros. Of large seeds dbt compares no more
    than the name, and of Python models not the modules that they import: for these, what was saved decides; and for all, where
    the project could not be parsed before.
    """
    saved = {node.unique_id: node for node in _nodes(now) if node.original_file_path in files}
    if before is None:
        return Edits(modified=frozenset(saved), edited=frozenset(saved))
    modified = set(_modified(before, now))
    modified |= {name for name, node in saved.items() if node.resource_type == "seed"}
    paths = {node.original_file_path for node in _nodes(now)}
    if any(file.endswith(".py") and file not in paths for file in files):
        modified |= {node.unique_id for node in _nodes(now) if getattr(node, "language", None) == "python"}
    known = {node.unique_id for node in _nodes(before)}
    return Edits(
        modified=frozenset(modified),
        edited=frozenset(name for name in modified if name in saved or name not in known),
        removed=frozenset(known - {node.unique_id for node in _nodes(now)}),
    )


def _nodes(manifest: Manifest) -> Iterator[Any]:
    for kind in ("nodes", "unit_tests", "functions"):
        for node in getattr(manifest, kind, {}).values():
            if node.resource_type in _BUILT:
                yield node


def _modified(before: Manifest, now: Manifest) -> Iterator[str]:
    from dbt.graph.selector_methods import StateSelectorMethod

    former = {node.unique_id: node for node in _nodes(before)}
    # dbt would read the former state from a file; it is here.
    state = StateSelectorMethod(now, SimpleNamespace(manifest=before), [])
    for node in _nodes(now):
        try:
            if state.check_modified_content(former.get(node.unique_id), node, now.metadata.adapter_type or "lakehouse"):
                yield node.unique_id
        except DbtBaseException:
            # A contract that was broken by the edit: dbt will say so when it builds the node.
            yield node.unique_id


def buildable(manifest: Manifest, names: Iterable[str]) -> frozenset[str]:
    """Nodes to build for these to be seen: an ephemeral model shows in those that read it."""
    found: set[str] = set()
    todo = [name for name in names if _find(manifest, name) is not None]
    seen = set(todo)
    while todo:
        name = todo.pop()
        node = _find(manifest, name)
        if node is not None and getattr(node, "is_ephemeral_model", False):
            below = [child for child in manifest.child_map.get(name, ()) if child not in seen]
            todo += below
            seen.update(below)
        elif node is not None and node.resource_type in _BUILT:
            found.add(name)
    return frozenset(found)


def related(manifest: Manifest, names: Iterable[str], among: Collection[str]) -> frozenset[str]:
    """Those of some nodes that these are, read, or are read by, be it through others."""
    wanted = frozenset(among)
    found: set[str] = set()
    for edges in (manifest.child_map, manifest.parent_map):
        seen = set(names) if wanted else set()
        todo = list(seen)
        while todo:
            below = [name for name in edges.get(todo.pop(), ()) if name not in seen]
            todo += below
            seen.update(below)
        found |= seen & wanted
    return frozenset(found)


def named(manifest: Manifest, message: str) -> set[str]:
    """Nodes that a message is about, which has them as the pre-flight check does: ``model orders (models/orders.sql:3)``."""
    found = {(match["kind"], match["name"]) for match in _NODE.finditer(message)}
    return {node.unique_id for node in _nodes(manifest) if (str(node.resource_type), node.name) in found}


def selection(
    manifest: Manifest, names: Iterable[str], *, children: bool = False, within: Collection[str] = ()
) -> tuple[str, ...]:
    """``--select`` for exactly these nodes (and all below them), as far as they are among those of ``within``."""
    plus = "+" if children else ""
    # Items of --select are joined by "or", parts of an item between commas by "and".
    one_each = [f"fqn:{'.'.join(node.fqn)}{plus}" for node in (_find(manifest, name) for name in sorted(names)) if node]
    scopes = [scope for text in within for scope in text.split()]
    return tuple(f"{one},{scope}" for one in one_each for scope in scopes) if scopes else tuple(one_each)


def node_of(manifest: Manifest | None, node: Any) -> Node:
    """A node as the screen gets it."""
    related = node.resource_type in _RELATIONS and not getattr(node, "is_ephemeral_model", False)
    return Node(
        id=node.unique_id,
        kind=str(node.resource_type),
        name=node.name,
        path=node.original_file_path,
        relation=(node.schema, node.alias) if related else None,
        key=key_of(manifest, node) if related and manifest is not None else (),
    )


def key_of(manifest: Manifest, node: Any) -> tuple[str, ...]:
    """The columns that tell rows of a node apart, tests of it considered."""
    return row_key(node, [manifest.nodes.get(name) for name in manifest.child_map.get(node.unique_id, ())])


def _find(manifest: Manifest, name: str) -> Any:
    for kind in ("nodes", "unit_tests", "functions"):
        found = getattr(manifest, kind, {}).get(name)
        if found is not None:
            return found
    return None
