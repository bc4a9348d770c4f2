"""Functions of the lake: made, versioned, called wherever SQL runs, and part of what makes a result."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest

from dbt.adapters.lakehouse.catalog.model import FunctionEntry, Key, RefKind, entry_from_json, entry_to_json
from dbt.adapters.lakehouse.errors import (
    ConfigError,
    ConstraintViolated,
    FunctionError,
    MergeConflict,
    NotInLake,
    SqlError,
)
from dbt.adapters.lakehouse.jobs.function import Argument, Definition, Signature
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import Build, Built, Function, Name, PythonSource
from dbt.adapters.lakehouse.tables.values import Constraints

OpenRun = Callable[..., LakeRun]
Rows = list[tuple[Any, ...]]
_PATHS = itertools.count()


def name(of: str, schema: str = "s") -> Name:
    return Name(database="lake", schema=schema, name=of)


def defined(body: str, *arguments: tuple[str, ...], returns: str = "DOUBLE", **more: Any) -> Definition:
    """A function with arguments of (name, type, default)."""
    known = tuple(Argument(**dict(zip(("name", "type", "default"), one, strict=False))) for one in arguments)
    signature = Signature(arguments=known, returns=returns, body=body)
    return Definition(**{"language": "sql", "type": "scalar", "signatures": (signature,), **more})


def python(body: str, *arguments: tuple[str, ...], returns: str = "DOUBLE", **more: Any) -> Definition:
    said = {"language": "python", "entry_point": "f", "path": f"functions/f{next(_PATHS)}.py", **more}
    return defined(body, *arguments, returns=returns, **said)


def create(session: RunSession, of: str, definition: Definition, schema: str = "s", **more: Any) -> Built:
    return session.create_function(Function(name=name(of, schema), definition=definition, **more))


def rows(session: RunSession, sql: str) -> Rows:
    return [tuple(row) for row in session.execute(sql).rows]


DOUBLE = defined("SELECT price * 2", ("price", "float", "100"), returns="float")
PYTHON = "def f(x):\n    return x * 2\n"
SUM = """
class f:
    def __init__(self):
        self.total = 0

    def accumulate(self, value):
        self.total += value

    def finish(self):
        return self.total ** 2
