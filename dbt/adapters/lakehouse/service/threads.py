"""Threads for what blocks. Three kinds, so that long work never keeps short work waiting.

Statements use the default kind, whose number ``app`` sets. A build may wait in the pool's queue for an hour; a heartbeat that
waits behind builds would let runs be given up whose clients live.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")

STATEMENTS = 200
_BUILDS = anyio.CapacityLimiter(400)
_QUICK = anyio.CapacityLimiter(32)


async def quickly(work: Callable[[], T]) -> T:
    """For what takes milliseconds and must not wait: who asks, heartbeats, cancelling."""
    return await anyio.to_thread.run_sync(work, limiter=_QUICK)


async def building(work: Callable[[], T]) -> T:
    """For builds."""
    return await anyio.to_thread.run_sync(work, limiter=_BUILDS)
