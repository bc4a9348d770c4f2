"""What is done before dbt runs the first node: put known results in place, and look at the rest for what would break."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.impl import LakehouseAdapter


def of_nodes(task: Any, adapter: LakehouseAdapter) -> None:
    """``task`` is dbt's, about to run the nodes of its queue. Raises ``DbtRuntimeError`` if they are not to run."""
    waiting = _in_order(task)
    del waiting, adapter


def _in_order(task: Any) -> list[Any]:
    """The nodes of a task's queue, parents first."""
    import networkx

    return [task.manifest.expect(name) for name in networkx.lexicographical_topological_sort(task.job_queue.graph)]
