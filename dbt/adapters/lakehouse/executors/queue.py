"""Who is next: higher priority first, then the user who has least, then the one who waited longest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from dbt.adapters.lakehouse.errors import Busy

_PATIENCE = 32


@dataclass(eq=False, kw_only=True)
class Ticket:
    """A place in the queue. With ``pinned``, nothing else can take what it waits for, and it holds up nobody."""

    user: str
    priority: int = 0
    pinned: bool = False
    number: int = field(default=0, init=False)
    passed: int = field(default=0, init=False)


T = TypeVar("T", bound=Ticket)


class FairQueue(Generic[T]):
    """Tickets of users. Knows who has how many that were taken and are not ``done``. For one thread at a time."""

    def __init__(self, length: int, per_user: int) -> None:
        self._length = length
        self._per_user = per_user
        self._waiting: list[T] = []
        self._running: Counter[str] = Counter()
        self._served: dict[str, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, ticket: T) -> bool:
        return ticket in self._waiting

    def add(self, ticket: T, *, again: bool = False) -> None:
        """Queue a ticket, ``again`` in spite of the bounds. Raises ``Busy`` if there is no place."""
        if not again and len(self._waiting) >= self._length:
            raise Busy(f"the queue is full ({self._length} jobs wait); try again later")
        mine = sum(other.user == ticket.user for other in self._waiting)
        if not again and mine >= self._per_user:
            raise Busy(
                f"{mine} jobs of {ticket.user} wait already, which is as many as one user may have; try again later"
            )
        if not mine and not self._running[ticket.user]:
            self._welcome(ticket.user)
        self._count += 1
        ticket.number = self._count
        ticket.passed = 0
        self._waiting.append(ticket)

    def _welcome(self, user: str) -> None:
        """Who comes, or comes back, has no claims from the time when he was not here; who left is forgotten."""
        present = {ticket.user for ticket in self._waiting} | {
            name for name, count in self._running.items() if count > 0
        }
        least = min((self._served[name] for name in present), default=0)
        own = self._served.get(user, 0) if present else 0
        ahead = {name: count for name, count in self._served.items() if name in present or count > least}
        self._served = ahead if present else {}
        self._served[user] = max(own, least)
        self._running = +self._running

    def remove(self, ticket: T) -> bool:
        """Take a ticket out, if it still waits."""
        if ticket not in self._waiting:
            return False
        self._waiting.remove(ticket)
        return True

    def take(self, fits: Callable[[T], bool]) -> T | None:
        """The next ticket of those that fit. One that did not fit too often lets nobody pass any more."""
        order = self._order()
        for ticket in order:
            if fits(ticket):
                self._waiting.remove(ticket)
                for other in order[: order.index(ticket)]:
                    other.passed += 1
                self._running[ticket.user] += 1
                self._served[ticket.user] += 1
                return ticket
            if ticket.passed >= _PATIENCE and not ticket.pinned:
                return self._pinned(order, fits)
        return None

    def _pinned(self, order: list[T], fits: Callable[[T], bool]) -> T | None:
        """What waits may wait for a session to go on that waits in turn."""
        for ticket in order:
            if ticket.pinned and fits(ticket):
                self._waiting.remove(ticket)
                self._running[ticket.user] += 1
                self._served[ticket.user] += 1
                return ticket
        return None

    def done(self, ticket: T) -> None:
        """What a ticket was taken for has ended."""
        self._running[ticket.user] -= 1

    def before(self, ticket: T) -> int:
        """How many would be taken before a ticket if all fitted, as far as one can tell now."""
        order = self._order()
        return order.index(ticket) if ticket in order else 0

    def waiting(self) -> list[T]:
        """All of them, the next one first."""
        return self._order()

    def _order(self) -> list[T]:
        """Round after round, each user's next: what a user has running or was given counts like rounds that he had."""
        rounds: Counter[tuple[int, str]] = Counter()
        keyed = []
        for ticket in self._waiting:
            turn = rounds[ticket.priority, ticket.user]
            rounds[ticket.priority, ticket.user] += 1
            running, served = self._running[ticket.user], self._served[ticket.user]
            keyed.append(((-ticket.priority, running + turn, served + turn, ticket.number), ticket))
        keyed.sort(key=lambda pair: pair[0])
        return [ticket for _, ticket in keyed]
