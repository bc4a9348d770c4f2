"""Other file systems for a DuckDB: whatever fsspec speaks (``gcs://``, ``github://``, ``memory://``, ``sftp://`` …)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.errors import ConfigError

if TYPE_CHECKING:
    import duckdb


def check(key: str, said: object) -> None:
    """Raise ``ConfigError`` unless a profile's ``filesystems`` are a list of mappings with an ``fs`` each.

    Other values are not shown: they may be secrets.
    """
    right = "a list is right, with the protocol of each: [{fs: gcs, token: …}]"
    if not isinstance(said, list | tuple):
        raise ConfigError(f"profile key {key!r} is no list; {right}")
    for number, one in enumerate(said, 1):
        if not isinstance(one, Mapping) or not isinstance(one.get("fs"), str) or not one["fs"]:
            raise ConfigError(f"profile key {key!r}: entry {number} does not say which file system it is; {right}")


def register(connection: duckdb.DuckDBPyConnection, filesystems: Iterable[Mapping[str, Any]]) -> None:
    """Let a DuckDB read and write by these. Raises ``ConfigError``."""
    for spec in filesystems:
        options = dict(spec)
        name = str(options.pop("fs"))
        try:
            import fsspec  # type: ignore[import-untyped] # it ships no types

            connection.register_filesystem(fsspec.filesystem(name, **options))
        except Exception as error:  # fsspec's file systems raise what they like
            raise ConfigError(
                f"the file system {name!r} of the profile cannot be used: {_said(error, options)}; fsspec must be installed, "
                "and with it the package that speaks this protocol"
            ) from None


def _said(error: Exception, options: Mapping[str, Any]) -> str:
    """What an error says, without the values of options in it."""
    text = f"{type(error).__name__}: {error}"
    for value in filter(None, map(str, options.values())):
        text = text.replace(value, "…")
    return text
