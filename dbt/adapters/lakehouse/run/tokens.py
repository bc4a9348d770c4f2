"""SQL text as DuckDB's own tokenizer sees it: exact about quotes, comments and dollar strings, without parsing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    """A token: its text without what follows it, where it stands, and how many parentheses are open around it."""

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
    # DuckDB counts bytes; the text is cut as bytes so that other scripts than Latin come out right.
    raw = sql.encode()
    marks = duckdb.tokenize(sql)
    tokens: list[Token] = []
    depth = 0
    for index, (start, kind) in enumerate(marks):
        stop = marks[index + 1][0] if index + 1 < len(marks) else len(raw)
        kind_name = str(kind).rpartition(".")[2]
        if kind_name == "comment":
            continue
        piece = raw[start:stop].decode()
        text = piece.rstrip() if kind_name == "string_const" else _COMMENT.sub("", piece).rstrip()
        if piece.startswith(('"', "'")) or kind_name == "string_const":
            text = _quoted(piece)
        if text in (")", "]", "}"):
            depth -= 1
        tokens.append(Token(text, start, start + len(text.encode()), kind_name, depth))
        if text in ("(", "[", "{"):
            depth += 1
    return tokens


def _quoted(piece: str) -> str:
    """A quoted piece without the white space and comments behind its closing quote."""
    if piece.startswith("$"):
        tag = piece[: piece.index("$", 1) + 1]
        return piece[: piece.rindex(tag) + len(tag)]
    mark = '"' if piece.startswith('"') else "'"
    at = piece.index(mark) + 1
    while True:
        at = piece.index(mark, at) + 1
        if piece[at : at + 1] != mark:
            return piece[:at]
        at += 1


def cut(sql: str, start: int, end: int | None = None) -> str:
    """The text between two token positions (which are byte offsets)."""
    return sql.encode()[start:end].decode()


def split(sql: str) -> list[str]:
    """The statements of a text, without the semicolons between them; empty ones are left out."""
    if ";" not in sql:
        return [sql] if sql.strip() and tokenize(sql) else []
    pieces: list[str] = []
    group: list[Token] = []
    for token in tokenize(sql):
        if token.text == ";":
            if group:
                pieces.append(cut(sql, group[0].start, group[-1].end))
            group = []
        else:
            group.append(token)
    if group:
        pieces.append(cut(sql, group[0].start))
    return pieces


def name_chains(tokens: Sequence[Token]) -> set[tuple[str, ...]]:
    """Every dotted chain of one to three names: all that could be a relation, and more."""
    chains: set[tuple[str, ...]] = set()
    index = 0
    while index < len(tokens):
        if not tokens[index].is_name:
            index += 1
            continue
        chain = [tokens[index].name]
        while index + 2 < len(tokens) and tokens[index + 1].text == "." and tokens[index + 2].is_name:
            chain.append(tokens[index + 2].name)
            index += 2
        chains.update(tuple(chain[:length]) for length in range(1, min(len(chain), 3) + 1))
        index += 1
    return chains
