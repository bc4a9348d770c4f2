"""What a DuckDB is given to read a warehouse on S3, and what its failures to read there mean.

httpfs reads; nothing is written by it (docs/decisions/0010-s3.md). The secret holds for the warehouse's folder alone, and
its keys are those that boto3 found, so that both sides of a worker are the same user.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import duckdb

from dbt.adapters.lakehouse.errors import ConfigError, StorageError
from dbt.adapters.lakehouse.quoting import literal
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.storage.base import S3
from dbt.adapters.lakehouse.storage.places import s3_storage

if TYPE_CHECKING:
    from dbt.adapters.lakehouse.storage.s3_access import Keys


_SECRET = "__lakehouse_warehouse"  # a name
_FIRST_WAIT_MS, _BACKOFF = 100, 2
_CONNECTION = re.compile(r"^IO Error: (?P<what>.*) error for HTTP (?P<verb>[A-Z]+) to '(?P<url>[^']*)'")
_PASSING = (429, 500, 502, 503, 504)


class Grant:
    """Access of one DuckDB to the warehouse of its settings; nothing where that is local.

    Made before the configuration is locked and before the operator's own settings, which may say other than these. A
    secret can be replaced in a locked one, too.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, settings: LakeSettings) -> None:
        self._connection = connection
        self._warehouse = settings.warehouse
        self._keys: Keys | None = None
        if not settings.warehouse.startswith(S3):
            return
        # Imported late: it needs this module's neighbour, which imports this one.
        from dbt.adapters.lakehouse.jobs.instance import load_extension

        options = s3_storage(settings.warehouse, settings.storage_options).access.options
        load_extension(connection, "httpfs")
        for name, value in {
            "http_retries": options.retries,
            "http_retry_wait_ms": _FIRST_WAIT_MS,
            "http_retry_backoff": _BACKOFF,
            "http_timeout": round(options.timeout),
        }.items():
            connection.execute(f"SET GLOBAL {name} = {value}")
        self.renew()

    def renew(self) -> None:
        """Before each job: give DuckDB the credentials of now, if they are others. Raises ``StorageError``."""
        if not self._warehouse.startswith(S3):
            return
        access = s3_storage(self._warehouse).access
        keys = access.keys()
        if keys == self._keys:
            return
        parts = {
            "KEY_ID": keys.key,
            "SECRET": keys.secret,
            "SESSION_TOKEN": keys.token,
            "REGION": access.region,
            "ENDPOINT": access.options.endpoint,
            "URL_STYLE": "path" if access.options.path_style else "vhost",
            "SCOPE": f"{self._warehouse}/",
        }
        said = ", ".join(f"{name} {literal(value)}" for name, value in parts.items() if value is not None)
        secure = "true" if access.options.use_ssl else "false"
        try:
            self._connection.execute(
                f"CREATE OR REPLACE TEMPORARY SECRET {_SECRET} (TYPE s3, {said}, USE_SSL {secure})"
            )
        except duckdb.Error as error:
            # DuckDB's message repeats the statement, and with it the secret.
            kind = type(error).__name__
            raise ConfigError(f"DuckDB refuses the storage_options of {self._warehouse} ({kind})") from None
        self._keys = keys


def unreachable(error: duckdb.Error) -> StorageError | None:
    """What an error of DuckDB means if it is that a server cannot be reached, or answers that it is out of order."""
    if isinstance(error, duckdb.HTTPException):
        status = getattr(error, "status_code", None) or _status(str(error))
        if status not in _PASSING:
            return None
        return StorageError(
            f"storage is overloaded or out of order, also after several attempts; run again later. DuckDB says: {error}",
            passing=True,
        )
    if isinstance(error, duckdb.IOException) and (found := _CONNECTION.match(str(error))):
        return StorageError(
            f"{found['url']} cannot be reached ({found['what']}); check the network and `endpoint`, and run again",
            passing=True,
        )
    return None


def _status(message: str) -> int:
    found = re.search(r"\bHTTP (?:code )?(\d{3})\b", message)
    return int(found[1]) if found else 0
