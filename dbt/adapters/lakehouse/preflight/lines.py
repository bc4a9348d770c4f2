"""From a line of compiled SQL to the line of the user's file that it came from, where that can be told."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def raw_line(compiled: str, raw: str, line: int) -> int | None:
    """The line of ``raw`` that a line of what was made of it is: equal, or alone between two that are equal."""
    ours = [text.strip() for text in compiled.splitlines()]
    theirs = [text.strip() for text in raw.splitlines()]
    if not 1 <= line <= len(ours):
        return None
    matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
    found = {
        block.a + n: block.b + n
        for block in matcher.get_matching_blocks()
        for n in range(block.size)
        if ours[block.a + n]
    }
    at = line - 1
    if at in found:
        return found[at] + 1
    before = max((one for one in found if one < at), default=-1)
    after = min((one for one in found if one > at), default=len(ours))
    first, last = found.get(before, -1), found.get(after, len(theirs))
    # Between equal lines there are as many lines here as there: each is one of them, rendered.
    return first + (at - before) + 1 if last - first == after - before else None


def line_in_file(path: Path, raw: str, line: int) -> int | None:
    """The number in its file of a line of a node's code, of which dbt may have cut off what stands before it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    start = text.find(raw)
    return None if start < 0 or not raw else text[:start].count("\n") + line


def text_at(path: Path, line: int | None) -> str:
    """What stands in a line of a file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return ""
    return lines[line - 1].strip() if line is not None and 1 <= line <= len(lines) else ""


def yaml_line(path: Path, *steps: tuple[tuple[str, ...], str]) -> int | None:
    """The line of an item in a YAML file, by steps: under one of these keys, the item of this name.

    An item is a mapping with that ``name``, a text, or a mapping whose only interesting key it is (a test with arguments).
    """
    import yaml  # type: ignore[import-untyped] # late: only for reports

    try:
        tree = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    line: int | None = None
    for keys, name in steps:
        item = next((one for one in _items(tree, keys) if _is_named(one, name)), None)
        if item is None:
            return line
        tree, line = item, item.start_mark.line + 1
    return line


def _items(tree: Any, keys: Iterable[str]) -> list[Any]:
    """The items of the lists under the keys of a mapping; one key may lead through a list of mappings to the next (a.b)."""
    found: list[Any] = []
    for key in keys:
        level = [tree]
        for part in key.split("."):
            level = [item for one in level for item in _below(one, part)]
        found += level
    return found


def _below(tree: Any, key: str) -> list[Any]:
    pairs = tree.value if getattr(tree, "id", "") == "mapping" else []
    for name, value in pairs:
        if name.value == key:
            return list(value.value) if value.id == "sequence" else [value]
    return []


def _is_named(item: Any, name: str) -> bool:
    if item.id == "scalar":
        return bool(item.value == name)
    if item.id != "mapping":
        return False
    for key, value in item.value:
        if key.value == "name" and value.id == "scalar" and value.value == name:
            return True
    return any(key.value == name for key, _ in item.value)
