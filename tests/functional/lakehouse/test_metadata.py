"""What dbt tells of a lake without reading rows: freshness, the catalog of docs, ``catalogs.yml``, what packages ask for."""

from __future__ import annotations

import json
import shutil
import signal
from datetime import datetime
from typing import Any

import pytest
from dbt_shop import PROFILE, Shop
from service_process import ServiceProcess

SOURCES = """
version: 2
sources:
  - name: raw
    config: {freshness: {warn_after: {count: 1, period: day}}}
    tables:
      - name: orders
      - name: people
      - name: seen
  - name: late
    schema: raw
    config: {freshness: {error_after: {count: 0, period: minute}}}
    tables: [{name: old, identifier: orders}]
  - name: by_query
    schema: raw
    config:
      freshness: {warn_after: {count: 1, period: day}}
      loaded_at_query: "select max(loaded) from {{ this }}"
    tables: [{name: queried, identifier: orders}]
  - name: by_field
    schema: raw
    config: {freshness: {warn_after: {count: 1, period: day}}, loaded_at_field: loaded}
    tables: [{name: fielded, identifier: orders}]
  - name: then
    database: lake@before
    schema: raw
    config: {freshness: {warn_after: {count: 1, period: day}}}
    tables: [{name: tagged, identifier: orders}]
  - name: none
    schema: raw
    config: {freshness: {warn_after: {count: 1, period: day}}}
    tables: [{name: missing}, {name: rowless}]
"""


def loaded(shop: Shop) -> None:
    shop.on_main(
        "CREATE TABLE raw.orders AS SELECT 1 AS id, now() AS loaded",
        "CREATE TABLE raw.people AS SELECT 1 AS id",
        "CREATE VIEW raw.seen AS SELECT * FROM raw.orders",
        "CREATE VIEW raw.rowless AS SELECT 1 AS id",
    )
    with shop.lake() as lake:
        from dbt.adapters.lakehouse.catalog.model import RefKind

        lake.catalog.create_ref("before", RefKind.TAG, "main")
    shop.write({"models/sources.yml": SOURCES})


def sources(shop: Shop) -> dict[str, Any]:
    results = json.loads(shop.read("target/sources.json"))["results"]
    return {one["unique_id"].rpartition(".")[2]: one for one in results}


def test_sources_are_as_fresh_as_their_tables(shop: Shop) -> None:
    loaded(shop)
    shop.on_main("INSERT INTO raw.orders VALUES (2, now())")
    output = shop.dbt("source", "freshness", code=1).output
    found = sources(shop)
    status = {name: one["status"] for name, one in found.items()}
    good = dict.fromkeys(("orders", "people", "seen", "queried", "fielded", "tagged"), "pass")
    assert {name: one for name, one in status.items() if one != "runtime error"} == {**good, "old": "error"}
    times = {name: datetime.fromisoformat(found[name]["max_loaded_at"]) for name in (*good, "old")}
    assert times["orders"] == times["old"] == times["seen"] > times["people"] > times["tagged"]
    assert abs((times["fielded"] - times["orders"]).total_seconds()) < 60
    assert '"lake"."raw"."missing" does not exist' in output
    assert '"lake"."raw"."rowless" reads no table of the lake' in output
    # One question for all of them, before the first is looked at.
    assert "Pulling freshness from warehouse metadata tables" in output


def test_what_comes_after_fresher_sources_is_built(shop: Shop) -> None:
    shop.write(
        {
            "models/sources.yml": "version: 2\nsources:\n  - name: raw\n    config: "
            "{freshness: {warn_after: {count: 1, period: day}}}\n    tables: [{name: orders}, {name: people}]\n",
            "macros/last.sql": "{% macro last() %}{% set found = get_relation_last_modified(none, "
            "[api.Relation.create(database='lake', schema='raw', identifier='orders')]) %}"
            "{% do log('last: ' ~ found['table'].rows[0]['identifier'], info=true) %}{% endmacro %}",
        }
    )
    shop.models(
        of_orders="select * from {{ source('raw', 'orders') }}", of_people="select * from {{ source('raw', 'people') }}"
    )
    shop.on_main("CREATE TABLE raw.orders AS SELECT 1 AS id", "CREATE TABLE raw.people AS SELECT 1 AS id")
    shop.dbt("source", "freshness")
    shop.dbt("build")
    shutil.copytree(shop.root / "target", shop.root / "state")
    shop.on_main("INSERT INTO raw.orders VALUES (2)", "CREATE TABLE raw.copy CLONE raw.people")
    shop.dbt("source", "freshness")
    output = shop.dbt("build", "--select", "source_status:fresher+", "--state", "state").output
    assert "of_orders" in output
    assert "of_people" not in output
    assert "last: orders" in shop.dbt("run-operation", "last").output


