"""``lakehouse serve``."""

from __future__ import annotations

import dataclasses
import logging
import re
import sys
from typing import TYPE_CHECKING, Any

import click

from dbt.adapters.lakehouse.cli.context import Cli
from dbt.adapters.lakehouse.cli.options import Command
from dbt.adapters.lakehouse.cli.output import DIM, ID, NAME
from dbt.adapters.lakehouse.errors import ConfigError

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.service.config import ServiceConfig
    from dbt.adapters.lakehouse.service.core import Service
    from dbt.adapters.lakehouse.settings import LakeSettings

_MEMORY = re.compile(r"\d+(\.\d+)?\s*[kmgt](i?b)?", re.IGNORECASE)


@click.command("serve", cls=Command)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="0.0.0.0 for all interfaces.")
@click.option("--port", default=8585, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--config", "file", type=click.Path(), metavar="FILE", help="Roles, limits, workers: see the docs.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Processes that run jobs. Default: one a core.")
@click.option("--memory", metavar="SIZE", help="What all workers share, 8GB say. Default: 80 % of the machine's.")
@click.option("--tls-cert", type=click.Path(), metavar="FILE", help="Speak TLS with this certificate (PEM).")
@click.option("--tls-key", type=click.Path(), metavar="FILE", help="The certificate's key, if it is in another file.")
@click.option(
    "--forwarded-allow-ips", metavar="IPS", help="Believe X-Forwarded-For and -Proto of these proxies, by commas."
)
@click.option(
    "--lease",
    default=60.0,
    show_default=True,
    type=click.FloatRange(1, 86400),
    metavar="SECONDS",
    help="Give up a run whose client was silent for so long.",
)
@click.option(
    "--drain-seconds",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0, 86400),
    metavar="SECONDS",
    help="On SIGTERM, let requests in flight finish for so long.",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), help="Default: text on a terminal, else json.")
@click.pass_obj
def serve(
    cli: Cli,
    host: str,
    port: int,
    file: str | None,
    workers: int | None,
    memory: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    forwarded_allow_ips: str | None,
    lease: float,
    drain_seconds: float,
    log_format: str | None,
) -> None:
    """Serve the lake to clients that hold a token.

    dbt and this program then name `service: URL` and a token instead of a warehouse. `lakehouse token create` makes tokens.

    SIGTERM ends it gently; a second one at once.
    """
    _need_extra()
    from dbt.adapters.lakehouse.service.config import ServiceConfig
    from dbt.adapters.lakehouse.service.server import Listening, listen
    from dbt.adapters.lakehouse.service.server import serve as run

    if tls_key is not None and tls_cert is None:
        raise click.UsageError("--tls-key needs --tls-cert")
    if memory is not None and not _MEMORY.fullmatch(memory.strip()):
        raise click.UsageError(f"--memory is {memory!r}; a number with a unit is needed: 8GB, 512MB, 2GiB")
    config = _with_flags(ServiceConfig.load(file), workers, memory)
    listening = Listening(
        host=host,
        port=port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        drain_seconds=drain_seconds,
        forwarded_allow_ips=forwarded_allow_ips,
    )
    # Before anything is opened or made: a port that is taken is found at once.
    with listen(listening) as door:
        _log(log_format or ("text" if sys.stderr.isatty() else "json"))
        service = _service(cli.settings, config, lease)
        run(service, door, lambda url: _banner(cli, service, url))


def _need_extra() -> None:
    import importlib.util

    missing = [name for name in ("fastapi", "uvicorn", "prometheus_client") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"a service needs {', '.join(missing)}: pip install 'dbt-lakehouse[service]'")


def _with_flags(config: ServiceConfig, workers: int | None, memory: str | None) -> ServiceConfig:
    """Flags beat the file."""
    said: dict[str, Any] = {"count": workers, "memory": memory}
    chosen = {name: value for name, value in said.items() if value is not None}
    return dataclasses.replace(config, workers=dataclasses.replace(config.workers, **chosen))


def _service(settings: LakeSettings, config: ServiceConfig, lease: float) -> Service:
    from dbt.adapters.lakehouse.service.start import open_service

    return open_service(settings, config, lease=lease)


def _banner(cli: Cli, service: Service, url: str) -> None:
    if not cli.out.is_terminal:
        cli.out.line(f"lakehouse service on {url}")
        sys.stdout.flush()
        return
    workers = service.settings.workers
    tokens = len([token for token in service.store.tokens() if token.fault() is None])
    cli.out.line(("lakehouse service", NAME), " on ", (url, ID))
    cli.out.line(("  warehouse  ", DIM), service.settings.warehouse.removeprefix("file://"))
    cli.out.line(("  workers    ", DIM), f"{workers}, of {service.config.workers.memory or 'the machine'}'s memory")
    cli.out.line(
        ("  tokens     ", DIM), str(tokens) if tokens else "none yet: `lakehouse token create NAME --role ROLE`"
    )
    cli.out.line(("  in a profile: ", DIM), f"service: {url}")


def _log(kind: str) -> None:
    from dbt.adapters.lakehouse.service.logs import JsonLines, TextLines

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if kind == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("lakehouse").setLevel(logging.INFO)
