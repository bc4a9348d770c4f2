"""What a service must remember beside the catalog: tokens, audit log, creators of branches, states of runs, jobs.

Each verb is one transaction. Safe for use by several threads and processes at once.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from dbt.adapters.lakehouse.catalog.model import time_text
from dbt.adapters.lakehouse.errors import CatalogError, ConfigError
from dbt.adapters.lakehouse.service import tokens
from dbt.adapters.lakehouse.service.audit import AuditEntry
from dbt.adapters.lakehouse.service.config import Retention
from dbt.adapters.lakehouse.service.database import ServiceDatabase, store_url
from dbt.adapters.lakehouse.service.job_log import StoredJobLog
from dbt.adapters.lakehouse.service.tokens import USED_COARSENESS, Token

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.catalog.sql_database import Database


_log = logging.getLogger("lakehouse.audit")


@dataclass(frozen=True, kw_only=True)
class RunState:
    """What a run must remember beyond the catalog, as its owner wrote it (JSON)."""

    run: str
    user: str
    state: str
    saved_at: datetime


class ServiceStore:
    """See the module. Made by ``open``."""

    def __init__(self, database: Database) -> None:
        self.url = database.url
        self._database = database
        self._audit = _AuditWriter(database)
        self._jobs: StoredJobLog | None = None
        self._lock = threading.Lock()

    @classmethod
    def open(cls, catalog: str, *, create: bool = True) -> ServiceStore:
        """The store of the service whose catalog is at this URL; created where there is none, if ``create`` says so.

        Raises ``CatalogError``.
        """
        database, is_new = ServiceDatabase.open(store_url(catalog), create=create)
        try:
            if is_new and not create:
                raise CatalogError(f"there is no service store in {database.url}; {database.made_by}")
            if is_new:
                with database.write() as connection:
                    database.create_tables(connection)
        except BaseException:
            database.close()
            raise
        return cls(database)

    # tokens

    def create_token(
        self, *, name: str, user: str, role: str, created_by: str, expires_at: datetime | None = None
    ) -> tuple[Token, str]:
        """A new token, and its text, which is not kept. Names of users and roles are the caller's to check."""
        identity, text, stored = tokens.new_secret()
        token = Token(
            id=identity,
            name=name,
            user=user,
            role=role,
            secret_hash=stored,
            created_at=datetime.now(UTC),
            created_by=created_by,
            expires_at=expires_at,
        )
        with self._database.write() as connection:
            connection.execute(_INSERT_TOKEN, _token_values(token))
        return token, text

    def token(self, identity: str) -> Token | None:
        """A token by its id."""
        with self._database.read() as connection:
            row = connection.execute(_TOKEN, {"id": identity}).one_or_none()
            return None if row is None else _token(row)

    def tokens(self) -> list[Token]:
        """All tokens, newest first, revoked ones too."""
        with self._database.read() as connection:
            return [_token(row) for row in connection.execute(_TOKENS)]

    def revoke_token(self, identity: str) -> Token:
        """Let a token be valid no more; again is no error. Raises ``ConfigError`` if there is none of that id."""
        with self._database.write() as connection:
            connection.execute(_REVOKE, {"id": identity, "now": time_text(datetime.now(UTC))})
            row = connection.execute(_TOKEN, {"id": identity}).one_or_none()
        if row is None:
            raise ConfigError(f"there is no token {identity!r}; `lakehouse token list` shows which there are")
        return _token(row)

    def touch_token(self, identity: str) -> None:
        """Say that a token was used now, unless that is known about as exactly as ``USED_COARSENESS``."""
        now = datetime.now(UTC)
        values = {"id": identity, "now": time_text(now), "before": time_text(now - USED_COARSENESS)}
        with self._database.write() as connection:
            connection.execute(_TOUCH, values)

    # audit

    def record(self, entry: AuditEntry) -> None:
        """See ``audit.AuditLog``."""
        self._audit.write(entry)

    def audit(
        self, *, user: str | None = None, since: datetime | None = None, limit: int | None = None
    ) -> list[AuditEntry]:
        """Entries of the audit log, newest first."""
        conditions, values = [], {"limit": limit if limit is not None else 2**62}
        if user is not None:
            conditions.append("user_name = :user")
            values["user"] = user  # type: ignore[assignment]
        if since is not None:
            conditions.append("time >= :since")
            values["since"] = time_text(since)  # type: ignore[assignment]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        query = sa.text(f"SELECT {_AUDIT} FROM lakehouse_service_audit {where} ORDER BY time DESC, id LIMIT :limit")
        with self._database.read() as connection:
            return [_audit_entry(row) for row in connection.execute(query, values)]

    # branches

    def own(self, branch: str, created_at: datetime, user: str) -> None:
        """See ``access.Owners``."""
        with self._database.write() as connection:
            connection.execute(_OWN, {"branch": branch, "created_at": time_text(created_at), "user": user})

    def owned_by(self, user: str) -> dict[str, datetime]:
        """See ``access.Owners``."""
        with self._database.read() as connection:
            rows = connection.execute(_OWNED, {"user": user})
            return {row.branch: datetime.fromisoformat(row.created_at) for row in rows}

    # runs

    def save_run_state(self, run_id: str, user: str, json: str) -> None:
        """Keep what a run must remember; replaces what was kept of it."""
        values = {"id": run_id, "user": user, "state": json, "now": time_text(datetime.now(UTC))}
        with self._database.write() as connection:
            connection.execute(_SAVE_RUN, values)

    def run_state(self, run_id: str) -> tuple[str, str] | None:
        """User and state of a run."""
        with self._database.read() as connection:
            row = connection.execute(_RUN, {"id": run_id}).one_or_none()
            return None if row is None else (row.user_name, row.state)

    def forget_run_state(self, run_id: str) -> None:
        """Keep nothing of a run any more."""
        with self._database.write() as connection:
            connection.execute(_FORGET_RUN, {"id": run_id})

    def run_states(self) -> list[RunState]:
        """What was kept of all runs, oldest first."""
        with self._database.read() as connection:
            return [_run_state(row) for row in connection.execute(_RUNS)]

    # the store itself

    @property
    def jobs(self) -> StoredJobLog:
        """The records of jobs; what changes in them is written by a thread of its own until ``close``."""
        with self._lock:
            if self._jobs is None:
                self._jobs = StoredJobLog(self._database)
            return self._jobs

    def prune(self, retention: Retention) -> None:
        """Remove what has been kept long enough."""
        self.jobs.prune(retention.job_age, retention.jobs)
        with self._database.write() as connection:
            connection.execute(_PRUNE_AUDIT, {"before": time_text(datetime.now(UTC) - retention.audit)})

    def close(self) -> None:
        """Write what is still to be written, and give back connections."""
        if self._jobs is not None:
            self._jobs.close()
        self._database.close()


