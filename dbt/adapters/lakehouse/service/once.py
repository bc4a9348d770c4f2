"""Work that is done once however often it is asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from dbt.adapters.lakehouse.errors import Busy, Unavailable

T = TypeVar("T")


class Once:
    """Remembers by key what the latest requests gave. One that comes again waits for the first and gets its answer."""

    def __init__(self, keeps: int = 1) -> None:
        self._keeps = keeps
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Future[Any]] = OrderedDict()

    def do(self, key: str | None, work: Callable[[], T]) -> T:
        """What ``work`` gives, or gave."""
        if key is None:
            return work()
        with self._lock:
            known = self._known.get(key)
            if known is None:
                mine: Future[Any] = Future()
                self._known[key] = mine
                while len(self._known) > self._keeps:
                    self._known.popitem(last=False)
        if known is not None:
            answer: T = known.result()
            return answer
        try:
            answer = work()
        except BaseException as error:
            if isinstance(error, Unavailable | Busy):
                # The same request may come again, and then do better.
                with self._lock:
                    self._known.pop(key, None)
            mine.set_exception(error)
            raise
        mine.set_result(answer)
        return answer
