"""Sources that plugins load, as dbt parses them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dbt.adapters.lakehouse import plugin_sources
from dbt.adapters.lakehouse.errors import ConfigError

SOURCE = SimpleNamespace(
    resource_type="source",
    schema="raw",
    identifier="people",
    name="people",
    database="lake",
    tags=[],
    meta={"plugin": "excel"},
    config=SimpleNamespace(meta={}, extra={}),
)


def config(**credentials: Any) -> Any:
    return SimpleNamespace(credentials=SimpleNamespace(**{"plugins": [], "service": None, **credentials}))


def test_a_plugin_that_the_profile_does_not_name_is_an_error_of_parsing() -> None:
    assert plugin_sources.database(SOURCE, config(plugins=[{"module": "excel"}])) == "plugin:excel"
    with pytest.raises(ConfigError, match=r"plugin 'excel', which the profile does not name \(it has none\)"):
        plugin_sources.database(SOURCE, config())


def test_through_a_service_a_project_that_has_such_sources_is_parsed() -> None:
    assert plugin_sources.database(SOURCE, config(service="http://127.0.0.1:1")) == "plugin:excel"
