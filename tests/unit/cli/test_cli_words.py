from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dbt.adapters.lakehouse.cli.words import ago, duration, first_line, number, plural, size

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (timedelta(seconds=-3), "just now"),
        (timedelta(seconds=4), "just now"),
        (timedelta(seconds=59), "59 seconds ago"),
        (timedelta(seconds=60), "1 minute ago"),
        (timedelta(minutes=59, seconds=59), "59 minutes ago"),
        (timedelta(hours=1), "1 hour ago"),
        (timedelta(hours=47), "1 day ago"),
        (timedelta(days=29), "29 days ago"),
        (timedelta(days=31), "2026-10-21"),
    ],
)
def test_ago(passed: timedelta, said: str) -> None:
    assert ago(NOW - passed, NOW) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.004, "0.00 s"), (0.25, "0.25 s"), (1.25, "1.2 s"), (59.4, "59 s"), (61, "1 min 1 s"), (7260, "2 h 1 min")],
)
def test_duration(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (29_400_000, "29.4 MB"),
        (350_000_000, "350 MB"),
        (10**13, "10.0 TB"),
    ],
)
def test_size(count: int, said: str) -> None:
    assert size(count) == said


def test_counts() -> None:
    assert number(336776) == "336,776"
    assert plural(1, "row") == "1 row"
    assert plural(2, "branch") == "2 branches"
    assert plural(0, "row") == "0 rows"
    assert first_line("one\ntwo") == "one"
