"""With real dbt: ``dbt clone`` gives tables a second name, whatever they are, and what stands at another ref, too."""

from __future__ import annotations

import json

from dbt_shop import Shop

from dbt.adapters.lakehouse.catalog.model import Entry, RefKind, TableEntry, kind_of

GROWING = """{{ config(materialized='incremental', unique_key='id') }}
select * from {{ ref('raw') }} {% if is_incremental() %} where id > (select max(id) from {{ this }}) {% endif %}"""
SNAPSHOT = """snapshots:
  - name: kept
    relation: ref('raw')
    config: {unique_key: id, strategy: check, check_cols: all}
"""


def project(shop: Shop) -> None:
    """A project with one of each, built, and its state kept."""
    shop.write({"seeds/raw.csv": "id,v\n1,a\n2,b\n", "snapshots/kept.yml": SNAPSHOT})
    shop.models(
        growing=GROWING,
        named="{{ config(materialized='table', alias='called', schema='more') }} select count(*) as n from {{ ref('raw') }}",
        seen="{{ config(materialized='view') }} select id from {{ ref('growing') }}",
        totals="{{ config(materialized='materialized_view') }} select count(*) as n from {{ ref('growing') }}",
    )
    shop.outputs(mine={"schema": "mine"})
    shop.dbt("build")
    (shop.root / "target").rename(shop.root / "state")


def entries(shop: Shop, ref: str = "main") -> dict[str, Entry]:
    with shop.lake() as lake:
        found = lake.catalog.entries(lake.catalog.resolve(ref).id)
    return {str(key): entry for key, entry in found.items() if key.name}


def messages(shop: Shop) -> dict[str, str]:
    results = json.loads(shop.read("target/run_results.json"))["results"]
    return {one["unique_id"].split(".")[2]: one["message"] for one in results}


def test_one_of_each_is_cloned_and_then_lives_by_itself(shop: Shop) -> None:
    project(shop)
    files = sorted((shop.root / "lake").rglob("*.*"))
    shop.dbt("clone", "--target", "mine", "--state", "state")
    assert [file for file in sorted((shop.root / "lake").rglob("*.*")) if file not in files] == [], "nothing is copied"
    before = entries(shop)
    kinds = {name: kind_of(entry) for name, entry in before.items() if name.startswith("mine")}
    assert kinds == {
        "mine.raw": "table",
        "mine.kept": "table",
        "mine.growing": "table",
        "mine.seen": "view",
        "mine.totals": "materialized_view",
        "mine_more.called": "table",
    }
    for name in ("raw", "kept", "growing", "totals"):
        clone, source = before[f"mine.{name}"], before[f"shop.{name}"]
        assert isinstance(clone, TableEntry)
        assert isinstance(source, TableEntry)
        assert clone.metadata_location == source.metadata_location
    shop.dbt("clone", "--target", "mine", "--state", "state")
    assert set(messages(shop).values()) == {"No-op"}
    shop.write({"seeds/raw.csv": "id,v\n1,a\n2,b\n3,c\n"})
    shop.dbt("build", "--target", "mine")
    assert "MERGE" in messages(shop)["growing"] or "1" in messages(shop)["growing"], "on top of the clone"
    after = entries(shop)
    assert {name: one for name, one in after.items() if name.startswith("shop")} == {
        name: one for name, one in before.items() if name.startswith("shop")
    }
    assert shop.rows("select * from mine.growing") == [(1, "a"), (2, "b"), (3, "c")]
    assert shop.rows("select n from mine.totals") == [(3,)]
    shop.dbt("clone", "--target", "mine", "--state", "state", "--full-refresh", "--select", "growing", "totals")
    again = entries(shop)
    assert again["mine.growing"] == before["mine.growing"]
    assert again["mine.totals"] == before["mine.totals"]


def test_what_stands_on_another_branch_is_cloned_from_there(shop: Shop) -> None:
    shop.write(
        {
            "functions/rate.sql": "SELECT x * 10",
            "functions/functions.yml": (
                "functions: [{name: rate, arguments: [{name: x, data_type: bigint}], returns: {data_type: bigint}}]"
            ),
        }
    )
    project(shop)
    with shop.lake() as lake:
        lake.catalog.create_ref("dev", RefKind.BRANCH, "main")
    shop.on_main("insert into shop.raw values (3, 'c')")
    shop.dbt("run")
    clone = ("clone", "--state", "state", "--full-refresh")
    shop.dbt(*clone, LAKEHOUSE_BRANCH="dev")
    assert entries(shop, "dev")["shop.raw"] != entries(shop)["shop.raw"], "there, the state's relations are its own"
    shop.dbt(*clone, LAKEHOUSE_BRANCH="dev", LAKEHOUSE_STATE_REF="main")
    assert entries(shop, "dev") == entries(shop), "views included: what they read is theirs"
    shop.dbt(*clone, "--target", "mine", LAKEHOUSE_STATE_REF="main", LAKEHOUSE_BRANCH="dev")
    assert shop.rows("select id from mine.seen", "dev") == [(1,), (2,), (3,)]
    shop.models(leaf="select {{ function('rate') }}(count(*)) as n from {{ ref('growing') }}")
    shop.on_main("insert into shop.growing values (4, 'd')")
    shop.write({"functions/rate.sql": "SELECT x * 100"})
    shop.dbt("build", "--select", "rate")
    deferred = ("run", "--select", "leaf", "--defer", "--favor-state", "--state", "state")
    shop.dbt(*deferred, LAKEHOUSE_BRANCH="dev")
    assert shop.rows("select n from leaf", "dev") == [(30,)]
    shop.dbt(*deferred, LAKEHOUSE_BRANCH="dev", LAKEHOUSE_STATE_REF="main")
    assert shop.rows("select n from leaf", "dev") == [(400,)]


def test_what_cannot_be_cloned_says_why(shop: Shop) -> None:
    project(shop)
    (shop.root / "lake").rename(shop.root / "elsewhere")
    outcome = shop.dbt("clone", "--target", "mine", "--state", "state", "--select", "growing", code=1)
    assert "does not stand on branch 'main'" in outcome.output
    assert "LAKEHOUSE_STATE_REF" in outcome.output
    manifest = (shop.root / "state/manifest.json").read_text().replace('"database": "lake"', '"database": "warehouse"')
    (shop.root / "state/manifest.json").write_text(manifest)
    outcome = shop.dbt("clone", "--target", "mine", "--state", "state", "--select", "growing", code=1)
    assert "is not of this lake, which is called 'lake'" in outcome.output
