from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from dbt.adapters.lakehouse.catalog.model import Entry, Key, RunRecord, RunStatus, SchemaEntry, TableEntry
from dbt.adapters.lakehouse.catalog.taint import (
    Step,
    Suspect,
    Tracer,
    continued_by,
    passed,
    passing_nodes,
    tainted_message,
    vouches,
)

NOW = datetime(2026, 11, 20, tzinfo=UTC)
KEY = Key("s", "t")
NODE = "model.p.t"


def run(name: str, status: RunStatus, continues: str | None = None, **nodes: str) -> RunRecord:
    return RunRecord(
        id=name,
        branch=f"run/{name}",
        target="main",
        base="0" * 40,
        command="build",
        status=status,
        owner="host:1:1",
        started_at=NOW,
        heartbeat_at=NOW,
        continues=continues,
        nodes={f"model.p.{node}": {"status": said} for node, said in nodes.items()},
    )


def records(*runs: RunRecord) -> dict[str, RunRecord]:
    return {record.id: record for record in runs}


@pytest.mark.parametrize("status", list(RunStatus))
def test_only_passed_and_published_runs_travel_for_their_own_sake(status):
    assert passed("x", records(run("x", status)), None) == (status in (RunStatus.PASSED, RunStatus.PUBLISHED))
    assert passed("x", records(run("x", status)), "x")


def test_a_run_without_a_record_did_not_pass_and_what_no_run_made_did():
    assert not passed("x", {}, None)
    assert passed(None, {}, None)


def test_runs_that_continue_one_another_in_a_circle_end():
    known = records(run("a", RunStatus.FAILED, "b"), run("b", RunStatus.FAILED, "a"))
    assert continued_by("a", known) == ["b"]
    chain = records(run("a", RunStatus.FAILED), run("b", RunStatus.ABANDONED, "a"), run("c", RunStatus.OPEN, "b"))
    assert continued_by("c", chain) == ["b", "a"]


def test_nodes_that_passed_are_those_dbt_says_so_of():
    said = {"a": "success", "b": "pass", "c": "warn", "d": "reused", "e": "error", "f": "skipped", "g": "fail"}
    record = run("r", RunStatus.PASSED, **said)
    record = dataclasses.replace(record, nodes={**record.nodes, "odd": "success", "none": None})
    assert passing_nodes(record) == {f"model.p.{name}" for name in "abcd"}
    assert passing_nodes(None) == frozenset()


@pytest.mark.parametrize("command", ["dbt compile", "dbt generate", "dbt show", "dbt clone", "dbt list"])
def test_what_a_command_only_looked_at_did_not_pass_in_it(command):
    record = dataclasses.replace(run("r", RunStatus.PUBLISHED, t="success"), command=command)
    assert passing_nodes(record) == frozenset()


def test_a_run_vouches_for_its_nodes_and_for_the_runs_it_continues():
    suspect = Suspect(key=KEY, commit="c", run="bad", node=NODE, contents=("1",))
    without_node = dataclasses.replace(suspect, node=None)
    builds = run("r", RunStatus.PASSED, t="success")
    assert vouches(builds, suspect, {})
    assert not vouches(builds, without_node, {})
    assert not vouches(run("r", RunStatus.PASSED, other="success"), suspect, {})
    known = records(run("bad", RunStatus.FAILED), run("again", RunStatus.FAILED, "bad"))
    last = run("r", RunStatus.PASSED, "again")
    assert vouches(last, without_node, {**known, "r": last})


# tracing


def table(version: int, *, uuid: str = "u", node: str | None = NODE) -> TableEntry:
    return TableEntry(
        schema="s",
        name="t",
        metadata_location=f"v{version}",
        table_uuid=uuid,
        snapshot_id=version,
        location="t",
        columns=(),
        rows=1,
        size_bytes=1,
        node=node,
    )


ENTRIES: dict[str, Entry] = {
    "1": table(1),
    "2": table(2),
    "3": table(3),
    "other": table(4, uuid="other"),
    "hook": table(5, node=None),
    "2 without": table(6, node=None),
    "schema": SchemaEntry(schema="s"),
}


