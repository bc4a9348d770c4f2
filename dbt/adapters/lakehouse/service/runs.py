"""Runs and sessions of clients, held between their requests."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from dbt.adapters.lakehouse.catalog.base import Catalog, ReuseIndex
from dbt.adapters.lakehouse.catalog.model import Commit, Key, RunRecord, RunStatus
from dbt.adapters.lakehouse.errors import (
    BadRequest,
    ConflictError,
    Denied,
    JobCancelled,
    LakehouseError,
    NotInLake,
    SessionLost,
)
from dbt.adapters.lakehouse.executors.base import Executor, Requester
from dbt.adapters.lakehouse.lake.remote import wire
from dbt.adapters.lakehouse.run.asked import Asked, asked
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.liveness import is_dead, service_owner
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.state import Snapshot, State
from dbt.adapters.lakehouse.run.values import Built, Moved, Name, RunMemory, RunRequest
from dbt.adapters.lakehouse.service.once import Once
from dbt.adapters.lakehouse.service.policy import Principal
from dbt.adapters.lakehouse.service.silence import Silence
from dbt.adapters.lakehouse.service.store import ServiceStore
from dbt.adapters.lakehouse.settings import LakeSettings

log = logging.getLogger("lakehouse.service")

T = TypeVar("T")

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{3,99}")
"""What its branch, and the paths of its requests, can be made of."""

IDLE_SECONDS = 300.0
"""After this much silence a session that belongs to no run is closed; its next request makes it anew."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remembered:
    """What is kept of a run between processes."""

    request: RunRequest
    memory: RunMemory


