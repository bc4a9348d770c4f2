"""What holds the process of a Python model: bubblewrap where the system lets it, else a bare process with limits.

In bubblewrap the process has namespaces of its own: it sees the interpreter, its packages, the files of its inputs and one
folder to write to; no other process, no other file, and no network unless the model is given it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

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


def strays(marker: str) -> set[int]:
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
