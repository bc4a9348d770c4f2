"""With real dbt: what did not change is not run again."""

from __future__ import annotations

import json

import pytest
from dbt_shop import Shop

PROJECT_MACROS = """
{% macro plus_one(column) %}{{ column }} + 1{% endmacro %}
"""
TESTS = """
models:
  - name: orders
    columns:
      - name: id
        data_tests: [not_null, unique]
"""


def results(shop: Shop) -> dict[str, dict[str, object]]:
    """What dbt's results say of each node: its adapter's response."""
    read = json.loads(shop.read("target/run_results.json"))["results"]
    return {result["unique_id"].split(".")[2]: result["adapter_response"] for result in read}


def reused(shop: Shop) -> set[str]:
    return {node for node, response in results(shop).items() if response.get("code") == "REUSED"}


@pytest.fixture
def project(shop: Shop) -> Shop:
    shop.write({"seeds/raw.csv": "id,v\n1,a\n2,b\n", "macros/m.sql": PROJECT_MACROS})
    shop.models(
        staged="{{ config(materialized='view') }} select id, v from {{ ref('raw') }}",
        orders="select id, v, {{ plus_one('id') }} as next from {{ ref('staged') }}",
        totals="select count(*) as n, max(next) as m from {{ ref('orders') }}",
        leaf="select n from {{ ref('totals') }}",
    )
    return shop


def test_the_second_build_reuses_all_and_an_edit_runs_what_depends_on_it(project: Shop) -> None:
    shop = project
    first = shop.dbt("build")
    assert reused(shop) == set()
    assert "reused" not in first.output
    head, tables = shop.head(), shop.tables()

    again = shop.dbt("build")
    assert reused(shop) == {"raw", "staged", "orders", "totals", "leaf"}
    assert "5 of 5 nodes were reused" in again.output
    assert "REUSED (run " in again.output
    assert shop.head() == head
    response = results(shop)["orders"]
    assert response["run"] == shop.runs()[0].id
    assert float(str(response["seconds_saved"])) > 0

    shop.models(leaf="select n + 1 as n from {{ ref('totals') }}")
    edited = shop.dbt("build")
    assert reused(shop) == {"raw", "staged", "orders", "totals"}
    assert "4 of 5 nodes were reused" in edited.output
    assert shop.tables() == {**tables, "shop.leaf": [(3,)]}

    shop.models(orders="-- why\nSELECT id,\n  v, {{ plus_one('id') }} AS next FROM {{ ref('staged') }}")
    shop.dbt("build")
    assert reused(shop) == {"raw", "staged", "orders", "totals", "leaf"}

    # A parent that changes but gives the same rows lets its children be.
    shop.models(totals="select count(1) as n, max(id) + 1 as m from {{ ref('orders') }}")
    shop.dbt("build")
    assert reused(shop) == {"raw", "staged", "orders", "leaf"}

    shop.write({"macros/m.sql": PROJECT_MACROS.replace("+ 1", "+ 2")})
    shop.dbt("build")
    assert reused(shop) == {"raw", "staged", "leaf"}
    shop.write({"seeds/raw.csv": "id,v\n1,a\n2,b\n3,c\n"})
    shop.dbt("build")
    assert reused(shop) == set()
    assert shop.rows("select n from leaf") == [(4,)]


def test_other_branches_and_schemas_reuse(project: Shop) -> None:
    shop = project
    shop.outputs(other={"branch": "other"}, elsewhere={"schema": "elsewhere", "branch": "elsewhere"})
    shop.dbt("build")
    shop.models(leaf="select n + 1 as n from {{ ref('totals') }}")
    shop.dbt("build", "--target", "other")
    assert reused(shop) == {"raw", "staged", "orders", "totals"}
    shop.dbt("build", "--target", "elsewhere")
    assert reused(shop) >= {"raw", "orders", "totals", "leaf"}
    assert shop.rows("select n from elsewhere.leaf", "elsewhere") == [(3,)]
    assert shop.rows("select n from leaf") == [(2,)]


def test_reuse_can_be_switched_off(project: Shop) -> None:
    shop = project
    shop.outputs(fresh={"reuse": "off"})
    shop.dbt("build")
    shop.dbt("build", "--target", "fresh")
    assert reused(shop) == set()
    shop.dbt("build", LAKEHOUSE_REUSE="off")
    assert reused(shop) == set()
    shop.models(
        orders="{{ config(materialized='table', reuse=false) }} select id, id + 1 as next from {{ ref('staged') }}"
    )
    shop.dbt("build")
    shop.dbt("build")
    assert reused(shop) == {"raw", "staged", "totals", "leaf"}
    shop.models(orders="{{ config(materialized='table', reuse='daily') }} select 1 as id, 2 as next")
    assert "{per: day}" in shop.dbt("build", code=1).output


