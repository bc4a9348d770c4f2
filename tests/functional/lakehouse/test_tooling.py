"""dbt's own commands and flags, on a project that uses much of what dbt knows, in real processes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from dbt_process import Outcome
from dbt_shop import Shop
from wide_project import WIDE


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, parsed: Path) -> Shop:
    """The project, built once; whoever changes it takes a copy."""
    shop = Shop(tmp_path_factory.mktemp("wide"), parsed)
    shop.write(WIDE)
    shop.dbt("build", "--event-time-start", "2026-01-01", "--event-time-end", "2026-01-04")
    return shop


@pytest.fixture
def wide(built: Shop, tmp_path: Path) -> Shop:
    """A copy of the project and its lake."""
    shutil.copytree(built.root, tmp_path / "copy")
    shop = Shop(tmp_path / "copy")
    shop.write(WIDE)
    return shop


def lines(outcome: Outcome) -> list[dict[str, Any]]:
    """What a command printed as JSON, line by line."""
    return [json.loads(line) for line in outcome.output.splitlines() if line.startswith("{")]


def statuses(shop: Shop, target: str = "target") -> dict[str, str]:
    """What became of each node, by its name without the project's."""
    found = json.loads(shop.read(f"{target}/run_results.json"))["results"]
    return {
        result["unique_id"].partition(".shop.")[2]: result["status"]
        for result in found
        if not result["unique_id"].startswith("operation.")
    }


def test_everything_is_built(built: Shop) -> None:
    assert built.rows("from shop.totals") == [(60,)]
    assert built.rows("from shop.orders_v1") == [(1, 10), (2, 20), (3, 30)]
    assert built.rows("select count(*) from shop.sold") == [(3,)]
    assert built.rows("from shop.audit") == [("build",)]
    assert not [name for name in built.tables() if "off" in name]
    manifest = json.loads(built.read("target/manifest.json"))
    assert manifest["nodes"]["model.shop.orders.v2"]["latest_version"] == 2
    assert manifest["nodes"]["model.shop.orders.v1"]["deprecation_date"].startswith("2020-01-01")
    assert manifest["nodes"]["model.shop.orders.v2"]["config"]["meta"] == {"owner": "ann"}
    assert manifest["nodes"]["model.shop.staged"]["docs"]["show"] is False
    assert list(manifest["metrics"]) == ["metric.shop.revenue"]
    assert list(manifest["saved_queries"]) == ["saved_query.shop.daily"]
    assert list(manifest["exposures"]) == ["exposure.shop.board"]
    semantic = json.loads(built.read("target/semantic_manifest.json"))
    assert semantic["semantic_models"][0]["node_relation"]["relation_name"] == '"lake"."shop"."orders_v2"'
    assert semantic["project_configuration"]["time_spines"][0]["primary_column"]["name"] == "day"


def test_ls_in_its_forms(built: Shop) -> None:
    def listed(*arguments: str) -> list[str]:
        return built.dbt("--quiet", "ls", *arguments).output.split()

    found = lines(built.dbt("--quiet", "ls", "--output", "json", "--resource-type", "model"))
    assert {one["name"] for one in found} == {"staged", "orders", "totals", "days", "sold", "dated"}
    assert {one["alias"] for one in found if one["name"] == "orders"} == {"orders_v1", "orders_v2"}
    assert set(listed("--selector", "nightly", "--resource-type", "model", "--output", "name")) == {
        "staged",
        "orders.v1",
        "orders.v2",
        "totals",
    }
    assert listed("--select", "+exposure:board", "--resource-type", "seed") == ["shop.raw"]
    assert listed("--select", "version:old", "--resource-type", "model") == ["shop.orders.v1"]
    assert listed("--select", "access:private") == ["shop.staged"]
    kinds = ("exposure", "metric", "saved_query", "semantic_model", "unit_test")
    assert listed(*(word for kind in kinds for word in ("--resource-type", kind))) == [
        "exposure:shop.board",
        "metric:shop.revenue",
        "saved_query:shop.daily",
        "semantic_model:shop.orders",
        "unit_test:shop.adds_up",
    ]
    assert listed("--select", "orders.v2", "--resource-type", "model", "--output", "path") == ["models/orders_v2.sql"]
    keys = lines(
        built.dbt("--quiet", "list", "--select", "totals", "--output", "json", "--output-keys", "name", "tags")
    )
    assert keys[0] == {"name": "totals", "tags": ["nightly"]}


