"""Names of nested types as DuckDB itself writes them: a field's name is quoted only where it must be."""

from __future__ import annotations

import functools
import re

_QUOTED = re.compile(r"""'(?:[^']|'')*'|"((?:[^"]|"")*)\"""")
_PLAIN = re.compile("[A-Za-z_][A-Za-z0-9_]*")


@functools.lru_cache(maxsize=1 << 12)
def as_duckdb_writes(type_text: str) -> str:
    """A type's text, with the quotes around fields' names that DuckDB puts there, and no others."""
    return _QUOTED.sub(_bare, type_text) if '"' in type_text else type_text


def _bare(found: re.Match[str]) -> str:
    name = found[1]
    plain = name is not None and _PLAIN.fullmatch(name) is not None and name.lower() not in _keywords()
    return str(name) if plain else found[0]


@functools.cache
def _keywords() -> frozenset[str]:
    # Imported late: who shows types need not have DuckDB at hand.
    import duckdb

    with duckdb.connect() as connection:
        return frozenset(row[0] for row in connection.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall())
