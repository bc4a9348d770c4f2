"""A service made of its settings and configuration."""

from __future__ import annotations

import contextlib
import dataclasses
import os

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.executors.limits import PoolOptions
from dbt.adapters.lakehouse.executors.pool import PoolExecutor
from dbt.adapters.lakehouse.jobs.python_env import default_folder
from dbt.adapters.lakehouse.service.config import ServiceConfig
from dbt.adapters.lakehouse.service.core import Service
from dbt.adapters.lakehouse.service.store import ServiceStore
from dbt.adapters.lakehouse.service.token_gate import TokenGate
from dbt.adapters.lakehouse.settings import LakeSettings


def open_service(settings: LakeSettings, config: ServiceConfig, *, lease: float = 60.0) -> Service:
    """Open catalog and store, making them where there are none, and a pool of workers without any yet.

    Raises ``CatalogError``, ``StorageError``, ``ConfigError``.
    """
    from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
    from dbt.adapters.lakehouse.storage import storage_for

    beside = [key for key in ("attach", "plugins") if (settings.plugins if key == "plugins" else settings.attached)]
    if beside:
        raise ConfigError(
            f"the profile that the service is started with has {beside[-1]!r}, which is for a lake of one's own: its jobs "
            "read the lake alone; name its warehouse in an output without that, and load what is wanted with `lakehouse import`"
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    settings = dataclasses.replace(
        settings,
        workers=config.workers.count or cores,
        sandbox=True,
        external_access=config.external_access,
        python_sandbox=config.python_sandbox,
        # Said here: a worker's home is a folder that goes with it.
        environments=settings.environments or str(default_folder()),
    )
    storage_for(settings.warehouse, settings.storage_options).duckdb_path(settings.warehouse, folder=True)
    with contextlib.ExitStack() as opened:
        catalog = SqlCatalog.open(settings.catalog)
        opened.callback(catalog.close)
        store = ServiceStore.open(settings.catalog)
        opened.callback(store.close)
        executor = PoolExecutor(settings, pool_options(config), store.jobs)
        opened.callback(executor.close)
        gate = TokenGate(catalog, store, config.policy)
        service = Service(settings, catalog, executor, gate, store, config=config, lease=lease)
        opened.pop_all()
    return service


def pool_options(config: ServiceConfig) -> PoolOptions:
    """What a configuration says of the pool."""
    return PoolOptions(
        memory=config.workers.memory,
        idle_seconds=config.workers.idle_seconds,
        recycle_jobs=config.workers.max_jobs,
        queue_length=config.queue.size,
        queue_per_user=config.queue.per_user,
        retries=config.retries.count,
        backoff_seconds=config.retries.first_seconds,
    )
