"""A pool of worker processes: they are killed, they hang, they eat memory, and many want them at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dbt.adapters.lakehouse.errors import (
    Busy,
    ConfigError,
    JobCancelled,
    JobTimeout,
    LakehouseError,
    OutOfMemory,
    SqlError,
    WorkerDied,
)
from dbt.adapters.lakehouse.executors.base import Requester
from dbt.adapters.lakehouse.executors.limits import PoolOptions
from dbt.adapters.lakehouse.executors.pool import PoolExecutor, PoolLease
from dbt.adapters.lakehouse.jobs.job import (
    Alter,
    Alteration,
    Append,
    Create,
    Job,
    LogLine,
    Progress,
    PythonCode,
    Query,
    Resources,
)
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.storage import uri_of
from dbt.adapters.lakehouse.tables.values import TableSpec

ENDLESS = "SELECT count(*) FROM range(10000000) a(i), range(10000000) b(j) WHERE i + j < 0"
ABOUT_A_SECOND = "SELECT count(*) FROM range(15000) a(i), range(10000) b(j) WHERE (i * j) % 7 >= 0"


def ask(sql: str, key: str = "k", **resources: Any) -> Job:
    return Job(
        key=key,
        database="lake",
        default_schema="main",
        action=Query(sql=sql),
        resources=Resources(**resources),
        label=f"model_{key}",
    )


Make = Callable[..., PoolExecutor]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    pools: list[PoolExecutor] = []
    folder = tmp_path / "spill"

    def made(workers: int = 2, memory_limit: str = "300MB", **options: Any) -> PoolExecutor:
        settings = LakeSettings(
            warehouse="", catalog="", workers=workers, memory_limit=memory_limit, temp_directory=str(folder)
        )
        pools.append(PoolExecutor(settings, PoolOptions(backoff_seconds=0.05, **options)))
        return pools[-1]

    yield made
    for pool in pools:
        pool.close()
    assert not folder.exists() or list(folder.iterdir()) == []


class Running:
    """A job in a thread of its own."""

    def __init__(self, lease: PoolLease, job: Job) -> None:
        self.events: list[Progress | LogLine] = []
        self.result: Any = None
        self.error: BaseException | None = None
        self.ended_at = 0.0

        def run() -> None:
            try:
                self.result = lease.run(job, self.events.append)
            except BaseException as error:
                self.error = error
            self.ended_at = time.monotonic()

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def wait(self, seconds: float = 20) -> Any:
        self.thread.join(seconds)
        assert not self.thread.is_alive(), "it hangs"
        if self.error is not None:
            raise self.error
        return self.result


def until(true: Callable[[], Any], seconds: float = 10) -> Any:
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
    return value


def running_worker(pool: PoolExecutor, attempt: int = 1) -> int:
    """The process in which the only job runs."""

    def pid() -> int | None:
        slots = [slot for slot in pool._slots._running if slot.process is not None and slot.process.jobs > 0]
        jobs = pool.jobs()
        ready = jobs and jobs[0].state == "running" and len(jobs[0].attempts) == attempt - 1
        return slots[0].process.pid if slots and ready and slots[0].process is not None else None

    found: int = until(pid)
    time.sleep(0.05)
    return found


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except FileNotFoundError:
        return True


def test_a_killed_workers_job_is_done_once_more(make: Make) -> None:
    pool = make()
    with pool.lease() as lease:
        job = Running(lease, ask(ABOUT_A_SECOND))
        os.kill(running_worker(pool), signal.SIGKILL)
        assert job.wait().rows == [(150000000,)]
    record = pool.log.get("k")
    assert record is not None
    assert record.state == "done"
    assert [a.error["kind"] if a.error else None for a in record.attempts] == ["worker_died", None]
    assert "SIGKILL" in record.attempts[0].error["message"]  # type: ignore[index]
    assert any("trying again" in str(event) for event in job.events)
    assert (pool.stats().retries, pool.stats().results) == (1, {"done": 1})


def test_a_job_that_loses_its_worker_twice_is_given_up(make: Make) -> None:
    pool = make()
    with pool.lease(Requester(user="ann", run="r1")) as lease:
        job = Running(lease, ask(ENDLESS, retries=5))
        for attempt in (1, 2):
            os.kill(running_worker(pool, attempt), signal.SIGKILL)
        with pytest.raises(WorkerDied, match=r"model_k.*2 times.*SIGKILL"):
            job.wait()
        assert lease.run(ask("SELECT 1", key="next")).rows == [(1,)]
    record = pool.log.get("k")
    assert record is not None
    assert (record.state, record.user, record.run, len(record.attempts)) == ("dead", "ann", "r1", 2)
    assert record.error is not None
    assert record.error["kind"] == "worker_died"
    assert any("trying again" in line for line in record.logs)
    assert [r.key for r in pool.log.list(state="dead")] == ["k"]


def test_no_retries_means_none(make: Make) -> None:
    pool = make()
    with pool.lease() as lease:
        job = Running(lease, ask(ENDLESS, retries=0))
        os.kill(running_worker(pool), signal.SIGKILL)
        with pytest.raises(WorkerDied, match="once"):
            job.wait()


def test_what_fails_for_its_own_reason_is_not_tried_again(make: Make) -> None:
    pool = make()
    with pool.lease() as lease, pytest.raises(SqlError):
        lease.run(ask("FROM nowhere"))
    record = pool.log.get("k")
    assert record is not None
    assert (record.state, len(record.attempts)) == ("failed", 1)


def test_a_session_that_lost_its_tables_says_so(make: Make) -> None:
    pool = make()
    with pool.lease() as lease:
        lease.run(ask("CREATE TEMP TABLE t AS SELECT 1 AS a"))
        job = Running(lease, ask(ENDLESS, key="second"))
        os.kill(running_worker(pool), signal.SIGKILL)
        with pytest.raises(WorkerDied, match="temporary tables"):
            job.wait()
        assert lease.run(ask("SELECT 1", key="third")).rows == [(1,)]


def test_an_idle_worker_that_died_is_not_given_a_job(make: Make) -> None:
    pool = make()
    with pool.lease() as lease:
        lease.run(ask("SELECT 1"))
        [process] = pool._slots._idle
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: not process.alive())
        assert lease.run(ask("SELECT 2", key="again")).rows == [(2,)]
    record = pool.log.get("again")
    assert record is not None
    assert len(record.attempts) == 1


def python(code: str, tmp_path: Path, key: str = "k", **resources: Any) -> Job:
    source = "class dbtObj:\n    def __init__(self, load): pass\ndef model(dbt, session):\n" + code
    spec = TableSpec(location=uri_of(tmp_path / key), table_uuid="7e7a3b4e-52a5-4c83-8a5c-0f0a2b8f7d12")
    action = Create(spec=spec, python=PythonCode(code=source, path="m.py"))
    return Job(
        key=key, database="lake", default_schema="main", action=action, resources=Resources(**resources), label=key
    )


STUCK = (
    "    import time\n    while True:\n        try:\n            time.sleep(60)\n        except BaseException: pass\n"
)


def test_a_cancelled_python_loop_is_killed(make: Make, tmp_path: Path) -> None:
    pool = make()
    lease = pool.lease()
    job = Running(lease, python(STUCK, tmp_path))
    pid = running_worker(pool)
    started = time.monotonic()
    lease.cancel()
    with pytest.raises(JobCancelled):
        job.wait()
    assert job.ended_at - started < 1.2
    assert gone(pid)
    lease.release()
    record = pool.log.get("k")
    assert record is not None
    assert record.state == "cancelled"


@pytest.mark.parametrize("what", ["sql", "python"])
def test_a_timeout_ends_the_job(make: Make, tmp_path: Path, what: str) -> None:
    pool = make()
    job = ask(ENDLESS, timeout=0.5) if what == "sql" else python(STUCK, tmp_path, timeout=0.5)
    with pool.lease() as lease:
        started = time.monotonic()
        with pytest.raises(JobTimeout, match=r"0\.5 s"):
            lease.run(job)
        assert time.monotonic() - started < 15
        assert lease.run(ask("SELECT 1", key="next")).rows == [(1,)]
    record = pool.log.get("k")
    assert record is not None
    assert (record.state, len(record.attempts)) == ("failed", 1)


def test_a_process_that_takes_too_much_is_out_of_memory(make: Make, tmp_path: Path) -> None:
    pool = make()
    with pool.lease() as lease, pytest.raises(LakehouseError, match=r"MemoryError|memory"):
        lease.run(python("    return bytearray(4_000_000_000) and session.sql('SELECT 1')\n", tmp_path))
    assert pool.stats().results.keys() <= {"out_of_memory", "python_model"}


HUNGRY = "SELECT count(DISTINCT s) FROM (SELECT list(repeat('x', 200) || i) AS s FROM range(700000) t(i))"


def test_more_memory_helps_once(make: Make) -> None:
    pool = make(memory_limit="1GB")
    with pool.lease() as lease:
        with pytest.raises(OutOfMemory):
            lease.run(ask(HUNGRY, memory="64MB"))
        events: list[Any] = []
        assert lease.run(ask(HUNGRY, key="more", memory="64MB", max_memory="1GB"), events.append).rows == [(1,)]
    record = pool.log.get("more")
    assert record is not None
    assert len(record.attempts) == 2
    assert any("1GB of memory" in str(event) for event in events)


def test_more_than_the_pool_has_is_refused_at_once(make: Make) -> None:
    pool = make()
    with pool.lease() as lease:
        with pytest.raises(ConfigError, match=r"100GB.*the pool has"):
            lease.run(ask("SELECT 1", memory="100GB"))
        with pytest.raises(ConfigError, match="64 cpus; the pool has"):
            lease.run(ask("SELECT 1", cpus=64))
        with pytest.raises(ConfigError, match="not a size"):
            lease.run(ask("SELECT 1", memory="much"))
    assert pool.stats().cold_starts == 0


def test_what_runs_together_fits_into_the_pool(make: Make) -> None:
    pool = make(workers=3, memory="600MB", memory_limit="200MB", cpus=8)
    leases = [pool.lease() for _ in range(3)]
    jobs = [
        Running(lease, ask(ABOUT_A_SECOND, key=str(index), memory="400MB", cpus=1))
        for index, lease in enumerate(leases)
    ]
    most = 0
    while any(job.thread.is_alive() for job in jobs):
        most = max(most, pool.stats().busy)
        time.sleep(0.005)
    for job, lease in zip(jobs, leases, strict=True):
        job.wait()
        lease.release()
    assert most == 1


def test_many_jobs_of_five_users_share_the_pool_fairly(make: Make) -> None:
    pool = make()
    order: list[str] = []
    gate = pool.lease()
    first = [Running(pool.lease(Requester(user="gate")), ask(ENDLESS, key=f"gate{i}")) for i in range(2)]
    until(lambda: [record.state for record in pool.jobs()] == ["running"] * 2)
    jobs = []
    for user in range(5):
        # The first user comes with 160 jobs before anybody else has one.
        for index in range(160 if user == 0 else 10):
            lease = pool.lease(Requester(user=f"u{user}"))
            job = ask("SELECT 1", key=f"u{user}-{index}")

            def run(lease: PoolLease = lease, job: Job = job, user: int = user) -> None:
                lease.run(job)
                order.append(f"u{user}")
                lease.release()

            jobs.append(threading.Thread(target=run))
            jobs[-1].start()
    until(lambda: pool.stats().queued == 200)
    for i in range(2):
        pool.cancel_job(f"gate{i}")
    for thread in jobs:
        thread.join(30)
        assert not thread.is_alive()
    assert len(order) == 200
    for user in range(1, 5):
        # Everybody's ten were done when about fifty were, though 160 had been there before. But for one of them: it may
        # have been chosen to wait for a worker to start.
        assert [i for i, name in enumerate(order) if name == f"u{user}"][-2] < 65
    assert pool.stats().results == {"done": 200, "cancelled": 2}
    for job in first:
        with pytest.raises(JobCancelled):
            job.wait()
    gate.release()


def test_a_full_queue_says_so(make: Make) -> None:
    pool = make(workers=1, queue_length=2, queue_per_user=1)
    leases = [pool.lease(Requester(user=user)) for user in ("ann", "bob", "cyd", "ann", "bob", "dan")]
    running = Running(leases[0], ask(ENDLESS, key="running"))
    until(lambda: pool.stats().busy == 1)
    waiting = [Running(lease, ask("SELECT 1", key=f"w{i}")) for i, lease in enumerate(leases[1:3])]
    until(lambda: pool.stats().queued == 2)
    with pytest.raises(Busy, match="queue is full"):
        leases[5].run(ask("SELECT 1", key="dan"))
    leases[2].cancel()
    with pytest.raises(JobCancelled):
        waiting[1].wait(1)
    with pytest.raises(Busy, match="bob"):
        leases[4].run(ask("SELECT 1", key="bob"))
    pool.cancel_job("running")
    with pytest.raises(JobCancelled):
        running.wait(2)
    assert waiting[0].wait().rows == [(1,)]


def test_who_waits_is_told_and_urgent_jobs_go_first(make: Make) -> None:
    pool = make(workers=1)
    running = Running(pool.lease(), ask(ENDLESS, key="running"))
    until(lambda: pool.stats().busy == 1)
    last = Running(pool.lease(), ask("SELECT 1", key="last"))
    until(lambda: pool.stats().queued == 1)
    urgent = Running(pool.lease(), ask("SELECT 1", key="urgent", priority=5))
    until(lambda: any(isinstance(e, Progress) and e.waiting == 1 for e in last.events))
    pool.cancel_job("running")
    assert (urgent.wait().rows, last.wait().rows) == ([(1,)], [(1,)])
    assert urgent.ended_at < last.ended_at
    with pytest.raises(JobCancelled):
        running.wait()


def test_sessions_that_keep_all_workers_do_not_lock_the_pool(make: Make) -> None:
    pool = make(workers=1, extra_workers=1, wait_seconds=1.5)
    keeping = [pool.lease() for _ in range(2)]
    for lease in keeping:
        lease.run(ask("CREATE TEMP TABLE t AS SELECT 1 AS a"))
    other = pool.lease()
    with pytest.raises(Busy, match="no worker became free"):
        other.run(ask("SELECT 1"))
    for lease in keeping:
        assert lease.run(ask("FROM t")).rows == [(1,)]
    waiting = Running(other, ask("SELECT 1", key="waits"))
    until(lambda: pool.stats().queued == 1)
    keeping[0].release()
    assert waiting.wait().rows == [(1,)]
    keeping[1].release()


def test_a_lease_without_state_keeps_nobody_waiting(make: Make) -> None:
    pool = make(workers=1, extra_workers=0)
    first, second = pool.lease(), pool.lease()
    for _ in range(3):
        assert first.run(ask("SELECT 1")).rows == [(1,)]
        assert second.run(ask("SELECT 2")).rows == [(2,)]
    assert pool.stats().cold_starts == 1


def test_workers_end_when_there_is_nothing_to_do(make: Make) -> None:
    pool = make(idle_seconds=0.2)
    assert pool.stats().workers == 0
    with pool.lease() as lease:
        lease.run(ask("SELECT 1"))
    assert pool.stats().workers == 1
    until(lambda: pool.stats().workers == 0, 3)
    assert pool.lease().run(ask("SELECT 1")).rows == [(1,)]


def test_workers_end_every_time_there_is_nothing_to_do(make: Make) -> None:
    pool = make(idle_seconds=0.2)
    for _ in range(3):
        with pool.lease() as lease:
            stream = lease.stream(ask("SELECT i FROM range(10000) t(i)"))
            assert sum(batch.num_rows for batch in stream.reader()) == 10000
        until(lambda: pool.stats().workers == 0, 3)


def test_workers_are_replaced_after_a_number_of_jobs(make: Make) -> None:
    pool = make(workers=1, recycle_jobs=3)
    with pool.lease() as lease:
        for _ in range(7):
            lease.run(ask("SELECT 1"))
    assert pool.stats().cold_starts == 3


def test_workers_that_grew_are_replaced(make: Make) -> None:
    pool = make(workers=1, recycle_memory="10MB")
    with pool.lease() as lease:
        lease.run(ask("SELECT 1"))
        lease.run(ask("SELECT 1"))
    assert pool.stats().cold_starts == 2


def test_a_full_disk_is_an_error_and_no_more(make: Make) -> None:
    pool = make(memory_limit="100MB")
    sort = "SELECT max(i) FROM (SELECT i, row_number() OVER (ORDER BY hash(i)) FROM range(20000000) t(i))"
    with pool.lease() as lease:
        lease.run(ask("SET max_temp_directory_size = '1MB'"))
        with pytest.raises(OutOfMemory, match="temp"):
            lease.run(ask(sort))
        assert lease.run(ask("SELECT 1")).rows == [(1,)]


def test_a_storm_of_cancels_leaves_a_pool_that_works(make: Make) -> None:
    pool = make()
    for _ in range(4):
        leases = [pool.lease(Requester(user=f"u{i % 3}")) for i in range(12)]
        jobs = [Running(lease, ask(ENDLESS, key=f"k{i}")) for i, lease in enumerate(leases)]
        time.sleep(0.05)
        storm = [threading.Thread(target=lease.cancel) for lease in leases for _ in range(2)]
        for thread in storm:
            thread.start()
        for job in jobs:
            with pytest.raises(JobCancelled):
                job.wait(5)
        for thread in storm:
            thread.join()
        for lease in leases:
            lease.release()
    with pool.lease() as lease:
        assert lease.run(ask("SELECT 1")).rows == [(1,)]
    counts = pool._slots.counts()
    assert (counts["busy"], counts["queued"], counts["workers"]) == (0, 0, counts["idle"])
    assert (pool._slots._free_cpus, pool._slots._free_memory) == (pool._slots._total.cpus, pool._slots._total.memory)


def test_draining_waits_and_takes_no_more(make: Make) -> None:
    pool = make()
    lease = pool.lease()
    job = Running(lease, ask(ABOUT_A_SECOND))
    until(lambda: pool.stats().busy == 1)
    assert not pool.drain(0.01)
    with pytest.raises(Busy, match="shutting down"):
        pool.lease().run(ask("SELECT 1", key="late"))
    assert pool.drain(20)
    assert job.wait().rows == [(150000000,)]


def test_closing_ends_what_runs_and_what_waits(make: Make) -> None:
    pool = make(workers=1)
    jobs = [Running(pool.lease(), ask(ENDLESS, key=f"k{i}")) for i in range(3)]
    pid = running_worker(pool)
    started = time.monotonic()
    pool.close()
    for job in jobs:
        with pytest.raises((JobCancelled, Busy)):
            job.wait(3)
    assert time.monotonic() - started < 15
    assert gone(pid)


def test_a_clock_that_jumps_changes_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make(idle_seconds=30)
    clock = time.time
    with pool.lease() as lease:
        lease.run(ask("SELECT 1"))
        for jump in (-86400 * 365, 86400 * 365):
            monkeypatch.setattr(time, "time", lambda jump=jump: clock() + jump)
            assert lease.run(ask("SELECT 1", timeout=20)).rows == [(1,)]
            time.sleep(0.3)
            with pytest.raises(JobTimeout):
                lease.run(ask(ENDLESS, key="late", timeout=0.3))
    record = pool.log.get("late")
    assert record is not None
    assert 0.2 < record.attempts[0].seconds < 3


def test_a_worker_inherits_no_secrets(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    pool = make(environment={"OPERATOR": "says so"})
    heard: list[Any] = []
    code = "    import os, sys\n    print(sorted(os.environ), sys.argv)\n    return session.sql('SELECT 1 AS a')\n"
    with pool.lease() as lease:
        lease.run(python(code, tmp_path), heard.append)
        pid = until(lambda: [process.pid for process in pool._slots._all])[0]
        environment = Path(f"/proc/{pid}/environ").read_text()
        arguments = Path(f"/proc/{pid}/cmdline").read_text()
    assert "hush" not in environment
    assert "OPERATOR=says so" in environment
    assert "lakehouse.executors.process" in arguments


def test_what_a_job_prints_is_heard_and_kept(make: Make, tmp_path: Path) -> None:
    pool = make()
    heard: list[Any] = []
    code = (
        "    import os\n    os.write(1, b'from below\\nno end')\n    os.write(2, b'x' * 200_000 + b'\\n')\n"
        "    return session.sql('SELECT 1 AS a')\n"
    )
    with pool.lease() as lease:
        lease.run(python(code, tmp_path), heard.append)
        lines = [event for event in heard if isinstance(event, LogLine)]
        assert ("from below", "stdout") in [(line.text, line.stream) for line in lines]
        assert ("no end", "stdout") in [(line.text, line.stream) for line in lines]
        assert sum(len(line.text) for line in lines if line.stream == "stderr") == 200_000
        heard.clear()
        lease.run(ask("SELECT 1", key="quiet"), heard.append)
        assert heard == []
    record = pool.log.get("k")
    assert record is not None
    assert "from below" in record.logs


def test_a_crash_is_named(make: Make) -> None:
    pool = make()
    with pool.lease() as lease:
        job = Running(lease, ask(ENDLESS, retries=0))
        os.kill(running_worker(pool), signal.SIGABRT)
        with pytest.raises(WorkerDied, match=r"SIGABRT.*Fatal Python error: Aborted"):
            job.wait()


def test_a_replay_runs_the_same_again(make: Make) -> None:
    pool = make()
    with pool.lease(Requester(user="ann")) as lease:
        job = Running(lease, ask("SELECT 7", retries=0))
        job.wait()
        with pytest.raises(SqlError):
            lease.run(ask("FROM nowhere", key="bad"))
    again = pool.replay("bad")
    assert (again.state, again.user, again.label) == ("failed", "ann", "model_bad")
    assert again.key != "bad"
    assert pool.replay("k").state == "done"
    with pytest.raises(ConfigError, match="no job 'nothing'"):
        pool.replay("nothing")


def test_a_replay_leaves_no_files(make: Make, tmp_path: Path) -> None:
    pool = make()
    spec = TableSpec(location=uri_of(tmp_path / "t"), table_uuid="7e7a3b4e-52a5-4c83-8a5c-0f0a2b8f7d13")
    job = Job(key="w", database="lake", default_schema="main", action=Create(spec=spec, sql="SELECT 1 AS a"))
    with pool.lease() as lease:
        base = lease.run(job).written.metadata_location  # type: ignore[union-attr]
        for key, action in {
            "a": Append(base=base, sql="SELECT 2 AS a"),
            "o": Append(base=base, sql="SELECT 3 AS a", overwrite=True),
            "l": Alter(base=base, alterations=(Alteration(what="comment", to="c"),)),
            "n": Append(base=base, sql="SELECT 2 AS a WHERE false"),
        }.items():
            lease.run(Job(key=key, database="lake", default_schema="main", action=action))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    for key in "waoln":
        assert pool.replay(key).state == "done"
        assert {path for path in tmp_path.rglob("*") if path.is_file()} == before


PARENT = """
import sys, time
from dbt.adapters.lakehouse.executors.pool import PoolExecutor
from dbt.adapters.lakehouse.jobs.job import Job, Query
from dbt.adapters.lakehouse.settings import LakeSettings
import threading
pool = PoolExecutor(LakeSettings(warehouse="", catalog="", workers=2, memory_limit="200MB", temp_directory=sys.argv[1]))
def run(sql):
    pool.lease().run(Job(key="k", database="lake", default_schema="main", action=Query(sql=sql)))
