"""``lakehouse jobs``: what a service works on, what became of it, and what was given up."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from dbt.adapters.lakehouse.cli.admin import admin_of
from dbt.adapters.lakehouse.cli.context import Cli
from dbt.adapters.lakehouse.cli.options import Group
from dbt.adapters.lakehouse.cli.output import BAD, CHANGED, DIM, GOOD, ID, NAME, Cell, Column
from dbt.adapters.lakehouse.cli.words import ago, duration, first_line, number
from dbt.adapters.lakehouse.errors import JobNotFound

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.cli.admin import Admin
    from dbt.adapters.lakehouse.executors.records import Attempt, JobRecord

STYLES = {"queued": DIM, "running": CHANGED, "done": GOOD, "failed": BAD, "dead": BAD, "cancelled": DIM}
UNDER_WAY = ("queued", "running")
REFRESH_SECONDS = 0.5
LIMIT = click.option(
    "-n", "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many."
)
COLUMNS = (
    Column("job", short=True),
    Column("state", short=True),
    Column("what"),
    Column("user"),
    Column("submitted", short=True),
    Column("took", right=True, short=True),
    Column("tries", right=True, short=True),
    Column(""),
)


@click.group("jobs", cls=Group, invoke_without_command=True)
@click.option(
    "--watch/--once", default=None, help="Follow the jobs until Ctrl-C (on a terminal, that is the default), or not."
)
@LIMIT
@click.pass_context
def jobs(context: click.Context, watch: bool | None, limit: int) -> None:
    """What a service works on: one's own jobs, or everybody's for admins.

    Without a command, a view of what waits, runs and ended lately.
    """
    if context.invoked_subcommand is not None:
        return
    cli: Cli = context.obj
    can_watch = cli.out.is_terminal and not cli.out.json
    if watch and not can_watch:
        raise click.UsageError("--watch draws on a terminal, and not with --json")
    with admin_of(cli) as admin:
        if watch or (watch is None and can_watch):
            _watch(cli, admin, limit)
        else:
            _print(cli, admin.jobs(limit=limit))


@jobs.command("list")
@click.option("--state", type=click.Choice([*STYLES]), help="In this state alone; dead ones were given up.")
@click.option("--user", metavar="NAME", help="Of this user alone.")
@LIMIT
@click.pass_obj
def list_jobs(cli: Cli, state: Any, user: str | None, limit: int) -> None:
    """Jobs, the latest first."""
    with admin_of(cli) as admin:
        _print(cli, admin.jobs(state=state, user=user, limit=limit))


@jobs.command("show")
@click.argument("key")
@click.pass_obj
def show_job(cli: Cli, key: str) -> None:
    """Show a job by its key or the first characters of it: state, attempts, limits, error."""
    with admin_of(cli) as admin:
        record = _find(admin, key)
    if cli.out.json:
        cli.out.document(job_shape(record))
        return
    _print_head(cli, record)
    if record.attempts:
        columns = [Column("try", right=True), Column("process", right=True), Column("started", short=True)]
        cli.out.table([*columns, Column("took", right=True), Column("error")], map(_attempt_row, *_numbered(record)))


@jobs.command("logs")
@click.argument("key")
@click.option("--follow", "-f", is_flag=True, help="Go on until the job is over.")
@click.pass_obj
def job_logs(cli: Cli, key: str, follow: bool) -> None:
    """The last lines that a job wrote."""
    with admin_of(cli) as admin:
        record = _find(admin, key)
        if cli.out.json:
            if follow:
                raise click.UsageError("--json prints one document; --follow has no end that it could wait for")
            cli.out.document(list(record.logs))
            return
        _lines(cli, record.logs)
        while follow and record.state in UNDER_WAY:
            time.sleep(REFRESH_SECONDS)
            before, record = record.logs, admin.job(record.key)
            _lines(cli, new_lines(before, record.logs))


@jobs.command("cancel")
@click.argument("key")
@click.pass_obj
def cancel_job(cli: Cli, key: str) -> None:
    """Stop a job that waits or runs; its model fails."""
    with admin_of(cli) as admin:
        before = _find(admin, key)
        record = admin.cancel_job(before.key)
    if cli.out.json:
        cli.out.document(job_shape(record))
    elif before.state in UNDER_WAY:
        cli.out.line("cancelled ", (record.key, ID), f" ({record.label})")
    else:
        cli.out.line((record.key, ID), " is over: ", (record.state, STYLES[record.state]))


@jobs.command("replay")
@click.argument("key")
@click.pass_context
def replay_job(context: click.Context, key: str) -> None:
    """Run a job again that is over, on the inputs it had, and say how it went. What it writes is removed."""
    cli: Cli = context.obj
    with admin_of(cli) as admin:
        record = admin.replay_job(_find(admin, key).key)
    if cli.out.json:
        cli.out.document(job_shape(record))
    else:
        _print_head(cli, record)
        _lines(cli, record.logs)
    context.exit(0 if record.state == "done" else 1)


def _find(admin: Admin, key: str) -> JobRecord:
    """A job by its key or the first characters of it. Raises ``JobNotFound``."""
    try:
        return admin.job(key)
    except JobNotFound:
        found = [record.key for record in admin.jobs(limit=10_000) if len(key) >= 4 and record.key.startswith(key)]
        if len(found) > 1:
            some = ", ".join(found[:4])
            raise JobNotFound(f"{len(found)} jobs begin with {key!r} ({some}); write more characters") from None
        if not found:
            raise
        return admin.job(found[0])


def _watch(cli: Cli, admin: Admin, limit: int) -> None:
    try:
        with cli.out.live(COLUMNS) as draw:
            while True:
                found = admin.jobs(limit=limit)
                under_way = [record for record in found if record.state in UNDER_WAY]
                ended = [record for record in found if record.state not in UNDER_WAY]
                # What is under way must fit on the screen; of the rest, as much as there is room for.
                rows = [*under_way, *ended][: max(cli.out.height - 4, 1)]
                draw([_row(record) for record in rows])
                time.sleep(REFRESH_SECONDS)
    except KeyboardInterrupt:
        return


def _print(cli: Cli, found: Sequence[JobRecord]) -> None:
    if cli.out.json:
        cli.out.document([job_shape(record, whole=False) for record in found])
        return
    cli.out.table(COLUMNS, [_row(record) for record in found])


def _row(record: JobRecord) -> list[Cell]:
    return [
        (record.key[:12], ID),
        (record.state, STYLES[record.state]),
        (record.label, NAME),
        record.user,
        (ago(_time(record.submitted_at)), DIM),
        _took(record),
        str(len(record.attempts)) if len(record.attempts) > 1 else "",
        _remark(record),
    ]


def _remark(record: JobRecord) -> Cell:
    if record.error is not None:
        return first_line(str(record.error.get("message", record.error.get("kind", "")))), BAD
    if record.state != "running":
        return ""
    said = record.progress or {}
    share, rows = said.get("share"), said.get("rows")
    parts = [f"{share:.0%}"] if isinstance(share, float) and share > 0 else []
    parts += [f"{number(int(rows))} rows"] if isinstance(rows, int | float) and rows > 0 else []
    return ", ".join(parts)


def _took(record: JobRecord) -> str:
    if record.started_at is None:
        return ""
    return duration(max(0.0, (record.finished_at or time.time()) - record.started_at))


def _print_head(cli: Cli, record: JobRecord) -> None:
    out = cli.out
    out.line(("job       ", DIM), (record.key, ID))
    out.line(("what      ", DIM), (record.label, NAME))
    out.line(("state     ", DIM), (record.state, STYLES[record.state]))
    out.line(("user      ", DIM), record.user)
    if record.run is not None:
        out.line(("run       ", DIM), (record.run, ID))
    out.line(
        ("submitted ", DIM), f"{_time(record.submitted_at):%Y-%m-%d %H:%M:%S} UTC ({ago(_time(record.submitted_at))})"
    )
    if record.started_at is not None:
        waited = max(0.0, record.started_at - record.submitted_at)
        out.line(("took      ", DIM), _took(record), (f", after it waited {duration(waited)}", DIM))
    asked = ", ".join(f"{name} {value}" for name, value in record.resources.items() if value)
    if asked:
        out.line(("asked for ", DIM), asked)
    if record.error is not None:
        out.line(("error     ", DIM), (str(record.error.get("message", record.error)), BAD))


def _numbered(record: JobRecord) -> tuple[range, tuple[Attempt, ...]]:
    return range(1, len(record.attempts) + 1), record.attempts


def _attempt_row(count: int, attempt: Attempt) -> list[Cell]:
    error: Mapping[str, Any] = attempt.error or {}
    return [
        str(count),
        str(attempt.worker),
        f"{_time(attempt.started_at):%H:%M:%S}",
        duration(attempt.seconds),
        (first_line(str(error.get("message", error.get("kind", "")))), BAD),
    ]


def new_lines(before: Sequence[str], now: Sequence[str]) -> Sequence[str]:
    """The lines of a log that were added, where only the last so many are kept."""
    for start in range(len(before) + 1):
        overlap = before[start:]
        if list(now[: len(overlap)]) == list(overlap):
            return now[len(overlap) :]
    return now


def _lines(cli: Cli, lines: Sequence[str]) -> None:
    from dbt.adapters.lakehouse.jobs.job import printable

    for line in lines:
        cli.out.line(printable(line))


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def job_shape(record: JobRecord, *, whole: bool = True) -> dict[str, Any]:
    """A job as ``--json`` prints it; envelope, log and attempts only if ``whole``."""
    times = {"submitted": record.submitted_at, "started": record.started_at, "finished": record.finished_at}
    shape: dict[str, Any] = {
        "key": record.key,
        "state": record.state,
        "label": record.label,
        "user": record.user,
        "run": record.run,
        "priority": record.priority,
        **{name: None if at is None else _time(at).isoformat() for name, at in times.items()},
        "tries": len(record.attempts),
        "error": record.error,
        "progress": record.progress,
        "resources": dict(record.resources),
    }
    if whole:
        attempts = [{**vars(one), "started_at": _time(one.started_at).isoformat()} for one in record.attempts]
        shape |= {"attempts": attempts, "logs": list(record.logs), "envelope": record.envelope}
    return shape
