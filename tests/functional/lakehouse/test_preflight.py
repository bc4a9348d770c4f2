"""What would break is known before the first node runs, and what is fine is never refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dbt_process import Outcome
from dbt_shop import Shop

REFUSED = 2
QUIET = "could not be checked ahead"


def refused(shop: Shop, *arguments: str, **environment: str) -> str:
    """The report of a command that runs nothing."""
    outcome = shop.dbt(*(arguments or ("build",)), code=REFUSED, **environment)
    assert "Pre-flight found" in outcome.output, outcome.output
    assert not re.search(r"START|OK created", outcome.output), outcome.output
    assert shop_files(shop) == []
    return outcome.output


def shop_files(shop: Shop) -> list[str]:
    return [str(path) for path in (shop.root / "lake").rglob("*.parquet")]


def passes(shop: Shop, *arguments: str, **environment: str) -> Outcome:
    """A command that ends well, and of which the check said nothing."""
    outcome = shop.dbt(*(arguments or ("build",)), **environment)
    assert "Pre-flight found" not in outcome.output, outcome.output
    assert "pre-flight check failed" not in outcome.output, outcome.output
    return outcome


def skipped(outcome: Outcome) -> int:
    found = re.search(r"(\d+) of \d+ nodes " + QUIET, outcome.output)
    return int(found.group(1)) if found else 0


# what is found


def test_all_is_said_at_once_with_file_and_line(shop: Shop) -> None:
    shop.models(base="select 1 as id, 'x' as name, 2.5 as price")
    shop.write(
        {
            "models/unknown.sql": "\n\n{{ config(materialized='table') }}\n\nwith x as (\n  select * from {{ ref('base') }}\n)\n"
            "select\n  id,\n  nmae\nfrom x\n",
            "models/types.sql": "{{ config(materialized='view') }}\nselect id,\n  name + price as n\nfrom {{ ref('base') }}\n",
            "models/unions.sql": "select id from {{ ref('base') }}\nunion all\nselect id, name from {{ ref('base') }}\n",
            "models/syntax.sql": "select id\nform {{ ref('base') }} as a b\n",
            "models/above.sql": "select nothing\nfrom {{ ref('unknown') }}\n",
            "tests/singular.sql": "select *\nfrom {{ ref('base') }}\nwhere idd is null\n",
            "models/base.yml": "models:\n  - name: base\n    columns:\n      - name: id\n        data_tests:\n"
            "          - unique\n"
            "          - accepted_values:\n              arguments: {values: [1]}\n      - name: missing\n        data_tests:\n"
            "          - not_null\n",
        }
    )
    report = refused(shop)
    assert "Pre-flight found 6 problems in 6 of 10 nodes; no node was run" in report
    assert 'model unknown (models/unknown.sql:10)\n    Binder Error: Referenced column "nmae" not found' in report
    assert 'Candidate bindings: "name"' in report
    assert "10 | nmae" in report
    assert "model types (models/types.sql:3)\n    Binder Error: No function matches" in report
    assert "model unions (models/unions.sql)\n    Binder Error: Set operations can only apply" in report
    assert "model syntax (models/syntax.sql:2)\n    Parser Error: syntax error" in report
    assert "test singular (tests/singular.sql:3)\n    Binder Error" in report
    assert "test not_null_base_missing (models/base.yml" in report
    # What reads a broken node says nothing of its own.
    assert "model above" not in report
    assert "1 of 10 nodes could not be checked ahead: they read what could not be checked" in report
    assert shop.branches() == ["main"] or all(name.startswith("run/") for name in set(shop.branches()) - {"main"})


def test_generic_tests_are_found_in_their_yaml(shop: Shop) -> None:
    shop.models(base="select 1 as id")
    shop.write(
        {
            "models/base.yml": "models:\n  - name: base\n    columns:\n      - name: id\n        data_tests:\n"
            "          - accepted_values:\n              arguments: {values: [1], quote: false}\n"
            "              config: {where: nothing = 1}\n"
        }
    )
    report = refused(shop)
    assert "test accepted_values_base_id__False__1 (models/base.yml" in report
    assert '"nothing" not found' in report


CONTRACT = "models:\n  - name: {name}\n    config: {{contract: {{enforced: true}}}}\n    columns:\n{columns}"


def contract(name: str, /, **columns: str) -> str:
    listed = "".join(f"      - {{name: {column}, data_type: {kind}}}\n" for column, kind in columns.items())
    return CONTRACT.format(name=name, columns=listed)


def test_contracts(shop: Shop) -> None:
    shop.models(
        kept="select 'x' as name, 1 as id",
        broken="select 1::bigint as id, 'x' as nmae",
        reader="select name from {{ ref('broken') }}",
    )
    shop.write(
        {
            "models/kept.yml": contract("kept", id="int", name="text"),
            "models/broken.yml": contract("broken", id="int", name="varchar"),
        }
    )
    report = refused(shop)
    assert "1 problem in 1 of 3 nodes" in report
    assert re.search(r"\| id +\| BIGINT +\| INTEGER +\| data type mismatch", report)
    assert re.search(r"\| name +\| +\| VARCHAR +\| missing in definition", report)
    assert re.search(r"\| nmae +\| VARCHAR +\| +\| missing in contract", report)


INCREMENTAL = "{{{{ config(materialized='incremental', unique_key='id', on_schema_change='{change}') }}}}\n{sql}\n"


@pytest.mark.parametrize(
    ("change", "sql", "message"),
    [
        ("fail", "select 1 as id, 'x' as name, 3 as more", "out of sync"),
        ("ignore", "select 1 as id", "lacks the table's column 'name'"),
        ("append_new_columns", "select 1 as id, 'x' as name, 3 as more", ""),
        ("sync_all_columns", "select 1 as id, 3 as more", ""),
        ("ignore", "select 1 as id, 'x' as name, 3 as more", ""),
    ],
)
def test_incremental_schema_changes(shop: Shop, change: str, sql: str, message: str) -> None:
    shop.models(inc=INCREMENTAL.format(change=change, sql="select 1 as id, 'x' as name"))
    passes(shop)
    shop.models(inc=INCREMENTAL.format(change=change, sql=sql))
    if not message:
        passes(shop)
        return
    files = shop_files(shop)
    outcome = shop.dbt("build", code=REFUSED)
    assert message in outcome.output
    assert shop_files(shop) == files


def test_children_of_incremental_models_see_the_columns_to_come(shop: Shop) -> None:
    shop.models(
        inc=INCREMENTAL.format(change="append_new_columns", sql="select 1 as id, 'x' as name"),
        child="select * from {{ ref('inc') }}",
    )
    passes(shop)
    shop.models(
        inc=INCREMENTAL.format(change="append_new_columns", sql="select 1 as id, 3 as more"),
        child="select name, more from {{ ref('inc') }}",
    )
    passes(shop)
    shop.models(
        inc=INCREMENTAL.format(change="ignore", sql="select 1 as id, 'x' as name, 3 as more, 4 as late"),
        child="select late from {{ ref('inc') }}",
    )
    assert '"late" not found' in shop.dbt("build", code=REFUSED).output


def test_missing_inputs(shop: Shop) -> None:
    shop.models(a="select 1 as id", b="select * from {{ ref('a') }}", c="select * from {{ source('raw', 'events') }}")
    shop.write({"models/s.yml": "sources:\n  - name: raw\n    tables: [{name: events}]\n"})
    report = refused(shop, "build", "--select", "b", "c")
    assert 'relation "lake"."shop"."a" is not on branch main, and no node of this run makes it' in report
    assert "--select +a" in report
    assert "it is the source raw.events" in report
    assert "model b (models/b.sql:2)" in report


SNAPSHOT = """
snapshots:
  - name: snap
    relation: ref('base')
    config: {{strategy: {strategy}, unique_key: id, {more}}}
