"""Files outside of the lake that a node's author declares: what is in them, so that the node runs when that changes.

A local file counts by its bytes, which are read again when its size or time of change is another. One in S3 or behind http
counts by what its server says of it (ETag, or size and time).
"""

from __future__ import annotations

import functools
import glob
import hashlib
import json
import os
import re
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from dbt.adapters.lakehouse.errors import LakehouseError
from dbt.adapters.lakehouse.settings import LakeSettings

_REMOTE = re.compile(r"(s3|https?)://")
_OTHER = re.compile(r"[a-z][a-z0-9+.-]+://")
_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Declared:
    """Files as they are now: ``digest`` of all, and what was found for each pattern. ``obstacles`` say what cannot be told.

    ``changed`` are the times of their last change, which some functions of DuckDB tell.
    """

    digest: str
    changed: str = ""
    found: Mapping[str, frozenset[str]] = field(default_factory=dict)
    obstacles: tuple[str, ...] = ()

    def covers(self, name: str) -> bool:
        """Whether a file that SQL names, or all that a pattern of its stands for, is declared."""
        if name in self.found:
            return True
        if _OTHER.match(name):
            return any(fnmatchcase(name, pattern) for pattern in self.found)
        every = frozenset().union(*self.found.values())
        files = _local(name)
        return bool(files) and files.keys() <= every


def look(patterns: Iterable[str], settings: LakeSettings, *, external_access: bool) -> Declared:
    """What declared files hold. In a sandbox only local files count that a node which asks for it may read."""
    contents: dict[str, object] = {}
    found: dict[str, frozenset[str]] = {}
    obstacles: list[str] = []
    for pattern in patterns:
        try:
            if settings.sandbox:
                _check_allowed(pattern, settings.external_access if external_access else ())
            said = _remote(pattern, settings) if _OTHER.match(pattern) else _local(pattern)
        except (OSError, ValueError, LakehouseError) as error:
            obstacles.append(f"the declared file {pattern} cannot be looked at: {error}")
            continue
        if not said:
            obstacles.append(f"there is no declared file {pattern}")
        found[pattern] = frozenset(said)
        contents[pattern] = sorted(said.items())
    text = json.dumps(contents, sort_keys=True, ensure_ascii=False)
    return Declared(
        digest=hashlib.sha256(text.encode()).hexdigest(),
        changed=_times(sorted(frozenset().union(*found.values()))),
        found=found,
        obstacles=tuple(obstacles),
    )


def _times(names: Iterable[str]) -> str:
    times = {name: Path(name).stat().st_mtime_ns for name in names if not _OTHER.match(name) and Path(name).exists()}
    return hashlib.sha256(json.dumps(times).encode()).hexdigest()


def _check_allowed(pattern: str, outside: Iterable[str]) -> None:
    if _OTHER.match(pattern):
        raise ValueError("a service looks at its own files only; use `reuse: {per: day}` or `reuse: true`")
    folders = [entry for entry in outside if entry == "*" or entry.startswith("/")]
    for path in {pattern, *map(os.path.realpath, _matches(pattern))}:
        whole = os.path.normpath(path)
        if not any(entry == "*" or Path(whole).is_relative_to(entry) for entry in folders):
            raise ValueError("the service does not let this node read it (external_access)")


# local files


def _local(pattern: str) -> dict[str, str]:
    """Files that a path, folder or pattern stands for, with the hash of their bytes."""
    paths = [pattern] if Path(pattern).exists() else _matches(pattern)
    found: dict[str, str] = {}
    for path in paths:
        files = [path] if not Path(path).is_dir() else [str(file) for file in Path(path).rglob("*") if file.is_file()]
        for file in files:
            said = Path(file).stat()
            times = said.st_mtime_ns, said.st_ctime_ns  # the first alone can be set to what it was
            found[os.path.normpath(file)] = _digest(os.path.abspath(file), said.st_size, times)  # noqa: PTH100
    return found


def _matches(pattern: str) -> list[str]:
    # As DuckDB does, whose patterns match hidden files.
    return glob.glob(pattern, recursive=True, include_hidden=True)  # noqa: PTH207 # a pattern may be absolute


@functools.lru_cache(maxsize=4096)
def _digest(path: str, size: int, changed: tuple[int, int]) -> str:
    del size, changed
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# others


def _remote(pattern: str, settings: LakeSettings) -> dict[str, list[str]]:
    if not _REMOTE.match(pattern):
        raise ValueError("only local files, s3:// and http(s):// are known here")
    return _in_s3(pattern, settings) if pattern.startswith("s3://") else {pattern: _behind_http(pattern)}


def _client(uri: str, settings: LakeSettings) -> Any:
    """What lists a folder in S3: by the profile's secret for it, as DuckDB reads it, else as the warehouse nearest to it."""
    from dbt.adapters.lakehouse.jobs.secrets import s3_secret
    from dbt.adapters.lakehouse.storage.places import s3_storage

    secret = s3_secret(uri, settings.secrets)
    if secret is None or uri.startswith(f"{settings.warehouse}/"):
        return s3_storage(uri).access.client
    from dbt.adapters.lakehouse.storage.s3_access import S3Access

    return S3Access(uri, secret).client


def _in_s3(pattern: str, settings: LakeSettings) -> dict[str, list[str]]:
    plain = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    bucket, _, prefix = plain.removeprefix("s3://").partition("/")
    pages = _client(f"s3://{bucket}/{prefix}", settings).get_paginator("list_objects_v2")
    found: dict[str, list[str]] = {}
    try:
        for page in pages.paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                uri = f"s3://{bucket}/{item['Key']}"
                if uri == pattern or fnmatchcase(uri, pattern):
                    found[uri] = [item["ETag"], str(item["Size"]), item["LastModified"].isoformat()]
    except Exception as error:  # boto3 has no common base for its errors
        raise ValueError(str(error)) from error
    return found


def _behind_http(url: str) -> list[str]:
    if re.search(r"[*?\[]", url.partition("?")[0]):
        raise ValueError("patterns are for local files and S3")
    request = urllib.request.Request(url, method="HEAD")
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
        tag, changed = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
        size = answer.headers.get("Content-Length")
    if tag is not None and not tag.startswith("W/"):
        return [tag]
    if changed is None or size is None:
        raise ValueError("its server tells neither an ETag nor size and time; declare `reuse: {per: day}` instead")
    return [changed, size]
