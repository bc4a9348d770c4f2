"""The SQL that compares two relations. Columns get names of our own, so that theirs may be anything."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dbt.adapters.lakehouse.quoting import quote

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.tables.values import Column

Kind = Literal["added", "removed", "changed"]
Side = Literal["b", "a"]
"""Before and after, as names in SQL."""

_SIDES: tuple[Side, Side] = ("b", "a")

_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_FAMILIES = {
    **dict.fromkeys((*_NUMBERS, "UHUGEINT", "DECIMAL", "FLOAT", "DOUBLE"), "number"),
    **dict.fromkeys(("DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"), "time"),
}
"""Types that DuckDB compares with one another by value."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A column that both sides have: its name on each, its position on each, and whether only texts can be compared."""

    before: str
    after: str
    positions: tuple[int, int]
    as_text: bool

    def value(self, side: Side) -> str:
        """Its value in the numbered columns of a side, in a form that the other side's can be compared with."""
        value = f"{side}.{side}{self.positions[0 if side == 'b' else 1]}"
        return f"CAST({value} AS VARCHAR)" if self.as_text else value

    @property
    def differs(self) -> str:
        """The condition that it is another. NULL equals NULL here, and NaN equals NaN."""
        return f"{self.value('b')} IS DISTINCT FROM {self.value('a')}"

    @property
    def agrees(self) -> str:
        """The condition that it is the same."""
        return f"{self.value('b')} IS NOT DISTINCT FROM {self.value('a')}"


