"""What dbt built, and what came of it. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.lake.compare import Comparison

MODELS = ("model", "seed", "snapshot")
"""Kinds of nodes that become a relation."""

TESTS = ("test", "unit_test")

_WRONG = ("error", "fail", "runtime error", "partial success")


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node of a dbt build. ``key`` are the columns that tell the rows of its relation apart, as far as dbt says so."""

    id: str
    kind: str
    status: str
    schema: str | None = None
    name: str | None = None
    path: str | None = None
    message: str | None = None
    seconds: float = 0.0
    reused: bool = False
    saved: float = 0.0
    failures: int | None = None
    key: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether it keeps the build from passing."""
        return self.status in _WRONG

    @property
    def label(self) -> str:
        """Its id without the project's name, as people say it."""
        kind, _, rest = self.id.partition(".")
        return rest.partition(".")[2] or rest or kind


@dataclass(frozen=True, kw_only=True)
class DbtBuild:
    """One ``dbt build``. ``error`` is why dbt broke off, before or beside its nodes; ``invocation`` is the id of its run."""

    passed: bool
    nodes: tuple[Node, ...] = ()
    seconds: float = 0.0
    invocation: str | None = None
    error: str | None = None

    def of(self, *kinds: str) -> tuple[Node, ...]:
        """The nodes of some kinds."""
        return tuple(node for node in self.nodes if node.kind in kinds)

    @property
    def keys(self) -> dict[str, tuple[str, ...]]:
        """Columns that tell rows apart, by relation (``schema.name``, in lower case), as far as dbt says so."""
        return {f"{node.schema}.{node.name}".lower(): node.key for node in self.of(*MODELS) if node.key}

    @property
    def failed(self) -> tuple[Node, ...]:
        """What keeps it from passing."""
        return tuple(node for node in self.nodes if node.failed)

    @property
    def saved(self) -> float:
        """Seconds that were not spent, since results were made before."""
        return sum(node.saved for node in self.nodes if node.reused)


def to_json(build: DbtBuild) -> dict[str, Any]:
    """As JSON."""
    return asdict(build)


def from_json(value: Mapping[str, Any]) -> DbtBuild:
    """The inverse of ``to_json``."""
    nodes = tuple(Node(**{**node, "key": tuple(node["key"])}) for node in value["nodes"])
    return DbtBuild(**{**value, "nodes": nodes})


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a command. Refs are names; ``base_commit`` and ``head`` are ids.

    ``ref`` is where to look at what was built: the pull request's branch if it passed, else the run's own, if it wrote.
    ``head`` is None if there is nothing to look at. ``build`` is None if dbt did not run, since everything was built before.
    ``published`` is the commit on the base branch, None if there was nothing to publish or nothing was. ``keys``: see
    ``branches.Mark``.
    """

    action: Literal["build", "publish"]
    passed: bool
    base: str
    base_commit: str
    branch: str | None
    ref: str | None
    head: str | None
    build: DbtBuild | None
    published: str | None = None
    keys: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Differences:
    """How relations differ from the base: by the relation's change, and those whose content is the same after a run.

    ``unseen`` is how many more changed that were not looked at.
    """

    relations: tuple[Comparison, ...] = ()
    missing: tuple[str, ...] = ()
    unseen: int = 0
