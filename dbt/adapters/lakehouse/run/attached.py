"""Databases beside the lake, as a session sees them: what they hold, how old it is, and that nothing is written there."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.jobs import plugins
from dbt.adapters.lakehouse.jobs.attached import file_of
from dbt.adapters.lakehouse.jobs.job import Input, Query
from dbt.adapters.lakehouse.quoting import literal
from dbt.adapters.lakehouse.run.values import Name
from dbt.adapters.lakehouse.settings import Attachment, LakeSettings
from dbt.adapters.lakehouse.tables.values import Column

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.run.session import RunSession

_COMPANIONS = ("", ".wal", "-wal", "-journal")
"""What DuckDB and SQLite write beside a database's file."""

_TICK = 0.02
"""Seconds in which a file may be changed twice without a trace in its time of change."""


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A relation of an attached database."""

    database: str
    schema: str
    name: str
    columns: tuple[Column, ...] = ()
    is_view: bool = False
    comment: str | None = None


def named(settings: LakeSettings, database: str) -> Attachment | None:
    """The attached database of that name."""
    return next((one for one in settings.attached if one.alias.lower() == database.lower()), None)


def refuse(settings: LakeSettings, database: str, what: str) -> None:
    """Raise ``ConfigError`` if what is to be written is in an attached database."""
    one = named(settings, database)
    if one is not None:
        raise ConfigError(
            f"{what} cannot be written: {one.alias!r} is an attached database ({one.type}), which is only read, since a run's "
            f"transaction does not reach it; write to {settings.database!r}, and take it there when the run is published"
        )


# What it holds


def schemas(session: RunSession, alias: str) -> list[str]:
    """Names of its schemas."""
    if _is_loaded(session, alias):
        return sorted({schema for schema, _ in plugins.declared(alias)})
    rows = ask(session, alias, f"SELECT schema_name FROM duckdb_schemas() WHERE {in_database(alias)} ORDER BY ALL")
    return [row[0] for row in rows]


def relations(session: RunSession, alias: str, schema: str | None = None) -> list[Foreign]:
    """Its tables and views without their columns, or those of a schema. Of a plugin's, the sources that nodes named."""
    if _is_loaded(session, alias):
        return [Foreign(database=alias, schema=of, name=name) for of, name in plugins.declared(alias, schema)]
    where = in_database(alias) + ("" if schema is None else f" AND lower(schema_name) = {literal(schema.lower())}")
    rows = ask(
        session,
        alias,
        f"SELECT schema_name, table_name, false, comment FROM duckdb_tables() WHERE {where} UNION ALL "
        f"SELECT schema_name, view_name, true, comment FROM duckdb_views() WHERE {where} AND NOT internal ORDER BY ALL",
    )
    return [
        Foreign(database=alias, schema=of, name=name, is_view=is_view, comment=comment)
        for of, name, is_view, comment in rows
    ]


def find(session: RunSession, names: Iterable[Name]) -> list[Foreign]:
    """Those of the relations that are there, with their columns."""
    found: list[Foreign] = []
    known: dict[tuple[str, str], list[Foreign]] = {}
    for name in names:
        place = (name.database.lower(), name.schema.lower())
        if place not in known:
            known[place] = relations(session, name.database, name.schema)
        found += [
            Foreign(**{**vars(one), "columns": _columns(session, one)})
            for one in known[place]
            if one.name.lower() == name.name.lower()
        ]
    return found


def _is_loaded(session: RunSession, alias: str) -> bool:
    one = named(session.settings, alias)
    return one is not None and one.type == plugins.TYPE


def _columns(session: RunSession, one: Foreign) -> tuple[Column, ...]:
    if _is_loaded(session, one.database):
        return session.describe(f"SELECT * FROM {Name(database=one.database, schema=one.schema, name=one.name)}")
    rows = ask(
        session,
        one.database,
        f"SELECT column_name, data_type, comment FROM duckdb_columns() WHERE {in_database(one.database)} "
        f"AND schema_name = {literal(one.schema)} AND table_name = {literal(one.name)} ORDER BY column_index",
    )
    return tuple(Column(name=name, type=kind, comment=comment) for name, kind, comment in rows)


def in_database(alias: str) -> str:
    """The condition on DuckDB's lists of tables and the like."""
    return f"lower(database_name) = {literal(alias.lower())}"


def ask(session: RunSession, alias: str, sql: str) -> Iterator[tuple[Any, ...]]:
    """Rows of a query that sees an attached database."""
    yield from session.submit(Query(sql=sql), (Input(database=alias, schema="", name="", attached=True),)).rows


# How old it is


def state_of(settings: LakeSettings, alias: str) -> str | None:
    """Size and time of change of a database that is a file here; None for one of which nobody can tell when it changes."""
    one = named(settings, alias)
    file = file_of(one) if one is not None else None
    if file is None or not file.exists():
        return None
    said, newest = _look(file)
    if time.time() - newest < _TICK:
        time.sleep(_TICK)
        said, newest = _look(file)
    return said


def _look(file: Path) -> tuple[str, float]:
    found: list[str] = []
    newest = 0.0
    for suffix in _COMPANIONS:
        try:
            stat = Path(f"{file}{suffix}").stat()
        except FileNotFoundError:
            continue
        found.append(f"{suffix}:{stat.st_size}:{stat.st_mtime_ns}")
        newest = max(newest, stat.st_mtime)
    return " ".join(found), newest


def stayed(settings: LakeSettings, parts: Iterable[tuple[str, str]]) -> bool:
    """Whether attached files are what they were when a fingerprint's parts were taken."""
    return all(
        state_of(settings, name.removeprefix(PART)) == state
        for name, state in parts
        if name.startswith(PART) and state != UNKNOWN
    )


PART = "attached "
"""What the name of a fingerprint's part begins with that is an attached database."""

UNKNOWN = "unknown"
"""The state of one of which nothing is known, where its author says that it does not matter."""
