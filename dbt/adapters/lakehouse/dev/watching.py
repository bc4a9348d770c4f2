"""Tells of saves, and of lines that are typed, on threads of its own."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from dbt.adapters.lakehouse.dev.places import Places
from dbt.adapters.lakehouse.errors import ConfigError

_STEP, _LONGEST = 25, 400
"""Milliseconds: saves that follow one another within a step are one, for as long as that."""


@dataclass(frozen=True, kw_only=True)
class Saved:
    """Files that were written, made, moved or deleted."""

    paths: frozenset[Path]


@dataclass(frozen=True, kw_only=True)
class Typed:
    """A line of the keyboard."""

    line: str


@dataclass(frozen=True, kw_only=True)
class Blind:
    """Files cannot be watched any more."""

    why: str


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """A signal: Ctrl-C, the terminal was closed, or somebody ends this process."""


Event = Saved | Typed | Blind | Stopped


@contextlib.contextmanager
def signals(tell: Callable[[Event], None], at_once: Callable[[], bool]) -> Iterator[None]:
    """Signals that end the process are told; a second one raises ``KeyboardInterrupt``, and so does the first ``at_once``.

    An exception that comes out of nowhere may get lost on its way, in a finalizer for instance, while dbt waits on.
    """
    stopped = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        again, stopped = stopped, True
        # On a thread, since what is interrupted here may hold a lock.
        threading.Thread(target=tell, args=(Stopped(),), daemon=True).start()
        if again or at_once():
            raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # What was to be ignored from the start (nohup) stays so.
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    former = {number: signal.signal(number, handle) for number in heard}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def watcher(tell: Callable[[Event], None]) -> Watcher:
    """A watcher that watches nothing yet. Raises ``ConfigError`` where the library for it is missing."""
    try:
        import watchfiles
    except ImportError as error:
        raise ConfigError("lakehouse dev needs the package watchfiles; pip install 'dbt-lakehouse[watch]'") from error
    return Watcher(tell, watchfiles.watch)


class Watcher:
    """Watches the places of a project until it is closed; ``tell`` is called on its threads."""

    def __init__(self, tell: Callable[[Event], None], watch: Callable[..., Iterator[set[tuple[Any, str]]]]) -> None:
        self._tell = tell
        self._watch = watch
        self._watched: object = None
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def watch(self, places: Places) -> bool:
        """Watch these places from now on; False if they are the same as before."""
        # A folder that was made anew under its name is another one to the system.
        watched = (places, [_identity(folder) for folder in (*places.trees, *places.folders)])
        if watched == self._watched:
            return False
        former, threads = self._stop, self._threads
        self._watched, self._stop, self._threads = watched, threading.Event(), []
        for folders, deep in ((places.trees, True), (places.folders, False)):
            if folders:
                self._start(places, folders, deep)
        # Only now, so that no save falls between the two.
        former.set()
        _join(threads)
        return True

    def _start(self, places: Places, folders: tuple[Path, ...], deep: bool) -> None:
        stop = self._stop
        thread = threading.Thread(
            target=self._follow, args=(places, folders, deep, stop), name="lakehouse-dev-watch", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _follow(self, places: Places, folders: tuple[Path, ...], deep: bool, stop: threading.Event) -> None:
        def counts(change: Any, path: str) -> bool:
            return places.counts(Path(path), deleted=change.name == "deleted")

        try:
            for changes in self._watch(
                *folders,
                watch_filter=counts,
                step=_STEP,
                debounce=_LONGEST,
                stop_event=stop,
                recursive=deep,
                raise_interrupt=False,
            ):
                self._tell(Saved(paths=frozenset(Path(path) for _, path in changes)))
        except FileNotFoundError:
            # It went just now: there are other places to watch.
            self._watched = None
            self._tell(Saved(paths=frozenset(folders)))
        except OSError as error:
            if not stop.is_set():
                self._tell(Blind(why=str(error)))

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        _join(self._threads)


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(2)


class Keyboard:
    """Tells of lines typed at the terminal, as long as this process is in its foreground; of nothing without one.

    Whole lines, since the terminal then needs no setting that would have to be undone however the process ends.
    """

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Keyboard:
        with contextlib.suppress(OSError, ValueError):
            if sys.stdin.isatty():
                self._thread = threading.Thread(
                    target=self._read, args=(sys.stdin.fileno(),), name="lakehouse-dev-keys", daemon=True
                )
                self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2)

    def _read(self, terminal: int) -> None:
        while not self._stop.is_set():
            try:
                ready, _, _ = select.select([terminal], [], [], 0.2)
                # In the background, reading would stop the process.
                if not ready or os.tcgetpgrp(terminal) != os.getpgrp():
                    self._stop.wait(0.05)
                    continue
                text = os.read(terminal, 1024)
            except OSError:
                return
            if not text:
                return
            self._tell(Typed(line=text.decode(errors="replace").strip()))
