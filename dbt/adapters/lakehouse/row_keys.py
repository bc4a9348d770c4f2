"""The columns that tell the rows of a dbt node's table apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

_SCD_ID = "dbt_scd_id"
_UNIQUE = ("primary_key", "unique")


def row_key(node: Any, tests: Iterable[Any]) -> tuple[str, ...]:
    """As configured, as the contract says, or as one of ``tests`` does (one column before several); empty if nothing tells.

    Of a snapshot's rows, its own ids do. Tests of other nodes, or of a part of the rows, are passed over.
    """
    config = node.config
    if _text(node.resource_type) == "snapshot":
        return (getattr(getattr(config, "snapshot_meta_column_names", None), "dbt_scd_id", None) or _SCD_ID,)
    configured = getattr(config, "unique_key", None)
    if configured:
        return tuple(configured) if isinstance(configured, list | tuple) else (str(configured),)
    return next(_by_contract(node), None) or min(_by_tests(node, tests), key=len, default=())


def _by_contract(node: Any) -> Iterator[tuple[str, ...]]:
    for constraint in getattr(node, "constraints", None) or ():
        if _text(constraint.type) in _UNIQUE and constraint.columns:
            yield tuple(constraint.columns)
    for column in (getattr(node, "columns", None) or {}).values():
        if any(_text(constraint.type) in _UNIQUE for constraint in getattr(column, "constraints", None) or ()):
            yield (str(column.name),)


def _by_tests(node: Any, tests: Iterable[Any]) -> Iterator[tuple[str, ...]]:
    for test in tests:
        said = getattr(test, "test_metadata", None)
        if said is None or getattr(test, "attached_node", None) != node.unique_id or _where(test):
            continue
        columns: Any = None
        if said.name == "unique":
            columns = [getattr(test, "column_name", None) or said.kwargs.get("column_name")]
        elif said.name == "unique_combination_of_columns":
            columns = said.kwargs.get("combination_of_columns")
        if columns and all(isinstance(column, str) for column in columns):
            yield tuple(column.strip('"') for column in columns)


def _where(test: Any) -> Any:
    return getattr(getattr(test, "config", None), "where", None)


def _text(value: Any) -> str:
    """An enumeration's value, or what already is text."""
    return str(getattr(value, "value", value))
