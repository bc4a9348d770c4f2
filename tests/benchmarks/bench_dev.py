"""From a save to the rows on the screen: ``lakehouse dev`` in a project of small models, as a developer has it open.

``python tests/benchmarks/bench_dev.py [--models 100 500] [--edits 9]`` edits a model's file on disk again and again, and takes
the time until the line of its last row, and until the build was said to be over, were read from the command's output. Phases
are from the command's own JSON: what dbt took for the build, and the rest (noticing the save, parsing, reading rows). Prints
medians and writes ``results/dev.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WIDTH = 20  # models side by side
RESULTS = Path(__file__).parent / "results" / "dev.json"
PROFILES = """\
bench:
  target: dev
  outputs:
    main: {type: lakehouse, warehouse: ./lake, schema: bench, threads: 4}
    dev: {type: lakehouse, warehouse: ./lake, schema: bench, threads: 4, branch: dev}
"""
COMMAND = "import sys; from dbt.adapters.lakehouse.cli.main import main; sys.exit(main())"
EDITS = {
    "a leaf": ("m{leaf}", "select id, name, {value} as step from {{{{ ref('m{parent}') }}}} where id < 20\n"),
    "a root": (
        "m0",
        "select range as id, 'name ' || range as name, {value} as step from range(100) where range < 20\n",
    ),
    "a mistake": ("m{leaf}", "select id, name, {value} as step from {{{{ ref('m{parent}') }}}} where nonsense < 20\n"),
}
PATIENCE = 120


class Dev:
    """The command, with its output read as it comes."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "dev", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        self._stream = self._process.stdout

    def until(self, pattern: str) -> tuple[float, str]:
        """When a line was read that the pattern matches, and the line."""
        for line in self._stream:
            text = line.decode()
            if re.search(pattern, text):
                return time.perf_counter(), text
        raise SystemExit("lakehouse dev ended")

    def end(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=PATIENCE)


def project(folder: Path, models: int) -> None:
    """Tables of 100 rows in chains of the given width."""
    (folder / "models").mkdir(parents=True)
    (folder / "profiles.yml").write_text(PROFILES)
    (folder / "dbt_project.yml").write_text(
        "name: bench\nversion: '1.0'\nprofile: bench\nmodels: {bench: {+materialized: table}}\n"
    )
    for index in range(models):
        first = "select range as id, 'name ' || range as name from range(100)\n"
        later = f"select id, name, {index} as step from {{{{ ref('m{index - WIDTH}') }}}}\n"
        (folder / "models" / f"m{index}.sql").write_text(first if index < WIDTH else later)


def write(folder: Path, models: int, what: str, value: int) -> float:
    """Save an edit; when that was done."""
    name, text = EDITS[what]
    names = {"leaf": models - 1, "parent": models - 1 - WIDTH, "value": value}
    (folder / "models" / f"{name.format(**names)}.sql").write_text(text.format(**names))
    return time.perf_counter()


def measure(models: int, edits: int) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, list[float]]] = {what: {} for what in EDITS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "project"
        project(folder, models)
        dbt = [sys.executable, "-c", "from dbt.cli.main import cli; cli()", "-q", "build", "--target"]
        for target in ("main", "dev"):
            subprocess.run([*dbt, target], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        started = time.perf_counter()
        dev = Dev(folder, "--rows", "20")
        first = dev.until("waiting")[0] - started
        value = 0
        for number in range(edits + 1):
            for what, times in found.items():
                value += 1
                saved = write(folder, models, what, value)
                seen = {"shown": dev.until("nonsense" if what == "a mistake" else rf"^19 +name 19 +{value}\b")[0]}
                if what != "a mistake":
                    seen["compared, published"] = dev.until("published to")[0]
                for phase, at in seen.items() if number else ():  # the first of each warms up
                    times.setdefault(phase, []).append(at - saved)
                dev.until("waiting")
        dev.end()
        _phases(folder, models, found, edits, value)
    return {
        "start": {"until it waits": first},
        **{
            what: {phase: statistics.median(all_of) for phase, all_of in times.items()} for what, times in found.items()
        },
    }


def _phases(folder: Path, models: int, found: dict[str, dict[str, list[float]]], edits: int, value: int) -> None:
    """How long dbt took for the build of a leaf."""
    dev = Dev(folder, "--json", "--no-initial")
    dev.until('"waiting"')
    for number in range(edits + 1):
        write(folder, models, "a leaf", value + number + 1)
        document = json.loads(dev.until('"event": "build"')[1])
        if number:
            found["a leaf"].setdefault("of this, dbt build", []).append(document["seconds"])
    dev.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, nargs="*", default=[100, 500])
    parser.add_argument("--edits", type=int, default=9)
    options = parser.parse_args()
    results = {}
    for models in options.models:
        results[str(models)] = found = measure(models, options.edits)
        for what, phases in found.items():
            for phase, seconds in phases.items():
                print(f"{models:>4} models, {what + ':':<12} {phase:<24} {seconds:>7.3f} s", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
