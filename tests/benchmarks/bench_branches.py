"""What branches cost: to create, to delete and to merge; and the protocol of OlapBranchBench.

``python tests/benchmarks/bench_branches.py`` prints two tables, writes ``results/branches.json`` beside this file, and sums
up on its last line. ``--quick`` looks whether it works.

The first table is the catalog alone, in SQLite, at 10, 10,000 and 100,000 tables. The second is OlapBranchBench's protocol
(https://github.com/BauplanLabs/OlapBranchBench) over the eight tables of TPC-H at scale factor 1, as Iceberg: a branch is
created and then deleted, each timed by itself, one after the other (serial), by eight clients at once (parallel), or each
from the one before (chained). What is published there went over a network to a service in the same region; ours goes to a
catalog in a file, to PostgreSQL over a socket, and by HTTP over loopback.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import postgres_server
from bench_catalog import WHO, Times, table, timed
from bench_tables import generate
from service_process import serving

from dbt.adapters.lakehouse.catalog.base import Catalog
from dbt.adapters.lakehouse.catalog.model import ANY, Key, Put, RefKind, TableEntry, ViewEntry
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.lake.base import Build, Name, RunRequest
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake
from dbt.adapters.lakehouse.profile import lake_settings
from dbt.adapters.lakehouse.settings import ServiceSettings

RESULTS = Path(__file__).parent / "results" / "branches.json"
REACH_CREATE, REACH_MERGE = 5.0, 50.0
PUBLISHED = {"serial": 0.099, "parallel": 0.827, "chained": 0.134}
"""Seconds, p95 of creating a branch, as OlapBranchBench gives them for Bauplan."""
TPCH = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")
CLIENTS = 8

Row = dict[str, object]


def p95(times: Times) -> float:
    return sorted(wall for wall, _ in times)[int(0.95 * (len(times) - 1))]


def row(what: str, times: Times, **more: object) -> Row:
    median, cpu = (statistics.median(column) for column in zip(*times, strict=True))
    said = {"p50_ms": round(median, 3), "p95_ms": round(p95(times), 3), "cpu_ms": round(cpu, 3)}
    return {"what": what, **said, **more}


# the catalog alone


def catalog_rows(folder: Path, sizes: tuple[int, ...], count: int) -> Iterator[Row]:
    for tables in sizes:
        with sql_client(f"sqlite:///{folder}/{tables}.db") as catalog:
            yield from rows_at(catalog, tables, count)


def rows_at(catalog: SqlCatalog, tables: int, count: int) -> Iterator[Row]:
    catalog.commit("main", [table(number) for number in range(tables)], **WHO)
    head = catalog.resolve("main").id
    at = f"{tables:,} tables"
    created = timed(count, lambda number: catalog.create_ref(f"b{number}", RefKind.BRANCH, "main"))
    yield row(f"create a branch, {at}", created, reach_ms=REACH_CREATE)
    deleted = timed(count, lambda number: catalog.delete_ref(f"b{number}", expected=head))
    yield row(f"delete a branch, {at}", deleted)
    changed = min(tables, 100)
    yield row(f"merge {changed} changed of {at}", merges(catalog, changed, tables), reach_ms=REACH_MERGE)


def merges(catalog: SqlCatalog, changed: int, tables: int) -> Times:
    """Merges of ten branches that each changed other tables, as far as there are enough."""
    apart = 10 * changed <= tables
    took = []
    for number in range(10):
        name = f"merge{number}"
        catalog.create_ref(name, RefKind.BRANCH, "main")
        first = number * changed if apart else 0
        for step in range(changed):
            catalog.commit(name, [table(first + step, number + 1)], **WHO)
        if not apart:
            took += timed(1, lambda _, name=name: merged(catalog, name))
    return took or timed(10, lambda number: merged(catalog, f"merge{number}"))


def merged(catalog: SqlCatalog, name: str) -> None:
    assert catalog.merge(name, "main", **WHO).commit


# OlapBranchBench


@dataclass(frozen=True, kw_only=True)
class Door:
    """A way to the lake: ``open`` gives a client of its own to each who calls it."""

    name: str
    open: Callable[[], contextlib.AbstractContextManager[Catalog]]


def fill(warehouse: Path, database: Path, scale: float) -> str:
    """The TPC-H tables on a lake's main branch, as Iceberg; the URL of its catalog."""
    generate(database, scale)
    lake = EmbeddedLake.open(lake_settings({"type": "lakehouse", "warehouse": str(warehouse)}, warehouse))
    with contextlib.closing(lake):
        run = lake.open_run(RunRequest(id=str(uuid.uuid4()), command="bench", branch="main"))
        with contextlib.closing(run.session()) as session:
            session.execute(f"ATTACH '{database}' AS source (READ_ONLY)")
            for name in TPCH:
                target = Name(database="lake", schema="tpch", name=name)
                session.build(Build(name=target, sql=f"SELECT * FROM source.main.{name}", reuse="never"))
        run.publish()
        assert check(lake.catalog, "main") == len(TPCH)
        return str(lake.settings.catalog)


def check(catalog: Catalog, branch: str) -> int:
    """How many tables a branch has, with rows in them."""
    entries = catalog.entries(catalog.resolve(branch).id).values()
    return sum(isinstance(entry, TableEntry) and entry.rows > 0 for entry in entries)


def clock(act: Callable[[], object]) -> tuple[float, float]:
    return timed(1, lambda _: act())[0]


def one_branch(catalog: Catalog) -> list[tuple[float, float]]:
    """Create a branch, look into it, delete it; what creating and deleting took."""
    name = f"bench-{uuid.uuid4()}"
    created = clock(lambda: catalog.create_ref(name, RefKind.BRANCH, "main"))
    head = catalog.resolve(name).id
    assert check(catalog, name) == len(TPCH)
    return [created, clock(lambda: catalog.delete_ref(name, expected=head))]


