"""Going back over a service: by those who may write the branch, in their name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from service_thread import serving

from dbt.adapters.lakehouse.catalog.model import Key, RefKind, RunStatus
from dbt.adapters.lakehouse.errors import ConfigError, Denied, HeadMoved, NotInLake
from dbt.adapters.lakehouse.lake.base import Build, Name, RunRequest
from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake
from dbt.adapters.lakehouse.run.going_back import ResetRequest, RevertRequest
from dbt.adapters.lakehouse.service.config import ServiceConfig
from dbt.adapters.lakehouse.service.start import open_service
from dbt.adapters.lakehouse.settings import LakeSettings, ServiceSettings

T1 = (Key("s", "t1"),)
CONFIG = {"roles": {"narrow": {"read": ["dev/{user}*"], "write": ["dev/{user}*"]}}, "workers": {"count": 1}}


class People:
    """Clients of one service, each named like their role."""

    def __init__(self) -> None:
        self.lakes: dict[str, RemoteLake] = {}
        self.runs = 0

    def run(self, role: str, branch: str = "main", **tables: str) -> str:
        self.runs += 1
        run = self.lakes[role].open_run(RunRequest(id=f"{self.runs:04}-run", command="dbt build", branch=branch))
        with closing(run.session()) as session:
            for name, sql in tables.items():
                place = Name(database="lake", schema="s", name=name)
                session.build(Build(name=place, sql=sql, node=f"model.shop.{name}"))
        commit = run.publish({f"model.shop.{name}": {"status": "success"} for name in tables})
        assert commit is not None
        return commit.id


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    (tmp_path / "lake").mkdir()
    where = LakeSettings(warehouse=f"file://{tmp_path}/lake", catalog=f"sqlite:///{tmp_path}/lake/catalog.sqlite")
    service = open_service(where, ServiceConfig.of(CONFIG))
    service.start()
    people = People()
    with closing(service), serving(service) as url:
        for role in ("admin", "publisher", "developer", "narrow"):
            _, token = service.store.create_token(name="t", user=role, role=role, created_by="test")
            people.lakes[role] = RemoteLake(ServiceSettings(url=url, token=token))
        yield people
        for lake in people.lakes.values():
            lake.close()


def test_going_back_over_a_service(people: People) -> None:
    publisher, developer = people.lakes["publisher"], people.lakes["developer"]
    first = people.run("publisher", t1="SELECT 1 AS a", t2="SELECT a * 10 AS a FROM s.t1")
    second = people.run("publisher", t1="SELECT 2 AS a", t2="SELECT a * 10 AS a FROM s.t1")
    request = RevertRequest(branch="main", author="somebody else", tables=T1, to=first)
    refused = publisher.versions.revert(request)
    assert refused.refused
    assert [(one.key.name, one.why) for one in refused.dependants] == [("t2", "computed_from")]
    with pytest.raises(Denied, match="developer"):
        developer.versions.revert(RevertRequest(branch="main", author="x", commit=second))
    with pytest.raises(Denied, match="developer"):
        developer.versions.reset(ResetRequest(branch="main", to=first, author="x"))
    with pytest.raises(NotInLake, match="nope"):
        publisher.versions.revert(RevertRequest(branch="main", author="x", tables=(Key("s", "nope"),), to=first))
    with pytest.raises(ConfigError, match="--to"):
        publisher.versions.revert(RevertRequest(branch="main", author="x"))
    assert publisher.catalog.resolve("main").id == second

    done = publisher.versions.revert(RevertRequest(branch="main", author="x", tables=T1, to=first, knowingly=True))
    assert done.commit is not None
    assert done.commit.author == "publisher"
    (stale,) = developer.versions.stale("main")
    assert (stale.key, stale.moved[0].input) == (Key("s", "t2"), Key("s", "t1"))
    assert stale.moved[0].by == done.commit
    with pytest.raises(HeadMoved):
        publisher.versions.reset(ResetRequest(branch="main", to=second, author="x", expected=second))
    publisher.versions.reset(ResetRequest(branch="main", to=second, author="x"))
    assert developer.versions.stale("main") == []


def test_a_protected_branch_over_a_service(people: People) -> None:
    publisher, developer = people.lakes["publisher"], people.lakes["developer"]
    people.run("publisher", t1="SELECT 1 AS a")
    second = people.run("publisher", t1="SELECT 2 AS a")
    developer.catalog.create_ref("dev/developer", RefKind.BRANCH, "main")
    undone = developer.versions.revert(RevertRequest(branch="dev/developer", author="x", commit=second))
    assert undone.commit is not None
    with pytest.raises(Denied):
        developer.versions.revert(RevertRequest(branch="main", author="x", commit=second))
    people.lakes["admin"].catalog.protect("main", True)
    undone = publisher.versions.revert(RevertRequest(branch="main", author="x", commit=second))
    assert undone.commit is not None
    assert (undone.commit.author, len(undone.commit.parents)) == ("publisher", 2)
    assert publisher.catalog.runs(1)[0].status is RunStatus.PUBLISHED
    assert [ref.name for ref in publisher.catalog.refs(RefKind.BRANCH)] == ["dev/developer", "main"]
    with closing(publisher.read("dev/developer", "s")) as session:
        assert session.execute("SELECT a FROM t1").rows == [(1,)]


def test_who_sees_only_their_own_branches_is_told_the_same(people: People) -> None:
    narrow = people.lakes["narrow"]
    people.run("publisher", t1="SELECT 1 AS a", t2="SELECT a FROM s.t1")
    people.run("publisher", t1="SELECT 1 AS a WHERE true")  # the same rows of another version
    publisher = people.lakes["publisher"]
    publisher.catalog.create_ref("dev/narrow", RefKind.BRANCH, "main")
    assert narrow.versions.stale("dev/narrow") == []
    people.run("publisher", branch="dev/narrow", t1="SELECT 5 AS a")
    (stale,) = narrow.versions.stale("dev/narrow")
    assert stale.key == Key("s", "t2")
    last = narrow.catalog.resolve("dev/narrow").id
    reverted = narrow.versions.revert(RevertRequest(branch="dev/narrow", author="x", commit=last))
    assert (reverted.refused, narrow.versions.stale("dev/narrow")) == (False, [])
