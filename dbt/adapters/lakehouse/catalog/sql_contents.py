"""Entries in SQL, filed under the hash of what they say, and those used lately in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import sqlalchemy as sa

from dbt.adapters.lakehouse.catalog.model import Entry, content_id, entry_from_json, entry_to_json
from dbt.adapters.lakehouse.catalog.sql_states import chunks

if TYPE_CHECKING:
    from collections.abc import Iterable

_REMEMBERED = 20_000


class Contents:
    """Loads and stores entries by content id. One id means one entry for ever, so what was read stays true."""

    def __init__(self) -> None:
        self._recent: OrderedDict[str, Entry] = OrderedDict()
        self._lock = threading.Lock()

    def load(self, connection: sa.Connection, ids: Iterable[str]) -> dict[str, Entry]:
        """Those of the entries that exist, by id."""
        wanted = set(ids)
        found = self._recall(wanted)
        fresh: dict[str, Entry] = {}
        for chunk in chunks(sorted(wanted - found.keys())):
            fresh.update((row[0], entry_from_json(row[1])) for row in connection.execute(_LOAD, {"ids": chunk}))
        self._remember(fresh)
        return found | fresh

    def store(self, connection: sa.Connection, entries: Iterable[Entry]) -> list[str]:
        """File entries; their ids, in the order given."""
        given = list(entries)
        ids = [content_id(entry) for entry in given]
        # In one order for everybody: two transactions that file the same contents must not wait for one another.
        rows = {
            one: {"id": one, "kind": entry.kind, "json": entry_to_json(entry)}
            for one, entry in sorted(zip(ids, given, strict=True), key=lambda pair: pair[0])
        }
        if rows:
            connection.execute(_STORE, list(rows.values()))
        return ids

    def _recall(self, ids: set[str]) -> dict[str, Entry]:
        with self._lock:
            found = {one: self._recent[one] for one in ids if one in self._recent}
            for one in found:
                self._recent.move_to_end(one)
        return found

    def _remember(self, entries: dict[str, Entry]) -> None:
        with self._lock:
            self._recent.update(entries)
            while len(self._recent) > _REMEMBERED:
                self._recent.popitem(last=False)


_LOAD = sa.text("SELECT id, json FROM contents WHERE id IN :ids").bindparams(sa.bindparam("ids", expanding=True))
_STORE = sa.text("INSERT INTO contents (id, kind, json) VALUES (:id, :kind, :json) ON CONFLICT (id) DO NOTHING")
