"""Frames, jobs and records that make no sense, on both sides of a worker's socket: refused, and nothing is the worse for it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbt.adapters.lakehouse.errors import ConfigError, LakehouseError, WorkerDied
from dbt.adapters.lakehouse.executors.frames import Channel, pair
from dbt.adapters.lakehouse.executors.limits import PoolOptions
from dbt.adapters.lakehouse.executors.pool import PoolExecutor
from dbt.adapters.lakehouse.jobs.job import (
    Append,
    Create,
    Job,
    JobResult,
    Query,
    Resources,
    job_from_json,
    job_to_json,
    result_from_json,
)
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.tables.values import TableSpec

JOB = Job(key="k", database="lake", default_schema="main", action=Query(sql="SELECT 42 AS n"), label="model")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
few = settings(
    derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# envelopes as text


@few
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")) | JSON.map(json.dumps))
def test_what_is_no_job_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a job"):
        job_from_json(text)
    # All of a result's fields have defaults, so that some documents are one.
    with contextlib.suppress(ValueError):
        assert isinstance(result_from_json(text), JobResult)


def paths(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document."""
    yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*here, key))


def changed(value: Any, where: tuple[Any, ...], to: Any) -> Any:
    """The document with another value at a place."""
    if not where:
        return to
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[where[0]] = changed(value[where[0]], where[1:], to)
    return copy


CREATE = replace(
    JOB, action=Create(sql="SELECT 1", spec=TableSpec(location="file:///x", table_uuid="u")), setup=("SET x = 1",)
)


@few
@given(st.sampled_from([JOB, CREATE]), st.data())
def test_a_job_that_was_tampered_with_is_refused_or_is_a_job(job: Job, data: st.DataObject) -> None:
    document = json.loads(job_to_json(job))
    where = data.draw(st.sampled_from(list(paths(document))))
    try:
        read = job_from_json(json.dumps(changed(document, where, data.draw(JSON))))
    except ValueError:
        return
    assert job_from_json(job_to_json(read)) == read


# a worker process, of which somebody asks nonsense


class Bare:
    """A worker process without a pool, to which anything can be said."""

    def __init__(self, folder: Path) -> None:
        own, other = pair()
        with other:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dbt.adapters.lakehouse.executors.process", str(other.fileno())],
                pass_fds=[other.fileno()],
                start_new_session=True,
                stderr=subprocess.DEVNULL,
                cwd=folder,
            )
        own.settimeout(30)
        self.socket = own
        self.channel = Channel(own)

    def start(self, folder: Path) -> dict[str, Any]:
        told = LakeSettings(warehouse="", catalog="", temp_directory=str(folder), memory_limit="200MB")
        self.channel.send({"kind": "start", "settings": asdict(told)})
        return self.hear()

    def hear(self) -> dict[str, Any]:
        while True:
            head, _ = self.channel.receive()
            self.channel.body()
            if head["kind"] != "watch":
                return head

    def ended(self) -> int:
        return self.process.wait(timeout=20)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.channel.close()


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Bare]:
    made = Bare(tmp_path)
    yield made
    made.close()


def test_a_worker_answers_what_makes_sense(bare: Bare, tmp_path: Path) -> None:
    assert bare.start(tmp_path)["kind"] == "ready"
    bare.channel.send({"kind": "job"}, job_to_json(JOB).encode())
    assert bare.hear()["kind"] == "result"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("!IQ", 2**32 - 1, 0),
        struct.pack("!IQ", 2, 0) + b"[]",
        struct.pack("!IQ", 2, 0) + b"{}",
        struct.pack("!IQ", 4, 0) + b"\xff\xfe\x00\x01",
        struct.pack("!IQ", 14, 2**63) + b'{"kind":"job"}',
        struct.pack("!IQ", 14, 10) + b'{"kind":"job"}' + b"no job....",
    ],
)
@pytest.mark.parametrize("greeted", [False, True])
def test_a_worker_that_hears_nonsense_ends(bare: Bare, tmp_path: Path, raw: bytes, greeted: bool) -> None:
    if greeted:
        assert bare.start(tmp_path)["kind"] == "ready"
    bare.socket.sendall(raw)
    bare.socket.shutdown(socket.SHUT_WR)
    assert bare.ended() != 0


