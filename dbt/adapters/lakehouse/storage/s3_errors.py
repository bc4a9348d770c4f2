"""What boto3 raises, as StorageError: the fact, what to do, and whether it may pass by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt.adapters.lakehouse.errors import StorageError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
TAKEN = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})

_PASSING = frozenset(
    {
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "ServiceUnavailable",
        "InternalError",
        "RequestTimeout",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "OperationAborted",
        "RequestLimitExceeded",
    }
)
_KEYS_WRONG = "check access_key_id and secret_access_key in storage_options"
_EXPIRED = "the credentials are no longer valid, get new ones and run again"
_NEXT_STEP = {
    "NoSuchBucket": "there is no such bucket, create it or correct `warehouse`",
    "AccessDenied": "access is denied, give these credentials the right to it (docs/profile.md lists them)",
    "403": "access is denied, give these credentials the right to it (docs/profile.md lists them)",
    "Forbidden": "access is denied, give these credentials the right to it (docs/profile.md lists them)",
    "InvalidAccessKeyId": f"the store does not know the access key, {_KEYS_WRONG}",
    "SignatureDoesNotMatch": f"the secret does not belong to the key, {_KEYS_WRONG} (and region)",
    "AuthorizationHeaderMalformed": "the bucket is in another region, set `region` in storage_options",
    "PermanentRedirect": "the bucket is in another region or behind another address, set `region` or `endpoint`",
    "301": "the bucket is in another region or behind another address, set `region` or `endpoint`",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "RequestTimeTooSkewed": "this machine's clock is wrong, set it",
    "EntityTooLarge": "the file is too large for the store, set write.target-file-size-bytes on the table",
    "QuotaExceeded": "the store's quota is used up, free some space (`lakehouse gc`) and run again",
}


def code_of(error: ClientError) -> str:
    """S3's word for what is wrong."""
    return str(error.response.get("Error", {}).get("Code", ""))


def failed(verb: str, uri: str, error: BaseException) -> StorageError:
    """The error to raise for one of boto3's."""
    from boto3.exceptions import Boto3Error
    from botocore import exceptions as boto

    if isinstance(error, boto.ClientError):
        return _refused(verb, uri, error)
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError | boto.CredentialRetrievalError):
        return StorageError(
            f"cannot {verb} {uri}: no credentials were found ({error}); set access_key_id and secret_access_key, or profile, "
            "in storage_options"
        )
    if isinstance(error, boto.ProfileNotFound):
        return StorageError(f"cannot {verb} {uri}: {error}; correct `profile` in storage_options")
    if isinstance(error, boto.HTTPClientError | boto.ConnectionError | boto.IncompleteReadError):
        return StorageError(
            f"cannot {verb} {uri}: the store cannot be reached ({error}); check the network and `endpoint`, and run again",
            passing=True,
        )
    if isinstance(error, boto.BotoCoreError | Boto3Error):
        return StorageError(f"cannot {verb} {uri}: {error}; check storage_options")
    return StorageError(f"cannot {verb} {uri}: {error}")


def _refused(verb: str, uri: str, error: ClientError) -> StorageError:
    code = code_of(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _PASSING or status >= 500 or status == 429:
        return StorageError(
            f"cannot {verb} {uri}: the store is overloaded or out of order ({code}, status {status}), also after several "
            "attempts; run again later",
            passing=True,
        )
    if code in TAKEN or status == 412:
        return StorageError(f"cannot {verb} {uri}: it exists already and files are never overwritten, run again")
    said = error.response.get("Error", {}).get("Message", "")
    reason = _NEXT_STEP.get(code) or _NEXT_STEP.get(str(status)) or "check storage_options and the store's own log"
    return StorageError(f"cannot {verb} {uri}: {reason} ({code or status}{f': {said}' if said else ''})")
