"""``grants`` of dbt on a lake without a service: recorded with the branch, noted once, and applied where something differs."""

from __future__ import annotations

from dbt_shop import Shop

GRANTS = "grants={'select': ['ann', 'analysts']}"
NOTE = "grants are recorded in the lake"


def test_grants_of_every_kind_are_recorded_once(shop: Shop) -> None:
    read = "select * from {{ ref('numbers') }}"
    shop.models(
        **{f"a_{kind}": f"{{{{ config(materialized='{kind}', {GRANTS}) }}}} {read}" for kind in ("table", "view")}
    )
    shop.write(
        {
            "seeds/numbers.csv": "id,n\n1,10\n",
            "seeds/s.yml": "seeds: [{name: numbers, config: {grants: {select: ann}}}]",
            "snapshots/kept.sql": "{% snapshot kept %}{{ config(unique_key='id', strategy='check', check_cols='all', "
            f"{GRANTS}) }}}} {read}{{% endsnapshot %}}",
        }
    )
    assert shop.dbt("build").output.count(NOTE) == 1
    for name in ("a_table", "a_view", "kept"):
        assert shop.rows(f"show grants on shop.{name}") == [("analysts", "select"), ("ann", "select")]
    assert shop.rows("show grants on shop.numbers") == [("ann", "select")]
    head = shop.head()
    shop.dbt("build", "--select", "a_table", "a_view", "numbers")
    assert shop.head() == head  # what is granted already is not granted again
    shop.models(a_table=f"{{{{ config(materialized='table', grants={{'select': ['bob']}}) }}}} {read}")
    shop.dbt("run", "--select", "a_table")
    assert shop.rows("show grants on shop.a_table") == [("bob", "select")]
    shop.write(
        {"macros/wrong.sql": "{% macro wrong() %}{% do run_query('grant look on shop.a_table to x') %}{% endmacro %}"}
    )
    outcome = shop.dbt("run-operation", "wrong", code=1)
    assert "unrecognized privilege 'look'" in outcome.output
    assert "Traceback" not in outcome.output
