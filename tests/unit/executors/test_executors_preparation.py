"""Environments that are made before their models run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dbt.adapters.lakehouse.executors.base import Executor
from dbt.adapters.lakehouse.executors.local import LocalExecutor
from dbt.adapters.lakehouse.executors.pool import PoolExecutor
from dbt.adapters.lakehouse.executors.process import keeps_state
from dbt.adapters.lakehouse.jobs.job import (
    Create,
    Job,
    PythonCode,
    PythonNeeds,
    Query,
    job_from_json,
    job_to_json,
)
from dbt.adapters.lakehouse.jobs.python_env import Environments
from dbt.adapters.lakehouse.lake.remote import wire
from dbt.adapters.lakehouse.run.values import RunRequest
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.tables.values import TableSpec

NEEDS = [PythonNeeds(packages=(name,)) for name in ("no-such-package-at-all", "humanize", "humanize")]


@pytest.fixture(params=[LocalExecutor, PoolExecutor])
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Executor]:
    (tmp_path / "spill").mkdir()
    settings = LakeSettings(
        warehouse="", catalog="", environments=str(tmp_path / "environments"), temp_directory=str(tmp_path / "spill")
    )
    made = request.param(settings)
    yield made
    made.close()
    assert list((tmp_path / "spill").iterdir()) == []


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_they_are_made_in_the_background(executor: Executor, tmp_path: Path) -> None:
    started = time.monotonic()
    executor.prepare(NEEDS)
    assert time.monotonic() - started < 1
    until(lambda: list((tmp_path / "environments").glob("*/environment.json")))
    [made] = (tmp_path / "environments").glob("*/environment.json")
    # Under the very name by which a worker looks for it.
    environments = Environments(tmp_path / "environments", wheels_only=isinstance(executor, PoolExecutor))
    assert environments.get(NEEDS[1]).overlay == made.with_name("site-packages")
    assert len(list((tmp_path / "environments").glob("*/environment.json"))) == 1


def test_what_is_under_way_ends_with_the_executor(executor: Executor) -> None:
    executor.prepare([PythonNeeds(packages=(f"humanize>={number}",)) for number in range(200)])
    started = time.monotonic()
    executor.close()
    assert time.monotonic() - started < 3


def test_runs_and_jobs_of_earlier_versions_are_understood() -> None:
    request = RunRequest(id="r", command="c", branch="main", environments=tuple(NEEDS))
    text = wire.dump(RunRequest, request)
    assert wire.load(RunRequest, text) == request
    old = json.loads(text)
    del old["environments"]
    assert wire.load(RunRequest, json.dumps(old)).environments == ()
    job = python_job()
    text = job_to_json(job)
    assert job_from_json(text) == job
    old = json.loads(text)
    del old["action"]["python"]["line"]
    assert job_from_json(json.dumps(old)).action.python.line == 0  # type: ignore[union-attr]


def python_job(*setup: str) -> Job:
    spec = TableSpec(location="file:///nowhere", table_uuid="7e7a3b4e-52a5-4c83-8a5c-0f0a2b8f7d12")
    action = Create(spec=spec, python=PythonCode(code="", path="m.py", line=3))
    return Job(key="k", database="lake", default_schema="main", action=action, setup=setup)


def test_a_python_model_leaves_nothing_in_its_worker() -> None:
    assert not keeps_state(python_job())
    assert keeps_state(python_job("SET threads = 1"))
    temporary = Query(sql="CREATE TEMP TABLE t AS SELECT 1 AS a")
    assert keeps_state(Job(key="k", database="lake", default_schema="main", action=temporary))
