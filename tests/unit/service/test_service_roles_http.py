"""Roles over HTTP: every way into the service, for those who may and those who may not."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import urllib3
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from service_thread import serving

from dbt.adapters.lakehouse.catalog.model import RefKind
from dbt.adapters.lakehouse.errors import Denied, JobNotFound, LakehouseError, RefNotFound, Unauthenticated
from dbt.adapters.lakehouse.lake.base import Build, Name, RunRequest
from dbt.adapters.lakehouse.lake.remote.admin import RemoteAdmin, TokenWish
from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake
from dbt.adapters.lakehouse.service.config import ServiceConfig
from dbt.adapters.lakehouse.service.core import Service
from dbt.adapters.lakehouse.service.start import open_service
from dbt.adapters.lakehouse.settings import LakeSettings, PublishMode, ServiceSettings

CONFIG = ServiceConfig.of(
    {"roles": {"narrow": {"read": ["dev/{user}*"], "write": ["dev/{user}*"]}}, "workers": {"count": 2, "memory": "1GB"}}
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("roles")
    where = LakeSettings(warehouse=f"file://{folder}/lake", catalog=f"sqlite:///{folder}/lake/catalog.sqlite")
    opened = open_service(where, CONFIG)
    opened.start()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def url(service: Service) -> Iterator[str]:
    with serving(service) as url:
        yield url


class People:
    """Clients of the service, by user and role."""

    def __init__(self, service: Service, url: str) -> None:
        self.service = service
        self.url = url
        self.raw = urllib3.PoolManager(retries=False)
        self._tokens: dict[tuple[str, str], str] = {}
        self._lakes: list[RemoteLake | RemoteAdmin] = []

    def token(self, user: str, role: str) -> str:
        if (user, role) not in self._tokens:
            made = self.service.store.create_token(name="t", user=user, role=role, created_by="test")
            self._tokens[user, role] = made[1]
        return self._tokens[user, role]

    def lake(self, user: str, role: str) -> RemoteLake:
        self._lakes.append(lake := RemoteLake(ServiceSettings(url=self.url, token=self.token(user, role))))
        return lake

    def admin(self, user: str, role: str) -> RemoteAdmin:
        self._lakes.append(admin := RemoteAdmin(ServiceSettings(url=self.url, token=self.token(user, role))))
        return admin

    def ask(self, who: tuple[str, str], method: str, path: str, body: Any = None, **more: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.token(*who)}", **more}
        text = None if body is None else json.dumps(body)
        if text is not None:
            headers["Content-Type"] = "application/json"
        answer = self.raw.request(method, self.url + path, body=text, headers=headers)
        return answer.status, answer.json()

    def close(self) -> None:
        for lake in self._lakes:
            lake.close()
        self.raw.clear()


@pytest.fixture
def people(service: Service, url: str) -> Iterator[People]:
    made = People(service, url)
    yield made
    made.close()


def build(lake: RemoteLake, branch: str, sql: str, name: str = "t") -> str:
    """Build and publish a table; the run's id."""
    request = RunRequest(id=str(uuid.uuid4()), command="dbt build", branch=branch, default_schema="s")
    run = lake.open_run(request)
    session = run.session()
    session.build(Build(name=Name(database="lake", schema="s", name=name), sql=sql))
    session.close()
    run.publish()
    return request.id


ADMIN = [
    ("GET", "/v1/tokens", None),
    ("POST", "/v1/tokens", {"user": "eve", "role": "admin"}),
    ("POST", "/v1/tokens/abcd/revoke", None),
    ("GET", "/v1/audit", None),
]


@pytest.mark.parametrize("role", ["reader", "developer", "publisher", "narrow"])
@pytest.mark.parametrize(("method", "path", "body"), ADMIN)
def test_tokens_and_audit_are_for_admins(people: People, role: str, method: str, path: str, body: Any) -> None:
    before = len(people.service.store.tokens())
    people.token("mia", role)
    status, said = people.ask(("mia", role), method, path, body)
    assert (status, said["kind"]) == (403, "denied")
    assert len(people.service.store.tokens()) <= before + 1
    assert people.service.store.audit(limit=1)[0].outcome == "denied"


