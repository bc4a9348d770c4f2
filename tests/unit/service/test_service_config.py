"""A service's configuration: what it says, and what is said about what is wrong in it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.profile import lake_settings
from dbt.adapters.lakehouse.service.config import ServiceConfig
from dbt.adapters.lakehouse.service.policy import Capability, Policy, Principal

FULL = """
roles:
  analyst:
    read: [main, 'dev/{user}/*']
    write: ['dev/{user}/*']
  lead:
    like: developer
    merge: [prod]
    protected: true
    may: [tags, jobs]
protected: [main, prod]
workers: {count: 4, memory: 8GB, idle_seconds: 30, max_jobs: 100}
queue: {size: 50, per_user: 10}
retries: {count: 3, first_seconds: 0.1}
external_access: ['https://data.example.com/in/', /srv/landing]
python_sandbox: require
limits: {upload: 2GB}
retention: {audit_days: 30, job_days: 7, jobs: 500}
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "service.yml"
    file.write_text(text)
    return file


def test_every_key_is_read(tmp_path: Path) -> None:
    config = ServiceConfig.load(write(tmp_path, FULL))
    usual = ServiceConfig()
    assert all(getattr(config, f.name) != getattr(usual, f.name) for f in dataclasses.fields(ServiceConfig))
    assert config.workers.count == 4
    assert config.limits.upload == 2_000_000_000
    assert config.retention.audit.days == 30
    lead = config.policy.role("lead")
    assert lead.name == "lead"
    assert lead.write == config.roles["developer"].write
    assert lead.may == {Capability.TAGS, Capability.JOBS}
    analyst = Principal(user="ann", role="analyst", token="t")
    assert config.policy.may_write(analyst, "dev/ann/x")
    assert not config.policy.may_read(analyst, "dev/bob/x")
    assert config.policy.is_protected("prod", flag=False)


def test_without_a_file_or_with_an_empty_one_it_is_what_is_usual(tmp_path: Path) -> None:
    assert ServiceConfig.load(None) == ServiceConfig.load(write(tmp_path, "")) == ServiceConfig()
    assert ServiceConfig().policy == Policy()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workerz: {}", r"service.yml: unknown key 'workerz'; did you mean 'workers'\?"),
        ("workers: {cuont: 1}", r"unknown key 'workers.cuont'; did you mean 'count'\?"),
        ("workers: {count: 0}", r"key 'workers.count' is 0; a whole number of 1 or more is needed"),
        ("workers: {count: true}", r"key 'workers.count' is True; a whole number"),
        ("workers: {memory: 4}", r"key 'workers.memory' is 4; a size with a unit"),
        ("workers: {memory: 0GB}", r"a size with a unit is needed"),
        ("workers: {idle_seconds: -1}", r"a number above 0 is needed"),
        ("workers: {idle_seconds: .nan}", r"a number above 0 is needed"),
        ("workers: {idle_seconds: .inf}", r"a number above 0 is needed"),
        ("roles: {a: {protected: 'yes'}}", r"key 'roles.a.protected' is 'yes'; true or false is needed"),
        ("workers: 4", r"key 'workers' is 4; a mapping is needed, with keys of count, memory"),
        ("workers:", r"key 'workers' is empty; give it a value or remove it"),
        ("retries: {count: -1}", r"a whole number of 0 or more"),
        ("python_sandbox: maybe", r"known values: auto, require, off"),
        ("external_access: ['https://data.example.com']", r"https://host/ with a slash, an absolute folder or '\*'"),
        ("external_access: ['file:///etc/']", r"https://host/ with a slash"),
        ("external_access: ['s3://bucket/']", r"a bucket is named by its https:// address"),
        ("external_access: [data]", r"an absolute folder"),
        ("external_access: [/]", r"an absolute folder"),
        ("external_access: ['https://host/x?y=1']", r"https://host/ with a slash"),
        ("external_access: https://a.example/", r"a list is needed: \['https://a.example/'\]"),
        ("roles: [a]", r"key 'roles' is \['a'\]; a mapping of roles' names"),
        ("roles: {admin: {read: []}}", r"key 'roles.admin': the role 'admin' stays as it is"),
        ("roles: {Boss: {read: []}}", r"a role's name is small letters"),
        ("roles: {a: {like: b}}", r"key 'roles.a.like' is 'b'; a role that stands before this one is needed: reader"),
        ("roles: {a: {like: [x]}}", r"key 'roles.a.like' is \['x'\]; a name is needed"),
        ("roles: {a: {read: ['[ab]*']}}", r"key 'roles.a.read': pattern '\[ab\]\*' holds '\['"),
        ("roles: {a: {read: ['{usr}/x']}}", r"holds '\{'"),
        ("roles: {a: {read: ['run/*']}}", r"names run branches"),
        ("roles: {a: {read: [{user}/*]}}", r"not YAML"),
        ("roles: {a: {read: [*]}}", r"not YAML.*put patterns in quotes"),
        ("roles: {a: {read: [{user}]}}", r"put those that hold '\*' or '\{' in quotes"),
        ("roles: {a: {may: [fly]}}", r"key 'roles.a.may' is 'fly'; known capabilities: tags, protect"),
        ("roles: {a: {read: []}, a: {read: ['*']}}", r"key 'a' in line 1 stands there for the second time"),
        ("- a", r"holds no mapping"),
        ("a: [", r"is not YAML"),
        ("1: 2", r"unknown key '1'"),
    ],
)
def test_what_is_wrong_is_named_with_file_key_and_what_is_right(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        ServiceConfig.load(write(tmp_path, text))
    assert "service.yml" in str(caught.value)


def test_python_sandbox_off_may_be_written_bare(tmp_path: Path) -> None:
    assert ServiceConfig.load(write(tmp_path, "python_sandbox: off")).python_sandbox == "off"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.yml cannot be read"):
        ServiceConfig.load(tmp_path / "nowhere.yml")
    binary = tmp_path / "binary.yml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary.yml"):
        ServiceConfig.load(binary)


keys = st.sampled_from(
    ["roles", "protected", "workers", "count", "memory", "read", "may", "like", "queue", "size", "retention", "limits"]
) | st.text(max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(keys, values, max_size=4))
def test_whatever_it_holds_it_is_read_or_refused(content: dict[str, object]) -> None:
    try:
        roles = ServiceConfig.of(content).roles
    except ConfigError:
        return
    assert roles["admin"] == ServiceConfig().roles["admin"]


@pytest.mark.parametrize("beside", [{"attach": [{"path": "crm.duckdb"}]}, {"plugins": [{"module": "excel"}]}])
def test_a_service_is_not_started_with_databases_or_plugins_beside_its_lake(tmp_path: Path, beside: dict) -> None:
    from dbt.adapters.lakehouse.service.start import open_service

    settings = lake_settings({"type": "lakehouse", "warehouse": "lake", **beside}, tmp_path)
    with pytest.raises(ConfigError, match="which is for a lake of one's own"):
        open_service(settings, ServiceConfig())
    assert not (tmp_path / "lake").exists()
