"""What is built next."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from dbt.adapters.lakehouse.dev.agenda import Agenda, Plan
from dbt.adapters.lakehouse.dev.changed import Edits
from dbt.adapters.lakehouse.dev.values import Build, Node, NodeResult, Problem, Status

EDGES = {"a": ["b"], "b": ["c"], "x": [], "c": []}
"""a ← b ← c, and x alone; b has a test."""


def model(name: str) -> str:
    return f"model.shop.{name}"


TEST = "test.shop.b_unique"


@pytest.fixture
def manifest() -> Any:
    nodes = {
        model(name): SimpleNamespace(unique_id=model(name), resource_type="model", name=name, fqn=["shop", name])
        for name in EDGES
    }
    nodes[TEST] = SimpleNamespace(unique_id=TEST, resource_type="test", name="b_unique", fqn=["shop", "b_unique"])
    children = {model(name): [model(child) for child in below] for name, below in EDGES.items()}
    children[model("b")].append(TEST)
    parents: dict[str, list[str]] = {name: [] for name in nodes}
    for name, below in children.items():
        for child in below:
            parents[child].append(name)
    return SimpleNamespace(nodes=nodes, unit_tests={}, functions={}, child_map=children, parent_map=parents)


def edit(agenda: Agenda, *names: str) -> None:
    ids = frozenset(map(model, names))
    agenda.edit(Edits(modified=ids, edited=ids))


def plan(agenda: Agenda, manifest: Any) -> Plan | None:
    return agenda.plan(manifest, select=(), exclude=())


def selected(agenda: Agenda, manifest: Any) -> set[str]:
    found = plan(agenda, manifest)
    return {one.removeprefix("fqn:shop.") for one in found.select} if found is not None else set()


def ended(agenda: Agenda, manifest: Any, bad: Iterable[str] = (), **more: Any) -> None:
    """The next build has ended, with these nodes bad."""
    found = plan(agenda, manifest)
    assert found is not None
    names = {*found.names, *bad}
    results = tuple(result(name, "error" if name in bad else "built") for name in names)
    build = {"ok": not bad, "run": "r", "seconds": 1.0, "results": results, **more}
    agenda.done(manifest, found, Build(**build))


def result(name: str, status: Status) -> NodeResult:
    node = Node(id=name, kind=name.partition(".")[0], name=name.rpartition(".")[2], path="")
    return NodeResult(node=node, status=status, seconds=0.1)


def test_what_was_edited_is_built_until_it_passed(manifest: Any) -> None:
    agenda = Agenda(everything=False)
    assert plan(agenda, manifest) is None
    edit(agenda, "a", "x")
    assert selected(agenda, manifest) == {"a", "x"}
    ended(agenda, manifest)
    assert plan(agenda, manifest) is None


def test_a_build_that_was_cancelled_is_as_if_it_had_not_been(manifest: Any) -> None:
    agenda = Agenda(everything=False)
    edit(agenda, "a")
    ended(agenda, manifest, bad=[model("a")], cancelled=True)
    edit(agenda, "x")
    assert selected(agenda, manifest) == {"a", "x"}
    assert agenda.edited == {model("a"), model("x")}, "both were not shown yet"
    ended(agenda, manifest)
    edit(agenda, "c")
    assert agenda.edited == {model("c")}


def test_what_failed_waits_for_an_edit_that_has_to_do_with_it(manifest: Any) -> None:
    agenda = Agenda(everything=False)
    edit(agenda, "b")
    ended(agenda, manifest, bad=[model("b")])
    edit(agenda, "x")
    assert selected(agenda, manifest) == {"x"}
    ended(agenda, manifest)
    for relative in ("a", "b", "c"):
        again = Agenda(everything=False)
        edit(again, "b")
        ended(again, manifest, bad=[model("b")])
        edit(again, relative)
        assert selected(again, manifest) == {"b", relative}
    edit(agenda, "c")
    ended(agenda, manifest)
    assert plan(agenda, manifest) is None


def test_what_passed_beside_it_is_built_with_the_next_save(manifest: Any) -> None:
    agenda = Agenda(everything=False)
    edit(agenda, "b", "x")
    ended(agenda, manifest, bad=[model("b")])
    assert selected(agenda, manifest) == {"x"}, "it passed, but nothing was published"


def test_models_of_a_test_that_failed_did_not_pass(manifest: Any) -> None:
    agenda = Agenda(everything=False)
    edit(agenda, "b", "x")
    ended(agenda, manifest, bad=[TEST])
    assert selected(agenda, manifest) == {"x"}
    edit(agenda, "a")
    assert selected(agenda, manifest) == {"a", "b", "x", "b_unique"}


def test_what_was_found_before_anything_ran(manifest: Any) -> None:
    agenda = Agenda(everything=False)
    edit(agenda, "b", "x")
    said = Problem(message="Pre-flight found 1 problem\n\nmodel b (models/b.sql:3)\n  Binder Error: …")
    ended(agenda, manifest, ok=False, results=(), problem=said)
    assert selected(agenda, manifest) == {"x"}
    edit(agenda, "b")
    ended(agenda, manifest, ok=False, results=(), problem=Problem(message="the lake is away"))
    assert selected(agenda, manifest) == set(), "it may have been any of them"
    agenda.again()
    assert selected(agenda, manifest) == {"b", "x"}


def test_all_but_what_failed_is_built_after_a_build_of_all_that_failed(manifest: Any) -> None:
    agenda = Agenda(everything=True)
    first = agenda.plan(manifest, select=("tag:a",), exclude=("tag:b",))
    assert first == Plan(select=("tag:a",), exclude=("tag:b",), names=frozenset(), held=frozenset())
    ended(agenda, manifest, bad=[model("b"), model("c")])
    edit(agenda, "x")
    second = plan(agenda, manifest)
    assert second is not None
    assert (second.select, second.exclude) == ((), ("fqn:shop.b", "fqn:shop.c"))
    ended(agenda, manifest)
    assert not agenda.is_all
    edit(agenda, "a")
    assert selected(agenda, manifest) == {"a", "b", "c"}


def test_once_more(manifest: Any) -> None:
    agenda = Agenda(everything=False)
    agenda.again()
    assert agenda.is_all, "nothing was built yet"
    agenda = Agenda(everything=False)
    edit(agenda, "a")
    ended(agenda, manifest)
    agenda.again()
    assert selected(agenda, manifest) == {"a"}
    edit(agenda, "x")
    ended(agenda, manifest, bad=[model("x")])
    agenda.again()
    assert selected(agenda, manifest) == {"a", "x"}


def test_anything_may_have_changed(manifest: Any) -> None:
    agenda = Agenda(everything=False)
    edit(agenda, "b")
    ended(agenda, manifest, bad=[model("b")])
    agenda.everything()
    found = plan(agenda, manifest)
    assert found is not None
    assert found.exclude == ()
