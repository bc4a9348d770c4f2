"""What is to be built next: what was edited and has not passed since, and not what failed for reasons of its own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.dev.changed import Edits, buildable, named, related, selection
from dbt.adapters.lakehouse.dev.values import Build

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

_BAD = ("error", "fail", "skipped")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One build: what dbt is told to select, for the sake of which nodes (none: of all), and what it leaves out meanwhile."""

    select: tuple[str, ...]
    exclude: tuple[str, ...]
    names: frozenset[str]
    held: frozenset[str]


class Agenda:
    """Grows by edits, shrinks by builds.

    A run publishes all or nothing. What failed is therefore held back until there is an edit that has to do with it, of itself,
    of what it reads or of what reads it: else it would keep everything else from the branch.
    """

    def __init__(self, *, everything: bool) -> None:
        """``everything``: it is not known yet what the branch holds."""
        self._everything = everything
        self._due: frozenset[str] = frozenset()
        self._failed: frozenset[str] = frozenset()
        self._last: frozenset[str] = frozenset()
        self.edited: frozenset[str] = frozenset()

    @property
    def is_all(self) -> bool:
        """Whether all is due."""
        return self._everything

    def edit(self, edits: Edits) -> None:
        """Nodes were changed; those that wait since an earlier edit still count as edited."""
        if edits.modified:
            self.edited = edits.edited | (self.edited & self._due)
            self._due |= edits.modified

    def everything(self) -> None:
        """Anything may have changed, and what failed may pass now."""
        self._everything = True
        self._failed = frozenset()

    def again(self) -> None:
        """Build what was built last, and what failed; everything if there is none."""
        self._due |= self._last | self._failed
        self._failed = frozenset()
        if not self._due:
            self._everything = True

    def plan(
        self, manifest: Manifest, *, select: Collection[str], exclude: Collection[str], children: bool = False
    ) -> Plan | None:
        """The next build; ``select`` and ``exclude`` narrow it as in dbt. None if nothing is due."""
        names = buildable(manifest, self._due | related(manifest, self._due, self._failed))
        held = frozenset(self._failed - names)
        if self._everything:
            kept_out = selection(manifest, held)
            return Plan(select=tuple(select), exclude=(*exclude, *kept_out), names=names, held=held)
        chosen = selection(manifest, names, children=children, within=select)
        if not chosen:
            self._due = frozenset()
            return None
        return Plan(select=chosen, exclude=tuple(exclude), names=names, held=held)

    def done(self, manifest: Manifest, plan: Plan, build: Build) -> None:
        """A build of a plan has ended."""
        self._last = plan.names
        if build.cancelled:
            return
        if build.ok:
            self._everything, self._due, self._failed = False, frozenset(), plan.held
            return
        bad = {one.node.id for one in build.results if one.status in _BAD}
        if build.problem is not None:
            # Found before any node ran, in nodes that it names; else it may be anywhere.
            bad = named(manifest, build.problem.message) or set(plan.names)
        # The models of a test that failed did not pass either.
        tests = [name for name in bad if name.startswith(("test.", "unit_test."))]
        bad |= {parent for name in tests for parent in manifest.parent_map.get(name, ())}
        self._due = plan.names - bad
        self._failed = plan.held | bad
