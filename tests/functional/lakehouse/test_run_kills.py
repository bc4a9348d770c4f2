"""A process that dies at any instant leaves the target as it was; the next build is whole."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from dbt_process import DbtProcess
from dbt_shop import Shop

from dbt.adapters.lakehouse.catalog.model import RunStatus

pytestmark = pytest.mark.kills

CATALOG = "dbt.adapters.lakehouse.catalog"
TABLES = "dbt.adapters.lakehouse.tables"

MODELS = {
    "first": "select {{ env_var('N', '1') }} as n",
    "grown": """
        {{ config(materialized='incremental', unique_key='id', incremental_strategy='merge') }}
        select id, {{ env_var('N', '1') }} as n from range(2000) r(id) -- {{ ref('first') }}
    """,
    "summed": "select sum(n) as n, count(*) as ids from {{ ref('grown') }}",
    "shown": "{{ config(materialized='view') }} select * from {{ ref('summed') }}",
}
SLOW = """
{{ config(materialized='table') }}
select sum(hash(i * j)) as n from range(400000) a(i), range(400000) b(j)
"""


def built(n: int) -> dict[str, list[tuple[object, ...]]]:
    """All tables as a clean build with ``N=n`` makes them."""
    sums = [(2000 * n, 2000)]
    grown = sorted([(i, n) for i in range(2000)], key=repr)
    return {"shop.first": [(n,)], "shop.grown": grown, "shop.summed": sums, "shop.shown": sums}


@pytest.fixture(scope="module")
def grown_shop(tmp_path_factory: pytest.TempPathFactory, parsed: Path) -> Shop:
    """A lake that lives through all of these deaths."""
    shop = Shop(tmp_path_factory.mktemp("grown"), parsed)
    shop.models(**MODELS)
    shop.dbt("build", N="1")
    return shop


@pytest.mark.parametrize(
    ("point", "status"),
    [
        (f"before {CATALOG}.sql_catalog:SqlCatalog.save_run", None),
        (f"before {CATALOG}.sql_catalog:SqlCatalog.create_ref", RunStatus.ABANDONED),
        (f"before {CATALOG}.sql_catalog:SqlCatalog.commit", RunStatus.ABANDONED),
        (f"before {CATALOG}.sql_history:record", RunStatus.ABANDONED),
        (f"after {TABLES}.writer:create", RunStatus.ABANDONED),
        (f"after {CATALOG}.sql_catalog:SqlCatalog.commit", RunStatus.ABANDONED),
        (f"before {TABLES}.rows:_replace", RunStatus.ABANDONED),
        (f"after {TABLES}.rows:patch", RunStatus.ABANDONED),
        (f"before {CATALOG}.sql_catalog:SqlCatalog.merge", RunStatus.ABANDONED),
        (f"before {CATALOG}.sql_runs:publish", RunStatus.ABANDONED),
        (f"after {CATALOG}.sql_catalog:SqlCatalog.merge", RunStatus.ABANDONED),  # the first one is on trial
        (f"after:2 {CATALOG}.sql_catalog:SqlCatalog.merge", RunStatus.PUBLISHED),
        (f"before {CATALOG}.sql_catalog:SqlCatalog.delete_ref", RunStatus.PUBLISHED),
    ],
)
def test_a_death_at_any_point(grown_shop: Shop, point: str, status: RunStatus | None) -> None:
    shop = grown_shop
    log, tables, runs = shop.log(), shop.tables(), {run.id for run in shop.runs()}
    outcome = shop.dbt("build", "--threads", "1", code=None, N="7", DIE_AT=point)
    assert outcome.code == -signal.SIGKILL, outcome.output
    died = [run for run in shop.runs() if run.id not in runs]
    assert [run.status for run in died] == ([status] if status else [])
    if status is RunStatus.PUBLISHED:
        assert shop.log()[1:] == log
        assert shop.tables() == built(7)
    else:
        assert shop.log() == log
        assert shop.tables() == tables
    # Numbers that no build before had, so that there is something to write.
    number = len(shop.runs()) + 100
    shop.dbt("build", N=str(number))
    assert shop.tables() == built(number)
    assert shop.runs()[0].status is RunStatus.PUBLISHED
    shop.dbt("build", N="2")
    assert shop.tables() == built(2)


def at_work(shop: Shop, process: DbtProcess) -> bool:
    """Whether the model first is done and the slow one is under way."""
    return "START sql table model shop.slow" in process.output and any(
        branch.startswith("run/") and "shop.first" in shop.tables(branch) for branch in shop.branches()
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_of_a_model(shop: Shop, number: signal.Signals) -> None:
    shop.models(first="select 1 as n", slow=SLOW + "-- {{ ref('first') }}", after="select * from {{ ref('slow') }}")
    with shop.start("build") as process:
        process.until(lambda: at_work(shop, process))
        started = time.monotonic()
        process.send(number)
        outcome = process.wait()
        seconds = time.monotonic() - started
    assert outcome.code == (2 if number is signal.SIGINT else -number), outcome.output
    # A second on a quiet machine; others may be at work on this one.
    assert seconds < 5
    (run,) = shop.runs()
    assert run.status is RunStatus.ABANDONED
    assert run.branch in shop.branches()
    assert len(shop.log()) == 1
    assert not list((shop.root / "lake").rglob("*.tmp"))
    shop.models(slow="select 5 as n")
    shop.dbt("build")
    assert shop.tables() == {"shop.first": [(1,)], "shop.slow": [(5,)], "shop.after": [(5,)]}
