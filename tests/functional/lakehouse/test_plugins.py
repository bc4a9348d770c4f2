"""A dbt-duckdb project with plugins: sources that they load, functions that they add, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import openpyxl
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
      module_paths: [./lib]
      plugins:
        - {module: excel}
        - {module: shop_functions, alias: mine, config: {factor: 100}}
"""
FILES = {
    "profiles.yml": PROFILE,
    "lib/shop_functions.py": """
from dbt.adapters.duckdb.plugins import BasePlugin


class Plugin(BasePlugin):
    def initialize(self, config):
        self.factor = config["factor"]

    def configure_connection(self, conn):
        conn.create_function("cents", lambda amount: round(amount * self.factor), ["DOUBLE"], "BIGINT")
""",
    "models/sources.yml": """
sources:
  - name: office
    schema: raw
    config:
      meta: {plugin: excel, external_location: "data/{name}.xlsx"}
    tables:
      - name: people
        columns: [{name: name, data_tests: [unique, not_null]}]
""",
    "models/stg_people.sql": "{{ config(materialized='view') }} select * from {{ source('office', 'people') }}",
    "models/owed.sql": "{{ config(materialized='table') }} select name, cents(owes) as owes from {{ ref('stg_people') }}",
    "models/same.sql": "{{ config(materialized='table') }} select name from {{ ref('owed') }}",
    "models/columns.sql": """{{ config(materialized='table') }}
        select '{{ adapter.get_columns_in_relation(source("office", "people")) | map(attribute="name") | join(" ") }}' as c""",
}


def people(folder: Path, *rows: tuple[str, float]) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in (("name", "owes"), *rows):
        book.active.append(row)
    book.save(folder / "people.xlsx")


@pytest.fixture
def office(shop: Shop) -> Path:
    shop.write(FILES)
    (shop.root / "data").mkdir()
    people(shop.root / "data", ("Ada", 1.25))
    return shop.root / "data"


def test_sources_are_loaded_and_functions_called(shop: Shop, office: Path) -> None:
    shop.dbt("build")
    assert shop.rows("select * from shop.owed") == [("Ada", 125)]
    assert shop.rows("select * from shop.columns") == [("name owes",)]

    # What a plugin loads is loaded anew by each run; what comes out the same keeps what stands on it.
    again = shop.dbt("run")
    assert any("shop.same" in line and "REUSED" in line for line in again.output.splitlines())
    assert not any("shop.owed" in line and "REUSED" in line for line in again.output.splitlines())
    people(office, ("Ada", 1.25), ("Grace", 2))
    shop.dbt("run", "--select", "owed+")  # without the view that names the source
    assert shop.rows("select * from shop.owed") == [("Ada", 125), ("Grace", 200)]
    assert shop.rows("select * from shop.same") == [("Ada",), ("Grace",)]


def test_a_source_of_an_unknown_plugin_is_said(shop: Shop, office: Path) -> None:
    shop.write({"models/sources.yml": FILES["models/sources.yml"].replace("plugin: excel", "plugin: exel")})
    failed = shop.dbt("run", code=None)
    assert failed.code in (1, 2)
    assert "is to be loaded by plugin 'exel', which the profile does not name (it has excel, mine)" in failed.output


def test_a_file_that_is_not_there_is_said(shop: Shop, office: Path) -> None:
    (office / "people.xlsx").unlink()
    failed = shop.dbt("run", "--select", "stg_people", code=1)
    assert "plugin 'excel' failed while loading source raw.people: FileNotFoundError" in failed.output
    # Nothing is loaded for the sake of docs.
    shop.dbt("docs", "generate", "--exclude", "columns")