class HeldSession:
    """A session between its requests. One request at a time; another one waits."""

    def __init__(self, session: RunSession, done: Mapping[str, Mapping[int, Commit]]) -> None:
        self.session = session
        self.state = secrets.token_hex(8)
        self.used_at = time.monotonic()
        self.once = Once()
        self._done = done
        self._lock = threading.Lock()

    @property
    def stateful(self) -> bool:
        """Whether something of it would be lost with this process."""
        return bool(self.session.temporaries) or self.session.keeps_state

    def do(self, key: str | None, work: Callable[[RunSession], T]) -> T:
        """Carry out a request, once. Commits note its key."""
        return self.once.do(key, lambda: self._do(key, work))

    def _do(self, key: str | None, work: Callable[[RunSession], T]) -> T:
        with self._lock:
            self.used_at = time.monotonic()
            request = asked.set(Asked(key=key, done=self._done.get(key, {})) if key is not None else None)
            try:
                return work(self.session)
            finally:
                asked.reset(request)
                self.used_at = time.monotonic()

    @contextlib.contextmanager
    def hold(self) -> Iterator[RunSession]:
        """Around work that lasts beyond the request that began it."""
        with self._lock:
            self.used_at = time.monotonic()
            try:
                yield self.session
            finally:
                self.used_at = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether a request is being worked on."""
        return self._lock.locked()

    def close(self) -> None:
        """Give its worker back."""
        with contextlib.suppress(LakehouseError):
            self.session.close()


class HeldRun:
    """A client's run between its requests."""

    def __init__(self, run: LakeRun, principal: Principal, memories: ServiceStore, *, resumed: bool) -> None:
        self.run = run
        self.user = principal.user
        self._role = principal.role
        self.seen_at = time.monotonic()
        self.sessions: dict[str, HeldSession] = {}
        self.once = Once()
        self._memories = memories
        self._saved: RunMemory | None = run.memory if resumed else None
        self._lock = threading.RLock()
        self._cancelled: set[str] = set()
        self._done = _done(run) if resumed else {}

    def session(self, session_id: str, state: str | None, node: str | None = None) -> HeldSession:
        """A session of this run, made if it is new. Raises ``SessionLost`` if what the client counts on is gone."""
        with self._lock:
            self.check()
            if session_id in self._cancelled:
                raise JobCancelled("the session was cancelled")
            held = self.sessions.get(session_id)
            if state is not None and (held is None or held.state != state):
                raise lost()
            if held is None:
                held = self.sessions[session_id] = HeldSession(self.run.session(node), self._done)
            return held

    def check_owner(self, principal: Principal) -> None:
        """Raise ``Denied`` for others, and for the same user with another role: the run acts with the role it was opened with."""
        if self.user != principal.user:
            raise _of_another(self.run.request.id)
        if self._role != principal.role:
            raise Denied(
                f"run {self.run.request.id!r} was opened with role {self._role!r} and this token has role "
                f"{principal.role!r}; use the token that opened it"
            )

    def check(self) -> None:
        """Raise if this run was given up, or ended otherwise."""
        self.seen_at = time.monotonic()
        record = self.run.record
        if record is not None and record.status in (RunStatus.FAILED, RunStatus.ABANDONED):
            raise _ended(record, record.id)

    def remember(self) -> None:
        """Keep what a new process would have to know, if that changed."""
        memory = self.run.memory
        if memory == self._saved:
            return
        with self._lock:
            memory = self.run.memory  # again: it may have changed while another request was saving its own
            remembered = Remembered(request=self.run.request, memory=memory)
            text = wire.dump(Remembered, remembered).decode()
            self._memories.save_run_state(self.run.request.id, self.user, text)
            self._saved = memory

    def cancel(self, session_id: str | None = None) -> None:
        """Interrupt a session, or all of them. One that was not seen yet is refused when it comes."""
        with self._lock:
            ids = list(self.sessions) if session_id is None else [session_id]
            self._cancelled.update(ids)
            sessions = [self.sessions[one] for one in ids if one in self.sessions]
        for held in sessions:
            held.session.cancel()

    def close_session(self, session_id: str) -> None:
        """End a session. Idempotent."""
        with self._lock:
            held = self.sessions.pop(session_id, None)
        if held is not None:
            held.close()

    def close(self) -> None:
        """End all sessions."""
        for session_id in list(self.sessions):
            self.close_session(session_id)

    def publish_unless_moved(self, nodes: Mapping[str, Any]) -> Moved | None:
        """See ``Run.publish_unless_moved``."""
        self.check()
        return self.run.publish_unless_moved(nodes)

    def rebase(self, head: str, again: Sequence[str]) -> None:
        """See ``Run.rebase``."""
        self.check()
        if any(held.busy for held in list(self.sessions.values())):
            raise ConflictError(
                f"run {self.run.request.id[:8]} is at work, so that it cannot start over; wait for its nodes"
            )
        self.run.rebase(head, again)
        self.remember()

    def publish(self, nodes: Mapping[str, Any]) -> Commit | None:
        """See ``Run.publish``; what was published already is answered as it was then."""
        self.check()
        return self.run.publish(nodes)


def _of_another(run_id: str) -> Denied:
    return Denied(f"run {run_id!r} belongs to another user")


def _ended(record: RunRecord | None, run_id: str) -> LakehouseError:
    """Why a run is not there: given up meanwhile, or never opened."""
    if record is None or record.id != run_id:
        return NotInLake(f"no run {run_id!r} is open here: it was never opened, or its client was silent for too long")
    error = f": {record.error}" if record.error else ""
    return ConflictError(
        f"run {run_id[:8]} is {record.status}{error}; what it built is on branch {record.branch!r}, "
        "and `dbt retry` continues it"
    )


def built_before(session: RunSession, name: Name) -> Built | None:
    """What an earlier process built for the request that is worked on now, if it did."""
    request = asked.get()
    commit = request.done.get(0) if request is not None else None
    if commit is None or session.run is None:
        return None
    key = Key(name.schema, name.name)
    entry = session.run.catalog.lookup(commit.id, [key])[key]
    return Built(
        entry=entry,
        rows_written=commit.provenance.get("rows_written") or 0,
        rows_deleted=commit.provenance.get("rows_deleted") or 0,
    )


def lost() -> SessionLost:
    """Raised where a client counts on what went with a process."""
    return SessionLost(
        "the session's temporary tables and settings are gone: the service was restarted (or the session ended) since; "
        "run the node again"
    )


