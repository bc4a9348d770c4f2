"""Commits in SQL: finding them by ref expression, walking them, adding one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from dbt.adapters.lakehouse.catalog import sql_moves, sql_refs, sql_states
from dbt.adapters.lakehouse.catalog.graph import Node, is_ancestor, newest_first
from dbt.adapters.lakehouse.catalog.model import Change, Commit, Key, Ref, RunRecord, commit_id, time_text
from dbt.adapters.lakehouse.catalog.refs import AtCommit, AtTime, Back, RefExpression, Step, parse
from dbt.adapters.lakehouse.catalog.sql_states import Layer
from dbt.adapters.lakehouse.errors import Collected, InvalidRef, RefNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_FULL_ID = 40
_SEGMENT = 256
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class Note:
    """What a commit says besides its changes."""

    author: str
    message: str
    run: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a commit stands."""

    id: str
    layer: Layer
    generation: int
    time: datetime


class Nodes:
    """Looks commits up for ``graph``; reads a stretch of a line at a time, since walks follow lines."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._nodes: dict[str, Node] = {}
        self._lines: dict[str, int] = {}

    def __call__(self, commit: str) -> Node:
        """A commit by id. Raises ``RefNotFound``."""
        if commit not in self._nodes:
            layer = place(self._connection, commit).layer
            arguments = {"line": layer.line, "seq": layer.seq, "limit": _SEGMENT}
            for row in self._connection.execute(_STRETCH, arguments):
                self._nodes[row.id] = Node(
                    id=row.id,
                    parents=_parents(row),
                    generation=row.generation,
                    time=datetime.fromisoformat(row.time),
                    run=row.run,
                )
                self._lines[row.id] = layer.line
        return self._nodes[commit]

    def line(self, commit: str) -> int:
        """The line that a commit stands on."""
        self(commit)
        return self._lines[commit]


def resolve(connection: sa.Connection, text: str) -> str:
    """The id of the commit that a ref expression leads to. Raises ``RefNotFound``, ``InvalidRef``."""
    expression = parse(text)
    ref = sql_refs.named(connection, expression.base)
    commit = ref.ref.commit if ref is not None else _base(connection, expression, of=text)
    for number, step in enumerate(expression.steps):
        if ref is not None and number == 0 and isinstance(step, AtTime):
            commit = sql_moves.shown_before(connection, ref.ref.name, step.time) or commit
        commit = _follow(connection, commit, step, of=text)
    return commit


def showed(connection: sa.Connection, ref: Ref, time: datetime) -> str | None:
    """The commit that a branch showed at a time; None if it goes back to nothing so old."""
    return _at_time(connection, sql_moves.shown_before(connection, ref.name, time) or ref.commit, time)


def refuse_collected(connection: sa.Connection, commit: str, text: str) -> None:
    """Raise ``Collected`` if the commit, to which the ref expression ``text`` led, is."""
    when: str | None = connection.execute(_COLLECTED, {"id": commit}).scalar()
    if when is not None:
        raise Collected(
            f"{text!r} leads to commit {commit[:8]}, whose files were collected on {when[:16]} UTC, since nothing named them "
            "any longer; `lakehouse log` shows later commits, and a tag keeps one for good"
        )


def _base(connection: sa.Connection, expression: RefExpression, *, of: str) -> str:
    found = _starting_with(connection, expression.base.lower()) if expression.is_commit else []
    if not found:
        raise sql_refs.not_found(connection, expression.base, of=of)
    return _only(found, expression.base)


def _follow(connection: sa.Connection, commit: str, step: Step, *, of: str) -> str:
    match step:
        case Back(count=count):
            found = _back(connection, commit, count)
            why = f"there are not {count} commits before it"
        case AtTime(time=time):
            found = _at_time(connection, commit, time)
            why = f"there was no commit yet at {time.isoformat()}"
        case AtCommit(prefix=prefix):
            nodes = Nodes(connection)
            candidates = _starting_with(connection, prefix)
            reachable = [candidate for candidate in candidates if is_ancestor(nodes, candidate, commit)]
            found = _only(reachable, prefix) if reachable else None
            why = f"no commit that starts with {prefix} is reachable there"
    if found is None:
        raise RefNotFound(f"{of!r} leads nowhere: {why}; `lakehouse log` shows what is")
    return found


def _starting_with(connection: sa.Connection, prefix: str) -> list[str]:
    if len(prefix) == _FULL_ID:
        return list(connection.execute(_EXISTS, {"id": prefix}).scalars())
    return list(connection.execute(_STARTING_WITH, {"low": prefix, "high": f"{prefix}g"}).scalars())


def _only(found: Sequence[str], prefix: str) -> str:
    if len(found) > 1:
        some = ", ".join(commit[: len(prefix) + 4] for commit in found[:4])
        raise InvalidRef(
            f"commit id {prefix!r} is ambiguous: {len(found)} commits start so ({some}); write more digits"
        )
    return found[0]


def _back(connection: sa.Connection, commit: str, count: int) -> str | None:
    at: str | None = commit
    while at is not None:
        layer = place(connection, at).layer
        if count < layer.seq:
            return connection.execute(_AT, {"line": layer.line, "seq": layer.seq - count}).scalar_one()
        count -= layer.seq
        at = _before_line(connection, layer.line)
    return None


def _at_time(connection: sa.Connection, commit: str, time: datetime) -> str | None:
    at: str | None = commit
    while at is not None:
        layer = place(connection, at).layer
        arguments = {"line": layer.line, "seq": layer.seq, "time": time_text(time)}
        found: str | None = connection.execute(_NOT_AFTER, arguments).scalar()
        if found is not None:
            return found
        at = _before_line(connection, layer.line)
    return None


def _before_line(connection: sa.Connection, line: int) -> str | None:
    """The parent of a line's first commit. (Not the end of the layer below: lines in between may be laid together.)"""
    parent: str | None = connection.execute(_LINE_PARENT, {"line": line}).scalar_one()
    return parent


