"""What a role sees that reads granted relations alone, and whom can be granted anything.

A view reads what it reads by the right of who made it: inside of one, everything is found (``beneath``). So that nothing of
that is reached past the view, such a role says plain SELECTs, in which no relation is named that it may not read
(``run/beneath.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.catalog.model import Change, Commit, Entry, Key, Put, SchemaEntry
from dbt.adapters.lakehouse.errors import ConfigError, RefNotFound
from dbt.adapters.lakehouse.run.grants import visible

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.catalog.base import Catalog
    from dbt.adapters.lakehouse.service.policy import Principal


class Granted:
    """What ``principal`` may see of a catalog's states: schemas, and the relations that are granted to user or role."""

    def __init__(self, catalog: Catalog, principal: Principal) -> None:
        self._catalog = catalog
        self._whom = (principal.user, principal.role)

    def entries(self, commit: str, schema: str | None = None) -> dict[Key, Entry]:
        """What may be read of a commit."""
        return self._kept(self._catalog.entries(commit, schema))

    def lookup(self, commit: str, keys: Iterable[Key]) -> dict[Key, Entry]:
        """Those of the keys that exist at a commit and may be read."""
        wanted = set(keys)
        found = self._catalog.lookup(commit, {*wanted, *(Key(key.schema, "") for key in wanted)})
        return {key: entry for key, entry in self._kept(found).items() if key in wanted}

    def _kept(self, found: Mapping[Key, Entry]) -> dict[Key, Entry]:
        granted = {
            key.schema: visible(entry.grants, self._whom)
            for key, entry in found.items()
            if isinstance(entry, SchemaEntry)
        }
        return {
            key: self._own(entry) if isinstance(entry, SchemaEntry) else entry
            for key, entry in found.items()
            if not key.name or key.name in granted.get(key.schema, ())
        }

    def _own(self, schema: SchemaEntry) -> SchemaEntry:
        """A schema with those of its grants that are to this user or role."""
        return dataclasses.replace(schema, grants=tuple(one for one in schema.grants if one[2] in self._whom))

    def changes(self, commit: str, changes: Sequence[Change]) -> tuple[Change, ...]:
        """Changes of what may be read at a commit."""
        seen = self.lookup(commit, (change.key for change in changes if change.key.name))
        return tuple(change for change in changes if change.key in seen)

    @staticmethod
    def untold(commit: Commit) -> Commit:
        """A commit without what it says of code and rows."""
        return dataclasses.replace(commit, provenance={})


def refuse_steps(ref: str, *, of_commit: bool) -> None:
    """Raise ``RefNotFound`` for a way into the past, where what is granted now does not count."""
    if of_commit or "~" in ref or "@" in ref:
        raise RefNotFound(f"no branch or tag {ref!r}; who reads granted tables alone names branches and tags")


def check_grants(
    catalog: Catalog, branch: str, puts: Sequence[Put], grantees: Callable[[], Collection[str]] | None
) -> None:
    """Raise ``ConfigError`` where a commit grants something to who does not exist."""
    schemas = [put.entry for put in puts if isinstance(put.entry, SchemaEntry) and put.entry.grants]
    if not schemas or grantees is None:
        return
    head = catalog.resolve(branch).id
    before = catalog.lookup(head, [Key(entry.schema, "") for entry in schemas])
    known = grantees()
    for entry in schemas:
        old = before.get(Key(entry.schema, ""))
        for one in set(entry.grants) - set(old.grants if isinstance(old, SchemaEntry) else ()):
            if one[2] not in known:
                raise ConfigError(
                    f"user or role {one[2]!r} does not exist, so that {one[1]} on {entry.schema}.{one[0]} cannot be granted "
                    "to it; make a token for such a user first, or name a role of the service"
                )
