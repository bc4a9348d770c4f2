"""What a session may do in the sandbox, and what it keeps when its DuckDB is exchanged for another one."""

from __future__ import annotations

import http.server
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pytest

from dbt.adapters.lakehouse.errors import ConfigError, JobCancelled, OutOfMemory, SandboxError, SqlError
from dbt.adapters.lakehouse.jobs.job import (
    Action,
    Alter,
    Alteration,
    Append,
    Create,
    Edit,
    Input,
    Job,
    JobResult,
    LogLine,
    Progress,
    PythonCode,
    Query,
    Resources,
)
from dbt.adapters.lakehouse.jobs.luggage import stored_columns
from dbt.adapters.lakehouse.jobs.worker import Worker
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.tables.values import Column, Constraints, TableSpec

UUID = "4c6f1c6e-0000-4000-8000-000000000001"
SLOW = "SELECT count(*) FROM range(1000000) a(i), range(1000000) b(j) WHERE i + j < 0"


class Session:
    """A worker in its sandbox."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.spill = folder / "spill"
        self.spill.mkdir(exist_ok=True)
        self.number = 0
        self.worker = Worker(
            LakeSettings(
                **{
                    "warehouse": f"file://{folder}",
                    "catalog": "",
                    "memory_limit": "300MB",
                    "temp_directory": str(self.spill),
                    "sandbox": True,
                    **settings,
                }
            )
        )
        self.worker.begin()

    def run(self, action: Action, *inputs: Input, watch: Any = None, **more: Any) -> JobResult:
        job = Job(key="k", database="lake", default_schema="s", action=action, inputs=inputs, **more)
        return self.worker.run(job, watch)

    def query(self, sql: str, *inputs: Input, **more: Any) -> list[tuple[Any, ...]]:
        return list(self.run(Query(sql=sql), *inputs, **more).rows)

    def table(self, name: str, written: Any) -> Input:
        assert written is not None
        return Input(database="lake", schema="s", name=name, metadata_location=written.metadata_location)

    def create(self, name: str, sql: str, *inputs: Input, spec: dict[str, Any] | None = None, **more: Any) -> Input:
        self.number += 1
        made = TableSpec(location=f"file://{self.folder}/{name}/{self.number}", table_uuid=UUID, **(spec or {}))
        return self.table(name, self.run(Create(spec=made, sql=sql), *inputs, **more).written)

    def move(self) -> None:
        """Make the worker take another DuckDB."""
        before = self.worker._engine
        table = self.create("moved", "SELECT 1 AS a")
        self.query("SELECT * FROM moved", table)
        assert self.worker._engine is not before


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    session = Session(tmp_path)
    yield session
    session.worker.close()


# what moves along


def test_tables_of_every_type_move_along(session: Session) -> None:
    session.query("CREATE TEMP TABLE every AS FROM test_all_types()")
    session.query("CREATE TABLE memory.main.plain AS FROM test_all_types()")
    said = [session.query(f"DESCRIBE {name}") for name in ("every", "memory.main.plain")]
    text = session.query("SELECT every::VARCHAR FROM every")
    session.move()
    assert [session.query(f"DESCRIBE {name}") for name in ("every", "memory.main.plain")] == said
    assert session.query("SELECT every::VARCHAR FROM every") == text
    assert len(text) == 3
    session.move()
    assert session.query("SELECT every::VARCHAR FROM every") == text


def test_what_a_table_promises_moves_along(session: Session) -> None:
    session.query("CREATE TEMP SEQUENCE counter")
    session.query(
        "CREATE TEMP TABLE strict (a INT PRIMARY KEY, n INT DEFAULT nextval('counter'), twice INT GENERATED ALWAYS AS (a * 2), "
        '"b,(" VARCHAR NOT NULL CHECK ("b,(" <> \'x\'))'
    )
    session.query("INSERT INTO strict (a, \"b,(\") VALUES (1, 'one')")
    session.query("CREATE INDEX found ON strict (n)")
    session.move()
    session.query("INSERT INTO strict (a, \"b,(\") VALUES (2, 'two')")
    assert session.query("SELECT a, n, twice FROM strict ORDER BY a") == [(1, 1, 2), (2, 2, 4)]
    for broken in ("(1, 'again')", "(3, NULL)", "(3, 'x')"):
        with pytest.raises(SqlError, match="onstraint"):
            session.query(f'INSERT INTO strict (a, "b,(") VALUES {broken}')
    assert session.query("SELECT index_name FROM duckdb_indexes()") == [("found",)]


def test_views_macros_types_variables_and_settings_move_along(session: Session) -> None:
    table = session.create("t", "SELECT range AS a FROM range(5)")
    session.query("CREATE TEMP VIEW big AS SELECT a FROM s.t WHERE a > 2", table)
    session.query("CREATE TEMP VIEW bigger AS SELECT a FROM big WHERE a > 3", table)
    session.query("CREATE TYPE mood AS ENUM ('good', 'bad')")
    session.query("CREATE MACRO twice(x) AS x * 2")
    session.query("CREATE TEMP MACRO thrice(x) AS x * 3")
    session.query("SET VARIABLE chosen = [1, 2]::TINYINT[]")
    session.query('SET VARIABLE "o\'dd" = NULL')
    session.query("PREPARE asked AS SELECT 7")
    session.query("SET TimeZone = 'Asia/Kathmandu'")
    session.query("SET default_null_order = 'nulls_first'")
    for _ in range(2):
        session.move()
        assert session.query("SELECT * FROM bigger", table) == [(4,)]
        assert session.query("SELECT twice(4), thrice(4), 'bad'::mood::VARCHAR") == [(8, 12, "bad")]
        assert session.query("SELECT getvariable('chosen'), typeof(getvariable('chosen'))") == [([1, 2], "TINYINT[]")]
        assert session.query("EXECUTE asked") == [(7,)]
        assert session.query("SELECT '2020-01-01 00:00:00+00'::TIMESTAMPTZ::VARCHAR") == [
            ("2020-01-01 05:45:00+05:45",)
        ]
        assert session.query("SELECT a FROM (VALUES (1), (NULL)) v(a) ORDER BY a") == [(None,), (1,)]
    session.query("RESET TimeZone")
    assert session.query("SELECT current_setting('TimeZone')") != [("Asia/Kathmandu",)]
    session.query("DROP VIEW bigger")
    session.move()
    with pytest.raises(SqlError, match="bigger does not exist"):
        session.query("SELECT * FROM bigger", table)


@pytest.mark.parametrize(
    "said",
    [
        "SET TIME ZONE 'Asia/Kathmandu'",
        "SET SESSION timezone TO 'Asia/Kathmandu'",
        "set \"TimeZone\"='Asia/Kathmandu'",
        "SET GLOBAL TimeZone = 'Asia/Kathmandu'",
    ],
)
def test_settings_are_known_however_they_are_spelled(session: Session, said: str) -> None:
    session.query(said)
    zone = "SELECT current_setting('TimeZone')"
    assert session.query(zone) == [("Asia/Kathmandu",)]
    session.move()
    session.query("RESET TimeZone")
    assert session.query(zone) != [("Asia/Kathmandu",)]
    with pytest.raises(SqlError, match=r"(?i)unknown timezone"):
        session.query("SET TimeZone = 'Nowhere'")
    assert session.query(zone) != [("Nowhere",)]


def test_headers_and_definitions_hold_in_every_duckdb(session: Session) -> None:
    definitions = ("CREATE OR REPLACE MACRO plus(x) AS x + 1",)
    setup = ("SET TimeZone = 'Europe/Berlin'; CREATE TEMP TABLE head AS SELECT 3 AS a; SET VARIABLE v = 4",)
    sql = "SELECT plus(a) AS b, getvariable('v') AS v, current_setting('TimeZone') AS z FROM head"
    one = session.create("one", sql, definitions=definitions, setup=setup)
    assert session.query("SELECT * FROM one", one, definitions=definitions) == [(4, 4, "Europe/Berlin")]
    two = session.create("two", sql, definitions=definitions)
    assert session.query("SELECT * FROM two", two, definitions=definitions) == [(4, 4, "Europe/Berlin")]


def test_nothing_moves_along_to_the_next_session(session: Session) -> None:
    table = session.create("t", "SELECT 1 AS a")
    assert session.query("SELECT * FROM t", table) == [(1,)]
    for made in (
        "CREATE TEMP TABLE mine AS SELECT 1 AS a",
        "CREATE TABLE memory.main.kept AS SELECT 1 AS a",
        "CREATE MACRO told() AS 1",
        "SET TimeZone = 'Asia/Kathmandu'",
        "SET VARIABLE v = 1",
    ):
        session.query(made)
    files = [str(path) for path in session.folder.rglob("*.parquet")]
    session.worker.end()
    session.worker.begin()
    assert session.query("SELECT getvariable('v'), current_setting('TimeZone') = 'Asia/Kathmandu'") == [(None, False)]
    for gone in ("SELECT * FROM mine", "SELECT * FROM memory.main.kept", "SELECT told()", "SELECT * FROM t"):
        with pytest.raises(SqlError, match="does not exist"):
            session.query(gone)
    for file in files:
        with pytest.raises(SandboxError):
            session.query(f"SELECT * FROM '{file}'")


def test_a_duckdb_is_kept_while_it_will_do(session: Session) -> None:
    table = session.create("t", "SELECT 1 AS a")
    session.query("SELECT * FROM t", table)
    engine = session.worker._engine
    session.query("SELECT 1")
    session.query("SELECT * FROM t", table)
    assert session.worker._engine is engine
    session.query("SELECT 1", resources=Resources(cpus=1))
    assert session.worker._engine is not engine


def again(session: Session) -> None:
    """The session ends, and somebody else's begins."""
    session.worker.end()
    session.worker.begin()


