"""How what was built differs from the base branch."""

from __future__ import annotations

from collections.abc import Iterable

from dbt.adapters.lakehouse.catalog.model import SchemaEntry
from dbt.adapters.lakehouse.ci.values import MODELS, DbtBuild, Differences, Outcome
from dbt.adapters.lakehouse.lake.base import Lake
from dbt.adapters.lakehouse.lake.compare import MAX_ROWS, Comparer

AT_MOST = 200
"""So many relations are looked at."""

_SELECTING = ("--select", "-s", "--models", "--model", "-m", "--exclude", "--selector", "--resource-type")
_SELECTING_TOO = ("--resource-types", "--exclude-resource-type", "--exclude-resource-types")


def look(
    lake: Lake,
    outcome: Outcome,
    *,
    database: str,
    whole: bool,
    samples: int = 5,
    max_rows: int = MAX_ROWS,
    at_most: int = AT_MOST,
) -> Differences:
    """What differs between the base and what was built. ``whole`` says that dbt was to build the whole project."""
    if outcome.head is None:
        return Differences()
    keys = outcome.keys if outcome.build is None else outcome.build.keys
    changed = [c.key for c in lake.catalog.diff(outcome.base_commit, outcome.head) if c.key.name]
    with Comparer(lake, before=outcome.base_commit, after=outcome.head, database=database) as comparer:
        relations = tuple(
            comparer.compare(key.schema, key.name, key=keys.get(str(key), ()), samples=samples, max_rows=max_rows)
            for key in sorted(changed)[:at_most]
        )
    missing = _missing(lake, outcome, outcome.build) if whole and outcome.build is not None else ()
    return Differences(relations=relations, missing=missing, unseen=max(0, len(changed) - at_most))


def is_whole(arguments: Iterable[str]) -> bool:
    """Whether dbt's arguments select nothing, so that it builds the whole project."""
    return not any(argument.partition("=")[0] in (*_SELECTING, *_SELECTING_TOO) for argument in arguments)


def _missing(lake: Lake, outcome: Outcome, build: DbtBuild) -> tuple[str, ...]:
    """Relations of the base that a node of the project made which it no longer has."""
    ours = {node.id for node in build.nodes}
    projects = {_project(node) for node in ours}
    found = []
    for entry in lake.catalog.entries(outcome.base_commit).values():
        node = None if isinstance(entry, SchemaEntry) else entry.node
        if node is None or node in ours or node.partition(".")[0] not in MODELS:
            continue
        # Without a node there was nothing to build, or dbt broke: then nothing is known of what is missing.
        if _project(node) in projects:
            found.append(f"{entry.schema}.{entry.name}")
    return tuple(sorted(found))


def _project(node: str) -> str:
    return node.split(".")[1] if "." in node else ""
