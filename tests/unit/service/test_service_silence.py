"""When a run counts as silent, whatever clocks say."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dbt.adapters.lakehouse.catalog.model import RunRecord, RunStatus
from dbt.adapters.lakehouse.service.silence import Attention, Silence


def record(beat: datetime) -> RunRecord:
    return RunRecord(
        id="one",
        branch="run/one",
        target="main",
        base="0" * 40,
        command="build",
        status=RunStatus.OPEN,
        owner="service:anna",
        started_at=beat,
        heartbeat_at=beat,
    )


@pytest.mark.parametrize("skew", [timedelta(), timedelta(hours=1), timedelta(days=-400)])
def test_only_change_counts(skew: timedelta) -> None:
    silence, run = Silence(0.15), record(datetime.now(UTC) + skew)
    assert silence.over([run]) == []
    time.sleep(0.1)
    run = replace(run, heartbeat_at=run.heartbeat_at - timedelta(hours=1))  # the clock was set back, and it beats
    assert silence.over([run]) == []
    time.sleep(0.1)
    assert silence.over([run]) == []
    time.sleep(0.1)
    assert silence.over([run]) == [run]
    assert silence.over([]) == []
    assert silence.over([run]) == [], "it is new again"


def test_who_slept_heard_nobody() -> None:
    attention = Attention(0.2)
    assert attention.slept(0.05, 0.06)
    assert not attention.slept(0.05, 5.0)
    assert not attention.slept(0.05, 0.05)
    time.sleep(0.21)
    assert attention.slept(0.05, 0.05)
