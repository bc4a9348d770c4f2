"""Two states of one table made one: the rows of both, whatever each side did, or a reason why not."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.table import StaticTable

from dbt.adapters.lakehouse.storage import storage_for
from dbt.adapters.lakehouse.tables import combine, deletes, evolve, maintenance, metadata, reader, rows, writer
from dbt.adapters.lakehouse.tables.combine import NotCombined, Plan
from dbt.adapters.lakehouse.tables.values import Constraints, Expiry, TableSpec, Written

DAYS = "SELECT i AS id, DATE '2026-11-01' + (i % 3)::INTEGER AS day FROM range(9) r(i)"


def made(plan: Plan | NotCombined) -> Written:
    assert isinstance(plan, Plan), plan
    return plan.write()


def why(plan: Plan | NotCombined) -> str:
    assert isinstance(plan, NotCombined), plan
    return plan.why


def planned(base: Written, source: Written, target: Written) -> Plan | NotCombined:
    return combine.plan(base.metadata_location, source.metadata_location, target.metadata_location)


def day(number: int, *ids: int) -> str:
    values = ", ".join(f"({i})" for i in ids)
    return f"SELECT i AS id, DATE '2026-11-0{number}' AS day FROM (VALUES {values}) AS v(i)"


# appends


def test_rows_added_on_both_sides_are_all_there(lake: Any, con: Any) -> None:
    base = writer.create(con, "SELECT 1 AS id", lake.spec())
    source = writer.append(con, "SELECT 2 AS id", base.metadata_location)
    target = writer.append(con, "SELECT 3 AS id UNION ALL SELECT 4", base.metadata_location)
    plan = planned(base, source, target)
    assert isinstance(plan, Plan)
    assert (plan.apart, plan.repeated) == (False, 0)
    before = lake.files()
    seen = plan.preview()
    assert lake.files() == before
    found = plan.write()
    assert lake.rows(found) == [(1,), (2,), (3,), (4,)]
    assert (seen.rows, found.rows) == (4, 4)
    assert found.size_bytes == source.size_bytes + target.size_bytes - base.size_bytes == seen.size_bytes
    assert found.table_uuid == base.table_uuid
    # Read anew, as another process would, it is the same; and so are those that it was made of.
    state = metadata._read(found.metadata_location)
    assert metadata.describe(state).content == found.content is not None
    assert state.metadata.current_snapshot().summary.operation.value == "append"
    assert lake.rows(source) == [(1,), (2,)]
    assert lake.rows(target) == [(1,), (3,), (4,)]
    assert lake.files() > before


def test_the_same_rows_on_both_sides_are_noticed(lake: Any, con: Any) -> None:
    base = writer.create(con, "SELECT 1 AS id", lake.spec())
    source = writer.append(con, "SELECT 2 AS id", base.metadata_location)
    source = writer.append(con, "SELECT 3 AS id", source.metadata_location)
    target = writer.append(con, "SELECT 3 AS id", base.metadata_location)
    plan = planned(base, source, target)
    assert isinstance(plan, Plan)
    assert plan.repeated == 1
    assert lake.rows(plan.write()) == [(1,), (2,), (3,), (3,)]


def test_files_that_came_to_both_sides_stand_there_once(lake: Any, con: Any) -> None:
    base = writer.create(con, "SELECT 1 AS id", lake.spec())
    third = writer.append(con, "SELECT 2 AS id", base.metadata_location)
    source = writer.append(con, "SELECT 3 AS id", third.metadata_location)
    target = writer.append(con, "SELECT 4 AS id", third.metadata_location)
    found = made(planned(base, source, target))
    assert lake.rows(found) == [(1,), (2,), (3,), (4,)]
    again = planned(base, source, found)
    assert lake.rows(made(again)) == [(1,), (2,), (3,), (4,)]
    assert made(again).metadata_location == found.metadata_location


def test_rows_added_to_a_table_that_lost_some_before(lake: Any, con: Any, delete_files: None) -> None:
    base = writer.create(con, "SELECT i AS id FROM range(20) r(i)", lake.spec())
    base = rows.delete(con, base.metadata_location, "id < 3")
    assert metadata.load(base.metadata_location).deletes
    source = writer.append(con, "SELECT 1 AS id", base.metadata_location)
    target = writer.append(con, "SELECT 2 AS id", base.metadata_location)
    assert lake.rows(made(planned(base, source, target))) == [(i,) for i in range(1, 20)]


@pytest.mark.parametrize("deleting", ["source", "target"])
def test_rows_deleted_from_a_table_without_partitions_are_in_the_way(
    lake: Any, con: Any, deleting: str, delete_files: None
) -> None:
    base = writer.create(con, "SELECT i AS id FROM range(10) r(i)", lake.spec())
    one = rows.delete(con, base.metadata_location, "id = 3")
    other = writer.append(con, "SELECT 2 AS id", base.metadata_location)
    source, target = (one, other) if deleting == "source" else (other, one)
    before = lake.files()
    assert why(planned(base, source, target)) == (
        f"rows were changed or deleted on the {deleting}, and it has no partitions that would keep them apart"
    )
    assert lake.files() == before


# partitions


def test_partitions_overwritten_on_both_sides(lake: Any, con: Any) -> None:
    base = writer.create(con, DAYS, lake.spec(partition_by=("day",)))
    source = writer.overwrite(con, day(1, 100), base.metadata_location)
    target = writer.overwrite(con, day(2, 200, 201), base.metadata_location)
    plan = planned(base, source, target)
    assert isinstance(plan, Plan)
    assert plan.apart
    found = plan.write()
    counted = con.execute(
        f"SELECT day(day), list(id ORDER BY id) FROM ({reader.select_sql(found.metadata_location)}) GROUP BY 1 ORDER BY 1"
    )
    assert counted.fetchall() == [(1, [100]), (2, [200, 201]), (3, [2, 5, 8])]
    assert found.rows == 6


def test_rows_deleted_in_different_partitions(lake: Any, con: Any, delete_files: None) -> None:
    base = writer.create(con, DAYS.replace("range(9)", "range(30)"), lake.spec(partition_by=("day",)))
    source = rows.delete(con, base.metadata_location, "id = 0")
    target = rows.delete(con, base.metadata_location, "id = 1")
    target = rows.delete(con, target.metadata_location, "id = 4")
    found = made(planned(base, source, target))
    assert [row[0] for row in lake.rows(found)] == [2, 3, *range(5, 30)]
    assert len(metadata.load(found.metadata_location).deletes) == 2
    assert found.rows == 27


def test_a_partition_that_both_sides_touched(lake: Any, con: Any) -> None:
    base = writer.create(con, DAYS, lake.spec(partition_by=("day",)))
    source = writer.overwrite(con, day(1, 100), base.metadata_location)
    target = writer.append(con, day(1, 200), base.metadata_location)
    assert why(planned(base, source, target)) == (
        "both sides touched partition day=2026-11-01, and rows there were changed or deleted on the source"
    )
    assert why(planned(base, target, source)).endswith("on the target")


def test_a_partition_that_one_side_emptied_and_the_other_wrote(lake: Any, con: Any) -> None:
    base = writer.create(con, DAYS, lake.spec(partition_by=("day",)))
    source = rows.delete(con, base.metadata_location, "day = '2026-11-01'")
    target = writer.overwrite(con, day(1, 200), base.metadata_location)
    assert "partition day=2026-11-01" in why(planned(base, source, target))
    assert "partition day=2026-11-01" in why(planned(base, target, source))


@pytest.mark.parametrize(
    ("partition", "value"),
    [
        ("v", "(i % 3)::INTEGER"),
        ("v", "'a/b=' || i % 3"),
        ("v", "DATE '2026-11-01' + (i % 3)::INTEGER"),
        ("v", "(i % 3)::DECIMAL(12, 2)"),
        ("v", "TIMESTAMP '2026-11-01' + INTERVAL (i % 3) DAY"),
        ("v", "md5((i % 3)::VARCHAR)::UUID"),
        ("v", "('x' || i % 3)::BLOB"),
        ("v", "CASE WHEN i % 3 > 0 THEN i % 3 END"),
        ("bucket(64, v)", "i % 3"),
        ("truncate(2, v)", "(i % 3) || 'bcd'"),
        ("month(v)", "DATE '2026-01-01' + (i % 3)::INTEGER * 40"),
    ],
)
def test_partitions_of_all_kinds_are_told_apart(lake: Any, con: Any, partition: str, value: str) -> None:
    """Also if one state was written by this process and another is read."""
    select = f"SELECT i AS id, {value} AS v FROM range({{}}) r(i)"
    base = writer.create(con, select.format(9), lake.spec(partition_by=(partition,)))

    def overwritten(number: int) -> Written:
        query = f"FROM ({select.format(30)}) WHERE id >= 9 AND id % 3 = {number}"
        return writer.overwrite(con, query, base.metadata_location)

    source, target, same = overwritten(0), overwritten(1), overwritten(1)
    for fresh in (False, True):
        if fresh:
            metadata.CACHE = metadata._Cache(weight=1)
        found = made(planned(base, source, target))
        assert [row[0] for row in lake.rows(found) if row[0] % 3 < 2] == [i for i in range(9, 30) if i % 3 < 2]
        assert "both sides" in why(planned(base, same, target))


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another cache for a test that empties it."""
    monkeypatch.setattr(metadata, "CACHE", metadata.CACHE)


