"""``lakehouse log``, ``show`` and ``diff``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import Commit, Key
from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.cli import complete, origins, shapes
from dbt.adapters.lakehouse.cli.context import Cli, interruptible
from dbt.adapters.lakehouse.cli.graph import graph
from dbt.adapters.lakehouse.cli.names import parse_table_name
from dbt.adapters.lakehouse.cli.options import Command
from dbt.adapters.lakehouse.cli.output import BAD, CHANGED, DIM, GOOD, ID, NAME, Cell, Column
from dbt.adapters.lakehouse.cli.words import ago, first_line, number, plural
from dbt.adapters.lakehouse.errors import NotInLake

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.lake.compare import Comparison

MARKS = {"added": ("+", GOOD), "dropped": ("-", BAD), "changed": ("~", CHANGED)}


@click.command("log", cls=Command)
@click.argument("ref", required=False, shell_complete=complete.refs)
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="At most so many commits. Default: 30.")
@click.option("--all", "-a", "everything", is_flag=True, help="Commits that merges brought along, too.")
@click.option("--graph", "drawn", is_flag=True, help="The same, with lines from commit to commit.")
@click.option("--table", "table", metavar="SCHEMA.NAME", help="Commits that made or changed this table or view.")
@click.pass_obj
def log(cli: Cli, ref: str | None, limit: int | None, everything: bool, drawn: bool, table: str | None) -> None:
    """Commits of a branch, newest first."""
    if table is not None and (everything or drawn):
        raise click.UsageError("--table finds commits wherever they were made; leave out --all and --graph")
    said, head = cli.resolve(ref)
    wanted = limit or 30
    # One more than shown tells whether there are more.
    if table is not None:
        found = _of_table(cli.catalog, head, table, wanted + 1)
        if not found:
            raise NotInLake(
                f"no commit of {said!r} has to do with {table}; `lakehouse tables --ref {said}` lists what is there"
            )
    else:
        found = cli.catalog.log(head.id, wanted + 1, first_parent=not (everything or drawn))
    commits = found[:wanted]
    if cli.out.json:
        cli.out.document([shapes.commit(commit) for commit in commits])
        return
    names: defaultdict[str, list[str]] = defaultdict(list)
    for name in cli.catalog.refs():
        names[name.commit].append(name.name)
    columns = [Column("commit", short=True), Column("when", short=True), Column("author"), Column("message")]
    if drawn:
        rows: list[list[Cell]] = []
        for lines, commit in graph(commits):
            rows.append([lines, *(_log_row(commit, names[commit.id]) if commit is not None else [""] * len(columns))])
        cli.out.table([Column("", short=True), *columns], rows)
    else:
        cli.out.table(columns, [_log_row(commit, names[commit.id]) for commit in commits])
    if len(found) > wanted:
        cli.out.note(f"there are more; `lakehouse log {said} -n N` shows them")


def _of_table(catalog: Catalog, head: Commit, table: str, limit: int) -> list[Commit]:
    """The commits that made what a table was, newest first: those of runs, not the merges that brought them."""
    name = parse_table_name(table)
    found: list[Commit] = []
    state: str | None = head.id
    while state is not None and len(found) < limit:
        commit = catalog.last_change(state, Key(name.schema, name.name))
        if commit is None:
            break
        found.append(commit)
        state = commit.parents[0] if commit.parents else None
    return found


def _log_row(commit: Commit, names: list[str]) -> list[Cell]:
    here = f" ({', '.join(names)})" if names else ""
    return [(short(commit.id), ID), (ago(commit.time), DIM), commit.author, first_line(commit.message) + here]


@click.command("show", cls=Command)
@click.argument("commit", shell_complete=complete.refs)
@click.pass_obj
def show(cli: Cli, commit: str) -> None:
    """One commit: how it came about, and what it changed."""
    found = cli.catalog.resolve(commit)
    changes = shapes.changes(cli.catalog.changes(found.id), cli.catalog)
    read = origins.inputs(cli.catalog, found)
    if cli.out.json:
        cli.out.document({**shapes.commit(found), "changes": changes, "inputs": read})
        return
    out = cli.out
    out.line(("commit ", DIM), (found.id, ID))
    for parent in found.parents:
        out.line(("parent ", DIM), (parent, ID))
    out.line(("author ", DIM), found.author)
    out.line(("time   ", DIM), found.time.strftime("%Y-%m-%d %H:%M:%S UTC"), (f" ({ago(found.time)})", DIM))
    if found.run:
        out.line(("run    ", DIM), found.run)
    origins.print_origin(cli, found)
    out.line()
    for text in found.message.strip().splitlines():
        out.line("    ", text)
    out.line()
    print_changes(cli, changes)
    if read:
        out.line()
        origins.print_inputs(cli, read)
    origins.print_code(cli, found)


@click.command("diff", cls=Command)
@click.argument("old", shell_complete=complete.refs)
@click.argument("new", shell_complete=complete.refs)
@click.option("--rows", is_flag=True, help="Compare the rows of what changed, too.")
@click.option(
    "--key", "key", multiple=True, metavar="COLUMN", help="With --rows: what tells rows apart; may be repeated."
)
@click.pass_obj
def diff(cli: Cli, old: str, new: str, rows: bool, key: tuple[str, ...]) -> None:
    """What changed from OLD to NEW.

    Tables and views that NEW has, lacks or has otherwise; their columns and numbers of rows.
    """
    if key and not rows:
        raise click.UsageError("--key says how to compare rows; add --rows")
    before, after = cli.catalog.resolve(old), cli.catalog.resolve(new)
    changes = shapes.changes(cli.catalog.diff(before.id, after.id), cli.catalog)
    compared = _compared(cli, before.id, after.id, changes, key) if rows else {}
    if cli.out.json:
        cli.out.document([_with_rows(change, compared) for change in changes] if rows else changes)
    elif changes:
        print_changes(cli, changes, compared)
    else:
        cli.out.line("no differences between ", (old, NAME), " and ", (new, NAME))


def _compared(
    cli: Cli, before: str, after: str, changes: list[dict[str, Any]], key: tuple[str, ...]
) -> dict[str, Comparison]:
    """Comparisons of what both have, by name."""
    from dbt.adapters.lakehouse.lake.compare import Comparer

    both = [
        change for change in changes if change["before"] is not None and change["after"] is not None and change["name"]
    ]
    with Comparer(cli.lake(), before=before, after=after, database=cli.database) as comparer, interruptible():
        return {_name(change): comparer.compare(change["schema_name"], change["name"], key=key) for change in both}


def _with_rows(change: dict[str, Any], compared: Mapping[str, Comparison]) -> dict[str, Any]:
    found = compared.get(_name(change))
    return {**change, "comparison": None if found is None else shapes.comparison(found)}


def print_changes(cli: Cli, changes: list[dict[str, Any]], compared: Mapping[str, Comparison] | None = None) -> None:
    """Changes as a table, the columns that changed below each, and a count at the end. ``compared``: rows, too, by name.

    Tables of which nothing changed but what they were made of are only counted.
    """
    rows: list[list[Cell]] = []
    shown = [change for change in changes if not _is_same_table(change)]
    for change in shown:
        mark, style = MARKS[change["change"]]
        found = (compared or {}).get(_name(change))
        what = _what(change) if found is None else _row_words(found)
        rows.append([(f"{mark} {_name(change)}", style), (change["kind"] or "", DIM), _rows(change), what])
        for column in change["columns"]:
            mark, style = MARKS[column["change"]]
            rows.append([(f"    {mark} {column['name']}", style), "", "", _types(column)])
        if found is not None and found.rows is not None:
            rows += [
                [(f"    ~ {name}", CHANGED), "", "", f"in {plural(count, 'row')}"] for name, count in found.rows.columns
            ]
    columns = [Column("change"), Column("kind", short=True), Column("rows", right=True), Column("")]
    if shown:
        cli.out.table(columns, rows)
    counts = {kind: sum(change["change"] == kind for change in shown) for kind in MARKS}
    said = [", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count) or "nothing changed"]
    if len(shown) < len(changes):
        said.append(f"{len(changes) - len(shown):,} the same, though what they were made of is another version")
    cli.out.line(("; ".join(said), DIM))


def _is_same_table(change: dict[str, Any]) -> bool:
    before, after = change["before"], change["after"]
    if before is None or after is None or before["kind"] not in ("table", "materialized_view"):
        return False
    return {**before, "inputs": None} == {**after, "inputs": None}


def _name(change: dict[str, Any]) -> str:
    return ".".join(part for part in (change["schema_name"], change["name"]) if part)


def _rows(change: dict[str, Any]) -> Cell:
    before, after = change["rows_before"], change["rows_after"]
    if before is not None and after is not None and before != after:
        return f"{number(before)} → {number(after)}"
    rows = after if after is not None else before
    return "" if rows is None else number(rows)


def _what(change: dict[str, Any]) -> Cell:
    """What a change did beyond its columns."""
    before, after = change["before"], change["after"]
    if before is None or after is None:
        return ""
    said = []
    if before["kind"] != after["kind"]:
        said.append(f"{before['kind']} → {after['kind']}")
    elif before.get("sql") != after.get("sql"):
        said.append("other SQL")
    elif before.get("snapshot_id") != after.get("snapshot_id"):
        delta = (change["rows_after"] or 0) - (change["rows_before"] or 0)
        said.append(f"{'+' if delta > 0 else '-'}{plural(abs(delta), 'row')}" if delta else "other rows, as many")
    if before.get("comment") != after.get("comment"):
        said.append("other comment")
    return (", ".join(said), DIM)


def _row_words(comparison: Comparison) -> Cell:
    """What became of the rows; or why nobody knows, and what else is to be said of that."""
    rows = comparison.rows
    said = list(comparison.notes)
    if rows is not None:
        kinds = ((rows.added, "added"), (rows.removed, "removed"), (rows.changed, "changed"))
        counts = [f"{plural(count, 'row')} {kind}" for count, kind in kinds if count]
        said.insert(0, ", ".join(counts) or "the same rows")
    return ("; ".join(said), DIM)


def _types(column: dict[str, Any]) -> Cell:
    return " → ".join(part for part in (column["before"], column["after"]) if part is not None)
