"""What every executor does, in this process or in others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from dbt.adapters.lakehouse.errors import JobCancelled, OutOfMemory, SqlError
from dbt.adapters.lakehouse.executors.base import Executor, Lease, Requester
from dbt.adapters.lakehouse.executors.local import LocalExecutor
from dbt.adapters.lakehouse.executors.pool import PoolExecutor
from dbt.adapters.lakehouse.jobs.job import (
    Append,
    Create,
    Describe,
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
EXECUTORS = {"local": LocalExecutor, "pool": PoolExecutor}


def ask(sql: str, **rest: Any) -> Job:
    arrow, limit, fetch = rest.pop("arrow", False), rest.pop("limit", None), rest.pop("fetch", True)
    action = Query(sql=sql, arrow=arrow, limit=limit, fetch=fetch)
    return Job(key="k", database="lake", default_schema="main", action=action, **rest)


@pytest.fixture(scope="module", params=[*EXECUTORS, "pool in sandbox"])
def executor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    folder = tmp_path_factory.mktemp("spill")
    settings = LakeSettings(
        warehouse="",
        catalog="",
        workers=2,
        memory_limit="300MB",
        temp_directory=str(folder),
        sandbox="sandbox" in request.param,
    )
    made = EXECUTORS[request.param.split()[0]](settings)
    yield made
    made.close()
    assert list(folder.iterdir()) == []


@pytest.fixture
def lease(executor: Executor) -> Iterator[Lease]:
    held = executor.lease(Requester(user="ann"))
    yield held
    held.release()


def test_rows_and_their_types(lease: Lease) -> None:
    result = lease.run(ask("SELECT i, 'x' || i AS s FROM range(3) t(i)"))
    assert result.rows == [(0, "x0"), (1, "x1"), (2, "x2")]
    assert len(result.rows) == 3
    assert [(c.name, c.type) for c in result.columns] == [("i", "BIGINT"), ("s", "VARCHAR")]


def test_no_rows_are_rows(lease: Lease) -> None:
    result = lease.run(ask("SELECT 1 AS a WHERE false"))
    assert list(result.rows) == []
    assert [c.name for c in result.columns] == ["a"]


def test_a_limit_and_no_rows_at_all(lease: Lease) -> None:
    assert len(lease.run(ask("FROM range(1000000)", limit=5)).rows) == 5
    assert len(lease.run(ask("FROM range(10)", limit=0)).rows) == 0
    assert len(lease.run(ask("FROM range(10)", fetch=False)).rows) == 0
    with pytest.raises(SqlError, match="Conversion"):
        lease.run(ask("SELECT CASE WHEN i = 99999 THEN 'x' ELSE '1' END::INT FROM range(100000) t(i)", fetch=False))


def test_counts_of_changed_rows(lease: Lease) -> None:
    assert lease.run(ask("CREATE TEMP TABLE t AS FROM range(5)")).rows_affected == 5
    assert lease.run(ask("DELETE FROM t WHERE range > 2")).rows_affected == 2
    assert lease.run(ask('SELECT count(*) AS "Count" FROM t')).rows == [(3,)]


def test_arrow_has_the_types_that_duckdb_gives(lease: Lease) -> None:
    sql = "SELECT true AS b, 1::HUGEINT AS h, uuid() AS u, now() AS t, '1'::BIT AS bit, 'a'::ENUM('a') AS e"
    table = lease.run(ask(sql, arrow=True)).arrow
    assert isinstance(table, pa.Table)
    with duckdb.connect() as direct:
        expected = direct.sql(sql).to_arrow_table()
    assert [field.type for field in table.schema][:3] == [field.type for field in expected.schema][:3]
    assert table.schema.names == expected.schema.names
    assert table["b"].to_pylist() == [True]


def test_a_description(lease: Lease) -> None:
    job = Job(key="k", database="lake", default_schema="main", action=Describe(sql="SELECT 1 AS a, [1.5] AS b"))
    assert [(c.name, c.type) for c in lease.run(job).columns] == [("a", "INTEGER"), ("b", "DECIMAL(2,1)[]")]


def test_errors_are_those_of_the_tree(lease: Lease) -> None:
    with pytest.raises(SqlError, match="nowhere"):
        lease.run(ask("FROM nowhere"))
    assert lease.run(ask("SELECT 1")).rows == [(1,)]


def test_sessions_keep_their_tables_and_settings_to_themselves(executor: Executor) -> None:
    first, second = executor.lease(), executor.lease()
    first.run(ask("CREATE TEMP TABLE mine AS SELECT 1 AS a"))
    first.run(ask("SET VARIABLE mine = 7"))
    second.run(ask("CREATE TEMP TABLE mine AS SELECT 2 AS a"))
    assert first.run(ask("FROM mine")).rows == [(1,)]
    assert second.run(ask("FROM mine")).rows == [(2,)]
    assert first.run(ask("SELECT getvariable('mine')")).rows == [(7,)]
    assert second.run(ask("SELECT getvariable('mine')")).rows == [(None,)]
    first.release()
    second.release()
    third = executor.lease()
    with pytest.raises(SqlError, match="mine"):
        third.run(ask("FROM mine"))
    third.release()


def test_definitions_are_there_in_every_job(lease: Lease) -> None:
    definitions = ("CREATE OR REPLACE TEMP MACRO twice(x) AS 2 * x",)
    for _ in range(3):
        assert lease.run(ask("SELECT twice(21)", definitions=definitions)).rows == [(42,)]


def test_a_cancelled_lease_runs_nothing_more(executor: Executor) -> None:
    lease = executor.lease()
    lease.run(ask("SELECT 1"))
    threading.Timer(0.3, lease.cancel).start()
    started = time.monotonic()
    with pytest.raises(JobCancelled):
        lease.run(ask(ENDLESS))
    assert time.monotonic() - started < 1.5
    with pytest.raises(JobCancelled):
        lease.run(ask("SELECT 1"))
    lease.release()
    lease.release()


def test_too_little_memory(lease: Lease) -> None:
    with pytest.raises(OutOfMemory):
        lease.run(
            ask("SELECT list(repeat('x', 100) || i) FROM range(10000000) t(i)", resources=Resources(memory="64MB"))
        )
    assert lease.run(ask("SELECT 1")).rows == [(1,)]


def test_a_jobs_limits_are_those_of_its_duckdb(lease: Lease) -> None:
    limits = ask(
        "SELECT current_setting('threads'), current_setting('memory_limit')",
        resources=Resources(cpus=1, memory="100MiB"),
    )
    assert lease.run(limits).rows == [(1, "100.0 MiB")]


def test_a_table_is_written_and_read(lease: Lease, tmp_path: Path) -> None:
    spec = TableSpec(location=uri_of(tmp_path / "t"), table_uuid="7e7a3b4e-52a5-4c83-8a5c-0f0a2b8f7d10")
    job = ask("")
    created = lease.run(
        Job(key="c", database="lake", default_schema="main", action=Create(spec=spec, sql="SELECT 1 AS a"))
    ).written
    assert created is not None
    appended = lease.run(
        Job(
            key="a",
            database="lake",
            default_schema="main",
            action=Append(base=created.metadata_location, sql="SELECT 2 AS a"),
        )
    ).written
    assert appended is not None
    assert (appended.rows, appended.rows_written) == (2, 1)
    assert [(c.name, c.type) for c in appended.columns] == [("a", "INTEGER")]
    assert job.key == "k"


def test_prints_of_a_python_model_are_heard_or_harmless(lease: Lease, tmp_path: Path) -> None:
    code = """
