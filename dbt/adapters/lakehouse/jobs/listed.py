"""What SQL is told of a state of the lake, as values: see ``jobs.listing``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dbt.adapters.lakehouse.tables.values import Column


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A relation of a state of the lake, or a schema (without a name) that has none. ``sql`` is a view's query."""

    schema: str
    name: str = ""
    kind: Literal["table", "view", "schema"] = "table"
    columns: tuple[Column, ...] = ()
    comment: str | None = None
    rows: int | None = None
    sql: str | None = None


Listing = tuple[Listed, ...]
