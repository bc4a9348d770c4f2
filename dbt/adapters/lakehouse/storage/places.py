"""From a location to the store that it lives in, and to the options that this store was opened with.

Tables say where their files are and nothing of keys. Whoever opens a lake names its ``storage_options`` once for the
process, under its warehouse; what lies below is reached with them. Two lakes with different keys do not meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.storage.base import LOCAL, S3, Storage
from dbt.adapters.lakehouse.storage.local import LocalStorage
from dbt.adapters.lakehouse.storage.s3_options import S3Options, check_s3_location, s3_options, split_uri

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.storage.s3 import S3Storage

_LOCAL_STORAGE = LocalStorage()
_PLACES: dict[str, S3Storage] = {}
_LOCK = Lock()


def storage_for(uri: str, options: Mapping[str, str] | None = None) -> Storage:
    """The store that a URI lives in. ``options`` are a profile's ``storage_options``, for all that is below the URI.

    Without them it is those given for the nearest folder above; failing that, what the AWS tools would use.
    """
    if uri.startswith(LOCAL + "/"):
        return _LOCAL_STORAGE
    if uri.startswith(S3):
        return s3_storage(uri, options)
    scheme = uri.partition("://")[0] if "://" in uri else ""
    if scheme in ("s3a", "s3n"):
        raise ConfigError(f"location {uri!r} is in S3, whose locations are written s3://bucket/folder here")
    raise ConfigError(
        f"location {uri!r} is neither an absolute file URI (file:///path/to/folder) nor s3://bucket/folder"
    )


def s3_storage(uri: str, options: Mapping[str, str] | None = None) -> S3Storage:
    """``storage_for`` of a location that is in S3."""
    if options is not None:
        return _open(uri.rstrip("/"), s3_options(options))
    near = max((place for place in list(_PLACES) if uri == place or uri.startswith(place + "/")), key=len, default=None)
    return _PLACES[near] if near is not None else _open(S3 + split_uri(uri)[0], S3Options())


def _open(place: str, options: S3Options) -> S3Storage:
    # Imported late: most lakes are local, and the command line is to start fast.
    from dbt.adapters.lakehouse.storage.s3 import S3Storage
    from dbt.adapters.lakehouse.storage.s3_access import S3Access

    with _LOCK:
        known = _PLACES.get(place)
        if known is None or known.access.options != options:
            known = _PLACES[place] = S3Storage(S3Access(place, options))
        return known


def check_warehouse(uri: str, options: Mapping[str, str]) -> None:
    """Raise ``ConfigError`` if no warehouse can be at a URI, or the options are not for it. Nothing is reached for."""
    if uri.startswith(S3):
        check_s3_location(uri)
        s3_options(options)
    elif options:
        raise ConfigError(
            f"profile key 'storage_options' is for a warehouse on S3 (s3://bucket/folder), and this one is {uri!r}; remove it"
        )


def worker_environment(warehouse: str, options: Mapping[str, str]) -> dict[str, str]:
    """The variables that a worker process with an environment and HOME of its own needs to find the same credentials."""
    if not warehouse.startswith(S3):
        return {}
    from dbt.adapters.lakehouse.storage.s3_access import environment_for_workers

    return environment_for_workers(s3_options(options))
