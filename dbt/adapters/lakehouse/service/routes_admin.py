"""Tokens and the audit log, for admins; jobs, for their users and for those who look after all."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from pydantic import BeforeValidator

from dbt.adapters.lakehouse.errors import ConfigError, Denied
from dbt.adapters.lakehouse.executors.pool import PoolExecutor
from dbt.adapters.lakehouse.executors.records import JobRecord, State
from dbt.adapters.lakehouse.lake.remote.admin import AuditLine, NewToken, TokenInfo, TokenWish
from dbt.adapters.lakehouse.service import replies
from dbt.adapters.lakehouse.service.admin import StoreAdmin, brief, no_job
from dbt.adapters.lakehouse.service.asking import Asker, asker
from dbt.adapters.lakehouse.service.audit import entry_for
from dbt.adapters.lakehouse.service.policy import Capability

Id = Annotated[str, Path(pattern="^[A-Za-z0-9._-]{1,200}$")]
Limit = Annotated[int, Query(ge=1, le=10_000)]
UserName = Annotated[str | None, Query(pattern="^[A-Za-z0-9_.@+-]{1,100}$", description="of this user alone")]


def _no_number(text: object) -> object:
    """Refuse what pydantic would take for seconds since 1970."""
    if isinstance(text, str) and not text[4:5] == "-":
        raise ValueError("a time is written as 2026-11-20T10:00:00Z")
    return text


Since = Annotated[datetime | None, BeforeValidator(_no_number), Query(description="with a time zone")]


def routers() -> list[APIRouter]:
    """All of it."""
    tokens, jobs = APIRouter(prefix="/v1", tags=["tokens"]), APIRouter(prefix="/v1/jobs", tags=["jobs"])
    _add_tokens(tokens)
    _add_jobs(jobs)
    return [tokens, jobs]


def _add_tokens(routes: APIRouter) -> None:
    @routes.get("/tokens", response_model=list[TokenInfo])
    def tokens(request: Request) -> Response:
        """All tokens, newest first, revoked ones too."""
        return replies.document(list[TokenInfo], _admin(asker(request), "list_tokens").tokens())

    @routes.post("/tokens", response_model=NewToken)
    def create_token(request: Request, wish: TokenWish) -> Response:
        """Make a token. Its text is in this answer and nowhere else."""
        by = asker(request)
        admin = _admin(by, "create_token")
        key = None if by.key is None else f"{by.principal.user}/{by.key}"
        return replies.document(NewToken, by.service.once.do(key, lambda: admin.create_token(wish)))

    @routes.post("/tokens/{token}/revoke", response_model=TokenInfo)
    def revoke_token(request: Request, token: Id) -> Response:
        """Let a token be valid no more, by its id or the first characters of it."""
        return replies.document(TokenInfo, _admin(asker(request), "revoke_token").revoke_token(token))

    @routes.get("/audit", response_model=list[AuditLine])
    def audit(request: Request, user: UserName = None, since: Since = None, limit: Limit = 100) -> Response:
        """The audit log, newest first."""
        found = _admin(asker(request), "read_audit").audit(user=user, since=_utc(since), limit=limit)
        return replies.document(list[AuditLine], found)


def _admin(by: Asker, verb: str) -> StoreAdmin:
    """The verbs of admins. Raises ``Denied``."""
    service, who = by.service, by.principal
    if not service.config.policy.may(who, Capability.ADMIN):
        reason = f"user {who.user!r} has role {who.role!r}; tokens and the audit log are for role 'admin'"
        service.store.record(entry_for(who, verb, "denied", reason=reason))
        raise Denied(reason)
    return StoreAdmin(service.store, service.config.policy, who)


def _utc(time: datetime | None) -> datetime | None:
    if time is not None and time.tzinfo is None:
        raise ConfigError("'since' needs a time zone: 2026-11-20T10:00:00Z")
    try:
        return None if time is None else time.astimezone(UTC)
    except OverflowError:
        raise ConfigError(f"'since' is {time.isoformat() if time else None}, which is no time in UTC") from None


def _add_jobs(routes: APIRouter) -> None:
    @routes.get("", response_model=list[JobRecord])
    def jobs(request: Request, state: State | None = None, user: UserName = None, limit: Limit = 100) -> Response:
        """Jobs, the latest submitted first, without envelopes and logs: one's own, or everybody's for those who may."""
        by = asker(request)
        if not _sees_all(by):
            if user not in (None, by.principal.user):
                return replies.document(list[JobRecord], [])
            user = by.principal.user
        pool = _pool(by)
        live = {record.key: record for record in pool.jobs()}  # these know their progress
        found = [brief(live.get(record.key, record)) for record in pool.log.list(limit, state, user)]
        return replies.document(list[JobRecord], found)

    @routes.get("/{key}", response_model=JobRecord)
    def job(request: Request, key: Id) -> Response:
        """A job with everything that is known of it."""
        return replies.document(JobRecord, _job(asker(request), key))

    @routes.post("/{key}/cancel", response_model=JobRecord)
    def cancel_job(request: Request, key: Id) -> Response:
        """Stop a job that waits or runs. One that is over stays as it is."""
        by = asker(request)
        _job(by, key)
        by.service.store.record(entry_for(by.principal, "cancel_job", "granted", ref=key))
        _pool(by).cancel_job(key)
        return replies.document(JobRecord, _job(by, key))

    @routes.post("/{key}/replay", response_model=JobRecord)
    def replay_job(request: Request, key: Id) -> Response:
        """Run a job again that is over, wait for it, and give its new record. What it writes is removed."""
        by = asker(request)
        _job(by, key)
        by.service.check_accepts()
        by.service.store.record(entry_for(by.principal, "replay_job", "granted", ref=key))
        once = None if by.key is None else f"{by.principal.user}/{by.key}"
        return replies.document(JobRecord, by.service.once.do(once, lambda: _pool(by).replay(key)))


def _sees_all(by: Asker) -> bool:
    return by.service.config.policy.may(by.principal, Capability.JOBS)


def _pool(by: Asker) -> PoolExecutor:
    executor = by.service.executor
    if not isinstance(executor, PoolExecutor):
        raise ConfigError("this service runs jobs in its own process and keeps no records of them")
    return executor


def _job(by: Asker, key: str) -> JobRecord:
    """A job that who asks may see. Raises ``JobNotFound`` for others too: whether they exist is nobody's business."""
    pool = _pool(by)
    record = pool.log.get(key)
    if record is None or not (_sees_all(by) or record.user == by.principal.user):
        raise no_job(key)
    live = next((one for one in pool.jobs() if one.key == key), None)
    return record if live is None else dataclasses.replace(live, logs=record.logs)
