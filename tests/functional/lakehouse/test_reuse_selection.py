"""With real dbt: what dbt's own selection, state and flags mean stays what it was, whether results are reused or not."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from dbt.artifacts.schemas.results import RunStatus
from dbt.artifacts.schemas.run import RunResultsArtifact
from dbt_process import Outcome
from dbt_shop import Shop

DONE = str(getattr(RunStatus, "Reused", RunStatus.Success))
"""dbt's status of what was reused: a word of its own from dbt-core 1.12 on."""


class Project:
    """A shop, and what dbt said of each node in its last command.

    With ``forgets``, what nodes were compiled to is forgotten before each command, so that each passes through dbt's runner.
    """

    def __init__(self, shop: Shop, *, forgets: bool) -> None:
        self.shop = shop
        self.forgets = forgets
        self.ran: set[str] = set()
        self.reused: set[str] = set()
        self.status: dict[str, str] = {}

    def dbt(self, *arguments: str, code: int | None = 0, **environment: str) -> Outcome:
        """Run a command; ``ran``, ``reused`` and ``status`` are about its results."""
        results = self.shop.root / "target" / "run_results.json"
        if self.forgets:
            (self.shop.root / "target" / "lakehouse_builds.json").unlink(missing_ok=True)
        before = results.stat().st_mtime_ns if results.exists() else 0
        outcome = self.shop.dbt(*arguments, code=code, **environment)
        self.ran, self.reused, self.status = set(), set(), {}
        if results.exists() and results.stat().st_mtime_ns != before:
            RunResultsArtifact.read_and_check_versions(str(results))
            for result in json.loads(results.read_text())["results"]:
                name = result["unique_id"].split(".")[2]
                self.status[name] = result["status"]
                was_reused = result["adapter_response"].get("code") == "REUSED"
                (self.reused if was_reused else self.ran).add(name)
        return outcome

    def keep_state(self) -> None:
        """Keep this target's artifacts as those that ``--state`` names."""
        shutil.copytree(self.shop.root / "target", self.shop.root / "state", dirs_exist_ok=True)

    def compiled(self, model: str) -> str:
        """The compiled code of a model, in one line."""
        return " ".join(self.shop.read(f"target/compiled/shop/models/{model}.sql").split())


TESTS = """
models:
  - name: orders
    columns: [{name: id, data_tests: [unique, {relationships: {arguments: {to: ref('raw'), field: id}}}]}]
"""


@pytest.fixture(params=["ahead", "through dbt's runner"])
def both(request: pytest.FixtureRequest, shop: Shop) -> Project:
    return made(shop, forgets=request.param != "ahead")


@pytest.fixture
def project(shop: Shop) -> Project:
    return made(shop, forgets=False)


def made(shop: Shop, *, forgets: bool) -> Project:
    shop.write({"seeds/raw.csv": "id,v\n1,a\n2,b\n"})
    shop.models(
        staged="{{ config(materialized='view') }} select id, v from {{ ref('raw') }}",
        orders="select id, v from {{ ref('staged') }}",
        totals="select count(*) as n from {{ ref('orders') }}",
        leaf="select n from {{ ref('totals') }}",
    )
    project = Project(shop, forgets=forgets)
    project.dbt("build")
    assert project.ran == {"raw", "staged", "orders", "totals", "leaf"}
    return project


ALL = {"raw", "staged", "orders", "totals", "leaf"}


def test_statuses_and_counts(both: Project) -> None:
    both.shop.write({"models/t.yml": TESTS})
    both.dbt("build")
    outcome = both.dbt("build")
    tests = {name for name in both.reused if name.startswith(("unique", "relationships"))}
    assert (both.reused - tests, len(tests), both.ran) == (ALL, 2, set())
    assert {both.status[name] for name in ALL} == {DONE}
    assert {both.status[name] for name in tests} == {"pass"}
    assert "7 of 7 nodes were reused" in outcome.output
    if DONE == "reused":
        assert "PASS=2 WARN=0 ERROR=0 SKIP=0 NO-OP=0 REUSED=5 TOTAL=7" in outcome.output
    else:
        assert "PASS=7 WARN=0 ERROR=0 SKIP=0 NO-OP=0 TOTAL=7" in outcome.output


