"""Credentials and boto3 clients for a bucket, made from ``S3Options``.

With ``assume_role`` they are short-lived and reach no further than the warehouse: STS gives them for a session whose
policy names its folder, and botocore asks for new ones before they end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from dbt.adapters.lakehouse.errors import StorageError
from dbt.adapters.lakehouse.storage.s3_errors import failed
from dbt.adapters.lakehouse.storage.s3_options import S3Options, split_uri

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from botocore.session import Session

_CONNECTIONS = 32
_FALLBACK_REGION = "us-east-1"


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Credentials at one moment. ``token`` is None for keys that do not expire."""

    key: str
    secret: str
    token: str | None

    def __repr__(self) -> str:
        return f"Keys(key={self.key!r})"


class S3Access:
    """One way to reach a bucket: a client, and the credentials that DuckDB is to use. For any number of threads."""

    def __init__(self, warehouse: str, options: S3Options) -> None:
        self.warehouse = warehouse
        self.options = options
        self._lock = Lock()
        self._made: tuple[Session, Any] | None = None

    @property
    def client(self) -> Any:
        """A boto3 client, made on first use: boto3 takes a third of a second to import."""
        return self._session_and_client()[1]

    @property
    def region(self) -> str:
        """The region of the options, else what AWS's own configuration says."""
        session = self._session_and_client()[0]
        return self.options.region or session.get_config_variable("region") or _FALLBACK_REGION

    def keys(self) -> Keys:
        """Credentials that are valid for some minutes at least. Raises ``StorageError``."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found: Credentials | None = self._session_and_client()[0].get_credentials()
            frozen = found.get_frozen_credentials() if found is not None else None
        except (BotoCoreError, ClientError) as error:
            raise failed("get credentials for", self.warehouse, error) from error
        if frozen is None:
            raise StorageError(
                f"cannot read {self.warehouse}: no credentials were found; set access_key_id and secret_access_key, "
                "or profile, in storage_options"
            )
        return Keys(key=frozen.access_key, secret=frozen.secret_key, token=frozen.token)

    def _session_and_client(self) -> tuple[Session, Any]:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> tuple[Session, Any]:
        from botocore.exceptions import BotoCoreError

        try:
            session = _session(self.options)
            if self.options.assume_role is not None:
                session = _assuming(session, self.warehouse, self.options)
            return session, self._client(session)
        except (BotoCoreError, ValueError) as error:
            raise failed("reach", self.warehouse, error) from error

    def _client(self, session: Session) -> Any:
        from botocore.config import Config

        own_endpoint = self.options.endpoint is not None
        # Many stores other than AWS do not know the checksums that newer SDKs add by themselves.
        checksums = "when_required" if own_endpoint else "when_supported"
        config = Config(
            retries={"mode": "standard", "total_max_attempts": self.options.retries + 1},
            connect_timeout=min(self.options.timeout, 10),
            read_timeout=self.options.timeout,
            max_pool_connections=_CONNECTIONS,
            request_checksum_calculation=checksums,
            response_checksum_validation=checksums,
            s3={"addressing_style": "path" if self.options.path_style else "auto"},
        )
        region = self.options.region or session.get_config_variable("region") or _FALLBACK_REGION
        return session.create_client("s3", region_name=region, endpoint_url=self.options.url, config=config)


def _session(options: S3Options) -> Session:
    try:
        import boto3  # noqa: F401 # its transfer manager is used, too
        from botocore.session import Session
    except ImportError as error:
        raise StorageError("a warehouse on S3 needs boto3; pip install 'dbt-lakehouse[s3]'") from error
    session = Session(profile=options.profile)
    if options.access_key_id is not None:
        session.set_credentials(options.access_key_id, options.secret_access_key, options.session_token)
    return session


def _assuming(base: Session, warehouse: str, options: S3Options) -> Session:
    """A session with the credentials of a role, confined to the warehouse, that renew themselves."""
    from botocore.credentials import DeferredRefreshableCredentials
    from botocore.session import Session

    session = Session(profile=options.profile)
    # botocore has no public way to give a session credentials that renew themselves.
    session._credentials = DeferredRefreshableCredentials(_asks_for_role(base, warehouse, options), "assume-role")
    return session


def _asks_for_role(base: Session, warehouse: str, options: S3Options) -> Callable[[], dict[str, str]]:
    from botocore.config import Config

    config = Config(
        retries={"mode": "standard", "total_max_attempts": options.retries + 1},
        connect_timeout=min(options.timeout, 10),
        read_timeout=options.timeout,
    )
    region = options.region or base.get_config_variable("region") or _FALLBACK_REGION
    client = base.create_client(
        "sts", region_name=region, endpoint_url=options.sts_endpoint or options.url, config=config
    )

    def ask() -> dict[str, str]:
        more = {} if options.external_id is None else {"ExternalId": options.external_id}
        answer = client.assume_role(
            RoleArn=options.assume_role,
            RoleSessionName="dbt-lakehouse",
            DurationSeconds=options.session_seconds,
            Policy=json.dumps(session_policy(warehouse), separators=(",", ":")),
            **more,
        )
        found = answer["Credentials"]
        return {
            "access_key": found["AccessKeyId"],
            "secret_key": found["SecretAccessKey"],
            "token": found["SessionToken"],
            "expiry_time": found["Expiration"].isoformat(),
        }

    return ask


def session_policy(warehouse: str) -> dict[str, Any]:
    """What a lake's work needs of S3: its own folder, and nothing else."""
    bucket, prefix = split_uri(warehouse)
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
                "Resource": f"arn:aws:s3:::{bucket}/{prefix}/*",
            },
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:ListBucketMultipartUploads"],
                "Resource": f"arn:aws:s3:::{bucket}",
                "Condition": {"StringLike": {"s3:prefix": [f"{prefix}/*"]}},
            },
        ],
    }


def environment_for_workers(options: S3Options) -> dict[str, str]:
    """The variables by which a worker, whose HOME is its own, finds the credentials that this process would find."""
    if options.access_key_id is not None:
        return {}
    found = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    home = Path.home() / ".aws"
    found.setdefault("AWS_CONFIG_FILE", str(home / "config"))
    found.setdefault("AWS_SHARED_CREDENTIALS_FILE", str(home / "credentials"))
    return found