# compaction


def test_compaction_stands_in_nobodys_way(lake: Any, con: Any, delete_files: None) -> None:
    base = writer.create(con, "SELECT i AS id FROM range(10) r(i)", lake.spec())
    base = writer.append(con, "SELECT 10 AS id", base.metadata_location)
    compacted = maintenance.compact(con, base.metadata_location)
    added = writer.append(con, "SELECT 11 AS id", base.metadata_location)
    deleted = rows.delete(con, base.metadata_location, "id < 5")
    for source, target in ((compacted, added), (added, compacted)):
        found = made(planned(base, source, target))
        assert lake.rows(found) == [(i,) for i in range(12)]
        assert len(metadata.load(found.metadata_location).data) == 2
    for source, target in ((compacted, deleted), (deleted, compacted)):
        plan = planned(base, source, target)
        assert isinstance(plan, Plan)
        assert plan.apart
        assert plan.write().metadata_location == deleted.metadata_location
    assert lake.rows(made(planned(base, compacted, maintenance.compact(con, base.metadata_location)))) == lake.rows(
        base
    )


def test_compaction_and_new_rows(lake: Any, con: Any) -> None:
    base = writer.create(con, "SELECT 0 AS id", lake.spec())
    base = writer.append(con, "SELECT 1 AS id", base.metadata_location)
    expiry = Expiry(snapshots=1, before_ms=None, alone=False)
    compacted = maintenance.compact(con, base.metadata_location, expiry)
    assert metadata.load(compacted.metadata_location).metadata.snapshot_by_id(base.snapshot_id) is None
    one = writer.append(con, "SELECT 2 AS id", compacted.metadata_location)
    other = writer.append(con, "SELECT 3 AS id", base.metadata_location)
    for source, target in ((one, other), (other, one)):
        plan = planned(base, source, target)
        assert isinstance(plan, Plan)
        assert not plan.apart
        assert lake.rows(plan.write()) == [(i,) for i in range(4)]
    both = maintenance.compact(con, other.metadata_location)
    assert "rows were changed or deleted on both sides" in why(planned(base, one, both))


