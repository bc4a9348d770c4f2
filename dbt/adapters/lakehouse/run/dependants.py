"""What would stand on something that is gone, if some entries were put back to what they were. Pure.

Taking ``t1`` back leaves everything wrong that was computed from the ``t1`` of today, directly or through others. It may also
leave ``t1`` itself wrong: what it was computed from then may be something else by now. And a table that the same run wrote
together with it, from the same inputs, would stand beside it as no run ever made the two.

What was wrong before does not count: an input that is not what the entry was computed from today, or was not even in the state
to which it goes back.
"""

from __future__ import annotations

from collections import ChainMap, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from dbt.adapters.lakehouse.catalog.model import Commit, Entry, Key, SchemaEntry
from dbt.adapters.lakehouse.run.provenance import MovedInput, Past, State, inputs, moved, same

Why = Literal["computed_from", "columns_missing", "written_together", "inputs_moved"]
"""How an entry would come to stand on something that is gone: it was computed from what goes; it is a view that names columns
which go; a run wrote it together with what goes, from the same inputs; what it was computed from, as it is put back, is gone
already."""


@dataclass(frozen=True, kw_only=True)
class Dependant:
    """An entry that would be left in a state that no run produced.

    ``of`` is what it stands on (or was written with), ``depth`` how far that is from what was to be put back. ``becomes`` says
    what taking it along makes of it; None where that does not help. ``by`` is the commit that wrote it, where that was
    asked for.
    """

    key: Key
    node: str | None
    why: Why
    of: Key
    depth: int
    becomes: Literal["restored", "dropped"] | None = None
    by: Commit | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``puts``: what is to stand where, dependants taken along. ``dependants``: what those are, nearest first."""

    puts: Mapping[Key, Entry | None]
    dependants: tuple[Dependant, ...] = ()


@dataclass(kw_only=True)
class Planner:
    """Finds the dependants of entries that go back from the state ``now`` to the state ``then``.

    ``together`` gives, of an entry of ``now``, what the same run wrote together with it.
    """

    now: State
    then: State
    past: Past
    together: Callable[[Key], Iterable[Key]] = field(default=lambda _: ())

    def plan(self, goals: Mapping[Key, Entry | None]) -> Plan:
        """What must go along if ``goals`` are to stand; what they are instead of now."""
        puts = dict(goals)
        after: State = _Overlay(puts, self.now)
        found: dict[Key, Dependant] = {}
        readers = self._readers()

        def take_readers(key: Key, depth: int) -> None:
            todo = deque([(key, depth)])
            while todo:
                key, depth = todo.popleft()
                for reader in readers.get(key, ()):
                    if reader not in puts and (why := self._breaks(reader, key, after)) is not None:
                        self._take(puts, found, reader, why, key, depth + 1)
                        todo.append((reader, depth + 1))

        for goal in goals:
            take_readers(goal, 0)
        for goal in goals:
            for key in self._written_with(goal):
                if key not in puts:
                    self._take(puts, found, key, "written_together", goal, 1)
                    take_readers(key, 1)
        return Plan(puts=puts, dependants=(*found.values(), *self.unfounded(puts, found)))

    def _readers(self) -> dict[Key, list[Key]]:
        found: dict[Key, list[Key]] = {}
        for key, entry in sorted(self.now.items(), key=lambda item: item[0]):
            for one in inputs(entry, self.past):
                found.setdefault(one.key, []).append(key)
        return found

    def _written_with(self, goal: Key) -> list[Key]:
        """What a run wrote together with an entry from the same inputs, or one from the other, and was not there before."""
        entry = self.now.get(goal)
        if entry is None:
            return []
        mine = {(one.key, one.content) for one in inputs(entry, self.past)}
        found = []
        for key in self.together(goal):
            other = self.now.get(key)
            if other is None or key == goal or isinstance(other, SchemaEntry) or same(other, self.then.get(key)):
                continue
            theirs = {(one.key, one.content) for one in inputs(other, self.past)}
            if mine & theirs or key in {one for one, _ in mine} or goal in {one for one, _ in theirs}:
                found.append(key)
        return sorted(found)

    def _breaks(self, reader: Key, key: Key, after: State) -> Why | None:
        """Why an entry that stays would not stand on ``key`` any longer, if it does now."""
        entry = self.now[reader]
        if any(one.input == key for one in moved(entry, self.now, self.past)):
            return None
        for one in moved(entry, after, self.past):
            if one.input == key:
                return "columns_missing" if one.what == "columns" else "computed_from"
        return None

    def _take(
        self, puts: dict[Key, Entry | None], found: dict[Key, Dependant], key: Key, why: Why, of: Key, depth: int
    ) -> None:
        puts[key] = self.then.get(key)
        becomes: Literal["restored", "dropped"] = "dropped" if puts[key] is None else "restored"
        found[key] = Dependant(key=key, node=_node(self.now[key]), why=why, of=of, depth=depth, becomes=becomes)

    def unfounded(
        self, puts: Mapping[Key, Entry | None], found: Mapping[Key, Dependant] | None = None
    ) -> list[Dependant]:
        """Entries that are put back although what they were computed from is not there, while now and then it is."""
        after: State = _Overlay(puts, self.now)
        unfounded = []
        for key, entry in puts.items():
            if entry is None:
                continue
            before = {one.input for one in self._moved_in(self.now, key)} | {
                one.input for one in self._moved_in(self.then, key)
            }
            for one in moved(entry, after, self.past):
                if one.input not in before:
                    depth = found[key].depth if found and key in found else 0
                    unfounded.append(
                        Dependant(key=key, node=_node(entry), why="inputs_moved", of=one.input, depth=depth)
                    )
        return unfounded

    def _moved_in(self, state: State, key: Key) -> Iterable[MovedInput]:
        entry = state.get(key)
        return () if entry is None else moved(entry, state, self.past)


class _Overlay(ChainMap[Key, Entry]):
    """A state with other entries on top, some of which say that nothing stands there."""

    def __init__(self, puts: Mapping[Key, Entry | None], below: State) -> None:
        super().__init__(puts, below)  # type: ignore[arg-type]


def _node(entry: Entry) -> str | None:
    return None if isinstance(entry, SchemaEntry) else entry.node
