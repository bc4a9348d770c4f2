"""Files beside the lake, as dbt-duckdb's users have them: sources and models that read some."""

from __future__ import annotations

import json
import signal
from typing import Any

import duckdb
import pytest
from dbt_shop import PROFILE, Shop
from service_process import ServiceProcess

SOURCES = """
unit_tests:
  - name: takes_names
    model: customers
    given: [{input: "source('raw', 'people')", rows: [{id: 7, name: x}]}]
    expect: {rows: [{id: 7, name: x}]}
sources:
  - name: raw
    meta: {external_location: "data/{name}.csv"}
    tables:
      - name: people
        columns: [{name: id, data_tests: [not_null, unique]}]
      - name: orders
        config: {external_location: "read_csv('data/orders/*.csv', delim = ';')"}
      - name: days
        config: {meta: {external_location: "data/days.parquet"}}
      - name: events
        meta: {external_location: "read_json('data/{identifier}', format = 'newline_delimited')"}
        identifier: events.json
"""
MODELS = {
    "models/sources.yml": SOURCES,
    "models/customers.sql": "{{ config(materialized='table') }} select id, name from {{ source('raw', 'people') }}",
    "models/stg_orders.sql": "{{ config(materialized='view') }} select * from {{ source('raw', 'orders') }}",
    "models/late.sql": "{{ config(materialized='ephemeral') }} select * from {{ source('raw', 'days') }} where d > '2024-01-01'",
    "models/totals.sql": """
        {{ config(materialized='table') }}
        select person, sum(total) as total, (select count(*) from {{ ref('late') }}) as days
        from {{ ref('stg_orders') }} group by person
    """,
    "models/kinds.py": """
def model(dbt, session):
    dbt.config(materialized="table")
    return dbt.source("raw", "events").aggregate("kind, count(*) AS n")
""",
    "models/literal.sql": """
        {{ config(materialized='table') }}
        select count(*) as n from 'data/people.csv' union all
        select count(*) from read_json_auto('data/events.json') union all
        select count(*) from read_csv_auto('data/orders/*.csv') union all
        select count(*) from read_parquet(['data/days.parquet'])
    """,
    "models/empty.sql": """
        {{ config(materialized='table') }} select * from {{ source('raw', 'people') }} where id > 1
    """,
}


def write_files(shop: Shop) -> None:
    shop.write(
        {
            "data/people.csv": "id,name\n1,Ada\n2,Grace\n",
            "data/orders/1.csv": "person;total\n1;2.5\n2;4\n",
            "data/orders/2.csv": "person;total\n1;1.5\n",
            "data/events.json": '{"kind": "a"}\n{"kind": "b"}\n{"kind": "a"}\n',
        }
    )
    days = shop.root / "data" / "days.parquet"
    duckdb.execute(f"COPY (SELECT DATE '2024-01-01' + range::INTEGER AS d FROM range(3)) TO '{days}'")


def messages(shop: Shop) -> dict[str, str]:
    """What became of each node of the last command, by name: REUSED, or what it did."""
    results: list[dict[str, Any]] = json.loads(shop.read("target/run_results.json"))["results"]
    said = {one["unique_id"].split(".")[2]: one["adapter_response"].get("code", "") for one in results}
    return {name: "REUSED" if code == "REUSED" else "ran" for name, code in said.items()}


@pytest.fixture
def project(shop: Shop) -> Shop:
    shop.write(MODELS)
    write_files(shop)
    return shop


