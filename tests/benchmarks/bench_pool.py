"""What worker processes cost: a round trip beside the same in this process, a cold start, a gigabyte beside a bare socket.

What is compared is measured in turns in the same run, since the machine's own speed changes. Run it alone:
``python tests/benchmarks/bench_pool.py [--rows 32000000] [--rounds 3]``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from dbt.adapters.lakehouse.executors.base import Executor, Lease
from dbt.adapters.lakehouse.executors.local import LocalExecutor
from dbt.adapters.lakehouse.executors.pool import PoolExecutor
from dbt.adapters.lakehouse.jobs.job import Job, Query
from dbt.adapters.lakehouse.settings import LakeSettings

RESULTS = Path(__file__).parent / "results" / "pool.json"
CALLS = 300
BIG = "SELECT i AS a, i * 2 AS b, i / 3.0 AS c, i % 1000 AS d FROM range({rows}) t(i)"
BATCH = 122_880


def ask(sql: str, *, arrow: bool = False) -> Job:
    return Job(key="bench", database="lake", default_schema="main", action=Query(sql=sql, arrow=arrow))


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def round_trips(local: Lease, pool: Lease) -> dict[str, float]:
    """Milliseconds of a trivial query, rows decoded."""

    def call(lease: Lease) -> float:
        return seconds(lambda: list(lease.run(ask("SELECT 1 AS a")).rows)) * 1000

    for lease in (local, pool):
        for _ in range(20):
            call(lease)
    pairs = [(call(local), call(pool)) for _ in range(CALLS)]
    mine, theirs = (statistics.median(values) for values in zip(*pairs, strict=True))
    return {"local_ms": mine, "pool_ms": theirs, "difference_ms": theirs - mine}


def cold_starts(settings: LakeSettings, rounds: int) -> dict[str, float]:
    """Seconds from a pool without workers to the rows of a first query."""

    def once() -> float:
        pool = PoolExecutor(settings)
        try:
            with pool.lease() as lease:
                return seconds(lambda: list(lease.run(ask("SELECT 1 AS a")).rows))
        finally:
            pool.close()

    return {"seconds": statistics.median(once() for _ in range(rounds))}


def _produce(end: socket.socket, rows: int) -> None:
    with duckdb.connect() as con, end.makefile("wb", buffering=1 << 20) as file:
        con.execute("SET threads = 2")
        reader = con.execute(BIG.format(rows=rows)).to_arrow_reader(BATCH)
        with pa.ipc.new_stream(file, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)


def bare(rows: int) -> int:
    """The bytes of the same query, from a process of its own over a socket pair, by pyarrow alone."""
    ours, theirs = socket.socketpair()
    process = multiprocessing.get_context("fork").Process(target=_produce, args=(theirs, rows))
    process.start()
    theirs.close()
    with ours, ours.makefile("rb", buffering=1 << 20) as file, pa.ipc.open_stream(file) as reader:
        size = sum(batch.nbytes for batch in reader)
    process.join()
    return size


def pooled(lease: Any, rows: int) -> int:
    """The bytes of the query through a lease's stream."""
    with lease.stream(ask(BIG.format(rows=rows), arrow=True)) as stream:
        return sum(batch.nbytes for batch in stream.reader())


def chunked(lease: Any, rows: int) -> int:
    """The same as bytes that nobody decodes."""
    with lease.stream(ask(BIG.format(rows=rows), arrow=True)) as stream:
        return sum(memoryview(part).nbytes for part in stream.ipc())


def streams(pool: Lease, rows: int, rounds: int) -> dict[str, float]:
    """Seconds for a large result, and how fast that is beside a bare socket."""
    size = bare(1000) and pooled(pool, 1000)
    taken: dict[str, list[float]] = {"bare": [], "reader": [], "ipc": []}
    for _ in range(rounds):
        taken["bare"].append(seconds(lambda: bare(rows)))
        taken["reader"].append(seconds(lambda: pooled(pool, rows)))
        taken["ipc"].append(seconds(lambda: chunked(pool, rows)))
    size = pooled(pool, rows)
    medians = {f"{name}_seconds": statistics.median(values) for name, values in taken.items()}
    ratios = {name: statistics.median(b / t for b, t in zip(taken["bare"], taken[name], strict=True)) for name in taken}
    return {"megabytes": size / 1e6, **medians, "reader_ratio": ratios["reader"], "ipc_ratio": ratios["ipc"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=32_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="write the results beside this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = LakeSettings(warehouse="", catalog="", workers=1, temp_directory=folder)
        results: dict[str, Any] = {"cores": os.cpu_count(), "cold_start": cold_starts(settings, options.rounds)}
        executors: list[Executor] = [LocalExecutor(settings), PoolExecutor(settings)]
        local, pool = (executor.lease() for executor in executors)
        results["round_trip"] = round_trips(local, pool)
        results["stream"] = streams(pool, options.rows, options.rounds)
        for held, executor in zip((local, pool), executors, strict=True):
            held.release()
            executor.close()
    print(json.dumps(results, indent=2))
    if options.keep:
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
