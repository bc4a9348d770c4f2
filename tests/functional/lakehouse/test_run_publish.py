"""A run is a transaction: what dbt's verdict makes of it."""

from __future__ import annotations

import json

import pytest
from dbt_shop import Shop

from dbt.adapters.lakehouse.catalog.model import RunStatus

TEST_OF_A = """
models:
  - name: a
    columns:
      - name: id
        data_tests: [{{not_null: {{config: {{severity: {severity}, store_failures: true}}}}}}]
"""


def test_a_run_that_passes_is_one_merge_commit(shop: Shop) -> None:
    shop.models(a="select 1 as id", b="select id + 1 as id from {{ ref('a') }}")
    shop.dbt("run")
    newest, first = shop.log()
    (run,) = shop.runs()
    assert newest.parents[0] == first.id
    assert len(newest.parents) == 2
    assert run.status is RunStatus.PUBLISHED
    assert run.published == newest.id
    assert newest.run == run.id
    assert run.nodes["model.shop.b"]["status"] == "success"
    assert shop.branches() == ["main"]
    assert shop.tables() == {"shop.a": [(1,)], "shop.b": [(2,)]}


@pytest.mark.parametrize("failing", ["model", "on_run_end", "on_run_end_of_fail_fast"])
def test_a_run_that_fails_leaves_the_target_alone(shop: Shop, failing: str) -> None:
    shop.models(a="select 1 as id", b="select id from {{ ref('a') }}")
    shop.dbt("run")
    head, before = shop.head(), shop.tables()
    shop.models(a="select 2 as id")
    arguments = ["run", "--threads", "1"]
    if failing == "on_run_end":
        shop.write({"dbt_project.yml": shop.read("dbt_project.yml") + 'on-run-end: "select * from nowhere"\n'})
    else:
        shop.models(b="select error('on purpose') as id from {{ ref('a') }}")
    if failing == "on_run_end_of_fail_fast":
        hook = 'on-run-end: "create or replace table shop.ended as select 1 as one"\n'
        shop.write({"dbt_project.yml": shop.read("dbt_project.yml") + hook})
        arguments += ["--fail-fast"]
    outcome = shop.dbt(*arguments, code=1)
    assert "Nothing was published" in outcome.output
    assert (shop.head(), shop.tables()) == (head, before)
    run = shop.runs()[0]
    assert run.status is RunStatus.FAILED
    assert run.branch in shop.branches()
    left = shop.tables(run.branch)
    assert left["shop.a"] == [(2,)]
    assert ("shop.ended" in left) == (failing == "on_run_end_of_fail_fast")


def test_a_failed_test_blocks_and_its_rows_can_be_read(shop: Shop) -> None:
    shop.models(a="select null::int as id union all select 1")
    shop.write({"models/a.yml": TEST_OF_A.format(severity="error")})
    shop.dbt("build", code=1)
    (run,) = shop.runs()
    assert run.status is RunStatus.FAILED
    assert shop.tables() == {}
    (failures,) = [name for name in shop.tables(run.branch) if name.startswith("shop_dbt_test__audit.")]
    schema, table = failures.split(".")
    assert shop.rows(f'select * from "{schema}"."{table}"', run.branch) == [(None,)]
    assert shop.rows(f'select * from "lake@{run.branch}"."{schema}"."{table}"') == [(None,)]

    shop.write({"models/a.yml": TEST_OF_A.format(severity="warn")})
    shop.dbt("build")
    assert shop.runs()[0].status is RunStatus.PUBLISHED
    assert len(shop.tables()) == 2


def test_a_run_reads_one_state_while_the_target_moves(shop: Shop) -> None:
    shop.on_main(
        "create schema shop", "create table shop.source as select 1 as id", "create table shop.flag as select 1 as x"
    )
    slow = "{{ config(materialized='table') }} select count(*) as n from range(30000) a(i), range(30000) b(j) where i + j < 0"
    shop.models(
        first='select id, (select id from "lake@main".shop.source) as there from shop.source',
        slow=f"{slow} -- {{{{ ref('first') }}}}",
        last="select id, (select id from \"lake@main\".shop.source) as there from shop.source -- {{ ref('slow') }}",
    )
    with shop.start("run", "--threads", "1") as process:
        process.until(lambda: "START sql table model shop.slow" in process.output)
        shop.on_main("update shop.source set id = 2", "insert into shop.flag values (2)")
        assert "OK created sql table model shop.slow" not in process.output
        assert process.wait().code == 0, process.output
    tables = shop.tables()
    assert tables["shop.first"] == tables["shop.last"] == [(1, 1)]
    assert tables["shop.source"] == [(2,)]
    assert tables["shop.flag"] == [(1,), (2,)]


