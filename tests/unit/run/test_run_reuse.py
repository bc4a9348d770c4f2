"""Results that were made before are used again, and only where they are what would be made."""

from __future__ import annotations

import dataclasses
import re
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dbt.adapters.lakehouse.catalog.model import Key, RunStatus, TableEntry, differences, identity
from dbt.adapters.lakehouse.errors import SqlError
from dbt.adapters.lakehouse.jobs.job import Resources
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run import fingerprint, reuse
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.python_parts import look_at
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import Build, Built, FileSource, Name, PythonSource, Wish, rows_of
from dbt.adapters.lakehouse.settings import PublishMode
from dbt.adapters.lakehouse.tables import content
from dbt.adapters.lakehouse.tables.values import Constraints

OpenRun = Callable[..., LakeRun]


def name(table: str, schema: str = "s") -> Name:
    return Name(database="lake", schema=schema, name=table)


def build(session: RunSession, table: str, sql: str, **more: Any) -> Built:
    return session.build(Build(name=name(table), sql=sql, node=f"model.{table}", **more))


@pytest.fixture
def run(open_run: OpenRun) -> Any:
    """Build some tables in a run of their own, and publish it; gives what was built by name."""

    def built(*builds: tuple[str, str] | Build, publish: bool = True, **more: Any) -> dict[str, Built]:
        this = open_run(**more)
        results: dict[str, Built] = {}
        with closing(this.session()) as session:
            for one in builds:
                given = one if isinstance(one, Build) else Build(name=name(one[0]), sql=one[1], node=f"model.{one[0]}")
                results[given.name.name] = session.build(given)
        if publish:
            this.publish()
        return results

    return built


def reused(results: dict[str, Built]) -> set[str]:
    return {table for table, built in results.items() if built.reused is not None}


def test_an_unchanged_build_is_reused_and_writes_nothing(run, lake):
    first = run(("a", "SELECT 1 AS x"), ("b", "SELECT x + 1 AS y FROM lake.s.a"))
    assert reused(first) == set()
    head = lake.catalog.resolve("main")
    again = run(("a", "SELECT 1 AS x"), ("b", "SELECT x + 1 AS y FROM lake.s.a"))
    assert reused(again) == {"a", "b"}
    assert lake.catalog.resolve("main") == head
    assert again["b"].reused.run == "0001-run" or again["b"].reused.run.endswith("-run")
    assert again["b"].reused.author == "unknown"
    assert again["b"].entry == first["b"].entry


@pytest.mark.parametrize(
    "sql",
    [
        "select  X, 'It''s' as t\nfrom lake.s.a -- why\nwhere x > 0",
        "/* note */ SELECT X, 'It''s' AS t FROM lake.s.a WHERE x > 0",
        "SELECT X, 'It''s' AS t FROM a WHERE x > 0",
    ],
)
def test_layout_comments_and_case_of_keywords_do_not_count(run, sql):
    run(("a", "SELECT 1 AS x"), ("b", "SELECT X, 'It''s' t FROM lake.s.a WHERE x > 0"))
    assert reused(run(("b", sql))) == {"b"}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT x, 'its' t FROM lake.s.a WHERE x > 0",
        "SELECT x, 'It''s' T FROM lake.s.a WHERE x > 0",
        "SELECT x, 'It''s' t FROM lake.s.a WHERE x > 1",
        "SELECT x, 'It''s' t FROM lake.s.other WHERE x > 0",
    ],
)
def test_what_the_code_says_counts(run, sql):
    run(("a", "SELECT 1 AS x"), ("other", "SELECT 2 AS x"), ("b", "SELECT x, 'It''s' t FROM lake.s.a WHERE x > 0"))
    assert reused(run(("b", sql))) == set()


def test_a_parent_that_gives_the_same_rows_lets_its_children_be(run):
    run(("a", "SELECT 1 AS x"), ("b", "SELECT x FROM lake.s.a"))
    again = run(("a", "SELECT 2 - 1 AS x"), ("b", "SELECT x FROM lake.s.a"))
    assert reused(again) == {"b"}
    assert reused(run(("a", "SELECT 2 AS x"), ("b", "SELECT x FROM lake.s.a"))) == set()


def test_other_branches_schemas_and_names_share_results(run, lake):
    run(("a", "SELECT 1 AS x"), ("b", "SELECT x FROM lake.s.a"))
    assert reused(run(("a", "SELECT 1 AS x"), ("b", "SELECT x FROM a"), branch="dev")) == {"a", "b"}
    elsewhere = run(
        Build(name=name("a", "t"), sql="SELECT 1 AS x"),
        Build(name=name("c", "t"), sql='SELECT x FROM "lake"."t"."a"'),
        branch="other",
    )
    assert reused(elsewhere) == {"a", "c"}
    with closing(lake.read("other")) as session:
        assert session.execute("SELECT x FROM lake.t.c").rows == [(1,)]


