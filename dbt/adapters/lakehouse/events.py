"""A dbt invocation as a run: opened by its first write, ended by dbt's own verdict.

dbt tells what happens through its event manager, on the thread where it happens (``EndRunResult`` on the main thread,
after all hooks). ``NodeFinished`` is recorded, ``EndRunResult`` publishes or fails the run, ``CommandCompleted`` abandons
one that is still open: dbt was interrupted, or broke.
"""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dbt.adapters.events.logging import AdapterLogger
from dbt_common.events.contextvars import get_node_info
from dbt_common.exceptions import DbtRuntimeError
from dbt_common.invocation import get_invocation_id

from dbt.adapters.lakehouse import profile, telemetry
from dbt.adapters.lakehouse.catalog.model import RunStatus
from dbt.adapters.lakehouse.connections import REUSED, dbt_errors
from dbt.adapters.lakehouse.credentials import LakehouseCredentials, project_dir
from dbt.adapters.lakehouse.git_state import GitState
from dbt.adapters.lakehouse.jobs.job import PythonNeeds
from dbt.adapters.lakehouse.lake.base import Lake, Run, RunRequest, Session
from dbt.adapters.lakehouse.memory import Remembering
from dbt.adapters.lakehouse.run.values import Batch, Build, View
from dbt.adapters.lakehouse.settings import Isolation, PublishMode
from dbt.adapters.lakehouse.tables.values import TimeRange

logger = AdapterLogger("Lakehouse")

_BUILDING = ("run", "build", "retry")
"""Commands that run models: others select them, too."""
_DONE = ("success", "pass", "warn", "reused", "no-op")
"""What became of nodes that ``dbt retry`` leaves alone."""
_RUNNING = (*_BUILDING, "seed", "snapshot", "test")
_WRITING = (*_RUNNING, "run-operation", "clone")


_under_way: dict[Invocation, int] = {}
"""Those of this process whose nodes run, and the thread of each. A second one is a mistake of the program that dbt is used by."""


