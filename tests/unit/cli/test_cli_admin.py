"""``lakehouse token``, ``audit`` and ``jobs`` on the service's own machine, in this process."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt.adapters.lakehouse.cli.jobs import new_lines
from dbt.adapters.lakehouse.executors.records import Attempt, JobRecord
from dbt.adapters.lakehouse.service.store import ServiceStore

Lakehouse = Callable[..., tuple[int, str, str]]


def test_a_token_is_printed_alone_so_that_it_can_be_piped(lakehouse: Lakehouse) -> None:
    code, out, err = lakehouse("token", "create", "ann")
    assert code == 0
    assert re.fullmatch(r"lh_[0-9a-f]{12}_[\w-]{43}\n", out)
    assert "for user 'ann' with role 'developer'" in err
    assert "env_var('LAKEHOUSE_TOKEN')" in err


def test_tokens_are_listed_and_revoked_by_the_first_characters_of_their_ids(lakehouse: Lakehouse) -> None:
    made = json.loads(lakehouse("token", "create", "ann", "--expires", "90d", "--label", "ci", "--json")[1])
    lakehouse("token", "create", "bob", "--role", "reader")
    listed = json.loads(lakehouse("token", "list", "--json")[1])
    assert [(token["user"], token["role"], token["label"]) for token in listed] == [
        ("bob", "reader", "bob"),
        ("ann", "developer", "ci"),
    ]
    assert all("hash" not in key and made["token"] not in str(token) for token in listed for key in token)
    code, out, _ = lakehouse("token", "revoke", made["id"][:6])
    assert (code, out) == (0, f"revoked token {made['id']} of ann\n")
    assert [token["user"] for token in json.loads(lakehouse("token", "list", "--json")[1])] == ["bob"]
    everything = json.loads(lakehouse("token", "list", "--all", "--json")[1])
    assert [token["valid"] for token in everything] == [True, False]
    audited = json.loads(lakehouse("audit", "--json")[1])
    assert [(line["verb"], line["user"]) for line in audited] == [
        ("revoke_token", "ada"),
        ("create_token", "ada"),
        ("create_token", "ada"),
    ]
    assert json.loads(lakehouse("audit", "--json", "--user", "nobody")[1]) == []
    assert len(json.loads(lakehouse("audit", "--json", "--since", "1h")[1])) == 3
    assert json.loads(lakehouse("audit", "--json", "--since", "2100-01-01")[1]) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["token", "create", "dev"], "'dev' cannot name a user"),
        (["token", "create", "a b"], "'a b' cannot name a user"),
        (["token", "create", "ann", "--role", "boss"], "there is no role 'boss'; the roles are reader"),
        (["token", "create", "ann", "--expires", "soon"], "--expires is 'soon'; a time above 0 is needed: 90d"),
        (["token", "create", "ann", "--expires", "0d"], "--expires is '0d'"),
        (["token", "create", "ann", "--expires", "999999y"], "cannot expire in"),
        (["token", "create", "ann", "--label", "\n"], "cannot label a token"),
        (["token", "create", "ann", "--config", "none.yml"], "none.yml cannot be read"),
        (
            ["token", "list", "--config", "x", "--service", "http://127.0.0.1:1"],
            "--config is for the machine of the service",
        ),
        (["token", "list"], "there is no service store"),
        (["jobs"], "there is no service store"),
        (["audit"], "there is no service store"),
    ],
)
def test_what_is_wrong_is_said(lakehouse: Lakehouse, arguments: list[str], message: str) -> None:
    code, out, err = lakehouse(*arguments)
    assert (code, out) == (1, "")
    assert message in err
    assert json.loads(lakehouse(*arguments, "--json")[2])["error"]["message"] == err.strip().removeprefix("error: ")


def test_times_that_make_no_sense_are_said(lakehouse: Lakehouse) -> None:
    lakehouse("token", "create", "ann")
    for since in ("yesterday", "2026-13-01", "0001-01-01T00:00+14:00", "99999999999999999999y"):
        code, _, err = lakehouse("audit", "--since", since)
        assert code == 1
        assert f"--since is {since!r}" in err
    assert "there is no token 'abcd'" in lakehouse("token", "revoke", "abcd")[2]


def test_a_role_of_the_configuration_needs_its_file(lakehouse: Lakehouse, tmp_path: Path) -> None:
    (tmp_path / "service.yml").write_text("roles: {analyst: {read: [main]}}")
    assert lakehouse("token", "create", "ann", "--role", "analyst")[0] == 1
    assert lakehouse("token", "create", "ann", "--role", "analyst", "--config", "service.yml")[0] == 0


def keep(folder: Path, *records: JobRecord) -> None:
    (folder / "lake").mkdir(exist_ok=True)
    store = ServiceStore.open(f"sqlite:///{folder}/lake/catalog.sqlite")
    for record in records:
        store.jobs.record(record)
        store.jobs.append_log(record.key, ["first", "second"])
    store.close()


def record(key: str, **more: object) -> JobRecord:
    now = time.time()
    said: dict[str, object] = {
        "label": "model.shop.a",
        "user": "ann",
        "run": "r1",
        "state": "dead",
        "priority": 0,
        "submitted_at": now - 10,
        "started_at": now - 9,
        "finished_at": now - 4,
        "envelope": "{}",
        "resources": {"cpus": 2, "memory": "1GB"},
        "attempts": (
            Attempt(
                worker=11,
                started_at=now - 9,
                seconds=2.0,
                error={"kind": "worker_died", "message": "killed by SIGKILL"},
            ),
            Attempt(
                worker=12,
                started_at=now - 6,
                seconds=2.0,
                error={"kind": "worker_died", "message": "killed by SIGKILL"},
            ),
        ),
        "error": {"kind": "worker_died", "message": "the worker died twice"},
    }
    return JobRecord(key=key, **{**said, **more})  # type: ignore[arg-type]


def test_jobs_are_listed_and_shown(lakehouse: Lakehouse, tmp_path: Path) -> None:
    keep(tmp_path, record("aaaa1111"), record("aaaa2222", state="done", error=None, attempts=(), user="bob"))
    listed = json.loads(lakehouse("jobs", "--json")[1])
    assert {(job["key"], job["state"]) for job in listed} == {("aaaa1111", "dead"), ("aaaa2222", "done")}
    assert all("envelope" not in job for job in listed)
    assert [job["key"] for job in json.loads(lakehouse("jobs", "list", "--state", "dead", "--json")[1])] == ["aaaa1111"]
    assert [job["key"] for job in json.loads(lakehouse("jobs", "list", "--user", "bob", "--json")[1])] == ["aaaa2222"]
    assert "the worker died twice" in lakehouse("jobs")[1]
    shown = lakehouse("jobs", "show", "aaaa1")[1]
    assert "model.shop.a" in shown
    assert shown.count("killed by SIGKILL") == 2
    assert "cpus 2, memory 1GB" in shown
    whole = json.loads(lakehouse("jobs", "show", "aaaa1111", "--json")[1])
    assert (whole["logs"], whole["tries"]) == (["first", "second"], 2)
    assert lakehouse("jobs", "logs", "aaaa1111")[1] == "first\nsecond\n"
    assert lakehouse("jobs", "logs", "aaaa1111", "--follow")[1] == "first\nsecond\n"


def test_what_is_wrong_with_a_job_is_said(lakehouse: Lakehouse, tmp_path: Path) -> None:
    keep(tmp_path, record("aaaa1111"), record("aaaa2222"))
    assert "2 jobs begin with 'aaaa'" in lakehouse("jobs", "show", "aaaa")[2]
    assert "no job 'a' is on record; `lakehouse jobs list`" in lakehouse("jobs", "show", "a")[2]
    for verb in ("cancel", "replay"):
        assert "name that: --service URL" in lakehouse("jobs", verb, "aaaa1111")[2]
    assert lakehouse("jobs", "--watch")[0] == 2
    assert lakehouse("jobs", "logs", "aaaa1111", "--follow", "--json")[0] == 2


@given(st.lists(st.sampled_from("ab"), max_size=12), st.lists(st.sampled_from("cd"), max_size=12), st.integers(1, 12))
def test_lines_that_are_new_are_found_though_old_ones_are_gone(old: list[str], new: list[str], kept: int) -> None:
    before, now = old[-kept:], [*old, *new][-kept:]
    assert list(new_lines(before, now)) == new[-kept:]


def test_which_lake_is_meant_is_never_guessed(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_SERVICE", "http://127.0.0.1:1")
    code, _, err = lakehouse("token", "list")
    assert code == 1
    assert "both LAKEHOUSE_WAREHOUSE and LAKEHOUSE_SERVICE are set" in err
    assert "no service store" in lakehouse("token", "list", "--warehouse", "elsewhere")[2]
    code, _, err = lakehouse("token", "list", "--service", "http://127.0.0.1:1", "--warehouse", "elsewhere")
    assert code == 1
    assert "stands beside 'service'" in err
    assert "URL of a service is needed" in lakehouse("token", "list", "--service", "nonsense")[2]
