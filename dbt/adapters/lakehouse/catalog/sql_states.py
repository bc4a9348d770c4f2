"""States of the lake in SQL: what stands at a commit, what a commit changed, appending the next one.

A state is read from its line down to the first one (``layers``); the uppermost layer that says anything about a key, a
drop included, decides. Every query names one line and a range of sequence numbers, so that its cost is the rows of the
answer and no planner can go astray.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa

from dbt.adapters.lakehouse.catalog.model import Change, Key
from dbt.adapters.lakehouse.errors import RefNotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

FOREVER = 2**63 - 1
"""``until_seq`` of what nothing has superseded."""

MAX_DEPTH = 32
"""Forks of forks that a state may be read through; a longer chain is laid together."""

_CHUNK = 400
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A line up to a sequence number."""

    line: int
    seq: int


def layers(connection: sa.Connection, commit: str) -> list[Layer]:
    """The layers of the state at a commit, uppermost first. Raises ``RefNotFound``."""
    rows = connection.execute(_LAYERS, {"commit": commit}).all()
    if not rows:
        raise RefNotFound(f"no commit {commit!r} in this catalog; `lakehouse log` shows what there is")
    return [Layer(line=row.line, seq=row.seq) for row in rows]


_LAYERS = sa.text("""
    WITH RECURSIVE layers (line, seq, depth) AS (
        SELECT line, seq, 0 FROM commits WHERE id = :commit
        UNION ALL
        SELECT lines.parent_line, lines.fork_seq, layers.depth + 1
        FROM layers JOIN lines ON lines.id = layers.line
        WHERE lines.parent_line IS NOT NULL
    )
    SELECT line, seq FROM layers ORDER BY depth
""")


def standing(connection: sa.Connection, state: Sequence[Layer], schema: str | None = None) -> dict[Key, str]:
    """Content ids of everything that stands in a state, or in one schema of it, in the order of keys."""
    found: dict[tuple[str, str], str | None] = {}  # plain tuples: making, hashing and sorting keys takes longer
    for layer in reversed(state):
        arguments: dict[str, object] = {"line": layer.line, "seq": layer.seq}
        query = _STANDING
        if schema is not None:
            query, arguments["schema"] = _STANDING_IN_SCHEMA, schema.lower()
        found.update(((row[0], row[1]), row[2]) for row in connection.execute(query, arguments))
    return {Key(*name): content for name in sorted(found) if (content := found[name]) is not None}


_STANDING = sa.text("""
    SELECT schema_name, table_name, content FROM entries
    WHERE line = :line AND until_seq > :seq AND seq <= :seq
""")

# The plus keeps SQLite from walking all live entries of the line by until_seq.
_STANDING_IN_SCHEMA = sa.text("""
    SELECT schema_name, table_name, content FROM entries
    WHERE line = :line AND schema_name = :schema AND +until_seq > :seq AND seq <= :seq
""")


def contents_of(connection: sa.Connection, state: Sequence[Layer], keys: Collection[Key]) -> dict[Key, str | None]:
    """What stands at each of the keys, as content ids; None where nothing does."""
    found: dict[Key, str | None] = {}
    missing = set(keys)
    for layer in state:
        for schema, names in by_schema(missing):
            arguments = {"line": layer.line, "seq": layer.seq, "schema": schema, "names": names}
            found.update((Key(schema, row[0]), row[1]) for row in connection.execute(_AT_KEYS, arguments))
        missing -= found.keys()
        if not missing:
            break
    return found | dict.fromkeys(missing)


_AT_KEYS = sa.text("""
    SELECT table_name, content FROM entries
    WHERE line = :line AND schema_name = :schema AND table_name IN :names AND until_seq > :seq AND seq <= :seq
""").bindparams(sa.bindparam("names", expanding=True))


def changed_keys(connection: sa.Connection, one: Sequence[Layer], other: Sequence[Layer]) -> set[Key]:
    """Every key at which two states may differ: those written since the histories of their lines parted.

    Below the first line that both share they have all layers in common, since a line's origin never changes.
    """
    seqs = {layer.line: layer.seq for layer in other}
    shared = next((layer for layer in one if layer.line in seqs), None)
    ranges = [(layer.line, -1, layer.seq) for state in (one, other) for layer in _above(state, shared)]
    if shared is not None:
        low, high = sorted((shared.seq, seqs[shared.line]))
        ranges.append((shared.line, low, high))
    return {
        Key(row[0], row[1])
        for line, low, high in ranges
        if low < high
        for row in connection.execute(_WRITTEN, {"line": line, "low": low, "high": high})
    }


def _above(state: Sequence[Layer], shared: Layer | None) -> Iterator[Layer]:
    for layer in state:
        if shared is not None and layer.line == shared.line:
            return
        yield layer


_WRITTEN = sa.text("""
    SELECT DISTINCT schema_name, table_name FROM entries WHERE line = :line AND seq > :low AND seq <= :high
""")


