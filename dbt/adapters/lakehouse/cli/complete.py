"""Names for the shell's completion. Whatever goes wrong, it offers nothing rather than an error."""

from __future__ import annotations

import click

from dbt.adapters.lakehouse.cli.context import Cli


def _names(context: click.Context, incomplete: str, kind: str | None) -> list[str]:
    cli = context.find_object(Cli)
    if cli is None:
        return []
    try:
        refs = cli.catalog.refs()
    except Exception:
        return []
    runs_too = incomplete.startswith("run/")
    return [
        ref.name
        for ref in refs
        if ref.name.startswith(incomplete) and kind in (None, ref.kind.value) and (ref.run is None or runs_too)
    ]


def branches(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Branches; those of runs after ``run/``."""
    return _names(context, incomplete, "branch")


def tags(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Tags."""
    return _names(context, incomplete, "tag")


def refs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Branches and tags."""
    return _names(context, incomplete, None)


def tables(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Tables and views of the target's branch."""
    cli = context.find_object(Cli)
    if cli is None:
        return []
    try:
        _, commit = cli.resolve(None)
        return [str(key) for key in cli.catalog.entries(commit.id) if key.name and str(key).startswith(incomplete)]
    except Exception:
        return []
