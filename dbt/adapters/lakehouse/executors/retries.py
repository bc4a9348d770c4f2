"""Which failures pass by themselves, and how long to wait for that."""

from __future__ import annotations

import random

from dbt.adapters.lakehouse.errors import LakehouseError, WorkerDied

_LONGEST = 30.0


def passes(error: BaseException) -> bool:
    """Whether the same job may well succeed when it is tried again: its worker died, or storage was away for a moment."""
    if isinstance(error, WorkerDied):
        return True
    return isinstance(error, LakehouseError) and bool(getattr(error, "passing", False))


def pause(failures: int, base: float) -> float:
    """Seconds to wait after so many failures: twice as long each time, and never just as long as others wait."""
    return min(base * 2.0 ** (failures - 1), _LONGEST) * random.uniform(0.5, 1.5)
