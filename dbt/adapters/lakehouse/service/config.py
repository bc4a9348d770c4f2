"""A service's configuration file, as frozen values. ``docs/service-configuration.md`` is its reference.

The file is YAML; every key may be left out. A key that is unknown or wrong is an error that names the file, the key, its
value and what would be right: a role that silently means something else is worse than a service that does not start.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from dbt.adapters.lakehouse.demands import memory_bytes
from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.service.policy import ADMIN, BUILT_IN, Capability, Policy, Role, check_pattern

_ROLE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,49}")
_OUTSIDE = re.compile(r"\*|/[^*?]*[^*?/][^*?]*|https?://[^/\s*?#]+/[^\s*?#]*")


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The pool: ``count`` processes at most (None: one per processor), which share ``memory`` (None: most of the machine's).

    One that was idle for ``idle_seconds`` is ended, one that did ``max_jobs`` jobs is replaced.
    """

    count: int | None = None
    memory: str | None = None
    idle_seconds: float = 60.0
    max_jobs: int = 500


@dataclass(frozen=True, kw_only=True)
class Queue:
    """How many jobs may wait, in all and for each user, before further ones are turned away."""

    size: int = 1000
    per_user: int = 200


@dataclass(frozen=True, kw_only=True)
class Retries:
    """Further attempts after passing failures, and how long to wait before the first: twice as long each time."""

    count: int = 2
    first_seconds: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request may bring: ``upload`` in bytes."""

    upload: int = 10 * 1000**3


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How long the audit log and the records of jobs that ended are kept; of jobs, ``jobs`` at most."""

    audit_days: float = 365.0
    job_days: float = 30.0
    jobs: int = 10_000

    @property
    def audit(self) -> timedelta:
        """How old an entry of the audit log may become."""
        return timedelta(days=self.audit_days)

    @property
    def job_age(self) -> timedelta:
        """How old the record of a job may become."""
        return timedelta(days=self.job_days)


@dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """Everything that a service is told beside where its lake is.

    ``external_access`` are URLs and folders below which models may read that ask for it. ``python_sandbox`` says what holds
    a Python model: ``auto`` bubblewrap where it works, ``require`` nothing without it, ``off`` a process and its limits.
    """

    roles: Mapping[str, Role] = field(default_factory=lambda: {role.name: role for role in BUILT_IN})
    protected: tuple[str, ...] = ("main",)
    workers: Workers = field(default_factory=Workers)
    queue: Queue = field(default_factory=Queue)
    retries: Retries = field(default_factory=Retries)
    external_access: tuple[str, ...] = ()
    python_sandbox: Literal["auto", "require", "off"] = "auto"
    limits: Limits = field(default_factory=Limits)
    retention: Retention = field(default_factory=Retention)

    @property
    def policy(self) -> Policy:
        """Who may do what."""
        return Policy(roles=self.roles, protected=self.protected)

    @classmethod
    def load(cls, path: str | Path | None) -> ServiceConfig:
        """The configuration in a file; without one, what is usual. Raises ``ConfigError``."""
        return cls() if path is None else cls.of(_read(Path(path)), str(path))

    @classmethod
    def of(cls, values: Mapping[str, Any], source: str = "configuration") -> ServiceConfig:
        """The configuration that a mapping spells; ``source`` is for messages. Raises ``ConfigError``."""
        return cls(**_section(_Where(source), values, _SERVICE))


@dataclass(frozen=True)
class _Where:
    """A place in a file, for messages."""

    file: str
    key: str = ""

    def __truediv__(self, key: object) -> _Where:
        return _Where(self.file, f"{self.key}.{key}" if self.key else str(key))

    def wrong(self, value: object, right: str) -> ConfigError:
        return ConfigError(f"{self.file}: key {self.key!r} is {value!r}; {right}")


_Check = Callable[[_Where, Any], Any]


def _section(where: _Where, value: object, checks: Mapping[str, _Check]) -> dict[str, Any]:
    """A mapping whose keys are known, each checked and translated."""
    if not isinstance(value, Mapping):
        raise where.wrong(value, f"a mapping is needed, with keys of {', '.join(checks)}")
    found: dict[str, Any] = {}
    for key, item in value.items():
        at = where / key
        check = checks.get(key) if isinstance(key, str) else None
        if check is None:
            close = difflib.get_close_matches(str(key), checks, n=1)
            instead = f"did you mean {close[0]!r}?" if close else f"these are known: {', '.join(checks)}"
            raise ConfigError(f"{where.file}: unknown key {at.key!r}; {instead}")
        if item is None:
            raise ConfigError(f"{where.file}: key {at.key!r} is empty; give it a value or remove it")
        found[key] = check(at, item)
    return found


# Checks: each called with the place and the value there, and giving the value as it is used


