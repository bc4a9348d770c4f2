"""What a hostile user with a valid token might send."""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import urllib3
from service_thread import serving

from dbt.adapters.lakehouse.service.config import ServiceConfig
from dbt.adapters.lakehouse.service.core import Service
from dbt.adapters.lakehouse.service.door import LONGEST_DOCUMENT
from dbt.adapters.lakehouse.service.start import open_service
from dbt.adapters.lakehouse.settings import LakeSettings

CONFIG = ServiceConfig.of({"workers": {"count": 1, "memory": "1GB"}})


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("attacks")
    where = LakeSettings(warehouse=f"file://{folder}/lake", catalog=f"sqlite:///{folder}/lake/catalog.sqlite")
    opened = open_service(where, CONFIG)
    opened.start()
    yield opened
    opened.close()


class Attacker:
    """Raw requests, as any user with any role."""

    def __init__(self, service: Service, url: str) -> None:
        self.service = service
        self.url = url
        self.raw = urllib3.PoolManager(retries=False)
        self._tokens: dict[tuple[str, str], str] = {}

    def headers(self, user: str, role: str = "developer") -> dict[str, str]:
        if (user, role) not in self._tokens:
            made = self.service.store.create_token(name="t", user=user, role=role, created_by="test")
            self._tokens[user, role] = made[1]
        return {"Authorization": f"Bearer {self._tokens[user, role]}", "Content-Type": "application/json"}

    def post(self, user: str, path: str, body: Any = None, *, role: str = "developer") -> tuple[int, bytes]:
        text = None if body is None else json.dumps(body)
        answer = self.raw.request("POST", self.url + path, body=text, headers=self.headers(user, role))
        return answer.status, answer.data

    def open(self, user: str, branch: str, run_id: str | None = None, *, role: str = "developer") -> str:
        run_id = run_id or str(uuid.uuid4())
        status, said = self.post(user, "/v1/runs", {"id": run_id, "command": "dbt run", "branch": branch}, role=role)
        assert status == 200, said
        return run_id

    def build(self, user: str, run_id: str, *, role: str = "developer", **build: Any) -> bytes:
        wish = {"name": {"database": "lake", "schema": "s", "name": "t"}, "sql": "SELECT 1 AS a", **build}
        return self.post(user, f"/v1/runs/{run_id}/sessions/{uuid.uuid4()}/build", wish, role=role)[1]

    def head(self, branch: str) -> str:
        return self.service.catalog.resolve(branch).id


@pytest.fixture(scope="module")
def attacker(service: Service) -> Iterator[Attacker]:
    with serving(service) as url:
        made = Attacker(service, url)
        yield made
        made.raw.clear()


def test_a_run_acts_with_the_role_it_was_opened_with(attacker: Attacker) -> None:
    before = attacker.head("main")
    run_id = attacker.open("ann", "main", role="publisher")
    session = f"/v1/runs/{run_id}/sessions/{uuid.uuid4()}"
    for path, body in [
        (f"/v1/runs/{run_id}/publish", {}),
        (f"/v1/runs/{run_id}/fail", {"reason": "x"}),
        (f"/v1/runs/{run_id}/heartbeat", None),
        (f"{session}/execute", {"sql": "CREATE TABLE s.t AS SELECT 1 AS a"}),
    ]:
        status, said = attacker.post("ann", path, body, role="developer")
        assert (status, b"was opened with role" in said) == (403, True), path
    assert b"was opened with role" in attacker.build("ann", run_id, role="developer")
    assert attacker.post("ann", f"/v1/runs/{run_id}/publish", {}, role="publisher")[0] == 200
    assert attacker.head("main") == before


@pytest.mark.parametrize(
    "columns_type",
    [
        "INTEGER AS a; CREATE TEMP TABLE planted AS SELECT 1; SELECT 1",
        "INTEGER AS a; ATTACH 'x.duckdb' AS planted; SELECT NULL",
        "INTEGER AS a, (SELECT count(*) FROM enable_logging(storage='file', storage_path='x')) AS b",
    ],
)
def test_the_columns_of_a_view_that_was_put_by_hand_are_no_sql(attacker: Attacker, columns_type: str) -> None:
    branch = f"dev/eve/{uuid.uuid4()}"
    attacker.open("eve", branch)
    column = {"name": "a", "type": columns_type}
    entry = {"kind": "view", "schema": "s", "name": "v", "sql": "SELECT 1 AS a", "columns": [column]}
    puts = [{"key": {"schema": "s", "name": "v"}, "entry": entry, "expected": None}]
    body = {"branch": branch, "puts": puts, "author": "eve", "message": "m"}
    status, said = attacker.post("eve", "/v1/catalog/commit", body)
    assert status == 200, said
    session = f"/v1/reads/{uuid.uuid4()}"
    where = f"?commit={json.loads(said)['id']}"
    asked = {"sql": "SELECT data_type FROM information_schema.columns WHERE table_name = 'v'"}
    status, said = attacker.post("bob", f"{session}/execute{where}", asked)
    # What it is said to be is told, as the text that it is.
    assert status == 200, said
    assert columns_type.encode() in said
    status, said = attacker.post("bob", f"{session}/execute{where}", {"sql": "FROM planted"})
    assert b"planted does not exist" in said


