"""What tables cost beside raw DuckDB: writing, reading, a small table, a merge. Prints ratios, writes a JSON beside.

Every pair is measured in turns in the same run, since the machine's own speed changes. Run it alone:
``python tests/benchmarks/bench_tables.py [--scale 1] [--rounds 5]``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import duckdb

from dbt.adapters.lakehouse.storage import uri_of
from dbt.adapters.lakehouse.tables import content, metadata, reader, rows, writer
from dbt.adapters.lakehouse.tables.values import TableSpec, Written

RESULTS = Path(__file__).parent / "results" / "tables.json"
QUERIES = {
    "Q1": """SELECT l_returnflag, l_linestatus, sum(l_quantity), sum(l_extendedprice), sum(l_extendedprice * (1 - l_discount)),
        sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)), avg(l_quantity), avg(l_extendedprice), avg(l_discount), count(*)
        FROM {lineitem} WHERE l_shipdate <= DATE '1998-09-02' GROUP BY ALL ORDER BY ALL""",
    "Q3": """SELECT l_orderkey, sum(l_extendedprice * (1 - l_discount)) AS revenue, o_orderdate, o_shippriority
        FROM {customer}, {orders}, {lineitem} WHERE c_mktsegment = 'BUILDING' AND c_custkey = o_custkey
        AND l_orderkey = o_orderkey AND o_orderdate < DATE '1995-03-15' AND l_shipdate > DATE '1995-03-15'
        GROUP BY ALL ORDER BY revenue DESC, o_orderdate LIMIT 10""",
    "Q6": """SELECT sum(l_extendedprice * l_discount) FROM {lineitem} WHERE l_shipdate >= DATE '1994-01-01'
        AND l_shipdate < DATE '1995-01-01' AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24""",
}


def connect(database: str = ":memory:", *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(database, read_only=read_only)
    con.execute("SET threads = 2")
    return con


def spec(folder: Path) -> TableSpec:
    return TableSpec(location=uri_of(folder / uuid.uuid4().hex), table_uuid=str(uuid.uuid4()))


def paths(table: Written) -> str:
    files = (f.path.removeprefix("file://") for f in metadata.load(table.metadata_location).data)
    return "[" + ", ".join(f"'{file}'" for file in files) + "]"


def generate(database: Path, scale: float) -> None:
    module = importlib.util.find_spec("duckdb_extension_tpch")
    if module is None or not module.submodule_search_locations:
        raise SystemExit("install duckdb-extension-tpch")
    folder = Path(next(iter(module.submodule_search_locations))) / "extensions" / f"v{duckdb.__version__}"
    with connect(str(database)) as con:
        con.execute(f"LOAD '{folder}/tpch.duckdb_extension'; CALL dbgen(sf = {scale})")


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def write_once(variant: str, database: str, folder: str) -> None:
    """One write in a process of its own, so that its peak memory is its own."""
    with connect(database, read_only=True) as con:
        if variant == "raw":
            taken = seconds(lambda: con.execute(f"COPY lineitem TO '{folder}/{uuid.uuid4()}.parquet' (FORMAT parquet)"))
        else:
            taken = seconds(lambda: writer.create(con, "FROM lineitem", spec(Path(folder))))
    print(json.dumps([taken, peak_megabytes()]))


def peak_megabytes() -> float:
    """Most memory this process has held. (getrusage's figure is inherited from the parent that forked it.)"""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def bench_write(database: Path, folder: Path, rounds: int) -> dict[str, float]:
    found: dict[str, list[list[float]]] = {"raw": [], "table": []}
    for _ in range(rounds):
        for variant, results in found.items():
            command = [sys.executable, __file__, "--one", variant, str(database), str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results.append(json.loads(done.stdout))
            for file in folder.rglob("*.parquet"):
                file.unlink()
    times = {v: statistics.median(r[0] for r in results) for v, results in found.items()}
    least = {v: min(r[0] for r in results) for v, results in found.items()}
    memory = {v: statistics.median(r[1] for r in results) for v, results in found.items()}
    return {
        "raw s": times["raw"],
        "table s": times["table"],
        "time ratio": times["table"] / times["raw"],
        "time ratio of minima": least["table"] / least["raw"],
        "raw MB": memory["raw"],
        "table MB": memory["table"],
        "memory ratio": memory["table"] / memory["raw"],
    }


def bench_read(database: Path, folder: Path, rounds: int) -> dict[str, float]:
    with connect() as con:
        con.execute(f"ATTACH '{database}' AS source (READ_ONLY)")
        names: dict[str, dict[str, str]] = {"table": {}, "raw": {}}
        for name in ("lineitem", "orders", "customer"):
            table = writer.create(con, f"FROM source.{name}", spec(folder))
            con.execute(f"CREATE VIEW v_{name} AS {reader.select_sql(table.metadata_location)}")
            names["table"][name] = f"v_{name}"
            con.execute(f"CREATE VIEW r_{name} AS SELECT * FROM read_parquet({paths(table)})")
            names["raw"][name] = f"r_{name}"
        result = {}
        for query, text in QUERIES.items():
            found = pairs(
                rounds * 3,
                lambda text=text: con.execute(text.format(**names["raw"])).fetchall(),
                lambda text=text: con.execute(text.format(**names["table"])).fetchall(),
            )
            result |= {
                f"{query} raw ms": found[0] * 1e3,
                f"{query} table ms": found[1] * 1e3,
                f"{query} ratio": found[2],
            }
        return result


def pairs(rounds: int, left: Callable[[], object], right: Callable[[], object]) -> tuple[float, float, float]:
    """Medians of two things done in turns, and the second over the first."""
    left(), right()
    times = [(seconds(left), seconds(right)) for _ in range(rounds)]
    first, second = (statistics.median(t[side] for t in times) for side in (0, 1))
    return first, second, second / first


def bench_small(folder: Path) -> dict[str, float]:
    columns = ", ".join(f"i AS c{n}" for n in range(8))
    query = f"SELECT {columns}, 'x' || i AS t, i::DOUBLE AS d, DATE '2020-01-01' + i::INTEGER AS e, i % 2 = 0 AS b"
    with connect() as con:
        con.execute(f"CREATE TABLE small AS {query} FROM range(100) r(i)")
        copy, table, _ = pairs(
            60,
            lambda: con.execute(f"COPY (FROM small) TO '{folder}/{uuid.uuid4()}.parquet' (FORMAT parquet)"),
            lambda: writer.create(con, "FROM small", spec(folder)),
        )
    return {"raw COPY ms": copy * 1e3, "table ms": table * 1e3, "beyond its COPY ms": (table - copy) * 1e3}


def bench_identity(database: Path, folder: Path, rounds: int) -> dict[str, float]:
    """What it costs to know what is in a table: writing it with and without."""
    with connect() as con:
        con.execute(f"ATTACH '{database}' AS source (READ_ONLY); CREATE TABLE small AS FROM source.lineitem LIMIT 100")

        def without(query: str) -> None:
            with content.identifying(False):
                writer.create(con, query, spec(folder))

        found = {}
        for title, query, times in (("lineitem", "FROM source.lineitem", rounds), ("100 rows", "FROM small", 60)):
            pair = pairs(
                times,
                lambda query=query: without(query),  # type: ignore[misc]
                lambda query=query: writer.create(con, query, spec(folder)),  # type: ignore[misc]
            )
            found |= {
                f"{title} without ms": pair[0] * 1e3,
                f"{title} with ms": pair[1] * 1e3,
                f"{title} ratio": pair[2],
            }
        written = writer.create(con, "FROM source.lineitem", spec(folder))
        path = metadata.load(written.metadata_location).data[0].path.removeprefix("file://")
        found["lineitem hash alone ms"] = 1e3 * statistics.median(
            seconds(lambda: content._digest(path)) for _ in range(5)
        )
    return found


def bench_merge(database: Path, folder: Path, rounds: int) -> dict[str, float]:
    with connect() as con:
        con.execute(f"ATTACH '{database}' AS source (READ_ONLY)")
        base = writer.create(con, "FROM source.lineitem", spec(folder))
        con.execute(
            "CREATE TABLE changes AS SELECT * REPLACE ('changed' AS l_comment) FROM source.lineitem "
            "WHERE hash(l_orderkey, l_linenumber) % 600 = 0"
        )
        key = "(t.l_orderkey, t.l_linenumber) IN (SELECT (l_orderkey, l_linenumber) FROM changes)"
        merged: list[Written] = []

        def merge() -> None:
            def edit(work: str) -> None:
                con.execute(f"DELETE FROM {work}; INSERT INTO {work} FROM changes")

            merged.append(rows.patch(con, base.metadata_location, matching=key, edit=edit))

        def rewrite() -> None:
            con.execute(
                f"COPY (SELECT * FROM read_parquet({paths(base)}) t WHERE NOT ({key}) UNION ALL FROM changes) "
                f"TO '{folder}/{uuid.uuid4()}.parquet' (FORMAT parquet)"
            )

        whole, small, ratio = pairs(rounds, rewrite, merge)
        count = con.execute(f"SELECT count(*) FILTER (l_comment = 'changed') FROM ({_select(merged[-1])})").fetchone()
        assert count == (merged[-1].rows_written,)
        read = pairs(
            rounds,
            lambda: con.execute(f"SELECT sum(l_quantity) FROM ({_select(base)})").fetchall(),
            lambda: con.execute(f"SELECT sum(l_quantity) FROM ({_select(merged[-1])})").fetchall(),
        )
    return {
        "rows merged": merged[-1].rows_written,
        "rewrite ms": whole * 1e3,
        "merge ms": small * 1e3,
        "ratio": ratio,
        "sum after / before the merge": read[2],
    }


def _select(table: Written) -> str:
    return reader.select_sql(table.metadata_location)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--scale", type=float, default=1)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--one", nargs=3, metavar=("VARIANT", "DATABASE", "FOLDER"), help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.one:
        write_once(*given.one)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "lake"
        folder.mkdir()
        database = Path(temporary) / "tpch.duckdb"
        generate(database, given.scale)
        found = {
            "small table": bench_small(folder),
            "write lineitem": bench_write(database, folder, given.rounds),
            "content identity": bench_identity(database, folder, given.rounds),
            "read": bench_read(database, folder, given.rounds),
            "merge": bench_merge(database, folder, given.rounds),
        }
    for title, figures in found.items():
        print(title)
        for name, value in figures.items():
            print(f"  {name:32} {value:10.2f}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"scale": given.scale, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
