"""A run from its first write to its end."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import weakref
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dbt.adapters.lakehouse import telemetry
from dbt.adapters.lakehouse.catalog.base import Catalog, ReuseIndex
from dbt.adapters.lakehouse.catalog.model import (
    Commit,
    Conflict,
    ConflictKind,
    Entry,
    Key,
    MergeResult,
    Put,
    RefKind,
    RunRecord,
    RunStatus,
)
from dbt.adapters.lakehouse.catalog.refs import is_run_name
from dbt.adapters.lakehouse.errors import (
    ConflictError,
    Guarded,
    HeadMoved,
    InvalidRef,
    JobCancelled,
    LakehouseError,
    MergeConflict,
    RefExists,
    RefNotFound,
    RefProtected,
)
from dbt.adapters.lakehouse.executors.base import Executor
from dbt.adapters.lakehouse.jobs.job import Input
from dbt.adapters.lakehouse.run import guards, merging, reads, rebasing, vouching
from dbt.adapters.lakehouse.run.asked import asked
from dbt.adapters.lakehouse.run.batch_results import Present
from dbt.adapters.lakehouse.run.batches import Batches, settle
from dbt.adapters.lakehouse.run.facts import facts
from dbt.adapters.lakehouse.run.liveness import beat, this_process
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.state import Snapshot, State
from dbt.adapters.lakehouse.run.values import MergeRequest, Moved, RunMemory, RunRequest
from dbt.adapters.lakehouse.settings import Isolation, LakeSettings, PublishMode

WRITING = frozenset({"run", "build", "seed", "snapshot", "clone", "retry"})
"""dbt's commands that are there to write."""


def _asked_by() -> dict[str, Any]:
    request = asked.get()
    return {} if request is None else {"request": request.key, "request_statement": request.statement}


def run_branch(run_id: str) -> str:
    """The name of a run's own branch."""
    return f"run/{run_id}"


