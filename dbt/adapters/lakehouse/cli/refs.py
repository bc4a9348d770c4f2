"""``lakehouse branch`` and ``lakehouse tag``."""

from __future__ import annotations

import click

from dbt.adapters.lakehouse import profile as profiles
from dbt.adapters.lakehouse.catalog.model import Commit, Ref, RefKind, RunRecord
from dbt.adapters.lakehouse.catalog.refs import short, suggestion
from dbt.adapters.lakehouse.cli import complete, shapes
from dbt.adapters.lakehouse.cli.context import Cli
from dbt.adapters.lakehouse.cli.options import Group
from dbt.adapters.lakehouse.cli.output import BAD, CHANGED, DIM, GOOD, ID, NAME, Cell, Column
from dbt.adapters.lakehouse.cli.words import ago, first_line
from dbt.adapters.lakehouse.errors import RefNotFound

STATE_STYLES = {
    "active": "",
    "open": CHANGED,
    "passed": GOOD,
    "published": GOOD,
    "continued": DIM,
    "failed": BAD,
    "abandoned": BAD,
}

HEAD = (Column("commit", short=True), Column("when", short=True), Column("message"))


@click.group("branch", cls=Group)
def branch() -> None:
    """List, create, delete and protect branches."""


@branch.command("list")
@click.option("--all", "-a", "everything", is_flag=True, help="Branches of runs too.")
@click.pass_obj
def list_branches(cli: Cli, everything: bool) -> None:
    """List branches; the target's is marked with *."""
    # Looking at runs also finds those that died, for which a lake is needed.
    records = {record.id: record for record in cli.lake().runs()} if everything else {}
    found = [ref for ref in cli.catalog.refs(RefKind.BRANCH) if everything or ref.run is None]
    states = {ref.name: _state(ref, records) for ref in found}
    if cli.out.json:
        cli.out.document([shapes.branch(ref, states[ref.name], records.get(ref.run or "")) for ref in found])
        return
    target = cli.target_or_none()
    columns = [Column("", short=True), Column("branch"), *HEAD]
    if everything:
        columns[2:2] = [Column("state", short=True), Column("run")]
    rows = []
    for ref in found:
        row = [*_marked(ref, ref.name == target), *_head(cli.catalog.resolve(ref.commit))]
        if everything:
            row[2:2] = [(states[ref.name], STATE_STYLES.get(states[ref.name], "")), _run(ref, records)]
        rows.append(row)
    cli.out.table(columns, rows)


def _state(ref: Ref, records: dict[str, RunRecord]) -> str:
    record = records.get(ref.run) if ref.run is not None else None
    return shapes.ACTIVE if record is None else record.status.value


def _run(ref: Ref, records: dict[str, RunRecord]) -> Cell:
    """Which run a branch belongs to, and since when it stands as it does."""
    record = records.get(ref.run) if ref.run is not None else None
    if record is None:
        return ""
    return (f"{first_line(record.command)} for {record.target}, {ago(record.finished_at or record.started_at)}", DIM)


def _marked(ref: Ref, is_target: bool) -> list[Cell]:
    name = f"{ref.name} (protected)" if ref.protected else ref.name
    return [("*", GOOD) if is_target else "", (name, NAME)]


def _head(commit: Commit) -> list[Cell]:
    return [(short(commit.id), ID), (ago(commit.time), DIM), first_line(commit.message)]


@branch.command("create")
@click.argument("name")
@click.option(
    "--from",
    "start",
    metavar="REF",
    shell_complete=complete.refs,
    help="Where it starts. Default: the profile's from_branch, or main.",
)
@click.pass_obj
def create_branch(cli: Cli, name: str, start: str | None) -> None:
    """Create a branch. Costs the same whatever the size of the lake."""
    start = start or profiles.from_branch(cli.profile)
    ref = cli.catalog.create_ref(name, RefKind.BRANCH, start)
    if cli.out.json:
        cli.out.document(shapes.branch(ref))
    else:
        cli.out.line("created branch ", (ref.name, NAME), " at ", (short(ref.commit), ID), (f" ({start})", DIM))


