"""``storage_options`` of a warehouse on S3: which there are, what they may be, what each defaults to."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.storage.base import S3

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_TRIPS_READERS = re.compile(r"[?#*\[\]{}%\\\s]")
_ROLE = re.compile(r"arn:[\w-]+:iam::[\w-]*:role/\S+")
_SHORTEST_SESSION, _LONGEST_SESSION = 900, 43_200

_KEYS = (
    "endpoint",
    "region",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "profile",
    "path_style",
    "use_ssl",
    "retries",
    "timeout",
    "assume_role",
    "external_id",
    "session_seconds",
    "sts_endpoint",
)
_ELSEWHERE = {
    "key_id": "access_key_id",
    "access_key": "access_key_id",
    "secret": "secret_access_key",
    "secret_key": "secret_access_key",
    "token": "session_token",
    "endpoint_url": "endpoint",
    "default_region": "region",
    "region_name": "region",
    "path_style_access": "path_style",
    "force_path_style": "path_style",
    "force_virtual_addressing": "path_style",
    "addressing_style": "path_style",
    "url_style": "path_style",
    "ssl": "use_ssl",
    "allow_http": "use_ssl",
    "profile_name": "profile",
    "role_arn": "assume_role",
    "assume_role_arn": "assume_role",
    "connect_timeout": "timeout",
    "request_timeout": "timeout",
    "max_attempts": "retries",
}
"""What other tools call these options, without the ``s3.`` or ``aws_`` before it."""


@dataclass(frozen=True, kw_only=True)
class S3Options:
    """How a bucket is reached. ``timeout`` and ``session_seconds`` are in seconds, ``retries`` counts further attempts.

    Without keys and profile, credentials are what the AWS tools would find: environment, files, the machine's own role.
    """

    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None
    path_style: bool = False
    use_ssl: bool = True
    retries: int = 6
    timeout: float = 30
    assume_role: str | None = None
    external_id: str | None = field(default=None, repr=False)
    session_seconds: int = 3600
    sts_endpoint: str | None = None

    @property
    def url(self) -> str | None:
        """The endpoint with its scheme; None: AWS."""
        return None if self.endpoint is None else f"{'https' if self.use_ssl else 'http'}://{self.endpoint}"


def s3_options(values: Mapping[str, str]) -> S3Options:
    """The options of a profile, checked. Raises ``ConfigError``, which never shows a value that could be a secret."""
    for key in values:
        if key not in _KEYS:
            raise ConfigError(f"profile key 'storage_options' has an unknown option {key!r}{_instead(key)}")
    texts = {key: value.strip() for key, value in values.items()}
    for key, text in texts.items():
        if not text:
            raise ConfigError(f"storage option {key!r} is empty; give it a value or remove it")
    _check_credentials(texts)
    endpoint, secure = _endpoint(texts)
    role = texts.get("assume_role")
    if role is not None and not _ROLE.fullmatch(role):
        raise ConfigError(
            f"storage option 'assume_role' is {role!r}; the ARN of a role is needed: arn:aws:iam::…:role/…"
        )
    sts = texts.get("sts_endpoint")
    if sts is not None and not re.match(r"https?://[^/]", sts):
        raise ConfigError(f"storage option 'sts_endpoint' is {sts!r}; a URL is needed: https://sts.example.org")
    return S3Options(
        endpoint=endpoint,
        region=texts.get("region"),
        access_key_id=texts.get("access_key_id"),
        secret_access_key=texts.get("secret_access_key"),
        session_token=texts.get("session_token"),
        profile=texts.get("profile"),
        # Stores other than AWS seldom have a name for each bucket.
        path_style=_flag(texts, "path_style", default=endpoint is not None),
        use_ssl=secure,
        retries=int(_number(texts, "retries", 6, 0, 100)),
        timeout=_number(texts, "timeout", 30, 1, 3600),
        assume_role=role,
        external_id=texts.get("external_id"),
        session_seconds=int(_number(texts, "session_seconds", 3600, _SHORTEST_SESSION, _LONGEST_SESSION)),
        sts_endpoint=sts,
    )


def check_s3_location(uri: str) -> None:
    """Raise ``ConfigError`` unless a warehouse may be there: ``s3://bucket/folder`` in letters that no reader trips over."""
    bucket, key = split_uri(uri)
    if not _BUCKET.fullmatch(bucket):
        raise ConfigError(f"warehouse {uri!r} names no bucket; write s3://bucket/folder")
    if not key:
        raise ConfigError(
            f"warehouse {uri!r} is a whole bucket; the lake needs a folder of its own: {uri.rstrip('/')}/lake"
        )
    if _TRIPS_READERS.search(key) or any(part in ("", ".", "..") for part in key.split("/")):
        raise ConfigError(
            f"warehouse {uri!r} holds an empty part, '.', '..', a space or one of ?#*[]{{}}%\\, which Iceberg readers take "
            "for something else; choose another folder"
        )


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key."""
    bucket, _, key = uri.removeprefix(S3).partition("/")
    return bucket, key


def _instead(key: str) -> str:
    plain = re.sub(r"^(s3|aws|client)[._-]", "", key.lower()).replace("-", "_").replace(".", "_")
    found = plain if plain in _KEYS else _ELSEWHERE.get(plain)
    if found is not None:
        return f"; here it is called {found!r}" + (" (true or false)" if found == "path_style" else "")
    if plain in ("provider", "chain"):
        return "; without keys, credentials come from the environment, AWS's files or the machine's role"
    close = difflib.get_close_matches(plain, _KEYS, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; these are known: {', '.join(_KEYS)}"


def _check_credentials(texts: Mapping[str, str]) -> None:
    key, secret = "access_key_id" in texts, "secret_access_key" in texts
    if key != secret:
        missing = "secret_access_key" if key else "access_key_id"
        raise ConfigError(f"storage option {missing!r} is missing; a key and its secret come together")
    if "session_token" in texts and not key:
        raise ConfigError("storage option 'session_token' stands without 'access_key_id' and 'secret_access_key'")
    if "profile" in texts and key:
        raise ConfigError("storage options name keys and a 'profile'; remove one of them")
    if "external_id" in texts and "assume_role" not in texts:
        raise ConfigError("storage option 'external_id' is for a role, but 'assume_role' is missing")


def _endpoint(texts: Mapping[str, str]) -> tuple[str | None, bool]:
    """Host and port, and whether TLS is spoken; a URL says both."""
    text = texts.get("endpoint")
    if text is None:
        return None, _flag(texts, "use_ssl", default=True)
    url = urlsplit(text if "://" in text else f"//{text}")
    host = url.netloc
    if url.scheme not in ("", "http", "https") or not host or url.path.strip("/") or url.query or "@" in host:
        raise ConfigError(
            f"storage option 'endpoint' is {host.rpartition('@')[2] or text!r}; "
            "a host is needed, with its port: s3.example.org or http://127.0.0.1:9000"
        )
    return host, _flag(texts, "use_ssl", default=url.scheme != "http")


def _flag(texts: Mapping[str, str], key: str, *, default: bool) -> bool:
    text = texts.get(key, str(default)).lower()
    if text not in ("true", "false"):
        raise ConfigError(f"storage option {key!r} is {text!r}; true or false is needed")
    return text == "true"


def _number(texts: Mapping[str, str], key: str, default: float, low: float, high: float) -> float:
    text = texts.get(key, str(default))
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not low <= number <= high:
        raise ConfigError(f"storage option {key!r} is {text!r}; a number from {low:g} to {high:g} is needed")
    return number
