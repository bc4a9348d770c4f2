"""Modules of a project within a process that stays."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from dbt.adapters.lakehouse.jobs.project_modules import forgotten_after


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dbt_project.yml").touch()
    (tmp_path / "models").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    # Python tells compiled modules by whole seconds and sizes.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def imported(project: Path, name: str) -> object:
    with forgotten_after(str(project / "models" / "m.py")):
        return __import__(name, fromlist=["X"]).X


def test_a_module_is_read_again(project: Path) -> None:
    (project / "rates_of_test.py").write_text("from factors_of_test import X")
    (project / "factors_of_test.py").write_text("X = 1")
    assert imported(project, "rates_of_test") == 1
    (project / "factors_of_test.py").write_text("X = 2")
    assert imported(project, "rates_of_test") == 2


def test_a_model_may_be_named_from_where_dbt_stands(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    with forgotten_after("models/m.py"):
        (project / "near_of_test.py").write_text("X = 1")
        __import__("near_of_test")
    assert "near_of_test" not in sys.modules


def test_packages_and_folders_are_read_again(project: Path) -> None:
    (project / "pack_of_test").mkdir()
    for number in (1, 2):
        (project / "pack_of_test" / "inner.py").write_text(f"X = {number}")
        assert imported(project, "pack_of_test.inner") == number
    (project / "pack_of_test" / "__init__.py").write_text("from .inner import X")
    (project / "pack_of_test" / "inner.py").write_text("X = 3")
    assert imported(project, "pack_of_test") == 3


def test_what_was_imported_before_or_is_of_others_stays(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (project / "early_of_test.py").write_text("X = 1")
    early = __import__("early_of_test")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "other_of_test.py").write_text("X = 1")
    sys.path.insert(0, str(elsewhere))
    try:
        assert imported(project, "other_of_test") == imported(project, "early_of_test") == 1
        assert sys.modules["early_of_test"] is early
        assert "other_of_test" in sys.modules
    finally:
        sys.path.remove(str(elsewhere))
        del sys.modules["early_of_test"], sys.modules["other_of_test"]


def test_nothing_is_forgotten_under_a_model_that_runs(project: Path) -> None:
    (project / "long_of_test.py").write_text(f"X = {os.getpid()}")
    inside, go = threading.Event(), threading.Event()
    kept: list[bool] = []

    def slow() -> None:
        with forgotten_after(str(project / "models" / "slow.py")):
            __import__("long_of_test")
            inside.set()
            go.wait(10)
            kept.append("long_of_test" in sys.modules)

    thread = threading.Thread(target=slow)
    thread.start()
    assert inside.wait(10)
    imported(project, "long_of_test")
    go.set()
    thread.join()
    assert kept == [True]
    assert "long_of_test" not in sys.modules


def test_modules_of_other_folders_are_found_and_read_again(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("lib")
    (elsewhere / "faraway.py").write_text("X = 1")
    before = list(sys.path)
    try:
        for value in (1, 22):
            (elsewhere / "faraway.py").write_text(f"X = {value}")
            with forgotten_after(str(project / "models" / "m.py"), [str(elsewhere)]):
                assert value == __import__("faraway").X
        assert "faraway" not in sys.modules
        assert sys.path == [*before, str(elsewhere)]
    finally:
        sys.path[:] = before
