"""From a pull request to the base branch: build, publish, close.

What is published is always what a build of the code gives on the data of the base branch at that moment: either that was
built before, and the base has not moved since, or it is built now. Whoever else publishes meanwhile is noticed, as the
merge expects the base where the build started from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.merge import conflict_message
from dbt.adapters.lakehouse.catalog.model import Commit, RefKind
from dbt.adapters.lakehouse.ci.branches import Branches, Mark, mark_of, now
from dbt.adapters.lakehouse.ci.values import DbtBuild, Outcome
from dbt.adapters.lakehouse.errors import HeadMoved, LakehouseError, MergeConflict, RefNotFound
from dbt.adapters.lakehouse.lake.base import MergeRequest, Versions
from dbt.adapters.lakehouse.settings import Allowed

PUBLISH_AT_MOST = 5
"""So often a publish starts over when the base branch moves under it."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """What a command works with. ``run_dbt`` builds on a branch; ``code`` is what is built (None: not known).

    ``allow`` are the guards that are to let a publish pass.
    """

    catalog: Catalog
    versions: Versions
    branches: Branches
    author: str
    run_dbt: Callable[[str], DbtBuild]
    code: str | None = None
    revision: str | None = None
    allow: frozenset[Allowed] = frozenset()

    # commands

    def build(self) -> Outcome:
        """Build on the present base; if that passed, the pull request's branch is what was built."""
        branches = self.branches
        branches.ref()  # who else's it may be is said before dbt starts
        attempt = self._attempt(branches.base_head())
        try:
            if attempt.passed and not branches.renew(attempt.head, attempt.mark):
                note = f"a build that started later is on {branches.name} already, and stays there"
                return self._outcome(attempt, (None, None), (note,))
            left = (branches.name, attempt.head) if attempt.passed else self._run_branch(attempt.build)
            return self._outcome(attempt, left)
        finally:
            attempt.forget()
            branches.clean(but=attempt.build.invocation)

    def publish(self, *, rebuild: bool = False) -> Outcome:
        """Bring the build of this code to the base branch; ``rebuild`` says not to trust one that was made before.

        Raises ``HeadMoved`` if the base kept moving.
        """
        notes: list[str] = []
        for _ in range(PUBLISH_AT_MOST):
            base_head = self.branches.base_head()
            built = "it was asked for" if rebuild else self._built(base_head)
            try:
                if isinstance(built, Commit):
                    return self._publish_built(built, base_head)
                return self._publish_anew(base_head, [*notes, f"built anew: {built}"])
            except (HeadMoved, RefNotFound):
                notes = [f"{self.branches.base} moved while it was being published to"]
        raise HeadMoved(
            f"branch {self.branches.base!r} moved {PUBLISH_AT_MOST} times while this was being published to it; "
            "nothing was published, run it again when others are done"
        )

    def close(self) -> list[str]:
        """Delete all branches of the pull request; their names."""
        self.branches.ref()
        return self.branches.clean(everything=True)

    # parts

    def _attempt(self, base_head: str) -> _Attempt:
        mark = Mark(onto=self.branches.base, base=base_head, started=now(), code=self.code, revision=self.revision)
        name = self.branches.start(base_head)
        try:
            build = self.run_dbt(name)
            head = base_head
            if build.passed:
                mark = replace(mark, keys=self._keys(build, base_head, name))
                head = self.branches.passed(name, mark).id
        except BaseException:
            self.branches.forget(name)
            raise
        return _Attempt(name=name, build=build, mark=mark, head=head, branches=self.branches)

    def _keys(self, build: DbtBuild, base_head: str, attempt: str) -> dict[str, tuple[str, ...]]:
        """Of what differs, for whoever compares it when this build is only known by its mark."""
        changed = {str(change.key) for change in self.catalog.diff(base_head, self.catalog.resolve(attempt).id)}
        return {name: key for name, key in build.keys.items() if name in changed}

    def _outcome(self, attempt: _Attempt, left: tuple[str | None, str | None], notes: tuple[str, ...] = ()) -> Outcome:
        """Of a build; ``left`` are ref and head of what it left to look at."""
        return Outcome(
            action="build",
            passed=attempt.passed,
            base=self.branches.base,
            base_commit=attempt.mark.base,
            branch=self.branches.name,
            ref=left[0],
            head=left[1],
            build=attempt.build,
            notes=notes,
        )

    def _run_branch(self, build: DbtBuild) -> tuple[str | None, str | None]:
        """Where a run that failed left what it had built, if it wrote anything."""
        if build.invocation is not None:
            for ref in self.catalog.refs(RefKind.BRANCH):
                if ref.run == build.invocation:
                    return ref.name, ref.commit
        return None, None

    def _built(self, base_head: str) -> Commit | str:
        """What was built before and is to be published; else why it is not that."""
        ref = self.branches.ref()
        if ref is None:
            return f"there is no branch {self.branches.name}" if self.branches.name else "no pull request was named"
        commit = self.catalog.resolve(ref.commit)
        mark = mark_of(commit)
        assert mark is not None
        if mark.onto != self.branches.base:
            return f"{ref.name} was built on {mark.onto}"
        if mark.base != base_head:
            return f"{mark.onto} moved from {mark.base[:8]} to {base_head[:8]} since {ref.name} was built"
        if self.code is None:
            return "the code here is not all committed to git, so that it cannot be told whether it is what was built"
        if mark.code != self.code:
            return f"the code, its environment or its packages are not those that {ref.name} was built from"
        return commit

    def _publish_built(self, built: Commit, base_head: str) -> Outcome:
        name, mark = self.branches.name, mark_of(built)
        published = self._merge(built.id, base_head, f"Publish {name}")
        self.branches.clean(everything=True)
        return Outcome(
            action="publish",
            passed=True,
            base=self.branches.base,
            base_commit=base_head,
            branch=name,
            ref=self.branches.base,
            head=published or base_head,
            build=None,
            published=published,
            keys=mark.keys if mark is not None else {},
        )

    def _publish_anew(self, base_head: str, notes: list[str]) -> Outcome:
        attempt = self._attempt(base_head)
        try:
            if not attempt.passed:
                ref, head = self._run_branch(attempt.build)
                published = None
            else:
                what = self.branches.name or (self.revision or "the working folder")[:12]
                published = self._merge(attempt.head, base_head, f"Publish {what}, built anew")
                ref, head = self.branches.base, published or base_head
        finally:
            attempt.forget()
        if attempt.passed:
            self.branches.clean(everything=self.branches.name is not None)
        return Outcome(
            action="publish",
            passed=attempt.passed,
            base=self.branches.base,
            base_commit=base_head,
            branch=self.branches.name,
            ref=ref,
            head=head,
            build=attempt.build,
            published=published,
            notes=tuple(notes),
        )

    def _merge(self, head: str, base_head: str, message: str) -> str | None:
        """The commit that brought what was built to the base; None if the base has it all. Raises ``HeadMoved``."""
        if not self.catalog.diff(base_head, head):
            if self.branches.base_head() != base_head:
                raise HeadMoved(f"branch {self.branches.base!r} moved from {base_head[:8]}")
            return None
        request = MergeRequest(
            source=head,
            target=self.branches.base,
            author=self.author,
            message=message,
            expected_target=base_head,
            allow=self.allow,
        )
        result = self.versions.merge(request)
        if result.conflicts:  # not with the base where the build started from
            raise MergeConflict(conflict_message(head, self.branches.base, result.conflicts), result.conflicts)
        return result.commit.id if result.commit is not None else None


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """A build on a branch of its own; ``head`` is its last commit if it passed, else where it started."""

    name: str
    build: DbtBuild
    mark: Mark
    head: str
    branches: Branches

    @property
    def passed(self) -> bool:
        return self.build.passed

    def forget(self) -> None:
        """Delete the branch; what it holds is named elsewhere by now, or not wanted."""
        with contextlib.suppress(LakehouseError):
            self.branches.forget(self.name)
