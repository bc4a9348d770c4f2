"""Files that are really written, and what is told of them."""

from __future__ import annotations

import os
import pty
import queue
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbt.adapters.lakehouse.dev.places import Places, places
from dbt.adapters.lakehouse.dev.watching import Event, Keyboard, Saved, Stopped, Typed, Watcher, signals, watcher

PATIENCE = 10.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = (tmp_path / "project").resolve()
    (root / "models" / "staging").mkdir(parents=True)
    (root / "dbt_project.yml").write_text("name: shop\n")
    return root


@pytest.fixture
def events() -> queue.SimpleQueue[Event]:
    return queue.SimpleQueue()


@pytest.fixture
def watching(root: Path, events: queue.SimpleQueue[Event]) -> Iterator[Watcher]:
    watching = watcher(events.put)
    assert watching.watch(places(root))
    time.sleep(0.1)  # until the system's watch is there, of which nothing tells
    yield watching
    watching.close()


def saved(events: queue.SimpleQueue[Event]) -> set[Path]:
    event = events.get(timeout=PATIENCE)
    assert isinstance(event, Saved)
    return set(event.paths)


def test_saves_that_follow_one_another_are_one(root: Path, events: queue.SimpleQueue[Event], watching: Watcher) -> None:
    for name in ("a", "b", "c"):
        (root / "models" / f"{name}.sql").write_text("select 1")
    assert saved(events) == {root / "models" / f"{name}.sql" for name in ("a", "b", "c")}
    assert events.empty()


def test_the_ways_of_editors(root: Path, events: queue.SimpleQueue[Event], watching: Watcher) -> None:
    model = root / "models" / "a.sql"
    beside = model.with_name(".a.sql.swp")
    beside.write_text("select 1")
    beside.replace(model)
    assert saved(events) == {model}
    project = root / "dbt_project.yml"
    for text in ("name: other\n", "name: shop\n"):  # replaced twice: a watch on the file itself would lose it
        (root / "dbt_project.yml~").write_text(text)
        (root / "dbt_project.yml~").replace(project)
        assert saved(events) == {project}
    model.unlink()
    assert saved(events) == {model}


def test_folders_that_move(root: Path, events: queue.SimpleQueue[Event], watching: Watcher) -> None:
    (root / "models" / "staging").rename(root / "models" / "base")
    assert root / "models" / "base" in saved(events)
    shutil.rmtree(root / "models" / "base")
    assert saved(events) == {root / "models" / "base"}
    (root / "seeds").mkdir()
    assert saved(events) == {root / "seeds"}


def test_other_places_take_the_place_of_the_former(
    root: Path, events: queue.SimpleQueue[Event], watching: Watcher
) -> None:
    assert not watching.watch(places(root)), "they are the same"
    (root / "seeds").mkdir()
    saved(events)
    assert watching.watch(places(root))
    time.sleep(0.1)
    (root / "seeds" / "a.csv").write_text("id\n1\n")
    assert saved(events) == {root / "seeds" / "a.csv"}


def test_a_folder_that_went_makes_for_other_places(tmp_path: Path, events: queue.SimpleQueue[Event]) -> None:
    watching = watcher(events.put)
    missing = tmp_path / "missing"
    watching.watch(Places(root=tmp_path, trees=(missing,)))
    assert saved(events) == {missing}
    missing.mkdir()
    assert watching.watch(Places(root=tmp_path, trees=(missing,)))
    watching.close()


def test_a_folder_that_was_made_anew_is_watched_anew(
    root: Path, events: queue.SimpleQueue[Event], watching: Watcher
) -> None:
    former = (root / "models").rename(root / "away")
    (root / "models").mkdir()
    saved(events)
    assert watching.watch(places(root))
    shutil.rmtree(former)
    time.sleep(0.1)
    (root / "models" / "new.sql").write_text("select 1")
    while root / "models" / "new.sql" not in saved(events):
        pass


def test_lines_of_a_terminal(monkeypatch: pytest.MonkeyPatch, events: queue.SimpleQueue[Event]) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp())  # the terminal is nobody's here
        with Keyboard(events.put):
            os.write(ours, b"\nq\n")
            lines = [events.get(timeout=PATIENCE)]
            while lines[-1] != Typed(line="q"):
                lines.append(events.get(timeout=PATIENCE))
    os.close(ours)
    assert lines == [Typed(line=""), Typed(line="q")]


def test_without_a_terminal_there_is_no_keyboard(
    monkeypatch: pytest.MonkeyPatch, events: queue.SimpleQueue[Event]
) -> None:
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with Keyboard(events.put) as keyboard:
            assert keyboard._thread is None
    assert events.empty()


def test_a_signal_is_told_and_a_second_one_interrupts(events: queue.SimpleQueue[Event]) -> None:
    # A shell has its background jobs ignore the one, and nohup the other.
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        _check_signals(events)
    finally:
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGHUP, hangup)


def _check_signals(events: queue.SimpleQueue[Event]) -> None:
    former = signal.getsignal(signal.SIGTERM)
    with signals(events.put, lambda: False):
        signal.raise_signal(signal.SIGTERM)
        assert events.get(timeout=PATIENCE) == Stopped()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is former
    with signals(events.put, lambda: True), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGHUP)


def test_a_signal_that_is_ignored_stays_ignored(events: queue.SimpleQueue[Event]) -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals(events.put, lambda: True):
            signal.raise_signal(signal.SIGHUP)
        assert events.empty()
    finally:
        signal.signal(signal.SIGHUP, former)
