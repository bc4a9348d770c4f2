"""Worker processes on a warehouse in S3 that fails for a while, or that are killed while they send."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from s3_faults import Faults
from s3_server import ROLE, S3

from dbt.adapters.lakehouse.errors import StorageError
from dbt.adapters.lakehouse.executors.limits import PoolOptions
from dbt.adapters.lakehouse.executors.pool import PoolExecutor
from dbt.adapters.lakehouse.jobs.job import Create, Job, JobResult, Resources
from dbt.adapters.lakehouse.jobs.s3_access import Grant
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.tables import metadata, reader
from dbt.adapters.lakehouse.tables.values import TableSpec


def settings(s3: S3, folder: Path, **options: str) -> LakeSettings:
    return LakeSettings(
        warehouse=s3.uri,
        catalog="",
        memory_limit="300MB",
        temp_directory=str(folder),
        storage_options={**s3.options, "retries": "0", "timeout": "5", **options},
        sandbox=True,
    )


@pytest.fixture
def pool(s3: S3, faults: Faults, tmp_path: Path) -> Iterator[PoolExecutor]:
    made = PoolExecutor(settings(s3.at(faults.endpoint), tmp_path / "spill"), PoolOptions(backoff_seconds=0.05))
    yield made
    made.close()
    assert not (tmp_path / "spill").exists() or list((tmp_path / "spill").iterdir()) == []


def create(pool: PoolExecutor, s3: S3, retries: int = 2) -> JobResult:
    spec = TableSpec(location=f"{s3.uri}/t", table_uuid=str(uuid.uuid4()))
    action = Create(sql="SELECT i AS id FROM range(1000) r(i)", spec=spec)
    job = Job(
        key=uuid.uuid4().hex,
        database="lake",
        default_schema="main",
        action=action,
        resources=Resources(retries=retries),
        label="t",
    )
    with pool.lease() as lease:
        return lease.run(job)


def rows(result: JobResult, s3: S3, folder: Path) -> list[tuple[Any, ...]]:
    assert result.written is not None
    with duckdb.connect() as con:
        Grant(con, settings(s3, folder))
        read = reader.select(metadata._read(result.written.metadata_location))
        return con.execute(f"SELECT count(*), sum(id) FROM ({read})").fetchall()


ALL = [(1000, sum(range(1000)))]


def test_a_job_is_tried_again_when_the_store_was_away(
    pool: PoolExecutor, s3: S3, faults: Faults, tmp_path: Path
) -> None:
    fault = faults.add("slow_down", method="PUT", path=".parquet", times=2)
    result = create(pool, s3)
    assert len(fault.met) == 2
    assert rows(result, s3, tmp_path) == ALL
    assert len([name for name in s3.names() if name.endswith(".parquet")]) == 1


def test_a_job_whose_store_stays_away_is_given_up(pool: PoolExecutor, s3: S3, faults: Faults) -> None:
    fault = faults.add("slow_down", method="PUT")
    with pytest.raises(StorageError, match="overloaded") as caught:
        create(pool, s3, retries=1)
    assert caught.value.passing
    assert len(fault.met) == 2
    assert s3.names() == set()


def test_a_worker_that_is_killed_while_it_sends(pool: PoolExecutor, s3: S3, faults: Faults, tmp_path: Path) -> None:
    fault = faults.add("late", method="PUT", path=".parquet", times=1, seconds=1.0)
    done: list[JobResult] = []
    thread = threading.Thread(target=lambda: done.append(create(pool, s3)))
    thread.start()
    deadline = time.monotonic() + 20
    while not fault.met and time.monotonic() < deadline:
        time.sleep(0.01)
    (running,) = [slot.process for slot in pool._slots._running if slot.process is not None]
    os.kill(running.pid, signal.SIGKILL)
    thread.join(30)
    assert done
    assert rows(done[0], s3, tmp_path) == ALL
    assert s3.unfinished() == []


def test_workers_with_credentials_of_a_role(s3: S3, tmp_path: Path) -> None:
    pool = PoolExecutor(settings(s3, tmp_path / "spill", assume_role=ROLE), PoolOptions())
    try:
        assert rows(create(pool, s3), s3, tmp_path) == ALL
    finally:
        pool.close()
