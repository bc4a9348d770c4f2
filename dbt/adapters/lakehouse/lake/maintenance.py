"""The verbs of ``Maintenance`` on a lake in this process."""

from __future__ import annotations

from collections.abc import Callable

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.executors.base import Executor
from dbt.adapters.lakehouse.run.upkeep import CollectRequest, Compacted, CompactRequest, Garbage
from dbt.adapters.lakehouse.settings import LakeSettings


class LakeMaintenance:
    """See ``lake.base.Maintenance``. ``sweep`` marks runs whose process is gone, so that they hold nothing back."""

    def __init__(self, catalog: Catalog, executor: Executor, settings: LakeSettings, sweep: Callable[[], None]) -> None:
        self._catalog = catalog
        self._executor = executor
        self._settings = settings
        self._sweep = sweep

    def collect(self, request: CollectRequest) -> Garbage:
        """See ``lake.base.Maintenance``."""
        # Imported late: few commands need it.
        from dbt.adapters.lakehouse.run import garbage

        self._sweep()
        return garbage.collect(self._catalog, self._settings, request)

    def compact(self, request: CompactRequest) -> Compacted:
        """See ``lake.base.Maintenance``."""
        from dbt.adapters.lakehouse.run import compaction

        return compaction.compact(self._catalog, self._executor, self._settings, request)