def place(connection: sa.Connection, commit: str) -> Place:
    """Where a commit (id) stands. Raises ``RefNotFound``."""
    row = connection.execute(_PLACE, {"id": commit}).one_or_none()
    if row is None:
        raise RefNotFound(f"no commit {commit!r} in this catalog; `lakehouse log` shows what there is")
    return Place(
        id=commit,
        layer=Layer(line=row.line, seq=row.seq),
        generation=row.generation,
        time=datetime.fromisoformat(row.time),
    )


def commits(connection: sa.Connection, ids: Iterable[str]) -> dict[str, Commit]:
    """Commits by id."""
    return {
        row.id: _commit(row) for chunk in sql_states.chunks(ids) for row in connection.execute(_COMMITS, {"ids": chunk})
    }


def log(connection: sa.Connection, commit: str, limit: int | None, *, first_parent: bool) -> list[Commit]:
    """A commit and its ancestors, newest first."""
    if first_parent:
        return list(_first_parents(connection, commit, limit))
    ids: list[str] = []
    for node in newest_first(Nodes(connection), commit):
        if limit is not None and len(ids) >= limit:
            break
        ids.append(node.id)
    found = commits(connection, ids)
    return [found[one] for one in ids]


def _first_parents(connection: sa.Connection, commit: str, limit: int | None) -> Iterator[Commit]:
    at: str | None = commit
    left = sql_states.FOREVER if limit is None else min(limit, sql_states.FOREVER)
    while at is not None and left > 0:
        layer = place(connection, at).layer
        rows = connection.execute(_LOG, {"line": layer.line, "seq": layer.seq, "limit": left}).all()
        yield from map(_commit, rows)
        left -= len(rows)
        at = rows[-1].parent


