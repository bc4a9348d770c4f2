"""Who was silent for too long, judged by a clock that nobody sets, and only while there was somebody to hear them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.catalog.model import RunRecord


class Attention:
    """Knows whether this process has been there all the time: who was stopped, or starved, heard nobody meanwhile."""

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._tolerated = max(1.0, lease / 4)
        self._deaf_until = 0.0

    def slept(self, meant: float, seconds: float) -> bool:
        """After a pause that was meant to last so long and lasted so long: whether silence of others means anything now."""
        now = time.monotonic()
        if seconds - meant > self._tolerated:
            # Whoever lives says so within a lease.
            self._deaf_until = now + self._lease
        return now >= self._deaf_until


class Silence:
    """Watches heartbeats of runs that other processes look after. What their clocks say does not matter, only change does."""

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._heard: dict[str, tuple[datetime, float]] = {}

    def over(self, records: Iterable[RunRecord]) -> list[RunRecord]:
        """Of these open runs, those whose heartbeat has not changed for a lease while it was watched."""
        now = time.monotonic()
        before, self._heard = self._heard, {}
        silent = []
        for record in records:
            beat, since = before.get(record.id, (None, now))
            if beat != record.heartbeat_at:
                since = now
            self._heard[record.id] = (record.heartbeat_at, since)
            if now - since > self._lease:
                silent.append(record)
        return silent
