"""Garbage collection: what the catalog no longer leads to, and then every file that none of its tables consists of.

The catalog decides in one transaction, and refuses from then on to take back what may go. Only then are files looked at: those
that live tables lead to stay, and so do those younger than the grace, since a job may just be writing them. A collection
that is killed has deleted nothing else; the next one finds the rest.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from dbt.adapters.lakehouse.catalog.base import Catalog, Collectable
from dbt.adapters.lakehouse.catalog.model import Collection, RefKind, Retention, RunStatus
from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.run.batches import unjoined_files
from dbt.adapters.lakehouse.run.upkeep import LEAST_GRACE, CollectRequest, Garbage, TableGarbage
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.storage import LOCAL, Storage, StoredFile, storage_for

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.tables.reachable import Reachable

_OF_TABLE = re.compile(r"(?P<folder>(?P<schema>[^/]+)/(?P<name>[^/]+)/[0-9a-f]{8})/(?:data|metadata)/.+", re.DOTALL)
"""A table's file, below the warehouse: folders of schema and table, the first digits of the table's UUID, and what is in it."""

_LEFT_OVER = re.compile(r"\.staging/.+|\.check-[0-9a-f]{32}", re.DOTALL)
"""Files on their way (``jobs.instance``), and those that the check of a warehouse writes."""

_CLOCKS = timedelta(minutes=15)
"""How far the times of files may be behind those of runs: another machine's clock, stores that tell whole seconds."""

_FOREIGN_TOLD = 20
_AT_ONCE = 1000


def collect(catalog: Catalog, settings: LakeSettings, request: CollectRequest) -> Garbage:
    """Collect garbage, or with ``dry_run`` say what that would do. Open runs whose process is gone must be marked before.

    Raises ``ConfigError`` where the request or the warehouse makes that dangerous; then nothing was done.
    """
    _check_request(request)
    store = storage_for(settings.warehouse, settings.storage_options)
    _check_warehouse(store, settings)
    if not isinstance(catalog, Collectable):
        raise ConfigError("this catalog cannot tell what garbage is; collect where the lake's own catalog is at hand")
    started = time.perf_counter()
    # Before the catalog decides: what a run that is open then has written and not committed is younger than its start.
    now = datetime.now(UTC)
    began = min((now, *(run.started_at - _CLOCKS for run in catalog.runs() if run.status is RunStatus.OPEN)))
    retention = Retention(
        # A run that reads states of long ago keeps them, whatever the history that is asked for.
        history=max(request.history, now - began),
        failed_runs=request.failed_runs,
        results=request.results,
        grace=request.grace,
    )
    decided = catalog.collect(retention, dry_run=request.dry_run)
    _check_places(decided, settings)
    sweep = _swept(catalog, store, settings, request, decided, min(decided.keep_since, began).timestamp())
    return sweep.report(request, decided, time.perf_counter() - started)


def _check_request(request: CollectRequest) -> None:
    spans = {
        "history": request.history,
        "failed runs": request.failed_runs,
        "results": request.results,
        "grace": request.grace,
    }
    for name, span in spans.items():
        if span.total_seconds() < 0:
            raise ConfigError(f"the time to keep {name} is {span}, and cannot be below nothing")
    if request.grace < LEAST_GRACE and not request.alone:
        raise ConfigError(
            f"a grace of {request.grace} is below an hour: files that jobs write right now could be taken for garbage; "
            "give more time, or say that nothing else works on the lake (--nothing-else-runs)"
        )


def _check_warehouse(store: Storage, settings: LakeSettings) -> None:
    """Raise if the folder is that of another lake, whose tables would all look like garbage."""
    beside = f"{settings.warehouse}/catalog.sqlite"
    if not store.exists(beside) or settings.catalog == f"sqlite:///{beside.removeprefix(LOCAL)}":
        return
    own = Path(settings.catalog.removeprefix("sqlite:///"))
    if settings.catalog.startswith("sqlite:///") and beside.startswith(LOCAL):
        other = Path(beside.removeprefix(LOCAL))
        if own.exists() and own.samefile(other):
            return
    raise ConfigError(
        f"{beside} is the catalog of a lake, and another catalog was given for its folder; a warehouse belongs to one catalog, "
        "whose tables alone would be kept: leave --catalog (the profile's `catalog`) out, or remove that file if it is none"
    )


def _check_places(decided: Collection, settings: LakeSettings) -> None:
    """Raise if tables lie elsewhere than the warehouse says, so that names of files could not be compared."""
    other = next((one for one in sorted(decided.live) if not one.startswith(f"{settings.warehouse}/")), None)
    if other is not None:
        raise ConfigError(
            f"the lake holds a table at {other}, which is not below its warehouse {settings.warehouse}: "
            "collect garbage with the warehouse written as it was when the tables were made (no link to it, no other mount)"
        )


