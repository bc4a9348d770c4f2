"""From the relations that SQL names to a job's inputs: metadata locations and view definitions."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable

from dbt.adapters.lakehouse.catalog.model import Entry, FunctionEntry, Key, SchemaEntry, TableEntry, ViewEntry
from dbt.adapters.lakehouse.errors import SqlError
from dbt.adapters.lakehouse.jobs import function_sql
from dbt.adapters.lakehouse.jobs.function import Definition
from dbt.adapters.lakehouse.jobs.job import Input
from dbt.adapters.lakehouse.jobs.listed import Listed
from dbt.adapters.lakehouse.run import beneath, functions
from dbt.adapters.lakehouse.run.catalog_sql import is_catalog, plain
from dbt.adapters.lakehouse.run.state import State
from dbt.adapters.lakehouse.run.statements import Reads, Reference, reads, requalify
from dbt.adapters.lakehouse.run.tokens import tokenize
from dbt.adapters.lakehouse.run.values import Name

_BY_NAME = re.compile(r"(postgres|mysql|sqlite)_(query|execute|attach)|\bquery_table\b", re.IGNORECASE)
"""Functions that are told of a database in a text."""


class InputPlanner:
    """Finds what a session's SQL reads in the session's state."""

    def __init__(
        self, state: State, database: str, default_schema: str, attached: Iterable[str] = (), run: str = ""
    ) -> None:
        self._state = state
        self._attached = {alias.lower(): alias for alias in attached}
        self._run = run
        self._database = database
        self._default_schema = default_schema
        self._above: list[tuple[str, str, str]] = []
        self._hidden: set[Key] = set()

    def resolve(self, reference: Reference) -> Name | None:
        """The full name that a reference may mean; None if it names another database than a state of the lake."""
        if reference.database and self._state.snapshot(reference.database) is None:
            return None
        return self._home(reference)

    def attached(self, reference: Reference) -> str | None:
        """The attached database that a reference reads; None if it means the lake, or what nobody knows."""
        if not self._attached:
            return None
        if reference.database:
            return self._attached.get(reference.database.lower())
        alias = self._attached.get(reference.schema.lower())
        # As in DuckDB, ``crm.people`` may leave out the schema. A relation of the lake goes first.
        return alias if alias is not None and self._state.get(self._home(reference)) is None else None

    def _home(self, reference: Reference) -> Name:
        return Name(
            database=reference.database or self._database,
            schema=reference.schema or self._default_schema,
            name=reference.name,
        )

    def inputs(self, *texts: str) -> tuple[Input, ...]:
        """The inputs of a job that runs these statements; views come after what they read."""
        found: dict[tuple[str, str, str], Input] = {}
        for text in texts:
            seen = reads(text)
            if seen.catalog or _BY_NAME.search(text):
                self._mentioned(text, found)
            self._collect(seen, found)
        beneath.refuse_named(texts, self._hidden)
        return tuple(found.values())

    def keys(self, inputs: Iterable[Input]) -> dict[str, str]:
        """Content ids of what the inputs are in the session's own state, by key: provenance."""
        known: dict[str, str] = {}
        for item in inputs:
            if item.metadata_location is None and item.sql is None and item.function is None:
                continue  # of which only the columns were asked for (``information_schema``)
            snapshot = self._state.snapshot(item.database)
            content = snapshot.content(Key(item.schema, item.name)) if snapshot is not None else None
            if content is not None and snapshot is not None:
                suffix = "" if self._state.is_own(item.database) else f"@{snapshot.commit}"
                known[f"{item.schema}.{item.name}{suffix}"] = content
        return known

    def function(self, reference: Reference) -> tuple[str, FunctionEntry] | None:
        """The function of the lake that a call means, with the database that it is of; None if it is none of the lake."""
        own = (self._database, self._default_schema)
        found = functions.find(self._state, reference, *own)
        if found is None and self._above:
            found = functions.find(self._state, reference, *own, beneath=True)
            if found is not None:
                self._hidden.add(Key(found[1].schema, functions.called(found[1].name)))
        return found

    def called(self, seen: Reads) -> tuple[Input, ...]:
        """The functions of the lake that a statement calls, after all that they read and call themselves."""
        found: dict[tuple[str, str, str], Input] = {}
        self._collect(dataclasses.replace(seen, relations=frozenset(), catalog=False), found)
        return tuple(found.values())

    def calls(self, sql: str) -> bool:
        """Whether a statement calls a function of the lake."""
        return any(self.function(reference) is not None for reference in reads(sql).functions)

    def _collect(self, seen: Reads, found: dict[tuple[str, str, str], Input]) -> None:
        if seen.catalog:
            for database in self._asked(seen):
                self._list(database, found)
        # In a fixed order, so that the same SQL gives the same job.
        for reference in _sorted(seen.functions):
            if (function := self.function(reference)) is not None:
                if reference in seen.over_groups and function_sql.has_scopes(function[1].definition):
                    raise SqlError(
                        f"{reference.name}() is called with a window function as its argument, or an aggregate of no column, "
                        "which would be computed in the function instead of here; compute it in a subquery, and call the "
                        "function with its column"
                    )
                self._add(*function, found)
        for reference in _sorted(seen.relations):
            if (alias := self.attached(reference)) is not None:
                schema = reference.schema if reference.database else ""
                place = (alias.lower(), schema.lower(), reference.name.lower())
                run = self._run if alias.startswith("plugin:") else None
                found[place] = Input(database=alias, schema=schema, name=reference.name, attached=True, of_run=run)
                continue
            name = self.resolve(reference)
            if name is None:
                continue
            entry = self._state.get(name)
            if entry is None and self._above and (entry := self._state.beneath(name)) is not None:
                self._hidden.add(Key(name.schema, name.name))
            if isinstance(entry, TableEntry | ViewEntry):
                self._add(name.database, entry, found)

    def _add(self, database: str, entry: Entry, found: dict[tuple[str, str, str], Input]) -> None:
        place = (database.lower(), entry.schema.lower(), entry.name.lower())
        if place in found:
            return
        if place in self._above:
            raise SqlError(
                f"{entry.kind} {entry.schema}.{entry.name} reads itself, through {' and '.join(map('.'.join, self._above))}"
            )
        database = self._database if self._state.is_own(database) else database
        if isinstance(entry, TableEntry):
            found[place] = Input(
                database=database, schema=entry.schema, name=entry.name, metadata_location=entry.metadata_location
            )
        elif isinstance(entry, ViewEntry):
            sql = plain(self.body(database, entry), self.is_state)
            self._above.append(place)
            try:
                self._collect(reads(sql), found)
            finally:
                self._above.pop()
            found[place] = Input(database=database, schema=entry.schema, name=entry.name, sql=sql, is_view=True)
        elif isinstance(entry, FunctionEntry):
            definition = self.definition(database, entry)
            self._above.append(place)
            try:
                for text in functions.texts(definition):
                    self._collect(reads(text), found)
            finally:
                self._above.pop()
            found[place] = Input(database=database, schema=entry.schema, name=entry.name, function=definition)

    def body(self, database: str, view: ViewEntry) -> str:
        """The query of a view as it reads here: one at another ref reads what stood at that ref."""
        return self._there(database)(view.sql)

    def definition(self, database: str, function: FunctionEntry) -> Definition:
        """A function as it reads here: one at another ref reads what stood at that ref."""
        return functions.at(function.definition, self._there(database))

    def _there(self, database: str) -> Callable[[str], str]:
        """What a SELECT that was written for a state of the lake is here."""
        if self._state.is_own(database):
            return lambda sql: sql
        return lambda sql: requalify(sql, self._at(database), self._function_at(database))

    def _function_at(self, database: str) -> Callable[[Reference], tuple[str, str, str] | None]:
        def rename(reference: Reference) -> tuple[str, str, str] | None:
            if reference.database and not self._state.is_own(reference.database):
                return None
            there = Reference(schema=reference.schema, name=reference.name)
            places = (there, database, self._default_schema)
            found = functions.find(self._state, *places) or functions.find(self._state, *places, beneath=True)
            return None if found is None else (database, found[1].schema, functions.called(found[1].name))

        return rename

    def _at(self, database: str) -> Callable[[Reference], tuple[str, str, str] | None]:
        def rename(reference: Reference) -> tuple[str, str, str] | None:
            if (reference.database and not self._state.is_own(reference.database)) or self.attached(reference):
                return None
            return database, reference.schema or self._default_schema, reference.name

        return rename

    def _mentioned(self, text: str, found: dict[tuple[str, str, str], Input]) -> None:
        """Attached databases that a question to the catalog speaks of, as a name or in a text."""
        words = {token.text.strip("'\"").lower() for token in tokenize(text)} if self._attached else set()
        for alias in self._attached.keys() & words:
            found[alias, "", ""] = Input(database=self._attached[alias], schema="", name="", attached=True)

    def is_state(self, database: str) -> bool:
        """Whether a database's name means a state of the lake. Raises ``RefNotFound``."""
        return self._state.snapshot(database) is not None

    def _asked(self, seen: Reads) -> list[str]:
        """The states that a question to the catalog is about: those that it names, or the session's own."""
        about = [one.database for one in seen.relations if is_catalog(one.schema, one.name)]
        named = {database.lower(): database for database in about if database and self.is_state(database)}
        all_of_them = not named or len(named) < len({database.lower() for database in about})
        own = [] if not all_of_them and not any(map(self._state.is_own, named)) else [self._database]
        return own + sorted(database for database in named.values() if not self._state.is_own(database))

    def _list(self, database: str, found: dict[tuple[str, str, str], Input]) -> None:
        """All that there is in a state of the lake, for questions to ``information_schema``."""
        snapshot = self._state.snapshot(database)
        place = (database.lower(), "", "")
        if snapshot is None or place in found:
            return
        listed = (_listed(entry) for entry in snapshot.all())
        listing = tuple(one for one in listed if one is not None)
        found[place] = Input(database=database, schema="", name="", listing=listing)


def _listed(entry: Entry) -> Listed | None:
    match entry:
        case SchemaEntry():
            return Listed(schema=entry.schema, kind="schema")
        case ViewEntry():
            return Listed(
                schema=entry.schema,
                name=entry.name,
                kind="view",
                columns=entry.columns,
                comment=entry.comment,
                sql=entry.sql,
            )
        case TableEntry():
            return Listed(
                schema=entry.schema, name=entry.name, columns=entry.columns, comment=entry.comment, rows=entry.rows
            )
        case FunctionEntry():
            return None


def _sorted(references: Iterable[Reference]) -> list[Reference]:
    return sorted(references, key=lambda r: (r.database, r.schema, r.name))
