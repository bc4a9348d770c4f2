"""The entry point of ``lakehouse``: runs a command, and turns what goes wrong into a message and an exit code.

0: done. 1: it could not be done, or a merge has conflicts. 2: the command line makes no sense. 130: interrupted. Errors
go to stderr, with ``--json`` as one JSON document; stdout holds results alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from dbt.adapters.lakehouse.cli import (
    back,
    check_project,
    ci,
    data,
    dev,
    history,
    jobs,
    load,
    merge,
    query,
    refs,
    rerun,
    runs,
    serve,
    token,
    upkeep,
)
from dbt.adapters.lakehouse.cli.context import Cli
from dbt.adapters.lakehouse.cli.options import Group
from dbt.adapters.lakehouse.cli.shapes import conflict
from dbt.adapters.lakehouse.errors import LakehouseError, MergeConflict

COMMANDS = (
    refs.branch,
    refs.tag,
    history.log,
    history.show,
    history.diff,
    merge.merge,
    back.revert,
    back.reset,
    back.check,
    data.tables,
    data.table,
    query.query,
    load.import_files,
    runs.runs,
    runs.run,
    rerun.rerun,
    upkeep.gc,
    upkeep.compact,
    dev.dev,
    check_project.check_project,
    ci.ci,
    jobs.jobs,
    token.token,
    token.audit,
    serve.serve,
)


@click.group("lakehouse", cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dbt-lakehouse", prog_name="lakehouse")
def lakehouse() -> None:
    """Branches, history and tables of a lake.

    Which lake: the one that --warehouse or LAKEHOUSE_WAREHOUSE names, or that of the service at --service or
    LAKEHOUSE_SERVICE, else that of the dbt profile.
    """


for _command in COMMANDS:
    lakehouse.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the result is the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    cli = Cli()
    # A usage error may come up before click has read the option.
    cli.options.json = "--json" in arguments
    cli.options.debug = "--debug" in arguments
    try:
        return _run(cli, arguments)
    except BrokenPipeError:
        # The reader (`head`, say) has seen enough. Python must not fail again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        return _fail(cli, error)
    finally:
        with contextlib.suppress(LakehouseError):
            cli.close()


def _run(cli: Cli, arguments: Sequence[str]) -> int:
    try:
        code = lakehouse.main(args=list(arguments), prog_name="lakehouse", standalone_mode=False, obj=cli)
    except click.Abort:
        return _report(cli, "interrupted", "interrupted", 130)
    sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _fail(cli: Cli, error: Exception) -> int:
    if cli.options.debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, LakehouseError):
        more = {"conflicts": [conflict(item) for item in error.conflicts]} if isinstance(error, MergeConflict) else {}
        return _report(cli, error.kind, str(error), 1, **more)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return 2
    if isinstance(error, click.ClickException):
        return _report(cli, "usage", usage(error), error.exit_code)
    hint = "" if cli.options.debug else "; --debug shows where"
    return _report(cli, "internal", f"{type(error).__name__}: {error}{hint}", 1)


def usage(error: click.ClickException) -> str:
    """What is wrong with a command line, and where its help is."""
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    return message if context is None else f"{message}; `{context.command_path} --help` shows how"


def _report(cli: Cli, kind: str, message: str, code: int, **more: Any) -> int:
    if cli.options.json:
        print(json.dumps({"error": {"kind": kind, "message": message, **more}}, ensure_ascii=False), file=sys.stderr)
    else:
        cli.out.error(message)
    return code
