"""Write docs/compatibility.md from what was recorded: ``outcomes.json``, ``as_is.json`` and ``matrix.json``.

python tests/compatibility/page.py            write it
python tests/compatibility/page.py --check    fail if it would be written otherwise
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from classified import ABSTRACT, NOT_APPLICABLE
from matrix_section import matrix_section
from ours import OurClass, our_classes
from outcomes import recorded
from suite import SuiteClass, classes

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "compatibility.md"
_TESTS = "../tests/functional/adapter"

KINDS = {
    "passes": "run as it is",
    "adapted": "what its line names is replaced: another database's words or habits, or what the suite leaves to the adapter",
    "abstract": "a base of other classes, which has nothing to run by itself",
    "not applicable": "tests what does not exist here",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A class of the suite, with those that repeat it word for word."""

    theirs: SuiteClass
    repeated_by: tuple[str, ...]
    kind: str
    """One of KINDS."""
    note: str
    file: str = ""
    """In tests/functional/adapter, where it is run."""

    @property
    def classes(self) -> int:
        return 1 + len(self.repeated_by)


def rows() -> list[Row]:
    """One for each class of the suite, but for those that only repeat another one."""
    by_id: dict[str, list[OurClass]] = {}
    for ours in our_classes():
        for name in ours.runs:
            by_id.setdefault(name, []).append(ours)
    repeated: dict[str, list[SuiteClass]] = {}
    for each in classes():
        if each.empty_subclass_of:
            repeated.setdefault(f"{each.module}.{each.empty_subclass_of}", []).append(each)
    found = []
    for each in classes():
        if not each.empty_subclass_of:
            same = repeated.get(each.id, [])
            run_by = [ours for one in (each, *same) for ours in by_id.get(one.id, [])]
            found.append(_placed(each, same, run_by))
    return found


def _placed(theirs: SuiteClass, same: list[SuiteClass], run_by: list[OurClass]) -> Row:
    repeated_by = tuple(each.name for each in same)
    if run_by:
        best = min(run_by, key=lambda ours: (bool(ours.changed), ours.name))
        kind = "adapted" if best.changed else "passes"
        return Row(theirs=theirs, repeated_by=repeated_by, kind=kind, note=_note(best), file=best.file)
    for kind, said in (("abstract", ABSTRACT), ("not applicable", NOT_APPLICABLE)):
        if theirs.id in said:
            return Row(theirs=theirs, repeated_by=repeated_by, kind=kind, note=said[theirs.id])
    return Row(theirs=theirs, repeated_by=repeated_by, kind="not classified", note="")


def _note(ours: OurClass) -> str:
    """What is replaced and why, and what is not run with the installed versions."""
    skipped = [outcome for outcome in recorded().get(ours.id, {}).values() if outcome != "passed"]
    notes = [f"`{'`, `'.join(ours.changed)}`: {ours.why}"] if ours.changed else []
    notes += [f"`publish: each_node`{'' if ours.changed else f': {ours.why}'}"] if ours.each_node else []
    notes += [f"{len(skipped)} {skipped[0]}"] if skipped else []
    return "; ".join(notes)


def render() -> str:
    """The page."""
    as_is = json.loads((HERE / "as_is.json").read_text())
    found = rows()
    parts = [_INTRO.format(**_versions(as_is)), _totals(found, as_is), _failures(found, as_is)]
    parts.append(matrix_section(HERE / "matrix.json"))
    parts.append(_CLASSES.format(as_is["duckdb"]["versions"]["dbt-duckdb"]))
    for package, members in groupby(found, key=lambda row: row.theirs.module.split(".")[0]):
        parts.append(_package(package, list(members), as_is))
    return "\n".join(parts)


_INTRO = """\
# Compatibility

<!-- Written by `python tests/compatibility/page.py`; `make compatibility` runs the suite for it. -->

How each class of dbt-tests-adapter {suite}, dbt's own tests for adapters, does here (dbt-core {core}, DuckDB {duckdb}). The
classes run in [tests/functional/adapter](../tests/functional/adapter), as part of `make test`: a file is named for the suite's
package and module, so `utils.test_concat` is in `test_utils_concat.py`. A class that comes out otherwise than this page says
fails there, and so does one of a newer suite that this page does not know.
"""
_CLASSES = """\
## Each class

*As it is* counts the tests of the class that pass with nothing replaced, here and in dbt-duckdb {}. A class and those that
repeat it word for word share a line.
"""


