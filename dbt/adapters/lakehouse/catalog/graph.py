"""Merge bases and ancestry, over a function that looks a commit up.

All walks visit commits by falling generation (a commit's is one more than its parents' highest), so whatever is to be
known of a commit from its descendants is known when it is visited. They stop as soon as the answer is settled, which
keeps their cost to what happened since the histories parted.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A commit, as far as its place in history goes."""

    id: str
    parents: tuple[str, ...]
    generation: int
    time: datetime
    run: str | None = None


LookUp = Callable[[str], Node]


# Marks that a commit gets from its descendants. Plain bits: Flag members cost more than all else in a walk.
_ONE = 1
_OTHER = 2
_BOTH = _ONE | _OTHER
_SETTLED = 4


class _Walk:
    """Commits yet to visit, highest generation first, each with the marks its descendants passed on."""

    def __init__(self, node: LookUp) -> None:
        self._node = node
        self._heap: list[tuple[int, str]] = []
        self._marks: dict[str, int] = {}
        self._open: set[str] = set()

    def mark(self, commit: str, side: int, *, done: int) -> None:
        """Pass ``side`` on to a commit; one that then has any of ``done`` does not keep the walk going."""
        marks = self._marks.get(commit)
        if marks is None:
            heapq.heappush(self._heap, (-self._node(commit).generation, commit))
            marks = 0
        marks |= side
        self._marks[commit] = marks
        if marks & done:
            self._open.discard(commit)
        else:
            self._open.add(commit)

    def visit(self) -> Iterator[tuple[Node, int]]:
        while self._open:
            _, commit = heapq.heappop(self._heap)
            self._open.discard(commit)
            yield self._node(commit), self._marks[commit]


def merge_bases(node: LookUp, one: str, others: Iterable[str]) -> list[str]:
    """The best common ancestors of ``one`` and a merge of all ``others``, newest first.

    Best: no other common ancestor descends from it. There are several after criss-cross merges, none if the histories
    share nothing. A commit counts as its own ancestor.
    """
    walk = _Walk(node)
    walk.mark(one, _ONE, done=_SETTLED)
    for other in others:
        walk.mark(other, _OTHER, done=_SETTLED)
    bases = []
    for commit, marks in walk.visit():
        if marks & _BOTH == _BOTH and not marks & _SETTLED:
            bases.append(commit.id)
            marks |= _SETTLED
        for parent in commit.parents:
            walk.mark(parent, marks, done=_SETTLED)
    return bases


def only_in(node: LookUp, include: str, exclude: str) -> list[Node]:
    """Commits that ``include`` leads to and ``exclude`` does not, descendants before ancestors."""
    walk = _Walk(node)
    walk.mark(include, _ONE, done=_OTHER)
    walk.mark(exclude, _OTHER, done=_OTHER)
    found = []
    for commit, marks in walk.visit():
        if not marks & _OTHER:
            found.append(commit)
        for parent in commit.parents:
            walk.mark(parent, marks, done=_OTHER)
    return found


def is_ancestor(node: LookUp, ancestor: str, descendant: str) -> bool:
    """Whether ``descendant`` leads to ``ancestor``; a commit leads to itself."""
    floor = node(ancestor).generation
    seen = {descendant}
    todo = [descendant]
    while todo:
        commit = todo.pop()
        if commit == ancestor:
            return True
        for parent in node(commit).parents:
            if parent not in seen and node(parent).generation >= floor:
                seen.add(parent)
                todo.append(parent)
    return False


def newest_first(node: LookUp, start: str) -> Iterator[Node]:
    """A commit and all its ancestors by falling time, which a commit's is always above its parents'."""
    seen = {start}
    heap = [(-node(start).time.timestamp(), start)]
    while heap:
        _, commit = heapq.heappop(heap)
        yield node(commit)
        for parent in node(commit).parents:
            if parent not in seen:
                seen.add(parent)
                heapq.heappush(heap, (-node(parent).time.timestamp(), parent))
