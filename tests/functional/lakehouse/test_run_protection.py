"""What dbt's users meet of the guards: owners, columns, protected branches, serializable runs."""

from __future__ import annotations

from dbt_shop import Shop

SLOW = "select count(*) as n from range(30000) a(i), range(20000) b(j), {{ ref('first') }} where i + j < 0"


def protect(shop: Shop, branch: str = "main") -> None:
    with shop.lake() as lake:
        lake.catalog.protect(branch, True)


def test_a_table_of_another_model_is_overwritten_on_demand_alone(shop: Shop) -> None:
    shop.models(orders="select 1 as id")
    shop.dbt("run")
    head = shop.head()
    (shop.root / "models" / "orders.sql").unlink()
    other = "{{ config(materialized='table', alias='orders'%s) }} select 2 as id"
    shop.models(other=other % "")
    outcome = shop.dbt("run", code=2)
    assert "shop.orders: model.shop.orders wrote it, model.shop.other would overwrite it" in outcome.output
    assert "`+allow_takeover: true`" in outcome.output
    assert (shop.head(), shop.tables()) == (head, {"shop.orders": [(1,)]})
    shop.models(other=other % ", allow_takeover=true")
    shop.dbt("run")
    assert shop.tables() == {"shop.orders": [(2,)]}
    assert shop.log()[0].provenance["allowed"][0]["guard"] == "owner"


def test_columns_stay_on_a_protected_branch(shop: Shop) -> None:
    shop.models(orders="select 1 as id, 'x' as name")
    shop.dbt("run")
    protect(shop)
    head = shop.head()
    shop.models(orders="select 'a' as id, 5 as more")
    outcome = shop.dbt("run", "--full-refresh", code=2)
    assert "column 'id' would become VARCHAR (it is INTEGER) and column 'name' would go" in outcome.output
    assert "LAKEHOUSE_ALLOW=schema" in outcome.output
    assert shop.head() == head
    shop.dbt("run", LAKEHOUSE_ALLOW="schema")
    assert shop.tables() == {"shop.orders": [("a", 5)]}


def test_each_node_on_a_protected_branch_fails_before_the_first(shop: Shop) -> None:
    shop.outputs(live={"publish": "each_node"})
    shop.models(a="select 1 as id")
    protect(shop)
    head = shop.head()
    outcome = shop.dbt("run", "--target", "live", code=2)
    assert "branch 'main' is protected and changes by merges alone, but with publish: each_node" in outcome.output
    assert "1 of 1" not in outcome.output
    assert shop.head() == head
    assert "1" in shop.dbt("show", "--select", "a", "--target", "live").output


def test_a_serializable_run_does_not_publish_over_what_it_read(shop: Shop) -> None:
    shop.outputs(strict={"isolation": "serializable", "threads": "1"})
    shop.models(first="select 1 as id", slow=SLOW)
    shop.dbt("run", "--select", "first")
    with shop.start("run", "--target", "strict", "--select", "slow") as slow:
        slow.until(lambda: any(name.startswith("run/") for name in shop.branches()))
        shop.on_main("update shop.first set id = 2")
        head = shop.head()
        outcome = slow.wait()
    assert outcome.code == 2, outcome.output
    assert "shop.first, which it read, changed (isolation: serializable)" in outcome.output
    assert head[:8] in outcome.output
    assert (shop.head(), shop.tables()) == (head, {"shop.first": [(2,)]})
