"""``lakehouse serve``."""

from __future__ import annotations

import click

from dbt.adapters.lakehouse.cli.context import Cli
from dbt.adapters.lakehouse.cli.options import Command


@click.command("serve", cls=Command)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8585, show_default=True, type=click.IntRange(0, 65535))
@click.option("--lease", default=60.0, show_default=True, type=click.FloatRange(min=1))
@click.pass_obj
def serve(cli: Cli, host: str, port: int, lease: float) -> None:
    """Run a service."""
    from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
    from dbt.adapters.lakehouse.executors.local import LocalExecutor
    from dbt.adapters.lakehouse.service.config import ServiceConfig
    from dbt.adapters.lakehouse.service.core import Service
    from dbt.adapters.lakehouse.service.gate import Gate
    from dbt.adapters.lakehouse.service.server import Listening
    from dbt.adapters.lakehouse.service.server import serve as listen
    from dbt.adapters.lakehouse.service.store import ServiceStore

    settings = cli.settings
    from dbt.adapters.lakehouse.storage import storage_for

    storage_for(settings.warehouse, settings.storage_options).duckdb_path(settings.warehouse, folder=True)
    catalog = SqlCatalog.open(settings.catalog)
    config = ServiceConfig.load(None)
    store = ServiceStore.open(settings.catalog)
    service = Service(
        settings,
        catalog,
        LocalExecutor(settings),
        Gate(store, config.policy),
        store,
        config=config,
        lease=lease,
    )
    listen(service, Listening(host=host, port=port), lambda url: cli.out.line(f"lakehouse service on {url}"))
