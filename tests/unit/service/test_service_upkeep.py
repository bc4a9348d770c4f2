"""Collecting garbage and compacting by a service: for admins alone, by its own workers in their sandbox."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import urllib3
from service_thread import serving

from dbt.adapters.lakehouse.catalog.model import Key, TableEntry
from dbt.adapters.lakehouse.errors import Collected, ConfigError, Denied, NotInLake
from dbt.adapters.lakehouse.lake.base import CollectRequest, CompactRequest, RunRequest
from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake
from dbt.adapters.lakehouse.service.config import ServiceConfig
from dbt.adapters.lakehouse.service.core import Service
from dbt.adapters.lakehouse.service.start import open_service
from dbt.adapters.lakehouse.settings import LakeSettings, PublishMode, ServiceSettings

NOW = CollectRequest(history=timedelta(0), results=timedelta(0), grace=timedelta(0), alone=True)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("upkeep")
    where = LakeSettings(warehouse=f"file://{folder}/lake", catalog=f"sqlite:///{folder}/lake/catalog.sqlite")
    opened = open_service(where, ServiceConfig.of({"workers": {"count": 2, "memory": "1GB"}}))
    opened.start()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def url(service: Service) -> Iterator[str]:
    with serving(service) as url:
        yield url


@pytest.fixture
def lake(service: Service, url: str) -> Iterator[Callable[[str], RemoteLake]]:
    made: list[RemoteLake] = []

    def as_role(role: str) -> RemoteLake:
        _, token = service.store.create_token(name="t", user=f"u-{role}", role=role, created_by="test")
        made.append(RemoteLake(ServiceSettings(url=url, token=token)))
        return made[-1]

    yield as_role
    for one in made:
        one.close()


def execute(lake: RemoteLake, sql: str) -> None:
    run = lake.open_run(
        RunRequest(id=str(uuid.uuid4()), command="x", branch="main", publish=PublishMode.EACH_NODE, default_schema="s")
    )
    session = run.session()
    session.execute(sql)
    session.close()
    run.publish()


@pytest.mark.parametrize("role", ["reader", "developer", "publisher"])
def test_who_is_no_admin_may_not(lake: Callable[[str], RemoteLake], service: Service, role: str) -> None:
    maintenance = lake(role).maintenance
    for act in (lambda: maintenance.collect(NOW), lambda: maintenance.compact(CompactRequest(branch="main"))):
        with pytest.raises(Denied, match="are for role 'admin'"):
            act()
        assert service.store.audit(limit=1)[0].outcome == "denied"


def test_a_service_compacts_and_collects(lake: Callable[[str], RemoteLake], service: Service, url: str) -> None:
    admin = lake("admin")
    execute(admin, "CREATE SCHEMA IF NOT EXISTS s; CREATE TABLE s.t AS SELECT range AS id FROM range(300_000)")
    execute(admin, "INSERT INTO s.t SELECT -1; INSERT INTO s.t SELECT -2")
    execute(admin, "DELETE FROM s.t WHERE id = 77")
    old = admin.catalog.resolve("main").id
    done = admin.maintenance.compact(CompactRequest(branch="main", tables=(Key("s", "t"),), snapshots=1))
    (table,) = done.tables
    assert table.after is not None
    assert (table.before.files, table.before.deletes, table.after.files, table.after.deletes) == (3, 1, 1, 0)
    assert admin.catalog.resolve("main").author == "u-admin"
    assert admin.read("main").execute("SELECT count(*), min(id) FROM s.t").rows == [(300_001, -2)]
    folder = Path(service.settings.warehouse.removeprefix("file://")) / "s"
    assert len(list(folder.rglob("*.parquet"))) > 1
    planned = admin.maintenance.collect(
        CollectRequest(history=timedelta(0), results=timedelta(0), grace=timedelta(0), alone=True, dry_run=True)
    )
    assert planned.files > 0
    found = admin.maintenance.collect(NOW)
    assert found.files == planned.files
    assert len(list(folder.rglob("*.parquet"))) == 1
    assert admin.read("main").execute("SELECT count(*) FROM s.t").rows == [(300_001,)]
    with pytest.raises(Collected, match="collected"):
        admin.read(old).execute("SELECT * FROM s.t")
    with pytest.raises(ConfigError, match="below an hour"):
        admin.maintenance.collect(CollectRequest(grace=timedelta(0)))
    with pytest.raises(NotInLake):
        admin.maintenance.compact(CompactRequest(branch="main", tables=(Key("s", "none"),)))
    entry = admin.catalog.lookup(admin.catalog.resolve("main").id, [Key("s", "t")])[Key("s", "t")]
    assert isinstance(entry, TableEntry)


@pytest.mark.parametrize("history", [1e300, -1.0, "soon"])
def test_times_that_are_none(lake: Callable[[str], RemoteLake], service: Service, url: str, history: object) -> None:
    _, token = service.store.create_token(name="t", user="root", role="admin", created_by="test")
    pool = urllib3.PoolManager(retries=False)
    body = {"history": history, "failed_runs": 0, "results": 0, "grace": 3600}
    answer = pool.request("POST", f"{url}/v1/gc", json=body, headers={"Authorization": f"Bearer {token}"})
    assert 400 <= answer.status < 500
    assert answer.json()["kind"] in ("bad_request", "config")
    pool.clear()
