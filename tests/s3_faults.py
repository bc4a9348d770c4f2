"""An HTTP proxy that stands between a client and an S3 server, and is at times slow, overloaded or cut off."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_SLOW_DOWN = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>'
_HOP = {"transfer-encoding", "content-length", "connection"}


@dataclass
class Fault:
    """What happens to some requests. ``kind``: slow_down (503), cut (in the middle of the answer), lost (the answer) or late."""

    kind: str
    matches: Callable[[str, str], bool]
    times: int
    seconds: float = 0.0
    met: list[str] = field(default_factory=list)


class Faults:
    """The proxy. Signatures hold: the host's name that the client signed is passed on."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self.seen: list[str] = []
        owner = self

        class Handler(_Handler):
            faults = owner

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """Clients that give up are part of the test."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def target(self) -> str:
        """Host and port of the server behind."""
        return self._target

    def add(
        self,
        kind: str,
        *,
        times: int = 1_000_000,
        method: str | None = None,
        path: str = "",
        seconds: float = 0.0,
    ) -> Fault:
        """From now on this befalls the next requests of a method whose path and query hold a text."""
        fault = Fault(kind=kind, matches=lambda m, p: method in (None, m) and path in p, times=times, seconds=seconds)
        with self._lock:
            self._faults.append(fault)
        return fault

    def heal(self) -> None:
        """Let everything through again."""
        with self._lock:
            self._faults.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """What is to happen to a request."""
        with self._lock:
            self.seen.append(f"{method} {path}")
            for fault in self._faults:
                if fault.matches(method, path) and len(fault.met) < fault.times:
                    fault.met.append(f"{method} {path}")
                    return fault
        return None

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536
    disable_nagle_algorithm = True
    faults: Faults

    def _serve(self) -> None:
        fault = self.faults.take(self.command, self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault is not None and fault.kind == "slow_down":
            self._answer(503, [("Content-Type", "application/xml")], _SLOW_DOWN)
            return
        if fault is not None and fault.kind == "late":
            time.sleep(fault.seconds)
        status, headers, content = self._forward(body)
        if fault is not None and fault.kind in ("cut", "lost"):
            if fault.kind == "cut":
                self._head(status, headers, len(content))
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self._answer(status, headers, content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815 # names that http.server looks for

    def handle_expect_100(self) -> bool:
        """Say at once that the body may come; clients wait a second for that."""
        self.send_response_only(100)
        self.end_headers()
        self.wfile.flush()
        return True

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection(self.faults.target, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
            if self.command == "HEAD":
                kept.append(("Content-Length", answer.getheader("Content-Length") or "0"))
            return answer.status, kept, content
        finally:
            upstream.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self._head(status, headers, len(content))
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def _head(self, status: int, headers: list[tuple[str, str]], length: int) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""
