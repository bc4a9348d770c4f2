"""The grammar of ref expressions and of branch and tag names.

::

    expression = base step*
    base       = branch | tag | commit id | first digits of a commit id (4 or more)
               | "run/" first characters of a run's id (4 or more)
    step       = "~" [count]       so many first parents back; "~" alone is one
               | "@" commit id     that commit, provided the base leads to it (``main@3f2a91``)
               | "@" time          the state the base had at that time (``main@2026-11-20T10:00``)

A time is ISO 8601, at least a date (which means its first instant), UTC unless it carries an offset. History is
followed by first parents: what the branch showed at that time, not when somebody made the change elsewhere.

A base that could be either is looked up as a name first (``feed``, ``b100``). A name of 8 to 40 hex digits would hide the
commit ids that messages show, so no branch or tag may be called that.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.errors import InvalidRef

if TYPE_CHECKING:
    from collections.abc import Iterable

RUN_PREFIX = "run/"
"""Branches under this prefix belong to runs."""

MAX_NAME = 200

_MIN_RUN = 4
_ASIDE = ".again"
_HEX = re.compile(r"[0-9a-fA-F]{4,40}")
_HIDES_COMMITS = 8
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_STEP = re.compile(r"~(?P<count>\d{0,9})|@(?P<at>[^~@]+)")
_ALSO_ALLOWED = frozenset("_-./+#=,")


@dataclass(frozen=True, kw_only=True)
class Back:
    """``~count``: so many first parents back."""

    count: int


@dataclass(frozen=True, kw_only=True)
class AtCommit:
    """``@3f2a91``: the commit whose id starts so, which must be reachable."""

    prefix: str


@dataclass(frozen=True, kw_only=True)
class AtTime:
    """``@2026-11-20T10:00``: the newest first parent that is not younger. ``time`` is UTC."""

    time: datetime


Step = Back | AtCommit | AtTime


@dataclass(frozen=True, kw_only=True)
class RefExpression:
    """A parsed ref: ``base`` is a name, or perhaps a commit id if ``is_commit``; then the steps from there."""

    base: str
    is_commit: bool
    steps: tuple[Step, ...] = ()


def short(commit: str) -> str:
    """A commit id as messages show it."""
    return commit[:8]


def reads_as_commit(text: str) -> bool:
    """Whether text would be taken for a commit id rather than a name."""
    return _HEX.fullmatch(text) is not None


def parse(text: str) -> RefExpression:
    """Read a ref expression. Raises ``InvalidRef``, which says where it stops making sense."""
    cut = min((text.index(mark) for mark in "@~" if mark in text), default=len(text))
    base, rest = text[:cut], text[cut:]
    is_commit = reads_as_commit(base)
    if not is_commit:
        _check(base, of=text)
    steps: list[Step] = []
    while rest:
        match = _STEP.match(rest)
        if match is None:
            raise InvalidRef(f"ref {text!r} cannot be read from {rest!r} on; after '@' comes a commit id or a time")
        steps.append(_step(match, of=text))
        rest = rest[match.end() :]
    return RefExpression(base=base, is_commit=is_commit, steps=tuple(steps))


def _step(match: re.Match[str], *, of: str) -> Step:
    at = match["at"]
    if at is None:
        return Back(count=int(match["count"] or 1))
    if reads_as_commit(at):
        return AtCommit(prefix=at.lower())
    return AtTime(time=_time(at, of=of))


def _time(text: str, *, of: str) -> datetime:
    try:
        if not _DATE.match(text):
            raise ValueError(text)
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRef(
            f"{text!r} in ref {of!r} is neither a commit id (4 to 40 hex digits) nor a time "
            "(2026-11-20 or 2026-11-20T10:00, UTC unless it ends in an offset such as +02:00)"
        ) from None


def check_name(name: str) -> None:
    """Raise ``InvalidRef`` unless a branch or tag may be called ``name``."""
    _check(name, of=name)
    if len(name) >= _HIDES_COMMITS and reads_as_commit(name):
        raise InvalidRef(f"{name!r} cannot name a branch or tag: 8 to 40 hex digits read as a commit id; add a letter")


def _check(name: str, *, of: str) -> None:
    fault = _fault(name)
    if fault:
        where = "" if name == of else f" in {of!r}"
        raise InvalidRef(f"{name!r}{where} cannot name a branch or tag: {fault}")


def _fault(name: str) -> str | None:
    if not name:
        return "it is empty"
    if len(name) > MAX_NAME:
        return f"it has {len(name)} characters, {MAX_NAME} are allowed"
    for character in name:
        if not (character.isalnum() or character in _ALSO_ALLOWED):
            return f"it holds {character!r}; letters, digits and {' '.join(sorted(_ALSO_ALLOWED))} are allowed"
    if name[0] in "-./":
        return f"it starts with {name[0]!r}"
    if name.endswith(("/", ".", ".lock")):
        return "it ends in '/', '.' or '.lock'"
    if "//" in name or ".." in name or "/." in name:
        return "it holds '//', '..' or '/.'"
    return None


def is_run_name(name: str) -> bool:
    """Whether a name is one of those kept for run branches."""
    return name.startswith(RUN_PREFIX)


def aside(branch: str) -> str:
    """The name under which a run's branch is written anew before it takes the place of the branch."""
    return branch + _ASIDE


def branch_of_run(text: str, names: Iterable[str]) -> str | None:
    """The run branch that ``text`` names by the first characters (four or more) of its run's id, as messages show them.

    Raises ``InvalidRef`` if several of ``names`` start so.
    """
    if len(text) < len(RUN_PREFIX) + _MIN_RUN:
        return None
    found = sorted(name for name in names if name.startswith(text) and not name.endswith(_ASIDE))
    if len(found) > 1:
        raise InvalidRef(
            f"{text!r} is ambiguous: {len(found)} run branches start so ({', '.join(found[:4])}); write more"
        )
    return found[0] if found else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """What to put after "no such ref": names that look alike, or how to find out; begins with a separator."""
    close = difflib.get_close_matches(name, [ref for ref in known if not is_run_name(ref) or is_run_name(name)], n=3)
    if close:
        return f"; did you mean {' or '.join(repr(ref) for ref in close)}?"
    return "; `lakehouse branch list` and `lakehouse tag list` show what exists"
