"""Graph functions against definitions spelt out over full ancestor sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from dbt.adapters.lakehouse.catalog.graph import Node, is_ancestor, merge_bases, newest_first, only_in

START = datetime(2026, 1, 1, tzinfo=UTC)


def history(*commits: tuple[str, ...]) -> dict[str, Node]:
    """Nodes from (id, parents…), oldest first."""
    nodes: dict[str, Node] = {}
    for age, (commit, *parents) in enumerate(commits):
        generation = 1 + max((nodes[parent].generation for parent in parents), default=0)
        time = START + timedelta(seconds=age)
        nodes[commit] = Node(id=commit, parents=tuple(parents), generation=generation, time=time)
    return nodes


@st.composite
def histories(draw):
    commits: list[tuple[str, ...]] = [("0",)]
    for number in range(1, draw(st.integers(1, 14))):
        earlier = st.integers(max(0, number - 5), number - 1).map(str)
        parents = draw(st.lists(earlier, min_size=1, max_size=2, unique=True))
        commits.append((str(number), *parents))
    return history(*commits)


def ancestors(nodes: dict[str, Node], commit: str) -> set[str]:
    return {commit}.union(*(ancestors(nodes, parent) for parent in nodes[commit].parents))


@given(histories(), st.data())
def test_merge_bases_are_the_common_ancestors_that_no_other_descends_from(nodes, data):
    some = st.sampled_from(sorted(nodes))
    one, others = data.draw(some), data.draw(st.lists(some, min_size=1, max_size=3))
    common = ancestors(nodes, one) & set().union(*(ancestors(nodes, other) for other in others))
    best = {c for c in common if not any(c in ancestors(nodes, d) for d in common - {c})}
    found = merge_bases(nodes.__getitem__, one, others)
    assert set(found) == best
    assert len(found) == len(best)


@given(histories(), st.data())
def test_ancestry_and_what_only_one_side_has(nodes, data):
    some = st.sampled_from(sorted(nodes))
    one, other = data.draw(some), data.draw(some)
    assert is_ancestor(nodes.__getitem__, one, other) == (one in ancestors(nodes, other))
    only = [node.id for node in only_in(nodes.__getitem__, one, other)]
    assert set(only) == ancestors(nodes, one) - ancestors(nodes, other)
    assert len(only) == len(set(only))


@given(histories())
def test_newest_first_visits_every_ancestor_once_and_no_parent_before_its_child(nodes):
    tip = max(nodes, key=int)
    visited = [node.id for node in newest_first(nodes.__getitem__, tip)]
    assert visited == sorted(ancestors(nodes, tip), key=int, reverse=True)


def test_a_criss_cross_has_two_bases():
    nodes = history(("o",), ("a", "o"), ("b", "o"), ("x", "a", "b"), ("y", "b", "a"))
    assert set(merge_bases(nodes.__getitem__, "x", ["y"])) == {"a", "b"}


def test_histories_without_a_common_commit_have_none():
    nodes = history(("o",), ("p",), ("a", "o"), ("b", "p"))
    assert merge_bases(nodes.__getitem__, "a", ["b"]) == []


def test_a_walk_stops_where_the_answer_is_settled():
    looked_at: set[str] = set()
    commits = [("0",), *((str(n), str(n - 1)) for n in range(1, 500)), ("a", "499"), ("b", "499")]
    nodes = history(*commits)

    def look_up(commit: str) -> Node:
        looked_at.add(commit)
        return nodes[commit]

    assert merge_bases(look_up, "a", ["b"]) == ["499"]
    assert [node.id for node in only_in(look_up, "a", "b")] == ["a"]
    assert is_ancestor(look_up, "499", "a")
    assert len(looked_at) <= 4