def test_writes_to_a_reused_table_leave_the_first_alone(run, open_run, lake):
    run(("a", "SELECT 1 AS x"))
    run(("a", "SELECT 1 AS x"), branch="dev")
    this = open_run(branch="dev")
    with closing(this.session()) as session:
        session.execute("INSERT INTO lake.s.a VALUES (2); DELETE FROM lake.s.a WHERE x = 1")
        build(session, "a", "SELECT 3 AS x", mode="append")
    this.publish()
    for ref, rows in (("main", [(1,)]), ("dev", [(2,), (3,)])):
        with closing(lake.read(ref)) as session:
            assert session.execute("SELECT x FROM lake.s.a ORDER BY x").rows == rows


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT random() AS x", "calls random, which is volatile"),
        ("SELECT uuid() AS x", "volatile"),
        ("SELECT now() AS x", "depends on the time"),
        ("SELECT current_date AS x", "depends on the time"),
        ("SELECT CURRENT_TIMESTAMP AS x", "depends on the time"),
        ("SELECT localtimestamp AS x", "depends on the time"),
        ("SELECT current_localtimestamp() AS x", "depends on the time"),
        ("SELECT current_localtime()::VARCHAR AS x", "depends on the time"),
        ("SELECT age(TIMESTAMP '2020-01-01') AS x", "depends on the time"),
        ("SELECT current_setting('threads') AS x", "depends on the session"),
        ("SELECT current_user AS x", "depends on the session"),
        ("SELECT * FROM lake.s.src USING SAMPLE 1", "takes a sample"),
        ("SELECT * FROM 'FILE'", "which is not in the lake"),
        ("SELECT * FROM read_csv('FILE')", "reads what is not in the lake"),
        ("SELECT * FROM lake.s.later", "depends on the time.*in view s.later"),
        ("SELECT count(*) AS n FROM information_schema.tables", "asks for the catalog"),
        ("PIVOT 'FILE' ON a USING count(*)", "which is not in the lake"),
        ("PIVOT (FROM lake.s.src AS q, 'FILE') ON a USING count(*)", "which is not in the lake"),
        ("PIVOT (SELECT x, random() AS r FROM lake.s.src) ON x USING sum(r)", "volatile"),
    ],
)
def test_what_is_no_function_of_its_inputs_runs_again(run, open_run, tmp_path, sql, why):
    (tmp_path / "f.csv").write_text("a\n1\n")
    sql = sql.replace("FILE", str(tmp_path / "f.csv"))
    this = open_run()
    with closing(this.session()) as session:
        build(session, "src", "SELECT 1 AS x")
        session.create_view(name("later"), "SELECT now() AS t")
    this.publish()
    for _ in range(2):
        (built,) = run(("b", sql)).values()
        assert built.reused is None
        assert any(re.search(why, reason) for reason in built.why_not), built.why_not
    sure = Build(name=name("b"), sql=sql, reuse="always")
    run(sure)
    assert reused(run(sure)) == {"b"}


@pytest.mark.parametrize(
    "sql",
    [
        "WITH q AS (SELECT x, row_number() OVER (ORDER BY x) AS r FROM lake.s.src) SELECT * FROM q WHERE r IN (1, 2)",
        "SELECT coalesce(x, 0) + 1 AS y, CASE WHEN x > 1 THEN 'a' ELSE 'b' END AS z, x::VARCHAR || '-' AS t FROM lake.s.src",
        "SELECT x BETWEEN 1 AND 2 AS u, [x, x + 1] AS l, {'k': x} AS s, list_transform([x], v -> v + 1) AS m FROM lake.s.src",
        "SELECT count(*) AS n, max(x) FILTER (x > 0) AS m, string_agg(x::VARCHAR, ',' ORDER BY x) AS t FROM lake.s.src",
        "SELECT range AS x FROM range(5)",
        "SELECT unnest([1, 2]) AS x",
        "SELECT age(DATE '2024-01-15', DATE '2020-01-15') AS between, x AS age FROM lake.s.src",
        "PIVOT (SELECT x AS age FROM lake.s.src) ON age USING count(*)",
        "SELECT date_trunc('month', DATE '2024-01-15') AS d, extract(year FROM DATE '2024-01-01') e",
        "SELECT * FROM lake.s.src PIVOT (count(*) FOR x IN (1, 2))",
        "PIVOT lake.s.src ON x USING count(*)",
        "PIVOT (FROM lake.s.src WHERE x::TEXT IN ('1', '2')) ON x USING count(*)",
        "FROM lake.s.src SELECT x, grouping(x) AS g GROUP BY ROLLUP (x)",
        "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v(i, t) ORDER BY i LIMIT 1",
        "SELECT a.x, b.x AS bx FROM lake.s.src AS a LEFT JOIN lake.s.src AS b USING (x) WHERE EXISTS (SELECT 1 FROM lake.s.src)",
        "SELECT md5(x::VARCHAR) AS h, hash(x) AS k, json_object('a', x) AS j, replace('abc', 'b', '') AS r FROM lake.s.src",
        "SELECT x FROM lake.s.src WHERE x IS NOT NULL AND x NOT IN (5) AND NOT (x::TEXT LIKE 'q%' OR x::TEXT ILIKE 'z')",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT n FROM t",
    ],
)
def test_ordinary_sql_is_reused(run, sql):
    run(("src", "SELECT 1 AS x"), ("b", sql))
    again = run(("b", sql))
    assert reused(again) == {"b"}, again["b"].why_not


