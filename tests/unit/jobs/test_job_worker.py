"""A worker: sessions kept apart, inputs bound afresh, errors in words, jobs that end when told to."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbt.adapters.lakehouse.errors import ConfigError, JobCancelled, OutOfMemory, PythonModelError, SqlError
from dbt.adapters.lakehouse.jobs.job import (
    Append,
    Create,
    Describe,
    Edit,
    Input,
    Job,
    JobResult,
    LogLine,
    PythonCode,
    Query,
    job_from_json,
    job_to_json,
)
from dbt.adapters.lakehouse.jobs.worker import Worker
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.tables.values import Column, TableSpec

UUID = "4c6f1c6e-0000-4000-8000-000000000001"
ORDERED = "SELECT current_setting('preserve_insertion_order')"
SLOW = "SELECT count(*) FROM range(1000000) a(i), range(1000000) b(j) WHERE i + j < 0"


@pytest.fixture(params=[False, True], ids=["plain", "sandbox"])
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> LakeSettings:
    return LakeSettings(
        warehouse=f"file://{tmp_path}",
        catalog="",
        memory_limit="500MB",
        temp_directory=str(tmp_path),
        sandbox=request.param,
    )


@pytest.fixture
def worker(settings: LakeSettings) -> Iterator[Worker]:
    worker = Worker(settings)
    worker.begin()
    yield worker
    worker.close()


def job(action: Query | Create | Describe | Append | Edit, *inputs: Input, setup: tuple[str, ...] = ()) -> Job:
    return Job(key="k", database="lake", default_schema="s", action=action, inputs=inputs, setup=setup)


def query(worker: Worker, sql: str, *inputs: Input) -> JobResult:
    return worker.run(job(Query(sql=sql), *inputs))


def create(worker: Worker, tmp_path: Path, name: str, **source: object) -> Input:
    spec = TableSpec(location=f"file://{tmp_path}/{name}", table_uuid=UUID)
    written = worker.run(job(Create(spec=spec, **source))).written  # type: ignore[arg-type]
    assert written is not None
    return Input(database="lake", schema="s", name=name, metadata_location=written.metadata_location)


def test_temporary_tables_and_settings_end_with_the_session(worker: Worker) -> None:
    query(worker, "CREATE TEMP TABLE tt AS SELECT 1 AS a")
    query(worker, "SET VARIABLE v = 7")
    assert query(worker, "SELECT a, getvariable('v') FROM tt").rows == [(1, 7)]
    worker.end()
    worker.begin()
    assert query(worker, "SELECT getvariable('v')").rows == [(None,)]
    with pytest.raises(SqlError, match="tt does not exist"):
        query(worker, "SELECT * FROM tt")


def test_a_session_that_left_nothing_behind_leaves_its_connection_to_the_next(tmp_path: Path) -> None:
    worker = Worker(LakeSettings(warehouse=f"file://{tmp_path}", catalog="", memory_limit="500MB"))
    made = []
    for name, also in (("a", None), ("b", None), ("c", "SET VARIABLE v = 7"), ("d", None)):
        worker.begin()
        made.append(create(worker, tmp_path, name, sql="SELECT current_connection_id() AS id"))
        if also is not None:
            query(worker, also)
        worker.end()
    worker.begin()
    (a, b, c, d), *_ = query(worker, "SELECT a.id, b.id, c.id, d.id FROM a, b, c, d", *made).rows
    worker.close()
    assert a == b == c != d


def test_a_setting_for_the_whole_worker_is_minded_by_later_sessions(worker: Worker, tmp_path: Path) -> None:
    def files() -> list[str]:
        name = f"t{time.monotonic_ns()}"
        create(worker, tmp_path, name, sql="SELECT 1 AS a")
        return [file.name for file in (tmp_path / name / "data").rglob("*.parquet")]

    assert files()[0].startswith("00000")
    query(worker, "SET preserve_insertion_order = false")
    assert not files()[0].startswith("00000")
    worker.end()
    worker.begin()
    assert files()[0].startswith("00000") == (query(worker, ORDERED).rows == [(True,)])


def test_a_seed_ends_with_the_session(worker: Worker, tmp_path: Path) -> None:
    query(worker, "SELECT setseed(0.42)")
    [[seeded]] = query(worker, "SELECT random()").rows
    worker.end()
    worker.begin()
    create(worker, tmp_path, "t", sql="SELECT setseed(0.42)::varchar AS s")
    worker.end()
    worker.begin()
    assert query(worker, "SELECT random()").rows != [(seeded,)]


def test_a_job_sees_its_own_inputs_only(worker: Worker, tmp_path: Path) -> None:
    one = create(worker, tmp_path, "one", sql="SELECT 1 AS a")
    two = create(worker, tmp_path, "two", sql="SELECT 'x' AS a, 2 AS b")
    view = Input(database="lake", schema="s", name="v", sql="SELECT a FROM s.one", is_view=True)
    assert query(worker, "SELECT * FROM v", one, view).rows == [(1,)]
    moved = Input(database="lake", schema="s", name="one", metadata_location=two.metadata_location)
    assert query(worker, "SELECT * FROM v", moved, view).rows == [("x",)]
    with pytest.raises(SqlError, match="v does not exist"):
        query(worker, "SELECT * FROM v", one)
    elsewhere = Input(database="lake@v1", schema="s", name="one", metadata_location=two.metadata_location)
    assert query(worker, 'SELECT o.a, e.b FROM one o, "lake@v1".s.one e', one, elsewhere).rows == [(1, 2)]


def test_relations_by_name_alone_answer_questions_to_the_catalog(worker: Worker) -> None:
    columns = (Column(name="a", type="DECIMAL(10,2)"), Column(name="b c", type="STRUCT(x INTEGER)[]"))
    table = Input(database="lake", schema="s", name="t", columns=columns)
    view = Input(database="lake", schema="s", name="v", columns=columns, is_view=True)
    sql = "SELECT table_name, table_type FROM information_schema.tables WHERE table_catalog = 'lake' ORDER BY 1"
    assert query(worker, sql, table, view).rows == [("t", "BASE TABLE"), ("v", "VIEW")]
    assert query(worker, sql).rows == []
    assert worker.run(job(Describe(sql="SELECT * FROM t"), table)).columns[0].type == "DECIMAL(10,2)"


def test_an_edit_that_fails_leaves_the_worker_fit_for_the_next(worker: Worker, tmp_path: Path) -> None:
    table = create(worker, tmp_path, "t", sql="SELECT i AS a FROM range(5) r(i)")
    for statement in ("UPDATE s.t SET a = error('on purpose')", "UPDATE s.t SET nope = 1", "nonsense"):
        with pytest.raises(SqlError):
            worker.run(job(Edit(target=table, matching=None, statements=(statement,))))
        assert query(worker, "SELECT count(*) FROM s.t", table).rows == [(5,)]
    done = worker.run(job(Edit(target=table, matching="a < 3", alias="t", statements=("DELETE FROM s.t WHERE a < 3",))))
    assert done.rows_affected == 3
    assert done.written is not None
    assert done.written.rows == 2


@pytest.mark.parametrize("sql", [SLOW, f"CREATE TEMP TABLE x AS {SLOW}", f"SELECT 1; {SLOW}"])
def test_cancel_interrupts(worker: Worker, sql: str) -> None:
    timer = threading.Timer(0.3, worker.cancel)
    timer.start()
    started = time.monotonic()
    with pytest.raises(JobCancelled, match="while it ran"):
        query(worker, sql)
    assert time.monotonic() - started < 5
    with pytest.raises(JobCancelled, match="before this job started"):
        query(worker, "SELECT 1")
    assert worker.cancelled
    worker.end()
    worker.begin()
    assert query(worker, "SELECT 1").rows == [(1,)]


def test_cancel_finds_a_job_between_two_statements(worker: Worker) -> None:
    code = (
        f"def model(dbt, s):\n    import time\n    time.sleep(0.5)\n    return s.sql('{SLOW}')\ndef dbtObj(f): pass\n"
    )
    spec = TableSpec(location="file:///nowhere", table_uuid=UUID)
    threading.Timer(0.2, worker.cancel).start()
    with pytest.raises(JobCancelled):
        worker.run(job(Create(spec=spec, python=PythonCode(code=code, path="m.py"))))


def test_no_room_is_said_in_words(tmp_path: Path) -> None:
    worker = Worker(
        LakeSettings(warehouse="", catalog="", memory_limit="40MB", duckdb_settings={"max_temp_directory_size": "0KB"})
    )
    worker.begin()
    with pytest.raises(OutOfMemory, match="limit of 40MB"):
        query(
            worker,
            "CREATE TEMP TABLE x AS SELECT hash(i) AS h, repeat('x', 99) || i FROM range(2000000) r(i) ORDER BY h",
        )
    assert query(worker, "SELECT 1").rows == [(1,)]
    worker.close()


def test_python_errors_point_at_the_users_line(worker: Worker) -> None:
    code = "def inner():\n    raise KeyError('gone')\ndef model(dbt, s):\n    return inner()\ndef dbtObj(f): pass\n"
    spec = TableSpec(location="file:///nowhere", table_uuid=UUID)
    with pytest.raises(PythonModelError) as caught:
        worker.run(job(Create(spec=spec, python=PythonCode(code=code, path="/p/models/m.py"))))
    message = str(caught.value)
    assert 'File "/p/models/m.py", line 2, in inner' in message
    assert message.endswith("KeyError: 'gone'")
    assert "python_model.py" not in message


@pytest.mark.parametrize(
    "value",
    [
        "s.sql('SELECT 1 AS a')",
        "s.sql('SELECT 1 AS a').to_arrow_table()",
        "s.sql('SELECT 1 AS a').to_arrow_reader()",
        "s.sql('SELECT 1 AS a').df()",
        "s.sql('SELECT 1 AS a').pl()",
        "s.sql('SELECT 1 AS a').pl().lazy()",
        "s.sql('SELECT 1 AS a').pl(lazy=True)",
        "s.sql('SELECT 1 AS a').to_arrow_table().to_batches()[0]",
        "__import__('pyarrow.dataset').dataset.dataset(s.sql('SELECT 1 AS a').to_arrow_table())",
        "s.sql('SELECT 1 AS a').df().convert_dtypes(dtype_backend='pyarrow')",
        "__import__('duckdb').sql('SELECT 1 AS a')",
        "__import__('duckdb').sql('SELECT 1 AS a').to_arrow_reader()",
    ],
)
def test_python_models_may_return_any_table(worker: Worker, tmp_path: Path, value: str) -> None:
    code = f"def model(dbt, s):\n    return {value}\ndef dbtObj(f): pass\n"
    table = create(worker, tmp_path, "t", python=PythonCode(code=code, path="m.py"))
    assert query(worker, "SELECT * FROM t", table).rows == [(1,)]


@pytest.mark.parametrize("value", ["None", "{'a': 1}", "[1]", "s", "s.sql('SELECT 1 AS a').df().a"])
def test_python_models_may_not_return_anything_else(worker: Worker, value: str) -> None:
    code = f"def model(dbt, s):\n    return {value}\ndef dbtObj(f): pass\n"
    spec = TableSpec(location="file:///nowhere", table_uuid=UUID)
    with pytest.raises(PythonModelError, match="the model returned a"):
        worker.run(job(Create(spec=spec, python=PythonCode(code=code, path="m.py"))))


def test_settings_that_duckdb_refuses_are_named(settings: LakeSettings) -> None:
    with pytest.raises(ConfigError, match="'nonsense'"):
        Worker(LakeSettings(warehouse="", catalog="", duckdb_settings={"nonsense": "1"}))


def test_a_job_survives_its_json_form() -> None:
    spec = TableSpec(location="file:///x", table_uuid=UUID, partition_by=("day(a)",), properties={"a": "b"})
    table = Input(database="lake", schema="s", name="t", columns=(Column(name="a", type="INT"),))
    for action in (
        Query(sql="SELECT 1", limit=3),
        Create(spec=spec, python=PythonCode(code="x", path="y")),
        Append(base="file:///x", sql="SELECT 1", overwrite=True, on_schema_change="fail"),
        Edit(target=table, matching=None, statements=("DELETE FROM t",), incoming=("a",)),
    ):
        there = job(action, table, setup=("SET x = 1",))
        assert job_from_json(job_to_json(there)) == there
    with pytest.raises(ValueError, match="not a job"):
        job_from_json('{"key": 1}')


def test_a_relation_whose_name_changes_only_its_case_is_bound_anew(worker: Worker, tmp_path: Path) -> None:
    upper = create(worker, tmp_path, "Foo", sql="SELECT 1 AS a")
    lower = dataclasses.replace(upper, name="foo")
    catalog = "SELECT table_name FROM information_schema.tables WHERE table_catalog = 'lake'"
    assert query(worker, catalog, upper).rows == [("Foo",)]
    assert query(worker, catalog, lower).rows == [("foo",)]
    assert query(worker, "SELECT a FROM foo", lower).rows == [(1,)]
    with pytest.raises(SqlError, match="foo does not exist"):
        query(worker, "SELECT a FROM foo")
    edit = Edit(target=dataclasses.replace(upper, name="FOO"), matching=None, statements=("UPDATE FOO SET a = 2",))
    assert worker.run(job(edit, upper)).rows_affected == 1
    assert query(worker, "SELECT a FROM foo", upper).rows == [(1,)]


def test_what_a_job_prints_cannot_move_a_terminals_cursor() -> None:
    assert str(LogLine(text="gone\x1b[2J\x07 \u202ebackwards\té")) == "gone\\x1b[2J\\x07 \\u202ebackwards\té"
