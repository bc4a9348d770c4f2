"""The profile key ``target_type``: what Jinja is told that this adapter is.

Packages and projects that were written for dbt-duckdb test ``target.type == 'duckdb'`` where they could have dispatched. dbt has
no seam for saying so without becoming that adapter, so that the two places are wrapped at which Jinja asks. Everything else goes
by the adapter's own name: which adapter is loaded, dispatch, materializations. Other adapters in the process are not concerned.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from dbt_common.exceptions import DbtRuntimeError

MARK = "tapped_by_lakehouse_for_type"


def install() -> None:
    """Have ``target.type`` and ``adapter.type()`` say what the credentials' ``target_type`` says, once a process."""
    from dbt.config.profile import Profile
    from dbt.context.providers import BaseDatabaseWrapper

    _wrap(Profile, "to_target_dict", _target)
    _wrap(BaseDatabaseWrapper, "type", _type)


def _wrap(owner: type, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = owner.__dict__.get(name)
    if original is None:
        raise DbtRuntimeError(
            f"profile: 'target_type' has no effect with this dbt-core, whose {owner.__name__} has no {name!r}; leave it out, "
            "and see docs/packages.md for other ways"
        )
    if not hasattr(original, MARK):
        tap = functools.wraps(original)(make(original))
        setattr(tap, MARK, True)
        setattr(owner, name, tap)


def _target(original: Callable[..., Any]) -> Callable[..., Any]:
    def to_target_dict(self: Any) -> Any:
        found = original(self)
        return {**found, "type": _said(self.credentials) or found["type"]}

    return to_target_dict


def _type(original: Callable[..., Any]) -> Callable[..., Any]:
    def type_(self: Any) -> Any:
        return _said(self._adapter.config.credentials) or original(self)

    return type_


def _said(credentials: Any) -> str | None:
    """What is to be said of an output; None of those of other adapters."""
    return credentials.target_type if getattr(credentials, "type", None) == "lakehouse" else None
