"""What SQL is told of the lake when it asks for the catalog, and statements that are prepared."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dbt.adapters.lakehouse.catalog.model import ANY, Key, Put, TableEntry
from dbt.adapters.lakehouse.errors import RefNotFound, SqlError
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.catalog_sql import named_in_texts, plain
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import Build, Name, RunRequest
from dbt.adapters.lakehouse.settings import LakeSettings, PublishMode


@pytest.fixture(params=["trusted", "sandbox"])
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunSession]:
    """A session on a lake with a few relations, in this process and as in a service's sandbox."""
    (tmp_path / "lake").mkdir()
    settings = LakeSettings(
        warehouse=f"file://{tmp_path}/lake",
        catalog=f"sqlite:///{tmp_path}/lake/catalog.sqlite",
        memory_limit="1GB",
        sandbox=request.param == "sandbox",
    )
    lake = EmbeddedLake.open(settings)
    run = lake.open_run(
        RunRequest(id="0001-run", command="t", branch="main", default_schema="s", publish=PublishMode.EACH_NODE)
    )
    session = run.session()
    session.execute("CREATE TABLE s.t AS SELECT 1::decimal(10, 2) AS d, {'x': [1]} AS n, 'a' AS v")
    session.execute("COMMENT ON TABLE s.t IS 'a table'; COMMENT ON COLUMN s.t.d IS 'a number'")
    session.execute("CREATE VIEW s.seen AS SELECT d FROM s.t")
    session.execute('CREATE TABLE raw."Mixed Case" AS SELECT 1 AS "a.b"')
    session.execute("CREATE SCHEMA nothing_in_it")
    yield session
    session.close()
    lake.close()


def rows(session: RunSession, sql: str) -> list[tuple[Any, ...]]:
    return list(session.execute(sql).rows)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            (
                "SELECT table_catalog, table_schema, table_name, table_type, TABLE_COMMENT FROM information_schema.tables "
                "WHERE table_schema IN ('s', 'raw') ORDER BY ALL"
            ),
            [
                ("lake", "raw", "Mixed Case", "BASE TABLE", None),
                ("lake", "s", "seen", "VIEW", None),
                ("lake", "s", "t", "BASE TABLE", "a table"),
            ],
        ),
        (
            (
                "SELECT column_name, ordinal_position, data_type, is_nullable, numeric_precision, numeric_scale, COLUMN_COMMENT "
                "FROM lake.information_schema.columns WHERE table_name = 't' ORDER BY 2"
            ),
            [
                ("d", 1, "DECIMAL(10,2)", "YES", 10, 2, "a number"),
                ("n", 2, "STRUCT(x INTEGER[])", "YES", None, None, None),
                ("v", 3, "VARCHAR", "YES", None, None, None),
            ],
        ),
        (
            "SELECT schema_name FROM information_schema.schemata WHERE catalog_name = 'lake' ORDER BY 1",
            [("nothing_in_it",), ("raw",), ("s",)],
        ),
        (
            # A table that the same question reads is a table all the same.
            "SELECT x.table_type, (SELECT count(*) FROM t) FROM information_schema.tables x WHERE x.table_name = 't'",
            [("BASE TABLE", 1)],
        ),
        ("SHOW TABLES", [("seen",), ("t",)]),
        ("SHOW TABLES FROM lake.raw", [("Mixed Case",)]),
        ("PRAGMA show_tables", [("seen",), ("t",)]),
        ("SELECT name, column_names FROM (SHOW ALL TABLES) WHERE schema = 'raw'", [("Mixed Case", ["a.b"])]),
        ("SELECT name, type FROM pragma_table_info('raw.\"Mixed Case\"')", [("a.b", "INTEGER")]),
        ("PRAGMA table_info('seen')", [(0, "d", "DECIMAL(10,2)", False, None, False)]),
        ("SELECT column_name, column_type FROM (DESCRIBE s.t) LIMIT 1", [("d", "DECIMAL(10,2)")]),
        ("SELECT column_name, count FROM (SUMMARIZE t) LIMIT 1", [("d", 1)]),
        ("FROM t SELECT v", [("a",)]),
        ("SELECT d FROM query_table('s.t')", [(1,)]),
        ("SELECT column_name, comment FROM duckdb_columns() WHERE comment IS NOT NULL", [("d", "a number")]),
        ("SELECT estimated_size, column_count FROM duckdb_tables WHERE table_name = 't'", [(1, 3)]),
        ("SELECT sql FROM duckdb_views() WHERE view_name = 'seen'", [("CREATE VIEW s.seen AS SELECT d FROM s.t;",)]),
        (
            "SELECT attname FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid WHERE relname = 'seen'",
            [("d",)],
        ),
        (
            (
                "PIVOT (SELECT table_type, 1 AS one FROM information_schema.tables WHERE table_schema = 's') ON table_type "
                "USING sum(one)"
            ),
            [(1, 1)],
        ),
    ],
)
def test_what_sql_is_told_of_the_lake(session: RunSession, sql: str, expected: list[tuple[Any, ...]]) -> None:
    if "query_table" in sql and session.settings.sandbox:
        sql = sql.replace("s.t", "t")  # of which the sandbox lets plain names through
    found = [tuple(map(_number, row)) for row in rows(session, sql)]
    assert found == expected
    assert rows(session, "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE '%listed%'") == []


