"""What comes over a bare socket: tokens, headers and bytes that no client sends. The service refuses it and goes on."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from service_thread import serving

from dbt.adapters.lakehouse.service.config import ServiceConfig
from dbt.adapters.lakehouse.service.core import Service
from dbt.adapters.lakehouse.service.start import open_service
from dbt.adapters.lakehouse.settings import LakeSettings

few = settings(
    derandomize=True, deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("raw")
    where = LakeSettings(warehouse=f"file://{folder}/lake", catalog=f"sqlite:///{folder}/lake/catalog.sqlite")
    opened = open_service(where, ServiceConfig())
    opened.start()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def port(service: Service) -> Iterator[int]:
    with serving(service) as url:
        yield int(url.rpartition(":")[2])


@pytest.fixture(scope="module")
def token(service: Service) -> str:
    return service.store.create_token(name="test", user="anna", role="admin", created_by="test")[1]


def say(port: int, raw: bytes, *, seconds: float = 20, ends: bool = False) -> tuple[int, bytes]:
    """Status (0: no answer came) and body of what is answered; ``ends`` says that no more will be sent."""
    answer = b""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection,
        contextlib.suppress(ConnectionError, TimeoutError),
    ):
        connection.sendall(raw)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        while chunk := connection.recv(1 << 16):
            answer += chunk
    if not answer:
        return 0, b""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def ask(port: int, *headers: bytes, method: bytes = b"GET", path: bytes = b"/v1/service") -> tuple[int, bytes]:
    lines = [method + b" " + path + b" HTTP/1.1", b"Host: x", b"Connection: close", *headers, b"", b""]
    return say(port, b"\r\n".join(lines))


def alive(port: int, token: str) -> None:
    status, body = ask(port, b"Authorization: Bearer " + token.encode())
    assert status == 200, body
    assert json.loads(body)["user"] == "anna"


LINE = st.binary(max_size=200).map(lambda raw: raw.replace(b"\r", b" ").replace(b"\n", b" "))


@few
@given(
    LINE
    | st.from_regex(rb"[Bb]earer[ \t]+lh_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", fullmatch=True)
    | st.from_regex(rb"Bearer lh_[^\r\n]{0,60}", fullmatch=True)
    | st.sampled_from([b"Bearer", b"Bearer ", b"Basic YTpi", b"Bearer " + b"x" * 50_000, b"Bearer null"])
)
def test_no_token_but_a_token(port: int, text: bytes) -> None:
    status, body = ask(port, b"Authorization: " + text)
    assert status in (0, 400, 401, 431), body
    if status == 401:
        assert json.loads(body)["kind"] == "unauthenticated"


@few
@given(st.data())
def test_a_token_that_is_nearly_right(port: int, token: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789_-ABC").filter(lambda c: c != token[place]))
    near = data.draw(
        st.sampled_from([token[:place] + letter + token[place + 1 :], token[:place], token + letter, token.upper()])
    )
    status, body = ask(port, b"Authorization: Bearer " + near.encode())
    assert status == 401
    assert token.encode() not in body


def test_tokens_count_in_one_place_alone(port: int, token: str) -> None:
    sign = token.encode()
    assert ask(port, path=b"/v1/service?token=" + sign)[0] == 401
    assert ask(port, b"Cookie: token=" + sign)[0] == 401
    assert ask(port, b"Authorization: Basic " + sign)[0] == 401
    twice = ask(port, b"Authorization: Bearer wrong", b"Authorization: Bearer " + sign)
    assert twice[0] in (200, 400, 401)
    alive(port, token)


NAMES = [b"Lakehouse-Api", b"Lakehouse-Session", b"Idempotency-Key", b"Request-Id", b"Lakehouse-Attempt", b"User-Agent"]


@few
@given(st.lists(st.tuples(st.sampled_from(NAMES), LINE), min_size=1, max_size=4))
def test_headers_that_no_client_sends(port: int, token: str, headers: list[tuple[bytes, bytes]]) -> None:
    sign = b"Authorization: Bearer " + token.encode()
    body = b"Content-Length: 0"
    status, answer = ask(
        port, sign, body, *(n + b": " + v for n, v in headers), method=b"POST", path=b"/v1/catalog/refs"
    )
    assert status in (0, 200, 400, 422, 426), answer
    if status in (400, 422, 426):
        assert b"Traceback" not in answer


@few
@given(st.binary(max_size=400))
def test_bytes_that_are_no_request(port: int, raw: bytes) -> None:
    assert say(port, raw, ends=True)[0] in (0, 400, 401, 404, 405)


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET /v1/../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /v1/service\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /v1/service HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(20_000)) + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_requests_meant_to_confuse(port: int, token: str, raw: bytes) -> None:
    assert say(port, raw, seconds=1)[0] in (0, 400, 401, 404, 405, 414, 431)
    alive(port, token)


def test_a_body_that_never_ends_as_it_was_said(port: int, token: str) -> None:
    sign = b"Authorization: Bearer " + token.encode()
    head = [sign, b"Content-Type: application/json", b"Content-Length: 1000"]
    lines = [b"POST /v1/runs HTTP/1.1", b"Host: x", *head, b"", b'{"id":']
    assert say(port, b"\r\n".join(lines), ends=True)[0] in (0, 400)
    alive(port, token)


@few
@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode) | st.just(b"[" * 100_000))
def test_bodies_that_are_no_document(port: int, token: str, body: bytes) -> None:
    head = [b"Authorization: Bearer " + token.encode(), b"Content-Type: application/json"]
    lines = [
        b"POST /v1/runs HTTP/1.1",
        b"Host: x",
        b"Connection: close",
        *head,
        b"Content-Length: %d" % len(body),
        b"",
        body,
    ]
    status, answer = say(port, b"\r\n".join(lines))
    assert status in (400, 422), answer
    assert json.loads(answer)["kind"] == "bad_request"


def test_nothing_of_it_is_in_the_lake(service: Service) -> None:
    assert service.catalog.runs() == []
    assert [ref.name for ref in service.catalog.refs()] == ["main"]
