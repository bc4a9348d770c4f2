"""dbt in this process: imported once, invoked again and again, one invocation at a time.

It writes to a folder of its own, so that dbt commands in other terminals keep their ``target``: its partial parse, and compiled
SQL to look at.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt.adapters.factory import FACTORY
from dbt.cli.main import dbtRunner, dbtRunnerResult

from dbt.adapters.lakehouse.connections import REUSED
from dbt.adapters.lakehouse.dev.changed import node_of
from dbt.adapters.lakehouse.dev.places import target_folder
from dbt.adapters.lakehouse.dev.problems import problem_of
from dbt.adapters.lakehouse.dev.values import Build, NodeResult, Problem, Status
from dbt.adapters.lakehouse.memory import FILE

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

    from dbt.adapters.lakehouse.credentials import LakehouseCredentials
    from dbt.adapters.lakehouse.impl import LakehouseAdapter

TARGET = "lakehouse-dev"
"""The folder for what is written, in the one where dbt commands write."""

_STATUSES: dict[str, Status] = {
    "success": "built",
    "reused": "reused",
    "pass": "pass",
    "warn": "warn",
    "fail": "fail",
    "error": "error",
    "runtime error": "error",
    "partial success": "error",
    "skipped": "skipped",
    "no-op": "skipped",
}


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the command line said that dbt is told in turn."""

    project_dir: Path
    profiles_dir: Path | None = None
    profile: str | None = None
    target: str | None = None
    vars: str | None = None
    prints: bool = True

    def arguments(self) -> list[str]:
        """As options of any dbt command. Nothing is logged and nothing is written that a build does not need."""
        said = ["--project-dir", str(self.project_dir), "--log-level", "none", "--log-level-file", "none"]
        said += ["--no-write-json", "--no-use-colors", "--no-send-anonymous-usage-stats"]
        said += [] if self.prints else ["--no-print"]
        options = {
            "--profiles-dir": self.profiles_dir,
            "--profile": self.profile,
            "--target": self.target,
            "--vars": self.vars,
        }
        for option, value in options.items():
            said += [] if value is None else [option, str(value)]
        return said


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project that dbt could parse: its graph, and what dbt makes of its files."""

    manifest: Manifest
    config: Any

    @property
    def credentials(self) -> LakehouseCredentials:
        """The profile's output."""
        credentials: LakehouseCredentials = self.config.credentials
        return credentials


class Resident:
    """Parses and builds one project. ``running`` is told the names of nodes that begin, ``said`` what they print."""

    def __init__(self, told: Told, running: Callable[[str], None], said: Callable[[str], None]) -> None:
        self._told = told
        self._running = running
        self._said = said
        self._lock = threading.Lock()
        self._building = False
        self._cancelled = False
        self._run = ""
        theirs = target_folder(told.project_dir)
        # One for each target: dbt parses all anew where the target is another one than before.
        own = re.sub(r"\W", "_", "-".join(filter(None, (told.profile, told.target)))) or "default"
        self._target = theirs / TARGET / own
        self._begin(theirs)

    def _begin(self, theirs: Path) -> None:
        """Begin with what dbt commands have left behind, if they have: the first parse takes seconds."""
        for name in ("partial_parse.msgpack", FILE):
            there, own = theirs / name, self._target / name
            if there.is_file() and not own.exists():
                own.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(there, own)

    def parse(self) -> Project | Problem:
        """The project as its files say now; what is unchanged since the last time is not read again."""
        result = self._invoke("parse", [])
        if not result.success:
            return problem_of(result.exception, self._told.project_dir)
        adapter: Any = FACTORY.adapters.get("lakehouse")
        if adapter is None:
            others = ", ".join(FACTORY.adapters)
            return Problem(message=f"the target is of type {others}; lakehouse dev builds in a lake (type: lakehouse)")
        return Project(manifest=result.result, config=adapter.config)  # type: ignore[arg-type] # of parse, a manifest

    def build(self, project: Project, select: Sequence[str], exclude: Sequence[str]) -> Build:
        """One ``dbt build``, which is one run; with nothing selected, of all nodes."""
        arguments = [*(["--select", *select] if select else []), *(["--exclude", *exclude] if exclude else [])]
        started = time.perf_counter()
        with self._lock:
            self._building, self._cancelled, self._run = True, False, ""
        try:
            result = self._invoke("build", arguments, project.manifest)
        finally:
            with self._lock:
                self._building, cancelled = False, self._cancelled
        seconds = time.perf_counter() - started
        found = getattr(result.result, "results", None)
        if found is None:
            problem = None if result.success else problem_of(result.exception, self._told.project_dir)
            return Build(ok=result.success, run=self._run, seconds=seconds, problem=problem, cancelled=cancelled)
        results = tuple(self._result(project, one) for one in found)
        return Build(
            ok=result.success,
            run=self._run,
            seconds=seconds,
            results=results,
            cancelled=cancelled and not result.success,
        )

    def cancel(self) -> None:
        """From any thread: have the build that runs end soon, as failed."""
        with self._lock:
            self._cancelled = self._building
        self._stop()

    def _stop(self) -> None:
        adapter: LakehouseAdapter | Any = FACTORY.adapters.get("lakehouse")
        if self._building and self._cancelled and adapter is not None:
            adapter.invocation.cancel()

    def _invoke(self, command: str, arguments: Sequence[str], manifest: Manifest | None = None) -> dbtRunnerResult:
        own = ["--target-path", str(self._target)]
        result = dbtRunner(manifest=manifest, callbacks=[self._on_event]).invoke(
            [command, *self._told.arguments(), *own, *arguments]
        )
        if isinstance(result.exception, KeyboardInterrupt):
            raise result.exception
        return result

    def _on_event(self, message: Any) -> None:
        name = message.info.name
        self._run = message.info.invocation_id
        if name == "EndRunResult" and self._cancelled and not message.data.success:
            # This is told here before the adapter hears of it, to which it would be a run that failed.
            adapter: LakehouseAdapter | Any = FACTORY.adapters.get("lakehouse")
            adapter.invocation.abandon("overtaken by another save, or stopped")
        elif name == "NodeStart":
            self._running(message.data.node_info.node_name)
            if self._cancelled:
                # It came before the run was open. On another thread, since who cancels a run may go on with it.
                stopping = threading.Thread(target=self._stop)
                stopping.start()
                stopping.join()
        elif name in ("AdapterEventInfo", "JinjaLogInfo") and message.data.node_info.unique_id:
            self._said(message.info.msg)

    def _result(self, project: Project, result: Any) -> NodeResult:
        status = _STATUSES.get(str(result.status), "error")
        if status == "built" and (result.adapter_response or {}).get("code") == REUSED:
            status = "reused"
        bad = status in ("error", "fail", "warn")
        return NodeResult(
            node=node_of(project.manifest, result.node),
            status=status,
            seconds=result.execution_time,
            message=str(result.message or ""),
            problem=problem_of(result.message, self._told.project_dir, result.node) if bad else None,
        )
