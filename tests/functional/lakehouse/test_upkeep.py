"""Garbage collection and compaction beside real dbt runs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from dbt_shop import Shop

from dbt.adapters.lakehouse.catalog.model import Key, TableEntry
from dbt.adapters.lakehouse.run.upkeep import CollectRequest, CompactRequest
from dbt.adapters.lakehouse.tables import metadata, reachable

NOW = CollectRequest(
    history=timedelta(0), failed_runs=timedelta(0), results=timedelta(0), grace=timedelta(seconds=1), alone=True
)
MODELS = {
    "first": "select {{ env_var('N', '1') }} as n",
    "grown": """
        {{ config(materialized='incremental') }}
        select {{ env_var('N', '1') }} as n, n as of_first from {{ ref('first') }}
    """,
    "merged": """
        {{ config(materialized='incremental', unique_key='id', incremental_strategy='merge') }}
        select id, {{ env_var('N', '1') }} as n from range(2000) r(id) -- {{ ref('first') }}
    """,
    "summed": "select sum(n) as n, count(*) as runs from {{ ref('grown') }}",
    "shown": "{{ config(materialized='view') }} select * from {{ ref('summed') }}",
}


@pytest.fixture
def shop(tmp_path: Path, parsed: Path) -> Shop:
    shop = Shop(tmp_path, parsed)
    shop.models(**MODELS)
    return shop


def test_dbt_builds_while_garbage_is_collected_again_and_again(shop: Shop) -> None:
    taken = 0
    with shop.lake() as lake:
        for number in range(1, 4):
            with shop.start("build", N=str(number)) as process:
                while process.alive():
                    taken += lake.maintenance.collect(NOW).files
                outcome = process.wait()
            assert outcome.code == 0, outcome.output
        taken += lake.maintenance.collect(CollectRequest(**{**vars(NOW), "grace": timedelta(0)})).files
        assert taken > 0
        entries = lake.catalog.entries(lake.catalog.resolve("main").id).values()
        live = reachable.of_tables(e.metadata_location for e in entries if isinstance(e, TableEntry))
    found = {f"file://{path}" for path in (shop.root / "lake" / "shop").rglob("*") if path.is_file()}
    assert found == live.files
    tables = shop.tables()
    assert tables["shop.first"] == [(3,)]
    assert sorted(tables["shop.grown"]) == [(1, 1), (2, 2), (3, 3)]
    assert tables["shop.merged"] == sorted([(number, 3) for number in range(2000)], key=repr)
    assert tables["shop.shown"] == tables["shop.summed"] == [(6, 3)]


def test_after_a_compaction_no_table_is_computed_again(shop: Shop) -> None:
    for number in range(1, 4):
        shop.dbt("build", N=str(number))
    before = shop.tables()
    with shop.lake() as lake:
        lake.catalog.protect("main", True)
        done = lake.maintenance.compact(CompactRequest(branch="main"))
        assert [(table.name, table.problem) for table in done.tables] == [("grown", None)]
        lake.maintenance.collect(NOW)
        (compacted,) = lake.catalog.lookup(lake.catalog.resolve("main").id, [Key("shop", "grown")]).values()
    assert shop.tables() == before
    outcome = shop.dbt("build", "--select", "summed", N="3")
    assert "1 of 1 nodes were reused" in outcome.output, outcome.output
    shop.dbt("build", N="4")
    assert shop.rows("select * from shown") == [(10, 4)]
    assert isinstance(compacted, TableEntry)
    assert len(metadata.load(compacted.metadata_location).data) == 1
    said = shop.dbt("run-operation", "lakehouse_compact", "--args", "{tables: [shop.grown, shop.first], dry_run: true}")
    assert "would compact 1 table on main" in said.output
    said = shop.dbt("run-operation", "lakehouse_gc", "--args", "{dry_run: true, keep_history: 2h, grace: 1h}")
    assert "0 files would be deleted" in said.output
