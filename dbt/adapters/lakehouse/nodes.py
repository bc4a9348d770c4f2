"""From a dbt node, as Jinja hands it over, to the parts of a ``Build``. No dbt classes."""

from __future__ import annotations

import ast
import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.nested_columns import paths
from dbt.adapters.lakehouse.quoting import literal, quote
from dbt.adapters.lakehouse.run.values import FileSource, Name
from dbt.adapters.lakehouse.tables.values import Column, TimeRange

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


def own_table(sql: str, node: Node, database: str) -> tuple[Name, str, bool] | None:
    """Name and query of a node's ``CREATE TABLE … AS`` for its own table or one named after it, and whether it may replace one.

    So do materializations that a project brings itself. None for any other statement, and for one that says more (columns,
    IF NOT EXISTS).
    """
    # Imported late: DuckDB, whose tokenizer it is, is not needed to parse a project.
    from dbt.adapters.lakehouse.run.statements import Kind, parse
    from dbt.adapters.lakehouse.run.tokens import split

    if node["resource_type"] not in ("model", "snapshot", "seed"):
        return None
    statements = split(sql)
    if len(statements) != 1:
        return None
    found = parse(statements[0])
    if found.kind is not Kind.CREATE_TABLE or found.body is None or found.columns is not None or found.temporary:
        return None
    if found.if_not_exists or found.clone_of is not None:
        return None
    target = found.target
    named_after = (
        target.name.lower().startswith(node["alias"].lower()) and target.schema.lower() == node["schema"].lower()
    )
    if target.database.lower() != database.lower() or not named_after:
        return None
    return Name(database=target.database, schema=target.schema, name=target.name), found.body, found.or_replace


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


def documents_what_is_not_there(node: Node, columns: Iterable[Column]) -> bool:
    """Whether ``persist_docs`` asks for comments on columns that the relation does not have, of which dbt warns each time."""
    if not (node["config"].get("persist_docs") or {}).get("columns"):
        return False
    exact = {name for column in columns for name in (column.name, *(p for p, _ in paths(column.name, column.type)))}
    folded = {name.lower() for name in exact}
    documented = (node.get("columns") or {}).values()
    return any(
        item["name"] not in exact if item.get("quote") else item["name"].lower() not in folded for item in documented
    )


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


def lines_before(path: str) -> int:
    """The empty lines at the beginning of a Python model's file, which dbt cuts off; none where the file is not at hand."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return 0
    return text[: len(text) - len(text.lstrip())].count("\n")


def matching(node: Node, strategy: str, source: str, target: str, statements: Sequence[str]) -> str | None:
    """Which rows of the target an incremental strategy can touch, as a condition on alias ``t``; None means any.

    More rows than the statements touch do no harm, fewer would. So the keys only count if the rendered statements, which
    a project's own macros may have made, are seen to be bound to them; when in doubt the answer is None.
    """
    config = node["config"]
    if strategy == "microbatch":
        return batch(node) if all(_names_once(statement, target) for statement in statements) else None
    if strategy not in ("delete+insert", "merge"):
        return None
    keys = config.get("merge_on_using_columns") if strategy == "merge" else None
    keys = keys or config.get("unique_key") or []
    keys = [keys] if isinstance(keys, str) else list(keys)
    bound = _merge_is_bound if strategy == "merge" else _delete_is_bound
    if not bound(statements, source, target, keys):
        return None
    if not keys:
        return "false"
    if strategy == "delete+insert" and len(keys) == 1 and isinstance(config.get("unique_key"), str):
        # dbt takes an expression here, which may name anything but its own alias.
        return f"({keys[0]}) IN (SELECT ({keys[0]}) FROM {source})"
    return _same(keys, source)


def _words(sql: str) -> str:
    """A text's tokens in lower case with single blanks between and around them, quotes of names left out."""
    # Imported late: DuckDB, whose tokenizer it is, is not needed to parse a project.
    from dbt.adapters.lakehouse.run.tokens import tokenize

    return f" {' '.join((token.name if token.is_name else token.text).lower() for token in tokenize(sql))} "


def _names_once(sql: str, target: str) -> bool:
    from dbt.adapters.lakehouse.run.tokens import mentions

    return mentions(sql, target) <= 1


def _merge_is_bound(statements: Sequence[str], source: str, target: str, keys: Sequence[str]) -> bool:
    """Whether the statement is one MERGE that touches no row of the target but those whose keys the source has."""
    if len(statements) != 1 or not _names_once(statements[0], target):
        return False
    words = _words(statements[0])
    head, when, _ = words.partition(" when ")
    if not words.startswith(" merge into ") or not when or " by source " in words or " or " in head:
        return False
    if not keys:
        return " on ( false )" in head
    using = f" using ( {' , '.join(_words(key).strip() for key in keys)} ) "
    return using in head or all(
        f" dbt_internal_source . {name} = dbt_internal_dest . {name} " in head
        for name in (_words(key).strip() for key in keys)
    )