def test_files_of_both_sides_that_one_brought_together(lake: Any, con: Any) -> None:
    """They look new on the side that did not, and would stand there twice."""
    base = writer.create(con, "SELECT 0 AS id", lake.spec())
    third = writer.append(con, "SELECT 1 AS id", base.metadata_location)
    source = writer.append(con, "SELECT 2 AS id", third.metadata_location)
    target = maintenance.compact(con, third.metadata_location)
    assert isinstance(planned(base, source, target), NotCombined)
    assert isinstance(planned(base, target, source), NotCombined)
    assert lake.rows(made(planned(third, source, target))) == [(0,), (1,), (2,)]


# what cannot be


def test_tables_made_anew_have_no_base(lake: Any, con: Any) -> None:
    base = writer.create(con, "SELECT 1 AS id", lake.spec())
    new = writer.create(con, "SELECT 2 AS id", lake.spec(), replaces=base.metadata_location)
    location = f"{lake.uri}/orders"
    spec = TableSpec(location=location, table_uuid=base.table_uuid)
    new = writer.create(con, "SELECT 2 AS id", spec, replaces=base.metadata_location)
    added = writer.append(con, "SELECT 3 AS id", base.metadata_location)
    assert "made anew on the source" in why(planned(base, new, added))
    assert "made anew on the target" in why(planned(base, added, new))


