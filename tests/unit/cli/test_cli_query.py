"""What ``lakehouse query`` says of rows that a format cannot have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog


def test_an_interval_is_named_that_parquet_files_cannot_have(
    catalog: SqlCatalog, lakehouse: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    sql = "SELECT 1 AS a, [INTERVAL 1 MONTH] AS spans"
    code, _, said = lakehouse("query", sql, "--output", "o.parquet")
    assert code == 1
    assert "'spans' cannot be written as Parquet" in said
    assert "cast intervals to VARCHAR" in said
    assert "--debug" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake"]
    assert (
        lakehouse("query", sql.replace("[", "list_transform([").replace("]", "], x -> x::varchar)"), "-o", "o.parquet")[
            0
        ]
        == 0
    )
