"""A service in a process of its own, for benchmarks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A service that runs: where, with which token, and as which process."""

    url: str
    token: str
    pid: int

    def memory(self) -> int:
        """Resident bytes of the service and all processes below it, each page counted once a process (RSS)."""
        return sum(_rss(pid) for pid in [self.pid, *_below(self.pid)])

    def processes(self) -> int:
        """How many processes the service consists of."""
        return 1 + len(_below(self.pid))


@contextlib.contextmanager
def serving(warehouse: Path, *options: str, role: str = "admin") -> Iterator[Serving]:
    """Serve a lake on a free port until the block ends."""
    command = [str(Path(sys.executable).parent / "lakehouse"), "--warehouse", str(warehouse)]
    environment = {**os.environ, "NO_COLOR": "1"}
    made = subprocess.run(
        [*command, "--json", "token", "create", "bench", "--role", role],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    token = json.loads(made.stdout)["token"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (warehouse / "service.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "serve", "--port", str(port), *options], stdout=log, stderr=log, env=environment
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process, warehouse / "service.log")
            yield Serving(url=url, token=token, pid=process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/healthz", timeout=1):
            return
        time.sleep(0.02)
    raise SystemExit(f"the service did not start:\n{log.read_text()}")


def _rss(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


def _below(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *_below(int(child))]
    return found