def test_state_modified_selects_what_dbt_says_and_reuses_within(project: Project) -> None:
    project.keep_state()
    project.shop.models(totals="select count(*) + 1 as n from {{ ref('orders') }}")
    project.dbt("build", "--select", "state:modified+", "--state", "state")
    assert (project.ran, project.reused) == ({"totals", "leaf"}, set())
    project.dbt("build", "--select", "state:modified+", "--state", "state")
    assert (project.ran, project.reused) == (set(), {"totals", "leaf"})
    project.shop.models(
        orders="-- a comment is an edit to dbt, and none to the lake\nselect id, v from {{ ref('staged') }}"
    )
    project.dbt("build", "--select", "state:modified", "--state", "state")
    assert project.reused == {"orders", "totals"}
    project.dbt("build", "--select", "state:new", "--state", "state")
    assert not project.ran | project.reused
    result = f"result:{DONE}"
    project.keep_state()
    project.dbt("build", "--select", "orders")
    project.keep_state()
    project.dbt("build", "--select", result, "--state", "state")
    assert project.reused == {"orders"}


def test_a_fresh_branch_holds_the_parents(project: Project) -> None:
    shop = project.shop
    shop.outputs(feature={"branch": "feature"}, mine={"branch": "mine", "schema": "mine"})
    project.keep_state()
    shop.models(totals="select count(*) + 1 as n from {{ ref('orders') }}")
    project.dbt("build", "--target", "feature", "--select", "state:modified+", "--defer", "--state", "state")
    assert project.ran == {"totals", "leaf"}
    assert '"lake"."shop"."orders"' in project.compiled("totals")
    assert shop.rows("select n from leaf", "feature") == [(3,)]
    assert shop.rows("select n from leaf") == [(2,)]
    # Without a manifest of another invocation it is the same.
    shop.models(totals="select count(*) + 2 as n from {{ ref('orders') }}")
    project.dbt("build", "--target", "feature", "--select", "totals+")
    assert project.ran == {"totals", "leaf"}
    assert shop.rows("select n from leaf", "feature") == [(4,)]

    # In a schema of one's own, parents that are not there are those of the state.
    project.dbt("build", "--target", "mine", "--select", "totals", "--defer", "--state", "state")
    assert project.reused == {"totals"}, "made on the other branch"
    assert '"lake"."shop"."orders"' in project.compiled("totals")
    project.dbt("build", "--target", "mine", "--select", "raw", "staged", "orders")
    assert project.reused >= {"raw", "orders"}
    project.dbt("build", "--target", "mine", "--select", "totals", "--defer", "--state", "state")
    assert '"lake"."mine"."orders"' in project.compiled("totals")
    project.dbt("build", "--target", "mine", "--select", "totals", "--defer", "--favor-state", "--state", "state")
    assert '"lake"."shop"."orders"' in project.compiled("totals")
    assert project.reused == {"totals"}, "of the same rows"


def test_deferred_parents_that_differ_are_other_inputs(project: Project) -> None:
    shop = project.shop
    project.keep_state()
    shop.outputs(mine={"branch": "mine", "schema": "mine"})
    shop.models(orders="select id, v from {{ ref('staged') }} where id = 1")
    project.dbt("build", "--target", "mine", "--exclude", "leaf")
    assert shop.rows("select n from mine.totals", "mine") == [(1,)]
    project.dbt("build", "--target", "mine", "--select", "totals", "--defer", "--favor-state", "--state", "state")
    assert shop.rows("select n from mine.totals", "mine") == [(2,)]
    project.dbt("build", "--target", "mine", "--select", "totals", "--defer", "--state", "state")
    assert shop.rows("select n from mine.totals", "mine") == [(1,)]


def test_clones_are_what_they_are_clones_of(project: Project) -> None:
    shop = project.shop
    shop.outputs(mine={"branch": "mine", "schema": "mine"})
    project.keep_state()
    project.dbt("clone", "--target", "mine", "--state", "state")
    assert set(project.status) == ALL
    assert shop.rows("select n from mine.leaf", "mine") == [(2,)]
    project.dbt("build", "--target", "mine", "--select", "orders", "totals", "leaf")
    assert project.ran == {"orders"}, "dbt clones a view as a view of that view, which is other code"
    assert project.reused == {"totals", "leaf"}
    shop.models(totals="select count(*) + 1 as n from {{ ref('orders') }}")
    project.dbt("build", "--target", "mine", "--select", "totals")
    assert shop.rows("select n from mine.totals", "mine") == [(3,)]
    assert shop.rows("select n from mine.leaf", "mine") == [(2,)]


def test_select_and_exclude_touch_nothing_else(project: Project) -> None:
    shop = project.shop
    shop.models(
        orders="select id from {{ ref('staged') }} where id = 1", leaf="select n + 10 as n from {{ ref('totals') }}"
    )
    project.dbt("build", "--select", "orders")
    assert project.ran == {"orders"}
    assert shop.rows("select n from totals") == [(2,)]
    project.dbt("build", "--exclude", "leaf")
    assert (project.ran, project.reused) == ({"totals"}, {"raw", "staged", "orders"})
    assert shop.rows("select n from leaf") == [(2,)]
    project.dbt("run", "--select", "+leaf")
    assert (project.ran, project.reused) == ({"leaf"}, {"staged", "orders", "totals"})


