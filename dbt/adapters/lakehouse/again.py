"""Merge by running again: with ``publish_conflict: rerun``, a run that passed and whose target moved meanwhile builds again what
is concerned, on the target's new head, before dbt comes to its end.

dbt's own runners do it: the task is given a queue of just those nodes, and their results take the place of the earlier ones.
Concerned is what made, or read, anything that the target changed, and all that depends on it: what comes out is what would have,
had the run begun after the others.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dbt.adapters.events.logging import AdapterLogger

from dbt.adapters.lakehouse.catalog.model import Key
from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.connections import dbt_errors
from dbt.adapters.lakehouse.errors import HeadMoved, LakehouseError
from dbt.adapters.lakehouse.lake.base import Moved, Run
from dbt.adapters.lakehouse.settings import PublishConflict

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.impl import LakehouseAdapter

logger = AdapterLogger("Lakehouse")

MOST = 3
"""So many times nodes are run again, before a target that keeps moving is left alone."""


@dataclass(frozen=True, kw_only=True)
class Concerned:
    """The nodes that a target's move concerns; or ``why`` they cannot be run again."""

    nodes: frozenset[str] = frozenset()
    why: str = ""


def concerned(moved: Moved, graph: Any, made: Mapping[str, str], read: Mapping[str, Collection[str]]) -> Concerned:
    """What of a task's nodes is to be run again. ``graph`` has an edge from each to what depends on it.

    ``made`` is the relation of each node that has one, ``read`` what each reads by its code, both as keys in text.
    """
    nodes, changed = set(graph.nodes), set(moved.changed)
    writes = {node: {*moved.wrote.get(node, ()), *_one(made.get(node))} for node in nodes | moved.wrote.keys()}
    reads = {node: {*moved.read.get(node, ()), *read.get(node, ())} for node in writes.keys() | moved.read.keys()}
    found: set[str] = set()
    fresh = {node for node, keys in writes.items() if keys & changed}
    fresh |= {node for node in writes if reads[node] & changed}
    while fresh:
        found |= fresh
        redone = {key for node in fresh for key in writes.get(node, ())}
        fresh = {child for node in fresh & nodes for child in graph.successors(node)}
        fresh |= {node for node, keys in writes.items() if (keys | reads[node]) & redone}
        fresh -= found
    outside = found - nodes
    if outside:
        keys = sorted({key for node in outside for key in writes[node]})
        by = ", ".join(sorted(node for node in outside if node)) or "statements that are no node's"
        return Concerned(why=f"{', '.join(keys[:5])}: written by {by}, which cannot be run again")
    unmade = moved.conflicts.keys() - {key for node in found for key in (*writes[node], *reads[node])}
    if unmade:
        return Concerned(why=f"{', '.join(sorted(unmade)[:5])}: made by no node of this command")
    return Concerned(nodes=frozenset(found))


def _one(key: str | None) -> tuple[str, ...]:
    return () if key is None else (key,)


