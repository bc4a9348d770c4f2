"""Results of many nodes that are known already, put in place at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.catalog.base import ReuseIndex
from dbt.adapters.lakehouse.catalog.model import Entry, Key, TableEntry
from dbt.adapters.lakehouse.run import fingerprint, recipe, reuse
from dbt.adapters.lakehouse.run.values import Build, Recalled, Reused, View, Wish

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.run.lifecycle import LakeRun
    from dbt.adapters.lakehouse.run.session import RunSession


def recall(session: RunSession, wishes: Sequence[Wish]) -> list[Recalled | None]:
    """See ``lake.base.Session``."""
    run = session.run
    if run is None or run.index is None or run.batches.keys():
        return [None] * len(wishes)
    work = _Recalling(session, run, run.index)
    try:
        work.look_up(wishes)
        answers = [work.recall(wish) for wish in wishes]
    finally:
        work.close()
    work.commit()
    return answers


class _Recalling:
    """Sees the run's state with all that was recalled so far; the run's branch hears of it at the end, in one commit."""

    def __init__(self, session: RunSession, run: LakeRun, index: ReuseIndex) -> None:
        self._run = run
        self._index = index
        self._real = session
        self._session = session.aside()
        self._recalled: set[str] = set()
        self._placed: set[str] = set()
        self._puts: dict[Key, Entry] = {}
        self._seen: dict[Key, str | None] = {}
        self._nodes: dict[str, Any] = {}
        self._builds: list[Build] = []

    def look_up(self, wishes: Sequence[Wish]) -> None:
        """Read what stands at the names of all wishes, at once."""
        names = [one.name for wish in wishes if (one := wish.build or wish.view) is not None]
        self._session.state.own.look_up(Key(name.schema, name.name) for name in names)

    def recall(self, wish: Wish) -> Recalled | None:
        """Make a wish come true, if nothing has to be run for it."""
        found: Recalled | None = None
        if self._recalled.issuperset(wish.after) and not (wish.as_they_stood and self._placed.intersection(wish.after)):
            if wish.build is not None:
                found = self._build(wish.build)
            elif wish.view is not None:
                found = self._view(wish.view)
            if wish.test is not None and (found is not None or (wish.build is None and wish.view is None)):
                found = self._test(wish.test, lenient=wish.lenient, placed=found is not None and found.placed)
        if found is not None:
            self._recalled.add(wish.id)
            if found.placed:
                self._placed.add(wish.id)
        return found

    def _build(self, build: Build) -> Recalled | None:
        own = self._session.state.own
        key = Key(build.name.schema, build.name.name)
        current = own.get(key)
        table = current if isinstance(current, TableEntry) else None
        if not self._session.state.is_own(build.name.database) or (build.mode != "create" and table is None):
            return None
        mark = fingerprint.of_build(self._session, build, table)
        found = None if mark.obstacles or build.rebuild or build.reuse == "never" else self._index.recall(mark.id)
        if found is None or found.entry is None:
            return None
        attempt = reuse.Attempt(mark=mark, found=found)
        entry = attempt.entry(build, self._session.known_inputs(build), table)
        placed = entry != current
        if placed:
            if reuse.usable(found) is None:
                return None
            self._seen[key] = own.content(key)
            own.advance(own.commit, [(key, entry)])
            self._puts[key] = entry
            reused = dataclasses.asdict(attempt.reused) if attempt.reused is not None else None
            self._nodes[str(key)] = {
                "node": build.node,
                "fingerprint": mark.id,
                "reused": reused,
                "inputs": dict(entry.inputs),
                **({"allow": build.provenance["allow"]} if "allow" in build.provenance else {}),
            }
            self._builds.append(build)
        assert attempt.reused is not None
        return Recalled(reused=attempt.reused, placed=placed)

    def _view(self, view: View) -> Recalled | None:
        more = {"column_comments": view.column_comments}
        same = self._session.same_view(view.name, view.sql, view.node, view.comment, more)
        return None if same is None else Recalled(reused=Reused(run=None, author="", seconds=0.0))

    def _test(self, sql: str, *, lenient: bool, placed: bool) -> Recalled | None:
        mark = fingerprint.of_query(self._session, sql)
        known = None if mark.obstacles else self._index.recall(mark.id)
        if known is None or known.entry is not None:
            return None
        rows = known.answer["rows"]
        if rows and not reuse.passes(rows[0], lenient=lenient):
            return None
        self._session.note_reads(sql)
        reused = Reused(run=known.run, author=known.author, seconds=known.seconds)
        failures = int(rows[0][0]) if rows else 0
        return Recalled(reused=reused, failures=failures, placed=placed)

    def close(self) -> None:
        """Give back the worker that was asked for what it knows, if one was."""
        self._session.close()

    def commit(self) -> None:
        """Write what was put in place. Raises ``HeadMoved`` if something else stands there by now; then nothing is written."""
        if not self._puts:
            return
        self._run.begin()
        puts: list[tuple[Key, Entry | None]] = []
        for schema in sorted({entry.schema for entry in self._puts.values()}):
            puts += self._real.schema_put(schema)
        puts += self._puts.items()
        count = len(self._puts)
        message = f"Reuse {next(iter(self._puts))}" if count == 1 else f"Reuse {count} tables"
        provenance = {"recalled": self._nodes, "recipes": recipe.packed(self._builds)}
        self._run.commit(puts, message, provenance, seen=self._seen)
