"""The sample project's story, told in a terminal: a branch, a run, a mistake that stays invisible, a fix, a merge.

Works on a copy of the project in ``./demo``, made anew each time, and leaves it there to play with. Every command shown
is one that is run; every ✓ is a claim that was checked against the lake. A claim that does not hold ends the demo with
exit code 1.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from unpack import TABLES, unpack

PROJECT = Path(__file__).resolve().parent
DEMO = PROJECT.parent / "demo"
COPY = DEMO / "flights"
FLIGHTS = 336_776

FOG = ("visibility_miles < 1 then", "visibility_miles < 3 then")
WIND = ("then wind_mph end as wind_mph", "then wind_mph end as wind_speed_mph")
ROUTE_COLUMNS = (
    "    airports.region as destination_region,",
    "    airports.region as destination_region,\n    zones.time_zone as destination_time_zone,",
)
ROUTE_JOIN = (
    "    on measured.destination = airports.airport\n",
    """\
    on measured.destination = airports.airport
inner join {{ ref('stg_airports') }} as zones
    on measured.destination = zones.airport
""",
)
ROUTE_FIX = ("inner join {{ ref('stg_airports') }}", "left join {{ ref('stg_airports') }}")

COMPARE = """
select
    weather,
    main.flights as flights_on_main,
    dev.flights as flights_on_dev,
    main.on_time_share as on_time_on_main,
    dev.on_time_share as on_time_on_dev
