"""The service over HTTP, by the client that comes with it and by one that knows nothing."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import urllib3
from service_thread import TOKEN, open_service, serving

from dbt.adapters.lakehouse import __version__, connect
from dbt.adapters.lakehouse.catalog.model import RunStatus
from dbt.adapters.lakehouse.errors import (
    BadRequest,
    ConflictError,
    JobCancelled,
    RefNotFound,
    SessionLost,
    SqlError,
    Unauthenticated,
    Unavailable,
    Unreachable,
    VersionSkew,
)
from dbt.adapters.lakehouse.executors.limits import PoolOptions
from dbt.adapters.lakehouse.executors.pool import PoolExecutor
from dbt.adapters.lakehouse.lake.base import Build, Name, RunRequest
from dbt.adapters.lakehouse.lake.remote import http as client_http
from dbt.adapters.lakehouse.lake.remote import wire
from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake
from dbt.adapters.lakehouse.run.values import FileSource
from dbt.adapters.lakehouse.service.core import Service
from dbt.adapters.lakehouse.settings import LakeSettings, ServiceSettings

MISSING = f"{'0' * 40}"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PoolExecutor]:
    folder = tmp_path_factory.mktemp("pool")
    settings = LakeSettings(warehouse=f"file://{folder}", catalog="", workers=2, sandbox=True)
    executor = PoolExecutor(settings, PoolOptions(idle_seconds=600))
    yield executor
    executor.close()


class Lent:
    """The module's executor, for a service that closes its own."""

    def __init__(self, executor: PoolExecutor) -> None:
        self._executor = executor
        self.lease, self.stats = executor.lease, executor.stats

    def close(self) -> None:
        pass


@pytest.fixture
def service(tmp_path: Path, pool: PoolExecutor) -> Iterator[Service]:
    with open_service(tmp_path, executor=Lent(pool), lease=1.5) as service:
        service.start()
        yield service


@pytest.fixture
def url(service: Service) -> Iterator[str]:
    with serving(service) as url:
        yield url


@pytest.fixture
def lake(url: str) -> Iterator[RemoteLake]:
    lake = RemoteLake(ServiceSettings(url=url, token=TOKEN))
    yield lake
    lake.close()


@pytest.fixture
def raw() -> Iterator[urllib3.PoolManager]:
    pool = urllib3.PoolManager()
    yield pool
    pool.clear()


def headers(**more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKEN}", **more}


def request(branch: str = "main", **more: object) -> RunRequest:
    return RunRequest(id=str(uuid.uuid4()), command="test", branch=branch, **more)


def table(name: str) -> Name:
    return Name(database="lake", schema="main", name=name)


# who may come in


@pytest.mark.parametrize("path", ["/v1/service", "/v1/openapi.json", "/metrics", "/docs", "/v1/nothing", "/"])
def test_without_a_token_nothing_but_health_is_served(url: str, raw: urllib3.PoolManager, path: str) -> None:
    answer = raw.request("GET", url + path)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["kind"] == "unauthenticated"
    assert raw.request("GET", url + path, headers={"Authorization": "Bearer wrong"}).status == 401


def test_health_and_readiness_are_told_to_everybody(service: Service, url: str, raw: urllib3.PoolManager) -> None:
    assert raw.request("GET", url + "/healthz").data == b"ok\n"
    assert raw.request("GET", url + "/readyz").data == b"ready\n"
    service.drain()
    assert raw.request("GET", url + "/healthz").status == 200
    assert raw.request("GET", url + "/readyz").status == 503


def test_a_warehouse_that_is_gone_is_not_ready(service: Service, url: str, raw: urllib3.PoolManager) -> None:
    folder = Path(service.settings.warehouse.removeprefix("file://"))
    folder.rmdir()
    folder.write_text("in the way")
    answer = raw.request("GET", url + "/readyz")
    assert (answer.status, answer.data) == (503, b"not ready: warehouse\n")


def test_the_handshake_says_who_one_is(lake: RemoteLake) -> None:
    info = lake.service
    assert (info.version, info.api, info.database, info.user) == (__version__, wire.API, "lake", "anna")
    assert [check.ok for check in lake.check()] == [True] * 4