def test_a_session_that_left_nothing_hands_its_duckdb_to_one_that_needs_the_same_files(session: Session) -> None:
    table, other = session.create("t", "SELECT 1 AS a"), session.create("u", "SELECT 2 AS b")
    again(session)
    session.query("SELECT * FROM t", table)
    engine = session.worker._engine
    again(session)
    assert session.query("SELECT * FROM t", table) == [(1,)]
    assert session.worker._engine is engine
    again(session)
    # Less than what the one before was allowed to open is not the same.
    assert session.query("SELECT 3") == [(3,)]
    assert session.worker._engine is not engine
    with pytest.raises(SandboxError):
        session.query(f"SELECT * FROM '{next(session.folder.rglob('t/**/*.parquet'))}'")
    again(session)
    assert session.query("SELECT * FROM u", other) == [(2,)]


@pytest.mark.parametrize(
    "sql", ["CREATE TEMP TABLE left_behind AS SELECT 1", "SET VARIABLE v = 1", "SET TimeZone = 'Asia/Kathmandu'"]
)
def test_a_session_that_left_something_takes_its_duckdb_along(session: Session, sql: str) -> None:
    session.query("SELECT 1")
    session.query(sql)
    engine = session.worker._engine
    again(session)
    assert session.query("SELECT getvariable('v'), current_setting('TimeZone') = 'Asia/Kathmandu'") == [(None, False)]
    assert session.worker._engine is not engine