"""


def test_snapshots(shop: Shop) -> None:
    shop.models(base="select 1 as id, 'x' as name, timestamp '2024-01-01' as changed")
    shop.models(
        reader="select id, dbt_valid_from, dbt_valid_to is null as current, upper(dbt_scd_id) as s from {{ ref('snap') }}"
    )
    shop.write({"snapshots/s.yml": SNAPSHOT.format(strategy="timestamp", more="updated_at: chnaged")})
    assert '"chnaged" not found' in refused(shop)
    shop.write({"snapshots/s.yml": SNAPSHOT.format(strategy="timestamp", more="updated_at: changed")})
    assert skipped(passes(shop)) == 0
    assert skipped(passes(shop)) == 0
    shop.models(base="select 1 as id, 'x' as name, timestamp '2024-01-01' as changed, 7 as more")
    shop.models(reader="select id, more, nope from {{ ref('snap') }}")
    assert '"nope" not found' in shop.dbt("build", code=REFUSED).output
    shop.models(reader="select id, more from {{ ref('snap') }}")
    passes(shop)
    second = SNAPSHOT.format(strategy="check", more="check_cols: all").replace("name: snap", "name: other")
    shop.write({"snapshots/t.yml": second})
    shop.models(second="select dbt_updated_at + interval 1 day as u from {{ ref('other') }}")
    assert skipped(passes(shop)) == 0


UNIT = """
unit_tests:
  - name: doubles
    model: child
    given:
      - input: ref('base')
        rows: [{given}]
    expect:
      rows: [{expected}]
