"""``lakehouse query``."""

from __future__ import annotations

import contextlib
import csv
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from dbt.adapters.lakehouse.cli import complete
from dbt.adapters.lakehouse.cli.context import Cli, interruptible
from dbt.adapters.lakehouse.cli.options import Command
from dbt.adapters.lakehouse.cli.output import DIM, Column
from dbt.adapters.lakehouse.cli.values import distinct, row_objects, to_text
from dbt.adapters.lakehouse.cli.words import plural
from dbt.adapters.lakehouse.errors import ConfigError, StorageError, UnsupportedType

if TYPE_CHECKING:
    import pyarrow as pa

    from dbt.adapters.lakehouse.lake.base import Result, Session

FORMATS = ("table", "json", "csv", "parquet", "arrow")
BINARY = ("parquet", "arrow")
_NUMBERS = ("INT", "DECIMAL", "DOUBLE", "FLOAT")
_ON_A_SCREEN = 1000
"""Rows that a terminal gets without --limit."""


@click.command("query", cls=Command)
@click.argument("sql")
@click.option("--ref", metavar="REF", shell_complete=complete.refs, help="Where to read. Default: the target's branch.")
@click.option("--format", "-f", "wanted", type=click.Choice(FORMATS), help="Default: by the file's name, else table.")
@click.option("--output", "-o", type=click.Path(dir_okay=False), metavar="FILE", help="Write it there, whole or not.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most so many rows.")
@click.pass_obj
def query(cli: Cli, sql: str, ref: str | None, wanted: str | None, output: str | None, limit: int | None) -> None:
    """Run SQL, read-only, on one state of the lake.

    With - the SQL is read from stdin.

    Names are SCHEMA.NAME; "lake@REF".SCHEMA.NAME is the same table elsewhere.
    """
    kind = _format(cli, wanted, output)
    text = sys.stdin.read() if sql == "-" else sql
    if not text.strip():
        raise click.UsageError("there is no SQL to run")
    if output is not None and not Path(output).absolute().parent.is_dir():
        raise ConfigError(f"{output} cannot be written: there is no folder {Path(output).parent}")
    _, commit = cli.resolve(ref)
    session = cli.lake().read(commit.id, cli.default_schema)
    with contextlib.closing(session), interruptible():
        if kind in BINARY:
            _binary(cli, session.arrow(text), kind, output, limit)
        else:
            _rows(cli, session, text, kind, output, limit)


def _format(cli: Cli, wanted: str | None, output: str | None) -> str:
    if cli.out.json:
        if wanted not in (None, "json"):
            raise click.UsageError(f"--json and --format {wanted} ask for different things")
        return "json"
    suffix = Path(output).suffix.removeprefix(".").lower() if output is not None else ""
    kind = wanted or (suffix if suffix in FORMATS else "table")
    if kind in BINARY and output is None and sys.stdout.isatty():
        raise click.UsageError(f"{kind} is not for a terminal; name a file with --output, or send it to a pipe")
    return kind


def _rows(cli: Cli, session: Session, sql: str, kind: str, output: str | None, limit: int | None) -> None:
    on_screen = kind == "table" and output is None and cli.out.is_terminal
    # One row more than a screen takes tells whether there are more.
    cap = _ON_A_SCREEN + 1 if limit is None and on_screen else limit
    result = session.execute(sql, limit=cap)
    if kind == "table" and output is None:
        _print_table(cli, result, cut=limit is None and on_screen)
    elif output is None:
        _write_text(cli, sys.stdout, result, kind)
    else:
        with _whole_file(output) as path, path.open("w", encoding="utf-8", newline="") as file:
            _write_text(cli, file, result, kind)
        _say_written(cli, output, len(result.rows))


def _print_table(cli: Cli, result: Result, *, cut: bool) -> None:
    if not result.columns:
        cli.out.note("the statement gives no rows")
        return
    rows = result.rows[:_ON_A_SCREEN] if cut else result.rows
    columns = [Column(item.name, right=item.type.upper().startswith(_NUMBERS)) for item in result.columns]
    cli.out.table(columns, [[("NULL", DIM) if value is None else to_text(value) for value in row] for row in rows])
    if cut and len(result.rows) > len(rows):
        cli.out.note(f"these are the first {len(rows):,} rows; --limit N shows more, --output FILE writes all")
    elif cli.out.is_terminal:
        cli.out.line((plural(len(rows), "row"), DIM))


def _write_text(cli: Cli, file: IO[str], result: Result, kind: str) -> None:
    names = [item.name for item in result.columns]
    if kind == "json":
        cli.out.document(row_objects(names, result.rows), file)
    elif kind == "csv":
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([to_text(value) for value in row] for row in result.rows)
    else:
        cli.out.plain_table(file, names, ([to_text(value) for value in row] for row in result.rows))


def _binary(cli: Cli, table: pa.Table, kind: str, output: str | None, limit: int | None) -> None:
    table = table.rename_columns(distinct(table.column_names))
    table = table if limit is None else table.slice(0, limit)
    if output is None:
        _write_binary(sys.stdout.buffer, table, kind, stream=True)
        return
    with _whole_file(output) as path, path.open("wb") as file:
        _write_binary(file, table, kind, stream=False)
    _say_written(cli, output, table.num_rows)


def _write_binary(file: IO[bytes], table: pa.Table, kind: str, *, stream: bool) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if kind == "parquet":
        try:
            pq.write_table(table, file, compression="zstd")
        except pa.ArrowNotImplementedError as error:
            lost = ", ".join(repr(field.name) for field in table.schema if "interval" in str(field.type)) or "a column"
            raise UnsupportedType(
                f"{lost} cannot be written as Parquet ({error}); cast intervals to VARCHAR, or take --format arrow"
            ) from error
        return
    # A pipe cannot be read from its end, where the file format has its index.
    make: Any = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(file, table.schema) as writer:
        writer.write_table(table)


@contextlib.contextmanager
def _whole_file(output: str) -> Iterator[Path]:
    """A file beside the wanted one that takes its place once it is complete."""
    target = Path(output).absolute()
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            made = Path(file.name)
        try:
            yield made
            made.chmod(0o666 & ~_umask())
            made.replace(target)
        finally:
            made.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{output} cannot be written: {error.strerror or error}") from error


def _umask() -> int:
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask


def _say_written(cli: Cli, output: str, rows: int) -> None:
    cli.out.note(f"{plural(rows, 'row')} written to {output}")
