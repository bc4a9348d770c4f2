"""Reading for somebody who may read some relations alone: what a view reads is there, and is reached through it alone.

What a view reads is bound under its own name, where any SQL beside the view would find it. So SQL must not name it, nor
be of a kind in which a name could hide: a macro, a temporary view, a text that becomes a query.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from dbt.adapters.lakehouse.catalog.model import Entry, Key
from dbt.adapters.lakehouse.errors import NotInLake, SandboxError
from dbt.adapters.lakehouse.jobs.job import Action, Bind, Describe, Query
from dbt.adapters.lakehouse.run.statements import Kind, hides_reads, parse
from dbt.adapters.lakehouse.run.tokens import split, tokenize


@runtime_checkable
class Definers(Protocol):
    """A catalog that finds what views read, beside what its user may read."""

    @property
    def granted_only(self) -> bool:
        """Whether its user reads granted relations alone."""
        ...

    def beneath(self, commit: str, keys: Iterable[Key]) -> dict[Key, Entry]:
        """Those of the keys that exist at a commit."""
        ...


def check(action: Action, setup: tuple[str, ...]) -> None:
    """Raise ``SandboxError`` for a job in whose SQL the name of a relation could hide."""
    text = action.sql if isinstance(action, Query | Describe) else ""
    plain = isinstance(action, Bind) or (bool(text) and all(map(_is_plain, split(text))))
    if setup or not plain:
        raise SandboxError(
            "who reads granted tables alone says plain SELECTs here, without macros, temporary tables, settings and "
            "query(…); write the query out, or ask for another role"
        )


def _is_plain(sql: str) -> bool:
    return parse(sql).kind is Kind.SELECT and not hides_reads(sql, ())


def refuse_named(texts: Iterable[str], hidden: Iterable[Key]) -> None:
    """Raise ``NotInLake`` where SQL names what only views may read for it: as a name, or within a text."""
    names = {key.name: key for key in hidden}
    if not names:
        return
    for text in texts:
        for token in tokenize(text):
            said = token.name.lower() if token.is_name else token.text.lower()
            found = names.get(said) or next((names[n] for n in names if not token.is_name and n in said), None)
            if found is not None:
                raise NotInLake(
                    f"{found} is not granted to you: it is read by a view, and through that view alone; if {token.text} is "
                    "the name of a column or an alias here, write the query without it"
                )
