"""Files that a job wrote and has at hand until it ends.

In a sandbox a DuckDB opens the files it was made for, and its own folders. What a job writes is therefore made in such a
folder, put where it belongs from there, and read back from there, if it must be.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """``folders`` are the local folders that were written into so far.

    With ``kept`` they are the DuckDB's own: made in ``staging`` (None: where the connection spills), and kept by the URI of
    the folder that they were put into.
    """

    folders: list[str]
    staging: str | None = None
    kept: dict[str, str] | None = None


_FRESH: ContextVar[Fresh | None] = ContextVar("files at hand", default=None)


def present() -> Fresh | None:
    """What the job that runs has written; None where nobody wants to know."""
    return _FRESH.get()


@contextlib.contextmanager
def noting(folders: list[str]) -> Iterator[None]:
    """Let the folders be noted that the block writes into, which it does in place."""
    with _known(Fresh(folders=folders)):
        yield


@contextlib.contextmanager
def keeping(staging: str | None, folders: list[str]) -> Iterator[None]:
    """Let what the block writes be at hand until it ends; ``folders`` as for ``noting``."""
    kept: dict[str, str] = {}
    try:
        with _known(Fresh(folders=folders, staging=staging, kept=kept)):
            yield
    finally:
        for folder in kept.values():
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _known(fresh: Fresh) -> Iterator[None]:
    token = _FRESH.set(fresh)
    try:
        yield
    finally:
        _FRESH.reset(token)


def path_of(uri: str) -> str | None:
    """Where a file is at hand, if it is."""
    fresh = _FRESH.get()
    if fresh is None or fresh.kept is None:
        return None
    return next(
        (path + uri[len(folder) :] for folder, path in fresh.kept.items() if uri.startswith(f"{folder}/")), None
    )
