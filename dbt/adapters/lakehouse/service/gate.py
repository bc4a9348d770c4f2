"""Who may come in, what they then see of the catalog, and what their jobs may ask for."""

from __future__ import annotations

from typing import Protocol

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.run.values import Build, RunRequest
from dbt.adapters.lakehouse.service.policy import Principal


class Gate(Protocol):
    """Tells who asks, and gives each their own view of the catalog."""

    def authenticate(self, token: str) -> Principal:
        """Whose token it is. Raises ``Unauthenticated``."""
        ...

    def catalog(self, principal: Principal) -> Catalog:
        """The catalog as far as somebody may see and change it. Cheap: it is asked for with every request."""
        ...

    def check_merge(self, principal: Principal, target: str) -> None:
        """Raise ``Denied`` where a branch may not be merged into."""
        ...

    def check_run(self, principal: Principal, request: RunRequest) -> None:
        """Raise ``Denied`` where a run could not do what it is for."""
        ...

    def check_build(self, principal: Principal, build: Build) -> None:
        """Raise ``Denied`` where a node asks for what its user may not have."""
        ...
