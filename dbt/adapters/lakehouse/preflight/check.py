"""The look ahead at the nodes that dbt is about to run."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt.adapters.events.logging import AdapterLogger
from dbt_common.exceptions import CompilationError, DbtRuntimeError

from dbt.adapters.lakehouse.errors import JobCancelled
from dbt.adapters.lakehouse.jobs.job import Bound
from dbt.adapters.lakehouse.preflight import hooks, lines, unit_tests
from dbt.adapters.lakehouse.preflight.compiling import Compiling, DependsOnResults
from dbt.adapters.lakehouse.preflight.drafts import FUNCTIONS, HOOKS, Drafting, makes, name_of, place
from dbt.adapters.lakehouse.preflight.findings import Finding, Report
from dbt.adapters.lakehouse.run.values import Draft, Looked, Name

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.impl import LakehouseAdapter

logger = AdapterLogger("Lakehouse")

_LOOKED_AT = ("model", "seed", "snapshot", "test")
_WAITS = "they read what could not be checked"


def before_nodes(task: Any, adapter: LakehouseAdapter, nodes: Sequence[Any]) -> None:
    """Look at nodes that are going to run, parents first, as ``preflight`` of the profile says.

    Raises ``DbtRuntimeError`` with all findings, if there are any and they are errors.
    """
    mode = adapter.credentials.preflight_mode()
    if mode == "off":
        return
    try:
        report = look(task, adapter, nodes)
    except (KeyboardInterrupt, JobCancelled):
        raise
    except (Exception, DependsOnResults) as error:
        # Who only looks must not be in the way.
        logger.warning(f"the pre-flight check failed itself, and nodes run unchecked: {type(error).__name__}: {error}")
        logger.debug(traceback.format_exc())
        return
    if adapter.invocation.remembering is not None:
        adapter.invocation.remembering.compiled.update(report.compiled)
    if not report.findings:
        said = f"Pre-flight: {report.nodes} nodes in {report.seconds:.1f}s"
        (logger.info if report.unchecked else logger.debug)(f"{said}; {report.skipped()}" if report.unchecked else said)
        return
    if mode == "warn":
        logger.warning("\n".join([f"Pre-flight found {report.problems()}", "", *report.lines()]).rstrip())
        return
    adapter.invocation.abandon("the pre-flight check found what would break")
    head = f"Pre-flight found {report.problems()}; no node was run"
    tail = "`preflight: warn` in the profile, or LAKEHOUSE_PREFLIGHT=warn, runs them all the same"
    raise DbtRuntimeError("\n".join([head, "", *report.lines(), tail]))


def look(task: Any, adapter: LakehouseAdapter, nodes: Sequence[Any], *, hooks_too: bool = False) -> Report:
    """What would break of nodes that are going to run. With ``hooks_too``, on-run-start hooks are still to come."""
    started = time.perf_counter()
    with adapter.connection_named("preflight"):
        looking = _Look(task, adapter, nodes, hooks_too=hooks_too)
        looking.bind_nodes()
        looking.bind_unit_tests()
    return dataclasses.replace(looking.report(), seconds=time.perf_counter() - started)


class _Look:
    def __init__(self, task: Any, adapter: LakehouseAdapter, nodes: Sequence[Any], *, hooks_too: bool) -> None:
        self._config, self._manifest, self._adapter = task.config, task.manifest, adapter
        self._nodes = [node for node in nodes if str(node.resource_type) in _LOOKED_AT and not node.is_ephemeral_model]
        self._tests = _unit_tests(task, nodes)
        functions = [node.unique_id for node in nodes if str(node.resource_type) == "function"]
        self._drafting = Drafting(adapter, task.config, task.manifest, self._nodes, functions)
        if hooks_too and _starts_with_preparation(task.manifest):
            self._drafting.prepared = True
        self._findings: list[Finding] = []
        self._unchecked: list[tuple[str, str]] = []
        self._columns: dict[str, Bound] = {}

    def report(self) -> Report:
        """What was found."""
        return Report(
            findings=tuple(self._findings),
            nodes=len(self._nodes) + len(self._tests),
            unchecked=tuple(self._unchecked),
            compiled=self._drafting.compiled,
        )

    def bind_nodes(self) -> None:
        """Look at models, seeds, snapshots and data tests."""
        compiling = Compiling(self._adapter, self._config, self._manifest, self._drafting.coming)
        drafts: list[Draft] = []
        with compiling.quietly():
            for node in self._nodes:
                try:
                    drafts.append(self._drafting.draft(node, compiling))
                except CompilationError as error:
                    self._found(node, str(error.msg))
                    name = name_of(node) if makes(node) else None
                    drafts.append(Draft(node=node.unique_id, name=name, why=_WAITS))
        drafts = [dataclasses.replace(draft, tolerant=self._drafting.prepared) for draft in drafts]
        failed = {finding.node for finding in self._findings}
        for node, draft, looked in zip(self._nodes, drafts, self._bind(drafts), strict=True):
            if node.unique_id in failed:
                continue
            self._columns[node.unique_id] = looked.bound
            self._judge(node, draft, looked, self._drafting.compiled.get(node.unique_id))

    def bind_unit_tests(self) -> None:
        """Look at unit tests, with the columns that are known by now."""
        if not self._tests:
            return
        known = {
            where: dataclasses.replace(coming, columns=self._columns[coming.node].columns)
            for where, coming in self._drafting.coming.items()
            if coming.node in self._columns
        }
        compiling = Compiling(self._adapter, self._config, self._manifest, {**self._drafting.coming, **known})
        asked: list[tuple[Any, Draft, Any]] = []
        with compiling.quietly():
            for test in self._tests:
                try:
                    draft, node = unit_tests.draft(test, self._config, self._manifest, compiling)
                except CompilationError as error:
                    self._found(test, str(error.msg))
                    continue
                if any(map(self._drafting.calls_coming, self._tested(test))):
                    draft = Draft(node=draft.node, why=FUNCTIONS)
                asked.append((test, dataclasses.replace(draft, tolerant=self._drafting.prepared), node))
        for (test, draft, node), looked in zip(asked, self._bind([draft for _, draft, _ in asked]), strict=True):
            found = {finding.node for finding in self._findings}
            if looked.bound.error and any(model.unique_id in found for model in self._tested(test)):
                continue  # said already of the model
            self._judge(test, draft, looked, node)
            if message := unit_tests.unexpected(test, looked.bound.columns):
                self._found(test, message)

    def _bind(self, drafts: Sequence[Draft]) -> list[Looked]:
        return self._adapter.connections.session().bind(drafts) if drafts else []

    # judging

    def _judge(self, node: Any, draft: Draft, looked: Looked, compiled: Any) -> None:
        bound = looked.bound
        if looked.missing:
            for name in looked.missing:
                self._found(node, self._missing(name), draft.sql, _line_of(draft.sql, name), compiled)
        elif bound.promised:
            self._found(node, _contract_error(bound))
        elif bound.error:
            # A seed's SQL is none of the user's.
            written = None if str(node.resource_type) == "seed" else draft.sql
            self._found(node, bound.error, written, bound.line if written is not None else None, compiled)
        elif bound.why:
            self._unchecked.append((node.unique_id, _WAITS if bound.waits else _reason(bound.why)))

    def _missing(self, name: Name) -> str:
        wanted = (name.database.lower(), name.schema.lower(), name.name.lower())
        branch = self._adapter.credentials.target_branch()
        said = f"relation {name} is not on branch {branch}, and no node of this run makes it"
        for node in self._manifest.nodes.values():
            if makes(node) and place(node) == wanted:
                return f"{said}; build it first, or too: --select +{node.name}"
        for source in self._manifest.sources.values():
            if (source.database.lower(), source.schema.lower(), source.identifier.lower()) == wanted:
                return f"{said}: it is the source {source.source_name}.{source.name}, which is loaded by others"
        return said

    def _found(
        self, node: Any, message: str, sql: str | None = None, line: int | None = None, compiled: Any = None
    ) -> None:
        file, at, text = self._place(node, sql, line, compiled)
        compiled_line = line if at is None or not text else None
        if sql is not None and line is not None and not text and 0 < line <= len(sql.splitlines()):
            text = sql.splitlines()[line - 1].strip()
        self._findings.append(
            Finding(
                node=node.unique_id,
                kind=_kind(node),
                name=node.name,
                message=message,
                file=file,
                line=at if text or line is None else None,
                compiled_line=compiled_line,
                text=text,
            )
        )

    def _place(self, node: Any, sql: str | None, line: int | None, compiled: Any) -> tuple[str, int | None, str]:
        """The user's file, the line there, and what it says, as far as that can be told."""
        known = [node, *self._tested(node), *self._ephemeral(compiled)]
        if sql is not None and line is not None:
            for one in known:
                raw = getattr(one, "raw_code", None)
                found = lines.raw_line(sql, raw, line) if raw else None
                path = self._path(one)
                at = lines.line_in_file(path, raw, found) if raw and found is not None else None
                if at is not None:
                    return self._shown(one), at, lines.text_at(path, at)
            return self._shown(node), None, ""
        return self._shown(node), self._yaml(node), ""

    def _tested(self, test: Any) -> list[Any]:
        """The model of a unit test, whose SQL it runs."""
        parents = test.depends_on.nodes[:1] if str(test.resource_type) == "unit_test" else ()
        return [self._manifest.nodes[parent] for parent in parents if parent in self._manifest.nodes]

    def _ephemeral(self, compiled: Any) -> list[Any]:
        inlined = [self._manifest.nodes.get(cte.id) for cte in getattr(compiled, "extra_ctes", None) or ()]
        return [node for node in inlined if node is not None]

    def _yaml(self, node: Any) -> int | None:
        """The line of YAML that describes a test."""
        path = self._path(node)
        if path.suffix not in (".yml", ".yaml"):
            return None
        if str(node.resource_type) == "unit_test":
            return lines.yaml_line(path, (("unit_tests",), node.name))
        metadata = getattr(node, "test_metadata", None)
        owner = self._manifest.nodes.get(getattr(node, "attached_node", None) or "")
        if metadata is None or owner is None:
            return None
        steps: list[tuple[tuple[str, ...], str]] = [(("models", "seeds", "snapshots"), owner.name)]
        if node.column_name:
            steps.append((("columns",), node.column_name.strip('"')))
        named = metadata.name if not metadata.namespace else f"{metadata.namespace}.{metadata.name}"
        return lines.yaml_line(path, *steps, (("data_tests", "tests"), named))

    def _path(self, node: Any) -> Path:
        return Path(self._config.project_root, self._shown(node))

    def _shown(self, node: Any) -> str:
        if node.package_name == self._config.project_name:
            return str(node.original_file_path)
        return str(Path(self._config.packages_install_path, node.package_name, node.original_file_path))


