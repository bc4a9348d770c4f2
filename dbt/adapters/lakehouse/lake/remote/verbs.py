"""The catalog's verbs as requests and answers, derived from the protocol itself so that the two cannot differ."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import Entry, Key, key_of
from dbt.adapters.lakehouse.lake.remote import wire

_READS = (
    "resolve",
    "refs",
    "entries",
    "lookup",
    "log",
    "changes",
    "diff",
    "contents",
    "last_change",
    "run",
    "runs",
    "recall_node",
)
_WRITES = (
    "create_ref",
    "assign",
    "protect",
    "delete_ref",
    "commit",
    "merge",
    "save_run",
    "heartbeat",
)

_INSIDE = frozenset({"settled", "reads", "expected_changes"})
"""Arguments that no client may give: entries that no job wrote, and what the service itself knows."""


@dataclass(frozen=True)
class Verb:
    """One verb: the dataclass of its arguments, the type of its answer as it travels, whether it changes anything."""

    name: str
    arguments: type
    answer: Any
    writes: bool
    help: str

    @property
    def names(self) -> tuple[str, ...]:
        """Of the arguments."""
        return tuple(item.name for item in dataclasses.fields(self.arguments))

    def pack(self, answer: Any) -> Any:
        """An answer as it travels: entries carry their own keys."""
        return list(answer.values()) if self.answer == list[Entry] else answer

    def unpack(self, travelled: Any) -> Any:
        """The inverse of ``pack``."""
        return {key_of(entry): entry for entry in travelled} if self.answer == list[Entry] else travelled


@functools.cache
def catalog_verbs() -> Mapping[str, Verb]:
    """All verbs of ``Catalog`` but ``close``, by name; without arguments that are none of a client's business."""
    return {name: _verb(name, writes=name in _WRITES) for name in (*_READS, *_WRITES)}


def _verb(name: str, *, writes: bool) -> Verb:
    method = getattr(Catalog, name)
    hints = typing.get_type_hints(method)
    answer = hints.pop("return")
    if answer == dict[Key, Entry]:
        answer = list[Entry]
    fields = []
    for parameter in inspect.signature(method).parameters.values():
        if parameter.name == "self" or parameter.name in _INSIDE:
            continue
        hint = _concrete(hints[parameter.name])
        if parameter.default is inspect.Parameter.empty:
            fields.append((parameter.name, hint, dataclasses.field()))
        else:
            fields.append((parameter.name, hint, dataclasses.field(default=parameter.default)))
    title = "Catalog" + "".join(part.capitalize() for part in name.split("_"))
    arguments = dataclasses.make_dataclass(title, fields, frozen=True, kw_only=True)
    arguments.__doc__ = f"``Catalog.{name}``."
    return Verb(name, arguments, answer, writes, inspect.cleandoc(method.__doc__ or ""))


def _concrete(hint: Any) -> Any:
    """A type that can be sent: whatever can be iterated over travels as a list, and a number is no truth value."""
    if hint == (int | None):
        return wire.Whole | None
    if hint is bool:
        return wire.Truth
    if typing.get_origin(hint) is not None and getattr(typing.get_origin(hint), "__name__", "") == "Iterable":
        return list[typing.get_args(hint)[0]]  # type: ignore[misc]
    return hint
