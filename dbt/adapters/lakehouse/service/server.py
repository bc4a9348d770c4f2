"""A service in a process of its own: uvicorn, signals, the end."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
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


def serve(service: Service, listening: Listening, started: Any = None) -> None:
    """Answer requests until a signal ends it. ``started`` is called with the URL once it listens."""
    import uvicorn

    sock = _listen(listening)
    config = uvicorn.Config(
        create_app(service),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(listening.drain_seconds),
        timeout_keep_alive=75,
        ssl_certfile=listening.tls_cert,
        ssl_keyfile=listening.tls_key,
        proxy_headers=listening.forwarded_allow_ips is not None,
        forwarded_allow_ips=listening.forwarded_allow_ips,
        ws="none",
    )
    server = _server(config, service)
    service.start()
    host, port = sock.getsockname()[:2]
    if started is not None:
        scheme = "https" if listening.tls_cert else "http"
        started(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")
    try:
        server.run(sockets=[sock])
    finally:
        sock.close()
        service.close()


def _server(config: Any, service: Service) -> Any:
    """Uvicorn's server, which a first signal tells to finish what it does, and a second one to end."""
    import uvicorn

    class Server(uvicorn.Server):
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


def _listen(listening: Listening) -> socket.socket:
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((listening.host, listening.port))
        sock.listen(512)
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"cannot listen on {listening.host}:{listening.port}: {error.strerror or error}; choose another --port or --host"
        ) from error
    return sock
