"""Views in attached files: what shapes their rows beside the file, whose size and time of change tell of its tables alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.errors import LakehouseError
from dbt.adapters.lakehouse.run.attached import ask, in_database, named
from dbt.adapters.lakehouse.run.statements import Reference, parse

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.run.session import RunSession

Place = tuple[str, str]
"""Schema and name, in lower case."""

_known: dict[tuple[str, str], tuple[str, Contents]] = {}


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What an attached file holds: its tables, and of its views the queries. A view whose query says too little has none."""

    alias: str
    tables: frozenset[Place] = frozenset()
    views: Mapping[Place, str | None]

    def find(self, reference: Reference, schema: str) -> Place | None:
        """What a query of a view in ``schema`` means by a name; None if it is nothing in this file."""
        if reference.database:
            named_here = reference.database.lower() == self.alias.lower()
            places = [(reference.schema, reference.name)] if named_here else []
        elif reference.schema:
            places = [(reference.schema, reference.name)]
        else:
            places = [(schema, reference.name), ("main", reference.name)]
        folded = [(of.lower(), name.lower()) for of, name in places]
        return next((place for place in folded if place in self.tables or place in self.views), None)


def contents(session: RunSession, alias: str, state: str) -> Contents | None:
    """What an attached file holds in this state, which is asked once; None if it cannot be asked."""
    one = named(session.settings, alias)
    assert one is not None
    key = (one.type, one.path)
    known = _known.get(key)
    if known is None or known[0] != state or known[1].alias != alias:
        try:
            found = _ask(session, alias, plain=one.type == "duckdb")
        except LakehouseError:
            return None
        _known[key] = known = (state, found)
    return known[1]


def _ask(session: RunSession, alias: str, *, plain: bool) -> Contents:
    here = in_database(alias)
    rows = list(
        ask(
            session,
            alias,
            f"SELECT schema_name, table_name, NULL, false FROM duckdb_tables() WHERE {here} UNION ALL "
            f"SELECT schema_name, view_name, sql, true FROM duckdb_views() WHERE {here} AND NOT internal",
        )
    )
    # Views of SQLite are in SQLite's own words, of which DuckDB makes what it can.
    views = {(of.lower(), name.lower()): parse(text).body if plain else None for of, name, text, view in rows if view}
    tables = frozenset((of.lower(), name.lower()) for of, name, _, view in rows if not view)
    return Contents(alias=alias, tables=tables, views=views)
