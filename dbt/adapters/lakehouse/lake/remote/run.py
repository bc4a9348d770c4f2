"""A run that a service keeps; this process says that it lives."""

from __future__ import annotations

import contextlib
import threading
import uuid
import weakref
from collections.abc import Collection, Mapping
from typing import Any

from dbt.adapters.lakehouse.catalog.model import Commit
from dbt.adapters.lakehouse.errors import JobCancelled, LakehouseError
from dbt.adapters.lakehouse.lake.remote import wire
from dbt.adapters.lakehouse.lake.remote.http import Http
from dbt.adapters.lakehouse.lake.remote.session import RemoteSession
from dbt.adapters.lakehouse.run.values import Moved, RunRequest


class RemoteRun:
    """See ``lake.base.Run``. The service hears of it when its first session is made."""

    def __init__(self, http: Http, request: RunRequest) -> None:
        self._http = http
        self.request = request
        self._path = f"/v1/runs/{request.id}"
        self._lock = threading.Lock()
        self._opened = False
        self._cancelled_by: int | None = None
        self._heart = threading.Event()
        self._sessions: weakref.WeakSet[RemoteSession] = weakref.WeakSet()

    def session(self, node: str | None = None) -> RemoteSession:
        """A session for the calling thread, which works on a node, if it is known."""
        if self._cancelled_by not in (None, threading.get_ident()):
            raise JobCancelled(f"run {self.request.id[:8]} was cancelled")
        self._open()
        session = RemoteSession.of_run(self._http, self.request.id, node)
        self._sessions.add(session)
        return session

    def _open(self) -> None:
        with self._lock:
            if self._opened:
                return
            opened: wire.OpenedRun = self._http.ask(
                "/v1/runs", RunRequest, self.request, wire.OpenedRun, key=uuid.uuid4().hex
            )
            self._opened = True
            pause = min(10.0, opened.lease / 4)
            threading.Thread(target=self._beat, args=(pause,), name="lakehouse-heartbeat", daemon=True).start()

    def _beat(self, pause: float) -> None:
        while not (self._heart.wait(pause) or self._http.closed):
            # One that does not arrive is followed by the next; the run's own requests would notice a service that is gone.
            with contextlib.suppress(LakehouseError):
                self._http.send("POST", f"{self._path}/heartbeat", patience=pause)

    @property
    def branch(self) -> str | None:
        """See ``lake.base.Run``."""
        if not self._opened:
            return None
        known: wire.OpenedRun = wire.load(wire.OpenedRun, self._http.send("GET", self._path).data)
        return known.branch

    def publish(self, nodes: Mapping[str, Any] | None = None) -> Commit | None:
        """See ``lake.base.Run``."""
        if not self._opened:
            return None
        self._heart.set()
        commit: Commit | None = self._http.ask(
            f"{self._path}/publish",
            wire.Publish,
            wire.Publish(nodes=dict(nodes or {})),
            Commit | None,
            key=uuid.uuid4().hex,
        )
        return commit

    def publish_unless_moved(self, nodes: Mapping[str, Any] | None = None) -> Moved | None:
        """See ``lake.base.Run``."""
        if not self._opened:
            return None
        wish = wire.Publish(nodes=dict(nodes or {}))
        path = f"{self._path}/publish_unless_moved"
        moved: Moved | None = self._http.ask(path, wire.Publish, wish, Moved | None, key=uuid.uuid4().hex)
        if moved is None:
            self._heart.set()
        return moved

    def moved(self) -> Moved | None:
        """See ``lake.base.Run``."""
        if not self._opened:
            return None
        found: Moved | None = wire.load(Moved | None, self._http.send("POST", f"{self._path}/moved").data)
        return found

    def rebase(self, head: str, again: Collection[str]) -> None:
        """See ``lake.base.Run``."""
        document = wire.Rebase(head=head, again=tuple(again))
        self._http.ask(f"{self._path}/rebase", wire.Rebase, document, None, key=uuid.uuid4().hex)

    def fail(self, reason: str, nodes: Mapping[str, Any] | None = None, *, abandoned: bool = False) -> None:
        """See ``lake.base.Run``."""
        self._heart.set()
        if self._opened:
            document = wire.Fail(reason=reason, nodes=dict(nodes or {}), abandoned=abandoned)
            self._http.ask(f"{self._path}/fail", wire.Fail, document, None, key=uuid.uuid4().hex)

    def cancel(self) -> None:
        """See ``lake.base.Run``."""
        self._cancelled_by = threading.get_ident()
        for session in list(self._sessions):
            with contextlib.suppress(LakehouseError):
                session.cancel()
        if self._opened:
            self._http.send("POST", f"{self._path}/cancel", patience=5.0)
