"""With real dbt: functions of a project, called wherever its SQL runs, and part of what decides what is run again."""

from __future__ import annotations

import json

import pytest
from dbt_shop import Shop

FUNCTIONS_YML = """
functions:
  - name: with_tax
    description: A price with tax
    arguments: [{name: price, data_type: double}, {name: rate, data_type: double, default_value: 0.5}]
    returns: {data_type: double}
  - name: best
    arguments: [{name: k, data_type: integer}]
    returns: {data_type: double}
  - name: shout
    config: {runtime_version: "%d.%d", entry_point: shout}
    arguments: [{name: text, data_type: varchar}]
    returns: {data_type: varchar}
"""
MODELS_YML = """
models:
  - name: priced
    columns:
      - name: id
        data_tests: [not_null]
unit_tests:
  - name: taxed
    model: priced
    given: [{input: ref('raw'), rows: [{id: 1, v: a, price: 10}]}]
    expect: {rows: [{id: 1, total: 15.0}]}
"""


def reused(shop: Shop) -> set[str]:
    read = json.loads(shop.read("target/run_results.json"))["results"]
    return {r["unique_id"].split(".")[2] for r in read if r["adapter_response"].get("code") == "REUSED"}


@pytest.fixture
def project(shop: Shop) -> Shop:
    import sys

    shop.write(
        {
            "seeds/raw.csv": "id,v,price\n1,a,10\n2,b,20\n",
            "functions/with_tax.sql": "SELECT price * (1 + rate)",
            "functions/best.sql": "SELECT max({{ function('with_tax') }}(price)) FROM {{ ref('raw') }} WHERE id = k",
            "functions/shout.py": "\n\ndef shout(text):\n    return text.upper() + '!'\n",
            "functions/functions.yml": FUNCTIONS_YML % sys.version_info[:2],
            "models/models.yml": MODELS_YML,
            "snapshots/kept.sql": (
                "{% snapshot kept %}{{ config(unique_key='id', strategy='check', check_cols='all') }}"
                "select id, {{ function('shout') }}(v) as v from {{ ref('raw') }}{% endsnapshot %}"
            ),
            "tests/no_small_price.sql": "select * from {{ ref('priced') }} where {{ function('with_tax') }}(total) < 1",
        }
    )
    shop.models(
        seen="{{ config(materialized='view') }} select {{ function('shout') }}(v) as loud from {{ ref('raw') }}",
        priced="select id, {{ function('with_tax') }}(price) as total from {{ ref('raw') }}",
        bests="select id, {{ function('best') }}(id) as best from {{ ref('raw') }}",
        added=(
            "{{ config(materialized='incremental', unique_key='id', "
            "post_hook='update {{ this }} set v = {{ function(\"shout\") }}(v) where id = 2') }} "
            "select id, v from {{ ref('raw') }}"
        ),
        leaf="select loud from {{ ref('seen') }}",
        part="{{ config(materialized='ephemeral') }} select {{ function('with_tax') }}(2) as y",
        whole="select y from {{ ref('part') }}",
    )
    return shop


def test_functions_are_called_from_every_kind_of_node_and_unchanged_ones_make_nothing_anew(project: Shop) -> None:
    shop = project
    shop.dbt("build")
    assert reused(shop) == set()
    tables = shop.tables()
    assert tables["shop.priced"] == [(1, 15.0), (2, 30.0)]
    assert tables["shop.bests"] == [(1, 15.0), (2, 30.0)]
    assert tables["shop.leaf"] == [("A!",), ("B!",)]
    assert tables["shop.whole"] == [(3.0,)]
    assert sorted(tables["shop.added"]) == [(1, "a"), (2, "B!")]
    assert {row[1] for row in tables["shop.kept"]} == {"A!", "B!"}

    head = shop.head()
    shop.dbt("build", "--exclude", "added", "kept")
    assert {"with_tax", "best", "shout", "priced", "bests", "leaf", "seen", "raw"} <= reused(shop)
    assert shop.head() == head

    shop.write({"functions/with_tax.sql": "SELECT price * (2 + rate)"})
    shop.write({"models/models.yml": MODELS_YML.replace("15.0", "25.0")})
    shop.dbt("build", "--exclude", "added", "kept")
    assert reused(shop) == {"raw", "shout", "seen", "leaf"}
    assert shop.tables()["shop.bests"] == [(1, 25.0), (2, 50.0)]

    # What only uses a function that stands there is looked at, and known, without it.
    said = shop.dbt("build", "--select", "priced")
    assert "priced" in reused(shop)
    shop.write({"models/broken.sql": "select {{ function('with_tax') }}('x', 1, 2) as y"})
    said = shop.dbt("build", "--select", "broken", code=None)
    assert "Pre-flight found" in said.output
    assert "Candidate macros" in said.output


