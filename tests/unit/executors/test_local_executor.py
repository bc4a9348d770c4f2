"""Warm workers: kept, shared out one at a time, never one that was torn."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dbt.adapters.lakehouse.errors import JobCancelled
from dbt.adapters.lakehouse.executors.local import LocalExecutor
from dbt.adapters.lakehouse.jobs.job import Job, Query
from dbt.adapters.lakehouse.settings import LakeSettings


def ask(sql: str) -> Job:
    return Job(key="k", database="lake", default_schema="main", action=Query(sql=sql))


@pytest.fixture
def executor(tmp_path: Path) -> LocalExecutor:
    return LocalExecutor(
        LakeSettings(warehouse="", catalog="", workers=2, memory_limit="100MB", temp_directory=str(tmp_path))
    )


def spills(folder: Path) -> int:
    return len(list(folder.glob("lakehouse-*")))


def test_workers_stay_warm_up_to_their_number(executor: LocalExecutor, tmp_path: Path) -> None:
    leases = [executor.lease() for _ in range(3)]
    assert [lease.run(ask("SELECT 1")).rows for lease in leases] == [[(1,)]] * 3
    assert spills(tmp_path) == 3
    for lease in leases:
        lease.release()
        lease.release()
    assert spills(tmp_path) == 2
    with executor.lease() as again:
        assert again.run(ask("SELECT 2")).rows == [(2,)]
    assert spills(tmp_path) == 2
    executor.close()
    assert spills(tmp_path) == 0


def test_a_worker_given_back_after_close_stops(executor: LocalExecutor, tmp_path: Path) -> None:
    lease = executor.lease()
    executor.close()
    lease.release()
    assert spills(tmp_path) == 0


def test_a_cancelled_worker_is_not_used_again(executor: LocalExecutor, tmp_path: Path) -> None:
    lease = executor.lease()
    threading.Timer(0.2, lease.cancel).start()
    with pytest.raises(JobCancelled):
        lease.run(ask("SELECT count(*) FROM range(1000000) a(i), range(1000000) b(j) WHERE i + j < 0"))
    lease.release()
    assert spills(tmp_path) == 0
    with executor.lease() as fresh:
        assert fresh.run(ask("SELECT 1")).rows == [(1,)]
    executor.close()
