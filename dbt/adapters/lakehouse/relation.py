"""Relations of a lake: ``"lake"."schema"."name"``, or ``"lake@<ref>"`` for another state."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from dbt.adapters.base.relation import BaseRelation
from dbt.adapters.contracts.relation import HasQuoting, RelationConfig, RelationType
from dbt.adapters.factory import FACTORY
from dbt_common.exceptions import CompilationError

from dbt.adapters.lakehouse import external_sources, plugin_sources
from dbt.adapters.lakehouse.catalog.model import Entry, FunctionEntry, kind_of
from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.jobs.function import called


@dataclass(frozen=True, eq=False, repr=False)
class LakehouseRelation(BaseRelation):
    """A table or view of the lake; or, with ``external``, what stands for a source's files in SQL."""

    require_alias: bool = False
    external: str | None = None

    @classmethod
    def create_from(cls, quoting: HasQuoting, relation_config: RelationConfig, **kwargs: Any) -> LakehouseRelation:
        """As in dbt; a source that is a file is known by its location, and a relation of ``--state`` by where it stands."""
        if (loaded := cls._database_of(quoting, relation_config)) is not None:
            quoted = {"database": True, "schema": True, "identifier": True}
            named = super().create_from(quoting, relation_config, **{**kwargs, "quote_policy": quoted})
            return dataclasses.replace(named, path=dataclasses.replace(named.path, database=loaded))
        if relation_config.resource_type == "source" and "external" not in kwargs:
            try:
                kwargs["external"] = external_sources.rendered(relation_config)
            except ConfigError as error:
                raise CompilationError(str(error)) from error
        relation = super().create_from(quoting, relation_config, **kwargs)
        deferred = type(relation_config).__name__ in ("DeferRelation", "DeferFunction")
        return relation._at_state(quoting) if deferred else relation

    def _at_state(self, config: Any) -> LakehouseRelation:
        """What stands at the profile's ``state_ref``, where this is a relation of a state that was named with ``--state``."""
        # For functions, dbt gives a configuration of quoting alone.
        credentials: Any = getattr(config, "credentials", None) or _credentials()
        if credentials is None or (self.database or "").lower() != credentials.database.lower():
            return self
        try:
            ref = credentials.state_at()
        except ConfigError as error:
            raise CompilationError(str(error)) from error
        if ref is None:
            return self
        quoted = dataclasses.replace(self.quote_policy, database=True)
        return dataclasses.replace(
            self, path=dataclasses.replace(self.path, database=f"{self.database}@{ref}"), quote_policy=quoted
        )

    @staticmethod
    def _database_of(config: Any, source: RelationConfig) -> str | None:
        """The database of a source that a plugin loads."""
        try:
            return plugin_sources.database(source, config)
        except ConfigError as error:
            raise CompilationError(str(error)) from error

    def render(self) -> str:
        """The name in SQL, or what stands for it."""
        return self.external or super().render()

    @classmethod
    def of(cls, database: str, entry: Entry) -> LakehouseRelation:
        """The relation of a catalog entry."""
        kind = RelationType(kind_of(entry))
        quoting = {"database": True, "schema": True, "identifier": True}
        name = called(entry.name) if isinstance(entry, FunctionEntry) else entry.name
        return cls.create(database=database, schema=entry.schema, identifier=name, type=kind, quote_policy=quoting)


def _credentials() -> Any:
    """Those of the process's adapter, if it has one by now."""
    adapter: Any = FACTORY.adapters.get("lakehouse")
    return adapter.config.credentials if adapter is not None else None
