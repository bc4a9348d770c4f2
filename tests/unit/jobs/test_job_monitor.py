"""Who watches a job hears of it from its third second on, and never after it has ended."""

import threading
import time

import pytest

from dbt.adapters.lakehouse.jobs import monitor
from dbt.adapters.lakehouse.jobs.job import Progress
from dbt.adapters.lakehouse.jobs.monitor import Monitor


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(monitor, "FIRST_SECONDS", 0.1)
    monkeypatch.setattr(monitor, "SECONDS", 0.02)


def _progress() -> Progress:
    return Progress(seconds=1.0, percent=None, size_bytes=0)


def _threads(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_a_long_job_is_told_of_again_and_again_until_it_ends():
    told: list[Progress] = []
    with Monitor(_progress, told.append):
        _until(lambda: len(told) >= 3)
    count = len(told)
    time.sleep(0.1)
    assert len(told) == count


def test_short_jobs_are_not_told_of_and_take_no_thread_each():
    told: list[Progress] = []
    for _ in range(50):
        with Monitor(_progress, told.append):
            assert _threads("lakehouse-monitor") == 0
    assert _threads("lakehouse-monitors") == 1
    _until(lambda: _threads("lakehouse-monitors") == 0)
    assert told == []


def test_a_job_that_begins_while_another_is_watched_has_a_third_second_of_its_own():
    first: list[float] = []
    second: list[float] = []
    started = time.monotonic()
    with Monitor(_progress, lambda _: first.append(time.monotonic() - started)):
        time.sleep(0.06)
        with Monitor(_progress, lambda _: second.append(time.monotonic() - started)):
            _until(lambda: bool(second))
    assert first[0] >= 0.1
    assert second[0] >= 0.16


def test_nobody_is_told_what_nobody_wants_to_know():
    with Monitor(_progress, None):
        assert _threads("lakehouse-monitors") == 0


def _until(reached, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
