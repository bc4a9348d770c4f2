"""What a store of files can do, and how its files are called.

A location is a URI. ``file:///a/b`` means the path ``/a/b`` letter by letter: nothing in it is percent-decoded, because
pyiceberg, DuckDB and most other Iceberg readers only strip the scheme. ``s3://bucket/a/b`` means the key ``a/b``, as
literally. Names that people choose (schemas, tables) become folder names by ``folder_name``, which leaves nothing for a
reader to trip over.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

LOCAL = "file://"
S3 = "s3://"


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file found by listing: its URI, size in bytes and time of last change (seconds since 1970)."""

    uri: str
    size: int
    modified: float


class Storage(Protocol):
    """What tables and garbage collection need of a file store. Every failure is a StorageError that names the URI."""

    def read(self, uri: str) -> bytes:
        """The whole content of a file."""

    def write(self, uri: str, content: bytes) -> None:
        """A new file, folders included; a file that exists is never overwritten."""

    def delete(self, uri: str) -> None:
        """Remove a file; one that is gone already is no error."""

    def delete_prefix(self, uri: str) -> None:
        """Remove a folder and all that is below it; one that is gone already is no error."""

    def list_prefix(self, uri: str) -> Iterator[StoredFile]:
        """Every file below a folder, in no particular order; nothing if there is no such folder."""

    def delete_files(self, uris: Sequence[str], *, below: str) -> None:
        """Remove many files, and those folders below ``below`` that are empty then; what is gone already is no error."""

    def tidy(self, uri: str, before: float) -> int:
        """Below a folder, end what a writer left that died before that time: empty folders, unfinished uploads. How many."""

    def exists(self, uri: str) -> bool:
        """Whether a file or folder is there."""

    def duckdb_path(self, uri: str, *, folder: bool = False) -> str:
        """What DuckDB calls the file or folder to read it; with ``folder`` the folder is made."""

    def filling(
        self, uri: str, private: Callable[[], str], *, kept: dict[str, str] | None = None
    ) -> AbstractContextManager[str]:
        """A local folder for new files, which are in the store's folder, at the same places below it, after the block.

        It is the store's folder itself, or one made below ``private()``: always the latter with ``kept``, where it is then
        noted under ``uri`` and left to the caller. After an exception nothing is promised but that ``delete_prefix`` removes
        what may be there.
        """


def uri_of(path: str | os.PathLike[str]) -> str:
    """The URI of a local path, absolute and without a slash at the end."""
    return LOCAL + os.path.abspath(path)  # noqa: PTH100  # Path.absolute keeps "..", which no two readers resolve alike


def folder_name(name: str) -> str:
    """A name chosen by people as one path segment that every reader takes literally (ASCII, ``%`` escapes).

    Of a name that is too long for a file system only the beginning is told, with a hash of all of it.
    """
    escaped = quote(name, safe="")
    if len(escaped) > _LONGEST:
        return f"{escaped[: _LONGEST - 40]}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    return escaped.replace(".", "%2E") if set(escaped) <= {"."} else escaped


_LONGEST = 200
