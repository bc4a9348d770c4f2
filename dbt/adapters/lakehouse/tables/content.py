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
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.tables.metadata import Table
    from dbt.adapters.lakehouse.tables.values import Column

_NAMED = re.compile(r"-c([0-9a-f]{40})\.parquet$")
_PART = 16 * 1024 * 1024
_READ = 256 * 1024
_THREADS = 4
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
    digest = _digest(of or path).hex()[:40]
    if of is not None:
        Path(of).unlink()
    found = f"{path.removesuffix('.parquet')}-c{digest}.parquet"
    os.rename(path, found)  # noqa: PTH104 # the fixed cost of a small table counts
    return found


def _digest(path: str) -> bytes:
    """SHA-256 of a file's bytes; of a large one, of the hashes of its parts, which several threads take."""
    size = os.path.getsize(path)  # noqa: PTH202
    if size <= _PART:
        return hashlib.sha256(Path(path).read_bytes()).digest() if size <= _READ else _part(path, 0)
    with ThreadPoolExecutor(_THREADS, "lakehouse-content") as pool:
        parts = pool.map(lambda start: _part(path, start), range(0, size, _PART))
        return hashlib.sha256(b"".join(parts)).digest()


def _part(path: str, start: int) -> bytes:
    found, buffer, left = hashlib.sha256(), memoryview(bytearray(_READ)), _PART
    with Path(path).open("rb", buffering=0) as file:
        file.seek(start)
        while left and (count := file.readinto(buffer[:left])):
            found.update(buffer[:count])
            left -= count
    return found.digest()


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