"""


def test_unit_tests(shop: Shop) -> None:
    shop.models(base="select 1 as id, 'x' as name", child="select id * 2 as twice, name from {{ ref('base') }}")
    shop.write({"models/u.yml": UNIT.format(given="{id: 2, nmae: y}", expected="{twice: 4}")})
    report = refused(shop)
    assert "unit test doubles (models/u.yml:3)" in report
    assert "Invalid column name: 'nmae' in unit test fixture for 'base'" in report
    shop.write({"models/u.yml": UNIT.format(given="{id: 2}", expected="{twize: 4}")})
    assert "Invalid column name: 'twize' in unit test fixture for expected output" in refused(shop)
    shop.write({"models/u.yml": UNIT.format(given="{id: 2}", expected="{twice: 4}")})
    assert skipped(passes(shop)) == 0
    assert skipped(passes(shop, "test")) == 0


def test_seeds(shop: Shop) -> None:
    shop.write(
        {
            "seeds/colors.csv": "id,color\n1,red\n",
            "seeds/s.yml": "seeds:\n  - name: colors\n    config: {column_types: {id: bigint}}\n",
        }
    )
    shop.models(reader="select id + 1 as n, colour from {{ ref('colors') }}")
    assert 'Candidate bindings: "color"' in refused(shop)
    shop.models(reader="select id + 1 as n, upper(color) as c from {{ ref('colors') }}")
    assert skipped(passes(shop)) == 0


def test_ephemeral_models_are_named_where_they_break(shop: Shop) -> None:
    shop.models(base="select 1 as id")
    shop.write(
        {
            "models/between.sql": "{{ config(materialized='ephemeral') }}\n\nselect id,\n  nope\nfrom {{ ref('base') }}\n",
            "models/top.sql": "select *\nfrom {{ ref('between') }}\n",
        }
    )
    assert "model top (models/between.sql:4)" in refused(shop)


def test_errors_of_jinja(shop: Shop) -> None:
    shop.models(
        a="select {% if execute %}{{ exceptions.raise_compiler_error('not like this') }}{% endif %} 1 as id",
        b="select nope from (select 1 as id)",
    )
    report = refused(shop)
    assert "not like this" in report
    assert '"nope" not found' in report


# what is done about it


def test_warn_and_off(shop: Shop) -> None:
    shop.models(good="select 1 as id", bad="select nope from {{ ref('good') }}")
    warned = shop.dbt("build", code=1, LAKEHOUSE_PREFLIGHT="warn").output
    assert "Pre-flight found 1 problem in 1 of 2 nodes" in warned
    assert "PASS=1" in warned
    assert "ERROR=1" in warned
    shop.outputs(dev={"preflight": "off"})
    assert "Pre-flight" not in shop.dbt("build", code=1).output
    assert "no node was run" in shop.dbt("build", code=REFUSED, LAKEHOUSE_PREFLIGHT="error").output
    shop.outputs(dev={"preflight": "sometimes"})
    assert (
        "profile key 'preflight' is 'sometimes'; known values: error, warn, off" in shop.dbt("build", code=None).output
    )


def test_nothing_ran_and_nothing_is_published(shop: Shop) -> None:
    shop.models(good="select 1 as id", bad="select nope from {{ ref('good') }}")
    refused(shop)
    assert shop.tables() == {}
    assert all(run.status.value in ("abandoned", "failed") for run in shop.runs())


def test_commands_that_run_no_nodes_are_not_concerned(shop: Shop) -> None:
    shop.models(good="select 1 as id", bad="select nope from {{ ref('good') }}")
    for command in (["parse"], ["compile"], ["ls"], ["show", "--inline", "select 1 as a"], ["run-operation", "hello"]):
        shop.write({"macros/m.sql": "{% macro hello() %}{% do log('hello', info=true) %}{% endmacro %}"})
        assert "Pre-flight" not in shop.dbt(*command).output


# what cannot be told


def test_sql_that_depends_on_query_results_is_counted(shop: Shop) -> None:
    shop.write(
        {
            "macros/star.sql": "{% macro star(relation) %}{% for c in adapter.get_columns_in_relation(relation) %}"
            "{{ c.name }}{{ ',' if not loop.last }}{% endfor %}{% if not execute %}*{% endif %}{% endmacro %}",
            "macros/count.sql": "{% macro n(relation) %}{% if execute %}{{ return(run_query('select count(*) from ' ~ relation)"
            ".columns[0].values()[0]) }}{% endif %}{% endmacro %}",
        }
    )
    shop.models(
        base="select 1 as id, 'x' as name",
        starred="select {{ star(ref('base')) }} from {{ ref('base') }}",
        counted="select {{ n(ref('base')) }} as n",
        child="select id, name from {{ ref('starred') }}",
        asking="-- depends_on: {{ ref('base') }}\n"
        "select {{ run_query('select max(id) from ' ~ ref('base')).rows[0][0] if execute }} as n",
        fine="select id from {{ ref('base') }}",
    )
    outcome = passes(shop)
    assert "4 of 6 nodes could not be checked ahead" in outcome.output
    assert "their SQL depends on query results (3)" in outcome.output
    # The models were compiled anew when they ran, with the answers of then.
    assert shop.rows("select * from lake.shop.child") == [(1, "x")]
    assert shop.rows("select n from lake.shop.counted") == [(1,)]


def test_is_incremental_needs_no_query(shop: Shop) -> None:
    sql = "select 1 as id{% if is_incremental() %} where 1 not in (select id from {{ this }}){% endif %}"
    shop.models(inc="{{ config(materialized='incremental') }}\n" + sql, child="select id from {{ ref('inc') }}")
    assert skipped(passes(shop)) == 0
    assert skipped(passes(shop)) == 0
    shop.models(
        inc="{{ config(materialized='incremental') }}\n"
        + sql.replace("select id from {{ this", "select idd from {{ this")
    )
    assert '"idd" not found' in shop.dbt("build", code=REFUSED).output


PYTHON = "def model(dbt, con):\n    return con.sql('select 1 as id, 2 as more')\n"


def test_python_models(shop: Shop) -> None:
    shop.write({"models/py.py": PYTHON})
    shop.models(child="select id, more from {{ ref('py') }}")
    assert skipped(passes(shop)) == 2
    shop.models(child="select id, nope from {{ ref('py') }}")
    # Its code is what it was, so that it makes what it made.
    assert '"nope" not found' in shop.dbt("build", code=REFUSED, LAKEHOUSE_REUSE="off").output
    shop.write({"models/py.py": PYTHON.replace("more", "nope")})
    assert skipped(passes(shop)) == 2


def test_python_models_may_declare_their_columns(shop: Shop) -> None:
    shop.write(
        {
            "models/py.py": PYTHON,
            "models/py.yml": "models:\n  - name: py\n    config: {declared_columns: true}\n    columns:\n"
            "      - {name: id, data_type: int}\n      - {name: more, data_type: int}\n",
        }
    )
    shop.models(child="select id, nope from {{ ref('py') }}")
    assert '"nope" not found' in refused(shop)
    shop.models(child="select id, more from {{ ref('py') }}")
    assert skipped(passes(shop)) == 0


TRICKY: dict[str, dict[str, str]] = {
    "macros of on-run-start": {
        "dbt_project.yml": 'on-run-start: "create or replace macro twice(x) as 2 * x"\n',
        "models/a.sql": "select twice(3) as n",
        "models/b.sql": "select n + 1 as m from {{ ref('a') }}",
    },
    "macros of a pre-hook": {
        "models/a.sql": "{{ config(materialized='table', pre_hook='create or replace macro thrice(x) as 3 * x') }}\n"
        "select thrice(3) as n",
        "models/b.sql": "{{ config(materialized='table') }}\nselect n from {{ ref('a') }}",
    },
    "temporary tables of a pre-hook": {
        "models/a.sql": "{{ config(materialized='table', pre_hook='create temp table t as select 1 as id') }}\nselect id from t",
    },
    "columns of a post-hook": {
        "models/a.sql": "{{ config(materialized='table', post_hook='alter table {{ this }} add column late int') }}\n"
        "select 1 as id",
        "models/b.sql": "{{ config(materialized='table') }}\nselect late from {{ ref('a') }}",
    },
    "tables of a post-hook": {
        "models/a.sql": "{{ config(materialized='table', post_hook='create or replace table lake.shop.side as select 1 as x') }}"
        "select 1 as id",
        "models/b.sql": "-- depends_on: {{ ref('a') }}\nselect x from lake.shop.side",
    },
    "headers": {
        "models/a.sql": "{% call set_sql_header(config) %}create temp macro f(x) as x || '!';{% endcall %}\nselect f('a') as s",
        "models/b.sql": "{% call set_sql_header(config) %}create temp table z as select 5 as five;{% endcall %}\n"
        "{{ config(materialized='table') }}\nselect five from z",
    },
    "files": {
        "data.csv": "id,name\n1,x\n",
        "models/a.sql": "select id, name from read_csv('data.csv')",
        "models/b.sql": "select id, name from 'data.csv'",
        "models/c.sql": "select a.name from {{ ref('a') }} a join {{ ref('b') }} b using (id)",
    },
    "the catalog": {
        "models/a.sql": "{{ config(materialized='table') }}\nselect table_name from information_schema.tables",
        "models/b.sql": "select distinct function_name from duckdb_functions() limit 1",
    },
    "pivots": {
        "models/a.sql": "{{ config(materialized='table') }}\nselect 'x' as k, 1 as v union all select 'y', 2",
        "models/b.sql": "{{ config(materialized='table') }}\npivot {{ ref('a') }} on k using sum(v)",
        "models/c.sql": "{{ config(materialized='table') }}\nselect x, y from {{ ref('b') }}",
    },
    "constraints": {
        "models/a.sql": "{{ config(materialized='table') }}\nselect 1 as id, 'x' as name",
        "models/b.sql": "{{ config(materialized='table') }}\nselect 1 as id, 1 as a_id",
        "models/s.yml": "models:\n  - name: a\n    config: {contract: {enforced: true}}\n    constraints:\n"
        '      - {type: primary_key, columns: [id]}\n      - {type: check, expression: "id > 0"}\n    columns:\n'
        "      - {name: id, data_type: int, constraints: [{type: not_null}]}\n      - {name: name, data_type: varchar}\n"
        "  - name: b\n    config: {contract: {enforced: true}}\n    columns:\n      - {name: id, data_type: int}\n"
        "      - {name: a_id, data_type: int, constraints: [{type: foreign_key, to: ref('a'), to_columns: [id], "
        "warn_unsupported: false}]}\n",
    },
    "versions": {
        "models/a_v1.sql": "select 1 as id",
        "models/a_v2.sql": "select 1 as id, 2 as more",
        "models/s.yml": "models:\n  - name: a\n    latest_version: 2\n    versions: [{v: 1}, {v: 2}]\n",
        "models/b.sql": "select more from {{ ref('a') }} union all select id from {{ ref('a', v=1) }}",
    },
    "stored failures": {
        "models/a.sql": "{{ config(materialized='table') }}\nselect 1 as id",
        "models/s.yml": "models:\n  - name: a\n    columns:\n      - name: id\n        data_tests:\n"
        "          - unique: {config: {store_failures: true}}\n          - not_null: {config: {fail_calc: count(distinct id)}}\n"
        "          - accepted_values: {arguments: {values: [1], quote: false}, config: {limit: 5, where: id > 0}}\n",
    },
    "microbatches": {
        "models/events.sql": "{{ config(materialized='table', event_time='seen') }}\n"
        "select 1 as id, timestamp '2024-01-01 10:00' as seen",
        "models/batches.sql": "{{ config(materialized='incremental', incremental_strategy='microbatch', event_time='seen', "
        "batch_size='year', begin='2024-01-01') }}\nselect *, '{{ model.batch.id if model.batch else '' }}' as batch "
        "from {{ ref('events') }}",
        "models/after.sql": "select id, batch from {{ ref('batches') }}",
    },
    "a materialization of the project": {
        "macros/own.sql": "{% materialization own, default %}{%- set relation = this.incorporate(type='table') -%}"
        "{% call statement('main') %}create or replace table {{ this }} as select *, 1 as added from ({{ sql }}){% endcall %}"
        "{{ return({'relations': [relation]}) }}{% endmaterialization %}",
        "models/a.sql": "{{ config(materialized='own') }}\nselect 1 as id",
        "models/b.sql": "select added from {{ ref('a') }}",
    },
    "a view over what is built anew": {
        "models/t.sql": "{{ config(materialized='table') }}\nselect 1 as id",
        "models/v.sql": "{{ config(materialized='view') }}\nselect *, null as nothing from {{ ref('t') }}",
        "models/w.sql": "{{ config(materialized='view') }}\n"
        "select upper(nothing) as u, coalesce(nothing, 'x') as c from {{ ref('v') }}",
    },
    "disabled models and analyses": {
        "models/a.sql": "select 1 as id",
        "models/off.sql": "{{ config(enabled=false) }}\nselect nope from {{ ref('a') }}",
        "analyses/x.sql": "select nope from {{ ref('a') }}",
    },
    "types beyond Iceberg": {
        "models/a.sql": "{{ config(materialized='table') }}\nselect 'a'::enum('a', 'b') as e, 1::hugeint as h, 1::utinyint as u, "
        "[1, 2]::int[2] as f, {'x': 1} as s, map {'k': 1} as m, interval 1 day as i, time '10:00' as t, null as n",
        "models/b.sql": "{{ config(materialized='table') }}\nselect enum_last(e) as l, h + 1 as h, s.x as x, m['k'] as k, "
        "i + i as i, array_to_string(f, ',') as d, n + 1 as n from {{ ref('a') }}",
    },
    "variables, loops and logs": {
        "dbt_project.yml": "vars: {names: [a, b]}\n",
        "models/a.sql": "{% do log('said once', info=true) %}select {% for n in var('names') %}1 as {{ n }}"
        "{{ ',' if not loop.last }}{% endfor %}",
    },
    "a relation asked for while compiling": {
        "models/a.sql": "{{ config(materialized='table') }}\nselect 1 as id",
        "models/b.sql": "-- {{ ref('a') }}\nselect {{ 1 if load_relation(ref('a')) is not none else 'nope' }} as there",
    },
    "a recursive query and lateral joins": {
        "models/a.sql": "with recursive n as (select 1 as i union all select i + 1 from n where i < 5) select i from n",
        "models/b.sql": "select x from {{ ref('a') }}, lateral (select i * 2 as x), unnest([1, 2]) as u(y)",
        "models/c.sql": "from {{ ref('b') }} select * exclude (x), columns('x') as renamed",
    },
}


@pytest.mark.parametrize("kind", TRICKY)
def test_no_false_alarm(shop: Shop, kind: str) -> None:
    files = dict(TRICKY[kind])
    if "dbt_project.yml" in files:
        files["dbt_project.yml"] = shop.read("dbt_project.yml") + files["dbt_project.yml"]
    shop.write(files)
    first = passes(shop)
    passes(shop, LAKEHOUSE_REUSE="off")
    if kind == "variables, loops and logs":
        assert first.output.count("said once") == 1


def test_no_false_alarm_where_parts_of_a_project_run(shop: Shop) -> None:
    shop.models(
        t="select 1 as id",
        v="{{ config(materialized='view') }}\nselect * from {{ ref('t') }}",
        w="select * from {{ ref('v') }}",
    )
    passes(shop)
    shop.models(t="select 1 as id, 2 as more", w="select id, more from {{ ref('v') }}")
    passes(shop, "build", "--select", "t", "w")
    shop.models(w="select id, more, id + more as both from {{ ref('v') }}")
    passes(shop, "run", "--select", "w")
    passes(shop, "build", "--empty")
    passes(shop, "build", "--exclude", "w")


def test_defer_clone_and_retry(shop: Shop) -> None:
    shop.outputs(dev={}, ci={"branch": "ci", "schema": "ci"})
    shop.models(
        a="select 1 as id", b="select id from {{ ref('a') }}", c="select {{ var('c', 'id') }} from {{ ref('b') }}"
    )
    passes(shop)
    shutil_copy(shop)
    passes(shop, "build", "--target", "ci", "--select", "c", "--defer", "--state", "state")
    passes(shop, "clone", "--target", "ci", "--state", "state")
    shop.write({"tests/fails.sql": "select 1 as id from {{ ref('c') }}"})
    assert shop.dbt("build", code=1).code == 1
    shop.write({"tests/fails.sql": "select 1 as id from {{ ref('c') }} where false"})
    passes(shop, "retry")


def shutil_copy(shop: Shop) -> None:
    (shop.root / "state").mkdir()
    (shop.root / "state" / "manifest.json").write_text(shop.read("target/manifest.json"))


def check_project(shop: Shop, *arguments: str, code: int) -> str:
    command = Path(sys.executable).with_name("lakehouse")
    environment = {**os.environ, **shop.environment}
    ended = subprocess.run(
        [command, "check-project", *arguments],
        cwd=shop.root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout


def test_the_check_by_itself(shop: Shop) -> None:
    shop.write({"dbt_project.yml": shop.read("dbt_project.yml") + "on-run-start: create macro twice(x) as 2 * x\n"})
    shop.models(good="select 1 as id", bad="select nope\nfrom {{ ref('good') }}", late="select twice(1) as id")
    # There is no lake yet, and there is none afterwards.
    shown = check_project(shop, code=1)
    assert "model bad" in shown
    assert "models/bad.sql:2" in shown
    # What the hook will have made is no news.
    assert "late" not in shown
    found = json.loads(check_project(shop, "--select", "late", "--json", code=0))
    assert (found["nodes"], found["findings"], len(found["unchecked"])) == (1, [], 1)
    assert not (shop.root / "lake").exists()
    assert "nothing would break" in check_project(shop, "--select", "good", code=0)
    shop.models(bad="select id from {{ ref('good') }}")
    passes(shop)
    head, runs = shop.head(), len(shop.runs())
    shop.models(bad="select nope from {{ ref('good') }}")
    document = json.loads(check_project(shop, "--exclude", "good late", "--json", code=1))
    assert (document["nodes"], document["unchecked"]) == (1, [])
    assert (document["findings"][0]["file"], document["findings"][0]["line"]) == ("models/bad.sql", 2)
    assert (shop.head(), len(shop.runs())) == (head, runs)
    shop.write({"models/broken.sql": "select {{ nothing_like_this( }}"})
    check_project(shop, code=1)


def test_what_was_checked_is_what_runs(shop: Shop) -> None:
    """Compiling ahead leaves nothing behind in dbt's manifest."""
    shop.write(
        {
            "models/base.sql": "{{ config(materialized='table') }}\nselect 1 as id",
            "models/e.sql": "{{ config(materialized='ephemeral') }}\n"
            "select id, {{ modules.datetime.datetime.now().microsecond }} as n "
            "from {{ ref('base') }}",
            "models/top.sql": "{{ config(materialized='table') }}\nselect id, n from {{ ref('e') }}",
        }
    )
    passes(shop)
    manifest: Any = json.loads(shop.read("target/manifest.json"))
    assert "__dbt__cte__e" in manifest["nodes"]["model.shop.top"]["compiled_code"]
    assert shop.rows("select id from lake.shop.top") == [(1,)]