def _whole(least: int) -> _Check:
    def check(where: _Where, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 10**9:
            raise where.wrong(value, f"a whole number of {least} or more is needed")
        return value

    return check


def _amount(where: _Where, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise where.wrong(value, "a number above 0 is needed")
    return float(value)


def _flag(where: _Where, value: object) -> bool:
    if not isinstance(value, bool):
        raise where.wrong(value, "true or false is needed")
    return value


def _memory(where: _Where, value: object) -> str:
    _bytes(where, value)
    return str(value).strip()


def _bytes(where: _Where, value: object) -> int:
    try:
        return memory_bytes(value if isinstance(value, str) else "")
    except ValueError:
        raise where.wrong(value, "a size with a unit is needed: 4GB, 512MB, 2GiB") from None


def _sandbox(where: _Where, value: object) -> str:
    if value is False:  # YAML reads a bare `off` so
        return "off"
    if value not in ("auto", "require", "off"):
        raise where.wrong(value, "known values: auto, require, off")
    return str(value)


def _texts(where: _Where, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        raise where.wrong(value, f"a list is needed: [{value!r}]")
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise where.wrong(value, "a list of texts is needed; put those that hold '*' or '{' in quotes")
    return tuple(value)


def _patterns(where: _Where, value: object) -> tuple[str, ...]:
    found = _texts(where, value)
    for pattern in found:
        try:
            check_pattern(pattern)
        except ConfigError as error:
            raise ConfigError(f"{where.file}: key {where.key!r}: {error}") from None
    return found


def _outside(where: _Where, value: object) -> tuple[str, ...]:
    found = _texts(where, value)
    for entry in found:
        # A path s3://… can be made to lead to any other host, and https://data.example to https://data.example.evil.com.
        if not _OUTSIDE.fullmatch(entry):
            right = "https://host/ with a slash, an absolute folder or '*' is needed; a bucket is named by its https:// address"
            raise where.wrong(entry, right)
    return found


def _capabilities(where: _Where, value: object) -> frozenset[Capability]:
    known = [capability.value for capability in Capability]
    for text in _texts(where, value):
        if text not in known:
            raise where.wrong(text, f"known capabilities: {', '.join(known)}")
    return frozenset(Capability(text) for text in _texts(where, value))


def _roles(where: _Where, value: object) -> dict[str, Role]:
    if not isinstance(value, Mapping):
        raise where.wrong(value, "a mapping of roles' names to what they may do is needed")
    roles = {role.name: role for role in BUILT_IN}
    for name, said in value.items():
        at = where / name
        if not isinstance(name, str) or not _ROLE_NAME.fullmatch(name):
            raise at.wrong(name, "a role's name is small letters, digits, '_' and '-', beginning with a letter")
        if name == ADMIN.name:
            raise ConfigError(f"{where.file}: key {at.key!r}: the role 'admin' stays as it is; choose another name")
        found = _section(at, said, _ROLE)
        reads = found.pop("reads", None)
        if reads is not None:
            found["granted_only"] = reads == "granted"
        like = found.pop("like", None)
        if like is not None and like not in roles:
            raise (at / "like").wrong(like, f"a role that stands before this one is needed: {', '.join(roles)}")
        base = roles[like] if like is not None else Role(name=name, read=())
        roles[name] = role = dataclasses.replace(base, name=name, **found)
        if role.granted_only and (role.write or role.create or role.merge or role.may):
            raise (at / "reads").wrong(
                "granted", "a role that reads what is granted can have no write, create, merge or may"
            )
    return roles


def _text(where: _Where, value: object) -> str:
    if not isinstance(value, str):
        raise where.wrong(value, "a name is needed")
    return value


def _reads(where: _Where, value: object) -> str:
    if value not in ("all", "granted"):
        raise where.wrong(value, "'all' or 'granted' is needed")
    return str(value)


_ROLE: dict[str, _Check] = {
    "like": _text,
    "read": _patterns,
    "reads": _reads,
    "write": _patterns,
    "create": _patterns,
    "merge": _patterns,
    "protected": _flag,
    "may": _capabilities,
}
_WORKERS: dict[str, _Check] = {
    "count": _whole(1),
    "memory": _memory,
    "idle_seconds": _amount,
    "max_jobs": _whole(1),
}
_QUEUE: dict[str, _Check] = {"size": _whole(1), "per_user": _whole(1)}
_RETRIES: dict[str, _Check] = {"count": _whole(0), "first_seconds": _amount}
_RETENTION: dict[str, _Check] = {"audit_days": _amount, "job_days": _amount, "jobs": _whole(1)}
_SERVICE: dict[str, _Check] = {
    "roles": _roles,
    "protected": _patterns,
    "workers": lambda where, value: Workers(**_section(where, value, _WORKERS)),
    "queue": lambda where, value: Queue(**_section(where, value, _QUEUE)),
    "retries": lambda where, value: Retries(**_section(where, value, _RETRIES)),
    "external_access": _outside,
    "python_sandbox": _sandbox,
    "limits": lambda where, value: Limits(**_section(where, value, {"upload": _bytes})),
    "retention": lambda where, value: Retention(**_section(where, value, _RETENTION)),
}


# The file


def _read(file: Path) -> Mapping[str, Any]:
    import yaml  # type: ignore[import-untyped] # late: a service without a file needs none

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """YAML lets a key stand twice and takes the last; of two roles of one name, that would hide one."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for index, key in enumerate(keys):
                if key in keys[:index]:
                    line = node.value[index][0].start_mark.line + 1
                    raise ConfigError(f"{file}: key {key!r} in line {line} stands there for the second time")
            return super().construct_mapping(node, deep)

    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        hint = "; put patterns in quotes: ['*']" if "alias" in said else ""
        raise ConfigError(f"{file} is not YAML: {said}{hint}") from error
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise ConfigError(f"{file} holds no mapping of names to values")
    return content
