"""What a hostile user of a service might ask of a worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.jobs.job import PythonCode
from dbt.adapters.lakehouse.jobs.python_env import Environments


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program that leaves a mark when it is run."""
    file = tmp_path / "bin" / "python"
    file.parent.mkdir()
    file.write_text(f"#!/bin/sh\ntouch {tmp_path / 'was-run'}\n")
    file.chmod(0o755)
    return file


def test_python_version_names_no_program_to_run(tmp_path: Path, program: Path) -> None:
    environments = Environments(tmp_path / "environments", wheels_only=True)
    up = "/".join([".."] * 20)
    wanted = [str(program), str(program.parent), str(program.parents[1]), f"--directory={tmp_path}"]
    wanted += [f"{up}{str(tmp_path)[:-1]}?", "", "3", "3.12\n", "*", ">=3", "cpython", "3.12.1"]
    for version in wanted:
        with pytest.raises(ConfigError, match="is no version of Python"):
            environments.get(PythonCode(code="", path="m.py", python_version=version))
    assert not (tmp_path / "was-run").exists()
