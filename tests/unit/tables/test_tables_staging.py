from __future__ import annotations

import itertools

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.table import StaticTable

from dbt.adapters.lakehouse.errors import ConstraintViolated, SchemaMismatch
from dbt.adapters.lakehouse.jobs.job import Job, Join, job_from_json, job_to_json
from dbt.adapters.lakehouse.tables import deletes, evolve, metadata, reader, staging, writer
from dbt.adapters.lakehouse.tables.values import Constraints, Staged, TimeRange, Written

EVENTS = "SELECT i AS id, timestamp '2024-01-01' + to_hours(i) AS ts, i % 3 AS p, '{}' AS made FROM range({}) r(i)"


def day(number: int, days: int = 1) -> TimeRange:
    """The time from one day of January 2024 on."""
    return TimeRange(
        column="ts",
        start=f"2024-01-{number:02} 00:00:00+00:00",
        end=f"2024-01-{number + days:02} 00:00:00+00:00",
    )


def copied(staged: list[Staged]) -> tuple[Staged, ...]:
    """As they come out of a job's JSON form."""
    job = Job(key="k", database="l", default_schema="s", action=Join(base="b", staged=tuple(staged)))
    action = job_from_json(job_to_json(job)).action
    assert isinstance(action, Join)
    return action.staged


def stage(lake, table: Written, query: str, time: TimeRange, **more) -> Staged:
    found = staging.stage(lake.con, query, table.metadata_location, time, **more)
    assert found is not None
    return found


def check(lake, table: Written) -> list[tuple]:
    """The table's rows, which are the same read anew and by another reader, as are the totals."""
    rows = lake.rows(table)
    again = metadata._read(table.metadata_location)
    assert lake.con.execute(f"SELECT * FROM ({reader.select(again)}) ORDER BY ALL").fetchall() == rows
    other = StaticTable.from_metadata(table.metadata_location)
    assert sorted(tuple(row.values()) for row in other.scan().to_arrow().to_pylist()) == rows
    assert table.rows == len(rows) == len(set(rows))
    summary = other.metadata.current_snapshot().summary.additional_properties
    assert int(summary["total-data-files"]) == len(again.data)
    assert int(summary["total-records"]) - int(summary["total-position-deletes"]) == len(rows)
    return rows


BATCHES = 6


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(1, BATCHES + 1)),
    sizes=st.lists(st.integers(1, BATCHES), min_size=1, max_size=BATCHES),
    base_hours=st.integers(0, 24 * BATCHES + 30),
    partition=st.sampled_from([(), ("day(ts)",), ("p",), ("month(ts)", "bucket(2, id)", "truncate(1, made)")]),
    late=st.lists(st.booleans(), min_size=BATCHES, max_size=BATCHES),
    failed=st.sets(st.integers(1, BATCHES)),
    small=st.sampled_from([(0, 1), (20_000, 1), (0, 100), (20_000, 100)]),
)
def test_joins_in_any_order_and_grouping_give_what_statements_give_one_after_the_other(
    lake, order, sizes, base_hours, partition, late, failed, small
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deletes, "REWRITTEN_ROWS", small[0])
        patch.setattr(staging, "SMALL_FILES", small[1])
        table = writer.create(lake.con, EVENTS.format("base", base_hours), lake.spec(partition_by=partition))
        # The rows of a batch are more than those of its time: only these count.
        queries = {n: EVENTS.format(f"batch {n}", 24 * BATCHES + (0 if n % 2 else 40)) for n in order}
        first = {n: stage(lake, table, queries[n], day(n)) for n in order if not late[n - 1]}
        todo = [n for n in order if n not in failed]
        for size in itertools.chain(sizes, itertools.repeat(BATCHES)):
            group, todo = todo[:size], todo[size:]
            if not group:
                break
            # Some are staged beside the table as it was in the beginning, some beside what earlier joins made of it.
            staged = [first[n] if n in first else stage(lake, table, queries[n], day(n)) for n in group]
            table = staging.join(lake.con, table.metadata_location, copied(staged))
            assert table.rows_written == sum(item.rows for item in staged) == 24 * len(group)
    con = lake.con
    con.execute(f"CREATE OR REPLACE TEMP TABLE plain AS {EVENTS.format('base', base_hours)}")
    for n in sorted(set(order) - failed):
        con.execute(f"DELETE FROM plain WHERE {day(n).condition}")
        con.execute(f"INSERT INTO plain SELECT * FROM ({queries[n]}) WHERE {day(n).condition}")
    wanted = con.execute("SELECT * FROM plain ORDER BY ALL").fetchall()
    assert (check(lake, table) if len(failed) < BATCHES else lake.rows(table)) == wanted


