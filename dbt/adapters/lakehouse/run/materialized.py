"""Materialized views: tables that keep the query they have the rows of.

What reads one reads its table, as it was left by the last build or ``REFRESH``; its rows cannot be changed in another way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.catalog.model import Materialized, TableEntry, identity
from dbt.adapters.lakehouse.errors import SqlError
from dbt.adapters.lakehouse.jobs.job import Alter, Alteration, Create, JobResult
from dbt.adapters.lakehouse.run.values import Build, Name
from dbt.adapters.lakehouse.tables.values import TableSpec

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.run.session import RunSession

_SHAPES_FILES = "write."
"""Properties with this prefix say how files are written, so that the files there are would be others."""


@dataclass(frozen=True, kw_only=True)
class ViewChanges:
    """What is configured otherwise than a view that stands there, by name: of ``metadata`` alone, or of ``files``."""

    metadata: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def view_of(build: Build) -> Materialized | None:
    """What a table keeps that a build makes as a materialized view; None of other builds."""
    if not build.materialized_view or build.sql is None:
        return None
    return Materialized(
        sql=build.sql,
        setup=build.setup,
        partition_by=build.partition_by,
        sort_by=build.sort_by,
        properties=dict(build.properties),
        constraints=dataclasses.replace(build.constraints, table=""),
    )


def changes(
    view: Materialized, partition_by: tuple[str, ...], sort_by: tuple[str, ...], properties: Mapping[str, str]
) -> ViewChanges:
    """How a configuration differs from that with which a view was built."""
    files = [
        name
        for name, old, new in (("partition_by", view.partition_by, partition_by), ("sort_by", view.sort_by, sort_by))
        if old != new
    ]
    other = [
        name for name in sorted({*view.properties, *properties}) if view.properties.get(name) != properties.get(name)
    ]
    files += [f"table_properties.{name}" for name in other if name.startswith(_SHAPES_FILES)]
    return ViewChanges(
        metadata=tuple(f"table_properties.{name}" for name in other if not name.startswith(_SHAPES_FILES)),
        files=tuple(files),
    )


def check_rows_of(name: Name, table: TableEntry) -> None:
    """Raise ``SqlError`` for a table whose rows are not to be changed by hand."""
    if table.view is not None:
        raise SqlError(
            f"{name} is a materialized view; its rows are those of its query and cannot be changed by hand: change what it "
            f"reads and say REFRESH MATERIALIZED VIEW {name} (or dbt run), or make it a table"
        )


def refreshing(name: Name, table: TableEntry) -> tuple[Create, Materialized]:
    """What computes a view's rows anew, and the query that it keeps. Raises ``SqlError`` where its model alone can do that."""
    view = table.view
    if view is None:
        raise SqlError(f"{name} is a table, not a materialized view; there is nothing to refresh")
    if view.setup:
        raise SqlError(f"{name} is built with an sql_header, which a session runs once; refresh it with `dbt run`")
    comments = {column.name: column.comment for column in table.columns if column.comment}
    spec = TableSpec(
        location=table.location,
        table_uuid=table.table_uuid,
        partition_by=view.partition_by,
        sort_by=view.sort_by,
        properties=view.properties,
        comment=table.comment,
        column_comments=comments,
        constraints=dataclasses.replace(view.constraints, table=f"{name.schema}.{name.name}"),
    )
    return Create(spec=spec, sql=view.sql, replaces=table.metadata_location), view


def altered(session: RunSession, build: Build, table: TableEntry | None) -> JobResult | None:
    """The table that stands there with other properties, where that is all in which it differs from what the build would make.

    None where it is not, or where that is not known.
    """
    index = session.run.index if session.run is not None else None
    if index is None or table is None or table.view is None or not build.materialized_view or build.rebuild:
        return None
    found = changes(table.view, build.partition_by, build.sort_by, build.properties)
    if found.files or not found.metadata or build.reuse == "never":
        return None
    # Imported late: the adapter asks what is configured otherwise, and needs no DuckDB for that.
    from dbt.adapters.lakehouse.run import fingerprint

    before = dataclasses.replace(build, properties=table.view.properties)
    mark = fingerprint.of_build(session, before, table)
    known = None if mark.obstacles else index.recall(mark.id)
    if known is None or known.entry is None or identity(known.entry) != identity(table):
        return None
    names = [name.partition(".")[2] for name in found.metadata]
    alterations = tuple(Alteration(what="property", column=name, to=build.properties.get(name)) for name in names)
    return session.submit(Alter(base=table.metadata_location, alterations=alterations), build=build)
