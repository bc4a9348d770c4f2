"""``lakehouse tables`` and ``lakehouse table``."""

from __future__ import annotations

import contextlib

import click

from dbt.adapters.lakehouse.catalog.model import (
    Commit,
    Entry,
    FunctionEntry,
    Key,
    SchemaEntry,
    TableEntry,
    ViewEntry,
    kind_of,
)
from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.cli import complete, shapes
from dbt.adapters.lakehouse.cli.context import Cli, interruptible
from dbt.adapters.lakehouse.cli.names import TableName, parse_table_name
from dbt.adapters.lakehouse.cli.options import Command
from dbt.adapters.lakehouse.cli.output import DIM, ID, NAME, Cell, Column
from dbt.adapters.lakehouse.cli.values import to_text
from dbt.adapters.lakehouse.cli.words import first_line, number, size
from dbt.adapters.lakehouse.errors import LakehouseError, NotInLake
from dbt.adapters.lakehouse.jobs.function import SUFFIX, shown

at_ref = click.option(
    "--ref", metavar="REF", shell_complete=complete.refs, help="Branch, tag or commit. Default: the target's branch."
)


@click.command("tables", cls=Command)
@at_ref
@click.pass_obj
def tables(cli: Cli, ref: str | None) -> None:
    """Tables, views and functions."""
    _, commit = cli.resolve(ref)
    entries = [entry for _, entry in sorted(cli.catalog.entries(commit.id).items()) if entry.name]
    if cli.out.json:
        cli.out.document([shapes.entry(entry) for entry in entries])
        return
    columns = [Column("table"), Column("kind", short=True), Column("rows", right=True, short=True)]
    columns += [Column("size", right=True, short=True), Column("columns", right=True, short=True), Column("comment")]
    cli.out.table(columns, [_table_row(entry) for entry in entries])


def _table_row(entry: Entry) -> list[Cell]:
    assert not isinstance(entry, SchemaEntry)
    totals: list[Cell] = ["", ""]
    if isinstance(entry, TableEntry):
        totals = [number(entry.rows), size(entry.size_bytes)]
    if isinstance(entry, FunctionEntry):
        said = first_line(entry.comment or "") or shown("", entry.definition.signatures)
        return [(f"{entry.schema}.{entry.name}", NAME), (entry.definition.type + " function", DIM), *totals, "", said]
    return [
        (f"{entry.schema}.{entry.name}", NAME),
        (kind_of(entry).replace("_", " "), DIM),
        *totals,
        number(len(entry.columns)),
        first_line(entry.comment or ""),
    ]


@click.command("table", cls=Command)
@click.argument("name", metavar="SCHEMA.NAME", shell_complete=complete.tables)
@at_ref
@click.option(
    "--sample", type=click.IntRange(min=0), default=5, show_default=True, metavar="N", help="Show so many rows."
)
@click.pass_obj
def table(cli: Cli, name: str, ref: str | None, sample: int) -> None:
    """One table or view, or a function: SCHEMA.NAME().

    Its columns and size, where its metadata is, and some rows; of a function what it takes and gives.
    """
    wanted = parse_table_name(name.removesuffix(SUFFIX))
    said, commit = cli.resolve(ref)
    relation, function = Key(wanted.schema, wanted.name), Key(wanted.schema, wanted.name + SUFFIX)
    found = cli.catalog.lookup(commit.id, [relation, function])
    entry = found.get(function) if name.endswith(SUFFIX) else found.get(relation) or found.get(function)
    if entry is None:
        raise NotInLake(
            f"no table, view or function {wanted} at {said!r} ({short(commit.id)}); `lakehouse tables` shows them"
        )
    if cli.out.json:
        cli.out.document(shapes.entry(entry))
        return
    if isinstance(entry, FunctionEntry):
        _print_function(cli, entry)
        return
    _print_entry(cli, entry)
    if sample:
        _print_sample(cli, wanted, commit, sample)


def _print_entry(cli: Cli, entry: Entry) -> None:
    assert isinstance(entry, TableEntry | ViewEntry)
    out = cli.out
    out.line((f"{entry.schema}.{entry.name}", NAME), (f" ({kind_of(entry).replace('_', ' ')})", DIM))
    if entry.comment:
        out.line(entry.comment)
    if isinstance(entry, TableEntry):
        out.line(("rows      ", DIM), number(entry.rows), (f", {size(entry.size_bytes)}", DIM))
        out.line(("snapshot  ", DIM), (str(entry.snapshot_id or "none"), ID))
        out.line(("metadata  ", DIM), entry.metadata_location)
    if entry.node:
        out.line(("node      ", DIM), entry.node)
    for text in _query(entry).strip().splitlines():
        out.line("    ", text)
    rows: list[list[Cell]] = [
        [column.name, column.type, "not null" if column.required else "", column.comment or ""]
        for column in entry.columns
    ]
    out.table([Column("column"), Column("type"), Column(""), Column("comment")], rows)


def _print_function(cli: Cli, entry: FunctionEntry) -> None:
    out, made = cli.out, entry.definition
    kind = f" ({made.language} {made.type} function{', ' + made.volatility if made.volatility else ''})"
    out.line((f"{entry.schema}.{entry.name}", NAME), (kind, DIM))
    if entry.comment:
        out.line(entry.comment)
    if entry.node:
        out.line(("node      ", DIM), entry.node)
    if made.language == "python":
        out.line(("python    ", DIM), made.python_version or "", (f" {', '.join(made.packages)}", DIM))
        out.line(("entry     ", DIM), f"{made.entry_point} in {made.path}")
    for signature in made.signatures:
        out.line((shown(entry.name, [signature]), NAME))
        for text in signature.body.strip().splitlines():
            out.line("    ", text)


def _query(entry: Entry) -> str:
    """The SQL that a view or a materialized view stands for."""
    if isinstance(entry, ViewEntry):
        return entry.sql
    return entry.view.sql if isinstance(entry, TableEntry) and entry.view is not None else ""


def _print_sample(cli: Cli, name: TableName, commit: Commit, sample: int) -> None:
    """Some rows; without them the rest is still worth showing."""
    sql = f"SELECT * FROM {name.sql(cli.database)} LIMIT {sample}"
    try:
        with contextlib.closing(cli.lake().read(commit.id, cli.default_schema)) as session, interruptible():
            found = session.execute(sql)
    except LakehouseError as error:
        cli.out.note(f"its rows cannot be read: {error}")
        return
    if found.rows:
        cli.out.line((f"{number(len(found.rows))} of its rows:" if len(found.rows) == sample else "its rows:", DIM))
        cli.out.table([Column(item.name) for item in found.columns], [[*map(to_text, row)] for row in found.rows])
