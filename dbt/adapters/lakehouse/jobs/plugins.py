"""dbt-duckdb's plugins: Python classes of the user's choice that load sources, and prepare each worker's DuckDB.

A plugin is one object a process, as in dbt-duckdb. What it loads for a source is kept as long as one run reads it, so that all
workers see the same rows. None of this is for a service, where jobs run none of their user's code but Python models.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import importlib
import importlib.util
import json
import re
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.errors import ConfigError, PluginError
from dbt.adapters.lakehouse.jobs.attached import masked
from dbt.adapters.lakehouse.jobs.project_modules import reachable
from dbt.adapters.lakehouse.settings import Attachment, LakeSettings, Plugin

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

TYPE = "plugin"
"""The type of the attached database that stands for what a plugin loads."""

_BUILT_IN = frozenset({"delta", "excel", "glue", "gsheet", "iceberg", "postgres", "sqlalchemy"})
_PACKAGE = "dbt.adapters.duckdb"
_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_KEYS = ("module", "alias", "config")
_MOTHERDUCK = "MotherDuck has no part in this; remove the plugin"


# The profile's key


def check_plugins(key: str, said: object) -> None:
    """Raise ``ConfigError`` unless this is a list of plugins. Configurations are not shown: they may hold secrets."""
    if not isinstance(said, list | tuple):
        raise ConfigError(
            f"profile key {key!r} is no list; write [{{module: excel}}, {{module: my.module, alias: mine}}]"
        )
    seen: set[str] = set()
    for number, entry in enumerate(said, 1):
        fault = _fault(entry)
        if not fault and _name_of(entry) in seen:
            fault = f"the name {_name_of(entry)!r} is there twice; give one of them an 'alias'"
        if fault:
            raise ConfigError(f"profile key {key!r}: {fault} (in entry {number} of the list)")
        seen.add(_name_of(entry))


def _fault(entry: object) -> str:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("module"), str):
        return "an entry is a mapping with a module: {module: excel}"
    unknown = [str(word) for word in entry if word not in _KEYS]
    if unknown:
        return f"{unknown[0]!r} is not known; these are: {', '.join(_KEYS)}"
    if entry["module"] == "motherduck":
        return _MOTHERDUCK
    if not _NAME.fullmatch(_name_of(entry)):
        return f"{_name_of(entry)!r} is no name of a module or alias"
    if not isinstance(entry.get("config") or {}, Mapping):
        return "its 'config' must be a mapping"
    return ""


def _name_of(entry: Mapping[str, Any]) -> str:
    return str(entry.get("alias") or entry["module"].rpartition(".")[2])


def plugins_of(said: Iterable[Mapping[str, Any]]) -> tuple[Plugin, ...]:
    """The plugins of a profile."""
    return tuple(
        Plugin(name=_name_of(entry), module=entry["module"], config=dict(entry.get("config") or {})) for entry in said
    )


def database_of(plugin: str) -> str:
    """The name of the database in which the sources are that a plugin loads."""
    return f"plugin:{plugin}"


def databases(plugins: Iterable[Plugin]) -> tuple[Attachment, ...]:
    """A database for the sources of each plugin."""
    return tuple(Attachment(alias=database_of(one.name), type=TYPE, path="") for one in plugins)


# Sources that plugins load


Place = tuple[str, str, str]

_sources: dict[Place, dict[str, Any]] = {}


def declare(database: str, schema: str, name: str, source: Mapping[str, Any]) -> None:
    """Remember what is to be told of a source to the plugin that loads it: the fields of dbt-duckdb's ``SourceConfig``."""
    _sources[_fold((database, schema, name))] = dict(source)


def declared(database: str, schema: str | None = None) -> list[tuple[str, str]]:
    """Schema and name of the sources in a plugin's database, or in a schema of it."""
    return sorted(
        (source["schema"], source["identifier"])
        for (own, place, _), source in _sources.items()
        if (own == database.lower() and schema in (None, ""))
        or (own, place) == (database.lower(), (schema or "").lower())
    )


def _fold(place: Place) -> Place:
    database, schema, name = place
    return database.lower(), schema.lower(), name.lower()


# In a process


_hosts: dict[str, Host] = {}
_lock = threading.Lock()


def host(settings: LakeSettings) -> Host | None:
    """The plugins of a lake, one set a process; they are made when a worker first needs them. None if there are none."""
    if not settings.plugins:
        return None
    known = [[one.name, one.module, dict(one.config)] for one in settings.plugins]
    key = hashlib.sha256(json.dumps([known, settings.module_paths], sort_keys=True, default=repr).encode()).hexdigest()
    with _lock:
        if key not in _hosts:
            if not _hosts:
                # Before Python takes apart what plugins need to end well.
                atexit.register(_hosts.clear)
            _hosts[key] = Host(settings)
        return _hosts[key]