@dataclass(frozen=True, kw_only=True)
class Statements:
    """SQL about two relations, given by their full names in SQL and by their columns."""

    before: str
    after: str
    columns: tuple[Sequence[Column], Sequence[Column]]

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The columns that both have."""
        now = {column.name.lower(): (position, column) for position, column in enumerate(self.columns[1])}
        return tuple(
            Pair(
                before=column.name,
                after=now[column.name.lower()][1].name,
                positions=(position, now[column.name.lower()][0]),
                as_text=_as_text(column.type, now[column.name.lower()][1].type),
            )
            for position, column in enumerate(self.columns[0])
            if column.name.lower() in now
        )

    def split(self, key: Collection[str]) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
        """The pairs of the key, in its order, and the others."""
        by_name = {pair.after.lower(): pair for pair in self.pairs}
        names = list(dict.fromkeys(column.lower() for column in key))
        return (
            tuple(by_name[name] for name in names if name in by_name),
            tuple(pair for pair in self.pairs if pair.after.lower() not in names),
        )

    def duplicates(self, key: Sequence[Pair]) -> str:
        """One row: how many keys occur more than once, on each side."""
        counts = [
            f"(SELECT count(*) FROM (SELECT 1 FROM {self._side(side)} GROUP BY "
            f"{', '.join(pair.value(side) for pair in key)} HAVING count(*) > 1))"
            for side in _SIDES
        ]
        return f"SELECT {', '.join(counts)}"

    def by_key(self, key: Sequence[Pair], others: Sequence[Pair]) -> str:
        """One row: numbers of rows added, removed and changed, then for each other column in how many rows it changed."""
        changed = " OR ".join(pair.differs for pair in others) or "false"
        counts = [
            "count(*) FILTER (WHERE b.here IS NULL)",
            "count(*) FILTER (WHERE a.here IS NULL)",
            f"count(*) FILTER (WHERE {_BOTH} AND ({changed}))",
            *(f"count(*) FILTER (WHERE {_BOTH} AND {pair.differs})" for pair in others),
        ]
        return f"SELECT {', '.join(counts)} FROM {self._joined(key)}"

    def by_row(self) -> str:
        """One row: numbers of rows added and removed, and 0."""
        return f"SELECT sum(greatest(more, 0)), sum(greatest(-more, 0)), 0 FROM ({self._difference(self.pairs)}) AS difference"

    def samples(self, key: Sequence[Pair], others: Sequence[Pair], limit: int) -> Iterator[tuple[Kind, str]]:
        """Queries for some rows of each kind of change: how many there are, all columns of both sides, and with a key which
        of the other columns differ.
        """
        if not key:
            yield "removed", self._one_sided("b", limit)
            yield "added", self._one_sided("a", limit)
            return
        changed = " OR ".join(pair.differs for pair in others) or "false"
        columns = [*self._numbered("b"), *self._numbered("a"), *(f"({pair.differs})" for pair in others)]
        order = ", ".join(f"coalesce({pair.value('b')}, {pair.value('a')})" for pair in key)
        conditions: tuple[tuple[Kind, str], ...] = (
            ("removed", "a.here IS NULL"),
            ("added", "b.here IS NULL"),
            ("changed", f"{_BOTH} AND ({changed})"),
        )
        for kind, condition in conditions:
            yield (
                kind,
                f"SELECT 1, {', '.join(columns)} FROM {self._joined(key)} WHERE {condition} ORDER BY {order} LIMIT {limit}",
            )

    def _one_sided(self, side: Side, limit: int) -> str:
        """Rows of which a side has more, with one of the wholes that they stand for.

        Columns that only this side has may differ among rows that are alike in the others; any of them is shown.
        """
        sign = "-" if side == "b" else ""
        values = [pair.value(side) for pair in self.pairs]
        shown = [
            f"one.{name.partition('.')[2]}" if other == side else "NULL"
            for other in _SIDES
            for name in self._numbered(other)
        ]
        on = " AND ".join(f"d.k{n} IS NOT DISTINCT FROM one.k{n}" for n in range(len(values)))
        keys = ", ".join(f"one.k{n}" for n in range(len(values)))
        named = ", ".join(f"{value} AS k{n}" for n, value in enumerate(values))
        return (
            f"SELECT DISTINCT ON ({keys}) {sign}d.more, {', '.join(shown)} "
            f"FROM (SELECT *, {named} FROM {self._side(side)}) AS one "
            f"JOIN (SELECT * FROM ({self._difference(self.pairs)}) AS all_of_them WHERE {sign}more > 0 "
            f"ORDER BY ALL LIMIT {limit}) AS d ON {on} ORDER BY {keys}"
        )

    def _difference(self, pairs: Sequence[Pair]) -> str:
        """Each row that one side has more often (``more``: than before), by the columns ``k0``, ``k1`` and so on."""
        sides = [
            f"SELECT {', '.join(f'{pair.value(side)} AS k{n}' for n, pair in enumerate(pairs))}, {count} AS side "
            f"FROM {self._side(side)}"
            for side, count in zip(_SIDES, (-1, 1), strict=True)
        ]
        keys = ", ".join(f"k{n}" for n in range(len(pairs)))
        return f"SELECT {keys}, sum(side) AS more FROM ({' UNION ALL '.join(sides)}) AS sides GROUP BY {keys} HAVING more <> 0"

    def _joined(self, key: Sequence[Pair]) -> str:
        return f"{self._side('b')} FULL OUTER JOIN {self._side('a')} ON {' AND '.join(pair.agrees for pair in key)}"

    def _numbered(self, side: Side) -> list[str]:
        return [f"{side}.{side}{n}" for n in range(len(self.columns[0 if side == "b" else 1]))]

    def _side(self, side: Side) -> str:
        """One side with its columns numbered, and ``here``, which is true in each of its rows."""
        name, columns = (self.before, self.columns[0]) if side == "b" else (self.after, self.columns[1])
        renamed = ", ".join(f"{quote(column.name)} AS {side}{n}" for n, column in enumerate(columns))
        return f"(SELECT {renamed}, true AS here FROM {name}) AS {side}"


_BOTH = "b.here IS NOT NULL AND a.here IS NOT NULL"


def _as_text(before: str, after: str) -> bool:
    if before == after:
        return False
    families = [_FAMILIES.get(kind.partition("(")[0].strip().upper()) for kind in (before, after)]
    return families[0] is None or families[0] != families[1]