def _delete_is_bound(statements: Sequence[str], source: str, target: str, keys: Sequence[str]) -> bool:
    """Whether the statements are a DELETE of rows whose keys the source has, if there are keys, and an INSERT."""
    texts = [_words(statement) for statement in statements]
    kinds = [text.split(" ", 2)[1] for text in texts]
    if kinds != (["delete", "insert"] if keys else ["insert"]):
        return False
    if not all(_names_once(statement, target) for statement in statements):
        return False
    if not keys:
        return True
    names, rows = [_words(key).strip() for key in keys], _words(source).strip()
    by_value = len(names) == 1 and f" ( {names[0]} ) in ( select ( {names[0]} ) from {rows} ) " in texts[0]
    by_join = all(f" {rows} . {name} = dbt_incremental_target . {name} " in texts[0] for name in names)
    return (by_value or by_join) and " or " not in texts[0]


def batch(node: Node) -> str | None:
    """``batch_range`` as a condition."""
    time = batch_range(node)
    return time.condition if time is not None else None


def batch_range(node: Node) -> TimeRange | None:
    """Which rows belong to the batch that runs, by the model's ``event_time``; None if there is no batch."""
    event_time, context = node["config"].get("event_time"), node.get("batch") or {}
    start, end = context.get("event_time_start"), context.get("event_time_end")
    return TimeRange(column=event_time, start=str(start), end=str(end)) if event_time and start and end else None


def is_plain_batch(
    time: TimeRange, statements: Sequence[str], source: str, target: str, columns: Sequence[str]
) -> bool:
    """Whether statements replace the target's rows of a time by those of the source, and do nothing else.

    They may come from a project's own macro, or have ``incremental_predicates`` in them.
    """
    names = ", ".join(quote(name) for name in columns)
    wanted = [
        f"delete from {target} where {time.condition}",
        f"insert into {target} ({names}) select {names} from {source} where {time.condition}",
    ]
    return [_words(statement) for statement in statements] == [_words(statement) for statement in wanted]


def _same(keys: Sequence[str], source: str) -> str:
    pairs = " AND ".join(f"s.{key} IS NOT DISTINCT FROM t.{key}" for key in keys)
    return f"EXISTS (SELECT 1 FROM {source} AS s WHERE {pairs})"


_NULLS = ("", *map("".join, itertools.product("nN", "uU", "lL", "lL")))
_TEXT = re.compile(r"(text|varchar|string|char|bpchar)\s*(\(.*\))?", re.IGNORECASE)


def seed_sql(
    path: str, columns: Sequence[tuple[str, str]], delimiter: str, *, quoted: bool = True, empty: bool = False
) -> str:
    """A SELECT of a seed's CSV file with dbt's types.

    Empty fields and ``null`` in any case are null, as dbt's own reader has it; in text also with blanks around them.
    """
    types = ", ".join(f"{literal(name)}: {literal(dtype)}" for name, dtype in columns)
    # With ``quote_columns: false`` names must do without: that a delimiter is wrong shows here.
    names = "" if quoted else f" AS seed({', '.join(name for name, _ in columns)})"
    blank = ", ".join(
        f"CASE WHEN regexp_full_match({name}, '(?i)\\s*(null)?\\s*') THEN NULL ELSE {name} END AS {name}"
        for name in (quote(name) for name, dtype in columns if _TEXT.fullmatch(dtype.strip()))
    )
    return (
        f"SELECT * FROM (SELECT *{f' REPLACE ({blank})' if blank else ''} "
        f"FROM read_csv({literal(path)}, header = true, delim = {literal(delimiter)}, quote = '\"', escape = '\"', "
        f"columns = {{{types}}}, nullstr = [{', '.join(map(literal, _NULLS))}], auto_detect = false, strict_mode = false))"
        f"{names}{' LIMIT 0' if empty else ''}"
    )


def seed_file(path: str, code: str) -> FileSource:
    """What a seed is made of: its file's bytes, and the SELECT but for where the file lies."""
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return FileSource(digest=digest, how=code.replace(literal(path), "file"))


def incoming_columns(described: Iterable[Column], helpers: Iterable[str]) -> tuple[Column, ...]:
    """The columns of a staging query that belong to the table, without the helpers of dbt's snapshot macros."""
    left_out = {name.lower() for name in helpers}
    return tuple(column for column in described if column.name.lower() not in left_out)