def test_sources_and_models_read_files_and_are_reused_while_these_are_what_they_were(
    project: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.dbt("build")
    assert project.rows("from shop.customers") == [(1, "Ada"), (2, "Grace")]
    assert project.rows("from shop.totals") == [(1, 4.0, 2), (2, 4.0, 2)]
    assert project.rows("from shop.kinds") == [("a", 2), ("b", 1)]
    assert project.rows("from shop.literal") == [(2,), (3,), (3,), (3,)]

    project.dbt("run")
    ran = messages(project)
    # Which files a model names in its own SQL, nobody declared.
    assert {name for name, what in ran.items() if what == "ran"} == {"literal"}

    project.write({"data/orders/3.csv": "person;total\n2;10\n"})
    project.dbt("run")
    assert {name for name, what in messages(project).items() if what == "ran"} == {"totals", "literal"}
    assert project.rows("from shop.totals") == [(1, 4.0, 2), (2, 14.0, 2)]

    # A view reads the files as they are, in the project's folder.
    monkeypatch.chdir(project.root)
    assert project.rows("select count(*) from shop.stg_orders") == [(4,)]
    project.dbt("docs", "generate")
    catalog = json.loads(project.read("target/catalog.json"))
    assert "model.shop.customers" in catalog["nodes"]
    assert not catalog["errors"]
    outcome = project.dbt("run", "--empty", "--select", "empty")
    assert "ERROR" not in outcome.output.replace("ERROR=0", "")
    assert project.rows("from shop.empty") == []


def test_a_file_that_is_gone_fails_the_run_and_nothing_else(project: Shop) -> None:
    project.dbt("run")
    (project.root / "data" / "people.csv").unlink()
    outcome = project.dbt("run", "--select", "customers", code=1)
    assert "data/people.csv" in outcome.output
    assert project.rows("from shop.customers") == [(1, "Ada"), (2, "Grace")]


def test_a_location_that_makes_no_sense_names_the_source(project: Shop) -> None:
    project.write({"models/sources.yml": SOURCES.replace("data/{name}.csv", "data/{nome}.csv")})
    outcome = project.dbt("parse", code=2)
    assert "source raw.people: external_location 'data/{nome}.csv' cannot be formatted" in outcome.output


def test_keys_of_a_dbt_duckdb_profile(shop: Shop) -> None:
    shop.outputs(
        dev={
            "module_paths": ["lib"],
            "filesystems": [{"fs": "dir", "path": str(shop.root / "elsewhere"), "target_protocol": "file"}],
            "secrets": [{"type": "http", "bearer_token": "hush-hush", "scope": "https://example.invalid/"}],
            "settings": {"default_null_order": "nulls_last", "preserve_insertion_order": True},
            "extensions": ["json", "parquet"],
            "external_root": "out",
        }
    )
    shop.write(
        {
            "lib/rates.py": "RATE = 2\n",
            "elsewhere/a.csv": "n\n1\n",
            "models/rated.py": """
import rates

def model(dbt, session):
    dbt.config(materialized="table")
    return session.sql(f"select {rates.RATE} as rate, '{dbt.config.get('name', 'x')}' as x")
""",
            "models/far.sql": "{{ config(materialized='table') }} select n from 'dir://a.csv'",
            "models/known.sql": """
                {{ config(materialized='table') }}
                select name, '{{ target.external_root }}' as root, current_setting('default_null_order') as nulls
                from duckdb_secrets() where type = 'http'
            """,
        }
    )
    shop.dbt("run")
    assert shop.rows("select rate from shop.rated") == [(2,)]
    assert shop.rows("from shop.far") == [(1,)]
    assert shop.rows("from shop.known") == [("__dbt_secret_1", "out", "NULLS_LAST")]
    # A module counts as the model's code does.
    shop.dbt("run", "--select", "rated")
    assert messages(shop) == {"rated": "REUSED"}
    shop.write({"lib/rates.py": "RATE = 3\n"})
    shop.dbt("run", "--select", "rated")
    assert shop.rows("select rate from shop.rated") == [(3,)]
    shop.dbt("debug")
    kept = [path for path in shop.root.rglob("*") if path.is_file() and path.name != "profiles.yml"]
    assert not [path for path in kept if b"hush-hush" in path.read_bytes()]


def test_a_service_reads_and_writes_no_files_of_a_project(shop: Shop) -> None:
    process = ServiceProcess(shop.root / "lake").start()
    try:
        where = f'service: "{process.url}", token: "{process.token(role="admin")}"'
        shop.write({**MODELS, "profiles.yml": PROFILE.replace("warehouse: ./lake", where)})
        shop.write({"models/out.sql": "{{ config(materialized='external', location='out.csv') }} select 1 as a"})
        write_files(shop)
        outcome = shop.dbt("run", "--select", "customers", "stg_orders", "out", code=1)
        said = " ".join(outcome.output.split())
        assert "model.shop.out: materialized='external' writes files where jobs run, and those of a service" in said
        assert "read_csv() is refused: in the sandbox, SQL reads its inputs and nothing else" in said
        assert 'Cannot access file "data/people.csv"' in said
        assert said.count("`external_access: true`") >= 2
        assert not (shop.root / "out.csv").exists()
    finally:
        process.end(signal.SIGKILL)
