"""A PostgreSQL server of one's own, from whatever is installed, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_WITHOUT_SAFETY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def programs() -> Path | None:
    """The folder of initdb and postgres; None if they are not installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@contextlib.contextmanager
def running(programs: Path, *, safe: bool = False) -> Iterator[str]:
    """The URL of a database on a new server, reached over a Unix socket. Unless it is ``safe``, the power must not fail."""
    # Not a test's own folder: PostgreSQL refuses to run as root, and another user could not get in there.
    folder = Path(tempfile.mkdtemp(prefix="lakehouse-pg-"))
    try:
        with _server(programs, folder, {} if safe else _WITHOUT_SAFETY):
            yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _server(programs: Path, folder: Path, more: dict[str, str]) -> Iterator[None]:
    user = None
    if os.geteuid() == 0:
        user = next(name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()})
        shutil.chown(folder, user)
    data = folder / "data"
    initdb = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"]
    subprocess.run(initdb, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    options = {"listen_addresses": "", "unix_socket_directories": str(folder), "max_connections": "200", **more}
    flags = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, *flags], user=user, cwd=folder, stdout=log, stderr=log
        )
    try:
        _wait_until_ready(folder, server)
        yield
    finally:
        server.send_signal(signal.SIGINT)  # "fast shutdown": without waiting for clients
        server.wait(timeout=30)


def _wait_until_ready(folder: Path, server: subprocess.Popen[bytes]) -> None:
    import psycopg

    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(host=str(folder), user="postgres", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL did not start: {(folder / 'log').read_text()}") from None
            time.sleep(0.05)
