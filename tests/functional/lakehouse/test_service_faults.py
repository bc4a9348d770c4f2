"""A service whose parts are killed, stopped, starved or told a wrong time: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dbt_process import DbtProcess
from dbt_shop import PROFILE, Shop
from service_process import ServiceProcess

from dbt.adapters.lakehouse.catalog.model import Commit, RunRecord, RunStatus
from dbt.adapters.lakehouse.executors.records import JobRecord
from dbt.adapters.lakehouse.service.store import ServiceStore

pytestmark = pytest.mark.kills

CATALOG = "dbt.adapters.lakehouse.catalog"
RUN = "dbt.adapters.lakehouse.run"

MODELS = {
    "first": "select {{ env_var('N', '1') }}::bigint as n",
    "grown": """
        {{ config(materialized='incremental', unique_key='id', incremental_strategy='merge') }}
        select id, {{ env_var('N', '1') }}::bigint as n from range(500) r(id) -- {{ ref('first') }}
    """,
    "hooked": """
        {{ config(materialized='table', post_hook='insert into {{ this }} values (99)') }}
        select sum(n)::bigint as n from {{ ref('grown') }}
    """,
    "shown": "{{ config(materialized='view') }} select * from {{ ref('hooked') }}",
}
ENDLESS = """
{{ config(materialized='table') }}
select sum(hash(i * j)) as n from range(400000) a(i), range(400000) b(j)
"""
SECONDS = """
{{ config(materialized='table') }}
select sum(hash(i * j)) % 2 + 5 as n from range(30000) a(i), range(30000) b(j)
"""


def built(n: int) -> dict[str, list[tuple[object, ...]]]:
    """All tables as an undisturbed build with ``N=n`` makes them."""
    sums = sorted([(500 * n,), (99,)], key=repr)
    grown = sorted([(i, n) for i in range(500)], key=repr)
    return {"shop.first": [(n,)], "shop.grown": grown, "shop.hooked": sums, "shop.shown": sums}


class Served:
    """A shop whose lake is behind a service, which can be made to fail."""

    def __init__(self, shop: Shop, *flags: str) -> None:
        self.shop = shop
        self.process = ServiceProcess(shop.root / "lake", *flags)
        self.process.program = [sys.executable, str(Path(__file__).with_name("faulty_service.py"))]

    def start(self, **environment: str) -> Served:
        """Start it, for the first time or again on the same port."""
        self.process.start(**environment)
        if "SHOP_TOKEN" not in self.shop.environment:
            self.shop.environment["SHOP_TOKEN"] = self.process.token()
            where = f'service: "{self.process.url}", token: "{{{{ env_var(\'SHOP_TOKEN\') }}}}"'
            self.shop.write({"profiles.yml": PROFILE.replace("warehouse: ./lake", where)})
        return self

    def jobs(self) -> list[JobRecord]:
        """What the service wrote down of its jobs, the latest first."""
        store = ServiceStore.open(f"sqlite:///{self.shop.root}/lake/catalog.sqlite")
        try:
            return list(store.jobs.list())
        finally:
            store.close()

    def runs(self) -> list[RunRecord]:
        """All runs, newest first, as they are recorded: to look changes nothing."""
        with self.shop.lake() as lake:
            return lake.catalog.runs()

    def own_commits(self) -> list[Commit]:
        """What the run that was published last committed on its branch."""
        with self.shop.lake() as lake:
            merged = lake.catalog.log(lake.catalog.resolve("main").id)
            own = lake.catalog.log(merged[0].parents[1])
        known = {commit.id for commit in merged}
        return [commit for commit in own if commit.id not in known]

    def workers(self) -> list[int]:
        """Worker processes of the service."""
        return [pid for pid in children(self.process.process.pid) if b"executors.process" in command(pid)]

    def end(self) -> None:
        with contextlib.suppress(AssertionError):
            self.process.process.send_signal(signal.SIGCONT)
            self.process.end(signal.SIGKILL)


def children(pid: int) -> list[int]:
    found: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, tasks.read_text().split())
    return found


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def cpu(pid: int) -> float:
    """Seconds of a processor that a process has used; a process that is gone uses none any more."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy(pid: int) -> bool:
    """Whether a process is at work right now."""
    before = cpu(pid)
    time.sleep(0.3)
    return cpu(pid) - before > 0.03


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def at_work(served: Served, process: DbtProcess, model: str) -> int:
    """Wait until a worker computes a model; the worker."""
    process.until(lambda: f"START sql table model shop.{model}" in process.output)
    found: list[int] = []
    process.until(lambda: found.extend(pid for pid in served.workers() if cpu(pid) and busy(pid)) or found)
    return found[0]


