"""What is done before dbt runs the first node: results that are known are put in place, and what would break is said.

A node whose code need not be compiled again (see ``compiled``, ``memory``) and whose result is known never enters dbt's queue:
its result is reported as dbt's runners report theirs, and dbt goes on with the others.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt.adapters.contracts.relation import RelationType
from dbt.adapters.events.logging import AdapterLogger
from dbt_common.events.functions import fire_event
from dbt_common.exceptions import DbtBaseException

from dbt.adapters.lakehouse import materialized_views, preflight
from dbt.adapters.lakehouse.catalog.model import TableEntry, ViewEntry
from dbt.adapters.lakehouse.compiled import Sources
from dbt.adapters.lakehouse.connections import ReusedResponse
from dbt.adapters.lakehouse.errors import LakehouseError
from dbt.adapters.lakehouse.memory import Memory, Remembered, Remembering
from dbt.adapters.lakehouse.run.values import Name, Recalled

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.impl import LakehouseAdapter

logger = AdapterLogger("Lakehouse")


def of_nodes(task: Any, adapter: LakehouseAdapter) -> None:
    """``task`` is dbt's, about to run the nodes of its queue. Raises ``DbtRuntimeError`` if they are not to run."""
    preflight.warn_of_stale(task, adapter, _in_order(task))
    if adapter.credentials.reuses() and _is_plain(task):
        recall(task, adapter)
    preflight.before_nodes(task, adapter, _in_order(task))


def _is_plain(task: Any) -> bool:
    """Whether nothing but tables is asked of the task: ``dbt seed --show`` prints rows that reading the files gives."""
    return not getattr(task.args, "show", False)


def recall(task: Any, adapter: LakehouseAdapter) -> None:
    """Put in place and report what is known, and take it out of the task's queue."""
    from dbt.flags import get_flags

    memory = Memory(Path(task.config.project_target_path))
    sources = Sources(task.manifest, task.config, get_flags(), memory.scans)  # type: ignore[no-untyped-call]
    nodes, unit_tests = _in_order(task), _UnitTests(task, adapter)
    with adapter.connection_named("master"):
        keys = {
            node.unique_id: None if _is_in_the_way(node, adapter) else sources.key(node, exists=_exists(node, adapter))
            for node in nodes
        }
        keys |= unit_tests.keys(sources, keys)
        adapter.invocation.remembering = Remembering(memory=memory, sources=sources, keys=keys, manifest=task.manifest)
        known = _known(task, memory, keys, nodes, unit_tests)
        try:
            answers = adapter.connections.session().recall([one.wish for one in known.values()]) if known else []
        except (LakehouseError, DbtBaseException) as error:
            # What cannot be recalled is built.
            logger.debug(f"results were not recalled: {error}")
            answers = [None] * len(known)
    found = {name: answer for name, answer in zip(known, answers, strict=True) if answer is not None}
    unit_tests.forget_keys(keys, found)
    if not found:
        return
    _count_unit_tests(task)
    for node in nodes:
        for one in (*unit_tests.of(node), node):
            if (answer := found.get(one.unique_id)) is not None:
                _report(task, adapter, one, known[one.unique_id], answer)
    unit_tests.leave_out(found)
    _leave_out(task, [node.unique_id for node in nodes if node.unique_id in found])