class LakeRun:
    """One transaction on a branch (see ``lake.base.Run``).

    Reads the commit its target had when it first looked. Its first write makes the run branch; every write is a commit
    there. With ``publish: each_node`` there is no run branch: every write is a commit on the target itself, and reads see
    the target as it is.

    ``owner`` is who keeps the run alive, and says so to the catalog; None: this process does.
    """

    def __init__(
        self,
        catalog: Catalog,
        executor: Executor,
        settings: LakeSettings,
        request: RunRequest,
        *,
        owner: str | None = None,
    ) -> None:
        self.catalog = catalog
        self.executor = executor
        self.settings = settings
        self.request = request
        self._owner = owner
        self._opened_at = datetime.now(UTC)
        self.live = request.publish is PublishMode.EACH_NODE
        self._lock = threading.RLock()
        self._own: Snapshot | None = None
        self._base: str | None = None
        self._record: RunRecord | None = None
        self._ended = False
        self._prepared = not request.environments
        self._cancelled_by: int | None = None
        self._heart = threading.Event()
        self._keys: defaultdict[Key, threading.RLock] = defaultdict(threading.RLock)
        self._sessions: weakref.WeakSet[RunSession] = weakref.WeakSet()
        self._others: dict[str, Snapshot] = {}
        self._database = settings.database.lower()
        self._read: defaultdict[str, set[str]] = defaultdict(set)
        self._rebased = 0
        self.definitions: tuple[str, ...] = ()
        self._told = 0
        self._facts = facts(request, settings.database)
        if self.serializable:
            self._facts = {**self._facts, reads.MARK: request.isolation.value}
        self.batches = Batches()
        self.present = Present()
        # Results made before; a guarded catalog has none, and who hands one to a run vouches for who may use it.
        self.index: ReuseIndex | None = catalog if isinstance(catalog, ReuseIndex) else None
        self.remembered_elsewhere = owner is not None
        self.span = telemetry.run_span(request.id, branch=request.branch, command=request.command)

    @classmethod
    def resume(
        cls,
        catalog: Catalog,
        executor: Executor,
        settings: LakeSettings,
        request: RunRequest,
        memory: RunMemory,
        *,
        owner: str,
    ) -> LakeRun:
        """A run that another process of the same owner worked on: what it wrote, and what it remembers of what it read."""
        run = cls(catalog, executor, settings, request, owner=owner)
        run._prepared = True
        run.definitions = memory.definitions
        run._others.update({ref: Snapshot(catalog, commit) for ref, commit in memory.others.items()})
        record = catalog.run(request.id)
        start = memory.base
        if record is not None and record.id == request.id and not run.live:
            run._record = record
            run._ended = record.status is not RunStatus.OPEN
            start = run._head_of(record)
        if start is not None:
            run._own = Snapshot(catalog, start)
        run._base = memory.base
        run.batches.recall(memory.staged)
        run._read.update({node: set(names) for node, names in memory.reads.items()})
        return run

    def _head_of(self, record: RunRecord) -> str:
        """Where a run that was taken up again stands; its branch is made if the process ended right before that."""
        try:
            return self.catalog.resolve(record.branch).id
        except RefNotFound:
            if not self._ended:
                self.catalog.create_ref(record.branch, RefKind.BRANCH, record.base, run=record.id)
            return record.base

    @property
    def memory(self) -> RunMemory:
        """What ``resume`` needs beyond the request."""
        with self._lock:
            return RunMemory(
                base=self._base,
                others={ref: snapshot.commit for ref, snapshot in self._others.items()},
                definitions=self.definitions,
                staged=self.batches.memory() if self.remembered_elsewhere else (),
                reads={node: tuple(sorted(names)) for node, names in self._read.items()} if self.serializable else {},
            )

    @property
    def record(self) -> RunRecord | None:
        """The run as the catalog has it, once it wrote."""
        return self._record

    # reading

    @property
    def branch(self) -> str | None:
        """The run branch, once there is one."""
        return self._record.branch if self._record is not None else None

    def own(self) -> Snapshot:
        """The state this run reads. Pins it on first use; follows the target when every node is visible at once."""
        with self._lock:
            if self._own is None:
                self._check_writable()
                target = self._target_head()
                continued = self._continued()
                start = self.catalog.resolve(continued.branch).id if continued is not None else target
                self._own = Snapshot(self.catalog, start)
                self._base = start
                if continued is not None:
                    self.batches.adopt(continued.nodes)
                    # At once: a run that adds nothing publishes what it continues, and one that fails can be continued.
                    self._ensure_branch(self._own)
                    self._catch_up(self._own)
            elif self.live:
                self._own.move(self.catalog.resolve(self.request.branch).id)
            return self._own

    def _check_writable(self) -> None:
        """Raise ``RefProtected`` before the first node where none could be written: protected branches take merges alone."""
        branch = self.request.branch
        if not self.live or self.request.command.rpartition(" ")[2] not in WRITING:
            return
        if any(ref.protected for ref in self.catalog.refs(RefKind.BRANCH) if ref.name == branch):
            raise RefProtected(
                f"branch {branch!r} is protected and changes by merges alone, but with publish: each_node every node is "
                "written to it as it ends; let publish be on_success, or name another branch"
            )

    def _target_head(self) -> str:
        branch = self.request.branch
        try:
            return self.catalog.resolve(branch).id
        except RefNotFound:
            if branch == self.request.from_branch:
                raise
        # Another process may create it at the same moment; then its branch is as good.
        with contextlib.suppress(RefExists):
            self.catalog.create_ref(branch, RefKind.BRANCH, self.request.from_branch)
        return self.catalog.resolve(branch).id

    def _continued(self) -> RunRecord | None:
        """The run to start from. Raises ``RefNotFound`` if what it built is gone."""
        if self.request.continues is None or self.live:
            return None
        record = self.catalog.run(self.request.continues)
        if record is None or record.status.clean or record.target != self.request.branch:
            return None
        try:
            self.catalog.resolve(record.branch)
        except RefNotFound as error:
            raise RefNotFound(
                f"run {record.id[:8]} cannot be continued: its branch {record.branch!r}, which holds what it built, is gone; "
                "build anew instead of retrying"
            ) from error
        return record

    def session(self, node: str | None = None) -> RunSession:
        """A session for the calling thread, which works on a node, if it is known."""
        own = self.own()
        with self._lock:
            prepared, self._prepared = self._prepared, True
        if not prepared:
            self.executor.prepare(self.request.environments)
        session = RunSession(
            # One state: what other refs led to when the run first read them holds for all its sessions.
            state=State(self.catalog, self.settings.database, own, None if self.live else self._others),
            executor=self.executor,
            settings=self.settings,
            default_schema=self.request.default_schema,
            run=self,
            node=node,
        )
        self._sessions.add(session)
        return session

    @property
    def serializable(self) -> bool:
        """Whether what it read must still stand when it is published."""
        return self.request.isolation is Isolation.SERIALIZABLE

    def note(self, node: str | None, inputs: Iterable[Input]) -> None:
        """A node's session read these."""
        read = {str(Key(item.schema, item.name)) for item in inputs if item.database.lower() == self._database}
        with self._lock:
            self._read[node or rebasing.NOBODY].update(read)

    def lock_for(self, key: Key) -> threading.RLock:
        """One write at a time for each key: batches of one model may run on several threads."""
        with self._lock:
            return self._keys[key]

    def check_open(self) -> None:
        """Raise ``JobCancelled`` once the run was cancelled, but for the thread that did it.

        With ``--fail-fast`` that thread goes on with the on-run-end hooks.
        """
        if self._cancelled_by not in (None, threading.get_ident()):
            raise JobCancelled(f"run {self.request.id[:8]} was cancelled")

    def define(self, statement: str) -> None:
        """Let sessions opened from now on begin with this statement: macros live in a worker, and there are several."""
        with self._lock:
            self.definitions = (*self.definitions, statement)

    # writing

    def begin(self) -> None:
        """Make the run branch before work starts, so that a run which dies in its first node can be found."""
        if not self.live:
            with self._lock:
                self._ensure_branch(self.own())

    def commit(
        self,
        puts: Sequence[tuple[Key, Entry | None]],
        message: str,
        provenance: Mapping[str, Any],
        *,
        seen: Mapping[Key, str | None],
    ) -> Commit:
        """Commit changed entries. Raises ``HeadMoved`` if somebody else changed one of them meanwhile.

        ``seen`` says what stood at a key when its new entry was computed (content ids); keys that are not in it were not
        computed from what stood there.
        """
        self.check_open()
        with self._lock:
            own = self._own if self._own is not None else self.own()
            if self.live:
                self._guard(own, puts, provenance)
            branch = self.request.branch if self.live else self._ensure_branch(own)
            try:
                with self.span.child("commit", message=message):
                    commit = self.catalog.commit(
                        branch,
                        [
                            Put(key=key, entry=entry, expected=seen[key] if key in seen else own.content(key))
                            for key, entry in puts
                        ],
                        author=self.request.author,
                        message=message,
                        run=None if self.live else self.request.id,
                        provenance={**self._facts, **provenance, **self._around(), **_asked_by()},
                    )
            except HeadMoved as error:
                names = ", ".join(str(key) for key, _ in puts)
                raise HeadMoved(
                    f"{names} changed on branch {branch!r} while run {self.request.id[:8]} was computing it ({error}); "
                    "nothing of it was written, run again"
                ) from error
            if self.live:
                own.move(commit.id)
            else:
                own.advance(commit.id, puts)
            return commit

    def _guard(self, own: Snapshot, puts: Sequence[tuple[Key, Entry | None]], provenance: Mapping[str, Any]) -> None:
        """Raise ``Guarded`` where what would be visible at once is another's. Protected branches take no such commits."""
        refused = [
            refusal
            for key, entry in puts
            for refusal in guards.refusals(key, own.get(key), entry)
            if refusal.guard == "owner"
            and refusal.guard not in (*self.request.allow, *guards.allowed_by(provenance, key))
        ]
        if refused:
            raise Guarded(guards.message(f"writing to branch {self.request.branch!r}", refused))

    def _around(self) -> dict[str, Any]:
        """What else its commit's code counts on: macros that were made since the commit before, and what other refs led to."""
        new, self._told = self.definitions[self._told :], len(self.definitions)
        others = {ref: snapshot.commit for ref, snapshot in self._others.items()}
        return {**({"definitions": list(new)} if new else {}), **({"refs": others} if others else {})}

    def _check_target(self) -> None:
        """Raise if the target is no branch that takes what runs publish, before anything is done for it."""
        if is_run_name(self.request.branch):
            raise InvalidRef(
                f"{self.request.branch!r} is the branch of a run, which nobody else writes to; `lakehouse branch create NAME "
                f"--from {self.request.branch}` makes one to work on"
            )
        if any(ref.name == self.request.branch for ref in self.catalog.refs(RefKind.TAG)):
            raise InvalidRef(
                f"{self.request.branch!r} is a tag, and a run publishes to a branch; name a branch as the target's, which may "
                f"start there (from_branch: {self.request.branch})"
            )

    def _ensure_branch(self, own: Snapshot) -> str:
        if self._record is not None:
            return self._record.branch
        self._check_target()
        now = datetime.now(UTC)
        continued = self._continued()
        record = RunRecord(
            id=self.request.id,
            branch=run_branch(self.request.id),
            target=self.request.branch,
            base=own.commit,
            command=self.request.command,
            status=RunStatus.OPEN,
            owner=self._owner or this_process(),
            started_at=self._opened_at,
            heartbeat_at=now,
            continues=continued.id if continued is not None else None,
        )
        self.catalog.save_run(record)
        self.catalog.create_ref(record.branch, RefKind.BRANCH, own.commit, run=record.id)
        self._record = record
        if self._owner is None:
            threading.Thread(target=beat, args=(self.catalog, record.id, self._heart), daemon=True).start()
        return record.branch

    # ending

    def publish(self, nodes: Mapping[str, Any] | None = None) -> Commit | None:
        """See ``lake.base.Run``."""
        with self.span:
            return self._publish(nodes)

    def publish_unless_moved(self, nodes: Mapping[str, Any] | None = None) -> Moved | None:
        """See ``lake.base.Run``."""
        try:
            self._publish(nodes, goes_on=True)
        except MergeConflict:
            moved = self.moved()
            if moved is None:
                raise
            return moved
        return None

    def _publish(self, nodes: Mapping[str, Any] | None, *, goes_on: bool = False) -> Commit | None:
        """``goes_on``: the run has not ended where it cannot be published."""
        self._settle()
        with self._lock:
            if self._record is not None and self._record.status is RunStatus.PUBLISHED:
                return self._published(self._record)
            if self._ended or self._record is None:
                if not self._ended:
                    self._vouch(nodes or {})
                self._ended = True
                return None
            if self.request.publish is PublishMode.MANUAL:
                self._stop_heart()
                self._save(RunStatus.PASSED, nodes)
                return None
            try:
                # Before the merge, which asks: what passed here vouches for what a failed run had left of it.
                self._record = dataclasses.replace(self._record, nodes=self.batches.into(nodes))
                self.catalog.save_run(self._record)
                result = self._merge(self._record)
            except LakehouseError as error:
                if goes_on:
                    raise
                self._stop_heart()
                # A catalog that could not merge may be unable to write this down too; the first error is the one to tell.
                with contextlib.suppress(LakehouseError):
                    self._save(RunStatus.FAILED, nodes, error=str(error))
                raise
            # It is published now, whatever becomes of the bookkeeping.
            self._stop_heart()
            with contextlib.suppress(LakehouseError):
                self._save(
                    RunStatus.PUBLISHED, nodes, published=result.commit.id if result.commit is not None else None
                )
                head = self.catalog.resolve(self._record.branch).id
                self.catalog.delete_ref(self._record.branch, expected=head)
            self._ended = True
            return result.commit

    def _vouch(self, nodes: Mapping[str, Any]) -> None:
        """Be on record though nothing was written, where nodes passed over what a run left that did not pass."""
        if (
            self.live
            or self._base is None
            or not vouching.is_needed(self.catalog, self._base, nodes, self.request.command)
        ):
            return
        now = datetime.now(UTC)
        self._record = RunRecord(
            id=self.request.id,
            branch=run_branch(self.request.id),
            target=self.request.branch,
            base=self._base,
            command=self.request.command,
            status=RunStatus.OPEN,
            owner=self._owner or this_process(),
            started_at=self._opened_at,
            heartbeat_at=now,
        )
        self._save(RunStatus.PASSED if self._is_left else RunStatus.PUBLISHED, nodes)

    def _published(self, record: RunRecord) -> Commit | None:
        """What an earlier call did, which may have ended before it had tidied up."""
        with contextlib.suppress(LakehouseError):
            head = self.catalog.resolve(record.branch).id
            self.catalog.delete_ref(record.branch, expected=head)
        return self.catalog.resolve(record.published) if record.published is not None else None

    def _merge(self, record: RunRecord, *, dry_run: bool = False) -> MergeResult:
        noted = {name for names in self._read.values() for name in names}
        request = MergeRequest(
            source=record.branch,
            target=record.target,
            author=self.request.author,
            message=self.request.message or f"Publish {self.request.command} (run {record.id[:8]})",
            run=record.id,
            provenance=dict(self._facts),
            dry_run=dry_run,
            allow=self.request.allow,
            reads=reads.of_run(self.catalog, record, noted) if self.serializable else None,
        )
        with self.span.child("publish"):
            result = merging.merge(self.catalog, request, merging.combiner(self.catalog, self.settings))
        if result.conflicts and not dry_run:
            raise MergeConflict(self._explain(result.conflicts), result.conflicts)
        return result

    def _explain(self, conflicts: Sequence[Conflict]) -> str:
        read = {conflict.key for conflict in conflicts if conflict.kind is ConflictKind.READ_CHANGED}
        wrote = [str(conflict.key) for conflict in conflicts if conflict.key not in read]
        what = [f"{', '.join(wrote)} changed on both sides"] if wrote else []
        if read:
            what.append(f"{', '.join(map(str, sorted(read)))}, which it read, changed (isolation: serializable)")
        others = sorted(
            {
                f"run {c.target_commit.run[:8]}" if c.target_commit.run else f"commit {c.target_commit.id[:8]}"
                for c in conflicts
                if c.target_commit is not None
            }
        )
        by = f" by {', '.join(others)}" if others else ""
        tried = f"; its nodes in conflict were run again {_times(self._rebased)}" if self._rebased else ""
        assert self._record is not None
        return (
            f"branch {self.request.branch!r} changed{by} while run {self.request.id[:8]} was working: "
            f"{' and '.join(what)}. Nothing was published; what this run built is on branch "
            f"{self._record.branch!r}{tried}. Run again to build on the new head"
        )

    def moved(self) -> Moved | None:
        """See ``lake.base.Run``."""
        self._settle()
        with self._lock:
            if self.live or self._record is None or self._record.status.clean or self._is_left:
                return None
            plan = self._merge(self._record, dry_run=True)
            return rebasing.moved(self.catalog, self._record, plan, self._read)

    @property
    def _is_left(self) -> bool:
        return self.request.publish is PublishMode.MANUAL

    def rebase(self, head: str, again: Collection[str]) -> None:
        """See ``lake.base.Run``."""
        self.check_open()
        self._settle()
        with self._lock:
            if self._ended or self._record is None or self._own is None:
                raise ConflictError(f"run {self.request.id[:8]} has nothing that could be built on another head")
            self._start_over(self._record, self._own, head, again)
            self._rebased += 1

    def _start_over(self, record: RunRecord, own: Snapshot, head: str, again: Collection[str]) -> None:
        base = self._merge(record, dry_run=True).base
        commit = rebasing.rebase(self.catalog, record, base, head, again)
        self._record = dataclasses.replace(record, base=head)
        self.catalog.save_run(self._record)
        self._base = head
        own.move(commit.id)
        self._others.clear()
        for node in again:
            self._read.pop(node, None)

    def _catch_up(self, own: Snapshot) -> None:
        """Where what this run continues could not be published, begin on the target's head with what is not built again."""
        record, again = self._record, self.request.again
        if record is None or not again or self._is_left or self.batches.keys():
            return
        # Where that cannot be, the run goes on from where the other one stood; publishing will say why not.
        with contextlib.suppress(ConflictError):
            if self._merge(record, dry_run=True).conflicts:
                self._start_over(record, own, self.catalog.resolve(record.target).id, again)

    def fail(self, reason: str, nodes: Mapping[str, Any] | None = None, *, abandoned: bool = False) -> None:
        """See ``lake.base.Run``."""
        self.span.end(reason)
        if not abandoned:
            # What cannot be joined is kept with the record, for the run that continues this one.
            with contextlib.suppress(LakehouseError):
                self._settle()
        with self._lock:
            if self._ended or self._record is None:
                self._ended = True
                return
            self._stop_heart()
            self._save(RunStatus.ABANDONED if abandoned else RunStatus.FAILED, nodes, error=reason)

    def _settle(self) -> None:
        """Join the batches that still wait."""
        waiting = [] if self._ended else self.batches.keys()
        if waiting:
            with contextlib.closing(self.session()) as session:
                for key in waiting:
                    settle(session, self, key)

    def _save(
        self,
        status: RunStatus,
        nodes: Mapping[str, Any] | None,
        *,
        published: str | None = None,
        error: str | None = None,
    ) -> None:
        assert self._record is not None
        now = datetime.now(UTC)
        self._record = dataclasses.replace(
            self._record,
            status=status,
            finished_at=now,
            heartbeat_at=now,
            nodes=self.batches.into(nodes),
            published=published,
            error=error,
        )
        self.catalog.save_run(self._record)
        self._ended = True

    def cancel(self) -> None:
        """See ``lake.base.Run``."""
        self._cancelled_by = threading.get_ident()
        for session in list(self._sessions):
            session.cancel()

    def _stop_heart(self) -> None:
        self._heart.set()


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
