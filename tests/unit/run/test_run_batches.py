"""Batches of one table, built by several threads of a run, and what becomes of those that cannot be joined."""

from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dbt.adapters.lakehouse.errors import ConstraintViolated, LakehouseError, SqlError
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run import batches
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import Batch, Build, Built, Name, RunMemory
from dbt.adapters.lakehouse.settings import PublishMode
from dbt.adapters.lakehouse.tables.values import Constraints, TimeRange

OpenRun = Callable[..., LakeRun]
NAME = Name(database="lake", schema="s", name="t")
DAYS = 8
EVENTS = "SELECT i AS id, timestamp '2024-01-01' + to_hours(i::INT) AS ts, '{}' AS made FROM range(24 * 8) r(i)"


def batch(day: int, of: int = DAYS, number: int | None = None, sql: str | None = None, **more: Any) -> Build:
    """The batch of a day of January 2024, as the adapter asks for it."""
    time = TimeRange(column="ts", start=f"2024-01-{day:02} 00:00:00+00:00", end=f"2024-01-{day + 1:02} 00:00:00+00:00")
    columns = more.pop("columns", "id, ts, made")
    return Build(
        name=NAME,
        mode="merge",
        sql=sql or EVENTS.format(f"day {day}"),
        source="t__dbt_tmp",
        statements=(
            f"DELETE FROM {NAME} WHERE {time.condition}",
            f"INSERT INTO {NAME} ({columns}) SELECT {columns} FROM t__dbt_tmp WHERE {time.condition}",
        ),
        matching=time.condition,
        batch=Batch(range=time, number=day if number is None else number, of=of),
        node="model.p.t",
        **more,
    )


def create(session: RunSession, rows: str = EVENTS.format("base")) -> Built:
    return session.build(Build(name=NAME, sql=rows, node="model.p.t"))


def makers(session: RunSession) -> dict[int, str]:
    """Who made the rows of each day, of which there must be 24."""
    rows = session.execute("SELECT day(ts), made, count(*) FROM s.t GROUP BY ALL ORDER BY ALL").rows
    assert all(count == 24 for *_, count in rows)
    assert len(rows) == len({day for day, *_ in rows})
    return {day: made for day, made, _ in rows}


def joins(lake: EmbeddedLake, branch: str) -> list[int]:
    """How many batches each commit of a branch joined, oldest first."""
    log = lake.catalog.log(lake.catalog.resolve(branch).id)
    return [c.provenance["batches"] for c in reversed(log) if c.provenance.get("mode") == "batches"]


EVERY_DAY = {day: f"day {day}" for day in range(1, DAYS + 1)}


def test_the_last_batch_joins_all(lake: EmbeddedLake, open_run: OpenRun) -> None:
    run = open_run()
    with closing(run.session()) as session:
        create(session)
        for day in range(1, DAYS + 1):
            assert session.build(batch(day)).rows_written == 24
            assert joins(lake, str(run.branch)) == ([] if day < DAYS else [DAYS])
        assert makers(session) == EVERY_DAY
    run.publish()
    with closing(lake.read("main", "s")) as reader:
        assert makers(reader) == EVERY_DAY


@pytest.mark.parametrize(
    "look",
    [
        "SELECT count(*) FROM s.t WHERE made LIKE 'day%'",
        "SELECT count(*) FROM s.v WHERE made LIKE 'day%'",
        "INSERT INTO s.other SELECT id FROM s.t WHERE made LIKE 'day%'",
        "UPDATE s.t SET made = 'seen' WHERE made LIKE 'day%'",
        "CREATE TABLE s.copy AS SELECT * FROM s.t WHERE made LIKE 'day%'",
    ],
)
def test_whatever_reads_or_changes_the_table_sees_the_batches_before_it(
    lake: EmbeddedLake, open_run: OpenRun, look: str
) -> None:
    run = open_run()
    with closing(run.session()) as session, closing(run.session()) as other:
        create(session)
        session.execute("CREATE VIEW s.v AS SELECT * FROM s.t; CREATE TABLE s.other (id BIGINT)")
        session.build(batch(1))
        session.build(batch(2))
        other.execute("SELECT count(*) FROM s.other")
        assert joins(lake, str(run.branch)) == []
        result = other.execute(look)
        assert joins(lake, str(run.branch)) == [2]
        assert (result.rows_affected if result.rows_affected is not None else result.rows[0][0]) == 48
        session.build(batch(DAYS))
        assert joins(lake, str(run.branch)) == [2, 1]