def test_folders_are_where_flags_say(built: Shop, tmp_path: Path) -> None:
    moved = tmp_path / "profiles"
    moved.mkdir()
    profile = built.read("profiles.yml").replace("./lake", str(built.root / "lake"))
    (moved / "profiles.yml").write_text(profile)
    where = ("--project-dir", str(built.root), "--profiles-dir", str(moved), "--log-path", str(tmp_path / "logs"))
    from_elsewhere = Shop.__new__(Shop)  # a folder that is no project
    from_elsewhere.__dict__.update(built.__dict__, root=tmp_path, parsed=None)
    before = sorted(path.name for path in built.root.iterdir())
    from_elsewhere.dbt("build", "--select", "totals", *where, "--target-path", str(tmp_path / "made"))
    assert (tmp_path / "logs" / "dbt.log").stat().st_size > 0
    assert statuses(from_elsewhere, "made")["totals"] == "success"
    assert (tmp_path / "made" / "lakehouse_builds.json").exists()
    assert not (tmp_path / "lake").exists()
    assert sorted(path.name for path in built.root.iterdir()) == before
    assert built.log()[0].message != ""


def test_paths_of_the_profile_start_at_the_project_wherever_dbt_is_started(shop: Shop, tmp_path: Path) -> None:
    shop.models(a="select 1 as x", b="{{ config(materialized='external', location='out/b.csv') }} select 2 as x")
    (tmp_path / "elsewhere").mkdir()
    for folder, arguments in (("models", []), ("elsewhere", ["--project-dir", "..", "--profiles-dir", ".."])):
        code = "import os; os.chdir(%r); from dbt.cli.main import dbtRunner; assert dbtRunner().invoke(%r).success"
        shop.python(code % (folder, ["run", *(arguments or ["--profiles-dir", ".."])]))
        assert not (shop.root / folder / "lake").exists(), folder
        assert not (shop.root / folder / "out").exists(), folder
    assert shop.rows("from shop.a") == [(1,)]
    assert shop.read("out/b.csv") == "x\n2\n"


def test_a_second_start_parses_nothing(wide: Shop) -> None:
    def parsed(*arguments: str, **environment: str) -> str:
        # What is parsed again is told at the level of debug.
        return wide.dbt("--log-level", "debug", *arguments, "ls", "--select", "totals", **environment).output

    again = parsed()
    assert "0 files deleted, 0 files added, 0 files changed" in again
    # The branch is no matter of the project's text.
    assert "0 files deleted, 0 files added, 0 files changed" in parsed(LAKEHOUSE_BRANCH="other")
    wide.write({"models/totals.sql": WIDE["models/totals.sql"] + " -- more"})
    assert "1 files changed" in parsed()
    assert "files changed" not in parsed("--no-partial-parse")


def test_what_is_printed(built: Shop) -> None:
    assert built.dbt("--quiet", "test", "--select", "totals").output.strip() == ""
    compiled = built.dbt("--quiet", "compile", "--select", "totals").output
    assert compiled.strip() == 'select sum(amount)::integer as total from "lake"."shop"."orders_v2"'
    plain = built.dbt("--no-use-colors", "test", "--select", "totals")
    assert "\x1b[" not in plain.output
    assert " ERROR=0 " in plain.output
    coloured = built.dbt("--use-colors", "test", "--select", "totals", NO_COLOR="")
    assert "\x1b[" in coloured.output
    structured = built.dbt("--log-format", "json", "run", "--select", "totals")
    events = [json.loads(line) for line in structured.output.splitlines()]
    finished = [event for event in events if event["info"]["name"] == "LogModelResult"]
    assert [event["data"]["node_info"]["node_name"] for event in finished] == ["totals"]
    ends = [event["data"]["node_info"] for event in events if event["info"]["name"] == "NodeFinished"]
    assert not ends or ends[0]["unique_id"] == "model.shop.totals"
    said = built.dbt("--quiet", "show", "--select", "totals", "--output", "json", "--log-format", "text").output
    assert json.loads(said[said.index("{") :])["show"] == [{"total": 60}]
    inline = built.dbt("--quiet", "show", "--inline", "select id from {{ ref('orders', v=2) }}", "--limit", "1")
    assert inline.output.count("\n| ") >= 1


