"""A lake for programs: ``connect(…).query(sql)`` gives Arrow, pandas, polars or Python values.

::

    from dbt.adapters.lakehouse import connect

    with connect(service="https://lake.example.com", token="lh_…", branch="main") as lake:
        frame = lake.query("SELECT * FROM analytics.orders").pandas()
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.catalog.model import SchemaEntry
from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.settings import LakeSettings, ServiceSettings

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from dbt.adapters.lakehouse.lake.base import Lake, Session


def connect(
    *,
    service: str | None = None,
    token: str | None = None,
    warehouse: str | os.PathLike[str] | None = None,
    catalog: str | None = None,
    branch: str = "main",
    schema: str = "main",
    service_ca: str | None = None,
    storage_options: dict[str, str] | None = None,
) -> Connection:
    """A connection that reads a branch (or tag, or commit) of a lake.

    ``service`` is the URL of a service, ``token`` what it knows us by (else LAKEHOUSE_TOKEN); or ``warehouse`` is the
    folder of a lake that is reached directly, with ``catalog`` and ``storage_options`` as in a profile. ``schema`` is where
    names without one are looked up. Raises ``ConfigError``, ``CatalogError``.
    """
    if (service is None) == (warehouse is None):
        raise ConfigError("connect() needs either service=URL or warehouse=FOLDER")
    if service is not None:
        if catalog is not None or storage_options:
            raise ConfigError("'catalog' and 'storage_options' stand beside 'service', which knows where the lake is")
        from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake

        token = token or os.environ.get("LAKEHOUSE_TOKEN") or None
        return Connection(RemoteLake(ServiceSettings(url=service, token=token, ca=service_ca)), branch, schema)
    assert warehouse is not None
    if token is not None:
        raise ConfigError("'token' is for a service; a warehouse is reached with its storage's own credentials")
    from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake

    return Connection(EmbeddedLake.open(_settings(warehouse, catalog, storage_options), create=False), branch, schema)


def _settings(
    warehouse: str | os.PathLike[str], catalog: str | None, storage_options: dict[str, str] | None
) -> LakeSettings:
    place = os.fspath(warehouse)
    if "://" not in place:
        place = f"file://{Path(place).expanduser().absolute()}"
    if catalog is None:
        if not place.startswith("file://"):
            raise ConfigError(f"the lake at {place} needs its catalog named: catalog='postgresql://…'")
        catalog = f"sqlite:///{place.removeprefix('file://').rstrip('/')}/catalog.sqlite"
    return LakeSettings(warehouse=place.rstrip("/"), catalog=catalog, storage_options=storage_options or {})


class Connection:
    """Reads one branch. Queries of one connection run one after the other; open several for several threads."""

    def __init__(self, lake: Lake, branch: str, schema: str) -> None:
        self._lake = lake
        self._branch = branch
        self._schema = schema

    def query(self, sql: str, *, at: str | None = None) -> Rows:
        """A SELECT at the branch's present state, or at another ref. It runs when its rows are asked for."""
        return Rows(self._lake, at or self._branch, self._schema, sql)

    def tables(self, *, at: str | None = None) -> list[str]:
        """Names of tables and views, as ``schema.name``."""
        catalog = self._lake.catalog
        entries = catalog.entries(catalog.resolve(at or self._branch).id).values()
        return sorted(f"{entry.schema}.{entry.name}" for entry in entries if not isinstance(entry, SchemaEntry))

    def close(self) -> None:
        """Give back what is held."""
        self._lake.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Rows:
    """The rows of a query. Each method runs it, at what the ref leads to then."""

    def __init__(self, lake: Lake, ref: str, schema: str, sql: str) -> None:
        self._lake = lake
        self._ref = ref
        self._schema = schema
        self._sql = sql

    @contextlib.contextmanager
    def _session(self) -> Iterator[Session]:
        with contextlib.closing(self._lake.read(self._ref, self._schema, once=True)) as session:
            yield session

    def arrow(self) -> pa.Table:
        """As an Arrow table."""
        with self._session() as session:
            return session.arrow(self._sql)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Arrow batches as they are made: no more of them are in memory than are looked at."""
        with self._session() as session:
            stream: Any = getattr(session, "batches", None)
            if stream is None:
                yield from session.arrow(self._sql).to_batches()
                return
            with stream(self._sql) as batches:
                yield from batches.plain()

    def pandas(self) -> pd.DataFrame:
        """As a pandas frame."""
        return self.arrow().to_pandas()

    def polars(self) -> pl.DataFrame:
        """As a polars frame."""
        import polars

        frame = polars.from_arrow(self.arrow())
        assert isinstance(frame, polars.DataFrame)
        return frame

    def fetchall(self) -> list[tuple[Any, ...]]:
        """As tuples of Python values."""
        with self._session() as session:
            return list(session.execute(self._sql).rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.fetchall())
