"""Locations of sources that are files: what stands for them in SQL, and which files that names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from dbt.adapters.duckdb.relation import DuckDBRelation
from dbt_common.exceptions import CompilationError

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.external_sources import by_name, files, read_by, rendered
from dbt.adapters.lakehouse.relation import LakehouseRelation

QUOTING = SimpleNamespace(quoting={"database": True, "schema": True, "identifier": True})


def source(meta: dict[str, Any], extra: dict[str, Any] | None = None) -> Any:
    return SimpleNamespace(
        resource_type="source",
        source_name="raw",
        name="orders",
        identifier="orders_v1",
        schema="raw",
        database="lake",
        meta=meta,
        tags=["a"],
        config=SimpleNamespace(extra=extra or {}, get=lambda *_: None),
        quoting_dict={},
        catalog_name=None,
    )


FORMS = [
    ({"external_location": "data/{name}.csv"}, "'data/orders.csv'", ("data/orders.csv",)),
    (
        {"external_location": "{root}/{identifier}.csv", "root": "s3://b"},
        "'s3://b/orders_v1.csv'",
        ("s3://b/orders_v1.csv",),
    ),
    ({"external_location": "data/%(name)s.csv", "formatter": "oldstyle"}, "'data/orders.csv'", ("data/orders.csv",)),
    ({"external_location": "data/$name.csv", "formatter": "template"}, "'data/orders.csv'", ("data/orders.csv",)),
    (
        {"external_location": "read_parquet('data/{name}/*.parquet', hive_partitioning = true)"},
        "read_parquet('data/orders/*.parquet', hive_partitioning = true)",
        ("data/orders/*.parquet",),
    ),
    (
        {"external_location": "read_csv(['a.csv', 'b.csv'], delim = ';')"},
        "read_csv(['a.csv', 'b.csv'], delim = ';')",
        ("a.csv", "b.csv"),
    ),
    (
        {"external_location": "read_json('%(name)s.json', columns = {'id': 'INTEGER'})", "formatter": "oldstyle"},
        "read_json('orders.json', columns = {'id': 'INTEGER'})",
        ("orders.json",),
    ),
    ({"external_location": "'quoted.csv'"}, "'quoted.csv'", ("quoted.csv",)),
    ({"external_location": "read_csv(getvariable('x'))"}, "read_csv(getvariable('x'))", ()),
]


@pytest.mark.parametrize(("meta", "sql", "read"), FORMS)
def test_locations_are_what_dbt_duckdb_makes_of_them(meta: dict[str, Any], sql: str, read: tuple[str, ...]) -> None:
    assert rendered(source(meta)) == sql
    assert files(sql) == read
    assert LakehouseRelation.create_from(QUOTING, source(meta)).render() == sql
    assert DuckDBRelation.create_from(QUOTING, source(meta)).render() == sql


def test_configuration_counts_before_meta() -> None:
    said = source({"external_location": "old.csv"}, {"external_location": "new.csv"})
    assert rendered(said) == "'new.csv'"


def test_a_quote_in_a_path_stays_within_the_text() -> None:
    said = rendered(source({"external_location": "ann's.csv"}))
    assert said == "'ann''s.csv'"
    assert files(said) == ("ann's.csv",)


def test_what_has_no_location_is_a_relation_as_ever() -> None:
    assert rendered(source({})) is None
    assert LakehouseRelation.create_from(QUOTING, source({})).render() == '"lake"."raw"."orders_v1"'
    assert rendered(source({"external_location": "a.xlsx", "plugin": "excel"})) is None


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({"external_location": "data/{nome}.csv"}, "cannot be formatted .KeyError: 'nome'.; known are database, "),
        ({"external_location": "data/{name"}, "cannot be formatted"),
        (
            {"external_location": "read_json('a.json', columns={'id': 'INT'})"},
            "cannot be formatted .*formatter: oldstyle",
        ),
        ({"external_location": "a.csv", "formatter": "jinja"}, "formatter is 'jinja'; newstyle, oldstyle and template"),
        ({"external_location": ["a.csv"]}, "external_location is .'a.csv'.; a path, a URL or a call"),
        ({"external_location": " "}, "external_location is ' '"),
    ],
)
def test_locations_that_make_no_sense_name_their_source(meta: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"source raw.orders: .*{said}"):
        rendered(source(meta))
    with pytest.raises(CompilationError, match=r"source raw\.orders"):
        LakehouseRelation.create_from(QUOTING, source(meta))


def node(materialized: str, *parents: str) -> Any:
    return SimpleNamespace(
        config=SimpleNamespace(materialized=materialized), depends_on=SimpleNamespace(nodes=list(parents))
    )


def test_files_are_read_through_views_and_ephemeral_models_alone() -> None:
    sources = {
        "source.a": source({"external_location": "a.csv"}),
        "source.b": source({"external_location": "b/*.csv"}),
        "source.c": source({"external_location": "c.csv"}),
        "source.d": source({}),
    }
    nodes = {
        "model.view": node("view", "source.b", "model.ephemeral", "source.d"),
        "model.ephemeral": node("ephemeral", "source.a", "model.view"),
        "model.table": node("table", "source.c"),
    }
    assert read_by(["model.view", "source.a", "model.table", "gone"], nodes, sources) == ("b/*.csv", "a.csv")


def test_sources_that_are_files_are_found_by_their_names() -> None:
    file, table = source({"external_location": "a.csv"}), source({})
    table.identifier = "other"
    model = SimpleNamespace(schema="RAW", alias="Orders_V1", name="x")
    assert by_name({}, {"a": file, "b": table}) == {("raw", "orders_v1"): file}
    assert by_name({"m": model}, {"a": file}) == {}
