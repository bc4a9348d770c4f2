"""``lakehouse rerun``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.cli import shapes
from dbt.adapters.lakehouse.cli.context import Cli, interruptible
from dbt.adapters.lakehouse.cli.options import Command
from dbt.adapters.lakehouse.cli.output import BAD, CHANGED, DIM, GOOD, ID, NAME, Cell, Column
from dbt.adapters.lakehouse.cli.words import number

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.lake.rerun import Rerun, Retold

STYLES = {"equal": GOOD, "differs": CHANGED, "taken": DIM, "failed": BAD, "skipped": DIM}


@click.command("rerun", cls=Command)
@click.argument("run_id", metavar="ID")
@click.option("--branch", "-b", metavar="NAME", help="The new branch. Default: rerun/…, which goes if all is equal.")
@click.option("--keep", is_flag=True, help="Keep the new branch, even if all is equal.")
@click.pass_context
def rerun(context: click.Context, run_id: str, branch: str | None, keep: bool) -> None:
    """Do a past run again, and compare.

    The stored code of the run, on the data that it saw, on a new branch; no earlier result is taken for it. The branch that
    the run was meant for is not touched. Exit code 1 if anything came out otherwise.
    """
    from dbt.adapters.lakehouse.lake.rerun import RerunRequest
    from dbt.adapters.lakehouse.lake.rerun import rerun as again

    cli: Cli = context.obj
    lake = cli.lake()
    lake.runs(1)  # finds out about runs whose process is gone
    request = RerunRequest(run=run_id, author=cli.author, branch=branch, keep=keep)
    with cli.out.working("running again") as tell, interruptible():
        found = again(lake, request, database=cli.database, tell=tell)
    if cli.out.json:
        cli.out.document(shapes.rerun(found))
    else:
        _print(cli, found)
    if not found.equal:
        context.exit(1)


def _print(cli: Cli, found: Rerun) -> None:
    out = cli.out
    columns = [Column("table"), Column("", short=True), Column("rows", right=True, short=True), Column("")]
    out.table(columns, [row for table in found.tables for row in _rows(table)])
    counts = {kind: sum(table.outcome == kind for table in found.tables) for kind in STYLES}
    said = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    out.line((f"run {short(found.original.id)} again: {said}", DIM))
    for note in found.notes:
        out.note(note)
    if found.branch is not None:
        out.line("on branch ", (found.branch, NAME), " at ", (short(found.commit), ID))


def _rows(table: Retold) -> Iterator[list[Cell]]:
    """A table, what differs in it, and why."""
    what = [f"{column.name} {column.change}" for column in table.columns]
    if table.values:
        what.append(f"other values in {', '.join(table.values)}")
    if table.reordered:
        what.append("columns in another order")
    said = "; ".join([", ".join(what), *table.why]) if what else "; ".join(table.why)
    yield [
        (f"{table.schema}.{table.name}", NAME),
        (table.outcome, STYLES[table.outcome]),
        _count(table),
        (said, DIM),
    ]


def _count(table: Retold) -> str:
    before, after = table.rows_before, table.rows_after
    if before == after or before is None or after is None:
        known = after if before is None else before
        return "" if known is None else number(known)
    return f"{number(before)} → {number(after)}"
