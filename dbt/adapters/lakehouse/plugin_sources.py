"""Sources that a plugin of the profile loads: ``plugin`` in a source's ``meta`` or ``config``, as in dbt-duckdb.

They stand in a database of the plugin's own, ``"plugin:excel"."raw"."people"``; a job that names one has the plugin load it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from dbt.adapters.lakehouse import external_sources
from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.jobs import plugins


def database(source: Any, config: Any) -> str | None:
    """The database in which a source stands that a plugin loads; None for others.

    ``config`` is dbt's, from whose credentials the profile's plugins are known. Raises ``ConfigError`` for a plugin that
    is none of them; through a service no plugin is, and a project may have such sources as long as no node reads them.
    """
    if source.resource_type != "source":
        return None
    said = external_sources.meta(source)
    name = said.get("plugin")
    if name is None:
        return None
    credentials = getattr(config, "credentials", None)
    profile = getattr(credentials, "plugins", None) or ()
    known = [one.name for one in plugins.plugins_of(profile)]
    if getattr(credentials, "service", None):
        return plugins.database_of(str(name))  # a service has no plugins, which it says to whoever reads the source
    if credentials is not None and name not in known:
        raise ConfigError(
            f"source {source.schema}.{source.identifier} is to be loaded by plugin {name!r}, which the profile does not name "
            f"(it has {', '.join(known) or 'none'}); add it: plugins: [{{module: {name}}}]"
        )
    found = plugins.database_of(str(name))
    fields = {
        "name": source.name,
        "identifier": source.identifier,
        "schema": source.schema,
        "database": source.database,
        "meta": said,
        "tags": list(getattr(source, "tags", None) or []),
    }
    plugins.declare(found, source.schema, source.identifier, fields)
    return found


def declare_all(sources: Mapping[str, Any], config: Any) -> None:
    """Have every source of a project known that a plugin loads: a view may name one whose node is not compiled this time."""
    for source in sources.values():
        # What is wrong with one is said to the nodes that name it.
        with contextlib.suppress(ConfigError):
            database(source, config)
