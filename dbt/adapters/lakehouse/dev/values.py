"""What the loop hands to a screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dbt.adapters.lakehouse.lake.compare import Comparison
    from dbt.adapters.lakehouse.tables.values import Column

Status = Literal["built", "reused", "pass", "warn", "fail", "error", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with the project, and where, as far as that is known; ``path`` starts at the project's folder."""

    message: str
    path: str | None = None
    line: int | None = None


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of dbt's graph; ``relation`` is schema and name, and ``key`` the columns that tell its rows apart."""

    id: str
    kind: str
    name: str
    path: str
    relation: tuple[str, str] | None = None
    key: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NodeResult:
    """How a node ended."""

    node: Node
    status: Status
    seconds: float
    message: str = ""
    problem: Problem | None = None


@dataclass(frozen=True, kw_only=True)
class Build:
    """How a build ended. ``run`` is the id of its run; ``problem`` is what kept dbt from running nodes at all."""

    ok: bool
    run: str
    seconds: float
    results: tuple[NodeResult, ...] = ()
    problem: Problem | None = None
    cancelled: bool = False


@dataclass(frozen=True, kw_only=True)
class Look:
    """The first rows of a node's relation at a ref; ``fault`` is why they could not be read."""

    node: Node
    ref: str
    columns: tuple[Column, ...] = ()
    rows: Sequence[tuple[Any, ...]] = ()
    fault: str | None = None


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is worked on: dbt's project and target, the branch that is built on and the one to compare with."""

    project: str
    target: str
    branch: str
    base: str


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why a build starts: files that were saved, models that are gone, or a sentence where it is neither."""

    files: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    text: str = ""


class Screen(Protocol):
    """Where a developer looks."""

    def started(self, setting: Setting) -> None:
        """Work begins, or goes on with another setting."""
        ...

    def waiting(self) -> None:
        """Nothing is to be done before the next save."""
        ...

    def building(self, cause: Cause) -> AbstractContextManager[None]:
        """Around a build."""
        ...

    def running(self, node: str) -> None:
        """A node of the build began."""
        ...

    def said(self, text: str) -> None:
        """What a model or a macro says while it runs."""
        ...

    def looked(self, result: NodeResult, look: Look) -> None:
        """The rows of a changed node."""
        ...

    def compared(self, node: Node, base: str, comparison: Comparison) -> None:
        """A changed node beside the base branch."""
        ...

    def built(self, build: Build, setting: Setting) -> None:
        """A build is over, and its nodes were shown."""
        ...

    def problem(self, problem: Problem) -> None:
        """The project cannot be built as it is."""
        ...

    def note(self, text: str) -> None:
        """A remark."""
        ...