def test_a_wrong_token(url: str) -> None:
    other = RemoteLake(ServiceSettings(url=url, token="wrong"))
    with pytest.raises(Unauthenticated):
        other.catalog.refs()
    other.close()


# versions and addresses


def test_an_old_client_is_told_to_upgrade(url: str, raw: urllib3.PoolManager) -> None:
    answer = raw.request(
        "GET", url + "/v1/service", headers=headers(**{wire.API_HEADER: "0", "User-Agent": "dbt-lakehouse/0.0.1"})
    )
    assert answer.status == 426
    assert answer.json()["kind"] == "version_skew"
    assert "0.0.1 (protocol 0)" in answer.json()["message"]
    assert "upgrade dbt-lakehouse on the client's side" in answer.json()["message"]
    answer = raw.request("GET", url + "/v1/service", headers=headers(**{wire.API_HEADER: "2"}))
    assert "upgrade the service" in answer.json()["message"]


def test_a_client_tells_which_side_is_old(lake: RemoteLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        client_http.wire, "API_HEADER", "Lakehouse-Version"
    )  # answers "0.1.0", which is another protocol
    with pytest.raises(VersionSkew, match=r"protocol 0\.1\.0.*upgrade the service"):
        lake.catalog.refs()


def test_what_is_no_service_is_named_so() -> None:
    import http.server

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"hi")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        lake = RemoteLake(ServiceSettings(url=f"http://127.0.0.1:{other.server_port}", token="x"))
        try:
            with pytest.raises(Unreachable, match="is not a lakehouse service"):
                _ = lake.service
        finally:
            lake.close()
            other.shutdown()
            thread.join()


def test_nothing_answers() -> None:
    lake = RemoteLake(ServiceSettings(url="http://127.0.0.1:9", token="x"))
    with pytest.raises(Unreachable, match="does not answer"):
        lake.catalog.refs()
    lake.close()


# runs


def test_a_run_is_built_and_published(lake: RemoteLake) -> None:
    run = lake.open_run(request())
    session = run.session()
    assert run.branch is None
    told: list[object] = []
    built = session.build(Build(name=table("a"), sql="SELECT 1 AS n"), told.append)
    assert built.rows_written == 1
    assert session.execute("SELECT n FROM a").rows == [(1,)]
    assert session.execute("INSERT INTO a VALUES (2)").rows_affected == 1
    assert session.lookup(table("a")) is not None
    assert [entry.name for entry in session.relations("lake")] == ["a"]
    assert session.schemas("lake") == ["main"]
    view = session.create_view(
        table("v"), "SELECT n + 1 AS m FROM lake.main.a", node="model.v", column_comments={"m": "more"}
    )
    assert view.entry.columns[0].comment == "more"
    session.close()
    commit = run.publish({"model.a": {"status": "success"}})
    assert commit is not None
    assert commit.author == "anna"
    assert run.publish() == commit
    [record] = lake.runs()
    assert (record.status, record.owner) == (RunStatus.PUBLISHED, "service:anna")
    assert [ref.name for ref in lake.catalog.refs()] == ["main"]


def test_errors_are_those_of_an_embedded_lake(lake: RemoteLake) -> None:
    with pytest.raises(RefNotFound, match="nowhere"):
        lake.read("nowhere")
    session = lake.read("main")
    with pytest.raises(SqlError, match="no_such_table"):
        session.execute("SELECT * FROM no_such_table")
    with pytest.raises(SqlError, match="no_such_column"):
        session.describe("SELECT no_such_column")
    session.close()
    run = lake.open_run(request())
    with pytest.raises(SqlError):
        run.session().build(Build(name=table("a"), sql="SELECT no_such_column"))
    run.fail("over")
    with pytest.raises(ConflictError, match="is failed: over"):
        run.session().execute("SELECT 1")


