"""The gate of a service that keeps tokens: who comes in, and what they are given."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.errors import CatalogError, ConfigError, Denied, Unauthenticated
from dbt.adapters.lakehouse.service import tokens
from dbt.adapters.lakehouse.service.access import GuardedCatalog
from dbt.adapters.lakehouse.service.audit import AuditEntry, entry_for
from dbt.adapters.lakehouse.service.policy import Capability, Policy, Principal
from dbt.adapters.lakehouse.service.sight import Sight

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.catalog.base import Catalog
    from dbt.adapters.lakehouse.run.values import Build, RunRequest
    from dbt.adapters.lakehouse.service.store import ServiceStore

FRESH_SECONDS = 1.0
"""How long a token that was found valid is not looked up again; a revocation takes this long at most."""

REFUSALS = 20
REFUSAL_SECONDS = 10.0
"""So many refusals of tokens are written down in so many seconds; of more, only the number."""

_REMEMBERED = 10_000

_REFUSED = (
    "the token is not valid; set the profile's 'token' (or LAKEHOUSE_TOKEN) to one that "
    "`lakehouse token create` made for this service and that was neither revoked nor expired"
)


class TokenGate:
    """See ``gate.Gate``: tells who asks by the tokens in a store. Safe for use by several threads."""

    def __init__(self, catalog: Catalog, store: ServiceStore, policy: Policy) -> None:
        self.store = store
        self._catalog = catalog
        self.policy = policy
        self._lock = threading.Lock()
        self._fresh: OrderedDict[str, tuple[float, Principal]] = OrderedDict()
        self._refusals = self._skipped = 0
        self._refusals_until = 0.0
        self._sights: OrderedDict[tuple[str, str], Sight] = OrderedDict()

    def authenticate(self, token: str) -> Principal:
        """Whose token this is.

        Raises ``Unauthenticated``, in the same words whatever is wrong with it; the audit log knows what.
        """
        parts = tokens.split(token)
        if parts is None:
            raise self._refused("what was sent is no token")
        key = tokens.secret_hash(token)
        now = time.monotonic()
        with self._lock:
            known = self._fresh.get(key)
        if known is not None and known[0] > now:
            return known[1]
        principal = self._look_up(*parts)
        with self._lock:
            self._fresh[key] = (now + FRESH_SECONDS, principal)
            self._fresh.move_to_end(key)
            while len(self._fresh) > _REMEMBERED:
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
        if token.used_at is None or datetime.now(UTC) - token.used_at > tokens.USED_COARSENESS:
            with contextlib.suppress(CatalogError):  # to know when it was used is not worth a request's failing
                self.store.touch_token(identity)
        return Principal(user=token.user, role=token.role, token=identity)

    def _refused(self, reason: str, token: str | None = None, user: str | None = None) -> Unauthenticated:
        skipped = self._to_write_down()
        if skipped is not None:
            if skipped:
                reason += f" ({skipped} refusals before this one are not written down)"
            self.store.record(AuditEntry(verb="authenticate", outcome="denied", user=user, token=token, reason=reason))
        return Unauthenticated(_REFUSED)

    def _to_write_down(self) -> int | None:
        """Whether a refusal goes to the audit log, and how many before it did not: strangers must not fill the disk."""
        with self._lock:
            now = time.monotonic()
            if now >= self._refusals_until:
                self._refusals, self._refusals_until = 0, now + REFUSAL_SECONDS
            self._refusals += 1
            if self._refusals > REFUSALS:
                self._skipped += 1
                return None
            skipped, self._skipped = self._skipped, 0
            return skipped

    def catalog(self, principal: Principal) -> GuardedCatalog:
        """The catalog as somebody may see and change it. What a user was shown is remembered from one to the next."""
        with self._lock:
            sight = self._sights.setdefault((principal.user, principal.role), Sight())
            self._sights.move_to_end((principal.user, principal.role))
            while len(self._sights) > _REMEMBERED:
                self._sights.popitem(last=False)
        return GuardedCatalog(
            self._catalog,
            principal,
            self.policy,
            self.store,
            owners=self.store,
            sight=sight,
            grantees=self._grantees,
        )

    def _grantees(self) -> set[str]:
        """To whom something can be granted: users that have a token, and roles."""
        return {token.user for token in self.store.tokens() if token.revoked_at is None} | set(self.policy.roles)

    def check_merge(self, principal: Principal, target: str) -> None:
        """Raise ``Denied`` (or ``RefNotFound``) where a branch may not be merged into."""
        self.catalog(principal).check_merge(target)

    def check_run(self, principal: Principal, request: RunRequest) -> None:
        """Raise ``Denied`` (or ``RefNotFound``) where a run could not do what it is for."""
        self.catalog(principal).check_run(request)

    def check_build(self, principal: Principal, build: Build) -> None:
        """Raise ``Denied`` where a node asks for what its user may not have."""
        asks = {
            Capability.EXTERNAL_ACCESS: build.external_access,
            Capability.INTERNET_ACCESS: build.python is not None and build.python.internet_access,
        }
        for capability, asked in asks.items():
            if asked and not self.policy.may(principal, capability):
                reason = (
                    f"user {principal.user!r} has role {principal.role!r} and may not build {build.name} with "
                    f"{capability}; take that out of its configuration, or ask for a role that has it"
                )
                self.store.record(entry_for(principal, "build", "denied", ref=str(build.name), reason=reason))
                raise Denied(reason)
