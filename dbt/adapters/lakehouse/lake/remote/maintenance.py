"""The verbs of ``Maintenance`` by a service, and their requests as they travel."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta

from dbt.adapters.lakehouse.catalog.model import Key
from dbt.adapters.lakehouse.lake.remote import wire
from dbt.adapters.lakehouse.lake.remote.http import Http
from dbt.adapters.lakehouse.run.upkeep import CollectRequest, Compacted, CompactRequest, Garbage


@dataclass(frozen=True, kw_only=True)
class AskCollect:
    """``Maintenance.collect``; times are in seconds."""

    history: float
    failed_runs: float
    results: float
    grace: float
    alone: wire.Truth = False
    dry_run: wire.Truth = False

    @classmethod
    def of(cls, request: CollectRequest) -> AskCollect:
        """A request as it travels."""
        return cls(
            history=request.history.total_seconds(),
            failed_runs=request.failed_runs.total_seconds(),
            results=request.results.total_seconds(),
            grace=request.grace.total_seconds(),
            alone=request.alone,
            dry_run=request.dry_run,
        )

    def request(self) -> CollectRequest:
        """The inverse of ``of``. Raises ``OverflowError`` or ``ValueError`` for times that are none."""
        return CollectRequest(
            history=timedelta(seconds=self.history),
            failed_runs=timedelta(seconds=self.failed_runs),
            results=timedelta(seconds=self.results),
            grace=timedelta(seconds=self.grace),
            alone=self.alone,
            dry_run=self.dry_run,
        )


@dataclass(frozen=True, kw_only=True)
class AskCompact:
    """``Maintenance.compact``; ``older_than`` is in seconds. The author is whom the token belongs to."""

    branch: str
    tables: tuple[Key, ...] = ()
    snapshots: wire.Whole | None = None
    older_than: float | None = None
    dry_run: wire.Truth = False

    @classmethod
    def of(cls, request: CompactRequest) -> AskCompact:
        """A request as it travels."""
        return cls(
            branch=request.branch,
            tables=request.tables,
            snapshots=request.snapshots,
            older_than=None if request.older_than is None else request.older_than.total_seconds(),
            dry_run=request.dry_run,
        )

    def request(self, author: str) -> CompactRequest:
        """The inverse of ``of``, for whoever asks."""
        return CompactRequest(
            branch=self.branch,
            tables=self.tables,
            snapshots=self.snapshots,
            older_than=None if self.older_than is None else timedelta(seconds=self.older_than),
            author=author,
            dry_run=self.dry_run,
        )


class RemoteMaintenance:
    """See ``lake.base.Maintenance``. Each verb is one request, which happens once however often it is sent."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def collect(self, request: CollectRequest) -> Garbage:
        """See ``lake.base.Maintenance``."""
        asked = AskCollect.of(request)
        found: Garbage = self._http.ask("/v1/gc", AskCollect, asked, Garbage, key=uuid.uuid4().hex)
        return found

    def compact(self, request: CompactRequest) -> Compacted:
        """See ``lake.base.Maintenance``."""
        asked = AskCompact.of(request)
        done: Compacted = self._http.ask("/v1/compact", AskCompact, asked, Compacted, key=uuid.uuid4().hex)
        return done