def test_the_time_may_matter_by_the_day(run):
    daily = Build(name=name("b"), sql="SELECT now() AS x", reuse="day")
    first = run(daily)["b"]
    assert run(daily)["b"].entry == first.entry
    assert reused(run(dataclasses.replace(daily, reuse="hour"))) == set()
    assert reused(run(dataclasses.replace(daily, sql="SELECT now() AS x, random() AS r"))) == set()
    assert reused(run(dataclasses.replace(daily, sql="SELECT now() AS x, random() AS r"))) == set()


def test_reuse_can_be_refused_and_an_earlier_result_passed_over(run):
    run(("a", "SELECT 1 AS x"))
    never = Build(name=name("a"), sql="SELECT 1 AS x", reuse="never")
    assert reused(run(never)) == set()
    assert reused(run(dataclasses.replace(never, reuse="auto", rebuild=True))) == set()
    run(dataclasses.replace(never, sql="SELECT 5 AS x"))
    assert reused(run(("a", "SELECT 5 AS x"))) == set(), "what must not be reused is not kept"
    run(dataclasses.replace(never, reuse="auto", sql="SELECT 6 AS x", rebuild=True))
    assert reused(run(("a", "SELECT 6 AS x"))) == {"a"}, "what is built without looking is kept"


def test_results_that_were_declared_reusable_are_for_those_who_declare_it(run):
    sure = Build(name=name("a"), sql="SELECT 7 AS x", reuse="always")
    run(sure)
    assert reused(run(("a", "SELECT 7 AS x"))) == set()
    assert reused(run(sure)) == {"a"}


def test_configuration_counts_and_limits_do_not(run):
    base = Build(name=name("a"), sql="SELECT 1 AS x")
    run(base)
    for change in (
        {"partition_by": ("x",)},
        {"sort_by": ("x",)},
        {"comment": "numbers"},
        {"properties": {"owner": "ann"}},
        {"constraints": Constraints(not_null=("x",))},
        {"setup": ("SET VARIABLE v = 1",)},
    ):
        assert reused(run(dataclasses.replace(base, **change))) == set(), change
    assert reused(run(dataclasses.replace(base, resources=Resources(cpus=1, memory="1GB")))) == {"a"}


def test_an_append_is_reused_on_the_same_base_only(run):
    more = Build(name=name("a"), sql="SELECT 2 AS x", mode="append")
    run(("a", "SELECT 1 AS x"))
    one = run(more)["a"]
    two = run(more)["a"]
    assert (one.reused, two.reused) == (None, None)
    assert two.entry.rows == 3
    assert reused(run(("a", "SELECT 1 AS x"), branch="dev")) == {"a"}
    again = run(more, branch="dev")["a"]
    assert again.reused is not None
    assert identity(again.entry) == identity(one.entry)


def test_an_append_of_nothing_leaves_the_content_as_it_was(run):
    nothing = Build(name=name("a"), sql="SELECT 1 AS x WHERE false", mode="append")
    first = run(("a", "SELECT 1 AS x"), ("b", "SELECT x FROM a"))
    appended = run(nothing)["a"]
    assert identity(appended.entry) == identity(first["a"].entry)
    assert reused(run(nothing, ("b", "SELECT x FROM a"))) == {"a", "b"}


def test_a_merge_that_changes_nothing_settles(run):
    merge = Build(
        name=name("a"),
        mode="merge",
        sql="SELECT 1 AS x",
        source="incoming",
        statements=(
            "DELETE FROM lake.s.a WHERE x IN (SELECT x FROM incoming)",
            "INSERT INTO lake.s.a SELECT x FROM incoming",
        ),
        matching="t.x IN (SELECT x FROM incoming)",
    )
    run(("a", "SELECT 1 AS x UNION ALL SELECT 2"), ("b", "SELECT sum(x) AS s FROM a"))
    run(merge)
    again = run(merge, ("b", "SELECT sum(x) AS s FROM a"))
    assert reused(again) == {"a", "b"}, again["a"].why_not


