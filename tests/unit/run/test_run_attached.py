"""Databases beside the lake: read by the jobs that name them, never written to, let go of afterwards."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dbt.adapters.lakehouse.errors import ConfigError, LakehouseError, NotInLake, SqlError, Unattached
from dbt.adapters.lakehouse.freshness import freshness
from dbt.adapters.lakehouse.jobs.function import Definition, Signature
from dbt.adapters.lakehouse.jobs.instance import load_extension
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.profile import lake_settings
from dbt.adapters.lakehouse.run import attached, fingerprint
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import Build, Draft, Function, Name, PythonSource, RunRequest

Session = Callable[..., RunSession]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    with duckdb.connect(str(tmp_path / "crm.duckdb")) as connection:
        connection.execute("CREATE TABLE people AS SELECT 1 AS id, 'Ada' AS name; CREATE SCHEMA hr")
        connection.execute("CREATE VIEW hr.names AS SELECT name FROM people; COMMENT ON TABLE people IS 'who'")
    with sqlite3.connect(tmp_path / "shop.sqlite") as other:
        other.execute("CREATE TABLE orders (id INTEGER, person INTEGER, total DECIMAL(10, 2))")
        other.execute("INSERT INTO orders VALUES (7, 1, 12.5), (8, 1, 1)")
    other.close()
    return tmp_path


@pytest.fixture
def open_lake(files: Path) -> Iterator[Callable[..., EmbeddedLake]]:
    opened: list[EmbeddedLake] = []

    def open_with(*attach: dict[str, Any]) -> EmbeddedLake:
        said = {"type": "lakehouse", "warehouse": "lake", "memory_limit": "1GB", "attach": [*attach]}
        opened.append(EmbeddedLake.open(lake_settings(said, files)))
        return opened[-1]

    yield open_with
    for lake in opened:
        lake.close()


@pytest.fixture
def lake(open_lake: Callable[..., EmbeddedLake]) -> EmbeddedLake:
    return open_lake({"path": "crm.duckdb"}, {"path": "shop.sqlite", "alias": "Shop", "type": "sqlite"})


@pytest.fixture
def session(lake: EmbeddedLake) -> Iterator[RunSession]:
    session = run(lake, "1").session()
    yield session
    session.close()


def run(lake: EmbeddedLake, number: str) -> Any:
    return lake.open_run(RunRequest(id=f"{number}-run", command="test", branch="main", default_schema="s"))


def test_jobs_read_what_they_name_beside_the_lake(session: RunSession) -> None:
    session.execute("CREATE TABLE s.rates AS SELECT 1 AS id, 2 AS rate")
    rows = session.execute(
        "SELECT p.name, sum(o.total * r.rate) FROM crm.main.people p JOIN shop.orders o ON o.person = p.id "
        "JOIN s.rates r ON r.id = p.id GROUP BY ALL"
    ).rows
    assert [(name, float(total)) for name, total in rows] == [("Ada", 27.0)]


def test_a_build_and_a_view_read_it(session: RunSession) -> None:
    session.create_view(Name(database="lake", schema="s", name="people"), "SELECT * FROM crm.people")
    built = session.build(Build(name=Name(database="lake", schema="s", name="t"), sql="SELECT name FROM s.people"))
    assert built.rows_written == 1
    assert session.execute("SELECT * FROM s.t").rows == [("Ada",)]


@pytest.mark.parametrize("version", [None, f"3.{sys.version_info.minor}"])
def test_python_models_read_it_in_any_process(session: RunSession, version: str | None) -> None:
    relation = '"crm"."main"."people"'
    code = f"""
class dbtObj:
    def __init__(self, load):
        self.ref = lambda name: load({relation!r})
def model(dbt, session):
    return dbt.ref("people").df()
"""
    source = PythonSource(code=code, path="models/t.py", reads=(relation,), python_version=version)
    built = session.build(Build(name=Name(database="lake", schema="s", name="t"), python=source))
    assert built.rows_written == 1
    assert session.execute("SELECT * FROM s.t").rows == [(1, "Ada")]


@pytest.mark.parametrize(
    ("version", "people"), [(None, "crm.main.people"), (f"3.{sys.version_info.minor}", "s.people")]
)
def test_sql_in_a_python_model_reads_relations_that_it_names_in_full(
    lake: EmbeddedLake, version: str | None, people: str
) -> None:
    code = f"""
