"""Markdown that shows text to the letter, wherever it comes from, and stays short.

Names, messages and values of tables are data: a cell may hold what would end a table, mention a user or close a section.
All of it is written as HTML's ``<code>``, with everything but letters, digits and a few harmless characters as entities.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_PLAIN = frozenset(" .,:;/%='-+()\"?")


def code(text: str, limit: int = 120) -> str:
    """Text as it is, on one line."""
    return f"<code>{escaped(clipped(' '.join(text.split()), limit))}</code>"


def escaped(text: str) -> str:
    """Text that neither Markdown nor HTML finds anything in."""
    return "".join(c if c.isalnum() or c in _PLAIN else f"&#{ord(c)};" for c in text if c.isprintable())


def block(text: str, limit: int) -> str:
    """Text of several lines as it is."""
    lines = [escaped(line) for line in clipped(text.strip("\n"), limit).expandtabs(4).splitlines()]
    # An empty line would end what HTML there is.
    return f"<pre>{'&#10;'.join(lines)}</pre>"


def clipped(text: str, limit: int) -> str:
    """The beginning of a text, with a mark where it was cut."""
    return text if len(text) <= limit else f"{text[: max(0, limit - 1)]}…"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table whose cells are Markdown already."""
    return [_row(head), _row(["---"] * len(head)), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def folded(summary: str, lines: Iterable[str]) -> list[str]:
    """Lines that show when one asks for them."""
    return [f"<details><summary>{summary}</summary>", "", *lines, "", "</details>", ""]


def size(text: str) -> int:
    """How long a text is where it is sent to."""
    return len(text.encode())
