"""What entries were computed from, and which of them no longer stand on what is there. Pure.

A table stands on its recorded inputs: each must hold what it held when the table was computed, by content and not by
version, so that an input which was computed again to the same rows changes nothing. A view is computed when it is read: it
is only wrong where an input is gone, or lacks a column that the view names. What a table read of its own former state, or
under another ref (``"lake@v1"``), is fixed and cannot move.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from dbt.adapters.lakehouse.catalog.model import (
    Commit,
    Entry,
    FunctionEntry,
    Key,
    SchemaEntry,
    TableEntry,
    ViewEntry,
    content_id,
    identity,
    key_of,
)

State = Mapping[Key, Entry]
"""What stands at some keys."""

Moves = Literal["changed", "dropped", "columns"]
"""What became of an input: other content; gone; of a view's input, columns that the view names are gone."""


@dataclass(frozen=True, kw_only=True)
class MovedInput:
    """An input that is not what an entry was computed from.

    ``recorded`` is the content id that it was computed from, ``standing`` the one there now; ``recorded_snapshot`` and
    ``standing_snapshot`` their snapshots, where they are tables that the catalog still knows. ``columns`` are those that a
    view names and that are gone. ``by`` is the commit that changed the input last, where that was asked for.
    """

    input: Key
    what: Moves
    recorded: str
    standing: str | None = None
    recorded_snapshot: int | None = None
    standing_snapshot: int | None = None
    columns: tuple[str, ...] = ()
    by: Commit | None = None


