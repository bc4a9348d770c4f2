"""Two changes of one table made one: whether that may be done unasked, and the entry that comes of it.

Which rows there are is a matter of files (``tables.combine``). Whether rows that both sides added are wanted twice is not: two
branches that ran the same model over the same new orders both added them. Where rows came to the same partitions from both
sides, history is asked. They are put together unasked only if nothing was read, executed or imported on both sides, and
neither side looked at the table itself to find out what to add.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import (
    Commit,
    Conflict,
    Entry,
    FunctionEntry,
    Key,
    SchemaEntry,
    TableEntry,
    ViewEntry,
    content_id,
)
from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.run.statements import Kind, hides_reads, parse
from dbt.adapters.lakehouse.run.tokens import mentions
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.storage import storage_for
from dbt.adapters.lakehouse.tables import combine as files
from dbt.adapters.lakehouse.tables.combine import NotCombined, Plan

__all__ = ["NotCombined", "combine"]

Grant = tuple[str, str, str]
"""Relation, privilege, user or role."""

_LOOKED_AT = 500
"""Commits of a branch that are looked at, at most, to find out how rows came to a table."""

_SHOWN = 160

_AT_COMMIT = re.compile(r"@[0-9a-f]{40}$")


def combine(
    catalog: Catalog, settings: LakeSettings, conflict: Conflict, *, asked: bool = False, dry_run: bool = False
) -> Entry | NotCombined:
    """The table that has the rows of both sides of a conflict, written; or why there is none. A view or function that says the
    same on both sides, over relations that changed, is what it is. A schema has the grants of both.

    With ``asked``, whoever merges says that rows which both sides added are all wanted. On a ``dry_run`` nothing is written,
    and the entry's metadata location says nothing. Raises ``StorageError`` if the store cannot be reached.
    """
    if (alike := _alike(catalog, conflict)) is not None:
        return alike
    states = _tables(catalog, conflict)
    if isinstance(states, NotCombined):
        return states
    base, source, target = states
    storage_for(settings.warehouse, settings.storage_options)
    plan = files.plan(base.metadata_location, source.metadata_location, target.metadata_location)
    if isinstance(plan, NotCombined):
        return plan
    if not (plan.apart or asked):
        why = _perhaps_twice(catalog, conflict, plan)
        if why is not None:
            return NotCombined(why=why)
    written = plan.preview() if dry_run else plan.write()
    for entry in (target, source):
        if written.metadata_location == entry.metadata_location:
            return entry  # the other side changed no row
    return dataclasses.replace(
        target,
        metadata_location=written.metadata_location,
        snapshot_id=written.snapshot_id,
        columns=written.columns,
        rows=written.rows,
        size_bytes=written.size_bytes,
        comment=written.comment,
        node=target.node or source.node,
        inputs=_inputs(base.inputs, source.inputs, target.inputs),
        content=written.content,
        layout=written.layout,
    )


def _tables(catalog: Catalog, conflict: Conflict) -> tuple[TableEntry, TableEntry, TableEntry] | NotCombined:
    """What stands in the base, on the source and on the target."""
    ids = [one for one in (conflict.base, conflict.source, conflict.target) if one is not None]
    if len(ids) < 3:
        return NotCombined(why="only what both sides have, and had when they were last one, can be put together")
    found = catalog.contents(ids)
    entries = [found.get(one) for one in ids]
    base, source, target = entries
    if not (isinstance(base, TableEntry) and isinstance(source, TableEntry) and isinstance(target, TableEntry)):
        return NotCombined(why="only tables can be put together")
    return base, source, target


def _alike(catalog: Catalog, conflict: Conflict) -> ViewEntry | FunctionEntry | SchemaEntry | NotCombined | None:
    """A view or function that both sides have, told apart by nothing but the states of what it reads; a schema with the grants
    of both. None for all else.
    """
    found = catalog.contents([one for one in (conflict.base, conflict.source, conflict.target) if one is not None])
    base, source, target = (found.get(one or "") for one in (conflict.base, conflict.source, conflict.target))
    if isinstance(source, SchemaEntry) and isinstance(target, SchemaEntry):
        return _granted(base.grants if isinstance(base, SchemaEntry) else (), source, target)
    if not isinstance(target, ViewEntry | FunctionEntry) or not isinstance(source, ViewEntry | FunctionEntry):
        return None
    if dataclasses.replace(source, inputs=target.inputs) != target:
        return None
    before = base.inputs if isinstance(base, ViewEntry | FunctionEntry) else {}
    return dataclasses.replace(target, inputs=_inputs(before, source.inputs, target.inputs))


def _granted(base: Iterable[Grant], source: SchemaEntry, target: SchemaEntry) -> SchemaEntry | NotCombined:
    """The grants on each relation are those of the side that changed them."""
    found: set[Grant] = set()
    for relation in sorted({one[0] for one in (*source.grants, *target.grants)}):
        was, theirs, ours = (
            {one for one in grants if one[0] == relation} for grants in (base, source.grants, target.grants)
        )
        if was not in (theirs, ours) and theirs != ours:
            return NotCombined(why=f"both sides changed the grants on {relation}")
        found |= theirs if ours == was else ours
    return dataclasses.replace(target, grants=tuple(sorted(found)))


def _inputs(base: Mapping[str, str], source: Mapping[str, str], target: Mapping[str, str]) -> dict[str, str]:
    """What the table was computed from, as far as one value can say it: where both sides read it anew, the target's."""
    found = dict(target)
    for name, theirs in source.items():
        if name not in found or found[name] == base.get(name):
            found[name] = theirs
    return found