def difference(connection: sa.Connection, old: str, new: str) -> tuple[Change, ...]:
    """What differs between two commits, by key."""
    before, after = layers(connection, old), layers(connection, new)
    keys = changed_keys(connection, before, after)
    was, is_now = contents_of(connection, before, keys), contents_of(connection, after, keys)
    return tuple(Change(key=key, before=was[key], after=is_now[key]) for key in sorted(keys) if was[key] != is_now[key])


def changes_at(connection: sa.Connection, layer: Layer) -> tuple[Change, ...]:
    """What the commit at the end of a layer changed against its first parent."""
    rows = connection.execute(_CHANGES, {"line": layer.line, "seq": layer.seq})
    changes = [Change(key=Key(row[0], row[1]), before=row[2], after=row[3]) for row in rows]
    return tuple(sorted(changes, key=lambda change: change.key))


_CHANGES = sa.text("SELECT schema_name, table_name, before, content FROM entries WHERE line = :line AND seq = :seq")


def append(connection: sa.Connection, layer: Layer, changes: Sequence[Change]) -> None:
    """Write what the commit at the end of a layer changed; their contents are stored already."""
    if not changes:
        return
    rows = [
        {
            "line": layer.line,
            "seq": layer.seq,
            "schema": change.key.schema,
            "name": change.key.name,
            "content": change.after,
            "before": change.before,
        }
        for change in changes
    ]
    for schema, names in by_schema(change.key for change in changes):
        at = {"line": layer.line, "seq": layer.seq, "schema": schema, "names": names}
        connection.execute(_SUPERSEDE, at)
    connection.execute(_APPEND, rows)


_SUPERSEDE = sa.text(f"""
    UPDATE entries SET until_seq = :seq
    WHERE line = :line AND schema_name = :schema AND table_name IN :names AND until_seq = {FOREVER}
""").bindparams(sa.bindparam("names", expanding=True))

_APPEND = sa.text(f"""
    INSERT INTO entries (line, seq, schema_name, table_name, until_seq, content, before)
    VALUES (:line, :seq, :schema, :name, {FOREVER}, :content, :before)
""")


def new_line(connection: sa.Connection, fork: Layer | None) -> int:
    """A line that starts from the state at a layer (None: from nothing); its first commit will be number 1."""
    line = secrets.randbits(62)  # drawn, not counted: no two forks wait for one another
    depth = 0
    if fork is not None:
        depth = connection.execute(_DEPTH, {"line": fork.line}).scalar_one() + 1
    if fork is not None and depth > MAX_DEPTH:
        return _laid_together(connection, line, fork)
    values = {"line": line, "parent": fork.line if fork else None, "seq": fork.seq if fork else None, "depth": depth}
    connection.execute(_NEW_LINE, values)
    return line


def _laid_together(connection: sa.Connection, line: int, fork: Layer) -> int:
    """A line right above the first one, which holds at number 0 what all lines in between say.

    This costs by what they changed; the tables that only the first line holds are not copied.
    """
    state = [fork, *(Layer(line=row.parent_line, seq=row.fork_seq) for row in _ancestors(connection, fork.line))]
    *between, first = state
    connection.execute(_NEW_LINE, {"line": line, "parent": first.line, "seq": first.seq, "depth": 1})
    laid: dict[Key, str | None] = {}
    for layer in reversed(between):
        rows = connection.execute(_STANDING, {"line": layer.line, "seq": layer.seq})
        laid.update((Key(row[0], row[1]), row[2]) for row in rows)
    append(
        connection,
        Layer(line=line, seq=0),
        [Change(key=key, before=None, after=content) for key, content in laid.items()],
    )
    return line


def _ancestors(connection: sa.Connection, line: int) -> Iterator[sa.Row[tuple[int, int]]]:
    row = connection.execute(_ORIGIN, {"line": line}).one()
    while row.parent_line is not None:
        yield row
        row = connection.execute(_ORIGIN, {"line": row.parent_line}).one()


_DEPTH = sa.text("SELECT depth FROM lines WHERE id = :line")
_ORIGIN = sa.text("SELECT parent_line, fork_seq FROM lines WHERE id = :line")
_NEW_LINE = sa.text("INSERT INTO lines (id, parent_line, fork_seq, depth) VALUES (:line, :parent, :seq, :depth)")


def by_schema(keys: Iterable[Key]) -> Iterator[tuple[str, list[str]]]:
    """Names by schema, in chunks: for one schema and many names both databases use an index, for pairs SQLite does not."""
    for schema, group in groupby(sorted(keys), key=lambda key: key.schema):
        for chunk in chunks(key.name for key in group):
            yield schema, chunk


def chunks(items: Iterable[_T], size: int = _CHUNK) -> Iterator[list[_T]]:
    """Lists of at most ``size``: a statement takes only so many parameters."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
