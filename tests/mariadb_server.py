"""A MariaDB server of one's own, from whatever is installed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where a server listens, on this machine, and whose password it wants."""

    port: int
    user: str
    password: str
    client: tuple[str, ...]

    def run(self, sql: str) -> str:
        """Run SQL as the server's owner; what the client prints."""
        done = subprocess.run([*self.client, "-N", "-B", "-e", sql], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout


def programs() -> tuple[str, str, str] | None:
    """mariadb-install-db, mariadbd and the client; None if one of them is not installed."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/bin"])
    found = [shutil.which(name, path=path) for name in ("mariadb-install-db", "mariadbd", "mariadb")]
    first, second, third = found
    return None if first is None or second is None or third is None else (first, second, third)


@contextlib.contextmanager
def running(programs: tuple[str, str, str], password: str) -> Iterator[Server]:
    """A new server with a database ``shop``, and a user ``reader`` who may read it."""
    install, server, client = programs
    # Not a test's own folder: it need not run as who runs the tests.
    folder = Path(tempfile.mkdtemp(prefix="lakehouse-my-"))
    owner = pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:
        owner = next(name for name in ("mysql", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()})
        shutil.chown(folder, owner)
    as_owner = {"user": owner} if os.geteuid() == 0 else {}
    data, place = folder / "data", folder / "socket"
    try:
        made = subprocess.run(
            [install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            **as_owner,  # type: ignore[call-overload]
        )
        assert made.returncode == 0, made.stdout + made.stderr
        port = _free_port()
        options = [f"--datadir={data}", f"--socket={place}", f"--port={port}", "--bind-address=127.0.0.1"]
        options += [f"--pid-file={folder / 'pid'}", "--innodb-flush-log-at-trx-commit=0", "--skip-name-resolve"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [server, "--no-defaults", *options], cwd=folder, stdout=log, stderr=log, **as_owner
            )
        try:
            known = Server(
                port=port, user="reader", password=password, client=(client, "--no-defaults", "-uroot", f"-S{place}")
            )
            _wait_until_ready(known, folder, process)
            known.run(
                f"CREATE DATABASE shop; CREATE USER reader@'127.0.0.1' IDENTIFIED BY '{password}'; "
                "GRANT ALL ON shop.* TO reader@'127.0.0.1'"
            )
            yield known
        finally:
            process.terminate()
            process.wait(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(server: Server, folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while subprocess.run([*server.client, "-e", "SELECT 1"], capture_output=True, timeout=60).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"MariaDB did not start: {(folder / 'log').read_text()}")
        time.sleep(0.1)
