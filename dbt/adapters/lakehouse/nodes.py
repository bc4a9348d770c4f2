"""From a dbt node, as Jinja hands it over, to the parts of a ``Build``. No dbt classes, no I/O."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.tables.values import Column, Constraints

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.lake.base import SchemaChange

Node = Mapping[str, Any]

STRATEGIES = ("append", "delete+insert", "merge", "insert_overwrite", "microbatch")
"""Incremental strategies that are known here; projects may bring more as ``get_incremental_<name>_sql`` macros."""

_SCHEMA_CHANGES = ("ignore", "fail", "append_new_columns", "sync_all_columns")


def as_list(value: Any, key: str) -> tuple[str, ...]:
    """A configuration that may be one text, texts separated by commas outside parentheses, or a list of them."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return tuple(_split_commas(value))
    if isinstance(value, Sequence) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ConfigError(f"model configuration {key!r} is {value!r}; a text or a list of texts is right")


def _split_commas(text: str) -> list[str]:
    parts, depth, current = [], 0, ""
    for char in text:
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += char
    return [part for part in [*parts, current.strip()] if part]


def layout(node: Node) -> dict[str, Any]:
    """``partition_by``, ``sort_by`` and ``properties`` of a build; dbt-duckdb's spellings are known too."""
    config = node["config"]
    properties = config.get("table_properties") or {}
    if not isinstance(properties, Mapping):
        raise ConfigError(f"model configuration 'table_properties' is {properties!r}; a mapping is right")
    return {
        "partition_by": as_list(config.get("partition_by") or config.get("partitioned_by"), "partition_by"),
        "sort_by": as_list(config.get("sort_by") or config.get("sorted_by"), "sort_by"),
        "properties": {str(key): str(value) for key, value in properties.items()},
    }


def docs(node: Node) -> dict[str, Any]:
    """Table and column comments of a build, where ``persist_docs`` asks for them."""
    wanted = node["config"].get("persist_docs") or {}
    comments: dict[str, Any] = {}
    if wanted.get("relation") and node.get("description"):
        comments["comment"] = node["description"]
    if wanted.get("columns"):
        # A quoted name means that very spelling; whether the table has it is known when it is there (``stale_docs``).
        comments["column_comments"] = {
            column["name"]: column["description"]
            for column in (node.get("columns") or {}).values()
            if column.get("description") and not column.get("quote")
        }
    return comments


def stale_docs(node: Node, comment: str | None, columns: Iterable[Column]) -> tuple[str | None, dict[str, str]]:
    """The comments that ``persist_docs`` asks for and that a relation does not have: its own, and its columns'."""
    wanted = node["config"].get("persist_docs") or {}
    own = node.get("description") if wanted.get("relation") else None
    stale: dict[str, str] = {}
    documented = (node.get("columns") or {}).values() if wanted.get("columns") else ()
    for item in documented:
        for column in columns:
            exact = column.name == item["name"]
            same = exact or (not item.get("quote") and column.name.lower() == item["name"].lower())
            if same and item.get("description") and column.comment != item["description"]:
                stale[column.name] = item["description"]
    return (own if own and own != comment else None), stale


def constraints(node: Node) -> Constraints:
    """The constraints of an enforced contract; those that no table here can enforce are left out (dbt warns of them)."""
    contract = node.get("contract") or node["config"].get("contract") or {}
    if not contract.get("enforced"):
        return Constraints()
    not_null: list[str] = []
    unique: list[tuple[str, ...]] = []
    primary: list[str] = []
    checks: list[tuple[str, str]] = []
    for columns, item in _declared(node):
        match str(item.get("type")):
            case "not_null":
                not_null.extend(columns)
            case "unique":
                unique.append(columns)
            case "primary_key":
                primary.extend(columns)
            case "check":
                checks.append((item.get("name") or "", str(item.get("expression") or "true")))
    if primary:
        unique.append(tuple(primary))
        not_null.extend(name for name in primary if name not in not_null)
    return Constraints(not_null=tuple(not_null), unique=tuple(unique), primary_key=tuple(primary), checks=tuple(checks))


