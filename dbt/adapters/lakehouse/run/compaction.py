"""Compaction of a branch's tables: each is a job, and a commit that replaces the table by the same rows in other files.

A table that somebody else changes meanwhile stays as they left it. What is compacted keeps its content identity, so that
nothing that reads it runs again. A protected branch gets all of it by one merge.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import Entry, Key, Put, Ref, RefKind, TableEntry, content_id, identity
from dbt.adapters.lakehouse.catalog.refs import is_run_name, short
from dbt.adapters.lakehouse.errors import (
    ConfigError,
    HeadMoved,
    JobError,
    LakehouseError,
    NotInLake,
    RefNotFound,
    StorageError,
    TableError,
)
from dbt.adapters.lakehouse.executors.base import Executor, Requester
from dbt.adapters.lakehouse.jobs.job import Compact, Job
from dbt.adapters.lakehouse.run import merging
from dbt.adapters.lakehouse.run.upkeep import Compacted, CompactedTable, CompactRequest
from dbt.adapters.lakehouse.run.values import MergeRequest
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.tables.values import Expiry, Extent

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.tables.values import Written

_TRIES = 5

_RECENT = timedelta(days=1)

Progress = Callable[[str], None]
"""Told what is being done, in a few words."""


@dataclass(frozen=True, kw_only=True)
class _Work:
    """A table that has something to gain, and what came of it so far."""

    key: Key
    entry: TableEntry
    said: CompactedTable
    new: TableEntry | None = None


def compact(
    catalog: Catalog,
    executor: Executor,
    settings: LakeSettings,
    request: CompactRequest,
    progress: Progress = lambda _: None,
) -> Compacted:
    """Compact tables of a branch, as far as they have something to gain.

    What goes wrong with one table is told as its ``problem``. Raises ``ConfigError``, ``RefNotFound`` or ``NotInLake`` for a
    request that makes no sense; then nothing was done.
    """
    branch = _branch(catalog, request.branch)
    expiry = _expiry(request)
    entries = _wanted(catalog, branch, request)
    works = [work for key, entry in entries.items() if (work := _planned(key, entry, expiry)) is not None]
    commit: str | None = None
    if not request.dry_run:
        done: list[_Work] = []
        for number, work in enumerate(works, 1):
            progress(f"compacting {work.key} ({number} of {len(works)})")
            work = _run(executor, settings, request, work, expiry)
            if not branch.protected:
                work, commit = _commit(catalog, request, work, commit)
            done.append(work)
        works, commit = _merge(catalog, request, done) if branch.protected else (done, commit)
    return Compacted(
        branch=request.branch, considered=len(entries), tables=tuple(work.said for work in works), commit=commit
    )


# what to do


def _branch(catalog: Catalog, name: str) -> Ref:
    if is_run_name(name):
        raise ConfigError(f"branch {name!r} is a run's own, which nobody else writes to; name another branch")
    found = next((ref for ref in catalog.refs(RefKind.BRANCH) if ref.name == name), None)
    if found is None:
        raise RefNotFound(f"there is no branch {name!r}; `lakehouse branch list` shows those that there are")
    return found


def _expiry(request: CompactRequest) -> Expiry:
    if request.snapshots is not None and request.snapshots < 1:
        raise ConfigError(
            f"a table cannot be left with {request.snapshots} snapshots; its present one stays: give 1 or more"
        )
    asked = request.snapshots is not None or request.older_than is not None
    # Runs in flight began with states of the last hours, which merging must still find among the snapshots.
    span = request.older_than if asked else _RECENT
    before = None if span is None else int((time.time() - span.total_seconds()) * 1000)
    return Expiry(snapshots=request.snapshots or 1, before_ms=before, alone=asked)


def _wanted(catalog: Catalog, branch: Ref, request: CompactRequest) -> dict[Key, TableEntry]:
    if not request.tables:
        entries = catalog.entries(branch.commit)
        return {key: entry for key, entry in sorted(entries.items()) if isinstance(entry, TableEntry)}
    found = catalog.lookup(branch.commit, request.tables)
    for key in request.tables:
        if not isinstance(found.get(key), TableEntry):
            what = "is no table" if key in found else "does not exist"
            raise NotInLake(f"{key} {what} on branch {branch.name!r}; `lakehouse tables` lists what is there")
    return {key: entry for key in request.tables if isinstance(entry := found[key], TableEntry)}


def _planned(key: Key, entry: TableEntry, expiry: Expiry) -> _Work | None:
    # Imported late: pyiceberg takes a third of a second.
    from dbt.adapters.lakehouse.tables import maintenance, metadata

    nothing = Extent(files=0, deletes=0, manifests=0, snapshots=0, size_bytes=entry.size_bytes)
    said = CompactedTable(schema=entry.schema, name=entry.name, before=nothing)
    try:
        table = metadata.load(entry.metadata_location)
    except (StorageError, TableError) as error:
        return _Work(key=key, entry=entry, said=dataclasses.replace(said, problem=str(error)))
    if not maintenance.plan(table, expiry).needed:
        return None
    return _Work(key=key, entry=entry, said=dataclasses.replace(said, before=maintenance.extent(table)))


# doing it


def _run(executor: Executor, settings: LakeSettings, request: CompactRequest, work: _Work, expiry: Expiry) -> _Work:
    if work.said.problem is not None:
        return work
    started = time.perf_counter()
    job = Job(
        key=uuid.uuid4().hex,
        database=settings.database,
        default_schema="main",
        action=Compact(base=work.entry.metadata_location, expiry=expiry),
        label=f"compact {work.key}",
        identified=work.entry.content is not None,
    )
    lease = executor.lease(Requester(user=request.author))
    try:
        written = lease.run(job).written
    except (JobError, StorageError, TableError) as error:
        return _with_problem(work, str(error))
    finally:
        lease.release()
    assert written is not None
    said = dataclasses.replace(
        work.said, after=_extent(written.metadata_location), seconds=round(time.perf_counter() - started, 3)
    )
    return dataclasses.replace(work, said=said, new=_compacted(work.entry, written))


def _compacted(entry: TableEntry, written: Written) -> TableEntry:
    return dataclasses.replace(
        entry,
        metadata_location=written.metadata_location,
        snapshot_id=written.snapshot_id,
        size_bytes=written.size_bytes,
        # The rows are the same, though the files no longer say so by their names.
        content=identity(entry),
    )


def _extent(location: str) -> Extent:
    from dbt.adapters.lakehouse.tables import maintenance, metadata

    return maintenance.extent(metadata.load(location))


def _with_problem(work: _Work, why: str) -> _Work:
    return dataclasses.replace(work, new=None, said=dataclasses.replace(work.said, after=None, problem=why))


def _moved(work: _Work, branch: str) -> _Work:
    return _with_problem(
        work,
        f"it changed on branch {branch!r} while it was being compacted, and is as that change left it; compact it again",
    )


def _put(work: _Work) -> Put:
    return Put(key=work.key, entry=work.new, expected=content_id(work.entry))


def _note(works: Sequence[_Work]) -> Mapping[str, Any]:
    """What the commit says of how it came about."""
    said = {
        str(work.key): {
            "before": dataclasses.asdict(work.said.before),
            "after": dataclasses.asdict(work.said.after) if work.said.after is not None else None,
            "seconds": work.said.seconds,
        }
        for work in works
    }
    return {"command": "compact", "mode": "compact", "compacted": said}


def _message(works: Sequence[_Work]) -> str:
    return f"Compact {works[0].key}" if len(works) == 1 else f"Compact {len(works)} tables"


def _commit(catalog: Catalog, request: CompactRequest, work: _Work, before: str | None) -> tuple[_Work, str | None]:
    """Let a compacted table stand on the branch, unless it changed there; and the newest commit of this compaction."""
    if work.new is None:
        return work, before
    try:
        commit = catalog.commit(
            request.branch, [_put(work)], author=request.author, message=_message([work]), provenance=_note([work])
        )
    except HeadMoved:
        return _moved(work, request.branch), before
    return work, commit.id


def _merge(catalog: Catalog, request: CompactRequest, works: Sequence[_Work]) -> tuple[list[_Work], str | None]:
    """Bring all compacted tables to a protected branch by one merge, but for those that changed there."""
    for attempt in range(1, _TRIES + 1):
        works = _standing(catalog, request.branch, works)
        ready = [work for work in works if work.new is not None]
        if not ready:
            break
        try:
            return list(works), _merged(catalog, request, ready)
        except HeadMoved:
            if attempt == _TRIES:
                return [_moved(work, request.branch) if work.new is not None else work for work in works], None
    return list(works), None


def _standing(catalog: Catalog, branch: str, works: Sequence[_Work]) -> list[_Work]:
    """The same, with a problem where the table that was compacted stands there no more."""
    there: Mapping[Key, Entry] = catalog.lookup(catalog.resolve(branch).id, [work.key for work in works])
    return [
        _moved(work, branch) if work.new is not None and there.get(work.key) != work.entry else work for work in works
    ]


def _merged(catalog: Catalog, request: CompactRequest, works: Sequence[_Work]) -> str | None:
    """Raises ``HeadMoved`` if one of the tables, or the branch, changed meanwhile."""
    head = catalog.resolve(request.branch)
    with _branch_for(catalog, head.id) as name:
        commit = catalog.commit(
            name,
            [_put(work) for work in works],
            author=request.author,
            message=_message(works),
            provenance=_note(works),
        )
        merged = merging.merge(
            catalog,
            MergeRequest(
                source=commit.id,
                target=request.branch,
                author=request.author,
                message=f"{_message(works)} on {request.branch}",
                provenance={"command": "compact"},
                expected_target=head.id,
            ),
        )
    return merged.commit.id if merged.commit is not None else None


@contextlib.contextmanager
def _branch_for(catalog: Catalog, at: str) -> Iterator[str]:
    """A branch of its own, for the duration of the block."""
    name = f"compact/{short(at)}-{uuid.uuid4().hex[:8]}"
    catalog.create_ref(name, RefKind.BRANCH, at)
    try:
        yield name
    finally:
        # What is left of it is a name that anybody may delete; what went wrong before is what is told.
        with contextlib.suppress(LakehouseError):
            catalog.delete_ref(name, expected=catalog.resolve(name).id)
