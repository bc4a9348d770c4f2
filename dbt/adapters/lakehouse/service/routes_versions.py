"""Merging and going back: the verbs of ``lake.base.Versions``, on the catalog as who asks may see it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response

from dbt.adapters.lakehouse.errors import BadRequest
from dbt.adapters.lakehouse.lake.remote.versions import AskMerge, AskStale
from dbt.adapters.lakehouse.lake.versions import CatalogVersions
from dbt.adapters.lakehouse.run.going_back import ResetRequest, Reverted, RevertRequest
from dbt.adapters.lakehouse.run.provenance import Stale
from dbt.adapters.lakehouse.run.values import Merged, MergeRequest
from dbt.adapters.lakehouse.service import replies
from dbt.adapters.lakehouse.service.asking import Asker, asker

T = TypeVar("T")

router = APIRouter(prefix="/v1", tags=["versions"])


@router.post("/merge", response_model=Merged, operation_id="merge")
def merge(request: Request, asked: AskMerge) -> Response:
    """Three-way merge of what a ref leads to into a branch; with ``dry_run``, what it would do."""
    by = asker(request)
    return replies.document(Merged, once(by, lambda: merged(by, asked.request(by.principal.user))))


@router.post("/revert", response_model=Reverted, operation_id="revert")
def revert(request: Request, asked: RevertRequest) -> Response:
    """Undo a commit, or put tables back as they were; with ``dry_run``, what it would do."""
    by = asker(request)
    signed = dataclasses.replace(asked, author=by.principal.user)
    return replies.document(Reverted, once(by, lambda: versions(by).revert(signed)))


@router.post("/reset", response_model=Reverted, operation_id="reset")
def reset(request: Request, asked: ResetRequest) -> Response:
    """Let a branch hold what a ref holds; with ``dry_run``, what that would change."""
    by = asker(request)
    signed = dataclasses.replace(asked, author=by.principal.user)
    return replies.document(Reverted, once(by, lambda: versions(by).reset(signed)))


@router.post("/stale", response_model=list[Stale], operation_id="stale")
def stale(request: Request, asked: AskStale) -> Response:
    """What does not stand on what it was computed from."""
    by = asker(request)
    return replies.document(list[Stale], versions(by).stale(asked.ref, who=asked.who))


def merged(by: Asker, wanted: MergeRequest) -> Merged:
    """A merge by who asks, who must be allowed to before any table is combined for it."""
    if not wanted.dry_run:
        by.service.gate.check_merge(by.principal, wanted.target)
    return versions(by).merge(wanted)


def versions(by: Asker) -> CatalogVersions:
    """The verbs as far as who asks may use them."""
    return CatalogVersions(by.catalog, by.service.settings, whole=by.service.catalog)


def once(by: Asker, work: Callable[[], T]) -> T:
    """What ``work`` gives, or gave when the request was sent before. What makes no sense becomes ``BadRequest``."""
    try:
        return by.service.once.do(None if by.key is None else f"{by.principal.user}/{by.key}", work)
    except ValueError as error:
        raise BadRequest(str(error)) from error
