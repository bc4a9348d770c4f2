"""A service in a process of its own, as people start it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from dbt.adapters.lakehouse.service.store import ServiceStore

START_SECONDS = 60


class ServiceProcess:
    """``lakehouse serve`` on a lake; it may be ended and started again on the same port."""

    def __init__(self, warehouse: Path, *flags: str, port: int = 0) -> None:
        self.warehouse = warehouse
        self.flags = flags
        self.port = port
        self.url = ""
        self.log = warehouse.parent / f"{warehouse.name}-service.log"
        self.program = [str(Path(sys.executable).with_name("lakehouse"))]
        self.lake = ["--warehouse", str(warehouse)]
        self._process: subprocess.Popen[str] | None = None

    def start(self, **environment: str) -> ServiceProcess:
        command = [*self.program, "serve", *self.lake]
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port), *self.flags],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "LAKEHOUSE_TOKEN": "", **environment},
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("lakehouse service on "), self.log.read_text()
        self.url = line.split()[-1]
        self.port = int(self.url.rpartition(":")[2])
        return self

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process

    def token(self, user: str = "anna", role: str = "admin") -> str:
        store = ServiceStore.open(f"sqlite:///{self.warehouse}/catalog.sqlite")
        try:
            return store.create_token(name="test", user=user, role=role, created_by="test")[1]
        finally:
            store.close()

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(timeout=60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def wait_for(self, text: str, seconds: float = 30.0) -> None:
        """Until the log holds a text."""
        until = time.monotonic() + seconds
        while text not in self.log.read_text():
            assert time.monotonic() < until, f"{text!r} is not in the log: {self.log.read_text()[-3000:]}"
            time.sleep(0.02)

    def __enter__(self) -> ServiceProcess:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGTERM)
