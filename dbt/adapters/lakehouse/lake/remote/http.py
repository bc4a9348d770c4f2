"""Requests to a service: one connection a thread, kept alive; sent again when the connection or the service broke."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

import urllib3

from dbt.adapters.lakehouse.__version__ import version
from dbt.adapters.lakehouse.errors import (
    Busy,
    ConfigError,
    LakehouseError,
    ServiceError,
    Unavailable,
    Unreachable,
    VersionSkew,
)
from dbt.adapters.lakehouse.lake.remote import wire

_log = logging.getLogger("dbt.adapters.lakehouse")

CONNECT_SECONDS = 10.0
PATIENCE_SECONDS = 60.0
"""For so long a request is sent again, once the service has been seen."""
FIRST_PATIENCE_SECONDS = 3.0
"""For so long when nothing has answered yet: the address is more likely wrong than the service away."""
_QUIET_SECONDS = 3.0
_RETRIED = (502, 503, 504)
_CHUNK = 1 << 20

Body = bytes | Callable[[], IO[bytes]] | None
"""What a request sends: bytes, or what opens a file anew for each attempt."""


class Http:
    """A service at a URL, as whoever the token belongs to. Safe for use by several threads."""

    def __init__(self, url: str, token: str | None, *, ca: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._seen = False
        self._closed = threading.Event()
        context = _tls(ca) if self.url.startswith("https:") else None
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=64,
            retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=None),
            socket_options=_KEEPALIVE,
            ssl_context=context,
        )

    def ask(
        self,
        path: str,
        kind: Any,
        value: Any,
        answer: Any,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """POST a document and read the one that comes back."""
        response = self.send("POST", path, wire.dump(kind, value), key=key, headers=headers)
        return wire.load(answer, response.data)

    def send(
        self,
        method: str,
        path: str,
        body: Body = None,
        *,
        content: str = wire.JSON,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
        patience: float | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """Send a request until it is answered; raises what the answer says went wrong.

        Every request may be sent twice: it changes nothing, or carries a key by which the service knows it again.
        """
        sent = self._headers(content if body is not None else None, key, headers)
        waiting = Patience(self, patience)
        while True:
            sent["Lakehouse-Attempt"] = str(waiting.attempts)
            try:
                with _opened(body) as data:
                    response = self._pool.request(
                        method, self.url + path, body=data, headers=sent, preload_content=not stream, redirect=False
                    )
            except (urllib3.exceptions.HTTPError, OSError) as error:
                broken, again = self._explain(error)
                if not again:
                    raise broken from error
                waiting.after(broken)
                continue
            problem = self._problem(response)
            if problem is None:
                self._seen = True
                return response
            refused, again = problem
            if not again:
                raise refused
            waiting.after(refused, response.headers.get("Retry-After"))

    def _headers(self, content: str | None, key: str | None, more: Mapping[str, str] | None) -> dict[str, str]:
        headers = {
            wire.API_HEADER: str(wire.API),
            "User-Agent": f"dbt-lakehouse/{version}",
            wire.REQUEST_HEADER: uuid.uuid4().hex,
        }
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if content is not None:
            headers["Content-Type"] = content
        if key is not None:
            headers[wire.KEY_HEADER] = key
        return {**headers, **(more or {})}

    def _problem(self, response: urllib3.BaseHTTPResponse) -> tuple[LakehouseError, bool] | None:
        """The error that an answer means, if it means one, and whether the request may be sent again."""
        api = response.headers.get(wire.API_HEADER)
        if api is None:
            response.drain_conn()
            if response.status in _RETRIED:
                # A proxy stands before the service, and says that it does not answer.
                return Unavailable(f"the service at {self.url} is not available: HTTP {response.status}"), True
            return Unreachable(
                f"what answers at {self.url} is not a lakehouse service (HTTP {response.status}); "
                "check the profile's 'service' (or --service)"
            ), False
        if api != str(wire.API):
            response.drain_conn()
            return self._skew(api, response.headers.get(wire.VERSION_HEADER, "unknown")), False
        if response.status < 400:
            return None
        document = _document(response.data)
        if document is None:
            return ServiceError(f"the service at {self.url} answered HTTP {response.status} and no reason"), False
        error = wire.error_of(document)
        return error, isinstance(error, Unavailable | Busy)

    def _skew(self, api: str, theirs: str) -> VersionSkew:
        newer = api.isdigit() and int(api) > wire.API
        side = "upgrade dbt-lakehouse here" if newer else "upgrade the service"
        return VersionSkew(
            f"the service at {self.url} runs dbt-lakehouse {theirs} (protocol {api}), this is {version} "
            f"(protocol {wire.API}); {side}"
        )

    def _explain(self, error: Exception) -> tuple[Unreachable, bool]:
        """What a connection that broke, or never came about, means for people, and whether to try again."""
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, urllib3.exceptions.SSLError):
            return _tls_error(self.url, str(error))
        if isinstance(error, urllib3.exceptions.NameResolutionError):
            host = urllib3.util.parse_url(self.url).host
            return Unreachable(f"the service {self.url} cannot be reached: no host is called {host!r}"), self._seen
        return Unreachable(f"the service at {self.url} does not answer: {text}"), True

    @property
    def patience(self) -> float:
        """How long a request is sent again."""
        return PATIENCE_SECONDS if self._seen else FIRST_PATIENCE_SECONDS

    @property
    def closed(self) -> bool:
        """Whether it is used no more."""
        return self._closed.is_set()

    def wait(self, seconds: float) -> None:
        """Wait before another attempt."""
        if self._closed.wait(seconds):
            raise Unreachable(f"the connection to {self.url} was closed")

    def close(self) -> None:
        """Close all connections."""
        self._closed.set()
        self._pool.clear()


class Patience:
    """Counts the attempts of one request and waits between them, longer each time."""

    def __init__(self, http: Http, patience: float | None = None) -> None:
        self._http = http
        self._patience = patience
        self._started: float | None = None
        self._said = False
        self.attempts = 1

    def after(self, error: LakehouseError, retry_after: str | None = None) -> None:
        """Wait after an attempt that came to nothing; raise its error if there is no more patience."""
        now = time.monotonic()
        if self._started is None:
            self._started = now
        gone = now - self._started
        patience = self._http.patience if self._patience is None else self._patience
        pause = min(0.1 * 2 ** (self.attempts - 1), 3.0)
        if retry_after is not None and retry_after.isdigit():
            pause = max(pause, min(float(retry_after), 10.0))
        if gone + pause > patience:
            if gone >= 1:
                raise type(error)(f"{error} (tried for {gone:.0f} s)") from error
            raise error
        if gone > _QUIET_SECONDS and not self._said:
            _log.warning("%s; trying again for %.0f s", error, patience - gone)
            self._said = True
        self._http.wait(pause)
        self.attempts += 1


@contextlib.contextmanager
def _opened(body: Body) -> Iterator[Any]:
    if callable(body):
        with body() as file:
            yield iter(lambda: file.read(_CHUNK), b"")
    else:
        yield body


def _document(data: bytes) -> wire.ErrorDocument | None:
    try:
        document: wire.ErrorDocument = wire.load(wire.ErrorDocument, data)
    except ServiceError:
        return None
    return document


def _keepalive() -> list[tuple[int, int, int]]:
    """A connection that waits for a long job is looked after by the system: a service that vanished is noticed."""
    options = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ]
    for name, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), seconds))
    return options


_KEEPALIVE = _keepalive()


def _tls(ca: str | None) -> ssl.SSLContext:
    """As the system trusts (``SSL_CERT_FILE`` counts), or as the one file says."""
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"profile key 'service_ca' is {ca!r}, which holds no certificates: {error}") from error


def _tls_error(url: str, text: str) -> tuple[Unreachable, bool]:
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text:
        return Unreachable(f"what answers at {url} does not speak TLS; is it http:// instead?"), False
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return Unreachable(
            f"the certificate of {url} is not trusted: {text}; name the file of its authority as 'service_ca' in the "
            "profile, or in SSL_CERT_FILE"
        ), False
    return Unreachable(f"TLS with {url} failed: {text}"), True