"""


# in SQL


def test_a_function_is_called_by_its_full_name_or_a_part_of_it(session: RunSession):
    create(session, "twice", DOUBLE)
    found = rows(
        session, """SELECT "lake"."s"."twice"(1), s.twice(2), twice(3), TWICE('4'), twice(), twice(price := 5)"""
    )
    assert found == [(2.0, 4.0, 6.0, 8.0, 200.0, 10.0)]
    assert rows(session, "SELECT typeof(twice(1::DECIMAL(9, 2))), twice(NULL)") == [("FLOAT", None)]


def test_types_are_kept_in_duckdbs_words_and_values_that_do_not_fit_are_told_with_them(session: RunSession):
    entry = create(session, "twice", DOUBLE).entry
    assert isinstance(entry, FunctionEntry)
    assert str(entry.definition.signatures[0]) == "(price FLOAT DEFAULT 100) → FLOAT"
    assert entry_from_json(entry_to_json(entry)) == entry
    with pytest.raises(SqlError, match=r"'abc' to FLOAT(?s:.)*It calls s\.twice\(price FLOAT DEFAULT 100\)"):
        session.execute("SELECT twice('abc')")
    with pytest.raises(SqlError, match=r"STRUCT(?s:.)*It calls s\.twice"):
        session.execute("SELECT twice({'a': 1})")
    with pytest.raises(SqlError, match=r"does not support(?s:.)*It calls s\.twice"):
        session.execute("SELECT twice(1, 2)")


def test_an_aggregate_is_one_of_duckdbs_in_other_words(session: RunSession):
    squared = defined("POWER(SUM(value), 2)", ("value", "numeric"), returns="numeric", type="aggregate")
    create(session, "sum_squared", squared)
    assert rows(session, "SELECT sum_squared(x) FROM range(4) t(x)") == [(Decimal("36.000"),)]
    grouped = "SELECT x % 2, sum_squared(x) FROM range(4) t(x) GROUP BY 1 HAVING sum_squared(x) > 4"
    assert rows(session, grouped) == [(1, Decimal("16.000"))]
    assert rows(session, "SELECT sum_squared(x) FROM range(4) t(x) WHERE x > 9") == [(None,)]
    with pytest.raises(SqlError, match="Macro Function"):
        session.execute("SELECT sum_squared(DISTINCT x) FROM range(4) t(x)")


def test_relations_and_functions_of_one_name_do_not_meet(session: RunSession):
    create(session, "twice", DOUBLE)
    session.execute("CREATE TABLE lake.s.twice AS SELECT 21 AS x")
    assert rows(session, "SELECT twice(x) FROM twice") == [(42.0,)]
    session.execute("DROP TABLE lake.s.twice")
    assert rows(session, "SELECT twice(1)") == [(2.0,)]


def test_two_schemas_may_have_functions_of_one_name(session: RunSession):
    create(session, "f", defined("x + 1", ("x", "INTEGER"), returns="INTEGER"))
    create(session, "f", defined("x + 10", ("x", "INTEGER"), returns="INTEGER"), schema="other")
    assert rows(session, "SELECT f(1), s.f(1), other.f(1), lake.other.f(1)") == [(2, 2, 11, 11)]


def test_a_function_calls_others_and_reads_relations_as_they_are_when_it_is_called(session: RunSession):
    session.execute("CREATE TABLE lake.s.rates AS SELECT 'eur' AS name, 2 AS rate")
    create(session, "rate", defined("SELECT max(rate) FROM rates WHERE name = wanted", ("wanted", "VARCHAR")))
    create(session, "paid", defined("rate(currency) * price", ("price", "DOUBLE"), ("currency", "VARCHAR", "'eur'")))
    assert rows(session, "SELECT paid(x) FROM range(3) t(x)") == [(0.0,), (2.0,), (4.0,)]
    session.execute("UPDATE lake.s.rates SET rate = 3")
    assert rows(session, "SELECT lake.s.paid(2)") == [(6.0,)]
    entry = session.state.own.get(Key("s", "paid()"))
    assert isinstance(entry, FunctionEntry)
    assert set(entry.inputs) == {"s.rates", "s.rate()"}


def test_names_in_a_body_are_not_mixed_up_with_those_of_its_arguments(session: RunSession):
    session.execute("CREATE TABLE lake.s.prices AS SELECT range AS id, range * 10.0 AS price FROM range(5)")
    create(session, "price", defined("SELECT max(price) FROM lake.s.prices WHERE id = wanted", ("wanted", "BIGINT")))
    assert rows(session, "SELECT id, price(id) FROM prices WHERE id < 3 ORDER BY 1") == [(0, 0.0), (1, 10.0), (2, 20.0)]
    assert rows(session, "SELECT price(max(id)), sum(price(id)) FROM prices") == [(40.0, 100.0)]
    create(session, "plus", defined("list_transform(xs, x -> x + k)", ("xs", "INT[]"), ("k", "INT"), returns="INT[]"))
    assert rows(session, "SELECT plus([1, 2], x) FROM range(2) t(x)") == [([1, 2],), ([2, 3],)]
    with pytest.raises(SqlError, match="a window function as its argument"):
        session.execute("SELECT price(row_number() OVER ()) FROM prices")
    for counted in ("count(*)", "1 + count(*)", "sum(1)", "list_sum([count()])"):
        with pytest.raises(SqlError, match="an aggregate of no column"):
            session.execute(f"SELECT price({counted}) FROM prices")
    assert rows(session, "SELECT price((SELECT count(*) - 1 FROM prices)), price(count(id) - 1) FROM prices") == [
        (40.0, 40.0)
    ]
    plain = "SELECT price(n) FROM (SELECT row_number() OVER (ORDER BY id) AS n FROM prices) ORDER BY 1 LIMIT 2"
    assert rows(session, plain) == [(10.0,), (20.0,)]
    with pytest.raises(SqlError, match="an aggregate knows nothing but its arguments"):
        create(session, "a", defined("sum(x) + (SELECT max(id) FROM prices)", ("x", "INT"), type="aggregate"))


@pytest.mark.parametrize(
    "body", ["SELECT n * 10", "select\n  n * 10 AS ten_times -- why", "n * 10", "SELECT CASE WHEN true THEN n * 10 END"]
)
def test_aggregates_and_windows_are_computed_around_a_function_without_names_of_its_own(session: RunSession, body: str):
    session.execute("CREATE TABLE lake.s.numbers AS SELECT range AS n, range % 2 AS odd FROM range(5)")
    create(session, "tenfold", defined(body, ("n", "BIGINT"), returns="BIGINT"))
    create(session, "more", defined("SELECT tenfold(n) + 1", ("n", "BIGINT"), returns="BIGINT"))
    assert rows(session, "SELECT tenfold(count(*)), more(count(*)), tenfold(sum(1)) FROM numbers") == [(50, 51, 50)]
    grouped = "SELECT odd, tenfold(count(*)), tenfold(sum(n)) FROM numbers GROUP BY odd ORDER BY odd"
    assert rows(session, grouped) == [(0, 30, 60), (1, 20, 40)]
    numbered = "SELECT n, tenfold(row_number() OVER (ORDER BY n)) FROM numbers WHERE n < 2 ORDER BY n"
    assert rows(session, numbered) == [(0, 10), (1, 20)]


@pytest.mark.parametrize(
    "body", ["SELECT n * 10 ten_times", "(SELECT n * 10)", "WITH t AS (SELECT n AS m) SELECT m * 10 FROM t"]
)
def test_what_would_be_computed_in_a_function_is_refused(session: RunSession, body: str):
    session.execute("CREATE TABLE lake.s.numbers AS SELECT range AS n FROM range(5)")
    create(session, "tenfold", defined(body, ("n", "BIGINT"), returns="BIGINT"))
    assert rows(session, "SELECT tenfold(sum(n)), sum(tenfold(n)) FROM numbers") == [(100, 100)]
    for argument in ("count(*)", "row_number() OVER ()"):
        with pytest.raises(SqlError, match="compute it in a subquery"):
            session.execute(f"SELECT tenfold({argument}) FROM numbers")


def test_macros_that_a_hook_makes_may_call_functions(open_run: OpenRun):
    run = open_run()
    with closing(run.session()) as session:
        create(session, "twice", DOUBLE)
        session.execute("CREATE MACRO four_times(x) AS lake.s.twice(lake.s.twice(x))")
    with closing(run.session()) as session:
        assert rows(session, "SELECT four_times(2)") == [(8.0,)]


@pytest.mark.parametrize("isolated", [False, True])
def test_sql_in_a_python_model_calls_functions(session: RunSession, isolated: bool):
    create(session, "twice", DOUBLE)
    create(session, "f", python(PYTHON, ("x", "DOUBLE")))
    session.execute("CREATE VIEW lake.s.v AS SELECT f(x) AS y FROM range(3) t(x)")
    code = (
        "class dbtObj:\n    def __init__(self, load):\n        self.ref = load\n\n"
        "def model(dbt, session):\n"
        "    found = dbt.ref('lake.s.v')\n"
        "    return session.sql('SELECT y, lake.s.twice(y) AS z, s.f(y) AS w FROM lake.s.v ORDER BY 1')\n"
    )
    packages = ("duckdb",) if isolated else ()
    source = PythonSource(code=code, path="models/t.py", reads=("lake.s.v",), packages=packages)
    session.build(Build(name=name("t"), python=source, node="model.p.t"))
    assert rows(session, "FROM lake.s.t") == [(0.0, 0.0, 0.0), (2.0, 4.0, 4.0), (4.0, 8.0, 8.0)]


def test_what_reads_the_target_through_a_function_sees_all_its_rows(session: RunSession):
    session.execute("CREATE TABLE lake.s.t AS SELECT range AS x FROM range(4)")
    create(session, "most", defined("SELECT max(x) FROM lake.s.t", returns="BIGINT"))
    session.execute("UPDATE lake.s.t SET x = x + most() WHERE x < 2")
    assert sorted(rows(session, "FROM lake.s.t")) == [(2,), (3,), (3,), (4,)]
    session.execute("DELETE FROM lake.s.t WHERE x = most()")
    assert sorted(rows(session, "FROM lake.s.t")) == [(2,), (3,), (3,)]


def test_views_call_functions_where_they_are_read(session: RunSession, lake: EmbeddedLake):
    create(session, "twice", DOUBLE)
    session.execute("CREATE VIEW lake.s.v AS SELECT twice(x) AS y FROM range(3) t(x)")
    lake.catalog.create_ref("before", RefKind.TAG, "main")
    create(session, "twice", defined("price * 3", ("price", "DOUBLE")))
    assert rows(session, "FROM lake.s.v") == [(0.0,), (3.0,), (6.0,)]
    assert rows(session, 'FROM "lake@before".s.v') == [(0.0,), (2.0,), (4.0,)]
    assert rows(session, 'SELECT twice(1), "lake@before"."s"."twice"(1), "lake@before".s.twice(2)') == [(3.0, 2.0, 4.0)]


@pytest.mark.parametrize(
    ("definition", "what"),
    [
        (defined("nonsense(x)", ("x", "INTEGER")), "nonsense does not exist"),
        (defined("x +", ("x", "INTEGER")), "cannot be created(?s:.)*syntax error"),
        (defined("x), (y) AS (1", ("x", "INTEGER")), "cannot be created"),
        (defined("1); DROP TABLE t; SELECT (1"), "cannot be created"),
        (defined("x", ("x", "NO_TYPE")), r"none of DuckDB's(?s:.)*NO_TYPE"),
        (defined("f(x)", ("x", "INTEGER")), "f does not exist|would call itself"),
    ],
)
def test_what_duckdb_does_not_take_is_no_function(session: RunSession, definition: Definition, what: str):
    with pytest.raises(SqlError, match=what):
        create(session, "f", definition)
    assert session.state.own.get(Key("s", "f()")) is None


def test_a_function_that_would_call_itself_is_refused(session: RunSession):
    create(session, "f", defined("x + 1", ("x", "INTEGER")))
    with pytest.raises(SqlError, match="would call itself"):
        create(session, "f", defined("f(x) + 1", ("x", "INTEGER")))


def test_names_of_duckdbs_own_functions_are_taken(session: RunSession):
    with pytest.raises(ConfigError, match="called like DuckDB's own median"):
        create(session, "median", defined("x", ("x", "INTEGER")))
    with pytest.raises(ConfigError, match="those of functions"):
        session.execute('CREATE TABLE lake.s."f()" AS SELECT 1 AS x')


def test_a_function_is_dropped(session: RunSession):
    create(session, "twice", DOUBLE)
    session.execute("DROP FUNCTION lake.s.twice")
    with pytest.raises(SqlError, match="twice does not exist"):
        session.execute("SELECT twice(1)")
    session.execute("DROP FUNCTION IF EXISTS lake.s.twice")
    with pytest.raises((SqlError, NotInLake)):
        session.execute("DROP FUNCTION lake.s.twice")
    create(session, "twice", DOUBLE)
    session.execute("DROP SCHEMA lake.s CASCADE")
    assert session.relations("lake", "s") == []


def test_overloads_are_told_apart_by_number_and_types(session: RunSession):
    one = Signature(arguments=(Argument(name="x", type="INTEGER"),), returns="VARCHAR", body="'number ' || x")
    two = Signature(arguments=(Argument(name="x", type="VARCHAR"),), returns="VARCHAR", body="'text ' || x")
    three = Signature(
        arguments=(Argument(name="x", type="INTEGER"), Argument(name="y", type="INTEGER", default="5")),
        returns="INTEGER",
        body="x + y",
    )
    create(session, "f", Definition(language="sql", type="scalar", signatures=(one, two)))
    assert rows(session, "SELECT f(1), f('a')") == [("number 1", "text a")]
    create(session, "f", Definition(language="sql", type="scalar", signatures=(two, three)))
    assert rows(session, "SELECT f('a'), f(1, 2)") == [("text a", 3)]


# in Python


def test_a_function_in_python_gets_values_and_gives_them(session: RunSession):
    create(session, "f", python(PYTHON, ("x", "DOUBLE")))
    assert rows(session, "SELECT f(x) FROM range(3) t(x)") == [(0.0,), (2.0,), (4.0,)]
    assert rows(session, "SELECT sum(f(x)) FROM range(10000) t(x)") == [(99990000.0,)]
    create(session, "five", python("def f():\n    return 5\n", returns="INTEGER"))
    assert rows(session, "SELECT five(), x FROM range(2) t(x)") == [(5, 0), (5, 1)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("BOOLEAN", "true"),
        ("HUGEINT", "170141183460469231731687303715884105727"),
        ("DECIMAL(18,3)", "1.125"),
        ("VARCHAR", "'ünïcode'"),
        ("BLOB", r"'\xAA\x00'::BLOB"),
        ("DATE", "DATE '2020-02-29'"),
        ("TIME", "TIME '12:34:56.789'"),
        ("TIMESTAMP", "TIMESTAMP '2020-02-29 12:34:56.789'"),
        ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ '2020-02-29 12:34:56.789+02'"),
        ("INTERVAL", "INTERVAL '1 month 2 days 3 seconds'"),
        ("UUID", "UUID '6bd29fd6-59d2-4a17-a37b-5b4bcd9b8b02'"),
        ("JSON", """'{"a": 1}'::JSON"""),
        ("ENUM('a', 'b')", "'b'"),
        ("INTEGER[]", "[1, NULL, 3]"),
        ('STRUCT(a INTEGER, "b c" VARCHAR)', "{'a': 1, 'b c': 'x'}"),
        ("MAP(VARCHAR, INTEGER)", "MAP {'a': 1}"),
        ("VARCHAR", "NULL"),
    ],
)
def test_values_of_every_type_come_back_as_they_went(session: RunSession, kind: str, value: str):
    create(session, "f", python("def f(x):\n    return x\n", ("x", kind), returns=kind))
    found = rows(session, f"SELECT f({value}) IS NOT DISTINCT FROM CAST({value} AS {kind}), typeof(f({value}))")
    assert found == rows(session, f"SELECT true, typeof(CAST({value} AS {kind}))")


def test_a_python_function_without_arguments_is_called_for_every_row(session: RunSession):
    code = "n = 0\ndef f(*given):\n    global n\n    n += 1\n    return n\n"
    create(session, "each", python(code))
    create(session, "fixed", python(code, volatility="deterministic"))
    create(session, "given", python(code, ("x", "INT"), volatility="non-deterministic"))
    counts = "count(DISTINCT each()), count(DISTINCT fixed()), count(DISTINCT given(1))"
    assert rows(session, f"SELECT {counts} FROM range(5)") == [(5, 1, 5)]


def test_an_aggregate_in_python_is_a_class(session: RunSession):
    create(session, "f", python(SUM, ("value", "DOUBLE", "1"), type="aggregate"))
    assert rows(session, "SELECT f(x), f() FROM range(4) t(x)") == [(36.0, 16.0)]
    assert rows(session, "SELECT x % 2, f(x) FROM range(4) t(x) GROUP BY 1 ORDER BY 1") == [(0, 4.0), (1, 16.0)]
    assert rows(session, "SELECT f(x) FROM range(4) t(x) WHERE x > 9") == [(0.0,)]
    both = SUM.replace("value):", "value, weight):").replace("+= value", "+= value * weight")
    create(session, "g", python(both, ("value", "DOUBLE"), ("weight", "INTEGER"), type="aggregate"))
    assert rows(session, "SELECT g(x, 2) FROM range(4) t(x)") == [(144.0,)]


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (
            "def f(x):\n    return 1 / x\n",
            r"s\.f failed: called with x=0\.0:(?s:.)*functions/f\d+\.py\", line 2(?s:.)*ZeroDivision",
        ),
        ("def f(x):\n    return 'abc'\n", r"it returned 'abc', a str, where DOUBLE is declared"),
        ("import os\ndef f(x):\n    os.kill(os.getpid(), 9)\n", "its process was ended by SIGKILL"),
        ("import os\ndef f(x):\n    os._exit(3)\n", r"exit code 3"),
        ("import sys\ndef f(x):\n    sys.exit('no')\n", r"SystemExit: no"),
    ],
)
def test_what_goes_wrong_in_python_is_told_and_the_session_goes_on(session: RunSession, code: str, what: str):
    create(session, "f", python(code, ("x", "DOUBLE")))
    with pytest.raises(FunctionError, match=what):
        session.execute("SELECT f(x) FROM range(3) t(x)")
    create(session, "f", python(PYTHON, ("x", "DOUBLE")))
    assert rows(session, "SELECT f(4)") == [(8.0,)]


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("def g(x):\n    return x\n", "has no function 'f', its entry_point"),
        ("def f(x:\n", "cannot be loaded(?s:.)*SyntaxError"),
        ("import no_such_module\ndef f(x):\n    return x\n", "cannot be loaded(?s:.)*no_such_module"),
    ],
)
def test_python_code_is_loaded_when_a_function_is_made(session: RunSession, code: str, what: str):
    with pytest.raises(FunctionError, match=what):
        create(session, "f", python(code, ("x", "DOUBLE")))
    assert session.state.own.get(Key("s", "f()")) is None


# versions


def test_a_run_publishes_its_functions_with_its_tables(lake: EmbeddedLake, open_run: OpenRun):
    run = open_run()
    with closing(run.session()) as session:
        create(session, "twice", DOUBLE, node="function.p.twice")
        assert rows(session, "SELECT twice(1)") == [(2.0,)]
    with closing(lake.read("main", "s")) as reader, pytest.raises(SqlError, match="does not exist"):
        reader.execute("SELECT twice(1)")
    run.publish()
    with closing(lake.read("main", "s")) as reader:
        assert [tuple(row) for row in reader.execute("SELECT twice(1)").rows] == [(2.0,)]


def test_two_branches_that_change_a_function_are_in_conflict(open_run: OpenRun):
    first, second = open_run(), open_run()
    for run, factor in ((first, 2), (second, 3)):
        with closing(run.session()) as session:
            create(session, "f", defined(f"x * {factor}", ("x", "DOUBLE")))
    first.publish()
    with pytest.raises(MergeConflict, match=r"s\.f\(\) changed on both sides"):
        second.publish()


def test_a_function_that_is_as_it_was_is_not_made_again(session: RunSession, lake: EmbeddedLake):
    create(session, "twice", DOUBLE)
    head = lake.catalog.resolve("main").id
    assert create(session, "twice", DOUBLE).reused is not None
    assert lake.catalog.resolve("main").id == head
    assert create(session, "twice", DOUBLE, comment="doubles").reused is None


# reuse


def build(session: RunSession, sql: str = "SELECT f(x) AS y FROM range(3) t(x)") -> Built:
    return session.build(Build(name=name("t"), sql=sql, node="model.p.t"))


def test_a_table_is_built_again_when_a_function_that_it_calls_changes(session: RunSession):
    create(session, "g", defined("x * 2", ("x", "DOUBLE")))
    create(session, "f", defined("g(x) + 1", ("x", "DOUBLE")))
    assert build(session).reused is None
    assert build(session).reused is not None
    create(session, "f", defined("g(x)  +  1 -- the same", ("x", "DOUBLE")))
    assert build(session).reused is not None
    create(session, "g", defined("x * 3", ("x", "DOUBLE")))
    assert build(session).reused is None
    assert rows(session, "FROM lake.s.t") == [(1.0,), (4.0,), (7.0,)]


def test_a_table_is_built_again_when_what_a_function_reads_changes(session: RunSession):
    session.execute("CREATE TABLE lake.s.rates AS SELECT 2 AS rate")
    create(session, "f", defined("x * (SELECT max(rate) FROM rates)", ("x", "DOUBLE")))
    build(session)
    assert build(session).reused is not None
    session.execute("UPDATE lake.s.rates SET rate = 3")
    assert build(session).reused is None
    assert rows(session, "FROM lake.s.t") == [(0.0,), (3.0,), (6.0,)]


@pytest.mark.parametrize(
    ("definition", "why"),
    [
        (defined("x + random()", ("x", "DOUBLE")), "it calls random, which is volatile (in function s.f)"),
        (defined("x", ("x", "DOUBLE"), volatility="non-deterministic"), "it is non-deterministic (in function s.f)"),
        (
            python("import random\ndef f(x):\n    return random.random()\n", ("x", "DOUBLE")),
            "its code names random, which is left to chance (in function s.f)",
        ),
        (python(PYTHON, ("x", "DOUBLE"), volatility="stable"), "it is stable (in function s.f)"),
    ],
)
def test_a_function_that_may_give_something_else_keeps_results_from_being_reused(
    session: RunSession, definition: Definition, why: str
):
    create(session, "f", definition)
    assert build(session).why_not == (why,)
    assert build(session).reused is None


@pytest.mark.parametrize(
    "definition", [python(PYTHON, ("x", "DOUBLE")), defined("x", ("x", "DOUBLE"), volatility="stable")]
)
def test_results_of_functions_that_give_the_same_are_reused(session: RunSession, definition: Definition):
    create(session, "f", definition)
    build(session)
    assert build(session).reused is not None


def test_whoever_calls_a_function_deterministic_vouches_for_it(session: RunSession):
    create(session, "f", defined("x + 0 * random()", ("x", "DOUBLE"), volatility="deterministic"))
    build(session)
    assert build(session).reused is not None


def test_functions_of_the_same_body_in_other_schemas_give_the_same(session: RunSession):
    for schema in ("s", "other"):
        create(session, "f", defined("x * 2", ("x", "DOUBLE")), schema=schema)
    build(session)
    assert build(session, "SELECT lake.other.f(x) AS y FROM range(3) t(x)").reused is not None


@pytest.mark.parametrize("check", ["low(y)", "s.low(y)", "y < (SELECT max(top) FROM s.tops)"])
def test_a_check_constraint_is_held_again_when_what_it_calls_or_reads_changes(session: RunSession, check: str):
    create(session, "low", defined("x < 10", ("x", "DOUBLE"), returns="BOOLEAN"))
    session.execute("CREATE TABLE s.tops AS SELECT 10 AS top")
    wanted = Build(name=name("t"), sql="SELECT 5 AS y", node="model.t", constraints=Constraints(checks=(("", check),)))
    assert session.build(wanted).reused is None
    assert session.build(wanted).reused is not None
    create(session, "low", defined("x < 3", ("x", "DOUBLE"), returns="BOOLEAN"))
    session.execute("UPDATE s.tops SET top = 3")
    with pytest.raises(ConstraintViolated, match="CHECK constraint failed"):
        session.build(wanted)
