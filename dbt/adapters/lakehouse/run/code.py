"""Whether the code of a node is one query: before any of it runs, since what follows a query would be lost."""

from __future__ import annotations

import re

from dbt.adapters.lakehouse.errors import ConfigError, SqlError
from dbt.adapters.lakehouse.run.tokens import split

_NO_CODE = re.compile(r"(?:[\s;]|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*", re.DOTALL)
_SYSTEM = frozenset({"information_schema", "pg_catalog"})


def one_query(name: str, sql: str) -> str:
    """Code without what stands behind its query. Raises ``SqlError`` for code that is empty, or more than one statement."""
    if (start := _NO_CODE.match(sql)) is not None and start.end() == len(sql):
        raise SqlError(f"the code of {name} has no query: it is empty, or nothing but comments; write a SELECT")
    if ";" not in sql.rstrip(" \t\r\n;"):
        return sql
    statements = split(sql)
    if len(statements) > 1:
        raise SqlError(
            f"the code of {name} has {len(statements)} statements, and a model is one SELECT; put what is to run before it "
            f"into a pre-hook or sql_header (the second begins: {' '.join(statements[1].split())[:60]})"
        )
    return statements[0]


def check_schema(schema: str) -> None:
    """Raise ``ConfigError`` for a schema whose relations could be written and not read: DuckDB has its own of that name."""
    if schema.lower() in _SYSTEM:
        raise ConfigError(
            f"schema {schema!r} is DuckDB's own description of a database; give the relation another schema"
        )
