"""What nodes may ask for, and how they are told when it is not understood."""

from __future__ import annotations

from typing import Any

import pytest

from dbt.adapters.lakehouse import demands
from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.jobs.job import Resources


def test_a_node_that_asks_for_nothing_leaves_all_to_the_executor() -> None:
    assert demands.resources({}) == Resources()
    assert demands.python_needs({}) == {"packages": (), "python_version": None, "internet_access": False}


def test_everything_can_be_asked_for() -> None:
    config = {"cpus": 2, "memory": {"start": "1GB", "max": "8GB"}, "timeout": "15m", "retries": 3, "priority": -1}
    assert demands.resources(config) == Resources(
        cpus=2, memory="1GB", max_memory="8GB", timeout=900.0, retries=3, priority=-1
    )
    python = {"packages": ["pandas==2.2.*", " scikit-learn "], "python_version": "3.12", "internet_access": True}
    assert demands.python_needs(python) == {
        "packages": ("pandas==2.2.*", "scikit-learn"),
        "python_version": "3.12",
        "internet_access": True,
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cpus", 0),
        ("cpus", True),
        ("cpus", "2"),
        ("memory", "lots"),
        ("memory", 4),
        ("memory", "0GB"),
        ("memory", {"start": "2GB", "max": "1GB"}),
        ("memory", {"begin": "2GB"}),
        ("timeout", 0),
        ("timeout", True),
        ("timeout", "soon"),
        ("retries", -1),
        ("priority", 1.5),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_key(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"model configuration '{key}' is .* is right|must not"):
        demands.resources({key: value})


@pytest.mark.parametrize(
    ("key", "value"), [("packages", "pandas"), ("packages", [""]), ("python_version", 3.12), ("internet_access", "yes")]
)
def test_what_makes_no_sense_for_a_python_model_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"model configuration '{key}'"):
        demands.python_needs({key: value})


@pytest.mark.parametrize(
    ("text", "size"), [("1KB", 1000), ("1KiB", 1024), ("1.5 GB", 1_500_000_000), ("512m", 512_000_000)]
)
def test_amounts_are_read_as_duckdb_reads_them(text: str, size: int) -> None:
    assert demands.memory_bytes(text) == size


def test_what_a_node_says_of_its_reuse() -> None:
    plain = {"reuse": "auto", "files": (), "content_identity": True}
    assert demands.reuse({}) == plain
    assert demands.reuse({"reuse": False, "content_identity": False}) == {
        "reuse": "never",
        "files": (),
        "content_identity": False,
    }
    assert demands.reuse({"reuse": {"per": "day"}}) == {**plain, "reuse": "day"}
    assert demands.reuse({"reuse": {"files": "a.csv"}}) == {**plain, "files": ("a.csv",)}
    both = {"per": "hour", "files": ["a.csv", "in/*.parquet"]}
    assert demands.reuse({"reuse": both}) == {**plain, "reuse": "hour", "files": ("a.csv", "in/*.parquet")}


@pytest.mark.parametrize(
    "said", ["daily", {}, {"per": "week"}, {"per": None}, {"files": []}, {"files": [1]}, {"files": None}, {"file": "a"}]
)
def test_what_is_no_right_reuse_is_told(said: Any) -> None:
    with pytest.raises(ConfigError, match="'reuse'"):
        demands.reuse({"reuse": said})


def test_what_a_model_lets_pass() -> None:
    assert demands.allow({}) == demands.allow({"allow_takeover": False}) == ()
    assert demands.allow({"allow_schema_change": True, "allow_takeover": True}) == ("owner", "schema")
    with pytest.raises(ConfigError, match="'allow_takeover' is 'yes'; true or false is right"):
        demands.allow({"allow_takeover": "yes"})
