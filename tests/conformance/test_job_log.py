"""What every log of jobs does: in memory, and in the store of a service."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from dbt.adapters.lakehouse.errors import CatalogError
from dbt.adapters.lakehouse.executors.records import LOG_LINES, Attempt, JobLog, JobRecord, MemoryJobLog
from dbt.adapters.lakehouse.service.job_log import StoredJobLog
from dbt.adapters.lakehouse.service.store import ServiceStore

_numbers = itertools.count()


def postgres_schema(url: str) -> str:
    import psycopg

    name = f"jobs_{next(_numbers)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{url}&options={quote(f'-csearch_path={name}')}"


@contextlib.contextmanager
def stores(request: Any, kind: str) -> Iterator[Callable[[], ServiceStore]]:
    """Opens the same store as often as it is called: each a handle of its own."""
    if kind == "sqlite":
        url = f"sqlite:///{request.getfixturevalue('tmp_path') / 'catalog.sqlite'}"
    else:
        url = postgres_schema(request.getfixturevalue("postgres"))
    opened: list[ServiceStore] = []

    def open_it() -> ServiceStore:
        opened.append(ServiceStore.open(url))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture(params=["sqlite", "postgres"])
def open_store(request) -> Iterator[Callable[[], ServiceStore]]:
    with stores(request, request.param) as open_it:
        yield open_it


@pytest.fixture
def stored(open_store) -> StoredJobLog:
    return open_store().jobs


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def log(request) -> Iterator[JobLog]:
    if request.param == "memory":
        yield MemoryJobLog()
        return
    with stores(request, request.param) as open_it:
        yield open_it().jobs


def job(key: str = "k", **more: Any) -> JobRecord:
    said: dict[str, Any] = {
        "label": "model.a",
        "user": "ann",
        "run": "r1",
        "state": "queued",
        "priority": 3,
        "submitted_at": 1000.5,
        "envelope": '{"sql": "SELECT 1"}',
        "resources": {"cpus": 2, "memory": "1GB"},
    }
    return JobRecord(key=key, **{**said, **more})


def ended(key: str, **more: Any) -> JobRecord:
    attempt = Attempt(worker=17, started_at=1001.0, seconds=0.25, error={"kind": "storage", "message": "away"})
    error = {"kind": "sql", "message": "no such table"}
    said = {"state": "failed", "started_at": 1001.0, "finished_at": 1002.0, "attempts": (attempt,), "error": error}
    return job(key, **{**said, **more})


def test_a_record_comes_back_as_it_was_given(log: JobLog) -> None:
    log.record(job())
    assert log.get("k") == job()
    log.record(ended("k", progress={"rows": 5}))
    assert log.get("k") == ended("k", progress={"rows": 5})
    assert list(log.list()) == [ended("k", progress={"rows": 5})]
    assert log.get("other") is None


def test_lines_are_added_while_records_change(log: JobLog) -> None:
    log.record(job())
    log.append_log("k", ["one"])
    log.record(job(state="running", logs=("not meant",)))
    log.append_log("k", ["two", "three"])
    log.record(ended("k"))
    log.append_log("nobody", ["lost"])
    found = log.get("k")
    assert found is not None
    assert found.logs == ("one", "two", "three")


def test_the_last_lines_are_kept(log: JobLog) -> None:
    log.record(job())
    log.append_log("k", [str(number) for number in range(LOG_LINES + 5)])
    log.append_log("k", ["last"])
    found = log.get("k")
    assert found is not None
    assert len(found.logs) == LOG_LINES
    assert found.logs[-2:] == (str(LOG_LINES + 4), "last")


def test_lists_are_newest_first_by_state_and_user(log: JobLog) -> None:
    for number in range(6):
        state = "dead" if number % 3 == 0 else "done"
        log.record(ended(f"k{number}", submitted_at=float(number), user="ann" if number % 2 else "bob", state=state))
    assert [record.key for record in log.list()] == ["k5", "k4", "k3", "k2", "k1", "k0"]
    assert [record.key for record in log.list(limit=2)] == ["k5", "k4"]
    assert [record.key for record in log.list(state="dead")] == ["k3", "k0"]
    assert [record.key for record in log.list(user="bob", state="done")] == ["k4", "k2"]


def test_records_of_many_threads_are_all_kept(log: JobLog) -> None:
    def run(number: int) -> None:
        log.record(job(f"k{number}"))
        log.append_log(f"k{number}", ["a"])
        log.record(job(f"k{number}", state="running"))
        log.append_log(f"k{number}", ["b"])
        log.record(ended(f"k{number}", state="done", error=None))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, range(60)))
    found = log.list(limit=100)
    assert {record.state for record in found} == {"done"}
    assert {record.logs for record in found} == {("a", "b")}
    assert len(found) == 60


def test_another_process_sees_what_was_written_and_goes_on_with_it(open_store) -> None:
    first = open_store()
    first.jobs.record(job())
    first.jobs.append_log("k", ["one"])
    first.close()
    second = open_store().jobs
    assert second.get("k") == job(logs=("one",))
    second.append_log("k", ["two"])
    second.record(ended("k"))
    assert open_store().jobs.get("k") in (job(logs=("one",)), ended("k", logs=("one", "two")))
    second.flush()
    assert open_store().jobs.get("k") == ended("k", logs=("one", "two"))


def test_a_dead_letter_is_kept_at_once(open_store) -> None:
    jobs = open_store().jobs
    jobs.record(job())
    jobs.append_log("k", ["why"])
    jobs.record(ended("k", state="dead"))
    assert open_store().jobs.get("k") == ended("k", state="dead", logs=("why",))


def test_changes_are_written_by_themselves(open_store) -> None:
    open_store().jobs.record(job())
    other, until = open_store().jobs, time.monotonic() + 5
    while other.get("k") is None and time.monotonic() < until:
        time.sleep(0.02)
    assert other.get("k") == job()


def test_ended_jobs_are_not_held_in_memory(stored: StoredJobLog) -> None:
    for number in range(10):
        stored.record(ended(f"k{number}"))
    stored.record(job("open"))
    stored.flush()
    assert set(stored._held) == {"open"}


def test_a_store_that_is_away_for_a_moment_loses_nothing(open_store) -> None:
    store = open_store()
    jobs = store.jobs
    with store._database.write() as connection:
        connection.execute(sa.text("ALTER TABLE lakehouse_service_jobs RENAME TO away"))
    jobs.record(job())
    with pytest.raises(CatalogError):
        jobs.flush()
    jobs.record(job("later"))
    with store._database.write() as connection:
        connection.execute(sa.text("ALTER TABLE away RENAME TO lakehouse_service_jobs"))
    assert {record.key for record in jobs.list()} == {"k", "later"}


def test_what_a_stopped_service_left_under_way_has_failed(open_store) -> None:
    first = open_store()
    first.jobs.record(job("waiting"))
    first.jobs.record(job("at-work", state="running"))
    first.jobs.record(ended("over"))
    first.close()
    jobs = open_store().jobs
    jobs.record(job("new", state="running"))
    assert jobs.end_lost() == 2
    states = {record.key: record.state for record in jobs.list()}
    assert states == {"waiting": "failed", "at-work": "failed", "over": "failed", "new": "running"}
    found = jobs.get("waiting")
    assert found is not None
    assert "the service was stopped" in str(found.error)


def test_old_and_many_jobs_are_pruned_and_open_ones_never(stored: StoredJobLog) -> None:
    now = time.time()
    stored.record(job("open", submitted_at=0.0))
    for days in range(10):
        at = now - days * 86_400
        stored.record(ended(f"d{days}", submitted_at=at, finished_at=at))
    stored.flush()
    stored.prune(timedelta(days=7.5), 100)
    assert [record.key for record in stored.list()] == [*(f"d{days}" for days in range(8)), "open"]
    stored.prune(timedelta(days=7.5), 3)
    assert [record.key for record in stored.list()] == ["d0", "d1", "d2", "open"]


def test_errors_of_any_kind_are_kept(log: JobLog) -> None:
    error = {"kind": "sql", "message": "'\"\n\t\x01 ünï", "extra": [1, None]}
    record = dataclasses.replace(ended("k"), error=error, label='"a"."b"\n')
    log.record(record)
    assert log.list()[0] == record
