"""Rows that break something, as a small table of text that any terminal can show."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.quoting import quote
from dbt.adapters.lakehouse.tables.duckdb_types import fold

if TYPE_CHECKING:
    import duckdb

ROWS = 5
"""So many rows are shown; messages say how many there are."""

_COLUMNS = 6
_WIDTH = 40


def shown(
    con: duckdb.DuckDBPyConnection, query: str, columns: Sequence[str], first: Iterable[str] = (), extra: str = ""
) -> str:
    """Some rows of a query as a table below a line break; ``first`` names the columns that matter most.

    ``extra`` is one more expression of the query's, called ``rows``. Which rows are shown is not said: the first that come.
    """
    chosen = _chosen(columns, first)
    terms = [f"left(CAST({quote(name)} AS VARCHAR), {_WIDTH + 1})" for name in chosen]
    rows = con.execute(
        f"SELECT {', '.join([*terms, *([f'CAST({extra} AS VARCHAR)'] if extra else [])])} FROM ({query}) LIMIT {ROWS}"
    ).fetchall()
    head = [_text(name) for name in chosen] + (["rows"] if extra else [])
    return as_table(head, [[_text(value) for value in row] for row in rows], more=len(columns) - len(chosen))


def _chosen(columns: Sequence[str], first: Iterable[str]) -> list[str]:
    by_fold = {fold(name): name for name in columns}
    wanted = [by_fold[fold(name)] for name in first if fold(name) in by_fold]
    return list(dict.fromkeys([*wanted, *columns]))[: max(_COLUMNS, len(set(wanted)))][: _COLUMNS * 2]


def as_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, more: int = 0) -> str:
    """Lines with a bar between cells, each below a line break."""
    lines = [list(head), *map(list, rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    padded = [" | ".join(_padded(cell, width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    padded.insert(1, "-+-".join("-" * width for width in widths))
    if more > 0:
        padded[0] += f" | … {more} more"
    return "".join(f"\n  {line.rstrip()}" for line in padded)


def _text(value: str | None) -> str:
    """A value in one line: control characters and what changes the direction of text are written out, long ones cut."""
    if value is None:
        return "NULL"
    plain = "".join(one if one.isprintable() else repr(one)[1:-1] for one in value)
    return plain if len(plain) <= _WIDTH else plain[: _WIDTH - 1] + "…"


def _width(text: str) -> int:
    """Cells of a terminal, of which East Asian characters and emoji take two."""
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))
