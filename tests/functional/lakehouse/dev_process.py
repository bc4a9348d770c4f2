"""``lakehouse dev`` as a process of its own, whose output is waited for."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dbt_shop import Shop

PATIENCE = 60.0
"""Seconds after which something that is waited for counts as never to come."""


class Dev:
    """The command, its output so far, and a place in it up to which it was read."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, terminal: int | None = None) -> None:
        self.process = process
        self.terminal = terminal
        self._log = log
        self._read = 0

    @property
    def output(self) -> str:
        """All that it printed."""
        return self._log.read_text()

    def expect(self, *patterns: str) -> str:
        """Wait for these to be printed, in this order, after what was read before; the text up to the last of them."""
        begin = self._read
        for pattern in patterns:
            found = self._wait(lambda p=pattern: re.compile(p).search(self.output, self._read), pattern)  # type: ignore[misc]
            self._read = found.end()
        return self.output[begin : self._read]

    def documents(self, event: str) -> dict[str, Any]:
        """Wait for the next JSON document of an event."""
        line = self.expect(rf'(?m)^{{"event": "{event}".*\n').splitlines()[-1]
        document: dict[str, Any] = json.loads(line)
        return document

    def _wait(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            if self.process.poll() is not None and not condition():
                raise AssertionError(f"ended with {self.process.returncode} before {what!r}:\n{self.output}")
            if time.monotonic() > deadline:
                raise AssertionError(f"never printed {what!r}, but:\n{self.output[self._read :]}")
            time.sleep(0.01)
        return found

    def type(self, line: str) -> None:
        """Type a line at the terminal."""
        assert self.terminal is not None
        os.write(self.terminal, f"{line}\n".encode())

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def developing(shop: Shop, *arguments: str, terminal: bool = False) -> Iterator[Dev]:
    """The command at work on a project, gone at the end whatever happens; its stdin is a ``terminal``, or nothing."""
    parsed = shop.root / "target" / "partial_parse.msgpack"
    if shop.parsed is not None and not parsed.exists():
        parsed.parent.mkdir(exist_ok=True)
        shutil.copy(shop.parsed, parsed)
    log = shop.root.parent / f"{shop.root.name}-dev-{time.monotonic_ns()}.txt"
    command = [
        sys.executable,
        "-c",
        "import sys; from dbt.adapters.lakehouse.cli.main import main; sys.exit(main())",
        "dev",
    ]
    ours, theirs = pty.openpty() if terminal else (None, None)
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=shop.root,
            env={**os.environ, **shop.environment},
            stdin=subprocess.DEVNULL if theirs is None else theirs,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=terminal,
            preexec_fn=_take_terminal if terminal else _mind_interrupts,
        )
    if theirs is not None:
        os.close(theirs)
    try:
        yield Dev(process, log, ours)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if ours is not None:
            os.close(ours)


def _mind_interrupts() -> None:
    """Who is started in the background of a shell inherits that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _take_terminal() -> None:
    """Make stdin the terminal that this process is in the foreground of."""
    _mind_interrupts()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