def test_values_are_duckdbs_own(lake: RemoteLake) -> None:
    session = lake.read("main")
    sql = (
        "SELECT 1.50::DECIMAL(9,2), 170141183460469231731687303715884105727::HUGEINT, INTERVAL 1 MONTH, "
        "'a2b5c4d6-0000-4000-8000-000000000000'::UUID, {'a': [1, NULL]}, MAP {'k': DATE '2026-01-31'}, NULL, '010'::BIT"
    )
    [row] = session.execute(sql).rows
    import duckdb

    with duckdb.connect() as local:
        assert row == local.execute(sql).fetchone()
    assert row[0] == Decimal("1.50")
    result = session.execute("SELECT 1 AS a, 'x' AS b WHERE false")
    assert [(column.name, column.type) for column in result.columns] == [("a", "INTEGER"), ("b", "VARCHAR")]
    assert list(result.rows) == []
    assert session.execute("SELECT * FROM range(10)", limit=3).rows == [(0,), (1,), (2,)]
    session.close()


def test_a_local_build_brings_its_rows(lake: RemoteLake, tmp_path: Path) -> None:
    file = tmp_path / "here.csv"
    file.write_text("id,day\n1,2026-01-31\n2,\n")
    run = lake.open_run(request())
    build = Build(name=table("seeded"), sql=f"SELECT * FROM read_csv('{file}')", local=True)
    assert run.session().build(build).rows_written == 2
    with pytest.raises(SqlError, match=r"here\.csv|[Ss]andbox|refused|not allowed|denied"):
        run.session().execute(f"SELECT * FROM read_csv('{file}')")
    run.publish()


@pytest.mark.parametrize(
    "fields", [{"arrow": "/etc/passwd"}, {"local": True, "sql": "SELECT 1"}], ids=["a file of the service", "no rows"]
)
def test_builds_that_would_read_the_services_files_are_refused(lake: RemoteLake, fields: dict[str, object]) -> None:
    run = lake.open_run(request())
    session = run.session()
    with pytest.raises(BadRequest):
        session._built(wire.dump(Build, Build(name=table("x"), **fields)), wire.JSON, None)
    run.fail("over")


def test_rows_are_not_taken_for_those_of_a_file_that_the_client_names(lake: RemoteLake) -> None:
    run = lake.open_run(request())
    claimed = FileSource(digest="0" * 64, how="csv")
    for number in (1, 2):
        wish = Build(name=table("seeded"), sql=f"SELECT {number} AS id", local=True, file=claimed)
        assert run.session().build(wish).reused is None
        assert run.session().execute("SELECT id FROM seeded").rows == [(number,)]
    sent = Build(name=table("seeded"), sql="SELECT 3 AS id", file=claimed)
    run.session().build(sent)
    assert run.session().execute("SELECT id FROM seeded").rows == [(3,)]
    assert run.session().build(Build(name=table("other"), sql="SELECT 4 AS id", file=claimed)).reused is None
    run.fail("over")


# what is sent twice


def post(raw: urllib3.PoolManager, url: str, path: str, document: object, **more: str) -> urllib3.BaseHTTPResponse:
    body = json.dumps(document).encode()
    return raw.request("POST", url + path, body=body, headers=headers(**{"Content-Type": wire.JSON, **more}))


def test_a_request_that_comes_twice_is_done_once(lake: RemoteLake, url: str, raw: urllib3.PoolManager) -> None:
    run = lake.open_run(request())
    run.session().build(Build(name=table("a"), sql="SELECT 1 AS n"))
    path = f"/v1/runs/{run.request.id}/sessions/session-1/execute"
    for _ in range(3):
        answer = post(raw, url, path, {"sql": "INSERT INTO a VALUES (2)"}, **{wire.KEY_HEADER: "a-key-of-mine"})
        assert answer.json()["rows_affected"] == 1
    assert run.session().execute("SELECT count(*) FROM a").rows == [(2,)]
    run.publish()


