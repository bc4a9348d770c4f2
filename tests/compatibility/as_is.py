"""Run every class of dbt-tests-adapter exactly as it is, abstract bases too, and record what came out.

    python tests/compatibility/as_is.py                     all of them on this adapter
    python tests/compatibility/as_is.py --adapter duckdb    on dbt-duckdb, to compare
    python tests/compatibility/as_is.py --only constraints  those whose module and class contain the word

One empty subclass is made for each class, beside the suite's data files. What comes out is recorded in ``as_is.json`` here,
for ``page.py`` to write docs/compatibility.md from.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

from classified import EACH_NODE
from suite import ROOT, SuiteClass, classes, folder

RECORD = Path(__file__).with_name("as_is.json")

Outcomes = dict[str, dict[str, str]]
"""``module.Class`` → test → ``passed``, ``failed``, ``error`` or ``skipped``."""

_OUTCOMES = {"failure": "failed", "error": "error", "skipped": "skipped"}
"""What pytest calls them in its report."""
_SETTINGS = """\
[pytest]
python_classes = *
filterwarnings =
    ignore
"""
_CONFTEST = """\
import pytest
from dbt.tests.fixtures.project import *

EACH_NODE = {each_node!r}


@pytest.fixture(scope="class")
def dbt_profile_target(request, tmp_path_factory):
    if {adapter!r} == "duckdb":
        return {{"type": "duckdb", "path": str(tmp_path_factory.mktemp("db") / "dbt.duckdb"), "threads": 4}}
    target = {{"type": "lakehouse", "warehouse": str(tmp_path_factory.mktemp("lake")), "threads": 4, "preflight": "warn"}}
    names = {{each.__module__[len("{root}."):] + "." + each.__name__ for each in request.cls.__mro__}}
    if names & EACH_NODE:
        target["publish"] = "each_node"
    return target
"""


def generate(into: Path, chosen: list[SuiteClass], adapter: str) -> None:
    """Write modules of empty subclasses, with pytest's settings and the suite's data files beside them."""
    for path in folder().rglob("*"):
        if path.suffix in (".csv", ".sql"):
            beside = into / path.relative_to(folder())
            beside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, beside)
    (into / "pytest.ini").write_text(_SETTINGS)
    (into / "conftest.py").write_text(_CONFTEST.format(each_node=EACH_NODE, adapter=adapter, root=ROOT))
    for module, members in groupby(chosen, key=lambda each: each.module):
        text = f"import {ROOT}.{module} as suite\n"
        text += "".join(f"\n\nclass {each.name}(suite.{each.name}):\n    pass\n" for each in members)
        path = into / module.split(".")[0] / f"test_{module.replace('.', '__')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def run(chosen: list[SuiteClass], adapter: str, workers: str) -> Outcomes:
    """Run the classes, and say what came out."""
    with tempfile.TemporaryDirectory(prefix="as-is-") as name:
        into = Path(name)
        generate(into, chosen, adapter)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--junitxml",
            "results.xml",
            "--tb=short",
        ]
        command += ["-n", workers, "--dist=loadfile", "--basetemp", str(into / "tmp"), "."]
        environment = {**os.environ, "DBT_LOG_PATH": str(into / "logs"), "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
        environment |= {f"DBT_TEST_USER_{number}": f"user_{number}" for number in (1, 2, 3)}  # for classes about grants
        subprocess.run(command, cwd=into, check=False, env=environment)
        return _outcomes(into / "results.xml")


def _outcomes(path: Path) -> Outcomes:
    found: Outcomes = {}
    for case in ElementTree.parse(path).iter("testcase"):
        generated, _, kind = case.attrib["classname"].rpartition(".")
        module = generated.rpartition(".")[2].removeprefix("test_").replace("__", ".")
        tests = found.setdefault(f"{module}.{kind}", {})
        outcome = next((_OUTCOMES[part.tag] for part in case if part.tag in _OUTCOMES), "passed")
        if (
            tests.get(case.attrib["name"], "passed") == "passed"
        ):  # a test that fails when it is cleared up is there twice
            tests[case.attrib["name"]] = outcome
    return found


def _record(adapter: str, outcomes: Outcomes) -> None:
    """Replace what is recorded of these classes; the others stay."""
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    outcomes = {**record.get(adapter, {}).get("outcomes", {}), **outcomes}
    record[adapter] = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "versions": {name: version(name) for name in ("dbt-core", "dbt-tests-adapter", "dbt-duckdb", "duckdb")},
        "counts": counted(outcomes),
        "outcomes": outcomes,
    }
    RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def counted(outcomes: Outcomes) -> dict[str, int]:
    """How many tests came out how."""
    return dict(Counter(outcome for tests in outcomes.values() for outcome in tests.values()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adapter", choices=["lakehouse", "duckdb"], default="lakehouse")
    parser.add_argument("--only", default="", help="a word in the module or class")
    parser.add_argument("--workers", default="2", help="how many processes of pytest")
    options = parser.parse_args()
    chosen = [each for each in classes() if options.only in each.id]
    outcomes = run(chosen, options.adapter, options.workers)
    counts = sorted(counted(outcomes).items())
    print(f"{options.adapter}: " + ", ".join(f"{count} {outcome}" for outcome, count in counts))
    _record(options.adapter, outcomes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
