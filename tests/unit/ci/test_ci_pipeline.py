"""Build, publish, close: on a real lake, with runs of statements in the place of dbt's."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from dbt.adapters.lakehouse.catalog.model import RefKind
from dbt.adapters.lakehouse.ci.branches import Branches, Mark, mark_of
from dbt.adapters.lakehouse.ci.pipeline import Pipeline
from dbt.adapters.lakehouse.ci.values import DbtBuild
from dbt.adapters.lakehouse.errors import ConfigError, HeadMoved
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.values import RunRequest
from dbt.adapters.lakehouse.settings import LakeSettings


@dataclass
class World:
    """A lake with a source table, and code that makes one table of it."""

    lake: EmbeddedLake
    built: list[str] = field(default_factory=list)

    def run(self, branch: str, *statements: str, fails: bool = False) -> DbtBuild:
        """A run on a branch, as dbt's would be."""
        request = RunRequest(id=str(uuid.uuid4()), command="dbt build", branch=branch, default_schema="s")
        run = self.lake.open_run(request)
        with contextlib.closing(run.session()) as session:
            for statement in statements:
                session.execute(statement)
        if fails:
            run.fail("a test failed")
        else:
            run.publish()
        return DbtBuild(passed=not fails, invocation=request.id, seconds=1.0)

    def pipeline(
        self,
        code: str | None,
        *,
        branch: str | None = "ci/pr-1",
        fails: bool = False,
        first: Callable[[], object] = lambda: None,
        last: Callable[[], object] = lambda: None,
    ) -> Pipeline:
        """A pipeline whose build makes ``s.t`` of the source and of the code."""

        def build(on: str) -> DbtBuild:
            self.built.append(on)
            first()
            made = self.run(
                on, f"CREATE OR REPLACE TABLE s.t AS SELECT id, '{code}' AS code FROM s.source", fails=fails
            )
            last()
            return made

        catalog = self.lake.catalog
        return Pipeline(
            catalog=catalog,
            versions=self.lake.versions,
            branches=Branches(catalog, branch, "main", "ann"),
            author="ann",
            run_dbt=build,
            code=code,
        )

    def rows(self, ref: str, table: str = "s.t") -> list[tuple[object, ...]]:
        with contextlib.closing(self.lake.read(ref)) as session:
            return sorted(session.execute(f"SELECT * FROM {table}").rows)

    def branches(self) -> set[str]:
        return {ref.name for ref in self.lake.catalog.refs(RefKind.BRANCH)}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    settings = LakeSettings(
        warehouse=f"file://{tmp_path}", catalog=f"sqlite:///{tmp_path}/catalog.sqlite", memory_limit="300MB", workers=2
    )
    world = World(EmbeddedLake.open(settings))
    world.run("main", "CREATE SCHEMA s", "CREATE TABLE s.source AS SELECT 1 AS id")
    yield world
    world.lake.close()


def test_what_was_built_is_published_without_another_build(world: World) -> None:
    before = world.lake.catalog.resolve("main").id
    built = world.pipeline("one").build()
    assert (built.passed, built.ref, built.base_commit) == (True, "ci/pr-1", before)
    assert world.branches() == {"main", "ci/pr-1"}
    assert world.lake.catalog.resolve("main").id == before
    assert built.head is not None
    mark = mark_of(world.lake.catalog.resolve(built.head))
    assert mark is not None
    assert (mark.onto, mark.base, mark.code) == ("main", before, "one")
    published = world.pipeline("one").publish()
    assert (published.passed, published.build, published.notes) == (True, None, ())
    assert published.published == world.lake.catalog.resolve("main").id
    assert world.rows("main") == [(1, "one")]
    assert world.branches() == {"main"}
    assert len(world.built) == 1


@pytest.mark.parametrize(
    ("code", "says"),
    [("two", "the code, its environment or its packages are not those"), (None, "not all committed to git")],
)
def test_other_code_is_built_anew(world: World, code: str | None, says: str) -> None:
    world.pipeline("one").build()
    published = world.pipeline(code).publish()
    assert says in published.notes[0]
    assert world.rows("main") == [(1, str(code))]
    assert world.branches() == {"main"}
    assert len(world.built) == 2


def test_a_base_that_moved_is_built_on_anew(world: World) -> None:
    world.pipeline("one").build()
    world.run("main", "INSERT INTO s.source VALUES (2)")
    published = world.pipeline("one").publish()
    assert "main moved from" in published.notes[0]
    assert world.rows("main") == [(1, "one"), (2, "one")]
    assert world.branches() == {"main"}


def test_a_rebuild_that_was_asked_for(world: World) -> None:
    world.pipeline("one").build()
    assert world.pipeline("one").publish(rebuild=True).notes == ("built anew: it was asked for",)
    assert len(world.built) == 2


def test_publishing_outside_of_a_pull_request(world: World) -> None:
    published = world.pipeline("one", branch=None).publish()
    assert published.notes == ("built anew: no pull request was named",)
    assert world.rows("main") == [(1, "one")]
    assert world.branches() == {"main"}


def test_a_base_that_moves_while_it_is_published_to(world: World) -> None:
    world.pipeline("one").build()
    moves = iter([2, 3])

    def move() -> None:
        if (number := next(moves, None)) is not None:
            world.run("main", f"INSERT INTO s.source VALUES ({number})")

    world.run("main", "INSERT INTO s.source VALUES (9)")
    published = world.pipeline("one", last=move).publish()
    assert published.notes[0] == "main moved while it was being published to"
    assert world.rows("main") == [(1, "one"), (2, "one"), (3, "one"), (9, "one")]
    assert len(world.built) == 4