def test_what_is_merged_from_rows_of_python_code_stands_on_what_the_code_read(run, lake):
    """The table of these rows is gone soon, and nothing may be stale for want of it."""
    rows = Build(name=name("a__rows"), sql="SELECT x FROM lake.s.raw", node=rows_of("model.a"))
    merge = Build(name=name("a"), sql="SELECT * FROM lake.s.a__rows", node="model.a", **MERGE)
    built = run(("raw", "SELECT 1 AS x"), ("a", "SELECT 0 AS x"), rows, merge)
    assert "s.raw" in built["a"].entry.inputs
    assert "s.a__rows" not in built["a"].entry.inputs


MERGE = {
    "mode": "merge",
    "source": "incoming",
    "statements": (
        "DELETE FROM lake.s.a WHERE x IN (SELECT x FROM incoming)",
        "INSERT INTO lake.s.a SELECT x FROM incoming",
    ),
}


@pytest.mark.parametrize("mode", ["append", "overwrite", "merge"])
def test_without_content_identity_nothing_is_hashed(run, lake, mode):
    plain = Build(name=name("a"), sql="SELECT 1 AS x", content_identity=False)
    run(plain)
    more = dataclasses.replace(plain, sql="SELECT 2 AS x", **(MERGE if mode == "merge" else {"mode": mode}))
    assert identity(run(more)["a"].entry).startswith("at:")
    warehouse = Path(lake.settings.warehouse.removeprefix("file://"))
    files = list(warehouse.rglob("*.parquet"))
    assert len(files) >= 2
    assert all(content.digest_of(str(file)) is None for file in files)


def test_two_tables_that_were_merged_alike_are_the_same(run):
    """What was computed twice, with reuse switched off for it, lets what reads it be."""
    rows = "SELECT i AS x FROM range(3) r(i)"
    merge = Build(name=name("a"), sql="SELECT 1 AS x UNION ALL SELECT 7", reuse="never", **MERGE)
    child = ("b", "SELECT sum(x) AS s FROM a")
    results = [run(("a", rows), merge, child, branch=branch) for branch in ("one", "two")]
    assert len({identity(found["a"].entry) for found in results}) == 1
    assert len({found["a"].entry.metadata_location for found in results}) == 2
    assert reused(results[1]) == {"b"}


def test_how_a_table_is_laid_out_counts_for_what_is_added_to_it(run, open_run):
    more = Build(name=name("a"), sql="SELECT 5 AS x", mode="overwrite")
    for branch, partitions in (("one", ()), ("two", ("x",))):
        run(Build(name=name("a"), sql="SELECT 1 AS x", partition_by=partitions), branch=branch)
    assert run(more, branch="one")["a"].entry.rows == 1
    there = run(more, branch="two")["a"]
    assert (there.reused, there.entry.rows) == (None, 2)


LATE = Build(
    name=name("a"),
    mode="merge",
    sql="SELECT x, now() AS t FROM lake.s.src WHERE x NOT IN (SELECT x FROM lake.s.a)",
    source="incoming",
    statements=("INSERT INTO lake.s.a SELECT x, t FROM incoming",),
    matching="false",
    deciding=("SELECT x FROM lake.s.src", "x NOT IN (SELECT x FROM lake.s.a)"),
)


def test_where_the_time_gets_into_new_rows_only_the_lack_of_them_is_reused(run):
    base = ("a", "SELECT 1 AS x, TIMESTAMPTZ '2024-01-01' AS t")
    for branch in ("one", "two"):
        first = run(("src", "SELECT 1 AS x"), base, LATE, branch=branch)["a"]
        assert (first.reused is None, first.why_not) == (branch == "one", ())
        changed = run(("src", "SELECT 2 AS x"), LATE, branch=branch)["a"]
        assert (changed.reused, changed.entry.rows) == (None, 2)
        run(LATE, branch=branch)
        assert reused(run(LATE, branch=branch)) == {"a"}


