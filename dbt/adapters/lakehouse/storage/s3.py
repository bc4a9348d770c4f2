"""Files of a bucket.

DuckDB reads from S3 by itself (httpfs) but does not write there: see docs/decisions/0010-s3.md. What it is to write goes
to a local folder first and is sent when it is complete, so that a statement that fails has sent nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from dbt.adapters.lakehouse.errors import StorageError
from dbt.adapters.lakehouse.storage.base import S3, StoredFile
from dbt.adapters.lakehouse.storage.s3_access import S3Access
from dbt.adapters.lakehouse.storage.s3_errors import MISSING, TAKEN, code_of, failed
from dbt.adapters.lakehouse.storage.s3_options import split_uri

_T = TypeVar("_T")

_MIB = 1024 * 1024
_PART = 16 * _MIB
_FILES_AT_ONCE = 8
_DELETED_AT_ONCE = 1000
_LONGEST_PAUSE = 2.0


class S3Storage:
    """See Storage. For any number of threads."""

    def __init__(self, access: S3Access) -> None:
        self.access = access

    def read(self, uri: str) -> bytes:
        """See Storage."""

        def get() -> bytes:
            content: bytes = self._client.get_object(**_place(uri))["Body"].read()
            return content

        return self._patiently("read", uri, get)

    def write(self, uri: str, content: bytes) -> None:
        """See Storage."""
        from botocore.exceptions import ClientError

        with _translated("write", uri):
            try:
                self._client.put_object(**_place(uri), Body=content, IfNoneMatch="*")
            except ClientError as error:
                # An attempt whose answer was lost may have written the file, which then stands in the way of the next.
                again = int(error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)) > 0
                if not (again and code_of(error) in TAKEN and self.read(uri) == content):
                    raise

    def delete(self, uri: str) -> None:
        """See Storage."""
        with _translated("delete", uri):
            self._client.delete_object(**_place(uri))

    def delete_prefix(self, uri: str) -> None:
        """See Storage. Uploads that were begun below it and never finished are ended, too."""
        self.delete_files([file.uri for file in self.list_prefix(uri)], below=uri)
        with _translated("delete", uri):
            for upload in self._unfinished(uri):
                self._abort(uri, upload)

    def delete_files(self, uris: Sequence[str], *, below: str) -> None:
        """See Storage. There are no folders to be removed."""
        del below
        for start in range(0, len(uris), _DELETED_AT_ONCE):
            places = [split_uri(uri) for uri in uris[start : start + _DELETED_AT_ONCE]]
            for bucket in sorted({bucket for bucket, _ in places}):
                self._delete_keys(bucket, [key for where, key in places if where == bucket])

    def _delete_keys(self, bucket: str, keys: Sequence[str]) -> None:
        with _translated("delete", f"{S3}{bucket}/{keys[0]}"):
            wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
            answer = self._client.delete_objects(Bucket=bucket, Delete=wanted)
            for error in answer.get("Errors", ()):
                raise StorageError(
                    f"cannot delete {S3}{bucket}/{error.get('Key')}: {error.get('Message')} ({error.get('Code')})",
                    passing=error.get("Code") in ("InternalError", "SlowDown"),
                )

    def tidy(self, uri: str, before: float) -> int:
        """See Storage. Stores that cannot tell of unfinished uploads have none to be ended."""
        from botocore.exceptions import ClientError

        with _translated("list", uri):
            try:
                found = self._unfinished(uri.rstrip("/"))
            except ClientError as error:
                if code_of(error) in ("NotImplemented", "501", "MethodNotAllowed", "405"):
                    return 0
                raise
            old = [upload for upload in found if upload["Initiated"].timestamp() < before]
            for upload in old:
                self._abort(uri, upload)
        return len(old)

    def _abort(self, uri: str, upload: dict[str, Any]) -> None:
        bucket, _ = split_uri(uri)
        self._client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])

    def _unfinished(self, uri: str) -> list[dict[str, Any]]:
        bucket, prefix = split_uri(uri)
        below = f"{prefix}/" if prefix else ""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=below)
        return [upload for page in pages for upload in page.get("Uploads", ())]

    def list_prefix(self, uri: str) -> Iterator[StoredFile]:
        """See Storage."""
        bucket, prefix = split_uri(uri.rstrip("/"))
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=f"{prefix}/" if prefix else ""
        )
        with _translated("list", uri):
            for page in pages:
                for found in page.get("Contents", ()):
                    yield StoredFile(
                        uri=f"{S3}{bucket}/{found['Key']}",
                        size=found["Size"],
                        modified=found["LastModified"].timestamp(),
                    )

    def exists(self, uri: str) -> bool:
        """See Storage."""
        from botocore.exceptions import ClientError

        with _translated("look for", uri):
            try:
                self._client.head_object(**_place(uri))
                return True
            except ClientError as error:
                if code_of(error) not in MISSING:
                    raise
        bucket, key = split_uri(uri)
        with _translated("look for", uri):
            found = self._client.list_objects_v2(Bucket=bucket, Prefix=f"{key}/", MaxKeys=1)
        return bool(found.get("KeyCount"))

    def duckdb_path(self, uri: str, *, folder: bool = False) -> str:
        """See Storage. There are no folders to be made."""
        del folder
        return uri

    @contextlib.contextmanager
    def filling(self, uri: str, private: Callable[[], str], *, kept: dict[str, str] | None = None) -> Iterator[str]:
        """See Storage."""
        folder = tempfile.mkdtemp(prefix="upload-", dir=private())
        if kept is not None:
            kept[uri] = folder
        try:
            yield folder
            self._send(folder, uri)
        finally:
            if kept is None:
                shutil.rmtree(folder, ignore_errors=True)

    def _send(self, folder: str, uri: str) -> None:
        files = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
        if len(files) <= 1:
            for path in files:
                self._send_one(path, f"{uri}/{path.relative_to(folder).as_posix()}")
            return
        with ThreadPoolExecutor(min(_FILES_AT_ONCE, len(files)), "lakehouse-upload") as pool:
            sent = [pool.submit(self._send_one, path, f"{uri}/{path.relative_to(folder).as_posix()}") for path in files]
            try:
                for one in sent:
                    one.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _send_one(self, path: Path, uri: str) -> None:
        from boto3.s3.transfer import S3Transfer, TransferConfig

        place = _place(uri)
        with _translated("write", uri):
            if os.path.getsize(path) < _PART:  # noqa: PTH202 # the fixed cost of a small table counts
                with path.open("rb") as file:
                    self._client.put_object(**place, Body=file)
                return
            config = TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=4)
            with S3Transfer(self._client, config) as transfer:
                transfer.upload_file(str(path), place["Bucket"], place["Key"])

    @property
    def _client(self) -> Any:
        return self.access.client

    def _patiently(self, verb: str, uri: str, call: Callable[[], _T]) -> _T:
        """Repeat what breaks off after the answer has begun, which botocore does not."""
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        for attempt in range(self.access.options.retries + 1):
            try:
                with _translated(verb, uri):
                    return call()
            except StorageError as error:
                broken = isinstance(error.__cause__, HTTPClientError | IncompleteReadError)
                if not broken or attempt == self.access.options.retries:
                    raise
                time.sleep(min(0.1 * 2**attempt, _LONGEST_PAUSE))
        raise AssertionError("unreachable")


def _place(uri: str) -> dict[str, str]:
    bucket, key = split_uri(uri)
    return {"Bucket": bucket, "Key": key}


@contextlib.contextmanager
def _translated(verb: str, uri: str) -> Iterator[None]:
    """Turn boto3's exceptions into StorageError."""
    try:
        yield
    except (StorageError, GeneratorExit):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise StorageError(
                f"cannot {verb} {uri}: {error}; free some space for temporary files and run again"
            ) from error
        cause = _botocore(error)
        if cause is None:
            raise
        if verb == "read" and getattr(cause, "response", None) and code_of(cause) in MISSING:
            raise StorageError(
                f"{uri} does not exist (any more); it was removed by hand or collected as garbage, "
                "read the table at another commit or build it again"
            ) from error
        raise failed(verb, uri, cause) from cause


def _botocore(error: BaseException) -> BaseException | None:
    """The exception that tells most: boto3 wraps botocore's into one that has only its text."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    known = (ClientError, BotoCoreError)
    wrapped = isinstance(error, Boto3Error)
    inner: BaseException | None = error.__context__ if wrapped else error
    return inner if isinstance(inner, known) else error if wrapped else None
