"""What the guards of owner and columns see in a change."""

from __future__ import annotations

import pytest

from dbt.adapters.lakehouse.catalog.model import Key, SchemaEntry, TableEntry, ViewEntry
from dbt.adapters.lakehouse.run import guards
from dbt.adapters.lakehouse.tables.values import Column

KEY = Key("s", "t")


def table(node: str | None = "model.shop.t", **columns: str) -> TableEntry:
    return TableEntry(
        schema="s",
        name="t",
        metadata_location="file:///t.json",
        table_uuid="u",
        snapshot_id=1,
        location="file:///t",
        columns=tuple(Column(name=name, type=kind) for name, kind in (columns or {"id": "INTEGER"}).items()),
        rows=1,
        size_bytes=1,
        node=node,
    )


def said(before: TableEntry | ViewEntry | None, after: TableEntry | ViewEntry | None) -> list[tuple[str, str]]:
    return [(refusal.guard, refusal.why) for refusal in guards.refusals(KEY, before, after)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("model.shop.t", "model.shop.t"),
        ("seed.shop.t", "model.shop.t"),
        ("model.shop.t.v1", "model.shop.t.v2"),
        ("model.shop.t", "model.shop.t.v2"),
        ("test.shop.not_null_t_id.0123456789", "test.shop.not_null_t_id.abcdef0123"),
        (None, "model.shop.t"),
        ("model.shop.t", None),
        ("import", "import"),
    ],
)
def test_the_same_owner_overwrites(before: str | None, after: str | None) -> None:
    assert said(table(before), table(after)) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("model.shop.t", "model.crm.t"),
        ("model.shop.t", "model.shop.other"),
        ("model.shop.t.v1", "model.crm.t.v1"),
        ("seed.shop.t", "snapshot.crm.t"),
        ("test.shop.not_null_t_id.0123456789", "test.shop.unique_t_id.0123456789"),
        ("model.shop.orders", "import"),
    ],
)
def test_another_owner_is_named(before: str, after: str) -> None:
    assert said(table(before), table(after)) == [("owner", f"{before} wrote it, {after} would overwrite it")]


def test_what_comes_and_goes_has_no_owner_to_lose() -> None:
    assert said(None, table("model.crm.t")) == said(table("model.shop.t"), None) == []
    assert guards.refusals(KEY, SchemaEntry(schema="s"), table()) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("INTEGER", "BIGINT"),
        ("TINYINT", "INTEGER"),
        ("UTINYINT", "SMALLINT"),
        ("UINTEGER", "BIGINT"),
        ("FLOAT", "DOUBLE"),
        ("DECIMAL(10,2)", "DECIMAL(12,2)"),
        ("VARCHAR", "VARCHAR"),
        ("INTEGER[]", "BIGINT[]"),
        ("MAP(VARCHAR, INTEGER[])", "MAP(VARCHAR, BIGINT[])"),
        ("STRUCT(a INTEGER)", "STRUCT(b VARCHAR, A BIGINT)"),
        (
            'STRUCT("a, b" DECIMAL(4,2), c STRUCT(d INTEGER))[]',
            'STRUCT("a, b" DECIMAL(8,2), c STRUCT(d BIGINT, e DATE))[]',
        ),
    ],
)
def test_wider_types_pass(before: str, after: str) -> None:
    assert said(table(id=before), table(id=after)) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("BIGINT", "INTEGER"),
        ("UINTEGER", "INTEGER"),
        ("USMALLINT", "SMALLINT"),
        ("INTEGER", "VARCHAR"),
        ("INTEGER", "DOUBLE"),
        ("DOUBLE", "FLOAT"),
        ("DECIMAL(10,2)", "DECIMAL(10,3)"),
        ("DECIMAL(12,2)", "DECIMAL(10,2)"),
        ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"),
        ("INTEGER", "INTEGER[]"),
        ("STRUCT(a INTEGER, b DATE)", "STRUCT(a INTEGER)"),
        ("STRUCT(a INTEGER)", "STRUCT(a VARCHAR)"),
        ("STRUCT(a INTEGER)", "MAP(VARCHAR, INTEGER)"),
        ("MAP(VARCHAR, BIGINT)", "MAP(VARCHAR, INTEGER)"),
        ("ENUM('a', 'b')", "VARCHAR"),
    ],
)
def test_other_types_do_not(before: str, after: str) -> None:
    assert said(table(id=before), table(id=after)) == [("schema", f"column 'id' would become {after} (it is {before})")]


def test_columns_may_come_and_move_but_not_go() -> None:
    assert said(table(id="INTEGER", name="VARCHAR"), table(NAME="VARCHAR", more="DATE", ID="INTEGER")) == []
    assert said(table(id="INTEGER", name="VARCHAR", at="DATE"), table(id="VARCHAR", name="VARCHAR")) == [
        ("schema", "column 'id' would become VARCHAR (it is INTEGER) and column 'at' would go")
    ]


def test_a_view_in_the_place_of_a_table_is_looked_at_alike() -> None:
    view = ViewEntry(schema="s", name="t", sql="select 1 as n", columns=(Column(name="n", type="INTEGER"),), node="x")
    assert said(table("x", id="INTEGER"), view) == [("schema", "column 'id' would go")]


def test_the_message_says_how_to_go_on() -> None:
    refused = [refusal for name in "abcdefg" for refusal in guards.refusals(Key("s", name), table("a"), table("b"))]
    text = guards.message("merging 'dev' into 'main'", refused)
    assert text.startswith("merging 'dev' into 'main' is refused: s.a: a wrote it, b would overwrite it; s.b")
    assert "and 2 more" in text
    assert "--allow owner`" in text
    assert "`+allow_takeover: true`" in text
    assert "--allow schema" not in text


def test_allowances_stand_in_the_commit_that_wrote() -> None:
    assert guards.allowed_by({"allow": ["owner"]}, KEY) == ["owner"]
    assert guards.allowed_by({"recalled": {"s.t": {"allow": ["schema"]}}}, KEY) == ["schema"]
    assert guards.allowed_by({"allow": ["owner"], "recalled": {"s.u": {"allow": ["schema"]}}}, KEY) == ()
    assert guards.allowed_by({}, KEY) == ()