def test_retry_goes_on_from_what_was_reused(both: Project) -> None:
    shop = both.shop
    shop.outputs(mine={"branch": "mine", "schema": "mine"})
    shop.models(leaf="select error('not yet') as n from {{ ref('totals') }}", last="select n from {{ ref('leaf') }}")
    both.dbt("build", "--target", "mine", code=1)
    assert both.reused >= {"raw", "orders", "totals"}
    assert (both.status["leaf"], both.status["last"]) == ("error", "skipped")
    assert "mine.orders" not in shop.tables("mine")
    both.dbt("retry", "--target", "mine", code=1)
    assert both.ran == {"leaf", "last"}
    shop.models(leaf="select n from {{ ref('totals') }}")
    both.dbt("retry", "--target", "mine")
    assert both.ran | both.reused == {"leaf", "last"}
    assert {name for name in shop.tables("mine") if name.startswith("mine.")} == {
        f"mine.{name}" for name in {*ALL, "last"}
    }
    assert shop.rows("select n from mine.last", "mine") == [(2,)]
    nothing_left = both.dbt("retry", "--target", "mine")
    assert "no-op" in nothing_left.output.lower() or "Nothing to do" in nothing_left.output


def test_tests_alone_and_indirect_selection(project: Project) -> None:
    project.shop.write({"models/t.yml": TESTS})
    project.dbt("test")
    assert len(project.ran) == 2
    project.dbt("test")
    assert (len(project.reused), project.ran) == (2, set())
    project.dbt("test", "--select", "orders", "--indirect-selection", "cautious")
    assert project.reused == {"unique_orders_id"}
    project.dbt("build", "--select", "orders", "--indirect-selection", "eager")
    assert len(project.reused) == 3
    project.dbt("build", "--select", "orders", "--indirect-selection", "empty")
    assert project.reused == {"orders"}
    project.dbt("test", "--exclude", "test_name:unique")
    assert len(project.reused) == 1


def test_fail_fast_and_failing_tests(project: Project) -> None:
    shop = project.shop
    shop.write({"models/t.yml": TESTS})
    shop.models(orders="select 1 as id, 'a' as v from {{ ref('staged') }}")
    for _ in range(2):
        project.dbt("build", "--fail-fast", "--threads", "1", code=1)
        assert project.status["unique_orders_id"] == "fail"
        assert project.reused >= {"raw", "staged"}
        assert not {"totals", "leaf"} & project.ran.intersection(
            name for name, status in project.status.items() if status != "skipped"
        )
    assert shop.rows("select id from orders") == [(1,), (2,)], "nothing was published"
    project.dbt("build", "--select", "orders", "leaf", "--exclude", "resource_type:test")
    assert project.reused == {"orders", "leaf"}


def test_empty_and_sampled_builds_are_other_results(project: Project) -> None:
    shop = project.shop
    shop.outputs(empty={"branch": "empty"}, sampled={"branch": "sampled"})
    project.dbt("build", "--empty", "--target", "empty")
    assert "orders" in project.ran
    assert shop.rows("select n from totals", "empty") == [(0,)]
    assert shop.rows("select n from leaf", "empty") == []
    project.dbt("build", "--target", "empty")
    assert project.reused >= {"orders", "totals", "leaf"}
    assert shop.rows("select n from leaf", "empty") == [(2,)]

    shop.models(
        events="{{ config(materialized='table', event_time='happened') }} "
        "select i as id, timestamp '2026-01-01' + to_days(i::int) as happened from range(10) t(i)",
        recent="select count(*) as n from {{ ref('events') }}",
    )
    days = "{'start': '2026-01-03', 'end': '2026-01-05'}"
    project.dbt("run", "--select", "events", "recent")
    project.dbt("run", "--select", "recent", "--sample", days, "--target", "sampled")
    assert project.ran == {"recent"}
    assert shop.rows("select n from recent") == [(10,)]
    project.dbt("run", "--select", "events", "recent", "--sample", days, "--target", "sampled")
    assert shop.rows("select n from recent", "sampled") == [(2,)]
    project.dbt("run", "--select", "events", "recent", "--target", "sampled")
    assert project.reused == {"events", "recent"}
    assert shop.rows("select n from recent", "sampled") == [(10,)]