def _versions(as_is: dict[str, Any]) -> dict[str, str]:
    versions = as_is["lakehouse"]["versions"]
    return {"suite": versions["dbt-tests-adapter"], "core": versions["dbt-core"], "duckdb": versions["duckdb"]}


def _totals(found: list[Row], as_is: dict[str, Any]) -> str:
    kinds: Counter[str] = Counter()
    for row in found:
        kinds[row.kind] += row.classes
    lines = [f"| {kind} | {kinds[kind]} | {meaning} |" for kind, meaning in KINDS.items()]
    lines += [f"| {kind} | {count} | |" for kind, count in kinds.items() if kind not in KINDS]
    each_node = sum("publish: each_node" in row.note for row in found)
    return f"""\
| | classes | |
|---|---|---|
{chr(10).join(lines)}
| | {sum(kinds.values())} | with {sum(len(each.tests) for each in classes())} tests, some of them with parameters |

All go through a run's transaction, a branch for each run. {each_node} of the classes look at what a run left behind that
failed, and run with `publish: each_node`, as their lines say.
"""


def _failures(found: list[Row], as_is: dict[str, Any]) -> str:
    def line(name: str, key: str) -> str:
        counts = as_is[key]["counts"]
        numbers = " | ".join(str(counts.get(outcome, 0)) for outcome in ("passed", "failed", "error"))
        return f"| {name} | {numbers} | {as_is[key]['date']} |"

    failing: Counter[str] = Counter()
    for row in found:
        names = (row.theirs.name, *row.repeated_by)
        failing[row.kind] += sum(_passed(as_is, "lakehouse", row.theirs.module, name)[2] for name in names)
    reasons = {
        "adapted": "the fixture is another database's, or is to be overridden: adapted here, and passing so",
        "abstract": "the class has nothing to run by itself",
        "not applicable": "the class tests what does not exist here",
        "passes": "the installed dbt-core does not have it yet",
    }
    why = "\n".join(f"- {failing[kind]}: {reason}" for kind, reason in reasons.items() if failing[kind])
    return f"""\
## As they are

Every class run with nothing replaced, abstract bases too (`make test-as-is`):

| | passed | failed | errors | |
|---|---|---|---|---|
{line("dbt-lakehouse", "lakehouse")}
{line(f"dbt-duckdb {as_is['duckdb']['versions']['dbt-duckdb']}", "duckdb")}

What does not pass here:

{why}
"""


def _passed(as_is: dict[str, Any], adapter: str, module: str, name: str) -> tuple[int, int, int]:
    """How many tests of a class passed as they are, how many there are, and how many failed."""
    outcomes = list(as_is[adapter]["outcomes"][f"{module}.{name}"].values())
    failed = sum(outcome in ("failed", "error") for outcome in outcomes)
    return outcomes.count("passed"), len(outcomes), failed


def _package(package: str, members: list[Row], as_is: dict[str, Any]) -> str:
    lines = [f"### {package}\n", "| module | class | | as it is | dbt-duckdb | |", "|---|---|---|---|---|---|"]
    for row in members:
        module = row.theirs.module
        shown = module.partition(".")[2].replace("_", "\\_")
        linked = f"[{shown}]({_TESTS}/{row.file})" if row.file else shown
        names = ", ".join((row.theirs.name, *row.repeated_by)).replace("_", "\\_")
        counts = [_passed(as_is, adapter, module, row.theirs.name)[:2] for adapter in ("lakehouse", "duckdb")]
        cells = " | ".join(f"{passed} of {count}" for passed, count in counts)
        lines.append(f"| {linked} | {names} | {row.kind} | {cells} | {row.note.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    text = render()
    if "--check" in sys.argv[1:]:
        if PAGE.read_text() == text:
            return 0
        print(
            f"{PAGE.name} is not what was recorded; write it with: python tests/compatibility/page.py", file=sys.stderr
        )
        return 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