def test_each_node_is_visible_as_it_finishes(shop: Shop) -> None:
    shop.outputs(live={"publish": "each_node"})
    shop.models(a="select 1 as id", b="select error('on purpose') as id from {{ ref('a') }}")
    outcome = shop.dbt("run", "--target", "live", code=1)
    assert "Nothing was published" not in outcome.output
    assert shop.tables() == {"shop.a": [(1,)]}
    assert shop.branches() == ["main"]


def test_manual_leaves_the_run_to_be_merged(shop: Shop) -> None:
    shop.outputs(held={"publish": "manual"})
    shop.models(a="select 1 as id")
    outcome = shop.dbt("run", "--target", "held")
    (run,) = shop.runs()
    assert run.status is RunStatus.PASSED
    assert f"lakehouse merge {run.branch} --into main" in outcome.output
    assert shop.tables() == {}
    with shop.lake() as lake:
        lake.catalog.merge(run.branch, "main", author="me", message="take it")
    assert shop.tables() == {"shop.a": [(1,)]}
    assert shop.runs()[0].status is RunStatus.PUBLISHED


def test_retry_goes_on_from_the_failed_run(shop: Shop) -> None:
    shop.models(
        a="select 1 as id",
        b="select error('on purpose') as id from {{ ref('a') }}",
        c="select id + 1 as id from {{ ref('b') }}",
    )
    shop.dbt("run", code=1)
    shop.on_main("create schema other", "create table other.x as select 1 as id")
    (failed,) = shop.runs()
    shop.models(b="select id from {{ ref('a') }}")
    outcome = shop.dbt("retry")
    results = json.loads(shop.read("target/run_results.json"))["results"]
    assert sorted(result["unique_id"] for result in results) == ["model.shop.b", "model.shop.c"]
    assert "Published to branch main" in outcome.output
    assert shop.tables() == {"other.x": [(1,)], "shop.a": [(1,)], "shop.b": [(1,)], "shop.c": [(2,)]}
    statuses = {run.id: run for run in shop.runs()}
    retried = next(run for run in statuses.values() if run.id != failed.id)
    assert retried.status is RunStatus.PUBLISHED
    assert retried.continues == failed.id
    assert statuses[failed.id].status is RunStatus.CONTINUED
    assert len(shop.log()[0].parents) == 2


def test_a_retry_that_writes_nothing_publishes_what_it_continues(shop: Shop) -> None:
    shop.models(a="select 1 as id")
    shop.write({"tests/fails.sql": "select * from {{ ref('a') }}"})
    shop.dbt("build", code=1)
    shop.write({"tests/fails.sql": "select * from {{ ref('a') }} where id > 1"})
    outcome = shop.dbt("retry")
    assert "Published to branch main" in outcome.output
    assert shop.tables() == {"shop.a": [(1,)]}


def test_a_retry_of_a_retry_that_failed_at_once_still_has_everything(shop: Shop) -> None:
    shop.models(a="select 1 as id", b="select error('on purpose') as id from {{ ref('a') }}")
    shop.dbt("run", code=1)
    shop.models(
        b="select {% if execute %}{{ exceptions.raise_compiler_error('not yet') }}{% endif %} from {{ ref('a') }}"
    )
    shop.dbt("retry", code=1, LAKEHOUSE_PREFLIGHT="off")
    shop.models(b="select id + 1 as id from {{ ref('a') }}")
    shop.dbt("retry")
    assert shop.tables() == {"shop.a": [(1,)], "shop.b": [(2,)]}


def test_a_retry_without_the_failed_runs_branch_is_refused(shop: Shop) -> None:
    shop.models(a="select 1 as id", b="select error('on purpose') as id from {{ ref('a') }}")
    shop.dbt("run", code=1)
    (failed,) = shop.runs()
    with shop.lake() as lake:
        lake.catalog.delete_ref(failed.branch, expected=lake.catalog.resolve(failed.branch).id)
    shop.models(b="select id + 1 as id from {{ ref('a') }}")
    outcome = shop.dbt("retry", code=None)
    assert outcome.code != 0
    assert "cannot be continued" in outcome.output
    assert shop.tables() == {}
