"""What may be wrong with a seed's file, in words for who wrote it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from dbt.adapters.lakehouse.errors import ConfigError, SchemaMismatch, SqlError

_LINE = re.compile(r"CSV Error on Line: (\d+)\n(?:Original Line: (.*)\n)?(.*)")


def check_file(path: Path, shown: str) -> None:
    """Raise ``ConfigError`` for a file without a line of column names, of which dbt's reader says nothing of use."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            empty = not file.readline().strip()
    except (OSError, ValueError):
        return  # dbt has words for that
    if empty:
        raise ConfigError(f"{shown} is empty; a seed begins with a line that names its columns")


def check_names(names: Iterable[str], shown: str) -> None:
    """Raise ``SchemaMismatch`` for names that are alike but for case, which no table can have side by side."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise SchemaMismatch(f"{shown} has columns {other!r} and {name!r}, alike but for case; rename one of them")


def explained(error: SqlError, shown: str) -> SqlError:
    """DuckDB's error about a CSV file without its advice, which is for options that a seed does not have."""
    found = _LINE.search(str(error))
    if found is None:
        return error
    number, original, what = found.groups()
    text = f" ({original[:100]})" if original else ""
    return SqlError(
        f"{shown}, line {number}: {what.strip()}{text}; correct the line, or say another type of the column in column_types"
    )
