"""From a save to what is shown: parse, find what changed, build it in one run, look at it."""

from __future__ import annotations

import queue
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dbt.adapters.lakehouse.dev import changed
from dbt.adapters.lakehouse.dev.agenda import Agenda
from dbt.adapters.lakehouse.dev.looking import Looker
from dbt.adapters.lakehouse.dev.places import Places, places
from dbt.adapters.lakehouse.dev.resident import Project, Resident, Told
from dbt.adapters.lakehouse.dev.values import Build, Cause, NodeResult, Problem, Screen, Setting
from dbt.adapters.lakehouse.dev.watching import Blind, Event, Keyboard, Saved, Stopped, Typed, Watcher, signals, watcher
from dbt.adapters.lakehouse.errors import ConfigError, JobCancelled, LakehouseError

_SHOWN = 5
"""Nodes of one build whose rows are shown; of others only how they ended and what changed."""
_COMPARED = 20


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the command line asks for; ``base`` None is the branch that the target's is made from."""

    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    base: str | None = None
    on_base: bool = False
    rows: int = 10
    children: bool = False
    initial: bool = True


class Loop:
    """Builds a project again and again. ``run`` goes on until it is told to stop; ``once`` builds once."""

    def __init__(self, told: Told, wishes: Wishes, screen: Screen) -> None:
        self._told = told
        self._wishes = wishes
        self._screen = screen
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._resident = Resident(told, screen.running, screen.said)
        self._looker = Looker()
        self._project: Project | None = None
        self._setting: Setting | None = None
        self._agenda = Agenda(everything=wishes.initial)
        self._starting = True

    # without watching

    def once(self) -> bool:
        """Build all that is selected; whether it passed. Raises ``KeyboardInterrupt``, ``LakehouseError``."""
        try:
            with signals(self._tell, lambda: self._starting):
                return self._once()
        finally:
            self._looker.close()

    def _once(self) -> bool:
        found = self._first_parse()
        if isinstance(found, Problem):
            self._screen.problem(found)
            return False
        self._turn_to(found)
        self._agenda.everything()
        passed = self._build(found, Cause(text="all that is selected"))
        if not self._events.empty():
            raise KeyboardInterrupt
        return passed

    # with watching

    def run(self) -> None:
        """Build whatever is saved, until ``q`` is typed. Raises ``KeyboardInterrupt``, ``LakehouseError``."""
        watching = watcher(self._tell)
        try:
            with signals(self._tell, lambda: self._starting), Keyboard(self._tell):
                self._start(watching)
                while self._next(watching):
                    pass
        finally:
            watching.close()
            self._looker.close()

    def _start(self, watching: Watcher) -> None:
        self._watch(watching)
        found = self._first_parse()
        if isinstance(found, Problem):
            self._screen.problem(found)
            return
        self._turn_to(found)
        self._project = found
        # What was saved while dbt started is seen by this second parse.
        self._saved(watching, frozenset())

    def _first_parse(self) -> Project | Problem:
        """It may take many seconds; later ones do not."""
        found = self._resident.parse()
        self._starting = False
        return found

    def _tell(self, event: Event) -> None:
        """On another thread: what runs is overtaken by a save, and by a signal."""
        self._events.put(event)
        if isinstance(event, Saved | Stopped):
            self._resident.cancel()
            self._looker.cancel()

    def _next(self, watching: Watcher) -> bool:
        """Wait for something to happen, and do what it asks for; False if that is to stop."""
        if self._events.empty():
            self._screen.waiting()
        events = [self._events.get()]
        while not self._events.empty():
            events.append(self._events.get())
        for event in events:
            if isinstance(event, Stopped):
                raise KeyboardInterrupt
            if isinstance(event, Blind):
                raise ConfigError(
                    f"files cannot be watched: {event.why}; WATCHFILES_FORCE_POLLING=1 looks at them instead"
                )
        if any(isinstance(event, Typed) and event.line.lower() in ("q", "quit", "exit") for event in events):
            return False
        saved = frozenset(path for event in events if isinstance(event, Saved) for path in event.paths)
        try:
            if saved:
                self._saved(watching, saved)
            elif self._project is not None:
                self._build_again(self._project)
        except LakehouseError as error:
            # A lake that cannot be reached now may be there with the next save.
            self._screen.problem(Problem(message=str(error)))
        return True

    def _watch(self, watching: Watcher) -> Places:
        """Watch what the project says now."""
        found = places(self._told.project_dir, self._told.profiles_dir)
        watching.watch(found)
        return found

    def _saved(self, watching: Watcher, paths: frozenset[Path]) -> None:
        """Take up what was saved: everything, if that may concern everything. No paths: what was saved while dbt started."""
        known = self._watch(watching)
        found = self._resident.parse()
        if isinstance(found, Problem):
            self._screen.problem(found)
            return
        former, self._project = self._project, found
        root = known.root
        files = tuple(sorted(str(path.relative_to(root)) if path.is_relative_to(root) else str(path) for path in paths))
        edits = changed.edits(former.manifest if former is not None else None, found.manifest, files)
        self._agenda.edit(edits)
        if self._turn_to(found) or self._is_project_wide(known, paths):
            self._agenda.everything()
        removed = tuple(sorted(_named(former, edits.removed)))
        text = "all that is selected" if self._agenda.is_all else ""
        if paths or self._agenda.is_all or edits.modified:
            self._build(found, Cause(files=files, removed=removed, text=text))

    def _is_project_wide(self, known: Places, paths: frozenset[Path]) -> bool:
        """Whether files were saved that may concern every node. What git has checked out concerns the branch alone."""
        return self._wishes.initial and any(path in known.files and path.name != "HEAD" for path in paths)

    def _build_again(self, project: Project) -> None:
        self._turn_to(project)
        self._agenda.again()
        self._build(project, Cause(text="once more"))

    # what both have in common

    def _turn_to(self, project: Project) -> bool:
        """Build and look where the project says now; whether that is another branch than before.

        Raises ``ConfigError`` where nobody should develop, and what opening the lake raises.
        """
        credentials = project.credentials
        setting = Setting(
            project=project.config.project_name,
            target=project.config.target_name,
            branch=credentials.target_branch(),
            base=self._wishes.base or credentials.origin_branch(),
        )
        self._looker.turn_to(credentials)
        former = self._setting
        if setting != former:
            self._check(setting)
            self._setting = setting
            self._screen.started(setting)
        return former is not None and setting.branch != former.branch

    def _check(self, setting: Setting) -> None:
        branch, how = setting.branch, "(branch: git, or a name), choose another --target, or say --on-base all the same"
        if self._wishes.on_base:
            return
        if branch == setting.base:
            raise ConfigError(
                f"the target {setting.target!r} builds on {branch!r}, the branch to compare with; give it one of its own {how}"
            )
        if self._looker.is_protected(branch):
            raise ConfigError(
                f"the target {setting.target!r} builds on {branch!r}, which is protected; give it another {how}"
            )

    def _build(self, project: Project, cause: Cause) -> bool:
        """Build what is due, and show it; whether it passed. What is overtaken by a save before it begins stays due."""
        if not self._events.empty():
            return False
        assert self._setting is not None, "a project is turned to before it is built"
        wishes, manifest = self._wishes, project.manifest
        plan = self._agenda.plan(manifest, select=wishes.select, exclude=wishes.exclude, children=wishes.children)
        if plan is None:
            self._screen.note(_nothing(cause.files, cause.removed))
            return True
        with self._screen.building(cause):
            build = self._resident.build(project, plan.select, plan.exclude)
        edited = self._agenda.edited
        self._agenda.done(manifest, plan, build)
        if not build.cancelled:
            self._show(build, edited, rows=bool(plan.names))
        self._screen.built(build, self._setting)
        return build.ok

    def _show(self, build: Build, edited: frozenset[str], *, rows: bool) -> None:
        """The nodes that the developer edited, and all others that ran."""
        assert self._setting is not None, "a project is turned to before it is built"
        done = [one for one in build.results if one.status in ("built", "reused") and one.node.relation is not None]
        own = [one for one in done if one.node.id in edited]
        shown = [*own, *(one for one in done if one.node.id not in edited and one.status == "built")]
        if not shown:
            return
        ref = self._looker.where(build.run, self._setting.branch)
        try:
            for number, result in enumerate(shown[:_COMPARED]):
                self._show_one(result, ref, rows=rows and number < _SHOWN)
        except JobCancelled:
            self._screen.note("cancelled")

    def _show_one(self, result: NodeResult, ref: str, *, rows: bool) -> None:
        assert self._setting is not None, "a project is turned to before it is built"
        base = self._setting.base
        if rows:
            self._screen.looked(result, self._looker.rows(result.node, ref, self._wishes.rows))
        try:
            self._screen.compared(result.node, base, self._looker.compare(result.node, base, ref))
        except JobCancelled:
            raise
        except LakehouseError as error:
            self._screen.note(f"{result.node.name} cannot be compared with {base}: {error}")


def _named(project: Project | None, names: Iterable[str]) -> list[str]:
    """Names of nodes that left something in the lake."""
    found = [project.manifest.nodes.get(name) for name in names] if project is not None else []
    return [node.name for node in found if node is not None and node.resource_type in ("model", "seed", "snapshot")]


def _nothing(files: tuple[str, ...], removed: tuple[str, ...]) -> str:
    if removed:
        return (
            f"{', '.join(removed)}: gone from the project; what was built of it stays on the branch until it is dropped"
        )
    return f"{', '.join(files)}: nothing to build" if files else "nothing to build"
