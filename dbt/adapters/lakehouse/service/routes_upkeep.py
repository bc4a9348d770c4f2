"""Collecting garbage and compacting: the verbs of ``lake.base.Maintenance``, for admins."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from dbt.adapters.lakehouse.errors import BadRequest, Denied
from dbt.adapters.lakehouse.lake.maintenance import LakeMaintenance
from dbt.adapters.lakehouse.lake.remote.maintenance import AskCollect, AskCompact
from dbt.adapters.lakehouse.run.upkeep import Compacted, Garbage
from dbt.adapters.lakehouse.service import replies
from dbt.adapters.lakehouse.service.asking import Asker, asker
from dbt.adapters.lakehouse.service.audit import entry_for
from dbt.adapters.lakehouse.service.policy import Capability
from dbt.adapters.lakehouse.service.routes_versions import once

router = APIRouter(prefix="/v1", tags=["maintenance"])


@router.post("/gc", response_model=Garbage, operation_id="gc")
def gc(request: Request, asked: AskCollect) -> Response:
    """Collect garbage; with ``dry_run``, say what that would do."""
    by = asker(request)
    # What garbage is concerns everybody's branches, so that the whole catalog is asked, not what this user sees of it.
    upkeep = _upkeep(by, "gc", whole=True)
    try:
        wish = asked.request()
    except (OverflowError, ValueError) as error:
        raise BadRequest(f"times are in seconds: {error}") from error
    return replies.document(Garbage, once(by, lambda: upkeep.collect(wish)))


@router.post("/compact", response_model=Compacted, operation_id="compact")
def compact(request: Request, asked: AskCompact) -> Response:
    """Compact tables of a branch; with ``dry_run``, say which have something to gain."""
    by = asker(request)
    upkeep = _upkeep(by, "compact", whole=False)
    try:
        wish = asked.request(by.principal.user)
    except (OverflowError, ValueError) as error:
        raise BadRequest(f"times are in seconds: {error}") from error
    return replies.document(Compacted, once(by, lambda: upkeep.compact(wish)))


def _upkeep(by: Asker, verb: str, *, whole: bool) -> LakeMaintenance:
    """The verbs, for who may use them. Raises ``Denied``."""
    service, who = by.service, by.principal
    if not service.config.policy.may(who, Capability.ADMIN):
        reason = f"user {who.user!r} has role {who.role!r}; collecting garbage and compacting are for role 'admin'"
        service.store.record(entry_for(who, verb, "denied", reason=reason))
        raise Denied(reason)
    service.store.record(entry_for(who, verb, "granted"))
    catalog = service.catalog if whole else by.catalog
    return LakeMaintenance(catalog, service.executor, service.settings, lambda: service.runs.sweep(service.catalog))
