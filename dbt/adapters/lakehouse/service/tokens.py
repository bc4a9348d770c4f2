"""Tokens: ``lh_<id>_<secret>``. The id finds the token, the secret proves it; the store knows its hash alone."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

USED_COARSENESS = timedelta(minutes=1)
"""How exact a token's ``used_at`` is: it is not worth a write for each request."""

ID_LENGTH = 12
_FORM = re.compile(r"lh_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token as it is kept: everything but the secret. Times are UTC; ``used_at`` is coarse."""

    id: str
    name: str
    user: str
    role: str
    secret_hash: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    used_at: datetime | None = None
    revoked_at: datetime | None = None

    def fault(self, now: datetime | None = None) -> str | None:
        """Why the token is not valid any more; None if it is."""
        if self.revoked_at is not None:
            return f"token was revoked at {self.revoked_at.isoformat(timespec='seconds')}"
        if self.expires_at is not None and self.expires_at <= (now or datetime.now(UTC)):
            return f"token expired at {self.expires_at.isoformat(timespec='seconds')}"
        return None


def new_secret() -> tuple[str, str, str]:
    """An id, the whole token as its holder keeps it, and the hash that is stored."""
    identity, secret = secrets.token_hex(ID_LENGTH // 2), secrets.token_urlsafe(32)
    return identity, f"lh_{identity}_{secret}", secret_hash(secret)


def split(text: str) -> tuple[str, str] | None:
    """Id and secret of a token; None if that is no token."""
    match = _FORM.fullmatch(text)
    return None if match is None else (match[1], match[2])


def secret_hash(secret: str) -> str:
    """What is stored of a secret.

    Plain SHA-256: a slow hash (bcrypt, scrypt) makes guessing dear where a secret is one of few, as people's passwords
    are. This one has 256 random bits, which nobody guesses at any speed; a slow hash would only slow each request.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def matches(secret: str, stored: str) -> bool:
    """Whether a secret is the one whose hash is stored; takes as long for a near miss as for a far one."""
    return hmac.compare_digest(secret_hash(secret), stored)
