"""Merging over HTTP: the same guards, choices and rights whatever way a client takes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from service_thread import serving

from dbt.adapters.lakehouse.catalog.model import ConflictKind, Key, RefKind
from dbt.adapters.lakehouse.errors import (
    BadRequest,
    Denied,
    Guarded,
    MergeConflict,
    RefNotFound,
    RefProtected,
    TaintedError,
)
from dbt.adapters.lakehouse.lake.base import Build, Merged, MergeRequest, Name, Run, RunRequest
from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake
from dbt.adapters.lakehouse.service.config import ServiceConfig
from dbt.adapters.lakehouse.service.core import Service
from dbt.adapters.lakehouse.service.start import open_service
from dbt.adapters.lakehouse.settings import Isolation, LakeSettings, PublishMode, ServiceSettings

_RUNS = itertools.count(1)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("merging")
    where = LakeSettings(warehouse=f"file://{folder}/lake", catalog=f"sqlite:///{folder}/lake/catalog.sqlite")
    opened = open_service(where, ServiceConfig.of({"workers": {"count": 2, "memory": "1GB"}}))
    opened.start()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def url(service: Service) -> Iterator[str]:
    with serving(service) as url:
        yield url


Client = Callable[..., RemoteLake]


@pytest.fixture
def client(service: Service, url: str) -> Iterator[Client]:
    lakes: list[RemoteLake] = []

    def connected(user: str = "pia", role: str = "publisher") -> RemoteLake:
        text = service.store.create_token(name="t", user=user, role=role, created_by="test")[1]
        lakes.append(RemoteLake(ServiceSettings(url=url, token=text)))
        return lakes[-1]

    yield connected
    for lake in lakes:
        lake.close()


def open_run(lake: RemoteLake, branch: str, **more: Any) -> Run:
    keys = {"id": f"{next(_RUNS):04}-run", "command": "dbt build", "branch": branch, "default_schema": "s", **more}
    return lake.open_run(RunRequest(**keys))


def build(run: Run, table: str, sql: str, node: str | None = None, **more: Any) -> None:
    session = run.session()
    name = Name(database="lake", schema="s", name=table)
    session.build(Build(name=name, sql=sql, node=node or f"model.shop.{table}", **more))
    session.close()


def write(lake: RemoteLake, branch: str, table: str, sql: str, node: str | None = None, **more: Any) -> None:
    run = open_run(lake, branch, **more)
    build(run, table, sql, node)
    run.publish()


def branch(lake: RemoteLake, name: str) -> str:
    lake.catalog.create_ref(name, RefKind.BRANCH, "main")
    return name


def merge(lake: RemoteLake, source: str, **more: Any) -> Merged:
    return lake.versions.merge(MergeRequest(source=source, target="main", author="nobody", **more))


def rows(lake: RemoteLake, table: str) -> list[Any]:
    session = lake.read("main", once=True)
    try:
        return [row[0] for row in session.execute(f"select * from s.{table} order by 1").rows]
    finally:
        session.close()


def audit(service: Service, verb: str = "merge") -> list[tuple[str, str | None]]:
    return [(entry.outcome, entry.reason) for entry in service.store.audit(limit=50) if entry.verb == verb]


def files(service: Service) -> set[Path]:
    folder = Path(service.settings.warehouse.removeprefix("file://"))
    return {path for path in folder.rglob("*") if path.is_file() and "catalog.sqlite" not in path.name}


def test_a_merge_is_signed_settled_and_written_down(service: Service, client: Client) -> None:
    lake = client()
    write(lake, "main", "t", "select 1 as id")
    work = branch(lake, "settled")
    write(lake, work, "t", "select 2 as id")
    write(lake, "main", "t", "select 3 as id")
    refused = merge(lake, work)
    assert [(str(one.key), one.kind) for one in refused.conflicts] == [("s.t", ConflictKind.BOTH_CHANGED)]
    assert [item.key for item in refused.not_settled] == [Key("s", "t")]
    dry = merge(lake, work, take={Key("s", "t"): "theirs"}, dry_run=True)
    assert (dry.possible, rows(lake, "t")) == (True, [3])
    merged = merge(lake, work, take={Key("s", "t"): "theirs"})
    assert merged.commit is not None
    assert (merged.commit.author, rows(lake, "t")) == ("pia", [2])
    assert ("granted", f"from {work}; s.t: theirs") in audit(service)


def test_tables_are_combined_by_the_service(client: Client) -> None:
    lake = client()
    run = open_run(lake, "main")
    build(run, "parts", "select 1 as id, 'a' as part", partition_by=("part",))
    run.publish()
    work = branch(lake, "combined")
    for name, value in ((work, 2), ("main", 3)):
        run = open_run(lake, name)
        build(run, "parts", f"select {value} as id, 'p{value}' as part", mode="append")
        run.publish()
    dry = merge(lake, work, dry_run=True)
    assert [(entry.name, getattr(entry, "rows", None)) for entry in dry.made] == [("parts", 3)]
    merged = merge(lake, work)
    assert [item.how for item in merged.settled] == ["combined"]
    assert rows(lake, "parts") == [1, 2, 3]


TAKEOVER = "model.crm.other"


@pytest.fixture
def taken_over(client: Client) -> tuple[RemoteLake, str, str]:
    """A table of ``main`` that a branch has of another owner and with fewer columns; the branch and the table."""
    lake, number = client(), next(_RUNS)
    table = f"owned{number}"
    write(lake, "main", table, "select 1 as id, 'a' as name")
    work = branch(lake, f"guarded{number}")
    write(lake, work, table, "select 2 as id", TAKEOVER, allow=frozenset({"owner"}))
    return lake, work, table


def test_guards_stand_before_the_versions(service: Service, taken_over: tuple[RemoteLake, str, str]) -> None:
    lake, work, table = taken_over
    dry = merge(lake, work, dry_run=True)
    assert [refusal.guard for refusal in dry.refusals] == ["owner", "schema"]
    with pytest.raises(Guarded, match="--allow owner --allow schema"):
        merge(lake, work)
    assert merge(lake, work, allow=frozenset({"owner", "schema"})).commit
    how = f"from {work}; allowed another owner of s.{table}; allowed another schema of s.{table}"
    assert ("granted", how) in audit(service)


@pytest.mark.parametrize("dry_run", [True, False])
def test_guards_stand_before_the_catalog(taken_over: tuple[RemoteLake, str, str], dry_run: bool) -> None:
    lake, work, _ = taken_over
    with pytest.raises(Guarded, match="--allow owner --allow schema"):
        lake.catalog.merge(work, "main", author="x", message="m", dry_run=dry_run)


def test_guards_stand_before_runs(taken_over: tuple[RemoteLake, str, str]) -> None:
    lake, _, table = taken_over
    run = open_run(lake, "main")
    build(run, table, "select 2 as id", TAKEOVER)
    with pytest.raises(Guarded, match=rf"s.{table}: model.shop.{table} wrote it.*column 'name' would go"):
        run.publish()
    run = open_run(lake, "main", allow=frozenset({"owner", "schema"}))
    build(run, table, "select 2 as id", TAKEOVER)
    assert run.publish() is not None


def test_who_may_not_merge_is_told_so_before_anything_is_made(service: Service, client: Client) -> None:
    lake, other = client(), client("dora", "developer")
    write(lake, "main", "d", "select 1 as id")
    branch(other, "dev/dora")
    write(other, "dev/dora", "d", "select 2 as id")
    write(lake, "main", "d", "select 3 as id")
    before = files(service)
    with pytest.raises(Denied, match="may not merge into branch 'main'"):
        merge(other, "dev/dora", take_all="both")
    with pytest.raises(Denied, match="may not merge into branch 'main'"):
        other.catalog.merge("dev/dora", "main", author="", message="")
    assert files(service) == before
    assert merge(other, "dev/dora", dry_run=True).conflicts
    assert [outcome for outcome, _ in audit(service)][:2] == ["denied", "denied"]
    with pytest.raises(RefNotFound):
        other.versions.merge(MergeRequest(source="main", target="nothing", author=""))


def test_what_is_tainted_is_told_on_a_dry_run_and_refused(service: Service, client: Client) -> None:
    lake = client()
    run = open_run(lake, "main")
    build(run, "tainted", "select 1 as id")
    run.fail("a test failed", {"model.shop.tainted": {"status": "success"}})
    assert run.branch is not None
    lake.catalog.create_ref("off-a-failure", RefKind.BRANCH, run.branch)
    assert "did not pass" in (merge(lake, "off-a-failure", dry_run=True).tainted or "")
    for dry_run in (True, False):
        with pytest.raises(TaintedError):
            lake.catalog.merge("off-a-failure", "main", author="", message="m", dry_run=dry_run)
    with pytest.raises(TaintedError):
        merge(lake, "off-a-failure")
    merged = merge(lake, "off-a-failure", accept_tainted=True)
    assert merged.commit is not None
    assert merged.commit.provenance["accepted_tainted"] == [run.request.id]
    assert ("granted", "from off-a-failure; accepting what is tainted") in audit(service)


def test_clients_do_not_settle_by_themselves(client: Client) -> None:
    lake = client()
    with pytest.raises(BadRequest):
        lake.catalog.merge("main", "main", author="", message="", reads={Key("s", "t"): None})


def test_serializable_runs_are_held_to_what_they_read(client: Client) -> None:
    lake = client()
    write(lake, "main", "raw", "select 1 as id")
    run = open_run(lake, "main", isolation=Isolation.SERIALIZABLE)
    build(run, "copy", "select * from s.raw")
    write(lake, "main", "raw", "select 2 as id")
    with pytest.raises(MergeConflict, match=r"s\.raw, which it read, changed") as caught:
        run.publish()
    assert [one.kind for one in caught.value.conflicts] == [ConflictKind.READ_CHANGED]


def test_each_node_on_a_protected_branch_is_refused_ahead(client: Client) -> None:
    lake, admin = client(), client("root", "admin")
    branch(lake, "prod")
    admin.catalog.protect("prod", True)
    run = open_run(lake, "prod", publish=PublishMode.EACH_NODE)
    with pytest.raises(RefProtected, match="with publish: each_node every node is written to it"):
        run.session().execute("select 1")
