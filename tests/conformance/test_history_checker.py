"""The checker of histories finds what it is there to find: histories that cannot have been, made by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from history_checker import Log, Operation, Row, faults
from linearize import Move, Step, Undecided, linearize

from dbt.adapters.lakehouse.catalog.model import Key

A, B, N = Key("s", "a"), Key("t", "b"), Key("s", "n")
START = {"main": "c0"}
FIRST = Row(id="c0", parents=(), message="start", changes={A: (None, "0"), B: (None, "0"), N: (None, "0")})


def pair(id_: str, parent: str, message: str, before: str = "0", **more: Any) -> Row:
    changes = {A: (before, message), B: (before, message)}
    return Row(**{"id": id_, "parents": (parent,), "message": message, "changes": changes, **more})


def committed(row: Row, begin: float, end: float, **said: Any) -> Operation:
    result = {"commit": row.id, "parents": list(row.parents)}
    return Operation(
        id=row.message, verb="commit", said={"branch": "main", **said}, begin=begin, end=end, result=result
    )


def saw(name: str, head: str | None, begin: float, end: float, ref: str = "main") -> Operation:
    result = {"refused": "ref_not_found"} if head is None else {"head": head}
    return Operation(id=name, verb="head", said={"ref": ref}, begin=begin, end=end, result=result)


def kinds(operations: Sequence[Operation], log: Log, start: dict[str, str] = START) -> set[str]:
    return {fault.kind for fault in faults(operations, log, start, [[A, B]], [N])}


ONE = pair("c1", "c0", "one")
TWO = pair("c2", "c1", "two", before="one")
LOG = Log(commits=[FIRST, ONE, TWO], heads={"main": "c2"})
GOOD = [
    committed(ONE, 1, 3),
    committed(TWO, 2, 5, head="c1"),
    saw("early", "c0", 1, 2),
    saw("late", "c2", 4, 6),
    Operation(
        id="unlucky", verb="commit", said={"branch": "main", "head": "c0"}, begin=2, end=6, result={"refused": "head_moved"}
    ),
    Operation(
        id="state", verb="state", said={"commit": "c1"}, begin=3, end=4,
        result={"values": {"s.a": "one", "t.b": "one", "s.n": "0"}},
    ),
    Operation(id="cut off", verb="commit", said={"branch": "main", "head": None}, begin=5),
]  # fmt: skip


def test_a_history_that_can_have_been_has_no_faults():
    assert kinds(GOOD, LOG) == set()


def test_a_commit_that_was_acknowledged_and_is_not_in_the_log_is_lost():
    log = Log(commits=[FIRST, ONE], heads={"main": "c1"})
    assert "lost" in kinds(GOOD[:2], log)


def test_a_commit_that_was_built_on_another_than_it_said_is_lost():
    aside = dataclasses.replace(TWO, parents=("c0",), changes={A: ("0", "two"), B: ("0", "two")})
    assert "lost" in kinds(GOOD[:2], Log(commits=[FIRST, ONE, aside], heads={"main": "c2"}))


def test_two_commits_on_one_head_have_no_order():
    aside = pair("c2", "c0", "two")
    log = Log(commits=[FIRST, ONE, aside], heads={"main": "c2"})
    assert kinds([committed(ONE, 1, 3), committed(aside, 2, 4)], log) == {"order"}


def test_what_a_killed_process_committed_counts_where_it_is_in_the_log_and_only_there():
    killed = Operation(id="two", verb="commit", said={"branch": "main", "head": None}, begin=2)
    assert kinds([GOOD[0], killed, saw("r", "c2", 3, 4)], LOG) == set()
    assert kinds([GOOD[0], killed], Log(commits=[FIRST, ONE], heads={"main": "c1"})) == set()
    assert kinds([GOOD[0], killed], Log(commits=[FIRST, ONE, TWO], heads={"main": "c1"})) == {"order"}


def test_a_refused_commit_that_is_in_the_log_is_dirty():
    refused = Operation(
        id="two", verb="commit", said={"branch": "main"}, begin=2, end=3, result={"refused": "head_moved"}
    )
    assert "dirty" in kinds([GOOD[0], refused], LOG)


def test_a_head_that_nobody_made_is_dirty():
    assert kinds([saw("r", "c9", 1, 2)], LOG) == {"dirty"}


@pytest.mark.parametrize("values", [{"s.a": "one", "t.b": "0", "s.n": "0"}, {"s.a": "one", "s.n": "0"}])
def test_a_state_of_which_half_was_written_is_told(values):
    read = Operation(id="r", verb="state", said={"commit": "c1"}, begin=3, end=4, result={"values": values})
    assert kinds([read], LOG) == {"dirty", "half"}


def test_a_commit_of_which_half_is_in_the_log_is_told():
    half = dataclasses.replace(ONE, changes={A: ("0", "one")})
    assert "half" in kinds([], Log(commits=[FIRST, half], heads={"main": "c1"}))


def test_reads_that_go_back_have_no_order():
    assert kinds([*GOOD[:2], saw("newer", "c2", 5, 6), saw("older", "c1", 7, 8)], LOG) == {"order"}


def test_a_read_before_the_write_began_has_no_order():
    assert kinds([*GOOD[:2], saw("clairvoyant", "c1", 0.1, 0.9)], LOG) == {"order"}


def test_a_refusal_for_no_reason_has_no_order():
    refused = Operation(
        id="r", verb="commit", said={"branch": "main", "head": "c2"}, begin=6, end=7, result={"refused": "head_moved"}
    )
    assert kinds([*GOOD, refused], LOG) == {"order"}
    expecting = dataclasses.replace(refused, said={"branch": "main", "expected": {"s.n": "0"}})
    assert kinds([*GOOD, expecting], LOG) == {"order"}


def test_refs_that_were_read_at_once_must_have_stood_at_once():
    def both(name: str, main: str, left: str, begin: float) -> Operation:
        heads = {"main": main, "left": left}
        return Operation(
            id=name, verb="heads", said={"refs": list(heads)}, begin=begin, end=begin + 1, result={"heads": heads}
        )

    left = pair("l1", "c0", "l")
    log = Log(commits=[FIRST, ONE, left], heads={"main": "c1", "left": "l1"})
    start = {"main": "c0", "left": "c0"}
    moves = [committed(ONE, 1, 9), dataclasses.replace(committed(left, 1, 9), said={"branch": "left"})]
    assert kinds([*moves, both("x", "c1", "c0", 2), both("y", "c1", "l1", 4)], log, start) == set()
    assert kinds([*moves, both("x", "c1", "c0", 2), both("y", "c0", "l1", 2)], log, start) == {"order"}


def test_branches_that_come_and_go_have_an_order():
    def act(name: str, verb: str, begin: float, end: float, refused: str | None = None, **said: Any) -> Operation:
        result = {"refused": refused} if refused else {"head": said.get("at")}
        return Operation(id=name, verb=verb, said={"ref": "b", **said}, begin=begin, end=end, result=result)

    made = act("made", "create", 1, 2, at="c0")
    gone = act("gone", "delete", 3, 4, expected="c0")
    again = act("again", "create", 2, 5, at="c1")
    log = Log(commits=[FIRST, ONE], heads={"main": "c1", "b": "c1"})
    assert kinds([GOOD[0], made, gone, again], log) == set()
    assert kinds([GOOD[0], made, gone], log) == {"order"}
    assert kinds([GOOD[0], made, dataclasses.replace(again, end=2.5), gone], log) == {"order"}
    assert kinds([GOOD[0], made, gone, again, act("r", "create", 1, 1.5, "ref_exists", at="c0")], log) == set()
    assert kinds([GOOD[0], made, gone, again, act("r", "create", 0.1, 0.5, "ref_exists", at="c0")], log) == {"order"}
    assert kinds([GOOD[0], made, gone, again, act("r", "delete", 6, 7, "ref_not_found", expected="c0")], log) == {
        "order"
    }
    assert kinds([GOOD[0], made, gone, again, act("r", "delete", 1.5, 2.5, "head_moved", expected="c0")], log) == {
        "order"
    }


def test_a_branch_that_was_moved_back_may_be_seen_where_it_was():
    back = Operation(
        id="back",
        verb="assign",
        said={"branch": "main", "to": "c1", "expected": "c2"},
        begin=6,
        end=7,
        result={"head": "c1"},
    )
    log = dataclasses.replace(LOG, heads={"main": "c1"})
    assert kinds([*GOOD, back, saw("r", "c1", 8, 9)], log) == set()
    assert kinds([*GOOD, back, saw("r", "c2", 8, 9)], log) == {"order"}
    assert kinds([*GOOD, dataclasses.replace(back, end=float("inf"), result=None), saw("r", "c1", 8, 9)], log) == set()
    assert kinds(GOOD, log) == {"order"}


def _merged(changes: dict[Key, tuple[str | None, str | None]], **more: Any) -> tuple[Log, Operation]:
    side = Row(id="s1", parents=("c0",), message="side", changes={N: ("0", "1")})
    merge = Row(id="m", parents=("c1", "s1"), message="merge", changes=changes, **more)
    operation = Operation(
        id="merge", verb="merge", said={"source": "s1", "target": "main", "head": None}, begin=4, end=5,
        result={"commit": "m", "parents": ["c1", "s1"], "conflicts": []},
    )  # fmt: skip
    return Log(commits=[FIRST, ONE, side, merge], heads={"main": "m"}), operation


def test_a_merge_that_is_not_the_merge_of_its_parents_is_told():
    log, merge = _merged({N: ("0", "1")})
    assert kinds([GOOD[0], merge], log) == set()
    log, merge = _merged({})
    assert kinds([GOOD[0], merge], log) == {"merge"}
    log, merge = _merged({N: ("0", "1"), A: ("one", "0"), B: ("one", "0")})
    assert kinds([GOOD[0], merge], log) == {"merge"}


def test_conflicts_that_were_none_have_no_order():
    log, merge = _merged({N: ("0", "1")})
    said = {"conflicts": ["s.a"]}
    refused = Operation(id="r", verb="merge", said=merge.said, begin=3, end=3.5, result=said)
    assert kinds([GOOD[0], merge, refused], log) == {"order"}


def test_a_branch_that_was_moved_forward_goes_from_where_it_was_expected():
    def forward(begin: float, result: dict[str, Any] | None, head: str = "c1") -> Operation:
        said = {"source": "c2", "target": "b", "head": head, "forward": True}
        end = begin + 1 if result is not None else float("inf")
        return Operation(id="f", verb="merge", said=said, begin=begin, end=end, result=result)

    start, log = {"main": "c0", "b": "c1"}, dataclasses.replace(LOG, heads={"main": "c2", "b": "c2"})
    moved = {"forward": "c2", "conflicts": []}
    assert kinds([*GOOD, forward(7, moved)], log, start) == set()
    assert kinds([*GOOD, forward(7, None)], log, start) == set()
    assert kinds([*GOOD, forward(7, None), saw("r", "c1", 8, 9, "b")], LOG, {"main": "c0"}) == {"order"}
    assert kinds([*GOOD, forward(7, moved, head="c0")], log, start) == {"order"}
    assert kinds([*GOOD, forward(7, moved), saw("r", "c1", 9, 10, "b")], log, start) == {"order"}


def test_a_ref_at_what_was_collected_is_lost():
    assert kinds(GOOD, dataclasses.replace(LOG, collected=frozenset({"c1"}))) == set()
    assert "lost" in kinds(GOOD, dataclasses.replace(LOG, collected=frozenset({"c2"})))


def test_a_counter_that_was_not_raised_from_what_stood_there_is_lost():
    jump = Row(id="c1", parents=("c0",), message="jump", changes={N: ("0", "2")})
    assert "lost" in kinds([], Log(commits=[FIRST, jump], heads={"main": "c1"}))


def test_what_a_run_wrote_that_is_not_published_leaks():
    wrote = pair("c1", "c0", "one", run="r")
    log = Log(commits=[FIRST, wrote], heads={"main": "c1", "run/r": "c1"}, runs={"r": ("failed", None)})
    assert kinds([], log) == {"leak"}
    assert "leak" not in kinds([], dataclasses.replace(log, heads={"main": "c0", "run/r": "c1"}))


@pytest.mark.parametrize(
    ("status", "merged"), [("published", "m"), ("published", None), ("open", "m"), ("failed", None)]
)
def test_a_run_and_its_merge_happen_together(status, merged):
    log, merge = _merged({N: ("0", "1")}, run="r")
    log = dataclasses.replace(log, runs={"r": (status, merged)})
    assert ("half" in kinds([GOOD[0], merge], log)) == ((status, merged) != ("published", "m"))


def test_a_search_without_end_is_given_up():
    moves = [Step(name=str(n), begin=0, end=9, move=Move(ref=str(n), before=None, after="x")) for n in range(12)]
    impossible = Step(name="never", begin=0, end=9, finds={"0": "y"})
    with pytest.raises(Undecided):
        linearize([*moves, impossible], {}, budget=100)
