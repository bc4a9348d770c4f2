"""dbt in processes of its own, forked from one that has imported it: as real as ``dbt``, seconds faster."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "dbt.cli.main",
        "dbt.task.build",
        "dbt.task.docs.generate",
        "dbt.task.retry",
        "dbt_common.clients.agate_helper",
        "dbt.adapters.duckdb.impl",
        "dbt.adapters.lakehouse",
        "dbt.adapters.lakehouse.impl",
        "dbt.adapters.lakehouse.again",
        "dbt.adapters.lakehouse.ahead",
        "dbt.adapters.lakehouse.catalog.sql_catalog",
        "dbt.adapters.lakehouse.executors.local",
        "dbt.adapters.lakehouse.jobs.worker",
        "dbt.adapters.lakehouse.lake.embedded",
        "dbt.adapters.lakehouse.lake.exports",
        "dbt.adapters.lakehouse.lake.remote.wire",
        "dbt.adapters.lakehouse.tables.changes",
        "sqlalchemy.dialects.sqlite",
    ]
)

PATIENCE = 90.0
"""Seconds after which a process, or something that is waited for, counts as stuck."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a dbt command ended: its exit code (negative: the signal that killed it), and what it printed."""

    code: int
    output: str


class DbtProcess:
    """A dbt command that runs."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, log: Path, environment: Mapping[str, str]) -> None:
        self.arguments = arguments
        self._log = log
        self._process: BaseProcess = _CONTEXT.Process(
            target=_main, args=(arguments, str(folder), str(log), dict(environment)), daemon=True
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """The id of the process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def output(self) -> str:
        """What it printed so far."""
        return self._log.read_text() if self._log.exists() else ""

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.is_alive()

    def send(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait(self) -> Outcome:
        """How it ended."""
        self._process.join(PATIENCE)
        if self._process.exitcode is None:
            self.kill()
            raise AssertionError(f"dbt {self.arguments} did not end; it printed:\n{self.output}")
        return Outcome(code=self._process.exitcode, output=self.output)

    def kill(self) -> Outcome:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self.send(signal.SIGKILL)
        self._process.join(PATIENCE)
        return Outcome(code=self._process.exitcode or 0, output=self.output)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until something holds while the command runs."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if not self.alive() or time.monotonic() > deadline:
                raise AssertionError(f"dbt {self.arguments} ended or hung before that; it printed:\n{self.output}")
            time.sleep(0.005)


@contextlib.contextmanager
def started(arguments: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> Iterator[DbtProcess]:
    """A dbt command that is under way, and gone at the end whatever happens."""
    logs = folder / "output"
    logs.mkdir(exist_ok=True)
    process = DbtProcess(arguments, folder, logs / f"{time.monotonic_ns()}.txt", environment)
    try:
        yield process
    finally:
        process.kill()


def _main(arguments: tuple[str, ...], folder: str, log: str, environment: dict[str, str]) -> None:
    """In the new process: be ``dbt``."""
    os.environ.update(environment)
    # Who is started in the background of a shell inherits that SIGINT is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    sys.stdout = open(1, "w", closefd=False, buffering=1)  # noqa: SIM115 # lives as long as the process
    sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
    sys.argv = ["dbt", *arguments]
    if "WITHOUT_PRIVILEGES" in environment:
        _drop_privileges()
    if "DIE_AT" in environment:
        die_at(environment["DIE_AT"])
    if "HOLD_AT" in environment:
        hold_at(environment["HOLD_AT"], Path(environment["HOLD_IN"]))
    from dbt.cli.main import cli

    cli()


def _drop_privileges() -> None:
    """Let permissions of files bind root as they bind everybody."""
    version = 0x20080522
    if ctypes.CDLL(None, use_errno=True).capset((ctypes.c_uint32 * 2)(version, 0), (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")


def die_at(point: str) -> None:
    """Have this process killed before or after a call of a function, the first one unless a number says otherwise.

    Written ``before package.module:Class.method`` or ``after:3 package.module:function``.
    """
    instant, _, where = point.partition(" ")
    when, _, number = instant.partition(":")
    owner, name = _found(where)
    function = getattr(owner, name)
    calls = itertools.count(1)

    @functools.wraps(function)
    def fatal(*args: Any, **kwargs: Any) -> Any:
        last = next(calls) == int(number or 1)
        if last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = function(*args, **kwargs)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, name, fatal)


def hold_at(where: str, marks: Path) -> None:
    """Have each call of a function wait: the n-th makes the file ``n.held`` in the folder, and waits for ``n.go``."""
    owner, name = _found(where)
    function = getattr(owner, name)
    calls = itertools.count(1)

    @functools.wraps(function)
    def waiting(*args: Any, **kwargs: Any) -> Any:
        number = next(calls)
        (marks / f"{number}.held").touch()
        deadline = time.monotonic() + PATIENCE
        while not (marks / f"{number}.go").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        return function(*args, **kwargs)

    setattr(owner, name, waiting)


def _found(where: str) -> tuple[Any, str]:
    """The owner and the name of a function that is written ``package.module:Class.method``."""
    module, _, path = where.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    return owner, name