class Invocation:
    """The run of one dbt command, or single statements where no command runs (each visible at once)."""

    def __init__(
        self,
        credentials: LakehouseCredentials,
        open_lake: Callable[[], Lake],
        target_path: Callable[[], Path],
        python_needs: Callable[[], tuple[PythonNeeds, ...]] = tuple,
    ) -> None:
        """``python_needs`` gives what the Python models need that dbt has selected."""
        self._credentials = credentials
        self._open_lake = open_lake
        self._target_path = target_path
        self._python_needs = python_needs
        self._lock = threading.RLock()
        self._run: Run | None = None
        self._nodes: dict[str, dict[str, Any]] = {}
        self.remembering: Remembering | None = None
        self._batch = threading.local()
        self._command = _current_command()
        self._said = " ".join(("dbt", *_command_words()))
        self._disturbed = False
        if self.in_command:
            _disturb_others()
        # At once, so that git has answered when the first node writes.
        self._git = self._git_state() if self._command in _WRITING else None
        self.exported: dict[str, str] = {}
        self.when_published: Callable[[Run], None] | None = None
        self._batches_done: frozenset[str] = frozenset()
        self._again: tuple[str, ...] = ()
        self._refused_before = False
        self.refused: DbtRuntimeError | None = None
        self._continues = self._run_to_continue() if self._command == "retry" else None

    def _git_state(self) -> GitState:
        project = project_dir()
        made = [project / name for name in ("target", "logs", "dbt_packages", "package-lock.yml", ".user.yml")]
        warehouse = self._credentials.warehouse
        return GitState(project, (*made, *([project / warehouse] if warehouse else []), self._target_path()))

    @property
    def in_command(self) -> bool:
        """Whether a dbt command is under way, whose end will publish or fail the run."""
        return self._command is not None

    @property
    def runs_nodes(self) -> bool:
        """Whether a dbt command is under way that runs nodes."""
        return self._command in _RUNNING

    def run(self) -> Run:
        """The run, opened on first use."""
        with self._lock:
            if self._run is None:
                self._run = self._open_lake().open_run(self._request())
            return self._run

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """While nodes run. Raises ``DbtRuntimeError`` if another command was begun in this process meanwhile."""
        _under_way[self] = threading.get_ident()
        try:
            yield
        except Exception as error:
            self._check_undisturbed(error)
            raise
        finally:
            _under_way.pop(self, None)
        self._check_undisturbed(None)

    def _check_undisturbed(self, error: Exception | None) -> None:
        if self._disturbed:
            self.abandon("another command was begun in the same process")
            raise DbtRuntimeError(_TWO_AT_ONCE.format(self._said)) from error

    def disturb(self) -> str:
        """Another command begins in another thread: this one must not publish. What was typed is answered."""
        self._disturbed = True
        return self._said

    @property
    def nodes(self) -> Mapping[str, Any]:
        """What became of the nodes that ended."""
        return self._nodes

    @property
    def opened(self) -> Run | None:
        """The run, if it was opened and a command is under way."""
        return self._run if self.in_command else None

    def session(self) -> Session:
        """A session of the run for the calling thread."""
        return self.run().session(get_node_info().get("unique_id"))

    def _request(self) -> RunRequest:
        command = self._said
        invocation = get_invocation_id()
        git = self._git.said() if self._git is not None else None
        return RunRequest(
            id=invocation if self.in_command else str(uuid.uuid4()),
            command=command,
            branch=self._credentials.target_branch(),
            from_branch=self._credentials.origin_branch(),
            publish=self._credentials.publish_mode() if self.in_command else PublishMode.EACH_NODE,
            default_schema=self._credentials.schema,
            author=profile.author(),
            continues=self._continues,
            again=self._again,
            provenance={
                "command": command,
                "invocation": invocation,
                "versions": {"dbt": _dbt_version()},
                **({"git": git} if git is not None else {}),
                **({} if self._credentials.reuses() else {"reuse": "off"}),
            },
            environments=self._python_needs() if self._command in _BUILDING else (),
            isolation=self._credentials.isolation_level() if self.in_command else Isolation.SNAPSHOT,
            allow=self._credentials.allowed(),
        )

    def _run_to_continue(self) -> str | None:
        """The invocation whose results ``dbt retry`` reads: that run's branch holds what succeeded then."""
        try:
            results = json.loads((self._target_path() / "run_results.json").read_text())
            self._batches_done = frozenset(
                result["unique_id"]
                for result in results["results"]
                if (result.get("batch_results") or {}).get("successful")
            )
            left = [result["unique_id"] for result in results["results"] if result["status"] not in _DONE]
            self._refused_before = not left
            # Of a model with batches, dbt builds those that failed; the others are to stay.
            self._again = tuple(name for name in left if name not in self._batches_done)
            return str(results["metadata"]["invocation_id"])
        except (OSError, ValueError, KeyError):
            return None

    # what dbt tells

    def on_event(self, message: Any) -> None:
        """Dbt's callback. What it raises reaches dbt."""
        name = message.info.name
        if message.info.level == "warn" and self.remembering is not None:
            # Whoever is warned is to be warned the next time, too: the node is not left out.
            self.asked(None)
        if name == "NodeFinished":
            self._record(message.data)
        elif name == "LogStartBatch":
            # Told on the thread that goes on to run the batch.
            data = message.data
            self._batch.place = (data.node_info.unique_id, data.batch_index, data.total_batches)
        elif name == "EndRunResult":
            self._end(success=message.data.success)
        elif name == "CommandCompleted":
            self._command_completed(success=message.data.success)

    def asked(self, what: Build | View | str | None) -> None:
        """The calling thread's node asked the lake for something (see ``memory.Memory.asked``)."""
        if self.remembering is not None:
            self.remembering.asked(str(get_node_info().get("unique_id")), what)

    def has_batches(self, node: str) -> bool:
        """Whether ``dbt retry`` goes on with a model of which batches are there; ``--full-refresh`` must not undo them."""
        return node in self._batches_done

    def batch(self, node: str, time: TimeRange) -> Batch:
        """The batch that the calling thread runs, with its place among those of its model, if dbt told of it."""
        name, number, total = getattr(self._batch, "place", ("", 0, 0))
        return Batch(range=time, number=number, of=total) if name == node else Batch(range=time)

    def _record(self, data: Any) -> None:
        result = data.run_result
        if self.remembering is not None:
            passed = result.status in ("success", "pass", "reused")
            self.remembering.ended(data.node_info.unique_id, passed=passed)
        self._nodes[data.node_info.unique_id] = {
            "status": result.status,
            "seconds": round(result.execution_time, 6),
            "message": result.message,
        }
        said = dict(result.adapter_response)
        if said.get("code") == REUSED:
            self._nodes[data.node_info.unique_id]["reused"] = {
                "run": said.get("run"),
                "author": said.get("author"),
                "seconds": said.get("seconds_saved", 0.0),
            }
        rows = said.get("rows_affected")
        if rows is not None:
            self._nodes[data.node_info.unique_id]["rows"] = int(rows)

    def _end(self, *, success: bool) -> None:
        run = self._run
        if self.remembering is not None:
            self.remembering.save()
        self._tell_of_reuse()
        if run is None and success and self._refused_before:
            self._publish_what_was_refused()
        if run is None or not self.in_command:
            return
        if success:
            self.publish()
            return
        failed = [key for key, node in self._nodes.items() if node["status"] in ("error", "fail", "runtime error")]
        with dbt_errors():
            run.fail(f"{len(failed)} failed: {', '.join(failed[:10])}" if failed else "dbt did not pass", self._nodes)
        if run.branch is not None:
            logger.info(
                f"Nothing was published. What this run wrote, stored failures too, is on branch {run.branch}: in SQL "
                f'"{self._credentials.database}@{run.branch}".schema.table, or `lakehouse tables --ref {run.branch}`. '
                "Fix the cause, then build again what you changed, or `dbt retry` what failed"
            )

    def _publish_what_was_refused(self) -> None:
        """``dbt retry`` found nothing to build, since all of it had passed: then only publishing can have failed."""
        with dbt_errors():
            record = self._open_lake().catalog.run(self._continues) if self._continues is not None else None
            if record is None or record.status is not RunStatus.FAILED:
                return
            self.session().close()
        self.publish()

    def _tell_of_reuse(self) -> None:
        reused = [node["reused"] for node in self._nodes.values() if "reused" in node]
        if reused:
            # Neither hooks nor what dbt has nothing to do for (exposures, say) could have been reused.
            no_work = [
                key for key, node in self._nodes.items() if key.startswith("operation.") or node["status"] == "no-op"
            ]
            saved = sum(one["seconds"] for one in reused)
            logger.info(f"{len(reused)} of {len(self._nodes) - len(no_work)} nodes were reused, {saved:.1f}s saved")

    def publish(self) -> None:
        """Publish the run. Raises dbt's error, which ends dbt with an exit code, if it cannot be."""
        run = self._run
        if run is None:
            return
        self._check_undisturbed(None)
        try:
            with dbt_errors():
                commit = run.publish(self._nodes)
        except DbtRuntimeError as error:
            self.refused = error
            raise
        target = self._credentials.target_branch()
        if commit is not None:
            logger.info(f"Published to branch {target} as commit {commit.id[:8]}")
        elif run.branch is not None and run.request.publish is PublishMode.MANUAL:
            logger.info(f"Left on branch {run.branch}; `lakehouse merge {run.branch} --into {target}` publishes it")
        if self.when_published is not None:
            self.when_published(run)

    def abandon(self, reason: str) -> None:
        """End the run as abandoned, if it has not ended."""
        if self._run is not None and self.in_command:
            self._run.fail(reason, self._nodes, abandoned=True)

    def cancel(self) -> None:
        """Interrupt all that runs."""
        if self._run is not None:
            self._run.cancel()

    def _command_completed(self, *, success: bool) -> None:
        self.abandon("dbt ended before the run was published" if success else "dbt was interrupted or broke")
        telemetry.flush()
        with self._lock:
            self._command = None
            self._run = None
            self._nodes = {}
            self.exported = {}

    def forget(self) -> None:
        """Outside of a command: start over with the next statement, since the lake was closed."""
        with self._lock:
            if not self.in_command:
                self._run = None


_TWO_AT_ONCE = (
    "`{}` and another dbt command ran in this process at the same time, in two threads. dbt keeps what belongs to a command once "
    "for a process, so that they would mix; nothing was published. Run one after the other, or each in a process of its own"
)


def _disturb_others() -> None:
    """Raise ``DbtRuntimeError`` if nodes of another command run in this process.

    By now dbt has taken away what that command goes on with, so that it ends too.
    """
    here = threading.get_ident()
    for said in [other.disturb() for other, thread in list(_under_way.items()) if thread != here]:
        raise DbtRuntimeError(_TWO_AT_ONCE.format(said))


def _dbt_version() -> str:
    from dbt.version import __version__

    return str(__version__)


def _command_words() -> list[str]:
    """The command as it was typed, without options: ``docs generate``."""
    import click

    context = click.get_current_context(silent=True)
    words: list[str] = []
    while context is not None and context.parent is not None:
        words.insert(0, str(context.command.name))
        context = context.parent
    return words


def _current_command() -> str | None:
    """The dbt command that is being run; None for programs that use the adapter by itself."""
    import click

    context = click.get_current_context(silent=True)
    return context.command.name if context is not None else None
