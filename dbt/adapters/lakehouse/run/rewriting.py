"""A branch that is put to another state: at the head that was seen, in one transaction, whether it is protected or not.

A protected branch changes by merges alone, so that there the commit is made on a run branch of its own and merged at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import (
    Change,
    Commit,
    Entry,
    Key,
    Put,
    Ref,
    RefKind,
    RunRecord,
    RunStatus,
    TableEntry,
    content_id,
)
from dbt.adapters.lakehouse.catalog.refs import short, suggestion
from dbt.adapters.lakehouse.errors import (
    Collected,
    ConflictError,
    HeadMoved,
    InvalidRef,
    LakehouseError,
    RefNotFound,
    TaintedError,
)
from dbt.adapters.lakehouse.run.going_back import ResetRequest, Reverted
from dbt.adapters.lakehouse.run.liveness import this_process
from dbt.adapters.lakehouse.run.provenance import State

_PAGE = 256


def reset(catalog: Catalog, request: ResetRequest) -> Reverted:
    """Let a branch hold what a ref holds: the branch is moved there, or a protected one gets a commit of that state.

    Raises ``RefNotFound``, ``HeadMoved`` (the branch moved meanwhile), ``TaintedError``.
    """
    branch = branch_of(catalog, request.branch, request.expected)
    to = catalog.resolve(request.to)
    changes = catalog.diff(branch.commit, to.id)
    result = Reverted(branch=branch.name, head=branch.commit, changes=changes)
    if to.id == branch.commit or (branch.protected and not changes):
        return result
    if not (branch.protected or request.dry_run):
        catalog.assign(branch.name, to.id, expected=branch.commit, accept_tainted=request.accept_tainted)
        return dataclasses.replace(result, commit=to)
    tainted = tainted_runs(catalog, branch, to.id, changes, accept=request.accept_tainted)
    known = catalog.contents({one for change in changes for one in (change.before, change.after) if one is not None})
    puts = {change.key: known.get(change.after or "") for change in changes}
    if request.dry_run:
        refuse_collected(catalog, to, puts)
        return result
    change = Rewrite(
        branch=branch,
        puts=puts,
        now={change.key: known[change.before] for change in changes if change.before is not None},
        author=request.author,
        message=request.message or f"Reset {branch.name} to {request.to} ({short(to.id)})",
        provenance={
            "command": "lakehouse reset",
            "resets_to": to.id,
            **({"accepted_tainted": tainted} if tainted else {}),
        },
        accept_tainted=request.accept_tainted,
    )
    return dataclasses.replace(result, commit=change.apply(catalog))


def branch_of(catalog: Catalog, name: str, expected: str | None) -> Ref:
    """A branch that may be gone back on. Raises ``HeadMoved`` if it is not where the caller saw it."""
    refs = catalog.refs(RefKind.BRANCH)
    found = next((ref for ref in refs if ref.name == name), None)
    if found is None:
        raise RefNotFound(f"no branch {name!r}{suggestion(name, [ref.name for ref in refs])}")
    if found.run is not None:
        raise InvalidRef(
            f"{name!r} is the branch of run {short(found.run)}, which nobody else changes; "
            f"`lakehouse branch create NAME --from {name}` makes one to work on"
        )
    if expected not in (None, found.commit):
        raise HeadMoved(
            f"branch {name!r} moved from {short(expected or '')} to {short(found.commit)}; "
            "look at what is new there (`lakehouse log`), then go back from there"
        )
    return found


def tainted_runs(catalog: Catalog, branch: Ref, at: str, changes: Sequence[Change], *, accept: bool) -> list[str]:
    """Runs that did not pass and whose entries would come to the branch; none if what comes back was on it before.

    Raises ``TaintedError`` if there are any, unless that is accepted.
    """
    if _was_shown(catalog, branch.commit, at):
        return []
    found: dict[str, list[Key]] = {}
    for key in (change.key for change in changes if change.after is not None):
        by = catalog.last_change(at, key)
        record = catalog.run(by.run) if by is not None and by.run is not None else None
        if by is not None and by.run is not None:
            passed = record is not None and record.status in (RunStatus.PASSED, RunStatus.PUBLISHED)
            if not passed:
                found.setdefault(by.run, []).append(key)
    refusal = None
    if found or not accept:
        # What was copied from such a run's branch since, and what a run that passed vouched for: the catalog's own rule knows.
        try:
            catalog.merge(at, branch.name, author="", message="", dry_run=True)
        except TaintedError as error:
            refusal = error
    if refusal is None and not branch.protected:
        # On a protected one the merge that puts it there would not know that it was vouched for elsewhere.
        found = _not_judged(catalog, branch.commit, at, found)
    if found and not accept:
        runs = ", ".join(short(run) for run in sorted(found))
        keys = ", ".join(sorted(str(key) for some in found.values() for key in some)[:5])
        raise TaintedError(
            f"{keys} at {short(at)} was written by a run that did not pass ({runs}) and does not go to {branch.name!r}. "
            "Continue the run until it passes (`dbt retry`), go back to another state, or accept it knowingly "
            "(--accept-tainted)"
        )
    if refusal is not None and not accept:
        raise refusal
    return sorted(found)


def _not_judged(catalog: Catalog, head: str, at: str, found: Mapping[str, list[Key]]) -> dict[str, list[Key]]:
    """What a merge of the commit ``at`` says nothing of: what was written before the branch had all that its writer had."""
    left: dict[str, list[Key]] = {}
    for run, keys in found.items():
        for key in keys:
            by = catalog.last_change(at, key)
            if by is not None and _leads_to(catalog, head, by.id):
                left.setdefault(run, []).append(key)
    return left


def refuse_collected(catalog: Catalog, at: Commit, puts: Mapping[Key, Entry | None]) -> None:
    """Raise ``Collected`` if tables would be put back from a commit whose files are gone, and no branch or tag holds them.

    For dry runs: who does it is told by the catalog.
    """
    if not at.collected:
        return
    gone = {key: id_of(entry) for key, entry in puts.items() if isinstance(entry, TableEntry)}
    for ref in catalog.refs() if gone else ():
        for key, entry in catalog.lookup(ref.commit, gone).items():
            if id_of(entry) == gone[key]:
                gone[key] = None
    names = sorted(str(key) for key, one in gone.items() if one is not None)
    if names:
        raise Collected(
            f"the files of {', '.join(names[:5])} at commit {short(at.id)} were collected as garbage, since nothing named them "
            "any longer; `lakehouse log` shows later commits, and a tag keeps one for good"
        )


def _was_shown(catalog: Catalog, head: str, commit: str) -> bool:
    """Whether a branch at ``head`` was at a commit once: it is among the first parents."""
    wanted = catalog.resolve(commit)
    at: str | None = head
    while at is not None:
        page = catalog.log(at, _PAGE)
        if any(one.id == wanted.id for one in page):
            return True
        # Times rise along history.
        last = page[-1]
        at = last.parents[0] if last.parents and last.time >= wanted.time else None
    return False


def refuse_if_reset(catalog: Catalog, run: str, branch: str, head: str) -> None:
    """Raise ``ConflictError`` if what a run started from is no longer part of the branch (at ``head``) that it is to go to.

    Merging it would bring back what was taken from the branch meanwhile: the run's branch has it, and the branch's new history
    does not say that it went.
    """
    record = catalog.run(run)
    started = record
    while started is not None:
        if started.base == head or _leads_to(catalog, head, started.base):
            return
        started = catalog.run(started.continues) if started.continues else None
    if record is not None:
        raise ConflictError(
            f"branch {branch!r} was reset while run {short(run)} was working: {short(record.base)}, from which the run started, "
            f"is no longer in its history. Nothing was published; what the run built is on branch {record.branch!r}. Run again "
            f"to build on the head {short(head)}"
        )


def _leads_to(catalog: Catalog, head: str, commit: str) -> bool:
    try:
        return catalog.resolve(f"{head}@{commit}").id == commit
    except RefNotFound:
        return False


def id_of(entry: Entry | None) -> str | None:
    """The content id of what stands at a key, if anything does."""
    return None if entry is None else content_id(entry)


@dataclass(frozen=True, kw_only=True)
class Rewrite:
    """A commit that puts entries back on a branch, at the head that was seen."""

    branch: Ref
    puts: Mapping[Key, Entry | None]
    now: State
    author: str
    message: str
    provenance: Mapping[str, Any]
    accept_tainted: bool

    def apply(self, catalog: Catalog) -> Commit:
        """Make it. Raises ``HeadMoved`` if the branch is not there any longer."""
        if self.branch.protected:
            return self._merge(catalog)
        return self._commit(catalog, self.branch.name)

    def _commit(self, catalog: Catalog, branch: str, run: str | None = None) -> Commit:
        puts = [Put(key=key, entry=entry, expected=id_of(self.now.get(key))) for key, entry in self.puts.items()]
        return catalog.commit(
            branch,
            sorted(puts, key=lambda put: put.key),
            author=self.author,
            message=self.message,
            expected_head=self.branch.commit,
            run=run,
            provenance=self.provenance,
        )

    def _merge(self, catalog: Catalog) -> Commit:
        """By way of a run branch: a process that dies on the way leaves that, as any run does, and nothing else."""
        # Imported late: only this needs to know what a run is.
        from dbt.adapters.lakehouse.run.lifecycle import run_branch

        now = datetime.now(UTC)
        run = str(uuid.uuid4())
        record = RunRecord(
            id=run,
            branch=run_branch(run),
            target=self.branch.name,
            base=self.branch.commit,
            command=str(self.provenance["command"]),
            status=RunStatus.OPEN,
            owner=this_process(),
            started_at=now,
            heartbeat_at=now,
        )
        catalog.save_run(record)
        try:
            catalog.create_ref(record.branch, RefKind.BRANCH, self.branch.commit, run=run)
            self._commit(catalog, record.branch, run)
            merged = catalog.merge(
                record.branch,
                self.branch.name,
                author=self.author,
                message=self.message,
                expected_target=self.branch.commit,
                run=run,
                provenance=self.provenance,
                accept_tainted=self.accept_tainted,
            )
            assert merged.commit is not None
        except BaseException as error:
            self._end(catalog, record, RunStatus.FAILED, error=str(error))
            raise
        self._end(catalog, record, RunStatus.PUBLISHED, published=merged.commit.id)
        return merged.commit

    def _end(
        self,
        catalog: Catalog,
        record: RunRecord,
        status: RunStatus,
        *,
        published: str | None = None,
        error: str | None = None,
    ) -> None:
        """Tidy up; what matters has happened, or has not."""
        ended = dataclasses.replace(
            record, status=status, finished_at=datetime.now(UTC), published=published, error=error
        )
        with contextlib.suppress(LakehouseError):
            catalog.save_run(ended)
        with contextlib.suppress(LakehouseError):
            catalog.delete_ref(record.branch, expected=catalog.resolve(record.branch).id)
