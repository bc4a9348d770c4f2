"""An output of a dbt profile."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbt.adapters.contracts.connection import Credentials
from dbt_common.exceptions import DbtRuntimeError

from dbt.adapters.lakehouse import profile
from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.settings import (
    Allowed,
    Isolation,
    LakeSettings,
    PublishConflict,
    PublishMode,
    ServiceSettings,
)
from dbt.adapters.lakehouse.target_type import install as say_target_type


@dataclass
class LakehouseCredentials(Credentials):
    """The keys of a ``type: lakehouse`` output; ``profile`` says what they mean and checks them."""

    database: str = "lake"
    schema: str = "main"
    warehouse: str | None = None
    catalog: str | None = None
    branch: str | None = None
    from_branch: str | None = None
    publish: str | None = None
    publish_conflict: str | None = None
    reuse: Any = None
    preflight: Any = None
    isolation: str | None = None
    allow: Any = None
    executor: str | None = None
    service: str | None = None
    service_ca: str | None = None
    token: str | None = field(default=None, repr=False)
    memory_limit: str | None = None
    temp_directory: str | None = None
    storage_options: dict[str, Any] = field(default_factory=dict)
    extensions: list[Any] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    attach: list[dict[str, Any]] = field(default_factory=list, repr=False)
    plugins: list[dict[str, Any]] = field(default_factory=list, repr=False)
    secrets: list[dict[str, Any]] = field(default_factory=list, repr=False)
    use_credential_provider: str | None = None
    filesystems: list[dict[str, Any]] = field(default_factory=list, repr=False)
    module_paths: list[str] = field(default_factory=list)
    external_root: str = "."
    external_branch: str | None = None
    state_ref: str | None = None
    target_type: str | None = None

    def __post_init__(self) -> None:
        if self.target_type is not None:
            say_target_type()

    @classmethod
    def __pre_deserialize__(cls, data: dict[Any, Any]) -> dict[Any, Any]:
        data = super().__pre_deserialize__(data)  # type: ignore[no-untyped-call]
        _checked(data)
        return data

    @classmethod
    def validate(cls, data: Any) -> None:
        """Raise for a wrong key before dbt does, whose own message repeats the value: of many keys that is a secret."""
        _checked({key: value for key, value in data.items() if value not in ({}, [])})
        super().validate(data)

    @property
    def type(self) -> str:
        """The adapter's name."""
        return "lakehouse"

    @property
    def unique_field(self) -> str:
        """What tells lakes apart in dbt's (anonymised) statistics."""
        return self.warehouse or self.service or ""

    def _connection_keys(self) -> tuple[str, ...]:
        where = ("service", "warehouse", "catalog", "database", "schema", "branch", "from_branch", "publish")
        return (*where, "external_root", "target_type")

    def connection_info(self, *, with_aliases: bool = False) -> Iterator[tuple[str, Any]]:
        """What ``dbt debug`` and its log show of the output, and Jinja's ``target``: the catalog's password is not in it."""
        for key, value in super().connection_info(with_aliases=with_aliases):
            yield key, profile.without_password(value) if key == "catalog" and value else value

    def as_profile(self) -> dict[str, Any]:
        """The output as it stands in ``profiles.yml``."""
        keys = ("type", *(name for name in self.__dataclass_fields__ if not name.startswith("_")))
        return {key: getattr(self, key) for key in keys if getattr(self, key) not in (None, {}, [])}

    def lake_settings(self, threads: int) -> LakeSettings:
        """The lake this output is about; relative paths count from the project's folder."""
        return profile.lake_settings({**self.as_profile(), "threads": threads}, project_dir())

    def service_settings(self) -> ServiceSettings | None:
        """The service that keeps the lake, if one does."""
        return profile.service_settings(self.as_profile(), project_dir())

    def target_branch(self) -> str:
        """The branch of this target."""
        return profile.target_branch(self.as_profile(), project_dir())

    def origin_branch(self) -> str:
        """The branch that the target's branch is made from."""
        return profile.from_branch(self.as_profile())

    def state_at(self) -> str | None:
        """The ref at which the relations of ``--state`` stand; None: on the target's branch, as all others."""
        return profile.state_ref(self.as_profile())

    def publish_mode(self) -> PublishMode:
        """When results become visible."""
        return profile.publish_mode(self.as_profile())

    def publish_conflict_mode(self) -> PublishConflict:
        """What is done when the target moved under a run."""
        return profile.publish_conflict(self.as_profile())

    def isolation_level(self) -> Isolation:
        """What must not have moved on the target when a run is published."""
        return profile.isolation(self.as_profile())

    def allowed(self) -> frozenset[Allowed]:
        """The guards that are to let pass what they would refuse."""
        return profile.allowed(self.as_profile())

    def reuses(self) -> bool:
        """Whether results made before are used again: LAKEHOUSE_REUSE (``on``, ``off``), else ``reuse``, else yes."""
        said = os.environ.get("LAKEHOUSE_REUSE", "").strip().lower()
        if said not in ("", "on", "off", "true", "false", "1", "0"):
            raise DbtRuntimeError(f"LAKEHOUSE_REUSE is {said!r}; on or off is right")
        return said in ("on", "true", "1") if said else self.reuse not in (False, "off")

    def preflight_mode(self) -> str:
        """``error``, ``warn`` or ``off``: LAKEHOUSE_PREFLIGHT, else ``preflight``, else ``error``."""
        said = os.environ.get("LAKEHOUSE_PREFLIGHT", "").strip().lower()
        if said not in ("", *profile.PREFLIGHT):
            raise DbtRuntimeError(f"LAKEHOUSE_PREFLIGHT is {said!r}; {', '.join(profile.PREFLIGHT)} are known")
        if said:
            return said
        return "off" if self.preflight is False else self.preflight or "error"


def _checked(data: Mapping[Any, Any]) -> None:
    try:
        profile.validate(data)
    except ConfigError as error:
        raise DbtRuntimeError(f"profile: {error}") from error


def project_dir() -> Path:
    """The folder of the project that dbt works on. dbt itself stays where it was started, which may be elsewhere: below it, or
    anywhere with ``--project-dir``.
    """
    from dbt.flags import get_flags

    said = getattr(get_flags(), "PROJECT_DIR", None)  # type: ignore[no-untyped-call]
    return Path(said).absolute() if said else Path.cwd()
