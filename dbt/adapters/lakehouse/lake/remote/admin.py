"""Tokens, jobs and the audit log of a service, for those who may see them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from dbt.adapters.lakehouse.executors.records import JobRecord
from dbt.adapters.lakehouse.lake.remote import wire
from dbt.adapters.lakehouse.lake.remote.http import Http
from dbt.adapters.lakehouse.settings import ServiceSettings


@dataclass(frozen=True, kw_only=True)
class TokenWish:
    """A token to be made: for which user, in which role; ``label`` tells several of one user apart."""

    user: str
    role: str
    label: str | None = None
    expires_in: float | None = None
    """In seconds; None: never."""


@dataclass(frozen=True, kw_only=True)
class TokenInfo:
    """A token without its secret. ``fault`` says why it is not valid, if it is not. Times are UTC."""

    id: str
    label: str
    user: str
    role: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    used_at: datetime | None = None
    revoked_at: datetime | None = None
    fault: str | None = None


@dataclass(frozen=True, kw_only=True)
class NewToken:
    """A token that was just made, and its text, which nobody can look up later."""

    token: TokenInfo
    text: str


@dataclass(frozen=True, kw_only=True)
class AuditLine:
    """One entry of the audit log. ``time`` is UTC."""

    time: datetime
    verb: str
    outcome: str
    ref: str | None = None
    user: str | None = None
    role: str | None = None
    token: str | None = None
    run: str | None = None
    reason: str | None = None
    request: str | None = None


class RemoteAdmin:
    """Each verb is one request. The service decides by the token's role who may."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._http = Http(settings.url, settings.token, ca=settings.ca)

    def create_token(self, wish: TokenWish) -> NewToken:
        """A new token."""
        made: NewToken = self._http.ask("/v1/tokens", TokenWish, wish, NewToken, key=uuid.uuid4().hex)
        return made

    def tokens(self) -> list[TokenInfo]:
        """All tokens, newest first, revoked ones too."""
        found: list[TokenInfo] = self._get("/v1/tokens", list[TokenInfo])
        return found

    def revoke_token(self, token: str) -> TokenInfo:
        """Let a token be valid no more."""
        revoked: TokenInfo = self._post(f"/v1/tokens/{quote(token, safe='')}/revoke", TokenInfo)
        return revoked

    def audit(
        self, *, user: str | None = None, since: datetime | None = None, limit: int | None = None
    ) -> list[AuditLine]:
        """Entries of the audit log, newest first."""
        asked = {"user": user, "since": since.isoformat() if since is not None else None, "limit": limit}
        found: list[AuditLine] = self._get("/v1/audit", list[AuditLine], **asked)
        return found

    def jobs(self, *, state: str | None = None, user: str | None = None, limit: int = 100) -> list[JobRecord]:
        """Jobs, the latest submitted first, without envelopes and logs."""
        found: list[JobRecord] = self._get("/v1/jobs", list[JobRecord], state=state, user=user, limit=limit)
        return found

    def job(self, key: str) -> JobRecord:
        """A job with everything that is known of it. Raises ``JobNotFound``."""
        found: JobRecord = self._get(f"/v1/jobs/{quote(key, safe='')}", JobRecord)
        return found

    def cancel_job(self, key: str) -> JobRecord:
        """Stop a job that waits or runs; the record as it was right after."""
        found: JobRecord = self._post(f"/v1/jobs/{quote(key, safe='')}/cancel", JobRecord)
        return found

    def replay_job(self, key: str) -> JobRecord:
        """Run a job again that is over, wait for it, and give its new record; what it writes is removed."""
        found: JobRecord = self._post(f"/v1/jobs/{quote(key, safe='')}/replay", JobRecord, key=uuid.uuid4().hex)
        return found

    def close(self) -> None:
        """Give back connections."""
        self._http.close()

    def _get(self, path: str, answer: Any, **asked: Any) -> Any:
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        return wire.load(answer, self._http.send("GET", f"{path}?{query}" if query else path).data)

    def _post(self, path: str, answer: Any, *, key: str | None = None) -> Any:
        return wire.load(answer, self._http.send("POST", path, key=key).data)
