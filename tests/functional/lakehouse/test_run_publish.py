"""A run is a transaction: what dbt's verdict makes of it."""

from __future__ import annotations

from conftest import Shop

from dbt.adapters.lakehouse.catalog.model import RunStatus


def test_a_run_that_passes_is_one_merge_commit(shop: Shop) -> None:
    shop.models(a="select 1 as id", b="select id + 1 as id from {{ ref('a') }}")
    shop.dbt("run")
    newest, first = shop.log()
    (run,) = shop.runs()
    assert newest.parents[0] == first.id
    assert len(newest.parents) == 2
    assert run.status is RunStatus.PUBLISHED
    assert run.published == newest.id
    assert newest.run == run.id
    assert shop.branches() == ["main"]
    assert shop.tables() == {"shop.a": [(1,)], "shop.b": [(2,)]}
