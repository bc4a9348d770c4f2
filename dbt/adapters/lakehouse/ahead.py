"""What is done before dbt runs the first node: results that are known are put in place, and what would break is said.

A node whose code need not be compiled again (see ``compiled``, ``memory``) and whose result is known never enters dbt's queue:
its result is reported as dbt's runners report theirs, and dbt goes on with the others.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt.adapters.contracts.relation import RelationType
from dbt.adapters.events.logging import AdapterLogger
from dbt_common.events.functions import fire_event
from dbt_common.exceptions import DbtBaseException

from dbt.adapters.lakehouse import preflight
from dbt.adapters.lakehouse.compiled import Sources
from dbt.adapters.lakehouse.connections import ReusedResponse
from dbt.adapters.lakehouse.errors import LakehouseError
from dbt.adapters.lakehouse.memory import Memory, Remembered, Remembering
from dbt.adapters.lakehouse.run.values import Recalled

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.impl import LakehouseAdapter

logger = AdapterLogger("Lakehouse")


def of_nodes(task: Any, adapter: LakehouseAdapter) -> None:
    """``task`` is dbt's, about to run the nodes of its queue. Raises ``DbtRuntimeError`` if they are not to run."""
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
    nodes = _in_order(task)
    with adapter.connection_named("master"):
        keys = {node.unique_id: sources.key(node, exists=_exists(node, adapter)) for node in nodes}
        adapter.invocation.remembering = Remembering(memory=memory, sources=sources, keys=keys, manifest=task.manifest)
        known = _known(task, memory, keys, nodes)
        try:
            answers = adapter.connections.session().recall([one.wish for one in known.values()]) if known else []
        except (LakehouseError, DbtBaseException) as error:
            # What cannot be recalled is built.
            logger.debug(f"results were not recalled: {error}")
            return
    found = {name: answer for name, answer in zip(known, answers, strict=True) if answer is not None}
    if not found:
        return
    _count_unit_tests(task)
    for node in nodes:
        if (answer := found.get(node.unique_id)) is not None:
            _report(task, adapter, node, known[node.unique_id], answer)
    _leave_out(task, found.keys())


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


def _known(task: Any, memory: Memory, keys: dict[str, str | None], nodes: Sequence[Any]) -> dict[str, Remembered]:
    """What is remembered of nodes all of whose parents in the queue are remembered too, parents first."""
    unit_tested = getattr(task, "model_to_unit_test_map", None) or {}
    graph = task.job_queue.graph
    found: dict[str, Remembered] = {}
    after: dict[str, tuple[str, ...]] = {}
    for node in nodes:
        name, key = node.unique_id, keys[node.unique_id]
        parents = list(graph.predecessors(name))
        if key is None or name in unit_tested or any(parent not in after for parent in parents):
            continue
        if node.is_ephemeral_model:
            # Nothing is run for it; its children count on what it counts on.
            after[name] = tuple(dict.fromkeys(one for parent in parents for one in after[parent]))
        elif (remembered := memory.recall(name, key)) is not None:
            counted_on = tuple(dict.fromkeys(one for parent in parents for one in after[parent]))
            found[name] = dataclasses.replace(remembered, wish=dataclasses.replace(remembered.wish, after=counted_on))
            after[name] = (name,)
    return found


def _count_unit_tests(task: Any) -> None:
    """As dbt does with the first node that it takes from the queue, which is not the first one any more."""
    selected = getattr(task, "selected_unit_tests", None)
    if selected and task.run_count == 0:
        task.num_nodes += len(selected)


def _leave_out(task: Any, done: Any) -> None:
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
    if answer.placed:
        _into_cache(adapter, node)


def _set_compiled(task: Any, node: Any, known: Remembered) -> None:
    """What dbt's compiler leaves in the manifest and in the folder of compiled code."""
    if known.compiled is None or node.resource_type == "seed":
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
    tested = node.resource_type == "test"
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


def _into_cache(adapter: LakehouseAdapter, node: Any) -> None:
    relation = adapter.Relation.create(
        database=node.database,
        schema=node.schema,
        identifier=node.alias,
        type=RelationType.Table,
        quote_policy=adapter.config.quoting,
    )
    adapter.cache_added(relation)