@branch.command("delete")
@click.argument("name", shell_complete=complete.branches)
@click.option("--force", "-f", is_flag=True, help="Even if it is protected.")
@click.pass_obj
def delete_branch(cli: Cli, name: str, force: bool) -> None:
    """Delete a branch; its commits can be read by their ids until garbage is collected."""
    ref = _named(cli, name, RefKind.BRANCH)
    if ref.protected and force:
        cli.catalog.protect(name, False)
    cli.catalog.delete_ref(name, expected=ref.commit)
    if cli.out.json:
        cli.out.document(shapes.branch(ref, "deleted"))
        return
    cli.out.line("deleted branch ", (name, NAME), ", which was at ", (short(ref.commit), ID))
    if ref.run is None:
        cli.out.note(f"`lakehouse branch create {name} --from {short(ref.commit)}` brings it back")


@branch.command("protect")
@click.argument("name", shell_complete=complete.branches)
@click.option("--off", is_flag=True, help="Lift the protection.")
@click.pass_obj
def protect_branch(cli: Cli, name: str, off: bool) -> None:
    """Let a branch change by merges alone."""
    _named(cli, name, RefKind.BRANCH)
    ref = cli.catalog.protect(name, not off)
    if cli.out.json:
        cli.out.document(shapes.branch(ref))
    else:
        how = "is no longer protected" if off else "is protected: it changes by merges alone"
        cli.out.line("branch ", (ref.name, NAME), " ", how)


@click.group("tag", cls=Group)
def tag() -> None:
    """List, create and delete tags."""


@tag.command("list")
@click.pass_obj
def list_tags(cli: Cli) -> None:
    """List tags."""
    found = cli.catalog.refs(RefKind.TAG)
    if cli.out.json:
        cli.out.document([shapes.tag(ref) for ref in found])
        return
    cli.out.table(
        [Column("tag"), *HEAD], [[(ref.name, NAME), *_head(cli.catalog.resolve(ref.commit))] for ref in found]
    )


@tag.command("create")
@click.argument("name")
@click.option("--at", metavar="REF", shell_complete=complete.refs, help="What it names. Default: the target's branch.")
@click.pass_obj
def create_tag(cli: Cli, name: str, at: str | None) -> None:
    """Give a commit a name that does not move."""
    said, commit = cli.resolve(at)
    ref = cli.catalog.create_ref(name, RefKind.TAG, commit.id)
    if cli.out.json:
        cli.out.document(shapes.tag(ref))
    else:
        cli.out.line("created tag ", (ref.name, NAME), " at ", (short(ref.commit), ID), (f" ({said})", DIM))


@tag.command("delete")
@click.argument("name", shell_complete=complete.tags)
@click.pass_obj
def delete_tag(cli: Cli, name: str) -> None:
    """Delete a tag."""
    ref = _named(cli, name, RefKind.TAG)
    cli.catalog.delete_ref(name, expected=ref.commit)
    if cli.out.json:
        cli.out.document(shapes.tag(ref))
    else:
        cli.out.line("deleted tag ", (name, NAME), ", which was at ", (short(ref.commit), ID))


def _named(cli: Cli, name: str, kind: RefKind) -> Ref:
    """The ref of exactly that name and kind: no expression, since it is about to change."""
    refs = cli.catalog.refs()
    for ref in refs:
        if ref.name == name and ref.kind is kind:
            return ref
        if ref.name == name:
            raise RefNotFound(f"{name!r} is a {ref.kind.value}, not a {kind.value}; use `lakehouse {ref.kind.value}`")
    raise RefNotFound(f"no {kind.value} {name!r}{suggestion(name, [ref.name for ref in refs if ref.kind is kind])}")
