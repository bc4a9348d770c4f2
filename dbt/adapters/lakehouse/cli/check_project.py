"""``lakehouse check-project``: what would break, before anything runs."""

from __future__ import annotations

from typing import Any

import click

from dbt.adapters.lakehouse.cli.context import Cli
from dbt.adapters.lakehouse.cli.options import Command
from dbt.adapters.lakehouse.cli.output import BAD, DIM, NAME, Cell, Column


@click.command("check-project", cls=Command)
@click.option("--select", "-s", "-m", multiple=True, metavar="NODES", help="Check these nodes, in dbt's words.")
@click.option("--exclude", multiple=True, metavar="NODES", help="But not these.")
@click.option("--selector", metavar="NAME", help="Check what this selector of selectors.yml says.")
@click.option("--vars", "variables", metavar="YAML", help="Variables of the project.")
@click.option("--full-refresh", "-f", is_flag=True, help="As if incremental models were built anew.")
@click.option("--state", type=click.Path(), metavar="DIR", help="Artifacts of another run, for state: and --defer.")
@click.option("--defer", is_flag=True, help="Read what is not there from where --state says.")
@click.pass_obj
def check_project(
    cli: Cli,
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    selector: str | None,
    variables: str | None,
    full_refresh: bool,
    state: str | None,
    defer: bool,
) -> int:
    """Compile the project and bind its SQL, without running anything.

    Models, snapshots, seeds, tests and unit tests are looked at as `dbt build` would run them now. The exit code is 1 if one
    of them would break.
    """
    if cli.options.warehouse or cli.options.service:
        raise click.UsageError("dbt finds the lake in its profile; choose one with --profile or --target")
    arguments = [*_repeated("--select", select), *_repeated("--exclude", exclude)]
    arguments += _given(
        {
            "--selector": selector,
            "--vars": variables,
            "--state": state,
            "--profile": cli.options.profile,
            "--target": cli.options.target,
            "--profiles-dir": cli.options.profiles_dir,
            "--project-dir": str(cli.project_dir),
        }
    )
    arguments += [flag for flag, on in (("--full-refresh", full_refresh), ("--defer", defer)) if on]
    # Imported late: dbt takes seconds.
    from dbt.adapters.lakehouse.preflight import project

    report = project.check(arguments)
    if cli.out.json:
        cli.out.document(_shape(report))
    else:
        _print(cli, report)
    return 1 if report.findings else 0


def _repeated(option: str, values: tuple[str, ...]) -> list[str]:
    return [text for value in values for text in (option, value)]


def _given(options: dict[str, str | None]) -> list[str]:
    return [text for option, value in options.items() if value is not None for text in (option, value)]


def _shape(report: Any) -> dict[str, Any]:
    return {
        "nodes": report.nodes,
        "seconds": round(report.seconds, 3),
        "findings": [
            {
                "node": finding.node,
                "file": finding.file,
                "line": finding.line,
                "compiled_line": finding.compiled_line,
                "message": finding.message,
            }
            for finding in report.findings
        ],
        "unchecked": [{"node": node, "why": why} for node, why in report.unchecked],
    }


def _print(cli: Cli, report: Any) -> None:
    if report.findings:
        columns = [Column("node"), Column("where"), Column("what would break")]
        rows: list[list[Cell]] = []
        for finding in report.findings:
            first, *rest = finding.shown()
            rows.append([(f"{finding.kind} {finding.name}", NAME), finding.place, (first, BAD)])
            rows += [["", "", (line, DIM)] for line in rest]
        cli.out.table(columns, rows)
        cli.out.line((report.problems(), BAD))
    else:
        cli.out.line(f"{report.nodes} nodes checked in {report.seconds:.1f} s: nothing would break")
    if report.unchecked:
        cli.out.note(report.skipped())
