"""What the adapter adds to dbt, beside dbt-duckdb on the same project in the same run.

``python tests/benchmarks/bench_dbt.py [--models 100 500] [--rounds 3] [--edits]`` prints a table and writes
``results/dbt.json``. ``again`` is a build of the unchanged project; ``--edits`` adds builds after a comment, a leaf and a root
were edited, and one without reuse. Every figure is a median of wall times of whole ``dbt`` processes, rounds interleaved.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "dbt.json"
WIDTH = 20  # models side by side, so that several threads have work
PROFILES = """\
bench:
  target: lakehouse
  outputs:
    lakehouse: {type: lakehouse, warehouse: ./lake, schema: bench, threads: 4}
    duckdb: {type: duckdb, path: ./bench.duckdb, schema: bench, threads: 4}
"""
IMPORTS = {
    "lakehouse": "import dbt.adapters.lakehouse as a; a.Plugin",
    "duckdb": "import dbt.adapters.duckdb as a; a.Plugin",
}


def project(folder: Path, models: int) -> None:
    """Tables of 100 rows in chains of the given width."""
    (folder / "models").mkdir(parents=True)
    (folder / "dbt_project.yml").write_text(
        "name: bench\nversion: '1.0'\nprofile: bench\nmodels:\n  bench:\n    +materialized: table\n"
    )
    (folder / "profiles.yml").write_text(PROFILES)
    for index in range(models):
        source = (
            "select range as id, 'name ' || range as name from range(100)"
            if index < WIDTH
            else f"select id, name, {index} as step from {{{{ ref('m{index - WIDTH}') }}}}"
        )
        (folder / "models" / f"m{index}.sql").write_text(source + "\n")


def seconds(command: list[str], folder: Path | None = None, **more: str) -> float:
    """Wall time of a process, with byte code kept as for any installed package."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"} | more
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - started
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return taken


def measure_imports(rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for code in IMPORTS.values():
        seconds([sys.executable, "-c", code])
    for _ in range(rounds):
        for name, code in IMPORTS.items():
            times[name].append(seconds([sys.executable, "-c", code]))
    return {name: statistics.median(values) for name, values in times.items()}


def measure_runs(models: int, rounds: int) -> dict[str, dict[str, float]]:
    dbt = [sys.executable, "-m", "dbt.cli.main", "-q", "run", "--target"]
    first: dict[str, list[float]] = {name: [] for name in IMPORTS}
    again: dict[str, list[float]] = {name: [] for name in IMPORTS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "project"
        project(folder, models)
        for name in IMPORTS:  # warm up: partial parsing, byte code, page cache
            seconds([*dbt, name], folder)
        for _ in range(rounds):
            for name in IMPORTS:
                shutil.rmtree(folder / "lake", ignore_errors=True)
                (folder / "bench.duckdb").unlink(missing_ok=True)
                first[name].append(seconds([*dbt, name], folder))
                again[name].append(seconds([*dbt, name], folder))
    return {
        name: {"first": statistics.median(first[name]), "again": statistics.median(again[name])} for name in IMPORTS
    }


def edit(folder: Path, model: int, what: str) -> None:
    """Add something to a model's text: a comment, or a column."""
    file = folder / "models" / f"m{model}.sql"
    text = file.read_text()
    file.write_text(
        f"-- {what}\n{text}" if what.startswith("note") else text.replace("select ", f"select '{what}' as c, ", 1)
    )


def measure_edits(models: int, rounds: int) -> dict[str, dict[str, float]]:
    """Builds after edits, each of them new to the lake; ``no reuse`` builds the unchanged project from its code alone."""
    dbt = [sys.executable, "-m", "dbt.cli.main", "-q", "run", "--target"]
    edits = {
        "no reuse": None,
        "comment edited": (0, "note"),
        "leaf edited": (models - 1, "leaf"),
        "root edited": (0, "root"),
    }
    times: dict[str, dict[str, list[float]]] = {what: {name: [] for name in IMPORTS} for what in edits}
    with tempfile.TemporaryDirectory() as temporary:
        for name in IMPORTS:
            folder = Path(temporary) / name
            project(folder, models)
            for _ in range(2):
                seconds([*dbt, name], folder)
            for number in range(rounds):
                for what, change in edits.items():
                    if change is not None:
                        edit(folder, change[0], f"{change[1]} {number}")
                    switch = {"LAKEHOUSE_REUSE": "on" if change is not None else "off"}
                    times[what][name].append(seconds([*dbt, name], folder, **switch))
    return {
        what: {name: statistics.median(values) for name, values in by_name.items()} for what, by_name in times.items()
    }


def line(what: str, ours: float, theirs: float) -> str:
    return f"{what:<38} {ours:>9.3f} s {theirs:>9.3f} s {ours / theirs:>8.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, nargs="*", default=[100, 500])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--edits", action="store_true")
    options = parser.parse_args()
    print(f"{'':<38} {'lakehouse':>11} {'dbt-duckdb':>11} {'ratio':>8}")
    imports = measure_imports(max(options.rounds, 7))
    print(line("import the adapter", imports["lakehouse"], imports["duckdb"]))
    found: dict[str, object] = {"import": imports, "rounds": options.rounds}
    for models in options.models:
        runs = measure_runs(models, options.rounds)
        for what in ("first", "again"):
            print(line(f"dbt run, {models} models, {what}", runs["lakehouse"][what], runs["duckdb"][what]), flush=True)
        found[f"run_{models}"] = runs
        if options.edits:
            edits = measure_edits(models, options.rounds)
            for what, times in edits.items():
                print(line(f"dbt run, {models} models, {what}", times["lakehouse"], times["duckdb"]), flush=True)
            found[f"edits_{models}"] = edits
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