run("SELECT 1")
threading.Thread(target=run, args=[sys.argv[2]], daemon=True).start()
while not any(slot.process for slot in list(pool._slots._running)): time.sleep(0.01)
time.sleep(0.2)
print(*[process.pid for process in pool._slots._all], flush=True)
time.sleep(60)
"""


def test_workers_end_with_their_parent_and_the_next_pool_cleans_up(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "spill"
    folder.mkdir()
    command = [sys.executable, "-c", PARENT, str(folder), ENDLESS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert pids
        left = list(folder.iterdir())
        assert left
        parent.kill()
    for pid in pids:
        until(lambda pid=pid: gone(pid), 3)  # type: ignore[misc]
    pool = make()
    assert not {path for path in left if path.exists()}
    assert pool.lease().run(ask("SELECT 1")).rows == [(1,)]


def test_another_pools_folder_is_left_alone(make: Make, tmp_path: Path) -> None:
    first = make()
    with first.lease() as lease:
        lease.run(ask("CREATE TEMP TABLE t AS SELECT 1 AS a"))
        second = make()
        assert lease.run(ask("FROM t")).rows == [(1,)]
        assert second.lease().run(ask("SELECT 2")).rows == [(2,)]
        second.close()
        assert lease.run(ask("FROM t")).rows == [(1,)]


def test_a_setting_that_duckdb_refuses(tmp_path: Path) -> None:
    settings = LakeSettings(
        warehouse="", catalog="", duckdb_settings={"no_such": "1"}, temp_directory=str(tmp_path), memory_limit="100MB"
    )
    pool = PoolExecutor(settings)
    try:
        with pytest.raises(ConfigError, match="no_such"):
            pool.lease().run(ask("SELECT 1"))
        assert pool._slots.counts() == {"workers": 0, "idle": 0, "busy": 0, "queued": 0}
    finally:
        pool.close()