class _UnitTests:
    """The unit tests of ``dbt build``, which it runs right before the model that each is about.

    The query of one brings rows in place of the model's parents, with the columns that those have.
    """

    def __init__(self, task: Any, adapter: LakehouseAdapter) -> None:
        self._task, self._adapter = task, adapter
        self._by_model: dict[str, list[str]] = getattr(task, "model_to_unit_test_map", None) or {}

    def of(self, node: Any) -> list[Any]:
        """Those of a model."""
        return [self._task.manifest.unit_tests[name] for name in self._by_model.get(node.unique_id, ())]

    def parents(self, model: str) -> list[str]:
        """The relations that a model reads."""
        return list(self._task.manifest.nodes[model].depends_on.nodes)

    def keys(self, sources: Sources, keys: Mapping[str, str | None]) -> dict[str, str | None]:
        """The key of each, where its model has one."""
        found: dict[str, str | None] = {}
        for model, tests in self._by_model.items():
            columns = self._columns(model, tests) if keys.get(model) is not None else None
            for test in tests:
                definition = self._task.manifest.unit_tests[test]
                found[test] = None if columns is None else sources.key_of_unit_test(definition, columns)
        return found

    def _columns(self, model: str, tests: Sequence[str]) -> dict[str, Any] | None:
        """The columns of a model's parents, and its own if a test brings rows for those.

        None if one of them is not there, or no table, so that it tells nothing for long.
        """
        if self._adapter.credentials.service_settings() is not None:
            return None  # a request for each would cost more than the tests
        session, manifest = self._adapter.connections.session(), self._task.manifest
        found: dict[str, Any] = {}
        given = [one.input.strip() for test in tests for one in manifest.unit_tests[test].given]
        for name in (*self.parents(model), *((model,) if "this" in given else ())):
            parent = manifest.nodes.get(name) or manifest.sources.get(name)
            entry = None if parent is None else session.lookup(_name(parent))
            if not isinstance(entry, TableEntry | ViewEntry):
                return None
            found[name] = [(column.name, column.type) for column in entry.columns]
        return found

    def forget_keys(self, keys: dict[str, str | None], found: Mapping[str, Recalled]) -> None:
        """Those whose model's parents may yet change in this run are not remembered: their columns may be others then."""
        graph = self._task.job_queue.graph
        for model, tests in self._by_model.items():
            parents = graph.predecessors(model) if model in graph else ()
            if any(parent not in found or found[parent].placed for parent in parents):
                keys.update(dict.fromkeys(tests))

    def leave_out(self, found: Mapping[str, Recalled]) -> None:
        """Have dbt run only those that are not known to pass."""
        for model, tests in list(self._by_model.items()):
            rest = [test for test in tests if test not in found]
            if rest:
                self._by_model[model] = rest
            else:
                del self._by_model[model]


def _name(node: Any) -> Name:
    identifier = getattr(node, "alias", None) or getattr(node, "identifier", None) or node.name
    return Name(database=node.database, schema=node.schema, name=identifier)


def _in_order(task: Any) -> list[Any]:
    """The nodes of a task's queue, parents first."""
    import networkx

    return [task.manifest.expect(name) for name in networkx.lexicographical_topological_sort(task.job_queue.graph)]


def _exists(node: Any, adapter: LakehouseAdapter) -> bool:
    """Whether a table stands at a node's name, for nodes that begin with what stands there."""
    if node.resource_type != "snapshot" and getattr(node.config, "materialized", None) != "incremental":
        return False
    relation = adapter.get_relation(node.database, node.schema, node.alias)
    return relation is not None and relation.type == "table"


def _is_in_the_way(node: Any, adapter: LakehouseAdapter) -> bool:
    """Whether what stands there is for the node's materialization to decide on: a view where a seed or a snapshot is to be,
    which dbt refuses to replace; a materialized view that is configured otherwise now.
    """
    if getattr(node.config, "materialized", None) == "materialized_view":
        standing = adapter.connections.session().lookup(_name(node))
        return materialized_views.is_configured_anew(standing, node.config)
    if node.resource_type not in ("seed", "snapshot"):
        return False
    relation = adapter.get_relation(node.database, node.schema, node.alias)
    return relation is not None and relation.type in ("view", "materialized_view")


def _known(
    task: Any, memory: Memory, keys: Mapping[str, str | None], nodes: Sequence[Any], unit_tests: _UnitTests
) -> dict[str, Remembered]:
    """What is remembered of nodes all of whose parents in the queue are remembered too, parents first."""
    graph = task.job_queue.graph
    found: dict[str, Remembered] = {}
    after: dict[str, tuple[str, ...]] = {}

    def wish(name: str, counted_on: tuple[str, ...], **more: Any) -> bool:
        key = keys[name]
        remembered = None if key is None else memory.recall(name, key)
        if remembered is not None:
            asked = dataclasses.replace(remembered.wish, after=counted_on, **more)
            found[name] = dataclasses.replace(remembered, wish=asked)
        return remembered is not None

    for node in nodes:
        name = node.unique_id
        parents = list(graph.predecessors(name))
        if keys[name] is None or any(parent not in after for parent in parents):
            continue
        counted_on = tuple(dict.fromkeys(one for parent in parents for one in after[parent]))
        tests = tuple(test.unique_id for test in unit_tests.of(node))
        passed = [wish(test, counted_on, as_they_stood=True) for test in tests]
        if node.is_ephemeral_model:
            # Nothing is run for it but its unit tests; its children count on what it counts on, and on them.
            if all(passed):
                after[name] = (*counted_on, *tests)
            continue
        lenient = str(node.config.get("severity")).lower() == "warn"
        if all(passed) and wish(name, (*counted_on, *tests), lenient=lenient):
            after[name] = (name,)
    return found


