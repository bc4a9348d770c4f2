"""``lakehouse revert``, ``reset`` and ``check``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import click

from dbt.adapters.lakehouse.catalog.model import Commit, Conflict, Key
from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.cli import complete, shapes
from dbt.adapters.lakehouse.cli.context import Cli
from dbt.adapters.lakehouse.cli.history import print_changes
from dbt.adapters.lakehouse.cli.names import parse_table_name
from dbt.adapters.lakehouse.cli.options import Command
from dbt.adapters.lakehouse.cli.output import BAD, CHANGED, DIM, ID, NAME, Cell, Column
from dbt.adapters.lakehouse.cli.words import ago, first_line, plural
from dbt.adapters.lakehouse.errors import RefNotFound
from dbt.adapters.lakehouse.run.dependants import Dependant
from dbt.adapters.lakehouse.run.going_back import ResetRequest, Reverted, RevertRequest
from dbt.adapters.lakehouse.run.provenance import MovedInput, Stale

WHY = {
    "computed_from": "computed from {of}",
    "columns_missing": "a view that names columns of {of} which would go",
    "written_together": "written by the same run as {of}, from the same inputs",
    "inputs_moved": "as it was, computed from another {of} than there is now",
}
BECOMES = {"restored": "goes back, too", "dropped": "dropped: it was not there then", None: "does not help"}
_NAMED = 8


@click.command("revert", cls=Command)
@click.argument("what", nargs=-1, required=True, metavar="COMMIT | SCHEMA.NAME…", shell_complete=complete.refs)
@click.option("--to", metavar="REF", shell_complete=complete.refs, help="Put tables back as they were there.")
@click.option("--on", metavar="BRANCH", shell_complete=complete.branches, help="Where. Default: the target's branch.")
@click.option("--with-dependants", is_flag=True, help="Take back what was computed from it, too.")
@click.option("--knowingly", is_flag=True, help="Go ahead, whatever is left to stand on something that is gone.")
@click.option("--accept-tainted", is_flag=True, help="Put back what runs wrote that did not pass, too.")
@click.option("--dry-run", is_flag=True, help="Only say what it would do.")
@click.option("-m", "--message", help="Of the new commit.")
@click.pass_context
def revert(
    context: click.Context,
    what: tuple[str, ...],
    to: str | None,
    on: str | None,
    with_dependants: bool,
    knowingly: bool,
    accept_tainted: bool,
    dry_run: bool,
    message: str | None,
) -> None:
    """Undo a commit, or put tables back.

    Undoes all that COMMIT changed (a publish: all that its run wrote), or with --to puts tables back as they were at REF,
    by a new commit. What would then stand on something that is gone keeps it from happening, unless it is taken along or
    that is done knowingly.

    With conflicts, or dependants that nothing was said of, nothing is done, and the exit code is 1.
    """
    cli: Cli = context.obj
    if to is None and len(what) > 1:
        raise click.UsageError("one commit at a time; to put tables back, say --to REF")
    names = [parse_table_name(text) for text in what] if to is not None else []
    request = RevertRequest(
        branch=on or cli.branch,
        author=cli.author,
        commit=what[0] if to is None else None,
        tables=tuple(Key(name.schema, name.name) for name in names),
        to=to,
        with_dependants=with_dependants,
        knowingly=knowingly,
        accept_tainted=accept_tainted,
        dry_run=dry_run,
        message=message,
    )
    try:
        result = cli.versions.revert(request)
    except RefNotFound as error:
        if to is None and "." in what[0]:
            raise RefNotFound(f"{error}. If it is a table: `lakehouse revert {what[0]} --to REF`") from error
        raise
    changes = shapes.changes(result.changes, cli.catalog)
    if cli.out.json:
        cli.out.document(_document(result, changes, dry_run=dry_run))
    else:
        again = shlex.join(["lakehouse", "revert", *what, *(("--to", to) if to else ()), *(("--on", on) if on else ())])
        _print_revert(cli, request, result, changes, again)
    if result.refused:
        context.exit(1)


@click.command("reset", cls=Command)
@click.argument("branch", shell_complete=complete.branches)
@click.option("--to", required=True, metavar="REF", shell_complete=complete.refs, help="The state that it is to have.")
@click.option("--accept-tainted", is_flag=True, help="Even if runs wrote it that did not pass.")
@click.option("--dry-run", is_flag=True, help="Only say what it would do.")
@click.option("-m", "--message", help="Of the new commit, if BRANCH is protected.")
@click.pass_obj
def reset(cli: Cli, branch: str, to: str, accept_tainted: bool, dry_run: bool, message: str | None) -> None:
    """Let a branch hold what REF holds.

    The branch is moved there; a protected one gets a new commit that says the same. What it held can still be named.
    """
    request = ResetRequest(
        branch=branch, to=to, author=cli.author, accept_tainted=accept_tainted, dry_run=dry_run, message=message
    )
    result = cli.versions.reset(request)
    changes = shapes.changes(result.changes, cli.catalog)
    if cli.out.json:
        cli.out.document(_document(result, changes, dry_run=dry_run))
        return
    name, at = (branch, NAME), (to, NAME)
    if changes:
        print_changes(cli, changes)
    if result.commit is not None:
        cli.out.line("reset ", name, " to ", at, ": commit ", (short(result.commit.id), ID))
        _print_undo(cli, result)
    elif dry_run and changes:
        cli.out.line("would reset ", name, " to ", at)
    else:
        cli.out.line(name, " holds what ", at, " holds; nothing to reset")


@click.command("check", cls=Command)
@click.argument("ref", required=False, shell_complete=complete.refs)
@click.pass_context
def check(context: click.Context, ref: str | None) -> None:
    """List what is stale.

    Tables that were computed from something else than REF (default: the target's branch) holds now, and views that name
    columns which are gone. The same rows, computed again, are not something else.

    If there are any, the exit code is 1.
    """
    cli: Cli = context.obj
    said, commit = cli.resolve(ref)
    found = cli.versions.stale(commit.id)
    if cli.out.json:
        cli.out.document([_stale(one) for one in found])
    elif found:
        _print_stale(cli, said, found)
    else:
        cli.out.line("all that ", (said, NAME), " holds stands on what it was computed from")
    if found:
        context.exit(1)


# as JSON


def _document(result: Reverted, changes: list[dict[str, Any]], *, dry_run: bool) -> dict[str, Any]:
    return {
        "branch": result.branch,
        "dry_run": dry_run,
        "refused": result.refused,
        "before": result.head,
        "commit": None if result.commit is None else shapes.commit(result.commit),
        "changes": changes,
        "conflicts": [shapes.conflict(conflict) for conflict in result.conflicts],
        "dependants": [_dependant(one) for one in result.dependants],
    }


def _dependant(one: Dependant) -> dict[str, Any]:
    return {
        **_named(one.key),
        "node": one.node,
        "why": one.why,
        "of": str(one.of),
        "depth": one.depth,
        "becomes": one.becomes,
        "commit": None if one.by is None else shapes.commit(one.by),
    }


def _stale(one: Stale) -> dict[str, Any]:
    return {
        **_named(one.key),
        "node": one.node,
        "inputs": [
            {
                "input": str(moved.input),
                "what": moved.what,
                "recorded": moved.recorded,
                "standing": moved.standing,
                "recorded_snapshot": moved.recorded_snapshot,
                "standing_snapshot": moved.standing_snapshot,
                "columns": list(moved.columns),
                "commit": None if moved.by is None else shapes.commit(moved.by),
            }
            for moved in one.moved
        ],
        "through": [str(key) for key in one.through],
    }


def _named(key: Key) -> dict[str, str]:
    return {"schema_name": key.schema, "name": key.name}


# for people


def _print_revert(
    cli: Cli, request: RevertRequest, result: Reverted, changes: list[dict[str, Any]], again: str
) -> None:
    out = cli.out
    if result.conflicts:
        _print_conflicts(cli, request, result.conflicts)
        return
    if changes and not result.refused:
        print_changes(cli, changes)
    if result.dependants:
        out.table(
            [
                Column("stands on it"),
                Column("why"),
                Column("written by"),
                Column("taken along" if request.with_dependants else "with --with-dependants"),
            ],
            [_dependant_row(one) for one in result.dependants],
        )
    if result.refused:
        out.error(_refusal(result.dependants, again, taken=request.with_dependants))
    elif result.commit is not None:
        out.line("reverted on ", (result.branch, NAME), ": commit ", (short(result.commit.id), ID))
        _print_undo(cli, result)
    elif changes:
        out.line("would be reverted on ", (result.branch, NAME))
    else:
        out.line((result.branch, NAME), " is like that already; nothing to revert")


def _refusal(dependants: Sequence[Dependant], again: str, *, taken: bool) -> str:
    helpless = sorted({str(one.of) for one in dependants if one.becomes is None})
    count = len({one.key for one in dependants})
    head = f"{plural(count, 'table')} or views would be left" if count > 1 else "a table or view would be left"
    head += " in a state that no run produced; nothing was reverted. "
    ways = [] if taken or len(helpless) == len(dependants) else [f"`{again} --with-dependants` takes them back, too"]
    if helpless:
        ways.append(f"name {', '.join(helpless[:3])} as well, where that is to go back, too")
    ways.append(f"`{again} --knowingly` goes ahead, and `lakehouse check` will list them")
    return head + "; ".join(ways)


def _dependant_row(one: Dependant) -> list[Cell]:
    why = WHY[one.why].format(of=one.of)
    return [
        ("  " * max(0, one.depth - 1) + str(one.key), CHANGED if one.becomes else BAD),
        why,
        (_said(one.by), DIM),
        (BECOMES[one.becomes], "" if one.becomes == "restored" else BAD),
    ]


def _print_conflicts(cli: Cli, request: RevertRequest, conflicts: Sequence[Conflict]) -> None:
    columns = [Column("conflict"), Column("changed since by")]
    cli.out.table(columns, [[(str(one.key), BAD), (_said(one.target_commit), "")] for one in conflicts])
    cli.out.error(
        f"{plural(len(conflicts), 'conflict')}: changed again after {request.commit!r}; nothing was reverted. Revert those "
        "commits first, or put tables back one by one: `lakehouse revert SCHEMA.NAME --to REF`"
    )


def _print_undo(cli: Cli, result: Reverted) -> None:
    cli.out.note(f"`lakehouse reset {result.branch} --to {short(result.head)}` undoes this")


def _said(commit: Commit | None) -> str:
    if commit is None:
        return ""
    run = f", run {short(commit.run)}" if commit.run else ""
    return f"{short(commit.id)} {commit.author}: {first_line(commit.message)}{run}"


def _print_stale(cli: Cli, said: str, found: Sequence[Stale]) -> None:
    rows: list[list[Cell]] = []
    direct = [one for one in found if one.moved]
    for one in direct:
        for number, moved in enumerate(one.moved):
            name: Cell = (str(one.key), BAD) if number == 0 else ""
            when = ago(moved.by.time) if moved.by is not None else ""
            rows.append([name, _what(moved), (when, DIM), (_said(moved.by), DIM)])
    for one in found:
        if not one.moved:
            through = ", ".join(map(str, one.through))
            rows.append([(str(one.key), DIM), (f"through {through}", DIM), "", ""])
    cli.out.table([Column("stale"), Column("because"), Column("since", short=True), Column("by")], rows)
    rest = f", {len(found) - len(direct):,} more through them" if len(found) > len(direct) else ""
    cli.out.line((f"{len(direct):,} stale at {said}{rest}", DIM))
    nodes = [one.node.split(".")[2] for one in direct if one.node and one.node.count(".") >= 2]
    if nodes:
        more = " …" if len(nodes) > _NAMED else ""
        selected = " ".join(f"{name}+" for name in dict.fromkeys(nodes[:_NAMED]))
        cli.out.note(f"`dbt build --select {selected}{more}` brings them up to date")


def _what(moved: MovedInput) -> str:
    if moved.what == "dropped":
        return f"{moved.input} is gone"
    if moved.what == "columns":
        return f"{moved.input} has no {', '.join(moved.columns)} any more"
    if moved.recorded_snapshot is None or moved.standing_snapshot is None:
        return f"{moved.input} is another one"
    return f"{moved.input} is another one (snapshot {moved.recorded_snapshot} → {moved.standing_snapshot})"
