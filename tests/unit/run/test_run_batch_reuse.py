"""Batches that a table has already are not run again, and only those."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import Batch, Build, Built, Name
from dbt.adapters.lakehouse.tables.values import Constraints, TimeRange

OpenRun = Callable[..., LakeRun]
NAME = Name(database="lake", schema="s", name="t")
DAYS = 6
ROWS = "SELECT i AS id, timestamp '2024-01-01' + to_hours(i::INT * 8) AS ts, made FROM range({}) r(i), lake.s.src"


def source(session: RunSession, made: str) -> Built:
    return session.build(Build(name=Name(database="lake", schema="s", name="src"), sql=f"SELECT '{made}' AS made"))


def batch(first: int, days: int = 1, *, number: int = 1, of: int = 1, create: bool = False, **more: Any) -> Build:
    """The batch of some days of January 2024, as the adapter asks for it; dbt filters what it reads."""
    time = TimeRange(
        column="ts", start=f"2024-01-{first:02} 00:00:00+00:00", end=f"2024-01-{first + days:02} 00:00:00+00:00"
    )
    sql = more.pop("sql", f"SELECT * FROM ({ROWS.format(DAYS * 3)}) WHERE {time.condition}")
    more = {"name": NAME, "sql": sql, "batch": Batch(range=time, number=number, of=of), "node": "model.p.t", **more}
    if create:
        return Build(**more)
    return Build(
        mode="merge",
        source="t__dbt_tmp",
        statements=(
            f"DELETE FROM {NAME} WHERE {time.condition}",
            f"INSERT INTO {NAME} (id, ts, made) SELECT id, ts, made FROM t__dbt_tmp WHERE {time.condition}",
        ),
        matching=time.condition,
        **more,
    )


def build(session: RunSession, days: range, **more: Any) -> list[bool]:
    """Whether the batch of each day was reused, the first of which may make the table."""
    there = session.lookup(NAME) is not None
    built = [
        session.build(batch(day, number=place, of=len(days), create=not there and place == 1, **more))
        for place, day in enumerate(days, 1)
    ]
    return [one.reused is not None for one in built]


ALL = range(1, DAYS + 1)


@pytest.fixture
def run(open_run: OpenRun) -> Any:
    """Batches of some days from a source of some making, in a run of their own."""

    def done(made: str = "a", days: range = ALL, by_hand: str = "", branch: str = "main", **more: Any) -> list[bool]:
        this = open_run(branch=branch)
        with closing(this.session()) as session:
            source(session, made)
            if by_hand:
                session.execute(by_hand)
            found = build(session, days, **more)
        this.publish()
        return found

    return done


def makers(lake: EmbeddedLake, branch: str = "main") -> dict[int, str]:
    with closing(lake.read(branch)) as session:
        rows = session.execute("SELECT day(ts), made, count(*) FROM lake.s.t GROUP BY ALL ORDER BY ALL").rows
    assert all(count == 3 for *_, count in rows)
    return {day: made for day, made, _ in rows}


def test_batches_that_are_there_are_not_run_again(run: Any, lake: EmbeddedLake) -> None:
    assert run() == [False] * DAYS
    head = lake.catalog.resolve("main")
    assert run() == [True] * DAYS
    assert lake.catalog.resolve("main") == head
    assert run(days=range(3, 5)) == [True] * 2
    assert run(branch="dev") == [True] * DAYS
    assert makers(lake) == makers(lake, "dev") == dict.fromkeys(ALL, "a")


def test_what_changed_is_run_again(run: Any, lake: EmbeddedLake) -> None:
    run()
    assert run("b", range(5, 7)) == [False] * 2
    assert makers(lake) == {day: "b" if day > 4 else "a" for day in ALL}
    assert run("b") == [False] * 4 + [True] * 2
    assert run("b") == [True] * DAYS
    assert run("b", by_hand="DELETE FROM lake.s.t WHERE day(ts) = 2") == [False] * DAYS
    assert run("b", by_hand="UPDATE lake.s.t SET made = 'x' WHERE day(ts) = 3") == [False] * DAYS
    assert run("b", on_schema_change="fail") == [False] * DAYS
    assert run("b", rebuild=True) == [False] * DAYS
    assert run("b", reuse="never") == [False] * DAYS
    assert makers(lake) == dict.fromkeys(ALL, "b")
    assert run("b", constraints=Constraints(not_null=("id",))) == [False] * DAYS
    assert run("b") == [True] * DAYS


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT * REPLACE (random()::TEXT AS made) FROM ({ROWS.format(DAYS * 3)})",
        f"SELECT * REPLACE (now()::TEXT AS made) FROM ({ROWS.format(DAYS * 3)})",
        f"SELECT * REPLACE ((SELECT count(*) FROM lake.s.t)::TEXT AS made) FROM ({ROWS.format(DAYS * 3)})",
    ],
)
def test_batches_that_depend_on_more_run_each_time(run: Any, sql: str) -> None:
    run()
    for _ in range(2):
        assert run(sql=sql) == [False] * DAYS


def test_a_failed_batch_is_run_again(open_run: OpenRun, run: Any, lake: EmbeddedLake) -> None:
    run()
    this = open_run()
    with closing(this.session()) as session:
        source(session, "b")
        assert not session.build(batch(1, number=1, of=3)).reused
        with pytest.raises(Exception, match="no"):
            session.build(batch(2, number=2, of=3, sql="SELECT error('no') AS id, ts, made FROM lake.s.src, lake.s.t"))
        assert not session.build(batch(3, number=3, of=3)).reused
    this.fail("a batch failed")
    assert run("b") == [False] * DAYS
    assert makers(lake) == dict.fromkeys(ALL, "b")


@pytest.mark.parametrize("seed", range(5))
def test_the_table_is_what_it_would_be_without_reuse(open_run: OpenRun, lake: EmbeddedLake, seed: int) -> None:
    chance = random.Random(seed)
    expected: dict[int, str] = {}
    for _ in range(9):
        made, size, first = chance.choice("ab"), chance.choice([1, 1, 1, 2, 3]), chance.randint(1, DAYS)
        gone = chance.choice(list(ALL)) if expected and chance.random() < 0.2 else None
        starts = list(range(first, DAYS - size + 2, size))[: chance.randint(1, DAYS)]
        for again in range(chance.choice([1, 2])):
            this = open_run(publish=chance.choice(["on_success", "on_success", "each_node"]))
            with closing(this.session()) as session:
                source(session, made)
                if gone and not again:
                    session.execute(f"DELETE FROM lake.s.t WHERE day(ts) = {gone}")
                    expected.pop(gone, None)
                for place, day in enumerate(starts, 1):
                    create = session.lookup(NAME) is None
                    built = session.build(batch(day, size, number=place, of=len(starts), create=create))
                    assert built.reused is not None or not again
                    expected.update(dict.fromkeys(range(day, day + size), made))
            this.publish()
            if expected:
                assert makers(lake) == expected
