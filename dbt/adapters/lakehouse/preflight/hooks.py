"""Which hooks may prepare what nodes need: macros, tables, settings, columns. What they may make is not missing for certain."""

from __future__ import annotations

import re
from typing import Any

from dbt.adapters.lakehouse.run.statements import Kind, parse
from dbt.adapters.lakehouse.run.tokens import split, tokenize

_NAMES = re.compile(r"\{\{\s*(this|target|ref\([^{}]*\)|source\([^{}]*\))(\.\w+)*\s*\}\}")
_HARMLESS = (
    *(Kind.SELECT, Kind.INSERT, Kind.UPDATE, Kind.DELETE, Kind.MERGE, Kind.TRUNCATE, Kind.COMMENT, Kind.TRANSACTION),
)
_WORDS = ("grant", "revoke", "explain")


def prepares(node: Any) -> bool:
    """Whether a hook of the node may do more than change rows."""
    hooks = [*(getattr(node.config, "pre_hook", None) or ()), *(getattr(node.config, "post_hook", None) or ())]
    return any(may_prepare(getattr(hook, "sql", "") or "") for hook in hooks)


def may_prepare(sql: str) -> bool:
    """Whether the SQL of a hook, with its Jinja, may do more than change rows."""
    text = _NAMES.sub("x", sql)
    if "{" in text:
        return True
    for statement in split(text):
        tokens = tokenize(statement)
        if tokens and tokens[0].word not in _WORDS and parse(statement).kind not in _HARMLESS:
            return True
    return False


def header(sql: str | None) -> tuple[tuple[str, ...], bool]:
    """The statements of a SQL header, and whether they may run ahead: those that define macros or change settings."""
    statements = tuple(split(sql)) if sql else ()
    return statements, all(_is_definition(statement) for statement in statements)


def _is_definition(statement: str) -> bool:
    words = [token.word for token in tokenize(statement)[:6]]
    if not words:
        return True
    made = [word for word in words if word not in ("create", "or", "replace", "temp", "temporary")]
    return words[0] == "set" or (words[0] == "create" and made[:1] in (["macro"], ["function"]))