def test_selections_flags_and_variables(wide: Shop) -> None:
    wide.dbt("run", "--select", "orders.v2", "totals", "--vars", "{least: 15}", "--threads", "1")
    assert statuses(wide) == {"orders.v2": "success", "totals": "success"}
    assert wide.rows("from shop.totals") == [(50,)]
    wide.dbt("build", "--select", "+totals", "--exclude", "resource_type:unit_test", "orders.v1")
    assert "adds_up" not in " ".join(statuses(wide))
    assert wide.rows("from shop.totals") == [(60,)]
    wide.dbt("build", "--resource-type", "seed")
    assert list(statuses(wide)) == ["raw"]
    wide.dbt(
        "build", "--exclude-resource-type", "test", "--exclude-resource-type", "unit_test", "--selector", "nightly"
    )
    assert set(statuses(wide)) == {"staged", "orders.v1", "orders.v2", "totals"}
    wide.dbt("test", "--select", "totals", "--exclude", "test_type:data", "--indirect-selection", "cautious")
    assert list(statuses(wide)) == ["totals.adds_up"]
    wide.dbt("run", "--select", "sold", "--event-time-start", "2026-01-02", "--event-time-end", "2026-01-03")
    results = json.loads(wide.read("target/run_results.json"))["results"]
    batches = [one["batch_results"]["successful"] for one in results if one["unique_id"] == "model.shop.sold"]
    assert [len(successful) for successful in batches] == [1]


def test_deprecated_versions_and_warnings(wide: Shop) -> None:
    wide.write({"models/old.sql": "select * from {{ ref('orders', v=1) }}"})
    warned = wide.dbt("parse", "--no-partial-parse")
    assert "deprecat" in warned.output.lower()
    refused = wide.dbt("--warn-error", "parse", "--no-partial-parse", code=None)
    assert refused.code == 2
    wide.write({"models/old.sql": "select * from {{ ref('staged') }}"})
    private = wide.dbt("parse", code=None)
    assert private.code == 2
    assert "staged" in private.output
    assert "not allowed" in private.output


def test_what_failed_is_retried_and_selected_by_its_result(wide: Shop) -> None:
    wide.models(bad="select error('on purpose') as id", after="select * from {{ ref('bad') }}", other="select 1 as id")
    outcome = wide.dbt("build", "--select", "bad+", "other", "--fail-fast", "--threads", "1", code=1)
    assert "on purpose" in outcome.output
    shutil.copytree(wide.root / "target", wide.root / "state")
    wide.models(bad="select 7 as id")
    selected = wide.dbt("--quiet", "ls", "--select", "result:error+", "--state", "state").output.split()
    assert set(selected) >= {"shop.bad", "shop.after"}
    assert wide.dbt("--quiet", "ls", "--select", "state:modified", "--state", "state").output.split() == ["shop.bad"]
    wide.dbt("retry")
    assert wide.rows("from shop.after") == [(7,)]
    assert wide.rows("from shop.other") == [(1,)]


def test_operations_docs_and_cleaning(wide: Shop) -> None:
    said = wide.dbt("run-operation", "say", "--args", "{word: rows}")
    assert "rows 1" in said.output
    wide.dbt("docs", "generate")
    catalog = json.loads(wide.read("target/catalog.json"))
    assert {"model.shop.orders.v1", "model.shop.orders.v2", "model.shop.totals"} <= set(catalog["nodes"])
    assert (wide.root / "target" / "index.html").exists()
    wide.dbt("docs", "generate", "--static", "--empty-catalog")
    assert (wide.root / "target" / "static_index.html").exists()
    wide.dbt("deps")
    wide.dbt("source", "freshness")
    wide.dbt("debug")
    wide.dbt("clean")
    assert not (wide.root / "target").exists()
    assert wide.rows("from shop.totals") == [(60,)]  # the lake is not among what is cleaned


def test_secrets_of_the_environment_stay_secret(wide: Shop) -> None:
    secret = "hush-hush-4711"
    profile = wide.read("profiles.yml").replace("./lake", "\"./{{ env_var('DBT_ENV_SECRET_PLACE') }}/lake\"")
    wide.write({"profiles.yml": profile, "models/bad.sql": f"select error('{secret}') as id"})
    outcome = wide.dbt("run", "--select", "days", "bad", "--log-level", "debug", code=1, DBT_ENV_SECRET_PLACE=secret)
    assert (wide.root / secret / "lake").exists()
    assert secret not in outcome.output
    assert secret not in wide.read("logs/dbt.log")


def test_flags_in_the_project_file(wide: Shop) -> None:
    project = WIDE["dbt_project.yml"]
    flags = "flags: {send_anonymous_usage_stats: false, fail_fast: true, use_colors: false, log_format: json}"
    wide.write({"dbt_project.yml": project.replace("flags: {send_anonymous_usage_stats: false}", flags)})
    outcome = wide.dbt("run", "--select", "days")
    assert all(json.loads(line)["info"] for line in outcome.output.splitlines())


def test_another_comment_on_queries_is_no_other_table(wide: Shop) -> None:
    changed = WIDE["dbt_project.yml"].replace("asked by", "demanded by")
    wide.write({"dbt_project.yml": changed})
    outcome = wide.dbt("run", "--select", "totals")
    assert "REUSED" in outcome.output
