"""Options that every command takes, before or after its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click


@dataclass(kw_only=True)
class GlobalOptions:
    """What was said about where the lake is and how to answer; None where nothing was."""

    warehouse: str | None = None
    catalog: str | None = None
    service: str | None = None
    profile: str | None = None
    target: str | None = None
    profiles_dir: str | None = None
    project_dir: str | None = None
    json: bool = False
    no_color: bool = False
    debug: bool = False


class GlobalOption(click.Option):
    """An option whose value goes to the ``GlobalOptions`` of the invocation, wherever it was written."""

    def __init__(self, *declarations: str, **more: Any) -> None:
        super().__init__(list(declarations), expose_value=False, callback=_remember, **more)


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        # `obj` is the context.Cli of this invocation.
        assert parameter.name is not None
        setattr(context.obj.options, parameter.name, value)


def _global_options() -> list[click.Parameter]:
    folder = click.Path()
    return [
        GlobalOption("--warehouse", metavar="PATH|URI", help="The lake's folder. Also: LAKEHOUSE_WAREHOUSE."),
        GlobalOption(
            "--catalog",
            metavar="URL",
            help="The lake's catalog, if it is not beside the warehouse. Also: LAKEHOUSE_CATALOG.",
        ),
        GlobalOption("--service", metavar="URL", help="The service that keeps the lake; its token is LAKEHOUSE_TOKEN."),
        GlobalOption("--profile", metavar="NAME", help="Take the lake from this profile."),
        GlobalOption("--target", "-t", metavar="NAME", help="The profile's target."),
        GlobalOption("--profiles-dir", type=folder, metavar="DIR", help="Where profiles.yml is."),
        GlobalOption("--project-dir", type=folder, metavar="DIR", help="Where dbt_project.yml is."),
        GlobalOption("--json", is_flag=True, help="Print one JSON document."),
        GlobalOption("--no-color", is_flag=True, help="No colours. Also: NO_COLOR."),
        GlobalOption("--debug", is_flag=True, help="Show the traceback of an error."),
    ]


class _TakesGlobals:
    """Adds the global options to a command and sets them apart in its help."""

    def format_options(self: Any, context: click.Context, formatter: click.HelpFormatter) -> None:
        own: list[tuple[str, str]] = []
        everywhere: list[tuple[str, str]] = []
        for parameter in self.get_params(context):
            record = parameter.get_help_record(context)
            if record is not None and not isinstance(parameter, click.Argument):
                (everywhere if isinstance(parameter, GlobalOption) else own).append(record)
        for title, records in (("Options", own), ("Options of every command", everywhere)):
            with formatter.section(title):
                formatter.write_dl(records)


class Command(_TakesGlobals, click.Command):
    """A command that takes the global options too."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.params = [*self.params, *_global_options()]


class Group(_TakesGlobals, click.Group):
    """A group that takes the global options, and whose commands do."""

    command_class = Command
    group_class = type

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.params = [*self.params, *_global_options()]

    def list_commands(self, context: click.Context) -> list[str]:
        """In the order they were added: what belongs together stands together."""
        return list(self.commands)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands first: they are what one looks for."""
        self.format_commands(context, formatter)
        super().format_options(context, formatter)
