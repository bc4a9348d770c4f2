"""The service over HTTP: an ASGI application.

Every path under ``/v1`` needs a token. What goes wrong comes back as ``wire.ErrorDocument`` with a status of its kind.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from dbt.adapters.lakehouse.__version__ import version
from dbt.adapters.lakehouse.errors import BadRequest, LakehouseError, ServiceError
from dbt.adapters.lakehouse.service import (
    routes_admin,
    routes_catalog,
    routes_runs,
    routes_status,
    routes_upkeep,
    routes_versions,
)
from dbt.adapters.lakehouse.service.core import Service
from dbt.adapters.lakehouse.service.description import describe
from dbt.adapters.lakehouse.service.door import Door
from dbt.adapters.lakehouse.service.replies import refusal
from dbt.adapters.lakehouse.service.threads import STATEMENTS


def create_app(service: Service) -> Any:
    """The application; it does not close the service."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = STATEMENTS
        yield

    app = FastAPI(
        title="dbt-lakehouse",
        version=version,
        summary="A lake of Iceberg tables under a git-like catalog, and the execution of dbt models on it.",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect has no body to say what is wrong, and no route here ends in a slash
    )
    app.state.service = service
    app.openapi = lambda: describe(app)  # type: ignore[method-assign] # as FastAPI's documentation has it
    app.add_exception_handler(LakehouseError, _said)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _unknown)
    app.add_exception_handler(Exception, _broken)
    app.include_router(routes_status.router)
    app.include_router(routes_catalog.router())
    app.include_router(routes_versions.router)
    app.include_router(routes_upkeep.router)
    for router in (*routes_runs.routers(), *routes_admin.routers()):
        app.include_router(router)
    return Door(app, service)


async def _said(_request: Request, error: Exception) -> Response:
    assert isinstance(error, LakehouseError)
    return refusal(error)


async def _malformed(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:5])
    return refusal(BadRequest(f"the request makes no sense: {faults}"))


async def _broken(request: Request, _error: Exception) -> Response:
    """What nobody thought of; ``Door`` writes it to the log."""
    said = f"the service failed on this request, and its log says why: look for request {request.state.request} there"
    return refusal(ServiceError(said), status=500)


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    document = BadRequest(f"{request.method} {request.url.path}: {error.detail}")
    headers = dict(error.headers or {})
    described = request.app.openapi()["paths"].get(getattr(request.scope.get("route"), "path_format", None))
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and described is not None:
        # Starlette names the methods of one route, and a path may have several.
        headers["Allow"] = ", ".join(sorted(method.upper() for method in described))
    return refusal(document, status=error.status_code, headers=headers)
