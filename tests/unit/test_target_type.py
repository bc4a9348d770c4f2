"""What Jinja is told that the adapter is, and what it goes by all the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from dbt.config.profile import Profile
from dbt.context.providers import RuntimeDatabaseWrapper
from dbt_common.exceptions import DbtRuntimeError

from dbt.adapters.lakehouse import target_type
from dbt.adapters.lakehouse.credentials import LakehouseCredentials
from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.profile import state_ref


def output(**keys: Any) -> LakehouseCredentials:
    data = LakehouseCredentials.__pre_deserialize__({"type": "lakehouse", "warehouse": "./lake", "schema": "s", **keys})
    return LakehouseCredentials(**{key: value for key, value in data.items() if key != "type"})


def target(credentials: Any) -> dict[str, Any]:
    profile = Profile.__new__(Profile)  # without dbt's flags, of which it takes one down
    profile.profile_name, profile.target_name, profile.threads, profile.credentials = "p", "dev", 1, credentials
    return profile.to_target_dict()


def asked(credentials: Any) -> str:
    adapter = SimpleNamespace(config=SimpleNamespace(credentials=credentials), type=lambda: credentials.type)
    wrapper = RuntimeDatabaseWrapper.__new__(RuntimeDatabaseWrapper)
    wrapper._adapter = adapter
    return wrapper.type()


def test_jinja_is_told_what_the_profile_says_and_nothing_else_changes() -> None:
    told, plain = output(target_type="duckdb"), output()
    assert (target(told)["type"], asked(told)) == ("duckdb", "duckdb")
    assert (target(plain)["type"], asked(plain)) == ("lakehouse", "lakehouse")
    assert told.type == "lakehouse"
    assert target(told)["schema"] == "s"
    other = SimpleNamespace(type="postgres", target_type="duckdb", connection_info=lambda **_: {})
    assert (target(other)["type"], asked(other)) == ("postgres", "postgres"), (
        "an adapter of its own, in the same process"
    )


def test_another_answer_is_another_parse() -> None:
    # dbt parses anew where one of these changed, since Jinja may have asked.
    assert dict(output(target_type="duckdb").connection_info()) != dict(output().connection_info())


def test_only_what_it_is_can_be_said() -> None:
    with pytest.raises(DbtRuntimeError, match="target_type"):
        output(target_type="postgres")


def test_a_dbt_core_without_these_places_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Profile, "to_target_dict")
    with pytest.raises(DbtRuntimeError, match="'target_type' has no effect with this dbt-core"):
        target_type.install()


def test_where_the_relations_of_a_state_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_ref({}) is None
    assert output(state_ref="main~2").state_at() == "main~2"
    monkeypatch.setenv("LAKEHOUSE_STATE_REF", "v1")
    assert output(state_ref="main").state_at() == "v1"
    monkeypatch.setenv("LAKEHOUSE_STATE_REF", "no such")
    with pytest.raises(ConfigError, match="LAKEHOUSE_STATE_REF is 'no such'"):
        output().state_at()
    with pytest.raises(DbtRuntimeError, match="state_ref"):
        output(state_ref="no such")
