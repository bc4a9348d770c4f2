"""What collecting garbage and compacting are asked for, and what they answer. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from dbt.adapters.lakehouse.catalog.model import Key
from dbt.adapters.lakehouse.tables.values import Extent

LEAST_GRACE = timedelta(hours=1)
"""Files that a job writes right now must not look like garbage."""


@dataclass(frozen=True, kw_only=True)
class CollectRequest:
    """How long to keep what nothing leads to any more; see ``catalog.model.Retention``.

    ``alone`` says that nothing else works on the lake, so that a grace of less than an hour does no harm.
    """

    history: timedelta = timedelta(days=7)
    failed_runs: timedelta = timedelta(days=7)
    results: timedelta = timedelta(days=30)
    grace: timedelta = timedelta(days=1)
    alone: bool = False
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class TableGarbage:
    """Files of one folder, which is a table's, that were deleted (or would be)."""

    schema: str
    name: str
    files: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """What was collected, or on a dry run would be.

    ``commits`` can no longer be read, ``branches`` of runs are gone, ``results`` can no longer be reused; ``files`` of
    ``size_bytes`` were deleted, by ``tables``; ``leftovers`` are unfinished uploads and empty folders. ``kept`` files are
    reachable; ``young`` ones are not, but younger than the grace. ``foreign`` names files that are none of a table, which
    nobody touches (the first of them, ``foreign_files`` in all), ``unreadable`` tables whose files were all left alone.
    """

    dry_run: bool
    commits: int
    branches: tuple[str, ...]
    results: int
    files: int
    size_bytes: int
    tables: tuple[TableGarbage, ...]
    leftovers: int
    kept: int
    kept_bytes: int
    young: int
    young_bytes: int
    foreign: tuple[str, ...]
    foreign_files: int
    unreadable: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class CompactRequest:
    """Which ``tables`` of ``branch`` to compact; none named: all of them.

    ``snapshots`` is how many snapshots the new metadata of a table tells of; with ``older_than`` the others go only if they
    are older. Where either is given, a table is written anew for that alone; where neither is, those of the last day stay.
    """

    branch: str
    tables: tuple[Key, ...] = ()
    snapshots: int | None = None
    older_than: timedelta | None = None
    author: str = "unknown"
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class CompactedTable:
    """One table before and after (None on a dry run, and where ``problem`` says why it stayed as it was)."""

    schema: str
    name: str
    before: Extent
    after: Extent | None = None
    seconds: float = 0.0
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Compacted:
    """What came of a compaction: the tables that had something to gain, how many ``considered``, the commit of all that."""

    branch: str
    considered: int
    tables: tuple[CompactedTable, ...] = field(default=())
    commit: str | None = None
