"""Sizes and shares, records, pauses, frames, folders: the parts of a pool, without processes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbt.adapters.lakehouse.errors import (
    Busy,
    ConfigError,
    LakehouseError,
    SqlError,
    StorageError,
    WorkerDied,
    error_from_json,
    error_kinds,
    error_to_json,
)
from dbt.adapters.lakehouse.executors import retries
from dbt.adapters.lakehouse.executors.folder import PoolFolder
from dbt.adapters.lakehouse.executors.frames import Channel, ChunkReader, ChunkWriter, pair
from dbt.adapters.lakehouse.executors.limits import Budget, PoolOptions, size_of, text_of
from dbt.adapters.lakehouse.executors.records import LOG_LINES, JobRecord, MemoryJobLog
from dbt.adapters.lakehouse.executors.worker_process import Died
from dbt.adapters.lakehouse.jobs.job import Job, JobResult, Query, Resources, result_from_json, result_to_json
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.tables.values import Column, Written

LAKE = LakeSettings(warehouse="", catalog="", workers=4)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1GB", 10**9), ("1.5 GiB", 3 << 29), ("512MB", 512 * 10**6), ("64 kb", 64000), ("100", 100), ("2t", 2 * 10**12)],
)
def test_sizes(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "lots", "80%", "-1GB", "1XB", "1e9", "GB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ConfigError, match="not a size"):
        size_of(text)


def job(**resources: Any) -> Job:
    return Job(
        key="k", database="d", default_schema="s", action=Query(sql=""), label="m", resources=Resources(**resources)
    )


def test_shares_of_a_pool() -> None:
    budget = Budget(LAKE, PoolOptions(cpus=8, memory="8GB"))
    assert (budget.total.cpus, budget.total.memory) == (8, 8 * 10**9)
    assert (budget.part(job()).cpus, budget.part(job()).memory) == (2, 2 * 10**9)
    asked = budget.part(job(cpus=8, memory="1GB", max_memory="4GB"))
    assert (asked.cpus, asked.memory) == (8, 10**9)
    assert budget.part(job(memory="1GB", max_memory="4GB"), more=True).memory == 4 * 10**9
    assert budget.more(job(memory="1GB", max_memory="4GB"))
    assert not budget.more(job(memory="1GB", max_memory="9GB"))
    assert not budget.more(job(memory="1GB"))
    assert asked.process_memory > asked.memory


def test_memory_for_each_worker_makes_that_of_all() -> None:
    limited = LakeSettings(warehouse="", catalog="", workers=3, memory_limit="1GB")
    budget = Budget(limited, PoolOptions())
    assert budget.total.memory == 3 * 10**9
    assert budget.part(job()).memory == 10**9


def test_a_machines_memory_is_not_given_away_whole() -> None:
    budget = Budget(LAKE, PoolOptions())
    assert budget.total.memory < int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert budget.part(job()).memory == budget.total.memory // 4


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        ({"cpus": 9}, "9 cpus; the pool has 8"),
        ({"cpus": 0}, "0 cpus"),
        ({"memory": "9GB"}, "asks for 9GB"),
        ({"memory": "1MB"}, "no job runs in less"),
    ],
)
def test_shares_that_do_not_exist(resources: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Budget(LAKE, PoolOptions(cpus=8, memory="8GB")).part(job(**resources))


def test_sizes_are_said_so_that_duckdb_reads_them() -> None:
    assert size_of(text_of(10**9)) <= 10**9


def test_pauses_grow_and_differ() -> None:
    pauses = [[retries.pause(failures, 0.2) for _ in range(50)] for failures in range(1, 5)]
    for failures, drawn in enumerate(pauses):
        assert all(0.5 * 0.2 * 2**failures <= pause <= 1.5 * 0.2 * 2**failures for pause in drawn)
        assert len(set(drawn)) > 10
    assert retries.pause(1000, 0.2) < 60


def test_what_passes() -> None:
    passing = StorageError("away")
    passing.passing = True  # type: ignore[attr-defined]
    assert retries.passes(passing)
    assert retries.passes(WorkerDied("gone"))
    assert not any(
        retries.passes(error) for error in (StorageError("gone"), SqlError("no"), Busy("full"), ValueError())
    )


def test_every_error_comes_back_as_what_it_was() -> None:
    for kind, of in error_kinds().items():
        error = error_from_json(error_to_json(of("what happened")))
        assert (type(error), error.kind, str(error)) == (of, kind, "what happened")
    assert error_kinds()["worker_died"] is WorkerDied
    assert type(error_from_json(error_to_json(Died(-9, [])))) is WorkerDied


def test_attributes_of_errors_travel() -> None:
    error = StorageError("away")
    error.passing = True  # type: ignore[attr-defined]
    assert retries.passes(error_from_json(error_to_json(error)))


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"kind": "of the future", "message": "m"},
        {"kind": 5, "extra": 7},
        {"kind": "sql", "extra": {"kind": "x", "args": 1}},
    ],
)
def test_errors_that_nobody_knows(value: dict[str, Any]) -> None:
    error = error_from_json(value)
    assert isinstance(error, LakehouseError)
    assert error.kind in ("error", "sql")


def test_results_travel_without_their_rows() -> None:
    written = Written(
        metadata_location="m",
        table_uuid="u",
        snapshot_id=1,
        location="l",
        columns=(Column(name="a", type="INTEGER"),),
        rows=3,
        size_bytes=4,
    )
    result = JobResult(written=written, columns=written.columns, rows=[(object(),)], arrow=object(), rows_affected=2)
    back = result_from_json(result_to_json(result))
    assert (back.written, back.columns, back.rows_affected) == (written, written.columns, 2)
    assert (list(back.rows), back.arrow) == ([], None)
    with pytest.raises(ValueError, match="not a job's result"):
        result_from_json("{")


def record(key: str, **rest: Any) -> JobRecord:
    fields = {"label": "m", "user": "ann", "run": None, "state": "done", "priority": 0, "submitted_at": 1.0}
    return JobRecord(key=key, envelope="{}", **{**fields, **rest})  # type: ignore[arg-type]


def test_records_are_found_and_forgotten() -> None:
    log = MemoryJobLog(length=3)
    for number in range(5):
        log.record(record(f"k{number}", submitted_at=float(number), user="ann" if number % 2 else "bob"))
    assert [r.key for r in log.list()] == ["k4", "k3", "k2"]
    assert [r.key for r in log.list(user="ann")] == ["k3"]
    assert [r.key for r in log.list(limit=1)] == ["k4"]
    assert log.list(state="dead") == []
    assert log.get("k0") is None


def test_a_log_keeps_its_last_lines() -> None:
    log = MemoryJobLog()
    log.record(record("k", state="queued"))
    for number in range(LOG_LINES + 10):
        log.append_log("k", [str(number)])
    log.record(record("k"))
    found = log.get("k")
    assert found is not None
    assert (len(found.logs), found.logs[-1], found.state) == (LOG_LINES, str(LOG_LINES + 9), "done")
    log.append_log("unknown", ["x"])
    assert log.get("unknown") is None


@settings(max_examples=30, deadline=None)
@given(frames=st.lists(st.tuples(st.text(), st.lists(st.binary(max_size=100_000), max_size=3)), max_size=5))
def test_frames_arrive_as_they_were_sent(frames: list[tuple[str, list[bytes]]]) -> None:
    ours, theirs = (Channel(end) for end in pair())

    def send() -> None:
        for text, parts in frames:
            ours.send({"text": text}, *parts)
        ours.close()

    sender = threading.Thread(target=send)
    sender.start()
    for text, parts in frames:
        head, size = theirs.receive()
        assert (head, size) == ({"text": text}, sum(map(len, parts)))
        assert bytes(memoryview(theirs.body())) == b"".join(parts)
    with pytest.raises(EOFError):
        theirs.receive()
    sender.join()
    theirs.close()


def test_a_frame_without_an_end_is_none() -> None:
    ours, theirs = pair()
    channel = Channel(theirs)
    ours.sendall(b"\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00{")
    ours.close()
    with pytest.raises(EOFError):
        channel.receive()
    channel.close()


def test_a_frame_that_is_too_long_is_refused() -> None:
    ours, theirs = pair()
    channel = Channel(theirs)
    ours.sendall(b"\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00")
    with pytest.raises(ValueError, match="4294967295"):
        channel.receive()
    ours.close()
    channel.close()


@pytest.mark.parametrize("rows", [0, 1, 100_000, 3_000_000])
def test_arrow_passes_through_chunks(rows: int) -> None:
    ours, theirs = (Channel(end) for end in pair())
    table = pa.table({"a": pa.array(range(rows), pa.int64())})

    def send() -> None:
        file = ChunkWriter(ours)
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=50_000)
        file.flush()
        ours.send({"kind": "end"})

    def sizes() -> Any:
        while True:
            head, size = theirs.receive()
            if head["kind"] == "end":
                return
            yield size

    sender = threading.Thread(target=send)
    sender.start()
    got = pa.ipc.open_stream(pa.PythonFile(ChunkReader(theirs, sizes()), mode="r")).read_all()
    sender.join()
    assert got == table
    for channel in (ours, theirs):
        channel.close()


def test_folders_are_swept_only_when_nobody_has_them(tmp_path: Path) -> None:
    mine = PoolFolder(str(tmp_path))
    left = tmp_path / "lakehouse-pool-left"
    left.mkdir()
    (left / "spill").write_text("x")
    (tmp_path / "lakehouse-pool-left.lock").touch()
    (tmp_path / "other").mkdir()
    second = PoolFolder(str(tmp_path))
    assert mine.path.exists()
    assert not left.exists()
    assert (tmp_path / "other").exists()
    mine.close()
    second.close()
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
