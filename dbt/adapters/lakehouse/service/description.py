"""The service's description in OpenAPI, with what FastAPI cannot know: tokens, errors, bodies that are not JSON."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from dbt.adapters.lakehouse.lake.remote import wire
from dbt.adapters.lakehouse.run.values import Build
from dbt.adapters.lakehouse.service.replies import STATUS

OPEN = ("/healthz", "/readyz")
"""What is answered without a token."""

_REF = "#/components/schemas/{model}"
_TEXT = {"text/plain": {"schema": {"type": "string"}}}
_ROWS = {wire.ARROW: {"schema": {"type": "string", "format": "binary"}}}
_WHY = {
    400: "The request makes no sense.",
    401: "No valid token.",
    403: "The token's role does not allow it.",
    404: "There is no such thing.",
    405: "The path knows other methods.",
    409: "Somebody was faster, or the run is over or cancelled.",
    410: "The session's temporary tables are gone.",
    422: "It was tried and failed: SQL, Python, types, constraints, memory.",
    426: "Client and service do not understand each other.",
    500: "Catalog, storage or the service itself failed.",
    503: "Later, the same request may succeed.",
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The whole description."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    described = FastAPI.openapi(app)
    components = described.setdefault("components", {})
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    _add_models(components.setdefault("schemas", {}))
    for path, methods in described["paths"].items():
        for operation in methods.values():
            _complete(path, operation)
    return described


def _add_models(schemas: dict[str, Any]) -> None:
    for kind, mode in ((Build, "validation"), (wire.ErrorDocument, "serialization"), (wire.Event, "serialization")):
        schema = wire.adapter(kind).json_schema(ref_template=_REF, mode=mode)
        for name, inner in schema.pop("$defs", {}).items():
            schemas.setdefault(name, inner)
        schemas[kind.__name__] = schema


def _complete(path: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    last = path.rpartition("/")[2]
    if path in OPEN or path == "/metrics":
        responses["200"]["content"] = _TEXT
    if path in OPEN:
        responses["503"] = {"description": "Not ready.", "content": _TEXT}
        return
    if last == "execute":
        responses["200"]["content"].update(_ROWS)
    elif last == "arrow":
        responses["200"]["content"] = _ROWS
    elif last == "build":
        responses["200"]["content"] = {wire.LINES: {"schema": {"$ref": _REF.format(model="Event")}}}
        body = {wire.JSON: {"schema": {"$ref": _REF.format(model="Build")}}}
        rows = {wire.BUILD_WITH_ROWS: {"schema": {"type": "string", "format": "binary"}}}
        operation["requestBody"] = {"required": True, "content": {**body, **rows}}
    operation["security"] = [{"token": []}]
    error = {wire.JSON: {"schema": {"$ref": _REF.format(model="ErrorDocument")}}}
    for status in sorted({*STATUS.values(), *_WHY}):
        responses[str(status)] = {"description": _WHY[status], "content": error}
