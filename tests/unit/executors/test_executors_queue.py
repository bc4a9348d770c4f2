"""Who is next: a model of the queue, and what it promises."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dbt.adapters.lakehouse.errors import Busy
from dbt.adapters.lakehouse.executors.queue import FairQueue, Ticket

USERS = ["ann", "bob", "cyd"]
Queue = FairQueue[Ticket]


def always(_: Ticket) -> bool:
    return True


class QueueMachine(RuleBasedStateMachine):
    """Against a list of what waits and a list of what runs."""

    @initialize(length=st.integers(1, 12), per_user=st.integers(1, 6))
    def start(self, length: int, per_user: int) -> None:
        self.length, self.per_user = length, per_user
        self.queue = Queue(length, per_user)
        self.waiting: list[Ticket] = []
        self.running: list[Ticket] = []

    @rule(user=st.sampled_from(USERS), priority=st.integers(0, 1), again=st.booleans())
    def add(self, user: str, priority: int, again: bool) -> None:
        ticket = Ticket(user=user, priority=priority)
        full = len(self.waiting) >= self.length or sum(t.user == user for t in self.waiting) >= self.per_user
        if full and not again:
            with pytest.raises(Busy):
                self.queue.add(ticket)
        else:
            self.queue.add(ticket, again=again)
            self.waiting.append(ticket)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.waiting))
        assert self.queue.remove(ticket)
        assert not self.queue.remove(ticket)
        self.waiting.remove(ticket)

    @rule()
    def take(self) -> None:
        first = self.queue.waiting()[:1]
        ticket = self.queue.take(always)
        assert [ticket] == (first or [None])
        if ticket is None:
            return
        best = max(t.priority for t in self.waiting)
        assert ticket.priority == best
        rivals = {t.user for t in self.waiting if t.priority == best}
        least = min(sum(r.user == user for r in self.running) for user in rivals)
        assert sum(r.user == ticket.user for r in self.running) == least
        # Of one user's own, the older goes first.
        assert ticket is next(t for t in self.waiting if t.user == ticket.user and t.priority == best)
        self.waiting.remove(ticket)
        self.running.append(ticket)

    @rule(user=st.sampled_from(USERS))
    def take_what_fits(self, user: str) -> None:
        ticket = self.queue.take(lambda t: t.user == user)
        if ticket is not None:
            assert ticket.user == user
            self.waiting.remove(ticket)
            self.running.append(ticket)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.running))
        self.running.remove(ticket)
        self.queue.done(ticket)

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "queue"):
            return
        order = self.queue.waiting()
        assert len(self.queue) == len(self.waiting)
        assert set(map(id, order)) == set(map(id, self.waiting))
        assert [self.queue.before(ticket) for ticket in order] == list(range(len(order)))
        assert [t.priority for t in order] == sorted((t.priority for t in order), reverse=True)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(counts=st.lists(st.integers(1, 30), min_size=2, max_size=5), slots=st.integers(1, 4))
@settings(deadline=None)
def test_nobody_gets_far_ahead(counts: list[int], slots: int) -> None:
    """Users who want the same amount of work at once are served in turns, however much one of them brought."""
    queue = Queue(1000, 1000)
    for user, count in enumerate(counts):
        for _ in range(count):
            queue.add(Ticket(user=str(user)))
    served = [0] * len(counts)
    running: list[Ticket] = []
    while len(queue):
        ticket = queue.take(always)
        assert ticket is not None
        served[int(ticket.user)] += 1
        running.append(ticket)
        still = [served[user] for user, count in enumerate(counts) if served[user] < count]
        assert not still or served[int(ticket.user)] <= min(still) + 1 + slots
        if len(running) >= slots:
            queue.done(running.pop(0))


def test_who_comes_later_has_no_claims_for_before() -> None:
    queue = Queue(1000, 1000)
    for _ in range(50):
        ticket = Ticket(user="ann")
        queue.add(ticket)
        assert queue.take(always) is ticket
        queue.done(ticket)
    for _ in range(10):
        queue.add(Ticket(user="ann"))
    for _ in range(10):
        queue.add(Ticket(user="bob"))
    order = [ticket.user for ticket in queue.waiting()]
    assert order == ["ann", "bob"] * 10


def test_a_large_job_is_not_passed_for_ever() -> None:
    queue = Queue(1000, 1000)
    large = Ticket(user="ann")
    queue.add(large)
    passed = 0
    for _ in range(200):
        queue.add(Ticket(user="bob"))
        ticket = queue.take(lambda t: t is not large)
        if ticket is None:
            break
        queue.done(ticket)
        passed += 1
    assert 0 < passed < 100
    pinned = Ticket(user="bob", pinned=True)
    queue.add(pinned)
    assert queue.take(lambda t: t is not large) is pinned
    assert queue.take(always) is large


def test_memory_of_users_does_not_grow() -> None:
    queue = Queue(10, 10)
    for number in range(1000):
        ticket = Ticket(user=f"u{number}")
        queue.add(ticket)
        queue.take(always)
        queue.done(ticket)
    assert len(queue._served) < 10
    assert len(queue._running) < 10
