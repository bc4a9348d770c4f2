"""Every error this package raises on purpose.

::

    LakehouseError
    ├── ConfigError            a profile, model configuration or argument is wrong
    ├── RefError
    │   ├── RefNotFound        no such branch, tag or commit
    │   ├── RefExists          the name is taken
    │   ├── InvalidRef         the name or ref expression is malformed
    │   ├── RefProtected       the branch takes merges only
    │   └── Collected          garbage collection took the files of what was named
    ├── ConflictError
    │   ├── HeadMoved          a branch is not where the caller expected it
    │   └── MergeConflict      both sides changed the same tables
    ├── TaintedError           a merge would carry what a run that did not pass wrote
    ├── Guarded                a merge would overwrite what is another's, or take columns from a protected branch
    ├── NotInLake              no such table, view or schema at a ref
    ├── CatalogError           the catalog is missing, corrupt, locked or of another version
    ├── AccessError
    │   ├── Unauthenticated    no token, or none that is valid
    │   └── Denied             the token's role does not allow it
    ├── ServiceError           a service did not answer as it should
    │   ├── Unreachable        it could not be reached, or what answers is none
    │   ├── VersionSkew        client and service are of versions that do not understand each other
    │   ├── Unavailable        it is shutting down or full; later, it would do it
    │   ├── BadRequest         it could make no sense of the request
    │   └── SessionLost        temporary tables or settings of a session went with a process of the service
    ├── StorageError           a file could not be read, written or deleted
    ├── TableError
    │   ├── UnsupportedType    a column's type has no place in an Iceberg table
    │   ├── SchemaMismatch     rows and table do not fit together
    │   └── ConstraintViolated rows break a constraint of the model's contract
    └── JobError
        ├── SqlError           DuckDB refused or failed the statement
        │   └── SandboxError   it reaches for what a job's SQL may not have
        ├── PythonModelError   the model's own Python raised
        ├── FunctionError      a Python function of the lake raised, or its process did not answer
        ├── Unattached         a database beside the lake could not be attached
        ├── PluginError        a plugin of the profile failed
        ├── JobCancelled       somebody cancelled it
        ├── OutOfMemory        it needs more memory than its limit and could not spill
        ├── JobTimeout         it took longer than it may
        ├── WorkerDied         the process that ran it ended, each time it was tried
        ├── Busy               the queue is full, or nothing became free for too long
        └── JobNotFound        no job of that key is on record

A message is fact, ids, next step, in one or two sentences. ``kind`` is stable and meant for scripts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.catalog.model import Conflict


class LakehouseError(Exception):
    """Root of the tree; ``str()`` is the message for people, ``kind`` the name for scripts."""

    kind: ClassVar[str] = "error"


class ConfigError(LakehouseError):
    """A profile key, model configuration or argument is wrong; the message names it, its value and what is right."""

    kind = "config"


class RefError(LakehouseError):
    """Something is wrong with a branch, tag or commit that was named."""

    kind = "ref"


class RefNotFound(RefError):
    """No branch, tag or commit answers to the ref."""

    kind = "ref_not_found"


class RefExists(RefError):
    """A branch or tag of that name exists already."""

    kind = "ref_exists"


class InvalidRef(RefError):
    """The text is not a name or ref expression."""

    kind = "invalid_ref"


class RefProtected(RefError):
    """The branch is protected: it changes by merges alone and cannot be deleted."""

    kind = "ref_protected"


class Collected(RefError):
    """Garbage collection took the files of the commit or table that was named: its history remains, its rows are gone."""

    kind = "collected"


class ConflictError(LakehouseError):
    """Somebody else was faster; nothing was changed."""

    kind = "conflict"


class HeadMoved(ConflictError):
    """A compare-and-swap found another head or another entry than expected."""

    kind = "head_moved"


class MergeConflict(ConflictError):
    """Both sides of a merge changed the same keys; ``conflicts`` says which and how."""

    kind = "merge_conflict"

    def __init__(self, message: str, conflicts: Sequence[Conflict] = ()) -> None:
        super().__init__(message)
        self.conflicts = tuple(conflicts)


class TaintedError(LakehouseError):
    """A merge would carry entries that a run which did not pass has written (invariant 6)."""

    kind = "tainted"


class Guarded(LakehouseError):
    """A merge, or a node that is visible at once, would overwrite what another wrote or take columns from a protected branch."""

    kind = "guarded"


class NotInLake(LakehouseError):
    """A table, view or schema does not exist at the ref that was read."""

    kind = "not_in_lake"


class CatalogError(LakehouseError):
    """The catalog cannot be opened or used: missing, corrupt, locked for too long, or of another version."""

    kind = "catalog"


class AccessError(LakehouseError):
    """A service did not do what it was asked, because of who asked."""

    kind = "access"


class Unauthenticated(AccessError):
    """There was no token, or none that is valid; what is wrong with it is told to the service's log alone."""

    kind = "unauthenticated"


