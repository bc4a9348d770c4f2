"""What a lake is made of, as frozen values. No dbt, no environment, no I/O."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

PythonSandbox = Literal["auto", "require", "off"]
"""What holds a Python model that runs in a process of its own: bubblewrap where it works, always, or never."""


Allowed = Literal["owner", "schema"]
"""What a guard may be told to let pass: another owner of a table; columns that go, or are of another type, on a protected
branch."""


class PublishMode(enum.StrEnum):
    """When what a run wrote becomes visible on its target's branch."""

    ON_SUCCESS = "on_success"
    EACH_NODE = "each_node"
    MANUAL = "manual"


class Isolation(enum.StrEnum):
    """What must not have moved on the target when a run is published: what it wrote, or also what it read."""

    SNAPSHOT = "snapshot"
    SERIALIZABLE = "serializable"


class PublishConflict(enum.StrEnum):
    """What is done about a run that passed and whose target moved: it fails, or what is concerned is run again."""

    FAIL = "fail"
    RERUN = "rerun"


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """Another database that jobs may read under the name ``alias``.

    ``type`` is DuckDB's name of what it is, ``path`` a file, a URL or what says how a server is reached. Neither it nor the
    ``options`` are shown by ``repr``, since either may hold a password. ``secret`` is the name of one of the ``secrets``.
    """

    alias: str
    type: str
    path: str = field(repr=False)
    secret: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A Python class that loads sources and prepares workers' DuckDBs (``jobs.plugins``): ``Plugin`` in a ``module``.

    Its ``config`` is not shown by ``repr``, since it may hold a password.
    """

    name: str
    module: str
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class LakeSettings:
    """Where a lake is and how it is reached.

    ``warehouse`` is the URI of its root folder (``file:///…``, ``s3://…``, without a slash at the end), ``catalog`` a
    SQLAlchemy URL. ``database`` is the name its relations carry in SQL. ``memory_limit`` (``4GB``) is for each worker;
    None lets the workers share what DuckDB would take. ``duckdb_settings`` and ``extensions`` are applied to every worker.
    With ``sandbox`` the SQL of a job reads the job's inputs and nothing else (invariant 9), except for models that declare
    ``external_access``, which may read below the URLs and folders of that name here (``*``: anything).
    ``attached`` databases are there for the jobs that name them (``jobs.attached``).
    ``storage_options`` are for S3, see ``storage.s3_options``. Neither they nor ``catalog``, which may hold a password,
    are shown by ``repr``; nor are ``secrets`` and ``filesystems``, which every worker's DuckDB is given (``jobs.secrets``,
    ``jobs.filesystems``). ``repositories`` says where an extension comes from, where it is not DuckDB's own place.
    ``module_paths`` are folders of modules that Python models import.
    """

    warehouse: str
    catalog: str = field(repr=False)
    database: str = "lake"
    workers: int = 1
    memory_limit: str | None = None
    temp_directory: str | None = None
    extensions: tuple[str, ...] = ()
    duckdb_settings: Mapping[str, str] = field(default_factory=dict)
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)
    sandbox: bool = False
    external_access: tuple[str, ...] = ()
    environments: str | None = None
    python_sandbox: PythonSandbox = "auto"
    attached: tuple[Attachment, ...] = ()
    plugins: tuple[Plugin, ...] = ()
    repositories: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    filesystems: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    module_paths: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """A service that keeps a lake: its URL, who we are there, and the file of certificates to trust instead of the system's."""

    url: str
    token: str | None = field(default=None, repr=False)
    ca: str | None = None
    database: str = "lake"
