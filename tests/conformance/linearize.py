"""Whether a recorded history of reads and moves of refs can have happened one step after the other.

The search of Wing and Gong, with the memory of Lowe: try to put every step at one instant between its beginning and its
end, so that each finds what those before it left. Times are one clock's, common to all processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

Heads = Mapping[str, str | None]
"""The commit that each ref names; None where there is no such ref."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """A ref goes from one commit to another; None: it is made, or deleted."""

    ref: str
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something that happened at one instant after ``begin`` and before ``end``; an endless one, unless ``sure``, perhaps not.

    ``holds`` must be true of the refs' heads at that instant, as far as they are those of ``reads``. ``finds`` are heads that
    it must find.
    """

    name: str
    begin: float
    end: float = inf
    reads: frozenset[str] = frozenset()
    holds: Callable[[Heads], bool] = field(default=lambda _heads: True)
    finds: Heads = field(default_factory=dict)
    move: Move | None = None
    sure: bool = True

    @property
    def refs(self) -> frozenset[str]:
        """What it is about."""
        return self.reads | self.finds.keys() | ({self.move.ref} if self.move else frozenset())

    def fits(self, heads: Heads) -> bool:
        """Whether it can happen when refs are so."""
        return (
            (self.move is None or heads.get(self.move.ref) == self.move.before)
            and all(heads.get(ref) == head for ref, head in self.finds.items())
            and self.holds(heads)
        )

    def about(self, refs: frozenset[str]) -> Step | None:
        """The part that concerns some refs."""
        if self.refs <= refs:
            return self
        finds = {ref: head for ref, head in self.finds.items() if ref in refs}
        return Step(name=self.name, begin=self.begin, end=self.end, finds=finds) if finds else None


@dataclass(frozen=True, kw_only=True)
class Stuck:
    """No order exists: in the best attempt these steps were left, none of which can come next."""

    left: tuple[Step, ...]
    heads: Heads

    def __str__(self) -> str:
        steps = "; ".join(f"{step.name} {step.move or dict(step.finds) or sorted(step.reads)}" for step in self.left)
        return f"with the heads at {dict(self.heads)} none of these can come next: {steps}"


class Undecided(Exception):
    """The search was given up."""


@dataclass(frozen=True)
class _Position:
    done: int  # steps taken from the list, in the order of their beginnings
    open: frozenset[int]  # those of them that have no place yet
    heads: tuple[str | None, ...]


def linearize(steps: Sequence[Step], heads: Heads, *, budget: int = 300_000) -> Stuck | None:
    """None if there is an order of all steps (but for unsure ones) in which each finds what it found; else where it ends."""
    return _Search(steps, heads).run(budget)


class _Search:
    def __init__(self, steps: Sequence[Step], heads: Heads) -> None:
        self._steps = sorted(steps, key=lambda step: step.begin)
        self._refs = sorted(set(heads).union(*(step.refs for step in steps)))
        self._slot = {ref: number for number, ref in enumerate(self._refs)}
        self._first = tuple(heads.get(ref) for ref in self._refs)

    def run(self, budget: int) -> Stuck | None:
        best = start = self._settled(_Position(0, frozenset(), self._first))
        seen, todo = {start}, [start]
        while todo:
            position = todo.pop()
            if self._is_end(position):
                return None
            if position.done - len(position.open) > best.done - len(best.open):
                best = position
            budget -= 1
            if budget < 0:
                raise Undecided(f"no order found yet; furthest: {self._stuck(best)}")
            # The stack is taken from its end: steps that end soonest come first, those that may not have been come last.
            for number in sorted(position.open, key=lambda number: -self._steps[number].end):
                follower = self._after(position, number)
                if follower is not None and follower not in seen:
                    seen.add(follower)
                    todo.append(follower)
        return self._stuck(best)

    def _settled(self, position: _Position) -> _Position:
        """Open every step that may come next, and place every read that finds what it found: that cannot be wrong."""
        done, still_open = position.done, set(position.open)
        heads = dict(zip(self._refs, position.heads, strict=True))
        limit = min((self._steps[number].end for number in still_open), default=inf)
        while True:
            while done < len(self._steps) and self._steps[done].begin < limit:
                limit = min(limit, self._steps[done].end)
                still_open.add(done)
                done += 1
            placed = {n for n in still_open if self._steps[n].move is None and self._steps[n].fits(heads)}
            if not placed:
                return _Position(done, frozenset(still_open), position.heads)
            still_open -= placed
            limit = min((self._steps[number].end for number in still_open), default=inf)

    def _after(self, position: _Position, number: int) -> _Position | None:
        step = self._steps[number]
        if step.move is None:
            return None  # a read that does not find what it found
        if not step.fits(dict(zip(self._refs, position.heads, strict=True))):
            return None
        slot = self._slot[step.move.ref]
        heads = (*position.heads[:slot], step.move.after, *position.heads[slot + 1 :])
        return self._settled(_Position(position.done, position.open - {number}, heads))

    def _is_end(self, position: _Position) -> bool:
        return position.done == len(self._steps) and not any(self._steps[number].sure for number in position.open)

    def _stuck(self, position: _Position) -> Stuck:
        left = tuple(self._steps[number] for number in sorted(position.open) if self._steps[number].sure)
        return Stuck(left=left, heads=dict(zip(self._refs, position.heads, strict=True)))
