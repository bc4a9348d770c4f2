"""SQL in normal form: what is left when layout, comments and the case of keywords are taken away.

It is DuckDB's syntax tree without positions. Relations of the lake are named by a label, so that it does not matter in which
schema they stand. What has no tree (PIVOT, MERGE, DELETE) counts by its tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dbt.adapters.lakehouse.run.statements import LONGEST_TREE, Reference, reads, syntax_tree, walk
from dbt.adapters.lakehouse.run.tokens import Token, tokenize


@dataclass(kw_only=True)
class Normal:
    """A statement in normal form, and what it calls and names.

    ``strangers`` are relations that have no label. ``reads`` are table functions with the texts that their first argument is
    made of (none, where it is no literal). Without a tree (``exact`` is false) the calls are not known apart from
    other names.
    """

    text: str
    exact: bool = True
    calls: set[str] = field(default_factory=set)
    table_calls: set[str] = field(default_factory=set)
    values: set[str] = field(default_factory=set)
    reads: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    strangers: set[str] = field(default_factory=set)
    samples: bool = False
    asks_catalog: bool = False


Label = Callable[[Reference], str | None]


def normal(sql: str, label: Label, function: Label = lambda _: None) -> Normal:
    """A statement in normal form; ``label`` names a relation of the lake, and answers None for any other.

    So does ``function`` for what is called.
    """
    if len(sql) > LONGEST_TREE or (tree := syntax_tree(sql)).get("error"):
        return _by_tokens(sql, label, function)
    found = Normal(text="", asks_catalog=reads(sql).catalog)
    nodes = list(walk(tree))
    ctes = {str(item["key"]).lower() for node in nodes for item in (node.get("cte_map") or {}).get("map", ())}
    for node in nodes:
        node.pop("query_location", None)
        if not (node.get("function_name") and _of_lake(node, function)):
            _look_at(node, found, ctes, label)
    found.text = json.dumps(tree["statements"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return found


def _look_at(node: dict[str, Any], found: Normal, ctes: set[str], label: Label) -> None:
    match node.get("type"):
        case "BASE_TABLE":
            _relation(node, found, ctes, label)
        case "TABLE_FUNCTION":
            found.table_calls.add(node["function"]["function_name"])
            found.reads.append((node["function"]["function_name"].lower(), _texts(node["function"])))
            node["function"]["in_from"] = True
        case "FUNCTION" if not (node.get("in_from") or _is_difference(node)):
            found.calls.add(node["function_name"])
        case "COLUMN_REF":
            _column(node, found, label)
    found.samples = found.samples or bool(node.get("sample"))


def _of_lake(node: dict[str, Any], function: Label) -> bool:
    """Whether this is a call of a function of the lake, which is named by its label then."""
    schema, name = node.get("schema", ""), node["function_name"]
    named = function(Reference(database=node.get("catalog", ""), schema=schema, name=name))
    if named is not None:
        node.update(catalog="", schema="", function_name="", lake_function=named)
    return named is not None


def _is_difference(node: dict[str, Any]) -> bool:
    """Whether this is ``age`` of two times; that of one counts from today."""
    return bool(node["function_name"] == "age" and len(node["children"]) > 1)


def _texts(function: dict[str, Any]) -> tuple[str, ...]:
    """The text, or the list of texts, that a call's first argument is; none if it is anything else."""
    first: dict[str, Any] = next(iter(function["children"]), {})
    listed = first.get("type") == "FUNCTION" and first.get("function_name") == "list_value"
    items = first["children"] if listed else [first]
    values = [item.get("value", {}).get("value") if item.get("class") == "CONSTANT" else None for item in items]
    texts = tuple(value for value in values if isinstance(value, str))
    return texts if len(texts) == len(values) else ()


def _relation(node: dict[str, Any], found: Normal, ctes: set[str], label: Label) -> None:
    reference = Reference(database=node["catalog_name"], schema=node["schema_name"], name=node["table_name"])
    named = label(reference)
    if not (reference.database or reference.schema) and reference.name.lower() in ctes:
        # It may mean the CTE or, within it, the lake's relation; so it keeps its name, and counts as an input if there is one.
        return
    if named is None:
        found.strangers.add(".".join(filter(None, (reference.database, reference.schema, reference.name))))
        return
    node.update(catalog_name="", schema_name="", lake=named)


def _column(node: dict[str, Any], found: Normal, label: Label) -> None:
    names = node["column_names"]
    if len(names) == 1:
        found.values.add(names[0].lower())
    elif len(names) > 3 and (named := label(Reference.of(tuple(names[:3])))) is not None:
        node["column_names"] = [{"lake": named}, *names[2:]]


def _by_tokens(sql: str, label: Label, function: Label) -> Normal:
    seen = reads(sql)
    tokens = tokenize(sql)
    for reference in sorted(seen.relations, key=lambda r: (r.database, r.schema, r.name)):
        label(reference)
    for reference in sorted(seen.functions, key=lambda r: (r.database, r.schema, r.name)):
        function(reference)
    found = Normal(
        text=json.dumps([token.text for token in tokens], ensure_ascii=False),
        exact=False,
        values={token.name.lower() for token in tokens if token.is_name},
        asks_catalog=seen.catalog,
    )
    found.strangers = set(_quoted_sources(tokens))
    found.samples = any(token.word in ("sample", "tablesample") for token in tokens)
    return found


_BEFORE_RELATIONS = ("from", "join", "using", "pivot", "unpivot")


def _quoted_sources(tokens: Sequence[Token]) -> Iterator[str]:
    """Strings where relations stand: names of files."""
    clause: dict[int, str] = {}
    before = ""
    for token in tokens:
        if token.text in ("(", "["):
            clause.pop(token.depth + 1, None)
        elif token.kind == "keyword" and token.word != "as":
            clause[token.depth] = token.word
        listed = before == "," and clause.get(token.depth) in _BEFORE_RELATIONS
        if token.kind == "string_const" and (before in _BEFORE_RELATIONS or listed):
            yield token.text
        before = token.word or token.text
