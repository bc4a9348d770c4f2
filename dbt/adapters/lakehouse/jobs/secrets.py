"""Secrets of a profile: what a DuckDB is given to reach S3, Azure, servers behind HTTP and databases.

They live in the memory of each worker's DuckDB. No message shows one: what DuckDB says of a refused secret repeats the
statement, and so is kept back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.quoting import literal

if TYPE_CHECKING:
    import duckdb

    from dbt.adapters.lakehouse.storage.s3_options import S3Options

_NAME = re.compile(r"[A-Za-z_]\w*")
_EXTENSIONS = {
    "s3": "httpfs",
    "r2": "httpfs",
    "gcs": "httpfs",
    "huggingface": "httpfs",
    "azure": "azure",
    "postgres": "postgres",
    "mysql": "mysql",
    "ducklake": "ducklake",
}
"""What DuckDB must have loaded before it knows a type."""
_BARE = frozenset({"type", "provider"})
_VALUES = (str, int, float, bool)


_SETTING = re.compile(r"secret|token|password|passphrase|credential|access_key|key_id|connection_string", re.IGNORECASE)


def is_secret(setting: str) -> bool:
    """Whether a setting of DuckDB of that name holds a secret, by all appearances."""
    return bool(_SETTING.search(setting))


def check(key: str, said: object) -> None:
    """Raise ``ConfigError`` unless a profile's ``secrets`` are a list of mappings with a type each. Values are not shown."""
    if not isinstance(said, list | tuple):
        raise ConfigError(f"profile key {key!r} is no list; a list of secrets is right: [{{type: s3, key_id: …}}]")
    for number, secret in enumerate(said, 1):
        fault = _fault(secret)
        if fault:
            raise ConfigError(f"profile key {key!r}: {fault} (in secret {number} of the list)")


def _fault(secret: object) -> str:
    if not isinstance(secret, Mapping):
        return "a secret is a mapping: {type: s3, key_id: …, secret: …}"
    for word in ("type", "provider", "name"):
        value = secret.get(word)
        if (word == "type" or value is not None) and not (isinstance(value, str) and _NAME.fullmatch(value)):
            return f"its {word!r} must be a word of letters, digits and underscores"
    if secret.get("persistent"):
        return (
            "'persistent: true' would write it to this user's home, where every DuckDB reads it; leave that out, or make it "
            "once with DuckDB itself"
        )
    for word, value in secret.items():
        if not isinstance(word, str) or not _NAME.fullmatch(word):
            return f"{word!r} is no name of an option"
        parts = [*value.keys(), *value.values()] if isinstance(value, Mapping) else value
        parts = parts if isinstance(parts, list | tuple) else [parts]
        if not all(part is None or isinstance(part, _VALUES) for part in parts):
            return f"{word!r} is neither text, a list nor a mapping of texts"
    return ""


def make(connection: duckdb.DuckDBPyConnection, secrets: Iterable[Mapping[str, Any]]) -> None:
    """Give a DuckDB these secrets, in its memory alone. Raises ``ConfigError``."""
    import duckdb

    # Imported late: it needs this module.
    from dbt.adapters.lakehouse.jobs.instance import load_extension

    for number, secret in enumerate(secrets, 1):
        needed = _EXTENSIONS.get(str(secret["type"]).lower())
        if needed is not None:
            load_extension(connection, needed)
        if str(secret.get("provider", "")).lower() == "credential_chain" and needed == "httpfs":
            load_extension(connection, "aws")
        try:
            connection.execute(statement(secret, number))
        except duckdb.Error as error:
            kind = type(error).__name__
            raise ConfigError(
                f"DuckDB refuses secret {number} of the profile, of type {secret['type']} ({kind}); it has the options "
                f"{', '.join(sorted(map(str, secret)))}: see DuckDB's page on the secrets of that type"
            ) from None


def s3_secret(uri: str, secrets: Iterable[Mapping[str, Any]]) -> S3Options | None:
    """How the secret for a location in S3 says that it is reached: that of the longest scope, as for DuckDB. None if none is."""
    from dbt.adapters.lakehouse.storage.s3_options import s3_options

    found = [(len(scope), secret) for secret in secrets if (scope := _scope(secret, uri)) is not None]
    if not found:
        return None
    secret = {key.lower(): value for key, value in max(found, key=lambda one: one[0])[1].items() if value is not None}
    said = {name: str(secret[key]) for key, name in _S3_OPTIONS.items() if key in secret}
    if "endpoint" in said and "://" not in said["endpoint"] and "use_ssl" in secret:
        said["use_ssl"] = str(secret["use_ssl"]).lower()
    if "url_style" in secret:
        said["path_style"] = "true" if str(secret["url_style"]).lower() == "path" else "false"
    return s3_options(said)


_S3_OPTIONS = {
    "key_id": "access_key_id",
    "secret": "secret_access_key",
    "session_token": "session_token",
    "region": "region",
    "endpoint": "endpoint",
    "profile": "profile",
}


def _scope(secret: Mapping[str, Any], uri: str) -> str | None:
    """The longest scope of a secret for S3 that a location is in; "" for all of S3, None if it is in none."""
    if str(secret.get("type", "")).lower() != "s3":
        return None
    said = {key.lower(): value for key, value in secret.items()}.get("scope")
    scopes = [said] if isinstance(said, str) else list(said or [""])
    return max((scope for scope in map(str, scopes) if uri.startswith(scope)), key=len, default=None)


def statement(secret: Mapping[str, Any], number: int) -> str:
    """The statement that makes a secret; one without a name is called by its place in the list."""
    name = secret.get("name") or f"__dbt_secret_{number}"
    said = [
        f"{key} {value if key.lower() in _BARE else _literal(value)}"
        for key, value in secret.items()
        if key.lower() not in ("name", "persistent") and value is not None
    ]
    return f'CREATE OR REPLACE TEMPORARY SECRET "{name}" ({", ".join(said)})'


def _literal(value: Any) -> str:
    if isinstance(value, Mapping):
        return "MAP {" + ", ".join(f"{_literal(str(key))}: {_literal(str(of))}" for key, of in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(str(item)) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return literal(str(value))
