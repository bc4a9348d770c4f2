"""Which functions give the same answer tomorrow: asked of DuckDB, not listed by hand.

``stability`` in ``duckdb_functions()`` tells of scalar and aggregate functions. Macros are what their definition calls. Of
table functions DuckDB tells nothing: those that compute from their arguments alone are named here, others read something.
"""

from __future__ import annotations

import enum
import functools
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import duckdb

from dbt.adapters.lakehouse.quoting import quote
from dbt.adapters.lakehouse.run.statements import parser
from dbt.adapters.lakehouse.run.tokens import tokenize


class Nature(enum.IntEnum):
    """What a call depends on beside its arguments, from nothing to chance; of several, the highest counts."""

    PURE = 0
    TIME = 1
    SESSION = 2
    OUTSIDE = 3
    VOLATILE = 4
    UNKNOWN = 5


@dataclass(frozen=True)
class Called:
    """A call that is not pure, as a message names it."""

    name: str
    nature: Nature


FUNCTIONS_SQL = (
    "SELECT DISTINCT lower(function_name), function_type, stability, return_type, macro_definition FROM duckdb_functions() "
    "WHERE internal"
)
"""What ``Functions`` is made of; a worker with extensions knows more than an empty DuckDB."""

_COMPUTING = frozenset({"range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree"})
_TIMES = ("DATE", "TIME")
_OTHERWISE = {
    "age": Nature.TIME,
    "current_localtime": Nature.TIME,
    "current_localtimestamp": Nature.TIME,
    "current_setting": Nature.SESSION,
}
"""Where what DuckDB tells is not so: it calls these consistent. (``age`` of two times is a difference, see ``normal``.)"""

Row = tuple[str, str, str | None, str | None, str | None]


class Functions:
    """The functions of a DuckDB."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._scalar: dict[str, Nature] = {}
        self._table: dict[str, Nature] = {}
        self._macros: dict[str, list[str]] = {}
        for name, kind, stability, returned, definition in rows:
            if kind in ("macro", "table_macro"):
                self._macros.setdefault(name, []).append(definition or "")
            elif kind in ("scalar", "aggregate"):
                nature = _OTHERWISE.get(name, _nature(stability, returned))
                self._scalar[name] = max(self._scalar.get(name, Nature.PURE), nature)
            else:
                self._table[name] = Nature.PURE if name in _COMPUTING else Nature.OUTSIDE

    def scalar(self, name: str) -> Nature:
        """What a call in an expression depends on."""
        name = name.lower()
        if name in self._macros and name not in self._scalar:
            definitions = self._macros.pop(name)  # a macro that calls itself would not end
            self._scalar[name] = max((self._of_text(text) for text in definitions), default=Nature.PURE)
        return self._scalar.get(name, Nature.PURE if name in _COMPUTING else Nature.UNKNOWN)

    def table(self, name: str) -> Nature:
        """What a call in FROM depends on."""
        name = name.lower()
        return self._table[name] if name in self._table else self.scalar(name)

    def _of_text(self, text: str) -> Nature:
        tokens = tokenize(text)
        if any(token.word == "from" for token in tokens):
            return Nature.SESSION
        return max((called.nature for called in self.in_text(text)), default=Nature.PURE)

    def in_text(self, text: str) -> list[Called]:
        """Calls, as far as tokens show them, that are not pure; names that are no function here count as columns."""
        found: dict[str, Called] = {}
        tokens = tokenize(text)
        for token, following in itertools.zip_longest(tokens, tokens[1:]):
            name = token.name.lower()
            if not token.is_name or (name in _OTHERWISE and (following is None or following.text != "(")):
                # ``age`` is a good name for a column.
                continue
            nature = max(self.scalar(name), self._table.get(name, Nature.PURE), value_nature(name))
            if nature is Nature.UNKNOWN:
                nature = max(self._table.get(name, Nature.PURE), value_nature(name))
            if nature is not Nature.PURE:
                found.setdefault(name, Called(name, nature))
        return list(found.values())


def _nature(stability: str | None, returned: str | None) -> Nature:
    if stability == "CONSISTENT":
        return Nature.PURE
    if stability == "CONSISTENT_WITHIN_QUERY":
        return Nature.TIME if (returned or "").startswith(_TIMES) else Nature.SESSION
    return Nature.VOLATILE


@functools.lru_cache(maxsize=16384)
def value_nature(name: str) -> Nature:
    """What a bare name stands for where no column has it: ``current_date`` and its like are written without parentheses."""
    try:
        kind = str(parser().execute(f"SELECT {quote(name)}").description[0][1])
    except duckdb.Error:
        return Nature.PURE
    return Nature.TIME if kind.startswith(_TIMES) else Nature.SESSION


_KNOWN: dict[tuple[str, ...], Functions] = {}
_LOCK = threading.Lock()


def functions() -> Functions:
    """The functions of an empty DuckDB."""
    return remembered((), lambda: parser().execute(FUNCTIONS_SQL).fetchall())


def remembered(lake: tuple[str, ...], ask: Callable[[], Iterable[Row]]) -> Functions:
    """The functions of the DuckDB of a lake, asked for once a process."""
    with _LOCK:
        if lake not in _KNOWN:
            _KNOWN[lake] = Functions(ask())
        return _KNOWN[lake]


@dataclass(frozen=True)
class Macro:
    """A macro that was made in the run: its definition, and what its body names."""

    text: str
    names: frozenset[str]
    reads: bool


def macros(definitions: Iterable[str]) -> Mapping[str, list[Macro]]:
    """The macros of ``CREATE MACRO`` statements by name; one made several times counts with all its definitions."""
    found: dict[str, list[Macro]] = {}
    for definition in definitions:
        tokens = tokenize(definition)
        words = [token.word for token in tokens]
        at = next((index for index, word in enumerate(words) if word in ("macro", "function")), None)
        if at is None:
            continue
        head = tokens[at + 1 :]
        opening = next((index for index, token in enumerate(head) if token.text == "("), 0)
        if not opening:
            continue
        name = head[opening - 1].name.lower()
        names = frozenset(token.name.lower() for token in head[opening:] if token.is_name)
        text = " ".join(token.word or token.text for token in tokens[at:])
        found.setdefault(name, []).append(Macro(text, names, "from" in words[at:]))
    return found
