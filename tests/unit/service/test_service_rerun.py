"""Past runs done again over a service: the same verb, by those who may make a branch."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from service_thread import serving

from dbt.adapters.lakehouse.catalog.model import RefKind
from dbt.adapters.lakehouse.errors import Denied
from dbt.adapters.lakehouse.lake.base import Build, Name, RunRequest
from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake
from dbt.adapters.lakehouse.lake.rerun import RerunRequest, rerun
from dbt.adapters.lakehouse.run.values import FileSource
from dbt.adapters.lakehouse.service.config import ServiceConfig
from dbt.adapters.lakehouse.service.start import open_service
from dbt.adapters.lakehouse.settings import LakeSettings, ServiceSettings


class People:
    """Clients of a service, by role."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.lakes: dict[str, RemoteLake] = {}

    def serve(self) -> Iterator[People]:
        where = LakeSettings(
            warehouse=f"file://{self._folder}/lake", catalog=f"sqlite:///{self._folder}/lake/catalog.sqlite"
        )
        service = open_service(where, ServiceConfig.of({"workers": {"count": 2}}))
        service.start()
        with closing(service), serving(service) as url:
            for role in ("admin", "developer", "reader"):
                _, token = service.store.create_token(name="t", user=role, role=role, created_by="test")
                self.lakes[role] = RemoteLake(ServiceSettings(url=url, token=token))
            yield self
            for lake in self.lakes.values():
                lake.close()


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    (tmp_path / "lake").mkdir()
    yield from People(tmp_path).serve()


def build(table: str, sql: str, **more: object) -> Build:
    return Build(name=Name(database="lake", schema="s", name=table), sql=sql, node=f"model.p.{table}", **more)  # type: ignore[arg-type]


def test_a_run_is_done_again_over_a_service(people: People, tmp_path: Path) -> None:
    admin = people.lakes["admin"]
    file = tmp_path / "seed.csv"
    file.write_text("id\n1\n2\n")
    request = RunRequest(id=str(uuid.uuid4()), command="dbt build", branch="main", default_schema="s")
    run = admin.open_run(request)
    with closing(run.session()) as session:
        sql = f"select * from read_csv('{file}')"
        session.build(build("seed", sql, local=True, file=FileSource(digest="d", how="csv")))
        session.create_view(Name(database="lake", schema="s", name="v"), "select id from s.seed", node="model.p.v")
        session.build(build("a", "select id, random() as luck from s.v"))
        session.execute("create macro one() as 1")
        session.execute("create table s.log as select one() as n")
        session.execute("insert into log values (2)")
    run.publish()
    file.unlink()
    main = admin.catalog.resolve("main")

    found = rerun(admin, RerunRequest(run=request.id, author="who"))
    assert {table.name: table.outcome for table in found.tables} == {
        "seed": "taken",
        "v": "equal",
        "a": "differs",
        "log": "equal",
    }
    assert [table.values for table in found.tables if table.name == "a"] == [("luck",)]
    assert found.branch == f"rerun/{request.id[:8]}"
    assert admin.catalog.resolve("main") == main
    assert admin.catalog.resolve(found.branch).author == "admin"

    developer = people.lakes["developer"]
    with pytest.raises(Denied, match="with --branch"):
        rerun(developer, RerunRequest(run=request.id, author="who"))
    again = rerun(developer, RerunRequest(run=request.id, author="who", branch="dev/developer/again"))
    assert (again.branch, again.equal) == ("dev/developer/again", False)

    before = admin.catalog.refs(RefKind.BRANCH)
    with pytest.raises(Denied):
        rerun(people.lakes["reader"], RerunRequest(run=request.id, author="who", branch="dev/reader/again"))
    assert admin.catalog.refs(RefKind.BRANCH) == before
