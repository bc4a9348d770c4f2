"""What ``lakehouse dev`` shows: text for people, or one JSON document a line."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.cli import shapes
from dbt.adapters.lakehouse.cli.output import BAD, CHANGED, DIM, GOOD, NAME, Cell, Column, Output
from dbt.adapters.lakehouse.cli.values import row_objects, to_text
from dbt.adapters.lakehouse.cli.words import duration, number, plural

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.dev.values import Build, Cause, Look, Node, NodeResult, Problem, Setting
    from dbt.adapters.lakehouse.lake.compare import Comparison, RowChange, Rows

STYLES = {"built": GOOD, "reused": GOOD, "pass": GOOD, "warn": CHANGED, "fail": BAD, "error": BAD, "skipped": DIM}
_WORDS = {"pass": "passed", "fail": "failed", "error": "in error", "warn": "with a warning"}
_LONGEST_CELL = 40
_NUMBERS = ("INT", "DECIMAL", "DOUBLE", "FLOAT")


class TextScreen:
    """Lines and tables, each build under its time of day."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._tell: Any = None

    def started(self, setting: Setting) -> None:
        """See ``dev.values.Screen``."""
        self._out.line(
            "project ", (setting.project, NAME), ", target ", (setting.target, NAME), ": building on branch ",
            (setting.branch, NAME), ", compared with ", (setting.base, NAME),
        )  # fmt: skip

    def waiting(self) -> None:
        """See ``dev.values.Screen``."""
        how = "; Enter builds again, q ends" if self._out.is_terminal and sys.stdin.isatty() else ""
        self._out.line((f"waiting for changes{how}", DIM))
        self._flush()

    @contextlib.contextmanager
    def building(self, cause: Cause) -> Iterator[None]:
        """See ``dev.values.Screen``."""
        self._out.line()
        text = ", ".join(cause.files[:5]) + (f" and {len(cause.files) - 5} more" if len(cause.files) > 5 else "")
        what = f"{text} changed" if text else cause.text
        self._out.line((f"{datetime.now():%H:%M:%S} ", DIM), what)
        for name in cause.removed:
            self._out.line((f"{name} is gone from the project; its table stays on the branch until it is dropped", DIM))
        self._flush()
        with self._out.working("building") as tell:
            self._tell = tell
            yield
        self._tell = None

    def running(self, node: str) -> None:
        """See ``dev.values.Screen``."""
        if self._tell is not None:
            self._tell(f"building {node}")

    def said(self, text: str) -> None:
        """See ``dev.values.Screen``."""
        self._out.line((text, DIM))

    def looked(self, result: NodeResult, look: Look) -> None:
        """See ``dev.values.Screen``."""
        if look.fault is not None:
            self._out.line((result.node.name, NAME), " cannot be read: ", (look.fault, BAD))
            return
        cells = [[_cell(value) for value in row] for row in look.rows]
        shown = fitting([column.name for column in look.columns], cells, self._out.width)
        how = "as built before" if result.status == "reused" else f"built in {duration(result.seconds)}"
        self._out.line((result.node.name, NAME), (f"  {'.'.join(result.node.relation or ())}, {how}", DIM))
        if look.rows:
            columns = [Column(column.name, right=column.type.upper().startswith(_NUMBERS)) for column in look.columns]
            self._out.table(columns[:shown], [row[:shown] for row in cells])
        left = [column.name for column in look.columns[shown:]]
        if left:
            self._out.line((f"and {plural(len(left), 'column')} more: {', '.join(left)}", DIM))
        self._flush()

    def compared(self, node: Node, base: str, comparison: Comparison) -> None:
        """See ``dev.values.Screen``."""
        self._out.line((node.name, NAME), " against ", (base, NAME), ": ", *difference(comparison))
        for column in comparison.columns:
            mark, style = {"added": ("+", GOOD), "removed": ("-", BAD), "retyped": ("~", CHANGED)}[column.change]
            types = " → ".join(part for part in (column.before, column.after) if part is not None)
            self._out.line((f"  {mark} {column.name} {types}", style))
        rows = comparison.rows
        for sample in rows.samples if rows is not None else ():
            self._out.line(*_sample(sample, rows))
        for note in comparison.notes:
            self._out.line((f"  {note}", DIM))
        self._flush()

    def built(self, build: Build, setting: Setting) -> None:
        """See ``dev.values.Screen``."""
        if build.cancelled:
            self._out.line(("cancelled", CHANGED))
            return
        if build.problem is not None:
            self.problem(build.problem)
            return
        for result in build.results:
            if result.problem is not None:
                style = STYLES[result.status]
                self._out.line(
                    (f"{result.node.name} {_WORDS[result.status]}", style), (f"  {_where(result.problem)}", DIM)
                )
                self._indented(result.problem.message)
        if not build.results:
            self._out.line(("nothing is selected", CHANGED))
            return
        counts = _counts(build)
        end = f"published to {setting.branch}" if build.ok else "nothing was published"
        self._out.line((f"{counts}; {end}", GOOD if build.ok else BAD), (f"  {duration(build.seconds)}", DIM))
        self._flush()

    def problem(self, problem: Problem) -> None:
        """See ``dev.values.Screen``."""
        self._out.line()
        self._out.line(
            (f"{datetime.now():%H:%M:%S} ", DIM), (f"{_where(problem) or 'the project'} cannot be built", BAD)
        )
        self._indented(problem.message)
        self._flush()

    def note(self, text: str) -> None:
        """See ``dev.values.Screen``."""
        self._out.line((f"{datetime.now():%H:%M:%S} ", DIM), (text, DIM))
        self._flush()

    def _indented(self, text: str) -> None:
        for line in text.splitlines():
            self._out.line(f"  {line}")

    def _flush(self) -> None:
        sys.stdout.flush()


