"""What must not be overwritten unnoticed: another's table, and columns that readers of a protected branch count on. Pure.

A guard looks at what stands at a key before and after a change of a branch, and at nothing in between: what a run does
on its own branch is its own affair.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, cast

from dbt.adapters.lakehouse.catalog.model import Entry, FunctionEntry, Key, SchemaEntry, TableEntry, ViewEntry
from dbt.adapters.lakehouse.run.values import Refusal
from dbt.adapters.lakehouse.settings import Allowed
from dbt.adapters.lakehouse.tables.values import Column

GUARDS: tuple[Allowed, ...] = ("owner", "schema")
"""By the names with which they are let pass."""

CONFIGS: Mapping[Allowed, str] = {"owner": "allow_takeover", "schema": "allow_schema_change"}
"""The configuration of a model that lets its table pass."""

_KINDS = ("model", "seed", "snapshot", "test", "unit_test", "analysis", "operation")
_VERSION = re.compile(r"v[0-9A-Za-z_]+")
_HASH = re.compile(r"[0-9a-f]{10}")
_SIGNED = {"TINYINT": 7, "SMALLINT": 15, "INTEGER": 31, "BIGINT": 63}
_UNSIGNED = {"UTINYINT": 8, "USMALLINT": 16, "UINTEGER": 32}
_FIELD = re.compile(r'("(?:[^"]|"")*"|\S+) (.+)')
_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")


def refusals(key: Key, before: Entry | None, after: Entry | None) -> list[Refusal]:
    """What the guards say to a change. That of columns counts on a protected branch alone."""
    if before is None or after is None or isinstance(before, SchemaEntry) or isinstance(after, SchemaEntry):
        return []
    said: list[Refusal] = []
    if before.node and after.node and owner(before.node) != owner(after.node):
        said.append(Refusal(guard="owner", key=key, why=f"{before.node} wrote it, {after.node} would overwrite it"))
    functions = isinstance(before, FunctionEntry) or isinstance(after, FunctionEntry)
    lost = [] if functions else list(_lost(_columns(before), _columns(after)))
    if lost:
        said.append(Refusal(guard="schema", key=key, why=" and ".join(lost)))
    return said


def _columns(entry: Entry) -> Sequence[Column]:
    return entry.columns if isinstance(entry, TableEntry | ViewEntry) else ()


def owner(node: str) -> tuple[str, ...]:
    """Whose a node is: project and name. Versions of a model are one owner, and so are a model and a seed of one name.

    What is no dbt node (a tool's name) owns as it is called.
    """
    kind, *rest = node.split(".")
    if kind not in _KINDS or len(rest) < 2:
        return (node,)
    project, *name = rest
    if len(name) > 1 and (_VERSION if kind == "model" else _HASH).fullmatch(name[-1]):
        name.pop()
    return (project, *name)


def _lost(before: Sequence[Column], after: Sequence[Column]) -> Iterator[str]:
    """What readers of the columns before would miss in those after."""
    now = {column.name.lower(): column for column in after}
    for column in before:
        found = now.get(column.name.lower())
        if found is None:
            yield f"column {column.name!r} would go"
        elif not widens(column.type, found.type):
            yield f"column {column.name!r} would become {found.type} (it is {column.type})"


def widens(before: str, after: str) -> bool:
    """Whether every value of one type is one of the other, in the ways in which Iceberg lets a column's type change."""
    if before == after:
        return True
    if after in _SIGNED and before in _SIGNED:
        return _SIGNED[before] <= _SIGNED[after]
    if before in _UNSIGNED:
        return _UNSIGNED[before] <= {**_SIGNED, **_UNSIGNED}.get(after, -1)
    if (before, after) == ("FLOAT", "DOUBLE"):
        return True
    old, new = _DECIMAL.fullmatch(before), _DECIMAL.fullmatch(after)
    if old is not None and new is not None:
        return old[2] == new[2] and int(old[1]) <= int(new[1])
    return _widens_inside(before, after)


def _widens_inside(before: str, after: str) -> bool:
    """The same of nested types: their parts may widen, and structs have more of them."""
    if before.endswith("[]") and after.endswith("[]"):
        return widens(before[:-2], after[:-2])
    for kind in ("STRUCT(", "MAP("):
        if all(text.startswith(kind) and text.endswith(")") for text in (before, after)):
            old, new = _parts(before[len(kind) : -1]), _parts(after[len(kind) : -1])
            if kind == "MAP(":
                return len(old) == len(new) and all(map(widens, old, new))
            fields = dict(map(_field, new))
            return all(name in fields and widens(said, fields[name]) for name, said in map(_field, old))
    return False


def _parts(text: str) -> list[str]:
    """What commas separate that stand neither in parentheses nor in quotes."""
    parts, depth, quoted = [""], 0, False
    for character in text:
        quoted ^= character == '"'
        depth += 0 if quoted else (character == "(") - (character == ")")
        if character == "," and not (depth or quoted):
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _field(text: str) -> tuple[str, str]:
    """Name, its case aside, and type of a struct's field."""
    match = _FIELD.fullmatch(text)
    return (match[1].strip('"').lower(), match[2]) if match is not None else (text, "")


def allowed_by(provenance: Mapping[str, Any], key: Key) -> Collection[str]:
    """The guards that the commit which wrote a key was told to let pass, by its model's configuration."""
    recalled = provenance.get("recalled")
    said = recalled.get(str(key), {}) if isinstance(recalled, Mapping) else provenance
    return cast("Collection[str]", said.get("allow") or ())


def message(what: str, refused: Sequence[Refusal]) -> str:
    """The message of a ``Guarded`` error: ``what`` is refused, why, and how it is let pass."""
    shown = "; ".join(f"{refusal.key}: {refusal.why}" for refusal in refused[:5])
    more = f"; and {len(refused) - 5} more" if len(refused) > 5 else ""
    guards = sorted({refusal.guard for refusal in refused})
    options = " ".join(f"--allow {guard}" for guard in guards)
    configs = " and ".join(f"`+{CONFIGS[guard]}: true`" for guard in guards)
    return (
        f"{what} is refused: {shown}{more}. Nothing was changed. If that is meant: `lakehouse merge … {options}`, "
        f"{configs} in the configuration of the model, or LAKEHOUSE_ALLOW={','.join(guards)} for one dbt command"
    )