@pytest.mark.parametrize(
    "change",
    [
        {"deciding": ("SELECT x FROM lake.s.src WHERE now() > '2000-01-01'", "true")},
        {"deciding": ("SELECT x FROM lake.s.src", "now() > '2000-01-01'")},
        {"deciding": None},
        {"sql": "SELECT x, now() AS t FROM lake.s.src WHERE random() < 0"},
        {"sql": "SELECT x, now() AS t FROM lake.s.src, lake.s.later WHERE false"},
    ],
)
def test_where_the_time_or_chance_may_decide_it_runs_each_time(run, open_run, change):
    this = open_run()
    with closing(this.session()) as session:
        session.create_view(name("later"), "SELECT now() AS now")
    this.publish()
    run(("src", "SELECT 1 AS x"), ("a", "SELECT 1 AS x, TIMESTAMPTZ '2024-01-01' AS t"))
    late = dataclasses.replace(LATE, **change)
    for _ in range(3):
        assert run(late)["a"].why_not


def test_rows_changed_by_hand_are_seen(run, open_run):
    run(("a", "SELECT 1 AS x"), ("b", "SELECT x FROM a"))
    this = open_run()
    with closing(this.session()) as session:
        session.execute("UPDATE lake.s.a SET x = 2")
    this.publish()
    again = run(("b", "SELECT x FROM a"))
    assert reused(again) == set()
    assert again["b"].entry.rows == 1


def test_a_remark_on_a_table_leaves_its_content_as_it_was(run, open_run):
    run(("a", "SELECT 1 AS x"), ("b", "SELECT x FROM a"))
    this = open_run()
    with closing(this.session()) as session:
        session.execute("COMMENT ON TABLE lake.s.a IS 'numbers'; UPDATE lake.s.a SET x = 9 WHERE x > 5")
    this.publish()
    assert reused(run(("b", "SELECT x FROM a"))) == {"b"}


def test_a_test_that_passed_is_answered_from_the_index(open_run):
    query = "SELECT count(*) AS failures, count(*) != 0 AS should_warn, count(*) != 0 AS should_error FROM (FROM a WHERE x < {})"

    def ask(below: int) -> Any:
        this = open_run()
        with closing(this.session()) as session:
            build(session, "a", "SELECT 1 AS x")
            return session.execute(query.format(below), test="test.a")

    assert (ask(0).reused, ask(0).rows) == (None, [(0, False, False)])
    assert ask(0).reused is not None
    assert ask(5).rows == [(1, True, True)]
    assert ask(5).reused is None


UNIT = """
SELECT 'actual' AS actual_or_expected, * FROM (SELECT x, DATE '2024-01-01' AS d FROM ({}) AS t(x))
UNION ALL SELECT 'expected' AS actual_or_expected, * FROM (VALUES (2, DATE '2024-01-01'), (1, DATE '2024-01-01')) AS e
"""


def test_a_unit_test_that_passed_is_answered_from_the_index(open_run):
    def ask(given: str) -> Any:
        this = open_run()
        with closing(this.session()) as session:
            return session.execute(UNIT.format(given), test="unit_test.a")

    assert ask("VALUES (1), (2)").reused is None
    again = ask("VALUES (1), (2)")
    assert again.reused is not None
    assert [column.name for column in again.columns] == ["actual_or_expected", "x", "d"]
    for other in ("VALUES (1), (3)", "VALUES (1), (2), (2)", "VALUES (1)"):
        for _ in range(2):
            failed = ask(other)
            assert failed.reused is None
            assert len(failed.rows) > 2


def test_macros_count_where_they_are_called(open_run):
    def attempt(definition: str, sql: str) -> Built:
        this = open_run()
        with closing(this.session()) as session:
            session.execute(definition)
        with closing(this.session()) as session:
            built = build(session, "a", sql)
        this.publish()
        return built

    assert attempt("CREATE OR REPLACE MACRO twice(v) AS v * 2", "SELECT twice(1) AS x").reused is None
    assert attempt("CREATE OR REPLACE MACRO twice(v) AS  v*2", "SELECT twice(1) AS x").reused is not None
    assert attempt("CREATE OR REPLACE MACRO twice(v) AS v * 3", "SELECT twice(1) AS x").reused is None
    assert attempt("CREATE OR REPLACE MACRO twice(v) AS v * 4", "SELECT 1 AS x").reused is None
    assert attempt("CREATE OR REPLACE MACRO twice(v) AS v * 5", "SELECT 1 AS x").reused is not None
    assert attempt("CREATE OR REPLACE MACRO dice() AS random()", "SELECT dice() AS x").why_not == (
        "it calls random, which is volatile",
    )


