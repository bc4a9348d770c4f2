"""What the service adds: to a model, to a query, to a stream of rows; and what it costs while it idles.

``python tests/benchmarks/bench_service.py`` prints a table and writes ``results/service.json`` beside this file. Everything
is measured over loopback, against the embedded lake, or against pyarrow's IPC over a bare socket, in the same run.
"""

from __future__ import annotations

import json
import multiprocessing
import socket
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from service_process import Serving, serving

from dbt.adapters.lakehouse import connect
from dbt.adapters.lakehouse.lake.base import Build, Lake, Name, RunRequest
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake
from dbt.adapters.lakehouse.profile import lake_settings
from dbt.adapters.lakehouse.settings import ServiceSettings

RESULTS = Path(__file__).parent / "results" / "service.json"
TARGETS = {
    "model: service beyond embedded, p50 ms": 15.0,
    "query: p50 ms": 5.0,
    "stream 1 GB: of bare socket": 0.7,
    "cold start of a worker, s": 0.6,
    "idle service, MB": 150.0,
}
ROWS = 33_500_000
"""Of four 8-byte columns: 1.07 GB."""
WIDE = "SELECT i AS a, i * 2 AS b, i * 3 AS c, i / 7.0 AS d FROM range({}) r(i)"


def timed(count: int, act: Callable[[int], object], warm: int = 10) -> float:
    """Median milliseconds."""
    took = []
    for number in range(count + warm):
        start = time.perf_counter()
        act(number)
        took.append(1000 * (time.perf_counter() - start))
    return statistics.median(took[warm:])


def models(lake: Lake, count: int) -> float:
    """Median milliseconds of one small table, as dbt makes it: a session of its own and one build."""
    run = lake.open_run(RunRequest(id=str(uuid.uuid4()), command="bench", branch="bench"))

    def build(number: int) -> None:
        session = run.session()
        name = Name(database="lake", schema="bench", name=f"t{number}")
        session.build(Build(name=name, sql="SELECT 1 AS id", reuse="never"))
        session.close()

    took = timed(count, build)
    run.fail("measured")
    return took


def stream(service: Serving) -> float:
    """Seconds for a gigabyte through the service's query door."""
    with connect(service=service.url, token=service.token) as door:
        start = time.perf_counter()
        rows = sum(batch.num_rows for batch in door.query("SELECT * FROM bench.wide").batches())
        assert rows == ROWS
        return time.perf_counter() - start


def bare(files: list[str]) -> float:
    """Seconds for the same rows from another process by pyarrow's IPC over a socket."""
    listener = socket.create_server(("127.0.0.1", 0))
    sender = multiprocessing.get_context("spawn").Process(target=send, args=(files, listener.getsockname()[1]))
    sender.start()
    connection, _ = listener.accept()
    connection.recv(1)
    start = time.perf_counter()
    connection.sendall(b"g")
    with connection.makefile("rb", buffering=1 << 20) as file, pa.ipc.open_stream(file) as reader:
        rows = sum(batch.num_rows for batch in reader)
    took = time.perf_counter() - start
    sender.join()
    connection.close()
    listener.close()
    assert rows == ROWS
    return took


def send(files: list[str], port: int) -> None:
    """In another process: answer with rows once asked."""
    database = duckdb.connect()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"r")
        connection.recv(1)
        reader = database.execute("SELECT * FROM read_parquet(?)", [files]).to_arrow_reader(122_880)
        with connection.makefile("wb", buffering=1 << 20) as file, pa.ipc.new_stream(file, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)


def cold(service: Serving) -> float:
    """Seconds of the first query on a service whose workers have gone."""
    wait_for(lambda: service.processes() == 1)
    with connect(service=service.url, token=service.token) as door:
        door.tables()  # the connection itself is warm
        start = time.perf_counter()
        door.query("SELECT 1").fetchall()
        return time.perf_counter() - start


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("waited in vain for workers to go")
        time.sleep(0.05)


def measure(warehouse: Path) -> dict[str, Any]:
    lake = EmbeddedLake.open(lake_settings({"type": "lakehouse", "warehouse": str(warehouse)}, warehouse))
    run = lake.open_run(RunRequest(id=str(uuid.uuid4()), command="prepare", branch="main"))
    session = run.session()
    session.build(Build(name=Name(database="lake", schema="bench", name="wide"), sql=WIDE.format(ROWS)))
    session.close()
    run.publish()
    embedded = models(lake, 100)
    found: dict[str, Any] = {}
    config = warehouse / "service.yml"
    config.write_text("workers: {count: 2, idle_seconds: 2}\n")
    with serving(warehouse, "--config", str(config)) as service:
        time.sleep(1)
        found["idle service, MB"] = round(service.memory() / 1e6, 1)
        remote = RemoteLake(ServiceSettings(url=service.url, token=service.token))
        through = models(remote, 100)
        remote.close()
        found["model: embedded, p50 ms"] = round(embedded, 2)
        found["model: service, p50 ms"] = round(through, 2)
        found["model: service beyond embedded, p50 ms"] = round(through - embedded, 2)
        with connect(service=service.url, token=service.token) as door:
            found["query: p50 ms"] = round(timed(300, lambda _: door.query("SELECT 42").fetchall()), 2)
            wide = "SELECT count(*) FROM bench.wide"
            found["query of a table's count: p50 ms"] = round(timed(100, lambda _: door.query(wide).fetchall()), 2)
        files = [str(path) for path in warehouse.rglob("*.parquet") if path.stat().st_size > 1_000_000]
        sockets, streams = [], []
        for _ in range(3):
            sockets.append(bare(files))
            streams.append(stream(service))
        found["stream 1 GB: bare socket, s"] = round(statistics.median(sockets), 2)
        found["stream 1 GB: service, s"] = round(statistics.median(streams), 2)
        found["stream 1 GB: of bare socket"] = round(statistics.median(sockets) / statistics.median(streams), 2)
        found["cold start of a worker, s"] = round(statistics.median(cold(service) for _ in range(3)), 3)
    lake.close()
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    for name, value in found.items():
        target = TARGETS.get(name)
        print(f"{name:45} {value:10}" + ("" if target is None else f"   target {target}"))
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