def test_a_base_of_long_ago_is_known_by_its_files(lake: Any, con: Any) -> None:
    base = writer.create(con, "SELECT 0 AS id", lake.spec())
    source = target = base
    for number in range(1, 30):
        source = writer.append(con, f"SELECT {number} AS id", source.metadata_location)
    assert metadata.load(source.metadata_location).metadata.snapshot_by_id(base.snapshot_id) is None
    target = writer.append(con, "SELECT 30 AS id", target.metadata_location)
    assert lake.rows(made(planned(base, source, target))) == [(i,) for i in range(31)]


def test_a_base_that_was_merged_before_is_known_again(lake: Any, con: Any) -> None:
    """Though none of its files is left: the snapshot that brought its rows says whose they were."""
    base = writer.create(con, DAYS, lake.spec(partition_by=("day",)))
    source = writer.append(con, day(4, 40), base.metadata_location)
    target = made(planned(base, source, writer.append(con, day(5, 50), base.metadata_location)))
    everything = f"FROM ({reader.select_sql(target.metadata_location)}) UNION ALL SELECT 100, day FROM t"
    everything = f"WITH t AS (SELECT DISTINCT day FROM ({reader.select_sql(target.metadata_location)})) {everything}"
    target = writer.overwrite(con, everything, target.metadata_location)
    state = metadata.load(target.metadata_location)
    assert not {f.path for f in state.data} & {f.path for f in metadata.load(source.metadata_location).data}
    base, source = source, writer.append(con, day(6, 60), source.metadata_location)
    assert made(planned(base, source, target)).rows == target.rows + 1


def test_columns_must_be_the_same(lake: Any, con: Any) -> None:
    base = writer.create(con, "SELECT 1 AS id", lake.spec())
    wider = evolve.add_column(con, base.metadata_location, "name", "VARCHAR")
    added = writer.append(con, "SELECT 2 AS id", base.metadata_location)
    for source, target in ((wider, added), (added, wider)):
        assert why(planned(base, source, target)) == (
            "its columns are not the same on both sides and in what they started from"
        )


def test_rows_that_were_added_under_another_name_of_a_column(lake: Any, con: Any) -> None:
    base = writer.create(con, "SELECT 1 AS id", lake.spec())
    source = evolve.rename_column(base.metadata_location, "id", "key")
    source = writer.append(con, "SELECT 2 AS key", source.metadata_location)
    source = evolve.rename_column(source.metadata_location, "key", "id")
    target = writer.append(con, "SELECT 3 AS id", base.metadata_location)
    assert "changed and changed back" in why(planned(base, source, target))
    # The other way round, the target's own history tells how its files are to be read.
    assert lake.rows(made(planned(base, target, source))) == [(1,), (2,), (3,)]


def test_a_state_that_is_gone(lake: Any, con: Any) -> None:
    base = writer.create(con, "SELECT 1 AS id", lake.spec())
    source = writer.append(con, "SELECT 2 AS id", base.metadata_location)
    target = writer.append(con, "SELECT 3 AS id", base.metadata_location)
    storage_for(base.metadata_location).delete(base.metadata_location)
    metadata.CACHE = metadata._Cache(weight=1)
    assert "cannot be read" in why(planned(base, source, target))


# primary keys


def test_primary_keys_stay_unique(lake: Any, con: Any) -> None:
    key = Constraints(primary_key=("id",))
    base = writer.create(con, "SELECT i AS id FROM range(10) r(i)", lake.spec(constraints=key))

    def added(*ids: int) -> Written:
        query = f"SELECT unnest({list(ids)}) AS id"
        return writer.append(con, query, base.metadata_location, constraints=key)

    clash = why(planned(base, added(10, 12), added(11)))
    assert clash == "its primary key (id) might no longer be unique with the rows of both sides"
    assert lake.rows(made(planned(base, added(10, 11), added(12)))) == [(i,) for i in range(13)]


