"""Databases that a profile attaches, as dbt sees them: sources, their columns, docs, freshness, and what is refused."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import duckdb
import pytest
from dbt_shop import Shop

PROFILE = """
shop:
  target: dev
  outputs:
    dev:
      type: lakehouse
      warehouse: ./lake
      schema: shop
      threads: 2
      attach:
        - {path: crm.duckdb}
        - {path: data/web.sqlite, alias: web, type: sqlite}
        - {path: "host=127.0.0.1 port=1 user=me password=s3cr3t dbname=x", alias: far, type: postgres}
"""
FILES = {
    "profiles.yml": PROFILE,
    "models/sources.yml": """
sources:
  - name: crm
    database: crm
    schema: main
    freshness: {warn_after: {count: 1, period: day}}
    loaded_at_field: seen_at
    tables:
      - name: people
        columns: [{name: id, data_tests: [unique, not_null]}]
  - name: web
    database: web
    schema: main
    tables: [{name: orders}]
""",
    "models/stg_people.sql": "{{ config(materialized='view') }} select id, name from {{ source('crm', 'people') }}",
    "models/totals.sql": """{{ config(materialized='table') }}
        select p.name, sum(o.total) as total from {{ ref('stg_people') }} p
        join {{ source('web', 'orders') }} o on o.person = p.id group by all""",
    "models/columns.sql": """{{ config(materialized='table') }}
        {% set relation = adapter.get_relation('crm', 'main', 'people') %}
        select '{{ relation.type }}' as kind, '{{ relation.identifier }}' as name,
            '{{ adapter.get_columns_in_relation(source("crm", "people")) | map(attribute="name") | join(" ") }}' as columns,
            '{{ adapter.get_relation("crm", "main", "nothing") }}' as nothing""",
    "models/scored.py": """
def model(dbt, session):
    dbt.config(materialized="table")
    frame = dbt.source("web", "orders").df()
    frame["score"] = frame["total"] * 2
    return frame[["id", "score"]]
""",
}


@pytest.fixture
def crm(shop: Shop) -> Path:
    shop.write(FILES)
    with duckdb.connect(str(shop.root / "crm.duckdb")) as connection:
        connection.execute("CREATE TABLE people AS SELECT 1 AS id, 'Ada' AS name, now()::timestamp AS seen_at")
    (shop.root / "data").mkdir()
    with sqlite3.connect(shop.root / "data" / "web.sqlite") as other:
        other.execute("CREATE TABLE orders (id INTEGER, person INTEGER, total DOUBLE)")
        other.execute("INSERT INTO orders VALUES (1, 1, 5.5), (2, 1, 1)")
    other.close()
    return shop.root / "crm.duckdb"


def test_sources_in_attached_databases(shop: Shop, crm: Path) -> None:
    built = shop.dbt("build")
    assert "ERROR=0" in built.output
    with shop.lake(attach=[{"path": "crm.duckdb"}]) as lake:
        session = lake.read("main", "shop")
        assert session.execute("select * from shop.totals").rows == [("Ada", 6.5)]
        assert session.execute("select * from shop.columns").rows == [("table", "people", "id name seen_at", "None")]
        assert session.execute("select score from shop.scored order by id").rows == [(11.0,), (2.0,)]
        assert session.execute("select name from shop.stg_people").rows == [("Ada",)]
        session.close()

    # While the files stay as they are, so do the tables; a change of one brings those anew that read it.
    assert shop.dbt("build").output.count("REUSED") >= 2
    with duckdb.connect(str(crm)) as connection:
        connection.execute("UPDATE people SET name = 'Grace'")
    shop.dbt("run")
    assert shop.rows("select name from shop.totals") == [("Grace",)]

    # docs and freshness
    shop.dbt("docs", "generate")
    said = json.loads((shop.root / "target" / "catalog.json").read_text())["sources"]
    assert list(said["source.shop.crm.people"]["columns"]) == ["id", "name", "seen_at"]
    assert said["source.shop.web.orders"]["metadata"]["database"] == "web"
    shop.dbt("source", "freshness", "--select", "source:crm")
    fresh = json.loads((shop.root / "target" / "sources.json").read_text())["results"]
    assert [one["status"] for one in fresh] == ["pass"]


def test_nothing_is_written_there_and_nothing_is_told(shop: Shop, crm: Path) -> None:
    shop.write(
        {
            "models/there.sql": "{{ config(materialized='table', database='crm', schema='main') }} select 1 as a",
            "models/far.sql": "{{ config(materialized='table') }} select * from far.public.orders",
            "models/hooked.sql": "{{ config(materialized='table', post_hook='delete from crm.main.people') }} select 1 as a",
            "macros/schemas.sql": """{% macro generate_schema_name(name, node) %}{{ name or target.schema }}{% endmacro %}""",
        }
    )
    failed = shop.dbt("--debug", "run", "--select", "there", "far", "hooked", "totals", code=1)
    assert "'crm' is an attached database (duckdb), which is only read" in failed.output
    assert failed.output.count("which is only read") >= 2
    assert "database 'far' (postgres) cannot be attached" in failed.output
    with duckdb.connect(str(crm), read_only=True) as connection:
        assert connection.execute("SELECT table_name, estimated_size FROM duckdb_tables()").fetchall() == [
            ("people", 1)
        ]

    texts = [failed.output, *(file.read_text(errors="ignore") for file in shop.root.glob("**/*.log"))]
    texts += [file.read_text() for file in (shop.root / "target").glob("*.json")]
    texts.append((shop.root / "lake" / "catalog.sqlite").read_bytes().decode(errors="ignore"))
    assert not any("s3cr3t" in text for text in texts)
