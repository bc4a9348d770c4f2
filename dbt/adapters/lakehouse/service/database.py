"""Where a service keeps its own tables: beside its catalog, in the ways of ``catalog.sql_database``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from dbt.adapters.lakehouse.catalog.sql_database import Database

FORMAT = 1
"""Of the tables in ``schema.sql``."""


class ServiceDatabase(Database):
    """The database of a service's own tables."""

    what: ClassVar[str] = "service store"
    meta: ClassVar[str] = "lakehouse_service_meta"
    tables: ClassVar[frozenset[str]] = frozenset(
        f"lakehouse_service_{name}" for name in ("meta", "tokens", "audit", "owners", "runs", "jobs")
    )
    script: ClassVar[tuple[str, str]] = (__package__, "schema.sql")
    format: ClassVar[int] = FORMAT
    upgrades: ClassVar[Mapping[int, tuple[str, str]]] = {}
    made_by: ClassVar[str] = "`lakehouse token create` makes one"


def store_url(catalog: str) -> str:
    """Where the store of a service stands: a file beside a catalog in SQLite, the same database in PostgreSQL."""
    if "://" in catalog and not catalog.startswith("sqlite:"):
        return catalog
    file = Path(catalog.removeprefix("sqlite:///"))
    name = "service.sqlite" if file.stem == "catalog" else f"{file.stem}.service.sqlite"
    return f"sqlite:///{file.with_name(name)}"
