"""Merging and going back: the verbs of ``lake.base.Versions``, on the catalog as who asks may see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response

from dbt.adapters.lakehouse.errors import BadRequest
from dbt.adapters.lakehouse.lake.remote.versions import AskMerge
from dbt.adapters.lakehouse.lake.versions import CatalogVersions
from dbt.adapters.lakehouse.run.values import Merged
from dbt.adapters.lakehouse.service import replies
from dbt.adapters.lakehouse.service.asking import Asker, asker

T = TypeVar("T")

router = APIRouter(prefix="/v1", tags=["versions"])


@router.post("/merge", response_model=Merged, operation_id="merge")
def merge(request: Request, asked: AskMerge) -> Response:
    """Three-way merge of what a ref leads to into a branch; with ``dry_run``, what it would do."""
    by = asker(request)
    return replies.document(Merged, once(by, lambda: versions(by).merge(asked.request(by.principal.user))))


def versions(by: Asker) -> CatalogVersions:
    """The verbs as far as who asks may use them."""
    return CatalogVersions(by.catalog, by.service.settings)


def once(by: Asker, work: Callable[[], T]) -> T:
    """What ``work`` gives, or gave when the request was sent before. What makes no sense becomes ``BadRequest``."""
    try:
        return by.service.once.do(None if by.key is None else f"{by.principal.user}/{by.key}", work)
    except ValueError as error:
        raise BadRequest(str(error)) from error