@pytest.mark.parametrize(
    "run_id", ["a/b", "..", "a.b.c", "run/x", "x" * 101, "a b c", "abc", "-abcd", "a\0bcd", "abcd\n"]
)
def test_ids_of_runs_are_plain(attacker: Attacker, run_id: str) -> None:
    status, said = attacker.post("ann", "/v1/runs", {"id": run_id, "command": "dbt run", "branch": "dev/ann"})
    assert (status, b"a run's id must be" in said) == (400, True), said


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("content", ["application/json", "application/vnd.lakehouse.build"])
@pytest.mark.parametrize("path", ["/v1/catalog/resolve", "/v1/reads/abcd/execute?commit=" + "0" * 40, "/v1/tokens"])
def test_a_document_that_is_too_long_is_not_held_in_memory(
    attacker: Attacker, tmp_path: Path, path: str, content: str, chunked: bool
) -> None:
    file = tmp_path / "long"
    with file.open("wb") as long:
        long.truncate(LONGEST_DOCUMENT + (1 << 20))
    headers = {**attacker.headers("rita", "reader"), "Content-Type": content}
    if not chunked:
        headers["Content-Length"] = str(file.stat().st_size)
    with file.open("rb") as long:
        try:
            answer = attacker.raw.request("POST", attacker.url + path, body=long, headers=headers, chunked=chunked)
        except (urllib3.exceptions.ProtocolError, OSError):
            return  # the service has answered and hung up before all was sent
    assert answer.status == 400
    assert b"longer than" in answer.data or b"parsing the body" in answer.data


@pytest.mark.parametrize(
    "wanted",
    [
        {"retries": 10**9},
        {"retries": -1},
        {"priority": 10**9},
        {"priority": -(10**30)},
        {"timeout": -1},
        {"timeout": 0},
        {"memory": "9" * 5000 + "GB"},
        {"max_memory": "9" * 5000 + "GB"},
    ],
)
def test_resources_that_make_no_sense(attacker: Attacker, wanted: dict[str, Any]) -> None:
    run_id = attacker.open("ann", "dev/ann")
    assert json.loads(attacker.build("ann", run_id, resources=wanted))["kind"] == "bad_request"


@pytest.mark.parametrize("way", ["execute", "arrow"])
def test_a_query_without_an_end_ends_with_its_client(attacker: Attacker, way: str) -> None:
    endless = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT 1 FROM r) SELECT max(x) FROM r"
    where = f"?commit={attacker.head('main')}"
    headers = attacker.headers("rita", "reader")
    path = f"/v1/reads/{uuid.uuid4()}/{way}{where}"
    leaving = urllib3.PoolManager(retries=False)
    with pytest.raises(urllib3.exceptions.TimeoutError):
        leaving.request("POST", attacker.url + path, body=json.dumps({"sql": endless}), headers=headers, timeout=1.5)
    leaving.clear()
    # There is one worker, and it must be there for others.
    answer = attacker.raw.request(
        "POST",
        f"{attacker.url}/v1/reads/{uuid.uuid4()}/execute{where}&once=true",
        body=json.dumps({"sql": "SELECT 1"}),
        headers=attacker.headers("bob", "reader"),
        timeout=20,
    )
    assert answer.status == 200


def wild_offsets() -> bytes:
    """Texts whose offsets lead far out of the stream."""
    rows = stream(pa.table({"a": ["x", "y", "z"] * 1000}))
    offsets = struct.pack("<3001i", *range(3001))
    assert rows.count(offsets) == 1
    return rows.replace(offsets, struct.pack("<3001i", 0, *[1 << 30] * 3000))


def wild_indices() -> bytes:
    """Entries of a dictionary that it does not have."""
    rows = stream(pa.table({"a": pa.array(["a", "b", "a", "b"] * 4).dictionary_encode()}))
    indices = struct.pack("<16i", *[0, 1] * 8)
    assert rows.count(indices) == 1
    return rows.replace(indices, struct.pack("<16i", *[10**8, -(10**8)] * 8))


def stream(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    "rows", [wild_offsets(), wild_indices(), b"", b"\xff" * 1000, stream(pa.table({"a": [1] * 99}))[:-300]]
)
def test_rows_that_lead_out_of_their_stream_are_refused(attacker: Attacker, rows: bytes) -> None:
    run_id = attacker.open("ann", "dev/ann")
    wish = {"name": {"database": "lake", "schema": "s", "name": "up"}, "local": True, "sql": "x"}
    document = json.dumps(wish).encode()
    answer = attacker.raw.request(
        "POST",
        f"{attacker.url}/v1/runs/{run_id}/sessions/{uuid.uuid4()}/build",
        body=struct.pack(">I", len(document)) + document + rows,
        headers={**attacker.headers("ann"), "Content-Type": "application/vnd.lakehouse.build"},
    )
    assert b"no sound Arrow stream" in answer.data, answer.data


@pytest.mark.parametrize(
    "sql", [f"SELECT '1'::INTEGER{'[]' * 600}", f"SELECT NULL::{'STRUCT(a ' * 900}INTEGER{')' * 900}"]
)
def test_types_within_types_break_no_request(attacker: Attacker, sql: str) -> None:
    where = f"?commit={attacker.head('main')}&once=true"
    status, said = attacker.post("rita", f"/v1/reads/{uuid.uuid4()}/execute{where}", {"sql": sql}, role="reader")
    assert status in (200, 422), said
