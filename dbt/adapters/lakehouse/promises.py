"""From the constraints of a dbt node's contract to those that a write is held against. No dbt classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.tables.values import Constraints, ForeignKey, name_key

Node = Mapping[str, Any]

_REFERENCES = re.compile(r'(?:references\s+)?((?:"(?:[^"]|"")*"|[\w$.])+)\s*\(([^()]+)\)', re.IGNORECASE)


def constraints(node: Node) -> Constraints:
    """The constraints of an enforced contract. Those of kind ``custom`` are text for another engine's DDL, and left out."""
    contract = node.get("contract") or node["config"].get("contract") or {}
    if not contract.get("enforced"):
        return Constraints()
    not_null: list[str] = []
    unique: list[tuple[str, ...]] = []
    primary: list[str] = []
    checks: list[tuple[str, str]] = []
    foreign: list[ForeignKey] = []
    names: dict[str, str] = {}
    for columns, item in _declared(node):
        kind = str(item.get("type"))
        if item.get("name") and kind != "check":
            names[name_key(kind, columns)] = str(item["name"])
        match kind:
            case "not_null":
                not_null.extend(columns)
            case "unique":
                unique.append(columns)
            case "primary_key":
                primary.extend(columns)
            case "check":
                checks.append((item.get("name") or "", str(item.get("expression") or "true")))
            case "foreign_key":
                foreign.append(_foreign_key(node, columns, item))
    if primary:
        unique.append(tuple(primary))
        not_null.extend(name for name in primary if name not in not_null)
    return Constraints(
        not_null=tuple(not_null),
        unique=tuple(unique),
        primary_key=tuple(primary),
        checks=tuple(checks),
        foreign=tuple(foreign),
        names=tuple(names.items()),
    )


def _declared(node: Node) -> Iterable[tuple[tuple[str, ...], Mapping[str, Any]]]:
    for column in (node.get("columns") or {}).values():
        for item in column.get("constraints") or ():
            yield (column["name"],), item
    for item in node.get("constraints") or ():
        yield tuple(item.get("columns") or ()), item


def _foreign_key(node: Node, columns: tuple[str, ...], item: Mapping[str, Any]) -> ForeignKey:
    """``to`` and ``to_columns``, or ``expression`` as in DDL: a relation with columns in parentheses."""
    relation, to = str(item.get("to") or ""), tuple(item.get("to_columns") or ())
    if not relation:
        found = _REFERENCES.fullmatch(str(item.get("expression") or "").strip())
        if found is not None:
            relation, to = found[1], tuple(_plain(name) for name in found[2].split(","))
    if not relation or not columns or len(to) != len(columns):
        raise ConfigError(
            f"{node.get('unique_id')}: the foreign key of {', '.join(columns) or 'no columns'} does not say which columns of "
            "which relation it means; write `to: ref('parent')` and as many `to_columns` as it has columns"
        )
    own = (node.get("relation_name") or "").lower()
    return ForeignKey(columns=columns, relation="" if relation.lower() == own else relation, to=to)


def _plain(name: str) -> str:
    name = name.strip()
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