def test_an_admin_makes_lists_and_revokes_tokens(people: People) -> None:
    admin = people.admin("root", "admin")
    made = admin.create_token(TokenWish(user="noa", role="reader", label="x", expires_in=60.0))
    assert (made.token.user, made.token.created_by, made.token.fault) == ("noa", "root", None)
    assert made.token in admin.tokens()
    noa = RemoteLake(ServiceSettings(url=people.url, token=made.text))
    assert "main" in [ref.name for ref in noa.catalog.refs(RefKind.BRANCH)]
    assert admin.revoke_token(made.token.id[:8]).revoked_at is not None
    time.sleep(1.1)
    with pytest.raises(Unauthenticated):
        noa.catalog.refs()
    noa.close()
    verbs = [line.verb for line in admin.audit(user="root", limit=2)]
    assert verbs == ["revoke_token", "create_token"]


def test_a_token_that_is_asked_for_twice_with_one_key_is_made_once(people: People) -> None:
    wish, key = {"user": "zoe", "role": "reader"}, {"Idempotency-Key": uuid.uuid4().hex}
    first = people.ask(("root", "admin"), "POST", "/v1/tokens", wish, **key)
    assert first[0] == 200
    assert people.ask(("root", "admin"), "POST", "/v1/tokens", wish, **key) == first
    assert len([token for token in people.service.store.tokens() if token.user == "zoe"]) == 1