@pytest.fixture
def table(lake) -> Written:
    return writer.create(lake.con, EVENTS.format("base", 96), lake.spec())


def test_a_batch_without_rows_takes_away_those_of_its_time(lake, table):
    empty = stage(lake, table, EVENTS.format("x", 0), day(2))
    assert empty.files == ()
    joined = staging.join(lake.con, table.metadata_location, [empty])
    assert (joined.rows_written, joined.rows_deleted, len(check(lake, joined))) == (0, 24, 72)


def test_staging_leaves_the_table_alone_and_a_failed_one_leaves_no_files(lake, table):
    before = lake.files("orders")
    with pytest.raises(duckdb.InvalidInputException, match="on purpose"):
        staging.stage(
            lake.con, f"SELECT * REPLACE (error('on purpose') AS made) FROM ({EVENTS.format('x', 96)})",
            table.metadata_location, day(2),
        )  # fmt: skip
    assert lake.files("orders") == before
    with pytest.raises(ConstraintViolated, match="CHECK"):
        stage(lake, table, EVENTS.format("x", 96), day(2), constraints=Constraints(checks=(("", "id <> 30"),)))
    with pytest.raises(ConstraintViolated, match="NOT NULL"):
        stage(lake, table, EVENTS.format("x", 96).replace("i %", "null::bigint + i %"), day(2),
              constraints=Constraints(not_null=("p",)))  # fmt: skip
    assert lake.files("orders") == before
    stage(lake, table, EVENTS.format("x", 96), day(2))
    assert len(lake.files("orders") - before) == 1
    assert len(lake.rows(table)) == 96


def test_uniqueness_is_held_against_the_joined_table(lake, table):
    unique = Constraints(unique=(("id",),))
    clash = stage(lake, table, EVENTS.format("x", 96).replace("i AS id", "i % 24 AS id"), day(2), constraints=unique)
    before = lake.files("orders")
    with pytest.raises(ConstraintViolated, match="UNIQUE"):
        staging.join(lake.con, table.metadata_location, [clash], constraints=unique)
    assert lake.files("orders") == before
    fine = [stage(lake, table, EVENTS.format("x", 96), day(n), constraints=unique) for n in (1, 2)]
    assert staging.join(lake.con, table.metadata_location, fine, constraints=unique).rows_deleted == 48


def test_a_table_that_must_change_its_columns_first_is_not_staged_for(lake, table):
    wider = f"SELECT *, 1 AS more FROM ({EVENTS.format('x', 96)})"
    assert stage(lake, table, wider, day(2)).rows == 24
    for change in ("append_new_columns", "sync_all_columns"):
        base = table.metadata_location
        assert staging.stage(lake.con, wider, base, day(2), on_schema_change=change) is None
    with pytest.raises(SchemaMismatch, match="out of sync"):
        stage(lake, table, wider, day(2), on_schema_change="fail")
    with pytest.raises(SchemaMismatch, match="lacks the table's column 'made'"):
        stage(lake, table, f"SELECT * EXCLUDE (made) FROM ({EVENTS.format('x', 96)})", day(2))


def test_what_was_staged_for_other_columns_is_not_joined(lake, table):
    staged = stage(lake, table, EVENTS.format("x", 96), day(2))
    changed = evolve.apply(lake.con, table.metadata_location, (_comment("made"),))
    assert staging.join(lake.con, changed.metadata_location, [staged]).rows_written == 24
    dropped = evolve.apply(lake.con, table.metadata_location, (_drop("p"),))
    with pytest.raises(SchemaMismatch, match="changed while rows for it were computed"):
        staging.join(lake.con, dropped.metadata_location, [staged])


