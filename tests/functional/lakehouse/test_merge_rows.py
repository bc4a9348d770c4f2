"""Rows that came to one table on two branches: by the command line, and by dbt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from dbt_shop import Shop

COMMAND = str(Path(sys.executable).with_name("lakehouse"))

INCREMENTAL = """
{{{{ config(materialized='incremental', incremental_strategy='{strategy}', partition_by={by}) }}}}
select {day} as day, value as id from (select unnest([{{{{ var('ids') }}}}]) as value)
"""


def lakehouse(shop: Shop, *arguments: str, code: int = 0) -> Any:
    done = subprocess.run(
        [COMMAND, *arguments, "--json"], cwd=shop.root, env=_environment(shop), capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else None


def _environment(shop: Shop) -> dict[str, str]:
    return {**os.environ, **shop.environment, "DBT_PROFILES_DIR": str(shop.root)}


def test_imports_on_two_branches_are_merged(shop: Shop) -> None:
    for name in ("first", "late", "fresh"):
        shop.write({f"{name}.csv": f"id,name\n{len(name)},{name}\n"})
    lakehouse(shop, "import", "raw.orders", "first.csv")
    lakehouse(shop, "branch", "create", "ann")
    lakehouse(shop, "import", "raw.orders", "late.csv", "--append", "--branch", "ann")
    lakehouse(shop, "import", "raw.orders", "fresh.csv", "--append")
    merged = lakehouse(shop, "merge", "ann", "--into", "main")
    assert merged["commit"] is not None
    assert [row[0] for row in shop.rows("select name from raw.orders")] == ["first", "fresh", "late"]

    # The same file on both sides is for somebody to decide.
    shop.write({"more.csv": "id,name\n7,more\n8,most\n"})
    for branch in ("ann", "main"):
        lakehouse(shop, "import", "raw.orders", "more.csv", "--append", "--branch", branch)
    head = shop.head()
    refused = lakehouse(shop, "merge", "ann", "--into", "main", code=1)
    assert [one["not_combined"] for one in refused["conflicts"]] == ["both sides added the same rows"]
    assert shop.head() == head
    assert lakehouse(shop, "merge", "ann", "--into", "main", "--dry-run", "--take", "both")["commit"] is None
    assert shop.head() == head
    lakehouse(shop, "merge", "ann", "--into", "main", "--take", "both")
    assert [row[0] for row in shop.rows("select id from raw.orders")] == [4, 5, 5, 7, 7, 8, 8]


def test_incremental_models_on_two_branches(shop: Shop) -> None:
    """Of one day, what both appended may be the same; overwritten days are put together."""
    shop.outputs(ann={"branch": "ann"})
    shop.models(
        added=INCREMENTAL.format(strategy="append", by="[]", day="date '2026-11-01'"),
        days=INCREMENTAL.format(strategy="insert_overwrite", by="['day']", day="date '2026-11-01' + value::int"),
    )
    for ids, target in (("1, 2", "dev"), ("2, 3", "ann"), ("1, 4", "dev")):
        shop.dbt("run", "--vars", f"{{ids: '{ids}'}}", "--target", target)
    refused = lakehouse(shop, "merge", "ann", "--into", "main", code=1)
    (conflict,) = refused["conflicts"]
    assert "both by means of the node model.shop.added" in conflict["not_combined"]
    assert refused["settled"] == [{"schema_name": "shop", "name": "days", "how": "combined"}]
    lakehouse(shop, "merge", "ann", "--into", "main", "--take", "both", "--table", "shop.added")
    assert [row[0] for row in shop.rows("select id from shop.added")] == [1, 1, 2, 2, 3, 4]
    assert [row[0] for row in shop.rows("select id from shop.days")] == [1, 2, 3, 4]
