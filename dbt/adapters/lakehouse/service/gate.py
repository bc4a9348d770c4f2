"""Who comes in, and what they are given."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.errors import ConfigError, Unauthenticated
from dbt.adapters.lakehouse.service import tokens
from dbt.adapters.lakehouse.service.access import GuardedCatalog
from dbt.adapters.lakehouse.service.audit import AuditEntry
from dbt.adapters.lakehouse.service.policy import Policy, Principal
from dbt.adapters.lakehouse.service.sight import Sight

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.catalog.base import Catalog
    from dbt.adapters.lakehouse.service.store import ServiceStore

FRESH_SECONDS = 1.0
"""How long a token that was found valid is not looked up again; a revocation takes this long at most."""

_REFUSED = (
    "this needs a valid token: `token:` in the profile, or the header 'Authorization: Bearer …'; "
    "who runs the service makes one with `lakehouse token create`"
)


class Gate:
    """Tells who asks by their token, and gives them the catalog as they may see it. Safe for use by several threads."""

    def __init__(self, store: ServiceStore, policy: Policy) -> None:
        self.store = store
        self.policy = policy
        self._lock = threading.Lock()
        self._fresh: OrderedDict[str, tuple[float, Principal]] = OrderedDict()
        self._sights: OrderedDict[tuple[str, str], Sight] = OrderedDict()

    def authenticate(self, authorization: str | None) -> Principal:
        """Who sends this ``Authorization`` header.

        Raises ``Unauthenticated``, in the same words whatever is wrong; the audit log knows what.
        """
        scheme, _, text = (authorization or "").strip().partition(" ")
        parts = tokens.split(text.strip()) if scheme.lower() == "bearer" else None
        if parts is None:
            raise self._refused("there was no token" if not authorization else "what was sent is no token")
        key = tokens.secret_hash(text.strip())
        now = time.monotonic()
        with self._lock:
            known = self._fresh.get(key)
        if known is not None and known[0] > now:
            return known[1]
        principal = self._look_up(*parts)
        with self._lock:
            self._fresh[key] = (now + FRESH_SECONDS, principal)
            self._fresh.move_to_end(key)
            while len(self._fresh) > 10_000:
                self._fresh.popitem(last=False)
        return principal

    def _look_up(self, identity: str, secret: str) -> Principal:
        token = self.store.token(identity)
        # A hash is compared in any case, so that time does not tell which ids exist.
        right = tokens.matches(secret, token.secret_hash if token is not None else tokens.secret_hash(""))
        if token is None or not right:
            raise self._refused("no token has this id" if token is None else "the secret is wrong", identity)
        fault = token.fault(datetime.now(UTC))
        if fault is not None:
            raise self._refused(fault, identity, token.user)
        try:
            self.policy.role(token.role)
            self.policy.check_user(token.user)
        except ConfigError as error:  # the configuration has changed since the token was made
            raise self._refused(str(error), identity, token.user) from None
        self.store.touch_token(identity)
        return Principal(user=token.user, role=token.role, token=identity)

    def _refused(self, reason: str, token: str | None = None, user: str | None = None) -> Unauthenticated:
        self.store.record(AuditEntry(verb="authenticate", outcome="denied", user=user, token=token, reason=reason))
        return Unauthenticated(_REFUSED)

    def guard(self, catalog: Catalog, principal: Principal) -> GuardedCatalog:
        """The catalog as somebody may see and change it. What a user was shown is remembered from one to the next."""
        with self._lock:
            sight = self._sights.setdefault((principal.user, principal.role), Sight())
            self._sights.move_to_end((principal.user, principal.role))
            while len(self._sights) > 1000:
                self._sights.popitem(last=False)
        return GuardedCatalog(catalog, principal, self.policy, self.store, owners=self.store, sight=sight)