def catalog(shop: Shop) -> dict[str, Any]:
    said = json.loads(shop.read("target/catalog.json"))
    assert said["errors"] is None
    return {name.rpartition(".")[2]: node for name, node in {**said["nodes"], **said["sources"]}.items()}


def stats(node: dict[str, Any]) -> dict[str, Any]:
    return {name: one["value"] for name, one in node["stats"].items() if one["include"]}


def test_docs_tell_of_tables_what_the_lake_knows(shop: Shop) -> None:
    loaded(shop)
    shop.write(
        {
            "models/schema.yml": "version: 2\nmodels:\n  - name: wide\n    description: all of it\n    config: "
            "{persist_docs: {relation: true, columns: true}}\n    columns: [{name: id, description: a number}]\n"
        }
    )
    shop.models(
        wide="{{ config(materialized='table', partition_by='day(loaded)', sort_by='id desc') }} "
        "select id, loaded::timestamp as loaded, {'x': [id], 'y z': [{'a': id}]} as nested, 1.5::decimal(10, 2) as price "
        "from {{ source('raw', 'orders') }}",
        thin="{{ config(materialized='view') }} select id from {{ ref('wide') }}",
        side="{% if execute %}{% do run_query('create or replace table shop.beside as select 1 as a') %}{% endif %}"
        "select 1 as a",
    )
    shop.dbt("run")
    shop.dbt("docs", "generate")
    found = catalog(shop)
    wide, thin = found["wide"], found["thin"]
    assert {name: column["type"] for name, column in wide["columns"].items()} == {
        "id": "INTEGER",
        "loaded": "TIMESTAMP",
        "nested": 'STRUCT(x INTEGER[], "y z" STRUCT(a INTEGER)[])',
        "nested.x": "INTEGER[]",
        "nested.y z": "STRUCT(a INTEGER)[]",
        "nested.y z.a": "INTEGER",
        "price": "DECIMAL(10,2)",
    }
    assert [column["index"] for column in wide["columns"].values()] == [1, 2, 3, 3, 3, 3, 4]
    assert (wide["columns"]["id"]["comment"], wide["metadata"]["comment"]) == ("a number", "all of it")
    assert (wide["metadata"]["type"], thin["metadata"]["type"]) == ("BASE TABLE", "VIEW")
    assert wide["metadata"]["owner"] == "model.shop.wide"
    said = stats(wide)
    assert (said["row_count"], said["files"], said["branch"]) == (1, 1, "main")
    assert (said["partition_by"], said["sort_by"].partition(" nulls")[0]) == ("day(loaded)", "id desc")
    assert said["bytes"] > 0
    assert said["metadata_location"].endswith(".metadata.json")
    assert datetime.fromisoformat(said["last_modified"])
    assert stats(thin)["last_modified"] == said["last_modified"]
    assert len({stats(one)["commit"] for one in found.values() if one["metadata"]["database"] == "lake"}) == 1
    assert stats(found["tagged"])["branch"] == "before"
    assert found["orders"]["stats"]["row_count"] == {
        "id": "row_count",
        "label": "Rows",
        "value": 1,
        "include": True,
        "description": "Rows of the table",
    }
    # What compiling wrote was a run, by the words that were typed.
    assert shop.runs()[0].command == "dbt docs generate"
    shop.dbt("docs", "generate", "--select", "thin", "source:raw")
    assert set(catalog(shop)) == {"thin", "orders", "people", "seen"}
    shop.dbt("docs", "generate", "--no-compile", "--empty-catalog")
    assert catalog(shop) == {}


