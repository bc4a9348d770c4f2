"""What a Python model in a process of its own costs: beside one in the worker, with requirements new and old, with 1 GB.

Prints seconds, writes a JSON beside. The cache of uv is warm; the environments' folder is empty at first. Run it alone:
``python tests/benchmarks/bench_python.py [--rounds 5]``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from dbt.adapters.lakehouse.jobs.job import Create, Input, Job, PythonCode
from dbt.adapters.lakehouse.jobs.python_env import Environments
from dbt.adapters.lakehouse.jobs.worker import Worker
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.storage import uri_of
from dbt.adapters.lakehouse.tables.values import TableSpec

RESULTS = Path(__file__).parent / "results" / "python.json"
HEAD = 'class dbtObj:\n    def __init__(self, load):\n        self.ref = lambda n: load(f\'"lake"."s"."{n}"\')\n'
RELATION = "def model(dbt, session):\n    return dbt.ref('small')\n"
FRAME = "def model(dbt, session):\n    import pandas\n    return dbt.ref('small').df()\n"
PURE = "def model(dbt, session):\n    import humanize\n    return dbt.ref('small')\n"
SUM = "def model(dbt, session):\n    return dbt.ref('big').aggregate('sum(a) AS a')\n"


class Bench:
    """A worker with two tables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.worker = Worker(
            LakeSettings(
                warehouse=uri_of(folder), catalog="", memory_limit="4GB", environments=str(folder / "environments")
            )
        )
        self.worker.begin()
        self.inputs: tuple[Input, ...] = ()

    def run(self, name: str = "made", **rows: Any) -> float:
        """Seconds from the job to its table."""
        spec = TableSpec(location=uri_of(self.folder / uuid.uuid4().hex), table_uuid=str(uuid.uuid4()))
        job = Job(key="b", database="lake", default_schema="s", action=Create(spec=spec, **rows), inputs=self.inputs)
        started = time.perf_counter()
        written = self.worker.run(job).written
        taken = time.perf_counter() - started
        if "sql" in rows and written is not None:
            found = Input(database="lake", schema="s", name=name, metadata_location=written.metadata_location)
            self.inputs = (*self.inputs, found)
        return taken

    def model(self, body: str, *packages: str, isolated: bool = True) -> float:
        return self.run(python=PythonCode(code=HEAD + body, path="m.py", packages=packages, isolated=isolated))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as temp:
        folder = Path(temp)
        # Into the cache of uv, from which the measured ones are then made.
        for packages in (("pandas==2.2.2",), ("pandas==2.2.3",), ("humanize==4.9.0",), ("humanize==4.10.0",)):
            Environments(folder / "warm").get(PythonCode(code="", path="", packages=packages))
        import os

        os.environ.setdefault("UV_CACHE_DIR", str(folder / "warm" / "uv"))
        bench = Bench(folder)
        bench.run("small", sql="SELECT range AS a, 'x' || range AS s FROM range(1000)")
        bench.model(RELATION)
        inside = [bench.model(RELATION, isolated=False) for _ in range(rounds)]
        outside = [bench.model(RELATION) for _ in range(rounds)]
        found["unchanged model, in the worker"] = statistics.median(inside)
        found["unchanged model, in its own process"] = statistics.median(outside)
        found["added by the process"] = statistics.median(outside) - statistics.median(inside)
        for name, body, versions in (
            ("pandas", FRAME, ("pandas==2.2.2", "pandas==2.2.3")),
            ("small package", PURE, ("humanize==4.9.0", "humanize==4.10.0")),
        ):
            for which, version in zip(("first", "changed"), versions, strict=True):
                found[f"{name}, {which}: requirement to result"] = bench.model(body, version)
                time.sleep(6)  # while bytecode is compiled
            found[f"{name}, unchanged"] = statistics.median(bench.model(body, versions[1]) for _ in range(rounds))
        bench.run("big", sql="SELECT range AS a FROM range(125_000_000)")
        found["sum of 1 GB (125M rows) from the table's files"] = bench.model(SUM)
        bench.worker.close()
    for name, seconds in found.items():
        print(f"{seconds:7.3f} s  {name}")
    RESULTS.write_text(json.dumps({name: round(value, 4) for name, value in found.items()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
