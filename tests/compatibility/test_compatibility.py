"""Every class of dbt's adapter suite is accounted for, and docs/compatibility.md says what came out."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import outcomes
import pytest
from as_is import counted
from classified import ABSTRACT, EACH_NODE, NOT_APPLICABLE
from matrix_section import matrix_section
from ours import FOLDER, our_classes
from outcomes import RECORD, differences, recorded
from page import PAGE, render, rows
from suite import classes, our_file

_AS_IS = json.loads(Path(__file__).with_name("as_is.json").read_text())


def test_each_class_of_the_suite_is_run_or_said_why_not():
    unknown = [row.theirs.id for row in rows() if row.kind == "not classified"]
    assert unknown == [], "run them in tests/functional/adapter, or say why not in classified.py"


def test_what_is_said_by_hand_is_of_classes_that_are_there_and_not_run():
    there = {each.id for each in classes()}
    run = {name for ours in our_classes() for name in ours.runs}
    said = set(ABSTRACT) | set(NOT_APPLICABLE)
    assert said <= there
    assert not said & run
    assert not set(ABSTRACT) & set(NOT_APPLICABLE)
    assert there >= EACH_NODE


def test_each_module_has_its_file_or_shares_that_of_its_package():
    for ours in our_classes():
        modules = [name.rpartition(".")[0] for name in ours.runs]
        files = {our_file(module) for module in modules} | {f"test_{module.split('.')[0]}.py" for module in modules}
        assert ours.file in files, f"{ours.id} runs {ours.runs}"


def test_what_is_replaced_is_explained():
    silent = [ours.id for ours in our_classes() if (ours.changed or ours.each_node) and not ours.why]
    assert silent == [], "their docstrings say what is replaced, and why"


def test_what_a_class_of_ours_holds_was_recorded():
    missing = sorted({ours.id for ours in our_classes()} - set(recorded()))
    assert missing == [], "record them: make compatibility"
    gone = sorted(name for name in recorded() if not (FOLDER / name.partition("::")[0]).exists())
    assert gone == []


def test_records_are_of_the_installed_versions():
    for versions in (json.loads(RECORD.read_text())["versions"], _AS_IS["lakehouse"]["versions"]):
        for name in ("dbt-core", "dbt-tests-adapter"):
            assert versions[name] == version(name), "record again: make compatibility test-as-is"


@pytest.mark.parametrize("adapter", ["lakehouse", "duckdb"])
def test_all_classes_were_run_as_they_are(adapter):
    assert set(_AS_IS[adapter]["outcomes"]) == {each.id for each in classes()}
    assert _AS_IS[adapter]["counts"] == counted(_AS_IS[adapter]["outcomes"])


def test_more_pass_as_they_are_than_with_dbt_duckdb():
    assert _AS_IS["lakehouse"]["counts"]["passed"] > _AS_IS["duckdb"]["counts"]["passed"]


def test_what_does_not_pass_as_it_is_has_a_reason():
    """A class that is run here with nothing replaced passes as it is too."""
    unmodified = {row.theirs.module + "." + name: row for row in rows() for name in (row.theirs.name, *row.repeated_by)}
    failed = [
        each for each, tests in _AS_IS["lakehouse"]["outcomes"].items() if {"failed", "error"} & set(tests.values())
    ]
    unexplained = [each for each in failed if unmodified[each].kind == "passes" and not unmodified[each].note]
    assert unexplained == []


def test_the_page_says_what_was_recorded():
    assert PAGE.read_text() == render(), "write it: python tests/compatibility/page.py"


def test_versions_are_a_section_of_the_page(tmp_path):
    record = tmp_path / "matrix.json"
    assert matrix_section(record) == ""
    versions = {"python": "3.12.1", "dbt-core": "1.12.6", "duckdb": "2.0.0"}
    numbers = {"passed": 700, "failed": 1, "skipped": 2, "seconds": 240, "date": "2026-11-21"}
    told = {"failures": ["tests.test_a::test_one"], "skipped_because": {"no extension": 2}}
    whole = {"versions": versions, "tests": ["all"], **numbers, **told}
    part = {"versions": versions, "tests": ["some"], **numbers}
    record.write_text(json.dumps({"tests": ["all"], "cells": {"py3.12": whole, "py3.13": part}}))
    section = matrix_section(record)
    assert "| 3.12.1 | 1.12.6 | 2.0.0 | 700 | 1 | 2 | 240 | 2026-11-21 |" in section
    assert "- py3.12: no extension (2)" in section
    assert "- py3.12: an earlier choice" not in section
    assert "- py3.13: an earlier choice of tests" in section
    assert "- py3.12: failed tests.test_a::test_one" in section


def test_an_outcome_that_changed_is_noticed():
    was = {
        "test_a.py::TestA": {"test_one": "passed", "test_two": "skipped: why"},
        "test_b.py::TestB": {"test_one": "passed"},
    }
    now = {"test_a.py::TestA": {"test_one": "skipped: new", "test_two": "skipped: why", "test_new": "passed"}}
    assert differences(was, was) == []
    assert [line.partition(":")[0] for line in differences(was, now)] == ["test_a.py", "test_b.py"]


_CONFTEST = """
from compatibility.outcomes import Recorder

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(config))
"""
_CLASS = """
import pytest

class TestOne:
    def test_runs(self):
        pass

    @pytest.mark.skipif({skipped}, reason="not today")
    def test_may_be_skipped(self):
        pass
"""


def test_a_run_that_comes_out_otherwise_than_recorded_fails(tmp_path):
    folder = tmp_path / "tests" / "functional" / "adapter"
    folder.mkdir(parents=True)
    (tmp_path / "tests" / "compatibility").mkdir()
    shutil.copy(outcomes.__file__, tmp_path / "tests" / "compatibility")
    (tmp_path / "tests" / "conftest.py").write_text(_CONFTEST)
    (folder / "test_one.py").write_text(_CLASS.format(skipped=False))

    def run(*arguments, **environment):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        said = subprocess.run(command, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True)
        return said.returncode, said.stdout

    assert run("-n", "2", "tests", LAKEHOUSE_RECORD_OUTCOMES="1")[0] == 0
    assert run("tests")[0] == 0
    (folder / "test_one.py").write_text(_CLASS.format(skipped=True))
    code, said = run("tests")
    assert code == 1
    assert "test_one.py::TestOne::test_may_be_skipped: skipped: not today, and passed in outcomes.json" in said
    assert run("tests", "-k", "test_may_be_skipped")[0] == 0, "a part of the tests says nothing about the whole"