def test_a_session_whose_job_failed_takes_its_duckdb_along(session: Session) -> None:
    with pytest.raises(SqlError):
        session.query("SELECT error('on purpose')")
    engine = session.worker._engine
    again(session)
    assert session.query("SELECT 1") == [(1,)]
    assert session.worker._engine is not engine


def test_what_is_only_written_needs_no_other_duckdb_and_leaves_no_staging(session: Session) -> None:
    session.query("SELECT 1")
    engine = session.worker._engine
    made = [
        session.create(f"t{n}", "SELECT range AS a FROM range(100)", spec={"partition_by": ("bucket(2, a)",)})
        for n in range(2)
    ]
    assert session.worker._engine is engine
    assert session.query("SELECT sum(a) FROM t0 JOIN t1 USING (a)", *made) == [(4950,)]
    again(session)
    session.worker.close()
    assert not list(session.folder.rglob(".staging/*"))


# writes


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"partition_by": ("part",)},
        {"partition_by": ("bucket(4, id)", "part"), "sort_by": ("id desc",)},
        {"partition_by": ("day(at)",), "properties": {"write.target-file-size-bytes": "100000"}},
        {"properties": {"write.target-file-size-bytes": "100000"}},
        {"constraints": Constraints(unique=(("id",),), not_null=("id",), checks=(("", "id >= 0"),), table="t")},
    ],
)
def test_every_kind_of_write_works(session: Session, spec: dict[str, Any]) -> None:
    rows = "SELECT i AS id, i % 3 AS part, TIMESTAMP '2020-01-01' + INTERVAL (i % 5) DAY AS at FROM range({}, {}) r(i)"
    constraints = spec.get("constraints", Constraints())
    table = session.create("t", rows.format(0, 30_000), spec=spec)

    def act(action: Action, *inputs: Input) -> Input:
        return session.table("t", session.run(action, table, *inputs).written)

    table = act(Append(base=_at(table), sql=rows.format(30_000, 30_010), constraints=constraints))
    wider = rows.format(30_010, 30_020).replace(" FROM", ", 'x' AS extra FROM")
    table = act(Append(base=_at(table), sql=wider, on_schema_change="append_new_columns", constraints=constraints))
    other = wider.replace("i AS id", "i::DECIMAL(20,2) AS id").replace("30010", "30020").replace("30020)", "30030)")
    if "bucket(4, id)" not in spec.get("partition_by", ()) and not spec.get("sort_by"):
        table = act(Append(base=_at(table), sql=other, on_schema_change="sync_all_columns", constraints=constraints))
    update = "UPDATE s.t SET extra = 'new' WHERE id < 5"
    table = act(Edit(target=table, matching="id < 5", statements=(update,), constraints=constraints))
    delete = "DELETE FROM s.t WHERE id >= 25000 AND id < 25100"
    table = act(Edit(target=table, matching="id >= 25000 AND id < 25100", statements=(delete,)))
    merge = (
        "MERGE INTO s.t USING fresh ON t.id = fresh.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT BY NAME"
    )
    source = wider.replace("30010", "2").replace("30020", "4") + " UNION ALL " + wider.replace("300", "500")
    table = act(
        Edit(
            target=table,
            matching=None,
            statements=(merge,),
            source="fresh",
            sql=source,
            on_schema_change="append_new_columns",
        )
    )
    table = act(Edit(target=table, matching="id = 7", statements=()))
    alterations = (Alteration(what="rename_column", column="extra", to="more"), Alteration(what="comment", to="x"))
    table = act(Alter(base=_at(table), alterations=alterations))
    before = session.query("SELECT count(*), count(more), min(id), max(id) FROM s.t", table)
    assert before[0][0] > 29_900
    if "part" in str(spec.get("partition_by")):
        overwrite = "SELECT * FROM s.t"
        table = act(Append(base=_at(table), sql=overwrite, overwrite=True))
        assert session.query("SELECT count(*), count(more), min(id), max(id) FROM s.t", table) == before
    layout = TableSpec(location="file:///unused", table_uuid=UUID)
    table = act(Create(spec=layout, sql="SELECT * FROM s.t", replaces=_at(table), keeps_layout=True))
    assert session.query("SELECT count(*), count(more), min(id), max(id) FROM s.t", table) == before
    session.query("SELECT * FROM s.t LIMIT 1", table)


