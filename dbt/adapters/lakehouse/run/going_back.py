"""What may be asked for when something is to go back, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from dbt.adapters.lakehouse.catalog.model import Change, Commit, Conflict, Key
from dbt.adapters.lakehouse.run.dependants import Dependant


@dataclass(frozen=True, kw_only=True)
class RevertRequest:
    """What is to go back on ``branch``: all that ``commit`` changed, or ``tables`` as they were at the ref ``to``.

    ``with_dependants`` takes along what was computed from it; ``knowingly`` goes ahead whatever is left to stand on something
    that is gone. ``expected`` is the head that the caller saw, if any.
    """

    branch: str
    author: str
    commit: str | None = None
    tables: tuple[Key, ...] = ()
    to: str | None = None
    with_dependants: bool = False
    knowingly: bool = False
    accept_tainted: bool = False
    dry_run: bool = False
    message: str | None = None
    expected: str | None = None


@dataclass(frozen=True, kw_only=True)
class ResetRequest:
    """Let ``branch`` hold what the ref ``to`` leads to. ``expected`` is the head that the caller saw, if any."""

    branch: str
    to: str
    author: str
    accept_tainted: bool = False
    dry_run: bool = False
    message: str | None = None
    expected: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reverted:
    """What going back did, or with ``dry_run`` would do.

    ``head`` is where the branch was, and ``commit`` where it is now; None if nothing was changed. ``changes`` are those that
    the branch got (or would get). ``conflicts`` are keys that changed after the commit that was to be undone, whose
    ``source`` is what should be put back. ``dependants`` would stand on something that is gone; ``refused`` says that this,
    or a conflict, is why nothing was done.
    """

    branch: str
    head: str
    commit: Commit | None = None
    changes: tuple[Change, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    dependants: tuple[Dependant, ...] = ()
    refused: bool = False
