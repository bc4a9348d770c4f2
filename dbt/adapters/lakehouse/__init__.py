"""A dbt adapter for a lake of Iceberg tables under a git-like catalog.

From the bottom up; imports point down only:

===================  ==============================================================
``errors``           one tree of errors
``settings``         what a lake is made of, as frozen values
``storage``          files and folders of the warehouse
``tables``           Iceberg tables, written and read by DuckDB
``jobs``             one execution as a value; the worker that runs it
``executors``        how workers are reached
``catalog``          branches, commits, entries
``run``              one transaction: reads one state, publishes once
``lake``             the seam that the adapter and the command line speak to; ``lake.connect`` for programs
``profile``          a dbt profile as settings, without dbt
``impl`` …           dbt's side: adapter, connections, credentials, relations, events
``cli``              the ``lakehouse`` command
===================  ==============================================================

``Plugin`` is what dbt looks for; it is resolved on first use, so that workers and the command line import no dbt.
``connect`` (see ``lake.connect``) reads a lake from Python programs.
"""

from __future__ import annotations

from typing import Any

from dbt.adapters.lakehouse.__version__ import version as __version__

__all__ = ["__version__"]


def __getattr__(name: str) -> Any:
    if name == "connect":
        from dbt.adapters.lakehouse.lake.connect import connect

        return connect
    if name != "Plugin":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dbt.adapters.base.plugin import AdapterPlugin

    from dbt.adapters.lakehouse.credentials import LakehouseCredentials
    from dbt.adapters.lakehouse.impl import LakehouseAdapter
    from dbt.include import lakehouse

    plugin = AdapterPlugin(
        adapter=LakehouseAdapter,  # type: ignore[arg-type] # dbt's protocol wants attributes its own classes lack
        credentials=LakehouseCredentials,
        include_path=lakehouse.PACKAGE_PATH,
        # dbt-duckdb's macros speak DuckDB's SQL; dispatch goes lakehouse__, duckdb__, default__.
        dependencies=["duckdb"],
    )
    globals()["Plugin"] = plugin
    return plugin
