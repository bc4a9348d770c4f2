"""What tests of catalogs do again and again: tables to put, commits, runs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import (
    ANY,
    Commit,
    Entry,
    Key,
    Put,
    RefKind,
    RunRecord,
    RunStatus,
    TableEntry,
    key_of,
)
from dbt.adapters.lakehouse.tables.values import Column

NOBODY = {"author": "anna", "message": "test"}
numbers = itertools.count()


def table(name: str, version: int = 1, schema: str = "s") -> TableEntry:
    return TableEntry(
        schema=schema,
        name=name,
        metadata_location=f"file:///lake/{name}/v{version}.metadata.json",
        table_uuid=name,
        snapshot_id=version,
        location=f"file:///lake/{name}",
        columns=(Column(name="id", type="BIGINT", field_id=1, required=True),),
        rows=version,
        size_bytes=100 * version,
        inputs={"s.source": "abc"},
    )


def put(entry: Entry, expected: str | None = ANY) -> Put:
    return Put(key=key_of(entry), entry=entry, expected=expected)


def drop(name: str, schema: str = "s") -> Put:
    return Put(key=Key(schema, name), entry=None, expected=ANY)


def commit(catalog: Catalog, branch: str, *puts: Put, run: str | None = None) -> Commit:
    return catalog.commit(branch, puts, author="anna", message=f"commit {next(numbers)}", run=run)


def branch(catalog: Catalog, name: str, at: str = "main") -> None:
    catalog.create_ref(name, RefKind.BRANCH, at)


def versions(catalog: Catalog, ref: str) -> dict[str, int | None]:
    """Table names and their snapshots at a ref."""
    entries = catalog.entries(catalog.resolve(ref).id)
    return {str(key): entry.snapshot_id if isinstance(entry, TableEntry) else None for key, entry in entries.items()}


def a_run(
    name: str,
    status: RunStatus = RunStatus.OPEN,
    *,
    continues: str | None = None,
    target: str = "main",
    base: str = "0" * 40,
    nodes: Mapping[str, Any] | None = None,
) -> RunRecord:
    now = datetime.now(UTC)
    return RunRecord(
        id=name,
        branch=f"run/{name}",
        target=target,
        base=base,
        command="dbt build",
        status=status,
        owner="host:1:1",
        started_at=now,
        heartbeat_at=now,
        continues=continues,
        nodes={"model.a": {"status": "success"}} if nodes is None else nodes,
    )


def start_run(
    catalog: Catalog, name: str, at: str = "main", *, continues: str | None = None, target: str = "main"
) -> None:
    base = catalog.resolve(at).id
    catalog.save_run(a_run(name, continues=continues, target=target, base=base, nodes={}))
    catalog.create_ref(f"run/{name}", RefKind.BRANCH, base, run=name)


def end_run(catalog: Catalog, name: str, status: RunStatus, *passing: str) -> None:
    record = catalog.run(name)
    assert record is not None
    nodes = {node: {"status": "success"} for node in passing}
    catalog.save_run(dataclasses.replace(record, status=status, nodes=nodes))