def test_temporary_tables_and_settings_of_the_session_are_in_the_way(open_run):
    this = open_run()
    with closing(this.session()) as session:
        build(session, "src", "SELECT 1 AS x")
        session.execute("CREATE TEMP TABLE src AS SELECT 2 AS x")
        why = build(session, "a", "SELECT x FROM src").why_not
        assert "it reads src, which is a temporary table" in why, why
        declared = session.build(Build(name=name("a"), sql="SELECT x FROM src", reuse="always"))
        assert any("temporary" in why for why in declared.why_not), "a declaration does not change whose table it is"
        hidden = "SELECT x, (WITH src AS (SELECT 3 AS x) SELECT max(x) FROM src) AS m FROM src"
        assert build(session, "a", hidden).why_not
        session.execute("SET TimeZone = 'Asia/Tokyo'")
        assert any("settings" in why for why in build(session, "b", "SELECT 1 AS x").why_not)
    this.fail("enough")


def test_seeds_are_known_by_their_files_content(run, tmp_path):
    def seed(folder: str, text: str) -> Build:
        file = tmp_path / folder / "a.csv"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        sql = f"SELECT * FROM read_csv('{file}', header = true)"
        return Build(name=name("a"), sql=sql, local=True, file=FileSource(digest=fingerprint.hashed(text), how="csv"))

    run(seed("one", "x\n1\n"))
    assert reused(run(seed("two", "x\n1\n"))) == {"a"}
    assert reused(run(seed("two", "x\n2\n"))) == set()


PYTHON = """
{extra}
def model(dbt, session):
    return session.sql({query!r})

def ref(*args, **kwargs):
    pass

class dbtObj:
    def __init__(self, load_df_function) -> None:
        pass
"""


def python(tmp_path: Path, extra: str = "", query: str = "SELECT 1 AS x") -> Build:
    source = PythonSource(code=PYTHON.format(extra=extra, query=query), path=str(tmp_path / "models" / "p.py"))
    return Build(name=name("p"), python=source)


def test_python_models_are_reused_while_their_code_is_the_same(run, tmp_path):
    run(python(tmp_path))
    assert reused(run(python(tmp_path, extra="# a comment"))) == {"p"}
    assert reused(run(python(tmp_path, query="SELECT 2 AS x"))) == set()


@pytest.mark.parametrize(
    ("extra", "query", "why"),
    [
        ("import random", "SELECT 1 AS x", "left to chance"),
        ("import datetime\nx = datetime.datetime.now()", "SELECT 1 AS x", "depends on the time"),
        ("import os\nx = os.environ", "SELECT 1 AS x", "not in the lake"),
        ("", "SELECT random() AS x from range(1)", "volatile"),
        ("CONDITION = 'at < now()'", "SELECT 1 AS x", "calls now, which depends on the time"),
        ("TERMS = f'id, {1} as x, random () as r'", "SELECT 1 AS x", "volatile"),
        ("CONDITION = 'day = current_date'", "SELECT 1 AS x", "calls current_date, which depends on the time"),
        ("", "VALUES (uuid())", "volatile"),
    ],
)
def test_python_that_may_depend_on_more_runs_again(run, tmp_path, extra, query, why):
    (built,) = run(python(tmp_path, extra, query)).values()
    assert any(why in reason for reason in built.why_not), built.why_not


@pytest.mark.parametrize(
    "body",
    [
        "return session.sql(\"select * from 'FILE'\")",
        "return session.sql('from \"FILE\"')",
        "q = \"select a, (select max(a) from 'FILE') as m\"; return session.sql(q)",
        "session.sql(\"create temp table t as from 'FILE'\"); return session.table('t')",
        "name = 'FILE'; return session.sql(f\"from '{name}'\")",
        "name = 'FI' + 'LE'[:2]; return session.sql(f\"select 1 as a where 1 in (select a from '{name}')\")",
        "return session.sql(\"select * from '%s'\" % dbt.config.get('file'))",
        "import io; return io.FileIO('FILE')",
        "import io; return io.FileIO('my data/of f.csv.gz')",
    ],
)
def test_files_that_python_code_names_are_in_the_way(tmp_path, body):
    code = f'def model(dbt, session):\n    """Never reads other.csv."""\n    {body}\n'
    source = PythonSource(code=code.replace("FILE", "data/f.csv"), path=str(tmp_path / "models" / "p.py"))
    found = look_at(source, "p").obstacles
    assert any("which is not in the lake" in reason for reason in found), found
    assert not any("other.csv" in reason for reason in found)
    assert look_at(source, "p", files=True).obstacles == ()


def test_texts_that_name_no_file_are_not_in_the_way(tmp_path):
    code = 'def model(dbt, session):\n    return session.sql(\'select a.db, b.json, "x.json_" from "lake"."main"."t"\')'
    source = PythonSource(code=code, path=str(tmp_path / "models" / "p.py"))
    assert look_at(source, "p").obstacles == ()


