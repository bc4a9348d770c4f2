"""With real dbt: nodes that need no work do not pass through dbt's node runner, and nothing else can be told from outside."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from dbt_process import Outcome
from dbt_shop import Shop

from dbt.adapters.lakehouse.__version__ import version
from dbt.adapters.lakehouse.memory import FILE

BROKEN = json.dumps({"format": 3, "version": version, "nodes": {"model.shop.leaf": 3}, "scans": {}})
ALL = {"raw", "staged", "orders", "totals", "leaf"}


def ran(outcome: Outcome) -> set[str]:
    """Nodes that dbt's runner started."""
    found = re.findall(r"START .*?(?:model|file|test|snapshot) (\S+)", outcome.output)
    return {name.rpartition(".")[2] for name in found}


def results(shop: Shop) -> dict[str, dict[str, Any]]:
    read = json.loads(shop.read("target/run_results.json"))["results"]
    return {_name(result["unique_id"]): result for result in read}


def _name(node: str) -> str:
    parts = node.split(".")
    return parts[3] if parts[0] == "unit_test" else parts[2]


@pytest.fixture
def project(shop: Shop) -> Shop:
    shop.write(
        {
            "seeds/raw.csv": "id,v\n1,a\n2,b\n",
            "macros/m.sql": "{% macro next(column) %}{{ column }} + {{ step() }}{% endmacro %}"
            "{% macro step() %}1{% endmacro %}{% macro unused() %}x{% endmacro %}",
            "models/schema.yml": "models: [{name: orders, columns: [{name: id, data_tests: [not_null, unique]}]}]",
        }
    )
    shop.models(
        staged="{{ config(materialized='view') }} select id, v from {{ ref('raw') }}",
        orders="select id, v, {{ next('id') }} as next from {{ ref('staged') }}",
        totals="select count(*) as n, max(next) as m from {{ ref('orders') }}",
        leaf="select n, m from {{ ref('totals') }}",
    )
    shop.dbt("build")
    return shop


def test_unchanged_nodes_do_not_pass_through_the_runner(project: Shop) -> None:
    shop, first = project, results(project)
    manifest = json.loads(shop.read("target/manifest.json"))["nodes"]
    runs = shop.runs()

    again = shop.dbt("build")
    assert ran(again) == set()
    second = results(shop)
    assert second.keys() == first.keys()
    assert "Done. PASS=7 WARN=0 ERROR=0 SKIP=0" in again.output
    assert "7 of 7 nodes were reused" in again.output
    assert again.output.count("REUSED (run ") == 4  # and a view, which nobody needs to be named for; tests say PASS
    for name, result in second.items():
        assert result["status"] == first[name]["status"]
        assert result["compiled_code"] == first[name]["compiled_code"], name
        assert result["relation_name"] == first[name]["relation_name"]
        assert result["adapter_response"]["code"] == "REUSED"
    for name, node in json.loads(shop.read("target/manifest.json"))["nodes"].items():
        assert node.get("compiled_path") == manifest[name].get("compiled_path"), name
        assert node.get("compiled_code") == manifest[name].get("compiled_code"), name
    assert shop.runs() == runs  # nothing was written, so there is no run


def test_only_what_an_edit_concerns_passes_through_the_runner(project: Shop) -> None:
    shop = project
    shop.models(leaf="select n + 1 as n, m from {{ ref('totals') }}")
    assert ran(shop.dbt("build")) == {"leaf"}
    assert shop.rows("select n from leaf") == [(3,)]

    # A macro that a macro calls.
    shop.write({"macros/m.sql": shop.read("macros/m.sql").replace("%}1{%", "%}10{%")})
    assert ran(shop.dbt("build")) >= {"orders", "totals", "leaf"}
    assert shop.rows("select m from leaf") == [(12,)]
    # One that nobody calls.
    shop.write({"macros/m.sql": shop.read("macros/m.sql").replace("%}x{%", "%}y{%")})
    assert ran(shop.dbt("build")) == set()

    shop.write({"seeds/raw.csv": "id,v\n1,a\n2,b\n3,c\n"})
    assert ran(shop.dbt("build")) >= {"raw", "orders", "totals", "leaf"}
    assert shop.rows("select n from leaf") == [(4,)]
    assert ran(shop.dbt("build")) == set()

    # An edit that is taken back: what was made then is put in place, and what dbt compiled then is remembered.
    shop.models(leaf="select n, m from {{ ref('totals') }}")
    assert ran(shop.dbt("build")) == {"leaf"}
    shop.models(leaf="select n + 1 as n, m from {{ ref('totals') }}")
    assert ran(shop.dbt("build")) == set()
    assert shop.rows("select n from leaf") == [(4,)]
    assert (shop.root / "target/compiled/shop/models/leaf.sql").read_text().strip().startswith("select n + 1")


