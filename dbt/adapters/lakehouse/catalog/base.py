"""The seam that every catalog implements: a git-like store of what the lake holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from dbt.adapters.lakehouse.catalog.model import (
    Change,
    Collection,
    Commit,
    Entry,
    Key,
    MergeResult,
    Put,
    Ref,
    RefKind,
    Retention,
    ReusableResult,
    RunRecord,
    Settled,
)


class Catalog(Protocol):
    """Refs, commits and entries.

    Safe for use by several threads and processes at once. Every write is one transaction and a compare-and-swap: it
    either finds what its caller expected and happens whole, or raises and changes nothing. A new catalog has one
    branch, ``main``, at an empty first commit.
    """

    # refs
    def resolve(self, ref: str) -> Commit:
        """The commit that a ref expression leads to (grammar: ``refs``). Raises ``RefNotFound``, ``InvalidRef``."""
        ...

    def refs(self, kind: RefKind | None = None) -> list[Ref]:
        """All branches and tags by name, run branches included."""
        ...

    def create_ref(self, name: str, kind: RefKind, at: str, *, run: str | None = None) -> Ref:
        """Name the commit that the ref expression ``at`` leads to. Costs the same at any size of the lake.

        Raises ``RefExists``, ``RefNotFound``, ``InvalidRef``.
        """
        ...

    def assign(self, branch: str, to: str, *, expected: str, accept_tainted: bool = False) -> Ref:
        """Move a branch to the commit that ``to`` leads to. ``expected`` is its head now, else ``HeadMoved``.

        Raises ``RefProtected``; and ``TaintedError`` as ``merge`` does, except for run branches.
        """
        ...

    def protect(self, branch: str, protected: bool) -> Ref:
        """Set or clear protection."""
        ...

    def delete_ref(self, name: str, *, expected: str) -> None:
        """Forget a name; commits stay until garbage collection.

        Raises ``RefNotFound``, ``HeadMoved`` (it is not at ``expected``), ``RefProtected`` (also for ``main``).
        """
        ...

    # states and history
    def entries(self, commit: str, schema: str | None = None) -> dict[Key, Entry]:
        """Everything that stands at a commit (id), or in one schema of it."""
        ...

    def lookup(self, commit: str, keys: Iterable[Key]) -> dict[Key, Entry]:
        """Those of the keys that exist at a commit (id)."""
        ...

    def log(self, commit: str, limit: int | None = None, *, first_parent: bool = True) -> list[Commit]:
        """A commit and its ancestors, newest first."""
        ...

    def changes(self, commit: str) -> tuple[Change, ...]:
        """What a commit changed against its first parent."""
        ...

    def diff(self, old: str, new: str) -> tuple[Change, ...]:
        """What differs between two commits (ids), by key. Costs by what changed, not by what exists."""
        ...

    def contents(self, ids: Iterable[str]) -> dict[str, Entry]:
        """Entries by content id."""
        ...

    def last_change(self, commit: str, key: Key) -> Commit | None:
        """The newest change of a key that a commit (id) leads to: where a merge brought it, the commit that it was made by."""
        ...

    # writes
    def commit(
        self,
        branch: str,
        puts: Sequence[Put],
        *,
        author: str,
        message: str,
        expected_head: str | None = None,
        run: str | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Commit:
        """Append a commit to a branch.

        With ``expected_head`` the branch must be there. Each put's ``expected`` must hold at the head. Else
        ``HeadMoved``, which names what was found. Raises ``RefProtected`` on a protected branch.
        """
        ...

    def merge(
        self,
        source: str,
        target: str,
        *,
        author: str,
        message: str,
        expected_target: str | None = None,
        expected_source: str | None = None,
        expected_changes: Sequence[Change] | None = None,
        run: str | None = None,
        provenance: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        accept_tainted: bool = False,
        fast_forward: bool = False,
        settled: Sequence[Settled] = (),
        reads: Mapping[Key, str | None] | None = None,
    ) -> MergeResult:
        """Three-way merge of the commit that ``source`` leads to into the branch ``target``, in one transaction.

        On conflicts nothing is changed and the result lists them, but for those that are ``settled``. ``reads`` are content
        ids that the source was computed from (None: nothing stood there); where the target holds something else, that is a
        conflict too. With ``fast_forward`` a target that the source leads to is moved to it, without a commit, unless
        it is protected.

        Raises ``TaintedError`` if it would bring what a run wrote that did not pass (invariant 6; ``taint`` has the rule);
        with ``accept_tainted`` it is brought, and the commit's provenance names the runs as ``accepted_tainted``. Raises
        ``HeadMoved`` if the target is not at ``expected_target``, or the source not at ``expected_source`` (commit ids), or
        if the merge, without conflicts, comes to other changes than ``expected_changes``; ``Collected`` if the source's files
        may be gone. A protected branch accepts merges.

        ``run`` says that this publishes that run: unless there are conflicts, its record becomes PUBLISHED and those
        that it continues CONTINUED, in the same transaction, if ``target`` is the branch the run was meant for. So it
        does where ``source`` names the branch of a run that passed. A run that goes on is not merged with ``run``.
        """
        ...

    # runs
    def save_run(self, record: RunRecord) -> None:
        """Insert or update the record of a run, by id. Raises ``ConflictError`` where it would undo PUBLISHED."""
        ...

    def run(self, run_id: str) -> RunRecord | None:
        """One run, by id or unique prefix of at least four characters."""
        ...

    def runs(self, limit: int | None = None) -> list[RunRecord]:
        """Runs, newest first."""
        ...

    def heartbeat(self, run_id: str) -> None:
        """Say that the process of an open run lives."""
        ...

    def recall_node(self, node: str, limit: int | None = None) -> list[ReusableResult]:
        """What a node gave and may be reused, newest first."""
        ...

    def close(self) -> None:
        """Give back connections; the catalog is not used after that."""
        ...


@runtime_checkable
class ReuseIndex(Protocol):
    """Results by fingerprint. What stands here is believed, so only whoever ran the nodes may write it."""

    def recall(self, fingerprint: str) -> ReusableResult | None:
        """The result of a fingerprint, if there is one."""
        ...

    def remember(self, result: ReusableResult) -> None:
        """File a result, in the place of one that has the same fingerprint; claims on it are settled."""
        ...

    def claim(self, fingerprint: str, run: str, *, instead_of: str | None = None) -> str | None:
        """Say that an open run is about to compute a result.

        None: the claim holds. Else the id of the run that has claimed it and is alive, as far as its heartbeats tell;
        ``instead_of`` names one that is known to be dead.
        """
        ...

    def release(self, fingerprint: str, run: str) -> None:
        """Give up a claim."""
        ...


@runtime_checkable
class Collectable(Protocol):
    """Decides what garbage collection may take."""

    def collect(self, retention: Retention, *, dry_run: bool = False) -> Collection:
        """Drop what nothing has named for as long as ``retention`` says, and tell what stays, in one transaction.

        From then on, what may go cannot be brought back: whoever tries gets ``Collected``.
        """
        ...
