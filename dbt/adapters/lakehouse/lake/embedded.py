"""A lake in this process: catalog in SQLite (or PostgreSQL), DuckDB workers, no server."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import uuid
from datetime import UTC, datetime

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import RunRecord, RunStatus
from dbt.adapters.lakehouse.errors import ConflictError, LakehouseError
from dbt.adapters.lakehouse.executors.base import Executor
from dbt.adapters.lakehouse.executors.local import LocalExecutor
from dbt.adapters.lakehouse.jobs.job import Job, Query
from dbt.adapters.lakehouse.lake.base import Check, RunRequest
from dbt.adapters.lakehouse.lake.maintenance import LakeMaintenance
from dbt.adapters.lakehouse.lake.versions import CatalogVersions
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.liveness import is_dead
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.state import Snapshot, State
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.storage import storage_for


class EmbeddedLake:
    """See ``lake.base.Lake``. ``executor``: DuckDB workers in this process if none is given."""

    def __init__(self, settings: LakeSettings, catalog: Catalog, executor: Executor | None = None) -> None:
        self.settings = settings
        self._catalog = catalog
        # From here on, what knows only a table's location reaches it with this lake's options.
        storage_for(settings.warehouse, settings.storage_options)
        self._executor = executor or LocalExecutor(settings)

    @classmethod
    def open(cls, settings: LakeSettings, *, create: bool = True) -> EmbeddedLake:
        """Open a lake; with ``create``, make it where there is none. Raises ``CatalogError``, ``StorageError``."""
        # Imported late: SQLAlchemy takes a fifth of a second that commands which read nothing need not pay.
        from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog

        if create:
            storage_for(settings.warehouse, settings.storage_options).duckdb_path(settings.warehouse, folder=True)
        return cls(settings, SqlCatalog.open(settings.catalog, create=create))

    @property
    def catalog(self) -> Catalog:
        """Branches, commits and entries."""
        return self._catalog

    @property
    def versions(self) -> CatalogVersions:
        """Merging and going back."""
        return CatalogVersions(self._catalog, self.settings)

    @property
    def maintenance(self) -> LakeMaintenance:
        """Collecting garbage and compacting."""
        return LakeMaintenance(self._catalog, self._executor, self.settings, self._sweep)

    def open_run(self, request: RunRequest) -> LakeRun:
        """See ``lake.base.Lake``."""
        if request.continues is not None:
            self._sweep()
        return LakeRun(self._catalog, self._executor, self.settings, request)

    def read(self, ref: str, default_schema: str = "main", *, once: bool = False) -> RunSession:
        """See ``lake.base.Lake``."""
        del once
        own = Snapshot.at(self._catalog, ref)
        return RunSession(
            state=State(self._catalog, self.settings.database, own),
            executor=self._executor,
            settings=self.settings,
            default_schema=default_schema,
            run=None,
        )

    def runs(self, limit: int | None = None) -> list[RunRecord]:
        """See ``lake.base.Lake``."""
        self._sweep()
        return self._catalog.runs(limit)

    def _sweep(self) -> None:
        """Mark open runs whose process is gone as abandoned."""
        for record in self._catalog.runs():
            if is_dead(record):
                ended = dataclasses.replace(
                    record,
                    status=RunStatus.ABANDONED,
                    finished_at=datetime.now(UTC),
                    error="the process that worked on this run is gone",
                )
                # Its last act may have been to publish, after its record was read here.
                with contextlib.suppress(ConflictError):
                    self._catalog.save_run(ended)

    def check(self) -> list[Check]:
        """See ``lake.base.Lake``."""
        return [*self.check_storage(), self._check_duckdb()]

    def check_storage(self) -> list[Check]:
        """Try warehouse and catalog alone, which takes no worker."""
        return [self._check_warehouse(), self._check_catalog()]

    def _check_warehouse(self) -> Check:
        uri = f"{self.settings.warehouse}/.check-{uuid.uuid4().hex}"
        try:
            storage = storage_for(self.settings.warehouse, self.settings.storage_options)
            storage.write(uri, b"ok")
            ok = storage.read(uri) == b"ok"
            storage.delete(uri)
        except LakehouseError as error:
            return Check(name="warehouse", ok=False, detail=str(error))
        return Check(name="warehouse", ok=ok, detail=self.settings.warehouse)

    def _check_catalog(self) -> Check:
        try:
            refs = self._catalog.refs()
        except LakehouseError as error:
            return Check(name="catalog", ok=False, detail=str(error))
        return Check(name="catalog", ok=True, detail=f"{len(refs)} branches and tags")

    def _check_duckdb(self) -> Check:
        lease = self._executor.lease()
        try:
            action = Query(sql="SELECT version(), current_setting('memory_limit'), current_setting('threads')")
            job = Job(key="check", database=self.settings.database, default_schema="main", action=action)
            version, memory, threads = lease.run(job).rows[0]
        except LakehouseError as error:
            return Check(name="duckdb", ok=False, detail=str(error))
        finally:
            lease.release()
        spill = self.settings.temp_directory or tempfile.gettempdir()
        return Check(name="duckdb", ok=True, detail=f"{version}, {memory} and {threads} threads, spills to {spill}")

    def close(self) -> None:
        """See ``lake.base.Lake``."""
        self._executor.close()
        self._catalog.close()
