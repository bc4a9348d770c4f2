"""The version, where dbt looks for it."""

from dbt.adapters.lakehouse import __version__ as version

__all__ = ["version"]
