"""``lakehouse merge``."""

from __future__ import annotations

from typing import Any

import click

from dbt.adapters.lakehouse.catalog.model import Commit, Conflict, MergeResult
from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.cli import complete, shapes
from dbt.adapters.lakehouse.cli.context import Cli
from dbt.adapters.lakehouse.cli.history import print_changes
from dbt.adapters.lakehouse.cli.options import Command
from dbt.adapters.lakehouse.cli.output import BAD, ID, NAME, Cell, Column
from dbt.adapters.lakehouse.cli.words import first_line, plural

REASONS = {
    "both_changed": "changed on both sides",
    "both_created": "created on both sides",
    "changed_and_dropped": "changed on one side, dropped on the other",
}


@click.command("merge", cls=Command)
@click.argument("source", shell_complete=complete.refs)
@click.option("--into", required=True, metavar="BRANCH", shell_complete=complete.branches)
@click.option("--dry-run", is_flag=True, help="Only say what it would do.")
@click.option("-m", "--message", help="Of the merge commit.")
@click.pass_context
def merge(context: click.Context, source: str, into: str, dry_run: bool, message: str | None) -> None:
    """Merge a branch into another.

    Brings into BRANCH, at once, what SOURCE changed since they parted.

    With conflicts nothing is merged, and the exit code is 1.
    """
    cli: Cli = context.obj
    result = cli.catalog.merge(
        source,
        into,
        author=cli.author,
        message=message or f"Merge {source} into {into}",
        dry_run=dry_run,
    )
    changes = shapes.changes(result.changes, cli.catalog)
    if cli.out.json:
        cli.out.document(_document(source, into, dry_run, result, changes))
    else:
        _print(cli, source, into, dry_run, result, changes)
    if result.conflicts:
        context.exit(1)


def _document(
    source: str, target: str, dry_run: bool, result: MergeResult, changes: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "source": source,
        "target": target,
        "dry_run": dry_run,
        "base": result.base,
        "commit": None if result.commit is None else shapes.commit(result.commit),
        "changes": changes,
        "conflicts": [shapes.conflict(conflict) for conflict in result.conflicts],
    }


def _print(
    cli: Cli, source: str, target: str, dry_run: bool, result: MergeResult, changes: list[dict[str, Any]]
) -> None:
    out = cli.out
    if result.conflicts:
        columns = [Column("conflict"), Column("why"), Column(f"last on {source}"), Column(f"last on {target}")]
        out.table(columns, [_conflict_row(conflict) for conflict in result.conflicts])
        was = "would be" if dry_run else "was"
        out.error(
            f"{plural(len(result.conflicts), 'conflict')} between {source!r} and {target!r}; nothing {was} merged"
        )
    elif not changes and result.commit is None:
        out.line((target, NAME), " has everything that ", (source, NAME), " has; nothing to merge")
    else:
        print_changes(cli, changes)
        if result.commit is not None:
            out.line("merged ", (source, NAME), " into ", (target, NAME), ": commit ", (short(result.commit.id), ID))
        else:
            out.line("would merge ", (source, NAME), " into ", (target, NAME), " without conflicts")


def _conflict_row(conflict: Conflict) -> list[Cell]:
    return [
        (str(conflict.key), BAD),
        REASONS[conflict.kind.value],
        _last(conflict.source_commit),
        _last(conflict.target_commit),
    ]


def _last(commit: Commit | None) -> Cell:
    return "" if commit is None else f"{short(commit.id)} {commit.author}: {first_line(commit.message)}"
