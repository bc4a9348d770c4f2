"""Tables of the same content identity have the same columns and rows in the same order, however they came about."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from s3_server import S3

from dbt.adapters.lakehouse.errors import ConstraintViolated, SchemaMismatch
from dbt.adapters.lakehouse.jobs.s3_access import Grant
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.tables import content, deletes, evolve, maintenance, metadata, reader, rows, staging, writer
from dbt.adapters.lakehouse.tables.values import Constraints, TableSpec, TimeRange, Written

BASE = "SELECT i AS id, i % 3 AS p, 'n' || (i % 7) AS name FROM range(60) r(i)"


def ordered(lake: Any, table: Written) -> list[tuple[Any, ...]]:
    """The rows in their order, where they have one: DuckDB promises none for those that delete files are joined with."""
    found = lake.con.execute(reader.select_sql(table.metadata_location)).fetchall()
    return sorted(found, key=repr) if metadata.load(table.metadata_location).deletes else found


def patched(lake: Any, table: Written, matching: str | None, sql: str) -> Written:
    def edit(work: str) -> None:
        lake.con.execute(sql.replace("{}", work))

    return rows.patch(lake.con, table.metadata_location, matching=matching, edit=edit)


STEPS = {
    "append": lambda lake, t: writer.append(lake.con, "SELECT 100 AS id, 1 AS p, 'new' AS name", t.metadata_location),
    "append others": lambda lake, t: writer.append(
        lake.con, "SELECT 101 AS id, 2 AS p, 'new' AS name", t.metadata_location
    ),
    "overwrite": lambda lake, t: writer.overwrite(
        lake.con, "SELECT 7 AS id, 1 AS p, 'over' AS name", t.metadata_location
    ),
    "delete": lambda lake, t: rows.delete(lake.con, t.metadata_location, "id % 5 = 0"),
    "delete more": lambda lake, t: rows.delete(lake.con, t.metadata_location, "id % 10 = 3"),
    "update": lambda lake, t: patched(lake, t, "id < 20", "UPDATE {} SET name = name || '+' WHERE id % 4 = 1"),
    "update all": lambda lake, t: patched(lake, t, None, "UPDATE {} SET p = 2 WHERE id = 11"),
    "compact": lambda lake, t: maintenance.compact(lake.con, t.metadata_location),
}


@pytest.mark.parametrize("layout", [{}, {"partition_by": ("p",)}, {"sort_by": ("id",)}])
@pytest.mark.parametrize("rewritten", [0, 20_000])
def test_the_same_steps_give_the_same_content(lake, monkeypatch, layout, rewritten):
    monkeypatch.setattr(deletes, "REWRITTEN_ROWS", rewritten)
    one, two = (writer.create(lake.con, BASE, lake.spec(name, **layout)) for name in ("one", "two"))
    assert one.content is not None
    seen = {one.content}
    for step in ("append", "delete", "update", "delete more", "overwrite", "append others"):
        one, two = (STEPS[step](lake, table) for table in (one, two))
        assert one.content == two.content is not None, step
        assert ordered(lake, one) == ordered(lake, two)
        assert one.content not in seen, step
        assert metadata.describe(metadata._read(one.metadata_location)).content == one.content
        seen.add(one.content)


ALTERED = {
    **STEPS,
    "drop": lambda lake, t: evolve.drop_column(t.metadata_location, "name"),
    "add": lambda lake, t: evolve.add_column(lake.con, t.metadata_location, "name", "VARCHAR"),
    "rename": lambda lake, t: evolve.rename_column(t.metadata_location, "name", "other"),
    "rename back": lambda lake, t: evolve.rename_column(t.metadata_location, "other", "name"),
    "swap": lambda lake, t: evolve.rename_column(
        evolve.rename_column(
            evolve.rename_column(t.metadata_location, "id", "x").metadata_location, "p", "id"
        ).metadata_location,
        "x",
        "p",
    ),
    "widen": lambda lake, t: evolve.change_type(lake.con, t.metadata_location, "small", "BIGINT"),
    "comment": lambda lake, t: evolve.set_comments(t.metadata_location, table="numbers"),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    partitioned=st.booleans(),
    rewritten=st.sampled_from([0, 20_000]),
    histories=st.lists(st.lists(st.sampled_from(sorted(ALTERED)), max_size=5), min_size=2, max_size=4),
)
def test_the_same_content_means_the_same_rows(lake, partitioned, rewritten, histories):
    found: dict[str, Any] = {}
    few, deletes.REWRITTEN_ROWS = deletes.REWRITTEN_ROWS, rewritten
    try:
        for history in histories:
            spec = lake.spec(uuid.uuid4().hex, partition_by=("p",) if partitioned else ())
            table = writer.create(lake.con, BASE.replace("FROM", ", i::SMALLINT AS small FROM"), spec)
            for step in ["", *history]:
                try:
                    table = ALTERED[step](lake, table) if step else table
                except (SchemaMismatch, duckdb.BinderException):  # a column that is not there any more
                    continue
                says = ([(c.name, c.type) for c in table.columns], ordered(lake, table))
                assert found.setdefault(str(table.content), says) == says, (step, history)
        assert "None" not in found
    finally:
        deletes.REWRITTEN_ROWS = few


def test_batches_joined_to_the_same_rows_are_the_same(lake):
    events = "SELECT i AS id, timestamp '2024-01-01' + to_hours(i) AS ts FROM range(96) r(i)"
    tables = [writer.create(lake.con, events, lake.spec(name)) for name in ("one", "two")]
    for number in (2, 3):
        time = TimeRange(column="ts", start=f"2024-01-{number:02} 00:00:00", end=f"2024-01-{number + 1:02} 00:00:00")
        for place, table in enumerate(tables):
            staged = staging.stage(lake.con, events.replace("AS id", "+ 1000 AS id"), table.metadata_location, time)
            tables[place] = staging.join(lake.con, table.metadata_location, [staged])
    assert tables[0].content == tables[1].content is not None


def test_the_order_of_rows_counts_and_the_columns_of_an_empty_table(lake):
    def made(query: str) -> str | None:
        return writer.create(lake.con, query, lake.spec(uuid.uuid4().hex)).content

    assert made("SELECT unnest([1, 2]) AS x") != made("SELECT unnest([2, 1]) AS x")
    assert made("SELECT 1 AS x WHERE false") == made("SELECT 2 AS x WHERE false")
    assert made("SELECT 1 AS x WHERE false") != made("SELECT 1 AS y WHERE false")
    assert made("SELECT 1 AS x WHERE false") != made("SELECT 1::BIGINT AS x WHERE false")


def test_partitions_of_the_same_rows_stay(lake):
    spec = lake.spec(partition_by=("p",))
    base = writer.create(lake.con, f"FROM ({BASE}) WHERE p < 2", spec)
    same = writer.overwrite(lake.con, f"FROM ({BASE}) WHERE p = 1", base.metadata_location)
    assert (same.metadata_location, same.rows_written) == (base.metadata_location, 0)
    files = {f.path for f in metadata.load(base.metadata_location).data}
    assert {f for f in lake.files() if "/data/" in f} == files

    more = writer.overwrite(lake.con, f"FROM ({BASE}) WHERE p > 0", base.metadata_location)
    assert (more.rows_written, more.rows_deleted) == (20, 0)
    assert files < {f.path for f in metadata.load(more.metadata_location).data}
    assert lake.rows(more) == sorted(lake.con.execute(BASE).fetchall())

    fewer = rows.delete(lake.con, more.metadata_location, "id = 1")
    again = writer.overwrite(lake.con, f"FROM ({BASE}) WHERE p = 1", fewer.metadata_location)
    assert lake.rows(again) == lake.rows(more)

    limits = Constraints(checks=(("", "id > 5"),), table="t")
    with pytest.raises(ConstraintViolated, match="id > 5"):
        writer.overwrite(lake.con, f"FROM ({BASE}) WHERE p = 1", base.metadata_location, constraints=limits)


def test_without_identity_nothing_is_hashed(lake):
    with content.identifying(False):
        plain = writer.create(lake.con, BASE, lake.spec())
        fewer = rows.delete(lake.con, plain.metadata_location, "id = 1")
    assert (plain.content, fewer.content) == (None, None)
    assert all(content.digest_of(path) is None for path in lake.files())
    assert writer.append(lake.con, BASE, plain.metadata_location).content is None, "its first rows are not known"
    assert writer.create(lake.con, BASE, lake.spec("anew")).content is not None


def test_a_table_in_s3_has_the_identity_of_the_local_one(lake, s3: S3, tmp_path: Path):
    settings = LakeSettings(warehouse=s3.uri, catalog="", storage_options=s3.options)
    with duckdb.connect(config={"temp_directory": str(tmp_path / "private")}) as con:
        Grant(con, settings)
        spec = TableSpec(location=f"{s3.uri}/t", table_uuid=str(uuid.uuid4()), partition_by=("p",))
        there = writer.create(con, BASE, spec)
        here = writer.create(lake.con, BASE, lake.spec(partition_by=("p",)))
        assert there.content == here.content is not None
        there = rows.delete(con, there.metadata_location, "id % 5 = 0")
        here = rows.delete(lake.con, here.metadata_location, "id % 5 = 0")
        assert there.content == here.content is not None
        assert sorted(con.execute(reader.select_sql(there.metadata_location)).fetchall()) == lake.rows(here)


@pytest.mark.parametrize(
    "size", [0, 1, content._READ, content._READ + 1, content._PART, content._PART + 1, 3 * content._PART]
)
def test_every_byte_of_a_file_counts(tmp_path: Path, size: int) -> None:
    file = tmp_path / "f.parquet"
    seen = set()
    for changed in {None, 0, size // 2, size - 1} - {-1}:
        text = bytearray(size)
        if changed is not None and size:
            text[changed] = 1
        file.write_bytes(text)
        named = content.named(str(file))
        assert content.named(named).count(str(content.digest_of(named))) == 2, "the same bytes, the same digest"
        seen.add((content.digest_of(named), bytes(text)))
    assert len({digest for digest, _ in seen}) == len({text for _, text in seen})