def test_a_service_that_was_restarted_knows_what_it_did(
    tmp_path: Path, pool: PoolExecutor, raw: urllib3.PoolManager
) -> None:
    wish = request()
    build = wire.adapter(Build).dump_python(Build(name=table("a"), sql="SELECT 1 AS n"), mode="json")
    twice = "INSERT INTO a VALUES (2); INSERT INTO a VALUES (3)"
    for attempt in range(2):
        with open_service(tmp_path, executor=Lent(pool)) as service, serving(service) as url:
            if attempt == 0:
                answer = post(raw, url, "/v1/runs", wire.adapter(RunRequest).dump_python(wish, mode="json"))
                assert answer.status == 200
            sessions = f"/v1/runs/{wish.id}/sessions/session-{attempt}"
            answer = post(raw, url, f"{sessions}/build", build, **{wire.KEY_HEADER: "key-of-build"})
            [event] = [json.loads(line) for line in answer.data.splitlines()]
            assert event["said"]["rows_written"] == 1
            answer = post(raw, url, f"{sessions}/execute", {"sql": twice}, **{wire.KEY_HEADER: "key-of-insert"})
            assert answer.status == 200
            raw.clear()
    with open_service(tmp_path, executor=Lent(pool)) as service, serving(service) as url:
        answers = []
        for _ in range(2):
            answer = post(raw, url, f"/v1/runs/{wish.id}/publish", {}, **{wire.KEY_HEADER: "key-of-publish"})
            answers.append(answer.json()["id"])
        raw.clear()
    with open_service(tmp_path, executor=Lent(pool)) as service, serving(service) as url:
        answer = post(raw, url, f"/v1/runs/{wish.id}/publish", {}, **{wire.KEY_HEADER: "key-of-publish"})
        assert [*answers, answer.json()["id"]] == answers[:1] * 3
        lake = RemoteLake(ServiceSettings(url=url, token=TOKEN))
        session = lake.read("main")
        assert session.execute("SELECT n FROM a ORDER BY n").rows == [(1,), (2,), (3,)]
        assert [ref.name for ref in lake.catalog.refs()] == ["main"]
        session.close()
        lake.close()
        raw.clear()


def test_a_session_whose_temporary_tables_are_lost_says_so(tmp_path: Path, pool: PoolExecutor) -> None:
    with open_service(tmp_path, executor=Lent(pool)) as service, serving(service) as url:
        port = int(url.rpartition(":")[2])
        lake = RemoteLake(ServiceSettings(url=url, token=TOKEN))
        run = lake.open_run(request())
        stateful, stateless = run.session(), run.session()
        stateful.execute("CREATE TEMP TABLE t AS SELECT 7 AS n")
        assert stateful.execute("SELECT n FROM t").rows == [(7,)]
        stateless.build(Build(name=table("a"), sql="SELECT 1 AS n"))
    with open_service(tmp_path, executor=Lent(pool)) as service, serving(service, port):
        assert stateless.execute("SELECT n FROM a").rows == [(1,)]
        with pytest.raises(SessionLost, match="run the node again"):
            stateful.execute("SELECT n FROM t")
        run.publish()
        lake.close()


def test_a_run_pins_what_it_read_over_a_restart(tmp_path: Path, pool: PoolExecutor) -> None:
    with open_service(tmp_path, executor=Lent(pool)) as service, serving(service) as url:
        port = int(url.rpartition(":")[2])
        lake = RemoteLake(ServiceSettings(url=url, token=TOKEN))
        first = lake.open_run(request())
        first.session().build(Build(name=table("a"), sql="SELECT 1 AS n"))
        first.publish()
        run = lake.open_run(request())
        session = run.session()
        session.execute("CREATE MACRO plus(x) AS x + 1")
        assert session.execute('SELECT n FROM "lake@main".main.a').rows == [(1,)]
        other = lake.open_run(request())
        other.session().execute("UPDATE a SET n = 5")
        other.publish()
    with open_service(tmp_path, executor=Lent(pool)) as service, serving(service, port):
        again = run.session()
        assert again.execute('SELECT plus(n) FROM "lake@main".main.a').rows == [(2,)]
        assert again.execute("SELECT n FROM a").rows == [(1,)]
        run.fail("over")
        lake.close()


# rows that stream


def test_rows_stream_as_they_are_made(url: str) -> None:
    with connect(service=url, token=TOKEN) as lake:
        batches = lake.query("SELECT i, i::VARCHAR AS t, i::UHUGEINT AS u FROM range(3000000) r(i)").batches()
        first = next(batches)
        assert first.num_rows < 3_000_000
        assert first.schema.field("t").type == pa.string()
        assert first.num_rows + sum(batch.num_rows for batch in batches) == 3_000_000
        assert lake.query("SELECT 1 AS a").arrow().to_pylist() == [{"a": 1}]
        assert lake.query("SELECT 1 AS a").pandas()["a"].tolist() == [1]
        assert lake.query("SELECT 1 AS a").polars()["a"].to_list() == [1]
        assert lake.query("SELECT 1 AS a, 'x'").fetchall() == [(1, "x")]
        assert lake.tables() == []


