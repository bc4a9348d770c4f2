"""What a node asks of whatever runs it: limits, attempts, packages. Read from its configuration, checked, no dbt classes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.jobs.job import Resources
from dbt.adapters.lakehouse.run.guards import CONFIGS
from dbt.adapters.lakehouse.run.values import Reuse
from dbt.adapters.lakehouse.settings import Allowed

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt])(i?)b?", re.IGNORECASE)
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h)?", re.IGNORECASE)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_POWER = {"k": 1, "m": 2, "g": 3, "t": 4}


def memory_bytes(text: str) -> int:
    """An amount such as ``4GB`` or ``512MiB`` in bytes. Raises ``ValueError``."""
    found = _MEMORY.fullmatch(text.strip())
    if found is None or not float(found[1]):
        raise ValueError(f"{text!r} is no amount of memory")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** _POWER[found[2].lower()])


def resources(config: Mapping[str, Any]) -> Resources:
    """``cpus``, ``memory``, ``timeout``, ``retries`` and ``priority`` of a node. Raises ``ConfigError``."""
    start, largest = _memory(config.get("memory"))
    return Resources(
        cpus=_whole(config, "cpus", 1),
        memory=start,
        max_memory=largest,
        timeout=_timeout(config.get("timeout")),
        retries=_whole(config, "retries", 0),
        priority=_whole(config, "priority", None) or 0,
    )


def reuse(config: Mapping[str, Any]) -> dict[str, Any]:
    """``reuse``, ``files`` and ``content_identity`` of a node, as a ``Build`` has them. Raises ``ConfigError``."""
    said = config.get("reuse")
    files: tuple[str, ...] = ()
    known: Mapping[Any, Reuse] = {None: "auto", True: "always", False: "never"}
    if isinstance(said, Mapping):
        if not said or set(said) - {"per", "files"} or said.get("per", "day") not in ("hour", "day"):
            raise _wrong("reuse", said, "{per: day} or {per: hour} is right, and {files: [paths]}")
        wish: Reuse = said.get("per", "auto")
        files = _files(said)
    elif said is None or isinstance(said, bool):
        wish = known[said]
    else:
        raise _wrong("reuse", said, "true, false, {per: day}, {per: hour} or {files: [paths]} is right")
    identified = config.get("content_identity") is None or flag(config, "content_identity")
    return {"reuse": wish, "files": files, "content_identity": identified}


def allow(config: Mapping[str, Any]) -> tuple[Allowed, ...]:
    """The guards that a node's table passes: ``allow_takeover``, ``allow_schema_change``. Raises ``ConfigError``."""
    return tuple(guard for guard, key in CONFIGS.items() if flag(config, key))


def _files(said: Mapping[str, Any]) -> tuple[str, ...]:
    files = said.get("files", ())
    files = [files] if isinstance(files, str) else files
    if not isinstance(files, list | tuple) or not all(isinstance(one, str) and one for one in files):
        raise _wrong("reuse", dict(said), "files are paths or patterns: {files: ['data/*.csv']}")
    if "files" in said and not files:
        raise _wrong("reuse", dict(said), "files must name one at least")
    return tuple(files)


def python_needs(config: Mapping[str, Any]) -> dict[str, Any]:
    """``packages``, ``python_version`` and ``internet_access`` of a Python model. Raises ``ConfigError``."""
    packages = config.get("packages") or ()
    if isinstance(packages, str) or not all(isinstance(item, str) and item.strip() for item in packages):
        raise _wrong("packages", packages, "a list of requirements is right: ['pandas==2.2.*', 'scikit-learn']")
    version = config.get("python_version")
    if version is not None and not (isinstance(version, str) and re.fullmatch(r"3\.\d+", version)):
        raise _wrong("python_version", version, "a version in quotes is right: '3.12'")
    return {
        "packages": tuple(item.strip() for item in packages),
        "python_version": version,
        "internet_access": flag(config, "internet_access"),
    }


def flag(config: Mapping[str, Any], key: str) -> bool:
    """A configuration that is true or false, and false where it is absent."""
    value = config.get(key)
    if value not in (None, True, False):
        raise _wrong(key, value, "true or false is right")
    return bool(value)


def _memory(value: Any) -> tuple[str | None, str | None]:
    right = "an amount is right (2GB), or {start: 1GB, max: 8GB}"
    amounts: tuple[Any, Any] = (value, None)
    if isinstance(value, Mapping):
        if set(value) - {"start", "max"}:
            raise _wrong("memory", value, right)
        amounts = (value.get("start"), value.get("max"))
    for amount in amounts:
        if amount is not None and not (isinstance(amount, str) and _is_amount(amount)):
            raise _wrong("memory", value, right)
    start, largest = amounts
    if start and largest and memory_bytes(largest) < memory_bytes(start):
        raise _wrong("memory", value, "max must not be less than start")
    return start, largest


def _is_amount(text: str) -> bool:
    try:
        return bool(memory_bytes(text))
    except ValueError:
        return False


def _timeout(value: Any) -> float | None:
    if value is None:
        return None
    found = _TIME.fullmatch(str(value).strip()) if not isinstance(value, bool) else None
    if found is None or not float(found[1]):
        raise _wrong("timeout", value, "a time above zero is right: 90 (seconds), 15m, 2h")
    return float(found[1]) * _SECONDS[(found[2] or "s").lower()]


def _whole(config: Mapping[str, Any], key: str, least: int | None) -> int | None:
    value = config.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        floor = "" if least is None else f" of {least} or more"
        raise _wrong(key, value, f"a whole number{floor} is right")
    return int(value)


def _wrong(key: str, value: Any, right: str) -> ConfigError:
    return ConfigError(f"model configuration {key!r} is {value!r}; {right}")