class Again:
    """What running nodes again takes, kept from before the first of them was taken out of the task's queue."""

    def __init__(self, task: Any, adapter: LakehouseAdapter) -> None:
        self._task, self._adapter = task, adapter
        self._graph = task.job_queue.graph.copy()
        self._unit_tests = {name: list(tests) for name, tests in _unit_tests(task).items()}
        with dbt_errors():
            self._wanted = adapter.credentials.publish_conflict_mode() is PublishConflict.RERUN
        self._rounds = 0

    def next_round(self) -> bool:
        """Whether there are nodes to run again; they are in the task's queue then. Else the run may be published already."""
        run = self._run_to_publish()
        while run is not None:
            try:
                moved = self._look(run)
                if moved is None or self._rounds == MOST:
                    return False
                found = self.concerned(moved, self._standing())
                if found.why:
                    logger.info(f"Nothing is run again although {self._by(moved)}: {found.why}")
                    return False
                self._rounds += 1
                run.rebase(moved.head, sorted(found.nodes))
            except HeadMoved:
                continue
            except LakehouseError as error:
                # Publishing will say what is wrong, and so that it counts.
                logger.info(f"Nothing is run again: {error}")
                return False
            self._tell(moved, found.nodes)
            self._prepare(found.nodes)
            return True
        return False

    def _look(self, run: Run) -> Moved | None:
        """What keeps the run from being published. Where no hooks follow, it is published at once, before others can be."""
        hooks = (node for node in self._task.manifest.nodes.values() if node.resource_type == "operation")
        if any("on-run-end" in hook.tags for hook in hooks):
            return run.moved()
        return run.publish_unless_moved(self._adapter.invocation.nodes)

    def _run_to_publish(self) -> Run | None:
        """The run, if it passed so far and is to be published."""
        passed = self._wanted and self._task.interpret_results(self._task.node_results)
        return self._adapter.invocation.opened if passed else None

    def _standing(self) -> Mapping[str, Collection[str]]:
        """What the entries that stand at the nodes' names name as their inputs: nodes may have left them as they were."""
        adapter = self._adapter
        schemas = {(one.database, one.schema) for one in map(self._task.manifest.expect, self._graph) if _stands(one)}
        found: dict[str, Collection[str]] = {}
        with adapter.connection_named("master"):
            for database, schema in sorted(schemas):
                for entry in adapter.connections.session().relations(database, schema):
                    inputs = getattr(entry, "inputs", {})
                    found[str(Key(entry.schema, entry.name))] = [name for name in inputs if "@" not in name]
        return found

    def concerned(self, moved: Moved, standing: Mapping[str, Collection[str]]) -> Concerned:
        """What of this command's nodes a target's move concerns; ``standing`` are inputs of what stands at their names."""
        manifest = self._task.manifest
        made: dict[str, str] = {}
        read: dict[str, list[str]] = {}
        for name in self._graph.nodes:
            node = manifest.expect(name)
            if getattr(node, "previous_batch_results", None) is not None:
                return Concerned(
                    why=f"{name} went on with batches of an earlier run, of which not all would be run again"
                )
            read[name] = [key for parent in _parents(manifest, node) if (key := self._own(parent)) is not None]
            if _stands(node):
                made[name] = _key(node)
                read[name] += standing.get(made[name], ())
        return concerned(moved, self._graph, made, read)

    def _own(self, parent: Any) -> str | None:
        """The key of a relation in this lake's own state."""
        same = str(parent.database).lower() == self._adapter.credentials.database.lower()
        return _key(parent) if same else None

    def _tell(self, moved: Moved, nodes: Collection[str]) -> None:
        count = sum(not self._task.manifest.expect(name).is_ephemeral_model for name in nodes)
        logger.info(
            f"{count} {'node is' if count == 1 else 'nodes are'} run again: {self._by(moved)}; "
            f"in conflict: {', '.join(sorted(moved.conflicts)[:5])}"
        )

    def _by(self, moved: Moved) -> str:
        return f"{self._adapter.credentials.target_branch()} moved to {short(moved.head)} ({moved.by})"

    # when nothing helped

    def leave_results(self) -> None:
        """Write dbt's results of a run that could not be published, with what is in conflict as failed."""
        from dbt.parser.manifest import write_manifest

        task = self._task
        if not task.args.write_json:
            return
        self._mark()
        now = datetime.now(UTC).replace(tzinfo=None)
        result = task.get_result(
            results=task.node_results, elapsed_time=time.time() - task.started_at, generated_at=now
        )
        write_manifest(task.manifest, task.config.project_target_path)
        result.write(task.result_path())

    def _mark(self) -> None:
        """Let ``dbt retry`` build what is in conflict, and what depends on it."""
        from dbt.artifacts.schemas.results import RunStatus

        run = self._adapter.invocation.opened
        try:
            moved = None if run is None else run.moved()
        except LakehouseError as error:
            logger.debug(f"what is in conflict is not known: {error}")
            return
        if moved is None:
            return
        nodes = self.concerned(moved, {}).nodes
        written = {key for keys in moved.wrote.values() for key in keys}
        for result in self._task.node_results:
            name = result.node.unique_id
            if name not in nodes and not any(name in self._unit_tests.get(node, ()) for node in nodes):
                continue
            touched = {*moved.wrote.get(name, ()), *(key for key in moved.read.get(name, ()) if key not in written)}
            own = [line for key, line in moved.conflicts.items() if key in touched]
            result.status = RunStatus.Error if own else RunStatus.Skipped
            result.message = "; ".join(own) or "built on what is in conflict"
            result.failures = result.batch_results = None

    # preparing the task

    def _prepare(self, nodes: Collection[str]) -> None:
        from dbt.graph.queue import GraphQueue

        task = self._task
        tests = {name: self._unit_tests[name] for name in nodes if name in self._unit_tests}
        redone = {*nodes, *(test for some in tests.values() for test in some)}
        task.node_results[:] = [one for one in task.node_results if one.node.unique_id not in redone]
        for name in nodes:
            for node in (task.manifest.expect(name), *_ephemeral(task.manifest, task.manifest.expect(name))):
                _uncompile(node)
        self._forget(redone)
        graph = self._graph.subgraph(nodes).copy()
        task.job_queue = GraphQueue(graph, task.manifest, set(graph.nodes))
        # dbt counts from one again, and unit tests of a build with the first node.
        task.run_count = 0
        task.num_nodes = sum(not task.manifest.expect(name).is_ephemeral_model for name in nodes)
        if hasattr(task, "model_to_unit_test_map"):
            task.model_to_unit_test_map = tests
            task.selected_unit_tests = redone - set(nodes)

    def _forget(self, nodes: Iterable[str]) -> None:
        """What dbt, and this package, know of the state before."""
        task, adapter = self._task, self._adapter
        if adapter.invocation.remembering is not None:
            adapter.invocation.remembering.forget(nodes)
        adapter.cache.clear()  # type: ignore[no-untyped-call]
        with adapter.connection_named("master"):
            schemas = task.get_model_schemas(adapter, set(self._graph.nodes))
            task.create_schemas(adapter, schemas)
            task.populate_adapter_cache(adapter, schemas)


