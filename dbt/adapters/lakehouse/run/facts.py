"""What every commit of a run says of the run itself: who asked for it, from which code, and what it ran on."""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping
from typing import Any

import duckdb

from dbt.adapters.lakehouse.__version__ import version
from dbt.adapters.lakehouse.run.values import RunRequest

VERSIONS = "versions"


def facts(request: RunRequest, database: str) -> dict[str, Any]:
    """The request's provenance, the names that its SQL counts on, and versions: of what runs here, and of what asks."""
    said = dict(request.provenance)
    asking: Mapping[str, str] = said.get(VERSIONS) or {}
    return {
        **said,
        "database": database,
        "default_schema": request.default_schema,
        VERSIONS: {**asking, **_here()},
    }


@functools.cache
def _here() -> Mapping[str, str]:
    return {"duckdb": duckdb.__version__, "dbt-lakehouse": version, "python": platform.python_version()}