def _declared(node: Node) -> Iterable[tuple[tuple[str, ...], Mapping[str, Any]]]:
    for column in (node.get("columns") or {}).values():
        for item in column.get("constraints") or ():
            yield (column["name"],), item
    for item in node.get("constraints") or ():
        yield tuple(item.get("columns") or ()), item


def schema_change(node: Node) -> SchemaChange:
    """``on_schema_change``, checked."""
    value: Any = node["config"].get("on_schema_change") or "ignore"
    if value not in _SCHEMA_CHANGES:
        raise ConfigError(
            f"model configuration 'on_schema_change' is {value!r}; right are {', '.join(_SCHEMA_CHANGES)}"
        )
    known: SchemaChange = value
    return known


def python_reads(code: str) -> tuple[str, ...]:
    """The relations that a Python model may read: the maps that dbt puts behind ``dbt.ref`` and ``dbt.source``."""
    found: list[str] = []
    for item in ast.walk(ast.parse(code)):
        match item:
            case ast.Assign(targets=[ast.Name(id="refs" | "sources"), *_], value=ast.Dict() as known):
                found.extend(str(value) for value in ast.literal_eval(known).values())
    return tuple(dict.fromkeys(found))


def matching(node: Node, strategy: str, source: str, batch_predicates: Sequence[str] = ()) -> str | None:
    """Which rows of the target an incremental strategy can touch, as a condition on alias ``t``; None means any.

    More rows than the statement touches do no harm, fewer would: when in doubt the answer is None.
    """
    config = node["config"]
    if strategy == "microbatch":
        return batch(node)
    if strategy not in ("delete+insert", "merge"):
        return None
    if strategy == "merge" and _touches_unmatched(config):
        return None
    keys = config.get("merge_on_using_columns") or config.get("unique_key")
    if not keys:
        return "false"
    if isinstance(keys, str):
        # dbt takes an expression here, which may name anything but its own alias.
        return f"({keys}) IN (SELECT ({keys}) FROM {source})" if strategy == "delete+insert" else _same([keys], source)
    return _same(list(keys), source)


def batch(node: Node) -> str | None:
    """Which rows belong to the batch that runs, by the model's ``event_time``; None if there is no batch."""
    event_time, context = node["config"].get("event_time"), node.get("batch") or {}
    start, end = context.get("event_time_start"), context.get("event_time_end")
    return f"{event_time} >= '{start}' AND {event_time} < '{end}'" if event_time and start and end else None


def _same(keys: Sequence[str], source: str) -> str:
    pairs = " AND ".join(f"s.{key} IS NOT DISTINCT FROM t.{key}" for key in keys)
    return f"EXISTS (SELECT 1 FROM {source} AS s WHERE {pairs})"


def _touches_unmatched(config: Mapping[str, Any]) -> bool:
    clauses = (config.get("merge_clauses") or {}).get("when_not_matched") or ()
    return any(str(clause.get("by", "")).lower() == "source" for clause in clauses)


def seed_sql(
    path: str, columns: Sequence[tuple[str, str]], delimiter: str, *, quoted: bool = True, empty: bool = False
) -> str:
    """A SELECT of a seed's CSV file with dbt's types; empty fields and ``null`` are null, as dbt's own reader has it."""
    types = ", ".join(f"{_text(name)}: {_text(dtype)}" for name, dtype in columns)
    # With ``quote_columns: false`` names must do without: that a delimiter is wrong shows here.
    names = "" if quoted else f" AS seed({', '.join(name for name, _ in columns)})"
    return (
        f"SELECT * FROM read_csv({_text(path)}, header = true, delim = {_text(delimiter)}, quote = '\"', escape = '\"', "
        f"columns = {{{types}}}, nullstr = ['', 'null'], auto_detect = false, strict_mode = false)"
        f"{names}{' LIMIT 0' if empty else ''}"
    )


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def incoming_columns(described: Iterable[Column], helpers: Iterable[str]) -> tuple[Column, ...]:
    """The columns of a staging query that belong to the table, without the helpers of dbt's snapshot macros."""
    left_out = {name.lower() for name in helpers}
    return tuple(column for column in described if column.name.lower() not in left_out)
