"""Runs dbt in a process of its own: what it leaves behind in memory, and how it dies, is its own business."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dbt.adapters.lakehouse.ci.values import DbtBuild, from_json
from dbt.adapters.lakehouse.settings import PublishMode


def run_dbt(branch: str, arguments: Sequence[str]) -> DbtBuild:
    """``dbt build`` that works on a branch of the lake, whatever the profile says of branches. dbt prints to stderr."""
    environment = {
        **os.environ,
        "LAKEHOUSE_BRANCH": branch,
        "LAKEHOUSE_PUBLISH": PublishMode.ON_SUCCESS.value,
    }
    with tempfile.TemporaryDirectory(prefix="lakehouse-ci-") as folder:
        file = Path(folder, "build.json")
        command = [sys.executable, "-m", "dbt.adapters.lakehouse.ci.dbt_build", str(file), "build", *arguments]
        # Results alone go to stdout.
        process = subprocess.Popen(command, env=environment, stdout=sys.__stderr__ or 2)
        try:
            code = process.wait()
        except BaseException:
            _end(process)
            raise
        if not file.exists():
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            return DbtBuild(passed=False, error=f"dbt {how} before it had said what it built")
        if code == 130:
            raise KeyboardInterrupt
        return from_json(json.loads(file.read_text(encoding="utf-8")))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let dbt abandon its run. From a terminal it was interrupted along with this process, else it is now."""
    for patience, then in ((2, signal.SIGINT), (15, signal.SIGKILL)):
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.send_signal(then)
    process.wait()