def step(commit: str, before: str | None, after: str | None, by: str | None = None, **said: Any) -> Step:
    return Step(key=KEY, commit=commit, generation=int(commit), run=by, before=before, after=after, said=said)


def traced(content: str | None, *steps: Step, writers: dict[str, str] | None = None) -> str | None:
    """The commit that what stands there is suspected for."""
    latest_first = sorted(steps, key=lambda one: -one.generation)
    tracer = Tracer({KEY: latest_first}, ENTRIES, writers or {}, {"bad"})
    found = tracer.suspect(KEY, content)
    return None if found is None else found.commit


def test_what_a_run_wrote_that_did_not_pass_is_suspect_while_it_stands():
    written = step("1", None, "1", "bad")
    assert traced("1", written) == "1"
    assert traced("2", written, step("2", "1", "2", mode="create")) is None
    assert traced(None, written, step("2", "1", None)) is None
    assert traced(None, step("1", "1", None, "bad")) == "1"
    assert traced("schema", step("1", None, "schema", "bad")) is None
    assert traced("1") is None


@pytest.mark.parametrize(
    ("after", "by", "said", "is_suspect"),
    [
        ("2", None, {}, True),
        ("2", None, {"mode": "append"}, True),
        ("2", None, {"mode": "create"}, False),
        ("2", None, {"replaces": True}, False),
        ("other", None, {}, False),
        ("2", "good", {"statement": "insert"}, True),
        ("2", "good", {"mode": "append"}, True),
        ("hook", "good", {"statement": "insert"}, True),
        ("hook", "good", {"mode": "append"}, True),
        ("2", "good", {"reused": {}}, False),
        ("2", "good", {"recalled": {"s.t": {}}}, False),
        ("2", "good", {"recalled": {"s.other": {}}}, True),
    ],
)
def test_what_was_made_of_it_is_suspect_too_unless_it_was_made_anew(after, by, said, is_suspect):
    steps = step("1", None, "1", "bad"), step("2", "1", after, by, **said)
    assert traced(after, *steps) == ("1" if is_suspect else None)


def test_a_suspect_tells_all_that_it_became():
    steps = [step("3", "2", "3"), step("2", "1", "2"), step("1", None, "1", "bad")]
    suspect = Tracer({KEY: steps}, ENTRIES, {}, {"bad"}).suspect(KEY, "3")
    assert suspect == Suspect(key=KEY, commit="1", run="bad", node=NODE, contents=("3", "2", "1"))


def test_changes_that_go_in_a_circle_end():
    steps = [step("3", "2", "1"), step("2", "1", "2"), step("1", "2", "1")]
    assert traced("1", *steps) is None


def test_files_of_a_run_that_did_not_pass_are_suspect_whoever_put_them_there():
    clone = step("1", None, "1", "good", statement="create table t clone s")
    assert traced("1", clone, writers={"v1": "bad"}) == "1"
    assert traced("1", clone, writers={"v2": "bad"}) is None
    assert traced("1", step("1", None, "1", "good", reused={}), writers={"v1": "bad"}) is None


def test_a_table_without_a_node_is_no_cleaner_for_what_the_run_that_brought_it_adds():
    brought = step("1", None, "hook", "good", statement="create table t clone s")
    added = step("2", "hook", "2 without", "good", statement="insert")
    assert traced("2 without", brought, added, writers={"v5": "bad"}) == "1"
    by_another = step("2", "hook", "2 without", "other", statement="insert")
    assert traced("2 without", brought, by_another, writers={"v5": "bad"}) is None


def test_the_message_names_runs_tables_and_the_next_step():
    suspects = [
        Suspect(key=Key("s", f"t{n}"), commit="c", run=f"run-{n % 7}", node=None, contents=()) for n in range(9)
    ]
    message = tainted_message("dev", "main", suspects, records(run("run-0", RunStatus.FAILED)))
    assert "'dev' cannot go to 'main'" in message
    assert "run-0 (failed), run-1 (not recorded)" in message
    assert "and 2 more; tables: s.t0, s.t1, s.t2, s.t3, s.t4 and 4 more" in message
    assert "`dbt retry`" in message
    assert "`--accept-tainted`" in message
