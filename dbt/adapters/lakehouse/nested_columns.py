"""Columns within columns as dbt's YAML names them: ``address.city``; elements of lists are passed over (``items.price``)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dbt.adapters.lakehouse.errors import ConfigError

_OPEN = re.compile(r"(?:STRUCT|struct|Struct|record|RECORD)?\s*((?:\[\d*\])*)")


def paths(name: str, kind: str) -> Iterator[tuple[str, str]]:
    """The columns within a column of a type in DuckDB's words, each with its own type, by path."""
    kind = kind.strip()
    while kind.endswith("]"):
        kind = kind[: kind.rindex("[")]
    if not kind.upper().startswith("STRUCT("):
        return
    for field in _split(kind[len("STRUCT(") : -1]):
        inner, _, own = field.partition('" ') if field.startswith('"') else field.partition(" ")
        path = f"{name}.{inner.removeprefix(chr(34)).replace(chr(34) * 2, chr(34))}"
        yield path, own
        yield from paths(path, own)


def _split(text: str) -> Iterator[str]:
    """The parts between the commas that stand in no parentheses and no quotes."""
    depth, quoted, start = 0, False, 0
    for at, char in enumerate(text):
        quoted ^= char == '"'
        depth += 0 if quoted else (char == "(") - (char == ")")
        if char == "," and depth == 0 and not quoted:
            yield text[start:at].strip()
            start = at + 1
    yield text[start:].strip()


def contract_columns(columns: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The columns of a contract, those within others put into the types of these.

    A column without a type, or of type ``struct`` (``struct[]`` for a list of them), takes its fields from the columns whose
    names begin with its own; one that says its whole type keeps that. A quoted name is a name, whatever is in it.
    """
    tops = {key: dict(one) for key, one in columns.items() if "." not in one["name"] or one.get("quote")}
    known = {one["name"] for one in tops.values()}
    within = [one for key, one in columns.items() if key not in tops]
    for one in within:
        if (first := one["name"].partition(".")[0]) not in known:
            raise ConfigError(
                f"the contract names column {one['name']!r} and no column {first!r} that it is in; add that, of type struct"
            )
    for one in tops.values():
        one["data_type"] = _whole_type(one, within)
    return tops


def _whole_type(column: Mapping[str, Any], within: list[Mapping[str, Any]]) -> str | None:
    said = (column.get("data_type") or "").strip()
    open_type = _OPEN.fullmatch(said)
    prefix = f"{column['name']}."
    fields = [one for one in within if one["name"].startswith(prefix) and "." not in one["name"][len(prefix) :]]
    if open_type is None or not fields:
        return said or None
    inner = ", ".join(f'"{one["name"][len(prefix) :]}" {_whole_type(one, within)}' for one in fields)
    return f"struct({inner}){open_type[1]}"
