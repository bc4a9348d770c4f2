"""What every request passes before it reaches a route, and every answer on its way out.

Plain ASGI: an answer that streams is never held up.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.__version__ import version
from dbt.adapters.lakehouse.errors import BadRequest, LakehouseError, Unauthenticated, VersionSkew
from dbt.adapters.lakehouse.lake.remote import wire
from dbt.adapters.lakehouse.service.audit import REQUEST_ID
from dbt.adapters.lakehouse.service.core import Service
from dbt.adapters.lakehouse.service.description import OPEN
from dbt.adapters.lakehouse.service.replies import refusal
from dbt.adapters.lakehouse.service.threads import quickly

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("lakehouse.requests")

LONGEST_DOCUMENT = 64 << 20
"""Bytes of a request's body that is held in memory: all of them but rows that come along with a build."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
_ALWAYS = [
    (wire.API_HEADER.lower().encode(), str(wire.API).encode()),
    (wire.VERSION_HEADER.lower().encode(), version.encode()),
]


class Door:
    """Lets in who has a token and speaks this protocol; writes a line about every request; counts them."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        visit = _Visit(scope, headers)
        REQUEST_ID.set(visit.id)
        metrics = self._service.metrics
        metrics.in_flight.inc()
        scope.setdefault("state", {})["request"] = visit.id

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.body":
                visit.answered = not message.get("more_body", False)
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                own = (wire.REQUEST_HEADER.lower().encode(), visit.id.encode())
                message["headers"] = [*message.get("headers", []), *_ALWAYS, own]
            await send(message)

        try:
            try:
                await self._enter(scope, headers, visit)
                _check_length(scope, headers)
            except LakehouseError as error:
                await refusal(error)(scope, receive, answer)
                return
            try:
                await self.app(scope, _bounded(receive, scope, headers), answer)
            except Exception:
                log.exception("request %s failed", visit.id)
                if not visit.answered:
                    raise  # The answer has begun: the connection must break, or the client would take it for whole.
        finally:
            metrics.in_flight.dec()
            metrics.answered(scope["method"], visit.route, visit.status or 499, visit.end())

    async def _enter(self, scope: Scope, headers: dict[str, str], visit: _Visit) -> None:
        if scope["path"] in OPEN:
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("a token is needed; set the profile's 'token' (or LAKEHOUSE_TOKEN)")
        principal = await quickly(lambda: self._service.gate.authenticate(token.strip()))
        visit.user = principal.user
        _check_version(headers)
        scope.setdefault("state", {})["principal"] = principal


def _brings_rows(scope: Scope, headers: dict[str, str]) -> bool:
    """Whether the body goes to a file, which has a limit of its own (``builds``)."""
    content = headers.get("content-type", "").partition(";")[0].strip()
    return content == wire.BUILD_WITH_ROWS and scope["path"].endswith("/build")


def _too_long() -> BadRequest:
    return BadRequest(f"the request is longer than the {LONGEST_DOCUMENT >> 20} MiB that a document may have")


def _check_length(scope: Scope, headers: dict[str, str]) -> None:
    """Raise ``BadRequest`` for a document that nobody should hold in memory."""
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > LONGEST_DOCUMENT and not _brings_rows(scope, headers):
        raise _too_long()


def _bounded(receive: Receive, scope: Scope, headers: dict[str, str]) -> Receive:
    """The request's body, up to a measure: one that comes in chunks does not say how long it is."""
    if _brings_rows(scope, headers):
        return receive
    got = 0

    async def bounded() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > LONGEST_DOCUMENT:
            raise _too_long()
        return message

    return bounded


def _check_version(headers: dict[str, str]) -> None:
    """Raise ``VersionSkew`` for a client of another protocol. One that names none is taken to know this one."""
    api = headers.get(wire.API_HEADER.lower())
    if api is None or api == str(wire.API):
        return
    client = headers.get("user-agent", "unknown").removeprefix("dbt-lakehouse/")
    older = api.isdigit() and int(api) < wire.API
    side = "upgrade dbt-lakehouse on the client's side" if older else "upgrade the service"
    raise VersionSkew(
        f"the client is dbt-lakehouse {client[:40]} (protocol {api[:10]}), the service runs {version} "
        f"(protocol {wire.API}); {side}"
    )


class _Visit:
    """One request, for the log and the counters."""

    def __init__(self, scope: Scope, headers: dict[str, str]) -> None:
        self._scope = scope
        self._started = time.perf_counter()
        given = headers.get(wire.REQUEST_HEADER.lower(), "")
        self.id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self.status = 0
        self.answered = False
        self.user: str | None = None

    @property
    def route(self) -> str:
        """The path with its parameters' names instead of their values."""
        # FastAPI leaves the whole path in the scope's own record; what it did not know must not become a label.
        route = self._scope.get("route")
        context = getattr(route, "path_format", None) or getattr(route, "path", None)
        return str(context) if context else "unknown"

    def end(self) -> float:
        """Write the line; how many seconds it took."""
        path = self.route
        seconds = time.perf_counter() - self._started
        parameters: dict[str, Any] = self._scope.get("path_params") or {}
        extra = {
            "request": self.id,
            "user": self.user,
            "run": parameters.get("run_id"),
            "method": self._scope["method"],
            "route": path,
            "status": self.status or 499,
            "ms": round(seconds * 1000, 1),
        }
        # Probes and scrapes come every few seconds.
        quiet = path in (*OPEN, "/metrics") or path.endswith("/heartbeat")
        log.log(logging.DEBUG if quiet else logging.INFO, "%s %s", extra["method"], path, extra={"fields": extra})
        return seconds
