"""Relations of attached databases, as dbt asks for them: their names, columns, and rows in the catalog of docs.

Every function answers None where the database is none that is attached, so that its caller goes on to the lake.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dbt.adapters.contracts.relation import RelationType

from dbt.adapters.lakehouse.column import LakehouseColumn
from dbt.adapters.lakehouse.jobs.plugins import database_of
from dbt.adapters.lakehouse.lake.base import Name, Session
from dbt.adapters.lakehouse.relation import LakehouseRelation

if TYPE_CHECKING:
    import agate
    from dbt.adapters.base.relation import BaseRelation

    from dbt.adapters.lakehouse.run.attached import Foreign
    from dbt.adapters.lakehouse.run.session import RunSession


def _beside(session: Session, database: str | None) -> RunSession | None:
    """The session, if it can look into that database."""
    settings = getattr(session, "settings", None)
    if database is None or not getattr(settings, "attached", ()):
        return None  # a service attaches none
    # Imported late, as DuckDB is with it.
    from dbt.adapters.lakehouse.run.attached import named
    from dbt.adapters.lakehouse.run.session import RunSession

    here = isinstance(session, RunSession) and named(session.settings, database) is not None
    return session if here else None  # type: ignore[return-value]


def is_beside(session: Session, database: str | None) -> bool:
    """Whether a database's name is that of an attached one."""
    return _beside(session, database) is not None


def schemas(session: Session, database: str) -> list[str] | None:
    """Its schemas."""
    beside = _beside(session, database)
    if beside is None:
        return None
    from dbt.adapters.lakehouse.run import attached

    return attached.schemas(beside, database)


def relations(session: Session, database: str, schema: str | None) -> list[BaseRelation] | None:
    """Its tables and views."""
    beside = _beside(session, database)
    if beside is None:
        return None
    from dbt.adapters.lakehouse.run import attached

    quoting = {"database": True, "schema": True, "identifier": True}
    return [
        LakehouseRelation.create(
            database=database,
            schema=one.schema,
            identifier=one.name,
            type=RelationType.View if one.is_view else RelationType.Table,
            quote_policy=quoting,
        )
        for one in attached.relations(beside, database, schema)
    ]


def columns(session: Session, name: Name) -> list[LakehouseColumn] | None:
    """Columns of a relation; none of one that is not there."""
    found = _find(session, [name])
    if found is None:
        return None
    return [LakehouseColumn.typed(column.name, column.type) for one in found for column in one.columns]


def catalog(session: Session, names: Sequence[Name]) -> agate.Table | None:
    """Every column of relations in one database, a row each, in the shape of dbt's catalog.

    Of what plugins load there is none: it would have to be loaded.
    """
    loaded = bool(names) and names[0].database.lower().startswith(database_of(""))
    found = [] if loaded else _find(session, names)
    if found is None:
        return None
    from dbt_common.clients.agate_helper import table_from_data_flat

    from dbt.adapters.lakehouse.catalog_queries import COLUMNS

    rows = [row for one in found for row in _rows(one)]
    return table_from_data_flat([dict(zip(COLUMNS, row, strict=True)) for row in rows], COLUMNS)


def catalog_of_schemas(session: Session, database: str, wanted: Iterable[str]) -> agate.Table | None:
    """The same for all relations of some schemas."""
    if not is_beside(session, database):
        return None
    found = [one for schema in sorted(wanted) for one in relations(session, database, schema) or ()]
    return catalog(
        session,
        [Name(database=database, schema=one.schema or "", name=one.identifier or "") for one in found],
    )


def _find(session: Session, names: Sequence[Name]) -> list[Foreign] | None:
    beside = _beside(session, names[0].database) if names else None
    if beside is None:
        return None
    from dbt.adapters.lakehouse.run import attached

    return attached.find(beside, names)


def _rows(one: Foreign) -> list[tuple[Any, ...]]:
    place = (one.database, one.schema, one.name, "VIEW" if one.is_view else "BASE TABLE", one.comment)
    return [
        (*place, column.name, index, column.type, column.comment, None) for index, column in enumerate(one.columns, 1)
    ]
