"""Contracts in dbt: rows that break a constraint are shown, foreign keys hold, and columns within columns have a say."""

from __future__ import annotations

import json

from dbt_shop import Shop
from pyiceberg.table import StaticTable

SCHEMA = """
models:
  - name: people
    config: {contract: {enforced: true}, persist_docs: {columns: true}}
    columns:
      - {name: id, data_type: integer}
      - {name: address, data_type: struct, description: where they live}
      - {name: address.city, data_type: varchar, description: the town, data_tests: [not_null, unique]}
      - {name: address.geo, data_type: struct}
      - {name: address.geo.lat, data_type: double, description: degrees}
      - {name: items, data_type: 'struct[]'}
      - {name: items.price, data_type: 'decimal(10,2)', description: in euros}
  - name: orders
    config: {contract: {enforced: true}}
    constraints:
      - {type: primary_key, columns: [id], name: order_key}
      - {type: check, expression: "amount > 0", name: worth_it}
      - {type: foreign_key, columns: [person], to: ref('people'), to_columns: [id], name: known_person}
    columns:
      - {name: id, data_type: integer}
      - {name: amount, data_type: integer}
      - {name: person, data_type: integer}
      - {name: color, data_type: varchar, constraints: [{type: not_null}]}
"""
PEOPLE = (
    "{{ config(materialized='table') }} select 1 as id, {'city': 'Ulm', 'geo': {'lat': 48.4::double}} as address, "
    "[{'price': 1.5::decimal(10, 2)}] as items union all select 2, {'city': 'Bonn', 'geo': null}, []"
)
ORDERS = (
    "{{ config(materialized=var('as', 'table'), unique_key='id', incremental_strategy=var('by', 'append'), "
    "on_schema_change='fail') }} "
    "select {{ var('id', 1) }}::integer as id, {{ var('amount', 5) }}::integer as amount, "
    "{{ var('person', 1) }}::integer as person, {{ var('color', \"'red'\") }}::varchar as color"
)


def built(shop: Shop, code: int = 0, **variables: str) -> str:
    shop.dbt("build", "--select", "orders", "--vars", json.dumps(variables), code=code)
    [result] = json.loads(shop.read("target/run_results.json"))["results"]
    message: str = result["message"]
    return message


def test_rows_that_break_a_constraint_are_shown_and_nothing_is_written(shop: Shop) -> None:
    shop.models(people=PEOPLE, orders=ORDERS)
    shop.write({"models/schema.yml": SCHEMA})
    shop.dbt("build")
    before = shop.tables()
    assert before["shop.orders"] == [(1, 5, 1, "red")]
    for how in ({}, {"as": "incremental", "by": "merge"}):
        said = built(shop, code=1, amount="unnest([-1, 3, -2])", id="unnest([2, 3, 4])", **how)
        assert "CHECK constraint failed: shop.orders: worth_it (amount > 0) is false in 2 rows:" in said
        assert [line.split() for line in said.splitlines() if "|" in line][1:] == [
            ["-1", "|", "2", "|", "1", "|", "red"],
            ["-2", "|", "4", "|", "1", "|", "red"],
        ]
    assert "NOT NULL constraint failed: shop.orders.color is null in 1 row:" in built(
        shop, code=1, color="null", id="9"
    )
    said = built(shop, code=1, id="unnest([7, 7])")
    assert "UNIQUE constraint failed: shop.orders.id (order_key): 2 rows share 1 value" in said
    said = built(shop, code=1, id="8", person="3")
    assert (
        'FOREIGN KEY constraint failed: shop.orders.person (known_person) is not in "lake"."shop"."people" (id)' in said
    )
    assert shop.tables() == before
    # The other table is part of what the rows were held against: it counts for reuse.
    assert "CREATE TABLE" in built(shop, id="8", person="2")
    assert "REUSED" in built(shop, id="8", person="2")
    shop.models(people=PEOPLE.partition(" union all ")[0])
    shop.dbt("run", "--select", "people", "--vars", json.dumps({"id": "8", "person": "2"}))
    assert "FOREIGN KEY constraint failed" in built(shop, code=1, id="8", person="2")


def test_columns_within_columns(shop: Shop) -> None:
    shop.models(people=PEOPLE, orders=ORDERS)
    shop.write({"models/schema.yml": SCHEMA})
    outcome = shop.dbt("build")
    assert "not present in the database" not in outcome.output
    assert "WARN=0" in outcome.output
    with shop.lake() as lake:
        entries = lake.catalog.entries(lake.catalog.resolve("main").id).values()
        location = next(e.metadata_location for e in entries if e.kind == "table" and e.name == "people")
    schema = StaticTable.from_metadata(location).schema()
    docs = {name: schema.find_field(name).doc for name in ("address", "address.city", "address.geo.lat")}
    assert docs == {"address": "where they live", "address.city": "the town", "address.geo.lat": "degrees"}
    assert schema.find_field("items.element.price").doc == "in euros"
    assert schema.find_field("address.geo").doc is None
    shop.models(people=PEOPLE.replace("48.4::double", "'north'"))
    outcome = shop.dbt("run", "--select", "people", code=1, LAKEHOUSE_PREFLIGHT="off")
    assert "does not match" in " ".join(outcome.output.split()) or "contract" in outcome.output
    assert "lat" in outcome.output
    shop.models(people=PEOPLE.replace("'Bonn'", "'Ulm'"))
    outcome = shop.dbt("build", "--select", "people", code=1)
    assert "unique_people_address_city" in outcome.output
