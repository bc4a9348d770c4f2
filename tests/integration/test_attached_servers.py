"""PostgreSQL and MySQL beside the lake, as real servers: what they hold is read, and their passwords stay with the profile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import mariadb_server
import postgres_server
import pytest

from dbt.adapters.lakehouse.errors import ConfigError, LakehouseError, Unattached
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.profile import lake_settings
from dbt.adapters.lakehouse.run import attached
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import Build, Name, RunRequest

PASSWORD = "s3cr3t-of-the-shop"
OpenSession = Callable[..., RunSession]


def unavailable(what: str, why: str) -> NoReturn:
    if what in os.environ.get("LAKEHOUSE_TEST_REQUIRE", "").split(","):
        pytest.fail(f"{what} is required by LAKEHOUSE_TEST_REQUIRE, but {why}")
    pytest.skip(f"no {what}: {why}")


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    programs = postgres_server.programs()
    if programs is None:
        unavailable("postgres", "its programs are not installed")
    pytest.importorskip("duckdb_extension_postgres_scanner")
    import psycopg

    with postgres_server.running(programs) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE orders (id int, person text, total numeric(10, 2), at timestamptz)")
            connection.execute("INSERT INTO orders VALUES (1, 'Ada', 12.50, now()), (2, 'Grace', 1, now())")
            connection.execute("CREATE VIEW big AS SELECT * FROM orders WHERE total > 10")
        yield url


@pytest.fixture(scope="module")
def mysql() -> Iterator[mariadb_server.Server]:
    programs = mariadb_server.programs()
    if programs is None:
        unavailable("mariadb", "its programs are not installed")
    pytest.importorskip("duckdb_extension_mysql_scanner")
    with mariadb_server.running(programs, PASSWORD) as server:
        server.run(
            "USE shop; CREATE TABLE orders (id INT, person VARCHAR(20), total DECIMAL(10, 2), at DATETIME); "
            "INSERT INTO orders VALUES (1, 'Ada', 12.5, now()), (2, 'Grace', 1, now()); "
            "CREATE VIEW big AS SELECT * FROM orders WHERE total > 10"
        )
        yield server


def of_mysql(server: mariadb_server.Server, password: str = PASSWORD) -> dict[str, Any]:
    path = f"host=127.0.0.1 port={server.port} user={server.user} password={password} database=shop"
    return {"path": path, "alias": "web", "type": "mysql"}


@pytest.fixture
def open_session(tmp_path: Path) -> Iterator[OpenSession]:
    with contextlib.ExitStack() as opened:

        def open_with(entry: dict[str, Any], **more: Any) -> RunSession:
            said = {"type": "lakehouse", "warehouse": "lake", "memory_limit": "1GB", "attach": [entry], **more}
            lake = EmbeddedLake.open(lake_settings(said, tmp_path))
            opened.callback(lake.close)
            run = lake.open_run(RunRequest(id="1-run", command="test", branch="main", default_schema="s"))
            session = run.session()
            opened.callback(session.close)
            return session

        yield open_with


def holds_orders(session: RunSession, schema: str) -> None:
    rows = session.execute(f"SELECT person, total FROM web.{schema}.orders ORDER BY id").rows
    assert [(person, float(total)) for person, total in rows] == [("Ada", 12.5), ("Grace", 1.0)]
    built = session.build(
        Build(name=Name(database="lake", schema="s", name="t"), sql=f"SELECT * FROM web.{schema}.big", node="model.p.t")
    )
    assert built.rows_written == 1
    assert "attached database" in built.why_not[0]
    (found,) = attached.find(session, [Name(database="web", schema=schema, name="orders")])
    assert [(c.name, c.type) for c in found.columns][:3] == [
        ("id", "INTEGER"),
        ("person", "VARCHAR"),
        ("total", "DECIMAL(10,2)"),
    ]
    assert schema in attached.schemas(session, "web")
    with pytest.raises(ConfigError, match="'web' is an attached database"):
        session.execute(f"INSERT INTO web.{schema}.orders VALUES (3, 'x', 1, now())")


def test_postgres_is_read(postgres: str, open_session: OpenSession) -> None:
    holds_orders(open_session({"path": postgres, "alias": "web", "type": "postgres"}), "public")


def test_mysql_is_read(mysql: mariadb_server.Server, open_session: OpenSession) -> None:
    holds_orders(open_session(of_mysql(mysql)), "shop")
    assert mysql.run("SELECT count(*) FROM shop.orders").strip() == "2"


def test_a_secret_of_the_profile_may_reach_it(mysql: mariadb_server.Server, open_session: OpenSession) -> None:
    secret = {"type": "mysql", "name": "web_reader", "host": "127.0.0.1", "port": mysql.port, "database": "shop"}
    session = open_session(
        {"path": "", "alias": "web", "type": "mysql", "secret": "web_reader"},
        secrets=[{**secret, "user": mysql.user, "password": PASSWORD}],
    )
    assert session.execute("SELECT count(*) FROM web.shop.orders").rows == [(2,)]


def test_a_wrong_password_is_said_and_not_shown(mysql: mariadb_server.Server, open_session: OpenSession) -> None:
    session = open_session(of_mysql(mysql, "wr0ng-s3cr3t"))
    with pytest.raises(Unattached) as caught:
        session.execute("SELECT * FROM web.shop.orders")
    said = str(caught.value)
    assert "database 'web' (mysql) cannot be attached" in said
    assert "look at user and password" in said
    assert "wr0ng" not in said
    assert caught.value.__cause__ is None


def test_a_query_that_fails_there_shows_no_password(mysql: mariadb_server.Server, open_session: OpenSession) -> None:
    session = open_session(of_mysql(mysql))
    with pytest.raises(LakehouseError) as caught:
        session.execute("SELECT * FROM mysql_query('web', 'SELECT nothing FROM nowhere'), web.shop.orders")
    assert "nowhere" in str(caught.value)
    assert PASSWORD not in str(caught.value)
    session.execute("SELECT count(*) FROM web.shop.orders")


def test_functions_that_name_it_in_a_text_reach_it(postgres: str, open_session: OpenSession) -> None:
    session = open_session({"path": postgres, "alias": "web", "type": "postgres"})
    assert session.execute("SELECT * FROM postgres_query('web', 'SELECT count(*) FROM orders')").rows == [(2,)]
    with pytest.raises(LakehouseError, match="read-only"):
        session.execute("CALL postgres_execute('web', 'DELETE FROM orders')")
    assert session.execute("SELECT count(*) FROM web.public.orders").rows == [(2,)]


def test_what_came_to_be_there_is_seen_by_the_next_session(postgres: str, open_session: OpenSession) -> None:
    import psycopg

    first = open_session({"path": postgres, "alias": "web", "type": "postgres"})
    assert first.execute("SELECT count(*) FROM web.public.orders").rows == [(2,)]
    run = first.run
    assert run is not None
    first.close()
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE TABLE later AS SELECT 1 AS a")
    with contextlib.closing(run.session()) as second:
        assert second.execute("SELECT * FROM web.public.later").rows == [(1,)]
