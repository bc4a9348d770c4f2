"""SQL that asks for the catalog itself: which names say so, and what it takes for DuckDB to answer.

DuckDB keeps ``information_schema`` and ``pg_catalog`` in one place for all databases, and so ``lake.information_schema.tables``
means nothing to it, though packages write it. Relations may be named within a text, as in ``PRAGMA table_info('s.t')``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

from dbt.adapters.lakehouse.jobs.job import Action, Bind
from dbt.adapters.lakehouse.run.tokens import Token, cut, tokenize

SCHEMAS = ("information_schema", "pg_catalog")
FUNCTIONS = ("duckdb_tables", "duckdb_views", "duckdb_columns", "duckdb_schemas")
RELATIONS = frozenset(
    {
        *FUNCTIONS,
        *("sqlite_master", "sqlite_schema", "pg_attribute", "pg_class", "pg_description", "pg_namespace", "pg_tables"),
        *("pg_views", "show_tables", "show_tables_expanded"),
    }
)
"""What may be asked without a schema; pragmas among them."""

_BY_TEXT = frozenset(
    {"table_info", "pragma_table_info", "storage_info", "pragma_storage_info", "show", "pragma_show", "query_table"}
)
"""Functions and pragmas whose first argument is a relation's name, as a text."""

_LOOKING = frozenset(
    {
        *("table_info", "show", "show_tables", "show_tables_expanded", "show_databases", "database_list"),
        *("storage_info", "database_size", "collations", "functions", "version", "platform", "user_agent"),
    }
)


def is_catalog(schema: str, name: str) -> bool:
    """Whether a relation is one of those that tell of others."""
    return schema.lower() in SCHEMAS or name.lower() in RELATIONS


def only_looks(tokens: Sequence[Token]) -> bool:
    """Whether a PRAGMA answers a question and sets nothing."""
    return len(tokens) > 1 and tokens[1].name.lower() in _LOOKING and all(token.text != "=" for token in tokens[2:3])


def named_in_texts(sql: str) -> set[tuple[str, ...]]:
    """The names of one to three parts that a statement gives as texts to what takes them so."""
    folded = sql.lower()
    if not any(name in folded for name in _BY_TEXT):
        return set()
    tokens = tokenize(sql)
    return {
        chain
        for word, opening, argument in zip(tokens, tokens[1:], tokens[2:], strict=False)
        if word.is_name and word.name.lower() in _BY_TEXT and opening.text == "(" and argument.kind == "string_const"
        if (chain := _chain(argument.text)) is not None
    }


def _chain(literal: str) -> tuple[str, ...] | None:
    tokens = tokenize(literal[1:-1].replace("''", "'"))
    names = tuple(token.name for token in tokens[::2] if token.is_name)
    dotted = all(token.text == "." for token in tokens[1::2])
    return names if dotted and len(names) == len(tokens[::2]) and 0 < len(names) <= 3 else None


def plain(sql: str, is_state: Callable[[str], bool]) -> str:
    """A text in which the catalog is asked as DuckDB has it: without the name of a state of the lake before the schema.

    Blanks take its place, so that errors name the columns of what was written.
    """
    folded = sql.lower()
    if not any(schema in folded for schema in SCHEMAS):
        return sql
    text, done = [], 0
    for first, schema in _qualified(tokenize(sql)):
        if is_state(first.name):
            text += [cut(sql, done, first.start), " " * (schema.start - first.start)]
            done = schema.start
    return "".join([*text, cut(sql, done)]) if text else sql


def _qualified(tokens: Sequence[Token]) -> Iterator[tuple[Token, Token]]:
    """Each database that stands before a schema of the catalog, with that."""
    before = ""
    for database, dot, schema, last in zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False):
        names = database.is_name and schema.is_name and schema.name.lower() in SCHEMAS
        if names and dot.text == last.text == "." and before != ".":
            yield database, schema
        before = database.text


def answerable(action: Action, is_state: Callable[[str], bool]) -> Action:
    """What a worker is asked to do, with ``plain`` SQL."""
    if isinstance(action, Bind):
        drafts = tuple(replace(one, **_changed(one, is_state)) for one in action.drafts)
        return replace(action, drafts=drafts)
    changed = _changed(action, is_state)
    return replace(action, **changed) if changed else action


def _changed(value: Any, is_state: Callable[[str], bool]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in {field.name for field in fields(value)} & {"sql", "statements", "matching"}:
        said = getattr(value, name)
        if isinstance(said, str):
            found[name] = plain(said, is_state)
        elif said:
            found[name] = tuple(plain(text, is_state) for text in said)
    return {name: said for name, said in found.items() if said != getattr(value, name)}


def prepared_by(sql: str) -> tuple[str, str] | None:
    """The name and the statement of ``PREPARE name AS …``."""
    tokens = tokenize(sql)
    if len(tokens) < 3 or tokens[0].word != "prepare" or not tokens[1].is_name:
        return None
    start = next((number for number, token in enumerate(tokens) if token.word == "as" and token.depth == 0), None)
    if start is None or start + 1 >= len(tokens):
        return None
    return tokens[1].name.lower(), cut(sql, tokens[start + 1].start)


def executed_by(sql: str) -> str | None:
    """The name in ``EXECUTE name(…)``."""
    tokens = tokenize(sql)
    named = len(tokens) > 1 and tokens[0].word == "execute" and tokens[1].is_name
    return tokens[1].name.lower() if named else None


def deallocated_by(sql: str) -> str | None:
    """The name in ``DEALLOCATE [PREPARE] name``."""
    tokens = [token for token in tokenize(sql) if token.word != "prepare"]
    named = len(tokens) > 1 and tokens[0].word == "deallocate" and tokens[1].is_name
    return tokens[1].name.lower() if named else None