def test_another_branch_gets_its_tables_at_once(project: Shop) -> None:
    shop = project
    shop.models(totals="select count(*) + 5 as n, max(next) as m from {{ ref('orders') }}")
    shop.dbt("build")
    shop.outputs(other={"branch": "other"})
    shop.models(totals="select count(*) as n, max(next) as m from {{ ref('orders') }}")
    there = shop.dbt("build", "--target", "other")
    assert ran(there) == set()
    assert shop.rows("select n from leaf", "other") == [(2,)]
    assert shop.rows("select n from leaf", "main") == [(7,)]
    changed = [commit.message for commit in shop.log("other") if commit.message.startswith("Reuse")]
    assert not changed  # they are behind the merge
    assert "2 tables" in _of_last_run(shop, "other")[0].message


def _of_last_run(shop: Shop, branch: str) -> list[Any]:
    with shop.lake() as lake:
        merge = lake.catalog.resolve(branch)
        return lake.catalog.log(merge.parents[1], 1)


def test_what_names_do_not_tell_is_compiled_each_time(project: Shop) -> None:
    shop = project
    shop.models(
        asks="-- depends_on: {{ ref('totals') }}\n"
        "select {{ run_query('select max(n) from ' ~ ref('totals')).columns[0][0] if execute else 0 }} as n",
        clock="select '{{ run_started_at }}' as t",
        run="select '{{ invocation_id }}' as t",
        chance="select {{ range(1000) | random }} as t",
        there="select {{ 1 if load_relation(this) else 0 }} as t",
        flag="select '{{ flags.WHICH }}' as t",
        hooked="{{ config(materialized='table', post_hook='select 1') }} select 1 as t",
        known="select '{{ var('v', 'x') }}' as v, '{{ env_var('V', 'y') }}' as e, '{{ target.name }}' as t",
    )
    shop.dbt("build")
    unclear = {"asks", "clock", "run", "chance", "there", "flag", "hooked"}
    assert ran(shop.dbt("build")) == unclear
    assert ran(shop.dbt("build", "--vars", "{v: z}")) >= {"known"}
    assert shop.rows("select v, e, t from known") == [("z", "y", "dev")]
    assert ran(shop.dbt("build", V="w")) == unclear | {"known"}
    assert shop.rows("select v, e, t from known") == [("x", "w", "dev")]
    shop.models(totals="select count(*) + 40 as n, max(next) as m from {{ ref('orders') }}")
    shop.dbt("build")
    assert shop.rows("select n from asks") == [(42,)]


def test_tests_that_fail_hold_back_what_comes_after(project: Shop) -> None:
    shop = project
    shop.write({"tests/few.sql": "select * from {{ ref('totals') }} where n > {{ var('most', 100) }}"})
    shop.dbt("build")
    assert ran(shop.dbt("build")) == set()
    failed = shop.dbt("build", "--vars", "{most: 1}", code=1)
    assert ran(failed) == {"few"}
    assert results(shop)["leaf"]["status"] == "skipped"
    assert results(shop)["orders"]["adapter_response"]["code"] == "REUSED"
    retried = shop.dbt("retry", "--vars", "{most: 100}")
    assert results(shop)["leaf"]["status"] == "success", retried.output


def test_incremental_models_and_hooks_of_the_run(project: Shop) -> None:
    shop = project
    shop.models(
        grown="{{ config(materialized='incremental', unique_key='id') }} select id, v from {{ ref('staged') }}"
        "{% if is_incremental() %} where id > (select coalesce(max(id), 0) from {{ this }}){% endif %}",
        child="select count(*) as n from {{ ref('grown') }}",
    )
    for _ in range(3):
        shop.dbt("build")
    assert ran(shop.dbt("build")) == set()
    full = shop.dbt("build", "--full-refresh")
    assert {"grown", "raw"} <= ran(full)
    assert shop.rows("select n from child") == [(2,)]

    shop.write({"seeds/raw.csv": "id,v\n1,a\n2,b\n3,c\n"})
    shop.dbt("build")
    assert shop.rows("select n from child") == [(3,)]

    project_file = shop.read("dbt_project.yml")
    shop.write({"dbt_project.yml": project_file + "\non-run-start: ['delete from lake.shop.raw where id = 1']\n"})
    changed = shop.dbt("build", code=None)
    assert "raw" in ran(changed) or shop.rows("select count(*) from raw") == [(3,)]
    assert shop.rows("select n from child") == [(3,)]


