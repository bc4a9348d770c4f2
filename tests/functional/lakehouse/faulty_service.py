"""The program ``lakehouse``, but for a death at a named point (``DIE_AT``) or a clock that is set by a file (``CLOCK``)."""

from __future__ import annotations

import datetime as dates
import os
import time
from pathlib import Path
from typing import Any

from dbt_process import die_at


def follow(clock: Path) -> None:
    """Let this process's time of day be off by as many seconds as a file says from moment to moment."""
    real = time.time
    real_ns = time.time_ns

    def off() -> float:
        text = clock.read_text() if clock.exists() else ""
        return float(text or 0)

    class Kind(type):
        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, dates.date) and hasattr(value, "hour")

    class Shifted(dates.datetime, metaclass=Kind):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return _real.fromtimestamp(real() + off(), tz)

        @classmethod
        def fromisoformat(cls, text: str) -> Any:
            return _real.fromisoformat(text)

    _real = dates.datetime
    time.time = lambda: real() + off()
    time.time_ns = lambda: real_ns() + int(off() * 1e9)
    dates.datetime = Shifted  # type: ignore[misc]


if __name__ == "__main__":
    if "CLOCK" in os.environ:
        # Before anything imports the clock.
        follow(Path(os.environ["CLOCK"]))
    if "DIE_AT" in os.environ:
        die_at(os.environ["DIE_AT"])
    from dbt.adapters.lakehouse.cli.main import main

    main()
