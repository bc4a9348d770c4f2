"""Batches of a microbatch model are computed side by side and joined in one commit, by real dbt processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from dbt_shop import PROFILE, Shop
from pyiceberg.table import StaticTable
from service_process import ServiceProcess

from dbt.adapters.lakehouse.catalog.model import Commit, Key, RunStatus, TableEntry

DAYS = 8
EVENTS = """
{{ config(materialized='table', event_time='ts') }}
select i as id, timestamp '2024-01-01' + to_hours(i::int) as ts from range(24 * 8) r(i)
"""
BY_DAY = """
{{ config(materialized='incremental', incremental_strategy='microbatch', event_time='ts', batch_size='day',
          begin='2024-01-01', %s) }}
select id, ts, '{{ invocation_id }}' as made_by %s from {{ ref('events') }}
"""
WINDOW = ["--event-time-start", "2024-01-01", "--event-time-end", "2024-01-09"]
ALL_IDS = [(i,) for i in range(24 * DAYS)]


def by_day(columns: str = "", config: str = "") -> str:
    return BY_DAY % (config, columns)


def built(shop: Shop) -> list[Commit]:
    """The commits of the newest run in which the model by_day was built, oldest first."""
    run = shop.runs()[0]
    with shop.lake() as lake:
        last = lake.catalog.resolve(run.published or run.branch)
        tip = last.parents[1] if run.published else last.id
        found = [
            c for c in lake.catalog.log(tip) if c.run == run.id and c.provenance.get("node") == "model.shop.by_day"
        ]
    return found[::-1]


def location(shop: Shop) -> str:
    with shop.lake() as lake:
        entry = lake.catalog.lookup(lake.catalog.resolve("main").id, [Key("shop", "by_day")])[Key("shop", "by_day")]
    assert isinstance(entry, TableEntry)
    return entry.metadata_location


def ids(shop: Shop, ref: str = "main") -> list[tuple[Any, ...]]:
    return sorted(shop.rows("select id from by_day", ref))


@pytest.fixture
def by_four(shop: Shop) -> Shop:
    shop.models(events=EVENTS, by_day=by_day())
    shop.outputs(dev={"threads": 4})
    return shop


def test_batches_become_one_commit_and_other_readers_see_their_rows(by_four: Shop) -> None:
    by_four.dbt("run", *WINDOW)
    assert ids(by_four) == ALL_IDS
    # dbt has the first batch make the table before it starts the others.
    made, joined = built(by_four)
    assert made.provenance["mode"] == "create"
    assert (joined.provenance["batches"], joined.provenance["rows_written"]) == (DAYS - 1, 24 * (DAYS - 1))
    assert joined.provenance["ranges"] == [["2024-01-02 00:00:00+00:00", "2024-01-09 00:00:00+00:00"]]

    by_four.dbt("run", "--select", "by_day", *WINDOW)
    assert ids(by_four) == ALL_IDS
    (again,) = built(by_four)
    assert again.provenance["batches"] == DAYS
    assert again.provenance["rows_deleted"] == again.provenance["rows_written"] == 24 * DAYS
    read = StaticTable.from_metadata(location(by_four)).scan().to_arrow()
    assert sorted(read["id"].to_pylist()) == [i for (i,) in ALL_IDS]
    assert len(set(read["made_by"].to_pylist())) == 1

    by_four.dbt("run", "--select", "by_day", "--full-refresh", *WINDOW)
    assert ids(by_four) == ALL_IDS


SLOW = """
, uuid_extract_timestamp(uuidv7()) as stamp
, n, list_sum(list_transform(range(60), lambda x: hash(x + n) % 7)) as work
"""


def test_batches_compute_at_the_same_time(by_four: Shop) -> None:
    by_four.models(
        by_day=by_day(SLOW, "concurrent_batches=true").replace(
            "from {{ ref('events') }}", "from {{ ref('events') }}, range(3000) many(n)"
        )
    )
    by_four.dbt("run", *WINDOW)
    # When the first and the last row of each batch were computed.
    spans = by_four.rows("select min(stamp), max(stamp), ts::date from by_day group by all")
    together = [
        (one[2], other[2])
        for one in spans
        for other in spans
        if one[2] < other[2] and one[0] < other[1] and other[0] < one[1]
    ]
    assert together


def test_what_fail_fast_cuts_short_is_retried_whole(by_four: Shop) -> None:
    by_four.models(by_day=by_day(", case when day(ts) = 4 then error('on purpose') end as fine"))
    by_four.dbt("run", "--fail-fast", *WINDOW, code=None)
    assert by_four.runs()[0].status is RunStatus.FAILED
    by_four.models(by_day=by_day(", null::integer as fine"))
    by_four.dbt("retry")
    assert ids(by_four) == ALL_IDS


@pytest.mark.parametrize("broken", [3, DAYS])
def test_a_failed_batch_leaves_the_others_and_is_retried_alone(by_four: Shop, broken: int) -> None:
    by_four.dbt("run", *WINDOW)
    head = by_four.head()
    (first,) = set(by_four.rows("select made_by from by_day"))
    by_four.models(by_day=by_day(f", case when day(ts) = {broken} then error('on purpose') end as fine"))
    by_four.dbt("run", "--select", "by_day", "--full-refresh", *WINDOW, code=1)
    assert by_four.head() == head
    failed = by_four.runs()[0]
    assert failed.status is RunStatus.FAILED
    assert sorted(by_four.rows("select distinct day(ts) from by_day", failed.branch)) == [
        (day,) for day in range(1, DAYS + 1) if day != broken
    ]
    assert len(built(by_four)) == 2

    by_four.models(by_day=by_day(", null::integer as fine"))
    by_four.dbt("retry")
    assert ids(by_four) == ALL_IDS
    makers = by_four.rows("select distinct day(ts), made_by from by_day")
    (again,) = {maker for day, maker in makers if day == broken}
    (others,) = {maker for day, maker in makers if day != broken}
    assert len({first[0], again, others}) == 3
    assert len(built(by_four)) == 1


def test_a_column_that_comes_in_the_middle(by_four: Shop) -> None:
    extra = "{% if model.batch and model.batch.event_time_start.day >= 5 %}, 'new' as extra{% endif %}"
    config = "on_schema_change='append_new_columns'"
    by_four.models(by_day=by_day(extra, config + ", concurrent_batches=true"))
    by_four.dbt("run", *WINDOW)
    side_by_side = by_four.rows("select id, ts, extra from by_day")
    assert {(ts.day, extra) for _, ts, extra in side_by_side} == {
        (day, "new" if day >= 5 else None) for day in range(1, DAYS + 1)
    }
    by_four.models(by_day=by_day(extra, config + ", concurrent_batches=false"))
    by_four.dbt("run", "--full-refresh", *WINDOW)
    assert by_four.rows("select id, ts, extra from by_day") == side_by_side


def test_batches_that_read_their_own_table_see_those_before_them(by_four: Shop) -> None:
    by_four.models(
        by_day=by_day(", {% if is_incremental() %}(select count(*) from {{ this }}){% else %}0{% endif %} as seen")
    )
    by_four.dbt("run", *WINDOW)
    assert sorted(by_four.rows("select distinct day(ts), seen from by_day")) == [
        (day, 24 * (day - 1)) for day in range(1, DAYS + 1)
    ]


def test_where_every_node_is_visible_at_once_each_batch_is_there_when_it_ends(by_four: Shop) -> None:
    by_four.outputs(dev={"threads": 4, "publish": "each_node"})
    by_four.models(by_day=by_day(", case when day(ts) = 3 then error('on purpose') end as fine"))
    by_four.dbt("run", *WINDOW, code=1)
    assert {day for (day,) in by_four.rows("select day(ts) from by_day")} == set(range(1, DAYS + 1)) - {3}
    by_four.models(by_day=by_day(", null::integer as fine"))
    by_four.dbt("retry")
    assert ids(by_four) == ALL_IDS


CONTRACT = """
models:
  - name: by_day
    config: {contract: {enforced: true}}
    columns:
      - {name: id, data_type: bigint, constraints: [{%s}]}
      - {name: ts, data_type: timestamp}
      - {name: made_by, data_type: varchar}
