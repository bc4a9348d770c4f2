"""``lakehouse run explain``: why a node ran, or was reused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.cli import complete, shapes
from dbt.adapters.lakehouse.cli.context import Cli
from dbt.adapters.lakehouse.cli.options import Command
from dbt.adapters.lakehouse.cli.output import BAD, DIM, GOOD, ID, NAME, Cell
from dbt.adapters.lakehouse.cli.words import ago, duration, first_line, plural

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.lake.differences import Cause, Difference
    from dbt.adapters.lakehouse.lake.explain import Explanation, Origin

_LONGEST_DIFF = 60
_ADVICE = (
    ("depends on the time", "`reuse: {per: day}` (or `hour`) in its configuration lets the time matter by the day"),
    ("is volatile", "if any of its results will do, say `reuse: true`"),
    ("left to chance", "if its results are the same all the same (a fixed seed), say `reuse: true`"),
    ("takes a sample", "if any sample will do, say `reuse: true`"),
    ("temporary table", "make that a model, `ephemeral` or a table"),
    (
        "is not in the lake",
        "bring it into the lake (a seed, `lakehouse import`), or say `reuse: true` if it never changes",
    ),
    ("what is not in the lake", "bring that into the lake (a seed, `lakehouse import`), or say `reuse: true`"),
    ("internet access", "say `reuse: {per: day}` if a result a day will do"),
    ("catalog of the lake", "say `reuse: true` if what it finds there does not matter"),
    ("settings of its session", "set them for all sessions: `settings` in the profile, which count by their values"),
    ("which reads relations", "write the relation into the model, where it can be seen"),
    ("depends on the session", "say `reuse: true` if that does not matter"),
)
_EVERY_TIME = "say `reuse: true` if it depends on nothing but its inputs"


@click.command("explain", cls=Command)
@click.argument("node", metavar="NODE", shell_complete=complete.tables)
@click.option("--run", "run_id", metavar="ID", help="In this run, instead of the last that had to do with the node.")
@click.option("--ref", help="On this branch (tag, commit), instead of the target's.", shell_complete=complete.refs)
@click.pass_obj
def explain_node(cli: Cli, node: str, run_id: str | None, ref: str | None) -> None:
    """Say why a node ran, or was reused.

    NODE is a model's (seed's, snapshot's, test's) name or unique id, or schema.table.
    """
    from dbt.adapters.lakehouse.lake.explain import explain

    said, state = cli.resolve(ref)
    found = explain(cli.catalog, node, state=state.id, branch=said, run=run_id)
    if cli.out.json:
        cli.out.document(_document(found))
        return
    _print_head(cli, found)
    cli.out.line()
    for line in _sentences(found):
        cli.out.line(*line)
    if found.differences:
        cli.out.line()
        for line in _tree(found.differences):
            cli.out.line(*line)


# for people


def _print_head(cli: Cli, found: Explanation) -> None:
    relation = [] if found.relation is None else [(f"  {found.relation}", DIM)]
    cli.out.line((found.node, NAME), *relation)
    if found.run is not None:
        took = f", {duration(found.seconds)}" if found.seconds is not None else ""
        cli.out.line(
            ("run ", DIM),
            (short(found.run.id), ID),
            (f" ({found.run.command} on {found.run.target}, {ago(found.run.started_at)}): ", DIM),
            f"{'reused' if found.reused is not None else found.status or found.run.status.value}{took}",
        )


_PLAIN: Mapping[str, Sequence[Cell]] = {
    "unchanged": (("It was left as it is: ", GOOD), "the view says the same over the same relations."),
    "first": ("It ran because ", ("no earlier result", NAME), " of it is known."),
    "same": ("It ran although nothing that counts differs from its result before, which was not kept or is gone.",),
    "batches": ("It ran ", ("batches", NAME), " that its table did not have yet."),
    "never": ("It runs every time: its configuration says ", ("reuse: false", NAME), "."),
    "off": ("It ran because ", ("reuse was off", NAME), " (`reuse` in the profile, or LAKEHOUSE_REUSE)."),
    "rebuild": ("It ran because of ", ("--full-refresh", NAME), "."),
    "unknown": ("No more is kept of that, or may be read.",),
}


def _sentences(found: Explanation) -> Iterator[Sequence[Cell]]:
    yield from _reason(found)
    if found.waited_for is not None:
        yield ["It waited for run ", (short(found.waited_for), ID), ", which was computing the same."]
    if found.differences and found.before is not None:
        which = "the result that stood there before" if found.in_place else "the nearest earlier result"
        if found.reason != "differs":
            yield [f"It differs from {which}: {summary(found.differences)}."]
        yield [(f"Compared with {which} ({_who(found.before)}):", DIM)]


def _reason(found: Explanation) -> Iterator[Sequence[Cell]]:
    message = first_line(found.message or "")
    match found.reason:
        case "reused":
            yield [("It was reused: ", GOOD), _reused(found.reused), "."]
        case "differs":
            yield ["It ran because ", (summary(found.differences), NAME), "."]
        case "not_reusable":
            yield from _obstacles(found)
        case "failed":
            yield [("It ran and failed", BAD), f", so that nothing of it was kept: {message}"]
        case "skipped":
            yield [f"It was skipped{f': {message}' if message else ''}."]
        case "elsewhere":
            yield ["No node of dbt made it: ", (message, NAME), f" ({_who(found.by)})."]
        case other:
            yield _PLAIN[other]


def _obstacles(found: Explanation) -> Iterator[Sequence[Cell]]:
    if not found.obstacles:
        yield ["It runs every time: what it asks is not a function of what is in the lake (time, chance, files)."]
        return
    yield ["It runs ", ("every time", NAME), ":"]
    for why in found.obstacles:
        yield ["  ", (why, NAME)]
        yield [(f"    {advice(why)}", DIM)]


def advice(why: str) -> str:
    """What to do about what makes a node run every time."""
    return next((text for words, text in _ADVICE if words in why), _EVERY_TIME)


def _reused(origin: Origin | None) -> str:
    if origin is None or origin.run is None:
        return f"{origin.author} had made the same" if origin is not None and origin.author else "it was there already"
    saved = f"; {duration(origin.seconds)} saved" if origin.seconds is not None else ""
    return f"{_who(origin)} had made the same{saved}"


def _who(origin: Origin | None) -> str:
    """``run 3f2a91c0 by ann on dev/ann, 2 hours ago``, as far as known."""
    if origin is None:
        return "somebody"
    said = [f"run {short(origin.run)}"] if origin.run else []
    said += [f"by {origin.author}"] if origin.author else []
    said += [f"on {origin.branch}"] if origin.branch else []
    when = f", {ago(origin.made_at)}" if origin.made_at is not None else ""
    return " ".join(said) + when


def summary(found: Sequence[Difference]) -> str:
    """Why a node ran, in one sentence: the first difference up to its root, and how many more there are."""
    if not found:
        return "it was made anew"
    more = f" (and {plural(len(found) - 1, 'more difference')})" if len(found) > 1 else ""
    return ", because ".join(_chain(found[0], "its")) + more


def _chain(one: Difference, whose: str) -> Iterator[str]:
    cause = one.because
    if one.kind != "input":
        yield _phrase(one, whose)
        return
    name = cause.relation if cause is not None else one.part.removeprefix("input ")
    if cause is None:
        yield f"{whose} input {name} changed" if one.after is not None else f"it no longer reads {name}"
    elif cause.is_new:
        yield f"it now reads {name}" if one.before is None else f"{name} is new"
    elif cause.node is None:
        yield f"{name} was changed from outside of dbt"
    elif cause.not_reusable:
        yield f"{name}, which runs every time, gave other rows"
    else:
        yield f"{name} changed"
        if cause.differences:
            yield from _chain(cause.differences[0], f"{name.partition('.')[2]}'s" if name else "its")


def _phrase(one: Difference, whose: str) -> str:
    match one.kind:
        case "mode":
            return _mode(one.before, one.after)
        case "code":
            return f"{whose} code changed"
        case "file":
            return f"{whose} file changed"
        case "macro":
            return f"the {one.part} changed"
        case "engine":
            return f"the engine is another ({one.part.removeprefix('engine: ')})"
        case "environment":
            return f"{one.part} changed"
        case "time":
            return "its period is over (`reuse: {per: …}`)"
        case "state":
            return "the table that it starts from changed"
        case _:
            return f"{whose} configuration changed ({one.part})"


def _mode(before: str | None, after: str | None) -> str:
    if after == "view" or before == "view":
        return f"it became a {'view' if after == 'view' else 'table'}"
    if after == "create":
        return "it was made anew, instead of adding to what is there"
    return "it added to what is there, instead of making it anew"


def _tree(found: Sequence[Difference], indent: str = "") -> Iterator[list[Cell]]:
    for number, one in enumerate(found):
        last = number == len(found) - 1
        yield [(f"{indent}{'└─' if last else '├─'} ", DIM), (one.part, NAME), *_values(one)]
        below = f"{indent}{'   ' if last else '│  '}"
        for line in _shown(one.diff):
            yield [(below, DIM), (line, _style(line))]
        if one.because is not None:
            yield from _tree(one.because.differences, below)


def _values(one: Difference) -> list[Cell]:
    from dbt.adapters.lakehouse.lake.differences import is_hash

    if one.kind == "input":
        return [f": {_cause(one)}"]
    if one.kind in ("code", "file", "state"):
        return []
    if is_hash(one.before) or is_hash(one.after):
        return [" changed"]
    return [": ", (one.before or "nothing", BAD), " → ", (one.after or "nothing", GOOD)]


def _cause(one: Difference) -> str:
    cause = one.because
    if cause is None:
        return "no longer read" if one.after is None else "other rows"
    if cause.told:
        return f"{cause.relation} changed, see there"
    by = f" ({_by(cause)})" if cause.commit is not None else ""
    if one.before is None or cause.is_new:
        return f"{cause.relation} was not read before{by}" if one.before is None else f"{cause.relation} is new{by}"
    if cause.node is None:
        return f"{cause.relation} was changed from outside of dbt{by}"
    if cause.not_reusable:
        return f"{cause.relation} runs every time: {'; '.join(cause.not_reusable)}{by}"
    return f"{cause.relation} has other {'columns or rows' if cause.kind == 'view' else 'rows'}{by}"


def _by(cause: Cause) -> str:
    commit = cause.commit
    assert commit is not None
    made = f"run {short(commit.run)}" if commit.run else f"commit {short(commit.id)}"
    what = "" if cause.node is not None else f" {first_line(commit.message)!r}"
    return f"{made} by {commit.author}, {ago(commit.time)}{what}"


def _shown(lines: Sequence[str]) -> Sequence[str]:
    if len(lines) <= _LONGEST_DIFF:
        return lines
    left = len(lines) - _LONGEST_DIFF
    return [*lines[:_LONGEST_DIFF], f"… and {plural(left, 'more line')}; `--json` has all"]


def _style(line: str) -> str:
    return {"+": GOOD, "-": BAD, "@": DIM, "…": DIM}.get(line[:1], "")


# for programs


def _document(found: Explanation) -> dict[str, Any]:
    run = found.run
    return {
        "node": found.node,
        "relation": found.relation,
        "reason": found.reason,
        "summary": "".join(cell if isinstance(cell, str) else cell[0] for cell in next(iter(_sentences(found)))),
        "run": None
        if run is None
        else {
            "id": run.id,
            "command": run.command,
            "target": run.target,
            "status": run.status.value,
            "started_at": shapes.time(run.started_at),
        },
        "status": found.status,
        "message": found.message,
        "seconds": found.seconds,
        "reused": _origin(found.reused),
        "waited_for": found.waited_for,
        "obstacles": [{"why": why, "advice": advice(why)} for why in found.obstacles],
        "before": None if found.before is None else {**(_origin(found.before) or {}), "in_place": found.in_place},
        "differences": [_difference(one) for one in found.differences],
    }


def _origin(value: Origin | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {
        "run": value.run,
        "author": value.author,
        "branch": value.branch,
        "made_at": shapes.time(value.made_at),
        "seconds": value.seconds,
    }


def _difference(one: Difference) -> dict[str, Any]:
    cause = one.because
    return {
        "part": one.part,
        "kind": one.kind,
        "before": one.before,
        "after": one.after,
        "diff": list(one.diff),
        "because": None
        if cause is None
        else {
            "relation": cause.relation,
            "node": cause.node,
            "kind": cause.kind,
            "is_new": cause.is_new,
            "told": cause.told,
            "commit": cause.commit.id if cause.commit is not None else None,
            "run": cause.commit.run if cause.commit is not None else None,
            "author": cause.commit.author if cause.commit is not None else None,
            "time": shapes.time(cause.commit.time) if cause.commit is not None else None,
            "not_reusable": list(cause.not_reusable),
            "differences": [_difference(inner) for inner in cause.differences],
        },
    }