@pytest.fixture
def served(shop: Shop) -> Iterator[Callable[..., Served]]:
    """Makes a service on the shop's lake."""
    made: list[Served] = []

    def make(*flags: str) -> Served:
        made.append(Served(shop, *flags))
        return made[-1]

    yield make
    for one in made:
        one.end()


Make = Callable[..., Served]


# a worker


def test_a_worker_that_is_killed_in_the_middle_of_a_model(shop: Shop, served: Make) -> None:
    service = served().start()
    shop.models(slow=SECONDS, after="select n from {{ ref('slow') }}")
    with shop.start("build") as process:
        os.kill(at_work(service, process, "slow"), signal.SIGKILL)
        outcome = process.wait()
    assert outcome.code == 0, outcome.output
    assert "was killed by SIGKILL" in outcome.output
    assert shop.rows("select count(*) from slow") == [(1,)]
    assert shop.rows("select n from slow") == shop.rows("select n from after")
    assert sorted(commit.message for commit in service.own_commits()) == [
        "Build shop.after",
        "Build shop.slow",
        "Create schema shop",
    ]
    retried: list[JobRecord] = []
    until(lambda: retried.extend(job for job in service.jobs() if len(job.attempts) > 1) or retried)
    [slow] = retried
    assert "slow" in slow.label
    assert [attempt.error is None for attempt in slow.attempts] == [False, True]
    assert len({attempt.worker for attempt in slow.attempts}) == 2


# the server


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory, parsed: Path) -> Iterator[Served]:
    """A lake behind a service that lives through all of these deaths."""
    shop = Shop(tmp_path_factory.mktemp("grown"), parsed)
    shop.models(**MODELS)
    served = Served(shop).start()
    shop.dbt("build", N="1")
    yield served
    served.end()


POINTS = [
    f"before {CATALOG}.sql_catalog:SqlCatalog.create_ref",
    f"before {CATALOG}.sql_catalog:SqlCatalog.commit",
    f"after {CATALOG}.sql_catalog:SqlCatalog.commit",
    f"after:2 {CATALOG}.sql_catalog:SqlCatalog.commit",
    f"after:4 {CATALOG}.sql_catalog:SqlCatalog.commit",
    f"after {RUN}.session:RunSession.build",
    f"before {CATALOG}.sql_catalog:SqlCatalog.merge",
    f"before {CATALOG}.sql_runs:publish",
    f"after {CATALOG}.sql_catalog:SqlCatalog.merge",  # on trial
    f"after:2 {CATALOG}.sql_catalog:SqlCatalog.merge",
    f"after {CATALOG}.sql_catalog:SqlCatalog.delete_ref",
]


@pytest.mark.parametrize("point", POINTS)
def test_a_server_that_is_killed_at_any_point(grown: Served, point: str) -> None:
    shop, service, number = grown.shop, grown.process, POINTS.index(point) + 2
    log = shop.log()
    grown.end()
    grown.start(DIE_AT=point)
    with shop.start("build", "--threads", "1", N=str(number)) as process:
        process.until(lambda: service.process.poll() is not None)
        assert service.end() == -signal.SIGKILL
        grown.start()
        outcome = process.wait()
    assert outcome.code == 0, outcome.output
    assert shop.tables() == built(number)
    assert shop.log()[1:] == log
    messages = [commit.message for commit in grown.own_commits()]
    assert len(set(messages)) == len(messages) == 5, messages
    assert grown.runs()[0].status is RunStatus.PUBLISHED
    assert shop.branches() == ["main"]


