"""A pool's folder for what its workers spill, which outlives nobody: the next pool removes that of one that was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import uuid
from pathlib import Path

_PREFIX = "lakehouse-pool-"
_LOCK = ".lock"


class PoolFolder:
    """A private folder with a lock file beside it, locked as long as this process lives."""

    def __init__(self, parent: str | None) -> None:
        root = Path(parent or tempfile.gettempdir())
        root.mkdir(parents=True, exist_ok=True)
        sweep(root)
        name = _PREFIX + uuid.uuid4().hex
        # Under another name until it is locked, so that nobody sweeps it away before.
        fresh = root / (name + ".new")
        self._descriptor = os.open(fresh, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._lock = fresh.rename(root / (name + _LOCK))
        self.path = root / name
        self.path.mkdir(mode=0o700)

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.unlink(missing_ok=True)
        os.close(self._descriptor)


def sweep(root: Path) -> None:
    """Remove the folders of pools that are no more."""
    for lock in root.glob(f"{_PREFIX}*{_LOCK}"):
        with contextlib.suppress(OSError):
            descriptor = os.open(lock, os.O_RDWR)
            try:
                # Held by a living pool: BlockingIOError.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.with_name(lock.name.removesuffix(_LOCK)), ignore_errors=True)
                lock.unlink(missing_ok=True)
            finally:
                os.close(descriptor)
