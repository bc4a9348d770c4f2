"""SQL that reads what no state of the lake has, so that its columns may be others tomorrow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.run import calls
from dbt.adapters.lakehouse.run.calls import Nature
from dbt.adapters.lakehouse.run.normal import normal
from dbt.adapters.lakehouse.run.statements import Reference

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.run.session import RunSession


def reads_beside(session: RunSession, sql: str) -> bool:
    """Whether a SELECT itself names files, or anything else that is not in the lake; views that it reads are looked at alone."""

    def label(reference: Reference) -> str | None:
        name = session.planner.resolve(reference)
        return None if name is None or session.state.get(name) is None else "known"

    found = normal(sql, label)
    known = calls.functions()
    if found.exact:
        outside = any(known.table(name) >= Nature.OUTSIDE for name in found.table_calls)
    else:
        outside = any(called.nature is Nature.OUTSIDE for called in known.in_text(" ".join(json.loads(found.text))))
    return outside or bool(found.strangers)
