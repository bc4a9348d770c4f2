"""What client and service say to each other: numbers, headers, documents. Both sides import this and nothing else of
each other.

Values are the package's own dataclasses; pydantic makes JSON of them and checks what comes in. It is imported with the
first document, since much of the command line never needs one.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from dbt.adapters.lakehouse.catalog.model import Conflict
from dbt.adapters.lakehouse.errors import (
    LakehouseError,
    MergeConflict,
    ServiceError,
    error_kinds,
)
from dbt.adapters.lakehouse.jobs.job import LogLine, Progress
from dbt.adapters.lakehouse.run.values import Built, Draft, Function, Name, Reused, RunRequest, Wish
from dbt.adapters.lakehouse.tables.values import Column

API = 1
"""The number of this protocol. It changes when a client and a service of two versions would misunderstand each other."""

API_HEADER = "Lakehouse-Api"
VERSION_HEADER = "Lakehouse-Version"
KEY_HEADER = "Idempotency-Key"
SESSION_HEADER = "Lakehouse-Session"
"""In answers: names the state that a session holds in the service's memory, if it holds any (temporary tables, settings).
In requests: the state that the client counts on."""
REQUEST_HEADER = "Request-Id"

JSON = "application/json"
LINES = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
BUILD_WITH_ROWS = "application/vnd.lakehouse.build"
"""A build and its rows: four bytes (big-endian) that say how long the JSON of the build is, the JSON, an Arrow stream."""

META = b"lakehouse"
"""The key of the schema's metadata under which ``Answer`` travels with rows."""


@dataclass(frozen=True, kw_only=True)
class ServiceInfo:
    """Who answers, and as whom one is known there."""

    version: str
    api: int
    database: str
    user: str
    role: str


@dataclass(frozen=True, kw_only=True)
class OpenedRun:
    """A run as the service knows it: what it reads (None before it first looked), its branch once it wrote.

    ``lease`` is for how many seconds the service waits for a sign of life.
    """

    id: str
    base: str | None
    branch: str | None
    lease: float
    request: RunRequest


class _Exact:
    """Tells pydantic not to take 0 for false, nor true for 1."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return {**handler(source), "strict": True}


Truth = Annotated[bool, _Exact()]
Whole = Annotated[int, _Exact()]


@dataclass(frozen=True, kw_only=True)
class Execute:
    """``Session.execute``."""

    sql: str
    fetch: Truth = True
    limit: Whole | None = None
    test: str | None = None


@dataclass(frozen=True, kw_only=True)
class Select:
    """``Session.arrow``."""

    sql: str


@dataclass(frozen=True, kw_only=True)
class DescribeSelect:
    """``Session.describe``."""

    sql: str
    setup: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BindDrafts:
    """``Session.bind``."""

    drafts: tuple[Draft, ...]


@dataclass(frozen=True, kw_only=True)
class CreateView:
    """``Session.create_view``."""

    name: Name
    sql: str
    node: str | None = None
    comment: str | None = None
    column_comments: Mapping[str, str] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    rebuild: Truth = False
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CreateFunction:
    """``Session.create_function``."""

    function: Function
    rebuild: Truth = False


@dataclass(frozen=True, kw_only=True)
class Recall:
    """``Session.recall``."""

    wishes: tuple[Wish, ...]


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """``Session.lookup``."""

    name: Name


@dataclass(frozen=True, kw_only=True)
class Relations:
    """``Session.relations``."""

    database: str
    schema: str | None = None


@dataclass(frozen=True, kw_only=True)
class Look:
    """``Session.details``."""

    names: tuple[Name, ...]


@dataclass(frozen=True, kw_only=True)
class Schemas:
    """``Session.schemas``."""

    database: str


@dataclass(frozen=True, kw_only=True)
class Publish:
    """``Run.publish``."""

    nodes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Rebase:
    """``Run.rebase``."""

    head: str
    again: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Fail:
    """``Run.fail``."""

    reason: str
    nodes: Mapping[str, Any] = field(default_factory=dict)
    abandoned: Truth = False


@dataclass(frozen=True, kw_only=True)
class ErrorDocument:
    """What went wrong, as ``errors`` has it: ``kind`` for programs, ``message`` for people."""

    kind: str
    message: str
    conflicts: tuple[Conflict, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a statement gave, but for rows that travel as Arrow. Those of an earlier answer (``reused``) stand in ``rows``."""

    columns: tuple[Column, ...] = ()
    rows_affected: int | None = None
    message: str = "OK"
    reused: Reused | None = None
    rows: tuple[tuple[Any, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of the answer to a build: what happens, and at last what came of it. Empty lines of it keep proxies awake."""

    said: Progress | LogLine | ErrorDocument | Built | None = None


@functools.cache
def adapter(kind: Any) -> Any:
    """Turns values of a type into JSON and back (pydantic's ``TypeAdapter``)."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def dump(kind: Any, value: Any) -> bytes:
    """The JSON of a value."""
    text: bytes = adapter(kind).dump_json(value)
    return text


def load(kind: Any, text: bytes | str) -> Any:
    """The value of a JSON document. Raises ``ServiceError`` if it is none of that kind."""
    try:
        return adapter(kind).validate_json(text)
    except ValueError as error:
        raise ServiceError(f"the service's answer is no {getattr(kind, '__name__', kind)}: {error}") from error


def error_document(error: LakehouseError) -> ErrorDocument:
    """An error as it travels."""
    conflicts = error.conflicts if isinstance(error, MergeConflict) else ()
    return ErrorDocument(kind=error.kind, message=str(error), conflicts=conflicts)


def error_of(document: ErrorDocument) -> LakehouseError:
    """The error that a document stands for; of a kind that this version does not know, a ``ServiceError``."""
    kind = error_kinds().get(document.kind, ServiceError)
    if issubclass(kind, MergeConflict):
        return kind(document.message, document.conflicts)
    return kind(document.message)
