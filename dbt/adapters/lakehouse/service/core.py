"""What a service holds: a catalog, an executor, a gate, and the runs of its clients."""

from __future__ import annotations

import contextlib
import threading
import time

from dbt.adapters.lakehouse.catalog.base import Catalog, ReuseIndex
from dbt.adapters.lakehouse.catalog.model import RunRecord
from dbt.adapters.lakehouse.errors import LakehouseError, Unavailable
from dbt.adapters.lakehouse.executors.base import Executor
from dbt.adapters.lakehouse.lake.base import Check
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.service.config import ServiceConfig
from dbt.adapters.lakehouse.service.gate import Gate
from dbt.adapters.lakehouse.service.metrics import Metrics
from dbt.adapters.lakehouse.service.once import Once
from dbt.adapters.lakehouse.service.runs import Runs
from dbt.adapters.lakehouse.service.silence import Attention
from dbt.adapters.lakehouse.service.store import ServiceStore
from dbt.adapters.lakehouse.settings import LakeSettings

PRUNE_SECONDS = 3600.0
"""How often what has been kept long enough is removed from the store."""


class Service:
    """A lake for many clients, without any protocol. ``app`` puts HTTP before it."""

    def __init__(
        self,
        settings: LakeSettings,
        catalog: Catalog,
        executor: Executor,
        gate: Gate,
        store: ServiceStore,
        *,
        config: ServiceConfig,
        lease: float = 60.0,
    ) -> None:
        self.settings = settings
        self.catalog = catalog
        self.executor = executor
        self.gate = gate
        self.store = store
        self.config = config
        index = catalog if isinstance(catalog, ReuseIndex) else None
        self.runs = Runs(settings, executor, store, lease=lease, index=index)
        self.once = Once(keeps=4096)
        self.metrics = Metrics(self)
        self._draining = threading.Event()
        self._stop = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="lakehouse-sweeper", daemon=True)

    def start(self) -> None:
        """Begin to look after runs whose clients are silent, and after what is kept for a while only."""
        self.store.jobs.end_lost()
        self._sweeper.start()

    def _sweep(self) -> None:
        prune_at = 0.0
        attention = Attention(self.runs.lease)
        pause = max(0.2, min(5.0, self.runs.lease / 4))
        began = time.monotonic()
        while not self._stop.wait(pause):
            if attention.slept(pause, time.monotonic() - began):
                # A catalog that is away for a moment is tried again; requests tell of one that stays away.
                with contextlib.suppress(LakehouseError):
                    self.runs.sweep(self.catalog)
            if time.monotonic() >= prune_at:
                prune_at = time.monotonic() + PRUNE_SECONDS
                with contextlib.suppress(LakehouseError):
                    self.store.prune(self.config.retention)
            began = time.monotonic()

    @property
    def draining(self) -> bool:
        """Whether new work is refused, since the process is about to end."""
        return self._draining.is_set()

    def drain(self) -> None:
        """Refuse new runs from now on."""
        self._draining.set()

    def check_accepts(self) -> None:
        """Raise ``Unavailable`` while draining."""
        if self.draining:
            raise Unavailable("the service is shutting down and takes no new runs; try again in a moment")

    def check(self) -> list[Check]:
        """Try warehouse, catalog and an executor's DuckDB for real."""
        return EmbeddedLake(self.settings, self.catalog, self.executor).check()

    def ready(self) -> list[Check]:
        """Try warehouse and catalog."""
        return EmbeddedLake(self.settings, self.catalog, self.executor).check_storage()

    def records(self, catalog: Catalog, limit: int | None) -> list[RunRecord]:
        """Runs that somebody may see."""
        return catalog.runs(limit)

    def close(self) -> None:
        """Stop everything; runs that are open are taken up by the next process."""
        self._stop.set()
        if self._sweeper.is_alive():
            self._sweeper.join()
        self.runs.close()
        self.executor.close()
        self.store.close()
        self.catalog.close()