def _at(table: Input) -> str:
    assert table.metadata_location is not None
    return table.metadata_location


def test_odd_names_of_folders_are_allowed_for_what_they_are(tmp_path: Path) -> None:
    for name in ("star*", "[1]", "o'clock", "a b", "ünï", "per%20cent"):
        folder = tmp_path / name
        folder.mkdir()
        session = Session(folder)
        one = session.create("t", "SELECT 1 AS a", spec={"partition_by": ("a",)})
        two = session.create("u", "SELECT a + 1 AS a FROM t", one)
        assert session.query("SELECT * FROM t UNION ALL SELECT * FROM u ORDER BY 1", one, two) == [(1,), (2,)]
        session.worker.close()


def test_a_pivot_whose_columns_come_from_the_data(session: Session) -> None:
    table = session.create("t", "SELECT unnest(['x', 'y', 'x']) AS k, 1 AS v")
    pivoted = session.create("p", "PIVOT t ON k USING sum(v)", table)
    assert session.query("SELECT * FROM p", pivoted) == [(2, 1)]
    assert session.query("PIVOT t ON k USING sum(v)", table) == [(2, 1)]


def test_python_models_and_arrow_files(session: Session) -> None:
    import pyarrow as pa

    table = session.create("t", "SELECT 20 AS a")
    code = (
        "def model(dbt, s):\n    frame = dbt.ref('t').df()\n    frame['c'] = frame['a'] + 1\n    return frame[['c']]\n"
    )
    code += "class dbtObj:\n    def __init__(self, load):\n        self.ref = lambda name: load('s.' + name)\n"
    spec = TableSpec(location=f"file://{session.folder}/py", table_uuid=UUID)
    answer = session.run(Create(spec=spec, python=PythonCode(code=code, path="m.py")), table)
    assert session.query("SELECT * FROM py", session.table("py", answer.written)) == [(21,)]
    file = session.folder / "rows.arrow"
    with pa.OSFile(str(file), "wb") as out, pa.ipc.new_stream(out, pa.schema({"a": pa.int64()})) as stream:
        stream.write_table(pa.table({"a": [5]}))
    spec = TableSpec(location=f"file://{session.folder}/ar", table_uuid=UUID)
    answer = session.run(Create(spec=spec, arrow=str(file)))
    assert session.query("SELECT * FROM ar", session.table("ar", answer.written)) == [(5,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM information_schema.tables",
        "SELECT column_name FROM duckdb_columns() LIMIT 1",
        "DESCRIBE SELECT 1",
        "SUMMARIZE SELECT 1 AS a",
        "SHOW TABLES",
        "SHOW ALL TABLES",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "EXPLAIN (FORMAT json) SELECT 1",
        "PRAGMA version",
        "PRAGMA table_info('mirror')",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM query_table('mirror')",
        "CALL pragma_version()",
        "SELECT current_setting('threads')",
        "SELECT 'read_text(''x'')' AS text, \"read_text\".a FROM (SELECT 1 AS a) AS read_text -- enable_logging()",
        "SELECT list_transform([1], lambda x: x + 1), strftime(now(), '%Y'), json_extract('{\"a\": 1}', '$.a')",
        "FROM range(3)",
        "VALUES (1)",
        "SELECT regexp_matches('a', 'a'), md5('x'), uuid() IS NOT NULL, timezone('Asia/Tokyo', now()) IS NOT NULL",
    ],
)
def test_what_is_harmless_is_let_through(session: Session, sql: str) -> None:
    mirror = Input(database="lake", schema="s", name="mirror", columns=(Column(name="a", type="INTEGER"),))
    session.query(sql, mirror)