def _comment(column: str):
    from dbt.adapters.lakehouse.jobs.job import Alteration

    return Alteration(what="column_comment", column=column, to="who made it")


def _drop(column: str):
    from dbt.adapters.lakehouse.jobs.job import Alteration

    return Alteration(what="drop_column", column=column)


@pytest.mark.parametrize(
    ("kind", "hours"),
    [("TIMESTAMP", 1), ("TIMESTAMPTZ", 1), ("DATE", 24), ("VARCHAR", 1), ("TIMESTAMP_S", 1)],
)
def test_only_files_whose_time_may_match_are_looked_at(lake, kind, hours):
    query = (
        f"SELECT i AS id, (timestamp '2024-01-01' + to_hours(i * {hours}))::{kind} AS ts FROM range({{}}, {{}}) r(i)"
    )
    table = writer.create(lake.con, query.format(0, 1), lake.spec())
    for n in range(1, 20):
        table = writer.append(lake.con, query.format(n * 24 // hours, (n + 1) * 24 // hours), table.metadata_location)
    time = TimeRange(column="ts", start="2024-01-10 00:00:00+00:00", end="2024-01-11 00:00:00+00:00")
    looked_at = staging._candidates(metadata.load(table.metadata_location), [time])
    assert len(looked_at) == (20 if kind == "VARCHAR" else pytest.approx(5, abs=2))
    if kind == "DATE":
        time = TimeRange(column="ts", start="2024-01-10", end="2024-01-11")
    left = staging.join(lake.con, table.metadata_location, [Staged(range=time, shape=_shape(table))])
    assert table.rows - left.rows == 24 // hours
    assert table.rows - left.rows == left.rows_deleted
    expression = TimeRange(column="ts + to_hours(0)", start=time.start, end=time.end)
    assert len(staging._candidates(metadata.load(table.metadata_location), [expression])) == 20


def _shape(table: Written) -> str:
    return staging.shape(metadata.load(table.metadata_location).metadata)


def test_ranges_without_gaps_become_one():
    assert staging.merged([day(3), day(1), day(2), day(5)]) == [day(1, 3), day(5)]


def test_hundreds_of_ranges_with_gaps_are_joined_at_once(lake):
    hours = 2_000
    table = writer.create(lake.con, EVENTS.format("base", hours), lake.spec())
    query = EVENTS.format("new", hours)
    whole = writer.create(lake.con, query, lake.spec("other"))
    staged = []
    for hour in range(0, hours, 4):
        start, end = lake.con.execute(
            f"SELECT timestamp '2024-01-01' + to_hours({hour}), timestamp '2024-01-01' + to_hours({hour + 1})"
        ).fetchone()
        staged.append(
            Staged(range=TimeRange(column="ts", start=f"{start}+00:00", end=f"{end}+00:00"), shape=_shape(table))
        )
    joined = staging.join(lake.con, table.metadata_location, staged)
    assert joined.rows_deleted == len(staged) == hours // 4
    assert lake.con.execute(
        f"SELECT count(*) FROM ({reader.select_sql(joined.metadata_location)}) WHERE id % 4 = 0"
    ).fetchone() == (0,)
    assert whole.rows == hours


def test_many_small_files_are_written_together(lake, table):
    staged = [stage(lake, table, EVENTS.format("x", 96), _hour(n)) for n in range(staging.SMALL_FILES + 1)]
    few = staging.join(lake.con, table.metadata_location, staged[:-1])
    many = staging.join(lake.con, table.metadata_location, staged)
    assert len(metadata.load(few.metadata_location).data) == staging.SMALL_FILES + 1
    assert len(metadata.load(many.metadata_location).data) == 1
    assert [made for *_, made in check(lake, many)] == ["x"] * 33 + ["base"] * 63


def _hour(n: int) -> TimeRange:
    first, second = (f"2024-01-{1 + h // 24:02} {h % 24:02}:00:00+00:00" for h in (n, n + 1))
    return TimeRange(column="ts", start=first, end=second)
