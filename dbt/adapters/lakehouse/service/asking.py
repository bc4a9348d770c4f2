"""Who asks, and what they may see."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from fastapi import Request

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.errors import BadRequest
from dbt.adapters.lakehouse.lake.remote import wire
from dbt.adapters.lakehouse.service.core import Service
from dbt.adapters.lakehouse.service.policy import Principal

_KEY = re.compile(r"[A-Za-z0-9._-]{8,100}")


@dataclass
class Asker:
    """The principal of a request, and its headers."""

    service: Service
    principal: Principal
    key: str | None
    state: str | None
    attempt: int

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog as this principal may see it."""
        return self.service.gate.catalog(self.principal)


def asker(request: Request) -> Asker:
    """Who asks. Raises ``BadRequest`` for headers that make no sense."""
    key = request.headers.get(wire.KEY_HEADER)
    if key is not None and not _KEY.fullmatch(key):
        raise BadRequest(f"{wire.KEY_HEADER} must be 8 to 100 letters, digits, dots, dashes")
    attempt = request.headers.get("Lakehouse-Attempt", "1")
    return Asker(
        service=request.app.state.service,
        principal=request.state.principal,
        key=key,
        state=request.headers.get(wire.SESSION_HEADER),
        attempt=int(attempt) if attempt.isdigit() and len(attempt) < 6 else 1,
    )
