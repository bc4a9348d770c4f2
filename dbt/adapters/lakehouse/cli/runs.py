"""``lakehouse runs`` and ``lakehouse run show``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from dbt.adapters.lakehouse.catalog.model import RunRecord
from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.cli import shapes
from dbt.adapters.lakehouse.cli.context import Cli
from dbt.adapters.lakehouse.cli.explain import explain_node
from dbt.adapters.lakehouse.cli.history import print_changes
from dbt.adapters.lakehouse.cli.options import Command, Group
from dbt.adapters.lakehouse.cli.origins import git_text, versions_text
from dbt.adapters.lakehouse.cli.output import BAD, DIM, GOOD, ID, NAME, Cell, Column
from dbt.adapters.lakehouse.cli.refs import STATE_STYLES
from dbt.adapters.lakehouse.cli.words import ago, duration, first_line, number, plural
from dbt.adapters.lakehouse.errors import LakehouseError, RefNotFound

NODE_STYLES = {"success": GOOD, "pass": GOOD, "reused": GOOD, "error": BAD, "fail": BAD, "skipped": DIM}


@click.command("runs", cls=Command)
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@click.pass_obj
def runs(cli: Cli, limit: int) -> None:
    """Runs that wrote, newest first."""
    found = cli.lake().runs(limit)
    if cli.out.json:
        cli.out.document([shapes.run(record) for record in found])
        return
    columns = [Column("run", short=True), Column("status", short=True), Column("command"), Column("branch")]
    columns += [Column("started", short=True), Column("took", right=True, short=True)]
    columns += [Column("nodes", right=True, short=True), Column("published", short=True)]
    cli.out.table(columns, [_run_row(record) for record in found])


def _run_row(record: RunRecord) -> list[Cell]:
    return [
        (short(record.id), ID),
        (record.status.value, STATE_STYLES[record.status.value]),
        first_line(record.command),
        (record.target, NAME),
        (ago(record.started_at), DIM),
        _took(record),
        number(len(record.nodes)) if record.nodes else "",
        (short(record.published), ID) if record.published else "",
    ]


def _took(record: RunRecord) -> str:
    if record.finished_at is None:
        return ""
    return duration((record.finished_at - record.started_at).total_seconds())


@click.group("run", cls=Group)
def run() -> None:
    """Look at one run, or at why a node ran."""


run.add_command(explain_node)


@run.command("show")
@click.argument("run_id", metavar="ID")
@click.pass_obj
def show_run(cli: Cli, run_id: str) -> None:
    """Show a run by its id or the first digits of it.

    Its status, nodes and times, and what it published, or left on its own branch.
    """
    lake = cli.lake()
    lake.runs(1)  # finds out about runs whose process is gone
    record = lake.catalog.run(run_id)
    if record is None:
        raise RefNotFound(f"no run {run_id!r}; `lakehouse runs` shows which there are")
    changes = _published(cli, record)
    said = _said(cli, record)
    known = said or {}
    continued = next((other.id for other in lake.runs() if other.continues == record.id), None)
    if cli.out.json:
        more = {"continued_by": continued, "git": known.get("git"), "versions": known.get("versions")}
        cli.out.document({**shapes.run(record), **more, "changes": changes})
        return
    _print_head(cli, record, said, continued)
    if record.nodes:
        columns = [Column("node"), Column("status", short=True), Column("took", right=True, short=True)]
        columns += [Column("rows", right=True, short=True), Column("")]
        cli.out.table(columns, [_node_row(name, node) for name, node in record.nodes.items()])
        _print_reuse(cli, record)
    if changes is not None:
        print_changes(cli, changes)


def _print_reuse(cli: Cli, record: RunRecord) -> None:
    reused = [node["reused"] for node in record.nodes.values() if isinstance(node, Mapping) and "reused" in node]
    if reused:
        saved = sum(one.get("seconds") or 0.0 for one in reused if isinstance(one, Mapping))
        nodes = sum(not name.startswith("operation.") for name in record.nodes)
        cli.out.line((f"{len(reused)} of {plural(nodes, 'node')} reused, {duration(saved)} saved", DIM))


def _said(cli: Cli, record: RunRecord) -> Mapping[str, Any] | None:
    """What the run's commits say of the run; None where they are gone."""
    try:
        last = cli.catalog.resolve(record.published or record.branch)
    except LakehouseError:
        return None
    return last.provenance if last.id != record.base else {}


def _published(cli: Cli, record: RunRecord) -> list[dict[str, Any]] | None:
    """What the run's merge changed on its target, or what it left on its branch; None if neither is there any more."""
    try:
        if record.published is None:
            left = cli.catalog.diff(record.base, cli.catalog.resolve(record.branch).id)
            return shapes.changes(left, cli.catalog)
        return shapes.changes(cli.catalog.changes(record.published), cli.catalog)
    except LakehouseError:
        return None


def _print_head(cli: Cli, record: RunRecord, said: Mapping[str, Any] | None, continued: str | None) -> None:
    out = cli.out
    status = record.status.value
    out.line(("run       ", DIM), (record.id, ID))
    out.line(("status    ", DIM), (status, STATE_STYLES[status]))
    out.line(("command   ", DIM), record.command)
    out.line(("branch    ", DIM), (record.target, NAME), (f" from {short(record.base)}", DIM))
    if record.published is None:
        out.line(("left on   ", DIM), (record.branch, NAME), ("" if said is not None else ", which is gone", DIM))
    else:
        out.line(("published ", DIM), (record.published, ID))
    if record.continues:
        out.line(("continues ", DIM), (record.continues, ID))
    if continued:
        out.line(("then      ", DIM), "continued by ", (continued, ID))
    for label, text in (("code      ", git_text(said or {})), ("engine    ", versions_text(said or {}))):
        if text:
            out.line((label, DIM), text)
    out.line(("started   ", DIM), _at(record.started_at))
    if record.finished_at is not None:
        out.line(("finished  ", DIM), _at(record.finished_at), (f", took {_took(record)}", DIM))
    if record.error:
        out.line(("error     ", DIM), (record.error, BAD))


def _at(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC ({ago(time)})"


def _node_row(name: str, node: Any) -> list[Cell]:
    """A node as its run recorded it; what is not known stays empty."""
    said: Mapping[str, Any] = node if isinstance(node, Mapping) else {"status": node}
    status = "reused" if "reused" in said else str(said.get("status") or "")
    seconds, rows = said.get("seconds"), said.get("rows")
    return [
        name,
        (status, NODE_STYLES.get(status, "")),
        duration(seconds) if isinstance(seconds, int | float) else "",
        number(rows) if isinstance(rows, int) else "",
        first_line(str(said.get("message") or "")),
    ]
