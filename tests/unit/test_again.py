"""Which nodes a target's move concerns, from what they read and wrote."""

from __future__ import annotations

import networkx
import pytest

from dbt.adapters.lakehouse.again import Concerned, concerned
from dbt.adapters.lakehouse.lake.base import Moved

MADE = {name: f"s.{name}" for name in "abcd"}
"""a ─► b ─► c; d stands alone."""


def graph() -> networkx.DiGraph:
    found = networkx.DiGraph([("a", "b"), ("b", "c")])
    found.add_nodes_from(["d", "test"])
    return found


def moved(*changed: str, conflicts: str = "s.a", **more: dict[str, tuple[str, ...]]) -> Moved:
    return Moved(head="1", by="ann: x", conflicts={key: key for key in conflicts.split()}, changed=changed, **more)


def nodes(found: Concerned) -> str:
    assert found.why == ""
    return "".join(sorted(found.nodes))


def test_who_made_it_and_all_that_depends_on_it() -> None:
    assert nodes(concerned(moved("s.b", conflicts="s.b"), graph(), MADE, {})) == "bc"


def test_who_read_it_by_code_or_by_what_the_lake_knows() -> None:
    both = moved("s.a", "s.source", read={"d": ("s.source",)})
    assert nodes(concerned(both, graph(), MADE, {"test": ["s.source"]})) == "abcdtest"
    assert nodes(concerned(moved("s.a", "s.source"), graph(), MADE, {})) == "abc"


def test_who_read_what_is_made_again_without_a_ref() -> None:
    named_in_full = moved("s.c", conflicts="s.c", read={"d": ("s.c",)})
    assert nodes(concerned(named_in_full, graph(), MADE, {})) == "cd"


def test_all_that_wrote_one_table_together() -> None:
    audit = moved("s.c", conflicts="s.c", wrote={"c": ("s.c", "s.audit"), "d": ("s.d", "s.audit")})
    assert nodes(concerned(audit, graph(), MADE, {})) == "cd"


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (moved("s.audit", conflicts="s.audit", wrote={"": ("s.audit",)}), "s.audit: written by statements that are no"),
        (moved("s.a", wrote={"operation.x": ("s.x",)}, read={"operation.x": ("s.a",)}), "s.x: written by operation.x"),
        (moved("s.gone", conflicts="s.gone"), "s.gone: made by no node of this command"),
        (moved("s.a", wrote={"a": ("s.a", "s.u"), "": ("s.u",)}), "s.u: written by statements"),
    ],
)
def test_what_cannot_be_run_again_is_said(found: Moved, why: str) -> None:
    answer = concerned(found, graph(), MADE, {})
    assert not answer.nodes
    assert answer.why.startswith(why)
