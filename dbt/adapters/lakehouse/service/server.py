"""A service in a process of its own: uvicorn, signals, the end."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.service.app import create_app
from dbt.adapters.lakehouse.service.core import Service

log = logging.getLogger("lakehouse.service")


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where and how a server listens."""

    host: str = "127.0.0.1"
    port: int = 8585
    tls_cert: str | None = None
    tls_key: str | None = None
    drain_seconds: float = 30.0
    forwarded_allow_ips: str | None = None


@dataclass(frozen=True, kw_only=True)
class Door:
    """A socket that listens, and how requests are to be answered there."""

    socket: socket.socket
    listening: Listening

    @property
    def url(self) -> str:
        """Where clients find it."""
        host, port = self.socket.getsockname()[:2]
        scheme = "https" if self.listening.tls_cert else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


@contextlib.contextmanager
def listen(listening: Listening) -> Iterator[Door]:
    """Take the port. Raises ``ConfigError`` where that cannot be, or where the certificate is of no use."""
    if listening.tls_cert is not None:
        _check_certificate(listening)
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((listening.host, listening.port))
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {listening.host}:{listening.port}: {error.strerror or error}; "
                "choose another --port or --host"
            ) from error
        yield Door(socket=door, listening=listening)


def _check_certificate(listening: Listening) -> None:
    assert listening.tls_cert is not None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(listening.tls_cert, listening.tls_key)
    except (OSError, ssl.SSLError) as error:
        files = listening.tls_cert if listening.tls_key is None else f"{listening.tls_cert} and {listening.tls_key}"
        raise ConfigError(f"{files} are not a certificate and its key in PEM: {error}") from error


def serve(service: Service, door: Door, started: Callable[[str], None]) -> None:
    """Answer requests until a signal ends it, then close the service. ``started`` is called once requests are taken."""
    import uvicorn

    listening = door.listening
    config = uvicorn.Config(
        create_app(service),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=max(1, round(listening.drain_seconds)),
        timeout_keep_alive=75,
        backlog=1024,
        ssl_certfile=listening.tls_cert,
        ssl_keyfile=listening.tls_key,
        proxy_headers=listening.forwarded_allow_ips is not None,
        forwarded_allow_ips=listening.forwarded_allow_ips,
        ws="none",
    )
    service.start()
    try:
        _server(config, service, lambda: started(door.url)).run(sockets=[door.socket])
    finally:
        service.close()


def _server(config: Any, service: Service, started: Callable[[], None]) -> Any:
    """Uvicorn's server, which a first signal tells to finish what it does, and a second one to end."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            """As uvicorn's; then tell."""
            await super().startup(sockets)
            if self.started:
                started()

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """As uvicorn's, but a signal that was heeded is not raised again: the process ends well."""
            before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            """Stop taking new work; the second time, end at once."""
            log.info("asked to end; finishing what is in flight" if not self.should_exit else "ending at once")
            service.drain()
            self.force_exit = self.should_exit
            self.should_exit = True

    return Server(config)
