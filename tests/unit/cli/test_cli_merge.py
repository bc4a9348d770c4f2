"""``lakehouse merge``: choices, guards, what is printed and how it goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dbt.adapters.lakehouse.catalog.model import ANY, Key, Put, RefKind, TableEntry
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.tables.values import Column

Lakehouse = Callable[..., tuple[int, str, str]]


def table(name: str, version: int, node: str | None = None, **columns: str) -> TableEntry:
    return TableEntry(
        schema="raw",
        name=name,
        metadata_location=f"file:///lake/raw/{name}/{version}.json",
        table_uuid="u",
        snapshot_id=version,
        location=f"file:///lake/raw/{name}",
        columns=tuple(Column(name=key, type=value) for key, value in (columns or {"id": "BIGINT"}).items()),
        rows=version,
        size_bytes=version * 10,
        node=node,
    )


def put(catalog: SqlCatalog, *entries: TableEntry, branch: str = "main") -> str:
    puts = [Put(key=Key(entry.schema, entry.name), entry=entry, expected=ANY) for entry in entries]
    return catalog.commit(branch, puts, author="grace", message="Change it").id


@pytest.fixture
def apart(catalog: SqlCatalog) -> SqlCatalog:
    """Both branches created ``raw.a`` and ``raw.b``."""
    catalog.create_ref("dev", RefKind.BRANCH, "main")
    put(catalog, table("a", 1), table("b", 1))
    put(catalog, table("a", 2), table("b", 2), branch="dev")
    return catalog


def versions(catalog: SqlCatalog) -> dict[str, Any]:
    return {
        key.name: entry.snapshot_id
        for key, entry in catalog.entries(catalog.resolve("main").id).items()
        if isinstance(entry, TableEntry)
    }


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ("--take theirs", {"a": 2, "b": 2}),
        ("--take ours", {"a": 1, "b": 1}),
        ("--take ours --table raw.a --take theirs --table raw.b", {"a": 1, "b": 2}),
        ("--take=theirs --table=raw.a --table raw.b", {"a": 2, "b": 2}),
        ("--take ours --take theirs --table RAW.B", {"a": 1, "b": 2}),
    ],
)
def test_choices_are_read_in_order(
    apart: SqlCatalog, lakehouse: Lakehouse, choices: str, expected: dict[str, int]
) -> None:
    code, out, err = lakehouse("merge", "dev", "--into", "main", *choices.split())
    assert (code, err) == (0, "")
    assert "as it is on the" in out
    assert "merged dev into main: commit" in out
    assert versions(apart) == expected


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ("--table raw.a", "--table raw.a follows no --take; write --take theirs --table raw.a"),
        ("--take ours --take theirs", "both for all tables"),
        ("--take ours --table raw.a --take theirs --table raw.a", "cannot be taken in two ways"),
        ("--take ours --table a", "not a table's name"),
        ("--take ours --table raw.x", "nothing is to be taken of raw.x, which is no conflict"),
        ("-m --take --take=ours", "were read in two ways"),
    ],
)
def test_choices_that_make_no_sense_change_nothing(
    apart: SqlCatalog, lakehouse: Lakehouse, choices: str, says: str
) -> None:
    head = apart.resolve("main").id
    code, _, err = lakehouse("merge", "dev", "--into", "main", *choices.split())
    assert code == 1
    assert says in err
    assert apart.resolve("main").id == head


def test_conflicts_say_what_can_be_typed(apart: SqlCatalog, lakehouse: Lakehouse) -> None:
    for options, was in (((), "was"), (("--dry-run",), "would be")):
        code, out, err = lakehouse("merge", "dev", "--into", "main", *options)
        assert code == 1
        assert "created on both sides" in out
        assert out.count("grace: Change it") == 4
        assert f"nothing {was} merged" in err
        assert "`lakehouse merge dev --into main --take theirs --table raw.a --table raw.b`" in err
    document = json.loads(lakehouse("merge", "dev", "--into", "main", "--json")[1])
    assert [(one["name"], one["kind"]) for one in document["conflicts"]] == [
        ("a", "both_created"),
        ("b", "both_created"),
    ]
    assert all(one["not_combined"] for one in document["conflicts"])


def test_json_says_how_conflicts_were_settled(apart: SqlCatalog, lakehouse: Lakehouse) -> None:
    code, out, err = lakehouse("merge", "dev", "--into", "main", "--take", "theirs", "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["settled"] == [{"schema_name": "raw", "name": name, "how": "theirs"} for name in ("a", "b")]
    assert document["commit"]["provenance"]["settled"] == {"raw.a": "theirs", "raw.b": "theirs"}
    assert document["conflicts"] == document["refusals"] == []
    assert document["tainted"] is None


def test_a_branch_that_only_lags_behind_moves_forward(catalog: SqlCatalog, lakehouse: Lakehouse) -> None:
    catalog.create_ref("dev", RefKind.BRANCH, "main")
    head = put(catalog, table("a", 1), branch="dev")
    dry = lakehouse("merge", "dev", "--into", "main", "--dry-run")[1]
    assert "would merge dev into main without conflicts (fast-forward)" in dry
    done = lakehouse("merge", "dev", "--into", "main")[1]
    assert f"merged dev into main: commit {head[:8]} (fast-forward)" in done
    assert catalog.resolve("main").id == head
    assert "nothing to merge" in lakehouse("merge", "dev", "--into", "main")[1]


@pytest.mark.parametrize("options", [("--no-ff",), ("-m", "Bring it"), ("--allow", "owner"), ("--accept-tainted",)])
def test_a_commit_is_made_where_one_is_asked_for(
    catalog: SqlCatalog, lakehouse: Lakehouse, options: tuple[str, ...]
) -> None:
    catalog.create_ref("dev", RefKind.BRANCH, "main")
    head = put(catalog, table("a", 1), branch="dev")
    assert "fast-forward" not in lakehouse("merge", "dev", "--into", "main", *options)[1]
    assert catalog.resolve("main").parents[1] == head


def test_what_a_guard_refuses_is_shown_ahead_and_can_be_allowed(catalog: SqlCatalog, lakehouse: Lakehouse) -> None:
    put(catalog, table("a", 1, "model.shop.a", id="BIGINT", more="VARCHAR"))
    catalog.create_ref("dev", RefKind.BRANCH, "main")
    put(catalog, table("a", 2, "model.crm.a", id="BIGINT"), branch="dev")
    assert lakehouse("branch", "protect", "main")[0] == 0
    head = catalog.resolve("main").id
    code, out, err = lakehouse("merge", "dev", "--into", "main", "--dry-run")
    assert code == 1
    assert "model.shop.a wrote it, model.crm.a would overwrite it (last written by grace" in out
    assert "column 'more' would go" in out
    assert "`lakehouse merge dev --into main --allow owner --allow schema`" in err
    document = json.loads(lakehouse("merge", "dev", "--into", "main", "--dry-run", "--json")[1])
    assert [one["guard"] for one in document["refusals"]] == ["owner", "schema"]
    code, out, err = lakehouse("merge", "dev", "--into", "main", "--allow", "owner", "--json")
    assert (code, json.loads(err)["error"]["kind"]) == (1, "guarded")
    assert catalog.resolve("main").id == head
    done = lakehouse("merge", "dev", "--into", "main", "--allow", "owner", "--allow", "schema", "--json")
    allowed = json.loads(done[1])["commit"]["provenance"]["allowed"]
    assert [(one["guard"], one["table"]) for one in allowed] == [("owner", "raw.a"), ("schema", "raw.a")]
