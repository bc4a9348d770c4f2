"""With real dbt: tables that change row by row settle, and are known again elsewhere by what is in them."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from dbt_shop import Shop

from dbt.adapters.lakehouse.catalog.model import Key, identity

INCREMENTAL = {
    "append": "{{ config(materialized='incremental', incremental_strategy='append') }} select id, v, seen from {{ ref('raw') }}"
    "{% if is_incremental() %} where seen > (select max(seen) from {{ this }}) {% endif %}",
    "deleted": "{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='id') }} "
    "select id, v, seen from {{ ref('raw') }}",
    "merged": "{{ config(materialized='incremental', incremental_strategy='merge', unique_key='id') }} "
    "select id, v, seen from {{ ref('raw') }}",
    "overwritten": "{{ config(materialized='incremental', incremental_strategy='insert_overwrite', partition_by='v') }} "
    "select id, v, seen from {{ ref('raw') }}",
    "hooked": "{{ config(materialized='table', post_hook=\"delete from {{ this }} where id = 1; "
    "update {{ this }} set v = 'z' where id = 2\") }} select * from {{ ref('raw') }}",
}
PYTHON = """
def model(dbt, session):
    dbt.config(materialized='incremental', unique_key='id')
    return dbt.ref('raw')
"""
SNAPSHOTS = {
    "s1": "strategy='timestamp', updated_at='seen'",
    "s2": "strategy='timestamp', updated_at='seen', hard_deletes='invalidate'",
    "s3": "strategy='timestamp', updated_at='seen', hard_deletes='new_record'",
    "s4": "strategy='check', check_cols='all'",
    "s5": "strategy='check', check_cols=['v'], hard_deletes='invalidate'",
    "s6": "strategy='check', check_cols=['v'], hard_deletes='new_record', dbt_valid_to_current=\"date '9999-12-31'\"",
}
SNAPSHOT = (
    "{{% snapshot {} %}}{{{{ config(unique_key='id', {}) }}}} "
    "select id, v, seen from {{{{ ref('raw') }}}} {{% endsnapshot %}}"
)
RAW = "id,v,seen\n1,a,2024-01-01\n2,b,2024-01-02\n"


def reused(shop: Shop) -> set[str]:
    read = json.loads(shop.read("target/run_results.json"))["results"]
    return {result["unique_id"].split(".")[2] for result in read if result["adapter_response"].get("code") == "REUSED"}


def contents(shop: Shop, names: Iterable[str], branch: str = "main") -> dict[str, str]:
    """What is in tables, as their identities have it."""
    with shop.lake() as lake:
        entries = lake.catalog.entries(lake.catalog.resolve(branch).id)
        return {name: identity(entries[Key("shop", name)]) for name in names}


@pytest.fixture
def raw(shop: Shop) -> Shop:
    shop.write({"seeds/raw.csv": RAW})
    shop.outputs(other={"branch": "other"}, plain={"reuse": "off", "branch": "plain"})
    return shop


def test_tables_that_change_row_by_row_settle(raw: Shop) -> None:
    shop = raw
    children = {f"of_{name}": f"select count(*) as n from {{{{ ref('{name}') }}}}" for name in (*INCREMENTAL, "python")}
    shop.models(**INCREMENTAL, **children)
    shop.write({"models/python.py": PYTHON})
    everything = {"raw", "python", *INCREMENTAL, *children}
    shop.dbt("build")
    shop.dbt("build")
    assert reused(shop) >= {"raw", "hooked", *children}, "the increments changed nothing"
    shop.dbt("build")
    assert reused(shop) == everything
    tables = shop.tables()
    shop.dbt("build", "--target", "plain")
    shop.dbt("build", "--target", "other")
    assert reused(shop) == everything
    assert tables == shop.tables() == shop.tables("plain") == shop.tables("other")

    # Each branch changes the same rows for itself. What it gets is the same, and known to be.
    shop.write({"seeds/raw.csv": "id,v,seen\n1,a,2024-01-01\n2,c,2024-01-02\n3,d,2024-01-03\n"})
    shop.dbt("build")
    assert reused(shop) == set()
    shop.dbt("build", "--target", "plain")
    tables = shop.tables()
    assert tables == shop.tables("plain")
    assert tables["shop.hooked"][0][1] == "z"
    names = [*INCREMENTAL, "python", *children]
    assert contents(shop, names) == contents(shop, names, "plain")
    shop.dbt("build", "--target", "other")
    assert reused(shop) == everything
    assert tables == shop.tables("other")


def test_snapshots_settle_and_see_each_change(raw: Shop) -> None:
    shop = raw
    shop.write({f"snapshots/{name}.sql": SNAPSHOT.format(name, how) for name, how in SNAPSHOTS.items()})
    shop.models(child=" union all ".join(f"select count(*) as n from {{{{ ref('{name}') }}}}" for name in SNAPSHOTS))
    for _ in range(3):
        shop.dbt("build")
    assert reused(shop) == {"raw", "child", *SNAPSHOTS}
    before = shop.tables()
    shop.dbt("build", "--target", "other")
    assert reused(shop) == {"raw", "child", *SNAPSHOTS}
    assert before == shop.tables() == shop.tables("other")

    shop.write({"seeds/raw.csv": "id,v,seen\n1,a,2024-01-01\n2,c,2024-01-03\n"})
    shop.dbt("build")
    assert reused(shop) == set()
    for name in SNAPSHOTS:
        current = shop.rows(f"select v from {name} where dbt_valid_to is null or dbt_valid_to > '9000-01-01'")
        assert (name, current) == (name, [("a",), ("c",)])
        assert len(shop.rows(f"select * from {name}")) == 3
    # When a row changed is another time in another branch, where the strategy asks the clock for it.
    shop.dbt("build", "--target", "other")
    assert reused(shop) & {"s4", "s5", "s6"} == set()
    times = [shop.rows("select dbt_valid_from from s4 where v = 'c'", branch) for branch in ("main", "other")]
    assert times[0] != times[1]

    for _ in range(2):
        shop.dbt("build")
    assert reused(shop) == {"raw", "child", *SNAPSHOTS}
    shop.write({"seeds/raw.csv": "id,v,seen\n1,a,2024-01-01\n"})
    shop.dbt("build")
    assert reused(shop) == set()
    for name, how in SNAPSHOTS.items():
        ended = [str(row[0]) for row in shop.rows(f"select dbt_valid_to from {name} where v = 'c'")]
        assert any(time != "None" and "9999" not in time for time in ended) == ("hard_deletes" in how)


def test_snapshots_whose_changes_depend_on_more_run_each_time(raw: Shop) -> None:
    shop = raw
    config = "strategy='check', check_cols=['seen']"
    late = SNAPSHOT.format("late", config).replace("{% endsnapshot", "where now() > '2000-01-01' {% endsnapshot")
    chance = SNAPSHOT.format("chance", config).replace("select id, v,", "select id, v || random() as v,")
    shop.write({"snapshots/late.sql": late, "snapshots/chance.sql": chance})
    shop.write({"snapshots/kept.sql": SNAPSHOT.format("kept", config)})
    for _ in range(3):
        shop.dbt("build")
    assert reused(shop) == {"raw", "kept"}
    # Of macros of the project's own nobody knows where they ask for the time.
    shop.write(
        {
            "macros/own.sql": "{% macro snapshot_check_strategy(node, a, b, config, exists) %}{% do return({'unique_key': 'id', "
            "'updated_at': 'now()', 'row_changed': '1 = 2', 'scd_id': 'md5(now()::text)', 'invalidate_hard_deletes': "
            "false, 'hard_deletes': 'ignore'}) %}{% endmacro %}",
        }
    )
    for _ in range(2):
        shop.dbt("build")
    assert reused(shop) == {"raw"}


def test_declared_files_are_inputs(shop: Shop) -> None:
    config = "{{ config(materialized='table', reuse={'files': 'data/*.csv'}) }}"
    shop.write({"data/a.csv": "x\n1\n", "data/b.csv": "x\n2\n"})
    shop.models(read=f"{config} select sum(x) as s from read_csv('data/*.csv')", other="select x from 'data/a.csv'")
    shop.dbt("build")
    shop.dbt("build")
    assert reused(shop) == {"read"}
    shop.write({"data/b.csv": "x\n3\n"})
    shop.dbt("build")
    assert reused(shop) == set()
    assert shop.rows("select s from read") == [(4,)]
    shop.models(read=f"{config.replace('data/*.csv', '')} select 1 as s")
    assert "files are paths or patterns" in shop.dbt("build", code=1).output


UNIT_TEST = """
unit_tests:
  - name: doubled
    model: twice
    given: [{input: ref('raw'), rows: [{id: 1, v: a}, {id: 2, v: b}]}]
    expect: {rows: [{id: 2, day: 2024-01-01}, {id: 4, day: 2024-01-01}]}
