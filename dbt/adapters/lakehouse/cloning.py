"""``dbt clone``: which relation a clone is of, and why there may be none."""

from __future__ import annotations

from dbt.adapters.base.relation import BaseRelation
from dbt_common.exceptions import DbtRuntimeError

from dbt.adapters.lakehouse.lake.base import Name, Session
from dbt.adapters.lakehouse.relation import LakehouseRelation


def source(session: Session, relation: BaseRelation, *, database: str, branch: str) -> LakehouseRelation:
    """What stands at a relation of the state that ``--state`` names, in the lake ``database``. Raises ``DbtRuntimeError``."""
    place = relation.database or database
    if place.lower() != database.lower() and not place.lower().startswith(f"{database.lower()}@"):
        raise DbtRuntimeError(
            f"{relation} is not of this lake, which is called {database!r}: a clone copies no files, and so stays in one lake; "
            f"build the model here, or bring its table over with `lakehouse import`"
        )
    entry = session.lookup(Name(database=place, schema=relation.schema or "", name=relation.identifier or ""))
    if entry is not None:
        return LakehouseRelation.of(place, entry)
    _, _, ref = place.partition("@")
    where = f"at {ref!r}" if ref else f"on branch {branch!r}, which this target works on"
    raise DbtRuntimeError(
        f"{relation} does not stand {where}. If the state is that of another branch, say which: LAKEHOUSE_STATE_REF=main, or "
        "`state_ref: main` in the profile. If it is that of another lake, nothing can be cloned: build the model here"
    )