def test_a_primary_key_that_holds_what_partitions_are_made_of(lake: Any, con: Any) -> None:
    key = Constraints(primary_key=("id", "day"))
    base = writer.create(con, DAYS, lake.spec(constraints=key, partition_by=("day",)))
    source = writer.append(con, day(1, 50, 70), base.metadata_location, constraints=key)
    target = writer.append(con, day(2, 60, 50), base.metadata_location, constraints=key)
    assert made(planned(base, source, target)).rows == 13
    spanning = Constraints(primary_key=("id",))
    base = writer.create(con, DAYS, lake.spec("other", constraints=spanning, partition_by=("day",)))
    source = writer.append(con, day(1, 50, 70), base.metadata_location, constraints=spanning)
    target = writer.append(con, day(2, 60, 50), base.metadata_location, constraints=spanning)
    assert "primary key (id)" in why(planned(base, source, target))


# descriptions


def test_descriptions_of_both_sides_stay(lake: Any, con: Any) -> None:
    base = writer.create(con, "SELECT 1 AS id, 2 AS n", lake.spec(comment="old"))
    source = evolve.set_comments(base.metadata_location, table="new", columns={"id": "a key"})
    source = evolve.set_properties(source.metadata_location, {"owner": "ann"})
    target = evolve.set_comments(base.metadata_location, columns={"n": "a number"})
    target = writer.append(con, "SELECT 3 AS id, 4 AS n", target.metadata_location)
    for one, other in ((source, target), (target, source)):
        found = made(planned(base, one, other))
        assert lake.rows(found) == [(1, 2), (3, 4)]
        assert (found.comment, [c.comment for c in found.columns]) == ("new", ["a key", "a number"])
        assert metadata._read(found.metadata_location).metadata.properties["owner"] == "ann"


def test_descriptions_that_differ(lake: Any, con: Any) -> None:
    base = writer.create(con, "SELECT 1 AS id", lake.spec())
    source = evolve.set_comments(base.metadata_location, table="one", columns={"id": "a"})
    target = evolve.set_comments(base.metadata_location, table="two")
    assert why(planned(base, source, target)) == "both sides changed its comment"
    target = evolve.set_comments(base.metadata_location, columns={"id": "b"})
    assert why(planned(base, source, target)) == "both sides changed its comment of column 'id'"


# anything at all

PARTS = 3


@dataclass
class Model:
    """A table's rows (each id is given once) and what was done to it since ``since``."""

    written: Written
    rows: frozenset[tuple[int, int]]
    touched: set[int] = field(default_factory=set)
    only_added: bool = True

    def since(self) -> Model:
        return Model(written=self.written, rows=self.rows)


STEPS = st.lists(
    st.tuples(st.sampled_from(["append", "overwrite", "delete", "move"]), st.integers(0, PARTS - 1)), max_size=3
)


@pytest.fixture(scope="module")
def con_for_all() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        yield connection


@pytest.fixture(scope="module")
def delete_files_for_all() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deletes, "REWRITTEN_ROWS", 0)
        patch.setattr(deletes, "REWRITTEN_SHARE", 2)
        yield