class _AuditWriter:
    """Writes entries before it returns; those of several threads that come at once in one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._waiting: list[_Waiting] = []

    def write(self, entry: AuditEntry) -> None:
        """Keep an entry. Raises ``CatalogError``."""
        mine = _Waiting(entry)
        with self._lock:
            self._waiting.append(mine)
        with self._turn:
            if not mine.done:
                self._write_all()
        if mine.error is not None:
            raise mine.error
        _log.info("%s %s", entry.outcome, entry.verb, extra={"fields": _log_fields(entry)})

    def _write_all(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting, []
        with _shared_fate(batch), self._database.write() as connection:
            connection.execute(_INSERT_AUDIT, [_audit_values(waiting.entry) for waiting in batch])


class _Waiting:
    def __init__(self, entry: AuditEntry) -> None:
        self.entry = entry
        self.done = False
        self.error: Exception | None = None


@contextmanager
def _shared_fate(batch: Sequence[_Waiting]) -> Iterator[None]:
    """What becomes of one transaction becomes of every entry in it; each writer raises for itself."""
    try:
        yield
    except Exception as error:
        for waiting in batch:
            waiting.error = error
    finally:
        for waiting in batch:
            waiting.done = True


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _text(time: datetime | None) -> str | None:
    return None if time is None else time_text(time)


def _token_values(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "user_name": token.user,
        "role": token.role,
        "secret_hash": token.secret_hash,
        "created_at": time_text(token.created_at),
        "created_by": token.created_by,
        "expires_at": _text(token.expires_at),
        "used_at": _text(token.used_at),
        "revoked_at": _text(token.revoked_at),
    }


def _token(row: sa.Row[Any]) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        user=row.user_name,
        role=row.role,
        secret_hash=row.secret_hash,
        created_at=datetime.fromisoformat(row.created_at),
        created_by=row.created_by,
        expires_at=_time(row.expires_at),
        used_at=_time(row.used_at),
        revoked_at=_time(row.revoked_at),
    )


def _audit_values(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": secrets.token_hex(16),
        "time": time_text(entry.time),
        "verb": entry.verb,
        "outcome": entry.outcome,
        "ref": entry.ref,
        "user_name": entry.user,
        "role": entry.role,
        "token": entry.token,
        "run": entry.run,
        "reason": entry.reason,
        "request": entry.request,
    }


def _audit_entry(row: sa.Row[Any]) -> AuditEntry:
    return AuditEntry(
        verb=row.verb,
        outcome=row.outcome,
        ref=row.ref,
        user=row.user_name,
        role=row.role,
        token=row.token,
        run=row.run,
        reason=row.reason,
        request=row.request,
        time=datetime.fromisoformat(row.time),
    )


def _log_fields(entry: AuditEntry) -> dict[str, Any]:
    return {name: value for name, value in vars(entry).items() if name not in ("time", "verb", "outcome")}


def _run_state(row: sa.Row[Any]) -> RunState:
    return RunState(run=row.id, user=row.user_name, state=row.state, saved_at=datetime.fromisoformat(row.saved_at))


_TOKEN_NAMES = (
    "id", "name", "user_name", "role", "secret_hash", "created_at", "created_by", "expires_at", "used_at", "revoked_at",
)  # fmt: skip
_TOKEN_COLUMNS = ", ".join(_TOKEN_NAMES)
_INSERT_TOKEN = sa.text(
    f"INSERT INTO lakehouse_service_tokens ({_TOKEN_COLUMNS}) VALUES ({', '.join(f':{n}' for n in _TOKEN_NAMES)})"
)
_TOKEN = sa.text(f"SELECT {_TOKEN_COLUMNS} FROM lakehouse_service_tokens WHERE id = :id")
_TOKENS = sa.text(f"SELECT {_TOKEN_COLUMNS} FROM lakehouse_service_tokens ORDER BY created_at DESC, id")
_REVOKE = sa.text("UPDATE lakehouse_service_tokens SET revoked_at = coalesce(revoked_at, :now) WHERE id = :id")
_TOUCH = sa.text("""
    UPDATE lakehouse_service_tokens SET used_at = :now WHERE id = :id AND (used_at IS NULL OR used_at < :before)
