"""``lakehouse import``."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

from dbt.adapters.lakehouse import profile as profiles
from dbt.adapters.lakehouse.catalog.model import Commit, Entry, RefKind, TableEntry, kind_of
from dbt.adapters.lakehouse.catalog.refs import short
from dbt.adapters.lakehouse.cli import complete, sources
from dbt.adapters.lakehouse.cli.context import Cli, interruptible
from dbt.adapters.lakehouse.cli.names import TableName, check_new_name, parse_table_name
from dbt.adapters.lakehouse.cli.options import Command
from dbt.adapters.lakehouse.cli.output import DIM, ID, NAME
from dbt.adapters.lakehouse.cli.progress import reading
from dbt.adapters.lakehouse.cli.sources import CsvDialect, Source
from dbt.adapters.lakehouse.cli.words import duration, plural, size
from dbt.adapters.lakehouse.errors import (
    ConfigError,
    LakehouseError,
    MergeConflict,
    NotInLake,
    RefProtected,
    SqlError,
)

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.lake.base import Built, Lake, Session
    from dbt.adapters.lakehouse.tables.values import Column

COMMAND = "lakehouse import"


@dataclass(frozen=True, kw_only=True)
class Import:
    """What is to be imported, and how it joins what is there."""

    name: TableName
    source: Source
    columns: tuple[Column, ...]
    branch: str
    mode: Literal["new", "append", "replace"]
    message: str | None


@click.command("import", cls=Command)
@click.argument("name", metavar="SCHEMA.NAME")
@click.argument("files", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--branch", "-b", metavar="B", shell_complete=complete.branches, help="Default: the target's branch.")
@click.option("--append", is_flag=True, help="Add the rows to the table.")
@click.option("--replace", is_flag=True, help="Put a new table in the place of the one that is there.")
@click.option("--format", "-f", "wanted", type=click.Choice(sources.FORMATS), help="Default: by the files' names.")
@click.option("--delimiter", metavar="CHAR", help="Between the fields of CSV. Default: found out.")
@click.option("--null", metavar="TEXT", help="What stands for a missing value in CSV (NA, say), besides nothing.")
@click.option("--no-header", is_flag=True, help="The first line of CSV is a row, not the columns' names.")
@click.option("-m", "--message", help="Why; kept with the commit.")
@click.pass_obj
def import_files(
    cli: Cli,
    name: str,
    files: tuple[str, ...],
    branch: str | None,
    append: bool,
    replace: bool,
    wanted: str | None,
    delimiter: str | None,
    null: str | None,
    no_header: bool,
    message: str | None,
) -> None:
    """Make a table of files.

    CSV, JSON or Parquet; paths or globs. The lake is made if there is none.

    It is one run: either everything is on the branch at the end, or nothing.
    """
    if append and replace:
        raise click.UsageError("--append and --replace ask for different things")
    table = parse_table_name(name)
    check_new_name(table)
    source = sources.find(files, wanted, CsvDialect(header=not no_header, delimiter=delimiter, null=null))
    # Before anything is made: what cannot be read leaves no trace.
    columns = sources.describe(source)
    wish = Import(
        name=table,
        source=source,
        columns=columns,
        branch=branch or cli.branch,
        mode="append" if append else "replace" if replace else "new",
        message=message,
    )
    started = time.perf_counter()
    lake = cli.lake(create=True)
    is_new = not _exists(lake, wish)
    built, commit = _import(cli, lake, wish, is_new=is_new)
    _report(cli, wish, built, commit, time.perf_counter() - started, is_new=is_new)


def _exists(lake: Lake, wish: Import) -> bool:
    """Whether the branch is there. Raises ``RefProtected``: files that nobody looked at are no merge."""
    branch = next((ref for ref in lake.catalog.refs(RefKind.BRANCH) if ref.name == wish.branch), None)
    if branch is not None and branch.protected:
        raise RefProtected(
            f"branch {branch.name!r} is protected and changes by merges alone; import to another one (--branch NAME), look at "
            f"it, and `lakehouse merge NAME --into {branch.name}`"
        )
    return branch is not None


def _import(cli: Cli, lake: Lake, wish: Import, *, is_new: bool) -> tuple[Built, Commit | None]:
    """One run. Whatever goes wrong, the branch is as it was, and gone if it was not there."""
    from dbt.adapters.lakehouse.lake.base import RunRequest

    start = profiles.from_branch(cli.profile)
    request = RunRequest(
        id=str(uuid.uuid4()),
        command=COMMAND,
        branch=wish.branch,
        from_branch=start,
        default_schema=cli.default_schema,
        author=cli.author,
        message=wish.message or f"Import {wish.name}",
        provenance={"tool": COMMAND, "sources": list(wish.source.files)},
    )
    run = lake.open_run(request)
    started = time.perf_counter()
    try:
        with contextlib.closing(run.session()) as session, interruptible():
            built = _build(cli, session, wish)
        seconds = round(time.perf_counter() - started, 3)
        return built, run.publish(
            {str(wish.name): {"status": "success", "seconds": seconds, "rows": built.rows_written}}
        )
    except BaseException as error:
        run.fail(str(error) or "interrupted", abandoned=not isinstance(error, Exception))
        # After a conflict the table is whole, and the message says on which branch.
        if not isinstance(error, MergeConflict):
            _forget(lake, run.branch)
        if is_new and wish.branch != start:
            _forget(lake, wish.branch, start)
        raise


def _forget(lake: Lake, branch: str | None, start: str | None = None) -> None:
    """Delete a branch that the run made; one that started somewhere only while it is still there."""
    with contextlib.suppress(LakehouseError):
        if branch is not None:
            lake.catalog.delete_ref(branch, expected=lake.catalog.resolve(start or branch).id)


def _build(cli: Cli, session: Session, wish: Import) -> Built:
    from dbt.adapters.lakehouse.lake.base import Build, Name

    target = Name(database=cli.database, schema=wish.name.schema, name=wish.name.name)
    existing = _check_existing(wish, session.lookup(target))
    appends = existing is not None and wish.mode == "append"
    types = _types_to_keep(cli, wish, existing) if appends and existing is not None else {}
    build = Build(
        name=target,
        mode="append" if appends else "create",
        sql=wish.source.select(types=types),
        local=True,
        provenance={"files": list(wish.source.files), "format": wish.source.format, "bytes": wish.source.size_bytes},
    )
    try:
        with reading(cli.out, wish.source):
            try:
                return session.build(build)
            except SqlError as error:
                if not sources.is_about_types(error):
                    raise
        # A value far down does not fit the type that the first rows suggested.
        cli.out.note("a later value does not fit the type of the first ones; looking at all of them")
        with reading(cli.out, wish.source):
            return session.build(dataclasses.replace(build, sql=wish.source.select(types=types, sample_all=True)))
    except SqlError as error:
        raise SqlError(sources.explain(wish.source, str(error))) from error


def _types_to_keep(cli: Cli, wish: Import, table: TableEntry) -> dict[str, str]:
    """Types that the table imposes on the files. Raises ``SchemaMismatch`` if they have other columns."""
    missing = sources.check_columns(wish.source, wish.columns, table.columns, str(wish.name))
    if missing:
        cli.out.note(f"the files lack {', '.join(missing)}; the new rows have nothing there")
    return sources.types_to_keep(wish.source, wish.columns, table.columns)


def _check_existing(wish: Import, existing: Entry | None) -> TableEntry | None:
    """What stands at the name, provided the wish fits it."""
    if existing is None:
        return None
    if wish.mode == "new":
        raise ConfigError(
            f"{wish.name} exists on branch {wish.branch!r}; --append adds rows to it, --replace puts a new table there"
        )
    if wish.mode == "append" and kind_of(existing) != "table":
        kind = kind_of(existing).replace("_", " ")
        raise NotInLake(f"{wish.name} is a {kind}, to which no rows can be added; --replace makes it a table")
    return existing if isinstance(existing, TableEntry) else None


def _report(cli: Cli, wish: Import, built: Built, commit: Commit | None, seconds: float, *, is_new: bool) -> None:
    entry = built.entry
    assert isinstance(entry, TableEntry)
    if cli.out.json:
        cli.out.document(_document(wish, built, entry, commit, seconds))
        return
    branch = f"{wish.branch} (new)" if is_new else wish.branch
    verb = "added" if wish.mode == "append" else "imported"
    cli.out.line(
        f"{verb} {plural(built.rows_written, 'row')} ({size(wish.source.size_bytes)}) to ",
        (str(wish.name), NAME),
        f" in {duration(seconds)}",
        (" · branch ", DIM),
        branch,
        (" · commit ", DIM),
        (short(commit.id) if commit is not None else "none", ID),
    )


def _document(wish: Import, built: Built, entry: TableEntry, commit: Commit | None, seconds: float) -> dict[str, Any]:
    return {
        "schema_name": entry.schema,
        "name": entry.name,
        "branch": wish.branch,
        "commit": commit.id if commit is not None else None,
        "mode": wish.mode,
        "files": list(wish.source.files),
        "format": wish.source.format,
        "source_bytes": wish.source.size_bytes,
        "rows_written": built.rows_written,
        "rows": entry.rows,
        "size_bytes": entry.size_bytes,
        "seconds": round(seconds, 3),
    }
