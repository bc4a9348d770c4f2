"""What holds the process of a Python model: bubblewrap where the system lets it, else a bare process with limits.

In bubblewrap the process has namespaces of its own: it sees the interpreter, its packages, the files of its inputs and one
folder to write to; no other process, no other file, and no network unless the model is given it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.settings import PythonSandbox

MOST_FILES = 500
"""Bubblewrap takes its time for each file it shows: inputs of more files are copied into one."""

_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin")
_ETC = ("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives")
_ETC_NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ssl", "/etc/pki", "/etc/ca-certificates")
_ISOLATION = (
    "--unshare-all",
    "--unshare-user",
    "--uid", "65534",
    "--gid", "65534",
    "--cap-drop", "ALL",
    "--die-with-parent",
    "--new-session",
    "--hostname", "model",
)  # fmt: skip
_SMALL = ("--size", str(256 * 1024**2), "--tmpfs")
_FRESH = ("--proc", "/proc", "--dev", "/dev", *_SMALL, "/dev/shm", *_SMALL, "/tmp")
_PROBE_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one process may see: ``visible`` files and folders, and ``private``, where it works and may write."""

    visible: tuple[Path, ...]
    private: Path
    internet: bool = False


def bubblewrap(wanted: PythonSandbox) -> tuple[str, ...] | None:
    """Bubblewrap with the options that work here; None where it is not to be used, or does not work.

    Raises ``ConfigError`` where it is required and does not work.
    """
    if wanted == "off":
        return None
    command, why = _probe()
    if command is None and wanted == "require":
        raise ConfigError(
            f"python_sandbox is 'require', and bubblewrap does not work here: {why}; install it, allow user namespaces, "
            "or set python_sandbox to 'auto' and know that Python models then reach files and the network"
        )
    return command


def why_not() -> str:
    """Why bubblewrap does not work here."""
    return _probe()[1]


def warning(of: str) -> str:
    """What to say of code in Python (``of``: which, and that it runs in a process) where bubblewrap does not work."""
    return (
        f"warning: bubblewrap does not work here ({why_not()}): {of}, but these reach the files and the network that this "
        "one reaches"
    )


@functools.cache
def _probe() -> tuple[tuple[str, ...] | None, str]:
    """The command that works, or why none does. Tried once a process."""
    path = shutil.which("bwrap") if sys.platform == "linux" else None
    if path is None:
        return None, "there is no bwrap on the PATH"
    why = ""
    # The second is for kernels and versions that cannot forbid further user namespaces.
    for options in ((*_ISOLATION, "--disable-userns"), _ISOLATION):
        command = (path, *options)
        try:
            done = subprocess.run(
                [*command, *_shown(Path(part) for part in _SYSTEM), *_FRESH, "true"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_PROBE_SECONDS,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            why = str(error)
            continue
        if done.returncode == 0:
            return command, ""
        why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return None, why


def command(isolation: Sequence[str], cell: Cell, inner: Sequence[str]) -> list[str]:
    """The command line that runs ``inner`` in a cell."""
    etc = [*_ETC, *(_ETC_NETWORK if cell.internet else ())]
    private = str(cell.private)
    return [
        *isolation,
        *(["--share-net"] if cell.internet else []),
        *_FRESH,
        *_shown([*map(Path, _SYSTEM), *map(Path, etc)]),
        *_shown(cell.visible),
        "--bind", private, private,
        "--chdir", private,
        "--remount-ro", "/",
        *inner,
    ]  # fmt: skip


def _shown(paths: Iterable[Path]) -> list[str]:
    return [part for path in paths if path.exists() for part in ("--ro-bind", str(path), str(path))]


def environment(private: Path, *, internet: bool, cpus: int, marker: str) -> dict[str, str]:
    """The whole environment of a model: nothing of this process's own but what says where and when it is."""
    found = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(private),
        "TMPDIR": str(private),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": str(cpus),
        "LAKEHOUSE_MODEL": marker,
    }
    kept = ["TZ", "LD_LIBRARY_PATH", *(["SSL_CERT_FILE", "SSL_CERT_DIR"] if internet else [])]
    return {**found, **{name: os.environ[name] for name in kept if name in os.environ}}


def limits(memory: int, *, isolated: bool) -> dict[str, int]:
    """Limits that the process puts on itself before the model's code runs, by their names in ``resource``."""
    found = {"DATA": memory, "CORE": 0, "NOFILE": 4096}
    if isolated:
        # The system counts a user's processes: only in a namespace of its own are they the model's alone.
        found["NPROC"] = 512
    return found


class CellProcess:
    """A process in a cell, or without one where there is no ``isolation``, from its start to the end of all that it started.

    ``channels`` are file descriptors that it shares with this process.
    """

    def __init__(
        self,
        isolation: Sequence[str] | None,
        cell: Cell,
        inner: Sequence[str],
        *,
        cpus: int,
        channels: tuple[int, ...] = (),
    ) -> None:
        self._marker = uuid.uuid4().hex
        self.isolated = isolation is not None
        self.popen = subprocess.Popen(
            command(isolation, cell, inner) if isolation is not None else inner,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cell.private,
            env=environment(cell.private, internet=cell.internet, cpus=cpus, marker=self._marker),
            pass_fds=channels,
            start_new_session=True,
        )

    @property
    def pipes(self) -> dict[str, IO[bytes]]:
        """What it prints to."""
        assert self.popen.stdout is not None
        assert self.popen.stderr is not None
        return {"stdout": self.popen.stdout, "stderr": self.popen.stderr}

    def end(self) -> None:
        """Kill it and all that it started, and wait for it."""
        for pid in descendants(self.popen.pid) if self.popen.poll() is None else ():
            _kill(pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        if not self.isolated:
            for pid in _strays(self._marker):
                _kill(pid)
        self.popen.wait()


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> set[int]:
    """The processes that a process has started, and so on; empty where the system does not tell."""
    found: set[int] = set()
    todo = [pid]
    while todo:
        parent = todo.pop()
        with contextlib.suppress(OSError, ValueError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                for child in map(int, (task / "children").read_text().split()):
                    if child not in found:
                        found.add(child)
                        todo.append(child)
    return found


def _strays(marker: str) -> set[int]:
    """Processes of a model that left its process group: they carry its marker in their environment."""
    found = set()
    wanted = f"LAKEHOUSE_MODEL={marker}".encode()
    with contextlib.suppress(OSError):
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                with contextlib.suppress(OSError):
                    if wanted in (process / "environ").read_bytes().split(b"\0"):
                        found.add(int(process.name))
    return found