def _count_unit_tests(task: Any) -> None:
    """As dbt does with the first node that it takes from the queue, which is not the first one any more."""
    selected = getattr(task, "selected_unit_tests", None)
    if selected and task.run_count == 0:
        task.num_nodes += len(selected)


def _leave_out(task: Any, done: Iterable[str]) -> None:
    """Give the task a queue without what is done."""
    from dbt.graph.queue import GraphQueue

    graph = task.job_queue.graph.copy()
    graph.remove_nodes_from(done)
    task.job_queue = GraphQueue(graph, task.manifest, task.job_queue.get_selected_nodes())


# reporting, as dbt's runners do it


def _report(task: Any, adapter: LakehouseAdapter, node: Any, known: Remembered, answer: Recalled) -> None:
    from dbt.events.types import NodeFinished
    from dbt_common.events.contextvars import log_contextvars

    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    _set_compiled(task, node, known)
    result = _result(node, answer)
    with log_contextvars(node_info=node.node_info):
        node.update_event_status(started_at=now, node_status=str(result.status), finished_at=now)
        task.get_runner(node).print_result_line(result)
        fire_event(NodeFinished(node_info=node.node_info, run_result=result.to_msg_dict()))
        node.clear_event_status()
    task._handle_result(result)
    if answer.placed or not getattr(task.args, "populate_cache", True):
        _into_cache(adapter, node, _kind(known))


def _set_compiled(task: Any, node: Any, known: Remembered) -> None:
    """What dbt's compiler leaves in the manifest and in the folder of compiled code."""
    if known.compiled is None or node.resource_type in ("seed", "unit_test"):
        return
    node.compiled = True
    node.compiled_code = known.compiled
    node.extra_ctes_injected = True
    if node.resource_type == "snapshot":
        return
    node.compiled_path = node.get_target_write_path(task.config.target_path, "compiled", None)
    file = Path(task.config.project_root, node.compiled_path)
    try:
        same = file.read_text() == known.compiled
    except (OSError, ValueError):
        same = False
    if not same:
        node.write_node(task.config.project_root, node.compiled_path, known.compiled)


def _result(node: Any, answer: Recalled) -> Any:
    from dbt.artifacts.schemas.results import RunStatus, TestStatus
    from dbt.artifacts.schemas.run import RunResult

    response = ReusedResponse.of(answer.reused)
    reused: Any = getattr(RunStatus, "Reused", RunStatus.Success)  # from dbt-core 1.12 on
    tested = node.resource_type in ("test", "unit_test")
    return RunResult(
        node=node,
        status=TestStatus.Pass if tested else reused,
        timing=[],
        thread_id=threading.current_thread().name,
        execution_time=0.0,
        message=None if tested else str(response),
        adapter_response=response.to_dict(omit_none=True),
        failures=0 if tested else None,
        batch_results=None,
    )


def _kind(known: Remembered) -> RelationType:
    if known.wish.view is not None:
        return RelationType.View
    materialized = known.wish.build is not None and known.wish.build.materialized_view
    return RelationType.MaterializedView if materialized else RelationType.Table


def _into_cache(adapter: LakehouseAdapter, node: Any, kind: RelationType) -> None:
    if node.resource_type == "unit_test" or not node.is_relational:
        return
    relation = adapter.Relation.create(
        database=node.database,
        schema=node.schema,
        identifier=node.alias,
        type=kind,
        quote_policy=adapter.config.quoting,
    )
    adapter.cache_added(relation)
