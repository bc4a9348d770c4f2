"""Many clients at once: 50 people who query and build small models on a service with two workers, for five minutes.

``python tests/benchmarks/bench_load.py`` prints what happened each 10 seconds and a summary, and writes
``results/load.json`` beside this file. ``--seconds`` and ``--clients`` make it shorter or fiercer. It fails when anything
but what was asked for went wrong, or when memory grew.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import threading
import time
import uuid
from collections import Counter, defaultdict
from pathlib import Path

from service_process import Serving, serving

from dbt.adapters.lakehouse import connect
from dbt.adapters.lakehouse.errors import LakehouseError, SqlError
from dbt.adapters.lakehouse.lake.base import Build, Name, RunRequest
from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake
from dbt.adapters.lakehouse.settings import PublishMode, ServiceSettings

RESULTS = Path(__file__).parent / "results" / "load.json"
GROWTH = 1.25
"""Memory at the end over memory after the first fifth: more than this is a leak."""


class Tally:
    """What all clients saw."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.took: defaultdict[str, list[float]] = defaultdict(list)
        self.errors: Counter[str] = Counter()

    def add(self, kind: str, seconds: float) -> None:
        with self.lock:
            self.took[kind].append(seconds)

    def fail(self, kind: str, error: BaseException) -> None:
        with self.lock:
            self.errors[f"{kind}: {type(error).__name__}: {str(error)[:200]}"] += 1


def client(service: Serving, number: int, tally: Tally, stop: threading.Event) -> None:
    dice = random.Random(number)
    settings = ServiceSettings(url=service.url, token=service.token)
    lake = RemoteLake(settings)
    with connect(service=service.url, token=service.token) as door:
        while not stop.is_set():
            kind = dice.choices(["point", "sum", "group", "rows", "error", "model"], [30, 25, 15, 10, 10, 10])[0]
            start = time.perf_counter()
            try:
                if kind == "point":
                    door.query(f"SELECT * FROM bench.facts WHERE id = {dice.randrange(100_000)}").fetchall()
                elif kind == "sum":
                    door.query("SELECT sum(amount), count(*) FROM bench.facts").fetchall()
                elif kind == "group":
                    door.query("SELECT kind, avg(amount) FROM bench.facts GROUP BY ALL ORDER BY ALL").arrow()
                elif kind == "rows":
                    door.query("SELECT * FROM bench.facts LIMIT 20000").arrow()
                elif kind == "error":
                    try:
                        door.query("SELECT no_such_column FROM bench.facts").fetchall()
                        raise AssertionError("a wrong query was answered")
                    except SqlError:
                        pass
                else:
                    model(lake, number, dice)
            except (LakehouseError, OSError, AssertionError) as error:
                tally.fail(kind, error)
            tally.add(kind, time.perf_counter() - start)
    lake.close()


def model(lake: RemoteLake, number: int, dice: random.Random) -> None:
    """A run on the client's own branch: two small tables, published."""
    request = RunRequest(
        id=str(uuid.uuid4()), command="bench", branch=f"dev/bench/{number}", publish=PublishMode.ON_SUCCESS
    )
    run = lake.open_run(request)
    session = run.session()
    try:
        least = dice.randrange(1000)
        part = Name(database="lake", schema="bench", name="part")
        session.build(Build(name=part, sql=f"SELECT * FROM bench.facts WHERE amount >= {least}", reuse="never"))
        total = Name(database="lake", schema="bench", name="total")
        session.build(
            Build(name=total, sql="SELECT kind, sum(amount) AS amount FROM bench.part GROUP BY kind", reuse="never")
        )
        session.close()
        run.publish()
    except BaseException as error:
        run.fail(str(error))
        raise


def prepare(warehouse: Path) -> None:
    """100,000 rows to work on."""
    from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
    from dbt.adapters.lakehouse.profile import lake_settings

    lake = EmbeddedLake.open(lake_settings({"type": "lakehouse", "warehouse": str(warehouse)}, warehouse))
    run = lake.open_run(RunRequest(id=str(uuid.uuid4()), command="prepare", branch="main"))
    session = run.session()
    sql = "SELECT i AS id, 'kind ' || i % 20 AS kind, (i * 7919 % 1000)::BIGINT AS amount FROM range(100000) r(i)"
    session.build(Build(name=Name(database="lake", schema="bench", name="facts"), sql=sql))
    session.close()
    run.publish()
    lake.close()


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--clients", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        warehouse = Path(folder)
        prepare(warehouse)
        with serving(warehouse, "--workers", "2") as service:
            found = load(service, options.clients, options.seconds)
    print(json.dumps(found, indent=2))
    if options.seconds >= 300:
        RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    if found["errors"] or found["memory growth"] > GROWTH:
        raise SystemExit("errors that nobody asked for, or memory that grew")


def load(service: Serving, clients: int, seconds: float) -> dict[str, object]:
    tally, stop = Tally(), threading.Event()
    threads = [threading.Thread(target=client, args=(service, n, tally, stop)) for n in range(clients)]
    for thread in threads:
        thread.start()
    memory: list[int] = []
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        time.sleep(min(10.0, seconds / 10))
        memory.append(service.memory())
        done = sum(map(len, tally.took.values()))
        print(
            f"{time.monotonic() - began:5.0f} s  {done:7} done  {memory[-1] / 1e6:6.0f} MB in {service.processes()} "
            f"processes  {sum(tally.errors.values())} errors",
            flush=True,
        )
    stop.set()
    for thread in threads:
        thread.join(120)
    warm, last = memory[len(memory) // 5], statistics.median(memory[-3:])
    return {
        "clients": clients,
        "seconds": seconds,
        "requests a second": round(sum(map(len, tally.took.values())) / seconds, 1),
        "milliseconds": {
            kind: {"p50": round(1000 * statistics.median(took), 1), "p99": round(1000 * percentile(took, 0.99), 1)}
            | {"count": len(took)}
            for kind, took in sorted(tally.took.items())
        },
        "memory MB, first fifth and end": [round(warm / 1e6), round(last / 1e6)],
        "memory growth": round(last / warm, 3),
        "errors": dict(tally.errors),
    }


if __name__ == "__main__":
    main()
