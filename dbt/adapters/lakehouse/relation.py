"""Relations of a lake: ``"lake"."schema"."name"``, or ``"lake@<ref>"`` for another state."""

from __future__ import annotations

from dataclasses import dataclass

from dbt.adapters.base.relation import BaseRelation
from dbt.adapters.contracts.relation import RelationType

from dbt.adapters.lakehouse.catalog.model import Entry, kind_of


@dataclass(frozen=True, eq=False, repr=False)
class LakehouseRelation(BaseRelation):
    """A table or view of the lake."""

    require_alias: bool = False

    @classmethod
    def of(cls, database: str, entry: Entry) -> LakehouseRelation:
        """The relation of a catalog entry."""
        kind = RelationType(kind_of(entry))
        quoting = {"database": True, "schema": True, "identifier": True}
        return cls.create(
            database=database, schema=entry.schema, identifier=entry.name, type=kind, quote_policy=quoting
        )
