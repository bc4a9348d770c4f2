"""The part of docs/compatibility.md about versions, from what ``matrix.py`` recorded."""

from __future__ import annotations

import json
from pathlib import Path

_HEAD = """\
## Versions

What `make test-matrix` ran: dbt's suite for adapters, the run transaction, reuse, and what is written in DuckDB's SQL.

| Python | dbt-core | DuckDB | passed | failed | skipped | seconds | |
|---|---|---|---|---|---|---|---|
"""


def matrix_section(record: Path) -> str:
    """A table with a line for each combination of versions; nothing if none was recorded."""
    if not record.exists():
        return ""
    lines, notes = [], []
    recorded = json.loads(record.read_text())
    for name, cell in recorded["cells"].items():
        versions = cell["versions"]
        numbers = (cell["passed"], cell["failed"], cell["skipped"], cell["seconds"])
        shown = (versions["python"], versions["dbt-core"], versions["duckdb"], *numbers, cell["date"])
        lines.append("| " + " | ".join(map(str, shown)) + " |")
        if cell["tests"] != recorded["tests"]:
            notes.append(f"- {name}: an earlier choice of tests, without dbt's suite but for a few of its classes")
        notes += [f"- {name}: {why} ({count})" for why, count in cell.get("skipped_because", {}).items()]
        notes += [f"- {name}: failed {failure}" for failure in cell.get("failures", [])]
    skipped = "\nNot everything ran everywhere:\n\n" + "\n".join(notes) + "\n" if notes else ""
    return _HEAD + "\n".join(lines) + "\n" + skipped