class dbtObj:
    def __init__(self, load): pass
def model(dbt, session):
    print("hello")
    return session.sql("SELECT 1 AS a")
"""
    spec = TableSpec(location=uri_of(tmp_path / "p"), table_uuid="7e7a3b4e-52a5-4c83-8a5c-0f0a2b8f7d11")
    action = Create(spec=spec, python=PythonCode(code=code, path="m.py"))
    heard: list[Progress | LogLine] = []
    written = lease.run(Job(key="p", database="lake", default_schema="main", action=action), heard.append).written
    assert written is not None
    assert written.rows == 1


def test_a_stream_gives_all_rows(lease: Lease) -> None:
    with lease.stream(ask("SELECT i, i % 7 = 0 AS b FROM range(500000) t(i)", arrow=True)) as stream:
        assert [(c.name, c.type) for c in stream.columns] == [("i", "BIGINT"), ("b", "BOOLEAN")]
        table = stream.reader().read_all()
    assert table["i"].to_numpy().sum() == 499999 * 500000 // 2
    assert table.schema.field("b").type == pa.bool_()
    assert lease.run(ask("SELECT 1")).rows == [(1,)]


def test_a_stream_is_an_ipc_stream(lease: Lease) -> None:
    with lease.stream(ask("FROM range(300000)", limit=250000)) as stream:
        parts = [bytes(part) for part in stream.ipc()]
    assert pa.ipc.open_stream(b"".join(parts)).read_all().num_rows == 250000


def test_a_stream_without_rows(lease: Lease) -> None:
    with lease.stream(ask("SELECT 1 AS a WHERE false")) as stream:
        assert stream.reader().read_all().num_rows == 0
    with lease.stream(ask("CREATE TEMP TABLE IF NOT EXISTS s AS SELECT 1")) as stream:
        assert stream.columns == ()
        assert b"".join(bytes(part) for part in stream.ipc()) == b""


def test_an_error_before_the_first_row_of_a_stream(lease: Lease) -> None:
    with pytest.raises(SqlError, match="nowhere"):
        lease.stream(ask("FROM nowhere"))
    assert lease.run(ask("SELECT 1")).rows == [(1,)]


def test_an_error_in_mid_stream(lease: Lease) -> None:
    late = "SELECT CASE WHEN i = 1999999 THEN 'x' ELSE '1' END::INT FROM range(2000000) t(i)"
    with lease.stream(ask(late)) as stream, pytest.raises(SqlError, match="Conversion"):
        stream.reader().read_all()
    with lease.stream(ask(late)) as stream, pytest.raises(SqlError, match="Conversion"):
        list(stream.ipc())
    assert lease.run(ask("SELECT 1")).rows == [(1,)]


def test_a_stream_that_nobody_reads_to_the_end(executor: Executor) -> None:
    lease = executor.lease()
    with lease.stream(ask("SELECT i, repeat('x', 50) FROM range(100000000) t(i)")) as stream:
        assert next(iter(stream.reader())).num_rows > 0
        started = time.monotonic()
    assert time.monotonic() - started < 1.5
    lease.release()


def test_what_arrow_cannot_hold_says_so_or_works(executor: Executor, lease: Lease) -> None:
    variant = ask("SELECT 1::VARIANT AS v")
    if isinstance(executor, LocalExecutor):
        assert lease.run(variant).rows == [(1,)]
    else:
        with pytest.raises(SqlError, match=r"VARIANT.*cast"):
            lease.run(variant)
    assert lease.run(ask("SELECT 1")).rows == [(1,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT row(1, 2) AS a, true AS b",
        "SELECT 1 AS a, 2 AS a",
        "SELECT [], NULL, {'a': NULL}",
        "VALUES (1), (2)",
        "SELECT 1; SELECT 2",
        "DESCRIBE SELECT 1 AS a",
        "EXPLAIN SELECT 1",
    ],
)
def test_answers_are_those_of_an_embedded_lake(executor: Executor, lease: Lease, tmp_path: Path, sql: str) -> None:
    local = LocalExecutor(LakeSettings(warehouse="", catalog="", memory_limit="100MB", temp_directory=str(tmp_path)))
    with local.lease() as direct:
        expected = direct.run(ask(sql))
    local.close()
    try:
        answer = lease.run(ask(sql))
    except SqlError:
        assert ";" in sql, "only a sandbox refuses, and only several statements"
        return
    assert repr(list(answer.rows)) == repr(list(expected.rows))
    assert answer.columns == expected.columns
