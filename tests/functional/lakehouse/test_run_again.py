"""A run whose target moved runs again what that concerns, with ``publish_conflict: rerun``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from dbt_process import DbtProcess
from dbt_shop import Shop

from dbt.adapters.lakehouse.catalog.model import RunStatus

HOLD = """
{% macro hold(mark) %}
  {%- if execute -%}
    {%- set free = namespace(is=false) -%}
    {%- for _ in range(100000) if not free.is -%}
      {%- do run_query("copy (select 1) to '" ~ var('marks') ~ "/" ~ mark ~ ".held'") -%}
      {%- set free.is = run_query("from glob('" ~ var('marks') ~ "/" ~ mark ~ ".go')").rows | length > 0 -%}
    {%- endfor -%}
  {%- endif -%}
{% endmacro %}
"""
"""Where a model calls it, it waits for a file of the test; dbt's own compilation is the place."""


@pytest.fixture
def racing(shop: Shop) -> Shop:
    """A project of which a run can be held, that runs again what is in conflict."""
    marks = shop.root / "marks"
    marks.mkdir()
    project = shop.read("dbt_project.yml")
    shop.write({"dbt_project.yml": f"{project}vars: {{marks: '{marks}'}}\n", "macros/hold.sql": HOLD})
    shop.outputs(dev={"publish_conflict": "rerun"})
    profile = shop.read("profiles.yml").splitlines()
    shop.write({"profiles.yml": "\n".join([*profile[:4], profile[-1]]) + "\n"})
    return shop


@contextlib.contextmanager
def held(shop: Shop, *arguments: str, mark: str = "m", **environment: str) -> Iterator[DbtProcess]:
    """A dbt command that waits at a mark while the block is carried out, and goes on then."""
    with shop.start(*arguments, **environment) as process:
        process.until((shop.root / "marks" / f"{mark}.held").exists)
        yield process
        (shop.root / "marks" / f"{mark}.go").touch()
        process.wait()


def results(shop: Shop, target: str = "target") -> dict[str, dict[str, Any]]:
    """What ``run_results.json`` says, by name."""
    document = json.loads(shop.read(f"{target}/run_results.json"))
    return {result["unique_id"].split(".")[2]: result for result in document["results"]}


TESTED = "models: [{name: a, columns: [{name: id, data_tests: [not_null]}]}]"


def test_what_is_in_conflict_runs_again_with_what_depends_on_it(racing: Shop) -> None:
    racing.on_main("create schema shop", "create table shop.source as select 1 as id")
    racing.models(
        a="select id from shop.source",
        b="select id * 10 as id from {{ ref('a') }}",
        c="{{ hold('m') }} select 5 as id",
    )
    racing.write({"models/a.yml": TESTED})
    with held(racing, "build", "--threads", "2") as process:
        racing.on_main("insert into shop.source values (2)")
        racing.dbt("run", "--select", "a", "--target-path", "other")
    outcome = process.wait()
    assert outcome.code == 0, outcome.output
    assert "nodes are run again: main moved to" in outcome.output
    assert outcome.output.count("OK created sql table model shop.b") == 2
    assert outcome.output.count("OK created sql table model shop.c") == 1
    assert racing.tables() == {
        "shop.source": [(1,), (2,)],
        "shop.a": [(1,), (2,)],
        "shop.b": [(10,), (20,)],
        "shop.c": [(5,)],
    }
    assert sorted(results(racing)) == ["a", "b", "c", "not_null_a_id"]
    assert {one["status"] for one in results(racing).values()} <= {"success", "pass", "reused"}
    assert racing.branches() == ["main"]
    run = racing.runs()[1]
    assert run.status is RunStatus.PUBLISHED
    newest, before = racing.log()[:2]
    assert (newest.run, newest.parents[0]) == (run.id, before.id)


def test_without_it_the_run_fails_and_a_retry_goes_on_from_the_new_head(racing: Shop) -> None:
    racing.on_main("create schema shop", "create table shop.source as select 1 as id")
    racing.models(
        a="select id from shop.source",
        b="select id * 10 as id from {{ ref('a') }}",
        c="{{ hold('m') }} select 5 as id",
    )
    racing.write({"models/a.yml": TESTED})
    with held(racing, "build", "--threads", "2", LAKEHOUSE_PUBLISH_CONFLICT="fail") as process:
        racing.on_main("insert into shop.source values (2)")
        racing.dbt("run", "--select", "a", "--target-path", "other")
    outcome = process.wait()
    assert outcome.code == 2, outcome.output
    assert "shop.a changed on both sides" in outcome.output
    said = {name: one["status"] for name, one in results(racing).items()}
    assert said == {"a": "error", "b": "skipped", "c": "success", "not_null_a_id": "skipped"}
    assert "shop.a: " in results(racing)["a"]["message"]
    assert "shop.b" not in racing.tables()
    retried = racing.dbt("retry")
    assert sorted(results(racing)) == ["a", "b", "not_null_a_id"]
    assert "Published to branch main" in retried.output
    assert racing.tables()["shop.b"] == [(10,), (20,)]
    assert racing.tables()["shop.c"] == [(5,)]
    assert racing.branches() == ["main"] or racing.branches() == ["main", racing.runs()[-1].branch]