def test_a_python_model_runs_again_when_a_file_that_its_sql_reads_changes(run, tmp_path):
    (tmp_path / "f.csv").write_text("a\n1\n")
    model = python(tmp_path, query=f"select * from '{tmp_path}/f.csv'")
    run(model)
    assert reused(run(model)) == set()


@pytest.mark.parametrize(
    "header",
    [
        "SET VARIABLE most = (SELECT max(x) FROM lake.s.a)",
        "SET VARIABLE most = (SELECT max(x) FROM a)",
        "SET VARIABLE most = (SELECT max(x) FROM lake.s.v)",
    ],
)
def test_what_a_header_reads_counts(run, open_run, header):
    below = open_run()
    with closing(below.session()) as session:
        build(session, "a", "SELECT 1 AS x")
        session.create_view(name("v"), "SELECT x FROM lake.s.a")
    below.publish()
    headed = Build(name=name("b"), sql="SELECT getvariable('most') AS y", setup=(header,))
    run(headed)
    assert reused(run(headed)) == {"b"}
    assert reused(run(("a", "SELECT 2 AS x"), headed)) == set()


def test_files_that_a_header_reads_are_in_the_way(run, tmp_path):
    (tmp_path / "most.csv").write_text("x\n1\n")
    header = f"SET VARIABLE most = (SELECT max(x) FROM '{tmp_path}/most.csv')"
    (built,) = run(Build(name=name("b"), sql="SELECT getvariable('most') AS y", setup=(header,))).values()
    assert any("not in the lake" in reason for reason in built.why_not), built.why_not


@pytest.mark.parametrize(
    ("head", "files", "changed"),
    [
        ("from lib.rates import X", {"lib/rates.py": "X = 1"}, {"lib/rates.py": "X = 22"}),
        ("import lib.rates", {"lib/__init__.py": "", "lib/rates.py": "X = 1"}, {"lib/rates.py": "X = 22"}),
        ("from pack import X", {"pack/__init__.py": "from .a import X", "pack/a.py": "X = 1"}, {"pack/a.py": "X = 22"}),
        ("def f():\n    import late", {"late.py": "from later import *", "later.py": "X = 1"}, {"later.py": "X = 22"}),
    ],
)
def test_modules_of_any_shape_count(tmp_path, head, files, changed):
    source = PythonSource(code=f"{head}\ndef model(dbt, s): ...", path=str(tmp_path / "models" / "p.py"))
    write(tmp_path, {"dbt_project.yml": "", **files})
    first = look_at(source, "p")
    assert first.obstacles == ()
    write(tmp_path, changed)
    assert differences(first.parts, look_at(source, "p").parts)


@pytest.mark.parametrize(
    ("head", "files", "why"),
    [
        ("import chance", {"chance.py": "import random"}, "its module chance names random, which is left to chance"),
        (
            "from net import x",
            {"net.py": "import deep", "deep.py": "open('f')"},
            "names open, which is not in the lake",
        ),
        ("import elsewhere_9", {"lib/elsewhere_9.py": ""}, "imports elsewhere_9, which is not found from here"),
        ("import importlib\nm = importlib.import_module('m')", {"m.py": ""}, "which runs code that cannot be seen"),
        ("m = __import__('m')", {"m.py": ""}, "which runs code that cannot be seen"),
        ("import os\nn = os.getpid()", {}, "names getpid, which is not in the lake"),
    ],
)
def test_what_modules_depend_on_is_in_the_way(tmp_path, head, files, why):
    source = PythonSource(code=f"{head}\ndef model(dbt, s): ...", path=str(tmp_path / "models" / "p.py"))
    write(tmp_path, {"dbt_project.yml": "", **files})
    assert any(why in reason for reason in look_at(source, "p").obstacles), look_at(source, "p").obstacles


def test_the_time_and_sql_in_modules_are_found(tmp_path):
    write(tmp_path, {"dbt_project.yml": "", "m.py": "import time\nQ = 'select random()'\n"})
    found = look_at(PythonSource(code="import m", path=str(tmp_path / "models" / "p.py")), "p")
    assert found.time == ("its module m names time, which depends on the time",)
    assert found.sql == ("select random()",)


