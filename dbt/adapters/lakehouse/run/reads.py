"""What a run read of the state it forked from: what must still stand on the target if it is to be serializable."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import Commit, Key, RunRecord, content_id
from dbt.adapters.lakehouse.settings import Isolation

MARK = "isolation"
"""In the provenance of a run's commits: how it is to be published, by whomever."""

_PAGE = 256


def of_run(catalog: Catalog, record: RunRecord, noted: Iterable[str] = ()) -> dict[Key, str | None]:
    """Content ids of what a run, and those that it continues, read, as it stood where the first of them began.

    ``noted`` are names of what it read, beside those that its commits tell.
    """
    runs = {record.id, *_continued(catalog, record)}
    names = set(noted)
    fork = record.base
    for commit in _line(catalog, catalog.resolve(record.branch).id):
        fork = commit.id
        if commit.run not in runs:
            break
        names.update(_inputs(commit))
    # A name may have dots in either part; of what it could mean, what stands there was read.
    found = catalog.lookup(fork, {key for name in names for key in _keys(name)})
    return {key: content_id(entry) for key, entry in found.items()}


def of_branch(catalog: Catalog, name: str, head: Commit) -> dict[Key, str | None] | None:
    """The same for the branch of a run that was left to be merged later; None if that need not be serializable.

    What its tests read and its commits do not tell is not known any more.
    """
    if head.run is None or head.provenance.get(MARK) != Isolation.SERIALIZABLE:
        return None
    record = catalog.run(head.run)
    return of_run(catalog, record) if record is not None and record.branch.startswith(name) else None


def _continued(catalog: Catalog, record: RunRecord) -> Collection[str]:
    found: list[str] = []
    while record.continues is not None and record.continues not in found:
        found.append(record.continues)
        before = catalog.run(record.continues)
        if before is None:
            break
        record = before
    return found


def _line(catalog: Catalog, head: str) -> Iterator[Commit]:
    """First parents, newest first."""
    at: str | None = head
    while at is not None:
        commits = catalog.log(at, _PAGE)
        yield from commits
        at = commits[-1].parents[0] if len(commits) == _PAGE and commits[-1].parents else None


def _inputs(commit: Commit) -> Iterator[str]:
    """Names of what a commit's tables were computed from, without those at other refs."""
    said = commit.provenance
    recalled = said.get("recalled")
    for one in (said, *(recalled.values() if isinstance(recalled, Mapping) else ())):
        for name in one.get("inputs") or () if isinstance(one, Mapping) else ():
            if "@" not in name:
                yield str(name)


def _keys(name: str) -> Iterator[Key]:
    parts = name.split(".")
    for cut in range(1, len(parts)):
        yield Key(".".join(parts[:cut]), ".".join(parts[cut:]))
