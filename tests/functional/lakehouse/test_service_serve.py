"""``lakehouse serve`` as a program: how it starts, listens, logs and ends, and the commands of docs/service.md."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from dbt_shop import PROFILE, Shop
from service_process import ServiceProcess

DOCS = Path(__file__).parents[3] / "docs" / "service.md"
LAKEHOUSE = str(Path(sys.executable).with_name("lakehouse"))


def lakehouse(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LAKEHOUSE, *arguments], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    process = ServiceProcess(tmp_path / "lake")
    yield process
    if process.process.poll() is None:
        process.end(signal.SIGKILL)


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = lakehouse("serve", "--warehouse", "lake", "--port", port, cwd=tmp_path)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another --port" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--tls-key", "k.pem"], "--tls-key needs --tls-cert"),
        (["--tls-cert", "nowhere.pem"], "not a certificate and its key"),
        (["--memory", "lots"], "8GB, 512MB"),
        (["--config", "nowhere.yml"], "nowhere.yml cannot be read"),
        (["--host", "not.an.address.invalid"], "cannot listen on not.an.address.invalid"),
        (["--lease", "0"], "0"),
    ],
)
def test_flags_that_make_no_sense(tmp_path: Path, flags: list[str], says: str) -> None:
    done = lakehouse("serve", "--warehouse", "lake", "--port", "0", *flags, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "lake").exists()


def test_a_profile_of_a_client_is_no_lake_to_serve(shop: Shop) -> None:
    shop.write({"profiles.yml": PROFILE.replace("warehouse: ./lake", "service: http://127.0.0.1:8585")})
    done = lakehouse("serve", cwd=shop.root)
    assert done.returncode == 1
    assert "this needs the lake itself" in done.stderr


def test_its_log_has_no_secrets_and_its_end_is_clean(service: ServiceProcess) -> None:
    service.start()
    token = service.token()
    raw = urllib3.PoolManager()
    sign = {"Authorization": f"Bearer {token}", "Request-Id": "my-request"}
    answer = raw.request("POST", f"{service.url}/v1/catalog/resolve", json={"ref": "main"}, headers=sign)
    assert answer.headers["Request-Id"] == "my-request"
    commit = answer.json()["id"]
    path = f"/v1/reads/session-1/execute?commit={commit}"
    assert raw.request("POST", service.url + path, json={"sql": "SELECT 'hidden-text'"}, headers=sign).status == 200
    raw.clear()
    assert service.end() == 0
    text = service.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    [resolved] = [line for line in lines if line.get("route") == "/v1/catalog/resolve"]
    assert {key: resolved[key] for key in ("request", "user", "status", "method")} == {
        "request": "my-request",
        "user": "anna",
        "status": 200,
        "method": "POST",
    }
    assert token not in text
    assert token.rpartition("_")[2] not in text
    assert "hidden-text" not in text
    assert lines[-1]["message"] == "asked to end; finishing what is in flight"


def test_an_idle_service_is_small_and_has_no_workers(service: ServiceProcess) -> None:
    service.start()
    raw = urllib3.PoolManager()
    for _ in range(3):
        assert raw.request("GET", f"{service.url}/readyz").data == b"ready\n"
    sign = {"Authorization": f"Bearer {service.token()}"}
    metrics = raw.request("GET", f"{service.url}/metrics", headers=sign).data.decode()
    raw.clear()
    assert "lakehouse_pool_workers 0.0" in metrics
    status = Path(f"/proc/{service.process.pid}/status")
    if status.exists():
        [size] = re.findall(r"VmRSS:\s+(\d+) kB", status.read_text())
        assert int(size) < 150_000


def test_the_command_line_works_over_a_service(service: ServiceProcess, tmp_path: Path) -> None:
    service.start()
    (tmp_path / "items.csv").write_text("id,name\n1,a\n2,b\n")
    (tmp_path / "more.csv").write_text("id,name\n3,c\n")
    environment = {"LAKEHOUSE_TOKEN": service.token(), "LAKEHOUSE_SERVICE": service.url}

    def call(*arguments: str, code: int = 0) -> str:
        done = lakehouse(*arguments, cwd=tmp_path, **environment)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    call("import", "raw.items", "items.csv")
    call("branch", "create", "dev")
    assert "added 1 row" in call("import", "raw.items", "more.csv", "--append", "--branch", "dev")
    assert json.loads(call("query", "SELECT sum(id) AS s FROM raw.items", "--ref", "dev", "--json")) == [{"s": 6}]
    assert json.loads(call("query", "SELECT sum(id) AS s FROM raw.items", "--json")) == [{"s": 3}]
    assert "raw.items" in call("diff", "main", "dev")
    assert "would merge dev into main" in call("merge", "dev", "--into", "main", "--dry-run")
    call("merge", "dev", "--into", "main")
    assert json.loads(call("table", "raw.items", "--json"))["rows"] == 3
    call("tag", "create", "v1")
    assert "v1" in call("tag", "list")
    assert json.loads(call("tables", "--json"))[0]["name"] == "items"
    assert len(json.loads(call("runs", "--json"))) == 2
    assert len(json.loads(call("log", "--json"))) >= 3
    assert "nowhere" in call("query", "SELECT 1", "--ref", "nowhere", code=1)
    call("branch", "delete", "dev")


def test_a_second_signal_ends_it_at_once(service: ServiceProcess) -> None:
    service.start()
    raw = urllib3.PoolManager()
    sign = {"Authorization": f"Bearer {service.token()}"}
    commit = raw.request("POST", f"{service.url}/v1/catalog/resolve", json={"ref": "main"}, headers=sign).json()["id"]
    path = f"{service.url}/v1/reads/session-1/arrow?commit={commit}"
    sql = "SELECT hash(i) FROM range(100000000000) r(i)"
    answer = raw.request("POST", path, json={"sql": sql}, headers=sign, preload_content=False)
    assert answer.read(1000)
    service.process.send_signal(signal.SIGTERM)
    service.wait_for("finishing what is in flight")
    time.sleep(0.5)
    assert service.process.poll() is None
    started = time.monotonic()
    service.end()
    assert time.monotonic() - started < 10
    answer.close()
    raw.clear()


def test_the_documented_commands_work(tmp_path: Path, shop: Shop) -> None:
    text = DOCS.read_text()
    blocks = re.findall(r"```(\w*)\n(.*?)```", text, re.S)
    shell = [line for kind, block in blocks if not kind for line in block.splitlines()]
    create, serve = (
        next(line for line in shell if line.startswith(start)) for start in ("lakehouse token", "lakehouse serve")
    )
    done = lakehouse(*create.split()[1:], "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    token = json.loads(done.stdout)["token"]
    process = ServiceProcess(tmp_path / "lake")
    assert serve == "lakehouse serve --warehouse ./lake"
    with process:
        os.environ["LAKEHOUSE_TOKEN"] = token
        try:
            yaml = next(block for kind, block in blocks if kind == "yaml")
            shop.write({"profiles.yml": yaml.replace("http://127.0.0.1:8585", process.url)})
            shop.models(orders="select range as id from range(10)")
            for command in ("dbt debug", "dbt build"):
                assert command in shell
                shop.dbt(*command.split()[1:], LAKEHOUSE_TOKEN=token)
            query = next(line for line in shell if line.startswith("lakehouse query"))
            match = re.fullmatch(r'lakehouse query "(.*)" --service (\S+)', query)
            assert match is not None
            done = lakehouse("query", match[1], "--service", process.url, "--json", cwd=tmp_path)
            assert json.loads(done.stdout) == [{"count_star()": 10}], done.stderr
            listed = lakehouse("branch", "list", "--service", process.url, cwd=tmp_path)
            assert "main" in listed.stdout
            python = next(block for kind, block in blocks if kind == "python")
            printed = subprocess.run(
                [sys.executable, "-c", python.replace("http://127.0.0.1:8585", process.url)],
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert printed.stdout == "['analytics.orders']\n10\n", printed.stderr
        finally:
            del os.environ["LAKEHOUSE_TOKEN"]
