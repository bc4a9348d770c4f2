"""The report: Markdown for a comment on a pull request, or a job's summary. GitHub takes 65,536 characters of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dbt.adapters.lakehouse.ci.markdown import block, code, escaped, folded, size, table
from dbt.adapters.lakehouse.ci.report_rows import details, row_words, schema_words
from dbt.adapters.lakehouse.ci.values import MODELS, TESTS, DbtBuild, Differences, Node, Outcome
from dbt.adapters.lakehouse.cli.words import duration, plural
from dbt.adapters.lakehouse.lake.compare import Comparison
from dbt.adapters.lakehouse.quoting import quote

LIMIT = 65_536
_SIMPLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)

MARK = "<!-- lakehouse ci -->"
"""The first line, by which a comment of ours is known again."""


@dataclass(frozen=True, kw_only=True)
class Detail:
    """How much is said: rows of tables and lists, sample rows, folded details, and characters of a message."""

    rows: int
    samples: int
    details: bool
    message: int


_LEVELS = (
    Detail(rows=200, samples=5, details=True, message=4000),
    Detail(rows=200, samples=2, details=True, message=2000),
    Detail(rows=100, samples=0, details=True, message=1000),
    Detail(rows=50, samples=0, details=False, message=500),
    Detail(rows=10, samples=0, details=False, message=200),
)


def markdown(outcome: Outcome, differences: Differences, *, limit: int = LIMIT) -> str:
    """The report, with as much detail as fits into ``limit`` bytes."""
    text = ""
    for level, detail in enumerate(_LEVELS):
        lines = [*_lines(outcome, differences, detail)]
        if level:
            lines += ["", "This report was shortened to fit; the commands above show the rest."]
        text = "\n".join(lines) + "\n"
        if size(text) <= limit:
            return text
    return text.encode()[:limit].decode(errors="ignore")


def _lines(outcome: Outcome, differences: Differences, detail: Detail) -> Iterator[str]:
    yield MARK
    yield f"## {_title(outcome)}"
    yield ""
    yield from _overview(outcome, differences)
    for note in outcome.notes:
        yield ""
        yield escaped(note) + "."
    build = outcome.build
    if build is not None:
        yield from _failures(build, detail)
        yield from _warnings(build, detail)
    yield from _changes(differences, detail)
    if build is not None:
        yield from _reused(build, detail)
    yield from _how_to_look(outcome, differences)


def _title(outcome: Outcome) -> str:
    if outcome.action == "build":
        return "The build passed" if outcome.passed else "The build failed"
    if not outcome.passed:
        return f"The build failed; nothing was published to {code(outcome.base)}"
    if outcome.published is None:
        return f"{code(outcome.base)} has it all already"
    return f"Published to {code(outcome.base)}"


# the overview


def _overview(outcome: Outcome, differences: Differences) -> Iterator[str]:
    rows = [["models", _models(outcome.build, differences)]]
    build = outcome.build
    if build is not None:
        if tests := build.of(*TESTS):
            rows.append(["tests", _tests(tests)])
        saved = f", {duration(build.saved)} saved by reuse" if build.saved else ""
        rows.append(["time", f"{duration(build.seconds)}{saved}"])
    if outcome.published is not None:
        rows.append(["commit", f"{code(outcome.published[:8])} on {code(outcome.base)}"])
    elif outcome.ref is not None and outcome.head is not None and outcome.ref != outcome.base:
        rows.append(["branch", f"{code(outcome.ref)} at {code(outcome.head[:8])}"])
    rows.append(["base", f"{code(outcome.base)} at {code(outcome.base_commit[:8])}"])
    yield from table(["", ""], rows)


def _models(build: DbtBuild | None, differences: Differences) -> str:
    counts = [
        (sum(c.change in ("changed", "unknown") for c in differences.relations), "changed"),
        (sum(c.change == "added" for c in differences.relations), "new"),
        (len(_removed(differences)), "removed"),
        (sum(c.change == "same" for c in differences.relations), "built again with the same rows"),
    ]
    total = ""
    if build is not None:
        models = build.of(*MODELS)
        counts.append((sum(node.reused for node in models), "reused"))
        counts.append((sum(node.failed for node in models), "failed"))
        counts.append((sum(node.status == "skipped" for node in models), "skipped"))
        total = f"{len(models):,}: "
    said = [f"{count:,} {what}" for count, what in counts if count]
    if differences.unseen:
        said.append(f"{differences.unseen:,} more not looked at")
    if build is not None and build.error is not None and not build.nodes:
        return "none was built"
    return total + (", ".join(said) or "nothing changed")


def _tests(tests: Sequence[Node]) -> str:
    counts = (
        (sum(node.status in ("pass", "success", "reused") for node in tests), "passed"),
        (sum(node.failed for node in tests), "failed"),
        (sum(node.status == "warn" for node in tests), "with a warning"),
        (sum(node.status == "skipped" for node in tests), "skipped"),
    )
    reused = sum(node.reused for node in tests)
    said = ", ".join(f"{count:,} {what}" for count, what in counts if count)
    return f"{said} ({reused:,} of them before)" if reused else said


# what went wrong


def _failures(build: DbtBuild, detail: Detail) -> Iterator[str]:
    failed = build.failed
    if not failed and build.error is None:
        return
    yield from ("", "### What failed", "")
    if build.error is not None:
        yield block(build.error, detail.message * 2)
        yield ""
    for node in failed[: detail.rows]:
        where = f" in {code(node.path)}" if node.path else ""
        yield f"{escaped(node.kind.replace('_', ' '))} {code(node.label)}{where}"
        yield ""
        yield block(node.message or node.status, detail.message)
        yield ""
    yield from _more(len(failed), detail.rows)


def _warnings(build: DbtBuild, detail: Detail) -> Iterator[str]:
    warned = [node for node in build.nodes if node.status == "warn"]
    if warned:
        lines = [f"- {code(node.label)}: {escaped(' '.join((node.message or '').split()))}" for node in warned]
        yield ""
        yield from folded(plural(len(warned), "warning"), [*lines[: detail.rows], *_more(len(warned), detail.rows)])


# what changed


def _changes(differences: Differences, detail: Detail) -> Iterator[str]:
    shown = [c for c in differences.relations if c.change in ("changed", "unknown")]
    if shown:
        yield from ("", "### Changed", "")
        rows = [[code(_name(c)), schema_words(c), row_words(c)] for c in shown[: detail.rows]]
        yield from table(["", "columns", "rows"], rows)
        yield from _more(len(shown), detail.rows)
        yield ""
        if detail.details:
            for comparison in shown[: detail.rows]:
                if lines := details(comparison, detail.samples):
                    yield from folded(code(_name(comparison)), lines)
    added = [c for c in differences.relations if c.change == "added"]
    if added:
        yield from ("", "### New", "")
        rows = [[code(_name(c)), c.kind_after or "", row_words(c)] for c in added[: detail.rows]]
        yield from table(["", "", "rows"], rows)
        yield from _more(len(added), detail.rows)
    removed = _removed(differences)
    if removed:
        yield from ("", "### Removed", "")
        gone = {_name(c) for c in differences.relations if c.change == "removed"}
        for name in removed[: detail.rows]:
            stays = "" if name in gone else ": the project no longer has it; what it made stays until it is dropped"
            yield f"- {code(name)}{stays}"
        yield from _more(len(removed), detail.rows)


def _removed(differences: Differences) -> list[str]:
    gone = {_name(c) for c in differences.relations if c.change == "removed"}
    return sorted({*gone, *differences.missing})


def _name(comparison: Comparison) -> str:
    return f"{comparison.schema}.{comparison.name}"


def _reused(build: DbtBuild, detail: Detail) -> Iterator[str]:
    reused = sorted((n for n in build.of(*MODELS) if n.reused), key=lambda node: (-node.saved, node.id))
    if reused and detail.details:
        lines = table(["", "saved"], ([code(n.label), duration(n.saved)] for n in reused[: detail.rows]))
        yield ""
        yield from folded(f"{plural(len(reused), 'model')} reused", [*lines, *_more(len(reused), detail.rows)])


def _more(count: int, shown: int) -> Iterator[str]:
    if count > shown:
        yield from ("", f"and {count - shown:,} more")


# how to look at it


def _how_to_look(outcome: Outcome, differences: Differences) -> Iterator[str]:
    if outcome.head is None or (outcome.ref == outcome.base and outcome.published is None):
        return
    if not outcome.passed and not differences.relations:
        return
    # A branch may be gone or renewed when this is read; what was published stands at its commit.
    ref = outcome.ref if outcome.published is None else outcome.published[:8]
    assert ref is not None
    before = outcome.base if outcome.published is None else outcome.base_commit[:8]
    standing = [c for c in differences.relations if c.kind_after is not None]
    name = _sql_name(standing[0]) if standing else "SCHEMA.TABLE"
    yield from ("", "### Look at it", "", "```sh")
    yield f"lakehouse diff {before} {ref} --rows"
    if name.isprintable() and not set(name) & set("`'\\$!"):
        yield f"lakehouse query 'select * from {name} limit 10' --ref {ref}"
    yield "```"


def _sql_name(comparison: Comparison) -> str:
    parts = (comparison.schema, comparison.name)
    return ".".join(part if _SIMPLE.fullmatch(part) else quote(part) for part in parts)
