"""Hold a whole run of tests/functional/adapter against what is recorded of it, which docs/compatibility.md is written from.

A plugin of pytest, in the process that the user started. With LAKEHOUSE_RECORD_OUTCOMES=1 in the environment what a run
shows is recorded in ``outcomes.json`` instead.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

RECORD = Path(__file__).with_name("outcomes.json")
_FOLDER = Path(__file__).parents[1] / "functional" / "adapter"

Outcomes = dict[str, dict[str, str]]
"""``file.py::Class`` → test → ``passed`` or ``skipped: why``."""


def recorded() -> Outcomes:
    """What came out when it was last recorded."""
    outcomes = _read()["outcomes"]
    assert isinstance(outcomes, dict)
    return outcomes


def _read() -> dict[str, Any]:
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"versions": {}, "outcomes": {}}
    assert isinstance(record, dict)
    return record


def differences(was: Outcomes, now: Outcomes) -> list[str]:
    """What no longer comes out as it did, one line each. Tests that are new are no difference."""
    lines = []
    for name, tests in sorted(was.items()):
        for test, outcome in tests.items():
            this_time = now.get(name, {}).get(test, "not run")
            if this_time != outcome:
                lines.append(f"{name}::{test}: {this_time}, and {outcome} in {RECORD.name}")
    return lines


class Recorder:
    """Collects the outcomes of a run, and compares or records them when it ends well."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._seen: Outcomes = {}
        self._lines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        path, _, rest = report.nodeid.partition("::")
        if (self._config.rootpath / path).parent != _FOLDER or "::" not in rest:
            return
        kind, _, test = rest.partition("::")
        if report.when == "call" and report.passed:
            self._seen.setdefault(f"{Path(path).name}::{kind}", {})[test] = "passed"
        elif report.skipped:
            why = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
            self._seen.setdefault(f"{Path(path).name}::{kind}", {})[test] = why.replace("Skipped: ", "skipped: ", 1)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if os.environ.get("LAKEHOUSE_RECORD_OUTCOMES") == "1":
            self._write()
        elif exitstatus == 0 and self._whole() and _read()["versions"] == _versions():
            self._lines = differences(recorded(), self._seen)
            if self._lines:
                self._lines.append("docs/compatibility.md says otherwise; if that is meant: make compatibility")
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _write(self) -> None:
        """Of a run of a part, what it ran; the rest stays."""
        kept = {} if self._whole() else recorded()
        outcomes = {**kept, **{name: {**kept.get(name, {}), **tests} for name, tests in self._seen.items()}}
        RECORD.write_text(json.dumps({"versions": _versions(), "outcomes": outcomes}, indent=1, sort_keys=True) + "\n")
        self._lines = [f"recorded in {RECORD.name}; now run: python tests/compatibility/page.py"]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._lines:
            terminalreporter.section("dbt's adapter suite")
            for line in self._lines:
                terminalreporter.line(line)

    def _whole(self) -> bool:
        """Was all of the folder to run, on a lake in this process?"""
        option = self._config.option
        if option.keyword or option.markexpr or option.collectonly or getattr(option, "lf", False) or option.deselect:
            return False
        if os.environ.get("LAKEHOUSE_TEST_SERVICE") == "1":
            return False
        asked = [self._config.invocation_params.dir / argument for argument in self._config.args]
        return any(path == _FOLDER or path in _FOLDER.parents for path in asked)


def _versions() -> dict[str, str]:
    """What decides how a test comes out: which dbt, and which suite."""
    return {name: version(name) for name in ("dbt-core", "dbt-tests-adapter")}
