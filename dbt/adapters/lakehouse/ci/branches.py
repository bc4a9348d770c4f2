"""Branches of pull requests: where an attempt works, what it leaves, and the mark that says what passed there.

An attempt works on a branch of its own, ``<branch>/<attempt>``, so that two pushes at once do not meet. Once it passed, its
last commit is a mark, and the pull request's branch is moved there.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import Commit, Ref, RefKind, RunStatus, time_text
from dbt.adapters.lakehouse.errors import ConfigError, HeadMoved, LakehouseError, RefExists, RefNotFound

_KEY = "ci"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What passed at a commit: the ``code`` (see ``origin.code_of``; None: not known) on the data of commit ``base`` of the
    branch ``onto``, from when on it was ``started`` (UTC). ``revision`` is git's commit. ``keys`` are columns that tell rows
    apart, by relation (``schema.name``), for those that differ from the base.
    """

    onto: str
    base: str
    started: str
    code: str | None = None
    revision: str | None = None
    keys: Mapping[str, Sequence[str]] = field(default_factory=dict)


def mark_of(commit: Commit) -> Mark | None:
    """The mark that a commit is, if it is one."""
    said = commit.provenance.get(_KEY)
    try:
        return Mark(**said) if isinstance(said, dict) else None
    except TypeError:  # of another version
        return None


class Branches:
    """The branches of one pull request. ``name`` is None outside of any: then there are attempts alone."""

    def __init__(self, catalog: Catalog, name: str | None, base: str, author: str) -> None:
        if name == base:
            raise ConfigError(
                f"{base!r} is both the pull request's branch and the base; name another with --branch or --base"
            )
        self._catalog = catalog
        self.name = name
        self.base = base
        self._author = author
        self._attempts = f"{name or f'{_KEY}/publish'}/"

    def base_head(self) -> str:
        """The commit of the base branch."""
        return self._catalog.resolve(self.base).id

    def ref(self) -> Ref | None:
        """The pull request's branch, once there is one. Raises ``ConfigError`` if it was made by others."""
        found = next((ref for ref in self._catalog.refs() if ref.name == self.name), None)
        if found is not None and (found.kind is not RefKind.BRANCH or self.mark(found) is None):
            raise ConfigError(
                f"{found.kind.value} {found.name!r} was not made by `lakehouse ci`, or was written to since, and would be "
                "replaced; name another with --branch, or delete it"
            )
        return found

    def mark(self, ref: Ref) -> Mark | None:
        """What passed on a branch."""
        return mark_of(self._catalog.resolve(ref.commit))

    def start(self, base_head: str) -> str:
        """A branch for an attempt, at a commit of the base branch."""
        name = f"{self._attempts}{uuid.uuid4().hex[:7]}x"  # digits alone could be read as a commit
        return self._catalog.create_ref(name, RefKind.BRANCH, base_head).name

    def passed(self, attempt: str, mark: Mark) -> Commit:
        """Put the mark on what an attempt built."""
        return self._catalog.commit(
            attempt,
            [],
            author=self._author,
            message=f"Pass a build of {(mark.revision or 'the working folder')[:12]} on {mark.onto} at {mark.base[:8]}",
            expected_head=self._catalog.resolve(attempt).id,
            provenance={_KEY: asdict(mark)},
        )

    def renew(self, head: str, mark: Mark) -> bool:
        """Move the pull request's branch to what passed; False if an attempt that started later is there already."""
        assert self.name is not None
        while True:
            ref = self.ref()
            try:
                if ref is None:
                    self._catalog.create_ref(self.name, RefKind.BRANCH, head)
                    return True
                there = self.mark(ref)
                if there is not None and there.started > mark.started:
                    return False
                self._catalog.assign(self.name, head, expected=ref.commit)
                return True
            except (RefExists, RefNotFound, HeadMoved):
                continue  # another attempt was faster; look at what it left

    def forget(self, name: str) -> bool:
        """Delete a branch of ours; False if somebody else did, or it moved."""
        try:
            self._catalog.delete_ref(name, expected=self._catalog.resolve(name).id)
        except (RefNotFound, HeadMoved):
            return False
        return True

    def clean(self, *, everything: bool = False, but: str | None = None) -> list[str]:
        """Delete branches of runs that earlier attempts left; with ``everything``, attempts and the pull request's branch, too.

        ``but`` names a run whose branch stays. The names of what is gone.
        """
        gone = []
        for ref in self._catalog.refs(RefKind.BRANCH):
            if ref.run is not None:
                mine = ref.run != but and self._left_behind(ref.run)
            else:
                mine = everything and (ref.name == self.name or ref.name.startswith(self._attempts))
            if mine:
                # What a role does not allow, or somebody else is about, is not worth failing for.
                with contextlib.suppress(LakehouseError):
                    if self.forget(ref.name):
                        gone.append(ref.name)
        return gone

    def _left_behind(self, run: str) -> bool:
        """Whether an attempt of ours left a run's branch."""
        record = self._catalog.run(run)
        if record is None or not record.target.startswith(self._attempts):
            return False
        return record.status in (RunStatus.FAILED, RunStatus.ABANDONED)


def now() -> str:
    """The time, in the form that marks compare."""
    return time_text(datetime.now(UTC))
