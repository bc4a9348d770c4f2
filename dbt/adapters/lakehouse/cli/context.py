"""What a command works with: which lake, which branch, and where to print."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dbt.adapters.lakehouse import profile as profiles
from dbt.adapters.lakehouse.cli.options import GlobalOptions
from dbt.adapters.lakehouse.errors import CatalogError, ConfigError, RefNotFound
from dbt.adapters.lakehouse.settings import LakeSettings, ServiceSettings

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.catalog.base import Catalog
    from dbt.adapters.lakehouse.catalog.model import Commit
    from dbt.adapters.lakehouse.cli.output import Output
    from dbt.adapters.lakehouse.lake.base import Lake, Versions


class Cli:
    """One invocation. Everything is found when first asked for, and given back by ``close``."""

    def __init__(self) -> None:
        self.options = GlobalOptions()
        self._catalog: Catalog | None = None
        self._lake: Lake | None = None

    @classmethod
    def on(cls, lake: Lake, profile: dict[str, Any], into: IO[str]) -> Cli:
        """One inside of another program, on its lake, with its profile; it prints ``into`` a stream."""
        from dbt.adapters.lakehouse.cli.output import Output

        cli = cls()
        cli._lake = lake
        cli.__dict__.update(profile=profile, project_dir=Path.cwd(), out=Output(into=into, no_color=True))
        return cli

    @cached_property
    def out(self) -> Output:
        """Where results and notes are printed."""
        from dbt.adapters.lakehouse.cli.output import Output

        return Output(json=self.options.json, no_color=self.options.no_color)

    # which lake

    @cached_property
    def project_dir(self) -> Path:
        """Where relative paths of a profile start."""
        from dbt.adapters.lakehouse.cli.profiles import find_project_dir

        return find_project_dir(self.options)

    @cached_property
    def profile(self) -> dict[str, Any]:
        """The profile's output in use; one made up from ``--warehouse`` or ``--service`` if that names the lake.

        An option beats the environment: with ``--profile``, ``--target`` or ``--profiles-dir``, LAKEHOUSE_WAREHOUSE and
        LAKEHOUSE_SERVICE are not looked at. LAKEHOUSE_CATALOG stands beside a warehouse that either of them names.
        """
        warehouse, service, options = self.options.warehouse, self.options.service, self.options
        if not (warehouse or service or options.profile or options.target or options.profiles_dir):
            warehouse = os.environ.get("LAKEHOUSE_WAREHOUSE") or None
            service = os.environ.get("LAKEHOUSE_SERVICE") or None
            if warehouse and service:
                raise ConfigError("both LAKEHOUSE_WAREHOUSE and LAKEHOUSE_SERVICE are set; unset one of them")
        if service is not None:
            found: dict[str, Any] = {"type": "lakehouse", "service": service}
            if warehouse is not None:
                found["warehouse"] = warehouse
        elif warehouse is not None:
            if "://" not in warehouse:
                warehouse = str(
                    Path(warehouse).expanduser().absolute()
                )  # a path that was typed starts where one stands
            found = {"type": "lakehouse", "warehouse": warehouse}
            if beside := os.environ.get("LAKEHOUSE_CATALOG"):
                found["catalog"] = _from_here(beside)
        else:
            from dbt.adapters.lakehouse.cli.profiles import find_output

            found = find_output(options, self.project_dir)
        return found if options.catalog is None else {**found, "catalog": _from_here(options.catalog)}

    @cached_property
    def settings(self) -> LakeSettings:
        """Where the lake is."""
        return profiles.lake_settings(self.profile, self.project_dir)

    @cached_property
    def service(self) -> ServiceSettings | None:
        """The service that keeps the lake, if one does."""
        return profiles.service_settings(self.profile, self.project_dir)

    @property
    def database(self) -> str:
        """What the lake is called in SQL."""
        return str(self.profile.get("database", profiles.DEFAULT_DATABASE))

    @property
    def default_schema(self) -> str:
        """Where SQL looks up names that say no schema."""
        return str(self.profile.get("schema", "main"))

    @cached_property
    def branch(self) -> str:
        """The target's branch."""
        return profiles.target_branch(self.profile, self.project_dir)

    # the lake

    @property
    def catalog(self) -> Catalog:
        """The catalog of a lake that exists. Commands that need no more stay clear of DuckDB."""
        if self._lake is not None:
            return self._lake.catalog
        if self.service is not None:
            return self.lake().catalog
        if self._catalog is None:
            self._check_there()
            from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog

            self._catalog = SqlCatalog.open(self.settings.catalog, create=False)
        return self._catalog

    def lake(self, *, create: bool = False) -> Lake:
        """The lake, made first where there is none if ``create`` says so."""
        if self._lake is None and self.service is not None:
            from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake

            self._lake = RemoteLake(self.service)
        if self._lake is None:
            from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake

            if not create:
                self._check_there()
            self._lake = EmbeddedLake.open(self.settings, create=create)
        return self._lake

    @property
    def versions(self) -> Versions:
        """Merging and going back; like ``catalog`` clear of DuckDB."""
        if self._lake is not None or self.service is not None:
            return self.lake().versions
        from dbt.adapters.lakehouse.lake.versions import CatalogVersions

        return CatalogVersions(self.catalog, self.settings)

    def _check_there(self) -> None:
        """Say what to do where there is no lake, rather than which file is missing."""
        catalog = self.settings.catalog
        if catalog.startswith("sqlite:///") and not Path(catalog.removeprefix("sqlite:///")).exists():
            where = self.settings.warehouse.removeprefix("file://")
            beside = catalog == f"sqlite:///{where}/catalog.sqlite"
            raise CatalogError(
                f"no lake is at {where}{'' if beside else f' (no catalog at {catalog})'}; "
                "`lakehouse import SCHEMA.NAME FILE` or `dbt run` makes one"
            )

    # refs

    def resolve(self, ref: str | None) -> tuple[str, Commit]:
        """A ref and its commit; without one, the target's branch, or what that would start from before its first run."""
        if ref is not None:
            return ref, self.catalog.resolve(ref)
        branch = self.branch
        try:
            return branch, self.catalog.resolve(branch)
        except RefNotFound:
            start = profiles.from_branch(self.profile)
            if start == branch:
                raise
            self.out.note(f"branch {branch!r} does not exist yet; this is {start!r}, which it will start from")
            return start, self.catalog.resolve(start)

    @property
    def author(self) -> str:
        """Who acts."""
        return profiles.author()

    def target_or_none(self) -> str | None:
        """The target's branch where that can be told."""
        with contextlib.suppress(ConfigError):
            return self.branch
        return None

    def close(self) -> None:
        """Give back the lake or its catalog."""
        if self._lake is not None:
            self._lake.close()
        elif self._catalog is not None:
            self._catalog.close()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Around work that DuckDB does: it answers Ctrl-C with an exception of its own."""
    try:
        yield
    except RuntimeError as error:
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise


def _from_here(catalog: str) -> str:
    """A catalog that was typed: its file, too, starts where one stands."""
    prefix, file = "sqlite:///", catalog.removeprefix("sqlite:///")
    return prefix + str(Path(file).expanduser().absolute()) if file != catalog and file else catalog
