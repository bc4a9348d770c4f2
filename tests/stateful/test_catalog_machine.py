"""The catalog against a model that keeps a full copy of every state and finds merge bases by definition."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dbt.adapters.lakehouse.catalog import sql_states
from dbt.adapters.lakehouse.catalog.model import ANY, Change, Key, MergeResult, Put, RefKind, ViewEntry, content_id
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.errors import HeadMoved, RefExists, RefProtected

KEYS = [Key(schema, name) for schema in ("s", "t") for name in ("a", "b", "c")]
WHO = {"author": "machine", "message": "step"}
State = dict[Key, str]

names = st.sampled_from([f"branch-{number}" for number in range(6)])
edits = st.dictionaries(st.sampled_from(KEYS), st.integers(0, 3), max_size=4)  # 0 drops
picks = st.integers(0, 10**6)


def view(key: Key, version: int) -> ViewEntry:
    return ViewEntry(schema=key.schema, name=key.name, sql=f"select {version}", columns=())


@dataclass
class Model:
    """History with nothing left out."""

    states: dict[str, State] = field(default_factory=dict)
    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    protected: set[str] = field(default_factory=set)

    def ancestors(self, commit: str) -> set[str]:
        found, todo = set(), [commit]
        while todo:
            one = todo.pop()
            if one not in found:
                found.add(one)
                todo.extend(self.parents[one])
        return found

    def bases(self, one: str, others: list[str]) -> list[str]:
        common = self.ancestors(one) & set().union(*(self.ancestors(other) for other in others))
        return [c for c in common if not any(c in self.ancestors(d) for d in common - {c})]

    def age(self, commit: str) -> tuple[int, str]:
        generations = dict[str, int]()
        for one in self.parents:  # parents come before children
            generations[one] = 1 + max((generations[parent] for parent in self.parents[one]), default=0)
        return -generations[commit], commit

    def base_state(self, bases: list[str]) -> State:
        """The bases merged with one another, newest first; a key they dispute gets a value that equals no other."""
        bases = sorted(bases, key=self.age)
        merged = dict(self.states[bases[0]])
        for count in range(1, len(bases)):
            other = self.states[bases[count]]
            origin = self.base_state(self.bases(bases[count], bases[:count]))
            for key in KEYS:
                was, ours, theirs = origin.get(key), merged.get(key), other.get(key)
                if ours != theirs and theirs != was:
                    _set(merged, key, theirs if ours == was else "disputed")
        return merged

    def merge(self, source: str, target: str) -> tuple[State, set[Key]]:
        base = self.base_state(self.bases(target, [source]))
        theirs, ours = self.states[source], self.states[target]
        merged, conflicts = dict(ours), set()
        for key in KEYS:
            if theirs.get(key) in (ours.get(key), base.get(key)):
                continue
            if ours.get(key) == base.get(key):
                _set(merged, key, theirs.get(key))
            else:
                conflicts.add(key)
        return merged, conflicts


def _set(state: State, key: Key, content: str | None) -> None:
    state.pop(key, None)
    if content is not None:
        state[key] = content


def difference(old: State, new: State) -> tuple[Change, ...]:
    return tuple(
        Change(key=key, before=old.get(key), after=new.get(key)) for key in KEYS if old.get(key) != new.get(key)
    )


class CatalogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.url = f"sqlite:///{self.folder / 'catalog.db'}"
        self.model = Model()
        self.order: list[str] = []  # commits by falling age

    @initialize()
    def open(self) -> None:
        self.catalog = SqlCatalog.open(self.url)
        first = self.catalog.resolve("main").id
        self.model.branches["main"] = first
        self.add(first, (), {})

    def teardown(self) -> None:
        self.catalog.close()
        shutil.rmtree(self.folder)

    def add(self, commit: str, parents: tuple[str, ...], state: State) -> None:
        self.model.states[commit], self.model.parents[commit] = state, parents
        self.order.append(commit)

    def branch(self, pick: int) -> str:
        return sorted(self.model.branches)[pick % len(self.model.branches)]

    def some_commit(self, pick: int) -> str:
        return self.order[pick % len(self.order)]

    @rule(name=names, pick=picks, tag=st.booleans())
    def create(self, name: str, pick: int, tag: bool) -> None:
        at = self.some_commit(pick)
        kind = RefKind.TAG if tag else RefKind.BRANCH
        if name in self.model.branches or name in self.model.tags:
            with pytest.raises(RefExists):
                self.catalog.create_ref(name, kind, at)
            return
        assert self.catalog.create_ref(name, kind, at).commit == at
        (self.model.tags if tag else self.model.branches)[name] = at

    @rule(pick=picks, name=names)
    def branch_off(self, pick: int, name: str) -> None:
        source = self.branch(pick)
        if name not in self.model.branches and name not in self.model.tags:
            self.catalog.create_ref(name, RefKind.BRANCH, source)
            self.model.branches[name] = self.model.branches[source]

    @rule(pick=picks, edit=edits)
    def commit(self, pick: int, edit: dict[Key, int]) -> None:
        name = self.branch(pick)
        puts = [Put(key=key, entry=view(key, v) if v else None, expected=ANY) for key, v in edit.items()]
        if name in self.model.protected:
            with pytest.raises(RefProtected):
                self.catalog.commit(name, puts, **WHO)
            return
        head = self.model.branches[name]
        made = self.catalog.commit(name, puts, expected_head=head, **WHO)
        state = dict(self.model.states[head])
        for key, version in edit.items():
            _set(state, key, content_id(view(key, version)) if version else None)
        self.add(made.id, (head,), state)
        self.model.branches[name] = made.id
        assert made.parents == (head,)

    @rule(pick=picks, key=st.sampled_from(KEYS), version=st.integers(1, 3))
    def commit_expecting_something_else(self, pick: int, key: Key, version: int) -> None:
        name = self.branch(pick)
        standing = self.model.states[self.model.branches[name]].get(key)
        wrong = content_id(view(key, version))
        if name not in self.model.protected and wrong != standing:
            with pytest.raises(HeadMoved):
                self.catalog.commit(name, [Put(key=key, entry=None, expected=wrong)], **WHO)

    @rule(source=picks, into=picks, by_commit=st.booleans(), dry_run=st.booleans())
    def merge(self, source: int, into: int, by_commit: bool, dry_run: bool) -> None:
        target = self.branch(into)
        ours = self.model.branches[target]
        name = self.some_commit(source) if by_commit else self.branch(source)
        theirs = self.model.branches.get(name, name)
        result = self.catalog.merge(name, target, dry_run=dry_run, **WHO)
        if theirs in self.model.ancestors(ours):
            assert result == MergeResult(base=theirs, changes=())
            return
        merged, conflicts = self.model.merge(theirs, ours)
        assert result.base in self.model.bases(ours, [theirs])
        assert {conflict.key for conflict in result.conflicts} == conflicts
        assert result.changes == difference(self.model.states[ours], merged)
        assert (result.commit is None) == (dry_run or bool(conflicts))
        if result.commit is not None:
            assert result.commit.parents == (ours, theirs)
            self.add(result.commit.id, (ours, theirs), merged)
            self.model.branches[target] = result.commit.id
        for conflict in result.conflicts:
            assert conflict.source_commit.id in self.model.ancestors(theirs) - self.model.ancestors(ours)
            assert conflict.target_commit.id in self.model.ancestors(ours) - self.model.ancestors(theirs)

    @rule(pick=picks, to=picks)
    def assign(self, pick: int, to: int) -> None:
        name, commit = self.branch(pick), self.some_commit(to)
        if name in self.model.protected:
            with pytest.raises(RefProtected):
                self.catalog.assign(name, commit, expected=self.model.branches[name])
            return
        self.catalog.assign(name, commit, expected=self.model.branches[name])
        self.model.branches[name] = commit

    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        refs = self.model.branches | self.model.tags
        name = sorted(refs)[pick % len(refs)]
        if name == "main" or name in self.model.protected:
            with pytest.raises(RefProtected):
                self.catalog.delete_ref(name, expected=refs[name])
            return
        self.catalog.delete_ref(name, expected=refs[name])
        self.model.branches.pop(name, None)
        self.model.tags.pop(name, None)

    @rule(pick=picks, protected=st.booleans())
    def protect(self, pick: int, protected: bool) -> None:
        name = self.branch(pick)
        assert self.catalog.protect(name, protected).protected == protected
        (self.model.protected.add if protected else self.model.protected.discard)(name)

    @rule()
    def reopen(self) -> None:
        self.catalog.close()
        self.catalog = SqlCatalog.open(self.url, create=False)

    @precondition(lambda self: len(self.order) > 1)
    @rule(one=picks, other=picks)
    def compare(self, one: int, other: int) -> None:
        old, new = self.some_commit(one), self.some_commit(other)
        states = self.model.states
        assert self.catalog.diff(old, new) == difference(states[old], states[new])
        first = self.model.parents[new][:1]
        assert self.catalog.changes(new) == difference(states[first[0]] if first else {}, states[new])
        assert {c.id for c in self.catalog.log(new, first_parent=False)} == self.model.ancestors(new)
        chain = [new]
        while self.model.parents[chain[-1]]:
            chain.append(self.model.parents[chain[-1]][0])
        assert [c.id for c in self.catalog.log(new)] == chain
        assert self.catalog.resolve(f"{new}~{len(chain) - 1}").id == chain[-1]

    @rule(pick=picks)
    def read(self, pick: int) -> None:
        commit = self.some_commit(pick)
        state = self.model.states[commit]
        for schema in ("s", "t"):
            entries = self.catalog.entries(commit, schema)
            assert {k: content_id(e) for k, e in entries.items()} == {
                k: c for k, c in state.items() if k.schema == schema
            }
        assert {k: content_id(e) for k, e in self.catalog.lookup(commit, KEYS).items()} == state

    @invariant()
    def every_ref_shows_what_it_should(self) -> None:
        refs = self.catalog.refs()
        assert {ref.name: ref.commit for ref in refs if ref.kind is RefKind.BRANCH} == self.model.branches
        assert {ref.name: ref.commit for ref in refs if ref.kind is RefKind.TAG} == self.model.tags
        for commit in {ref.commit for ref in refs}:
            shown = {key: content_id(entry) for key, entry in self.catalog.entries(commit).items()}
            assert shown == self.model.states[commit]


@pytest.mark.parametrize("depth", [1, 32], ids=["chains laid together at once", "chains of up to 32"])
def test_the_catalog_agrees_with_the_model(depth, monkeypatch):
    monkeypatch.setattr(sql_states, "MAX_DEPTH", depth)
    from hypothesis.stateful import run_state_machine_as_test

    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    config = settings(max_examples=30, stateful_step_count=40, deadline=None, suppress_health_check=checks)
    run_state_machine_as_test(CatalogMachine, settings=config)