# rows that might be there twice


def _perhaps_twice(catalog: Catalog, conflict: Conflict, plan: Plan) -> str | None:
    """Why rows that both sides added might be the same; None if they are not, as far as their history tells."""
    if plan.repeated:
        return "both sides added the same rows"
    found = []
    for name, mine, other in (
        ("source", conflict.source_commit, conflict.target_commit),
        ("target", conflict.target_commit, conflict.source_commit),
    ):
        origins: set[str] = set()
        for commit in _changed_by(catalog, conflict, mine, other):
            said = _origins(catalog, conflict.key, commit) if commit is not None else "it is not known how"
            if isinstance(said, str):
                return f"both sides added rows, and on the {name} {said}"
            origins |= said
        found.append(origins)
    both = sorted(found[0] & found[1])
    if both:
        return f"both sides added rows, and both by means of {_short(both[0])}, so that they may be the same"
    return None


def _changed_by(
    catalog: Catalog, conflict: Conflict, newest: Commit | None, other: Commit | None
) -> Iterator[Commit | None]:
    """The commits in which one side changed the table since the base; None where they cannot all be found."""
    if newest is None or other is None:
        yield None
        return
    shared: set[str] = set()
    pending, done = [newest.id], set[str]()
    while pending:
        for commit in catalog.log(pending.pop(), _LOOKED_AT):
            if commit.id in done or commit.id in shared:
                break
            done.add(commit.id)
            change = next((c for c in catalog.changes(commit.id) if c.key == conflict.key), None)
            if change is None:
                continue
            if len(commit.parents) < 2:
                yield commit
            elif (brought := _content(catalog, commit.parents[1], conflict.key)) != conflict.base:
                pending.append(commit.parents[1])
                if brought == change.after:
                    break
            if len(commit.parents) > 1 and not shared:
                # From a merge that put two states together, the path on leads past the base.
                shared = {one.id for one in catalog.log(other.id, _LOOKED_AT, first_parent=False)}
            if change.before == conflict.base:
                break
        else:
            yield None


def _content(catalog: Catalog, commit: str, key: Key) -> str | None:
    entry = catalog.lookup(commit, [key]).get(key)
    return content_id(entry) if entry is not None else None


def _origins(catalog: Catalog, key: Key, commit: Commit) -> set[str] | str:
    """What a commit made rows from, in words for messages; or what it did that does not let rows just be added."""
    said, by = commit.provenance, f"in {short(commit.id)}"
    if said.get("mode") == "compact":
        return set()
    found = {f"file {path}" for path in said.get("files") or ()}
    if said.get("node"):
        found.add(f"the node {said['node']}")
    read = {_AT_COMMIT.sub("", name).lower() for name in said.get("inputs") or {}}
    if (statement := said.get("statement")) is not None:
        kind = parse(statement).kind
        if kind is Kind.COMMENT:
            return set()
        if kind is not Kind.INSERT or _is_opaque(catalog, said, statement):
            return f"nothing tells what {_short(_line(statement))!r} read ({by})"
        found.add(f"the statement {_line(statement)!r}")
        if mentions(statement, key.name) < 2:
            read.discard(str(key))  # the statement's own target is named among what it reads
    elif not found and said.get("sql"):
        found.add(f"the query {_line(said['sql'])!r}")
    if str(key) in read:
        return f"what to add was found by reading the table itself ({by})"
    if not found and not read:
        return f"nothing tells where they came from ({by})"
    return found | {f"table {name}" for name in read}


def _line(sql: str) -> str:
    return " ".join(sql.split())


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _is_opaque(catalog: Catalog, said: Mapping[str, Any], statement: str) -> bool:
    """Whether a statement may have read what its commit does not name: through a view, a macro, a temporary table."""
    if "inputs" not in said or said.get("session_changed") or hides_reads(statement, ()):
        return True
    read = set(said["inputs"].values())
    entries = catalog.contents(read)
    return len(entries) < len(read) or any(isinstance(entry, ViewEntry) for entry in entries.values())
