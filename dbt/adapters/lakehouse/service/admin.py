"""What those who look after a service do with its store: tokens, the audit log, the records of jobs.

Over HTTP these verbs are checked against the role of who asks (``routes_admin``); on the service's own machine, whoever can
write the store may use them, which is how the first token is made.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

from dbt.adapters.lakehouse.errors import ConfigError, JobNotFound
from dbt.adapters.lakehouse.executors.records import JobRecord, State
from dbt.adapters.lakehouse.lake.remote.admin import AuditLine, NewToken, TokenInfo, TokenWish
from dbt.adapters.lakehouse.service.audit import AuditEntry
from dbt.adapters.lakehouse.service.policy import Policy, Principal
from dbt.adapters.lakehouse.service.store import ServiceStore
from dbt.adapters.lakehouse.service.tokens import Token

LONGEST = timedelta(days=36_500)


class StoreAdmin:
    """See ``lake.remote.admin.RemoteAdmin``; on the store itself. ``by`` is who acts."""

    def __init__(self, store: ServiceStore, policy: Policy, by: Principal) -> None:
        self._store = store
        self._policy = policy
        self._by = by

    def create_token(self, wish: TokenWish) -> NewToken:
        """A new token. Raises ``ConfigError`` for a user or role that cannot be."""
        self._policy.check_user(wish.user)
        self._policy.role(wish.role)
        label = wish.label if wish.label is not None else wish.user
        if not label.strip() or not label.isprintable() or len(label) > 200:
            raise ConfigError(f"{label!r} cannot label a token; use up to 200 characters, all of them printable")
        self._audit("create_token", wish.user, f"with role {wish.role}")
        token, text = self._store.create_token(
            name=label,
            user=wish.user,
            role=wish.role,
            created_by=self._by.user,
            expires_at=_in(wish.expires_in),
        )
        return NewToken(token=token_info(token), text=text)

    def tokens(self) -> list[TokenInfo]:
        """All tokens, newest first, revoked ones too."""
        return [token_info(token) for token in self._store.tokens()]

    def revoke_token(self, token: str) -> TokenInfo:
        """Let a token be valid no more, by its id or the first characters of it. Raises ``ConfigError``."""
        found = [one for one in self._store.tokens() if one.id.startswith(token)] if len(token) >= 4 else []
        if len(found) > 1:
            raise ConfigError(f"token id {token!r} is ambiguous: {len(found)} ids start so; write more characters")
        self._audit("revoke_token", token, f"of user {found[0].user}" if found else "there is none")
        return token_info(self._store.revoke_token(found[0].id if found else token))

    def audit(
        self, *, user: str | None = None, since: datetime | None = None, limit: int | None = None
    ) -> list[AuditLine]:
        """Entries of the audit log, newest first."""
        return [audit_line(entry) for entry in self._store.audit(user=user, since=since, limit=limit)]

    def jobs(self, *, state: State | None = None, user: str | None = None, limit: int = 100) -> list[JobRecord]:
        """Jobs, the latest submitted first, without envelopes and logs."""
        return [brief(record) for record in self._store.jobs.list(limit, state, user)]

    def job(self, key: str) -> JobRecord:
        """A job with everything that is known of it. Raises ``JobNotFound``."""
        record = self._store.jobs.get(key)
        if record is None:
            raise no_job(key)
        return record

    def cancel_job(self, key: str) -> JobRecord:
        """Raises ``ConfigError``: the process that runs it must be told."""
        raise ConfigError(f"job {key} can be cancelled by its service alone; name that: --service URL")

    def replay_job(self, key: str) -> JobRecord:
        """Raises ``ConfigError``: it needs workers."""
        raise ConfigError(f"job {key} can be run again by a service alone; name that: --service URL")

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _audit(self, verb: str, ref: str, reason: str) -> None:
        by = self._by
        self._store.record(
            AuditEntry(
                verb=verb, outcome="granted", ref=ref, user=by.user, role=by.role, token=by.token or None, reason=reason
            )
        )


def token_info(token: Token) -> TokenInfo:
    """A token without its secret's hash."""
    return TokenInfo(
        id=token.id,
        label=token.name,
        user=token.user,
        role=token.role,
        created_at=token.created_at,
        created_by=token.created_by,
        expires_at=token.expires_at,
        used_at=token.used_at,
        revoked_at=token.revoked_at,
        fault=token.fault(),
    )


def audit_line(entry: AuditEntry) -> AuditLine:
    """An entry as it travels."""
    return AuditLine(**dataclasses.asdict(entry))


def brief(record: JobRecord) -> JobRecord:
    """A record for a list."""
    return dataclasses.replace(record, envelope="", logs=())


def no_job(key: str) -> JobNotFound:
    """The error for a job that is not on record, or not for who asks."""
    return JobNotFound(f"no job {key!r} is on record; `lakehouse jobs list` shows those that are")


def _in(seconds: float | None) -> datetime | None:
    if seconds is None:
        return None
    if not 0 < seconds <= LONGEST.total_seconds():
        raise ConfigError(f"a token cannot expire in {seconds:g} seconds; a time above 0 and below 100 years is needed")
    return datetime.now(UTC) + timedelta(seconds=seconds)
