"""The catalog against a model in plain Python: a full copy of every state, merge bases and taint worked out by definition.

Any step may first be cut off at any statement of its transaction, or right before that is committed; then nothing has
happened.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from lake_model import History, State, put

from dbt.adapters.lakehouse.catalog import sql_collect, sql_states
from dbt.adapters.lakehouse.catalog.model import (
    ANY,
    Change,
    Commit,
    ConflictKind,
    Key,
    MergeResult,
    Put,
    RefKind,
    Retention,
    RunRecord,
    RunStatus,
    Settled,
    TableEntry,
    content_id,
)
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.errors import Collected, HeadMoved, RefExists, RefNotFound, RefProtected, TaintedError
from dbt.adapters.lakehouse.tables.values import Column

KEYS = [Key(schema, name) for schema in ("s", "t") for name in ("a", "b", "c")]
WHO = {"author": "machine", "message": "step"}
LONG = os.environ.get("LAKEHOUSE_TEST_LONG")
PASSED = (RunStatus.PASSED, RunStatus.PUBLISHED)

names = st.sampled_from([f"branch-{number}" for number in range(4)])
keys = st.sampled_from(KEYS)
edits = st.dictionaries(keys, st.integers(0, 3), min_size=1, max_size=3)  # 0 drops
writes = st.dictionaries(keys, st.sampled_from([True, True, True, False]), min_size=1, max_size=3)  # False drops
picks = st.integers(0, 10**6)
cuts = st.none() | st.integers(0, 30)
_T = TypeVar("_T")


class Cut(Exception):
    """The process is gone."""


def table(key: Key, version: int | str, epoch: int = 0) -> TableEntry:
    """A table at a version; what runs write has versions that nobody else writes, and names their node."""
    place = f"file:///lake/{key}/{version}.{epoch}"
    return TableEntry(
        schema=key.schema,
        name=key.name,
        metadata_location=f"{place}.json",
        table_uuid=place,
        snapshot_id=1,
        location=place,
        columns=(Column(name=f"c{version if isinstance(version, int) else 0}", type="BIGINT", field_id=1),),
        rows=1,
        size_bytes=1,
        node=f"model.shop.{key}" if isinstance(version, str) else None,
    )


@dataclass
class Run:
    """What the model knows of a run."""

    record: RunRecord
    commits: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.record.id

    def become(self, status: RunStatus, **more: Any) -> None:
        self.record = dataclasses.replace(self.record, status=status, **more)


@dataclass(frozen=True)
class Suspect:
    """What a run that did not pass put at a key."""

    key: Key
    commit: str
    run: str
    node: str | None
    content: str | None


class Model:
    """History with nothing left out, and who wrote what."""

    def __init__(self) -> None:
        self.history = History()
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.protected: set[str] = set()
        self.shown: dict[str, list[tuple[datetime, str]]] = {}
        self.runs: dict[str, Run] = {}
        self.made_in: dict[str, str | None] = {}
        self.entries: dict[str, TableEntry] = {}
        self.filed: set[str] = set()
        self.gone: set[str] = set()
        self.times: dict[str, datetime] = {}
        self.moves: dict[str, list[tuple[datetime, str, str]]] = {}
        self.collected: set[str] = set()
        self.unproven: dict[str, str] = {}

    def state(self, commit: str | None) -> State:
        return {} if commit is None else self.history.states[commit]

    def changes(self, commit: str) -> tuple[Change, ...]:
        return difference(self.state(next(iter(self.history.parents[commit]), None)), self.state(commit))

    def move(self, branch: str, commit: str) -> None:
        """A branch is set to another commit, without one of its own."""
        if commit != self.branches[branch]:
            self.moves.setdefault(branch, []).append((datetime.now(UTC), self.branches[branch], commit))
            self.branches[branch] = commit

    def showed(self, branch: str, time: datetime) -> str | None:
        """What a branch was at, at a time, as far back as its first parents go."""
        later = [old for moved, old, _ in self.moves.get(branch, []) if moved > time]
        start = later[0] if later else self.branches[branch]
        return next((one for one in self.history.first_parents(start) if self.times[one] <= time), None)

    def file(self, entry: TableEntry, run: str | None) -> None:
        """An entry is committed; the first to write its files is who wrote it."""
        self.entries[content_id(entry)] = entry
        if entry.metadata_location not in self.filed and run is not None:
            self.unproven[entry.metadata_location] = run
        self.filed.add(entry.metadata_location)

    # taint

    def passed(self, run: str | None, acting: str | None) -> bool:
        return run in (None, acting) or self.runs[run].record.status in PASSED

    def continued_by(self, run: str) -> set[str]:
        earlier = self.runs[run].record.continues
        return set() if earlier is None else {earlier} | self.continued_by(earlier)

    def suspects(
        self, source: str, target: str, brought: Mapping[Key, str | None], acting: str | None
    ) -> list[Suspect]:
        """Of what would be brought, that which a run wrote that did not pass, and nobody vouches for."""
        travels = self.history.ancestors(source) - self.history.ancestors(target)
        found = [s for key, content in brought.items() if (s := self._suspect(key, content, travels, acting))]
        vouching = [run for run in self.runs.values() if run.record.base in travels and self.passed(run.id, acting)]
        return [one for one in found if not any(self._vouches(run, one, travels) for run in vouching)]

    def _suspect(self, key: Key, content: str | None, travels: set[str], acting: str | None) -> Suspect | None:
        """Who is behind what stands at a key: a run that put it there, or else one that first wrote its files."""
        placed = sorted(
            (self.history.generation(commit), commit)
            for commit in travels
            for change in self.changes(commit)
            if change.key == key and change.after == content
        )
        if not placed:
            return None
        entry = self.entries.get(content or "")
        behind = [(commit, run) for _, commit in placed if (run := self.made_in[commit]) is not None]
        if entry is not None and (writer := self.unproven.get(entry.metadata_location)) is not None:
            behind.append((placed[0][1], writer))
        for commit, run in behind:
            if not self.passed(run, acting):
                # What a run dropped has no node that could be built again.
                return Suspect(key, commit, run, entry.node if entry is not None else None, content)
        return None

    def _vouches(self, run: Run, suspect: Suspect, travels: set[str]) -> bool:
        for_it = suspect.run in self.continued_by(run.id) or (
            suspect.node is not None and run.record.nodes.get(suspect.node, {}).get("status") == "success"
        )
        end = self.end_of(run)
        return (
            for_it
            and self.history.leads_to(run.record.base, suspect.commit)
            and end in travels
            and self.state(end).get(suspect.key) == suspect.content
        )

    def end_of(self, run: Run) -> str:
        if run.record.published is not None:
            return self.history.parents[run.record.published][-1]
        return self.branches.get(run.record.branch) or (run.commits or [run.record.base])[-1]

    def prove(self, changes: tuple[Change, ...], suspects: list[Suspect]) -> None:
        for change in changes:
            if change.after is not None and change.key not in {suspect.key for suspect in suspects}:
                self.unproven.pop(self.entries[change.after].metadata_location, None)

    # garbage

    def ended_before(self, time: datetime) -> list[str]:
        """Branches of runs from which nothing is to come any more."""
        over = (RunStatus.FAILED, RunStatus.CONTINUED, RunStatus.PUBLISHED)
        return sorted(
            run.record.branch
            for run in self.runs.values()
            if run.record.branch in self.branches
            and run.record.status in over
            and (run.record.finished_at or run.record.heartbeat_at) < time
        )

    def kept_since(self, time: datetime) -> set[str]:
        """The commits that something names or named since a time, or that are younger."""
        kept = {commit for commit, made in self.times.items() if made > time}
        kept |= {*self.branches.values(), *self.tags.values()}
        kept |= {run.record.base for run in self.runs.values() if run.record.status is RunStatus.OPEN}
        for moves in self.moves.values():
            kept |= {commit for moved, old, new in moves if moved > time for commit in (old, new)}
        return kept | {shown for branch in self.branches if (shown := self.showed(branch, time)) is not None}

    def collect(self, time: datetime) -> tuple[set[str], set[str], list[str]]:
        """Take what nothing named since a time: files that stay, commits that were taken, and branches."""
        dropped = self.ended_before(time)
        for branch in dropped:
            self.forget(branch)
        kept = self.kept_since(time) - self.collected
        live = {self.entries[content].metadata_location for one in kept for content in self.state(one).values()}
        taken = self.times.keys() - kept - self.collected
        self.collected |= taken
        self.gone |= self.filed - live
        for location in self.gone:
            self.unproven.pop(location, None)
        return live, taken, dropped

    def forget(self, name: str) -> None:
        """A ref is deleted."""
        for known in (self.branches, self.tags, self.shown, self.moves):
            known.pop(name, None)  # type: ignore[attr-defined]


def difference(old: State, new: State) -> tuple[Change, ...]:
    return tuple(
        Change(key=key, before=old.get(key), after=new.get(key)) for key in KEYS if old.get(key) != new.get(key)
    )


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How a merge is asked for. ``taken``: how conflicts are settled, if they are; ``read``: whether that still stands;
    ``seen``: whether it comes to what its caller saw of it.
    """

    dry_run: bool = False
    forward: bool = False
    accept: bool = False
    taken: Mapping[Key, str] = field(default_factory=dict)
    read: Mapping[Key, bool] = field(default_factory=dict)
    seen: bool | None = None