class dbtObj:
    def __init__(self, load):
        pass
def model(dbt, session):
    rates = session.sql("SELECT 10 AS rate")  # a name alone is Python's
    return session.sql("SELECT p.name, r.rate, n.n FROM {people} p, rates r, s.numbers n")
"""
    name = Name(database="lake", schema="s", name="t")
    source = PythonSource(code=code, path="models/t.py", reads=(), python_version=version)

    def build(number: str, numbers: int) -> Any:
        one = run(lake, number)
        session = one.session()
        session.execute("CREATE OR REPLACE TABLE s.rates AS SELECT 2 AS rate")
        session.execute("CREATE OR REPLACE TABLE s.people AS SELECT 'Ada' AS name")
        session.execute(f"CREATE OR REPLACE TABLE s.numbers AS SELECT {numbers} AS n")
        built = session.build(Build(name=name, python=source, node="model.p.t"))
        rows = session.execute("SELECT * FROM s.t").rows
        session.close()
        one.publish()
        return built.reused is not None, rows

    assert build("1", 1) == (False, [("Ada", 10, 1)])
    assert build("2", 1) == (True, [("Ada", 10, 1)])
    assert build("3", 2) == (False, [("Ada", 10, 2)])


def test_a_view_of_it_is_made_anew_when_its_columns_may_have_changed(lake: EmbeddedLake, files: Path) -> None:
    name = Name(database="lake", schema="s", name="people")
    first = run(lake, "1")
    session = first.session()
    session.create_view(name, "SELECT * FROM crm.people")
    session.close()
    with duckdb.connect(str(files / "crm.duckdb")) as connection:
        connection.execute("ALTER TABLE people ADD COLUMN born DATE")
    session = first.session()
    built = session.create_view(name, "SELECT * FROM crm.people")
    session.close()
    assert [column.name for column in built.entry.columns] == ["id", "name", "born"]


def test_a_session_lets_go_of_a_file_when_it_ends(lake: EmbeddedLake, files: Path) -> None:
    one = run(lake, "1")
    session = one.session()
    assert session.execute("SELECT count(*) FROM crm.people").rows == [(1,)]
    session.close()
    writes = (
        "import duckdb, sys; duckdb.connect(sys.argv[1]).execute(\"INSERT INTO people VALUES (2, 'Grace')\").close()"
    )
    subprocess.run([sys.executable, "-c", writes, files / "crm.duckdb"], check=True)
    session = one.session()
    assert session.execute("SELECT count(*) FROM crm.people").rows == [(2,)]
    session.close()


def test_several_sessions_read_one_file_at_once(lake: EmbeddedLake) -> None:
    one = run(lake, "1")
    sessions = [one.session() for _ in range(3)]
    for _ in range(2):
        for session in sessions:
            assert session.execute("SELECT name FROM crm.people").rows == [("Ada",)]
            assert session.execute("SELECT count(*) FROM shop.orders").rows == [(2,)]
    for session in sessions:
        session.close()


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO crm.main.people VALUES (2, 'x')",
        "CREATE TABLE crm.main.more AS SELECT 1 AS a",
        "CREATE TABLE crm.more AS SELECT 1 AS a",
        "CREATE VIEW shop.main.v AS SELECT 1 AS a",
        "CREATE SCHEMA crm.more",
        "DROP TABLE crm.people",
        "DELETE FROM shop.orders",
        "ALTER TABLE crm.main.people ADD COLUMN a INTEGER",
        "TRUNCATE crm.main.people",
        "COMMENT ON TABLE crm.main.people IS 'x'",
    ],
)
def test_nothing_is_written_beside_the_lake(session: RunSession, sql: str) -> None:
    with pytest.raises(ConfigError, match=r"is an attached database \((duckdb|sqlite)\), which is only read"):
        session.execute(sql)
    assert session.execute("SELECT * FROM crm.main.people").rows == [(1, "Ada")]
    assert session.execute("SELECT count(*) FROM shop.orders").rows == [(2,)]
    assert "crm" not in session.schemas("lake")


def test_no_node_is_built_there(session: RunSession) -> None:
    name = Name(database="crm", schema="main", name="t")
    with pytest.raises(ConfigError, match="'crm' is an attached database"):
        session.build(Build(name=name, sql="SELECT 1 AS a"))
    with pytest.raises(ConfigError, match="'crm' is an attached database"):
        session.create_view(name, "SELECT 1 AS a")


def test_a_relation_of_the_lake_goes_before_one_beside_it(session: RunSession) -> None:
    session.execute("CREATE SCHEMA shop; CREATE TABLE shop.orders AS SELECT 'of the lake' AS where_it_is")
    assert session.execute("SELECT * FROM shop.orders").rows == [("of the lake",)]
    session.execute("INSERT INTO shop.orders VALUES ('too')")
    assert session.execute("SELECT count(*) FROM shop.orders").rows == [(2,)]


# by hand


def test_what_a_statement_attaches_is_written_to_by_its_own_name(session: RunSession, files: Path) -> None:
    session.execute(f"ATTACH '{files}/other.duckdb' AS other")
    session.execute("CREATE TABLE s.here AS SELECT 5 AS a")
    session.execute("CREATE TABLE other.t AS SELECT * FROM s.here; INSERT INTO other.main.t VALUES (6)")
    assert session.execute("SELECT * FROM other.t ORDER BY a").rows == [(5,), (6,)]
    assert "other" not in session.schemas("lake")
    assert session.temporaries == set()
    session.close()
    with duckdb.connect(str(files / "other.duckdb")) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchall() == [(2,)]


def test_what_a_statement_attached_is_gone_with_its_session(lake: EmbeddedLake, files: Path) -> None:
    one = run(lake, "1")
    session = one.session()
    session.execute(f"ATTACH '{files}/other.duckdb' AS other; CREATE TABLE other.t AS SELECT 1 AS a")
    session.close()
    session = one.session()
    with pytest.raises(SqlError, match=r'Catalog "other" does not exist!; the profile.s `attach` names'):
        session.execute("SELECT * FROM other.main.t")
    session.execute("CREATE TABLE other.t AS SELECT 2 AS a")
    assert "other" in session.schemas("lake")
    session.close()


def test_after_detaching_the_name_is_free_again(session: RunSession, files: Path) -> None:
    session.execute(f"ATTACH '{files}/other.duckdb' AS other; DETACH other; CREATE TABLE other.t AS SELECT 2 AS a")
    assert "other" in session.schemas("lake")


def test_use_is_refused_as_ever(session: RunSession) -> None:
    with pytest.raises(SqlError, match="USE"):
        session.execute("USE crm")


# what it holds


def test_its_relations_are_listed_with_columns(session: RunSession) -> None:
    assert [(one.schema, one.name, one.is_view) for one in attached.relations(session, "CRM")] == [
        ("hr", "names", True),
        ("main", "people", False),
    ]
    assert [one.name for one in attached.relations(session, "shop", "main")] == ["orders"]
    assert {"main", "hr"} <= set(attached.schemas(session, "crm"))
    (people,) = attached.find(session, [Name(database="crm", schema="main", name="PEOPLE")])
    assert ([(c.name, c.type) for c in people.columns], people.comment) == (
        [("id", "INTEGER"), ("name", "VARCHAR")],
        "who",
    )
    assert attached.find(session, [Name(database="crm", schema="main", name="none")]) == []


def test_questions_to_the_catalog_may_be_about_it(session: RunSession) -> None:
    sql = "SELECT table_name FROM information_schema.tables WHERE table_catalog = 'crm' ORDER BY 1"
    assert session.execute(sql).rows == [("names",), ("people",)]


def test_a_ducklake_is_read(open_lake: Callable[..., EmbeddedLake], files: Path) -> None:
    pytest.importorskip("duckdb_extension_ducklake")
    with duckdb.connect() as connection:
        load_extension(connection, "ducklake")
        connection.execute(f"ATTACH 'ducklake:{files}/meta.ducklake' AS dl (DATA_PATH '{files}/rows')")
        connection.execute("CREATE TABLE dl.t AS SELECT 1 AS a")
    session = run(open_lake({"path": "ducklake:meta.ducklake", "alias": "dl", "is_ducklake": True}), "1").session()
    assert session.execute("SELECT * FROM dl.main.t").rows == [(1,)]
    assert [one.name for one in attached.relations(session, "dl")] == ["t"]
    with pytest.raises(ConfigError, match="which is only read"):
        session.execute("INSERT INTO dl.t VALUES (2)")
    session.close()


def test_nothing_is_known_of_how_fresh_it_is(session: RunSession) -> None:
    with pytest.raises(NotInLake, match=r"nothing is known of when .* was loaded; give the source a `loaded_at_field`"):
        freshness(session, Name(database="crm", schema="main", name="people"))


# what cannot be reached


def fails(lake: EmbeddedLake, sql: str) -> str:
    session = run(lake, "9").session()
    try:
        with pytest.raises(LakehouseError) as caught:
            session.execute(sql)
        assert session.execute("SELECT 1").rows == [(1,)]
    finally:
        session.close()
    assert isinstance(caught.value, Unattached)
    return str(caught.value)


def test_a_file_that_is_not_there_is_named(open_lake: Callable[..., EmbeddedLake], files: Path) -> None:
    lake = open_lake({"path": "none.duckdb"}, {"path": "none.sqlite", "alias": "lite", "type": "sqlite"})
    assert f"database 'none' (duckdb) cannot be attached: there is no file {files}/none.duckdb" in fails(
        lake, "SELECT * FROM none.t"
    )
    assert "database 'lite' (sqlite)" in fails(lake, "SELECT * FROM lite.main.t")
    assert not (files / "none.sqlite").exists()


def test_a_file_of_another_kind_is_said(open_lake: Callable[..., EmbeddedLake], files: Path) -> None:
    (files / "text.duckdb").write_text("no database at all\n" * 1000)
    assert "not a valid DuckDB database" in fails(open_lake({"path": "text.duckdb"}), "SELECT * FROM text.t")


def test_a_file_that_another_process_writes_is_said(open_lake: Callable[..., EmbeddedLake], files: Path) -> None:
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('up', flush=True); sys.stdin.read()"
    lake = open_lake({"path": "crm.duckdb"})
    with subprocess.Popen(
        [sys.executable, "-c", code, files / "crm.duckdb"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        said = fails(lake, "SELECT * FROM crm.people")
        writer.communicate()
    assert "database 'crm' (duckdb) cannot be attached" in said
    assert "has it open for writing" in said
    session = run(lake, "2").session()
    assert session.execute("SELECT name FROM crm.people").rows == [("Ada",)]
    session.close()


@pytest.mark.parametrize(
    "path",
    ["host=127.0.0.1 port=1 user=bob password=sekret dbname=x", "postgresql://bob:sekret@127.0.0.1:1/x"],
)
def test_a_server_that_is_down_is_said_without_the_password(open_lake: Callable[..., EmbeddedLake], path: str) -> None:
    lake = open_lake({"path": path, "alias": "pg", "type": "postgres"})
    said = fails(lake, "SELECT * FROM pg.public.t")
    assert "database 'pg' (postgres) cannot be attached" in said
    assert "is the server up" in said
    assert "sekret" not in said
    assert "sekret" not in repr(lake.settings)


# what is known of it ahead, and again


def build(lake: EmbeddedLake, number: str, sql: str, **more: Any) -> Any:
    session = run(lake, number).session()
    try:
        return session.build(Build(name=Name(database="lake", schema="s", name="t"), sql=sql, node="model.p.t", **more))
    finally:
        session.close()


@pytest.mark.parametrize("sql", ["SELECT * FROM crm.main.people", "SELECT * FROM shop.orders", "SELECT * FROM s.v"])
def test_a_result_is_reused_while_the_file_stays_as_it_is(lake: EmbeddedLake, files: Path, sql: str) -> None:
    def prepare(number: str) -> None:
        one = run(lake, number)
        session = one.session()
        session.create_view(Name(database="lake", schema="s", name="v"), "SELECT * FROM crm.people")
        session.close()
        one.publish()

    prepare("1")
    assert build(lake, "2", sql).reused is None
    assert build(lake, "3", sql).reused is not None
    with duckdb.connect(str(files / "crm.duckdb")) as connection:
        connection.execute("INSERT INTO people VALUES (2, 'Grace')")
    with sqlite3.connect(files / "shop.sqlite") as other:
        other.execute("INSERT INTO orders VALUES (9, 1, 1)")
    other.close()
    changed = build(lake, "4", sql)
    assert changed.reused is None
    assert changed.rows_written in (2, 3)


@pytest.mark.parametrize(
    ("view", "why"),
    [
        ("SELECT name FROM people", None),
        ("WITH q AS (SELECT * FROM hr.all) SELECT upper(name) AS name FROM q", None),
        ("SELECT * FROM crm.hr.all", None),
        ("SELECT * FROM read_csv('{files}/x.csv')", "read_csv"),
        ("SELECT * FROM '{files}/x.csv'", "x.csv"),
        ("SELECT now() AS t", "now"),
        ("SELECT random() AS r FROM people", "random"),
        ("SELECT half(id) AS h FROM people", "half"),
        ("SELECT * FROM hr.loads", "read_csv"),
    ],
)
def test_a_view_in_an_attached_file_is_known_by_what_it_reads(
    open_lake: Callable[..., EmbeddedLake], files: Path, view: str, why: str | None
) -> None:
    (files / "x.csv").write_text("a\n1\n")
    with duckdb.connect(str(files / "crm.duckdb")) as connection:
        connection.execute("CREATE MACRO half(x) AS x / 2 + random()")
        connection.execute("CREATE VIEW hr.all AS SELECT * FROM main.people")
        connection.execute(f"CREATE VIEW hr.loads AS SELECT * FROM read_csv('{files}/x.csv')")
        connection.execute(f"CREATE VIEW v AS {view.format(files=files)}")
    lake = open_lake({"path": "crm.duckdb"})
    assert build(lake, "1", "SELECT * FROM crm.main.v").reused is None
    again = build(lake, "2", "SELECT * FROM crm.main.v")
    assert (again.reused is None) == (why is not None)
    obstacles = marked(lake, "SELECT * FROM crm.v").obstacles
    assert any(why in said for said in obstacles) if why else obstacles == ()
    assert marked(lake, "SELECT * FROM crm.v", reuse="always").obstacles == ()


def test_of_a_view_in_sqlite_nothing_is_known(lake: EmbeddedLake, files: Path) -> None:
    with sqlite3.connect(files / "shop.sqlite") as other:
        other.execute("CREATE VIEW late AS SELECT *, date('now') AS today FROM orders")
    other.close()
    assert "nobody can tell what it reads" in str(marked(lake, "SELECT * FROM shop.late").obstacles)
    assert marked(lake, "SELECT * FROM shop.orders").obstacles == ()


def marked(lake: EmbeddedLake, sql: str, **more: Any) -> fingerprint.Fingerprint:
    session = run(lake, "mark").session()
    try:
        return fingerprint.of_build(
            session, Build(name=Name(database="lake", schema="s", name="u"), sql=sql, **more), None
        )
    finally:
        session.close()


def test_a_file_that_changed_meanwhile_leaves_nothing_behind(lake: EmbeddedLake, files: Path) -> None:
    parts = [("attached crm", str(attached.state_of(lake.settings, "crm"))), ("code", "…")]
    assert attached.stayed(lake.settings, parts)
    os.utime(files / "crm.duckdb", ns=(1, 1))
    assert not attached.stayed(lake.settings, parts)


def test_a_function_that_reads_it_counts_as_what_calls_the_function(lake: EmbeddedLake, files: Path) -> None:
    body = Signature(arguments=(), returns="BIGINT", body="SELECT count(*) FROM crm.people")
    definition = Definition(language="sql", type="scalar", signatures=(body,))
    one = run(lake, "1")
    session = one.session()
    session.create_function(Function(name=Name(database="lake", schema="s", name="people"), definition=definition))
    session.close()
    one.publish()

    assert build(lake, "2", "SELECT people() AS n").reused is None
    assert build(lake, "3", "SELECT people() AS n").reused is not None
    # Changed while a build is at work, it leaves nothing behind either.
    assert "attached crm" in marked(lake, "SELECT people() AS n").parts
    with duckdb.connect(str(files / "crm.duckdb")) as connection:
        connection.execute("INSERT INTO people VALUES (2, 'Grace')")
    assert build(lake, "4", "SELECT people() AS n").reused is None


def test_of_a_server_nothing_is_known_unless_its_author_says_so(open_lake: Callable[..., EmbeddedLake]) -> None:
    lake = open_lake({"path": "host=127.0.0.1 port=1 password=sekret", "alias": "pg", "type": "postgres"})
    session = run(lake, "1").session()
    wanted = Build(name=Name(database="lake", schema="s", name="t"), sql="SELECT * FROM pg.public.t")
    mark = fingerprint.of_build(session, wanted, None)
    assert mark.obstacles == ("it reads pg.public.t of an attached database, of which nobody can tell when it changes",)
    always = fingerprint.of_build(session, Build(name=wanted.name, sql=wanted.sql, reuse="always"), None)
    assert always.obstacles == ()
    assert "sekret" not in repr(mark) + repr(always)
    session.close()


def test_preflight_knows_its_columns(session: RunSession) -> None:
    name = Name(database="lake", schema="s", name="t")
    good = Draft(node="good", name=name, makes="table", sql="SELECT name FROM crm.people")
    child = Draft(node="child", sql="SELECT name, nothing FROM lake.s.t")
    looked = session.bind([good, child])
    assert [(c.name, c.type) for c in looked[0].bound.columns] == [("name", "VARCHAR")]
    assert "nothing" in looked[1].bound.error


def test_preflight_waits_for_what_cannot_be_reached(open_lake: Callable[..., EmbeddedLake]) -> None:
    session = run(open_lake({"path": "none.duckdb"}), "1").session()
    (looked,) = session.bind([Draft(node="one", sql="SELECT name FROM none.people")])
    session.close()
    assert looked.bound.error == ""
    assert "there is no file" in looked.bound.why


# the profile


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("crm.duckdb", "an entry is a mapping"),
        ({"alias": "a"}, "it has no 'path'"),
        ({"path": "x", "pasword": "sekret"}, "'pasword' is not known"),
        ({"path": "host=h password=sekret", "type": "postgres"}, "it needs an 'alias'"),
        ({"path": "postgres://me:my@sekret@h/db", "alias": "a"}, "within a password it is written as %40"),
        ({"path": "x.duckdb", "alias": "a b"}, "the alias 'a b' must be of letters"),
        ({"path": "x.duckdb", "alias": "temp"}, "keeps to itself"),
        ({"path": "x.duckdb", "alias": "lake"}, "the lake's own name"),
        ({"path": "md:things"}, "MotherDuck's databases are not attached"),
        ({"path": "x", "type": "sqlite", "options": {"type": "duckdb"}}, "stands beside 'options' and within"),
        ({"path": "x", "options": {"a b": 1}}, "its 'options' must be"),
        ({"path": "", "alias": "pg", "type": "postgres"}, "works with a 'secret' alone"),
    ],
)
def test_a_wrong_entry_is_refused_without_its_secrets(tmp_path: Path, entry: Any, fault: str) -> None:
    with pytest.raises(ConfigError, match=r"profile key 'attach'") as caught:
        lake_settings({"warehouse": "lake", "attach": [entry]}, tmp_path)
    assert fault in str(caught.value)
    assert "sekret" not in str(caught.value)


def test_types_are_found_in_paths_as_duckdb_finds_them(tmp_path: Path) -> None:
    said = [
        {"path": "data/crm.duckdb"},
        {"path": "sqlite:shop.db", "read_only": False},
        {"path": "postgres:dbname=x", "alias": "pg"},
        {"path": "postgresql://u@h/x", "alias": "pg2", "options": {"schema": "public"}},
        {"path": "", "alias": "my", "type": "mysql", "secret": "mine"},
        {"path": "ducklake:meta.ducklake", "alias": "dl"},
        {"path": "ducklake:postgres:dbname=x", "alias": "dl2"},
        {"path": "https://example.com/x.duckdb"},
    ]
    found = lake_settings({"warehouse": "lake", "attach": said}, tmp_path).attached
    assert [(one.alias, one.type, one.path.replace(str(tmp_path), "…")) for one in found] == [
        ("crm", "duckdb", "…/data/crm.duckdb"),
        ("shop", "sqlite", "…/shop.db"),
        ("pg", "postgres", "dbname=x"),
        ("pg2", "postgres", "postgresql://u@h/x"),
        ("my", "mysql", ""),
        ("dl", "ducklake", "ducklake:…/meta.ducklake"),
        ("dl2", "ducklake", "ducklake:postgres:dbname=x"),
        ("x", "duckdb", "https://example.com/x.duckdb"),
    ]
    assert dict(found[3].options) == {"schema": "public"}


def test_one_alias_is_one_database(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the alias 'CRM' is there twice"):
        lake_settings({"warehouse": "lake", "attach": [{"path": "crm.db"}, {"path": "x", "alias": "CRM"}]}, tmp_path)


def test_beside_a_service_it_is_refused_with_what_to_do(tmp_path: Path) -> None:
    from dbt.adapters.lakehouse.profile import service_settings

    with pytest.raises(ConfigError, match="lakehouse import"):
        service_settings({"service": "https://lake.example.com", "attach": [{"path": "x.db"}]}, tmp_path)