def _done(run: LakeRun) -> dict[str, dict[int, Commit]]:
    """What an earlier process committed for this run, by request and statement."""
    base = run.memory.base
    record = run.record
    if base is None or (record is None and not run.live):
        return {}
    found: dict[str, dict[int, Commit]] = {}
    for commit in _since(run, base):
        key = commit.provenance.get("request")
        if key is not None:
            found.setdefault(str(key), {})[int(commit.provenance.get("request_statement", 0))] = commit
    return found


def _since(run: LakeRun, base: str) -> Iterator[Commit]:
    """Commits after ``base`` on the branch that the run writes."""
    limit, head = 256, run.own().commit
    while True:
        commits = run.catalog.log(head, limit)
        ids = [commit.id for commit in commits]
        if base in ids or len(commits) < limit:
            yield from commits[: ids.index(base) if base in ids else None]
            return
        limit *= 8


class Runs:
    """All runs and read sessions of a service."""

    def __init__(
        self,
        settings: LakeSettings,
        executor: Executor,
        memories: ServiceStore,
        *,
        lease: float,
        index: ReuseIndex | None = None,
    ) -> None:
        """``index`` has the results that runs may reuse: what they were made of, its user must be able to read to name it."""
        self._index = index
        self._settings = settings
        self._executor = executor
        self._memories = memories
        self.lease = lease
        self._lock = threading.Lock()
        self._opening = [threading.Lock() for _ in range(64)]
        self._runs: dict[str, HeldRun] = {}
        self._reads: dict[tuple[str, str, str], HeldSession] = {}
        self._started = time.monotonic()
        self._silence = Silence(lease)

    # runs

    def open(self, principal: Principal, catalog: Catalog, request: RunRequest) -> HeldRun:
        """A new run; the one that is there, if the request came twice."""
        if not RUN_ID.fullmatch(request.id):
            raise BadRequest("a run's id must be 4 to 100 letters, digits and dashes, and begin with a letter or digit")
        request = dataclasses.replace(request, author=principal.user)
        with self._opening_lock(request.id):
            known = self._find(principal, catalog, request.id)
            if known is None:
                if catalog.run(request.id) is not None:
                    raise ConflictError(f"run {request.id} exists already; each run needs an id of its own")
                run = LakeRun(catalog, self._executor, self._settings, request, owner=service_owner(principal.user))
                run.index = self._index
                known = HeldRun(run, principal, self._memories, resumed=False)
                run.own()
                known.remember()
                self._runs[request.id] = known
            elif known.run.request != request:
                raise ConflictError(
                    f"run {request.id} exists already, for something else; each run needs an id of its own"
                )
            known.check()
            return known

    def get(self, principal: Principal, catalog: Catalog, run_id: str) -> HeldRun:
        """A run that was opened, taken up again if another process worked on it."""
        held = self._runs.get(run_id)
        if held is None:
            with self._opening_lock(run_id):
                held = self._find(principal, catalog, run_id)
        if held is None:
            raise _ended(catalog.run(run_id), run_id)
        held.check_owner(principal)
        held.seen_at = time.monotonic()
        return held

    def _opening_lock(self, run_id: str) -> threading.Lock:
        return self._opening[hash(run_id) % len(self._opening)]

    def _find(self, principal: Principal, catalog: Catalog, run_id: str) -> HeldRun | None:
        held = self._runs.get(run_id)
        if held is None:
            kept = self._memories.run_state(run_id)
            if kept is None:
                return None
            user, text = kept
            if user != principal.user:
                raise _of_another(run_id)
            remembered: Remembered = wire.load(Remembered, text)
            run = LakeRun.resume(
                catalog,
                self._executor,
                self._settings,
                remembered.request,
                remembered.memory,
                owner=service_owner(user),
            )
            run.index = self._index
            held = self._runs[run_id] = HeldRun(run, principal, self._memories, resumed=True)
            log.info("run %s was taken up again", run_id)
        held.check_owner(principal)
        return held

    def heartbeat(self, held: HeldRun) -> None:
        """The client of a run lives."""
        held.check()
        if held.run.branch is not None:
            held.run.catalog.heartbeat(held.run.request.id)

    def ended(self, held: HeldRun) -> None:
        """A run that was published or failed needs no memory; it is held until its lease ends, for requests that come again."""
        held.close()

    # read sessions

    def read(
        self,
        principal: Principal,
        catalog: Catalog,
        session_id: str,
        commit: str,
        default_schema: str,
        state: str | None,
    ) -> HeldSession:
        """A session that reads one commit, made if it is new."""
        name = (principal.user, principal.role, session_id)
        with self._lock:
            held = self._reads.get(name)
        if state is not None and (held is None or held.state != state):
            raise lost()
        if held is not None:
            return held
        session = RunSession(
            state=State(catalog, self._settings.database, Snapshot.at(catalog, commit)),
            executor=self._executor,
            settings=self._settings,
            default_schema=default_schema,
            run=None,
            requester=Requester(user=principal.user),
        )
        with self._lock:
            return self._reads.setdefault(name, HeldSession(session, {}))

    def cancel_read(self, principal: Principal, session_id: str) -> None:
        """Interrupt a read session, if it is there."""
        held = self._reads.get((principal.user, principal.role, session_id))
        if held is not None:
            held.session.cancel()

    def close_read(self, principal: Principal, session_id: str) -> None:
        """End a read session. Idempotent."""
        with self._lock:
            held = self._reads.pop((principal.user, principal.role, session_id), None)
        if held is not None:
            held.close()

    # time

    def sweep(self, catalog: Catalog) -> None:
        """Give up runs whose clients are silent, and read sessions that nobody uses."""
        now = time.monotonic()
        for run_id, held in list(self._runs.items()):
            if now - held.seen_at > self.lease:
                self._give_up(run_id, held)
        for name, session in list(self._reads.items()):
            if now - session.used_at > IDLE_SECONDS and not session.busy:
                with self._lock:
                    self._reads.pop(name, None)
                session.close()
        self._sweep_catalog(catalog)
        if now - self._started > self.lease:
            self._forget()

    def _give_up(self, run_id: str, held: HeldRun) -> None:
        reason = f"its client was silent for {self.lease:.0f} s"
        record = held.run.record
        if record is not None and record.status is RunStatus.OPEN:
            log.warning("run %s is abandoned: %s", run_id, reason)
        held.cancel()
        with contextlib.suppress(LakehouseError):
            held.run.fail(reason, abandoned=True)
        held.close()
        self._memories.forget_run_state(run_id)
        with self._lock:
            self._runs.pop(run_id, None)

    def _sweep_catalog(self, catalog: Catalog) -> None:
        """Runs that no request has come for since this process started, and those of processes that are gone."""
        lease = timedelta(seconds=self.lease)
        others = [record for record in catalog.runs() if record.id not in self._runs]
        silent = self._silence.over(record for record in others if record.status is RunStatus.OPEN)
        for record in others:
            # Looked up where it is a process of this machine, at whatever time of day: clocks jump, and differ.
            seen = record.heartbeat_at + 2 * lease if record in silent else record.heartbeat_at
            if is_dead(record, now=seen, lease=lease):
                abandon(catalog, record)

    def _forget(self) -> None:
        """What was kept of runs that no request has come for since this process started."""
        before = datetime.now(UTC) - timedelta(seconds=self.lease)
        for kept in self._memories.run_states():
            if kept.run not in self._runs and kept.saved_at < before:
                self._memories.forget_run_state(kept.run)

    def close(self) -> None:
        """End all sessions; the runs stay as they are, for the next process."""
        for held in list(self._runs.values()):
            held.close()
        for session in list(self._reads.values()):
            session.close()

    def counts(self) -> tuple[int, int]:
        """Open runs and sessions."""
        runs = list(self._runs.values())
        return len(runs), sum(len(run.sessions) for run in runs) + len(self._reads)


def abandon(catalog: Catalog, record: RunRecord) -> None:
    """Write down that nobody works on a run any more."""
    ended = dataclasses.replace(
        record, status=RunStatus.ABANDONED, finished_at=datetime.now(UTC), error="its client is gone"
    )
    # Its last act may have been to publish, after its record was read.
    with contextlib.suppress(ConflictError):
        catalog.save_run(ended)