@pytest.fixture
def delete_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files get delete files too."""
    monkeypatch.setattr(deletes, "REWRITTEN_ROWS", 0)


@pytest.mark.parametrize("partition_by", [(), ("p",)], ids=["whole", "partitioned"])
def test_whatever_both_sides_did(
    partition_by: tuple[str, ...],
    con_for_all: Any,
    delete_files_for_all: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    con, folder = con_for_all, tmp_path_factory.mktemp("lake")
    combined = Counter[bool]()

    @settings(max_examples=40, deadline=None)
    @given(before=STEPS, rounds=st.lists(st.tuples(STEPS, STEPS), min_size=1, max_size=2))
    def holds(before: Any, rounds: Any) -> None:
        numbers = iter(range(1000))
        base = _new(con, f"file://{folder}/{uuid.uuid4().hex}", partition_by, numbers)
        base = _walked(con, base, before, numbers).since()
        source, target = base.since(), base.since()
        for on_source, on_target in rounds:
            source, target = _walked(con, source, on_source, numbers), _walked(con, target, on_target, numbers)
            plan = planned(base.written, source.written, target.written)
            apart = bool(partition_by) and not (source.touched & target.touched)
            if (source.only_added and target.only_added) or apart or not (source.touched and target.touched):
                assert isinstance(plan, Plan), plan
            else:
                # Undone steps (a row that came and went) may let the files agree where the steps do not.
                assert isinstance(plan, NotCombined) or not _clash(base, source, target, partition_by)
            combined[isinstance(plan, Plan)] += 1
            if isinstance(plan, NotCombined):
                return
            wanted = (target.rows | (source.rows - base.rows)) - (base.rows - source.rows)
            target = Model(written=plan.write(), rows=wanted)
            _check(con, target)
            # The source goes on; the next merge starts from what was merged now.
            base, source, target = source.since(), source.since(), target
            target.touched, target.only_added = _against(base, target)

    holds()
    assert combined[True] > 5
    assert combined[False] > 1


def _against(base: Model, target: Model) -> tuple[set[int], bool]:
    gone, new = base.rows - target.rows, target.rows - base.rows
    return {p for _, p in gone | new}, not gone


def _clash(base: Model, source: Model, target: Model, partition_by: tuple[str, ...]) -> bool:
    (left, left_added), (right, right_added) = _against(base, source), _against(base, target)
    if left_added and right_added:
        return False
    return bool(left & right) if partition_by else bool(left and right)


def _check(con: Any, model: Model) -> None:
    location = model.written.metadata_location
    state = metadata._read(location)
    wanted = sorted(model.rows)
    ours = con.execute(f"SELECT id, p FROM ({reader.select(state)}) ORDER BY ALL").fetchall()
    assert ours == wanted
    theirs = StaticTable.from_metadata(location).scan().to_arrow().to_pylist()
    assert sorted((row["id"], row["p"]) for row in theirs) == wanted
    assert model.written.rows == len(wanted)
    assert metadata.describe(state) == metadata.describe(metadata.load(location))


def _new(con: Any, location: str, partition_by: tuple[str, ...], numbers: Iterator[int]) -> Model:
    some = [(next(numbers), number % PARTS) for number in range(6)]
    spec = TableSpec(location=location, table_uuid=str(uuid.uuid4()), partition_by=partition_by)
    return Model(written=writer.create(con, _values(some), spec), rows=frozenset(some))


def _walked(con: Any, model: Model, steps: Any, numbers: Iterator[int]) -> Model:
    for step, part in steps:
        STEP[step](con, model, part, numbers)
    return model


def _values(some: Any) -> str:
    return f"SELECT * FROM (VALUES {', '.join(map(str, some))}) AS v(id, p)"


def _append(con: Any, model: Model, part: int, numbers: Iterator[int]) -> None:
    some = [(next(numbers), part), (next(numbers), part)]
    model.written = writer.append(con, _values(some), model.written.metadata_location)
    model.rows |= set(some)
    model.touched.add(part)


def _overwrite(con: Any, model: Model, part: int, numbers: Iterator[int]) -> None:
    partitioned = bool(metadata.load(model.written.metadata_location).metadata.spec().fields)
    some = {(next(numbers), part)}
    gone = {row for row in model.rows if row[1] == part or not partitioned}
    model.written = writer.overwrite(con, _values(sorted(some)), model.written.metadata_location)
    model.rows = (model.rows - gone) | some
    model.touched |= {p for _, p in gone} | {part}
    model.only_added = model.only_added and not gone


def _delete(con: Any, model: Model, part: int, numbers: Iterator[int]) -> None:
    del numbers
    gone = {row for row in model.rows if row[1] == part and row[0] % 2}
    model.written = rows.delete(con, model.written.metadata_location, f"p = {part} AND id % 2 = 1")
    model.rows -= gone
    model.touched |= {p for _, p in gone}
    model.only_added = model.only_added and not gone


def _move(con: Any, model: Model, part: int, numbers: Iterator[int]) -> None:
    """An UPDATE that takes a row from its partition to another."""
    moved = min((row for row in model.rows if row[1] == part), default=None)
    if moved is None:
        return
    to = (next(numbers), (part + 1) % PARTS)

    def edit(name: str) -> None:
        con.execute(f"UPDATE {name} SET id = {to[0]}, p = {to[1]}")

    model.written = rows.patch(con, model.written.metadata_location, matching=f"id = {moved[0]}", edit=edit)
    model.rows = (model.rows - {moved}) | {to}
    model.touched |= {moved[1], to[1]}
    model.only_added = False


STEP: dict[str, Callable[[Any, Model, int, Iterator[int]], None]] = {
    "append": _append,
    "overwrite": _overwrite,
    "delete": _delete,
    "move": _move,
}