# what the outside may be


def external(session: Session, sql: str, **more: Any) -> list[tuple[Any, ...]]:
    table = session.create("outside", sql, external_access=True, **more)
    return session.query("SELECT * FROM outside", table)


def test_external_access_needs_both_sides(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "x.csv").write_text("a\n1\n")
    (tmp_path / "shut.csv").write_text("a\n2\n")
    sql = f"SELECT * FROM read_csv('{tmp_path}/open/x.csv')"
    shut = f"SELECT * FROM read_csv('{tmp_path}/shut.csv')"
    session = Session(tmp_path)
    with pytest.raises(SandboxError, match="declares external_access, and this service allows none"):
        external(session, sql)
    session.worker.close()
    session = Session(tmp_path, external_access=(f"{tmp_path}/open",))
    with pytest.raises(SandboxError, match=r"read_csv\(\) is refused.*external_access: true"):
        session.create("t", sql)
    assert external(session, sql) == [(1,)]
    for path in ("../shut.csv", "../open/../shut.csv"):
        with pytest.raises(SandboxError, match="file system operations are disabled"):
            external(session, f"SELECT * FROM read_csv('{tmp_path}/open/{path}')")
    with pytest.raises(SandboxError):
        external(session, shut)
    with pytest.raises(SandboxError):
        session.query(sql)
    session.worker.close()
    session = Session(tmp_path, external_access=("*",))
    assert external(session, shut) == [(2,)]
    for refused in ("SELECT * FROM enable_logging()", f"COPY (SELECT 1) TO '{tmp_path}/open/out.csv'"):
        with pytest.raises(SandboxError):
            external(session, refused)
    with pytest.raises(SandboxError):
        session.query(shut)
    assert sorted(path.name for path in (tmp_path / "open").iterdir()) == ["x.csv"]
    session.worker.close()