class Host:
    """Plugins as objects, and what they loaded. Safe for use by several threads."""

    def __init__(self, settings: LakeSettings) -> None:
        self._settings = settings
        self._lock = threading.RLock()
        self._made: dict[str, Any] | None = None
        self._loaded: dict[Place, tuple[str, pa.Table]] = {}
        self.functions: frozenset[str] | None = None
        """Names of the functions that plugins add to a DuckDB, once one was prepared."""

    def before(self, config: dict[str, Any]) -> None:
        """Let plugins change how a DuckDB is opened."""
        for name, plugin in self._plugins().items():
            self._guarded(name, "opening a DuckDB", partial(plugin.update_connection_config, self._credentials, config))

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let plugins prepare a DuckDB: functions, extensions, settings."""
        plugins = self._plugins()
        before = None if self.functions is not None else _functions(connection)
        for name, plugin in plugins.items():
            self._guarded(name, "preparing a DuckDB", partial(plugin.configure_connection, connection))
        if before is not None:
            self.functions = _functions(connection) - before

    def prepare_cursor(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Let plugins prepare a session's connection."""
        for name, plugin in self._plugins().items():
            self._guarded(name, "preparing a connection", partial(plugin.configure_cursor, cursor))

    def load(self, place: Place, run: str) -> pa.Table:
        """The rows of a source, which one run loads once. Raises ``PluginError``."""
        folded = _fold(place)
        with self._lock:
            known = self._loaded.get(folded)
            if known is not None and known[0] == run:
                return known[1]
            self._loaded = {key: value for key, value in self._loaded.items() if value[0] == run}
            rows = self._load(folded)
            self._loaded[folded] = (run, rows)
            return rows

    def _load(self, place: Place) -> pa.Table:
        source = _sources.get(place)
        name = place[0].partition(":")[2]
        plugin = next((one for known, one in self._plugins().items() if known.lower() == name), None)
        if source is None or plugin is None:
            raise PluginError(
                f"nothing is known of a source {place[1]}.{place[2]} that plugin {name!r} would load; "
                "name it with source() in a model, and the plugin in the source's meta"
            )
        config = importlib.import_module(f"{_PACKAGE}.utils").SourceConfig(**source)
        what = f"loading source {source['schema']}.{source['identifier']}"
        found = self._guarded(name, what, lambda: plugin.load(config))
        return self._guarded(name, what, lambda: _rows(found))

    def _plugins(self) -> dict[str, Any]:
        with self._lock:
            if self._made is None:
                reachable(self._settings.module_paths)
                self._made = {one.name: self._make(one) for one in self._settings.plugins}
            return self._made

    def _make(self, one: Plugin) -> Any:
        name = f"{_PACKAGE}.plugins.{one.module}" if one.module in _BUILT_IN else one.module
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"the module {one.module!r} of plugin {one.name!r} cannot be imported: {error}; install what is missing, or "
                "name the module's folder in the profile's `module_paths`"
            ) from error
        if not hasattr(module, "Plugin"):
            raise ConfigError(f"the module {one.module!r} has no class Plugin, which plugin {one.name!r} would be")
        # As in dbt-duckdb, DuckDB's settings are the ground of each plugin's configuration.
        config = {**self._settings.duckdb_settings, **one.config}
        return self._guarded(
            one.name,
            "starting",
            lambda: module.Plugin(name=one.name, plugin_config=config, credentials=self._credentials),
        )

    @functools.cached_property
    def _credentials(self) -> Any:
        """What plugins know of the profile: the credentials of a dbt-duckdb in memory."""
        return importlib.import_module(f"{_PACKAGE}.credentials").DuckDBCredentials(
            database="memory", path=":memory:", settings=dict(self._settings.duckdb_settings)
        )

    def _guarded(self, name: str, what: str, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}, line {last.lineno}"
            said = f"{type(error).__name__}: {self._masked(str(error))} ({where})"
            raise PluginError(f"plugin {name!r} failed while {what}: {said}") from None

    def _masked(self, text: str) -> str:
        for one in self._settings.plugins:
            for secret in _secrets_in(one.config):
                text = text.replace(secret, "…") if len(secret) > 3 else text
        return masked(text, ())


def _secrets_in(config: Any, key: str = "") -> Iterator[str]:
    """Texts of a plugin's configuration, at any depth, whose key (or one above it) speaks of secrets."""
    if isinstance(config, Mapping):
        for name, value in config.items():
            yield from _secrets_in(value, f"{key} {name}")
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _secrets_in(value, key)
    elif re.search("(?i)pass|secret|token|key", key):
        yield str(config)


def _functions(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    rows = connection.execute("SELECT DISTINCT lower(function_name) FROM duckdb_functions()").fetchall()
    return frozenset(row[0] for row in rows)


def _rows(found: Any) -> pa.Table:
    """What a plugin loaded, as rows that several DuckDBs can read."""
    import duckdb

    from dbt.adapters.lakehouse.jobs.python_model import expose

    with duckdb.connect() as connection:
        return connection.sql(expose(found, connection)).to_arrow_table()


def code_of(settings: LakeSettings) -> list[list[str]]:
    """Name, module and the text of the module's file, hashed, of each plugin: what a DuckDB may owe to it."""
    reachable(settings.module_paths)
    return [[one.name, one.module, _digest(one.module)] for one in settings.plugins]


def _digest(module: str) -> str:
    if module in _BUILT_IN:
        return ""
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return ""
    if found is None or found.origin is None or not Path(found.origin).exists():
        return ""
    return hashlib.sha256(Path(found.origin).read_bytes()).hexdigest()
