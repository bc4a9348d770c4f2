"""What a run sees: one commit plus its own writes, and other refs at the commits they had when first read."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import Entry, Key, SchemaEntry, content_id, key_of
from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.errors import Collected, InvalidRef, NotInLake
from dbt.adapters.lakehouse.run.beneath import Definers
from dbt.adapters.lakehouse.run.values import Name


class Snapshot:
    """Entries at one commit, read once each. Safe for use by several threads."""

    def __init__(self, catalog: Catalog, commit: str) -> None:
        self._catalog = catalog
        self._lock = threading.RLock()
        self._start_over(commit)

    @classmethod
    def at(cls, catalog: Catalog, ref: str) -> Snapshot:
        """The state that a ref leads to. Raises ``RefNotFound``; ``Collected`` if files of its tables may be gone."""
        commit = catalog.resolve(ref)
        if commit.collected:
            raise Collected(
                f"{ref!r} leads to commit {short(commit.id)} of {commit.time:%Y-%m-%d %H:%M} UTC, whose files were collected as "
                "garbage: its history remains, its rows are gone; `lakehouse gc --keep-history` says how long they stay, and a "
                "tag keeps them for good"
            )
        return cls(catalog, commit.id)

    def _start_over(self, commit: str) -> None:
        self.commit = commit
        self._entries: dict[Key, Entry | None] = {}
        self._ids: dict[Key, str] = {}
        self._schemas: set[str] = set()
        self._complete = False

    def get(self, key: Key) -> Entry | None:
        """What stands at a key."""
        with self._lock:
            if key not in self._entries and not self._complete and key.schema not in self._schemas:
                self._entries[key] = self._catalog.lookup(self.commit, [key]).get(key)
            return self._entries.get(key)

    def look_up(self, keys: Iterable[Key]) -> None:
        """Read what stands at many keys at once."""
        with self._lock:
            wanted = (
                []
                if self._complete
                else [key for key in keys if key not in self._entries and key.schema not in self._schemas]
            )
            found = self._catalog.lookup(self.commit, wanted) if wanted else {}
            for key in wanted:
                self._entries[key] = found.get(key)

    def aside(self) -> Snapshot:
        """The same state, in which other entries can be put in place."""
        with self._lock:
            other = Snapshot(self._catalog, self.commit)
            other._entries, other._ids = dict(self._entries), dict(self._ids)
            other._schemas, other._complete = set(self._schemas), self._complete
            return other

    def content(self, key: Key) -> str | None:
        """The content id of what stands at a key."""
        with self._lock:
            entry = self.get(key)
            if entry is None:
                return None
            if key not in self._ids:
                self._ids[key] = content_id(entry)
            return self._ids[key]

    def all(self, schema: str | None = None) -> list[Entry]:
        """Every entry, or those of one schema, by key."""
        with self._lock:
            if not self._complete and (schema is None or schema.lower() not in self._schemas):
                found = self._catalog.entries(self.commit, schema)
                for key, entry in found.items():
                    self._entries.setdefault(key, entry)
                if schema is None:
                    self._complete = True
                else:
                    self._schemas.add(schema.lower())
            wanted = schema.lower() if schema is not None else None
            return [
                entry
                for key, entry in sorted(self._entries.items(), key=lambda item: item[0])
                if entry is not None and (wanted is None or key.schema == wanted)
            ]

    def advance(self, commit: str, puts: Iterable[tuple[Key, Entry | None]]) -> None:
        """Move to a commit that changed just these keys."""
        with self._lock:
            self.commit = commit
            for key, entry in puts:
                self._entries[key] = entry
                self._ids.pop(key, None)

    def move(self, commit: str) -> None:
        """Move to any other commit."""
        with self._lock:
            if commit != self.commit:
                self._start_over(commit)


class State:
    """The lake as a session sees it: its own branch under the database's plain name, other states as ``lake@<ref>``.

    ``others`` are those of a run that several sessions share.
    """

    def __init__(
        self, catalog: Catalog, database: str, own: Snapshot, others: dict[str, Snapshot] | None = None
    ) -> None:
        self.catalog = catalog
        self._database = database
        self.own = own
        self._others = {} if others is None else others

    def aside(self) -> State:
        """The same state, in which other entries can be put in place under the own name."""
        return State(self.catalog, self._database, self.own.aside(), self._others)

    def snapshot(self, database: str) -> Snapshot | None:
        """The state that a database name stands for; None if it is no name of this lake. Raises ``RefNotFound``."""
        folded = database.lower()
        if folded == self._database.lower():
            return self.own
        if not folded.startswith(self._database.lower() + "@"):
            return None
        ref = database[len(self._database) + 1 :]
        if ref not in self._others:
            alike = next((other for other in self._others if other.lower() == ref.lower()), None)
            if alike is not None:
                # DuckDB's names ignore case, so that both could not be read side by side.
                raise InvalidRef(f"refs {alike!r} and {ref!r} differ only in case; read one of them by its commit id")
            self._others.setdefault(ref, Snapshot.at(self.catalog, ref))
        return self._others[ref]

    def get(self, name: Name) -> Entry | None:
        """What stands at a name."""
        snapshot = self.snapshot(name.database)
        if snapshot is None:
            raise NotInLake(f"database {name.database!r} is not this lake, which is called {self._database!r}")
        return snapshot.get(Key(name.schema, name.name))

    @property
    def granted_only(self) -> bool:
        """Whether relations are found that were granted to who reads, and no others."""
        return isinstance(self.catalog, Definers) and self.catalog.granted_only

    def beneath(self, name: Name) -> Entry | None:
        """What stands at a name that is not granted to who reads, for a view that is."""
        snapshot = self.snapshot(name.database) if self.granted_only else None
        if snapshot is None or not isinstance(self.catalog, Definers):
            return None
        key = Key(name.schema, name.name)
        return self.catalog.beneath(snapshot.commit, [key]).get(key)

    def is_own(self, database: str) -> bool:
        """Whether a database name means the session's own, writable state."""
        return database.lower() == self._database.lower()

    def has_schema(self, schema: str) -> bool:
        """Whether a schema exists in the own state: created, or holding anything."""
        return self.own.get(Key(schema, "")) is not None or bool(self.own.all(schema))

    def schemas(self, database: str) -> list[str]:
        """Names of all schemas, as they were written."""
        snapshot = self.snapshot(database)
        if snapshot is None:
            return []
        names: dict[str, str] = {}
        for entry in snapshot.all():
            if isinstance(entry, SchemaEntry) or key_of(entry).schema not in names:
                names[key_of(entry).schema] = entry.schema
        return [names[folded] for folded in sorted(names)]
