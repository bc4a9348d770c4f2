"""One DuckDB in memory, with extensions, the operator's settings, and a private folder for what it spills."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import duckdb

from dbt.adapters.lakehouse.errors import ConfigError, LakehouseError
from dbt.adapters.lakehouse.jobs import filesystems, plugins, secrets
from dbt.adapters.lakehouse.jobs.s3_access import Grant
from dbt.adapters.lakehouse.quoting import literal, quote
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.storage import LOCAL

_SANDBOXED: dict[str, Any] = {
    # Nothing is fetched or loaded but what the operator names.
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
}


_FULL_NAMES = {"sqlite": "sqlite_scanner", "postgres": "postgres_scanner", "mysql": "mysql_scanner"}
"""Of extensions that DuckDB knows by a short name, too: their packages are called after the files in them."""


STAGING = ".staging"
"""Folder of a warehouse for files on their way; whatever a dead worker left there belongs to no table."""


class Instance:
    """A DuckDB and its folder, which nobody else can look into. ``close`` ends both.

    ``staging`` is a second one, in a sandbox over a warehouse on this machine: below that warehouse, so that files made
    there can be moved to where they belong. It is made when it is needed.
    """

    def __init__(self, settings: LakeSettings) -> None:
        self._settings = settings
        self.folder = Path(tempfile.mkdtemp(prefix="lakehouse-", dir=settings.temp_directory))
        local = settings.sandbox and settings.warehouse.startswith(LOCAL)
        self.staging = f"{settings.warehouse.removeprefix(LOCAL)}/{STAGING}/{self.folder.name}" if local else None
        config: dict[str, Any] = {"temp_directory": str(self.folder), **(_SANDBOXED if settings.sandbox else {})}
        if settings.memory_limit is not None:
            config["memory_limit"] = settings.memory_limit
        self.plugins = plugins.host(settings)
        try:
            if self.plugins is not None:
                self.plugins.before(config)
            self.connection = duckdb.connect(":memory:", config=config)
        except LakehouseError:
            self._remove()
            raise
        except duckdb.Error as error:
            self._remove()
            raise ConfigError(f"DuckDB does not start with memory_limit {settings.memory_limit!r}: {error}") from error
        try:
            # Where a program is no file, as in orchestrators' processes, DuckDB takes it for a session of somebody who watches.
            self.connection.execute("SET enable_progress_bar = false")
            self.memory_limit = settings.memory_limit or self._share_memory()
            self.grant = Grant(self.connection, settings)
            self._configure()
            row = self.connection.execute("SELECT current_setting('threads')").fetchone()
        except BaseException:
            self.close()
            raise
        assert row is not None
        self.own_memory, self._own_threads = self.memory_limit, int(row[0])
        self._cpus: int | None = None

    def _share_memory(self) -> str:
        """Divide what DuckDB would take (which minds containers' limits) among the workers."""
        row = self.connection.execute("SELECT current_setting('memory_limit')").fetchone()
        assert row is not None
        amount, unit = str(row[0]).split()
        share = f"{float(amount) / max(self._settings.workers, 1):.2f} {unit}"
        self.connection.execute(f"SET memory_limit = '{share}'")
        return share

    def _configure(self) -> None:
        for name in self._settings.extensions:
            load_extension(self.connection, name, self._settings.repositories.get(name))
        for key, value in self._settings.duckdb_settings.items():
            try:
                self.connection.execute(f"SET GLOBAL {quote(key)} = {literal(str(value))}")
            except duckdb.Error as error:
                if secrets.is_secret(key):
                    kind = type(error).__name__
                    raise ConfigError(f"DuckDB refuses the setting {key!r} of the profile ({kind})") from None
                raise ConfigError(f"DuckDB refuses the setting {key!r} = {value!r} of the profile: {error}") from error
        secrets.make(self.connection, self._settings.secrets)
        filesystems.register(self.connection, self._settings.filesystems)
        if self.plugins is not None:
            self.plugins.prepare(self.connection)

    def limit(self, cpus: int | None, memory: str | None) -> None:
        """Give the instance a job's limits; None stands for its own. Costs nothing where they are so already."""
        memory = memory or self.own_memory
        if memory != self.memory_limit:
            self._set("memory_limit", memory, "memory")
            self.memory_limit = memory
        if cpus != self._cpus:
            self._set("threads", str(max(cpus, 1) if cpus is not None else self._own_threads), "cpus")
            self._cpus = cpus

    def _set(self, setting: str, value: str, key: str) -> None:
        try:
            self.connection.execute(f"SET GLOBAL {setting} = {literal(value)}")
        except duckdb.Error as error:
            raise ConfigError(f"{key} {value!r} is none that DuckDB takes: {error}") from error

    def close(self) -> None:
        """Stop DuckDB and remove what it spilled."""
        self.connection.close()
        self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.staging is not None:
            shutil.rmtree(self.staging, ignore_errors=True)


def load_extension(connection: duckdb.DuckDBPyConnection, name: str, repository: str | None = None) -> None:
    """Load a DuckDB extension: from its PyPI wheel ``duckdb-extension-<name>`` if installed, else as DuckDB finds it.

    ``repository`` (``community``, or a URL) is where it is fetched from, if it is not where DuckDB looks by itself.
    """
    import importlib.util

    name = _FULL_NAMES.get(name, name)
    module = importlib.util.find_spec(f"duckdb_extension_{name}")
    if module is not None and module.submodule_search_locations:
        folder = Path(next(iter(module.submodule_search_locations)))
        file = folder / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
        if file.exists():
            connection.execute(f"LOAD '{os.fspath(file)}'")
            return
    try:
        # A part of DuckDB itself (json, parquet), or installed before, for this user.
        with contextlib.suppress(duckdb.Error):
            connection.load_extension(name)
            return
        if repository is None:
            connection.install_extension(name)
        else:
            place = repository if repository.isidentifier() else literal(repository)
            connection.execute(f"INSTALL {quote(name)} FROM {place}")
        connection.load_extension(name)
    except duckdb.Error as error:
        # Imported late: it needs this module. A repository's URL may hold a password.
        from dbt.adapters.lakehouse.jobs.attached import masked

        raise ConfigError(
            f"the DuckDB extension {name!r} cannot be loaded: {masked(str(error), ())}; "
            f"without access to DuckDB's repository, pip install duckdb-extension-{name}=={duckdb.__version__}"
        ) from None
