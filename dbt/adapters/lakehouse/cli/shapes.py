"""What the catalog holds, as JSON objects. The keys are part of the command's interface (docs/cli.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import (
    Change,
    Commit,
    Conflict,
    Entry,
    FunctionEntry,
    Ref,
    RunRecord,
    SchemaEntry,
    TableEntry,
    content_id,
    kind_of,
)
from dbt.adapters.lakehouse.cli.values import to_json
from dbt.adapters.lakehouse.jobs.function import to_raw
from dbt.adapters.lakehouse.tables.values import Column

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.lake.compare import Comparison, RowChange
    from dbt.adapters.lakehouse.lake.rerun import Rerun

ACTIVE = "active"
"""State of a branch that belongs to no run."""


def time(value: datetime | None) -> str | None:
    """ISO 8601 in UTC."""
    return None if value is None else value.astimezone(UTC).isoformat()


def commit(value: Commit) -> dict[str, Any]:
    """A commit."""
    return {
        "id": value.id,
        "parents": list(value.parents),
        "message": value.message,
        "author": value.author,
        "time": time(value.time),
        "run": value.run,
        "provenance": dict(value.provenance),
    }


def branch(value: Ref, state: str = ACTIVE, record: RunRecord | None = None) -> dict[str, Any]:
    """A branch. ``state`` is ``active``, or where the run stands that it belongs to; ``record`` is that run."""
    return {
        "name": value.name,
        "head": value.commit,
        "state": state,
        "protected": value.protected,
        "created_at": time(value.created_at),
        "run": value.run,
        "command": None if record is None else record.command,
        "target": None if record is None else record.target,
    }


def tag(value: Ref) -> dict[str, Any]:
    """A tag."""
    return {"name": value.name, "commit": value.commit, "created_at": time(value.created_at)}


def column(value: Column) -> dict[str, Any]:
    """A column of a table or view."""
    return {"name": value.name, "type": value.type, "required": value.required, "comment": value.comment}


def entry(value: Entry) -> dict[str, Any]:
    """A table, a view, a function or a schema. ``schema`` is what its rows look like, ``schema_name`` where it lives."""
    shape: dict[str, Any] = {"schema_name": value.schema, "name": value.name, "kind": kind_of(value)}
    if isinstance(value, SchemaEntry):
        return shape
    if isinstance(value, FunctionEntry):
        return shape | {"comment": value.comment, "node": value.node, "definition": to_raw(value.definition)}
    shape |= {"comment": value.comment, "schema": [column(item) for item in value.columns], "node": value.node}
    if not isinstance(value, TableEntry):
        return {**shape, "sql": value.sql}
    return shape | {
        "rows": value.rows,
        "size_bytes": value.size_bytes,
        "metadata_location": value.metadata_location,
        "snapshot_id": value.snapshot_id,
        "table_uuid": value.table_uuid,
        "location": value.location,
        **({} if value.view is None else {"sql": value.view.sql}),
    }


def column_changes(before: Entry | None, after: Entry | None) -> list[dict[str, Any]]:
    """Columns that were added or dropped, or whose type changed; names are compared as SQL does."""
    old, new = _columns(before), _columns(after)
    changes: list[dict[str, Any]] = [
        {"name": item.name, "change": "dropped", "before": item.type, "after": None}
        for name, item in old.items()
        if name not in new
    ]
    for name, item in new.items():
        was = old.get(name)
        if was is None:
            changes.append({"name": item.name, "change": "added", "before": None, "after": item.type})
        elif (was.type, was.required) != (item.type, item.required):
            changes.append({"name": item.name, "change": "changed", "before": _typed(was), "after": _typed(item)})
    return changes


def _columns(value: Entry | None) -> dict[str, Column]:
    return {item.name.lower(): item for item in getattr(value, "columns", ())}


def _typed(value: Column) -> str:
    return f"{value.type} NOT NULL" if value.required else value.type


def change(value: Change, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """A key before and after. ``columns`` is filled where both sides have columns."""
    before = entries.get(value.before) if value.before is not None else None
    after = entries.get(value.after) if value.after is not None else None
    stands = after or before
    return {
        "schema_name": stands.schema if stands is not None else value.key.schema,
        "name": stands.name if stands is not None else value.key.name,
        "kind": kind_of(stands) if stands is not None else None,
        "change": "added" if value.before is None else "dropped" if value.after is None else "changed",
        "rows_before": before.rows if isinstance(before, TableEntry) else None,
        "rows_after": after.rows if isinstance(after, TableEntry) else None,
        "columns": column_changes(before, after) if before is not None and after is not None else [],
        "before": entry(before) if before is not None else None,
        "after": entry(after) if after is not None else None,
    }


def changes(values: Iterable[Change], catalog: Catalog, made: Iterable[Entry] = ()) -> list[dict[str, Any]]:
    """Changes with the entries they are about, by name; ``made`` are some that the catalog does not have yet."""
    values = sorted(values, key=lambda value: value.key)
    ids = {content for value in values for content in (value.before, value.after) if content is not None}
    entries = catalog.contents(ids) if ids else {}
    entries = {**entries, **{content_id(one): one for one in made}}
    return [change(value, entries) for value in values]


def comparison(value: Comparison) -> dict[str, Any]:
    """A relation at two commits. ``rows`` is null where they were not compared."""
    rows = value.rows
    return {
        "schema_name": value.schema,
        "name": value.name,
        "change": value.change,
        "kind_before": value.kind_before,
        "kind_after": value.kind_after,
        "rows_before": value.rows_before,
        "rows_after": value.rows_after,
        "columns": [
            {"name": item.name, "change": item.change, "before": item.before, "after": item.after}
            for item in value.columns
        ],
        "reordered": value.reordered,
        "rows": None
        if rows is None
        else {
            "key": list(rows.key),
            "added": rows.added,
            "removed": rows.removed,
            "changed": rows.changed,
            "columns": dict(rows.columns),
            "samples": [_row_change(item) for item in rows.samples],
        },
        "notes": list(value.notes),
    }


def _row_change(value: RowChange) -> dict[str, Any]:
    return {
        "change": value.change,
        "before": None if value.before is None else to_json(value.before),
        "after": None if value.after is None else to_json(value.after),
        "columns": list(value.columns),
        "times": value.times,
    }


def conflict(value: Conflict) -> dict[str, Any]:
    """One key that both sides of a merge changed."""
    return {
        "schema_name": value.key.schema,
        "name": value.key.name,
        "kind": value.kind.value,
        "source_commit": None if value.source_commit is None else commit(value.source_commit),
        "target_commit": None if value.target_commit is None else commit(value.target_commit),
    }


def run(value: RunRecord) -> dict[str, Any]:
    """A run; ``seconds`` once it has ended."""
    seconds = None if value.finished_at is None else round((value.finished_at - value.started_at).total_seconds(), 3)
    return {
        "id": value.id,
        "status": value.status.value,
        "command": value.command,
        "target": value.target,
        "branch": value.branch,
        "base": value.base,
        "started_at": time(value.started_at),
        "finished_at": time(value.finished_at),
        "seconds": seconds,
        "published": value.published,
        "continues": value.continues,
        "error": value.error,
        "nodes": dict(value.nodes),
    }


def rerun(value: Rerun) -> dict[str, Any]:
    """A past run that was done again; ``original`` is that run, ``tables`` what it made, then and now."""
    return {
        "original": run(value.original),
        "run": value.run,
        "branch": value.branch,
        "commit": value.commit,
        "equal": value.equal,
        "tables": [
            {
                "schema_name": table.schema,
                "name": table.name,
                "kind": table.kind,
                "node": table.node,
                "outcome": table.outcome,
                "rows_before": table.rows_before,
                "rows_after": table.rows_after,
                "columns": [
                    {"name": item.name, "change": item.change, "before": item.before, "after": item.after}
                    for item in table.columns
                ],
                "values": list(table.values),
                "reordered": table.reordered,
                "why": list(table.why),
            }
            for table in value.tables
        ],
        "notes": list(value.notes),
    }
