"""The verbs of ``Versions`` on a catalog in this process."""

from __future__ import annotations

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.run import merging
from dbt.adapters.lakehouse.run.values import Merged, MergeRequest
from dbt.adapters.lakehouse.settings import LakeSettings


class CatalogVersions:
    """See ``lake.base.Versions``. A service makes one for each request, on the catalog as its user may see it."""

    def __init__(self, catalog: Catalog, settings: LakeSettings) -> None:
        self._catalog = catalog
        self._settings = settings

    def merge(self, request: MergeRequest) -> Merged:
        """See ``lake.base.Versions``."""
        return merging.merge(self._catalog, request)
