"""``lakehouse gc`` and ``compact``."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

from dbt.adapters.lakehouse.catalog.model import Key
from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.cli import complete
from dbt.adapters.lakehouse.cli.context import Cli, interruptible
from dbt.adapters.lakehouse.cli.names import parse_table_name
from dbt.adapters.lakehouse.cli.options import Command
from dbt.adapters.lakehouse.cli.output import DIM, ID, NAME, Cell, Column
from dbt.adapters.lakehouse.cli.words import duration, number, plural, size
from dbt.adapters.lakehouse.run.upkeep import CollectRequest, Compacted, CompactedTable, CompactRequest, Garbage

_Command = TypeVar("_Command", bound=Callable[..., Any])

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"(\d+)\s*([smhdw])")
_LONGEST = timedelta(days=36_500)


class Span(click.ParamType):  # type: ignore[type-arg] # generic from click 8.4 on
    """A length of time: ``30m``, ``12h``, ``7d``, ``2w``, or ``0``."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """See ``click.ParamType``."""
        if isinstance(value, timedelta):
            return value
        text = str(value).strip().lower()
        found = _SPAN.fullmatch(text)
        if found is None and text != "0":
            self.fail(f"{value!r} is no length of time; write 30m, 12h, 7d, 2w or 0", param, ctx)
        seconds = int(found[1]) * _UNITS[found[2]] if found is not None else 0
        if seconds > _LONGEST.total_seconds():
            self.fail(f"{value!r} is longer than a hundred years", param, ctx)
        return timedelta(seconds=seconds)


def _keeping(flag: str, default: str, text: str) -> Callable[[_Command], _Command]:
    return click.option(flag, type=Span(), default=default, show_default=True, metavar="TIME", help=text)


@click.command("gc", cls=Command)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@_keeping("--keep-history", "7d", "Commits and what branches showed can be read for so long.")
@_keeping("--keep-failed-runs", "7d", "Branches of runs that did not pass stay for so long.")
@_keeping("--keep-results", "30d", "Results that no branch holds can be reused for so long.")
@_keeping("--grace", "1d", "Files younger than this stay: jobs may just be writing them.")
@click.option("--nothing-else-runs", is_flag=True, help="Accept a grace below an hour.")
@click.pass_context
def gc(
    context: click.Context,
    dry_run: bool,
    keep_history: timedelta,
    keep_failed_runs: timedelta,
    keep_results: timedelta,
    grace: timedelta,
    nothing_else_runs: bool,
) -> None:
    """Collect garbage.

    Deletes the files that no branch, tag, commit of the history that is kept, open run or reusable result leads to. Commits
    beyond that stay in the log, but can no longer be read. Look first with --dry-run.

    Tables that cannot be read are left alone with all their files, and the exit code is 1.
    """
    cli: Cli = context.obj
    request = CollectRequest(
        history=keep_history,
        failed_runs=keep_failed_runs,
        results=keep_results,
        grace=grace,
        alone=nothing_else_runs,
        dry_run=dry_run,
    )
    with cli.out.working("looking for garbage"):
        found = cli.lake().maintenance.collect(request)
    if cli.out.json:
        cli.out.document(dataclasses.asdict(found))
    else:
        _print_garbage(cli, found)
    if found.unreadable:
        context.exit(1)


def _print_garbage(cli: Cli, found: Garbage) -> None:
    out = cli.out
    would = "would be " if found.dry_run else ""
    if found.tables:
        columns = [Column("table"), Column("files", right=True), Column("size", right=True)]
        out.table(
            columns, [_garbage_row(table.schema, table.name, table.files, table.size_bytes) for table in found.tables]
        )
    if found.branches:
        runs = [name.removeprefix("run/")[:8] for name in found.branches]
        more = f" and {len(runs) - 10:,} more" if len(runs) > 10 else ""
        out.line(f"{plural(len(runs), 'branch')} of runs {would}dropped: ", (", ".join(runs[:10]) + more, ID))
    if found.commits:
        out.line(f"{plural(found.commits, 'commit')} {would}beyond what can be read; the log still tells of them")
    if found.results:
        out.line(f"{plural(found.results, 'result')} {would}forgotten")
    out.line(f"{plural(found.files, 'file')} {would}deleted, ", (size(found.size_bytes), NAME))
    kept = f"{plural(found.kept, 'file')} in use, {size(found.kept_bytes)}"
    young = f"; {plural(found.young, 'file')} too young to tell, {size(found.young_bytes)}" if found.young else ""
    out.line((kept + young, DIM))
    if found.foreign_files:
        named = ", ".join(found.foreign[:5]) + (", …" if found.foreign_files > 5 else "")
        out.note(
            f"{plural(found.foreign_files, 'file')} of the warehouse belong to no table and were left alone: {named}"
        )
    for why in found.unreadable:
        out.error(f"a table's files were left alone, since {why}")


def _garbage_row(schema: str, name: str, files: int, size_bytes: int) -> list[Cell]:
    table = f"{schema}.{name}" if schema else "files on their way"
    return [(table, NAME if schema else DIM), number(files), size(size_bytes)]


@click.command("compact", cls=Command)
@click.argument("tables", nargs=-1, metavar="[SCHEMA.NAME…]", shell_complete=complete.tables)
@click.option(
    "--branch", metavar="BRANCH", shell_complete=complete.branches, help="Where. Default: the target's branch."
)
@click.option("--all", "every", is_flag=True, help="All tables of the branch that have something to gain.")
@click.option(
    "--keep-snapshots", type=click.IntRange(1), metavar="N", help="Snapshots that a table's metadata tells of."
)
@click.option("--older-than", type=Span(), metavar="TIME", help="Let go of older snapshots only.")
@click.option("--dry-run", is_flag=True, help="Only say which tables have something to gain.")
@click.pass_context
def compact(
    context: click.Context,
    tables: tuple[str, ...],
    branch: str | None,
    every: bool,
    keep_snapshots: int | None,
    older_than: timedelta | None,
    dry_run: bool,
) -> None:
    """Bring the files of tables together.

    Small files become large ones, deleted rows go for good, manifests are merged, and old snapshots are no longer told of.
    Rows, and what they are computed from, stay as they are: nothing that reads a table runs again. Each table is a commit
    on the branch; a protected branch gets all of them by one merge.

    A table that somebody changes meanwhile stays as they left it, and the exit code is 1.
    """
    cli: Cli = context.obj
    if bool(tables) == every:
        raise click.UsageError(
            "name tables, or say --all; not both" if tables else "name tables (schema.name), or say --all"
        )
    names = [parse_table_name(text) for text in tables]
    request = CompactRequest(
        branch=branch or cli.branch,
        tables=tuple(dict.fromkeys(Key(name.schema, name.name) for name in names)),
        snapshots=keep_snapshots,
        older_than=older_than,
        author=cli.author,
        dry_run=dry_run,
    )
    with cli.out.working("compacting"), interruptible():
        done = cli.lake().maintenance.compact(request)
    if cli.out.json:
        cli.out.document(dataclasses.asdict(done))
    else:
        _print_compacted(cli, done, dry_run)
    if any(table.problem for table in done.tables):
        context.exit(1)


def _print_compacted(cli: Cli, done: Compacted, dry_run: bool) -> None:
    out = cli.out
    shown = [table for table in done.tables if table.problem is None]
    if shown:
        columns = [
            Column("table"),
            Column("files", right=True),
            Column("deletes", right=True),
            Column("manifests", right=True),
            Column("snapshots", right=True),
            Column("size", right=True),
            Column("took", right=True),
        ]
        out.table(columns, [_compacted_row(table) for table in shown])
    left = done.considered - len(done.tables)
    if left:
        out.line((f"{plural(left, 'table')} had nothing to gain", DIM))
    if done.commit is not None:
        out.line("compacted on ", (done.branch, NAME), ": commit ", (short(done.commit), ID))
    elif dry_run and shown:
        out.line(f"would compact {plural(len(shown), 'table')} on ", (done.branch, NAME))
    for table in done.tables:
        if table.problem is not None:
            out.error(f"{table.schema}.{table.name} was not compacted: {table.problem}")


def _compacted_row(table: CompactedTable) -> list[Cell]:
    before, after = table.before, table.after

    def change(old: int, new: int | None) -> str:
        return number(old) if new is None else f"{number(old)} → {number(new)}"

    return [
        (f"{table.schema}.{table.name}", NAME),
        change(before.files, after.files if after else None),
        change(before.deletes, after.deletes if after else None),
        change(before.manifests, after.manifests if after else None),
        change(before.snapshots, after.snapshots if after else None),
        size(before.size_bytes) if after is None else f"{size(before.size_bytes)} → {size(after.size_bytes)}",
        duration(table.seconds) if after is not None else "",
    ]