"""


@pytest.mark.parametrize(
    ("constraint", "bad"),
    [("type: not_null", "null"), ("type: unique", "1"), ("type: check, expression: id < 1000", "5000")],
)
def test_a_batch_that_breaks_the_contract_fails_alone(by_four: Shop, constraint: str, bad: str) -> None:
    by_four.write({"models/contract.yml": CONTRACT % constraint})
    by_four.models(by_day=by_day(config="on_schema_change='fail'"))
    by_four.dbt("run", *WINDOW)
    (before,) = by_four.rows("select distinct made_by from by_day")
    by_four.models(events=EVENTS.replace("select i as id", f"select case when i = 50 then {bad} else i end as id"))
    by_four.dbt("run", *WINDOW, code=1)
    makers = by_four.rows("select distinct day(ts), made_by from by_day", by_four.runs()[0].branch)
    assert len(makers) == DAYS
    assert [day for day, maker in makers if maker == before[0]] == [3]


@pytest.fixture
def service(by_four: Shop) -> Iterator[ServiceProcess]:
    """A service on the shop's lake, which the shop's profile names."""
    process = ServiceProcess(by_four.root / "lake")
    with process:
        by_four.environment["SHOP_TOKEN"] = process.token()
        where = f'service: "{process.url}", token: "{{{{ env_var(\'SHOP_TOKEN\') }}}}"'
        profile = PROFILE.replace("warehouse: ./lake", where).replace("threads: 2", "threads: 4")
        by_four.write({"profiles.yml": profile})
        yield process


def test_a_service_that_is_killed_in_the_middle_has_what_was_staged(by_four: Shop, service: ServiceProcess) -> None:
    by_four.models(
        by_day=by_day(SLOW, "concurrent_batches=true").replace(
            "from {{ ref('events') }}", "from {{ ref('events') }}, range(3000) many(n)"
        )
    )
    with by_four.start("run", *WINDOW) as process:
        process.until(lambda: process.output.count("OK created batch") >= 4)
        service.kill()
        service.start()
        outcome = process.wait()
    assert outcome.code == 0, outcome.output
    counts = by_four.rows("select day(ts), count(*), count(distinct (id, n)) from by_day group by all")
    assert sorted(counts) == [(day, 24 * 3000, 24 * 3000) for day in range(1, DAYS + 1)]
    made, *joined = built(by_four)
    assert made.provenance["mode"] == "create"
    assert {commit.provenance["mode"] for commit in joined} == {"batches"}
    assert len(joined) < DAYS - 1


def test_batches_that_the_table_has_are_not_run_again(by_four: Shop) -> None:
    shop = by_four
    shop.models(by_day=by_day().replace("'{{ invocation_id }}'", "'anybody'"))
    shop.dbt("run", *WINDOW)
    head = shop.head()
    again = shop.dbt("run", *WINDOW)
    assert again.output.count("REUSED (run") == 1 + DAYS
    assert shop.head() == head
    shop.models(events=EVENTS.replace("24 * 8", "24 * 7"))
    shop.dbt("run", *WINDOW)
    assert ids(shop) == ALL_IDS[:-24]
    shop.dbt("run", *WINDOW)
    assert shop.dbt("run", *WINDOW).output.count("REUSED (run") == 1 + DAYS
    assert ids(shop) == ALL_IDS[:-24]
