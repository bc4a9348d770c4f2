"""Files of a job whose result nobody wants."""

from __future__ import annotations

from collections.abc import Iterator

from dbt.adapters.lakehouse.jobs.job import Action, Alter, Append, Compact, Create, Edit, JobResult, Join, Stage
from dbt.adapters.lakehouse.tables.values import Written


def discard(action: Action, result: JobResult) -> None:
    """Remove what a job wrote, which must not be committed anywhere."""
    for uri in _files(action, result):
        # Late: pyiceberg and what it needs are of no use to a pool otherwise.
        from dbt.adapters.lakehouse.storage import storage_for

        storage_for(uri).delete(uri)


def _files(action: Action, result: JobResult) -> Iterator[str]:
    if result.staged is not None:
        yield from (file.path for file in result.staged.files)
    if result.written is not None:
        yield from _added(_base(action), result.written)


def _base(action: Action) -> str | None:
    """The table that the job began with."""
    match action:
        case Create():
            return action.replaces
        case Append() | Alter() | Stage() | Join() | Compact():
            return action.base
        case Edit():
            return action.target.metadata_location
        case _:
            return None


def _added(base: str | None, written: Written) -> Iterator[str]:
    from dbt.adapters.lakehouse.tables import metadata

    if written.metadata_location == base:
        return
    table = metadata.load(written.metadata_location)
    snapshot = table.metadata.current_snapshot()
    known = set() if base is None else {s.snapshot_id for s in metadata.load_metadata(base).snapshots}
    if snapshot is not None and snapshot.snapshot_id not in known:
        made = snapshot.snapshot_id
        yield from (live.path for live in (*table.data, *table.deletes) if live.snapshot_id == made)
        yield from (manifest.manifest_path for manifest in table.manifests if manifest.added_snapshot_id == made)
        yield snapshot.manifest_list
    yield written.metadata_location