""")
_AUDIT_NAMES = ("id", "time", "verb", "outcome", "ref", "user_name", "role", "token", "run", "reason", "request")
_AUDIT = ", ".join(_AUDIT_NAMES)
_INSERT_AUDIT = sa.text(
    f"INSERT INTO lakehouse_service_audit ({_AUDIT}) VALUES ({', '.join(f':{name}' for name in _AUDIT_NAMES)})"
)
_PRUNE_AUDIT = sa.text("DELETE FROM lakehouse_service_audit WHERE time < :before")
_OWN = sa.text("""
    INSERT INTO lakehouse_service_owners (branch, created_at, user_name) VALUES (:branch, :created_at, :user)
    ON CONFLICT (branch) DO UPDATE SET created_at = excluded.created_at, user_name = excluded.user_name
""")
_OWNED = sa.text("SELECT branch, created_at FROM lakehouse_service_owners WHERE user_name = :user")
_SAVE_RUN = sa.text("""
    INSERT INTO lakehouse_service_runs (id, user_name, state, saved_at) VALUES (:id, :user, :state, :now)
    ON CONFLICT (id) DO UPDATE SET user_name = excluded.user_name, state = excluded.state, saved_at = excluded.saved_at
""")
_RUN = sa.text("SELECT id, user_name, state, saved_at FROM lakehouse_service_runs WHERE id = :id")
_RUNS = sa.text("SELECT id, user_name, state, saved_at FROM lakehouse_service_runs ORDER BY saved_at, id")
_FORGET_RUN = sa.text("DELETE FROM lakehouse_service_runs WHERE id = :id")