def test_other_commands_know_functions(project: Shop) -> None:
    shop = project
    shop.dbt("build", "--select", "raw", "resource_type:function", "--exclude", "resource_type:test")
    assert (
        "function.shop.with_tax" in shop.dbt("--quiet", "ls", "--resource-type", "function", "--output", "json").output
    )
    shown = shop.dbt("show", "--inline", "select {{ function('with_tax') }}(2, rate := 1) as x, shop.shout('a') as y")
    assert "| 4 |" in shown.output.replace("4.0", "4")
    assert "A!" in shown.output
    shop.dbt(
        "build", "--empty", "--select", "priced", "seen", "--exclude", "resource_type:test", "resource_type:unit_test"
    )
    assert shop.tables()["shop.seen"] == []
    shop.dbt("docs", "generate")
    catalog = json.loads(shop.read("target/catalog.json"))
    assert "model.shop.seen" in catalog["nodes"]
    assert catalog["errors"] is None


def test_calls_by_hand_wait_for_the_function(shop: Shop) -> None:
    """dbt knows nothing of these: without an order, their results would be those of the function that was there before."""
    shop.write(
        {
            "functions/with_tax.sql": "SELECT price * 2",
            "functions/functions.yml": (
                "functions: [{name: with_tax, arguments: [{name: price, data_type: double}], returns: {data_type: double}}]"
            ),
            "models/models.yml": (
                "models: [{name: small, config: {contract: {enforced: true}}, columns: [{name: x, data_type: integer}], "
                "constraints: [{type: check, expression: 'shop.with_tax(x) < 100'}]}, "
                "{name: by_hand, data_tests: [{holds: {expression: 'shop.with_tax(1) < 3'}}]}]"
            ),
            "macros/holds.sql": (
                "{% test holds(model, expression) %}select * from {{ model }} where not ({{ expression }}){% endtest %}"
            ),
            "macros/doubled.sql": "{% macro doubled(x) %}with_tax({{ x }}){% endmacro %}",
            "models/in_python.py": (
                "def model(dbt, session):\n"
                "    dbt.config(materialized='table')\n"
                "    return session.sql('select 5 as x').project('with_tax(x) as y')\n"
            ),
        }
    )
    shop.models(
        by_hand="select With_Tax(1) as y",
        in_full='select "lake".shop."with_tax"(2) as y',
        part="{{ config(materialized='ephemeral') }} select with_tax(3) as y",
        whole="select y from {{ ref('part') }}",
        in_macro="select {{ doubled(4) }} as y",
        small="select 3 as x",
    )
    for times in (2.0, 2.5):
        shop.write({"functions/with_tax.sql": f"SELECT price * {times}"})
        shop.dbt("build")
        tables = shop.tables()
        assert tables["shop.by_hand"] == [(1 * times,)]
        assert tables["shop.in_full"] == [(2 * times,)]
        assert tables["shop.whole"] == [(3 * times,)]
        assert tables["shop.in_macro"] == [(4 * times,)]
        assert tables["shop.in_python"] == [(5 * times,)]
    shop.write({"functions/with_tax.sql": "SELECT price * 50"})
    said = shop.dbt("build", code=1).output
    assert "CHECK constraint failed" in said
    assert "Failure in test holds_by_hand" in said
    assert shop.tables()["shop.by_hand"] == [(2.5,)]
