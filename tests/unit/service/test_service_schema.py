"""schemathesis holds the service to its own description: what it accepts, what it refuses, and how it answers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_thread import serving

from dbt.adapters.lakehouse.lake.base import Build, Name, RunRequest
from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake
from dbt.adapters.lakehouse.service.config import ServiceConfig
from dbt.adapters.lakehouse.service.core import Service
from dbt.adapters.lakehouse.service.start import open_service
from dbt.adapters.lakehouse.settings import LakeSettings, ServiceSettings

ST = Path(sys.executable).with_name("st")

# All checks are on. What a schema cannot say is whether a name, a time or a statement of SQL makes sense (400, 422), and
# how things stand in the lake (404, 409, 410); whoever asks in the right form may be told of either.
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 401, 403, 404, 409, 410, 422, 503]
"""
EXAMPLES = os.environ.get("LAKEHOUSE_TEST_EXAMPLES", "3")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("schema")
    where = LakeSettings(warehouse=f"file://{folder}/lake", catalog=f"sqlite:///{folder}/lake/catalog.sqlite")
    opened = open_service(where, ServiceConfig.of({"workers": {"count": 2, "memory": "1GB"}}))
    opened.start()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def url(service: Service) -> Iterator[str]:
    with serving(service) as url:
        yield url


def admin(service: Service) -> str:
    return service.store.create_token(name="test", user="anna", role="admin", created_by="test")[1]


def schemathesis(folder: Path, url: str, token: str, config: str, *flags: str) -> None:
    """Run it as people do, in a folder of its own, where it may leave what it likes."""
    if not ST.exists():
        pytest.skip("no schemathesis (pip install schemathesis)")
    (folder / "schemathesis.toml").write_text(config)
    done = subprocess.run(
        [
            *(str(ST), "run", f"{url}/v1/openapi.json", "--header", f"Authorization: Bearer {token}"),
            *("--max-examples", EXAMPLES, "--generation-deterministic", "--continue-on-failure", "--no-color"),
            *("--request-timeout", "30", "--no-shrink", *flags),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", "COLUMNS": "130"},
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    assert re.search(r"([1-9]\d*) generated, \1 passed", done.stdout), done.stdout[-20_000:]
    # Otherwise it spoke to nothing but the door.
    assert "401 Unauthorized" not in done.stdout, done.stdout[-20_000:]


def test_every_operation_is_as_described(service: Service, url: str, tmp_path: Path) -> None:
    # It revokes tokens that it has seen, its own among them.
    schemathesis(tmp_path, url, admin(service), CONFIG, "--exclude-path", "/v1/tokens/{token}/revoke")


def test_tokens_are_revoked_as_described(service: Service, url: str, tmp_path: Path) -> None:
    parameters = '\n[parameters]\n"path.token" = "0123456789ab"\n'
    schemathesis(tmp_path, url, admin(service), CONFIG + parameters, "--include-path", "/v1/tokens/{token}/revoke")


def test_sessions_of_a_run_that_is_open_are_as_described(service: Service, url: str, tmp_path: Path) -> None:
    token = admin(service)
    lake = RemoteLake(ServiceSettings(url=url, token=token))
    run = lake.open_run(RunRequest(id=str(uuid.uuid4()), command="test", branch="main"))
    session = run.session()
    session.build(Build(name=Name(database="lake", schema="main", name="numbers"), mode="create", sql="SELECT 1 AS n"))
    commit = lake.catalog.resolve("main").id
    parameters = f"""
[parameters]
"path.run_id" = "{run.request.id}"
"path.session_id" = "session-1"
"query.commit" = "{commit}"
"""
    ends = "(cancel|fail|publish|close)$"
    schemathesis(
        tmp_path,
        url,
        token,
        CONFIG + parameters,
        *("--include-path-regex", "^/v1/(runs/{run_id}|reads)", "--exclude-path-regex", ends),
    )
    assert session.execute("SELECT n FROM lake.main.numbers").rows == [(1,)]
    run.fail("it was a test")
    lake.close()
