"""DuckDB's syntax trees in one form, that of DuckDB 1.5, whichever version made them.

DuckDB 2.0 tells the same in other words: arguments of calls stand beside their names, literals are texts with a kind, and
qualified names stand a second time as a path, in which a schema would count that was replaced by a label.
"""

from __future__ import annotations

import json
from typing import Any

_ONLY_IN_2_0 = '"query_location_length"'
_NAMED = frozenset({"function_name", "table_name", "type_name"})


def in_one_form(text: str) -> dict[str, Any]:
    """A tree from its JSON; one of 1.5 is as it is."""
    tree: dict[str, Any] = json.loads(text)
    if _ONLY_IN_2_0 in text:
        _rewrite_all(tree)
    return tree


def _rewrite_all(tree: dict[str, Any]) -> None:
    waiting: list[Any] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            _rewrite(node)
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _rewrite(node: dict[str, Any]) -> None:
    node.pop("query_location_length", None)
    if "qualified_name" in node and not _NAMED.isdisjoint(node):
        del node["qualified_name"]
    if "children" not in node and isinstance(arguments := node.get("arguments"), list):
        del node["arguments"]
        node["children"] = [_argument(argument) for argument in arguments]
    if node.get("class") == "CONSTANT" and isinstance(literal := node.get("literal"), dict):
        del node["literal"]
        # As in 1.5, only what is written as a text has a text for its value.
        node["value"] = {**literal, "value": literal.get("text") if literal.get("kind") == "STRING" else None}


def _argument(argument: dict[str, Any]) -> dict[str, Any]:
    """What is given, which bears the name of a named argument as its alias."""
    expression: dict[str, Any] = argument["expression"]
    if argument.get("name"):
        expression["alias"] = argument["name"]
    return expression
