"""What a write added, as one value: the same columns and rows in the same order give the same value.

DuckDB writes the same rows as the same bytes, so the bytes of the files it just wrote say whether rows are the same, for a
fifteenth of what writing them took. Different bytes may still hold the same rows; that is not looked into.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.storage import storage_for

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.tables.values import Column

_LOCAL = "file://"


def digest(columns: Iterable[Column], files: Iterable[str]) -> str | None:
    """SHA-256 of columns (names and types) and of the bytes of local files; None for files elsewhere.

    Elsewhere, reading them back would cost as much as writing them did.
    """
    paths = list(files)
    if not all(path.startswith(_LOCAL) for path in paths):
        return None
    total = hashlib.sha256()
    for column in columns:
        total.update(repr((column.name, column.type)).encode())
    # Names of files are random, and so is the order of those that several threads wrote.
    for one in sorted(_digest(path) for path in paths):
        total.update(one)
    return total.hexdigest()


def _digest(uri: str) -> bytes:
    with Path(storage_for(uri).duckdb_path(uri)).open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
