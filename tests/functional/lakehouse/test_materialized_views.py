"""With real dbt: materialized views are kept fresh by reuse, and what is configured decides whether they are replaced."""

from __future__ import annotations

import json

from dbt_shop import Shop

from dbt.adapters.lakehouse.catalog.model import Key, Materialized, TableEntry, kind_of

VIEW = (
    "{{ config(materialized='materialized_view') }} select v, count(*) as n from {{ ref('raw') }} group by v order by v"
)


def reused(shop: Shop) -> set[str]:
    """The nodes of the last command that were not run."""
    results = json.loads(shop.read("target/run_results.json"))["results"]
    return {one["unique_id"].split(".")[2] for one in results if one["adapter_response"].get("code") == "REUSED"}


def entry(shop: Shop, name: str = "totals", ref: str = "main") -> TableEntry:
    with shop.lake() as lake:
        key = Key("shop", name)
        found = lake.catalog.lookup(lake.catalog.resolve(ref).id, [key])[key]
    assert isinstance(found, TableEntry)
    return found


def kept(table: TableEntry) -> Materialized:
    assert table.view is not None
    return table.view


def test_only_what_it_reads_and_what_it_says_build_it_anew(shop: Shop) -> None:
    shop.write({"seeds/raw.csv": "id,v\n1,a\n2,b\n"})
    shop.models(totals=VIEW, doubled="select v, n * 2 as n from {{ ref('totals') }}")
    shop.dbt("build")
    assert kind_of(entry(shop)) == "materialized_view"
    shop.dbt("run")
    assert reused(shop) == {"totals", "doubled"}
    shop.on_main("insert into shop.raw values (3, 'b')")
    assert shop.rows("select * from totals") == [("a", 1), ("b", 1)], "as the last run left it"
    with shop.lake() as lake:
        assert [one.key for one in lake.versions.stale("main")] == [Key("shop", "doubled"), Key("shop", "totals")]
    shop.dbt("run")
    assert reused(shop) == set()
    assert shop.rows("select * from doubled") == [("a", 2), ("b", 4)]
    before = entry(shop)
    shop.models(totals=VIEW.replace("select", "/* why */ SELECT"))
    shop.dbt("run")
    assert reused(shop) == {"totals", "doubled"}
    assert entry(shop).metadata_location == before.metadata_location
    assert "/* why */" in kept(entry(shop)).sql
    shop.models(totals=VIEW.replace("materialized_view'", "table'"))
    shop.dbt("run")
    assert reused(shop) == {"totals", "doubled"}, "a table of the same rows"
    assert kind_of(entry(shop)) == "table"
    shop.models(totals=VIEW.replace("count(*)", "count(*) + 1").replace("view'", "view', auto_refresh=true"))
    outcome = shop.dbt("run")
    assert reused(shop) == set()
    assert "auto_refresh has no effect" in outcome.output
    shop.write({"seeds/totals.csv": "v,n\na,1\n"})
    (shop.root / "models/totals.sql").unlink()
    (shop.root / "models/doubled.sql").unlink()
    outcome = shop.dbt("seed", "--select", "totals", code=1)
    assert "Cannot seed to" in outcome.output


def test_what_was_built_elsewhere_does_not_decide_here(shop: Shop) -> None:
    """A result that another branch has is not put in place where `on_configuration_change` says no."""
    shop.write({"seeds/raw.csv": "id,v\n1,a\n2,b\n"})
    shop.models(totals=VIEW)
    shop.dbt("build")
    fails = VIEW.replace("view'", "view', sort_by='n desc', on_configuration_change='fail'")
    shop.models(totals=fails)
    shop.dbt("build", "--full-refresh", LAKEHOUSE_BRANCH="other")
    shop.dbt("build", LAKEHOUSE_BRANCH="other")
    assert "totals" in reused(shop)
    outcome = shop.dbt("run", code=1)
    assert "`on_configuration_change` was set to `fail`" in outcome.output
    assert "sort_by" in outcome.output
    shop.models(totals=fails.replace("'fail'", "'continue'"))
    outcome = shop.dbt("run")
    assert "`on_configuration_change` was set to `continue`" in outcome.output
    assert kept(entry(shop)).sort_by == ()
    shop.models(totals=fails.replace("'fail'", "'apply'"))
    shop.dbt("run")
    assert kept(entry(shop)).sort_by == ("n desc",)
    assert entry(shop).metadata_location == entry(shop, ref="other").metadata_location, "what the other branch has"
