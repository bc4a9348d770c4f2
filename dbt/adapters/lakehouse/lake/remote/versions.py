"""The verbs of ``Versions`` by a service, and their requests as they travel."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dbt.adapters.lakehouse.catalog.model import Key
from dbt.adapters.lakehouse.lake.remote import wire
from dbt.adapters.lakehouse.lake.remote.http import Http
from dbt.adapters.lakehouse.run.going_back import ResetRequest, Reverted, RevertRequest
from dbt.adapters.lakehouse.run.provenance import Stale
from dbt.adapters.lakehouse.run.values import Merged, MergeRequest, Take
from dbt.adapters.lakehouse.settings import Allowed


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to make of one conflict."""

    key: Key
    take: Take


@dataclass(frozen=True, kw_only=True)
class AskMerge:
    """``Versions.merge``. The author is whom the token belongs to; publishing a run is a verb of the run."""

    source: str
    target: str
    message: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    dry_run: wire.Truth = False
    take: tuple[Choice, ...] = ()
    take_all: Take | None = None
    accept_tainted: wire.Truth = False
    allow: frozenset[Allowed] = frozenset()
    fast_forward: wire.Truth = False
    expected_target: str | None = None
    expected_source: str | None = None

    @classmethod
    def of(cls, request: MergeRequest) -> AskMerge:
        """A request as it travels."""
        names = {item.name for item in dataclasses.fields(cls)} - {"take"}
        take = tuple(Choice(key=key, take=take) for key, take in request.take.items())
        return cls(take=take, **{name: getattr(request, name) for name in names})

    def request(self, author: str) -> MergeRequest:
        """The inverse of ``of``, for whoever asks."""
        said = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return MergeRequest(author=author, **{**said, "take": {one.key: one.take for one in self.take}})


@dataclass(frozen=True, kw_only=True)
class AskStale:
    """``Versions.stale``."""

    ref: str
    who: wire.Truth = True


class RemoteVersions:
    """See ``lake.base.Versions``. Each verb is one request, which happens once however often it is sent."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def merge(self, request: MergeRequest) -> Merged:
        """See ``lake.base.Versions``."""
        asked = AskMerge.of(request)
        merged: Merged = self._http.ask("/v1/merge", AskMerge, asked, Merged, key=uuid.uuid4().hex)
        return merged

    def revert(self, request: RevertRequest) -> Reverted:
        """See ``lake.base.Versions``. The author is whom the token belongs to."""
        reverted: Reverted = self._http.ask("/v1/revert", RevertRequest, request, Reverted, key=uuid.uuid4().hex)
        return reverted

    def reset(self, request: ResetRequest) -> Reverted:
        """See ``lake.base.Versions``. The author is whom the token belongs to."""
        reverted: Reverted = self._http.ask("/v1/reset", ResetRequest, request, Reverted, key=uuid.uuid4().hex)
        return reverted

    def stale(self, ref: str, *, who: bool = True) -> list[Stale]:
        """See ``lake.base.Versions``."""
        found: list[Stale] = self._http.ask("/v1/stale", AskStale, AskStale(ref=ref, who=who), list[Stale])
        return found