def test_seeds_are_shown_and_files_may_be_lost(project: Shop) -> None:
    shop = project
    shown = shop.dbt("seed", "--show")
    assert ran(shown) == {"raw"}
    assert "Random sample of table" in shown.output

    for text in ("", "{", "[]", '{"format": 3}', BROKEN):
        shop.write({f"target/{FILE}": text})
        assert "Done. PASS=7 " in shop.dbt("build").output
    assert ran(shop.dbt("build")) == set()
    (shop.root / "target" / FILE).unlink()
    assert {"orders", "leaf"} <= ran(shop.dbt("build"))

    assert ran(shop.dbt("build", LAKEHOUSE_REUSE="off")) >= {"orders", "totals", "leaf"}
    assert ran(shop.dbt("build")) == set()


def test_ephemeral_models_and_selections(project: Shop) -> None:
    shop = project
    shop.models(
        passing="{{ config(materialized='ephemeral') }} select n, m from {{ ref('totals') }}",
        reader="select n from {{ ref('passing') }}",
    )
    shop.dbt("build")
    assert ran(shop.dbt("build")) == set()
    shop.models(passing="{{ config(materialized='ephemeral') }} select n + 1 as n from {{ ref('totals') }}")
    assert ran(shop.dbt("build")) == {"reader"}
    assert shop.rows("select n from reader") == [(3,)]

    # A parent that is not selected counts as it stands.
    shop.models(totals="select 77 as n, max(next) as m from {{ ref('orders') }}")
    assert ran(shop.dbt("run", "--select", "reader")) == set()
    assert ran(shop.dbt("run", "--select", "totals")) == {"totals"}
    assert "reader" in ran(shop.dbt("run", "--select", "reader"))
    assert shop.rows("select n from reader") == [(78,)]


def test_models_with_hooks_hold_nothing_up_but_themselves_and_their_children(project: Shop) -> None:
    shop = project
    shop.models(
        orders="{{ config(materialized='table', post_hook='select 1') }} select id, id as next from {{ ref('staged') }}"
    )
    shop.dbt("build")
    again = shop.dbt("build")
    assert "raw" not in ran(again)
    assert {"orders", "totals", "leaf"} <= ran(again)
    assert {name for name, result in results(shop).items() if result["adapter_response"].get("code") == "REUSED"} >= ALL


UNIT = """
unit_tests:
  - name: adds_one
    model: orders
    given: [{input: ref('staged'), rows: [{id: 1, v: a}]}]
    expect: {rows: [{id: 1, next: 2}]}
"""


def test_unit_tests_are_run_again_when_their_model_or_their_columns_change(project: Shop) -> None:
    shop = project
    shop.write({"models/unit.yml": UNIT})
    assert "adds_one" in ran_tests(shop.dbt("build"))
    shop.dbt("build")
    again = shop.dbt("build")
    assert ran(again) == set()
    assert ran_tests(again) == set()
    assert "8 of 8 nodes were reused" in again.output
    assert results(shop)["orders"]["adapter_response"]["code"] == "REUSED"
    assert [r["status"] for r in results(shop).values()].count("pass") == 3

    # Another type of a column: the rows that the test brings are cast to it.
    shop.models(staged="{{ config(materialized='view') }} select id::tinyint as id, v from {{ ref('raw') }}")
    assert "adds_one" in ran_tests(shop.dbt("build"))
    shop.dbt("build")
    assert ran_tests(shop.dbt("build")) == set()

    shop.write({"models/unit.yml": UNIT.replace("next: 2", "next: 3")})
    failed = shop.dbt("build", code=1)
    assert "adds_one" in ran_tests(failed)
    assert results(shop)["orders"]["status"] == "skipped"
    assert results(shop)["leaf"]["status"] == "skipped"
    shop.write({"models/unit.yml": UNIT})
    assert ran(shop.dbt("build")) == set()

    shop.models(orders="select id, v, {{ next('id') }} + 1 as next from {{ ref('staged') }}")
    assert "adds_one" in ran_tests(shop.dbt("build", code=1))


def ran_tests(outcome: Outcome) -> set[str]:
    return set(re.findall(r"START unit_test \S+?::(\w+)", outcome.output))


OVERRIDE = """{% macro default__get_test_sql(main_sql, fail_calc, warn_if, error_if, limit) -%}
select {{ fail_calc }} as failures, {{ fail_calc }} {{ warn_if }} as should_warn, {{ fail_calc }} {{ error_if }} as should_error
from (select * from ({{ main_sql }}) limit {{ CLOCK var('strict', 0) }}) t
{%- endmacro %}"""
EPHEMERAL = """
models:
  - name: passing
    columns: [{name: n, data_tests: [{accepted_values: {arguments: {values: "var('allowed', [2])", quote: false}}}]}]
unit_tests:
  - name: passes_on
    model: passing
    given: [{input: ref('totals'), rows: [{n: 1}]}]
    expect: {rows: [{n: 1}]}
"""