@dataclass(frozen=True, kw_only=True)
class Stale:
    """An entry that does not stand on what it was computed from.

    ``moved`` are the inputs that are others now; ``through`` those that are as they were, but stale themselves.
    """

    key: Key
    node: str | None
    moved: tuple[MovedInput, ...] = ()
    through: tuple[Key, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One input as an entry recorded it: where it stood, its content id, and the entry of that id if it is known."""

    key: Key
    content: str
    entry: Entry | None


class Past:
    """What entries were computed from: content ids, and the entries of those that the catalog knows. Each is read once."""

    def __init__(self, contents: Mapping[str, Entry]) -> None:
        self._contents = contents
        self._recorded: dict[tuple[str, str], Recorded | None] = {}

    def __call__(self, name: str, content: str) -> Recorded | None:
        """An input as an entry recorded it; None if it was read under another ref, whose commit follows its name then."""
        place = name, content
        if place not in self._recorded:
            was = self._contents.get(content)
            key = _key(name, was)
            self._recorded[place] = None if key is None else Recorded(key=key, content=content, entry=was)
        return self._recorded[place]


def recorded_ids(entries: Iterable[Entry]) -> set[str]:
    """The content ids of all that entries were computed from."""
    return {content for entry in entries if not isinstance(entry, SchemaEntry) for content in entry.inputs.values()}


def inputs(entry: Entry, past: Past) -> Iterator[Recorded]:
    """What an entry was computed from on its own branch, other than itself."""
    if isinstance(entry, SchemaEntry) or not entry.inputs:
        return
    own = key_of(entry)
    for name, content in entry.inputs.items():
        one = past(name, content)
        if one is not None and one.key != own and not _is_former(entry, one.entry):
            yield one


def _key(name: str, was: Entry | None) -> Key | None:
    if was is not None:
        return key_of(was) if name.lower() == str(key_of(was)) else None
    at = name.rpartition("@")[2]
    if at != name and len(at) == 40:
        return None
    schema, _, rest = name.partition(".")
    return Key(schema, rest)


def _is_former(entry: Entry, was: Entry | None) -> bool:
    """Whether an input is an earlier state of the same table, which may have had another name (a clone, a rename)."""
    return (
        isinstance(entry, TableEntry)
        and isinstance(was, TableEntry)
        and entry.table_uuid == was.table_uuid
        and entry.location == was.location
    )


def moved(entry: Entry, state: State, past: Past) -> tuple[MovedInput, ...]:
    """The inputs of an entry that a state holds otherwise, or not at all."""
    found = []
    for one in inputs(entry, past):
        now = state.get(one.key)
        if now is one.entry and now is not None:
            continue  # nearly always
        what, columns = _what(entry, one, now)
        if what is not None:
            found.append(_moved(one, now, what, columns))
    return tuple(sorted(found, key=lambda item: item.input)) if found else ()


def _moved(one: Recorded, now: Entry | None, what: Moves, columns: tuple[str, ...]) -> MovedInput:
    return MovedInput(
        input=one.key,
        what=what,
        recorded=one.content,
        standing=None if now is None else content_id(now),
        recorded_snapshot=one.entry.snapshot_id if isinstance(one.entry, TableEntry) else None,
        standing_snapshot=now.snapshot_id if isinstance(now, TableEntry) else None,
        columns=columns,
    )


def _what(entry: Entry, one: Recorded, now: Entry | None) -> tuple[Moves | None, tuple[str, ...]]:
    if now is None:
        return "dropped", ()
    if isinstance(entry, ViewEntry):
        gone = _missing(entry, one.entry, now)
        return ("columns", gone) if gone else (None, ())
    if isinstance(entry, FunctionEntry):
        return None, ()  # computed when it is called, of what is there then
    if one.entry is None:
        return (None if content_id(now) == one.content else "changed"), ()
    return (None if same(one.entry, now) else "changed"), ()


def same(one: Entry | None, other: Entry | None) -> bool:
    """Whether two entries give the same rows, as far as they themselves say.

    What lies beneath a view is an input of its own for whoever reads it, and not looked at here.
    """
    if one is other:
        return True
    if isinstance(one, TableEntry) and isinstance(other, TableEntry):
        return one.metadata_location == other.metadata_location or identity(one) == identity(other)
    if isinstance(one, ViewEntry) and isinstance(other, ViewEntry):
        return _columns(one) == _columns(other) and _same_sql(one.sql, other.sql)
    if isinstance(one, FunctionEntry) and isinstance(other, FunctionEntry):
        return one.definition == other.definition
    return one == other


def _same_sql(one: str, other: str) -> bool:
    """Whether two texts differ in layout and comments alone."""
    if one == other:
        return True
    from dbt.adapters.lakehouse.run.tokens import tokenize

    return [token.text for token in tokenize(one)] == [token.text for token in tokenize(other)]


def _columns(entry: TableEntry | ViewEntry) -> list[tuple[str, str]]:
    return [(column.name.lower(), column.type) for column in entry.columns]


def _missing(view: ViewEntry, was: Entry | None, now: Entry) -> tuple[str, ...]:
    """Columns that an input had, has no more, and that a view names in its SQL or gives under the same name."""
    if not isinstance(was, TableEntry | ViewEntry) or not isinstance(now, TableEntry | ViewEntry) or was is now:
        return ()
    there = {column.name.lower() for column in now.columns}
    gone = [column.name for column in was.columns if column.name.lower() not in there]
    if not gone:
        return ()
    # Imported late, here and above: telling names apart in SQL takes DuckDB, and this is rare.
    from dbt.adapters.lakehouse.run.tokens import mentions

    given = {column.name.lower() for column in view.columns}
    return tuple(name for name in gone if name.lower() in given or mentions(view.sql, name))


def stale(state: State, past: Past) -> dict[Key, Stale]:
    """All entries of a state that do not stand on what they were computed from, by key; also through others."""
    found: dict[Key, Stale] = {}
    readers: dict[Key, list[Key]] = {}
    for key, entry in state.items():
        apart = moved(entry, state, past)
        if apart:
            found[key] = Stale(key=key, node=_node(entry), moved=apart)
        if isinstance(entry, TableEntry):
            for one in inputs(entry, past):
                readers.setdefault(one.key, []).append(key)
    _spread(state, found, readers)
    return dict(sorted(found.items()))


def _spread(state: State, found: dict[Key, Stale], readers: Mapping[Key, list[Key]]) -> None:
    """Add what is stale through others, and through which."""
    through: dict[Key, set[Key]] = {}
    todo, seen = list(found), set(found)
    while todo:
        key = todo.pop()
        for reader in readers.get(key, ()):
            through.setdefault(reader, set()).add(key)
            if reader not in seen:
                seen.add(reader)
                todo.append(reader)
    for key, keys in through.items():
        direct = found.get(key) or Stale(key=key, node=_node(state[key]))
        rest = keys - {one.input for one in direct.moved}
        found[key] = Stale(key=key, node=direct.node, moved=direct.moved, through=tuple(sorted(rest)))


def _node(entry: Entry) -> str | None:
    return None if isinstance(entry, SchemaEntry) else entry.node
