"""What a function of the lake is. Frozen values with a JSON form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Volatility = Literal["deterministic", "stable", "non-deterministic"]
"""What dbt knows: the same answer always, within a statement, or never for sure."""

SUFFIX = "()"
"""What the name of a function ends with where relations have their names, too: ``price`` and ``price()`` are two things."""


@dataclass(frozen=True, kw_only=True)
class Argument:
    """An argument with its type in DuckDB's words; ``default`` is SQL."""

    name: str
    type: str
    default: str | None = None


@dataclass(frozen=True, kw_only=True)
class Signature:
    """One way to call a function: what it takes and gives, and its body: SQL, or the code of a Python file."""

    arguments: tuple[Argument, ...]
    returns: str
    body: str

    def __str__(self) -> str:
        """As a message shows it: ``(price FLOAT DEFAULT 100) → FLOAT``."""
        said = (
            f"{a.name} {a.type}" + (f" DEFAULT {a.default}" if a.default is not None else "") for a in self.arguments
        )
        return f"({', '.join(said)}) → {self.returns}"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """All that decides what a function gives. Of several ``signatures`` a call takes the one that its arguments fit.

    ``entry_point`` names the function, or of an aggregate the class, in Python code at ``path`` (of the project, after
    ``line`` other lines); ``python_version`` and ``packages`` say what it runs with.
    """

    language: Literal["sql", "python"]
    type: Literal["scalar", "aggregate"]
    signatures: tuple[Signature, ...]
    volatility: Volatility | None = None
    entry_point: str | None = None
    python_version: str | None = None
    packages: tuple[str, ...] = ()
    path: str = ""
    line: int = 0

    @property
    def identity(self) -> str:
        """The same for two functions exactly if they are the same but for their names; 40 hex digits."""
        said = json.dumps(to_raw(self), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(said.encode()).hexdigest()[:40]

    @property
    def native(self) -> str:
        """The name under which DuckDB knows the Python function behind the macros."""
        return f"__lakehouse_python_{self.identity}"

    @property
    def each_time(self) -> bool:
        """Whether DuckDB must call it for every row, though the arguments are the same: because its author says so, or because
        it has none, and nobody says that it gives the same each time.
        """
        unsaid = self.volatility is None and not any(signature.arguments for signature in self.signatures)
        return self.volatility == "non-deterministic" or unsaid


def to_raw(definition: Definition) -> dict[str, Any]:
    """A definition for JSON; what is not said is left out."""
    said = {name: value for name, value in vars(definition).items() if value not in (None, (), "", 0)}
    said["signatures"] = [
        {
            **vars(signature),
            "arguments": [
                {name: value for name, value in vars(argument).items() if value is not None}
                for argument in signature.arguments
            ],
        }
        for signature in definition.signatures
    ]
    return said


def from_raw(raw: Mapping[str, Any]) -> Definition:
    """The inverse of ``to_raw``."""
    signatures = tuple(
        Signature(**{**one, "arguments": tuple(Argument(**argument) for argument in one["arguments"])})
        for one in raw["signatures"]
    )
    return Definition(**{**raw, "signatures": signatures, "packages": tuple(raw.get("packages", ()))})


def called(name: str) -> str:
    """The name of a function as SQL calls it."""
    return name.removesuffix(SUFFIX)


def shown(name: str, signatures: Sequence[Signature]) -> str:
    """A function with its signatures, for a message."""
    return " or ".join(f"{name.removesuffix(SUFFIX)}{signature}" for signature in signatures)
