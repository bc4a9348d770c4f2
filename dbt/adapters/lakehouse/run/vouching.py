"""Whether a run that wrote nothing must be on record all the same: what passes as it stands, is vouched for (invariant 6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import Commit, RunStatus
from dbt.adapters.lakehouse.catalog.taint import PASSING, builds

LOOKED_BACK = 200
"""So many commits; a branch that was forked from a failed run's begins with the commits of that run."""


def is_needed(catalog: Catalog, base: str, nodes: Mapping[str, Any], command: str) -> bool:
    """Whether nodes passed, and a run that did not pass left something in the history of the commit they passed on."""
    if not builds(command) or not any(
        isinstance(said, Mapping) and said.get("status") in PASSING for said in nodes.values()
    ):
        return False
    commits = catalog.log(base, LOOKED_BACK)
    if any(commit.provenance.get("accepted_tainted") for commit in commits):
        return True
    return any(not _passed(catalog, run) for run in {commit.run for commit in commits if _is_of_a_run(commit)} - {None})


def _is_of_a_run(commit: Commit) -> bool:
    """Whether a run wrote it, rather than published it."""
    return commit.run is not None and len(commit.parents) == 1


def _passed(catalog: Catalog, run: str | None) -> bool:
    record = catalog.run(run) if run is not None else None
    return record is not None and record.status in (RunStatus.PASSED, RunStatus.PUBLISHED)