@pytest.mark.parametrize(
    "entry", ["s3://bucket/", "https://", "https://host/x?y=1", "relative/folder", "/", "ftp://host/"]
)
def test_external_access_that_would_allow_more_is_refused(tmp_path: Path, entry: str) -> None:
    with pytest.raises(ConfigError, match="external_access"):
        Session(tmp_path, external_access=(entry,))
    assert list((tmp_path / "spill").iterdir()) == []


class Pages(http.server.BaseHTTPRequestHandler):
    """A CSV file under every address."""

    calls: ClassVar[list[str]] = []

    def answer(self) -> None:
        self.calls.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"a\n5\n")

    do_GET = do_HEAD = answer  # noqa: N815  # http.server's names

    def log_message(self, *_: object) -> None:
        pass


def test_addresses_below_a_prefix_can_be_read(tmp_path: Path) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    host = f"http://127.0.0.1:{server.server_port}"
    session = Session(tmp_path, extensions=("httpfs",), external_access=(f"{host}/open/",))
    try:
        assert external(session, f"SELECT * FROM read_csv('{host}/open/x.csv')") == [(5,)]
        Pages.calls.clear()
        for shut in (f"{host}/shut.csv", f"{host}/opened.csv", f"{host}1/open/x.csv", "/etc/passwd", "s3://b/x.csv"):
            with pytest.raises(SandboxError):
                external(session, f"SELECT * FROM read_csv('{shut}')")
        with pytest.raises(SandboxError):
            session.query(f"SELECT * FROM '{host}/open/x.csv'")
        assert Pages.calls == []
    finally:
        session.worker.close()
        server.shutdown()
        thread.join()
        server.server_close()


# limits


def test_limits_are_the_jobs_own(session: Session) -> None:
    ask = "SELECT current_setting('threads'), current_setting('memory_limit')"
    own = session.query(ask)
    assert session.query(ask, resources=Resources(cpus=1, memory="100MB")) == [(1, "95.3 MiB")]
    assert session.query(ask) == own
    with pytest.raises(ConfigError, match="memory 'much'"):
        session.query(ask, resources=Resources(memory="much"))
    assert session.query(ask) == own


@pytest.mark.parametrize("sandbox", [True, False])
def test_memory_that_ran_out_is_named(tmp_path: Path, sandbox: bool) -> None:
    session = Session(tmp_path, sandbox=sandbox, duckdb_settings={"max_temp_directory_size": "0KB"})
    big = "CREATE TEMP TABLE x AS SELECT hash(i) AS h, repeat('x', 99) || i FROM range(2000000) r(i) ORDER BY h"
    with pytest.raises(OutOfMemory, match=r"limit of 50MB .* more `memory`"):
        session.query(big, resources=Resources(memory="50MB"))
    assert session.query("SELECT current_setting('memory_limit')") == [("286.1 MiB",)]
    session.worker.close()


