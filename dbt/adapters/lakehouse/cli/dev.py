"""``lakehouse dev``."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dbt.adapters.lakehouse.cli.context import Cli
from dbt.adapters.lakehouse.cli.options import Command
from dbt.adapters.lakehouse.cli.profiles import find_project_dir
from dbt.adapters.lakehouse.errors import ConfigError

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.dev.values import Screen


@click.command("dev", cls=Command)
@click.option("--select", "-s", multiple=True, metavar="NODES", help="Only these nodes, as in dbt.")
@click.option("--exclude", multiple=True, metavar="NODES", help="Not these nodes, as in dbt.")
@click.option("--base", metavar="BRANCH", help="What to compare with. Default: the branch the target's is made from.")
@click.option("--rows", type=click.IntRange(min=0), default=10, show_default=True, help="So many rows of each model.")
@click.option("--children", is_flag=True, help="Build what reads the changed nodes, too.")
@click.option("--vars", "variables", metavar="YAML", help="Variables, as in dbt.")
@click.option("--no-initial", is_flag=True, help="Wait for the first save; do not catch up first.")
@click.option("--on-base", is_flag=True, help="Work on the base branch itself.")
@click.option("--once", is_flag=True, help="Build once and end.")
@click.pass_obj
def dev(
    cli: Cli,
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    base: str | None,
    rows: int,
    children: bool,
    variables: str | None,
    no_initial: bool,
    on_base: bool,
    once: bool,
) -> int:
    """Build what is saved, as it is saved, and show its rows.

    Watches the dbt project. On each save the nodes that changed are built on the target's branch, with their tests, in one
    run; their first rows are shown, and how they differ from the base branch. Enter builds again, q ends it.
    """
    _check(cli, once=once)
    here = Path.cwd()
    project_dir = find_project_dir(cli.options).resolve()
    if not (project_dir / "dbt_project.yml").is_file():
        raise ConfigError(
            f"there is no dbt_project.yml in {project_dir}, nor above; call it from a project, or name --project-dir"
        )
    profiles_dir = cli.options.profiles_dir or os.environ.get("DBT_PROFILES_DIR")
    folder = Path(profiles_dir).expanduser() if profiles_dir else _profiles_beside(here, project_dir)

    from dbt.adapters.lakehouse.dev.loop import Loop, Wishes
    from dbt.adapters.lakehouse.dev.resident import Told

    # dbt reads relative paths of a profile from the project's folder.
    os.chdir(project_dir)
    told = Told(
        project_dir=project_dir,
        profiles_dir=(here / folder).resolve(),
        profile=cli.options.profile,
        target=cli.options.target,
        vars=variables,
        prints=not cli.options.json,
    )
    wishes = Wishes(
        select=select,
        exclude=exclude,
        base=base,
        on_base=on_base,
        rows=rows,
        children=children,
        initial=not no_initial,
    )
    screen = _screen(cli)
    loop = Loop(told, wishes, screen)
    try:
        if once:
            return 0 if loop.once() else 1
        loop.run()
    except KeyboardInterrupt:
        screen.note("stopped")
        return 130
    return 0


def _check(cli: Cli, *, once: bool) -> None:
    for name in ("warehouse", "service", "catalog"):
        if getattr(cli.options, name) is not None:
            raise click.UsageError(
                f"--{name} is of no use here: dbt finds the lake in its profile; name a --target instead"
            )
    if not once and importlib.util.find_spec("watchfiles") is None:
        # Said before dbt takes its time to start.
        raise ConfigError("lakehouse dev needs the package watchfiles; pip install 'dbt-lakehouse[watch]'")


def _profiles_beside(here: Path, project_dir: Path) -> Path:
    """Where dbt looks for ``profiles.yml``."""
    for folder in (here, project_dir):
        if (folder / "profiles.yml").is_file():
            return folder
    return Path.home() / ".dbt"


def _screen(cli: Cli) -> Screen:
    from dbt.adapters.lakehouse.cli import dev_screen

    return dev_screen.JsonScreen(cli.out) if cli.out.json else dev_screen.TextScreen(cli.out)
