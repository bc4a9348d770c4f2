"""Tokens and the gate: what gets in, what does not, and what is written down about it."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbt.adapters.lakehouse.catalog.model import RefKind
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.errors import ConfigError, Denied, Unauthenticated
from dbt.adapters.lakehouse.run.values import Build, Name, PythonSource
from dbt.adapters.lakehouse.service import tokens
from dbt.adapters.lakehouse.service.audit import AuditEntry
from dbt.adapters.lakehouse.service.policy import Policy, Role
from dbt.adapters.lakehouse.service.store import ServiceStore
from dbt.adapters.lakehouse.service.token_gate import FRESH_SECONDS, REFUSALS, TokenGate


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Iterator[SqlCatalog]:
    opened = SqlCatalog.open(str(tmp_path_factory.mktemp("lake") / "catalog.sqlite"))
    yield opened
    opened.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ServiceStore]:
    opened = ServiceStore.open(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    yield opened
    opened.close()


@pytest.fixture
def gate(catalog: SqlCatalog, store: ServiceStore) -> TokenGate:
    return TokenGate(catalog, store, Policy())


def make(store: ServiceStore, user: str = "ann", role: str = "developer", **more: datetime) -> tuple[str, str]:
    token, text = store.create_token(name="test", user=user, role=role, created_by="tester", **more)
    return token.id, text


def until_refused(gate: TokenGate, text: str) -> float:
    """How long a token is still let in, in seconds."""
    began = time.monotonic()
    while time.monotonic() < began + 5:
        try:
            gate.authenticate(text)
        except Unauthenticated:
            break
        time.sleep(0.02)
    return time.monotonic() - began


def test_a_token_is_for_its_user_and_role(gate: TokenGate, store: ServiceStore) -> None:
    identity, text = make(store)
    principal = gate.authenticate(text)
    assert (principal.user, principal.role, principal.token) == ("ann", "developer", identity)


def test_a_token_is_long_random_and_not_kept(store: ServiceStore, tmp_path: Path) -> None:
    texts = {make(store)[1] for _ in range(50)}
    assert len(texts) == 50
    assert all(re.fullmatch(r"lh_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", text) for text in texts)
    assert all(text[-43:] not in repr(store.tokens()) for text in texts)
    store.close()
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert kept
    for text in texts:
        secret = tokens.split(text)
        assert secret is not None
        assert secret[1].encode() not in kept
        assert secret[0].encode() in kept


def test_whatever_is_wrong_the_answer_is_the_same_and_the_audit_log_differs(
    gate: TokenGate, store: ServiceStore
) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    revoked, revoked_text = make(store)
    store.revoke_token(revoked)
    expired_text = make(store, expires_at=past)[1]
    identity, text = make(store)
    other = make(store)[1]
    wrong = {
        "what was sent is no token": "hello",
        "no token has this id": f"lh_{'0' * 12}_{text[-43:]}",
        "the secret is wrong": f"lh_{identity}_{other[-43:]}",
        "token was revoked": revoked_text,
        "token expired": expired_text,
        "there is no role 'gone'": make(store, role="gone")[1],
        "'dev' cannot name a user": make(store, user="dev")[1],
    }
    said = set()
    for reason, sent in wrong.items():
        with pytest.raises(Unauthenticated) as caught:
            gate.authenticate(sent)
        said.add(str(caught.value))
        entry = store.audit(limit=1)[0]
        assert (entry.verb, entry.outcome) == ("authenticate", "denied")
        assert entry.reason is not None
        assert entry.reason.startswith(reason)
        assert sent not in repr(entry)
    assert len(said) == 1


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sent=st.text(max_size=80) | st.from_regex(r"lh_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", fullmatch=True),
    cut=st.integers(0, 58),
)
def test_nothing_but_the_token_itself_gets_in(gate: TokenGate, store: ServiceStore, sent: str, cut: int) -> None:
    text = make(store)[1]
    for attempt in (
        sent,
        text[:cut],
        text + sent,
        text[:cut] + sent + text[cut:],
        text.swapcase(),
        f" {text}",
        f"{text}\n",
    ):
        if attempt == text:
            continue
        with pytest.raises(Unauthenticated):
            gate.authenticate(attempt)


def test_a_revoked_token_is_out_within_a_second_or_so(gate: TokenGate, store: ServiceStore) -> None:
    identity, text = make(store)
    gate.authenticate(text)
    store.revoke_token(identity)
    assert until_refused(gate, text) < FRESH_SECONDS + 0.5


def test_a_token_that_expires_while_it_is_in_use_is_out(gate: TokenGate, store: ServiceStore) -> None:
    text = make(store, expires_at=datetime.now(UTC) + timedelta(seconds=0.3))[1]
    gate.authenticate(text)
    assert until_refused(gate, text) < 0.3 + FRESH_SECONDS + 0.5


def test_tokens_are_used_and_revoked_by_many_at_once(catalog: SqlCatalog, store: ServiceStore) -> None:
    """However uses and the revocation fall together: all before it get in, all well after it do not."""
    gate = TokenGate(catalog, store, Policy())
    made = [make(store, user=f"user{number}") for number in range(8)]
    go = threading.Barrier(len(made) * 2)

    def use(text: str) -> tuple[list[float], list[float]]:
        got_in: list[float] = []
        kept_out: list[float] = []
        go.wait()
        until = time.monotonic() + FRESH_SECONDS + 0.8
        while time.monotonic() < until:
            asked = time.monotonic()
            try:
                gate.authenticate(text)
                got_in.append(asked)
            except Unauthenticated:
                kept_out.append(asked)
            time.sleep(0.005)
        return got_in, kept_out

    def revoke(identity: str) -> float:
        go.wait()
        time.sleep(0.2)
        store.revoke_token(identity)
        return time.monotonic()

    with ThreadPoolExecutor(len(made) * 2) as pool:
        uses = [pool.submit(use, text) for _, text in made]
        revocations = [pool.submit(revoke, identity) for identity, _ in made]
        for use_of, revoked in zip(uses, revocations, strict=True):
            got_in, kept_out = use_of.result()
            assert got_in
            assert kept_out
            assert max(got_in) <= revoked.result() + FRESH_SECONDS
            assert min(kept_out) > max(got_in)


def test_strangers_do_not_fill_the_audit_log(gate: TokenGate, store: ServiceStore, monkeypatch) -> None:
    for _ in range(200):
        with pytest.raises(Unauthenticated):
            gate.authenticate("hello")
    assert len(store.audit()) == REFUSALS
    monkeypatch.setattr(gate, "_refusals_until", 0.0)
    with pytest.raises(Unauthenticated):
        gate.authenticate("hello")
    assert f"{200 - REFUSALS} refusals before this one" in (store.audit(limit=1)[0].reason or "")


def test_what_is_audited_is_in_the_log_too(store: ServiceStore, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lakehouse.audit"):
        store.record(AuditEntry(verb="commit", outcome="granted", ref="dev/ann", user="ann", request="r7"))
    [line] = caplog.records
    assert line.getMessage() == "granted commit"
    assert (line.fields["ref"], line.fields["user"], line.fields["request"]) == ("dev/ann", "ann", "r7")  # type: ignore[attr-defined]


def test_last_use_is_remembered_coarsely(gate: TokenGate, store: ServiceStore) -> None:
    identity, text = make(store)
    gate.authenticate(text)
    token = store.token(identity)
    assert token is not None
    assert token.used_at is not None
    assert datetime.now(UTC) - token.used_at < timedelta(minutes=1)
    store.touch_token(identity)
    assert store.token(identity) == token


def test_what_one_request_was_shown_the_next_may_use(catalog: SqlCatalog, store: ServiceStore) -> None:
    gate = TokenGate(catalog, store, Policy(roles={"r": Role(name="r", read=("main",))}))
    principal = gate.authenticate(make(store, role="r")[1])
    head = gate.catalog(principal).resolve("main")
    assert gate.catalog(principal).log(head.id) == [head]
    assert [ref.name for ref in gate.catalog(principal).refs(RefKind.BRANCH)] == ["main"]


def test_access_to_the_outside_is_a_capability(gate: TokenGate, store: ServiceStore) -> None:
    reader, developer = (gate.authenticate(make(store, role=role)[1]) for role in ("reader", "developer"))
    name = Name(database="lake", schema="s", name="t")
    outside = Build(name=name, sql="SELECT 1", external_access=True)
    online = Build(name=name, python=PythonSource(code="", path="m.py", internet_access=True))
    for build, capability in ((outside, "external_access"), (online, "internet_access")):
        gate.check_build(developer, build)
        with pytest.raises(Denied, match=f"may not build .* with {capability}"):
            gate.check_build(reader, build)
        assert store.audit(limit=1)[0].verb == "build"
    gate.check_build(reader, Build(name=name, sql="SELECT 1"))


def test_revoking_what_does_not_exist_says_so(store: ServiceStore) -> None:
    with pytest.raises(ConfigError, match=r"no token 'x'; `lakehouse token list`"):
        store.revoke_token("x")