def _unit_tests(task: Any, nodes: Iterable[Any]) -> list[Any]:
    """Unit tests that dbt runs by themselves, or before the models of the run."""
    found = {node.unique_id: node for node in nodes if str(node.resource_type) == "unit_test"}
    tested: Mapping[str, Sequence[str]] = getattr(task, "model_to_unit_test_map", None) or {}
    for node in nodes:
        for name in tested.get(node.unique_id, ()):
            found[name] = task.manifest.unit_tests[name]
    return list(found.values())


def _starts_with_preparation(manifest: Any) -> bool:
    return any(
        str(node.resource_type) == "operation" and "on-run-start" in node.tags and hooks.may_prepare(node.raw_code)
        for node in manifest.nodes.values()
    )


def _kind(node: Any) -> str:
    return str(node.resource_type).replace("_", " ")


def _reason(why: str) -> str:
    return HOOKS if why.startswith("what it reads may be prepared by hooks") else why


def _line_of(sql: str | None, name: Name) -> int | None:
    """The first line that names a relation in full."""
    for number, line in enumerate((sql or "").splitlines(), 1):
        if str(name) in line or f"{name.database}.{name.schema}.{name.name}" in line:
            return number
    return None


def _contract_error(bound: Bound) -> str:
    """The words of dbt, with its table of what differs."""
    yaml = [_column(column.name, column.type) for column in bound.promised]
    sql = [_column(column.name, column.type) for column in bound.columns]
    from dbt.exceptions import ContractError

    return str(ContractError(yaml, sql).msg)  # type: ignore[no-untyped-call]


def _column(name: str, kind: str) -> dict[str, str]:
    return {"name": name, "data_type": kind, "formatted": f"{name.lower()} {kind}"}
