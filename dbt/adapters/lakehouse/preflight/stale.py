"""Before the first node: which tables are going to be read, are not going to be built, and are stale."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dbt.adapters.events.logging import AdapterLogger

from dbt.adapters.lakehouse.catalog.model import Key
from dbt.adapters.lakehouse.errors import LakehouseError

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.impl import LakehouseAdapter

logger = AdapterLogger("Lakehouse")

_NAMED = 5


def warn_of_stale(task: Any, adapter: LakehouseAdapter, nodes: Iterable[Any]) -> None:
    """Say in one line what the nodes that are about to run read of what is stale. It keeps nothing from running."""
    keys = only_read(task.manifest, nodes, adapter.credentials.database)
    if not keys:
        return
    branch = adapter.invocation.run().branch or adapter.credentials.target_branch()
    try:
        found = sorted(one.key for one in adapter.lake().versions.stale(branch, who=False) if one.key in keys)
    except LakehouseError as error:
        # Who only looks must not be in the way.
        logger.debug(f"what is stale is not known: {error}")
        return
    if found:
        names = ", ".join(map(str, found[:_NAMED])) + (
            f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        )
        what = "1 table is" if len(found) == 1 else f"{len(found)} tables are"
        logger.warning(
            f"{what} read but not built by this run, and stale: {names}. What they were computed from is another one by now; "
            f"`lakehouse check {branch}` shows why"
        )


def only_read(manifest: Any, nodes: Iterable[Any], database: str) -> set[Key]:
    """What nodes read of the lake that none of them makes, also through views and models that are nowhere."""
    nodes = list(nodes)
    made = {node.unique_id for node in nodes}
    todo = [parent for node in nodes for parent in getattr(node, "depends_on_nodes", ())]
    seen: set[str] = set()
    found: set[Key] = set()
    while todo:
        name = todo.pop()
        node = manifest.nodes.get(name)
        if name in seen or name in made or node is None:
            continue
        seen.add(name)
        if node.is_ephemeral_model or node.get_materialization() == "view":
            todo.extend(node.depends_on_nodes)
        if not node.is_ephemeral_model and node.is_relational and str(node.database).lower() == database.lower():
            found.add(Key(node.schema, node.alias))
    return found
