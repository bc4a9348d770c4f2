"""Roles that read granted relations alone, over a real service: what they find, and that there is no way around."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from service_thread import serving

from dbt.adapters.lakehouse.catalog.model import Key, SchemaEntry, content_id
from dbt.adapters.lakehouse.errors import ConfigError, Denied, LakehouseError, NotInLake, RefNotFound, SandboxError
from dbt.adapters.lakehouse.lake.base import RunRequest
from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake
from dbt.adapters.lakehouse.service.config import ServiceConfig
from dbt.adapters.lakehouse.service.core import Service
from dbt.adapters.lakehouse.service.start import open_service
from dbt.adapters.lakehouse.settings import LakeSettings, PublishMode, ServiceSettings

ROLE = {"analyst": {"read": ["*"], "reads": "granted"}}
CONFIG = ServiceConfig.of({"roles": ROLE, "workers": {"count": 2, "memory": "1GB"}})
MADE = (
    "create schema s",
    "create table s.secret as select 1 as id, 'pin' as code",
    "create table s.orders as select 1 as id",
    "create view s.names as select id from lake.s.secret",
    "create view s.over as select id from lake.s.names",
    "create view s.hidden as select id from lake.s.orders",
    'grant select on s.orders to "ann", analyst',
    "grant select, insert on s.over to ann",
)


class Lake:
    """A service, and clients of it."""

    def __init__(self, service: Service, url: str) -> None:
        self.service, self.url = service, url
        self._open: list[RemoteLake] = []

    def of(self, user: str, role: str) -> RemoteLake:
        token = self.service.store.create_token(name="t", user=user, role=role, created_by="test")[1]
        self._open.append(lake := RemoteLake(ServiceSettings(url=self.url, token=token)))
        return lake

    def on_main(self, *statements: str) -> None:
        request = RunRequest(
            id=str(uuid.uuid4()), command="test", branch="main", publish=PublishMode.EACH_NODE, default_schema="s"
        )
        with closing(self.of("root", "admin").open_run(request).session()) as session:
            for statement in statements:
                session.execute(statement)

    def close(self) -> None:
        for lake in self._open:
            lake.close()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    folder = tmp_path_factory.mktemp("granted")
    where = LakeSettings(warehouse=f"file://{folder}/lake", catalog=f"sqlite:///{folder}/lake/catalog.sqlite")
    service = open_service(where, CONFIG)
    service.start()
    with serving(service) as url, closing(Lake(service, url)) as made:
        made.of("ann", "analyst")
        made.of("bob", "analyst")
        made.on_main(*MADE)
        yield made
    service.close()


def rows(lake: RemoteLake, sql: str, ref: str = "main") -> list[Any]:
    with closing(lake.read(ref, "s")) as session:
        return list(session.execute(sql).rows)


def refused(lake: RemoteLake, sql: str, kind: type[LakehouseError] = LakehouseError) -> str:
    with pytest.raises(kind) as caught:
        rows(lake, sql)
    return str(caught.value)


def test_what_is_granted_is_read_and_nothing_else_is_found(lake: Lake) -> None:
    ann, bob = lake.of("ann", "analyst"), lake.of("bob", "analyst")
    assert rows(ann, "select * from s.orders") == rows(bob, 'select * from "lake@main".s.orders') == [(1,)]
    assert rows(ann, "select id from s.over") == [(1,)]  # by the right of who made it, two views deep
    assert "does not exist" in refused(bob, "select * from s.over")
    for sql in ("select * from s.secret", "select * from s.names", 'select * from "lake@main".s.secret'):
        assert "does not exist" in refused(ann, sql)
    head = ann.catalog.resolve("main").id
    assert {str(key) for key in ann.catalog.entries(head)} == {"s", "s.orders", "s.over"}
    assert ann.catalog.lookup(head, [Key("s", "secret")]) == {}
    with closing(ann.read("main", "s")) as session:
        assert [entry.name for entry in session.relations("lake")] == ["orders", "over"]
    assert rows(ann, "select table_name from information_schema.tables where table_schema = 's' order by 1") == [
        ("orders",),
        ("over",),
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "select s.code from s.over o, s.secret s",
        "select * from s.over, lake.s.secret",
        'select * from s.over, "SECRET"',
        "select * from s.over where exists (from s.names)",
        "select * from s.over, query_table('secret')",
        "select * from s.over, query('select * from s.secret')",
        "select * from s.over, query('select * from s.se' || 'cret')",
        "create temp macro peek() as table select * from lake.s.secret",
        "create temp view peek as select * from lake.s.secret",
        "create temp table peek as select * from s.over",
        "set variable x = 1",
        "prepare x as select * from s.secret",
        "pivot s.over on id; select * from s.secret",
    ],
)
def test_what_a_view_reads_is_reached_through_the_view_alone(lake: Lake, sql: str) -> None:
    ann = lake.of("ann", "analyst")
    with closing(ann.read("main", "s")) as session, contextlib.suppress(LakehouseError):
        session.execute("select * from s.over")
        for statement in (sql, "select * from s.over, peek()", "select * from s.over, peek", "execute x"):
            found = session.execute(statement)
            assert "pin" not in repr(list(found.rows))
            assert statement == sql
    refused(ann, sql)


def test_arrow_and_description_and_setup(lake: Lake) -> None:
    ann = lake.of("ann", "analyst")
    with closing(ann.read("main", "s")) as session:
        assert session.arrow("select * from s.over").num_rows == 1
        with pytest.raises(NotInLake, match=r"s\.secret is not granted to you"):
            session.arrow("select * from s.over, s.secret")
        with pytest.raises(NotInLake):
            session.describe("select * from s.over, s.secret")
        with pytest.raises(SandboxError, match="plain SELECTs"):
            session.describe("select * from s.over", ("create temp macro m() as 1",))


def test_history_is_not_a_way_around(lake: Lake) -> None:
    ann = lake.of("ann", "analyst")
    with pytest.raises(RefNotFound):
        ann.catalog.resolve("main~1")
    root = lake.of("root", "admin")
    head = root.catalog.resolve("main").id
    before = root.catalog.resolve("main~2").id
    with pytest.raises(RefNotFound):
        ann.catalog.resolve(before)
    with pytest.raises(RefNotFound):
        ann.catalog.entries(before)
    assert all(commit.provenance == {} for commit in ann.catalog.log(ann.catalog.resolve("main").id))
    assert {str(c.key) for c in ann.catalog.changes(head)} <= {"s", "s.over"}
    assert ann.catalog.last_change(head, Key("s", "secret")) is None
    assert ann.runs() == []
    secret = root.catalog.lookup(head, [Key("s", "secret")])

    assert ann.catalog.contents([content_id(next(iter(secret.values())))]) == {}


def test_nothing_is_written(lake: Lake) -> None:
    ann = lake.of("ann", "analyst")
    request = RunRequest(id=str(uuid.uuid4()), command="dbt run", branch="main", default_schema="s")
    with pytest.raises(Denied):
        ann.open_run(request).session()


def test_a_grant_is_taken_back_moved_and_dropped_with_its_relation(lake: Lake) -> None:
    bob = lake.of("bob", "analyst")
    lake.on_main("create table s.t as select 1 as id", "grant select on s.t to bob, analyst")
    assert rows(bob, "select * from s.t") == [(1,)]
    lake.on_main("revoke select on s.t from analyst", "create or replace table s.t as select 2 as id")
    assert rows(bob, "select * from s.t") == [(2,)]
    lake.on_main("alter table s.t rename to u")
    assert rows(bob, "select * from s.u") == [(2,)]
    lake.on_main("create table s.t as select 3 as id")
    refused(bob, "select * from s.t")
    lake.on_main("drop table s.u", "create table s.u as select 4 as id")
    refused(bob, "select * from s.u")
    lake.on_main("grant select on s.u to bob")
    assert rows(bob, "select * from s.u") == [(4,)]
    lake.on_main("revoke select on s.u from bob")
    refused(bob, "select * from s.u")


def test_whom_and_what_can_be_granted(lake: Lake) -> None:
    for statement, error, words in (
        ("grant select on s.orders to nobody_known", ConfigError, "user or role 'nobody_known' does not exist"),
        ("grant look on s.orders to ann", LakehouseError, "unrecognized privilege 'look'"),
        ("grant select on s.missing to ann", NotInLake, "does not exist on this branch"),
        ("grant select on s.orders", LakehouseError, "does not say to whom"),
        ("grant select to ann", LakehouseError, "needs a relation"),
        ("show grants on s.orders please", LakehouseError, "ends with the relation"),
    ):
        with pytest.raises(error, match=words):
            lake.on_main(statement)
    root = lake.of("root", "admin")
    assert sorted(rows(root, "show grants on s.over")) == [("ann", "insert"), ("ann", "select")]
    assert sorted(rows(root, "show grants on s.orders")) == [("analyst", "select"), ("ann", "select")]
    # What others were granted is not told.
    schema = lake.of("bob", "analyst").catalog.entries(root.catalog.resolve("main").id)[Key("s", "")]
    assert isinstance(schema, SchemaEntry)
    assert {one[2] for one in schema.grants} == {"analyst"}


@pytest.mark.parametrize(
    "said",
    [
        {"reads": "some"},
        {"reads": "granted", "write": ["dev/{user}"]},
        {"reads": "granted", "may": ["tags"]},
        {"like": "developer", "reads": "granted"},
    ],
)
def test_roles_that_cannot_be_meant(said: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="reads"):
        ServiceConfig.of({"roles": {"r": {"read": ["*"], **said}}})
