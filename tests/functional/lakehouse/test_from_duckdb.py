"""A project written for dbt-duckdb runs here by changing ``profiles.yml`` alone, and gives the same tables."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.profile import lake_settings

DUCKDB = "shop:\n  target: dev\n  outputs:\n    dev: {type: duckdb, path: shop.duckdb, threads: 2}\n"
LAKEHOUSE = (
    "shop:\n  target: dev\n  outputs:\n    dev: {type: lakehouse, warehouse: ./lake, schema: main, threads: 2}\n"
)

FILES = {
    "dbt_project.yml": """
name: shop
version: "1.0"
profile: shop
models:
  shop:
    +materialized: table
    staging: {+materialized: view}
seeds:
  shop:
    raw_orders: {+column_types: {total: "decimal(10, 2)"}}
""",
    "seeds/raw_people.csv": "id,name,born\n1,Ada,1815-12-10\n2,Grace,1906-12-09\n3,Edsger,1930-05-11\n4,,\n",
    "seeds/raw_orders.csv": "id,person,at,total,tags\n"
    + "".join(
        f'{i},{i % 4 + 1},2024-01-{i % 28 + 1:02d} 10:{i % 60:02d}:00,{i * 1.25},"a;{i % 3}"\n' for i in range(200)
    ),
    "macros/cents.sql": "{% macro cents(column) %}({{ column }} * 100)::bigint{% endmacro %}",
    "models/staging/stg_people.sql": "select id as person_id, name, born from {{ ref('raw_people') }}",
    "models/staging/stg_orders.sql": """
        select id as order_id, person as person_id, "at" as ordered_at, {{ cents('total') }} as cents,
               string_split(tags, ';') as tags
        from {{ ref('raw_orders') }}
    """,
    "models/recent.sql": "{{ config(materialized='ephemeral') }} select * from {{ ref('stg_orders') }} where order_id > 50",
    "models/totals.sql": """
        select p.name, count(*) as orders, sum(o.cents) as cents, avg(o.cents) as mean_cents,
               max(o.ordered_at) as last_order, list(o.order_id order by o.order_id) as ids,
               {'first': min(o.order_id), 'tags': first(o.tags order by o.order_id)} as details
        from {{ ref('recent') }} o join {{ ref('stg_people') }} p using (person_id)
        group by all
    """,
    "models/daily.sql": """
        {{ config(materialized='incremental', unique_key='day') }}
        select ordered_at::date as day, sum(cents) as cents, count(*) as orders from {{ ref('stg_orders') }}
        {% if is_incremental() %} where ordered_at::date >= (select max(day) - 5 from {{ this }}) {% endif %}
        group by 1
    """,
    "models/merged.sql": """
        {{ config(materialized='incremental', incremental_strategy='merge', unique_key='person_id',
                  merge_update_columns=['cents']) }}
        select person_id, sum(cents) as cents, count(*) as n from {{ ref('stg_orders') }} group by 1
    """,
    "models/pivoted.sql": "from (pivot {{ ref('stg_orders') }} on (order_id % 3) using count(*) group by person_id)",
    "models/types.sql": """
        select 1::tinyint as a, 2::ubigint as b, sum(range) as c, interval 3 days as d, [1, 2]::integer[2] as e,
               '{"x": 1}'::json as f, 'b'::enum('b', 'a') as g, timestamptz '2024-01-01 00:00:00+00' as h,
               map {'k': 1.5} as i, '101'::bit as j, null as k, uuid '00000000-0000-0000-0000-000000000001' as l
        from range(10)
    """,
    "models/ranked.py": """
def model(dbt, session):
    frame = dbt.ref("totals").df()
    frame["rank"] = frame["cents"].rank(ascending=False).astype(int)
    return frame[["name", "rank"]]
""",
    "models/schema.yml": """
version: 2
models:
  - name: totals
    columns:
      - {name: name, data_tests: [unique]}
      - {name: orders, data_tests: [not_null]}
  - name: daily
    columns: [{name: day, data_tests: [unique, not_null]}]
""",
    "snapshots/people.yml": """
snapshots:
  - name: people
    relation: ref('stg_people')
    config: {unique_key: person_id, strategy: check, check_cols: [name, born]}
""",
}
RELATIONS = [
    "raw_people",
    "raw_orders",
    "stg_people",
    "stg_orders",
    "totals",
    "daily",
    "merged",
    "pivoted",
    "types",
    "ranked",
]


def dbt(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    done = subprocess.run(
        [sys.executable, "-m", "dbt.cli.main", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def build_twice(folder: Path, profile: str) -> None:
    """Build, change the data, build again: what is incremental has something to do."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "profiles.yml").write_text(profile)
    dbt(folder, "build")
    people, orders = folder / "seeds/raw_people.csv", folder / "seeds/raw_orders.csv"
    people.write_text(people.read_text().replace("Grace", "Grace H.") + "5,Barbara,1939-11-07\n")
    orders.write_text(orders.read_text() + "".join(f"{i},5,2024-01-27 11:00:00,{i},b\n" for i in range(200, 220)))
    dbt(folder, "build")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    theirs, ours = tmp_path_factory.mktemp("duckdb"), tmp_path_factory.mktemp("lakehouse")
    build_twice(theirs, DUCKDB)
    build_twice(ours, LAKEHOUSE)
    return theirs, ours


def rows(run, relation: str) -> list[str]:  # type: ignore[no-untyped-def]
    return sorted(map(repr, run(f"select * from main.{relation}")))


@pytest.mark.parametrize("relation", RELATIONS)
def test_every_relation_is_the_same(folders: tuple[Path, Path], relation: str) -> None:
    theirs, ours = folders
    with duckdb.connect(str(theirs / "shop.duckdb"), read_only=True) as connection:
        expected = rows(lambda sql: connection.execute(sql).fetchall(), relation)
    lake = EmbeddedLake.open(lake_settings({"type": "lakehouse", "warehouse": "./lake"}, ours), create=False)
    try:
        session = lake.read("main")
        found = rows(lambda sql: session.execute(sql).rows, relation)
        session.close()
    finally:
        lake.close()
    assert len(found) > 0
    assert found == expected


def test_the_snapshot_has_the_same_history(folders: tuple[Path, Path]) -> None:
    theirs, ours = folders
    sql = "select person_id, name, dbt_valid_to is null from main.people order by all"
    with duckdb.connect(str(theirs / "shop.duckdb"), read_only=True) as connection:
        expected = connection.execute(sql).fetchall()
    lake = EmbeddedLake.open(lake_settings({"type": "lakehouse", "warehouse": "./lake"}, ours), create=False)
    session = lake.read("main")
    found = list(session.execute(sql).rows)
    session.close()
    lake.close()
    assert len(found) == 6
    assert found == expected