def newest_changes(
    connection: sa.Connection, nodes: Nodes, side: Sequence[Node], keys: Iterable[Key]
) -> dict[Key, str]:
    """The newest of some commits that changed each key."""
    rank = {node.id: (node.generation, node.time) for node in side}
    newest: dict[Key, str] = {}
    for row in changes_of(connection, nodes, side, keys):
        key = Key(row.schema_name, row.table_name)
        if row.id in rank and (key not in newest or rank[newest[key]] < rank[row.id]):
            newest[key] = row.id
    return newest


def changes_of(
    connection: sa.Connection, nodes: Nodes, side: Iterable[Node], keys: Iterable[Key]
) -> Iterator[sa.Row[tuple[Any, ...]]]:
    """What the commits of some lines changed at some keys: all that stand on a line which one of ``side`` stands on."""
    lines = sorted({nodes.line(node.id) for node in side})
    for schema, names in sql_states.by_schema(keys):
        for some in sql_states.chunks(lines):
            yield from connection.execute(_CHANGED_BY, {"lines": some, "schema": schema, "names": names})


def end_of(connection: sa.Connection, record: RunRecord) -> str:
    """The last commit of a run: what was published of it, or its branch's head, or else what it began with."""
    published = commits(connection, [record.published] if record.published else []).get(record.published or "")
    if published is not None:
        return published.parents[-1] if len(published.parents) > 1 else published.id
    held = sql_refs.get(connection, record.branch)
    if held is not None and held.ref.run == record.id:
        return held.ref.commit
    found: str | None = connection.execute(_LAST_OF_RUN, {"run": record.id}).scalar()
    return found or record.base


def record(
    connection: sa.Connection, held: sql_refs.Held, changes: Sequence[Change], note: Note, *, merged: str | None = None
) -> Commit:
    """Append a commit to a locked branch and move the branch to it. ``merged`` is its second parent."""
    head = place(connection, held.ref.commit)
    parents = [head] if merged is None else [head, place(connection, merged)]
    if held.line is None:
        layer = Layer(line=sql_states.new_line(connection, head.layer), seq=1)
    else:
        layer = Layer(line=held.line, seq=head.layer.seq + 1)
    # Only then may the branch have been moved later than what it points to was made.
    moved = sql_moves.latest(connection, held.ref.name) if held.line is None else None
    commit = _insert(connection, layer, parents, changes, note, moved=moved)
    sql_states.append(connection, layer, changes)
    sql_refs.move(connection, held.ref.name, commit.id, layer.line)
    return commit


def record_first(connection: sa.Connection, note: Note) -> tuple[Commit, int]:
    """The commit that a lake begins with, and its line."""
    line = sql_states.new_line(connection, None)
    return _insert(connection, Layer(line=line, seq=1), [], [], note), line


