"""``lakehouse ci`` with real dbt and git: from a pull request to main, whose tables are those of a full build."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from dbt_shop import Shop

from dbt.adapters.lakehouse.catalog.model import RunStatus

COMMAND = str(Path(sys.executable).with_name("lakehouse"))

MODELS = {
    "raw": "select range as id, range % 3 as shop from range(6)",
    "orders": "select id, shop, id * 10 as amount from {{ ref('raw') }}",
    "shops": "select shop, sum(amount) as total from {{ ref('orders') }} group by shop",
    "apart": "select 1 as one",
    "seen": "{{ config(materialized='view') }} select * from {{ ref('shops') }} where total > 0",
}
TESTS = """
models:
  - name: orders
    columns:
      - name: id
        data_tests: [unique, not_null]
  - name: shops
    config: {unique_key: shop}
"""
SNAPSHOT = """
snapshots:
  - name: kept
    relation: ref('raw')
    config: {strategy: check, check_cols: all, unique_key: id}
"""


class Repository:
    """A dbt project in git, and the command called there as a job of GitHub's would."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        unset = ("GITHUB_", "LAKEHOUSE_", "DBT_", "CI_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(unset)}
        who = {"GIT_AUTHOR_NAME": "ann", "GIT_COMMITTER_NAME": "ann"}
        who |= {"GIT_AUTHOR_EMAIL": "ann@example.com", "GIT_COMMITTER_EMAIL": "ann@example.com"}
        self.environment = {**kept, **shop.environment, **who, "LAKEHOUSE_AUTHOR": "ann"}
        shop.write({".gitignore": "/lake*/\n/target/\n/logs/\n/output/\n/*.md\n", "models/schema.yml": TESTS})
        shop.models(**MODELS)
        self.git("init", "-q", "-b", "main")
        self.commit("Start")

    def git(self, *arguments: str) -> str:
        ended = subprocess.run(
            ["git", *arguments], cwd=self.shop.root, env=self.environment, capture_output=True, text=True, check=True
        )
        return ended.stdout.strip()

    def commit(self, message: str = "Change") -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def ci(self, *arguments: str, code: int = 0, pull: int | None = 7, **environment: str) -> str:
        """What the command prints, in a job about a pull request."""
        about = {} if pull is None else {"GITHUB_REF": f"refs/pull/{pull}/merge"}
        ended = subprocess.run(
            [COMMAND, "ci", *arguments],
            cwd=self.shop.root,
            env={**self.environment, **about, **environment},
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert ended.returncode == code, f"{ended.stdout}\n{ended.stderr}"
        assert "Traceback" not in ended.stderr
        return ended.stdout

    def json(self, *arguments: str, code: int = 0, **environment: str) -> Any:
        command, *rest = arguments or ("build",)
        return json.loads(self.ci(command, "--json", *rest, code=code, **environment))

    def full_build(self) -> Mapping[str, Any]:
        """The tables that a build of the code gives on a lake with nothing in it."""
        self.shop.outputs(fresh={"warehouse": "./lake_fresh"})
        try:
            self.shop.dbt("build", "--target", "fresh", LAKEHOUSE_REUSE="off")
        finally:
            self.git("checkout", "-q", "profiles.yml")
        with self.shop.lake(warehouse="./lake_fresh") as lake:
            session = lake.read("main", "shop")
            try:
                return {
                    f"{entry.schema}.{entry.name}": sorted(
                        session.execute(f'SELECT * FROM lake."{entry.schema}"."{entry.name}"').rows, key=repr
                    )
                    for entry in session.relations("lake")
                }
            finally:
                session.close()


@pytest.fixture
def repository(shop: Shop) -> Repository:
    """A project whose main branch is built."""
    repository = Repository(shop)
    shop.dbt("build")
    return repository


@pytest.fixture
def unbuilt(shop: Shop) -> Repository:
    """A project, and a lake with nothing in it."""
    with shop.lake():
        return Repository(shop)


def by_name(document: Any) -> dict[str, Any]:
    return {relation["name"]: relation for relation in document["relations"]}


def reused(document: Any) -> set[str]:
    return {node["name"] for node in document["build"]["nodes"] if node["reused"] and node["name"]}


def test_from_a_pull_request_to_main(repository: Repository) -> None:
    shop = repository.shop
    main, tables = shop.head(), shop.tables()
    repository.git("checkout", "-q", "-b", "feature")
    shop.models(
        orders="select id, shop, case id when 2 then 99 else id * 10 end as amount, 'eur' as money from {{ ref('raw') }}"
    )
    shop.models(fresh="select * from {{ ref('apart') }}")
    repository.commit()
    summary = shop.root / "summary.md"
    text = repository.ci("--report", "report.md", GITHUB_STEP_SUMMARY=str(summary))
    # The same report everywhere, and nothing of it on main.
    assert text == shop.read("report.md") == summary.read_text()
    assert (shop.head(), shop.tables()) == (main, tables)
    assert shop.branches() == ["ci/pr-7", "main"]
    for line in (
        "## The build passed",
        "| models | 6: 3 changed, 1 new, 2 reused |",
        "| tests | 2 passed |",
        "| <code>shop.orders</code> | 1 added | 6: 1 changed |",
        "| <code>shop.shops</code> | as before | 3: 1 changed |",
        "| <code>shop.fresh</code> | table | 1 |",
        "- column <code>money</code> <code>VARCHAR</code> was added",
        "- rows are told apart by <code>shop</code>",
        "| changed | <code>2</code> | <code>20</code> → <code>99</code> | <code>2</code> | <code>eur</code> |",
        "lakehouse diff main ci/pr-7 --rows",
    ):
        assert line in text.splitlines(), line
    # What the report says to type works.
    (query,) = [line for line in text.splitlines() if line.startswith("lakehouse query")]
    subprocess.run(
        query.replace("lakehouse", COMMAND, 1), shell=True, cwd=shop.root, env=repository.environment, check=True
    )

    # Another push that changes nothing of it reuses all of it.
    shop.write({"README": "More words."})
    repository.commit()
    second = repository.json("build")
    # (The view is not as main has it; making it takes no time.)
    assert reused(second) == {"raw", "orders", "shops", "apart", "fresh"}
    assert {name: relation["change"] for name, relation in by_name(second).items()} == {
        "orders": "changed",
        "shops": "changed",
        "seen": "changed",
        "fresh": "added",
    }
    assert shop.branches() == ["ci/pr-7", "main"]

    # Merged: main's data is what was built, without dbt.
    repository.git("checkout", "-q", "main")
    repository.git("merge", "-q", "--no-ff", "--no-edit", "feature")
    runs = len(shop.runs())
    published = repository.json("publish")
    assert (published["build"], published["published"]) == (None, shop.head())
    assert by_name(published)["orders"]["rows"]["changed"] == 1
    assert len(shop.runs()) == runs
    assert shop.branches() == ["main"]
    assert shop.tables() == repository.full_build()


def test_a_pull_request_whose_test_fails(repository: Repository) -> None:
    shop = repository.shop
    main = shop.head()
    shop.models(raw="select range // 2 as id, range % 3 as shop from range(6)")
    repository.commit()
    text = repository.ci("build", "--report", "report.md", code=1)
    assert shop.read("report.md") == text
    assert "## The build failed" in text
    assert "| tests | 1 passed, 1 failed |" in text
    assert "test <code>unique&#95;orders&#95;id" in text
    assert "Got 3 results, configured to fail if &#33;= 0" in text
    assert shop.head() == main
    (run,) = [name for name in shop.branches() if name != "main"]
    assert f"lakehouse diff main {run}" in text
    # What failed is not published either.
    failed = repository.json("publish", code=1)
    assert (failed["passed"], failed["published"]) == (False, None)
    assert shop.head() == main
    # Closed: nothing of it is left.
    repository.ci("close")
    assert shop.branches() == ["main"]
    assert {record.status for record in shop.runs()} == {RunStatus.PUBLISHED, RunStatus.FAILED}


def test_a_base_that_moved(repository: Repository) -> None:
    shop = repository.shop
    repository.git("checkout", "-q", "-b", "feature")
    shop.models(shops="select shop, sum(amount) + 1 as total from {{ ref('orders') }} group by shop")
    repository.commit()
    repository.ci("build")
    # Somebody else's change arrives first; it changes what this one reads.
    repository.git("checkout", "-q", "main")
    shop.models(orders="select id, shop, id * 100 as amount from {{ ref('raw') }}")
    repository.commit()
    assert repository.json("publish", "--branch", "ci/pr-8")["notes"] == ["built anew: there is no branch ci/pr-8"]
    assert shop.branches() == ["ci/pr-7", "main"]
    repository.git("merge", "-q", "--no-edit", "feature")
    published = repository.json("publish")
    assert "main moved from" in published["notes"][0]
    assert reused(published) == {"raw", "orders", "apart"}
    assert shop.branches() == ["main"]
    assert shop.tables() == repository.full_build()


def test_nothing_changed(repository: Repository) -> None:
    shop = repository.shop
    main = shop.head()
    text = repository.ci()
    assert "| models | 5: 5 reused |" in text.splitlines()
    assert "### Changed" not in text
    # Pushed without a pull request, which builds, and finds nothing to publish.
    text = repository.ci("publish", pull=None)
    assert "## <code>main</code> has it all already" in text
    assert shop.head() == main


def test_a_model_that_is_gone_and_arguments_for_dbt(repository: Repository) -> None:
    shop = repository.shop
    (shop.root / "models" / "apart.sql").unlink()
    shop.write({"models/raw.sql": "{{ config(materialized='table') }} select {{ var('n', 1) }} as id, 0 as shop"})
    repository.commit()
    shop.write({"snapshots/kept.yml": SNAPSHOT})
    repository.commit()
    document = repository.json("build", "--", "--vars", "n: 5")
    keys = {node["name"]: node["key"] for node in document["build"]["nodes"] if node["name"]}
    assert (keys["kept"], keys["orders"], keys["shops"], keys["raw"]) == (["dbt_scd_id"], ["id"], ["shop"], [])
    assert document["missing"] == ["shop.apart"]
    assert by_name(document)["raw"]["rows_after"] == 1
    assert shop.rows("select id from shop.raw", "ci/pr-7") == [(5,)]
    # With other arguments it is another build.
    published = repository.json("publish")
    assert "are not those that ci/pr-7 was built from" in published["notes"][0]
    assert shop.rows("select id from shop.raw") == [(1,)]
    # Of a part of the project nobody can say what is gone.
    assert repository.json("build", "--", "--select", "shops")["missing"] == []


def test_dbt_that_breaks_off(unbuilt: Repository) -> None:
    repository, shop = unbuilt, unbuilt.shop
    shop.models(orders="select {{ nothing_of_that_name() }}")
    repository.commit()
    text = repository.ci(code=1)
    assert "## The build failed" in text
    assert "nothing&#95;of&#95;that&#95;name" in text
    # Whether or not there was a run yet, nothing else is left; the next attempt takes that away, too.
    assert [name for name in shop.branches() if not name.startswith("run/")] == ["main"]
    text = repository.ci("build", "--", "--no-such-option", code=1)
    assert "No such option" in text
    assert shop.branches() == ["main"]


def test_what_makes_no_sense(unbuilt: Repository) -> None:
    repository = unbuilt

    def error(*arguments: str, code: int = 2, **more: Any) -> str:
        about = {"GITHUB_REF": "refs/heads/main"}
        ended = subprocess.run(
            [COMMAND, "ci", *arguments],
            cwd=repository.shop.root,
            env={**repository.environment, **about, **more},
            capture_output=True,
            text=True,
        )
        assert ended.returncode == code, ended.stderr
        assert ended.stdout == ""
        return ended.stderr

    assert "the environment names no pull request; name a branch for it" in error()
    assert "the environment names no pull request; name its branch" in error("close")
    assert "--warehouse is not for this command" in error("publish", "--warehouse", "lake")
    assert "'main' is both the pull request's branch and the base" in error("--branch", "main", code=1)
    assert "cannot name a branch" in error("--branch", "a b", code=1)
    assert "no branch" in error("publish", "--base", "nowhere", code=1)
    assert repository.shop.branches() == ["main"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_job_that_is_ended_in_a_hurry(unbuilt: Repository, number: signal.Signals) -> None:
    shop = unbuilt.shop
    shop.models(endless="select sum(hash(i * j)) as n from range(400000) a(i), range(400000) b(j)")
    job = subprocess.Popen(
        [COMMAND, "ci", "--branch", "ci/pr-7"],
        cwd=shop.root,
        env=unbuilt.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # What interrupts it does not reach dbt, as from a terminal.
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 90
        while not any("endless" in line for line in log(shop)):
            assert job.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        job.send_signal(number)
        _, errors = job.communicate(timeout=60)
    finally:
        if job.poll() is None:
            job.kill()
            job.communicate()
    assert job.returncode == 130
    assert errors.splitlines()[-1] == "error: interrupted"
    (run,) = shop.runs()
    assert run.status is RunStatus.ABANDONED
    assert shop.branches() == ["main", run.branch]
    # Its own branch goes with the pull request.
    unbuilt.ci("close")
    assert shop.branches() == ["main"]


def log(shop: Shop) -> list[str]:
    """What dbt started so far."""
    file = shop.root / "logs" / "dbt.log"
    return [line for line in file.read_text().splitlines() if "START" in line] if file.exists() else []
