"""Functions as entries: kept to the letter, beside relations of their name, merged and in conflict like any other."""

from __future__ import annotations

from dbt.adapters.lakehouse.catalog.model import (
    ANY,
    ConflictKind,
    FunctionEntry,
    Key,
    Put,
    RefKind,
    SchemaEntry,
    ViewEntry,
    key_of,
)
from dbt.adapters.lakehouse.jobs.function import Argument, Definition, Signature

WHO = {"author": "anna", "message": "test"}


def function(body: str) -> FunctionEntry:
    argument = Argument(name='a "b"', type='STRUCT("x y" INTEGER)', default="{'x y': 1}")
    signatures = (
        Signature(arguments=(argument,), returns="VARCHAR", body=body),
        Signature(arguments=(), returns="DATE", body="x"),
    )
    definition = Definition(
        language="python",
        type="aggregate",
        signatures=signatures,
        volatility="non-deterministic",
        entry_point="Größe",
        python_version="3.12",
        packages=("numpy", "pandas>=2"),
        path="functions/f.py",
        line=3,
    )
    return FunctionEntry(
        schema="S", name="F()", definition=definition, comment="ünïcode", node="function.p.f", inputs={"s.t": "1"}
    )


def test_a_function_is_kept_beside_a_view_of_its_name(catalog):
    made, view = function("def f(): pass\n"), ViewEntry(schema="s", name="f", sql="SELECT 1 AS x", columns=())
    puts = [Put(key=key_of(one), entry=one, expected=ANY) for one in (SchemaEntry(schema="s"), made, view)]
    commit = catalog.commit("main", puts, **WHO)
    key = Key("s", "f()")
    assert catalog.lookup(commit.id, [key, Key("s", "f")]) == {key: made, Key("s", "f"): view}
    assert catalog.entries(commit.id, "s")[key] == made
    assert catalog.last_change(commit.id, key) == commit


def test_branches_that_both_change_a_function_are_in_conflict(catalog):
    catalog.commit("main", [Put(key=Key("s", "f()"), entry=function("1"), expected=ANY)], **WHO)
    for branch in ("one", "two"):
        catalog.create_ref(branch, RefKind.BRANCH, "main")
        catalog.commit(branch, [Put(key=Key("s", "f()"), entry=function(branch), expected=ANY)], **WHO)
    assert catalog.merge("one", "main", **WHO).commit is not None
    merged = catalog.merge("two", "main", **WHO)
    assert merged.commit is None
    assert [(str(one.key), one.kind) for one in merged.conflicts] == [("s.f()", ConflictKind.BOTH_CHANGED)]
    assert catalog.lookup(catalog.resolve("main").id, [Key("s", "f()")])[Key("s", "f()")] == function("one")