def test_the_time_and_chance(shop: Shop) -> None:
    shop.models(
        chance="select random() as r",
        now="select now() as t",
        today="{{ config(materialized='table', reuse={'per': 'day'}) }} select current_date as d",
    )
    shop.dbt("run")
    shop.dbt("run")
    assert reused(shop) == {"today"}


def test_incremental_models_and_snapshots_settle(shop: Shop) -> None:
    shop.write({"seeds/raw.csv": "id,seen\n1,2024-01-01\n2,2024-01-02\n"})
    shop.models(
        grown="{{ config(materialized='incremental', unique_key='id') }} select id, seen from {{ ref('raw') }} "
        "{% if is_incremental() %} where seen >= (select max(seen) from {{ this }}) {% endif %}",
        child="select count(*) as n from {{ ref('grown') }}",
    )
    shop.write(
        {
            "snapshots/kept.sql": "{% snapshot kept %}{{ config(unique_key='id', strategy='timestamp', updated_at='seen') }}"
            " select * from {{ ref('raw') }} {% endsnapshot %}"
        }
    )
    shop.dbt("build")
    shop.dbt("build")
    assert reused(shop) >= {"raw", "child"}, "the increment changed nothing"
    shop.dbt("build")
    assert reused(shop) == {"raw", "grown", "child", "kept"}
    shop.dbt("build", "--full-refresh")
    assert reused(shop) == {"child", "kept"}
    shop.write({"seeds/raw.csv": "id,seen\n1,2024-01-01\n2,2024-01-03\n"})
    shop.dbt("build")
    assert reused(shop) == set()
    assert shop.rows("select id, seen::text from grown") == [(1, "2024-01-01"), (2, "2024-01-03")]
    assert len(shop.rows("select id from kept")) == 3


def test_tests_that_passed_are_not_run_again(shop: Shop) -> None:
    shop.write({"models/schema.yml": TESTS})
    shop.models(orders="select unnest([1, 2]) as id")
    shop.dbt("build")
    assert reused(shop) == set()
    again = shop.dbt("build")
    assert reused(shop) == {"orders", "not_null_orders_id", "unique_orders_id"}
    assert "3 of 3 nodes were reused" in again.output
    shop.dbt("test")
    assert reused(shop) == {"not_null_orders_id", "unique_orders_id"}

    shop.models(orders="select unnest([1, 2, 2]) as id")
    for _ in range(2):
        outcome = shop.dbt("build", code=1)
        assert "Got 1 result" in outcome.output
        assert "unique_orders_id" not in reused(shop)
    shop.models(orders="select unnest([2, 1]) as id")
    shop.dbt("build")
    assert reused(shop) == set(), "the order of rows is another"


def test_hooks_run_and_what_they_write_is_seen(shop: Shop) -> None:
    shop.models(
        a="{{ config(materialized='table', post_hook='insert into {{ this }} select 2') }} select 1 as id",
        b="select count(*) as n from {{ ref('a') }}",
    )
    for _ in range(2):
        shop.dbt("run")
        assert shop.tables() == {"shop.a": [(1,), (2,)], "shop.b": [(2,)]}
    assert reused(shop) == {"a", "b"}, "the same rows, changed in the same way"
    shop.models(
        a="{{ config(materialized='table', post_hook='insert into {{ this }} select 3') }} select 1 as id",
    )
    shop.dbt("run")
    assert shop.tables() == {"shop.a": [(1,), (3,)], "shop.b": [(2,)]}
    assert reused(shop) == {"a"}


def test_what_a_failed_build_made_is_reused_when_the_cause_is_gone(shop: Shop) -> None:
    shop.models(a="select 1 as id", b="select error('no') as id from {{ ref('a') }}")
    shop.dbt("build", code=1)
    assert shop.tables() == {}
    shop.models(b="select id + 1 as id from {{ ref('a') }}")
    shop.dbt("build")
    assert reused(shop) == {"a"}
    assert shop.tables() == {"shop.a": [(1,)], "shop.b": [(2,)]}


def test_python_models_and_the_modules_that_they_import(shop: Shop) -> None:
    model = "{}\ndef model(dbt, session):\n    dbt.config(materialized='table')\n    return session.sql('select {} as id')\n"
    shop.write({"models/p.py": model.format("import sys; sys.path.append('.')\nimport helper", "2")})
    shop.write({"helper.py": "X = 1\n"})
    shop.dbt("run")
    shop.dbt("run")
    assert reused(shop) == {"p"}
    shop.write({"helper.py": "X = 2\n"})
    shop.dbt("run")
    assert reused(shop) == set()
    shop.write({"models/p.py": model.format("import sys; sys.path.append('.')\nimport helper  # again", "2")})
    shop.dbt("run")
    assert reused(shop) == {"p"}
