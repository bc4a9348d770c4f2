"""The first rows of a relation, and its difference from the base branch; the lake stays open from one look to the next."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.dev.values import Look, Node
from dbt.adapters.lakehouse.errors import JobCancelled, LakehouseError, RefNotFound
from dbt.adapters.lakehouse.quoting import qualified

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.credentials import LakehouseCredentials
    from dbt.adapters.lakehouse.lake.base import Lake, Session
    from dbt.adapters.lakehouse.lake.compare import Comparer, Comparison

_SAMPLES = 3
"""Rows shown of each kind of change."""


class Looker:
    """Reads one lake, that of the credentials it was given last."""

    def __init__(self) -> None:
        self._lake: Lake | None = None
        self._settings: Any = None
        self._database = ""
        self._lock = threading.Lock()
        self._busy: Session | Comparer | None = None

    def turn_to(self, credentials: LakehouseCredentials) -> None:
        """Read this lake from now on. Raises ``LakehouseError`` if it cannot be opened."""
        service = credentials.service_settings()
        settings = service or credentials.lake_settings(1)
        self._database = credentials.database
        if self._lake is not None and settings == self._settings:
            return
        self.close()
        if service is not None:
            from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake

            self._lake = RemoteLake(service)
        else:
            from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake

            self._lake = EmbeddedLake.open(credentials.lake_settings(1))
        self._settings = settings

    def is_protected(self, branch: str) -> bool:
        """Whether a branch takes no more than merges."""
        from dbt.adapters.lakehouse.catalog.model import RefKind

        assert self._lake is not None, "no lake was turned to"
        return any(ref.name == branch and ref.protected for ref in self._lake.catalog.refs(RefKind.BRANCH))

    def where(self, run: str, branch: str) -> str:
        """Where to read what a run made: the target's branch if it was published there, else the run's own."""
        from dbt.adapters.lakehouse.run.lifecycle import run_branch

        assert self._lake is not None, "no lake was turned to"
        with contextlib.suppress(RefNotFound):
            self._lake.catalog.resolve(run_branch(run))
            return run_branch(run)
        return branch

    def rows(self, node: Node, ref: str, limit: int) -> Look:
        """The first rows of a node at a ref. Raises ``JobCancelled``."""
        assert self._lake is not None, "no lake was turned to"
        assert node.relation is not None, "a node without a relation has no rows"
        schema, name = node.relation
        try:
            with contextlib.closing(self._lake.read(ref, schema)) as session, self._cancellable(session):
                result = session.execute(f"SELECT * FROM {qualified(self._database, schema, name)} LIMIT {limit}")
        except JobCancelled:
            raise
        except LakehouseError as error:
            return Look(node=node, ref=ref, fault=str(error))
        return Look(node=node, ref=ref, columns=result.columns, rows=result.rows)

    def compare(self, node: Node, base: str, ref: str) -> Comparison:
        """A node at two refs. Raises ``LakehouseError``."""
        from dbt.adapters.lakehouse.lake.compare import Comparer

        assert self._lake is not None, "no lake was turned to"
        assert node.relation is not None, "a node without a relation has no rows"
        with (
            Comparer(self._lake, before=base, after=ref, database=self._database) as comparer,
            self._cancellable(comparer),
        ):
            return comparer.compare(*node.relation, key=node.key, samples=_SAMPLES)

    @contextlib.contextmanager
    def _cancellable(self, reader: Session | Comparer) -> Iterator[None]:
        with self._lock:
            self._busy = reader
        try:
            yield
        finally:
            with self._lock:
                self._busy = None

    def cancel(self) -> None:
        """From any thread: interrupt what is read; it raises ``JobCancelled``."""
        with self._lock:
            if self._busy is not None:
                self._busy.cancel()

    def close(self) -> None:
        """Close the lake."""
        lake, self._lake = self._lake, None
        if lake is not None:
            lake.close()
