"""Commands inside another program: dbt's operations, on the lake that the adapter has open."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from dbt.adapters.lakehouse.cli.context import Cli
from dbt.adapters.lakehouse.cli.main import lakehouse, usage
from dbt.adapters.lakehouse.errors import ConfigError

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.lake.base import Lake

_NOT_HERE = frozenset({"dev", "ci", "check-project", "serve", "token", "audit"})
"""Commands that go on for ever, start dbt themselves, or are for whoever keeps a service."""


def run(lake: Lake, profile: dict[str, Any], words: Sequence[Any], options: Mapping[str, Any]) -> tuple[int, str]:
    """Run one command; its exit code and what it printed. Raises ``ConfigError`` where the command makes no sense.

    Of ``words``, lists are several and None is none. ``options`` are the command's by name: True is a flag, a list is said
    once an item, None and False are left out.
    """
    said = [
        str(one) for word in words for one in (word if isinstance(word, list | tuple) else [word]) if one is not None
    ]
    arguments = [*said, *_spelt(options)]
    if not said or said[0] in _NOT_HERE:
        raise ConfigError(f"`lakehouse {' '.join(said)}` is for a terminal and cannot be run inside of dbt")
    into = io.StringIO()
    cli = Cli.on(lake, profile, into)
    cli.out.json = "--json" in arguments
    try:
        code = lakehouse.main(args=arguments, prog_name="lakehouse", standalone_mode=False, obj=cli)
    except click.ClickException as error:
        raise ConfigError(usage(error)) from error
    return code if isinstance(code, int) else 0, into.getvalue().rstrip("\n")


def _spelt(options: Mapping[str, Any]) -> list[str]:
    spelt: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is True:
                spelt.append(flag)
            elif one is not None and one is not False:
                spelt.append(f"{flag}={one}")
    return spelt
