"""The catalog in SQLite or PostgreSQL: the verbs of ``base.Catalog``, each one transaction.

``sql_database`` opens and begins; the other ``sql_*`` are functions over a connection, one noun each; ``schema.sql`` explains
the tables.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.catalog import (
    sql_collect,
    sql_history,
    sql_locations,
    sql_merge,
    sql_refs,
    sql_results,
    sql_runs,
    sql_states,
    sql_taint,
)
from dbt.adapters.lakehouse.catalog.model import (
    ANY,
    Change,
    Collection,
    Commit,
    Entry,
    Key,
    MergeResult,
    Put,
    Ref,
    RefKind,
    Retention,
    ReusableResult,
    RunRecord,
    Settled,
    TableEntry,
    key_of,
)
from dbt.adapters.lakehouse.catalog.refs import RUN_PREFIX, check_name, is_run_name, short
from dbt.adapters.lakehouse.catalog.sql_contents import Contents
from dbt.adapters.lakehouse.catalog.sql_database import Database
from dbt.adapters.lakehouse.catalog.sql_history import Note
from dbt.adapters.lakehouse.errors import CatalogError, HeadMoved, InvalidRef, RefProtected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import sqlalchemy as sa


class SqlCatalog:
    """A ``Catalog``, a ``ReuseIndex`` and ``Collectable``, in SQLite or PostgreSQL.

    Made by ``open``; ``url`` is what it was opened from, without password.
    """

    def __init__(self, database: Database) -> None:
        self.url = database.url
        self._database = database
        self._contents = Contents()
        _renew_after_fork(self)

    @classmethod
    def open(cls, url: str, *, create: bool = True) -> SqlCatalog:
        """The catalog at a SQLAlchemy URL (``sqlite:///…``, ``postgresql://…``) or in a SQLite file.

        Where there is none yet, it is created, unless ``create`` is false. Raises ``CatalogError``.
        """
        database, is_new = Database.open(url, create=create)
        try:
            if is_new and not create:
                raise CatalogError(f"there is no catalog in {database.url}; {database.made_by}")
            if is_new:
                _create(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    # refs

    def resolve(self, ref: str) -> Commit:
        """The commit that a ref expression leads to."""
        with self._database.read() as connection:
            commit = sql_history.resolve(connection, ref)
            return sql_history.commits(connection, [commit])[commit]

    def refs(self, kind: RefKind | None = None) -> list[Ref]:
        """All branches and tags by name, run branches included."""
        with self._database.read() as connection:
            return sql_refs.everything(connection, kind)

    def create_ref(self, name: str, kind: RefKind, at: str, *, run: str | None = None) -> Ref:
        """Name a commit: one row, whatever the size of the lake."""
        check_name(name)
        if run is None and is_run_name(name):
            raise InvalidRef(
                f"{name!r} cannot be created by hand: names under {RUN_PREFIX!r} are those of run branches"
            )
        with self._database.write() as connection:
            commit = sql_history.resolve(connection, at)
            sql_history.refuse_collected(connection, commit, at)
            return sql_refs.insert(connection, sql_refs.new(name, kind, commit, run=run))

    def assign(self, branch: str, to: str, *, expected: str, accept_tainted: bool = False) -> Ref:
        """Move a branch; the commits it leaves stay readable by id."""
        with self._database.write() as connection:
            held = sql_refs.branch(connection, branch, lock=True)
            _refuse_protected(held, but="merge into it")
            held.expect(expected, then="look at what is new there, then move it from there")
            commit = sql_history.resolve(connection, to)
            sql_history.refuse_collected(connection, commit, to)
            if held.ref.run is None and not accept_tainted:
                self._refuse_tainted(connection, to, commit, held)
            if commit != expected:
                sql_refs.move_away(connection, held.ref, commit)
            return sql_refs.branch(connection, branch, lock=False).ref

    def protect(self, branch: str, protected: bool) -> Ref:
        """Set or clear protection."""
        with self._database.write() as connection:
            return sql_refs.protect(connection, branch, protected)

    def delete_ref(self, name: str, *, expected: str) -> None:
        """Forget a name."""
        with self._database.write() as connection:
            sql_refs.delete(connection, name, expected)

    # states and history

    def entries(self, commit: str, schema: str | None = None) -> dict[Key, Entry]:
        """Everything that stands at a commit (id), or in one schema of it."""
        with self._database.read() as connection:
            state = sql_states.layers(connection, commit)
            return self._loaded(connection, sql_states.standing(connection, state, schema))

    def lookup(self, commit: str, keys: Iterable[Key]) -> dict[Key, Entry]:
        """Those of the keys that exist at a commit (id)."""
        with self._database.read() as connection:
            found = sql_states.contents_of(connection, sql_states.layers(connection, commit), set(keys))
            return self._loaded(connection, {key: content for key, content in found.items() if content is not None})

    def log(self, commit: str, limit: int | None = None, *, first_parent: bool = True) -> list[Commit]:
        """A commit and its ancestors, newest first."""
        with self._database.read() as connection:
            return sql_history.log(connection, commit, limit, first_parent=first_parent)

    def changes(self, commit: str) -> tuple[Change, ...]:
        """What a commit changed against its first parent."""
        with self._database.read() as connection:
            return sql_states.changes_at(connection, sql_history.place(connection, commit).layer)

    def diff(self, old: str, new: str) -> tuple[Change, ...]:
        """What differs between two commits (ids), by key."""
        with self._database.read() as connection:
            return sql_states.difference(connection, old, new)

    def contents(self, ids: Iterable[str]) -> dict[str, Entry]:
        """Entries by content id."""
        with self._database.read() as connection:
            return self._contents.load(connection, ids)

    def last_change(self, commit: str, key: Key) -> Commit | None:
        """The newest change of a key that a commit (id) leads to."""
        with self._database.read() as connection:
            return sql_history.last_change(connection, commit, key)

    # writes

    def commit(
        self,
        branch: str,
        puts: Sequence[Put],
        *,
        author: str,
        message: str,
        expected_head: str | None = None,
        run: str | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Commit:
        """Append a commit to a branch. Puts that change nothing are left out of it."""
        _check_puts(puts)
        note = Note(author=author, message=message, run=run, provenance=provenance or {})
        with self._database.write() as connection:
            held = sql_refs.branch(connection, branch, lock=True)
            _refuse_protected(held, but="commit to a branch of your own and merge that")
            held.expect(expected_head, then="read its new head and commit again")
            changes = self._put(connection, held, puts, run)
            return sql_history.record(connection, held, changes, note)

    def merge(
        self,
        source: str,
        target: str,
        *,
        author: str,
        message: str,
        expected_target: str | None = None,
        expected_source: str | None = None,
        expected_changes: Sequence[Change] | None = None,
        run: str | None = None,
        provenance: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        accept_tainted: bool = False,
        fast_forward: bool = False,
        settled: Sequence[Settled] = (),
        reads: Mapping[Key, str | None] | None = None,
    ) -> MergeResult:
        """Three-way merge into the branch ``target``, in one transaction."""
        note = Note(author=author, message=message, run=run, provenance=provenance or {})
        with self._database.read() if dry_run else self._database.write() as connection:
            held = sql_refs.branch(connection, target, lock=not dry_run)
            held.expect(expected_target, then="run again to build on the new head")
            wish = sql_merge.Wish(
                dry_run=dry_run,
                accept_tainted=accept_tainted,
                fast_forward=fast_forward,
                settled=settled,
                reads=reads,
                expected_source=expected_source,
                expected_changes=expected_changes,
            )
            return sql_merge.merge(connection, self._contents, source, held, note, wish)

    # runs

    def save_run(self, record: RunRecord) -> None:
        """Insert or update the record of a run, by id."""
        with self._database.write() as connection:
            sql_runs.save(connection, record)

    def run(self, run_id: str) -> RunRecord | None:
        """One run, by id or unique prefix of at least four characters."""
        with self._database.read() as connection:
            return sql_runs.get(connection, run_id)

    def runs(self, limit: int | None = None) -> list[RunRecord]:
        """Runs, newest first."""
        with self._database.read() as connection:
            return sql_runs.newest(connection, limit)

    def heartbeat(self, run_id: str) -> None:
        """Say that the process of an open run lives."""
        with self._database.write() as connection:
            sql_runs.heartbeat(connection, run_id)

    # results, see ``base.ReuseIndex``

    def recall(self, fingerprint: str) -> ReusableResult | None:
        """The result of a fingerprint, if there is one."""
        with self._database.read() as connection:
            return sql_results.recall(connection, fingerprint)

    def recall_node(self, node: str, limit: int | None = None) -> list[ReusableResult]:
        """Results of a node, newest first."""
        with self._database.read() as connection:
            return sql_results.recall_node(connection, node, limit)

    def remember(self, result: ReusableResult) -> None:
        """File a result, in the place of one that has the same fingerprint."""
        with self._database.write() as connection:
            sql_results.remember(connection, result)

    def claim(self, fingerprint: str, run: str, *, instead_of: str | None = None) -> str | None:
        """Say that an open run is about to compute a result; who else is, if somebody is."""
        with self._database.write() as connection:
            return sql_results.claim(connection, fingerprint, run, instead_of)

    def release(self, fingerprint: str, run: str) -> None:
        """Give up a claim."""
        with self._database.write() as connection:
            sql_results.release(connection, fingerprint, run)

    # garbage, see ``base.Collectable``

    def collect(self, retention: Retention, *, dry_run: bool = False) -> Collection:
        """Drop what nothing has named for as long as ``retention`` says, and tell what stays."""
        with self._database.read() if dry_run else self._database.write(alone=True) as connection:
            return sql_collect.collect(connection, retention, dry_run=dry_run)

    def close(self) -> None:
        """Give back connections; the catalog is not used after that."""
        self._database.close()

    def renew(self) -> None:
        """After a fork: forget connections and locks, which are the parent process's."""
        self._database.renew()
        self._contents = Contents()

    def _loaded(self, connection: sa.Connection, found: Mapping[Key, str]) -> dict[Key, Entry]:
        entries = self._contents.load(connection, found.values())
        return {key: entries[content] for key, content in found.items()}

    def _refuse_tainted(self, connection: sa.Connection, to: str, commit: str, held: sql_refs.Held) -> None:
        """Raise ``TaintedError`` if moving a branch to a commit brought what is tainted there."""
        head = held.ref.commit
        brought = sql_states.difference(connection, head, commit)
        nodes = sql_history.Nodes(connection)
        found = sql_taint.suspects(connection, self._contents.load, nodes, commit, head, brought, acting=None)
        sql_taint.refuse(*found, (to, held.ref.name))

    def _put(
        self, connection: sa.Connection, held: sql_refs.Held, puts: Sequence[Put], run: str | None
    ) -> tuple[Change, ...]:
        """The changes that puts come to at a branch's head. Raises ``HeadMoved`` where an expectation does not hold."""
        state = sql_states.layers(connection, held.ref.commit)
        standing = sql_states.contents_of(connection, state, {put.key for put in puts})
        for put in puts:
            if put.expected not in (ANY, standing[put.key]):
                raise _unexpected(connection, held, put, standing[put.key])
        stored = [put for put in puts if put.entry is not None]
        ids = self._contents.store(connection, [put.entry for put in stored if put.entry is not None])
        after = {put.key: one for put, one in zip(stored, ids, strict=True)}
        tables = [
            put.entry for put in stored if isinstance(put.entry, TableEntry) and after[put.key] != standing[put.key]
        ]
        sql_locations.file(connection, tables, run)
        changes = [Change(key=put.key, before=standing[put.key], after=after.get(put.key)) for put in puts]
        return tuple(sorted((c for c in changes if c.before != c.after), key=lambda change: change.key))


def _create(database: Database) -> None:
    """Make an empty lake, unless another process just did."""
    with database.write() as connection:
        if database.create_tables(connection):
            first, line = sql_history.record_first(connection, Note(author="lakehouse", message="Create the lake"))
            main = sql_refs.new(sql_refs.MAIN, RefKind.BRANCH, first.id, run=None)
            sql_refs.insert(connection, main, line=line)


def _renew_after_fork(catalog: SqlCatalog) -> None:
    """A connection must not be used by two processes: let a forked child open its own."""
    weak = weakref.ref(catalog)

    def renew() -> None:
        alive = weak()
        if alive is not None:
            alive.renew()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)


def _refuse_protected(held: sql_refs.Held, *, but: str) -> None:
    if held.ref.protected:
        raise RefProtected(f"branch {held.ref.name!r} is protected and changes by merges alone; {but}")


def _check_puts(puts: Sequence[Put]) -> None:
    """Catch what no caller means: two wishes for one key, or an entry filed under another's key."""
    seen = set()
    for put in puts:
        if put.key in seen:
            raise ValueError(f"two puts for {put.key} in one commit")
        if put.entry is not None and key_of(put.entry) != put.key:
            raise ValueError(f"a put for {put.key} holds the entry of {key_of(put.entry)}")
        seen.add(put.key)


def _unexpected(connection: sa.Connection, held: sql_refs.Held, put: Put, found: str | None) -> HeadMoved:
    def said(content: str | None) -> str:
        return "nothing" if content is None else short(content)

    by = sql_history.moved_by(connection, held.ref.commit, put.key)
    who = f" (by commit {short(by.id)}, {by.author}: {by.message})" if by else ""
    return HeadMoved(
        f"{put.key} on branch {held.ref.name!r} is not what was expected: {said(found)} instead of {said(put.expected)}"
        f"{who}; run again to build on the head {short(held.ref.commit)}"
    )
