"""SQL text as DuckDB's own tokenizer sees it: exact about quotes, comments and dollar strings, without parsing."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import duckdb

_PLAIN = re.compile(r".+?(?=\s|--|/\*|\Z)", re.DOTALL)
_NO_CODE = re.compile(r"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*", re.DOTALL)
_ESCAPED = re.compile(r"'(?:[^'\\]|\\.|'')*'", re.DOTALL)
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_QUOTED = re.compile(r'"(?:[^"]|"")*"')


class Token(NamedTuple):
    """A token: its text without what follows it, where it stands, and how many parentheses are open around it.

    A tuple, since a text of some megabytes has a million of them.
    """

    text: str
    start: int
    end: int
    kind: str
    depth: int

    @property
    def word(self) -> str:
        """The text in lower case, for comparison with keywords; empty for quoted identifiers and strings."""
        return "" if self.text[:1] in "\"'$" or self.kind == "string_const" else self.text.lower()

    @property
    def is_name(self) -> bool:
        """Whether it may be part of a relation's name."""
        return self.kind in ("identifier", "keyword")

    @property
    def name(self) -> str:
        """The identifier it stands for."""
        if self.text.startswith('"'):
            return self.text[1:-1].replace('""', '"')
        return self.text


def tokenize(sql: str) -> list[Token]:
    """All tokens of a text, which may hold several statements."""
    marks = duckdb.tokenize(sql)
    # DuckDB counts bytes; the text is cut as bytes where it has more of them than characters.
    raw = sql if sql.isascii() else sql.encode()
    kinds: dict[Any, str] = {}
    tokens: list[Token] = []
    depth = 0
    stops = [start for start, _ in marks[1:]]
    stops.append(len(raw))
    for (start, kind), stop in zip(marks, stops, strict=False):
        piece = raw[start:stop]
        text = piece if isinstance(piece, str) else piece.decode()
        # To ask DuckDB for the name of a kind takes longer than all the rest: these show by how they begin.
        kind_name = _SHOWN.get(text[:1]) or kinds.get(kind)
        if kind_name is None:
            kind_name = kinds[kind] = str(kind).rpartition(".")[2]
        if kind_name == "comment":
            continue
        if stop - start > 1 and not text.isalnum():
            text = _without_gap(text, kind_name)
        if text in _CLOSING:
            depth -= 1
        end = start + (len(text) if raw is sql else len(text.encode()))
        tokens.append(Token(text, start, end, kind_name, depth))
        if text in _OPENING:
            depth += 1
    return tokens


_SHOWN = {**dict.fromkeys("0123456789", "numeric_const"), **dict.fromkeys("(),", "operator"), "'": "string_const"}
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")


def _without_gap(piece: str, kind: str) -> str:
    """A token without the white space and comments between it and the next one."""
    # Most have nothing but white space behind them.
    if kind == "string_const":
        if piece[0] == "'" and piece.count("'") == 2:
            return piece[: piece.rindex("'") + 1]
    elif piece[0] > " " and piece[0] != '"' and piece.isascii() and "-" not in piece and "/" not in piece:
        return piece.split(None, 1)[0]
    if piece.startswith('"'):
        return _match(_QUOTED, piece)
    if kind != "string_const":
        return _match(_PLAIN, piece)
    if piece.startswith("$"):
        tag = piece[: piece.index("$", 1) + 1]
        return piece[: piece.rindex(tag) + len(tag)]
    mark = piece.index("'")
    closing = _ESCAPED if piece[:mark] in ("e", "E") else _LITERAL
    end = mark + len(_match(closing, piece[mark:]))
    # Literals with a line break between them are one, as the SQL standard has it.
    while (gap := _NO_CODE.match(piece, end)) and piece[gap.end() : gap.end() + 1] == "'":
        end = gap.end() + len(_match(closing, piece[gap.end() :]))
    return piece[:end]


def _match(pattern: re.Pattern[str], piece: str) -> str:
    found = pattern.match(piece)
    return found.group() if found else piece


def cut(sql: str, start: int, end: int | None = None) -> str:
    """The text between two token positions (which are byte offsets)."""
    return sql.encode()[start:end].decode()


def split(sql: str) -> list[str]:
    """The statements of a text, without the semicolons between them; empty ones are left out.

    What is no SQL (an open quote) is kept, so that DuckDB says what is wrong with it.
    """
    tokens = tokenize(sql)
    pieces: list[str] = []
    group: list[Token] = []
    after = 0
    for token in tokens:
        if token.text != ";":
            group.append(token)
            continue
        if group:
            pieces.append(cut(sql, group[0].start, group[-1].end))
        group = []
        after = token.end
    rest = cut(sql, group[0].start if group else after)
    gap = _NO_CODE.match(rest)
    if gap is None or gap.end() < len(rest):
        pieces.append(rest)
    return pieces
