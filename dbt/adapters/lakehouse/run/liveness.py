"""Who works on an open run, and whether it still does."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import RunRecord, RunStatus
from dbt.adapters.lakehouse.errors import LakehouseError

HEARTBEAT_SECONDS = 10.0
"""How often an open run says that it lives."""

LEASE = timedelta(seconds=60)
"""After this much silence, a run on another machine counts as dead."""


SERVICE = "service"
"""As the first part of an owner: the client of a service keeps the run alive, whatever process of the service works on it."""


def service_owner(user: str) -> str:
    """The owner of a run that a user of a service works on."""
    return f"{SERVICE}:{user}"


def beat(catalog: Catalog, run_id: str, stop: threading.Event) -> None:
    """Say that a run lives, until it stops."""
    while not stop.wait(HEARTBEAT_SECONDS):
        # A beat that fails is followed by the next; the run itself would notice a catalog that is gone.
        with contextlib.suppress(LakehouseError):
            catalog.heartbeat(run_id)


def this_process() -> str:
    """This process as ``host:pid:start``."""
    return f"{socket.gethostname()}:{os.getpid()}:{_start_of(os.getpid())}"


def is_dead(record: RunRecord, now: datetime | None = None, lease: timedelta = LEASE) -> bool:
    """Whether an open run's process is gone: looked up on this machine, judged by silence on others and behind a service."""
    if record.status is not RunStatus.OPEN:
        return False
    host, _, rest = record.owner.partition(":")
    pid, _, start = rest.partition(":")
    if host in (SERVICE, "") or host != socket.gethostname() or not pid.isdigit():
        return (now or datetime.now(UTC)) - record.heartbeat_at > lease
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    # The number may have been given to another process since.
    return _start_of(int(pid)) != start


def _start_of(pid: int) -> str:
    """When a process was started, where the system tells; else empty."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    # A process that ended but was not waited for yet is no longer at work.
    return "ended" if fields[0] == "Z" else fields[19]