words = st.text(max_size=30) | st.sampled_from(
    ["0001-01-01T00:00:00+14:00", "2026-01-01", "-1", "1e9", "\x00", "queued", "ann"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(values={}, word=".")
@example(values={}, word="/")
@given(values=st.fixed_dictionaries({}, optional=dict.fromkeys(["user", "since", "limit", "state"], words)), word=words)
def test_nothing_that_is_asked_breaks_the_service(people: People, values: dict[str, str], word: str) -> None:
    query = urlencode(values)
    part = quote(word, safe="") or "x"
    for method, path in (
        ("GET", f"/v1/audit?{query}"),
        ("GET", f"/v1/jobs?{query}"),
        ("GET", f"/v1/jobs/{part}"),
        ("POST", f"/v1/jobs/{part}/cancel"),
        ("POST", f"/v1/tokens/{part}/revoke"),
    ):
        status, _ = people.ask(("root", "admin"), method, path)
        assert status < 500, (method, path)
    wish = {"user": word, "role": values.get("user", "reader"), "label": values.get("state")}
    assert people.ask(("root", "admin"), "POST", "/v1/tokens", wish)[0] < 500


# A role that reads little


def test_a_narrow_role_learns_nothing_of_other_branches(people: People) -> None:
    """By whatever door: catalog, sessions, runs, SQL."""
    pia, eve, bob = people.lake("pia", "publisher"), people.lake("eve", "narrow"), people.lake("bob", "developer")
    pia.catalog.create_ref("secret", RefKind.BRANCH, "main")
    pia.catalog.create_ref("dev/eve", RefKind.BRANCH, "main")
    run_id = build(pia, "secret", "select 'hush' as word")
    commit = pia.catalog.resolve("secret").id
    own = eve.catalog.resolve("dev/eve").id
    open_run = bob.open_run(RunRequest(id=str(uuid.uuid4()), command="dbt build", branch="dev/bob", default_schema="s"))
    bobs = open_run.session()
    bobs.build(Build(name=Name(database="lake", schema="s", name="mine"), sql="select 1 as n"))

    assert {ref.name for ref in eve.catalog.refs()} == {"dev/eve"}
    assert eve.runs() == []
    assert eve.catalog.run(run_id) is None
    for ref in ("secret", "main", commit, commit[:8], f"run/{open_run.request.id}"):
        with pytest.raises(RefNotFound):
            eve.catalog.resolve(ref)
        with pytest.raises(RefNotFound):
            eve.read(ref)
    session = eve.read("dev/eve", "s")
    for ref in ("secret", commit, "main", f"run/{open_run.request.id}"):
        with pytest.raises(LakehouseError) as caught:
            session.execute(f'select * from "lake@{ref}".s.t')
        assert "hush" not in str(caught.value)
        assert caught.value.kind == "ref_not_found", ref
        with pytest.raises(RefNotFound):
            session.relations(f"lake@{ref}")
    session.close()

    read = f"/v1/reads/{uuid.uuid4().hex}"
    status, said = people.ask(
        ("eve", "narrow"), "POST", f"{read}/execute?commit={commit}", {"sql": "select * from s.t"}
    )
    assert (status, said["kind"]) == (404, "ref_not_found")
    status, said = people.ask(("eve", "narrow"), "GET", f"/v1/runs/{open_run.request.id}")
    assert status in (403, 404)
    assert "dev/bob" not in json.dumps(said)
    for verb, body in (("execute", {"sql": "select * from s.mine"}), ("close", None)):
        where = f"/v1/runs/{open_run.request.id}/sessions/{uuid.uuid4().hex}/{verb}"
        assert people.ask(("eve", "narrow"), "POST", where, body)[0] in (403, 404, 405)
    for verb in ("publish", "fail", "cancel"):
        body = {"reason": "x"} if verb == "fail" else {}
        status, _ = people.ask(("eve", "narrow"), "POST", f"/v1/runs/{open_run.request.id}/{verb}", body)
        assert status in (403, 404, 405)
    bobs.close()
    assert open_run.publish() is not None
    assert eve.catalog.resolve("dev/eve").id == own


def test_a_run_with_the_id_of_anothers_is_refused(people: People) -> None:
    bob, ann = people.lake("bob", "developer"), people.lake("ann", "developer")
    request = RunRequest(id=str(uuid.uuid4()), command="dbt build", branch="dev/bob", default_schema="s")
    run = bob.open_run(request)
    session = run.session()
    session.build(Build(name=Name(database="lake", schema="s", name="x"), sql="select 1 as n"))
    session.close()
    theirs = RunRequest(id=request.id, command="dbt build", branch="dev/ann", default_schema="s")
    with pytest.raises(LakehouseError):
        build_in(ann, theirs)
    run.publish()
    assert bob.catalog.resolve("dev/bob").author == "bob"


@pytest.mark.parametrize("mode", [PublishMode.ON_SUCCESS, PublishMode.EACH_NODE])
def test_a_developers_writes_to_main_are_refused(people: People, mode: PublishMode) -> None:
    ann = people.lake("ann", "developer")
    before = ann.catalog.resolve("main").id
    for command in ("dbt build", "dbt"):
        request = RunRequest(id=str(uuid.uuid4()), command=command, branch="main", publish=mode, default_schema="s")
        with pytest.raises(Denied, match="user 'ann' has role 'developer'"):
            build_in(ann, request)
    assert ann.catalog.resolve("main").id == before


def build_in(lake: RemoteLake, request: RunRequest) -> None:
    run = lake.open_run(request)
    session = run.session()
    try:
        session.build(Build(name=Name(database="lake", schema="s", name="t"), sql="select 1 as n"))
        run.publish()
    finally:
        session.close()


def test_the_jobs_of_others_are_theirs(people: People) -> None:
    ann, bob, root = people.lake("ann", "developer"), people.admin("bob", "developer"), people.admin("root", "admin")
    session = ann.read("main")
    session.execute("select 42 as n")
    session.close()
    [job] = [one for one in people.admin("ann", "developer").jobs() if one.label == "query"][:1]
    assert job.user == "ann"
    assert (job.envelope, job.logs) == ("", ())
    assert job.key not in [one.key for one in bob.jobs()]
    assert bob.jobs(user="ann") == []
    for verb in (bob.job, bob.cancel_job, bob.replay_job):
        with pytest.raises(JobNotFound):
            verb(job.key)
    assert "select 42" in root.job(job.key).envelope
    assert root.replay_job(job.key).state == "done"
    assert [line.verb for line in root.audit(user="root", limit=1)] == ["replay_job"]
