"""The request of a client on whose behalf a thread works, so that what was sent twice is done once."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from dbt.adapters.lakehouse.catalog.model import Commit


@dataclass(kw_only=True)
class Asked:
    """One request. Commits note its key and the statement of it that they are for.

    ``done`` are commits that an earlier process made for the same request, by statement.
    """

    key: str
    done: Mapping[int, Commit] = field(default_factory=dict)
    statement: int = 0

    def did(self, statement: int) -> bool:
        """Go on to a statement of the request; whether it was carried out already."""
        self.statement = statement
        return statement in self.done


asked: ContextVar[Asked | None] = ContextVar("asked", default=None)
"""What this thread works for, if it is a client's request."""
