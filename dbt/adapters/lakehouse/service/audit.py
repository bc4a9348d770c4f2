"""The audit log: what was granted and what was denied, to whom."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.service.policy import Principal

Outcome = Literal["granted", "denied", "failed"]
"""``failed``: it was granted (an entry before this one says so) and then could not be done."""

REQUEST_ID: ContextVar[str | None] = ContextVar("lakehouse_request_id", default=None)
"""The id of the request that is being answered; set by who receives requests."""


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One line of the audit log. ``time`` is UTC; ``token`` is a token's id."""

    verb: str
    outcome: Outcome
    ref: str | None = None
    user: str | None = None
    role: str | None = None
    token: str | None = None
    run: str | None = None
    reason: str | None = None
    request: str | None = field(default_factory=REQUEST_ID.get)
    time: datetime = field(default_factory=lambda: datetime.now(UTC))


class AuditLog(Protocol):
    """Takes entries. What ``record`` was given is kept when it returns."""

    def record(self, entry: AuditEntry) -> None:
        """Keep an entry. Raises ``CatalogError`` where that is not possible; then nothing may be granted."""
        ...


def entry_for(
    principal: Principal,
    verb: str,
    outcome: Outcome,
    *,
    ref: str | None = None,
    run: str | None = None,
    reason: str | None = None,
) -> AuditEntry:
    """An entry about somebody."""
    return AuditEntry(
        verb=verb,
        outcome=outcome,
        ref=ref,
        user=principal.user,
        role=principal.role,
        token=principal.token,
        run=run,
        reason=reason,
    )
