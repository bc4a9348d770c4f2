"""Branches and tags in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from dbt.adapters.lakehouse.catalog import sql_moves
from dbt.adapters.lakehouse.catalog.model import Ref, RefKind, time_text
from dbt.adapters.lakehouse.catalog.refs import branch_of_run, is_run_name, short, suggestion
from dbt.adapters.lakehouse.errors import HeadMoved, InvalidRef, RefExists, RefNotFound, RefProtected

if TYPE_CHECKING:
    from collections.abc import Sequence

MAIN = "main"
"""The branch that every lake has."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """A ref as it stands in this transaction, and the line that it appends to, if it has one."""

    ref: Ref
    line: int | None

    def expect(self, commit: str | None, *, then: str) -> None:
        """Raise ``HeadMoved`` unless the ref is at ``commit`` (None: wherever it is)."""
        if commit is not None and commit != self.ref.commit:
            now = short(self.ref.commit)
            raise HeadMoved(f"{self.ref.kind} {self.ref.name!r} moved from {short(commit)} to {now} meanwhile; {then}")


def get(connection: sa.Connection, name: str) -> Held | None:
    """A ref by its exact name."""
    row = connection.execute(_GET, {"name": name}).one_or_none()
    return None if row is None else _held(row)


def named(connection: sa.Connection, name: str) -> Held | None:
    """A ref by its name; a run branch also by the first characters of its run's id. Raises ``InvalidRef`` if several fit."""
    exact = get(connection, name)
    if exact is not None or not is_run_name(name):
        return exact
    found = branch_of_run(name, connection.execute(_NAMES).scalars())
    return None if found is None else get(connection, found)


def branch(connection: sa.Connection, name: str, *, lock: bool) -> Held:
    """A branch, with ``lock`` held by this transaction until it ends.

    Raises ``RefNotFound``; ``InvalidRef`` for a tag.
    """
    held = _locked(connection, name) if lock else get(connection, name)
    if held is None:
        raise not_found(connection, name)
    if held.ref.kind is not RefKind.BRANCH:
        raise InvalidRef(f"{name!r} is a tag, and a tag does not move; create a branch from it and name that")
    return held


def _locked(connection: sa.Connection, name: str) -> Held | None:
    # SQLite has no row locks and needs none: the whole transaction holds the only write lock there is.
    if connection.dialect.name == "sqlite":
        return get(connection, name)
    row = connection.execute(_GET_LOCKED, {"name": name}).one_or_none()
    return None if row is None else _held(row)


def everything(connection: sa.Connection, kind: RefKind | None = None) -> list[Ref]:
    """All refs by name."""
    refs = [_held(row).ref for row in connection.execute(_ALL)]
    return sorted((ref for ref in refs if kind in (None, ref.kind)), key=lambda ref: ref.name)


def insert(connection: sa.Connection, ref: Ref, *, line: int | None = None) -> Ref:
    """Add a ref. Raises ``RefExists``."""
    values = {
        "name": ref.name,
        "kind": ref.kind.value,
        "commit": ref.commit,
        "line": line,
        "protected": int(ref.protected),
        "run": ref.run,
        "created_at": time_text(ref.created_at),
    }
    if connection.execute(_INSERT, values).rowcount != 1:
        raise RefExists(f"there is already a branch or tag {ref.name!r}; delete it first, or choose another name")
    return ref


def new(name: str, kind: RefKind, commit: str, *, run: str | None) -> Ref:
    """A ref made now."""
    return Ref(name=name, kind=kind, commit=commit, created_at=datetime.now(UTC), run=run)


def move(connection: sa.Connection, name: str, commit: str, line: int | None) -> None:
    """Let a locked branch point to another commit and append to another line."""
    connection.execute(_MOVE, {"name": name, "commit": commit, "line": line})


def move_away(connection: sa.Connection, ref: Ref, commit: str) -> None:
    """Let a locked branch point to a commit that is none of its own making; that it did not before is written down."""
    sql_moves.add(connection, ref.name, ref.commit, commit)
    # Without a line: another branch may append to the one that the commit stands on.
    move(connection, ref.name, commit, None)


def protect(connection: sa.Connection, name: str, protected: bool) -> Ref:
    """Set or clear protection of a branch."""
    branch(connection, name, lock=True)
    connection.execute(_PROTECT, {"name": name, "protected": int(protected)})
    return branch(connection, name, lock=False).ref


def delete(connection: sa.Connection, name: str, expected: str) -> None:
    """Forget a ref. Lines and commits stay, since others may have forked from them."""
    held = _locked(connection, name)
    if held is None:
        raise not_found(connection, name)
    if name == MAIN:
        raise RefProtected(f"branch {MAIN!r} cannot be deleted: every lake has it; reset it to another commit instead")
    if held.ref.protected:
        raise RefProtected(f"branch {name!r} is protected and cannot be deleted; lift its protection first")
    held.expect(expected, then="look at what is new there before deleting it")
    drop(connection, name)


def drop(connection: sa.Connection, name: str) -> None:
    """Forget a ref, whatever it is."""
    sql_moves.forget(connection, name)
    connection.execute(_DELETE, {"name": name})


def not_found(connection: sa.Connection, name: str, *, of: str | None = None) -> RefNotFound:
    """The error for a name that nothing answers to."""
    where = "" if of in (None, name) else f" (in {of!r})"
    known: Sequence[str] = connection.execute(_NAMES).scalars().all()
    return RefNotFound(f"no branch, tag or commit {name!r}{where}{suggestion(name, known)}")


def _held(row: sa.Row[tuple[object, ...]]) -> Held:
    ref = Ref(
        name=row.name,
        kind=RefKind(row.kind),
        commit=row.commit_id,
        created_at=datetime.fromisoformat(row.created_at),
        protected=bool(row.protected),
        run=row.run,
    )
    return Held(ref=ref, line=row.line)


_COLUMNS = "name, kind, commit_id, line, protected, run, created_at"
_GET = sa.text(f"SELECT {_COLUMNS} FROM refs WHERE name = :name")
_GET_LOCKED = sa.text(f"SELECT {_COLUMNS} FROM refs WHERE name = :name FOR UPDATE")
_ALL = sa.text(f"SELECT {_COLUMNS} FROM refs")
_NAMES = sa.text("SELECT name FROM refs")
_INSERT = sa.text(f"""
    INSERT INTO refs ({_COLUMNS}) VALUES (:name, :kind, :commit, :line, :protected, :run, :created_at)
    ON CONFLICT (name) DO NOTHING
""")
_MOVE = sa.text("UPDATE refs SET commit_id = :commit, line = :line WHERE name = :name")
_PROTECT = sa.text("UPDATE refs SET protected = :protected WHERE name = :name")
_DELETE = sa.text("DELETE FROM refs WHERE name = :name")
