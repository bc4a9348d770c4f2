"""How the service is."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from dbt.adapters.lakehouse.__version__ import version
from dbt.adapters.lakehouse.lake.base import Check
from dbt.adapters.lakehouse.lake.remote import wire
from dbt.adapters.lakehouse.service import replies
from dbt.adapters.lakehouse.service.asking import asker
from dbt.adapters.lakehouse.service.threads import quickly

router = APIRouter()


@router.get("/healthz", tags=["status"])
async def healthz() -> Response:
    """The process lives."""
    return Response(b"ok\n", media_type="text/plain")


@router.get("/readyz", tags=["status"])
async def readyz(request: Request) -> Response:
    """It can do work: catalog and warehouse answer, and it is not shutting down."""
    service = request.app.state.service
    if service.draining:
        return Response(b"draining\n", status_code=503, media_type="text/plain")
    failed = [check for check in await quickly(service.ready) if not check.ok]
    if failed:
        # Without a token nobody is told where the lake is.
        names = ", ".join(check.name for check in failed)
        return Response(f"not ready: {names}\n".encode(), status_code=503, media_type="text/plain")
    return Response(b"ready\n", media_type="text/plain")


@router.get("/metrics", tags=["status"])
def metrics(request: Request) -> Response:
    """Numbers for Prometheus."""
    return Response(request.app.state.service.metrics.text(), media_type="text/plain; version=1.0.0; charset=utf-8")


@router.get("/v1/service", response_model=wire.ServiceInfo, tags=["status"])
def info(request: Request) -> Response:
    """Who answers, and as whom the token is known."""
    by = asker(request)
    said = wire.ServiceInfo(
        version=version,
        api=wire.API,
        database=by.service.settings.database,
        user=by.principal.user,
        role=by.principal.role,
    )
    return replies.document(wire.ServiceInfo, said)


@router.post("/v1/check", response_model=list[Check], tags=["status"])
def check(request: Request) -> Response:
    """Try warehouse, catalog and DuckDB for real."""
    return replies.document(list[Check], asker(request).service.check())
