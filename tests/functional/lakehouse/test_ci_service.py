"""``lakehouse ci`` on a service, with tokens that may do no more than they must."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbt_shop import Shop
from service_process import ServiceProcess

COMMAND = str(Path(sys.executable).with_name("lakehouse"))
ROLES = """
roles:
  ci: {read: ['*'], write: ['ci/*']}
  ci-publish: {like: ci, merge: [main], protected: true}
"""
PROFILE = """
shop:
  target: prod
  outputs:
    prod: {type: lakehouse, service: "URL", schema: shop, threads: 2}
"""


@pytest.fixture
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = tmp_path_factory.mktemp("service")
    (folder / "service.yml").write_text(ROLES)
    with ServiceProcess(folder / "lake", "--config", str(folder / "service.yml")) as process:
        yield process


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=ann", "-c", "user.email=ann@example.com"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_one_token_builds_and_another_publishes(process: ServiceProcess, shop: Shop) -> None:
    shop.write({"profiles.yml": PROFILE.replace("URL", process.url), ".gitignore": "/target/\n/logs/\n"})
    shop.models(orders="select range as id, range % 2 as kind from range(4)")
    git(shop.root, "init", "-q", "-b", "main")
    git(shop.root, "add", "-A")
    git(shop.root, "commit", "-q", "-m", "Start")
    tokens = {"builder": process.token("bot", "ci"), "publisher": process.token("pia", "ci-publish")}

    def ci(who: str, *arguments: str, code: int = 0) -> Any:
        unset = ("LAKEHOUSE_", "DBT_", "GITHUB_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(unset)}
        environment = {**kept, **shop.environment, "LAKEHOUSE_TOKEN": tokens[who]}
        ended = subprocess.run(
            [COMMAND, *arguments, "--json"], cwd=shop.root, env=environment, capture_output=True, text=True, timeout=180
        )
        assert ended.returncode == code, ended.stdout + ended.stderr
        return json.loads(ended.stdout if ended.stdout else ended.stderr.splitlines()[-1])

    pull = ("--branch", "ci/pr-1")
    built = ci("builder", "ci", "build", *pull)
    assert (built["passed"], built["relations"][0]["change"]) == (True, "added")
    assert [branch["name"] for branch in ci("builder", "branch", "list")] == ["ci/pr-1", "main"]
    # Who may build may not publish, and nothing is lost by trying.
    assert ci("builder", "ci", "publish", *pull, code=1)["error"]["kind"] == "denied"
    published = ci("publisher", "ci", "publish", *pull)
    assert (published["build"], published["passed"]) == (None, True)
    assert published["published"] is not None
    assert [branch["name"] for branch in ci("publisher", "branch", "list", "--all")] == ["main"]

    # Another one, whose rows are compared by the service.
    shop.models(orders="select range as id, range % 3 as kind from range(5)")
    git(shop.root, "commit", "-q", "-am", "Change")
    (relation,) = ci("builder", "ci", "build", *pull)["relations"]
    assert (relation["rows_before"], relation["rows_after"]) == (4, 5)
    assert (relation["rows"]["added"], relation["rows"]["removed"]) == (3, 2)
    assert ci("builder", "ci", "close", *pull) == {"branch": "ci/pr-1", "deleted": ["ci/pr-1"]}
