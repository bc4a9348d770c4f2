"""Catalogs of ``catalogs.yml``, in both of its forms, and what dbt's catalog is told of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from dbt.adapters.catalogs import CatalogWriteIntegrationConfig
from dbt_common.exceptions import CompilationError

from dbt.adapters.lakehouse.catalogs import BuiltInCatalog, DbtCatalogs, LakeCatalog


def config(**said: Any) -> CatalogWriteIntegrationConfig:
    return CatalogWriteIntegrationConfig(**{"name": "analytics", "catalog_type": "lakehouse", **said})


@pytest.mark.parametrize(
    "said", [{}, {"table_format": "ICEBERG"}, {"table_format": "default", "file_format": "parquet"}]
)
def test_a_catalog_is_the_lake(said: dict[str, Any]) -> None:
    relation = LakeCatalog(config(**said)).build_relation(SimpleNamespace(config={}))
    assert (relation.catalog_name, relation.table_format, relation.file_format) == ("analytics", "iceberg", "parquet")
    assert relation.external_volume is None


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"table_format": "delta"}, "table_format 'delta'"),
        ({"file_format": "orc"}, "file_format 'orc'"),
        ({"external_volume": "v"}, "says external_volume"),
        ({"adapter_properties": {"b": 1, "a": 2}}, "says a, b"),
    ],
)
def test_what_would_mean_another_catalog_is_refused(said: dict[str, Any], why: str) -> None:
    with pytest.raises(CompilationError, match=why):
        LakeCatalog(config(**said))


def test_a_platforms_own_catalog_may_say_where_files_go_there() -> None:
    catalog = BuiltInCatalog(config(catalog_type="built_in", external_volume="v", adapter_properties={"a": 1}))
    assert (catalog.external_volume, catalog.allows_writes) == (None, True)
    with pytest.raises(CompilationError, match="table_format"):
        BuiltInCatalog(config(catalog_type="built_in", table_format="hudi"))


def second_form(**platforms: Any) -> Any:
    return SimpleNamespace(
        name="analytics", catalog_type="horizon", table_format=SimpleNamespace(value="iceberg"), config=platforms
    )


def test_the_second_form_says_what_a_catalog_is_on_each_platform() -> None:
    catalogs = DbtCatalogs()
    bridged = catalogs.bridge_v2_catalog(second_form(snowflake={"external_volume": "v"}, lakehouse={}))
    assert LakeCatalog(bridged).name == "analytics"
    with pytest.raises(CompilationError, match=r"\(it knows: snowflake\); add `lakehouse: {}`"):
        catalogs.bridge_v2_catalog(second_form(snowflake={"external_volume": "v"}))
    with pytest.raises(CompilationError, match="says external_volume, a"):
        LakeCatalog(catalogs.bridge_v2_catalog(second_form(lakehouse={"external_volume": "v", "a": 1})))