@dataclass(frozen=True)
class Plan:
    """What a merge should come to. ``moved``: keys that were read and changed."""

    changes: tuple[Change, ...] = ()
    conflicts: set[Key] = field(default_factory=set)
    settled: tuple[Settled, ...] = ()
    reads: Mapping[Key, str | None] | None = None
    suspects: list[Suspect] = field(default_factory=list)
    forward: bool = False
    moved: set[Key] = field(default_factory=set)


wishes = st.builds(
    Wish,
    dry_run=st.sampled_from([False, False, True]),
    forward=st.booleans(),
    accept=st.sampled_from([False, False, True]),
    taken=st.dictionaries(keys, st.sampled_from(["source", "target", "other", "nothing", "late"]), max_size=4),
    read=st.just({}) | st.dictionaries(keys, st.booleans(), max_size=1),
    seen=st.sampled_from([None, None, True, False]),
)


@contextlib.contextmanager
def at(time: datetime) -> Iterator[None]:
    """What is collected within is collected at a time."""
    clock = type("Clock", (datetime,), {"now": classmethod(lambda _cls, _zone=None: time)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sql_collect, "datetime", clock)
        yield


class CatalogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.url = f"sqlite:///{self.folder / 'catalog.db'}"
        self.model = Model()
        self.left: int | None = None
        self.epoch: dict[Key, int] = {}
        self.instants: list[datetime] = []

    @initialize()
    def open(self) -> None:
        self.catalog = self.opened()
        first = self.catalog.resolve("main")
        self.add(first, {})
        first = first.id
        self.model.branches["main"] = first
        self.put("main", {key: self.table(key, 1) for key in KEYS[:4]}, None, None)
        self.branch_off(0, "branch-0")

    def opened(self) -> SqlCatalog:
        catalog = SqlCatalog.open(self.url)
        engine = catalog._database._engine
        sa.event.listen(engine, "before_cursor_execute", self.tick)
        sa.event.listen(engine, "commit", self.tick)
        return catalog

    def teardown(self) -> None:
        self.catalog.close()
        shutil.rmtree(self.folder)

    # cutting off

    def tick(self, *_: object) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Cut

    def do(self, cut: int | None, act: Callable[[], _T]) -> _T:
        """Do something, perhaps after it was begun and cut off once: then nothing may have happened."""
        if cut is not None:
            self.left = cut
            try:
                return act()
            except Cut:
                pass
            finally:
                self.left = None
            self.every_ref_shows_what_it_should()
            assert {run.id: run.status for run in self.catalog.runs()} == {
                run.id: run.record.status for run in self.model.runs.values()
            }
        return act()

    # picking

    def add(self, commit: Commit, state: State, run: str | None = None) -> None:
        self.model.history.add(commit.id, commit.parents, state)
        self.model.times[commit.id] = commit.time
        self.model.made_in[commit.id] = run

    def table(self, key: Key, version: int) -> TableEntry:
        """A table whose files are there, or never were."""
        while (entry := table(key, version, self.epoch.get(key, 0))).metadata_location in self.model.gone:
            self.epoch[key] = self.epoch.get(key, 0) + 1
        return entry

    def branch(self, pick: int) -> str:
        """A branch that is not a run's."""
        own = sorted(name for name in self.model.branches if not name.startswith("run/"))
        return own[pick % len(own)]

    def any_branch(self, pick: int) -> str:
        return sorted(self.model.branches)[pick % len(self.model.branches)]

    def some_commit(self, pick: int) -> str:
        """One of the latest, mostly."""
        count = len(self.model.history)
        return self.model.history[-1 - pick % (min(count, 8) if pick % 4 else count)]

    def some_run(self, pick: int, *status: RunStatus) -> Run | None:
        found = [run for run in self.model.runs.values() if run.record.status in status]
        return found[pick % len(found)] if found else None

    # refs

    @rule(name=names, pick=picks, tag=st.booleans(), cut=cuts)
    def create(self, name: str, pick: int, tag: bool, cut: int | None) -> None:
        at = self.some_commit(pick)
        kind = RefKind.TAG if tag else RefKind.BRANCH
        if at in self.model.collected:
            with pytest.raises(Collected):
                self.catalog.create_ref(name, kind, at)
            return
        if name in self.model.branches or name in self.model.tags:
            with pytest.raises(RefExists):
                self.catalog.create_ref(name, kind, at)
            return
        assert self.do(cut, lambda: self.catalog.create_ref(name, kind, at)).commit == at
        (self.model.tags if tag else self.model.branches)[name] = at

    @rule(pick=picks, name=names)
    def branch_off(self, pick: int, name: str) -> None:
        source = self.any_branch(pick)
        if name not in self.model.branches and name not in self.model.tags:
            self.catalog.create_ref(name, RefKind.BRANCH, source)
            self.model.branches[name] = self.model.branches[source]

    @rule(pick=picks, to=picks, accept=st.booleans(), cut=cuts)
    def assign(self, pick: int, to: int, accept: bool, cut: int | None) -> None:
        name, commit = self.branch(pick), self.some_commit(to)
        head = self.model.branches[name]
        if name in self.model.protected:
            with pytest.raises(RefProtected):
                self.catalog.assign(name, commit, expected=head)
            return
        if commit in self.model.collected:
            with pytest.raises(Collected):
                self.catalog.assign(name, commit, expected=head, accept_tainted=True)
            return
        brought = {c.key: c.after for c in difference(self.model.state(head), self.model.state(commit))}
        suspects = self.model.suspects(commit, head, brought, None)
        with self.refused(suspects, accept):
            self.do(cut, lambda: self.catalog.assign(name, commit, expected=head, accept_tainted=accept))
            self.model.move(name, commit)

    @contextlib.contextmanager
    def refused(self, suspects: list[Suspect], accept: bool) -> Iterator[None]:
        """What is tried within is refused if there are suspects, which the message names."""
        if not suspects or accept:
            yield
            return
        with pytest.raises(TaintedError) as refusal:
            yield
        assert all(str(suspect.key) in str(refusal.value) for suspect in suspects[:1])

    @rule(pick=picks, cut=cuts)
    def delete(self, pick: int, cut: int | None) -> None:
        refs = self.model.branches | self.model.tags
        name = sorted(refs)[pick % len(refs)]
        if name == "main" or name in self.model.protected:
            with pytest.raises(RefProtected):
                self.catalog.delete_ref(name, expected=refs[name])
            return
        if name.startswith("run/"):
            return
        self.do(cut, lambda: self.catalog.delete_ref(name, expected=refs[name]))
        self.model.forget(name)

    @rule(pick=picks, protected=st.sampled_from([True, False, False]))
    def protect(self, pick: int, protected: bool) -> None:
        name = self.branch(pick)
        assert self.catalog.protect(name, protected).protected == protected
        (self.model.protected.add if protected else self.model.protected.discard)(name)

    # commits

    @rule(pick=picks, edit=edits, cut=cuts)
    def commit(self, pick: int, edit: dict[Key, int], cut: int | None) -> None:
        name = self.branch(pick)
        entries = {key: self.table(key, version) if version else None for key, version in edit.items()}
        if name in self.model.protected:
            with pytest.raises(RefProtected):
                self.catalog.commit(name, [Put(key=KEYS[0], entry=None, expected=ANY)], **WHO)
            return
        self.put(name, entries, None, cut)

    @rule(pick=picks, source=picks, key=keys, cut=cuts)
    def clone(self, pick: int, source: int, key: Key, cut: int | None) -> None:
        """Let what stands at a key somewhere stand on a branch as well."""
        name = self.branch(pick)
        content = self.model.state(self.some_commit(source)).get(key)
        if content is not None and name not in self.model.protected:
            self.put(name, {key: self.model.entries[content]}, None, cut)

    def put(self, name: str, entries: Mapping[Key, TableEntry | None], run: str | None, cut: int | None) -> str:
        head = self.model.branches[name]
        puts = [Put(key=key, entry=entry, expected=ANY) for key, entry in entries.items()]
        if any(self.is_gone(entry, self.model.state(head).get(key)) for key, entry in entries.items()):
            with pytest.raises(Collected):
                self.catalog.commit(name, puts, run=run, **WHO)
            return head
        made = self.do(cut, lambda: self.catalog.commit(name, puts, expected_head=head, run=run, **WHO))
        state = dict(self.model.state(head))
        for key, entry in entries.items():
            if entry is not None and state.get(key) != content_id(entry):
                self.model.file(entry, run)
            put(state, key, None if entry is None else content_id(entry))
        assert made.parents == (head,)
        self.add(made, state, run)
        self.model.branches[name] = made.id
        return made.id

    def is_gone(self, entry: TableEntry | None, standing: str | None) -> bool:
        """Whether an entry's files are, so that it must not be let in."""
        return entry is not None and content_id(entry) != standing and entry.metadata_location in self.model.gone

    @rule(pick=picks, key=keys, version=st.integers(1, 3))
    def commit_expecting_something_else(self, pick: int, key: Key, version: int) -> None:
        name = self.branch(pick)
        standing = self.model.state(self.model.branches[name]).get(key)
        wrong = content_id(table(key, version))
        if name not in self.model.protected and wrong != standing:
            with pytest.raises(HeadMoved):
                self.catalog.commit(name, [Put(key=key, entry=None, expected=wrong)], **WHO)

    # merges

    @rule(source=picks, into=picks, by_commit=st.booleans(), wish=wishes, cut=cuts)
    def merge(self, source: int, into: int, by_commit: bool, wish: Wish, cut: int | None) -> None:
        name = self.some_commit(source) if by_commit else self.any_branch(source)
        self.merged(name, self.branch(into), wish, None, cut)

    @rule(pick=picks, mine=edits, yours=edits, wish=wishes, cut=cuts)
    def work_apart(self, pick: int, mine: dict[Key, int], yours: dict[Key, int], wish: Wish, cut: int | None) -> None:
        """Two branches change, and are merged one way and then the other."""
        one, other = self.branch(pick), self.branch(pick + 1)
        heads = self.model.branches[one], self.model.branches[other]
        self.commit(pick, mine, None)
        self.commit(pick + 1, yours, None)
        if one != other:
            self.merged(one, other, wish, None, cut)
            self.merged(other if pick % 2 else heads[1], one, Wish(forward=wish.forward), None, None)

    def merged(self, name: str, target: str, wish: Wish, acting: str | None, cut: int | None) -> MergeResult | None:
        """Merge, in both; None if it was refused."""
        model, history = self.model, self.model.history
        ours, theirs = model.branches[target], model.branches.get(name, name)
        run = model.runs.get(name.removeprefix("run/")) if acting is None else model.runs[acting]
        if acting is None and (run is None or name == theirs or run.record.status not in PASSED):
            run = None
        if theirs in model.collected and not history.leads_to(ours, theirs):
            with pytest.raises(Collected):
                self.catalog.merge(name, target, accept_tainted=True, **WHO)
            return None
        plan = self.plan(theirs, ours, wish, run.id if run else None)
        plan = dataclasses.replace(plan, forward=plan.forward and target not in model.protected)

        def act() -> MergeResult:
            return self.catalog.merge(
                name,
                target,
                dry_run=wish.dry_run,
                accept_tainted=wish.accept,
                fast_forward=wish.forward,
                settled=plan.settled,
                reads=plan.reads,
                expected_changes=None if wish.seen is None else plan.changes if wish.seen else other,
                run=acting,
                **WHO,
            )

        result: MergeResult | None = None
        other = (*plan.changes[1:], Change(key=KEYS[0], before="another", after=None))
        new = not history.leads_to(ours, theirs) and not plan.conflicts and (wish.accept or not plan.suspects)
        if wish.seen is False and new:
            with pytest.raises(HeadMoved):
                act()
            return None
        with self.refused(plan.suspects, wish.accept):
            result = self.do(cut, act)
        if result is None:
            return None
        if history.leads_to(ours, theirs):
            assert result == MergeResult(base=theirs, changes=())
        else:
            assert result.base in history.bases(ours, [theirs])
            assert {conflict.key for conflict in result.conflicts} == plan.conflicts
            assert result.changes == plan.changes
            self.check_conflicts(result, theirs, ours, plan)
            assert result.fast_forward == plan.forward
            assert (result.commit is None) == (wish.dry_run or bool(plan.conflicts))
        if wish.dry_run or result.conflicts:
            return result
        if result.commit is not None:
            self.carry_out(result, target, plan, theirs, acting)
        if run is not None and run.record.target == target:
            published = result.commit.id if result.commit else run.record.published
            run.become(RunStatus.PUBLISHED, published=published)
            for earlier in model.continued_by(run.id):
                if not model.runs[earlier].record.status.clean:
                    model.runs[earlier].become(RunStatus.CONTINUED)
        return result

    def carry_out(self, result: MergeResult, target: str, plan: Plan, theirs: str, acting: str | None) -> None:
        assert result.commit is not None
        for one in plan.settled:
            if isinstance(one.entry, TableEntry) and any(c.after == content_id(one.entry) for c in plan.changes):
                self.model.file(one.entry, acting)
        if plan.forward:
            assert result.commit.id == theirs
        else:
            assert result.commit.parents == (self.model.branches[target], theirs)
            merged = dict(self.model.state(self.model.branches[target]))
            for change in plan.changes:
                put(merged, change.key, change.after)
            self.add(result.commit, merged, acting)
            accepted = sorted({suspect.run for suspect in plan.suspects})
            assert result.commit.provenance.get("accepted_tainted", []) == accepted
        if plan.forward:
            self.model.move(target, theirs)
        self.model.branches[target] = result.commit.id
        self.model.prove(plan.changes, plan.suspects)

    def plan(self, theirs: str, ours: str, wish: Wish, acting: str | None) -> Plan:
        history = self.model.history
        if history.leads_to(ours, theirs):
            return Plan()
        merged, conflicts = history.merge(theirs, ours)
        source, target = history.states[theirs], history.states[ours]
        settled, all_conflicts = [], set(conflicts)
        state = dict(merged)
        for key, how in wish.taken.items():
            if key not in conflicts:
                continue
            content = {"source": source.get(key), "target": target.get(key)}.get(how)
            entry = self.table(key, 3) if how in ("other", "late") else self.model.entries.get(content or "")
            late = how == "late"
            settled.append(
                Settled(key=key, source="another" if late else source.get(key), target=target.get(key), entry=entry)
            )
            if not late:
                put(state, key, None if entry is None else content_id(entry))
                conflicts.discard(key)
        reads = {key: target.get(key) if same else "another" for key, same in wish.read.items()}
        moved = {key for key, same in wish.read.items() if not same} - conflicts
        conflicts |= moved
        changes = tuple(change for change in difference(target, state) if change.key not in conflicts)
        touched = {change.key for change in changes} | (all_conflicts & conflicts)
        brought = {key: source.get(key) for key in touched}
        suspects = self.model.suspects(theirs, ours, brought, acting)
        forward = wish.forward and history.leads_to(theirs, ours) and not suspects and not conflicts
        return Plan(changes, conflicts, tuple(settled), reads or None, suspects, forward, moved)

    def check_conflicts(self, result: MergeResult, theirs: str, ours: str, plan: Plan) -> None:
        history = self.model.history
        bases = history.bases(ours, [theirs])
        for conflict in result.conflicts:
            sides = (history.states[theirs].get(conflict.key), history.states[ours].get(conflict.key))
            if conflict.key in plan.moved:
                assert conflict.kind is ConflictKind.READ_CHANGED
                continue
            assert (conflict.source, conflict.target) == sides
            assert conflict.source_commit.id in history.ancestors(theirs) - history.ancestors(ours)
            assert conflict.target_commit.id in history.ancestors(ours) - history.ancestors(theirs)
            if len(bases) == 1:
                base = history.states[bases[0]].get(conflict.key)
                assert conflict.base == base
                assert conflict.kind is self.kind(base, *sides)

    def kind(self, base: str | None, source: str | None, target: str | None) -> ConflictKind:
        if source is None or target is None:
            return ConflictKind.CHANGED_AND_DROPPED
        if base is None:
            return ConflictKind.BOTH_CREATED
        shapes = {self.model.entries[one].columns for one in (base, source, target)}
        return ConflictKind.SCHEMA_CHANGED if len(shapes) == 3 else ConflictKind.BOTH_CHANGED

    # runs

    @rule(pick=picks, goes_on=st.booleans(), earlier=picks)
    def open_run(self, pick: int, goes_on: bool, earlier: int) -> None:
        target = self.branch(pick)
        before = self.some_run(earlier, RunStatus.FAILED) if goes_on else None
        if before is not None and not {before.record.target, before.record.branch} <= self.model.branches.keys():
            before = None
        self.open_run_on(before.record.target if before else target, before)

    def open_run_on(self, target: str, before: Run | None) -> None:
        number = f"r{len(self.model.runs):03}"
        base = self.model.branches[before.record.branch if before else target]
        now = datetime.now(UTC)
        record = RunRecord(
            id=number,
            branch=f"run/{number}",
            target=target,
            base=base,
            command="build",
            status=RunStatus.OPEN,
            owner="machine",
            started_at=now,
            heartbeat_at=now,
            continues=before.id if before else None,
        )
        self.catalog.save_run(record)
        self.catalog.create_ref(record.branch, RefKind.BRANCH, base, run=number)
        self.model.runs[number] = Run(record)
        self.model.branches[record.branch] = base

    @rule(pick=picks, edit=writes, cut=cuts)
    def run_writes(self, pick: int, edit: dict[Key, bool], cut: int | None) -> None:
        run = self.some_run(pick, RunStatus.OPEN)
        if run is not None:
            self.write(run, edit, cut)

    def write(self, run: Run, edit: dict[Key, bool], cut: int | None) -> None:
        entries = {key: table(key, f"{run.id}-{len(run.commits)}") if keeps else None for key, keeps in edit.items()}
        self.put_by(run, entries, cut)

    def put_by(self, run: Run, entries: Mapping[Key, TableEntry | None], cut: int | None) -> None:
        head = self.model.branches[run.record.branch]
        made = self.put(run.record.branch, entries, run.id, cut)
        run.commits += [made] if made != head else []

    @rule(pick=picks, source=picks, key=keys, cut=cuts)
    def run_clones(self, pick: int, source: int, key: Key, cut: int | None) -> None:
        """A run lets what stands elsewhere stand on its branch, as ``dbt clone`` does."""
        run = self.some_run(pick, RunStatus.OPEN)
        content = self.model.state(self.some_commit(source)).get(key)
        if run is not None and content is not None:
            self.put_by(run, {key: self.model.entries[content]}, cut)

    @rule(pick=picks, how=st.sampled_from(["publish", "publish", "pass", "fail"]), ran=st.sets(keys), cut=cuts)
    def end_run(self, pick: int, how: str, ran: set[Key], cut: int | None) -> None:
        run = self.some_run(pick, RunStatus.OPEN)
        if run is not None:
            self.end(run, how, ran, cut)

    def end(self, run: Run, how: str, ran: set[Key], cut: int | None) -> None:
        nodes = {f"model.shop.{key}": {"status": "success"} for key in ran}
        if how == "publish" and run.record.target in self.model.branches:
            result = self.merged(run.record.branch, run.record.target, Wish(), run.id, cut)
            if result is not None and not result.conflicts:
                run.become(RunStatus.PUBLISHED, nodes=nodes, finished_at=datetime.now(UTC))
                self.do(cut, lambda: self.catalog.save_run(run.record))
                return
        status = RunStatus.PASSED if how == "pass" else RunStatus.FAILED
        ended = dataclasses.replace(run.record, status=status, nodes=nodes, finished_at=datetime.now(UTC))
        self.do(cut, lambda: self.catalog.save_run(ended))
        run.record = ended

    @rule(pick=picks, at=picks, name=names, edit=writes, ran=st.sets(keys), wish=wishes)
    def fail_and_fix(self, pick: int, at: int, name: str, edit: dict[Key, bool], ran: set[Key], wish: Wish) -> None:
        """Half a run stays, somebody branches off it, perhaps lets a run pass there, and merges."""
        self.open_run(pick, False, 0)
        failed = list(self.model.runs.values())[-1]
        self.write(failed, edit, None)
        self.end(failed, "fail", set(edit), None)
        if name not in self.model.branches and name not in self.model.tags:
            self.catalog.create_ref(name, RefKind.BRANCH, failed.record.branch)
            self.model.branches[name] = self.model.branches[failed.record.branch]
            if ran:
                self.open_run_on(name, None)
                fixing = list(self.model.runs.values())[-1]
                self.write(fixing, dict.fromkeys(sorted(ran)[: at % 3], True), None)
                self.end(fixing, "publish", ran, None)
            self.merged(name, self.branch(at), wish, None, None)

    # garbage

    @rule(when=picks, cut=cuts)
    def collect(self, when: int, cut: int | None) -> None:
        """Collect what nothing named since a time; a dry run says so before."""
        since = self.instants[when % len(self.instants)]
        hour = timedelta(hours=1)
        retention = Retention(history=hour, failed_runs=hour, results=hour, grace=timedelta())
        with at(since + hour):
            promised = self.catalog.collect(retention, dry_run=True)
            self.every_ref_shows_what_it_should()
            done = self.do(cut, lambda: self.catalog.collect(retention))
        assert done == promised
        live, taken, dropped = self.model.collect(since)
        assert done.live == live
        assert (done.commits, done.branches) == (len(taken), tuple(dropped))
        assert done.keep_since == since + hour
        head = self.model.branches["main"]
        said = {commit.id: commit.collected for commit in self.catalog.log(head, first_parent=False)}
        assert said == {commit: commit in self.model.collected for commit in self.model.history.ancestors(head)}

    # reading

    @rule(what=st.sampled_from(["state", "difference", "past", "past", "anew"]), one=picks, other=picks)
    def look(self, what: str, one: int, other: int) -> None:
        if what == "state":
            self.read(self.some_commit(one))
        elif what == "difference":
            self.compare(self.some_commit(one), self.some_commit(other))
        elif what == "past":
            self.read_as_it_was(self.branch(one), other)
        else:
            self.catalog.close()
            self.catalog = self.opened()

    def compare(self, old: str, new: str) -> None:
        assert self.catalog.diff(old, new) == difference(self.model.state(old), self.model.state(new))
        assert self.catalog.changes(new) == self.model.changes(new)
        assert {c.id for c in self.catalog.log(new, first_parent=False)} == self.model.history.ancestors(new)
        chain = self.model.history.first_parents(new)
        assert [c.id for c in self.catalog.log(new)] == chain
        assert self.catalog.resolve(f"{new}~{len(chain) - 1}").id == chain[-1]

    def read(self, commit: str) -> None:
        state = self.model.state(commit)
        for schema in ("s", "t"):
            entries = self.catalog.entries(commit, schema)
            assert {k: content_id(e) for k, e in entries.items()} == {
                k: c for k, c in state.items() if k.schema == schema
            }
        assert {k: content_id(e) for k, e in self.catalog.lookup(commit, KEYS).items()} == state

    def read_as_it_was(self, name: str, when: int) -> None:
        """What a branch showed at a time, whatever it was moved to since."""
        shown = self.model.shown[name]
        time, commit = shown[when % len(shown)]
        assert self.model.showed(name, time) == commit
        assert self.catalog.resolve(f"{name}@{time.isoformat()}").id == commit
        with pytest.raises(RefNotFound):
            self.catalog.resolve(f"{name}@2001-01-01")

    @invariant()
    def time_goes_by(self) -> None:
        now = datetime.now(UTC)
        self.instants.append(now)
        for name, head in self.model.branches.items():
            self.model.shown.setdefault(name, []).append((now, head))

    @invariant()
    def every_ref_shows_what_it_should(self) -> None:
        refs = self.catalog.refs()
        assert {ref.name: ref.commit for ref in refs if ref.kind is RefKind.BRANCH} == self.model.branches
        assert {ref.name: ref.commit for ref in refs if ref.kind is RefKind.TAG} == self.model.tags
        for commit in {ref.commit for ref in refs}:
            shown = {key: content_id(entry) for key, entry in self.catalog.entries(commit).items()}
            assert shown == self.model.state(commit)

    @invariant()
    def every_run_is_where_it_should_be(self) -> None:
        found = {run.id: (run.status, run.published) for run in self.catalog.runs()}
        assert found == {run.id: (run.record.status, run.record.published) for run in self.model.runs.values()}


@pytest.mark.parametrize("depth", [1, 32], ids=["chains laid together at once", "chains of up to 32"])
def test_the_catalog_agrees_with_the_model(depth, monkeypatch):
    monkeypatch.setattr(sql_states, "MAX_DEPTH", depth)
    from hypothesis.stateful import run_state_machine_as_test

    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    config = settings(
        max_examples=600 if LONG else 15, stateful_step_count=60, deadline=None, suppress_health_check=checks
    )
    run_state_machine_as_test(CatalogMachine, settings=config)
