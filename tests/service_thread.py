"""A service in this process, behind a real socket: for tests that need no process of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.errors import Unauthenticated
from dbt.adapters.lakehouse.executors.base import Executor
from dbt.adapters.lakehouse.executors.local import LocalExecutor
from dbt.adapters.lakehouse.lake.base import Build, RunRequest
from dbt.adapters.lakehouse.service.app import create_app
from dbt.adapters.lakehouse.service.config import ServiceConfig
from dbt.adapters.lakehouse.service.core import Service
from dbt.adapters.lakehouse.service.policy import Principal
from dbt.adapters.lakehouse.service.store import ServiceStore
from dbt.adapters.lakehouse.settings import LakeSettings

TOKEN = "the-one-token"


class OpenGate:
    """A gate without rules: whoever has the one token sees the bare catalog."""

    def __init__(self, catalog: Catalog, user: str = "anna") -> None:
        self._catalog = catalog
        self._user = user

    def authenticate(self, token: str) -> Principal:
        if token != TOKEN:
            raise Unauthenticated("the token is not valid")
        return Principal(user=self._user, role="admin", token="one")

    def catalog(self, principal: Principal) -> Catalog:
        return self._catalog

    def check_merge(self, principal: Principal, target: str) -> None:
        pass

    def check_run(self, principal: Principal, request: RunRequest) -> None:
        pass

    def check_build(self, principal: Principal, build: Build) -> None:
        pass


@contextlib.contextmanager
def open_service(
    folder: Path, url: str | None = None, executor: Executor | None = None, *, lease: float = 60.0
) -> Iterator[Service]:
    """A service on a new lake in a folder, with an open gate."""
    settings = LakeSettings(warehouse=f"file://{folder}/lake", catalog=url or f"sqlite:///{folder}/catalog.sqlite")
    (folder / "lake").mkdir(exist_ok=True)
    catalog = SqlCatalog.open(settings.catalog)
    store = ServiceStore.open(f"sqlite:///{folder}/store.sqlite")
    service = Service(
        settings,
        catalog,
        executor or LocalExecutor(settings),
        OpenGate(catalog),
        store,
        config=ServiceConfig(),
        lease=lease,
    )
    try:
        yield service
    finally:
        service.close()


@contextlib.contextmanager
def serving(service: Service, port: int = 0, **more: str) -> Iterator[str]:
    """Answers requests; the URL."""
    with socket.create_server(("127.0.0.1", port)) as door:
        config = uvicorn.Config(
            create_app(service), log_config=None, access_log=False, timeout_graceful_shutdown=2, **more
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        try:
            yield f"{'https' if more else 'http'}://127.0.0.1:{door.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
