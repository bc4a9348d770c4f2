"""Drafts of nodes, looked at before any of them runs: their SQL is bound against what they read, all in one job.

Which relations that is, what stands there, and what a Python model returned last time is found here, in the catalog; the worker
is told columns and views, and opens no file of the lake.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.catalog.model import Entry, Key, TableEntry, ViewEntry
from dbt.adapters.lakehouse.errors import LakehouseError
from dbt.adapters.lakehouse.jobs.job import Bind, Input, Place, Query, Sketch
from dbt.adapters.lakehouse.run.statements import Reads, Reference, hides_reads, reads
from dbt.adapters.lakehouse.run.tokens import tokenize
from dbt.adapters.lakehouse.run.values import Draft, Looked, Name
from dbt.adapters.lakehouse.tables.values import Column

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.run.session import RunSession


def look(session: RunSession, drafts: Sequence[Draft]) -> list[Looked]:
    """See ``lake.base.Session.bind``."""
    planner = _Planner(session, drafts)
    sketches = [planner.sketch(draft) for draft in drafts]
    action = Bind(drafts=tuple(sketches), standing=tuple(planner.standing.values()))
    bound = session.submit(action, (*planner.attached.values(), *planner.functions.values())).bound
    return [
        Looked(bound=one, missing=planner.missing.get(draft.node, ())) for draft, one in zip(drafts, bound, strict=True)
    ]


class _Planner:
    """Makes sketches of drafts, and gathers what stands where they read."""

    def __init__(self, session: RunSession, drafts: Sequence[Draft]) -> None:
        self._session = session
        self._definitions = session.run.definitions if session.run is not None else ()
        self._made = {_fold(_place(draft.name)) for draft in drafts if draft.name is not None}
        self.standing: dict[Place, Sketch] = {}
        self.missing: dict[str, tuple[Name, ...]] = {}
        self.attached: dict[str, Input] = {}
        self.functions: dict[Place, Input] = {}
        self._unreachable: dict[str, str] = {}
        # At once, instead of one after the other.
        session.state.own.look_up(set(self._own_keys(drafts)))

    def _own_keys(self, drafts: Sequence[Draft]) -> Iterator[Key]:
        """What the drafts name in the session's own state."""
        for draft in drafts:
            if draft.name is not None:
                yield Key(draft.name.schema, draft.name.name)
            for text in (draft.sql, *draft.setup):
                for reference in reads(text).relations if text is not None else ():
                    if self._session.state.is_own(reference.database or self._session.database):
                        yield Key(reference.schema or self._session.default_schema, reference.name)

    def sketch(self, draft: Draft) -> Sketch:
        """The draft as the worker is told of it."""
        place = self._home(draft.name) if draft.name is not None else None
        try:
            return self._sketch(draft, place)
        except LakehouseError as error:
            # Of a ref that does not exist, say.
            return Sketch(node=draft.node, place=place, why=str(error))

    def _sketch(self, draft: Draft, place: Place | None) -> Sketch:
        if draft.why:
            return Sketch(node=draft.node, place=place, why=draft.why)
        if draft.python is not None:
            return self._python(draft, place)
        if draft.sql is None:
            return Sketch(node=draft.node, place=place, makes=draft.makes, columns=draft.columns)
        if draft.outside and self._session.settings.sandbox:
            return Sketch(node=draft.node, place=place, why="it reads what is outside the lake")
        seen = [reads(text) for text in (draft.sql, *draft.setup)]
        away = next(filter(None, (self._reach(r) for one in seen for r in one.relations)), None)
        if away is not None:
            return Sketch(node=draft.node, place=place, why=away)
        if not all(map(self._call, seen)):
            return Sketch(node=draft.node, place=place, why="it calls functions that read relations")
        missing = self._missing(seen[0])
        if missing and not draft.tolerant and not self._doubtful(draft, seen):
            self.missing[draft.node] = missing
        base = self._base(draft)
        return Sketch(
            node=draft.node,
            place=place,
            makes=draft.makes,
            sql=draft.sql,
            reads=tuple(dict.fromkeys(place for one in seen for place in self._reads(one.relations))),
            setup=draft.setup,
            contract=draft.contract,
            base=base.metadata_location if base is not None else None,
            on_schema_change=draft.on_schema_change,
            all_columns=draft.all_columns,
            tolerant=draft.tolerant,
            doubtful=self._doubtful(draft, seen),
        )

    def _base(self, draft: Draft) -> TableEntry | None:
        if not draft.extends or draft.name is None:
            return None
        entry = self._session.state.get(draft.name)
        return entry if isinstance(entry, TableEntry) else None

    # what it reads

    def _reads(self, references: Iterable[Reference]) -> Iterator[Place]:
        for reference in sorted(references, key=lambda r: (r.database, r.schema, r.name)):
            name = None if self._reach(reference) else self._session.planner.resolve(reference)
            if name is None:
                continue
            entry = self._session.state.get(name)
            if isinstance(entry, TableEntry | ViewEntry):
                yield self._stand(name.database, entry)
            elif _fold(self._home(name)) in self._made:
                yield self._home(name)

    def _call(self, seen: Reads) -> bool:
        """Have the functions bound that are called; False if they read relations, of which there are no rows here."""
        inputs = self._session.planner.called(seen)
        if not all(item.function is not None for item in inputs):
            return False
        self.functions |= {_fold((item.database, item.schema, item.name)): item for item in inputs}
        return True

    def _reach(self, reference: Reference) -> str:
        """Attach the database beside the lake that a reference reads; why that cannot be done."""
        alias = self._session.planner.attached(reference)
        if alias is None or alias in self.attached:
            return ""
        if alias not in self._unreachable:
            one = Input(database=alias, schema="", name="", attached=True)
            try:
                self._session.submit(Query(sql="SELECT 1"), (one,))
            except LakehouseError as error:
                self._unreachable[alias] = str(error)
            else:
                self.attached[alias] = one
                return ""
        return self._unreachable[alias]

    def _stand(self, database: str, entry: Entry) -> Place:
        database = self._database(database)
        place = (database, entry.schema, entry.name)
        if place in self.standing:
            return place
        if isinstance(entry, TableEntry):
            self.standing[place] = Sketch(node=entry.node or "", place=place, makes="table", columns=entry.columns)
        elif isinstance(entry, ViewEntry):
            # Before what it reads, so that one that reads itself comes to an end.
            sql = self._session.planner.body(database, entry)
            if not self._call(reads(sql)):
                self.standing[place] = Sketch(node=entry.node or "", place=place, makes="table", columns=entry.columns)
                return place
            self.standing[place] = Sketch(node=entry.node or "", place=place, makes="view", sql=sql)
            self.standing[place] = Sketch(
                node=entry.node or "",
                place=place,
                makes="view",
                sql=sql,
                columns=entry.columns,
                reads=tuple(self._reads(reads(sql).relations)),
            )
        return place

    def _missing(self, seen: Reads) -> tuple[Name, ...]:
        """Relations of the lake, named in full, that neither stand there nor will be made."""
        if not seen.exact:
            return ()
        found = []
        for reference in sorted(seen.relations, key=lambda r: (r.database, r.schema, r.name)):
            if not (reference.database and reference.schema) or reference.schema.lower() in _CATALOGS:
                continue
            name = self._session.planner.resolve(reference)
            if name is None or _fold(self._home(name)) in self._made:
                continue
            if self._session.state.get(name) is None:
                found.append(name)
        return tuple(found)

    def _doubtful(self, draft: Draft, seen: Sequence[Reads]) -> bool:
        """Whether the SQL may read what is not known here: files, other databases, what macros hide."""
        if any(self._outside(reference) for one in seen for reference in one.relations if one.exact):
            return True
        texts = [text for text in (draft.sql or "", *draft.setup) if self._definitions or _SUSPECT.search(text)]
        return any(hides_reads(text, self._definitions) or _reads_files(text) for text in texts)

    def _outside(self, reference: Reference) -> bool:
        if reference.schema.lower() in _CATALOGS or reference.database.lower() in _OF_DUCKDB:
            return False
        if self._session.planner.attached(reference) is not None:
            return True
        return self._session.planner.resolve(reference) is None

    def _home(self, name: Name) -> Place:
        return self._database(name.database), name.schema, name.name

    def _database(self, database: str) -> str:
        return self._session.database if self._session.state.is_own(database) else database

    # Python models

    def _python(self, draft: Draft, place: Place | None) -> Sketch:
        unknown = Sketch(node=draft.node, place=place, why="what its Python code returns is not known")
        entry = None if draft.name is None else self._session.state.get(draft.name)
        if not isinstance(entry, TableEntry) or not self._same_code(entry, draft):
            return unknown
        inputs = [one for relation in draft.python_reads for one in self._reads(reads(f"FROM {relation}").relations)]
        if not self._same_inputs(entry):
            return unknown
        return Sketch(
            node=draft.node,
            place=place,
            makes="table",
            columns=entry.columns,
            reads=tuple(dict.fromkeys(one for one in inputs if one != place)),
            unless_moved=True,
        )

    def _same_code(self, entry: TableEntry, draft: Draft) -> bool:
        """Whether the table was last made by this very code, and not changed since."""
        state = self._session.state
        last = state.catalog.last_change(state.own.commit, Key(entry.schema, entry.name))
        return last is not None and last.provenance.get("python") == draft.python

    def _same_inputs(self, entry: TableEntry) -> bool:
        """Whether what the table was computed from has the columns that it had then."""
        then = self._session.state.catalog.contents(entry.inputs.values())
        for key, content in entry.inputs.items():
            schema, _, name = key.partition("@")[0].partition(".")
            before, now = then.get(content), self._session.state.own.get(Key(schema, name))
            if "@" not in key and (_columns(before) is None or _columns(before) != _columns(now)):
                return False
        return True


_CATALOGS = ("information_schema", "pg_catalog")
_OF_DUCKDB = ("memory", "system")


_SUSPECT = re.compile("read_|_scan|glob|sniff_csv|query|getenv", re.IGNORECASE)
_HIDING = ("glob", "sniff_csv", "query", "query_table", "getenv")


def _reads_files(sql: str) -> bool:
    """Whether the SQL may read files by a function, or computes what it reads."""
    names = [token.name.lower() for token in tokenize(sql) if token.is_name]
    return any(name.startswith("read_") or name.endswith("_scan") or name in _HIDING for name in names)


def _columns(entry: Entry | None) -> list[tuple[str, str]] | None:
    columns: tuple[Column, ...] | None = getattr(entry, "columns", None)
    return None if columns is None else [(column.name, column.type) for column in columns]


def _place(name: Name) -> Place:
    return name.database, name.schema, name.name


def _fold(place: Place) -> Place:
    database, schema, name = place
    return database.lower(), schema.lower(), name.lower()
