"""Materialized views on the command line: what they are called, and that rows are not added to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from dbt.adapters.lakehouse.catalog.model import ANY, Key, Materialized, Put, TableEntry
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.tables.values import Column

Lakehouse = Callable[..., tuple[int, str, str]]


def put(catalog: SqlCatalog, view: Materialized | None) -> str:
    entry = TableEntry(
        schema="s",
        name="v",
        metadata_location="file:///lake/v/1.json",
        table_uuid="v",
        snapshot_id=1,
        location="file:///lake/v",
        columns=(Column(name="a", type="BIGINT"),),
        rows=3,
        size_bytes=1,
        view=view,
    )
    return catalog.commit("main", [Put(key=Key("s", "v"), entry=entry, expected=ANY)], author="a", message="m").id


def test_they_are_called_what_they_are(catalog: SqlCatalog, lakehouse: Lakehouse, tmp_path: Path) -> None:
    before = put(catalog, None)
    put(catalog, Materialized(sql="SELECT a\nFROM s.t"))
    (shown,) = json.loads(lakehouse("tables", "--json")[1])
    assert (shown["kind"], shown["sql"], shown["rows"]) == ("materialized_view", "SELECT a\nFROM s.t", 3)
    assert "materialized view" in lakehouse("tables")[1]
    said = lakehouse("table", "s.v", "--sample", "0")[1]
    assert "s.v (materialized view)" in said
    assert "    FROM s.t" in said
    assert "table → materialized_view" in lakehouse("diff", before, "main")[1]
    (tmp_path / "rows.csv").write_text("a\n1\n")
    code, _, err = lakehouse("import", "s.v", "rows.csv", "--append")
    assert code == 1
    assert "s.v is a materialized view, to which no rows can be added; --replace makes it a table" in err