def write(folder: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def test_modules_of_the_project_count(tmp_path):
    (tmp_path / "dbt_project.yml").touch()
    (tmp_path / "models").mkdir()
    (tmp_path / "rates.py").write_text("import factors\nRATE = 2\n")
    (tmp_path / "factors.py").write_text("FACTOR = 1\n")
    source = PythonSource(
        code="import rates, pandas, json\ndef model(dbt, s): ...", path=str(tmp_path / "models" / "p.py")
    )
    first = look_at(source, "p").parts
    assert set(first) == {"python", "module rates", "package pandas"}
    (tmp_path / "factors.py").write_text("FACTOR = 1  # as agreed\n")
    assert look_at(source, "p").parts == first
    (tmp_path / "factors.py").write_text("FACTOR = 2\n")
    assert differences(first, look_at(source, "p").parts).keys() == {"module rates"}


def test_what_a_failed_run_made_is_reused_by_a_run_that_asks_for_it(run, open_run, lake):
    failed = open_run()
    with closing(failed.session()) as session:
        build(session, "a", "SELECT 1 AS x")
    failed.fail("a test failed")
    again = run(("a", "SELECT 1 AS x"))
    assert again["a"].reused.run == failed.request.id
    assert lake.catalog.run(failed.request.id).status is RunStatus.FAILED
    assert set(lake.catalog.entries(lake.catalog.resolve("main").id)) == {Key("s", ""), Key("s", "a")}


def test_a_result_whose_files_are_gone_is_made_again(run):
    entry = run(("a", "SELECT 1 AS x"))["a"].entry
    assert isinstance(entry, TableEntry)
    Path(entry.metadata_location.removeprefix("file://")).unlink()
    assert reused(run(("a", "SELECT 1 AS x"), branch="dev")) == set()


def test_parts_are_kept_for_comparison(run, lake):
    run(("a", "SELECT 1 AS x"), ("b", "SELECT x FROM a"))
    run(("a", "SELECT 2 AS x"), ("b", "SELECT x FROM a"))
    new, old = lake.catalog.recall_node("model.b")
    assert differences(old.parts, new.parts).keys() == {"input a"}
    new, old = lake.catalog.recall_node("model.a")
    assert differences(old.parts, new.parts).keys() == {"code"}


SLOW = "SELECT sum(a.range * b.range) % 7 AS x FROM range({}) AS a, range(20000) AS b"


def test_two_runs_that_need_the_same_compute_it_once(open_run):
    barrier = threading.Barrier(2)

    def work(number: int) -> Built:
        this = open_run(branch=f"dev{number}")
        with closing(this.session()) as session:
            session.execute("SELECT 1")
            barrier.wait()
            built = build(session, "a", SLOW.format(20_000))
        this.publish()
        return built

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(work, (1, 2))
    assert sorted(built.reused is not None for built in (one, two)) == [False, True]
    assert one.entry.metadata_location == two.entry.metadata_location


def test_nobody_waits_for_a_run_that_failed_at_it_or_is_dead(open_run, lake):
    first, second = open_run(), open_run(branch="dev")
    with closing(first.session()) as session, pytest.raises(SqlError, match="no"):
        build(session, "a", "SELECT CAST('no' AS INTEGER) AS x")
    with closing(second.session()) as session:
        with pytest.raises(SqlError, match="no"):
            build(session, "a", "SELECT CAST('no' AS INTEGER) AS x")
        mark = fingerprint.of_build(session, Build(name=name("a"), sql="SELECT 1 AS x"), None)
        dead = dataclasses.replace(lake.catalog.run(first.request.id), id="dead-run", owner="nowhere")
        lake.catalog.save_run(dataclasses.replace(dead, owner=f"{socket.gethostname()}:999999999:1"))
        assert lake.catalog.claim(mark.id, "dead-run") is None
        assert build(session, "a", "SELECT 1 AS x").reused is None
    first.fail("no")
    second.publish()


def test_who_waits_too_long_computes(open_run, lake, monkeypatch):
    monkeypatch.setattr(reuse, "WAIT_SECONDS", 0.05)
    first, second = open_run(), open_run(branch="dev")
    first.begin()
    with closing(second.session()) as session:
        mark = fingerprint.of_build(session, Build(name=name("a"), sql="SELECT 1 AS x"), None)
        assert lake.catalog.claim(mark.id, first.request.id) is None
        assert build(session, "a", "SELECT 1 AS x").reused is None
    first.fail("no")
    second.publish()


def test_statements_that_count_at_once_reuse_too(run, lake: EmbeddedLake, open_run):
    run(("a", "SELECT 1 AS x"))
    live = open_run(publish=PublishMode.EACH_NODE, branch="dev")
    with closing(live.session()) as session:
        assert build(session, "a", "SELECT 1 AS x").reused is not None
        assert build(session, "c", "SELECT 7 AS x").reused is None
    assert lake.catalog.recall_node("model.c")[0].run is None


def test_recalling_gives_back_the_worker_that_it_asks(lake: EmbeddedLake, open_run: OpenRun):
    unknown = Build(name=name("t"), sql="SELECT nobody_knows_this(1) AS x", node="model.t")
    with closing(open_run().session()) as session:
        assert session.recall([Wish(id="model.t", build=unknown)]) == [None]
        assert len(lake._executor._idle) == 1
