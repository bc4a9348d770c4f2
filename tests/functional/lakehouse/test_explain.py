"""With real dbt: `lakehouse run explain` says why a node ran, or was reused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dbt_shop import PROFILE, Shop
from service_process import ServiceProcess

MACROS = "{% macro plus_one(column) %}{{ column }} + 1{% endmacro %}"


def lakehouse(shop: Shop, *arguments: str, code: int = 0) -> str:
    """What a real `lakehouse` prints; if it fails, what it says of that."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lakehouse")), *arguments],
        cwd=shop.root,
        env={**os.environ, **shop.environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def explained(shop: Shop, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lakehouse(shop, "run", "explain", *arguments, "--json"))
    return found


def parts(found: dict[str, Any]) -> list[str]:
    return [one["part"] for one in found["differences"]]


@pytest.fixture
def project(shop: Shop) -> Shop:
    shop.write({"seeds/raw.csv": "id,v\n1,a\n2,b\n", "macros/m.sql": MACROS})
    shop.models(
        staged="{{ config(materialized='view') }} select id, v from {{ ref('raw') }}",
        orders="select\n  id,\n  v,\n  {{ plus_one('id') }} as next\nfrom {{ ref('staged') }}",
        totals="select count(*) as n, max(next) as m\nfrom {{ ref('orders') }}",
        leaf="select n, m from {{ ref('totals') }}",
    )
    shop.dbt("build", LAKEHOUSE_AUTHOR="ann")
    return shop


def test_an_edit_is_shown_line_by_line_and_followed_to_its_root(project: Shop) -> None:
    shop = project
    first = explained(shop, "orders")
    assert first["reason"] == "first"
    assert first["run"]["id"] == shop.runs()[0].id

    shop.models(orders="select\n  id,\n  v,\n  id + 5 as next\nfrom {{ ref('staged') }}")
    shop.dbt("build", LAKEHOUSE_AUTHOR="bob")
    found = explained(shop, "orders")
    assert (found["reason"], found["node"], found["relation"]) == ("differs", "model.shop.orders", "shop.orders")
    assert found["summary"] == "It ran because its code changed."
    assert parts(found) == ["code"]
    assert {"-  id + 1 as next", "+  id + 5 as next"} < set(found["differences"][0]["diff"])
    assert found["before"]["in_place"]
    assert (found["before"]["author"], found["before"]["branch"]) == ("ann", "main")

    leaf = explained(shop, "leaf")
    assert leaf["summary"] == (
        "It ran because shop.totals changed, because shop.orders changed, because orders's code changed."
    )
    totals = leaf["differences"][0]["because"]
    assert totals["node"] == "model.shop.totals"
    assert totals["differences"][0]["because"]["differences"][0]["diff"] == found["differences"][0]["diff"]
    assert totals["author"] == "bob"

    text = lakehouse(shop, "run", "explain", "shop.leaf")
    assert "-  id + 1 as next" in text
    assert "└─ input totals: shop.totals has other rows" in text
    # A named run, by the first digits of its id.
    before = shop.runs()[1].id
    assert explained(shop, "leaf", "--run", before[:8])["reason"] == "first"


def test_a_seed_is_followed_through_a_view(project: Shop) -> None:
    shop = project
    shop.write({"seeds/raw.csv": "id,v\n1,a\n2,c\n"})
    shop.dbt("build")
    assert explained(shop, "raw")["summary"] == "It ran because its file changed."
    found = explained(shop, "orders")
    assert (
        found["summary"] == "It ran because shop.staged changed, because shop.raw changed, because raw's file changed."
    )
    assert explained(shop, "staged")["reason"] == "differs"
    leaf = explained(shop, "leaf")
    assert (leaf["reason"], leaf["reused"]["author"]) == ("reused", found["before"]["author"])


def test_reused_nodes_name_whose_run_it_was_and_where(project: Shop) -> None:
    shop = project
    shop.outputs(bob={"branch": "dev/bob"})
    maker = shop.runs()[0].id
    shop.models(leaf="select n from {{ ref('totals') }}")
    shop.dbt("build", "--target", "bob", LAKEHOUSE_AUTHOR="bob")
    found = explained(shop, "orders", "--target", "bob")
    assert found["reason"] == "reused"
    assert (found["reused"]["run"], found["reused"]["author"], found["reused"]["branch"]) == (maker, "ann", "main")
    assert found["reused"]["seconds"] > 0
    assert explained(shop, "staged", "--ref", "dev/bob")["reason"] == "unchanged"
    assert explained(shop, "leaf", "--ref", "dev/bob")["reason"] == "differs"
    assert explained(shop, "leaf")["reason"] == "first", "on main it is as it was"
    shown = lakehouse(shop, "run", "show", shop.runs()[0].id)
    assert "4 of 5 nodes reused" in shown
    # In another schema nothing stood before: the nearest result elsewhere is compared.
    shop.outputs(carl={"branch": "dev/carl", "schema": "carl"})
    shop.models(orders="select\n  id,\n  v,\n  id + 7 as next\nfrom {{ ref('staged') }}")
    shop.dbt("build", "--target", "carl")
    near = explained(shop, "orders", "--target", "carl")
    assert (near["reason"], near["before"]["in_place"], near["before"]["author"]) == ("differs", False, "ann")
    assert [line for line in near["differences"][0]["diff"] if line[0] in "+-"] == [
        "-  id + 1 as next",
        "+  id + 7 as next",
    ]


def test_macros_configuration_and_engine(project: Shop) -> None:
    shop = project
    shop.write({"macros/m.sql": MACROS.replace("+ 1", "+ 2")})
    shop.models(leaf="{{ config(materialized='table', sort_by='n') }}\nselect n, m from {{ ref('totals') }}")
    shop.dbt("build")
    found = explained(shop, "orders")
    assert {"-  id + 1 as next", "+  id + 2 as next"} < set(found["differences"][0]["diff"])
    leaf = explained(shop, "leaf")
    assert parts(leaf) == ["sort_by", "input totals"]
    assert leaf["differences"][0]["after"] == '["n"]'
    assert "(and 1 more difference)" in leaf["summary"]
    shop.outputs(dev={"settings": "{default_null_order: nulls_first}"})
    shop.dbt("build")
    engine = explained(shop, "orders")
    assert [(one["part"], one["after"]) for one in engine["differences"]] == [
        ("engine: settings.default_null_order", "nulls_first")
    ]


def test_why_reuse_was_not_even_tried(project: Shop) -> None:
    shop = project
    shop.models(
        chance="select random() as r",
        now="select now() as t",
        stubborn="{{ config(materialized='table', reuse=false) }} select 1 as id",
        after="select count(*) as n, max(r) as r from {{ ref('chance') }}",
    )
    shop.dbt("build")
    shop.dbt("build")
    chance = explained(shop, "chance")
    assert chance["reason"] == "not_reusable"
    assert "random, which is volatile" in chance["obstacles"][0]["why"]
    assert "reuse: true" in chance["obstacles"][0]["advice"]
    assert "per: day" in explained(shop, "now")["obstacles"][0]["advice"]
    assert explained(shop, "stubborn")["reason"] == "never"
    after = explained(shop, "after")
    assert after["summary"] == "It ran because shop.chance, which runs every time, gave other rows."
    shop.dbt("build", "--select", "orders", LAKEHOUSE_REUSE="off")
    assert explained(shop, "orders")["reason"] == "off"
    shop.dbt("seed", "--full-refresh")
    assert explained(shop, "raw")["reason"] == "rebuild"


def test_failures_tests_and_tables_that_dbt_did_not_make(project: Shop) -> None:
    shop = project
    shop.write({"models/s.yml": "models: [{name: orders, columns: [{name: id, data_tests: [unique]}]}]"})
    shop.dbt("build")
    shop.models(orders="select id, id as next from {{ ref('staged') }} union all select 1, 1")
    shop.dbt("build", code=1)
    failed = shop.runs()[0].id
    assert explained(shop, "unique_orders_id", "--run", failed)["reason"] == "failed"
    assert explained(shop, "totals", "--run", failed)["reason"] == "skipped"
    shop.models(orders="select id, id + 9 as next from {{ ref('staged') }}")
    shop.dbt("build")
    test = explained(shop, "unique_orders_id")
    assert (test["reason"], parts(test)) == ("differs", ["input orders"])
    assert test["summary"] == "It ran because shop.orders changed, because orders's code changed."

    shop.write({"more.csv": "id\n1\n"})
    lakehouse(shop, "import", "shop.more", "more.csv")
    shop.models(reader="select * from lake.shop.more")
    shop.dbt("run", "--select", "reader")
    lakehouse(shop, "import", "shop.more", "more.csv", "--append")
    shop.dbt("run", "--select", "reader")
    assert explained(shop, "reader")["summary"] == "It ran because shop.more was changed from outside of dbt."
    assert explained(shop, "shop.more")["reason"] == "elsewhere"


ROLES = """
roles:
  narrow: {read: [main, 'dev/{user}'], write: ['dev/{user}'], create: ['dev/{user}'], merge: ['dev/{user}']}
"""


def test_over_a_service_one_is_told_what_one_may_read(shop: Shop) -> None:
    shop.write({"service.yml": ROLES})
    shop.models(orders="select 1 as id", leaf="select id from {{ ref('orders') }}")

    def as_user(user: str, role: str) -> None:
        shop.environment |= {"SHOP_TOKEN": process.token(user, role), "SHOP_BRANCH": f"dev/{user}"}

    with ServiceProcess(shop.root / "lake", "--config", str(shop.root / "service.yml")) as process:
        where = f'service: "{process.url}", token: "{{{{ env_var(\'SHOP_TOKEN\') }}}}", '
        branch = "branch: \"{{ env_var('SHOP_BRANCH') }}\""
        shop.write({"profiles.yml": PROFILE.replace("warehouse: ./lake", where + branch)})
        as_user("ann", "narrow")
        shop.dbt("build")
        assert explained(shop, "leaf")["reason"] == "first"
        as_user("bob", "narrow")
        shop.dbt("build")
        shop.models(orders="select 2 as id")
        shop.dbt("build")
        as_user("ann", "narrow")
        shop.dbt("build")
        reused = explained(shop, "leaf")
        assert (reused["reason"], reused["reused"]["author"], reused["reused"]["branch"]) == ("reused", "bob", None)
        assert reused["reused"]["seconds"] > 0
        assert "nothing is known" in lakehouse(shop, "run", "explain", "leaf", "--ref", "main", code=1)
        assert "dev/bob" in lakehouse(shop, "run", "explain", "leaf", "--ref", "dev/bob", code=1)
        shop.models(orders="select 3 as id")
        shop.dbt("build")
        assert explained(shop, "leaf")["reason"] in ("differs", "unknown")
        as_user("carl", "developer")
        told = explained(shop, "leaf", "--ref", "dev/ann")
        assert told["summary"] == "It ran because shop.orders changed, because orders's code changed."
        assert told["before"]["author"] == "ann"
        assert {"-select 2 as id", "+select 3 as id"} < set(told["differences"][0]["because"]["differences"][0]["diff"])


def test_bad_names(project: Shop) -> None:
    shop = project
    assert "nothing is known of 'ordres'" in lakehouse(shop, "run", "explain", "ordres", code=1)
    assert "no run 'ffffffff'" in lakehouse(shop, "run", "explain", "orders", "--run", "ffffffff", code=1)
    shop.dbt("run", "--select", "leaf", "--full-refresh", LAKEHOUSE_REUSE="off")
    last = shop.runs()[0].id
    assert "had nothing to do with 'orders'" in lakehouse(shop, "run", "explain", "orders", "--run", last, code=1)
