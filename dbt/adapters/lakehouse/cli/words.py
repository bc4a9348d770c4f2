"""Times, sizes and counts as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

_STEPS = ((60, "second"), (60, "minute"), (24, "hour"), (30, "day"))


def ago(time: datetime, now: datetime | None = None) -> str:
    """How long ago something happened; after a month, its date."""
    amount = ((now or datetime.now(UTC)) - time).total_seconds()
    if amount < 5:
        return "just now"
    for size, unit in _STEPS:
        if amount < size:
            return f"{plural(int(amount), unit)} ago"
        amount /= size
    return time.strftime("%Y-%m-%d")


def duration(seconds: float) -> str:
    """A length of time, as exact as it matters."""
    if seconds < 10:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def size(count: int) -> str:
    """Bytes, in powers of a thousand."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.5 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"


def number(count: int) -> str:
    """A count with its thousands apart."""
    return f"{count:,}"


def plural(count: int, noun: str) -> str:
    """``1 row``, ``2 rows``, ``2 branches``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}{'es' if noun.endswith('ch') else 's'}"


def first_line(text: str) -> str:
    """What a table shows of a message."""
    return text.strip().partition("\n")[0]