def test_a_query_of_a_connection_is_one_request(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    send = client_http.Http.send

    def counted(http: client_http.Http, method: str, path: str, *arguments: Any, **more: Any) -> Any:
        sent.append(path.partition("?")[0])
        return send(http, method, path, *arguments, **more)

    monkeypatch.setattr(client_http.Http, "send", counted)
    with connect(service=url, token=TOKEN) as lake:
        for rows in (lake.query("SELECT 1 AS a").fetchall(), lake.query("SELECT 1 AS a").arrow().to_pylist()):
            assert len(rows) == 1
        with pytest.raises(RefNotFound):
            lake.query("SELECT 1", at="nowhere").fetchall()
    assert [path.rpartition("/")[2] for path in sent] == ["execute", "arrow", "execute"]


def test_an_error_in_the_midst_of_rows_is_that_error(lake: RemoteLake) -> None:
    sql = "SELECT CASE WHEN i > 2500000 THEN error('too far') ELSE i::VARCHAR END AS n FROM range(3000000) r(i)"
    session = lake.read("main")
    rows = 0
    with pytest.raises(SqlError, match="too far"), session.batches(sql) as batches:  # noqa: PT012
        for batch in batches.plain():
            rows += batch.num_rows
    assert rows > 0
    with pytest.raises(SqlError, match="too far"):
        session.arrow(sql)
    assert session.execute("SELECT 1").rows == [(1,)]
    session.close()


def test_rows_that_nobody_wants_any_more_are_not_made(lake: RemoteLake, service: Service) -> None:
    session = lake.read("main")
    with session.batches("SELECT hash(i) FROM range(20000000000) r(i)") as batches:
        next(iter(batches))
    started = time.monotonic()
    assert session.execute("SELECT 1").rows == [(1,)]
    assert time.monotonic() - started < 10
    session.close()


# cancelling, leases, draining


def test_cancel_from_another_thread(lake: RemoteLake) -> None:
    run = lake.open_run(request())
    session = run.session()
    timer = threading.Timer(0.5, run.cancel)
    timer.start()
    started = time.monotonic()
    with pytest.raises(JobCancelled):
        session.execute("SELECT sum(hash(i * j)) FROM range(400000) a(i), range(400000) b(j)")
    assert time.monotonic() - started < 15
    timer.join()
    run.fail("interrupted", abandoned=True)
    assert lake.open_run(request()).session().execute("SELECT 1").rows == [(1,)]


def test_a_silent_client_loses_its_run(lake: RemoteLake, url: str, service: Service) -> None:
    silent = RemoteLake(ServiceSettings(url=url, token=TOKEN))
    run = silent.open_run(request())
    session = run.session()
    session.build(Build(name=table("a"), sql="SELECT 1 AS n"))
    run._heart.set()
    until = time.monotonic() + 10
    while lake.runs()[0].status is RunStatus.OPEN:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert lake.runs()[0].status is RunStatus.ABANDONED
    assert lake.catalog.resolve(f"run/{run.request.id}").message == "Build main.a"
    for late in (lambda: session.execute("SELECT 1"), run.publish):
        with pytest.raises(ConflictError, match=r"silent for 2 s.*dbt retry"):
            late()
    silent.close()


def test_a_living_client_keeps_its_run_beyond_the_lease(lake: RemoteLake) -> None:
    run = lake.open_run(request())
    session = run.session()
    session.build(Build(name=table("a"), sql="SELECT 1 AS n"))
    time.sleep(3)
    assert session.execute("SELECT n FROM a").rows == [(1,)]
    assert run.publish() is not None


def test_while_draining_runs_go_on_and_new_ones_wait(
    lake: RemoteLake, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_http, "PATIENCE_SECONDS", 1.0)
    run = lake.open_run(request())
    session = run.session()
    service.drain()
    session.build(Build(name=table("a"), sql="SELECT 1 AS n"))
    with pytest.raises(Unavailable, match="shutting down"):
        lake.open_run(request()).session()
    assert run.publish() is not None


# what does not make sense


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/nothing", b"", 404),
        ("PUT", "/v1/service", b"", 405),
        ("POST", "/v1/catalog/resolve", b"{", 400),
        ("POST", "/v1/catalog/resolve", b"{}", 400),
        ("POST", "/v1/catalog/resolve", b'{"ref": "\\ud800"}', 400),
        ("POST", "/v1/catalog/resolve", b'{"ref": "a\\u0000b"}', 400),
        ("POST", "/v1/catalog/resolve", b'{"ref": "nowhere"}', 404),
        ("POST", "/v1/catalog/entries", b'{"commit": "' + MISSING.encode() + b'"}', 404),
        ("POST", "/v1/runs", b"[]", 400),
        ("GET", "/v1/runs/no-such-run", b"", 404),
        ("GET", "/v1/runs/..%2f..", b"", 404),
        ("POST", "/v1/runs/no-such-run/publish", b"{}", 404),
        ("POST", "/v1/reads/s-1234/execute?commit=" + MISSING, b'{"sql": "SELECT 1"}', 404),
        ("POST", "/v1/reads/s-1234/execute?commit=x", b'{"sql": "SELECT 1"}', 400),
        ("POST", "/v1/reads/s-1234/arrow?commit=" + MISSING, b'{"sql": "SELECT 1"}', 404),
    ],
)
def test_requests_that_make_no_sense(
    url: str, raw: urllib3.PoolManager, method: str, path: str, body: bytes, status: int
) -> None:
    answer = raw.request(method, url + path, body=body, headers=headers(**{"Content-Type": wire.JSON}))
    assert answer.status == status, answer.data
    assert set(answer.json()) == {"kind", "message", "conflicts"}
    assert answer.headers[wire.API_HEADER] == str(wire.API)


