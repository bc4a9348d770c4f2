"""How fresh sources are by the metadata of their tables, for ``dbt source freshness`` without a ``loaded_at_field``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dbt.adapters.base.meta import AdapterMeta, available

from dbt.adapters.lakehouse.attached_relations import is_beside
from dbt.adapters.lakehouse.catalog.model import ViewEntry
from dbt.adapters.lakehouse.connections import dbt_errors
from dbt.adapters.lakehouse.errors import LakehouseError, NotInLake, TableError
from dbt.adapters.lakehouse.lake.base import Details, Name, Session
from dbt.adapters.lakehouse.quoting import literal

if TYPE_CHECKING:
    from dbt.adapters.base.impl import FreshnessResponse
    from dbt.adapters.base.relation import BaseRelation
    from dbt.adapters.contracts.connection import AdapterResponse

_FIELD = "give the source a `loaded_at_field` or a `loaded_at_query`"


def freshness(session: Session, name: Name) -> FreshnessResponse:
    """Of one relation. Raises ``NotInLake`` where nothing stands, ``TableError`` where its metadata does not tell."""
    (found,) = session.details([name])
    if found is None and is_beside(session, name.database):
        raise NotInLake(f"nothing is known of when {name} of an attached database was loaded; {_FIELD}")
    if found is None:
        raise NotInLake(
            f"source relation {name} does not exist on the branch that is read; load it (`lakehouse import`), or correct the "
            "source's database, schema and identifier"
        )
    if found.problem:
        raise TableError(
            f"the metadata of {name} cannot be read, and so it is not known when it was loaded: {found.problem}"
        )
    if found.modified is None:
        kind = "view" if isinstance(found.entry, ViewEntry) else "table"
        raise TableError(
            f"{kind} {name} reads no table of the lake, and so no metadata says when its rows changed; {_FIELD}"
        )
    return _response(found.modified)


def batch(session: Session, names: Sequence[Name]) -> list[FreshnessResponse | None]:
    """Of many relations in their order; None for those of which it cannot be told, for which ``freshness`` says why."""
    return [_response(one.modified) if one is not None and _tells(one) else None for one in _all(session, names)]


def _all(session: Session, names: Sequence[Name]) -> Iterable[Details | None]:
    """Details by name; a state that is not there spoils those that name it, and no others."""
    found: dict[Name, Details | None] = {}
    for database in dict.fromkeys(name.database for name in names):
        wanted = [name for name in names if name.database == database]
        try:
            found.update(zip(wanted, session.details(wanted), strict=True))
        except LakehouseError:
            continue
    return [found.get(name) for name in names]


def _tells(details: Details) -> bool:
    return not details.problem and details.modified is not None


def _response(modified: datetime | None) -> FreshnessResponse:
    assert modified is not None
    now = datetime.now(UTC)
    said: Any = {"max_loaded_at": modified, "snapshotted_at": now, "age": (now - modified).total_seconds()}
    response: FreshnessResponse = said
    return response


def last_modified_sql(session: Session, names: Sequence[Name]) -> str:
    """A SELECT of one row for each relation that has a time, as dbt's macro ``get_relation_last_modified`` gives them."""
    rows = [
        f"({literal(name.schema)}, {literal(name.name)}, TIMESTAMPTZ '{one.modified.isoformat()}')"
        for name, one in zip(names, _all(session, names), strict=True)
        if one is not None and one.modified is not None
    ]
    said = f"(VALUES {', '.join(rows)})" if rows else "(SELECT NULL::text, NULL::text, NULL::timestamptz WHERE false)"
    return f'SELECT *, now() AS snapshotted_at FROM {said} AS said("schema", identifier, last_modified)'


class MetadataFreshness(metaclass=AdapterMeta):
    """What dbt asks an adapter of freshness; part of ``LakehouseAdapter``."""

    if TYPE_CHECKING:
        connection_named: Any

        def _session(self) -> Session: ...

        def _name(self, relation: BaseRelation) -> Name: ...

    def calculate_freshness_from_metadata_batch(
        self, sources: Sequence[BaseRelation], macro_resolver: Any = None
    ) -> tuple[list[AdapterResponse | None], dict[BaseRelation, FreshnessResponse]]:
        """How fresh many sources are; those of which it cannot be told are left out."""
        with self.connection_named("metadata_freshness"), dbt_errors():
            found = batch(self._session(), [self._name(source) for source in sources])
        return [], {source: one for source, one in zip(sources, found, strict=True) if one is not None}

    def calculate_freshness_from_metadata(
        self, source: BaseRelation, macro_resolver: Any = None
    ) -> tuple[AdapterResponse | None, FreshnessResponse]:
        """How fresh one source is. Raises dbt's error with the reason where that cannot be told."""
        with dbt_errors():
            return None, freshness(self._session(), self._name(source))

    @available.parse(lambda *a, **k: "")
    def last_modified_sql(self, relations: Sequence[BaseRelation]) -> str:
        """For the macro ``get_relation_last_modified``."""
        with dbt_errors():
            return last_modified_sql(self._session(), [self._name(relation) for relation in relations])
