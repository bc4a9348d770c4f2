"""What the embedded catalog's verbs cost at 10,000 tables. (Branches and merges: ``bench_branches``.)

``python tests/benchmarks/bench_catalog.py`` prints a table and writes ``results/catalog.json`` beside this file. With a
SQLAlchemy URL as its argument it measures an empty database there and writes nothing.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dbt.adapters.lakehouse.catalog.model import ANY, Key, Put, RefKind, TableEntry
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.tables.values import Column

RESULTS = Path(__file__).parent / "results" / "catalog.json"
COLUMNS = tuple(Column(name=f"column_{number}", type="VARCHAR", field_id=number) for number in range(12))
WHO = {"author": "bench", "message": "bench"}


def table(number: int, version: int = 0) -> Put:
    name = f"t{number:06}"
    entry = TableEntry(
        schema=f"s{number % 10}",
        name=name,
        metadata_location=f"s3://warehouse/{name}/metadata/{version:05}-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee.metadata.json",
        table_uuid=name,
        snapshot_id=version,
        location=f"s3://warehouse/{name}",
        columns=COLUMNS,
        rows=1000,
        size_bytes=100_000,
    )
    return Put(key=Key(entry.schema, entry.name), entry=entry, expected=ANY)


Times = list[tuple[float, float]]
"""Milliseconds of each call, by the clock and of processor: on a busy machine only the second says something."""


def timed(count: int, act: Callable[[int], object]) -> Times:
    took = []
    for number in range(count):
        start, start_cpu = time.perf_counter(), time.thread_time()
        act(number)
        took.append((1000 * (time.perf_counter() - start), 1000 * (time.thread_time() - start_cpu)))
    return took


def verbs(catalog: SqlCatalog) -> dict[str, Times]:
    """At 10,000 tables, after some hundred commits."""
    took = {"commit 1 table": timed(300, lambda number: catalog.commit("main", [table(number, 99)], **WHO))}
    below = "main"
    for depth in range(6):
        catalog.create_ref(f"deep{depth}", RefKind.BRANCH, below)
        below = f"deep{depth}"
        for step in range(100):
            catalog.commit(below, [table(step % 50, 100 + depth * 100 + step)], **WHO)
    head = catalog.resolve(below).id
    main = catalog.resolve("main").id
    took["look up 1 of 10,000, 6 branches deep"] = timed(
        300, lambda number: catalog.lookup(head, [table(number * 31 % 10_000).key])
    )
    took["list a schema of 1,000, 6 deep"] = timed(30, lambda _: catalog.entries(head, "s3"))
    took["list all 10,000, 6 deep, first time"] = timed(1, lambda _: fresh(catalog).entries(head))
    took["list all 10,000, 6 deep, again"] = timed(10, lambda _: catalog.entries(head))
    took["diff of 600 commits, 50 keys"] = timed(30, lambda _: catalog.diff(main, head))
    took["resolve main~100"] = timed(30, lambda _: catalog.resolve("main~100"))
    return took


def fresh(catalog: SqlCatalog) -> SqlCatalog:
    catalog.renew()
    return catalog


def measure(url: str) -> dict[str, Times]:
    catalog = SqlCatalog.open(url)
    catalog.commit("main", [table(number) for number in range(10_000)], **WHO)
    took = verbs(catalog)
    catalog.close()
    return took


def report(took: dict[str, Times]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    print(f"{'ms':<42}{'median':>9}{'p95':>9}{'cpu':>9}")
    for what, times in took.items():
        median, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        p95 = sorted(times)[int(0.95 * (len(times) - 1))][0]
        print(f"{what:<42}{median:>9.2f}{p95:>9.2f}{cpu:>9.2f}")
        rows.append({"what": what, "median_ms": round(median, 3), "p95_ms": round(p95, 3), "cpu_ms": round(cpu, 3)})
    return rows


def main() -> None:
    if len(sys.argv) > 1:
        report(measure(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = report(measure(f"sqlite:///{folder}/catalog.db"))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
