"""Answers over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi.responses import Response

from dbt.adapters.lakehouse.errors import (
    AccessError,
    BadRequest,
    Busy,
    CatalogError,
    ConfigError,
    ConflictError,
    Denied,
    Guarded,
    InvalidRef,
    JobCancelled,
    JobNotFound,
    LakehouseError,
    NotInLake,
    RefNotFound,
    SessionLost,
    StorageError,
    TaintedError,
    Unauthenticated,
    Unavailable,
    VersionSkew,
)
from dbt.adapters.lakehouse.jobs.rows import ArrowRows
from dbt.adapters.lakehouse.lake.remote import wire
from dbt.adapters.lakehouse.lake.remote.rows import with_answer

STATUS: Mapping[type[LakehouseError], int] = {
    BadRequest: 400,
    ConfigError: 400,
    InvalidRef: 400,
    Unauthenticated: 401,
    Denied: 403,
    AccessError: 403,
    RefNotFound: 404,
    NotInLake: 404,
    JobNotFound: 404,
    ConflictError: 409,
    TaintedError: 409,
    Guarded: 409,
    JobCancelled: 409,
    SessionLost: 410,
    VersionSkew: 426,
    StorageError: 500,
    CatalogError: 500,
    Unavailable: 503,
    Busy: 503,
    LakehouseError: 422,
}
"""HTTP's status for each kind of error; that of the nearest class above where a class is not named."""


def status_of(error: LakehouseError) -> int:
    """HTTP's status for an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def document(kind: Any, value: Any, *, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON."""
    return Response(wire.dump(kind, value), media_type=wire.JSON, headers=dict(headers or {}))


def rows(answer: wire.Answer, found: Any, *, headers: Mapping[str, str] | None = None) -> Response:
    """What a statement gave: an Arrow stream if it has columns, else JSON."""
    if not answer.columns:
        return document(wire.Answer, answer, headers=headers)
    if not isinstance(found, ArrowRows):  # nothing was fetched
        return document(wire.Answer, answer, headers=headers)
    body = b"".join(with_answer(found.ipc, answer))
    return Response(body, media_type=wire.ARROW, headers=dict(headers or {}))


def refusal(error: LakehouseError, *, status: int | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """An error as JSON."""
    more = dict(headers or {})
    if isinstance(error, Unavailable | Busy):
        more.setdefault("Retry-After", "1")
    if isinstance(error, Unauthenticated):
        more["WWW-Authenticate"] = "Bearer"
    text = wire.dump(wire.ErrorDocument, wire.error_document(error))
    return Response(text, status_code=status or status_of(error), media_type=wire.JSON, headers=more)
