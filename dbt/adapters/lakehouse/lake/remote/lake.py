"""A lake behind a service: every verb is a request."""

from __future__ import annotations

from functools import cached_property

from dbt.adapters.lakehouse.catalog.model import RunRecord
from dbt.adapters.lakehouse.lake.base import Check, RunRequest
from dbt.adapters.lakehouse.lake.remote import wire
from dbt.adapters.lakehouse.lake.remote.catalog import RemoteCatalog
from dbt.adapters.lakehouse.lake.remote.http import Http
from dbt.adapters.lakehouse.lake.remote.maintenance import RemoteMaintenance
from dbt.adapters.lakehouse.lake.remote.run import RemoteRun
from dbt.adapters.lakehouse.lake.remote.session import RemoteSession
from dbt.adapters.lakehouse.lake.remote.versions import RemoteVersions
from dbt.adapters.lakehouse.settings import ServiceSettings


class RemoteLake:
    """See ``lake.base.Lake``. It opens no connection before something is asked of it."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self._http = Http(settings.url, settings.token, ca=settings.ca)
        self._catalog = RemoteCatalog(self._http)

    @property
    def catalog(self) -> RemoteCatalog:
        """Branches, commits and entries."""
        return self._catalog

    @property
    def versions(self) -> RemoteVersions:
        """Merging and going back."""
        return RemoteVersions(self._http)

    @property
    def maintenance(self) -> RemoteMaintenance:
        """Collecting garbage and compacting."""
        return RemoteMaintenance(self._http)

    @cached_property
    def service(self) -> wire.ServiceInfo:
        """Who answers there, and as whom it knows us."""
        info: wire.ServiceInfo = wire.load(wire.ServiceInfo, self._http.send("GET", "/v1/service").data)
        return info

    def open_run(self, request: RunRequest) -> RemoteRun:
        """See ``lake.base.Lake``."""
        return RemoteRun(self._http, request)

    def read(self, ref: str, default_schema: str = "main", *, once: bool = False) -> RemoteSession:
        """See ``lake.base.Lake``."""
        if once:
            return RemoteSession.once(self._http, ref, default_schema)
        return RemoteSession.at(self._http, self._catalog.resolve(ref).id, default_schema)

    def runs(self, limit: int | None = None) -> list[RunRecord]:
        """See ``lake.base.Lake``."""
        return self._catalog.runs(limit)

    def check(self) -> list[Check]:
        """See ``lake.base.Lake``."""
        info = self.service
        here = Check(
            name="service",
            ok=True,
            detail=f"{self.settings.url}, dbt-lakehouse {info.version}, as {info.user} ({info.role})",
        )
        checks: list[Check] = wire.load(list[Check], self._http.send("POST", "/v1/check").data)
        return [here, *checks]

    def close(self) -> None:
        """See ``lake.base.Lake``."""
        self._http.close()
