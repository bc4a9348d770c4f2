"""The catalog's verbs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from dbt.adapters.lakehouse.catalog.model import MergeResult, Ref, TableEntry, content_id
from dbt.adapters.lakehouse.errors import (
    BadRequest,
    Denied,
    Guarded,
    HeadMoved,
    LakehouseError,
    RefExists,
    RefNotFound,
    TaintedError,
)
from dbt.adapters.lakehouse.lake.remote.verbs import Verb, catalog_verbs
from dbt.adapters.lakehouse.run import guards
from dbt.adapters.lakehouse.run.values import MergeRequest
from dbt.adapters.lakehouse.service import replies
from dbt.adapters.lakehouse.service.asking import Asker, asker
from dbt.adapters.lakehouse.service.policy import ADMIN
from dbt.adapters.lakehouse.service.routes_versions import merged


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
    if verb.name == "commit":
        _check_entries(by, given["puts"])
    try:
        if verb.name == "merge":
            return _merge(by, MergeRequest(**{**given, "provenance": given["provenance"] or {}}))
        return getattr(by.catalog, verb.name)(**given)
    except ValueError as error:
        raise BadRequest(str(error)) from error
    except (RefExists, RefNotFound, HeadMoved) as error:
        if by.attempt == 1:
            raise
        return _done_before(by, verb.name, given, error)


def _merge(by: Asker, request: MergeRequest) -> MergeResult:
    """Merge through the door that all merges take: without choices to make, what a guard refuses is an error."""
    result = merged(by, request)
    if result.tainted is not None:
        raise TaintedError(result.tainted)
    if result.refusals:
        raise Guarded(guards.message(f"merging {request.source!r} into {request.target!r}", result.refusals))
    return result


def _check_entries(by: Asker, puts: Any) -> None:
    """Raise ``Denied`` for a table that the catalog does not know: whoever names files by hand could name any."""
    unknown = [content_id(put.entry) for put in puts if isinstance(put.entry, TableEntry)]
    if by.principal.role != ADMIN.name and len(by.catalog.contents(unknown)) < len(set(unknown)):
        raise Denied(
            f"user {by.principal.user!r} has role {by.principal.role!r} and may not put tables into the catalog that no job "
            "of the service wrote; let a run write them"
        )


def _done_before(by: Asker, verb: str, given: Mapping[str, Any], error: LakehouseError) -> Ref | None:
    """The answer to a request that is sent again, where what it wants is so already; else its error."""
    name = given.get("name", given.get("branch"))
    found = next((ref for ref in by.catalog.refs() if ref.name == name), None)
    if verb == "delete_ref" and found is None:
        return None
    wanted = given.get("at", given.get("to"))
    if verb in ("create_ref", "assign") and found is not None and found.commit == by.catalog.resolve(wanted).id:
        return found
    raise error