def _unit_tests(task: Any) -> Mapping[str, list[str]]:
    return getattr(task, "model_to_unit_test_map", None) or {}


def _stands(node: Any) -> bool:
    """Whether a relation stands at a node's name."""
    return bool(getattr(node, "is_relational", False)) and not getattr(node, "is_ephemeral_model", False)


def _key(node: Any) -> str:
    name = getattr(node, "alias", None) or getattr(node, "identifier", None) or node.name
    return str(Key(node.schema, name))


def _parents(manifest: Any, node: Any) -> Iterable[Any]:
    """The relations that a node names."""
    for one in (node, *_ephemeral(manifest, node)):
        for name in getattr(one.depends_on, "nodes", ()):
            parent = manifest.nodes.get(name) or manifest.sources.get(name)
            if parent is not None and not getattr(parent, "is_ephemeral_model", False):
                yield parent


def _ephemeral(manifest: Any, node: Any) -> list[Any]:
    """The ephemeral models that become a part of a node's code."""
    found: dict[str, Any] = {}
    waiting = [node]
    while waiting:
        for name in getattr(waiting.pop().depends_on, "nodes", ()):
            parent = manifest.nodes.get(name)
            if parent is not None and name not in found and getattr(parent, "is_ephemeral_model", False):
                found[name] = parent
                waiting.append(parent)
    return list(found.values())


def _uncompile(node: Any) -> None:
    """Let dbt compile a node once more: its code may ask what the state holds."""
    for name, value in (
        ("compiled", False),
        ("compiled_code", None),
        ("extra_ctes_injected", False),
        ("extra_ctes", []),
    ):
        if hasattr(node, name):
            setattr(node, name, value)
    if hasattr(node, "_pre_injected_sql"):
        node._pre_injected_sql = None