def _number(value: Any) -> Any:
    return int(value) if value.__class__.__name__ == "Decimal" else value


def test_the_catalog_can_be_asked_anywhere_in_sql(session: RunSession) -> None:
    session.execute("CREATE TABLE s.told AS SELECT * FROM lake.information_schema.columns WHERE table_schema = 'raw'")
    assert rows(session, "SELECT table_name, column_name FROM s.told") == [("Mixed Case", "a.b")]
    session.execute(
        "CREATE VIEW s.telling AS SELECT table_name FROM lake.information_schema.tables WHERE table_schema = 's'"
    )
    assert rows(session, "SELECT * FROM s.telling ORDER BY 1") == [("seen",), ("t",), ("telling",), ("told",)]
    session.execute("DELETE FROM s.told WHERE table_name IN (SELECT table_name FROM lake.information_schema.tables)")
    assert rows(session, "SELECT count(*) FROM s.told") == [(0,)]


def test_another_state_is_asked_by_its_name(session: RunSession) -> None:
    session.execute("CREATE TABLE s.later AS SELECT 1 AS a")
    before = session.state.catalog.resolve("main~1").id
    now, then = (
        rows(session, f"SELECT table_name FROM \"{name}\".information_schema.tables WHERE table_catalog = '{name}'")
        for name in ("lake", f"lake@{before}")
    )
    assert set(now) - set(then) == {("later",)}
    with pytest.raises(RefNotFound, match="nope"):
        session.execute('SELECT * FROM "lake@nope".information_schema.tables')


def test_what_was_asked_for_is_gone_with_the_question(session: RunSession) -> None:
    rows(session, "SHOW TABLES")
    rows(session, "SELECT 1")
    for kind in ("schemas", "relations", "columns"):
        with pytest.raises(SqlError, match="does not exist"):
            session.execute(f"SELECT * FROM memory.main.__lakehouse_listed_{kind}")
    assert rows(session, "SELECT count(*) FROM duckdb_functions() WHERE function_name = 'duckdb_tables'") == [(1,)]


def test_answers_about_the_catalog_are_not_reused(session: RunSession) -> None:
    session.execute(
        "CREATE VIEW s.telling AS SELECT count(*) AS n FROM information_schema.tables WHERE table_schema = 's'"
    )
    name = Name(database="lake", schema="s", name="counted")
    first = session.build(Build(name=name, sql="SELECT n FROM s.telling"))
    again = session.build(Build(name=name, sql="SELECT n FROM s.telling"))
    assert (first.reused, again.reused) == (None, None)
    assert rows(session, "SELECT n FROM s.counted") == [(4,)]


def test_temporary_relations_are_told_of_beside_the_lake(session: RunSession) -> None:
    session.execute("CREATE TEMP TABLE mine AS SELECT 1 AS a")
    sql = "SELECT table_type FROM information_schema.tables WHERE table_name = 'mine'"
    assert rows(session, sql) == [("LOCAL TEMPORARY",)]
    assert rows(session, "SELECT a FROM mine") == [(1,)]