@pytest.mark.parametrize("ending", ["publish", "fail"])
def test_the_end_of_a_run_joins_what_waits(lake: EmbeddedLake, open_run: OpenRun, ending: str) -> None:
    run = open_run()
    with closing(run.session()) as session:
        create(session)
        session.build(batch(1))
        session.build(batch(2))
    if ending == "publish":
        run.publish()
    else:
        run.fail("on purpose", {"model.p.t": {"status": "partial success"}})
        assert lake.runs()[0].nodes == {"model.p.t": {"status": "partial success"}}
    with closing(lake.read("main" if ending == "publish" else str(run.branch), "s")) as reader:
        assert list(makers(reader).values()).count("base") == DAYS - 2


def test_a_last_batch_that_fails_leaves_the_others_in_place(lake: EmbeddedLake, open_run: OpenRun) -> None:
    run = open_run()
    with closing(run.session()) as session:
        create(session)
        for day in range(1, DAYS):
            session.build(batch(day))
        broken = EVENTS.format("broken").replace("'broken'", "error('on purpose')")
        with pytest.raises(SqlError, match="on purpose"):
            session.build(batch(DAYS, sql=broken))
        assert joins(lake, str(run.branch)) == [DAYS - 1]
        assert makers(session) == {**EVERY_DAY, DAYS: "base"}


@contextmanager
def gone(folder: Path) -> Iterator[None]:
    """The data files of the table cannot be found meanwhile."""
    files = [file for file in folder.rglob("data/*/*.parquet") if file.parent.parent.parent.parent.name == "t"]
    assert files
    for file in files:
        file.rename(file.with_suffix(".away"))
    try:
        yield
    finally:
        for file in files:
            file.with_suffix(".away").rename(file)


def test_batches_that_cannot_be_joined_are_joined_by_the_run_that_continues(
    lake: EmbeddedLake, open_run: OpenRun, tmp_path: Path
) -> None:
    run = open_run()
    with closing(run.session()) as session:
        create(session)
        with gone(tmp_path / "lake"):
            for day in range(1, DAYS):
                session.build(batch(day))
            with pytest.raises(LakehouseError):
                session.build(batch(DAYS))
            # dbt was told that the others are done: the run's record must know that they are not in the table.
            run.fail("on purpose", {"model.p.t": {"status": "partial success"}})
    record = lake.runs()[0]
    assert len(record.nodes["model.p.t"]["unjoined"]) == DAYS - 1
    again = open_run(continues=run.request.id)
    with closing(again.session()) as session:
        session.build(batch(DAYS, of=1, number=1))
        assert makers(session) == EVERY_DAY
    again.publish()
    with closing(lake.read("main", "s")) as reader:
        assert makers(reader) == EVERY_DAY


def test_only_what_was_staged_can_be_told_to_be_unjoined(lake: EmbeddedLake, open_run: OpenRun) -> None:
    run = open_run()
    with closing(run.session()) as session:
        create(session)
    run.fail("on purpose", {"model.p.t": {"status": "error", "unjoined": ["{}"]}, "odd": None})
    assert lake.runs()[0].nodes == {"model.p.t": {"status": "error"}, "odd": None}


