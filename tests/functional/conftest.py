"""dbt's own fixtures (a project in a folder, run in this process), on a lake of its own for every class of tests.

With LAKEHOUSE_TEST_SERVICE=1 in the environment dbt's adapter suite works on a service instead: one process of it for each
of pytest's own, and a branch of its lake for every class.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbt.artifacts.schemas.results import RunStatus
from dbt.tests.fixtures.project import *  # noqa: F403 # the fixtures are found by their names in this module
from service_process import ServiceProcess

_HERE = Path(__file__).parent
_numbers = itertools.count()

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


_MODELS_RUN_AGAIN = {"TestConcurrency", "TestPersistDocsAllColumnsMissing"}
"""Classes that want the status of models that ran, where from dbt-core 1.12 on one that is as it was has ``reused``."""


@pytest.fixture(scope="class")
def publish_mode() -> str | None:
    """``publish`` of the profile. Classes override it that look at what a run left behind that failed."""
    return None


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServiceProcess, str]]:
    """A service that all classes share, and a token for it."""
    with ServiceProcess(tmp_path_factory.mktemp("served") / "lake") as process:
        yield process, process.token()


@pytest.fixture(scope="class")
def dbt_profile_target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, publish_mode: str | None
) -> dict[str, Any]:
    # dbt's own suite looks at the results of nodes that fail: they are to run.
    target: dict[str, Any] = {"type": "lakehouse", "threads": 4, "preflight": "warn"}
    if os.environ.get("LAKEHOUSE_TEST_SERVICE") == "1":
        process, token = request.getfixturevalue("service")
        target |= {"service": process.url, "token": token, "branch": f"class-{next(_numbers)}"}
    else:
        target |= {"warehouse": str(tmp_path_factory.mktemp("lake"))}
    if hasattr(RunStatus, "Reused") and request.cls.__name__ in _MODELS_RUN_AGAIN:
        target |= {"reuse": "off"}
    return {**target, "publish": publish_mode} if publish_mode else target


@pytest.fixture(scope="class")
def logs_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """dbt's logs, outside of the checkout."""
    folder = str(tmp_path_factory.mktemp("logs"))
    os.environ["DBT_LOG_PATH"] = folder
    yield folder
    del os.environ["DBT_LOG_PATH"]