def test_ten_thousand_tables_are_listed_in_no_time(session: RunSession) -> None:
    entry = session.lookup(Name(database="lake", schema="s", name="t"))
    assert isinstance(entry, TableEntry)
    puts = [
        Put(key=Key("many", f"t{n}"), entry=dataclasses.replace(entry, schema="many", name=f"t{n}"), expected=ANY)
        for n in range(10_000)
    ]
    session.state.catalog.commit("main", puts, author="ann", message="Add tables")
    started = time.perf_counter()
    sql = "SELECT count(DISTINCT table_name), count(*) FROM information_schema.columns WHERE table_schema = 'many'"
    assert rows(session, sql) == [(10_000, 30_000)]
    assert time.perf_counter() - started < 30


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select * from lake.information_schema.tables", "select * from      information_schema.tables"),
        ('select * from "lake@v1" . pg_catalog.x', "select * from             pg_catalog.x"),
        ("select * from other.information_schema.tables", None),
        ("select 'lake.information_schema.tables', lake.information_schema", None),
        ("select * from information_schema.tables", None),
        ("select a.lake.information_schema.tables", None),
        ("select 1 as lake", None),
    ],
)
def test_the_name_of_a_state_before_the_catalogs_schema(sql: str, expected: str | None) -> None:
    assert plain(sql, lambda name: name.startswith("lake")) == (expected or sql)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("PRAGMA table_info('s.t')", {("s", "t")}),
        ("PRAGMA table_info('t')", {("t",)}),
        ("select * from pragma_table_info('lake.s.\"a.b\"')", {("lake", "s", "a.b")}),
        ("select * from query_table('a + b')", set()),
        ("select * from query_table(x)", set()),
        ("select 'table_info(''t'')'", set()),
        ("select * from f('t')", set()),
    ],
)
def test_relations_that_are_named_in_a_text(sql: str, expected: set[tuple[str, ...]]) -> None:
    assert named_in_texts(sql) == expected


def test_a_prepared_statement_reads_the_lake_as_it_is_when_executed(session: RunSession) -> None:
    session.execute("PREPARE p AS SELECT v FROM t WHERE d > ? ORDER BY 1")
    assert rows(session, "EXECUTE p(0)") == [("a",)]
    session.execute("INSERT INTO t VALUES (2, {'x': [2]}, 'b')")
    session.execute("CREATE TABLE s.other AS SELECT 1 AS a")
    assert rows(session, "SELECT a FROM s.other") == [(1,)]
    assert rows(session, "EXECUTE p(0)") == [("a",), ("b",)]
    assert rows(session, "EXECUTE p(1)") == [("b",)]
    session.execute("DEALLOCATE p")
    with pytest.raises(SqlError, match="p"):
        session.execute("EXECUTE p(0)")


@pytest.mark.parametrize("sql", ["INSERT INTO t VALUES (?)", "DELETE FROM s.t WHERE d = ?", "DROP TABLE lake.s.t"])
def test_a_prepared_statement_cannot_write_to_the_lake(session: RunSession, sql: str) -> None:
    with pytest.raises(SqlError, match="write the statement itself"):
        session.execute(f"PREPARE p AS {sql}")
    assert rows(session, "SELECT count(*) FROM t") == [(1,)]
    session.execute("CREATE TEMP TABLE mine (a int); PREPARE q AS INSERT INTO mine VALUES (?); EXECUTE q(1)")
    assert rows(session, "SELECT a FROM mine") == [(1,)]


def test_a_lake_of_another_name_is_asked_by_that(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    lake = EmbeddedLake.open(
        LakeSettings(
            warehouse=f"file://{tmp_path}/lake", catalog=f"sqlite:///{tmp_path}/lake/c.sqlite", database="Water House"
        )
    )
    try:
        session = lake.open_run(
            RunRequest(id="0001-run", command="t", branch="main", default_schema="s", publish=PublishMode.EACH_NODE)
        ).session()
        session.execute("CREATE TABLE s.t AS SELECT 1 AS a")
        found = rows(
            session, "SELECT table_catalog FROM \"water house\".information_schema.tables WHERE table_name = 't'"
        )
        assert found == [("Water House",)]
        session.close()
    finally:
        lake.close()