ASKING = """
{% macro ask() %}
  {% set tables = run_query("select table_name, table_type from " ~ target.database
      ~ ".information_schema.tables where table_schema ilike 'r%' order by 1") %}
  {% for row in tables.rows %}{% do log(row[0] ~ ' is ' ~ row[1], info=true) %}{% endfor %}
{% endmacro %}
"""


def catalogs(kind: str, **more: Any) -> dict[str, str]:
    integration = {"name": "w", "catalog_type": kind, **more}
    return {"catalogs.yml": json.dumps({"catalogs": [{"name": "analytics", "write_integrations": [integration]}]})}


def test_catalogs_of_dbt_are_the_lake(shop: Shop) -> None:
    loaded(shop)
    shop.write({**catalogs("lakehouse", table_format="iceberg"), "macros/ask.sql": ASKING})
    shop.models(
        kept="{{ config(materialized='table', catalog_name='analytics', catalog='elsewhere') }} "
        "select '{% if execute %}{{ adapter.build_catalog_relation(model).catalog_name }}{% endif %}' as a"
    )
    shop.dbt("run")
    assert shop.rows("SELECT a FROM shop.kept") == [("analytics",)]
    output = shop.dbt("run-operation", "ask").output
    assert "orders is BASE TABLE" in output
    assert "seen is VIEW" in output
    head = shop.head()
    for wrong, why in (
        (catalogs("unity"), "has the type 'unity', which is another platform's"),
        (
            catalogs("lakehouse", external_volume="v"),
            "says external_volume, which a catalog of type 'lakehouse' does not take",
        ),
        (catalogs("lakehouse", table_format="delta"), "says table_format 'delta'"),
        (catalogs("built_in", file_format="orc"), "says file_format 'orc'"),
    ):
        shop.write(wrong)
        assert why in shop.dbt("run", code=2).output
    shop.write(catalogs("built_in", external_volume="v", adapter_properties={"base_location_root": "x"}))
    assert "says external_volume, base_location_root: it has no meaning here" in shop.dbt("run").output
    (shop.root / "catalogs.yml").unlink()
    # Nothing of the model changed, so that dbt does not parse it again.
    assert "catalog_name 'analytics' is none of the catalogs in catalogs.yml" in shop.dbt("run", code=None).output
    assert shop.head() == head


def test_a_service_tells_the_same(shop: Shop) -> None:
    loaded(shop)
    shop.models(wide="select id from {{ source('raw', 'orders') }}")
    process = ServiceProcess(shop.root / "lake").start()
    try:
        shop.environment["SHOP_TOKEN"] = process.token(role="admin")
        where = f'service: "{process.url}", token: "{{{{ env_var(\'SHOP_TOKEN\') }}}}"'
        shop.write({"profiles.yml": PROFILE.replace("warehouse: ./lake", where), "macros/ask.sql": ASKING})
        shop.write(catalogs("lakehouse"))
        shop.dbt("source", "freshness", code=1)
        assert {name for name, one in sources(shop).items() if one["status"] == "pass"} == {
            *("orders", "people", "seen", "queried", "fielded", "tagged")
        }
        shop.dbt("run")
        shop.dbt("docs", "generate", "--no-compile")
        assert stats(catalog(shop)["wide"])["files"] == 1
        assert "seen is VIEW" in shop.dbt("run-operation", "ask").output
    finally:
        if process.process.poll() is None:
            process.end(signal.SIGKILL)


@pytest.mark.parametrize("name", ["main", "schema"])
def test_packages_find_relations_by_pattern(shop: Shop, name: str) -> None:
    """As ``dbt_utils.get_relations_by_pattern`` and ``codegen`` ask, in the words that they use."""
    shop.on_main(f"CREATE TABLE {name}.a_1 AS SELECT 1 AS id", f"CREATE TABLE {name}.a_2 AS SELECT 1 AS id")
    sql = (
        "select distinct table_schema, table_name, case table_type when 'BASE TABLE' then 'table' when 'VIEW' then 'view' "
        f"end from lake.information_schema.tables where table_schema ilike '{name}' and table_name ilike 'a\\_%' escape '\\' "
        "and table_name not ilike 'a_2'"
    )
    assert shop.rows(sql) == [(name, "a_1", "table")]
