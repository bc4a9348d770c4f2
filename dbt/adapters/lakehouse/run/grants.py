"""GRANT, REVOKE and SHOW GRANTS: who may read which relation, kept with the schema on the branch.

A lake has no users of its own; a service has, and holds those to grants whose role says so (``service/access.py``). What an
embedded lake records is what a service on the same lake goes by.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dbt.adapters.lakehouse.catalog.model import Entry, Key, SchemaEntry, TableEntry, ViewEntry
from dbt.adapters.lakehouse.errors import NotInLake, SqlError
from dbt.adapters.lakehouse.jobs.job import Query
from dbt.adapters.lakehouse.quoting import literal
from dbt.adapters.lakehouse.run.statements import Reference
from dbt.adapters.lakehouse.run.tokens import Token, tokenize
from dbt.adapters.lakehouse.run.values import Name, Result

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.run.session import RunSession
    from dbt.adapters.lakehouse.run.state import State

PRIVILEGES = ("select", "insert", "update", "delete", "truncate", "references")
"""What can be granted. ``select`` is what services ask for; the others are kept for the record."""

_FORMS = {"grant": "to", "revoke": "from"}


@dataclass(frozen=True, kw_only=True)
class GrantStatement:
    """``what`` is done about ``privileges`` on a relation, for users or roles."""

    what: Literal["grant", "revoke", "show"]
    relation: Reference
    privileges: tuple[str, ...] = ()
    grantees: tuple[str, ...] = ()


def parse_grant(sql: str) -> GrantStatement | None:
    """A statement about grants; None for any other. Raises ``SqlError`` for one that is malformed."""
    if sql.lstrip()[:6].lower() not in ("grant ", "revoke", "show g", "grant\n", "grant\t"):
        return None
    tokens = tokenize(sql)
    words = [token.word for token in tokens]
    if words[:2] == ["show", "grants"]:
        if words[2:3] != ["on"]:
            raise SqlError("SHOW GRANTS needs a relation: show grants on schema.name")
        relation, rest = _relation(tokens[3:])
        if rest:
            raise SqlError(f"SHOW GRANTS ends with the relation, and {rest[0].text!r} follows")
        return GrantStatement(what="show", relation=relation)
    if not words or words[0] not in _FORMS:
        return None
    what: Literal["grant", "revoke"] = "grant" if words[0] == "grant" else "revoke"
    return _change(what, tokens[1:], words[1:])


def _change(what: Literal["grant", "revoke"], tokens: Sequence[Token], words: Sequence[str]) -> GrantStatement:
    toward = _FORMS[what]
    if "on" not in words:
        raise SqlError(f"{what.upper()} needs a relation: {what} select on schema.name {toward} somebody")
    at = words.index("on")
    privileges = tuple(name.lower() for name in _names(tokens[:at]))
    unknown = next((name for name in privileges if name not in PRIVILEGES), None)
    if unknown is not None or not privileges:
        raise SqlError(f"unrecognized privilege {unknown or ''!r}; there are {', '.join(PRIVILEGES)}")
    start = at + 2 if words[at + 1 : at + 2] in (["table"], ["view"]) else at + 1
    relation, rest = _relation(tokens[start:])
    grantees = _names(rest[1:])
    if not rest or rest[0].word != toward or not grantees:
        raise SqlError(f"{what.upper()} does not say {toward} whom: {what} select on schema.name {toward} somebody")
    return GrantStatement(what=what, relation=relation, privileges=privileges, grantees=grantees)


def _relation(tokens: Sequence[Token]) -> tuple[Reference, Sequence[Token]]:
    chain: list[str] = []
    index = 0
    while index < len(tokens) and tokens[index].is_name:
        chain.append(tokens[index].name)
        index += 1
        if index >= len(tokens) or tokens[index].text != ".":
            break
        index += 1
    if not 1 <= len(chain) <= 3:
        raise SqlError("a statement about grants needs the name of a table or view after ON")
    return Reference.of(tuple(chain)), tokens[index:]


def _names(tokens: Sequence[Token]) -> tuple[str, ...]:
    """Names between commas. What stands between two of them is one name, so that ``ann@shop.example`` needs no quotes."""
    found: list[list[Token]] = [[]]
    for token in tokens:
        if token.text == ",":
            found.append([])
        else:
            found[-1].append(token)
    names = ["".join(token.name for token in group) for group in found]
    return tuple(dict.fromkeys(name for name in names if name))


def apply(session: RunSession, wish: GrantStatement) -> Result:
    """Carry it out."""
    name = session.planner.resolve(wish.relation)
    entry = session.state.get(name) if name is not None else None
    if name is None or not isinstance(entry, TableEntry | ViewEntry):
        raise NotInLake(f"{name or wish.relation.name} does not exist on this branch; grants are of tables and views")
    if wish.what == "show":
        return _shown(session, of_relation(session.state, name))
    return _changed(session, wish, name)


def of_relation(state: State, name: Name) -> tuple[tuple[str, str], ...]:
    """The grants on a relation: user or role, and privilege."""
    snapshot = state.snapshot(name.database)
    entry = snapshot.get(Key(name.schema, "")) if snapshot is not None else None
    if not isinstance(entry, SchemaEntry):
        return ()
    return tuple((grantee, privilege) for relation, privilege, grantee in entry.grants if relation == name.name.lower())


def _shown(session: RunSession, grants: Sequence[tuple[str, str]]) -> Result:
    # By way of a worker, as the rows of any statement come.
    rows = ", ".join(f"({literal(grantee)}, {literal(privilege)})" for grantee, privilege in grants)
    values = f"(VALUES {rows})" if rows else "(SELECT NULL::VARCHAR, NULL::VARCHAR WHERE false)"
    answer = session.submit(Query(sql=f"SELECT * FROM {values} AS grants(grantee, privilege_type)"))
    return Result(columns=answer.columns, rows=answer.rows)


def _changed(session: RunSession, wish: GrantStatement, name: Name) -> Result:
    run = session.writable(name.database, str(name))
    key = Key(name.schema, "")
    with session.locked(run, key):
        before = session.state.own.get(key)
        current = before if isinstance(before, SchemaEntry) else SchemaEntry(schema=name.schema)
        named = {(name.name.lower(), privilege, grantee) for privilege in wish.privileges for grantee in wish.grantees}
        grants = set(current.grants) | named if wish.what == "grant" else set(current.grants) - named
        after = dataclasses.replace(current, grants=tuple(sorted(grants)))
        if after != before:
            said = f"{wish.what.capitalize()} {', '.join(wish.privileges)} on {name.schema}.{name.name}"
            seen = {key: session.state.own.content(key)}
            run.commit([(key, after)], said, {"grants": [list(one) for one in sorted(named)]}, seen=seen)
    return Result(message=wish.what.upper())


def moved(session: RunSession, name: Name, to: str | None) -> list[tuple[Key, Entry | None]]:
    """What becomes of a schema when one of its relations is renamed, or dropped (``to`` is None); nothing without grants."""
    key = Key(name.schema, "")
    current = session.state.own.get(key)
    if not isinstance(current, SchemaEntry) or not any(one[0] == name.name.lower() for one in current.grants):
        return []
    rest = [one for one in current.grants if one[0] not in (name.name.lower(), (to or "").lower())]
    taken = [(to.lower(), *one[1:]) for one in current.grants if to and one[0] == name.name.lower()]
    return [(key, dataclasses.replace(current, grants=tuple(sorted([*rest, *taken]))))]


# For who reads what was granted, and nothing else


def visible(grants: Iterable[tuple[str, str, str]], grantees: Iterable[str]) -> frozenset[str]:
    """The relations, by their names in small letters, that one of these may read."""
    whom = frozenset(grantees)
    return frozenset(relation for relation, privilege, grantee in grants if privilege == "select" and grantee in whom)
