"""Builds of 1, 100 and 500 small models, and after edits: this adapter beside dbt-duckdb and SQLMesh, in the same run.

``python tests/benchmarks/bench_dbt.py [--models 1 100 500] [--rounds N] [--peers duckdb state sqlmesh]`` prints a table for
each number of models and writes ``results/dbt.json``. Left to itself it takes about ten minutes on two cores: three rounds of
up to 100 models and one of 500; ``--models 1 100`` takes four.

A round is five builds, of everything from nothing (``first``), of the unchanged project, and after an edit of a comment, of
the last model (``leaf``: a column more) and of the first one (``root``: other rows, in it and in all that depend on it). The
peers take turns at each. Every figure is a median of whole processes' wall times, with the files that a tool keeps of a
project it knows (partial parsing, SQLMesh's cache) in place. After each build it is checked that just those models were
computed that had to be, and that the edit is in the tables.

``state`` is dbt-duckdb with ``state:modified+ --defer --state``, which needs the manifest of the build before: here it is
copied each time, in a team somebody has to keep it, one for each branch and database.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dbt_peers import PEERS, ROWS, WIDTH, Cost, Models, NotInstalledError, Peer, cost

RESULTS = Path(__file__).parent / "results" / "dbt.json"
IMPORTS = {
    "lakehouse": "import dbt.adapters.lakehouse as a; a.Plugin",
    "duckdb": "import dbt.adapters.duckdb as a; a.Plugin",
}
STEPS = {
    "first": "first build",
    "unchanged": "unchanged",
    "comment": "a comment edited",
    "leaf": "one leaf edited",
    "root": "one root edited",
}
FEW = 100
"""Up to so many models, three rounds are quick."""


def measure_imports(rounds: int) -> dict[str, float]:
    """Seconds from nothing to the adapter's class."""
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for number in range(rounds + 1):
        for name, code in IMPORTS.items():
            taken, _ = cost([sys.executable, "-c", code])
            if number:  # the first one makes byte code
                times[name].append(taken.wall)
    return {name: statistics.median(values) for name, values in times.items()}


def chosen(names: Sequence[str], folder: Path) -> dict[str, Peer]:
    """The peers that can be had, ours first; of others it is said that they are left out."""
    peers: dict[str, Peer] = {}
    for name in ("lakehouse", *(name for name in names if name != "lakehouse")):
        try:
            peers[name] = PEERS[name](folder / name)
        except NotInstalledError as error:
            print(f"{PEERS[name].label} is left out: {error}", flush=True)
    return peers


def measure(models: int, rounds: int, names: Sequence[str]) -> dict[str, dict[str, list[Cost]]]:
    """Costs by step and peer, a value for each round."""
    with tempfile.TemporaryDirectory() as temporary:
        peers = chosen(names, Path(temporary))
        found: dict[str, dict[str, list[Cost]]] = {step: {name: [] for name in peers} for step in STEPS}
        for number in range(rounds):
            for peer in peers.values():
                peer.write(Models(count=models))
                peer.warm()
                peer.forget()
            for step in STEPS:
                now = edited(models, step, f"{number}")
                for name, peer in peers.items():
                    peer.write(now)
                    found[step][name].append(peer.build())
                    check(peer, step, now)
    return found


def edited(count: int, step: str, number: str) -> Models:
    """The project as it is at a step: with this edit, and those of the steps before."""
    models = Models(count=count)
    edits = {"comment": f"note {number}", "leaf": f"leaf {number}", "root": f"root {number}"}
    for at, value in edits.items():
        if list(STEPS).index(at) <= list(STEPS).index(step):
            models = replace(models, **{at: value})
    return models


def check(peer: Peer, step: str, models: Models) -> None:
    """Stop unless a build did what it is measured for."""
    wanted = peer.expected(step, models)
    if peer.ran != wanted:
        raise SystemExit(f"{peer.label}, {step}: {peer.ran} models were computed, and {wanted} are right")
    if step == "unchanged":
        return
    last = models.count - 1
    columns = "edited" if models.leaf else "''"
    [leaf] = peer.rows(f"SELECT count(*) AS n, min({columns}) AS edited FROM bench.m{last}")
    end = (models.chain - 1) * WIDTH
    [root] = peer.rows(f"SELECT count(*) AS n, min(name) AS name FROM bench.m{end}")
    everything = " UNION ALL ".join(f"SELECT count(*) AS n FROM bench.m{index}" for index in range(models.count))
    [total] = peer.rows(f"SELECT sum(n)::int AS n FROM ({everything})") if step in ("first", "root") else [None]
    right = [(ROWS, models.leaf), (ROWS, f"{models.root} 0"), (models.count * ROWS,) if total else None]
    if [leaf, root, total] != right:
        raise SystemExit(f"{peer.label}, {step}: the tables hold {[leaf, root, total]}, and {right} is right")


def table(models: int, found: dict[str, dict[str, list[Cost]]]) -> str:
    """Seconds of each peer, ours in front; behind the others' our time as a part of theirs."""
    names = list(next(iter(found.values())))
    widths = [max(len(PEERS[name].label), 15) + 3 for name in names]
    title = f"{models} models" if models > 1 else "1 model"
    lines = [
        f"{title:<17}" + "".join(f"{PEERS[name].label:>{width}}" for name, width in zip(names, widths, strict=True))
    ]
    for step, by_name in found.items():
        ours = _median(by_name["lakehouse"])
        cells = [f"{ours:.2f} s"]
        for name in names[1:]:
            theirs = _median(by_name[name])
            cells.append(f"{theirs:.2f} s {f'({ours / theirs:.2f})':>7}")
        lines.append(f"{STEPS[step]:<17}" + "".join(f"{c:>{width}}" for c, width in zip(cells, widths, strict=True)))
    return "\n".join(lines)


def _median(costs: Sequence[Cost], what: str = "wall") -> float:
    return statistics.median(getattr(one, what) for one in costs)


def summary(found: dict[str, dict[str, list[Cost]]], rounds: int) -> dict[str, object]:
    """As it is kept: medians of wall and processor time by step and peer."""
    return {
        "rounds": rounds,
        **{
            step: {
                name: {"wall": round(_median(costs), 3), "cpu": round(_median(costs, "cpu"), 3)}
                for name, costs in by_name.items()
            }
            for step, by_name in found.items()
        },
    }


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, nargs="+", default=[1, 100, 500], help="sizes of the project")
    parser.add_argument("--rounds", type=int, help=f"default: three, and one beyond {FEW} models")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS), help="beside this adapter")
    options = parser.parse_args()
    imports = measure_imports(max(options.rounds or 0, 7))
    ratio = imports["lakehouse"] / imports["duckdb"]
    print("Seconds from start to end; in parentheses our time as a part of the peer's: below 1 we are faster.\n")
    print(f"import the adapter: {imports['lakehouse']:.2f} s, dbt-duckdb's: {imports['duckdb']:.2f} s ({ratio:.2f})")
    kept: dict[str, object] = {}
    for models in options.models:
        rounds = options.rounds or (3 if models <= FEW else 1)
        found = measure(models, rounds, options.peers)
        print(f"\n{table(models, found)}", flush=True)
        kept[str(models)] = summary(found, rounds)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"import": imports, "models": kept}, indent=2) + "\n")


if __name__ == "__main__":
    main()