class JsonScreen:
    """One JSON object a line, each with an ``event``: ``started``, ``build``, ``problem``, ``note``, ``waiting``."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._cause: dict[str, Any] = {}
        self._looks: dict[str, dict[str, Any]] = {}

    def started(self, setting: Setting) -> None:
        """See ``dev.values.Screen``."""
        self._print("started", vars(setting))

    def waiting(self) -> None:
        """See ``dev.values.Screen``."""
        self._print("waiting", {})

    @contextlib.contextmanager
    def building(self, cause: Cause) -> Iterator[None]:
        """See ``dev.values.Screen``."""
        self._cause, self._looks = {"files": list(cause.files), "removed": list(cause.removed)}, {}
        yield

    def running(self, node: str) -> None:
        """See ``dev.values.Screen``."""

    def said(self, text: str) -> None:
        """See ``dev.values.Screen``."""
        self._print("note", {"text": text})

    def looked(self, result: NodeResult, look: Look) -> None:
        """See ``dev.values.Screen``."""
        columns = [{"name": column.name, "type": column.type} for column in look.columns]
        rows = row_objects([column.name for column in look.columns], look.rows)
        self._looks.setdefault(result.node.id, {}).update(ref=look.ref, columns=columns, rows=rows, fault=look.fault)

    def compared(self, node: Node, base: str, comparison: Comparison) -> None:
        """See ``dev.values.Screen``."""
        self._looks.setdefault(node.id, {})["diff"] = {"base": base, **shapes.comparison(comparison)}

    def built(self, build: Build, setting: Setting) -> None:
        """See ``dev.values.Screen``."""
        nodes = [
            {
                "id": one.node.id,
                "kind": one.node.kind,
                "status": one.status,
                "seconds": round(one.seconds, 6),
                "problem": None if one.problem is None else vars(one.problem),
                **self._looks.get(one.node.id, {}),
            }
            for one in build.results
        ]
        self._print(
            "build",
            {
                **self._cause,
                "ok": build.ok,
                "cancelled": build.cancelled,
                "run": build.run or None,
                "branch": setting.branch,
                "seconds": round(build.seconds, 6),
                "problem": None if build.problem is None else vars(build.problem),
                "nodes": nodes,
            },
        )

    def problem(self, problem: Problem) -> None:
        """See ``dev.values.Screen``."""
        self._print("problem", vars(problem))

    def note(self, text: str) -> None:
        """See ``dev.values.Screen``."""
        self._print("note", {"text": text})

    def _print(self, event: str, more: Mapping[str, Any]) -> None:
        sys.stdout.write(json.dumps({"event": event, **more}, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def difference(comparison: Comparison) -> list[Cell]:
    """What became of a relation, in words."""
    change = comparison.change
    if change == "added":
        return [("new", GOOD), f", {plural(comparison.rows_after, 'row')}" if comparison.rows_after is not None else ""]
    if change == "removed":
        return [("gone", BAD)]
    if change == "same":
        return [
            ("the same", DIM),
            *([f", {plural(comparison.rows_after, 'row')}"] if comparison.rows_after is not None else []),
        ]
    before, after = comparison.rows_before, comparison.rows_after
    parts = []
    if before is not None and after is not None:
        parts.append(plural(after, "row") if before == after else f"{number(before)} → {plural(after, 'row')}")
    if comparison.kind_before != comparison.kind_after:
        parts.append(f"{comparison.kind_before} → {comparison.kind_after}")
    if comparison.columns:
        parts.append(f"{plural(len(comparison.columns), 'column')} changed")
    elif comparison.reordered:
        parts.append("columns in another order")
    if comparison.rows is not None:
        parts.append(_rows(comparison.rows))
    return [", ".join(part for part in parts if part)]


def _rows(rows: Rows) -> str:
    if rows.same:
        return "rows the same"
    counts = [f"{number(n)} {what}" for n, what in ((rows.added, "added"), (rows.removed, "removed")) if n]
    if rows.changed:
        of = ", ".join(f"{name} in {number(n)}" for name, n in rows.columns)
        counts.append(f"{number(rows.changed)} changed" + (f" ({of})" if of else ""))
    return ", ".join(counts)


def _sample(sample: RowChange, rows: Rows | None) -> list[Cell]:
    """One row that differs, on one line."""
    times = f"  ×{sample.times}" if sample.times > 1 else ""
    if sample.change == "changed" and sample.before is not None and sample.after is not None:
        key = rows.key if rows is not None else ()
        which = ", ".join(f"{name}={_cell(sample.after[name])}" for name in key)
        found = {name.lower(): value for name, value in sample.before.items()}
        what = ", ".join(
            f"{name}: {_cell(found.get(name.lower()))} → {_cell(sample.after[name])}" for name in sample.columns
        )
        return [(f"  ~ {which}  {what}", CHANGED)]
    row, mark, style = (sample.after, "+", GOOD) if sample.change == "added" else (sample.before, "-", BAD)
    values = ", ".join(f"{name}={_cell(value)}" for name, value in (row or {}).items())
    return [(f"  {mark} {values}{times}", style)]


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    text = to_text(value)
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"


def fitting(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> int:
    """How many columns fit beside one another into a width, at least one."""
    used = 0
    for index, title in enumerate(titles):
        used += max([len(title), *(len(row[index]) for row in rows)]) + 3
        if used > width and index > 0:
            return index
    return len(titles)


def _where(problem: Problem) -> str:
    return f"{problem.path or ''}{f':{problem.line}' if problem.line is not None and problem.path else ''}"


def _counts(build: Build) -> str:
    """How many nodes ended how."""
    tests = ("test", "unit_test")
    words = []
    for status, word in (("built", "built"), ("reused", "reused"), ("error", "in error"), ("skipped", "skipped")):
        count = sum(one.status == status and (one.node.kind not in tests or status != "built") for one in build.results)
        if count:
            words.append(f"{count:,} {word}")
    for status, word in (("pass", "passed"), ("warn", "warned"), ("fail", "failed")):
        count = sum(one.status == status for one in build.results)
        if count:
            words.append(f"{plural(count, 'test')} {word}")
    return ", ".join(words)