def test_variables_and_full_refresh(project: Project) -> None:
    shop = project.shop
    shop.models(
        totals="select {{ var('more', 0) }} + count(*) as n from {{ ref('orders') }}",
        grown="{{ config(materialized='incremental') }} select id from {{ ref('orders') }} "
        "{% if is_incremental() %} where id > (select max(id) from {{ this }}) {% endif %}",
    )
    for _ in range(3):
        project.dbt("build")
    assert project.reused == {*ALL, "grown"}
    project.dbt("build", "--vars", "more: 5")
    assert project.ran == {"totals", "leaf"}
    project.dbt("build")
    assert project.ran == set()
    project.dbt("build", "--vars", "more: 5")
    assert project.ran == set(), "that was made before"
    assert shop.rows("select n from leaf") == [(7,)]
    project.dbt("build", "--full-refresh", "--vars", "more: 5")
    assert project.ran == {"raw", "staged", "grown"}, "the view is over another table of the same rows"


def test_what_hooks_are_told_at_the_end(both: Project) -> None:
    shop = both.shop
    shop.write(
        {
            "macros/tell.sql": "{% macro tell(results, schemas) %}{% for one in results %}{{ log('TOLD ' ~ one.node.name ~ ' ' "
            "~ one.status ~ ' ' ~ one.adapter_response.get('code') ~ ' ' ~ one.node.relation_name, info=true) }}{% endfor %}"
            "{{ log('SCHEMAS ' ~ schemas, info=true) }}{% endmacro %}",
            "dbt_project.yml": shop.read("dbt_project.yml") + 'on-run-end: ["{{ tell(results, schemas) }}"]\n',
        }
    )
    output = both.dbt("build").output
    for name in ALL:
        assert f'TOLD {name} {DONE} REUSED "lake"."shop"."{name}"' in output
    assert "SCHEMAS ['shop']" in output


def test_artifacts_of_a_build_that_ran_nothing(both: Project) -> None:
    shop = both.shop
    shutil.rmtree(shop.root / "target" / "compiled")
    both.dbt("build")
    assert both.reused == ALL
    assert both.compiled("orders") == 'select id, v from "lake"."shop"."staged"'
    manifest = json.loads(shop.read("target/manifest.json"))
    assert all(
        "staged" in node["compiled_code"] for name, node in manifest["nodes"].items() if name == "model.shop.orders"
    )
    results = json.loads(shop.read("target/run_results.json"))["results"]
    assert {result["unique_id"].split(".")[2]: result["compiled"] for result in results}["orders"] is True
    named = {result["relation_name"] for result in results if not result["unique_id"].startswith("seed")}
    assert named == {f'"lake"."shop"."{name}"' for name in ALL - {"raw"}}
    shop.dbt("docs", "generate")
    known: dict[str, Any] = json.loads(shop.read("target/catalog.json"))["nodes"]
    assert {name.split(".")[2] for name in known} == ALL
    assert list(known["model.shop.orders"]["columns"]) == ["id", "v"]


def test_commands_that_build_nothing(project: Project) -> None:
    shop = project.shop
    head = shop.head()
    for _ in range(2):
        assert "| 2 |" in shop.dbt("show", "--select", "leaf").output.replace("  ", " ")
        shop.dbt("compile")
    assert "orders" in shop.dbt("ls", "--select", "+totals").output
    assert shop.head() == head
    shop.write(
        {
            "models/src.yml": "sources: [{name: shop, tables: [{name: raw_events, loaded_at_field: loaded, "
            "config: {freshness: {warn_after: {count: 1, period: day}}}}]}]",
        }
    )
    shop.on_main("create table lake.shop.raw_events as select now()::timestamp as loaded")
    assert "PASS freshness" in shop.dbt("source", "freshness").output
    shop.on_main("create or replace table lake.shop.raw_events as select timestamp '2020-01-01' as loaded")
    for _ in range(2):
        assert "WARN freshness" in shop.dbt("source", "freshness").output


def test_the_profile_and_the_environment_switch_reuse(project: Project) -> None:
    shop = project.shop
    shop.outputs(without={"reuse": "off"}, reusing={"reuse": "'on'"}, odd={"reuse": "sometimes"})
    project.dbt("build", "--target", "without")
    assert project.ran == ALL
    project.dbt("build", "--target", "reusing")
    assert project.reused == ALL
    project.dbt("build", "--target", "without", LAKEHOUSE_REUSE="on")
    assert project.reused == ALL
    project.dbt("build", "--target", "reusing", LAKEHOUSE_REUSE="off")
    assert project.ran == ALL
    assert (
        "profile key 'reuse' is 'sometimes'; on or off is needed"
        in shop.dbt("build", "--target", "odd", code=None).output
    )
    assert "on or off is right" in shop.dbt("build", code=None, LAKEHOUSE_REUSE="maybe").output
