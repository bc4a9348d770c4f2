"""Makes environments of Python models in the background, by a process like a worker's, before the models run.

``python -m dbt.adapters.lakehouse.executors.preparation`` takes a JSON document from its standard input: the folder, and
what the models need. It says nothing: what goes wrong is said when a model runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from dbt.adapters.lakehouse.executors.parent import die_with_parent
from dbt.adapters.lakehouse.jobs.job import PythonNeeds
from dbt.adapters.lakehouse.jobs.python_env import Environments

_MODULE = "dbt.adapters.lakehouse.executors.preparation"
_MOST = 1000
"""So many wait, or are remembered. The others are made when their models run."""


class Preparation:
    """One process at a time, while there is something to make. ``environment`` is the whole of the processes'."""

    def __init__(self, environments: str | None, folder: Path, environment: Mapping[str, str]) -> None:
        """``folder`` is what it may fill with temporary files until ``close``."""
        self._environments = environments
        self._folder = folder
        self._environment = environment
        self._lock = threading.Lock()
        self._waiting: deque[PythonNeeds] = deque()
        self._seen: set[PythonNeeds] = set()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def add(self, needs: Iterable[PythonNeeds]) -> None:
        """Let these be made, unless they were already. Returns at once."""
        with self._lock:
            if len(self._seen) > _MOST:
                self._seen.clear()
            for one in needs:
                if one not in self._seen and len(self._waiting) < _MOST:
                    self._seen.add(one)
                    self._waiting.append(one)
            if self._waiting and self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._work, name="lakehouse-preparation", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                needs = list(self._waiting)
                self._waiting.clear()
                if self._closed or not needs or not self._start():
                    self._thread = None
                    return
                process = self._process
            assert process is not None
            document = {"environments": self._environments, "needs": [asdict(one) for one in needs]}
            with contextlib.suppress(OSError):
                process.communicate(json.dumps(document).encode())

    def _start(self) -> bool:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict(self._environment),
                cwd=self._folder,
                start_new_session=True,
            )
        except OSError:
            return False
        return True

    def close(self) -> None:
        """End what is under way. Idempotent."""
        with self._lock:
            self._closed = True
            thread, process = self._thread, self._process
            self._waiting.clear()
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        if thread is not None:
            thread.join()


def main() -> None:
    """Make what the standard input names. A process that was given up leaves what others remove after a day."""
    die_with_parent()
    document = json.load(sys.stdin)
    needs = [
        PythonNeeds(packages=tuple(one["packages"]), python_version=one["python_version"]) for one in document["needs"]
    ]
    Environments(document["environments"], wheels_only=True).make(needs)


if __name__ == "__main__":
    main()
