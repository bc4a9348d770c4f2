"""Roles and tokens of a real service, as dbt and the command line meet them; its jobs, and its audit log."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbt_shop import PROFILE, Shop
from service_process import ServiceProcess

COMMAND = str(Path(sys.executable).with_name("lakehouse"))
ENDLESS = "select sum(hash(i * j)) as n from range(400000) a(i), range(400000) b(j)"
UNSET = {"LAKEHOUSE_WAREHOUSE", "LAKEHOUSE_SERVICE", "LAKEHOUSE_TOKEN", "DBT_PROFILES_DIR", "DBT_PROFILE", "DBT_TARGET"}


class As:
    """The command line, as whoever holds a token, in an empty folder."""

    def __init__(self, folder: Path, url: str, token: str) -> None:
        self.folder = folder
        kept = {key: value for key, value in os.environ.items() if key not in UNSET}
        self.environment = {**kept, "LAKEHOUSE_SERVICE": url, "LAKEHOUSE_TOKEN": token, "HOME": str(folder)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [COMMAND, *arguments], cwd=self.folder, env=self.environment, stdout=pipe, stderr=pipe, text=True
        )

    def run(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        out, err = (process := self.start(*arguments)).communicate(timeout=60)
        assert process.returncode == code, out + err
        assert "Traceback" not in err
        return out, err

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json")[0])

    def error(self, *arguments: str) -> dict[str, str]:
        out, err = self.run(*arguments, "--json", code=1)
        assert out == ""
        error: dict[str, str] = json.loads(err)["error"]
        return error


class Served:
    """A service, and people who hold tokens."""

    def __init__(self, process: ServiceProcess, folder: Path) -> None:
        self.process = process
        self.folder = folder

    def as_user(self, user: str, role: str) -> As:
        return As(self.folder, self.process.url, self.process.token(user, role))


CONFIG = """
roles:
  narrow: {read: ['dev/{user}', 'dev/{user}/*'], write: ['dev/{user}', 'dev/{user}/*']}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("access")
    (folder / "service.yml").write_text(CONFIG)
    with ServiceProcess(folder / "lake", "--config", str(folder / "service.yml")) as process:
        yield Served(process, folder)


def test_the_first_token_is_made_on_the_machine_and_others_over_the_service(served: Served) -> None:
    warehouse = ["--warehouse", str(served.folder / "lake")]
    here = As(served.folder, "", "")
    here.environment.pop("LAKEHOUSE_SERVICE")
    first = here.json("token", "create", "root", "--role", "admin", *warehouse)
    root = As(served.folder, served.process.url, first["token"])
    out, err = root.run("token", "create", "carl", "--role", "developer", "--expires", "1h", "--label", "laptop")
    text = out.strip()
    assert "it is not shown again" in err
    carl = As(served.folder, served.process.url, text)
    assert [branch["name"] for branch in carl.json("branch", "list")] == ["main"]
    [listed] = [token for token in root.json("token", "list") if token["user"] == "carl"]
    assert (listed["label"], listed["created_by"], listed["valid"]) == ("laptop", "root", True)
    assert listed["used"] is not None
    assert carl.error("token", "list")["kind"] == "denied"
    assert carl.error("token", "create", "dora")["kind"] == "denied"
    assert carl.error("token", "revoke", first["id"])["kind"] == "denied"
    assert carl.error("audit")["kind"] == "denied"
    assert root.json("token", "revoke", text)["valid"] is False
    time.sleep(1.1)  # longer than a service trusts what it knows of a token
    assert carl.error("branch", "list")["kind"] == "unauthenticated"
    assert root.error("token", "create", "x", "--role", "nobody")["kind"] == "config"
    assert root.error("token", "create", "dev")["kind"] == "config"
    assert text[-43:] not in served.process.log.read_text()


def test_a_role_of_the_configuration_sees_its_own_branches_alone(served: Served) -> None:
    publisher, eve = served.as_user("pia", "publisher"), served.as_user("eve", "narrow")
    publisher.run("branch", "create", "dev/eve")
    publisher.run("branch", "create", "hidden")
    assert [branch["name"] for branch in eve.json("branch", "list")] == ["dev/eve"]
    assert eve.json("query", "select 1 as one", "--ref", "dev/eve") == [{"one": 1}]
    for attempt in (
        ("query", "select 1", "--ref", "hidden"),
        ("log", "hidden"),
        ("query", 'select * from "lake@hidden".s.t', "--ref", "dev/eve"),
        ("merge", "hidden", "--into", "dev/eve"),
    ):
        error = eve.error(*attempt)
        assert error["kind"] == "ref_not_found"
        assert "did you mean" not in error["message"]
    publisher.run("branch", "delete", "hidden")