def _insert(
    connection: sa.Connection,
    layer: Layer,
    parents: Sequence[Place],
    changes: Sequence[Change],
    note: Note,
    *,
    moved: datetime | None = None,
) -> Commit:
    # Clocks differ from machine to machine; time must still rise along history, or "the state at" has no answer.
    earlier = [parent.time for parent in parents] + ([moved] if moved is not None else [])
    time = max([datetime.now(UTC), *(time + _TICK for time in earlier)])
    provenance = json.dumps(dict(note.provenance), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    ids = tuple(parent.id for parent in parents)
    said: dict[str, Any] = {"author": note.author, "message": note.message, "time": time, "run": note.run}
    said["provenance"] = json.loads(provenance)
    commit = Commit(id=commit_id(parents=ids, changes=changes, **said), parents=ids, **said)
    connection.execute(
        _INSERT,
        {
            "id": commit.id,
            "line": layer.line,
            "seq": layer.seq,
            "generation": 1 + max((parent.generation for parent in parents), default=0),
            "parent": ids[0] if ids else None,
            "merge_parent": ids[1] if len(ids) > 1 else None,
            "author": note.author,
            "message": note.message,
            "time": time_text(time),
            "run": note.run,
            "provenance": provenance,
        },
    )
    return commit


def moved_by(connection: sa.Connection, commit: str, key: Key) -> Commit | None:
    """The newest first parent that changed a key, for messages; None where it lies far back."""
    layer = place(connection, commit).layer
    arguments = {"line": layer.line, "seq": layer.seq, "schema": key.schema, "name": key.name}
    found = connection.execute(_LAST_CHANGE, arguments).one_or_none()
    return None if found is None else _commit(found)


def last_change(connection: sa.Connection, commit: str, key: Key) -> Commit | None:
    """The newest change of a key; where a merge brought it, that of the history which was merged."""
    at: str | None = commit
    while at is not None:
        found = moved_by(connection, at, key)
        if found is None:
            at = _before_line(connection, place(connection, at).layer.line)
        elif len(found.parents) < 2:
            return found
        else:
            at = found.parents[1]
    return None


def _parents(row: sa.Row[tuple[object, ...]]) -> tuple[str, ...]:
    return tuple(parent for parent in (row.parent, row.merge_parent) if parent is not None)


def _commit(row: sa.Row[tuple[object, ...]]) -> Commit:
    return Commit(
        id=row.id,
        parents=_parents(row),
        author=row.author,
        message=row.message,
        time=datetime.fromisoformat(row.time),
        run=row.run,
        provenance=json.loads(row.provenance),
        collected=row.collected is not None,
    )


_WRITTEN = "id, line, seq, generation, parent, merge_parent, author, message, time, run, provenance"
_COLUMNS = f"{_WRITTEN}, collected"
_PLACE = sa.text("SELECT line, seq, generation, time FROM commits WHERE id = :id")
_AT = sa.text("SELECT id FROM commits WHERE line = :line AND seq = :seq")
_LAST_OF_RUN = sa.text("""
    SELECT id FROM commits WHERE run = :run AND merge_parent IS NULL ORDER BY generation DESC LIMIT 1
""")
_COLLECTED = sa.text("SELECT collected FROM commits WHERE id = :id")
_EXISTS = sa.text("SELECT id FROM commits WHERE id = :id")
_STARTING_WITH = sa.text("SELECT id FROM commits WHERE id >= :low AND id < :high ORDER BY id")
_LINE_PARENT = sa.text("SELECT parent FROM commits WHERE line = :line AND seq = 1")
_COMMITS = sa.text(f"SELECT {_COLUMNS} FROM commits WHERE id IN :ids").bindparams(sa.bindparam("ids", expanding=True))
_LOG = sa.text(f"SELECT {_COLUMNS} FROM commits WHERE line = :line AND seq <= :seq ORDER BY seq DESC LIMIT :limit")
_STRETCH = sa.text("""
    SELECT id, generation, parent, merge_parent, time, run FROM commits
    WHERE line = :line AND seq <= :seq ORDER BY seq DESC LIMIT :limit
""")
_NOT_AFTER = sa.text("""
    SELECT id FROM commits WHERE line = :line AND seq <= :seq AND time <= :time ORDER BY seq DESC LIMIT 1
""")
_CHANGED_BY = sa.text("""
    SELECT commits.id, entries.schema_name, entries.table_name, entries.before, entries.content
    FROM entries JOIN commits ON commits.line = entries.line AND commits.seq = entries.seq
    WHERE entries.line IN :lines AND entries.schema_name = :schema AND entries.table_name IN :names
""").bindparams(sa.bindparam("lines", expanding=True), sa.bindparam("names", expanding=True))
_LAST_CHANGE = sa.text(f"""
    SELECT {", ".join(f"commits.{column}" for column in _COLUMNS.split(", "))}
    FROM entries JOIN commits ON commits.line = entries.line AND commits.seq = entries.seq
    WHERE entries.line = :line AND entries.schema_name = :schema AND entries.table_name = :name AND entries.seq <= :seq
    ORDER BY entries.seq DESC LIMIT 1
""")
_INSERT = sa.text(f"""
    INSERT INTO commits ({_WRITTEN})
    VALUES (:id, :line, :seq, :generation, :parent, :merge_parent, :author, :message, :time, :run, :provenance)
""")