def test_uniqueness_is_told_to_the_batch_that_breaks_it(lake: EmbeddedLake, open_run: OpenRun) -> None:
    run = open_run()
    unique = Constraints(unique=(("id",),))
    with closing(run.session()) as session:
        create(session)
        session.build(batch(1, constraints=unique))
        twice = EVENTS.format("twice").replace("i AS id", "i % 24 AS id")
        with pytest.raises(ConstraintViolated, match=r"UNIQUE constraint failed: s\.t\.id"):
            session.build(batch(2, sql=twice, constraints=unique))
        session.build(batch(3, constraints=unique))
        assert makers(session) == {day: f"day {day}" if day in (1, 3) else "base" for day in EVERY_DAY}
        assert joins(lake, str(run.branch)) == [1, 1]


def test_columns_that_come_with_a_batch_are_added_before_those_after_it_are_computed(
    lake: EmbeddedLake, open_run: OpenRun
) -> None:
    run = open_run()
    wider = f"SELECT *, 1 AS more FROM ({EVENTS.format('wider')})"
    with closing(run.session()) as session:
        create(session)
        session.build(batch(1, on_schema_change="append_new_columns"))
        for day in range(2, DAYS + 1):
            session.build(batch(day, sql=wider, columns="id, ts, made, more", on_schema_change="append_new_columns"))
        rows = session.execute("SELECT made, more, count(*) FROM s.t GROUP BY ALL ORDER BY ALL").rows
        assert rows == [("day 1", None, 24), ("wider", 1, 24 * (DAYS - 1))]
        assert joins(lake, str(run.branch)) == [1, DAYS - 2]


def test_a_batch_that_is_asked_for_twice_is_there_once(lake: EmbeddedLake, open_run: OpenRun) -> None:
    run = open_run()
    with closing(run.session()) as session:
        create(session)
        session.build(batch(1, sql=EVENTS.format("first")))
        session.build(batch(2))
        session.build(batch(1, sql=EVENTS.format("second")))
        assert makers(session) == dict.fromkeys(EVERY_DAY, "base") | {1: "second", 2: "day 2"}
    assert joins(lake, str(run.branch)) == [2]


def test_batches_whose_times_overlap_are_joined_one_after_the_other(lake: EmbeddedLake, open_run: OpenRun) -> None:
    run = open_run()
    both = TimeRange(column="ts", start="2024-01-02 00:00:00+00:00", end="2024-01-04 00:00:00+00:00")
    with closing(run.session()) as session:
        create(session)
        for number, wish in enumerate([batch(2), batch(3), batch(1, sql=EVENTS.format("both")), batch(4)], 1):
            time = both if number == 3 else wish.batch.range  # type: ignore[union-attr]
            session.build(dataclasses.replace(wish, batch=Batch(range=time, number=number, of=DAYS)))
        assert makers(session) == dict.fromkeys(EVERY_DAY, "base") | {2: "both", 3: "both", 4: "day 4"}


def resumed(lake: EmbeddedLake, run: LakeRun, memory: RunMemory) -> LakeRun:
    """The run as another process takes it up, with what was written down of it."""
    return LakeRun.resume(run.catalog, run.executor, run.settings, run.request, memory, owner="service:u")


def test_another_process_joins_what_was_staged_once_and_no_more(lake: EmbeddedLake, open_run: OpenRun) -> None:
    made = open_run()
    run = LakeRun(made.catalog, made.executor, made.settings, made.request, owner="service:u")
    with closing(run.session()) as session:
        create(session)
        for day in range(1, 5):
            session.build(batch(day))
    early = run.memory
    assert len(early.staged) == 4
    run = resumed(lake, run, early)
    with closing(run.session()) as session:
        for day in range(5, DAYS + 1):
            session.build(batch(day))
        assert makers(session) == EVERY_DAY
    assert joins(lake, str(run.branch)) == [DAYS]
    assert run.memory.staged == ()
    # A process that ended right after the join wrote nothing down of it.
    run = resumed(lake, run, early)
    with closing(run.session()) as session:
        assert makers(session) == EVERY_DAY
        assert session.execute("SELECT count(DISTINCT id) FROM s.t").rows == [(24 * DAYS,)]
    run.publish()
    with closing(lake.read("main", "s")) as reader:
        assert makers(reader) == EVERY_DAY


