"""One relation at two refs of the lake: what became of its columns and of its rows.

::

    with Comparer(lake, before="main", after="dev") as comparer:
        comparer.compare("shop", "orders", key=["id"])

Relations whose content is known to be the same are not read. All others are compared by one query for their rows, in a
read-only session, so that it makes no difference where the lake is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dbt.adapters.lakehouse.catalog.model import Key, TableEntry, ViewEntry, identity
from dbt.adapters.lakehouse.errors import JobCancelled, LakehouseError
from dbt.adapters.lakehouse.lake.base import Name
from dbt.adapters.lakehouse.lake.compare_sql import Kind, Pair, Statements

if TYPE_CHECKING:
    from types import TracebackType

    from dbt.adapters.lakehouse.lake.base import Lake, Session
    from dbt.adapters.lakehouse.tables.values import Column

MAX_ROWS = 5_000_000
"""Relations with more rows than this are not compared row by row, unless that is asked for."""

Relation = TableEntry | ViewEntry


@dataclass(frozen=True, kw_only=True)
class ColumnChange:
    """A column that only one side has, or whose type is another. Names are compared as SQL does, without regard to case."""

    name: str
    change: Literal["added", "removed", "retyped"]
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True)
class RowChange:
    """A row before and after, by column name; None on the side that does not have it.

    ``columns`` are those that differ, where both sides have it. Without a key, rows that are alike count as one here, and
    ``times`` is how many more (or fewer) of them there are.
    """

    change: Literal["added", "removed", "changed"]
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    columns: tuple[str, ...] = ()
    times: int = 1


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What became of the rows, over the columns that both sides have.

    With a ``key``, a row is *changed* if the other side has its key with other values, and ``columns`` says in how many
    rows each column is another. Without one, a changed row is one removed and one added.
    """

    key: tuple[str, ...] = ()
    added: int = 0
    removed: int = 0
    changed: int = 0
    columns: tuple[tuple[str, int], ...] = ()
    samples: tuple[RowChange, ...] = ()

    @property
    def same(self) -> bool:
        """Whether no row differs."""
        return not (self.added or self.removed or self.changed)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A relation at two commits.

    ``kind_before`` and ``kind_after`` are ``table``, ``view``, or None where nothing stands at that name; so are the numbers
    of rows, and None as well where they could not be told. ``rows`` is None if the rows were not compared; ``notes`` say
    why, and all else that a reader should know.
    """

    schema: str
    name: str
    before: str
    after: str
    kind_before: Literal["table", "view"] | None
    kind_after: Literal["table", "view"] | None
    rows_before: int | None = None
    rows_after: int | None = None
    columns: tuple[ColumnChange, ...] = ()
    reordered: bool = False
    rows: Rows | None = None
    notes: tuple[str, ...] = ()

    @property
    def change(self) -> Literal["added", "removed", "changed", "same", "unknown"]:
        """What became of it: ``same`` means columns and rows; ``unknown`` that the columns are, and nobody saw the rows."""
        if self.kind_before is None or self.kind_after is None:
            return "same" if self.kind_before == self.kind_after else "added" if self.kind_after else "removed"
        if self.columns or self.reordered or self.kind_before != self.kind_after or self.rows_before != self.rows_after:
            return "changed"
        if self.rows is None:
            return "unknown"
        return "same" if self.rows.same else "changed"


class Comparer:
    """Compares relations between two commits, those that its refs lead to when it is made. For one thread."""

    def __init__(self, lake: Lake, *, before: str, after: str, database: str = "lake") -> None:
        """``database`` is what SQL calls the lake. Raises ``RefNotFound``."""
        self.before = lake.catalog.resolve(before).id
        self.after = lake.catalog.resolve(after).id
        self._lake = lake
        self._database = database
        self._sessions: list[Session] = []

    def __enter__(self) -> Comparer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the session back."""
        while self._sessions:
            self._sessions.pop().close()

    def cancel(self) -> None:
        """From any thread: interrupt what runs; it raises ``JobCancelled``."""
        for session in tuple(self._sessions):
            session.cancel()

    def compare(
        self, schema: str, name: str, *, key: Sequence[str] = (), samples: int = 0, max_rows: int = MAX_ROWS
    ) -> Comparison:
        """The relation on both sides.

        ``key``: the columns that tell its rows apart; where they do not, or there are none, rows are compared as a whole.
        ``samples``: show so many rows of each kind of change. Above ``max_rows`` on a side, rows are only counted. What cannot
        be read is a note of the result, not an error.
        """
        before, after = self._entry(self.before, schema, name), self._entry(self.after, schema, name)
        stands = after or before
        found: dict[str, Any] = {
            "schema": stands.schema if stands is not None else schema,
            "name": stands.name if stands is not None else name,
            "before": self.before,
            "after": self.after,
            "kind_before": before.kind if before is not None else None,
            "kind_after": after.kind if after is not None else None,
        }
        try:
            found |= self._look(before, after, tuple(key), samples, max_rows)
        except JobCancelled:
            raise
        except LakehouseError as error:
            found["notes"] = (f"its rows could not be compared: {error}",)
        return Comparison(**found)

    def _entry(self, commit: str, schema: str, name: str) -> Relation | None:
        key = Key(schema, name)
        entry = self._lake.catalog.lookup(commit, [key]).get(key)
        return entry if isinstance(entry, TableEntry | ViewEntry) else None

    def _look(
        self, before: Relation | None, after: Relation | None, key: tuple[str, ...], samples: int, max_rows: int
    ) -> dict[str, Any]:
        if before is None or after is None:
            return {
                "rows_before": self._count(self.before, before),
                "rows_after": self._count(self.after, after),
            }
        same = self._same(before, after, set())
        columns = self._columns(self.before, before), self._columns(self.after, after)
        found: dict[str, Any] = {
            "columns": column_changes(*columns),
            "reordered": _reordered(*columns),
            "rows_before": self._count(self.before, before),
        }
        found["rows_after"] = found["rows_before"] if same else self._count(self.after, after)
        if same:
            return {**found, "rows": Rows(key=key)}
        most = max(found["rows_before"], found["rows_after"])
        if most > max_rows:
            return {**found, "notes": (f"{most:,} rows are more than {max_rows:,}; they were counted, not compared",)}
        statements = Statements(
            before=str(self._name(self.before, before)), after=str(self._name(self.after, after)), columns=columns
        )
        if not statements.pairs:
            return {**found, "notes": ("the two have no column in common, so that no rows can be compared",)}
        return {**found, **self._rows(statements, key, samples)}

    def _rows(self, statements: Statements, key: tuple[str, ...], samples: int) -> dict[str, Any]:
        notes = []
        if key and (fault := self._fault(statements, key)):
            notes.append(f"{fault}, so that rows were compared as a whole")
            key = ()
        parts = statements.split(key)
        (counts,) = self._ask(statements.by_key(*parts) if key else statements.by_row())
        added, removed, changed, *each = (int(value or 0) for value in counts)
        rows = Rows(
            key=tuple(pair.after for pair in parts[0]),
            added=added,
            removed=removed,
            changed=changed,
            columns=tuple((pair.after, n) for pair, n in zip(parts[1], each, strict=False) if n),
            samples=self._samples(statements, parts, samples, {"added": added, "removed": removed, "changed": changed}),
        )
        return {"rows": rows, "notes": tuple(notes)}

    def _fault(self, statements: Statements, key: tuple[str, ...]) -> str | None:
        """Why a key does not tell rows apart; None if it does."""
        named = ", ".join(key)
        known = {pair.after.lower() for pair in statements.pairs}
        missing = [column for column in key if column.lower() not in known]
        if missing:
            return f"key column {missing[0]!r} is not on both sides"
        ((before, after),) = self._ask(statements.duplicates(statements.split(key)[0]))
        where = " and ".join(side for side, n in (("before", before), ("after", after)) if n)
        return f"key ({named}) occurs more than once in rows {where}" if where else None

    def _samples(
        self,
        statements: Statements,
        parts: tuple[Sequence[Pair], Sequence[Pair]],
        limit: int,
        counts: Mapping[Kind, int],
    ) -> tuple[RowChange, ...]:
        found: list[RowChange] = []
        before, after = statements.columns
        for kind, sql in statements.samples(*parts, limit):
            if not limit or not counts[kind]:
                continue
            for times, *values in self._ask(sql):
                then = dict(zip((c.name for c in before), values, strict=False))
                now = dict(zip((c.name for c in after), values[len(before) :], strict=False))
                differ = values[len(before) + len(after) :] if kind == "changed" else ()
                found.append(
                    RowChange(
                        change=kind,
                        before=then if kind != "added" else None,
                        after=now if kind != "removed" else None,
                        columns=tuple(pair.after for pair, other in zip(parts[1], differ, strict=False) if other),
                        times=int(times),
                    )
                )
        return tuple(found)

    # the lake

    def _name(self, commit: str, entry: Relation) -> Name:
        return Name(database=f"{self._database}@{commit}", schema=entry.schema, name=entry.name)

    def _session(self) -> Session:
        if not self._sessions:
            self._sessions.append(self._lake.read(self.after))
        return self._sessions[0]

    def _ask(self, sql: str) -> Sequence[tuple[Any, ...]]:
        return self._session().execute(sql).rows

    def _count(self, commit: str, entry: Relation | None) -> int | None:
        """Rows of a table as its metadata has them; a view's are counted."""
        if entry is None or isinstance(entry, TableEntry):
            return entry.rows if entry is not None else None
        ((rows,),) = self._ask(f"SELECT count(*) FROM {self._name(commit, entry)}")
        return int(rows)

    def _columns(self, commit: str, entry: Relation) -> tuple[Column, ...]:
        """A view has the columns of what it reads now."""
        if isinstance(entry, TableEntry):
            return entry.columns
        return self._session().describe(f"SELECT * FROM {self._name(commit, entry)}")

    def _same(self, before: Relation, after: Relation, seen: Collection[str]) -> bool:
        """Whether the rows are known to be the same: a table's by its content, a view's by what it reads and how."""
        if isinstance(before, TableEntry) and isinstance(after, TableEntry):
            return identity(before) == identity(after)
        if not isinstance(before, ViewEntry) or not isinstance(after, ViewEntry):
            return False
        if before.sql != after.sql or before.inputs.keys() != after.inputs.keys():
            return False
        # One at another ref ("schema.name@commit") is the same for both sides, now that both are read.
        reads = [key for key in before.inputs if "@" not in key and key not in seen]
        sides = [self._entries(commit, reads) for commit in (self.before, self.after)]
        for key in reads:
            then, now = sides[0].get(key), sides[1].get(key)
            if then is None or now is None or not self._same(then, now, {*seen, *reads}):
                return False
        return True

    def _entries(self, commit: str, names: Sequence[str]) -> dict[str, Relation]:
        # Of a name with dots in it nobody knows which part is the schema; it is not found, and then rows are read.
        keys = {Key(*name.split(".")): name for name in names if name.count(".") == 1}
        found = self._lake.catalog.lookup(commit, keys)
        return {keys[key]: entry for key, entry in found.items() if isinstance(entry, TableEntry | ViewEntry)}


def column_changes(before: Sequence[Column], after: Sequence[Column]) -> tuple[ColumnChange, ...]:
    """Columns that were removed, retyped or added, in the order of the columns before, then of those after."""
    then, now = ({column.name.lower(): column for column in side} for side in (before, after))
    changes = []
    for name, column in then.items():
        other = now.get(name)
        if other is None:
            changes.append(ColumnChange(name=column.name, change="removed", before=_typed(column), after=None))
        elif _typed(column) != _typed(other):
            changes.append(ColumnChange(name=other.name, change="retyped", before=_typed(column), after=_typed(other)))
    changes += [
        ColumnChange(name=column.name, change="added", before=None, after=_typed(column))
        for name, column in now.items()
        if name not in then
    ]
    return tuple(changes)


def _typed(column: Column) -> str:
    return f"{column.type} NOT NULL" if column.required else column.type


def _reordered(before: Sequence[Column], after: Sequence[Column]) -> bool:
    """Whether the columns that both have stand in another order."""
    then, now = ([column.name.lower() for column in side] for side in (before, after))
    return [name for name in then if name in now] != [name for name in now if name in then]