def test_metrics_count_by_route_and_never_by_value(lake: RemoteLake, url: str, raw: urllib3.PoolManager) -> None:
    run = lake.open_run(request())
    run.session().execute("SELECT 1")
    raw.request("GET", url + "/v1/made-up-path", headers=headers())
    text = raw.request("GET", url + "/metrics", headers=headers()).data.decode()
    assert 'route="/v1/runs/{run_id}/sessions/{session_id}/execute",status="200"} 1.0' in text
    assert run.request.id not in text
    assert "made-up-path" not in text
    assert "lakehouse_runs_open 1.0" in text
    assert "lakehouse_pool_workers" in text


def test_the_description_is_of_every_route(url: str, raw: urllib3.PoolManager) -> None:
    described = raw.request("GET", url + "/v1/openapi.json", headers=headers()).json()
    assert "/v1/catalog/merge" in described["paths"]
    assert "/v1/runs/{run_id}/sessions/{session_id}/build" in described["paths"]
    assert described["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
    for path, methods in described["paths"].items():
        for operation in methods.values():
            assert "401" in operation["responses"] or path in ("/healthz", "/readyz")


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody else trusts, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=lake"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem", folder / "key.pem"


def test_tls_with_a_certificate_of_ones_own(
    service: Service, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = map(str, certificate)
    with serving(service, ssl_certfile=cert, ssl_keyfile=key) as url:
        assert url.startswith("https://")
        with connect(service=url, token=TOKEN, service_ca=cert) as lake:
            assert lake.query("SELECT 1").fetchall() == [(1,)]
        for address, why in ((url, "is not trusted.*service_ca"), (url.replace("https", "http"), "does not answer")):
            stranger = RemoteLake(ServiceSettings(url=address, token=TOKEN))
            with pytest.raises(Unreachable, match=why):
                stranger.catalog.refs()
            stranger.close()
        monkeypatch.setenv("SSL_CERT_FILE", cert)
        with connect(service=url, token=TOKEN) as lake:
            assert lake.tables() == []


def test_tls_where_there_is_none(url: str) -> None:
    lake = RemoteLake(ServiceSettings(url=url.replace("http:", "https:"), token=TOKEN))
    with pytest.raises(Unreachable, match="does not speak TLS; is it http://"):
        lake.catalog.refs()
    lake.close()


def test_sql_that_holds_what_no_text_may_is_refused(lake: RemoteLake) -> None:
    session = lake.read("main")
    for ask in (session.describe, session.arrow, session.execute):
        with pytest.raises(SqlError):
            ask("SELECT '\0'")
    session.close()
