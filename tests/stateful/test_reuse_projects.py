"""Random dbt projects, edited and built again and again on several branches: with reuse, every table is as it is without.

The same edits, builds and merges happen on two lakes, one of which never looks for earlier results. A few minutes of it
are run with the other tests; LAKEHOUSE_TEST_LONG=1 runs it for long (LAKEHOUSE_TEST_EXAMPLES projects) and cuts what it
finds short.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from typing import Any

import pytest
import random_project
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from two_lakes import TARGETS, TwoLakes, two_lakes

LONG = os.environ.get("LAKEHOUSE_TEST_LONG") == "1"
EXAMPLES = int(os.environ.get("LAKEHOUSE_TEST_EXAMPLES", "1000" if LONG else "3"))
ROUNDS = 12 if LONG else 5

numbers = st.integers(0, 999)
threes = st.tuples(numbers, numbers, numbers)
edits = st.tuples(st.just("edit"), st.integers(0, len(random_project.EDITS) - 1), numbers, numbers, numbers)
reverts = st.tuples(st.just("revert"), numbers, numbers, numbers, numbers)
data = st.tuples(st.just("data"), *[numbers] * 4)
builds = st.tuples(st.just("build"), *[numbers] * 4)
merges = st.tuples(st.just("merge"), *[numbers] * 4)
rounds = st.tuples(
    st.lists(st.one_of(edits, edits, edits, edits, edits, edits, reverts, data, merges), max_size=3), builds
)


@pytest.fixture(scope="module")
def lakes() -> Iterator[TwoLakes]:
    """The processes that keep the lakes."""
    with two_lakes() as started:
        yield started


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if LONG else [])],
)
@given(
    first=st.lists(threes, min_size=10, max_size=16),
    steps=st.lists(rounds, min_size=ROUNDS, max_size=ROUNDS),
)
def test_every_table_is_as_without_reuse(lakes: TwoLakes, first: Any, steps: Any) -> None:
    story = Story(lakes, random_project.begin(first))
    try:
        with lakes.new():
            story.tell(steps)
    finally:
        note("\n".join(story.said))


class Story:
    """What happens to a project and its lakes."""

    def __init__(self, lakes: TwoLakes, project: random_project.Project) -> None:
        self.lakes = lakes
        self.project = project
        self.said: list[str] = []
        self._past: list[random_project.Project] = []
        self._failed: set[str] = set()

    def tell(self, steps: Any) -> None:
        """Two builds of what there is at first, then rounds of edits, each with a build."""
        self._build(0, 0, 0)
        self._build(0, 0, 0)
        for changes, (_, target, how, x, _y) in steps:
            for kind, x1, y, z, w in changes:
                getattr(self, f"_{kind}")(x1, y, z, w)
            self._build(target, how, x)

    def _edit(self, which: int, x: int, y: int, z: int) -> None:
        self._past.append(copy.deepcopy(self.project))
        random_project.EDITS[which](self.project, x, y, z)

    def _revert(self, x: int, y: int, z: int, w: int) -> None:
        if self._past:
            self.project = copy.deepcopy(self._past[-1 - x % min(4, len(self._past))])

    def _data(self, target: int, how: int, x: int, y: int) -> None:
        again = "SELECT * FROM src.events"
        statements = (
            f"CREATE OR REPLACE TABLE src.events AS {again}",
            f"INSERT INTO src.events VALUES ({x % 9}, {y % 9}, 'later')",
            f"UPDATE src.events SET v = v + 1 WHERE id = {x % 4}",
            f"CREATE OR REPLACE TABLE src.events AS SELECT {x % 5}::BIGINT AS id, {y % 5}::BIGINT AS v, 'e' AS s",
            f"DELETE FROM src.events WHERE id = {x % 9}",
            "DELETE FROM src.events WHERE id = 1000",
        )
        self.lakes.change(TARGETS[target % len(TARGETS)], statements[how % len(statements)])

    def _merge(self, source: int, target: int, x: int, y: int) -> None:
        if self.lakes.merge(TARGETS[source % 3], TARGETS[target % 3]):
            self.said.append(f"merged {TARGETS[source % 3]} into {TARGETS[target % 3]}")

    def _build(self, target: int, how: int, x: int) -> None:
        # The first target is taken most often.
        name = TARGETS[(0, 0, 0, 1, 1, 2, 3)[target % 7]]
        node = self.project.nodes[x % len(self.project.nodes)].name
        ways: tuple[tuple[str, ...], ...] = (
            *(("build",),) * 6,
            ("build", "--full-refresh"),
            ("build", "--select", f"{node}+"),
            ("build", "--select", f"+{node}"),
            ("build", "--exclude", node),
            ("run",),
            ("build", "--empty"),
            ("build", "--vars", "{factor: 5}"),
            ("compile",),
            ("test",),
            ("retry",) if name in self._failed else ("build",),
        )
        arguments = ways[how % len(ways)]
        self.lakes.write(random_project.files(self.project), random_project.SETTINGS[self.project.settings])
        environment = {"SHOP_FACTOR": str(self.project.environment)}
        self.said.append(f"dbt {' '.join(arguments)} of {name}")
        said = self.lakes.dbt(name, arguments, environment)
        (self._failed.discard if said[""].startswith("True") else self._failed.add)(name)