from "lake@main".analytics.delays_by_weather as main
join "lake@dev".analytics.delays_by_weather as dev using (weather)
where main.flights <> dev.flights
order by flights_on_dev desc
"""

console = Console(highlight=False, width=None if sys.stdout.isatty() else 118)


class Failed(SystemExit):
    """A claim did not hold, or a command did not end as it should."""

    def __init__(self, message: str) -> None:
        console.print(Text(f"✗ {message}", style="bold red"))
        super().__init__(1)


def main() -> None:
    """Play the story and print what it took."""
    started = time.perf_counter()
    figures: dict[str, str] = {}
    files = prepare()

    import_raw(files, figures)
    build_main(figures)
    create_branch(figures)
    change_on_branch(figures)
    catch_ahead(figures)
    fail_on_branch(figures)
    fix_on_branch(figures)
    merge(figures)

    figures["the whole demo"] = f"{time.perf_counter() - started:.1f} s"
    summarize(figures)


# The story


def prepare() -> dict[str, Path]:
    """A fresh copy of the project, without a lake, and the raw files."""
    shutil.rmtree(DEMO, ignore_errors=True)
    left_out = shutil.ignore_patterns("lake", "raw", "target", "logs", "__pycache__", "demo.py", ".user.yml")
    shutil.copytree(PROJECT, COPY, ignore=left_out)
    console.print(f"A copy of the sample project is in {DEMO.name}/{COPY.name}; the commands below run there.")
    return unpack(COPY / "raw")


def import_raw(files: dict[str, Path], figures: dict[str, str]) -> None:
    """The five raw files become tables on main."""
    headline("Raw data on main", "Five CSV files become Iceberg tables; each import is a commit.")
    seconds = 0.0
    for table in TABLES:
        path = files[table].relative_to(COPY).as_posix()
        seconds += run("lakehouse", "import", f"raw.{table}", path, "--branch", "main").seconds
    rows = query('select count(*) as flights from "lake@main".raw.flights')[0]["flights"]
    check(rows == FLIGHTS, f"raw.flights has {rows:,} rows on main")
    figures["import of five files"] = f"{seconds:.1f} s, {megabytes(files)} MB of CSV"


def build_main(figures: dict[str, str]) -> None:
    """The whole project on main."""
    headline("dbt build on main", "Seeds, snapshot, models and tests are one transaction: main moves once, at the end.")
    before = log("main")
    done = run("dbt", "build", "--target", "prod", show=matching("OK ", "Published", "Done"))
    after = log("main")
    check(head_of(after) != head_of(before), f"main moved to {head_of(after)[:8]}: {after[0]['message']}")
    tables = lakehouse("tables", "--ref", "main")
    counted = query('select sum(flights) as flights from "lake@main".analytics.delays_by_carrier')[0]["flights"]
    check(counted == FLIGHTS, f"main has {len(tables)} tables and views, and delays_by_carrier counts every flight")
    figures["first dbt build, on main"] = (
        f"{done.seconds:.1f} s, {len(tables)} tables and views, {tests_passed()} tests"
    )


def create_branch(figures: dict[str, str]) -> None:
    """A branch of the whole lake."""
    headline("A branch", "It costs a row in the catalog, whatever the size of the lake. No file is copied.")
    files_before = count_files()
    run("lakehouse", "branch", "create", "dev", "--from", "main")
    heads = branches()
    check(heads["dev"] == heads["main"], f"dev and main are the same commit, {heads['dev'][:8]}")
    check(count_files() == files_before, f"the lake has as many files as before: {files_before}")
    figures["creating a branch"] = f"{branch_milliseconds():.1f} ms in the catalog, 0 files"


def change_on_branch(figures: dict[str, str]) -> None:
    """A change of a model, built on the branch."""
    headline(
        "A change on the branch",
        "Fog shall begin at a visibility of three miles, not one. Of all nodes only those run that depend on the edit.",
    )
    edit("models/marts/delays_by_weather.sql", FOG)
    before = branches()
    done = run("dbt", "build", "--target", "dev", show=matching("CREATE|MERGE", "were reused", "Publ", "Done"))
    reused = re.search(r"(\d+) of (\d+) nodes were reused", done.output)
    check(reused is not None and int(reused[1]) > 70, f"{reused[0] if reused else 'nothing was reused'}")
    run("lakehouse", "run", "explain", "delays_by_weather", show=last_lines(12))
    after = branches()
    check(after["main"] == before["main"], f"main has not moved: {after['main'][:8]}")
    check(after["dev"] != before["dev"], f"dev has: {before['dev'][:8]} → {after['dev'][:8]}")
    console.print("Both states in one query:")
    run("lakehouse", "query", COMPARE.strip())
    fog = next(row for row in query(COMPARE) if row["weather"] == "fog")
    check(
        fog["flights_on_dev"] > fog["flights_on_main"],
        f"fog delays {fog['flights_on_dev']:,} flights on dev, {fog['flights_on_main']:,} on main",
    )
    figures["dbt build of the whole project after the edit, on dev"] = f"{done.seconds:.1f} s"


def catch_ahead(figures: dict[str, str]) -> None:
    """A mistake that is found before anything runs."""
    headline(
        "A mistake that shows before anything runs",
        "A column gets another name, and a model that reads it is forgotten. All that would run is checked without data.",
    )
    edit("models/staging/stg_weather.sql", WIND)
    before, runs = log("dev"), lakehouse("runs")
    done = run(
        "dbt", "build", "--target", "dev", expect=2, show=matching("Pre-flight", r"\.sql:", "Binder", "Candid", r"\| ")
    )
    check("models/marts/delays_by_weather.sql:11" in done.output, "the file and the line are named")
    check(log("dev") == before and lakehouse("runs") == runs, "no run was opened, and dev is where it was")
    edit("models/staging/stg_weather.sql", (WIND[1], WIND[0]))
    figures["dbt build that is refused ahead"] = f"{done.seconds:.1f} s"


def fail_on_branch(figures: dict[str, str]) -> None:
    """A mistake that a test finds."""
    headline(
        "A mistake",
        "Routes shall tell the destination's time zone. The join to the raw airports loses those in the Caribbean.",
    )
    edit("models/marts/delays_by_route.sql", ROUTE_COLUMNS, ROUTE_JOIN)
    before = log("dev")
    done = run(
        "dbt",
        "build",
        "--target",
        "dev",
        expect=1,
        show=matching("CREATE|FAIL|Got ", "were reused", "Nothing was", "Done"),
    )
    check(log("dev") == before, f"nothing was published: dev's log is the same, its head {head_of(before)[:8]}")
    failed = lakehouse("runs")[0]
    check(failed["status"] == "failed", f"run {failed['id'][:8]} has failed, and its branch is there to look into")
    console.print("The rows that the test found, on the run's branch:")
    found = f'select * from "lake@{failed["branch"]}".analytics_dbt_test__audit.every_flight_is_counted'
    run("lakehouse", "query", found)
    missing = query(found)[0]["flights_missing"]
    check(missing == 7_602, f"{missing:,} flights to Puerto Rico and the Virgin Islands were missing")
    figures["dbt build that fails a test"] = f"{done.seconds:.1f} s, nothing published"


def fix_on_branch(figures: dict[str, str]) -> None:
    """The fix, built and published on the branch."""
    headline("The fix", "A left join keeps every route.")
    edit("models/marts/delays_by_route.sql", ROUTE_FIX)
    before = branches()["dev"]
    done = run(
        "dbt",
        "build",
        "--target",
        "dev",
        show=matching("CREATE", "were reused", "Published", "Done"),
    )
    check(branches()["dev"] != before, "all tests passed, and dev has the new delays_by_route")
    figures["dbt build after the fix"] = f"{done.seconds:.1f} s"


def merge(figures: dict[str, str]) -> None:
    """The branch becomes main."""
    headline("The merge", "What was built and tested on dev becomes main, without being built again.")
    run("lakehouse", "diff", "main", "dev")
    files_before, main_before = count_files(), branches()["main"]
    done = run("lakehouse", "merge", "dev", "--into", "main", show=last_line)
    check(branches()["main"] != main_before, f"main is at {branches()['main'][:8]}")
    check(count_files() == files_before, "no file was written or copied")
    sql = 'select count(*) as routes, cast(sum(flights) as bigint) as flights from "lake@{}".analytics.delays_by_route'
    check(query(sql.format("main")) == query(sql.format("dev")), "main answers as dev does")
    zones = query('select count(destination_time_zone) as zones from "lake@main".analytics.delays_by_route')[0]["zones"]
    check(zones > 0, f"delays_by_route has the new column on main, filled for {zones} routes")
    run("lakehouse", "log", "main", show=first_lines(6))
    figures["merging dev into main"] = f"{done.seconds:.1f} s with the start of Python"


# Commands


class Done:
    """A command that has ended."""

    def __init__(self, seconds: float, output: str) -> None:
        self.seconds = seconds
        self.output = output


Shown = Callable[[list[str]], list[str]]


def everything(lines: list[str]) -> list[str]:
    """All of the output."""
    return lines


def last_line(lines: list[str]) -> list[str]:
    """The last line of the output."""
    return lines[-1:]


def last_lines(count: int) -> Shown:
    """The end of the output."""
    return lambda lines: lines[-count:]


def first_lines(count: int) -> Shown:
    """The beginning of the output, and how much was left out."""

    def shown(lines: list[str]) -> list[str]:
        return lines if len(lines) <= count + 1 else [*lines[:count], f"… {len(lines) - count} more lines"]

    return shown


def matching(*patterns: str) -> Shown:
    """The lines of dbt's output in which one of the patterns occurs, without the time of day."""

    def shown(lines: list[str]) -> list[str]:
        plain = [re.sub(r"^\d\d:\d\d:\d\d\s+", "", line) for line in lines]
        kept = [line for line in plain if any(re.search(pattern, line) for pattern in patterns)]
        return [f"… {len(plain) - len(kept)} more lines, and among them:", *kept]

    return shown


