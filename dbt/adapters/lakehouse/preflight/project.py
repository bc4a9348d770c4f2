"""The check of a project by itself: dbt's parse and selection, then the look ahead. No node or hook runs, nothing is written.

The project is read as it would be built now, on the target's branch as it stands; where there is no lake yet, on an empty one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.errors import CatalogError, ConfigError, RefNotFound
from dbt.adapters.lakehouse.lake.base import Lake
from dbt.adapters.lakehouse.preflight.check import look
from dbt.adapters.lakehouse.preflight.findings import Report

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.impl import LakehouseAdapter

_QUIETLY = ("--quiet", "--log-level", "none", "--log-level-file", "none", "--no-write-json")


def check(arguments: Sequence[str]) -> Report:
    """What ``dbt build`` with these arguments would break on. Raises ``ConfigError`` with what dbt says of the project."""
    # Imported late: dbt takes seconds.
    from dbt.cli.main import dbtRunner
    from dbt.task import build

    with contextlib.ExitStack() as kept:
        task = _task(build.BuildTask, kept)
        usual = build.BuildTask
        build.BuildTask = task  # type: ignore[misc] # dbt's command makes whatever stands there
        try:
            ended = dbtRunner().invoke([*_QUIETLY, "build", *arguments])
        finally:
            build.BuildTask = usual  # type: ignore[misc]
    if ended.exception is not None:
        if isinstance(ended.exception, KeyboardInterrupt):
            raise ended.exception
        raise ConfigError(f"the project cannot be checked: {ended.exception}") from ended.exception
    report: Report = task.report
    return report


def _task(usual: Any, kept: contextlib.ExitStack) -> Any:
    """A task of dbt that looks at the nodes where it would run them. ``kept`` holds what it opens."""

    class CheckTask(usual):  # type: ignore[misc]
        report = Report()

        def before_run(self, adapter: LakehouseAdapter, selected_uids: Any) -> Any:
            from dbt.artifacts.schemas.results import RunStatus

            del selected_uids
            _only_read(adapter, kept)
            with adapter.connection_named("master"):
                self.defer_to_manifest()
                self.populate_adapter_cache(adapter)
            return RunStatus.Success

        def execute_nodes(self) -> list[Any]:
            import networkx
            from dbt.adapters.factory import get_adapter

            order = networkx.lexicographical_topological_sort(self.job_queue.graph)
            nodes = [self.manifest.expect(name) for name in order]
            type(self).report = look(self, get_adapter(self.config), nodes, hooks_too=True)
            return []

        def after_run(self, adapter: Any, results: Any) -> None:
            del adapter, results

        def task_end_messages(self, results: Any) -> None:
            del results

    return CheckTask


def _only_read(adapter: LakehouseAdapter, kept: contextlib.ExitStack) -> None:
    """Let the adapter read what stands on its target's branch, and open no run."""
    if adapter.type() != "lakehouse":
        raise ConfigError(f"the target is of type {adapter.type()!r}; choose one of type lakehouse with --target")
    lake = kept.enter_context(_lake(adapter))
    schema = adapter.credentials.schema
    ref = _start(lake, adapter)
    adapter.connections.session_source = lambda: lake.read(ref, schema)


def _start(lake: Lake, adapter: LakehouseAdapter) -> str:
    branch, origin = adapter.credentials.target_branch(), adapter.credentials.origin_branch()
    try:
        return lake.catalog.resolve(branch).id
    except RefNotFound:
        return lake.catalog.resolve(origin).id


@contextlib.contextmanager
def _lake(adapter: LakehouseAdapter) -> Iterator[Lake]:
    """The profile's lake; an empty one for the moment where there is none yet."""
    credentials = adapter.credentials
    if credentials.service_settings() is not None:
        yield adapter.lake()
        return
    from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake

    settings = credentials.lake_settings(1)
    with contextlib.ExitStack() as opened:
        try:
            lake = EmbeddedLake.open(settings, create=False)
        except CatalogError:
            folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="lakehouse-check-"))
            empty = dataclasses.replace(
                settings, warehouse=f"file://{folder}", catalog=f"sqlite:///{folder}/catalog.sqlite", storage_options={}
            )
            lake = EmbeddedLake.open(empty)
        try:
            yield lake
        finally:
            lake.close()
