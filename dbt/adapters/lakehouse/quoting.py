"""Names and texts as DuckDB's SQL has them, whatever they hold."""

from __future__ import annotations


def quote(identifier: str) -> str:
    """An identifier in double quotes."""
    return '"' + identifier.replace('"', '""') + '"'


def qualified(*parts: str) -> str:
    """A name of several parts, the outermost first."""
    return ".".join(map(quote, parts))


def literal(text: str) -> str:
    """A string in single quotes."""
    return "'" + text.replace("'", "''") + "'"
