"""The materialization ``materialized_view``: how its configuration differs from what stands there, and what that means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dbt.adapters.lakehouse import nodes
from dbt.adapters.lakehouse.catalog.model import Entry, TableEntry
from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.run.materialized import ViewChanges, changes

_REFRESHES_BY_ITSELF = (
    "auto_refresh",
    "enable_refresh",
    "max_staleness",
    "refresh",
    "refresh_interval_minutes",
    "refresh_mode",
    "schedule",
    "target_lag",
)
"""What other adapters call the refreshing that their databases do between runs."""


def is_one(entry: Entry | None) -> bool:
    """Whether a materialized view stands there."""
    return isinstance(entry, TableEntry) and entry.view is not None


def configuration_changes(entry: Entry | None, node: Mapping[str, Any]) -> dict[str, list[dict[str, str]]] | None:
    """What is configured otherwise than the view that stands there, as dbt's macros take it; None if nothing is.

    Its query is no configuration: a changed one is built as any model's. ``alter`` changes metadata alone.
    """
    found = _changes(entry, node)
    said = {"alter": found.metadata, "replace": found.files}
    listed = {what: [{"action": what, "context": name} for name in names] for what, names in said.items() if names}
    return listed or None


def is_configured_anew(entry: Entry | None, config: Any) -> bool:
    """Whether a view stands there that is configured otherwise, or nobody can tell: what is configured may be wrong."""
    try:
        return configuration_changes(entry, {"config": config}) is not None
    except ConfigError:
        return True


def _changes(entry: Entry | None, node: Mapping[str, Any]) -> ViewChanges:
    if not isinstance(entry, TableEntry) or entry.view is None:
        return ViewChanges()
    layout = nodes.layout(node)
    return changes(entry.view, layout["partition_by"], layout["sort_by"], layout["properties"])


def step(entry: Entry | None, node: Mapping[str, Any], *, full_refresh: bool) -> str:
    """What building does to what stands there, in the words of dbt's macros."""
    if entry is None:
        return "CREATE"
    if full_refresh or not is_one(entry):
        return "REPLACE"
    found = _changes(entry, node)
    return "REPLACE" if found.files else "ALTER" if found.metadata else "REFRESH"


def warning(node: Mapping[str, Any]) -> str | None:
    """What is to be said of options that have the database refresh a view by itself."""
    ignored = [name for name in _REFRESHES_BY_ITSELF if node["config"].get(name) not in (None, False)]
    if not ignored:
        return None
    return (
        f"{node['unique_id']}: {', '.join(ignored)} has no effect: materialized views of a lake are refreshed by `dbt run` "
        "and REFRESH MATERIALIZED VIEW alone; schedule one of these"
    )