def test_a_base_that_keeps_moving(world: World) -> None:
    numbers = iter(range(100))
    pipeline = world.pipeline("one", last=lambda: world.run("main", f"INSERT INTO s.source VALUES ({next(numbers)})"))
    with pytest.raises(HeadMoved, match="moved 5 times while this was being published"):
        pipeline.publish()
    assert world.branches() == {"main"}
    with contextlib.closing(world.lake.read("main")) as session:
        assert [entry.name for entry in session.relations("lake")] == ["source"]


def test_a_build_that_fails_leaves_the_last_that_passed(world: World) -> None:
    passed = world.pipeline("one").build()
    failed = world.pipeline("two", fails=True).build()
    assert not failed.passed
    assert failed.ref is not None
    assert failed.ref.startswith("run/")
    assert world.rows(failed.ref) == [(1, "two")]
    assert world.lake.catalog.resolve("ci/pr-1").id == passed.head
    assert world.branches() == {"main", "ci/pr-1", failed.ref}
    # The next one takes what this one left away.
    world.pipeline("three").build()
    assert world.branches() == {"main", "ci/pr-1"}
    assert world.rows("ci/pr-1") == [(1, "three")]
    before = world.lake.catalog.resolve("main").id
    assert not world.pipeline("four", fails=True).publish().passed
    assert world.lake.catalog.resolve("main").id == before


def test_a_second_push_starts_from_the_present_base(world: World) -> None:
    world.pipeline("one").build()
    world.run("main", "INSERT INTO s.source VALUES (2)")
    second = world.pipeline("two").build()
    assert second.base_commit == world.lake.catalog.resolve("main").id
    assert world.rows("ci/pr-1") == [(1, "two"), (2, "two")]


def test_two_pushes_at_once(world: World) -> None:
    started, go_on = threading.Event(), threading.Event()
    outcomes = {}

    def wait() -> None:
        started.set()
        assert go_on.wait(30)

    slow = threading.Thread(target=lambda: outcomes.update(slow=world.pipeline("slow", first=wait).build()))
    slow.start()
    assert started.wait(30)
    fast = world.pipeline("fast").build()
    go_on.set()
    slow.join()
    # Who started later stays, whoever ends first; nothing of the other is mixed in.
    assert fast.notes == ()
    assert outcomes["slow"].passed
    assert (outcomes["slow"].ref, outcomes["slow"].head) == (None, None)
    assert outcomes["slow"].notes == ("a build that started later is on ci/pr-1 already, and stays there",)
    assert world.rows("ci/pr-1") == [(1, "fast")]
    assert world.branches() == {"main", "ci/pr-1"}


def test_many_pushes_at_once(world: World) -> None:
    outcomes = []
    threads = [
        threading.Thread(target=lambda code=code: outcomes.append((code, world.pipeline(code).build())))
        for code in ("a", "b", "c", "d")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 4
    ((_, code),) = world.rows("ci/pr-1")
    (kept,) = [outcome for name, outcome in outcomes if name == code]
    assert kept.notes == ()
    assert world.lake.catalog.resolve("ci/pr-1").id == kept.head
    assert world.branches() == {"main", "ci/pr-1"}


def test_two_publishes_at_once_are_one_after_the_other(world: World) -> None:
    def add(number: int) -> Pipeline:
        pipeline = world.pipeline("x", branch=f"ci/pr-{number}")
        return replace(
            pipeline,
            run_dbt=lambda on: world.run(on, f"INSERT INTO s.source SELECT max(id) + 1 FROM s.source -- {number}"),
        )

    for number in (1, 2):
        add(number).build()
    threads = [threading.Thread(target=lambda number=number: add(number).publish()) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Each added one to what it found, so that the second must have found what the first published.
    assert world.rows("main", "s.source") == [(1,), (2,), (3,)]
    assert world.branches() == {"main"}


def test_a_branch_of_others_is_not_touched(world: World) -> None:
    world.run("ci/pr-1", "CREATE TABLE s.precious AS SELECT 1 AS a")
    head = world.lake.catalog.resolve("ci/pr-1").id
    for command in (world.pipeline("one").build, world.pipeline("one").publish, world.pipeline("one").close):
        with pytest.raises(ConfigError, match="'ci/pr-1' was not made by `lakehouse ci`, or was written to since"):
            command()
    assert world.lake.catalog.resolve("ci/pr-1").id == head
    assert world.built == []
    with pytest.raises(ConfigError, match="both the pull request's branch and the base"):
        world.pipeline("one", branch="main")


def test_closing_deletes_all_that_is_left(world: World) -> None:
    world.pipeline("one").build()
    world.pipeline("two", fails=True).build()
    other = world.pipeline("one", branch="ci/pr-10").build()
    catalog = world.lake.catalog
    catalog.create_ref("ci/pr-1/killed", RefKind.BRANCH, "main")
    gone = world.pipeline(None).close()
    assert [name.partition("/")[0] for name in gone] == ["ci", "ci", "run"]
    assert world.branches() == {"main", "ci/pr-10"}
    assert world.lake.catalog.resolve("ci/pr-10").id == other.head
    assert world.pipeline(None).close() == []


def test_marks_of_other_versions_are_none(world: World) -> None:
    catalog = world.lake.catalog
    mark = Mark(onto="main", base="0" * 40, started="now")
    assert mark == Mark(onto="main", base="0" * 40, started="now", code=None, revision=None)
    catalog.create_ref("x", RefKind.BRANCH, "main")
    for said in ({"onto": "main", "new": 1}, "text", None):
        commit = catalog.commit("x", [], author="a", message="m", provenance={"ci": said})
        assert mark_of(commit) is None


def test_a_build_that_is_interrupted_leaves_no_branch(world: World) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.pipeline("one", first=interrupted).build()
    assert world.branches() == {"main"}
