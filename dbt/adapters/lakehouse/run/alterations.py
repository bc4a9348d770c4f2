"""What an ALTER TABLE asks for, as a value."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from dbt.adapters.lakehouse.jobs.job import Alteration
from dbt.adapters.lakehouse.run.tokens import Token, cut, tokenize


@dataclass(frozen=True, kw_only=True)
class Retype:
    """A column whose values must be computed anew: another type, or a new column with a default."""

    column: str
    expression: str
    is_new: bool = False

    def select_sql(self, relation: str) -> str:
        """The table with that column as it is to be."""
        if self.is_new:
            return f"SELECT *, {self.expression} AS {self.column} FROM {relation}"
        return f"SELECT * REPLACE ({self.expression} AS {self.column}) FROM {relation}"


def parse_alteration(body: str) -> Alteration | Retype | str | None:
    """What follows the table's name in ALTER TABLE: a new name of the table, a change, or None for what is not known."""
    tokens = tokenize(body)
    words = [token.word for token in tokens]
    if words[:2] == ["rename", "to"] and len(tokens) == 3:
        return tokens[2].name
    if words[:1] == ["rename"]:
        return _rename(tokens[2:] if words[1:2] == ["column"] else tokens[1:])
    if words[:1] == ["add"]:
        if words[1:2] and words[1] in _CONSTRAINTS:
            return None
        return _add(body, _after(tokens, 1, "column", "if", "not", "exists"))
    if words[:1] == ["drop"]:
        rest = _after(tokens, 1, "column", "if", "exists")
        return Alteration(what="drop_column", column=rest[0].name) if rest else None
    if words[:1] == ["alter"]:
        return _change(body, _after(tokens, 1, "column"))
    return None


_CONSTRAINTS = ("constraint", "primary", "unique", "foreign", "check")


def is_done(body: str, columns: Collection[str]) -> bool:
    """Whether ``ADD COLUMN IF NOT EXISTS`` or ``DROP COLUMN IF EXISTS`` finds nothing to do on these columns."""
    tokens = tokenize(body)
    words = [token.word for token in tokens]
    exists = {column.lower() for column in columns}
    at = 2 if words[1:2] == ["column"] else 1
    if words[:1] == ["add"] and words[at : at + 3] == ["if", "not", "exists"]:
        return any(token.name.lower() in exists for token in tokens[at + 3 : at + 4])
    if words[:1] == ["drop"] and words[at : at + 2] == ["if", "exists"]:
        return all(token.name.lower() not in exists for token in tokens[at + 2 : at + 3])
    return False


def _after(tokens: list[Token], at: int, *optional: str) -> list[Token]:
    """The tokens from ``at`` on, past those of the optional words that come, in their order."""
    for word in optional:
        if at < len(tokens) and tokens[at].word == word:
            at += 1
    return tokens[at:]


def _rename(rest: list[Token]) -> Alteration | None:
    if len(rest) != 3 or rest[1].word != "to":
        return None
    return Alteration(what="rename_column", column=rest[0].name, to=rest[2].name)


def _add(body: str, rest: list[Token]) -> Alteration | Retype | None:
    if len(rest) < 2:
        return None
    for index, token in enumerate(rest):
        if token.depth == 0 and token.word == "default":
            type_name = cut(body, rest[1].start, token.start).strip()
            expression = f"({cut(body, token.end).strip()})::{type_name}"
            return Retype(column=rest[0].text, expression=expression, is_new=True)
        if token.depth == 0 and token.word in ("not", "unique", "primary", "check", "references") and index > 1:
            return None
    return Alteration(what="add_column", column=rest[0].name, to=cut(body, rest[1].start).strip())


def _change(body: str, rest: list[Token]) -> Alteration | Retype | None:
    words = [token.word for token in rest]
    if words[1:] in (["set", "not", "null"], ["drop", "not", "null"]):
        return Alteration(what="set_required", column=rest[0].name, required=words[1] == "set")
    at = 4 if words[1:4] == ["set", "data", "type"] else 2 if words[1:2] == ["type"] else 0
    if not at or len(rest) <= at:
        return None
    column = rest[0].text
    for token in rest[at:]:
        if token.depth == 0 and token.word == "using":
            type_name = cut(body, rest[at].start, token.start).strip()
            return Retype(column=column, expression=f"({cut(body, token.end).strip()})::{type_name}")
    return Retype(column=column, expression=f"{column}::{cut(body, rest[at].start).strip()}")
