"""``lakehouse ci``."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from dbt.adapters.lakehouse.cli import complete, shapes
from dbt.adapters.lakehouse.cli.context import Cli
from dbt.adapters.lakehouse.cli.options import Command, Group
from dbt.adapters.lakehouse.cli.output import NAME
from dbt.adapters.lakehouse.cli.profiles import find_output
from dbt.adapters.lakehouse.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.ci.pipeline import Pipeline
    from dbt.adapters.lakehouse.ci.values import Differences, Outcome

_BRANCH = "The pull request's branch of the lake. Default: by the CI's environment, ci/pr-NUMBER."


class _WithDefault(Group):
    """Builds where no command is named, so that ``lakehouse ci -- --full-refresh`` reads as it should."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if not args or not (args[0] in self.commands or args[0] in context.help_option_names):
            args = ["build", *args]
        return super().parse_args(context, args)


@click.group("ci", cls=_WithDefault)
def ci() -> None:
    """Build a pull request, report on it, and publish it.

    `lakehouse ci` alone is `lakehouse ci build`. What follows -- goes to dbt build.
    """


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    options = [
        click.option("--branch", metavar="NAME", shell_complete=complete.branches, help=_BRANCH),
        click.option("--base", metavar="BRANCH", default="main", show_default=True, help="The branch to publish to."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _reporting(command: Callable[..., Any]) -> Callable[..., Any]:
    options = [
        click.option("--report", type=click.Path(dir_okay=False), metavar="FILE", help="Write the report there, too."),
        click.option(
            "--max-rows",
            type=click.IntRange(min=0),
            default=5_000_000,
            show_default=True,
            metavar="N",
            help="Compare rows of tables of up to so many.",
        ),
        click.option(
            "--samples",
            type=click.IntRange(min=0, max=100),
            default=5,
            show_default=True,
            metavar="N",
            help="Show so many rows of each kind of change.",
        ),
        click.argument("dbt_arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- DBT_ARGUMENTS]"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@ci.command("build", cls=Command)
@_common
@_reporting
@click.pass_obj
def build(cli: Cli, /, branch: str | None, base: str, dbt_arguments: tuple[str, ...], **how: Any) -> int:
    """Build the project on a branch for the pull request, and report.

    The branch starts anew from the base at each build; what did not change is reused. If the build passed, the branch holds
    what was built, and if not, what it held before. The exit code is 1 if the build failed; the report is written all the same.

    The report goes to stdout as Markdown, and to the job's summary if GITHUB_STEP_SUMMARY names a file.
    """
    _use_profile(cli)
    name = branch or _branch_of_environment()
    if name is None:
        raise click.UsageError("the environment names no pull request; name a branch for it: --branch ci/NAME")
    pipeline = _pipeline(cli, name, base, dbt_arguments)
    return _end(cli, pipeline.build(), dbt_arguments, **how)


@ci.command("publish", cls=Command)
@_common
@click.option("--rebuild", is_flag=True, help="Build even if the same was built for the pull request.")
@_reporting
@click.pass_obj
def publish(
    cli: Cli, /, branch: str | None, base: str, rebuild: bool, dbt_arguments: tuple[str, ...], **how: Any
) -> int:
    """Bring the code that is checked out to the base branch: what was merged.

    If its pull request was built from the same code on the base as it is now, its branch is merged, and dbt does not run.
    Otherwise the project is built anew on the base, which reuses what did not change, and that is published. The branches of
    the pull request are deleted then.
    """
    _use_profile(cli)
    pipeline = _pipeline(cli, branch or _branch_of_environment(), base, dbt_arguments)
    return _end(cli, pipeline.publish(rebuild=rebuild), dbt_arguments, **how)


@ci.command("close", cls=Command)
@_common
@click.pass_obj
def close(cli: Cli, branch: str | None, base: str) -> None:
    """Delete the branches of a pull request that was closed."""
    _use_profile(cli)
    name = branch or _branch_of_environment()
    if name is None:
        raise click.UsageError("the environment names no pull request; name its branch: --branch ci/NAME")
    pipeline = _pipeline(cli, name, base, ())
    cli.lake().runs(1)  # those whose process is gone count as abandoned from here on
    gone = pipeline.close()
    if cli.out.json:
        cli.out.document({"branch": name, "deleted": gone})
    elif gone:
        for one in gone:
            cli.out.line("deleted branch ", (one, NAME))
    else:
        cli.out.line("there is no branch ", (name, NAME))


# what the commands share


def _use_profile(cli: Cli) -> None:
    """Have the lake be the profile's: dbt knows no other."""
    told = [f"--{name}" for name in ("warehouse", "service", "catalog") if getattr(cli.options, name) is not None]
    if told:
        raise click.UsageError(f"{told[0]} is not for this command: dbt works on the lake of the profile")
    cli.profile = find_output(cli.options, cli.project_dir)


def _branch_of_environment() -> str | None:
    from dbt.adapters.lakehouse.ci.origin import branch_of

    return branch_of(os.environ)


def _pipeline(cli: Cli, branch: str | None, base: str, dbt_arguments: tuple[str, ...]) -> Pipeline:
    from dbt.adapters.lakehouse.catalog.refs import check_name
    from dbt.adapters.lakehouse.ci.branches import Branches
    from dbt.adapters.lakehouse.ci.origin import code_of, revision
    from dbt.adapters.lakehouse.ci.pipeline import Pipeline
    from dbt.adapters.lakehouse.ci.running import run_dbt
    from dbt.adapters.lakehouse.profile import allowed

    if branch is not None:
        check_name(branch)
    if not (cli.project_dir / "dbt_project.yml").is_file():
        raise ConfigError(f"there is no dbt project at {cli.project_dir}; call it from one, or name --project-dir")
    # Who ends a job in a hurry gets as tidy an end as who presses Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    arguments = [*_passed_on(cli), *dbt_arguments]
    lake = cli.lake(create=True)
    catalog = lake.catalog
    return Pipeline(
        catalog=catalog,
        versions=lake.versions,
        branches=Branches(catalog, branch, base, cli.author),
        author=cli.author,
        run_dbt=partial(run_dbt, arguments=arguments),
        code=code_of(cli.project_dir, cli.profile, arguments),
        revision=revision(cli.project_dir),
        allow=allowed(cli.profile),
    )


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


def _passed_on(cli: Cli) -> list[str]:
    """Options of ours that are dbt's, too."""
    options = cli.options
    said = {
        "--profile": options.profile,
        "--target": options.target,
        "--profiles-dir": options.profiles_dir,
        "--project-dir": str(cli.project_dir) if cli.project_dir != Path.cwd() else None,
    }
    return [part for name, value in said.items() if value is not None for part in (name, value)]


def _end(
    cli: Cli,
    outcome: Outcome,
    dbt_arguments: tuple[str, ...],
    *,
    report: str | None,
    max_rows: int,
    samples: int,
) -> int:
    """Tell what came of it, wherever somebody reads it."""
    from dbt.adapters.lakehouse.ci.looking import is_whole, look
    from dbt.adapters.lakehouse.ci.report import markdown

    differences = look(
        cli.lake(),
        outcome,
        database=cli.database,
        whole=is_whole(dbt_arguments),
        samples=samples,
        max_rows=max_rows,
    )
    text = markdown(outcome, differences)
    if cli.out.json:
        cli.out.document(_document(outcome, differences))
    else:
        click.echo(text, nl=False)
    if report is not None:
        _write(report, text, "w")
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        _write(summary, text, "a")
    return 0 if outcome.passed else 1


def _write(file: str, text: str, mode: str) -> None:
    try:
        with Path(file).open(mode, encoding="utf-8") as target:
            target.write(text)
    except OSError as error:
        raise StorageError(f"the report cannot be written to {file}: {error.strerror or error}") from error


def _document(outcome: Outcome, differences: Differences) -> dict[str, Any]:
    from dbt.adapters.lakehouse.ci.values import to_json

    return {
        "action": outcome.action,
        "passed": outcome.passed,
        "branch": outcome.branch,
        "ref": outcome.ref,
        "head": outcome.head,
        "base": outcome.base,
        "base_commit": outcome.base_commit,
        "published": outcome.published,
        "notes": list(outcome.notes),
        "build": None if outcome.build is None else to_json(outcome.build),
        "relations": [shapes.comparison(value) for value in differences.relations],
        "missing": list(differences.missing),
        "unseen": differences.unseen,
    }
