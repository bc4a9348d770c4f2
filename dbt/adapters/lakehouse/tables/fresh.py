"""Files that a job wrote and has at hand until it ends.

In a sandbox a DuckDB opens the files it was made for, and its own folders. What a job writes is therefore made in such a
folder, put where it belongs from there, and read back from there, if it must be.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """``staging`` is the folder to make files in, None for the connection's own; ``kept`` are folders by their URI."""

    staging: str | None = None
    kept: dict[str, str] = field(default_factory=dict)


_FRESH: ContextVar[Fresh | None] = ContextVar("files at hand", default=None)


def present() -> Fresh | None:
    """What the job that runs has at hand; None where jobs write in place."""
    return _FRESH.get()


@contextlib.contextmanager
def keeping(staging: str | None) -> Iterator[None]:
    """Let what the block writes be at hand until it ends."""
    fresh = Fresh(staging=staging)
    token = _FRESH.set(fresh)
    try:
        yield
    finally:
        _FRESH.reset(token)
        for folder in fresh.kept.values():
            shutil.rmtree(folder, ignore_errors=True)


def path_of(uri: str) -> str | None:
    """Where a file is at hand, if it is."""
    fresh = _FRESH.get()
    if fresh is None:
        return None
    return next(
        (path + uri[len(folder) :] for folder, path in fresh.kept.items() if uri.startswith(f"{folder}/")), None
    )
