"""Calls of functions without ``function()``: by SQL written by hand, by Python models, by check constraints.

dbt knows no order between such a node and the function. Without one, a node would be run (or its known result be taken) before
the function is made that the same run makes, and stand on the one that was there before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

_INTERNAL = ("dbt", "dbt_lakehouse", "dbt_duckdb")


def wait_for_functions(task: Any) -> None:
    """Let nodes of a task's queue wait for the functions of the queue that they call by hand."""
    graph = task.job_queue.graph
    functions = [node for name in graph.nodes if str((node := task.manifest.expect(name)).resource_type) == "function"]
    if not functions:
        return
    import networkx
    from dbt.graph.queue import GraphQueue

    graph = graph.copy()
    count = graph.number_of_edges()
    for name in sorted(graph.nodes):
        for function in called_by_hand(task.manifest.expect(name), functions, task.manifest):
            if not networkx.has_path(graph, name, function):
                graph.add_edge(function, name)
    if graph.number_of_edges() > count:
        task.job_queue = GraphQueue(graph, task.manifest, task.job_queue.get_selected_nodes())


def called_by_hand(node: Any, functions: Iterable[Any], manifest: Any) -> list[str]:
    """The ids of those functions that a node's code seems to call, also that of ephemeral models which are a part of it."""
    code = "\n".join(_texts(node, manifest))
    return [
        function.unique_id
        for function in functions
        if function.unique_id != node.unique_id
        and re.search(rf'\b{re.escape(function.alias or function.name)}"?\s*\(', code, re.IGNORECASE)
    ]


def _texts(node: Any, manifest: Any) -> Iterator[str]:
    """All that may become a part of what runs for a node: its code, macros, configuration (hooks), constraints, arguments."""
    yield getattr(node, "raw_code", None) or ""
    if (config := getattr(node, "config", None)) is not None:
        yield str(config.to_dict(omit_none=True))
    if (metadata := getattr(node, "test_metadata", None)) is not None:
        yield str(metadata.kwargs)
    columns = (getattr(node, "columns", None) or {}).values()
    for constraint in (*(getattr(node, "constraints", None) or ()), *(one for c in columns for one in c.constraints)):
        yield str(constraint.expression or "")
    depends_on = getattr(node, "depends_on", None)
    yield from _macros(getattr(depends_on, "macros", ()), manifest)
    for name in getattr(depends_on, "nodes", ()):
        parent = manifest.nodes.get(name)
        if parent is not None and parent.is_ephemeral_model:
            yield from _texts(parent, manifest)


def _macros(names: Iterable[str], manifest: Any) -> Iterator[str]:
    """The texts of macros and of those that they call, but for dbt's own."""
    todo, seen = list(names), set[str]()
    while todo:
        macro = manifest.macros.get(name := todo.pop())
        if macro is not None and name not in seen and macro.package_name not in _INTERNAL:
            seen.add(name)
            yield macro.macro_sql
            todo += macro.depends_on.macros