def test_jobs_are_seen_stopped_and_run_again_by_their_users(served: Served) -> None:
    ann, bob, admin = (served.as_user(*who) for who in (("ann", "developer"), ("bob", "developer"), ("root", "admin")))
    running = ann.start("query", ENDLESS, "--ref", "main")
    until = time.monotonic() + 20
    while not (found := ann.json("jobs", "list", "--state", "running")):
        assert time.monotonic() < until
    [job] = found
    assert (job["user"], job["label"]) == ("ann", "query")
    assert bob.json("jobs", "--once") == []
    for verb in ("show", "logs", "cancel", "replay"):
        assert bob.error("jobs", verb, job["key"])["kind"] == "job_not_found"
    assert job["key"] in [one["key"] for one in admin.json("jobs", "list", "--user", "ann")]
    ann.run("jobs", "cancel", job["key"][:10])
    began = time.monotonic()
    _, err = running.communicate(timeout=20)
    assert time.monotonic() - began < 3
    assert running.returncode != 0
    assert "cancelled" in err.lower()
    assert ann.json("jobs", "show", job["key"])["state"] == "cancelled"
    ann.run("query", "select 42 as n", "--ref", "main")
    done = ann.json("jobs", "list", "--state", "done")[0]
    shown = ann.json("jobs", "show", done["key"])
    assert shown["tries"] == 1
    assert "select 42" in shown["envelope"]
    assert ann.json("jobs", "replay", done["key"])["state"] == "done"
    assert ann.json("jobs", "logs", done["key"]) == []
    assert "done" in ann.run("jobs", "list")[0]
    assert "select 42" not in ann.run("jobs", "list")[0]


def test_the_live_view_is_drawn_until_ctrl_c(served: Served) -> None:
    ann = served.as_user("ann", "developer")
    ann.run("query", "select 1", "--ref", "main")
    ours, theirs = pty.openpty()
    environment = {**ann.environment, "TERM": "xterm", "COLUMNS": "140", "LINES": "30", "NO_COLOR": "1"}
    process = subprocess.Popen([COMMAND, "jobs"], env=environment, stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    seen = bytearray()

    def read() -> None:
        while True:
            try:
                seen.extend(os.read(ours, 65536))
            except OSError:  # the other end is closed
                return

    reader = threading.Thread(target=read)
    reader.start()
    until = time.monotonic() + 20
    while seen.count(b"query") < 3:
        assert time.monotonic() < until, bytes(seen)
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 0
    reader.join(timeout=10)
    os.close(ours)
    assert b"Traceback" not in seen
    assert b"\x1b[31m" not in seen


def test_jobs_outlive_the_service(served: Served, tmp_path: Path) -> None:
    with ServiceProcess(tmp_path / "lake") as process:
        ann = As(tmp_path, process.url, process.token("ann", "developer"))
        ann.run("query", "select 1", "--ref", "main")
        before = ann.json("jobs", "list")
        assert len(before) == 1
    again = ServiceProcess(tmp_path / "lake", port=process.port)
    with again:
        assert ann.json("jobs", "list") == before
    here = ["--warehouse", str(tmp_path / "lake")]
    ann.environment.pop("LAKEHOUSE_SERVICE")
    assert ann.json("jobs", "list", *here) == before
    assert ann.error("jobs", "replay", before[0]["key"], *here)["kind"] == "config"


def profile(process: ServiceProcess, **keys: str) -> str:
    more = "".join(f", {key}: {value}" for key, value in keys.items())
    return PROFILE.replace("warehouse: ./lake", f'service: "{process.url}", token: "{{{{ env_var(\'T\') }}}}"{more}')


def test_dbt_as_a_developer_is_kept_from_main_before_anything_runs(shop: Shop) -> None:
    with ServiceProcess(shop.root / "lake") as process:
        token = process.token("ann", "developer")
        admin = As(shop.root, process.url, process.token("root", "admin"))
        shop.models(a="select 1 as id", b="select id + 1 as id from {{ ref('a') }}")
        shop.write({"profiles.yml": profile(process)})
        before = shop.branches()
        outcome = shop.dbt("build", code=None, T=token)
        assert outcome.code != 0
        assert "user 'ann' has role 'developer' and may not publish to branch 'main'" in outcome.output
        assert "`branch: dev/ann` in the profile" in outcome.output
        assert "OK created" not in outcome.output
        assert shop.branches() == before
        assert admin.json("jobs", "list") == []
        shop.dbt("show", "--inline", "select 42 as n", T=token)

        shop.write({"profiles.yml": profile(process, branch="dev/ann")})
        shop.dbt("build", T=token)
        assert shop.rows("select id from b", "dev/ann") == [(2,)]
        assert {commit.author for commit in shop.log("dev/ann")[:-1]} == {"ann"}
        [run] = shop.runs()
        log = admin.json("audit", "-n", "1000")
        told = [(line["verb"], line["outcome"], line["ref"]) for line in reversed(log) if line["user"] == "ann"]
        assert told[0] == ("open_run", "denied", "main")
        assert ("create", "granted", "dev/ann") in told
        assert ("create", "granted", run.branch) in told
        assert told.count(("commit", "granted", run.branch)) >= 2
        assert ("merge", "granted", "dev/ann") in told
        granted = [line for line in log if line["user"] == "ann" and line["outcome"] == "granted"]
        assert all(line["request"] and line["token"] for line in granted)
        assert admin.error("merge", "dev/ann", "--into", "nowhere")["kind"] == "ref_not_found"
        assert As(shop.root, process.url, token).error("merge", "dev/ann", "--into", "main")["kind"] == "denied"
        pia = As(shop.root, process.url, process.token("pia", "publisher"))
        pia.run("merge", "dev/ann", "--into", "main")
        assert shop.rows("select id from b") == [(2,)]
        assert shop.log()[0].author == "pia"
