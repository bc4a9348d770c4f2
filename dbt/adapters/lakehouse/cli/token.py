"""``lakehouse token`` and ``lakehouse audit``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from dbt.adapters.lakehouse.cli.admin import admin_of
from dbt.adapters.lakehouse.cli.context import Cli
from dbt.adapters.lakehouse.cli.options import Command, Group
from dbt.adapters.lakehouse.cli.output import BAD, DIM, GOOD, ID, NAME, Cell, Column
from dbt.adapters.lakehouse.cli.words import ago
from dbt.adapters.lakehouse.errors import ConfigError

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.lake.remote.admin import AuditLine, TokenInfo

_LENGTH = re.compile(r"(\d+)\s*([smhdwy])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
CONFIG = click.option(
    "--config", type=click.Path(), metavar="FILE", help="The service's configuration, for its own roles."
)


@click.group("token", cls=Group)
def token() -> None:
    """Create, list and revoke the tokens of a service.

    On the machine of the service, with its warehouse, without a token; from elsewhere with --service and the token of an
    admin.
    """


@token.command("create")
@click.argument("user", metavar="NAME")
@click.option(
    "--role", default="developer", show_default=True, metavar="ROLE", help="reader, developer, publisher, admin, …"
)
@click.option("--expires", metavar="TIME", help="In so long it is valid no more: 90d, 12h, 1y. Default: never.")
@click.option("--label", metavar="TEXT", help="What it is for, to tell several tokens of one user apart.")
@CONFIG
@click.pass_obj
def create_token(cli: Cli, user: str, role: str, expires: str | None, label: str | None, config: str | None) -> None:
    """Make a token for a user, and print it: this once, since it is not kept."""
    from dbt.adapters.lakehouse.lake.remote.admin import TokenWish

    wish = TokenWish(user=user, role=role, label=label, expires_in=None if expires is None else _seconds(expires))
    with admin_of(cli, config, create=True) as admin:
        made = admin.create_token(wish)
    if cli.out.json:
        cli.out.document({"token": made.text, **token_shape(made.token)})
        return
    cli.out.line(made.text)
    cli.out.note(
        f"token {made.token.id} is for user {made.token.user!r} with role {made.token.role!r}"
        + (f" until {_day(made.token.expires_at)}" if made.token.expires_at else "")
        + "; it is not shown again. In profiles.yml: token: \"{{ env_var('LAKEHOUSE_TOKEN') }}\""
    )


@token.command("list")
@click.option("--all", "-a", "everything", is_flag=True, help="Revoked and expired ones too.")
@CONFIG
@click.pass_obj
def list_tokens(cli: Cli, everything: bool, config: str | None) -> None:
    """List tokens, newest first."""
    with admin_of(cli, config) as admin:
        found = [one for one in admin.tokens() if everything or one.fault is None]
    if cli.out.json:
        cli.out.document([token_shape(one) for one in found])
        return
    columns = [Column("id", short=True), Column("user"), Column("role", short=True), Column("label")]
    columns += [
        Column("created", short=True),
        Column("used", short=True),
        Column("expires", short=True),
        Column("state"),
    ]
    cli.out.table(columns, [_token_row(one) for one in found])


@token.command("revoke")
@click.argument("identity", metavar="ID")
@CONFIG
@click.pass_obj
def revoke_token(cli: Cli, identity: str, config: str | None) -> None:
    """Let a token be valid no more, by its id or the first characters of it. A service knows it within a second."""
    with admin_of(cli, config) as admin:
        revoked = admin.revoke_token(_id_of(identity))
    if cli.out.json:
        cli.out.document(token_shape(revoked))
        return
    cli.out.line("revoked token ", (revoked.id, ID), " of ", (revoked.user, NAME))


@click.command("audit", cls=Command)
@click.option("--user", metavar="NAME", help="Of this user alone.")
@click.option("--since", metavar="TIME", help="Since 2026-11-20, 2026-11-20T10:00Z, or so long ago: 2h, 7d.")
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@click.pass_obj
def audit(cli: Cli, user: str | None, since: str | None, limit: int) -> None:
    """What a service granted and denied, newest first. For admins."""
    with admin_of(cli, None) as admin:
        found = admin.audit(user=user, since=None if since is None else _since(since), limit=limit)
    if cli.out.json:
        cli.out.document([audit_shape(line) for line in found])
        return
    columns = [
        Column("time (UTC)", short=True),
        Column("user"),
        Column("verb", short=True),
        Column("outcome", short=True),
    ]
    columns += [Column("on"), Column("run", short=True), Column("reason")]
    cli.out.table(columns, [_audit_row(line) for line in found])


def _token_row(one: TokenInfo) -> list[Cell]:
    return [
        (one.id, ID),
        (one.user, NAME),
        one.role,
        one.label,
        (ago(one.created_at), DIM),
        ago(one.used_at) if one.used_at else ("never", DIM),
        _day(one.expires_at) if one.expires_at else ("never", DIM),
        ("valid", GOOD) if one.fault is None else ("revoked" if one.revoked_at else "expired", BAD),
    ]


def _audit_row(line: AuditLine) -> list[Cell]:
    styles = {"granted": GOOD, "denied": BAD, "failed": BAD}
    return [
        f"{line.time.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        (line.user or "", NAME),
        line.verb,
        (line.outcome, styles.get(line.outcome, "")),
        line.ref or "",
        (line.run[:8] if line.run else "", ID),
        line.reason or "",
    ]


def token_shape(one: TokenInfo) -> dict[str, Any]:
    """A token as ``--json`` prints it."""
    times = {"created": one.created_at, "used": one.used_at, "expires": one.expires_at, "revoked": one.revoked_at}
    return {
        "id": one.id,
        "user": one.user,
        "role": one.role,
        "label": one.label,
        "created_by": one.created_by,
        **{name: None if time is None else time.isoformat() for name, time in times.items()},
        "valid": one.fault is None,
    }


def audit_shape(line: AuditLine) -> dict[str, Any]:
    """An entry of the audit log as ``--json`` prints it."""
    return {**vars(line), "time": line.time.isoformat()}


def _day(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _id_of(text: str) -> str:
    """A token's id; whoever pastes a whole token means that one."""
    match = re.fullmatch(r"lh_([0-9a-f]{12})_.*", text)
    return match[1] if match else text


def _seconds(text: str) -> float:
    match = _LENGTH.fullmatch(text.strip().lower())
    if match is None or not 0 < int(match[1]) < 10**9:
        raise ConfigError(f"--expires is {text!r}; a time above 0 is needed: 90d, 12h, 30m, 1y")
    return float(int(match[1]) * _SECONDS[match[2]])


def _since(text: str) -> datetime:
    match = _LENGTH.fullmatch(text.strip().lower())
    try:
        if match is not None:
            return datetime.now(UTC) - timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC) if time.tzinfo is not None else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ConfigError(f"--since is {text!r}; 2026-11-20, 2026-11-20T10:00Z or 2h is needed") from None
