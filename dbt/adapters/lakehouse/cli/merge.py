"""``lakehouse merge``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import click

from dbt.adapters.lakehouse.catalog.model import Commit, Conflict, Key
from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.cli import complete, shapes
from dbt.adapters.lakehouse.cli.context import Cli
from dbt.adapters.lakehouse.cli.history import print_changes
from dbt.adapters.lakehouse.cli.names import parse_table_name
from dbt.adapters.lakehouse.cli.options import Command
from dbt.adapters.lakehouse.cli.output import BAD, CHANGED, DIM, ID, NAME, Cell, Column
from dbt.adapters.lakehouse.cli.words import first_line, plural
from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.run.values import Merged, MergeRequest, Take
from dbt.adapters.lakehouse.settings import Allowed

REASONS = {
    "both_changed": "changed on both sides",
    "both_created": "created on both sides",
    "changed_and_dropped": "changed on one side, dropped on the other",
    "schema_changed": "its columns were changed on both sides, differently",
    "read_changed": "read by the run, changed since",
}

HOW = {
    "ours": "as it is on the target",
    "theirs": "as it is on the source",
    "both": "the rows of both",
    "combined": "the rows of both, which do not touch",
}
COMBINED = {
    "view": "the same on both sides, over other data",
    "function": "the same on both sides, over other data",
    "schema": "the grants of both",
}
"""How what is no table is combined, by kind."""

_SAID = "lakehouse.merge.said"


class _InOrder(Command):
    """Keeps in which order ``--take`` and ``--table`` were said: a table belongs to the take before it."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """See ``click.Command``."""
        context.meta[_SAID] = list(_said(args))
        return super().parse_args(context, args)


def _said(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name in ("--take", "--table"):
            yield name, value if equals else next(words, "")


@click.command("merge", cls=_InOrder)
@click.argument("source", shell_complete=complete.refs)
@click.option("--into", required=True, metavar="BRANCH", shell_complete=complete.branches)
@click.option("--dry-run", is_flag=True, help="Only say what it would do.")
@click.option("-m", "--message", help="Of the merge commit; asks for one where BRANCH could just move forward.")
@click.option("--no-ff", is_flag=True, help="Make a merge commit even where BRANCH could just move forward.")
@click.option(
    "--take",
    multiple=True,
    type=click.Choice(["ours", "theirs", "both"]),
    help="Settle conflicts: BRANCH's tables, SOURCE's, or the rows of both. Of all tables, or of those that follow.",
)
@click.option(
    "--table",
    multiple=True,
    metavar="SCHEMA.NAME",
    help="What the --take before it is for.",
    shell_complete=complete.tables,
)
@click.option("--accept-tainted", is_flag=True, help="Merge what runs wrote that did not pass, too.")
@click.option(
    "--allow",
    multiple=True,
    type=click.Choice(["owner", "schema"]),
    help="Let tables get another owner, or lose columns on a protected branch.",
)
@click.pass_context
def merge(
    context: click.Context,
    source: str,
    into: str,
    dry_run: bool,
    message: str | None,
    no_ff: bool,
    take: tuple[str, ...],
    table: tuple[str, ...],
    accept_tainted: bool,
    allow: tuple[Allowed, ...],
) -> None:
    """Merge a branch into another.

    Brings into BRANCH, at once, what SOURCE changed since they parted. What both sides changed is a conflict, unless one
    table can be made of both or --take says which to have: --take theirs --table raw.a --take ours --table raw.b.

    With conflicts nothing is merged, and the exit code is 1.
    """
    cli: Cli = context.obj
    chosen, otherwise = _choices(context.meta[_SAID], (*take, *table))
    request = MergeRequest(
        source=source,
        target=into,
        author=cli.author,
        message=message,
        dry_run=dry_run,
        take=chosen,
        take_all=otherwise,
        accept_tainted=accept_tainted,
        allow=frozenset(allow),
        fast_forward=not no_ff and message is None,
    )
    merged = cli.versions.merge(request)
    changes = shapes.changes(merged.changes, cli.catalog, merged.made)
    if cli.out.json:
        cli.out.document(_document(request, merged, changes))
    else:
        _print(cli, request, merged, changes)
    if not merged.possible:
        context.exit(1)


def _choices(said: Sequence[tuple[str, str]], values: Sequence[str]) -> tuple[dict[Key, Take], Take | None]:
    """What to take of which table, and of all others. Raises ``ConfigError`` where that makes no sense."""
    if sorted(value for _, value in said) != sorted(values):
        raise ConfigError("--take and --table were read in two ways; write --take=… and --table=…")
    chosen: dict[Key, Take] = {}
    otherwise: Take | None = None
    for number, (option, value) in enumerate(said):
        if option == "--table":
            takes = [cast(Take, take) for name, take in said[:number] if name == "--take"]
            if not takes:
                raise ConfigError(
                    f"--table {value} follows no --take; write --take theirs --table {value}, for instance"
                )
            name = parse_table_name(value)
            key = Key(name.schema, name.name)
            if chosen.get(key, takes[-1]) != takes[-1]:
                raise ConfigError(f"{value} cannot be taken in two ways; leave out one of them")
            chosen[key] = takes[-1]
        elif number + 1 == len(said) or said[number + 1][0] == "--take":
            if otherwise is not None:
                raise ConfigError(
                    f"--take {otherwise} and --take {value} are both for all tables; leave out one of them"
                )
            otherwise = cast(Take, value)
    return chosen, otherwise


def _document(request: MergeRequest, merged: Merged, changes: list[dict[str, Any]]) -> dict[str, Any]:
    why = {item.key: item.why for item in merged.not_settled}
    return {
        "source": request.source,
        "target": request.target,
        "dry_run": request.dry_run,
        "base": merged.base,
        "commit": None if merged.commit is None else shapes.commit(merged.commit),
        "fast_forward": merged.fast_forward,
        "changes": changes,
        "settled": [{**_named(item.key), "how": item.how} for item in merged.settled],
        "conflicts": [
            {**shapes.conflict(conflict), "not_combined": why.get(conflict.key)} for conflict in merged.conflicts
        ],
        "refusals": [{**_named(item.key), "guard": item.guard, "why": item.why} for item in merged.refusals],
        "tainted": merged.tainted,
    }


def _named(key: Key) -> dict[str, str]:
    return {"schema_name": key.schema, "name": key.name}


def _print(cli: Cli, request: MergeRequest, merged: Merged, changes: list[dict[str, Any]]) -> None:
    out = cli.out
    if changes and (request.dry_run or not merged.conflicts):
        print_changes(cli, changes)
    if merged.settled and (request.dry_run or not merged.conflicts):
        kinds = {(one["schema_name"], one["name"]): one["kind"] for one in changes}
        settled: list[list[Cell]] = []
        for item in merged.settled:
            other = COMBINED.get(kinds.get((item.key.schema, item.key.name), ""))
            settled.append([(str(item.key), CHANGED), other if other and item.how == "combined" else HOW[item.how]])
        out.table([Column("settled"), Column("how")], settled)
    if merged.conflicts:
        _print_conflicts(cli, request, merged)
    if merged.refusals:
        refused: list[list[Cell]] = [[(str(item.key), BAD), item.guard, item.why] for item in merged.refusals]
        out.table([Column("refused"), Column("guard", short=True), Column("why")], refused)
        guards = " ".join(f"--allow {guard}" for guard in sorted({item.guard for item in merged.refusals}))
        out.error(
            f"{plural(len(merged.refusals), 'change')} would be refused; if they are meant: {_typed(request, guards)}"
        )
    if merged.tainted:
        out.error(merged.tainted)
    if merged.possible:
        _print_done(cli, request, merged)


def _print_done(cli: Cli, request: MergeRequest, merged: Merged) -> None:
    source, target, out = (request.source, NAME), (request.target, NAME), cli.out
    forward = " (fast-forward)" if merged.fast_forward else ""
    if merged.commit is not None:
        out.line("merged ", source, " into ", target, ": commit ", (short(merged.commit.id), ID), forward)
    elif not merged.changes and not merged.settled and not merged.fast_forward:
        out.line(target, " has everything that ", source, " has; nothing to merge")
    else:
        out.line("would merge ", source, " into ", target, " without conflicts", forward)


def _print_conflicts(cli: Cli, request: MergeRequest, merged: Merged) -> None:
    source, target = request.source, request.target
    why = {item.key: item.why for item in merged.not_settled}
    columns = [Column("conflict"), Column("why"), Column(f"last on {source}"), Column(f"last on {target}")]
    if why:
        columns.append(Column("not combined, since"))
    rows = [
        [*_conflict_row(conflict), *([(why.get(conflict.key, ""), DIM)] if why else [])]
        for conflict in merged.conflicts
    ]
    cli.out.table(columns, rows)
    was = "would be" if request.dry_run else "was"
    # A schema, whose grants are in conflict, cannot be named as a table.
    named = all(conflict.key.name for conflict in merged.conflicts)
    tables = "".join(f" --table {_quoted(conflict.key)}" for conflict in merged.conflicts[:5] if named)
    cli.out.error(
        f"{plural(len(merged.conflicts), 'conflict')} between {source!r} and {target!r}; nothing {was} merged. To settle: "
        f"{_typed(request, f'--take theirs{tables}')} takes those of {source!r}, --take ours leaves {target!r} as it is; "
        f"or build them again on the head of {target!r}"
    )


def _typed(request: MergeRequest, options: str) -> str:
    """The command that goes on from here."""
    return f"`lakehouse merge {request.source} --into {request.target} {options}`"


def _quoted(key: Key) -> str:
    """A table's name as ``--table`` reads it."""
    return ".".join(f"'\"{part}\"'" if "." in part or " " in part else part for part in (key.schema, key.name))


def _conflict_row(conflict: Conflict) -> list[Cell]:
    return [
        (str(conflict.key), BAD),
        REASONS[conflict.kind.value],
        _last(conflict.source_commit),
        _last(conflict.target_commit),
    ]


def _last(commit: Commit | None) -> Cell:
    return "" if commit is None else f"{short(commit.id)} {commit.author}: {first_line(commit.message)}"
