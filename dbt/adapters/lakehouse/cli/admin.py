"""How a command reaches what a service keeps: over HTTP, or in its store on the same machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.cli.context import Cli
from dbt.adapters.lakehouse.errors import ConfigError

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.lake.remote.admin import RemoteAdmin
    from dbt.adapters.lakehouse.service.admin import StoreAdmin

    Admin = RemoteAdmin | StoreAdmin


@contextlib.contextmanager
def admin_of(cli: Cli, config: str | None = None, *, create: bool = False) -> Iterator[Admin]:
    """The service that ``--service`` or the profile names; else the store beside the catalog, as whoever acts here.

    ``create``: make a store where there is none.
    """
    admin = _open(cli, config, create=create)
    try:
        yield admin
    finally:
        admin.close()


def _open(cli: Cli, config: str | None, *, create: bool) -> Admin:
    if cli.service is not None:
        if config is not None:
            raise ConfigError("--config is for the machine of the service; a service that is named has its own")
        from dbt.adapters.lakehouse.lake.remote.admin import RemoteAdmin

        return RemoteAdmin(cli.service)
    from dbt.adapters.lakehouse.service.admin import StoreAdmin
    from dbt.adapters.lakehouse.service.config import ServiceConfig
    from dbt.adapters.lakehouse.service.database import store_url
    from dbt.adapters.lakehouse.service.policy import Principal
    from dbt.adapters.lakehouse.service.store import ServiceStore

    policy = ServiceConfig.load(config).policy
    url = store_url(cli.settings.catalog)
    if create and url.startswith("sqlite:///"):
        # The first token may be made before the service first runs.
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    store = ServiceStore.open(cli.settings.catalog, create=create)
    return StoreAdmin(store, policy, Principal(user=cli.author, role="(on the machine)", token=""))
