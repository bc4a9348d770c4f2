"""One relation's differences in words and in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dbt.adapters.lakehouse.ci.markdown import code, escaped, table
from dbt.adapters.lakehouse.cli.values import to_text
from dbt.adapters.lakehouse.cli.words import plural
from dbt.adapters.lakehouse.lake.compare import ColumnChange, Comparison, RowChange, Rows

_COLUMNS = 8
"""So many columns of sample rows are shown."""
_CELL = 60
_VERBS = ("added", "removed", "retyped")


def schema_words(comparison: Comparison) -> str:
    """What became of the columns, in a few words."""
    counts = {verb: sum(column.change == verb for column in comparison.columns) for verb in _VERBS}
    said = [f"{count:,} {verb}" for verb, count in counts.items() if count]
    if comparison.reordered:
        said.append("another order")
    if comparison.kind_before is not None and comparison.kind_before != comparison.kind_after:
        said.append(f"{comparison.kind_before} → {comparison.kind_after}")
    return ", ".join(said) or "as before"


def row_words(comparison: Comparison) -> str:
    """What became of the rows, in a few words."""
    before, after, rows = comparison.rows_before, comparison.rows_after, comparison.rows
    count = "" if after is None else f"{after:,}"
    if before is not None and after is not None and before != after:
        count = f"{before:,} → {after:,}"
    if comparison.change == "added":
        return count
    if rows is None:
        return f"{count} (not compared)" if count else "not compared"
    pairs = ((rows.added, "added"), (rows.removed, "removed"), (rows.changed, "changed"))
    said = [f"{number:,} {verb}" for number, verb in pairs if number]
    return f"{count}: {', '.join(said) or 'the same'}"


def details(comparison: Comparison, samples: int) -> list[str]:
    """Columns, counts and sample rows, as Markdown."""
    lines = [f"- {_column(column)}" for column in comparison.columns]
    lines += [f"- {escaped(note)}" for note in comparison.notes]
    rows = comparison.rows
    if rows is None:
        return lines
    if rows.key and not rows.same:
        lines.append(f"- rows are told apart by {', '.join(map(code, rows.key))}")
    if rows.columns:
        each = (f"{code(name)} in {plural(count, 'row')}" for name, count in rows.columns)
        lines.append(f"- changed: {', '.join(each)}")
    shown = _chosen(rows.samples, samples)
    if shown:
        lines += [*([""] if lines else []), *_table(rows, shown)]
    return lines


def _column(column: ColumnChange) -> str:
    if column.change == "retyped":
        return f"column {code(column.name)} is {code(column.after or '')}, was {code(column.before or '')}"
    kind = column.after if column.change == "added" else column.before
    return f"column {code(column.name)} {code(kind or '')} was {column.change}"


def _chosen(samples: Sequence[RowChange], limit: int) -> list[RowChange]:
    """The first so many of each kind."""
    return [
        row
        for kind in ("removed", "added", "changed")
        for row in [sample for sample in samples if sample.change == kind][:limit]
    ]


def _table(rows: Rows, samples: Sequence[RowChange]) -> list[str]:
    columns = _columns(rows, samples)
    head = ["", *(code(name, _CELL) for name in columns[:_COLUMNS])]
    if len(columns) > _COLUMNS:
        head.append(f"and {len(columns) - _COLUMNS:,} more")
    lines = []
    for sample in samples:
        times = f" ×{sample.times:,}" if sample.times > 1 else ""
        cells = [_cell(sample, name) for name in columns[:_COLUMNS]]
        lines.append([f"{sample.change}{times}", *cells, *([""] if len(columns) > _COLUMNS else [])])
    return table(head, lines)


def _columns(rows: Rows, samples: Sequence[RowChange]) -> list[str]:
    """The key, then what changed, then the rest."""
    found: dict[str, str] = {name.lower(): name for name in rows.key}
    found |= {name.lower(): name for name, _ in rows.columns}
    for sample in samples:
        for side in (sample.after, sample.before):
            for name in side or ():
                found.setdefault(name.lower(), name)
    return list(found.values())


def _cell(sample: RowChange, name: str) -> str:
    before, after = _value(sample.before, name), _value(sample.after, name)
    if sample.change != "changed":
        return after if sample.change == "added" else before
    if name.lower() in {column.lower() for column in sample.columns}:
        return f"{before} → {after}"
    return after or before


def _value(row: Mapping[str, Any] | None, name: str) -> str:
    if row is None:
        return ""
    for key, value in row.items():
        if key.lower() == name.lower():
            return "NULL" if value is None else code(to_text(value), _CELL) if to_text(value) else "(empty)"
    return ""