def test_a_server_that_stands_still_for_longer_than_its_lease(shop: Shop, served: Make) -> None:
    service = served("--lease", "2").start()
    shop.models(first="select 1 as n", slow=SECONDS + "-- {{ ref('first') }}", last="select * from {{ ref('slow') }}")
    with shop.start("build", "--threads", "1") as process:
        at_work(service, process, "slow")
        service.process.process.send_signal(signal.SIGSTOP)
        time.sleep(5)
        service.process.process.send_signal(signal.SIGCONT)
        outcome = process.wait()
    assert outcome.code == 0, outcome.output
    assert set(shop.tables()) == {"shop.first", "shop.slow", "shop.last"}
    assert [run.status for run in service.runs()] == [RunStatus.PUBLISHED]


# the client


@pytest.mark.parametrize(
    ("point", "status"),
    [
        ("before dbt.adapters.lakehouse.lake.remote.run:RemoteRun.publish", RunStatus.ABANDONED),
        ("after dbt.adapters.lakehouse.lake.remote.run:RemoteRun.publish", RunStatus.PUBLISHED),
    ],
)
def test_a_client_that_is_killed_when_it_publishes(shop: Shop, served: Make, point: str, status: RunStatus) -> None:
    service = served("--lease", "1").start()
    shop.models(**MODELS)
    before = shop.log()
    outcome = shop.dbt("build", code=None, DIE_AT=point)
    assert outcome.code == -signal.SIGKILL
    until(lambda: service.runs()[0].status is status)
    assert shop.log()[1:] == before if status is RunStatus.PUBLISHED else shop.log() == before
    shop.dbt("build", N="2")
    assert shop.tables() == built(2)


def test_nothing_goes_on_for_a_client_that_was_killed(shop: Shop, served: Make) -> None:
    service = served("--lease", "3").start()
    shop.models(endless=ENDLESS)
    before = shop.head()
    with shop.start("build") as process:
        worker = at_work(service, process, "endless")
        process.kill()
    until(lambda: service.runs()[0].status is RunStatus.ABANDONED, 20)
    until(lambda: not busy(worker), 5)
    until(lambda: {job.state for job in service.jobs()} & {"queued", "running"} == set(), 5)
    assert shop.head() == before
    assert not [pid for pid in service.workers() if busy(pid)]
    shop.models(endless="select 1 as n")
    shop.dbt("build")
    assert shop.rows("select n from endless") == [(1,)]


def test_ctrl_c_stops_the_work_at_once(shop: Shop, served: Make) -> None:
    service = served().start()
    shop.models(endless=ENDLESS)
    before = shop.head()
    with shop.start("build") as process:
        worker = at_work(service, process, "endless")
        pressed = time.monotonic()
        process.send(signal.SIGINT)
        spent = cpu(worker)
        until(lambda: service.jobs()[0].state == "cancelled", 5)
        seconds = time.monotonic() - pressed
        outcome = process.wait()
    assert outcome.code != 0
    # A second on a quiet machine; others may be at work on this one.
    assert seconds < 3
    assert cpu(worker) - spent < 3
    assert not busy(worker)
    assert shop.head() == before
    assert [run.status for run in service.runs()] == [RunStatus.ABANDONED]


# idle workers


