"""A catalog as one user may see and change it (decision 0009). Every path to a ref passes through here.

A test holds the class to the protocol, so that a new verb cannot come without a rule. Who reads everything pays nothing
for reads. For others, what they may not read does not exist: names, commits that only such names lead to, runs that are
meant for such branches.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from dbt.adapters.lakehouse.catalog.model import (
    Change,
    Commit,
    Entry,
    Key,
    MergeResult,
    Put,
    Ref,
    RefKind,
    ReusableResult,
    RunRecord,
    Settled,
)
from dbt.adapters.lakehouse.catalog.model import RunStatus as Status
from dbt.adapters.lakehouse.catalog.refs import RUN_PREFIX, aside, check_name, is_run_name, parse
from dbt.adapters.lakehouse.errors import Denied, InvalidRef, LakehouseError, RefNotFound
from dbt.adapters.lakehouse.run.lifecycle import WRITING
from dbt.adapters.lakehouse.run.liveness import service_owner
from dbt.adapters.lakehouse.service.audit import AuditLog, Outcome, entry_for
from dbt.adapters.lakehouse.service.granted import Granted, check_grants, refuse_steps
from dbt.adapters.lakehouse.service.policy import Capability, Policy, Principal
from dbt.adapters.lakehouse.service.sight import Sight, not_found, resolve_visible
from dbt.adapters.lakehouse.settings import PublishMode

if TYPE_CHECKING:
    from datetime import datetime

    from dbt.adapters.lakehouse.catalog.base import Catalog
    from dbt.adapters.lakehouse.run.values import RunRequest


class Owners(Protocol):
    """Remembers who created which branch. A branch of the same name that was made later is another branch."""

    def own(self, branch: str, created_at: datetime, user: str) -> None:
        """Write down who created a branch."""
        ...

    def owned_by(self, user: str) -> Mapping[str, datetime]:
        """The branches that a user created, and when; some may be gone."""
        ...


class GuardedCatalog:
    """See ``catalog.base.Catalog``; each verb as far as ``principal`` may. Raises ``Denied`` beside the verb's own errors.

    Commits are signed with the user's name, whatever ``author`` says. Every write is in the audit log before it happens.
    """

    def __init__(
        self,
        catalog: Catalog,
        principal: Principal,
        policy: Policy,
        audit: AuditLog,
        *,
        owners: Owners | None = None,
        sight: Sight | None = None,
        grantees: Callable[[], Collection[str]] | None = None,
    ) -> None:
        """``grantees`` gives the names of users and roles, to whom something can be granted; without it, to anybody."""
        self.principal = principal
        self._catalog = catalog
        self._policy = policy
        self._audit = audit
        self._owners = owners
        self._sight = sight or Sight()
        self._own_runs: dict[str, RunRecord] = {}
        role = policy.role(principal.role)
        self._all = role.reads_everything
        self._granted = Granted(catalog, principal) if role.granted_only else None
        self._grantees = grantees

    # refs

    def resolve(self, ref: str) -> Commit:
        """The commit that a ref expression leads to."""
        if self._all:
            return self._catalog.resolve(ref)
        expression = parse(ref)
        shown = self._sight.was_shown(expression.base)
        if self._granted is not None:
            refuse_steps(ref, of_commit=expression.is_commit and not shown)
        if shown:
            return self._catalog.resolve(ref)
        commit = None
        if not expression.is_commit and self._may_name(expression.base):
            with contextlib.suppress(RefNotFound):  # whose words may suggest other names: below are our own
                commit = self._catalog.resolve(ref)
        if commit is None:
            refs = self.refs()
            commit = resolve_visible(self._catalog, ref, {one.name for one in refs}, lambda: self._reach(refs))
        self._sight.show([commit.id])
        return commit

    def _may_name(self, name: str) -> bool:
        """Whether a name is known to be readable without a look at all refs."""
        if is_run_name(name):
            return self._own_run(name.removeprefix(RUN_PREFIX)) is not None
        return self._policy.may_read(self.principal, name)

    def refs(self, kind: RefKind | None = None) -> list[Ref]:
        """Branches and tags that may be read."""
        found = self._catalog.refs(kind)
        if self._all:
            return found
        runs = self._runs_of(found)
        created = self._owners.owned_by(self.principal.user) if self._owners is not None else {}
        return [
            ref
            for ref in found
            if self._policy.may_read(self.principal, ref.name)
            or created.get(ref.name) == ref.created_at
            or (ref.run in runs and self._sees_run(runs[ref.run]))
        ]

    def _runs_of(self, refs: Iterable[Ref]) -> dict[str | None, RunRecord]:
        wanted = {ref.run for ref in refs} - {None}
        return {record.id: record for record in self._catalog.runs() if record.id in wanted} if wanted else {}

    def create_ref(self, name: str, kind: RefKind, at: str, *, run: str | None = None) -> Ref:
        """Name a commit that may be read."""
        check_name(name)
        with self._audited("create", name, run=run) as grant:
            self._check_create(name, kind, run)
            at = self.resolve(at).id
            grant()
            ref = self._catalog.create_ref(name, kind, at, run=run)
            if self._owners is not None and kind is RefKind.BRANCH and run is None:
                self._owners.own(name, ref.created_at, self.principal.user)
            return ref

    def _check_create(self, name: str, kind: RefKind, run: str | None) -> None:
        if run is not None:
            record = self._own_run(run)
            if record is None or name not in (record.branch, aside(record.branch)) or kind is not RefKind.BRANCH:
                raise self._denied(f"create {name!r}, which is not the branch of a run of theirs")
        elif kind is RefKind.TAG:
            self._need(Capability.TAGS, f"create tag {name!r}")
        elif not is_run_name(name) and not self._policy.may_create(self.principal, name):
            # Before saying whether it exists: that would tell of what may not be read.
            raise self._denied(f"create branch {name!r}", branch=name)

    def assign(self, branch: str, to: str, *, expected: str, accept_tainted: bool = False) -> Ref:
        """Move a branch that may be written to a commit that may be read."""
        with self._audited("assign", branch) as grant:
            self._check_write(branch, f"move branch {branch!r}")
            to = self.resolve(to).id
            grant()
            return self._catalog.assign(branch, to, expected=expected, accept_tainted=accept_tainted)

    def protect(self, branch: str, protected: bool) -> Ref:
        """Set or clear protection."""
        with self._audited("protect" if protected else "unprotect", branch) as grant:
            self._ref(branch)
            self._need(Capability.PROTECT, f"{'protect' if protected else 'lift the protection of'} {branch!r}")
            grant()
            return self._catalog.protect(branch, protected)

    def delete_ref(self, name: str, *, expected: str) -> None:
        """Forget a name."""
        with self._audited("delete", name) as grant:
            if self._ref(name).kind is RefKind.TAG:
                self._need(Capability.TAGS, f"delete tag {name!r}")
            else:
                self._check_write(name, f"delete branch {name!r}", unless=Capability.JOBS)
            grant()
            self._catalog.delete_ref(name, expected=expected)

    # states and history

    def entries(self, commit: str, schema: str | None = None) -> dict[Key, Entry]:
        """Everything that stands at a commit (id), or in one schema of it."""
        self._check_commit(commit)
        return (self._granted or self._catalog).entries(commit, schema)

    def lookup(self, commit: str, keys: Iterable[Key]) -> dict[Key, Entry]:
        """Those of the keys that exist at a commit (id)."""
        self._check_commit(commit)
        return (self._granted or self._catalog).lookup(commit, keys)

    @property
    def granted_only(self) -> bool:
        """Whether relations are found that are granted to user or role, and no others."""
        return self._granted is not None

    def beneath(self, commit: str, keys: Iterable[Key]) -> dict[Key, Entry]:
        """Those of the keys that exist at a commit, for what a view reads. Not for the verbs of the service."""
        self._check_commit(commit)
        return self._catalog.lookup(commit, keys)

    def log(self, commit: str, limit: int | None = None, *, first_parent: bool = True) -> list[Commit]:
        """A commit and its ancestors, newest first."""
        self._check_commit(commit)
        found = self._catalog.log(commit, limit, first_parent=first_parent)
        return found if self._granted is None else [self._granted.untold(one) for one in found]

    def changes(self, commit: str) -> tuple[Change, ...]:
        """What a commit changed against its first parent."""
        self._check_commit(commit)
        return self._shown(self._changes(commit, self._catalog.changes(commit)))

    def _changes(self, commit: str, changes: tuple[Change, ...]) -> tuple[Change, ...]:
        return changes if self._granted is None else self._granted.changes(commit, changes)

    def diff(self, old: str, new: str) -> tuple[Change, ...]:
        """What differs between two commits (ids), by key."""
        self._check_commit(old)
        self._check_commit(new)
        return self._shown(self._changes(old, self._changes(new, self._catalog.diff(old, new))))

    def contents(self, ids: Iterable[str]) -> dict[str, Entry]:
        """Entries by content id; of those that this user was told of."""
        wanted = list(ids)
        return self._catalog.contents(wanted if self._all else [one for one in wanted if self._sight.was_shown(one)])

    def last_change(self, commit: str, key: Key) -> Commit | None:
        """The newest change of a key that a commit (id) leads to."""
        self._check_commit(commit)
        if self._granted is not None and not self._granted.lookup(commit, [key]):
            return None
        found = self._catalog.last_change(commit, key)
        if found is not None and not self._all:
            self._sight.show([found.id])
        return found

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
        """Append a commit to a branch that may be written, signed with the user's name."""
        with self._audited("commit", branch, run=run) as grant:
            if run is not None and self._own_run(run) is None:
                raise self._denied(f"commit for run {run[:8]!r}, which is not theirs")
            self._check_write(branch, f"commit to branch {branch!r}")
            check_grants(self._catalog, branch, puts, self._grantees)
            grant()
            commit = self._catalog.commit(
                branch,
                puts,
                author=self.principal.user,
                message=message,
                expected_head=expected_head,
                run=run,
                provenance=provenance,
            )
        self._sight.show([commit.id])
        return commit

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
        """Merge what may be read into a branch that may be merged into; a dry run only reads."""
        more: dict[str, Any] = {
            "message": message,
            "expected_target": expected_target,
            "expected_source": expected_source,
            "expected_changes": expected_changes,
            "provenance": provenance,
            "accept_tainted": accept_tainted,
            "fast_forward": fast_forward,
            "settled": settled,
            "reads": reads,
        }
        if self._granted is not None:
            raise self._denied(f"look at merges into branch {target!r}")
        if dry_run:
            self.resolve(source)
            self._ref(target)
            result = self._catalog.merge(source, target, author=self.principal.user, run=run, dry_run=True, **more)
        else:
            with self._audited("merge", target, run=run, reason=_merged_how(source, more)) as grant:
                self.resolve(source)
                if run is not None and self._own_run(run) is None:
                    raise self._denied(f"publish run {run[:8]!r}, which is not theirs")
                self._check_merge(target)
                grant()
                result = self._catalog.merge(source, target, author=self.principal.user, run=run, **more)
        self._shown(result.changes)
        self._sight.show(side for one in result.conflicts for side in (one.base, one.source, one.target) if side)
        self._sight.show([result.base, *([result.commit.id] if result.commit else [])])
        return result

    # runs

    def save_run(self, record: RunRecord) -> None:
        """Insert or update the record of a run of one's own."""
        record = dataclasses.replace(record, owner=service_owner(self.principal.user))
        with self._audited("save_run", record.branch, run=record.id, reason=f"run is {record.status}") as grant:
            self._check_save(record)
            grant()
            self._catalog.save_run(record)

    def _check_save(self, record: RunRecord) -> None:
        known = self._known_run(record.id)
        if known is not None and not self._is_own(known):
            raise self._denied(f"change run {record.id[:8]!r}, which is not theirs")
        if record.branch != f"run/{record.id}" or (known is not None and known.target != record.target):
            raise self._denied(f"change what run {record.id[:8]!r} works on")
        merged = (Status.PUBLISHED, Status.CONTINUED)
        if record.status in merged and (known is None or known.status not in merged):
            raise self._denied(f"call run {record.id[:8]!r} published, which only merging it does")
        self._check_runs(record.target)
        if not self._reads_name(record.target):
            self._ref(record.target)
        if record.continues is not None and record.continues != (known.continues if known else None):
            continued = self._known_run(record.continues)
            if continued is None or not self._sees_run(continued) or continued.target != record.target:
                # What a run continues is clean when the run is published: it must be what the run began with.
                raise self._denied(f"continue run {record.continues[:8]!r}, which is not a run on {record.target!r}")

    def _check_runs(self, target: str) -> None:
        role = self._policy.role(self.principal.role)
        if not (role.write or role.create or role.merge):
            raise self._denied(f"run what writes to branch {target!r}", branch=target)

    def run(self, run_id: str) -> RunRecord | None:
        """One run, by id or unique prefix, if its target may be read."""
        if self._all:
            return self._catalog.run(run_id)
        known = self._known_run(run_id)
        if known is not None:
            return known if self._sees_run(known) else None
        found = [record for record in self.runs() if record.id.startswith(run_id)] if len(run_id) >= 4 else []
        if len(found) > 1:
            raise InvalidRef(f"run id {run_id!r} is ambiguous: {len(found)} runs start so; write more characters")
        return found[0] if found else None

    def runs(self, limit: int | None = None) -> list[RunRecord]:
        """Runs whose target may be read, newest first."""
        if self._all:
            return self._catalog.runs(limit)
        return [record for record in self._catalog.runs() if self._sees_run(record)][:limit]

    def recall_node(self, node: str, limit: int | None = None) -> list[ReusableResult]:
        """Results of a node that one's own runs made, or runs whose target may be read; newest first."""
        if self._all:
            return self._catalog.recall_node(node, limit)
        return [result for result in self._catalog.recall_node(node) if self._sees_result(result)][:limit]

    def _sees_result(self, result: ReusableResult) -> bool:
        record = self._known_run(result.run) if result.run is not None else None
        return self._sees_run(record) if record is not None else result.author == self.principal.user

    def heartbeat(self, run_id: str) -> None:
        """Say that a run of one's own goes on. Too frequent for the audit log, and changes nothing that it tells of."""
        if self._own_run(run_id) is None:
            denied = self._denied(f"keep run {run_id[:8]!r} alive, which is not theirs")
            self._record("heartbeat", None, "denied", run=run_id, reason=str(denied))
            raise denied
        self._catalog.heartbeat(run_id)

    def close(self) -> None:
        """Nothing: the catalog is shared, and closed by who opened it."""

    # before a merge

    def check_merge(self, target: str) -> None:
        """Raise ``Denied`` (or ``RefNotFound``) where a branch may not be merged into: before anything is made for it."""
        try:
            self._check_merge(target)
        except (Denied, RefNotFound) as error:
            self._record("merge", target, "denied", reason=str(error))
            raise

    def protects(self, branch: str) -> bool:
        """Whether a branch counts as protected: by the catalog's flag or by name."""
        return self._policy.is_protected(branch, flag=self._ref(branch).protected)

    # before a run

    def check_run(self, request: RunRequest) -> None:
        """Raise ``Denied`` (or ``RefNotFound``) where a run could not do what it is for: better now than at its end.

        Commands that need not write (``dbt show``, ``dbt test``) pass.
        """
        if request.command.rpartition(" ")[2] not in WRITING:
            return  # it may well write nothing; if it does write, that is checked then
        visible = {ref.name: ref for ref in self.refs(RefKind.BRANCH)}
        target = visible.get(request.branch)
        try:
            self._check_runs(request.branch)
            if target is None and not self._reads_name(request.branch):
                raise not_found(request.branch, visible)
            if target is None and request.branch != request.from_branch:
                self.resolve(request.from_branch)
                self._check_create(request.branch, RefKind.BRANCH, None)
            elif request.publish is PublishMode.EACH_NODE:
                self._check_write(
                    request.branch, f"write branch {request.branch!r}, where this run publishes each node"
                )
            elif request.publish is PublishMode.ON_SUCCESS:
                self._check_merge(request.branch, what=f"publish to branch {request.branch!r}")
        except (Denied, RefNotFound) as error:
            self._record("open_run", request.branch, "denied", run=request.id, reason=str(error))
            raise

    # what may be seen

    def _reads_name(self, name: str) -> bool:
        return self._all or self._policy.may_read(self.principal, name)

    def _sees_run(self, record: RunRecord) -> bool:
        return self._is_own(record) or (self._granted is None and self._reads_name(record.target))

    def _reach(self, refs: Sequence[Ref] | None = None) -> set[str]:
        return self._sight.reach.of(self._catalog, {ref.commit for ref in (self.refs() if refs is None else refs)})

    def _check_commit(self, commit: str) -> None:
        if self._all or self._sight.was_shown(commit):
            return
        if commit in ({ref.commit for ref in self.refs()} if self._granted is not None else self._reach()):
            return
        raise RefNotFound(f"no commit {commit!r} in this catalog; `lakehouse log` shows what there is")

    def _shown(self, changes: tuple[Change, ...]) -> tuple[Change, ...]:
        if not self._all:
            self._sight.show(one for change in changes for one in (change.before, change.after) if one is not None)
        return changes

    # what may be done

    def _ref(self, name: str) -> Ref:
        """A branch or tag that may be read. Raises ``RefNotFound``."""
        refs = self.refs()
        found = next((ref for ref in refs if ref.name == name), None)
        if found is None:
            raise not_found(name, [ref.name for ref in refs])
        return found

    def _check_write(self, branch: str, what: str, *, unless: Capability | None = None) -> None:
        """``unless``: who has this capability may do it to the branches of others' runs."""
        if is_run_name(branch) and self._own_run(branch.removeprefix(RUN_PREFIX)) is not None:
            return  # without a look at all refs: a run's commits are most of what is written
        ref = self._ref(branch)
        if ref.run is not None:
            exempt = unless is not None and self._policy.may(self.principal, unless)
            if not exempt and self._own_run(ref.run) is None:
                raise self._denied(f"{what}, which belongs to another user's run")
        elif not (
            self._policy.may_write(self.principal, branch, protected=ref.protected)
            or self._policy.may_write(self.principal, branch, protected=ref.protected, own=self._owns(ref))
        ):
            raise self._denied(what, branch=branch)

    def _check_merge(self, branch: str, what: str | None = None) -> None:
        ref = self._ref(branch)
        what = what or f"merge into branch {branch!r}"
        if ref.run is not None:
            self._check_write(branch, what)
        elif not (
            self._policy.may_merge(self.principal, branch, protected=ref.protected)
            or self._policy.may_merge(self.principal, branch, protected=ref.protected, own=self._owns(ref))
        ):
            raise self._denied(what, branch=branch)

    def _need(self, capability: Capability, what: str) -> None:
        if not self._policy.may(self.principal, capability):
            raise self._denied(what)

    def _owns(self, ref: Ref) -> bool:
        return self._owners is not None and self._owners.owned_by(self.principal.user).get(ref.name) == ref.created_at

    def _is_own(self, record: RunRecord) -> bool:
        return record.owner == service_owner(self.principal.user)

    def _known_run(self, run_id: str) -> RunRecord | None:
        """A run by its whole id."""
        try:
            record = self._catalog.run(run_id)
        except InvalidRef:
            return None
        return record if record is not None and record.id == run_id else None

    def _own_run(self, run_id: str) -> RunRecord | None:
        """A run of one's own. Whose it is, what it is for and its branch never change, so that it is looked up once."""
        if run_id not in self._own_runs:
            record = self._known_run(run_id)
            if record is None or not self._is_own(record):
                return None
            self._own_runs[run_id] = record
        return self._own_runs[run_id]

    def _denied(self, what: str, *, branch: str | None = None) -> Denied:
        who = f"user {self.principal.user!r} has role {self.principal.role!r} and may not {what}"
        own = f"dev/{self.principal.user}"
        if branch is not None and self._policy.may_create(self.principal, own):
            return Denied(
                f"{who}; work on a branch of your own (`branch: {own}` in the profile), or ask for role 'publisher'"
            )
        return Denied(f"{who}; ask who runs the service for a token with another role")

    @contextmanager
    def _audited(
        self, verb: str, ref: str, *, run: str | None = None, reason: str | None = None
    ) -> Iterator[Callable[[], None]]:
        """Around the checks of a write, the call of what is yielded (it is granted), and the write itself."""
        granted = False

        def grant() -> None:
            nonlocal granted
            self._record(verb, ref, "granted", run=run, reason=reason)
            granted = True

        try:
            yield grant
        except LakehouseError as error:
            # What may not be read is not found, and that is a denial too.
            if granted or isinstance(error, Denied | RefNotFound):
                self._record(verb, ref, "failed" if granted else "denied", run=run, reason=str(error))
            if granted and not self._all and isinstance(error, RefNotFound):
                raise not_found(ref, ()) from None  # the catalog's words may suggest names that are not visible
            raise

    def _record(
        self, verb: str, ref: str | None, outcome: Outcome, *, run: str | None = None, reason: str | None = None
    ) -> None:
        self._audit.record(entry_for(self.principal, verb, outcome, ref=ref, run=run, reason=reason))


def _merged_how(source: str, said: Mapping[str, Any]) -> str:
    """What the audit log says of a merge beside its target."""
    provenance = said["provenance"] or {}
    how = [f"from {source}"]
    how += [f"{table}: {take}" for table, take in provenance.get("settled", {}).items()]
    how += [f"allowed another {one['guard']} of {one['table']}" for one in provenance.get("allowed", ())]
    if said["accept_tainted"]:
        how.append("accepting what is tainted")
    return "; ".join(how)
