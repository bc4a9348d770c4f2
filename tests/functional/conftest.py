"""dbt's own fixtures (a project in a folder, run in this process), on a lake of its own for every class of tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbt.tests.fixtures.project import *  # noqa: F403 # the fixtures are found by their names in this module

_HERE = Path(__file__).parent

_WARNINGS = (
    "default",
    # dbt lets its logger close log files, and its tests define fixtures of classes as methods.
    "ignore:unclosed file:ResourceWarning",
    "ignore::pytest.PytestRemovedIn10Warning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings are errors elsewhere; here dbt's own code runs, which has its own view of deprecation."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            for warning in _WARNINGS:  # the last filter counts most
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(scope="class")
def publish_mode() -> str | None:
    """``publish`` of the profile. Classes override it that look at what a run left behind that failed."""
    return None


@pytest.fixture(scope="class")
def dbt_profile_target(tmp_path_factory: pytest.TempPathFactory, publish_mode: str | None) -> dict[str, Any]:
    target = {"type": "lakehouse", "warehouse": str(tmp_path_factory.mktemp("lake")), "threads": 4}
    return {**target, "publish": publish_mode} if publish_mode else target


@pytest.fixture(scope="class")
def logs_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """dbt's logs, outside of the checkout."""
    folder = str(tmp_path_factory.mktemp("logs"))
    os.environ["DBT_LOG_PATH"] = folder
    yield folder
    del os.environ["DBT_LOG_PATH"]