def run(*command: str, expect: int = 0, show: Shown = everything) -> Done:
    """Run a command of this environment in the project's copy, print it and what is worth seeing of its output."""
    console.print(Text("$ " + " ".join(quoted(part) for part in command), style="bold"), soft_wrap=True)
    started = time.perf_counter()
    ended = start(*command)
    seconds = time.perf_counter() - started
    output = ended.stdout + ended.stderr
    if ended.returncode != expect:
        console.print(Text(output, style="dim"))
        raise Failed(f"{command[0]} ended with exit code {ended.returncode}, not {expect}")
    for line in show([line for line in output.splitlines() if line.strip()]):
        console.print(Text("  " + line, style="dim"), overflow="ellipsis", no_wrap=True)
    return Done(seconds, output)


def start(*command: str) -> subprocess.CompletedProcess[str]:
    """The command as it is shown; only what it prints is made plainer."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DBT_", "LAKEHOUSE_"))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment |= {"DBT_USE_COLORS": "false", "NO_COLOR": "1", "COLUMNS": "114", "DBT_SEND_ANONYMOUS_USAGE_STATS": "0"}
    program = Path(sys.executable).with_name(command[0])
    return subprocess.run(
        [program, *command[1:]], cwd=COPY, env=environment, capture_output=True, text=True, check=False
    )


def quoted(part: str) -> str:
    """An argument as a shell takes it."""
    plain = part.replace("-", "").replace("/", "").replace(".", "").replace("_", "").replace("+", "")
    return part if plain.isalnum() else f"'{part}'"


def lakehouse(*arguments: str) -> list[dict[str, Any]]:
    """What a `lakehouse` command answers with `--json`."""
    ended = start("lakehouse", *arguments, "--json")
    if ended.returncode != 0:
        raise Failed(f"lakehouse {' '.join(arguments)}: {ended.stderr.strip()}")
    answer: list[dict[str, Any]] = json.loads(ended.stdout)
    return answer


def query(sql: str) -> list[dict[str, Any]]:
    """Rows of a query."""
    return lakehouse("query", sql.strip())


def log(ref: str) -> list[dict[str, Any]]:
    """Commits, newest first."""
    return lakehouse("log", ref)


def head_of(commits: list[dict[str, Any]]) -> str:
    """The id of the newest commit of a log."""
    return str(commits[0]["id"])


def branches() -> dict[str, str]:
    """Branch → commit."""
    return {branch["name"]: branch["head"] for branch in lakehouse("branch", "list")}


def tests_passed() -> int:
    """How many tests the last dbt command passed, by its own account."""
    results = json.loads((COPY / "target" / "run_results.json").read_text())["results"]
    return sum(1 for result in results if result["status"] == "pass")


def branch_milliseconds() -> float:
    """How long the catalog takes to create a branch, without the start of Python: the median of a few."""
    from dbt.adapters.lakehouse.catalog.model import RefKind
    from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
    from dbt.adapters.lakehouse.profile import lake_settings

    lake = EmbeddedLake.open(lake_settings({"type": "lakehouse", "warehouse": "./lake"}, COPY))
    times = []
    for number in range(9):
        started = time.perf_counter()
        ref = lake.catalog.create_ref(f"timing-{number}", RefKind.BRANCH, "main")
        times.append(time.perf_counter() - started)
        lake.catalog.delete_ref(ref.name, expected=ref.commit)
    lake.close()
    return sorted(times)[len(times) // 2] * 1000


# Printing, checking, editing


def headline(title: str, text: str) -> None:
    """A step begins."""
    console.print()
    console.rule(Text(title, style="bold"), align="left")
    console.print(text)


def check(holds: bool, claim: str) -> None:
    """Print a claim that holds; stop at one that does not."""
    if not holds:
        raise Failed(f"this does not hold: {claim}")
    console.print(Text(f"✓ {claim}", style="green"))


def edit(file: str, *changes: tuple[str, str]) -> None:
    """Change the copy of a model and show how."""
    path = COPY / file
    text = path.read_text()
    for old, new in changes:
        if text.count(old) != 1:
            raise Failed(f"{file} is not what the demo expects; it looked for {old!r}")
        text = text.replace(old, new)
    before = path.read_text().splitlines()
    path.write_text(text)
    console.print(Text(f"# {file}", style="bold"))
    for line in before:
        if line not in text.splitlines():
            console.print(Text(f"  - {line.strip()}", style="red"))
    for line in text.splitlines():
        if line not in before:
            console.print(Text(f"  + {line.strip()}", style="green"))


def count_files() -> int:
    """Files of tables in the warehouse; the catalog's own do not count."""
    lake = COPY / "lake"
    return sum(1 for path in lake.rglob("*") if path.is_file() and not path.name.startswith("catalog.sqlite"))


def megabytes(files: dict[str, Path]) -> int:
    """Size of files together."""
    return round(sum(file.stat().st_size for file in files.values()) / 1e6)


def summarize(figures: dict[str, str]) -> None:
    """What was done and what it took."""
    console.print()
    table = Table(title="What this took, on this machine", title_justify="left", show_header=False)
    for what, how_much in figures.items():
        table.add_row(what, how_much)
    console.print(table)
    console.print(f"The lake is still there: cd {DEMO.name}/{COPY.name}, then `lakehouse log main` or `dbt build`.")


if __name__ == "__main__":
    main()
