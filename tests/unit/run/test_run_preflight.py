"""Nodes are looked at before they run: what would break is known, and what is fine is never refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from dbt.adapters.lakehouse.catalog.model import Key
from dbt.adapters.lakehouse.jobs.job import Bound
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import Build, Draft, Looked, Name, PythonSource
from dbt.adapters.lakehouse.tables.values import Column

OpenRun = Callable[..., LakeRun]


def name(table: str, schema: str = "s", database: str = "lake") -> Name:
    return Name(database=database, schema=schema, name=table)


def table(node: str, sql: str, **more: Any) -> Draft:
    return Draft(node=node, name=name(node), makes="table", sql=sql, **more)


def view(node: str, sql: str, **more: Any) -> Draft:
    return Draft(node=node, name=name(node), makes="view", sql=sql, **more)


def query(node: str, sql: str, **more: Any) -> Draft:
    return Draft(node=node, sql=sql, **more)


@pytest.fixture
def reading(session: RunSession, lake: EmbeddedLake) -> Iterator[RunSession]:
    """A session over a few relations that only reads."""
    session.execute("CREATE SCHEMA s")
    session.execute("CREATE TABLE s.orders AS SELECT 1 AS id, 'a' AS name, DATE '2024-01-01' AS day")
    session.execute("CREATE VIEW s.all_orders AS SELECT * FROM lake.s.orders")
    session.execute("CREATE TABLE s.kinds AS SELECT 'x'::ENUM('x', 'y') AS kind, 1::UBIGINT AS big, [1]::INT[1] AS arr")
    with closing(lake.read("main", "s")) as session:
        assert isinstance(session, RunSession)
        yield session


def look(session: RunSession, *drafts: Draft) -> dict[str, Looked]:
    return {one.bound.node: one for one in session.bind(drafts)}


def bound(session: RunSession, *drafts: Draft) -> dict[str, Bound]:
    return {node: looked.bound for node, looked in look(session, *drafts).items()}


def kinds(bound: Bound) -> list[tuple[str, str]]:
    assert not bound.error, bound.error
    assert not bound.why, bound.why
    return [(column.name, column.type) for column in bound.columns]


def test_each_sees_what_those_before_it_will_make(reading: RunSession) -> None:
    found = bound(
        reading,
        table("a", "SELECT id, name, 1::UTINYINT AS small FROM lake.s.orders"),
        view("b", "SELECT *, NULL AS nothing FROM lake.s.a"),
        table(
            "c",
            "SELECT upper(nothing) AS u, date_part('day', day) AS d, b.* FROM lake.s.b JOIN lake.s.orders USING (id)",
        ),
        query("t", "SELECT count(*) FROM lake.s.c WHERE small > 3 AND u IS NULL"),
    )
    assert kinds(found["a"]) == [("id", "INTEGER"), ("name", "VARCHAR"), ("small", "INTEGER")]
    assert kinds(found["b"])[-1] == ("nothing", "INTEGER")
    assert [name for name, _ in kinds(found["c"])] == ["u", "d", "id", "name", "small", "nothing"]
    assert kinds(found["t"]) == [("count_star()", "BIGINT")]


def test_what_stands_there_gives_way_to_what_will_be_made(reading: RunSession) -> None:
    found = bound(
        reading,
        table("orders", "SELECT 1 AS id, 'new' AS fresh"),
        query("sees", "SELECT fresh FROM lake.s.all_orders"),
        query("gone", "SELECT name FROM lake.s.all_orders"),
        query("itself", "SELECT fresh FROM lake.s.orders"),
    )
    assert kinds(found["sees"]) == kinds(found["itself"]) == [("fresh", "VARCHAR")]
    assert 'Referenced column "name" not found' in found["gone"].error


def test_types_that_are_kept_beyond_iceberg(reading: RunSession) -> None:
    found = bound(reading, table("k", "SELECT kind, big, arr, 1::HUGEINT AS h FROM lake.s.kinds"))
    assert kinds(found["k"]) == [
        ("kind", "ENUM('x', 'y')"),
        ("big", "UBIGINT"),
        ("arr", "INTEGER[1]"),
        ("h", "HUGEINT"),
    ]


@pytest.mark.parametrize(
    ("sql", "message", "line"),
    [
        ("SELECT id,\n  nmae\nFROM lake.s.orders", 'Referenced column "nmae" not found in FROM clause!\nCandidate', 2),
        ("SELECT name + 1 FROM lake.s.orders", "No function matches", 1),
        ("SELECT id FROM lake.s.orders\nUNION ALL\nSELECT id, name FROM lake.s.orders", "same number of result", None),
        ("SELECT id\nFORM lake.s.orders x y", "syntax error", 2),
        ("SELECT nothing_such(id) FROM lake.s.orders", "nothing_such does not exist", 1),
        ("SELECT id, count(*)\nFROM lake.s.orders", "must appear in the GROUP BY", 1),
        ("SELECT id, name AS id FROM lake.s.orders", "two columns named 'id'", None),
        ("SELECT union_value(a := 1) AS u", "which Iceberg cannot hold without loss", None),
    ],
)
def test_what_is_wrong_is_said_in_duckdbs_words(reading: RunSession, sql: str, message: str, line: int | None) -> None:
    found = bound(reading, table("m", sql), query("child", "SELECT id FROM lake.s.m"))
    assert message in found["m"].error
    assert "LINE" not in found["m"].error
    assert found["m"].line == line
    # One finding for one fault.
    assert found["child"].waits
    assert not found["child"].error


def test_all_is_said_at_once(reading: RunSession) -> None:
    found = bound(reading, *(table(f"m{n}", f"SELECT no{n} FROM lake.s.orders") for n in range(5)))
    assert [one.error.split('"')[1] for one in found.values()] == ["no0", "no1", "no2", "no3", "no4"]


def test_a_relation_that_nobody_makes(reading: RunSession) -> None:
    found = look(
        reading,
        table("a", "WITH x AS (SELECT 1 AS id) SELECT * FROM x JOIN lake.s.nowhere USING (id)"),
        table("b", "SELECT * FROM lake.s.a"),
        table("c", "SELECT * FROM lake.s.nowhere", tolerant=True),
    )
    assert found["a"].missing == (name("nowhere"),)
    assert found["b"].missing == ()
    assert found["c"].missing == ()
    assert not found["c"].bound.error


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM '/nowhere/at.parquet'",
        "SELECT * FROM read_csv('/nowhere/*.csv')",
        "SELECT nope FROM other.main.t",
        'SELECT nope FROM "lake@nowhere".s.orders',
        "SELECT count(*) AS n FROM information_schema.tables",
        "SELECT id::VARCHAR::DATE FROM lake.s.orders WHERE id = 'abc'",
        "PIVOT lake.s.orders ON name USING count(*)",
        "SELECT * FROM query('SELECT nope')",
        "SELECT $1",
    ],
)
def test_what_is_not_certain_is_no_finding(reading: RunSession, sql: str) -> None:
    found = look(reading, table("m", sql), query("child", "SELECT nope FROM lake.s.m"))
    assert found["m"].missing == ()
    assert not found["m"].bound.error
    if not found["m"].bound.columns:
        assert found["m"].bound.why
        assert found["child"].bound.waits


def test_contracts(reading: RunSession) -> None:
    promise = (Column(name="name", type="text"), Column(name="id", type="int"))
    found = bound(
        reading,
        table("kept", "SELECT id, name FROM lake.s.orders", contract=promise),
        table("broken", "SELECT id::BIGINT AS id, name, day FROM lake.s.orders", contract=promise),
        table("typeless", "SELECT 1 AS a", contract=(Column(name="a", type="nothing_such"),)),
        query("of_broken", "SELECT id, name FROM lake.s.broken"),
        query("beyond_it", "SELECT day FROM lake.s.broken"),
    )
    assert kinds(found["kept"]) == [("name", "VARCHAR"), ("id", "INTEGER")]
    assert not found["kept"].promised
    assert [(c.name, c.type) for c in found["broken"].promised] == [("name", "VARCHAR"), ("id", "INTEGER")]
    assert "nothing_such" in found["typeless"].error
    # What comes after it is held to what was promised.
    assert kinds(found["of_broken"]) == [("id", "INTEGER"), ("name", "VARCHAR")]
    assert '"day" not found' in found["beyond_it"].error


def incremental(sql: str, change: Any, **more: Any) -> Draft:
    return Draft(
        node="orders", name=name("orders"), makes="table", sql=sql, extends=True, on_schema_change=change, **more
    )


@pytest.mark.parametrize(
    ("change", "all_columns", "sql", "columns", "error"),
    [
        ("ignore", True, "SELECT 1 AS id, 'x' AS name, DATE '2024-01-01' AS day, 2 AS more", ["id", "name", "day"], ""),
        ("ignore", True, "SELECT 1 AS id, 'x' AS name", None, "lacks the table's column 'day'"),
        ("ignore", False, "SELECT 1 AS id, 'x' AS name", ["id", "name", "day"], ""),
        ("fail", False, "SELECT 1 AS id, 'x' AS name, DATE '2024-01-01' AS day", ["id", "name", "day"], ""),
        ("fail", False, "SELECT 1 AS id, 'x' AS name", None, "out of sync"),
        ("append_new_columns", False, "SELECT 1 AS id, 2 AS more", ["id", "name", "day", "more"], ""),
        ("sync_all_columns", False, "SELECT 1 AS id, 2 AS more", ["id", "more"], ""),
    ],
)
def test_schema_changes(
    reading: RunSession, change: str, all_columns: bool, sql: str, columns: list[str] | None, error: str
) -> None:
    found = bound(reading, incremental(sql, change, all_columns=all_columns))["orders"]
    assert error in found.error
    if columns is not None:
        assert [name for name, _ in kinds(found)] == columns


def test_headers_run_for_their_own_node_alone(reading: RunSession) -> None:
    header = ("CREATE TEMP MACRO twice(x) AS 2 * x",)
    found = bound(
        reading,
        table("with_it", "SELECT twice(id) AS d FROM lake.s.orders", setup=header),
        table("again", "SELECT twice(id) AS d FROM lake.s.orders", setup=header),
        query("without", "SELECT twice(id) FROM lake.s.orders"),
        table("broken", "SELECT 1 AS a", setup=("CREATE TEMP MACRO f(x) AS nothing_such(x) +",)),
    )
    assert kinds(found["with_it"]) == kinds(found["again"]) == [("d", "INTEGER")]
    assert "twice does not exist" in found["without"].error
    assert "header" in found["broken"].why


def test_macros_of_the_run_are_known(lake: EmbeddedLake, open_run: OpenRun) -> None:
    run = open_run()
    with closing(run.session()) as session:
        session.execute("CREATE MACRO thrice(x) AS 3 * x")
    with closing(run.session()) as session:
        found = bound(session, query("q", "SELECT thrice(2) AS n"), query("w", "SELECT thrice(2, nope) AS n"))
    assert kinds(found["q"]) == [("n", "INTEGER")]
    assert not found["w"].error


def test_other_states_of_the_lake(reading: RunSession, session: RunSession) -> None:
    before = reading.state.own.commit
    session.execute("CREATE OR REPLACE TABLE s.orders AS SELECT 1 AS id")
    found = bound(
        session,
        query("then", f'SELECT name FROM "lake@{before}".s.all_orders'),
        query("now", "SELECT name FROM lake.s.all_orders"),
    )
    assert kinds(found["then"]) == [("name", "VARCHAR")]
    assert '"name" not found' in found["now"].error


PYTHON = "def model(dbt, con):\n    return dbt.ref('orders')\n"


@pytest.fixture
def python_model(session: RunSession, reading: RunSession) -> RunSession:
    """A session on a state in which a Python model made a table of its input."""
    code = (
        "def model(dbt, con):\n    return con.sql('select id, name from lake.s.orders')\n\n\n"
        "class dbtObj:\n    def __init__(self, load):\n        pass\n"
    )
    del reading
    source = PythonSource(code=code, path="models/py.py", reads=('"lake"."s"."orders"',))
    session.build(Build(name=name("py"), python=source, node="py"))
    session.code = code  # type: ignore[attr-defined]
    return session


def py(code: str) -> Draft:
    return Draft(node="py", name=name("py"), makes="table", python=code, python_reads=('"lake"."s"."orders"',))


def test_python_models_make_what_they_made_last_time(python_model: RunSession) -> None:
    code: str = python_model.code  # type: ignore[attr-defined]
    child = query("child", "SELECT nope FROM lake.s.py")
    known = bound(python_model, py(code), child)
    assert kinds(known["py"]) == [("id", "INTEGER"), ("name", "VARCHAR")]
    assert '"nope" not found' in known["child"].error


def test_python_models_are_not_known_with_other_code_or_inputs(python_model: RunSession) -> None:
    code: str = python_model.code  # type: ignore[attr-defined]
    child = query("child", "SELECT nope FROM lake.s.py")
    other = bound(python_model, py(code + "# another\n"), child)
    assert other["py"].why
    assert other["child"].waits
    moved = bound(python_model, table("orders", "SELECT 1 AS id, 2 AS nope"), py(code), child)
    assert moved["py"].waits
    assert moved["child"].waits
    python_model.execute("ALTER TABLE s.orders ADD COLUMN nope INTEGER")
    since = bound(python_model, py(code), child)
    assert since["py"].why
    assert since["child"].waits


def test_nothing_is_written_and_nothing_stays_behind(
    reading: RunSession, lake: EmbeddedLake, open_run: OpenRun
) -> None:
    run = open_run()
    with closing(run.session()) as session:
        bound(session, table("new", "SELECT 1 AS id"), table("orders", "SELECT 2 AS other"))
        assert run.branch is None
        assert session.execute("SELECT name FROM lake.s.orders").rows == [("a",)]
        assert session.state.own.get(Key("s", "new")) is None
    del reading, lake


def test_five_hundred_nodes_take_a_second(reading: RunSession) -> None:
    drafts = [table("m0", "SELECT id, name, day FROM lake.s.orders")]
    drafts += [
        table(
            f"m{n}",
            f"SELECT a.id, upper(a.name) AS name, b.day FROM lake.s.m{n - 1} a JOIN lake.s.m{n // 2} b USING (id)",
        )
        for n in range(1, 500)
    ]
    bound(reading, *drafts[:2])
    started = time.process_time()  # of this process alone, whatever else the machine does
    found = bound(reading, *drafts)
    seconds = time.process_time() - started
    assert all(kinds(one) for one in found.values())
    assert seconds < 4, f"{seconds:.2f} s"
    print(f"{seconds:.2f} s")