def _swept(
    catalog: Catalog,
    store: Storage,
    settings: LakeSettings,
    request: CollectRequest,
    decided: Collection,
    keep_since: float,
) -> _Sweep:
    # Imported late: pyiceberg takes a third of a second.
    from dbt.adapters.lakehouse.tables import reachable

    live = reachable.of_tables(decided.live)
    sweep = _Sweep(settings.warehouse, live, frozenset(_waiting(catalog, decided)), keep_since)
    batch: list[str] = []
    for uri in sweep.garbage(store.list_prefix(settings.warehouse)):
        if not request.dry_run:
            batch.append(uri)
            if len(batch) == _AT_ONCE:
                store.delete_files(batch, below=settings.warehouse)
                batch = []
    if batch:
        store.delete_files(batch, below=settings.warehouse)
    if not request.dry_run:
        sweep.leftovers = store.tidy(settings.warehouse, keep_since)
    return sweep


def _waiting(catalog: Catalog, decided: Collection) -> Iterator[str]:
    """Files of batches that a run may still join: one that continues a failed run whose branch is there, or is about to."""
    runs = catalog.runs()
    there = {ref.run for ref in catalog.refs(RefKind.BRANCH) if ref.name not in decided.branches}
    known = {run.id: run for run in runs}
    wanted = {run.id for run in runs if run.id in there}
    for run in runs:
        continued = run.continues if run.status is RunStatus.OPEN else None
        while continued is not None and continued in known and continued not in wanted:
            wanted.add(continued)
            continued = known[continued].continues
    for name in wanted:
        yield from unjoined_files(known[name].nodes)


class _Sweep:
    """Tells garbage from what stays, file by file, and keeps count."""

    def __init__(self, warehouse: str, live: Reachable, waiting: frozenset[str], keep_since: float) -> None:
        self._start = len(warehouse) + 1
        self._live, self._waiting, self._keep_since = live, waiting, keep_since
        # Which files belong to a table that cannot be read, nobody knows.
        self._closed = {uri.rpartition("/metadata/")[0][self._start :] for uri in live.unreadable}
        self._files: dict[tuple[str, str], list[int]] = {}
        self._kept, self._young, self._foreign_files = [0, 0], [0, 0], 0
        self._foreign: list[str] = []
        self.leftovers = 0

    def garbage(self, files: Iterable[StoredFile]) -> Iterator[str]:
        """The locations of those files that belong to nothing."""
        for file in files:
            path = file.uri[self._start :]
            found = _OF_TABLE.fullmatch(path)
            if found is None and _LEFT_OVER.fullmatch(path) is None:
                self._note_foreign(path)
            elif self._stays(file.uri, found["folder"] if found is not None else ""):
                _count(self._kept, file)
            elif file.modified >= self._keep_since:
                _count(self._young, file)
            else:
                place = (unquote(found["schema"]), unquote(found["name"])) if found is not None else ("", "")
                _count(self._files.setdefault(place, [0, 0]), file)
                yield file.uri

    def _stays(self, uri: str, folder: str) -> bool:
        return uri in self._live.files or uri in self._waiting or folder in self._closed

    def _note_foreign(self, path: str) -> None:
        if _is_database(path) or path.startswith(".exports/"):
            return
        self._foreign_files += 1
        if len(self._foreign) < _FOREIGN_TOLD:
            self._foreign.append(path)

    def report(self, request: CollectRequest, decided: Collection, seconds: float) -> Garbage:
        """What was found."""
        tables = tuple(
            TableGarbage(schema=schema, name=name, files=files, size_bytes=size)
            for (schema, name), (files, size) in sorted(self._files.items())
        )
        return Garbage(
            dry_run=request.dry_run,
            commits=decided.commits,
            branches=decided.branches,
            results=decided.results,
            files=sum(table.files for table in tables),
            size_bytes=sum(table.size_bytes for table in tables),
            tables=tables,
            leftovers=self.leftovers,
            kept=self._kept[0],
            kept_bytes=self._kept[1],
            young=self._young[0],
            young_bytes=self._young[1],
            foreign=tuple(sorted(self._foreign)),
            foreign_files=self._foreign_files,
            unreadable=tuple(sorted(set(self._live.unreadable.values()))),
            seconds=round(seconds, 3),
        )


def _count(into: list[int], file: StoredFile) -> None:
    into[0] += 1
    into[1] += file.size


def _is_database(path: str) -> bool:
    """Whether a file is the catalog's, or that of a service beside it."""
    return "/" not in path and re.search(r"\.sqlite(-wal|-shm|-journal)?$", path) is not None
