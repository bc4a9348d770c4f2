"""Hooks, operations and ad-hoc SQL against the lake, and commands that write nothing."""

from __future__ import annotations

from dbt_shop import Shop

from dbt.adapters.lakehouse.catalog.model import RunStatus

HOOKED = """
{{ config(
    materialized='table',
    pre_hook=[
        "create table if not exists shop.audit (what varchar, n bigint)",
        "insert into shop.audit select 'before', count(*) from shop.audit",
        "create temp table scratch as select 41 as n; update scratch set n = n + 1",
    ],
    post_hook=[
        "insert into shop.audit select 'rows of {{ this.name }}', count(*) from {{ this }}",
        "begin; update {{ this }} set n = -n where n = 2; commit",
        "delete from {{ this }} where n in (select max(n) from {{ this }})",
        "merge into shop.audit as a using (select 'before' as what) s on a.what = s.what when matched then update set n = 100",
        "insert into shop.audit select 'scratch', n from scratch",
        "alter table {{ this }} add column extra varchar; update {{ this }} set extra = 'x'",
        "comment on table {{ this }} is 'hooked'",
        "create or replace view shop.seen as select * from shop.audit",
        "create table shop.gone as select 1 as id", "truncate shop.gone", "drop table shop.gone",
    ],
) }}
select n from range(5) r(n)
"""


def test_hooks_change_the_lake(shop: Shop) -> None:
    shop.models(hooked=HOOKED)
    project = shop.read("dbt_project.yml")
    shop.write(
        {
            "dbt_project.yml": project
            + "on-run-start: \"create table if not exists shop.started as select 'start' as what\"\n"
            + 'on-run-end: ["insert into shop.started values (\'end\')", "drop view if exists shop.nothing"]\n'
        }
    )
    shop.dbt("run")
    tables = shop.tables()
    assert tables["shop.audit"] == [("before", 100), ("rows of hooked", 5), ("scratch", 42)]
    assert tables["shop.seen"] == tables["shop.audit"]
    assert tables["shop.hooked"] == [(-2, "x"), (0, "x"), (1, "x"), (3, "x")]
    assert tables["shop.started"] == [("end",), ("start",)]
    assert "shop.gone" not in tables
    assert len(shop.log()) == 2


MACROS = """
{% macro fill() %}
  {% do run_query("create schema if not exists shop") %}
  {% do run_query("create or replace table shop.filled as select 1 as id union all select 2") %}
  {% do run_query("delete from shop.filled where id = 1") %}
  {% set rows = run_query("select count(*) as n from shop.filled") %}
  {% do log("left: " ~ rows.rows[0][0], info=true) %}
{% endmacro %}
{% macro fill_and_fail() %}
  {% do run_query("delete from shop.filled") %}
  {{ exceptions.raise_compiler_error("on purpose") }}
{% endmacro %}
{% macro ask() %}
  {% for question in [
    "select table_schema || '.' || table_name || ' ' || table_type from information_schema.tables
       where table_catalog = 'lake' order by 1",
    "select string_agg(column_name || ' ' || data_type, ', ' order by column_name) from information_schema.columns
       where table_name = 'a'",
    "select string_agg(table_name, ', ') from duckdb_tables() where database_name = 'lake'",
    "select string_agg(view_name, ', ') from duckdb_views() where database_name = 'lake'",
    "select string_agg(name, ', ' order by name) from (show tables)",
    "select string_agg(column_name, ', ') from (describe lake.shop.a)",
    "select column_name || ' max ' || max from (summarize lake.shop.a)",
    "pivot lake.shop.a on kind using count(*) group by id",
    "from lake.shop.a select count(*)",
    "with x as (select * from shop.v) select count(*) from x",
  ] %}
    {% for row in run_query(question).rows %}{% do log("answer: " ~ row.values() | join(" | "), info=true) %}{% endfor %}
  {% endfor %}
  {% do log("answer: " ~ ("RANGE" in (run_query("explain select * from range(3)").rows[0].values() | join(" "))), info=true) %}
{% endmacro %}
"""


def test_an_operation_is_a_run(shop: Shop) -> None:
    shop.write({"macros/all.sql": MACROS})
    outcome = shop.dbt("run-operation", "fill")
    assert "left: 1" in outcome.output
    assert shop.tables() == {"shop.filled": [(2,)]}
    assert len(shop.log()) == 2
    head = shop.head()
    shop.dbt("run-operation", "fill_and_fail", code=1)
    assert shop.head() == head
    failed, passed = shop.runs()
    assert failed.status in (RunStatus.ABANDONED, RunStatus.FAILED)
    assert passed.status is RunStatus.PUBLISHED
    assert shop.tables(failed.branch) == {"shop.filled": []}


def test_questions_about_the_lake_and_commands_that_write_nothing(shop: Shop) -> None:
    shop.models(a="select 1 as id, 'x' as kind", v="{{ config(materialized='view') }} select * from {{ ref('a') }}")
    shop.write(
        {
            "macros/all.sql": MACROS,
            "models/a.yml": "models: [{name: a, columns: [{name: id, data_tests: [not_null]}]}]\n"
            "sources: [{name: s, schema: shop, tables: [{name: a, loaded_at_field: now()::timestamp,"
            " config: {freshness: {warn_after: {count: 1, period: day}}}}]}]\n",
        }
    )
    shop.dbt("run")
    log, runs = shop.log(), len(shop.runs())
    outcome = shop.dbt("run-operation", "ask")
    answers = [line.partition("answer: ")[2] for line in outcome.output.splitlines() if "answer: " in line]
    assert answers == [
        "shop.a BASE TABLE",
        "shop.v VIEW",
        "id INTEGER, kind VARCHAR",
        "a",
        "v",
        "a, v",
        "id, kind",
        "id max 1",
        "kind max x",
        "1 | 1",
        "1",
        "1",
        "True",
    ]
    for command in (
        ["test"],
        ["compile"],
        ["ls"],
        ["show", "--select", "a"],
        ["docs", "generate"],
        ["source", "freshness"],
        ["debug"],
    ):
        shop.dbt(*command)
    assert (shop.log(), len(shop.runs()), shop.branches()) == (log, runs, ["main"])


def test_two_invocations_in_one_process(shop: Shop) -> None:
    shop.models(a="select {{ env_var('N') }} as id")
    code = (
        "import os, sys\n"
        "from dbt.cli.main import dbtRunner\n"
        "for n in ('1', '2'):\n"
        "    os.environ['N'] = n\n"
        "    result = dbtRunner().invoke(['run'])\n"
        "    assert result.success, result.exception\n"
        "os.environ['N'] = \"error('on purpose')\"\n"
        "assert not dbtRunner().invoke(['run']).success\n"
    )
    shop.python(code)
    assert shop.tables() == {"shop.a": [(2,)]}
    assert [run.status for run in shop.runs()] == [RunStatus.FAILED, RunStatus.PUBLISHED, RunStatus.PUBLISHED]
    assert len(shop.log()) == 3