# a pool, one of whose workers talks nonsense


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PoolExecutor]:
    where = LakeSettings(
        warehouse="",
        catalog="",
        workers=1,
        memory_limit="200MB",
        temp_directory=str(tmp_path_factory.mktemp("spill")),
    )
    made = PoolExecutor(where, PoolOptions(backoff_seconds=0.01, retries=0, grace_seconds=0.3))
    yield made
    made.close()


def answers(raw: bytes) -> bytes:
    return struct.pack("!IQ", len(raw), 0) + raw


NONSENSE = [
    b"\x00" * 12,
    struct.pack("!IQ", 2**32 - 1, 0),
    answers(b"null"),
    answers(b"[]"),
    answers(b"{}"),
    answers(b'{"kind": 1}'),
    answers(b'{"kind": "watch", "event": {"kind": "progress", "more": 1}}'),
    answers(b'{"kind": "watch", "event": null}'),
    answers(b'{"kind": "result"}'),
    answers(b'{"kind": "ready", "stateful": false}'),
    answers(b'{"kind": "error", "stateful": false}'),
    answers(b'{"kind": "error", "error": [], "stateful": false}'),
    answers(b'{"kind": "columns", "columns": 3}'),
    answers(b'{"kind": "columns", "columns": [{"name": 1}]}'),
]


@pytest.mark.parametrize(
    ("raw", "stream"),
    [
        *((raw, stream) for raw in NONSENSE for stream in (False, True)),
        (answers(b'{"kind": "result", "result": 3, "stateful": false}'), False),
    ],
)
def test_a_worker_that_answers_nonsense_is_replaced(pool: PoolExecutor, raw: bytes, stream: bool) -> None:
    with pool.lease() as lease:
        assert lease.run(JOB).rows == [(42,)]
        [worker] = pool._slots._idle
        mine, theirs = socket.socketpair()
        worker._poll.unregister(worker._channel.fileno())
        # Open until the end: without it the real process would end, and not be asked.
        real, worker._channel = worker._channel, Channel(mine)
        worker._poll.register(mine.fileno())

        def lie() -> None:
            theirs.recv(1 << 16)
            theirs.sendall(raw)
            theirs.shutdown(socket.SHUT_WR)

        def ask() -> None:
            if stream:
                lease.stream(JOB).reader().read_all()
            else:
                lease.run(JOB)

        liar = threading.Thread(target=lie)
        liar.start()
        with pytest.raises(WorkerDied):
            ask()
        liar.join()
        theirs.close()
        real.close()
    with pool.lease() as lease:
        assert lease.run(JOB).rows == [(42,)]
    assert not worker.alive()


# records


@pytest.mark.parametrize("envelope", ["", "{}", "no job", job_to_json(JOB)[:-5], "[" * 10_000])
def test_a_record_that_holds_no_job_cannot_be_replayed(pool: PoolExecutor, envelope: str) -> None:
    with pool.lease() as lease:
        lease.run(replace(JOB, key="spoiled"))
    record = pool.log.get("spoiled")
    assert record is not None
    pool.log.record(replace(record, envelope=envelope))
    with pytest.raises(ConfigError, match="spoiled"):
        pool.replay("spoiled")


@few
@given(
    st.builds(
        Resources,
        cpus=st.none() | st.integers(-5, 10_000),
        memory=st.none() | st.text(max_size=8) | st.sampled_from(["0", "-1GB", "1e9", "9999TB", "nan", "1KB"]),
        max_memory=st.none() | st.text(max_size=8),
        timeout=st.none() | st.sampled_from([5.0, 1e300]),
        priority=st.integers(-(2**70), 2**70),
    )
)
def test_a_job_that_asks_for_what_there_is_not_is_refused(pool: PoolExecutor, resources: Resources) -> None:
    with pool.lease() as lease:
        try:
            assert lease.run(replace(JOB, resources=resources)).rows == [(42,)]
        except ConfigError:
            return


def test_an_action_that_its_worker_cannot_do_is_an_error_of_the_job(pool: PoolExecutor) -> None:
    lost = Append(sql="SELECT 1", base="file:///nowhere/metadata.json")
    with pool.lease() as lease:
        with pytest.raises(LakehouseError):
            lease.run(replace(JOB, action=lost))
        assert lease.run(JOB).rows == [(42,)]