def serial(door: Door, count: int) -> tuple[Times, Times]:
    with door.open() as catalog:
        one_branch(catalog)
        both = [one_branch(catalog) for _ in range(count)]
    return [pair[0] for pair in both], [pair[1] for pair in both]


def parallel(door: Door, count: int) -> tuple[Times, Times]:
    def client(_: int) -> tuple[Times, Times]:
        return serial(door, count // CLIENTS)

    with ThreadPoolExecutor(CLIENTS) as pool:
        found = list(pool.map(client, range(CLIENTS)))
    return [took for created, _ in found for took in created], [took for _, deleted in found for took in deleted]


def chained(door: Door, count: int, *, written: bool = False) -> tuple[Times, Times]:
    """Each branch from the one before; ``written``: which has a commit of its own."""
    names = [f"chain-{uuid.uuid4()}" for _ in range(count)]
    created, heads = [], []
    with door.open() as catalog:
        one_branch(catalog)
        for before, name in zip(["main", *names], names, strict=False):
            created.append(clock(partial(catalog.create_ref, name, RefKind.BRANCH, before)))
            assert check(catalog, name) == len(TPCH)
            if written:
                view = ViewEntry(schema="tpch", name="v", sql=f"select '{name}'", columns=())
                catalog.commit(name, [Put(key=Key("tpch", "v"), entry=view, expected=ANY)], **WHO)
            heads.append(catalog.resolve(name).id)
        refs = list(zip(names, heads, strict=True))[::-1]
        deleted = timed(count, lambda number: catalog.delete_ref(refs[number][0], expected=refs[number][1]))
    return created, deleted


MODES: dict[str, Callable[[Door, int], tuple[Times, Times]]] = {
    "serial": serial,
    "parallel": parallel,
    "chained": chained,
    "chained, each with a commit": lambda door, count: chained(door, count, written=True),
}


def door_rows(door: Door, count: int) -> Iterator[Row]:
    for mode, measure in MODES.items():
        created, deleted = measure(door, count)
        yield row(f"{door.name}: create, {mode}", created, published_ms=1000 * PUBLISHED.get(mode, 0) or None)
        yield row(f"{door.name}: delete, {mode}", deleted)


@contextlib.contextmanager
def sql_client(url: str) -> Iterator[SqlCatalog]:
    with contextlib.closing(SqlCatalog.open(url)) as catalog:
        yield catalog


@contextlib.contextmanager
def http_client(settings: ServiceSettings) -> Iterator[Catalog]:
    with contextlib.closing(RemoteLake(settings)) as lake:
        yield lake.catalog


def copy(source: str, target: str) -> None:
    """Let another catalog hold what main of this one holds."""
    with sql_client(source) as old, sql_client(target) as new:
        entries = old.entries(old.resolve("main").id)
        new.commit("main", [Put(key=key, entry=entry, expected=ANY) for key, entry in entries.items()], **WHO)


def protocol_rows(folder: Path, scale: float, count: int) -> Iterator[Row]:
    warehouse = folder / "lake"
    url = fill(warehouse, folder / "tpch.duckdb", scale)
    yield from door_rows(Door(name="embedded", open=lambda: sql_client(url)), count)
    programs = postgres_server.programs()
    if programs is None:
        print("PostgreSQL is not installed, and not measured", file=sys.stderr)
    else:
        with postgres_server.running(programs, safe=True) as server:
            copy(url, server)
            yield from door_rows(Door(name="PostgreSQL", open=lambda: sql_client(server)), count)
    with serving(warehouse) as service:
        settings = ServiceSettings(url=service.url, token=service.token)
        yield from door_rows(Door(name="service", open=lambda: http_client(settings)), count)


# what is printed


def shown(rows: Iterator[Row], beside: str) -> list[Row]:
    found = []
    print(f"{'ms':<48}{'p50':>9}{'p95':>9}{'cpu':>9}{beside.removesuffix('_ms'):>11}")
    for one in rows:
        other = one.get(beside)
        end = f"{other:>11.0f}" if isinstance(other, float) else ""
        print(f"{one['what']:<48}{one['p50_ms']:>9.2f}{one['p95_ms']:>9.2f}{one['cpu_ms']:>9.2f}{end}", flush=True)
        found.append(one)
    print()
    return found


def last_line(rows: list[Row]) -> str:
    """The p95s of creating a branch, beside those that are published."""
    took = {str(one["what"]): one["p95_ms"] for one in rows}
    doors = [door for door in ("embedded", "PostgreSQL", "service") if f"{door}: create, serial" in took]
    said = [f"{door} {took[f'{door}: create, {mode}'] / 1000:.4f}" for mode in PUBLISHED for door in doors]  # type: ignore[operator]
    parts = []
    for mode, published in PUBLISHED.items():
        ours, said = said[: len(doors)], said[len(doors) :]
        parts.append(f"{mode} {', '.join(ours)} (Bauplan {published:.3f})")
    return "p95 of creating a branch, s: " + "; ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="little data, few branches; nothing is written")
    quick = parser.parse_args().quick
    sizes, scale, count = ((10, 1000), 0.01, 16) if quick else ((10, 10_000, 100_000), 1.0, 200)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = shown(catalog_rows(folder, sizes, count), "reach_ms")
        rows += shown(protocol_rows(folder, scale, count), "published_ms")
    print(f"took {time.perf_counter() - started:.0f} s")
    if not quick:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
    print(last_line(rows))


if __name__ == "__main__":
    main()
