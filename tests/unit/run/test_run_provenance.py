"""What counts as another input, and what does not: entries alone, without a lake."""

from __future__ import annotations

import dataclasses
from typing import Any

from dbt.adapters.lakehouse.catalog.model import Entry, Key, TableEntry, ViewEntry, content_id, key_of
from dbt.adapters.lakehouse.run.dependants import Planner
from dbt.adapters.lakehouse.run.provenance import Past, stale
from dbt.adapters.lakehouse.tables.values import Column


def table(name: str, version: int = 1, *read: Entry, schema: str = "s", columns: str = "a", **more: Any) -> TableEntry:
    keys: dict[str, Any] = {
        "metadata_location": f"file:///lake/{name}/{version}.json",
        "table_uuid": name,
        "location": f"file:///lake/{name}",
        "inputs": {f"{one.schema}.{one.name}": content_id(one) for one in read},
        "content": f"{name}-{version}",
        **more,
    }
    return TableEntry(
        schema=schema,
        name=name,
        snapshot_id=version,
        columns=tuple(Column(name=column, type="BIGINT") for column in columns.split()),
        rows=1,
        size_bytes=1,
        **keys,
    )


def view(name: str, sql: str, columns: str, *read: Entry) -> ViewEntry:
    inputs = {f"{one.schema}.{one.name}": content_id(one) for one in read}
    given = tuple(Column(name=column, type="BIGINT") for column in columns.split())
    return ViewEntry(schema="s", name=name, sql=sql, columns=given, inputs=inputs)


def found(*standing: Entry, known: tuple[Entry, ...] = ()) -> dict[str, list[tuple[str, str]]]:
    """What is stale of the entries, where the catalog still knows them and ``known``."""
    past = Past({content_id(one): one for one in (*standing, *known)})
    result = stale({key_of(one): one for one in standing}, past)
    return {key.name: [(str(one.input), one.what) for one in item.moved] for key, item in result.items()}


def test_content_counts_and_version_does_not() -> None:
    old, same, other = table("a"), table("a", 2, content="a-1"), table("a", 3)
    child = table("b", 1, old)
    assert found(same, child, known=(old,)) == {}
    assert found(other, child, known=(old,)) == {"b": [("s.a", "changed")]}
    assert found(child, known=(old,)) == {"b": [("s.a", "dropped")]}
    assert found(view("a", "SELECT 1", "a"), child, known=(old,)) == {"b": [("s.a", "changed")]}
    # Without an identity a table is as new as its files.
    plain = dataclasses.replace(old, content=None)
    moved = dataclasses.replace(plain, comment="other words", node="model.shop.a")
    assert found(moved, table("b", 1, plain), known=(plain,)) == {}
    assert found(table("a", 2, content=None), table("b", 1, plain), known=(plain,)) == {"b": [("s.a", "changed")]}


def test_what_the_catalog_no_longer_knows_is_told_by_its_id() -> None:
    old = table("a")
    assert found(old, table("b", 1, old)) == {}
    assert found(table("a", 2), table("b", 1, old)) == {"b": [("s.a", "changed")]}


def test_own_former_rows_other_refs_and_clones_are_fixed() -> None:
    former, source = table("a"), table("raw")
    current = table("a", 2, former, source)
    clone = dataclasses.replace(current, schema="dev")
    elsewhere = table("b", 1, inputs={f"s.a@{'0' * 40}": content_id(former)})
    assert found(current, source, clone, elsewhere, known=(former,)) == {}
    # Even where the catalog forgot what it was.
    assert found(current, source, elsewhere) == {}
    assert found(current, table("raw", 2), clone, known=(former, source)) == {"a": [("s.raw", "changed")]}


def test_names_with_dots_and_capitals() -> None:
    odd = dataclasses.replace(table("a"), schema="My.Schema", name="A.b")
    child = table("c", 1, odd)
    assert found(odd, child) == {}
    newer = dataclasses.replace(odd, content="other", metadata_location="file:///other.json")
    assert found(newer, child, known=(odd,)) == {"c": [("my.schema.a.b", "changed")]}


def test_views_need_the_columns_that_they_name() -> None:
    wide = table("t", 1, columns="a b")
    narrow, renamed = table("t", 2, columns="a"), table("t", 3, columns="a c")
    by_name = view("v1", 'SELECT "B" + 1 AS x FROM s.t', "x", wide)
    by_star = view("v2", "SELECT * FROM s.t", "a b", wide)
    without = view("v3", "SELECT a -- not b\nFROM s.t", "a", wide)
    above = view("v4", "SELECT x FROM s.v1", "x", wide, by_name)
    reader = table("m", 1, wide, without)
    views = (by_name, by_star, without, above)
    assert found(wide, *views) == {}
    assert found(table("t", 4, columns="a b"), *views, known=(wide,)) == {}
    for now in (narrow, renamed):
        assert found(now, *views, known=(wide,)) == {"v1": [("s.t", "columns")], "v2": [("s.t", "columns")]}
    assert found(*views, known=(wide,)) == {name: [("s.t", "dropped")] for name in ("v1", "v2", "v3", "v4")}
    assert found(narrow, without, reader, known=(wide,)) == {"m": [("s.t", "changed")]}
    # The same SQL in another layout is the same view to whoever reads it.
    laid_out = view("v3", "SELECT a FROM s.t", "a", wide)
    assert found(wide, laid_out, reader, known=(without,)) == {}
    assert found(wide, view("v3", "SELECT a + 1 AS a FROM s.t", "a", wide), reader, known=(without,)) == {
        "m": [("s.v3", "changed")]
    }


def test_circles_end() -> None:
    first = table("a")
    b = table("b", 1, first)
    a = table("a", 2, b, location="file:///elsewhere")
    stale_ones = stale({key_of(one): one for one in (a, b)}, Past({content_id(one): one for one in (first, a, b)}))
    assert {key.name: [one.name for one in item.through] for key, item in stale_ones.items()} == {"a": ["b"], "b": []}


def test_a_view_and_what_is_made_of_it_go_along() -> None:
    old, new = table("t", 1), table("t", 2, columns="a b")
    v = view("v", "SELECT b FROM s.t", "b", new)
    made = table("m", 1, new, v)
    apart = table("z")
    now = {key_of(one): one for one in (new, v, made, apart)}
    then = {key_of(one): one for one in (old, apart)}
    past = Past({content_id(one): one for one in (old, new, v, made, apart)})
    plan = Planner(now=now, then=then, past=past).plan({Key("s", "t"): old})
    assert [(one.key.name, one.why, one.becomes) for one in plan.dependants] == [
        ("m", "computed_from", "dropped"),
        ("v", "columns_missing", "dropped"),
    ]
    assert plan.puts == {Key("s", "t"): old, Key("s", "m"): None, Key("s", "v"): None}
