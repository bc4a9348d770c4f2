"""The sample project's GitHub workflow: its commands exist, and its steps do what they say, in a shell."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from dbt_shop import Shop
from github_jobs import Actions

from dbt.adapters.lakehouse.cli.main import lakehouse
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.profile import lake_settings

SAMPLE = Path(__file__).parents[3] / "sample_project"
WORKFLOW = SAMPLE / ".github" / "workflows" / "lakehouse.yml"
PROFILES = SAMPLE / ".github" / "lakehouse" / "profiles.yml"

PROJECT = """
name: shop
version: "1.0"
profile: flights
flags: {send_anonymous_usage_stats: false}
"""
TESTS = """
models:
  - name: orders
    columns:
      - name: id
        data_tests: [unique]
"""


def workflow() -> Any:
    return yaml.safe_load(WORKFLOW.read_text())


def steps() -> list[dict[str, Any]]:
    return [step for job in workflow()["jobs"].values() for step in job["steps"]]


def test_jobs_have_the_least_permissions_and_a_limit() -> None:
    found = workflow()
    assert found["permissions"] == {}
    assert {name: job["permissions"] for name, job in found["jobs"].items()} == {
        "build": {"contents": "read", "pull-requests": "write"},
        "publish": {"contents": "read", "pull-requests": "read"},
        "close": {"contents": "read"},
    }
    for job in found["jobs"].values():
        assert job["timeout-minutes"] <= 60
        assert set(job) == {"if", "runs-on", "timeout-minutes", "permissions", "concurrency", "steps"}
    assert found["jobs"]["build"]["concurrency"] == found["jobs"]["close"]["concurrency"]
    assert found["jobs"]["publish"]["concurrency"]["cancel-in-progress"] is False


def test_steps_are_well_formed() -> None:
    for step in steps():
        assert ("uses" in step) != ("run" in step)
        assert set(step) <= {"name", "if", "uses", "with", "env", "run"}
        if "uses" in step:
            assert re.fullmatch(r"actions/(checkout|setup-python|cache)@v\d+", step["uses"])
        else:
            # What comes from outside reaches a shell through the environment alone.
            assert "${{" not in step["run"]
            checked = subprocess.run(["bash", "-n", "-c", step["run"]], capture_output=True, text=True)
            assert checked.returncode == 0, checked.stderr


def test_commands_and_options_exist() -> None:
    commands = [
        shlex.split(re.sub(r"\$\{\w+:\+(.*?)\}", r"\1", line))
        for step in steps()
        for line in step.get("run", "").splitlines()
        if line.strip().startswith("lakehouse")
    ]
    assert [command[:3] for command in commands] == [
        ["lakehouse", "ci", "build"],
        ["lakehouse", "ci", "publish"],
        ["lakehouse", "ci", "close"],
    ]
    for command in commands:
        # With --help at the end, click reads all options and runs nothing.
        answer = CliRunner().invoke(lakehouse, [*command[1:], "--help"], obj=_cli())
        assert answer.exit_code == 0, answer.output
        wrong = CliRunner().invoke(lakehouse, [*command[1:3], "--no-such", *command[3:]], obj=_cli())
        assert wrong.exit_code == 2


def _cli() -> Any:
    from dbt.adapters.lakehouse.cli.context import Cli

    return Cli()


def test_both_profiles_make_sense(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dbt.adapters.lakehouse.cli.options import GlobalOptions
    from dbt.adapters.lakehouse.cli.profiles import find_output
    from dbt.adapters.lakehouse.profile import service_settings

    monkeypatch.setenv("DBT_PROFILES_DIR", str(PROFILES.parent))
    monkeypatch.setenv("LAKEHOUSE_SERVICE", "https://lake.example.com")
    monkeypatch.setenv("LAKEHOUSE_TOKEN", "lh_token")
    monkeypatch.setenv("LAKEHOUSE_WAREHOUSE", "s3://bucket/folder")
    monkeypatch.setenv("LAKEHOUSE_CATALOG", "postgresql://u:p@h/d")
    found = service_settings(find_output(GlobalOptions(target="service"), SAMPLE), tmp_path)
    assert found is not None
    assert (found.url, found.token) == ("https://lake.example.com", "lh_token")
    settings = lake_settings(find_output(GlobalOptions(target="storage"), SAMPLE), tmp_path)
    assert (settings.warehouse, settings.catalog) == ("s3://bucket/folder", "postgresql://u:p@h/d")


class Story:
    """A repository with the workflow, and the lake that its jobs share."""

    def __init__(self, folder: Path, shop: Shop) -> None:
        self.shop = shop
        self.root = shop.root
        shutil.copytree(SAMPLE / ".github", self.root / ".github")
        (self.root / "profiles.yml").unlink()
        shop.write({"dbt_project.yml": PROJECT, ".gitignore": "/target/\n/logs/\n", "models/schema.yml": TESTS})
        shop.models(
            orders="select range as id, 1 as amount from range(3)",
            total="select sum(amount) as total from {{ ref('orders') }}",
        )
        self.warehouse = folder / "warehouse"
        self.catalog = f"sqlite:///{folder}/catalog.sqlite"
        self.git("init", "-q", "-b", "main")
        self.commit("Start")
        self.actions = Actions(
            folder / "github",
            self.root / ".github" / "workflows" / "lakehouse.yml",
            self.root,
            variables={"LAKEHOUSE_WAREHOUSE": str(self.warehouse)},
            secrets={"LAKEHOUSE_CATALOG": self.catalog},
        )

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=ann", "-c", "user.email=ann@example.com"]
        ended = subprocess.run(["git", *who, *arguments], cwd=self.root, capture_output=True, text=True, check=True)
        return ended.stdout.strip()

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def pull(self, number: int, action: str, *, merged: bool = False) -> Any:
        """An event of a pull request whose branch is ``feature``: jobs check out what a merge would give."""
        self.git("checkout", "-q", "--detach", "main")
        self.git("merge", "-q", "--no-ff", "--no-edit", "feature")
        event = {
            "action": action,
            "number": number,
            "pull_request": {"number": number, "merged": merged, "head": {"repo": {"full_name": "acme/shop"}}},
        }
        return self.actions.happens(
            "pull_request", event, ref=f"refs/pull/{number}/merge", commit=self.git("rev-parse", "HEAD")
        )

    def push(self) -> Any:
        """What is on main now is pushed."""
        return self.actions.happens("push", {}, ref="refs/heads/main", commit=self.git("rev-parse", "main"))

    def lake(self, warehouse: Path | None = None, catalog: str | None = None) -> EmbeddedLake:
        keys = {"type": "lakehouse", "warehouse": str(warehouse or self.warehouse), "catalog": catalog or self.catalog}
        return EmbeddedLake.open(lake_settings(keys, self.root))

    def branches(self) -> list[str]:
        lake = self.lake()
        found = [ref.name for ref in lake.catalog.refs()]
        lake.close()
        return found

    def tables(self, ref: str = "main", lake: EmbeddedLake | None = None) -> dict[str, list[tuple[Any, ...]]]:
        lake = lake or self.lake()
        session = lake.read(ref)
        found = {
            entry.name: sorted(session.execute(f"SELECT * FROM lake.{entry.schema}.{entry.name}").rows)
            for entry in session.relations("lake")
        }
        session.close()
        lake.close()
        return found

    def full_build(self, folder: Path) -> dict[str, list[tuple[Any, ...]]]:
        """The tables of a build of what is on main, on a lake with nothing in it."""
        self.git("checkout", "-q", "main")
        catalog = f"sqlite:///{folder}/fresh.sqlite"
        profiles = {"DBT_PROFILES_DIR": ".github/lakehouse", "LAKEHOUSE_CATALOG": catalog}
        self.shop.dbt("build", "--target", "storage", LAKEHOUSE_WAREHOUSE=str(folder / "fresh"), **profiles)
        return self.tables(lake=self.lake(folder / "fresh", catalog))

    def comments(self) -> list[str]:
        return [file.read_text() for file in sorted(self.actions.comments.glob("*.md"))]


@pytest.fixture
def story(tmp_path_factory: pytest.TempPathFactory, shop: Shop) -> Story:
    return Story(tmp_path_factory.mktemp("world"), shop)


def test_the_life_of_pull_requests(story: Story, tmp_path_factory: pytest.TempPathFactory) -> None:
    # The first push, of no pull request, fills the lake.
    (first,) = story.push()
    assert (first.name, first.code) == ("publish", 0), first.output
    assert story.tables() == {"orders": [(0, 1), (1, 1), (2, 1)], "total": [(3,)]}
    before = story.tables()

    # A pull request whose test fails.
    story.git("checkout", "-q", "-b", "feature", "main")
    story.shop.models(orders="select range // 2 as id, 2 as amount from range(4)")
    story.commit("Change orders")
    (failed,) = story.pull(7, "opened")
    assert (failed.name, failed.code) == ("build", 1), failed.output
    (comment,) = story.comments()
    assert "## The build failed" in comment
    assert comment == failed.summary
    assert story.tables() == before

    # Mended: the same comment says so.
    story.git("checkout", "-q", "feature")
    story.shop.models(orders="select range as id, 2 as amount from range(4)")
    story.commit("Mend orders")
    (built,) = story.pull(7, "synchronize")
    assert (built.name, built.code) == ("build", 0), built.output
    (comment,) = story.comments()
    assert "| <code>analytics.orders</code> | as before | 3 → 4: 1 added, 3 changed |" in comment
    assert story.tables() == before
    assert story.branches() == ["ci/pr-7", "main"]

    # Another, from the same main, which is closed without a merge.
    (other,) = story.pull(8, "opened")
    assert other.code == 0, other.output
    assert len(story.comments()) == 2
    assert story.branches() == ["ci/pr-7", "ci/pr-8", "main"]
    (closed,) = story.pull(8, "closed")
    assert (closed.name, closed.code) == ("close", 0), closed.output
    assert story.branches() == ["ci/pr-7", "main"]

    # Merged, as GitHub squashes it; closing it is then no job of its own.
    story.git("checkout", "-q", "main")
    story.git("merge", "-q", "--squash", "feature")
    story.git("commit", "-q", "-m", "Change orders (#7)")
    story.actions.merged(story.git("rev-parse", "main"), 7)
    (published,) = story.push()
    assert (published.name, published.code) == ("publish", 0), published.output
    assert "## Published to <code>main</code>" in published.summary
    # dbt did not run.
    assert "Running with dbt" not in published.output
    assert story.branches() == ["main"]
    assert story.tables() == story.full_build(tmp_path_factory.mktemp("fresh"))


def test_events_that_start_nothing(story: Story) -> None:
    fork = {"action": "opened", "number": 9, "pull_request": {"head": {"repo": {"full_name": "mallory/shop"}}}}
    assert story.actions.happens("pull_request", fork, ref="refs/pull/9/merge", commit="") == []
    merged = {
        "action": "closed",
        "number": 9,
        "pull_request": {"merged": True, "head": {"repo": {"full_name": "acme/shop"}}},
    }
    assert story.actions.happens("pull_request", merged, ref="refs/heads/main", commit="") == []
    assert json.loads((story.actions.comments / "pulls.json").read_text()) == {}
