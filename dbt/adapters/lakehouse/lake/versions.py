"""The verbs of ``Versions`` on a catalog in this process."""

from __future__ import annotations

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.run import merging, reverting, rewriting
from dbt.adapters.lakehouse.run.going_back import ResetRequest, Reverted, RevertRequest
from dbt.adapters.lakehouse.run.provenance import Stale
from dbt.adapters.lakehouse.run.values import Merged, MergeRequest
from dbt.adapters.lakehouse.settings import LakeSettings


class CatalogVersions:
    """See ``lake.base.Versions``. A service makes one for each request, on the catalog as its user may see it.

    ``whole`` is that catalog as it is: what entries were computed from need not be visible itself to be compared.
    """

    def __init__(self, catalog: Catalog, settings: LakeSettings, *, whole: Catalog | None = None) -> None:
        self._catalog = catalog
        self._settings = settings
        self._contents = (whole or catalog).contents

    def merge(self, request: MergeRequest) -> Merged:
        """See ``lake.base.Versions``."""
        return merging.merge(self._catalog, request, merging.combiner(self._catalog, self._settings))

    def revert(self, request: RevertRequest) -> Reverted:
        """See ``lake.base.Versions``."""
        return reverting.revert(self._catalog, request, self._contents)

    def reset(self, request: ResetRequest) -> Reverted:
        """See ``lake.base.Versions``."""
        return rewriting.reset(self._catalog, request)

    def stale(self, ref: str, *, who: bool = True) -> list[Stale]:
        """See ``lake.base.Versions``."""
        return reverting.stale(self._catalog, ref, self._contents, who=who)
