"""What is in a table, as one value: tables of the same value have the same columns and rows in the same order.

DuckDB writes the same rows as the same bytes, so a file's bytes say what is in it. They are hashed where they were just
written, before they are sent anywhere, and the hash becomes part of the file's name: so it is known of every file of a table,
however it came there, without reading anything again. Different bytes may still hold the same rows; that is not looked into.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.tables.metadata import Table
    from dbt.adapters.lakehouse.tables.values import Column

_NAMED = re.compile(r"-c([0-9a-f]{40})\.parquet$")
_WANTED: ContextVar[bool] = ContextVar("content identity wanted", default=True)


@contextlib.contextmanager
def identifying(wanted: bool) -> Iterator[None]:
    """Whether files that the block writes are to be identified, which takes reading them once more."""
    token = _WANTED.set(wanted)
    try:
        yield
    finally:
        _WANTED.reset(token)


def named(path: str, of: str | None = None) -> str:
    """Give a local file that was just written a name that says what is in it, if that is wanted; its path from now on.

    ``of`` is another local file whose bytes say it, where the file's own do not; it is removed.
    """
    if not _WANTED.get():
        return path
    with Path(of or path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:40]
    if of is not None:
        Path(of).unlink()
    found = f"{path.removesuffix('.parquet')}-c{digest}.parquet"
    os.rename(path, found)  # noqa: PTH104 # the fixed cost of a small table counts
    return found


def wanted() -> bool:
    """Whether files are to be identified."""
    return _WANTED.get()


def digest_of(uri: str) -> str | None:
    """What is in a data file, or which positions are in a delete file; None for files that were not named so."""
    found = _NAMED.search(uri)
    return found[1] if found is not None else None


def of_table(table: Table, columns: Iterable[Column]) -> str | None:
    """What is in a table whose columns readers see like this; None if nothing is known of one of its files."""
    deleted: dict[str, str] = {}
    for file in table.deletes:
        target, digest = file.target, digest_of(file.path)
        if target is None or target in deleted or digest is None:
            return None
        deleted[target] = digest
    total = hashlib.sha256()
    for column, field in zip(columns, table.schema.fields, strict=True):
        # A file's columns are found by their ids: a column that was dropped and added again is another one.
        ids = (column.field_id, "" if field.field_type.is_primitive else repr(field.field_type)) if table.data else ()
        total.update(repr((column.name, column.type, *ids)).encode())
    for file in table.data:
        digest = digest_of(file.path)
        if digest is None:
            return None
        total.update(f"{digest} {deleted.pop(file.path, '')}\n".encode())
    # Delete files that speak of none of the table's files are left from another engine's work.
    return f"files:{total.hexdigest()}" if not deleted else None
