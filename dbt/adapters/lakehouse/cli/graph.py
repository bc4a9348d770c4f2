"""Commits with their parents as lines beside them, for a terminal or a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dbt.adapters.lakehouse.catalog.model import Commit


def graph(commits: Sequence[Commit]) -> Iterator[tuple[str, Commit | None]]:
    """A line for each commit, and lines between them where others begin or end; children come before parents."""
    lanes: list[str] = []
    for commit in commits:
        if commit.id not in lanes:
            lanes.append(commit.id)
        at = lanes.index(commit.id)
        yield _drawn("*" if lane == at else "|" for lane in range(len(lanes))), commit
        first, *others = commit.parents or ("",)
        lanes[at] = first
        for other in others:
            if other not in lanes:
                lanes.insert(at + 1, other)
                yield _drawn("\\" if lane == at + 1 else "|" for lane in range(len(lanes))), None
        while lanes.count(first) > 1 and first:
            # Two lines lead to one commit: the right one ends there.
            last = len(lanes) - 1 - lanes[::-1].index(first)
            yield _drawn("/" if lane == last else "|" for lane in range(len(lanes))), None
            del lanes[last]
        lanes = [lane for lane in lanes if lane]


def _drawn(marks: Iterator[str]) -> str:
    """Lanes are two characters apart, and a slash leans towards the lane to its left."""
    text = ""
    for mark in marks:
        text += mark if mark in ("\\", "/") else f" {mark}" if text else mark
    return text