def test_workers_of_a_service_end_when_they_are_idle(shop: Shop, served: Make, tmp_path: Path) -> None:
    from dbt.adapters.lakehouse import connect

    (tmp_path / "service.yml").write_text("workers: {count: 2, idle_seconds: 0.5}\n")
    service = served("--config", str(tmp_path / "service.yml")).start()
    for _ in range(2):
        with connect(service=service.process.url, token=shop.environment["SHOP_TOKEN"]) as lake:
            batches = lake.query("select i from range(200000) r(i)").batches()
            assert sum(batch.num_rows for batch in batches) == 200_000
            assert service.workers()
            until(lambda: not service.workers(), 5)


# the disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[Path, str], None]]:
    """Puts a file system of its own at a folder, of few megabytes."""
    mounted: list[Path] = []

    def mount(folder: Path, size: str) -> None:
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"no small disk, since only root may mount one: {done.stderr.strip()}")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


SORTED = """
{{ config(materialized='table') }}
select i, hash(i) as h, row_number() over (order by hash(i)) as place from range(6000000) r(i)
"""


def test_a_full_disk_for_what_workers_spill(
    shop: Shop, served: Make, small_disk: Callable[[Path, str], None], tmp_path: Path
) -> None:
    small_disk(tmp_path / "spill", "20m")
    service = served("--workers", "1", "--memory", "100MB").start(TMPDIR=str(tmp_path / "spill"))
    shop.models(a="select 1 as n", b=SORTED + "-- {{ ref('a') }}")
    before = shop.head()
    outcome = shop.dbt("build", code=1)
    assert "memory" in outcome.output or "space" in outcome.output
    assert "Traceback" not in outcome.output
    assert shop.head() == before
    assert [run.status for run in service.runs()] == [RunStatus.FAILED]
    until(lambda: not [path for path in (tmp_path / "spill").rglob("*") if path.is_file() and path.stat().st_size])
    shop.models(b="select 2 as n from {{ ref('a') }}")
    shop.dbt("build")
    assert shop.rows("select n from b") == [(2,)]


def test_a_full_disk_in_the_warehouse(shop: Shop, served: Make, small_disk: Callable[[Path, str], None]) -> None:
    small_disk(shop.root / "lake", "24m")
    service = served().start()
    shop.models(a="select 1 as n")
    shop.dbt("build")
    before, files = shop.log(), set((shop.root / "lake").rglob("*.parquet"))
    shop.models(a="select 2 as n", b="select i, hash(i) as h from range(6000000) r(i) -- {{ ref('a') }}")
    outcome = shop.dbt("build", code=1)
    assert "No space left on device" in outcome.output
    assert "Traceback" not in outcome.output
    assert shop.log() == before
    assert shop.rows("select n from a") == [(1,)]
    left = [path for path in set((shop.root / "lake").rglob("*.parquet")) - files if path.stat().st_size > 100_000]
    assert left == []
    assert [run.status for run in service.runs()][1:] == [RunStatus.PUBLISHED]
    shop.models(b="select 3 as n from {{ ref('a') }}")
    shop.dbt("build")
    assert shop.tables() == {"shop.a": [(2,)], "shop.b": [(3,)]}


# the clock


@pytest.mark.parametrize("jump", [3600, -3600])
def test_a_clock_that_jumps(shop: Shop, served: Make, tmp_path: Path, jump: int) -> None:
    clock = tmp_path / "clock"
    service = served("--lease", "2").start(CLOCK=str(clock))
    shop.models(**MODELS, slow=SECONDS)
    shop.dbt("build", "--exclude", "slow", N="1")
    with shop.start("build", "--threads", "1", N="2") as process:
        at_work(service, process, "slow")
        clock.write_text(str(jump))
        time.sleep(2.5)  # longer than the lease
        outcome = process.wait()
    assert outcome.code == 0, outcome.output
    assert [run.status for run in service.runs()] == [RunStatus.PUBLISHED] * 2
    tables = shop.tables()
    assert len(tables.pop("shop.slow")) == 1
    assert tables == built(2)
    clock.write_text("0")
    shop.dbt("build", "--exclude", "slow", N="3")
    tables = shop.tables()
    del tables["shop.slow"]
    assert tables == built(3)
