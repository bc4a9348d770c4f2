"""The one door through which states of the lake are merged: plan, settle conflicts, guard, then merge what was planned."""

from __future__ import annotations

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.run.values import Merged, MergeRequest


def merge(catalog: Catalog, request: MergeRequest) -> Merged:
    """Merge as requested, in one transaction.

    With conflicts nothing is changed and the result lists them. Raises what ``Catalog.merge`` raises.
    """
    result = catalog.merge(
        request.source,
        request.target,
        author=request.author,
        message=request.message or f"Merge {request.source} into {request.target}",
        expected_target=request.expected_target,
        run=request.run,
        provenance=dict(request.provenance),
        dry_run=request.dry_run,
        accept_tainted=request.accept_tainted,
    )
    return Merged(**vars(result))
