"""DuckDB prints its progress in a program that is no file, as orchestrators' processes are: between the lines of dbt's log."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import duckdb, sys
from dbt.adapters.lakehouse.jobs.instance import Instance
from dbt.adapters.lakehouse.profile import lake_settings
from dbt.adapters.lakehouse.run.statements import parser
from pathlib import Path

ASKED = "SELECT current_setting('enable_progress_bar')"
assert duckdb.connect().execute(ASKED).fetchone() == (True,), "DuckDB is silent by itself"
if sys.argv[1] == "parser":
    assert parser().execute(ASKED).fetchone() == (False,)
else:
    instance = Instance(lake_settings({"type": "lakehouse", "warehouse": sys.argv[2]}, Path(sys.argv[2])))
    assert instance.connection.execute(ASKED).fetchone() == (False,)
    instance.close()
"""


@pytest.mark.parametrize("what", ["parser", "instance"])
def test_no_duckdb_of_ours_prints_progress(what, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, what, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