def test_variables_count_wherever_they_are_used(project: Shop) -> None:
    shop = project
    package = "name: other\nversion: '1.0'\nvars: {size: 1}\n"
    shop.write(
        {
            "packages.yml": "packages: [{local: other}]\n",
            "other/dbt_project.yml": package,
            "other/models/sized.sql": "{{ config(materialized='table') }} select {{ var('size') }} as n",
            "models/more.yml": EPHEMERAL,
        }
    )
    shop.models(
        passing="{{ config(materialized='ephemeral') }} select n from {{ ref('totals') }}",
        reader="select n from {{ ref('passing') }}",
    )
    shop.dbt("deps")
    for _ in range(2):
        shop.dbt("build")
    settled = shop.dbt("build")
    assert ran(settled) == set()
    assert ran_tests(settled) == set()

    # The default of a package's variable.
    shop.write({"other/dbt_project.yml": package.replace("size: 1", "size: 2")})
    assert "sized" in ran(shop.dbt("build"))
    assert shop.rows("select n from sized") == [(2,)]
    # A test's argument, without braces.
    allowed = "accepted_values_passing_n__False__var_allowed_2_"
    assert allowed in ran(shop.dbt("build", "--vars", "{allowed: [3]}", code=1))
    assert results(shop)[allowed]["status"] == "fail"

    # The unit test of an ephemeral model holds back what reads it.
    shop.write({"models/more.yml": EPHEMERAL.replace("expect: {rows: [{n: 1}]}", "expect: {rows: [{n: 5}]}")})
    assert "passes_on" in ran_tests(shop.dbt("build", code=1))
    assert results(shop)["reader"]["status"] == "skipped"


def test_macros_in_the_place_of_dbts_own_count_with_what_they_use(project: Shop) -> None:
    shop = project
    shop.write(
        {
            "macros/override.sql": OVERRIDE.replace("CLOCK ", ""),
            "tests/none.sql": "select * from {{ ref('leaf') }}",
        }
    )
    shop.dbt("build")
    assert ran(shop.dbt("build")) == set()
    assert "none" in ran(shop.dbt("build", "--vars", "{strict: 1}", code=1))
    assert results(shop)["none"]["status"] == "fail"

    # Of one that asks for the clock nothing is known before it is rendered.
    shop.write({"macros/override.sql": OVERRIDE.replace("CLOCK", "0 * run_started_at.year +")})
    shop.dbt("build")
    assert {"orders", "leaf", "none"} <= ran(shop.dbt("build"))


def test_who_was_warned_is_warned_again(project: Shop) -> None:
    shop = project
    shop.write({"seeds/days.csv": "id,day\n1,2024-01-01\n"})
    shop.write(
        {
            "snapshots/seen.sql": "{% snapshot seen %}{{ config(unique_key='id', strategy='timestamp', updated_at='day') }} "
            "select id, day from {{ ref('days') }}{% endsnapshot %}"
        }
    )
    for _ in range(3):
        outcome = shop.dbt("build")
        assert "Please update snapshot config 'updated_at'" in outcome.output
    assert ran(outcome) == {"seen"}
    assert results(shop)["seen"]["adapter_response"]["code"] == "REUSED"


GROWS = """
unit_tests:
  - name: grows
    model: grown
    overrides: {macros: {is_incremental: true}}
    given: [{input: ref('staged'), rows: [{id: 1, v: a}, {id: 2, v: b}]}, {input: this, rows: [{id: 1}]}]
    expect: {rows: [{id: 2}]}
"""


def test_what_stands_at_the_own_name_counts(project: Shop) -> None:
    shop = project
    shop.models(
        grown="{{ config(materialized='incremental', unique_key='id') }} select id, v from {{ ref('staged') }}"
        "{% if is_incremental() %} where id > (select max(id) from {{ this }}){% endif %}"
    )
    shop.dbt("build")
    shop.write({"models/grows.yml": GROWS})
    for _ in range(3):
        settled = shop.dbt("build")
    assert ran(settled) | ran_tests(settled) == set()

    # The columns of the rows that a unit test brings for the model's own table.
    shop.on_main("drop table lake.shop.grown")
    assert "grows" in ran_tests(shop.dbt("build", code=1))

    # A view that somebody made in the place of a seed is not replaced.
    shop.on_main("drop table lake.shop.raw", "create view lake.shop.raw as select 1 as id, 'x' as v")
    assert "it is a view" in shop.dbt("seed", code=1).output
