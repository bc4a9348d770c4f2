"""The catalog's verbs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from dbt.adapters.lakehouse.lake.remote.verbs import Verb, catalog_verbs
from dbt.adapters.lakehouse.service import replies
from dbt.adapters.lakehouse.service.asking import Asker, asker


def router() -> APIRouter:
    """One route a verb."""
    routes = APIRouter(prefix="/v1/catalog", tags=["catalog"])
    for verb in catalog_verbs().values():
        _add(routes, verb)
    return routes


def _add(routes: APIRouter, verb: Verb) -> None:
    def endpoint(request: Request, arguments: Any) -> Response:
        by = asker(request)
        answer = by.service.once.do(_own(by), lambda: _call(by, verb, arguments))
        return replies.document(verb.answer, verb.pack(answer))

    endpoint.__annotations__["arguments"] = verb.arguments
    routes.post(
        f"/{verb.name}",
        response_model=verb.answer,
        summary=verb.name,
        description=verb.help,
        operation_id=f"catalog_{verb.name}",
    )(endpoint)


def _own(by: Asker) -> str | None:
    """The request's key among those of everybody."""
    return None if by.key is None else f"{by.principal.user}/{by.key}"


def _call(by: Asker, verb: Verb, arguments: Any) -> Any:
    given = {name: getattr(arguments, name) for name in verb.names}
    if "author" in given:
        given["author"] = by.principal.user
    return getattr(by.catalog, verb.name)(**given)