class Denied(AccessError):
    """The role of who asked does not allow it; the message names user, role and what was asked for."""

    kind = "denied"


class ServiceError(LakehouseError):
    """A service did not answer as it should."""

    kind = "service"


class Unreachable(ServiceError):
    """Nothing answers at the service's address, or what answers is no service of this kind."""

    kind = "unreachable"


class VersionSkew(ServiceError):
    """Client and service are of versions that do not understand each other; the message says which side to upgrade."""

    kind = "version_skew"


class Unavailable(ServiceError):
    """The service is shutting down or has all it can do; the same request may succeed later."""

    kind = "unavailable"


class BadRequest(ServiceError, ValueError):
    """The service could make no sense of a request: its path, its header or its document."""

    kind = "bad_request"


class SessionLost(ServiceError):
    """Temporary tables, macros or settings that a session counted on are gone with a process of the service."""

    kind = "session_lost"


class StorageError(LakehouseError):
    """A file or folder of the warehouse cannot be read, written, listed or deleted.

    ``passing``: the same may well succeed later (network, overload), and nothing needs to be changed for that.
    """

    kind = "storage"

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class TableError(LakehouseError):
    """Rows cannot become, or join, an Iceberg table."""

    kind = "table"


class UnsupportedType(TableError):
    """A column has a type that an Iceberg table cannot hold; the message names column, type and a cast that works."""

    kind = "unsupported_type"


class SchemaMismatch(TableError):
    """The columns of a query and those of the table they go to do not fit together."""

    kind = "schema_mismatch"


class ConstraintViolated(TableError):
    """Rows break a not null, unique, primary key or check constraint."""

    kind = "constraint"


class JobError(LakehouseError):
    """A job ran and did not end well."""

    kind = "job"


class SqlError(JobError):
    """DuckDB refused or failed a statement; the message is DuckDB's own."""

    kind = "sql"


class SandboxError(SqlError):
    """SQL reaches for what it may not have: files and addresses outside, secrets, settings; the message says what to do."""

    kind = "sandbox"


class PythonModelError(JobError):
    """A Python model raised; the message carries its traceback."""

    kind = "python_model"


class FunctionError(JobError):
    """A Python function that SQL called raised; the message carries its traceback."""

    kind = "function"


class Unattached(JobError):
    """A database of the profile's ``attach`` cannot be reached, or is none of its type; the message names its alias."""

    kind = "unattached"


class PluginError(JobError):
    """A plugin of the profile could not load a source, or not prepare DuckDB; the message says what it raised."""

    kind = "plugin"


class JobCancelled(JobError):
    """The job was cancelled before it finished."""

    kind = "cancelled"


class OutOfMemory(JobError):
    """The job needs more memory than its limit and could not spill the rest to disk."""

    kind = "out_of_memory"


class JobTimeout(JobError):
    """The job ran longer than its ``timeout`` and was stopped."""

    kind = "timeout"


class WorkerDied(JobError):
    """The process that ran the job ended before it had answered; the message names the signal."""

    kind = "worker_died"


class Busy(JobError):
    """The queue has no place for the job, or no worker became free for it in time; later, it would be run."""

    kind = "busy"


class JobNotFound(JobError):
    """No job of that key is on record, or none that whoever asks may see."""

    kind = "job_not_found"


def error_kinds() -> dict[str, type[LakehouseError]]:
    """Every class of the tree by its kind."""
    found: dict[str, type[LakehouseError]] = {}
    todo = [LakehouseError]
    while todo:
        error = todo.pop()
        if "kind" in vars(error):
            found[error.kind] = error
        todo.extend(error.__subclasses__())
    return found


def error_to_json(error: LakehouseError) -> dict[str, Any]:
    """An error as JSON: kind, message, and those of its attributes that are plain values (``extra``)."""
    extra = {name: value for name, value in vars(error).items() if isinstance(value, str | int | float | bool)}
    return {"kind": error.kind, "message": str(error), "extra": extra}


def error_from_json(value: Mapping[str, Any]) -> LakehouseError:
    """The inverse of ``error_to_json``; a kind of a newer version becomes a ``LakehouseError``."""
    error = error_kinds().get(str(value.get("kind")), LakehouseError)(str(value.get("message", "")))
    extra = value.get("extra")
    for name, attribute in extra.items() if isinstance(extra, Mapping) else ():
        if isinstance(attribute, str | int | float | bool) and not hasattr(type(error), name):
            setattr(error, name, attribute)
    return error