def test_spill_is_private_and_goes(tmp_path: Path) -> None:
    session = Session(tmp_path, memory_limit="60MB")
    session.query(
        "CREATE TEMP TABLE x AS SELECT hash(i) AS h, repeat('x', 60) || i AS t FROM range(600000) r(i) ORDER BY h"
    )
    seen = {stat.S_IMODE(folder.stat().st_mode) for folder in session.spill.iterdir()}
    session.move()
    assert session.query("SELECT count(*) FROM x") == [(600000,)]
    session.worker.close()
    assert seen == {0o700}
    assert list(session.spill.iterdir()) == []


# while it runs


def test_watchers_are_told_how_far_it_is(session: Session) -> None:
    told: list[Progress | LogLine] = []
    table = session.create("t", "SELECT range AS a FROM range(3000000)")
    sql = "SELECT count(*) FROM t WHERE sqrt(a) + list_sum(list_transform(range(a % 800), lambda x: x * 2)) < 0"
    spec = TableSpec(location=f"file://{session.folder}/slow", table_uuid=UUID)
    timer = threading.Timer(5.5, session.worker.cancel)
    timer.start()
    with pytest.raises(JobCancelled):
        session.run(
            Create(spec=spec, sql=f"SELECT a.a FROM t a, t b WHERE a.a + b.a < ({sql})"), table, watch=told.append
        )
    timer.join()
    assert 1 <= len(told) <= 4
    assert all(isinstance(one, Progress) for one in told)
    first = told[0]
    assert isinstance(first, Progress)
    assert 2.9 < first.seconds < 5


def test_nobody_is_told_of_quick_jobs(session: Session) -> None:
    told: list[Any] = []
    session.run(Query(sql="SELECT 1"), watch=told.append)
    before = threading.active_count()
    for _ in range(10):
        session.run(Query(sql="SELECT 1"), watch=told.append)
    assert told == []
    assert threading.active_count() <= before


def test_progress_counts_what_is_written(session: Session) -> None:
    table = session.create("t", "SELECT range AS a FROM range(4000000)")
    seen: list[Progress] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            seen.append(session.worker.progress())

    looker = threading.Thread(target=look)
    looker.start()
    session.create("u", "SELECT a, hash(a) AS h, md5(a::VARCHAR) AS m FROM t", table)
    done.set()
    looker.join()
    assert any(one.percent is not None and 0 < one.percent <= 100 for one in seen)
    assert any(one.size_bytes > 0 for one in seen)
    session.worker.written = lambda: 7
    assert session.worker.progress().size_bytes == 7


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.003, 0.01, 0.3])
def test_cancel_is_quick_whatever_it_meets(session: Session, delay: float) -> None:
    """Also while one DuckDB is exchanged for another, with luggage."""
    session.query("CREATE TEMP TABLE luggage AS SELECT range AS a FROM range(1000000)")
    spec = TableSpec(location=f"file://{session.folder}/slow", table_uuid=UUID)
    threading.Timer(delay, session.worker.cancel).start()
    started = time.monotonic()
    with pytest.raises(JobCancelled):
        session.run(Create(spec=spec, sql=SLOW))
    assert time.monotonic() - started < delay + 1
    session.worker.end()
    session.worker.begin()
    assert session.query("SELECT 1") == [(1,)]
    assert not list(session.folder.glob("slow/data/*"))


def test_columns_that_are_computed_are_told_apart() -> None:
    sql = (
        'CREATE TABLE x(a INTEGER DEFAULT(f(1, 2)), "b,(" VARCHAR, c INTEGER GENERATED ALWAYS AS((a + 1)), '
        'PRIMARY KEY(a, "b,("), CHECK((a > 1)));'
    )
    assert stored_columns(sql) == ["a", "b,("]
    with duckdb.connect() as connection:
        connection.execute('CREATE TABLE "check"("primary" INT, "generated" INT, "always" INT)')
        (text,) = connection.execute("SELECT sql FROM duckdb_tables()").fetchall()[0]
    assert stored_columns(text) == ["primary", "generated", "always"]
