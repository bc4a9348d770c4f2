"""A model of the catalog's history with nothing left out: a full copy of every state, and merges by definition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dbt.adapters.lakehouse.catalog.model import Key

State = Mapping[Key, str]
"""What stands, as content ids."""

_DISPUTED = "disputed"


class History:
    """Commits, their parents and their whole states."""

    def __init__(self) -> None:
        self.states: dict[str, State] = {}
        self.parents: dict[str, tuple[str, ...]] = {}
        self._order: list[str] = []
        self._number: dict[str, int] = {}
        self._generation: dict[str, int] = {}
        # All that a commit leads to, itself included, as the bits of an integer: sets would take too long.
        self._reach: dict[str, int] = {}

    def __contains__(self, commit: str) -> bool:
        return commit in self.states

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, number: int) -> str:
        """Commits in the order in which they were added."""
        return self._order[number]

    def add(self, commit: str, parents: tuple[str, ...], state: State) -> None:
        """Add a commit, after its parents."""
        self.states[commit], self.parents[commit] = dict(state), parents
        self._number[commit] = len(self._order)
        self._order.append(commit)
        self._generation[commit] = 1 + max((self._generation[parent] for parent in parents), default=0)
        reach = 1 << self._number[commit]
        for parent in parents:
            reach |= self._reach[parent]
        self._reach[commit] = reach

    def generation(self, commit: str) -> int:
        """One more than the highest of its parents."""
        return self._generation[commit]

    def leads_to(self, commit: str, ancestor: str) -> bool:
        """Whether a commit is another or descends from it."""
        return bool(self._reach[commit] >> self._number[ancestor] & 1)

    def ancestors(self, commit: str) -> set[str]:
        """All that a commit leads to, itself included."""
        return set(self._named(self._reach[commit]))

    def first_parents(self, commit: str) -> list[str]:
        """A commit, its first parent, that one's, and so on."""
        chain = [commit]
        while self.parents[chain[-1]]:
            chain.append(self.parents[chain[-1]][0])
        return chain

    def bases(self, one: str, others: Iterable[str]) -> list[str]:
        """The common ancestors that no other common ancestor descends from, newest first."""
        reached = 0
        for other in others:
            reached |= self._reach[other]
        common = self._reach[one] & reached
        found = []
        while common:
            newest = self._order[common.bit_length() - 1]
            found.append(newest)
            common &= ~self._reach[newest]
        return sorted(found, key=lambda commit: (-self._generation[commit], commit))

    def merge(self, source: str, target: str) -> tuple[State, set[Key]]:
        """The state in which a merge of ``source`` into ``target`` ends, and the keys at which it cannot."""
        base = self._base_state(self.bases(target, [source]))
        theirs, ours = self.states[source], self.states[target]
        merged, conflicts = dict(ours), set()
        for key in theirs.keys() | ours.keys() | base.keys():
            if theirs.get(key) in (ours.get(key), base.get(key)):
                continue
            if ours.get(key) == base.get(key):
                put(merged, key, theirs.get(key))
            else:
                conflicts.add(key)
        return merged, conflicts

    def _base_state(self, bases: list[str]) -> State:
        """The bases merged with one another, newest first; a key that they dispute gets a value that equals no other."""
        merged = dict(self.states[bases[0]])
        for count in range(1, len(bases)):
            other = self.states[bases[count]]
            origin = self._base_state(self.bases(bases[count], bases[:count]))
            for key in merged.keys() | other.keys() | origin.keys():
                was, ours, theirs = origin.get(key), merged.get(key), other.get(key)
                if theirs not in (ours, was):
                    put(merged, key, theirs if ours == was else _DISPUTED)
        return merged

    def _named(self, bits: int) -> Iterator[str]:
        while bits:
            number = bits.bit_length() - 1
            yield self._order[number]
            bits ^= 1 << number


def put(state: dict[Key, str], key: Key, content: str | None) -> None:
    """Let a content, or nothing, stand at a key."""
    state.pop(key, None)
    if content is not None:
        state[key] = content