"""


def test_unit_tests_that_passed_are_not_run_again(raw: Shop) -> None:
    shop = raw
    shop.write({"models/unit.yml": UNIT_TEST})
    shop.models(twice="select id * 2 as id, date '2024-01-01' as day from {{ ref('raw') }}")
    shop.dbt("build")
    assert reused(shop) == set()
    shop.dbt("build")
    assert reused(shop) == {"raw", "twice"}
    shop.write({"models/unit.yml": UNIT_TEST.replace("id: 4", "id: 5")})
    for _ in range(2):
        assert "differs from" in shop.dbt("build", code=1).output


OWN = """
{% materialization swapped, default %}
  {%- set relation = this.incorporate(type='table') -%}
  {%- set made = api.Relation.create(database=this.database, schema=this.schema, identifier=this.identifier ~ '__new') -%}
  {% call statement('main') %} create or replace table {{ made }} as {{ sql }} {% endcall %}
  {% do adapter.drop_relation(relation) %}
  {% do adapter.rename_relation(made, relation) %}
  {{ return({'relations': [relation]}) }}
{% endmaterialization %}
"""


def test_what_materializations_of_a_project_create_is_reused(raw: Shop) -> None:
    shop = raw
    shop.write({"macros/swapped.sql": OWN})
    shop.models(
        own="{{ config(materialized='swapped') }} select id, v from {{ ref('raw') }}",
        late="{{ config(materialized='swapped') }} select now() as t",
        never="{{ config(materialized='swapped', reuse=false) }} select 1 as x",
        child="select count(*) as n from {{ ref('own') }}",
    )
    shop.dbt("build")
    shop.dbt("build")
    assert reused(shop) == {"raw", "own", "child"}
    shop.write({"seeds/raw.csv": RAW + "3,c,2024-01-03\n"})
    shop.dbt("build")
    assert reused(shop) == set()
    assert (shop.rows("select n from child"), len(shop.rows("select * from own"))) == ([(3,)], 3)
    assert not [name for name in shop.tables() if name.endswith("__new")]
    shop.dbt("build", LAKEHOUSE_REUSE="off")
    assert reused(shop) == set()
