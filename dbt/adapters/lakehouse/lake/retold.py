"""What a run made, then and now: equal, or in what it differs, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from dbt.adapters.lakehouse.catalog.model import Key, TableEntry, ViewEntry, identity
from dbt.adapters.lakehouse.errors import JobCancelled, LakehouseError
from dbt.adapters.lakehouse.lake.base import Lake, Name
from dbt.adapters.lakehouse.lake.compare import Comparer, Comparison, Relation, column_changes
from dbt.adapters.lakehouse.lake.replay import Done, Past
from dbt.adapters.lakehouse.lake.rerun import Retold
from dbt.adapters.lakehouse.quoting import quote

UNEXPLAINED = (
    "nothing that was kept explains it: rows that come in no certain order, or sums of floating point numbers, may "
    "come out otherwise each time"
)


class Teller:
    """Compares what a past run left with what the same steps left at the commit ``made``. For one thread."""

    def __init__(self, lake: Lake, before: Past, made: str, done: Sequence[Done], database: str) -> None:
        self._lake = lake
        self._before = before
        self._made = made
        self._done = done
        self._database = database
        self._comparer = Comparer(lake, before=before.head.id, after=made, database=database)
        self._told: dict[Key, Retold] = {}

    def __enter__(self) -> Teller:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._comparer.close()

    def tell(self, key: Key) -> Retold:
        """What became of one table or view; those that it reads are told first."""
        then, now = self._entry(self._before.head.id, key), self._entry(self._made, key)
        stands = then or now
        said: dict[str, Any] = {
            "schema": stands.schema if stands is not None else key.schema,
            "name": stands.name if stands is not None else key.name,
            "kind": stands.kind if stands is not None else None,
            "node": stands.node if stands is not None else None,
            "rows_before": then.rows if isinstance(then, TableEntry) else None,
            "rows_after": now.rows if isinstance(now, TableEntry) else None,
        }
        steps = [one for one in self._done if key in one.step.keys]
        last = steps[-1]
        if last.outcome == "failed" or last.outcome == "skipped":
            told = Retold(**said, outcome=last.outcome, why=(last.why or "",))
        elif then is now or (then is not None and now is not None and _same(then, now)):
            taken = [one.why for one in steps if one.outcome == "taken" and one.why]
            computed = len(taken) < len(steps)
            told = Retold(**said, outcome="equal" if computed else "taken", why=tuple(dict.fromkeys(taken)))
        else:
            told = self._different(key, then, now, steps, said)
        self._told[key] = told
        return told

    def _entry(self, commit: str, key: Key) -> Relation | None:
        entry = self._lake.catalog.lookup(commit, [key]).get(key)
        return entry if isinstance(entry, TableEntry | ViewEntry) else None

    def _different(
        self, key: Key, then: Relation | None, now: Relation | None, steps: Sequence[Done], said: dict[str, Any]
    ) -> Retold:
        why = tuple(self._reasons(key, then, steps))
        if then is None or now is None:
            missing = "it was not there then" if then is None else "it is not there now"
            return Retold(**said, outcome="differs", why=(missing, *why))
        columns = column_changes(then.columns, now.columns)
        if not (isinstance(then, TableEntry) and isinstance(now, TableEntry)):
            return Retold(**said, outcome="differs", columns=columns, why=why)
        compared = self._comparer.compare(then.schema, then.name)
        if compared.rows is not None and compared.rows.same and not columns and not compared.reordered:
            return Retold(**said, outcome="equal", why=("its rows are in another order",))
        values = self._values(then, now, compared)
        return Retold(
            **said,
            outcome="differs",
            columns=columns,
            values=values,
            reordered=compared.reordered,
            why=(*compared.notes, *(why or (UNEXPLAINED,))),
        )

    def _values(self, then: TableEntry, now: TableEntry, compared: Comparison) -> tuple[str, ...]:
        """Columns whose values, each with how often it occurs, are others: without a key, no more can be told of rows."""
        if compared.rows is None:
            return ()
        names = {column.name.lower() for column in now.columns}
        both = [column.name for column in then.columns if column.name.lower() in names]
        sums = ", ".join(f"sum(hash({quote(name)})::HUGEINT) AS c{number}" for number, name in enumerate(both))
        differ = ", ".join(f"b.c{number} IS DISTINCT FROM a.c{number}" for number in range(len(both)))
        sides = [
            f"(SELECT {sums} FROM {Name(database=f'{self._database}@{commit}', schema=e.schema, name=e.name)})"
            for commit, e in ((self._before.head.id, then), (self._made, now))
        ]
        session = self._lake.read(self._made)
        try:
            (found,) = session.execute(f"SELECT {differ} FROM {sides[0]} AS b, {sides[1]} AS a").rows
        except JobCancelled:
            raise
        except LakehouseError:
            return ()
        finally:
            session.close()
        return tuple(name for name, other in zip(both, found, strict=True) if other)

    # why

    def _reasons(self, key: Key, then: Relation | None, steps: Sequence[Done]) -> Iterator[str]:
        inputs = {name for one in steps for name in one.step.needs} - {key}
        others = [other for other in sorted(inputs) if (told := self._told.get(other)) and told.outcome == "differs"]
        if others:
            yield f"it reads {', '.join(map(str, others))}, which came out otherwise"
        now = self._lake.catalog.last_change(self._made, key)
        said_now = _said_of(now.provenance, key) if now is not None else {}
        found: dict[str, None] = {}
        for one in steps:
            said = _said_of(one.step.commit.provenance, key)
            found |= dict.fromkeys((*(said.get("not_reusable") or ()), *(said_now.get("not_reusable") or ())))
            if said.get("depends_on_time"):
                found["it writes the time at which it runs into its rows"] = None
            found |= dict.fromkeys(_versions(said, said_now))
        yield from found
        if then is not None and any(one.step.commit.provenance.get("session_changed") for one in steps):
            yield "a hook had changed its session, which is not repeated"


def _said_of(provenance: Mapping[str, Any], key: Key) -> Mapping[str, Any]:
    recalled: Mapping[str, Any] = (provenance.get("recalled") or {}).get(str(key)) or {}
    return {**provenance, **recalled}


def _versions(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What it ran on then and runs on now, where that is known to be something else."""
    here = now.get("versions") or {}
    python = then.get("python") is not None
    for name, version in (then.get("versions") or {}).items():
        if name in here and here[name] != version and (name in ("duckdb", "dbt-lakehouse") or python):
            yield f"{_NAMES.get(name, name)} was {version} and is {here[name]}"
    was, environment = then.get("environment") or {}, now.get("environment") or {}
    for name in sorted(was.keys() | environment.keys() if environment else ()):
        if was.get(name) == environment.get(name):
            continue
        if name.startswith("module "):
            yield f"its {name} was changed"
        else:
            yield f"{name} was {was.get(name, 'not used')} and is {environment.get(name, 'not used')}"


_NAMES = {"duckdb": "DuckDB", "python": "Python"}


def _same(then: Relation, now: Relation) -> bool:
    if isinstance(then, TableEntry) and isinstance(now, TableEntry):
        return identity(then) == identity(now)
    if not isinstance(then, ViewEntry) or not isinstance(now, ViewEntry):
        return False
    return (then.sql, then.columns, then.comment) == (now.sql, now.columns, now.comment)