def test_where_what_waits_is_written_down_not_too_many_wait(
    lake: EmbeddedLake, open_run: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_REMEMBERED", 3)
    made = open_run()
    run = LakeRun(made.catalog, made.executor, made.settings, made.request, owner="service:u")
    with closing(run.session()) as session:
        create(session)
        for day in range(1, DAYS + 1):
            session.build(batch(day))
            assert len(run.memory.staged) < 3
        assert makers(session) == EVERY_DAY
    assert joins(lake, str(run.branch)) == [3, 3, 2]


def in_threads(run: LakeRun, builds: Iterable[Build]) -> list[Exception | None]:
    """Build on four threads, each with a session of its own, in the order of the builds as far as threads keep one."""
    local = threading.local()
    sessions: list[RunSession] = []

    def work(item: Build) -> Exception | None:
        if not hasattr(local, "session"):
            local.session = run.session()
            sessions.append(local.session)
        try:
            local.session.build(item)
        except LakehouseError as error:
            return error
        return None

    try:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(work, builds))
    finally:
        for session in sessions:
            session.close()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("publish", [PublishMode.ON_SUCCESS, PublishMode.EACH_NODE])
def test_threads_leave_what_statements_leave_one_after_the_other(
    lake: EmbeddedLake, open_run: OpenRun, seed: int, publish: PublishMode
) -> None:
    chance = random.Random(seed)
    broken = {day for day in range(1, DAYS + 1) if chance.random() < 0.2}
    unknown = chance.random() < 0.5
    unique = Constraints(unique=(("id",),)) if chance.random() < 0.3 else Constraints()
    order = list(range(1, DAYS))
    chance.shuffle(order)

    def wish(day: int) -> Build:
        sql = EVENTS.format(f"day {day}")
        if day in broken:
            sql = sql.replace(f"'day {day}'", f"CASE WHEN day(ts) = {day} THEN error('on purpose') ELSE '' END")
        of = 0 if unknown else DAYS
        return batch(day, of=of, number=0 if unknown else day, sql=sql, constraints=unique)

    run = open_run(publish=publish)
    with closing(run.session()) as session:
        create(session)
        outcome = dict(zip(order, in_threads(run, map(wish, order)), strict=True))
        # The last one comes after all others, as dbt has it.
        outcome |= dict(zip([DAYS], in_threads(run, [wish(DAYS)]), strict=True))
        assert {day for day, error in outcome.items() if error is not None} == broken
        assert all("on purpose" in str(error) for error in outcome.values() if error is not None)
        assert makers(session) == {day: "base" if day in broken else f"day {day}" for day in EVERY_DAY}
    run.publish()
    with closing(lake.read("main", "s")) as reader, duckdb.connect() as plain:
        plain.execute(f"CREATE TABLE t AS {EVENTS.format('base')}")
        for day in sorted(set(EVERY_DAY) - broken):
            plain.execute(f"UPDATE t SET made = 'day {day}' WHERE day(ts) = {day}")
        wanted = plain.execute("SELECT * FROM t ORDER BY ALL").fetchall()
        assert reader.execute("SELECT * FROM s.t ORDER BY ALL").rows == wanted
    if publish is PublishMode.ON_SUCCESS and not unknown and not unique.unique:
        assert joins(lake, lake.catalog.log(lake.catalog.resolve("main").id)[0].parents[1]) == [DAYS - len(broken)]


def test_two_runs_that_write_at_once_where_all_is_visible_both_get_their_batches_in(
    lake: EmbeddedLake, open_run: OpenRun
) -> None:
    first, second = (open_run(publish=PublishMode.EACH_NODE) for _ in range(2))
    with closing(first.session()) as session:
        create(session)
        both = [
            threading.Thread(target=in_threads, args=(run, [batch(day, of=0, number=0) for day in days]))
            for run, days in ((first, range(1, 5)), (second, range(5, DAYS + 1)))
        ]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        assert makers(session) == EVERY_DAY
