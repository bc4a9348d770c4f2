"""A run whose target moved runs again what that concerns, with ``publish_conflict: rerun``."""

from __future__ import annotations

import contextlib
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from dbt_process import DbtProcess
from dbt_shop import PROFILE, Shop
from service_process import ServiceProcess

from dbt.adapters.lakehouse.catalog.model import RunStatus

TESTED = """
models: [{name: a, columns: [{name: id, data_tests: [not_null]}]}]
unit_tests:
  - {name: tens, model: b, given: [{input: ref('a'), rows: [{id: 3}]}], expect: {rows: [{id: 30}]}}
"""


class Race(Shop):
    """A project, and a run of it that is held each time before it looks whether its target moved."""

    def __init__(self, root: Path, parsed: Path | None = None) -> None:
        super().__init__(root, parsed)
        self.environment["LAKEHOUSE_PUBLISH_CONFLICT"] = "rerun"
        self.marks = root / "marks"
        self.marks.mkdir()

    @property
    def holding(self) -> dict[str, str]:
        """The environment of a run that is to be held."""
        return {"HOLD_AT": "dbt.adapters.lakehouse.again:Again.next_round", "HOLD_IN": str(self.marks)}

    def held(self, process: DbtProcess, number: int = 1) -> None:
        """Wait until the run looks for the n-th time."""
        process.until((self.marks / f"{number}.held").exists)

    def go(self, number: int = 1) -> None:
        """Let it look."""
        (self.marks / f"{number}.go").touch()

    def meanwhile(self, *arguments: str) -> None:
        """Another dbt command on the same project."""
        self.dbt(*arguments, "--target-path", "other")


@pytest.fixture
def race(tmp_path: Path, parsed: Path) -> Race:
    """A project with a source."""
    race = Race(tmp_path, parsed)
    race.on_main("create schema shop", "create table shop.source as select 1 as id")
    return race


def results(shop: Shop) -> dict[str, dict[str, Any]]:
    """What ``run_results.json`` says, by name."""
    document = json.loads(shop.read("target/run_results.json"))
    found = {}
    for result in document["results"]:
        kind, _, name, *rest = result["unique_id"].split(".")
        found[rest[0] if kind == "unit_test" else name] = result
    return found


def chain(race: Race) -> None:
    """``a`` reads the source and is tested, ``b`` reads ``a`` and has a unit test; ``c`` stands alone."""
    race.models(a="select id from shop.source", b="select id * 10 as id from {{ ref('a') }}", c="select 5 as id")
    race.write({"models/a.yml": TESTED})


IN_ORDER = {
    "shop.source": [(1,), (2,)],
    "shop.a": [(1,), (2,)],
    "shop.b": [(10,), (20,)],
    "shop.c": [(5,)],
}


def test_what_is_in_conflict_runs_again_with_what_depends_on_it(race: Race) -> None:
    chain(race)
    project, hook = (
        race.read("dbt_project.yml"),
        "create or replace table shop.ended as select count(*) as n from shop.a",
    )
    race.write({"dbt_project.yml": f'{project}on-run-end: "{hook}"\n'})
    with race.start("build", **race.holding) as process:
        race.held(process)
        race.on_main("insert into shop.source values (2)")
        race.meanwhile("run", "--select", "a")
        race.on_main("drop table shop.ended")
        race.go(1)
        race.go(2)
        outcome = process.wait()
    assert outcome.code == 0, outcome.output
    assert "3 nodes are run again: main moved to" in outcome.output
    assert outcome.output.count("OK created sql table model shop.b") == 2
    assert outcome.output.count("OK created sql table model shop.c") == 1
    assert race.tables() == IN_ORDER | {"shop.ended": [(2,)]}
    said = [name for name in results(race) if not name.startswith("shop-on-run-end")]
    assert sorted(said) == ["a", "b", "c", "not_null_a_id", "tens"]
    assert {one["status"] for one in results(race).values()} <= {"success", "pass", "reused"}
    assert race.branches() == ["main"]
    newest, before = race.log()[:2]
    run = next(run for run in race.runs() if run.id == newest.run)
    assert (run.status, run.base, newest.parents[0]) == (RunStatus.PUBLISHED, before.id, before.id)
    with race.lake() as lake:
        made = [commit.message for commit in lake.catalog.log(newest.parents[1])]
    assert sum(message.endswith("shop.c") for message in made) == 1


def test_commands_that_race_come_out_one_after_the_other(race: Race) -> None:
    config = "{{ config(materialized='incremental', unique_key='who') }}"
    count = "{% if is_incremental() %} (select count(*) from {{ this }}) {% else %} 0 {% endif %}"
    race.models(
        a=f"{config} select '{{{{ var('who') }}}}' as who, {count} as n", b="select max(n) as n from {{ ref('a') }}"
    )
    with contextlib.ExitStack() as stack:
        # As many as may get in the way of one another without one of them giving up.
        racers = [
            stack.enter_context(race.start("run", "--vars", f"{{who: {who}}}", "--target-path", who)) for who in "wxyz"
        ]
        outcomes = [racer.wait() for racer in racers]
    assert [outcome.code for outcome in outcomes] == [0, 0, 0, 0], outcomes
    tables = race.tables()
    assert sorted(who for who, _ in tables["shop.a"]) == ["w", "x", "y", "z"]
    assert sorted(n for _, n in tables["shop.a"]) == [0, 1, 2, 3]
    assert tables["shop.b"] == [(3,)]
    assert race.branches() == ["main"]


def test_without_it_the_run_fails_and_a_retry_goes_on_from_the_new_head(race: Race) -> None:
    chain(race)
    with race.start("build", **race.holding, LAKEHOUSE_PUBLISH_CONFLICT="fail") as process:
        race.held(process)
        race.on_main("insert into shop.source values (2)")
        race.meanwhile("run", "--select", "a")
        race.go()
        outcome = process.wait()
    assert outcome.code == 2, outcome.output
    assert "shop.a changed on both sides" in outcome.output
    said = {name: one["status"] for name, one in results(race).items()}
    assert said == {"a": "error", "b": "skipped", "c": "success", "not_null_a_id": "skipped", "tens": "skipped"}
    assert "shop.a: " in results(race)["a"]["message"]
    assert "shop.b" not in race.tables()
    assert "Published to branch main" in race.dbt("retry").output
    assert sorted(results(race)) == ["a", "b", "not_null_a_id", "tens"]
    assert race.tables() == IN_ORDER


def test_a_target_that_keeps_moving_is_left_alone_in_the_end(race: Race) -> None:
    race.models(a="select max(id) as id from shop.source", c="select 5 as id")
    with race.start("run", **race.holding) as process:
        for number in (1, 2, 3, 4):
            race.held(process, number)
            race.on_main(f"create or replace table shop.a as select {number} as id")
            race.go(number)
        outcome = process.wait()
    assert outcome.code == 2, outcome.output
    assert outcome.output.count("1 node is run again") == 3
    assert "were run again 3 times" in outcome.output
    assert race.tables() == {"shop.source": [(1,)], "shop.a": [(4,)]}
    assert results(race)["a"]["status"] == "error"


def test_what_fails_the_second_time_is_not_published(race: Race) -> None:
    race.models(
        a="select id from shop.source",
        b="select case when id > 1 then error('on purpose') else id end as id from {{ ref('a') }}",
        c="select 5 as id",
    )
    with race.start("run", "--fail-fast", **race.holding) as process:
        race.held(process)
        race.on_main("insert into shop.source values (2)")
        race.meanwhile("run", "--select", "a")
        race.go(1)
        race.go(2)
        outcome = process.wait()
    assert outcome.code == 1, outcome.output
    assert {name: one["status"] for name, one in results(race).items()} == {
        "a": "success",
        "b": "error",
        "c": "success",
    }
    assert race.tables() == {"shop.source": [(1,), (2,)], "shop.a": [(1,), (2,)]}
    race.models(b="select id from {{ ref('a') }}")
    race.dbt("retry")
    assert race.tables()["shop.b"] == [(1,), (2,)]
    assert race.tables()["shop.c"] == [(5,)]


def test_what_no_node_makes_cannot_run_again(race: Race) -> None:
    race.on_main("create table shop.audit (who varchar)")
    project = race.read("dbt_project.yml")
    race.write({"dbt_project.yml": project + "on-run-start: \"insert into shop.audit values ('us')\"\n"})
    race.models(a="select id from shop.source")
    with race.start("run", **race.holding) as process:
        race.held(process)
        race.on_main("update shop.audit set who = 'them'", "create or replace table shop.audit as select 'them' as who")
        race.go()
        outcome = process.wait()
    assert outcome.code == 2, outcome.output
    assert "shop.audit: written by operation.shop.shop-on-run-start-0, which cannot be run again" in outcome.output
    assert race.tables() == {"shop.source": [(1,)], "shop.audit": [("them",)]}
    assert "shop.audit changed on both sides" in race.dbt("retry", code=2).output


def test_a_retry_publishes_what_was_only_refused(race: Race) -> None:
    race.models(other="{{ config(alias='a', materialized='table') }} select 1 as id")
    race.dbt("run")
    (race.root / "models/other.sql").unlink()
    race.models(a="select 2 as id")
    refused = race.dbt("run", code=2).output
    assert "model.shop.other" in refused
    assert {name: one["status"] for name, one in results(race).items()} == {"a": "success"}
    race.dbt("retry", code=2)
    assert race.tables()["shop.a"] == [(1,)]
    assert "Published to branch main" in race.dbt("retry", LAKEHOUSE_ALLOW="owner").output
    assert race.tables()["shop.a"] == [(2,)]


def test_behind_a_service_too_with_hooks(race: Race) -> None:
    race.on_main("create table shop.audit (n bigint)")
    chain(race)
    race.models(
        a="{{ config(materialized='table', post_hook='insert into shop.audit select count(*) from shop.a') }}"
        "select id from shop.source"
    )
    service = ServiceProcess(race.root / "lake").start()
    try:
        race.environment["SHOP_TOKEN"] = service.token(role="admin")
        where = f'service: "{service.url}", token: "{{{{ env_var(\'SHOP_TOKEN\') }}}}"'
        race.write({"profiles.yml": PROFILE.replace("warehouse: ./lake", where)})
        with race.start("build", **race.holding) as process:
            race.held(process)
            race.on_main("insert into shop.source values (2)")
            race.meanwhile("run", "--select", "a")
            race.go(1)
            race.go(2)
            outcome = process.wait()
    finally:
        service.end(signal.SIGKILL)
    assert outcome.code == 0, outcome.output
    assert "3 nodes are run again: main moved to" in outcome.output
    assert race.tables() == IN_ORDER | {"shop.audit": [(2,), (2,)]}
    assert race.branches() == ["main"]


KINDS = {
    "models/events.sql": """
        {{ config(materialized='view', event_time='ts') }}
        select id, timestamp '2024-01-01' + to_days(id::int - 1) as ts from shop.source
    """,
    "models/keyed.sql": """
        {{ config(materialized='incremental', unique_key='id') }}
        select id, {{ 'id * 100' if is_incremental() else 'id' }} as n from {{ ref('events') }}
    """,
    "models/by_day.sql": """
        {{ config(materialized='incremental', incremental_strategy='microbatch', event_time='ts', batch_size='day',
                  begin='2024-01-01') }}
        select id, ts from {{ ref('events') }}
    """,
    "models/folded.sql": "{{ config(materialized='ephemeral') }} select id * 2 as id from {{ ref('events') }}",
    "models/asked.sql": """
        {{ config(materialized='table') }}
        {% if execute %}{% set rows = run_query('select count(*) from shop.source').columns[0].values()[0] %}{% endif %}
        select id, {{ rows or 0 }} as rows from {{ ref('folded') }}
    """,
    "models/counted.py": """
def model(dbt, session):
    dbt.config(materialized="table")
    return session.sql(f"select {len(dbt.ref('keyed').df())} as n")
""",
    "snapshots/snap.sql": """
        {% snapshot snap %}
        {{ config(strategy='check', check_cols='all', unique_key='id', target_schema='shop') }}
        select id, n from {{ ref('keyed') }}
        {% endsnapshot %}
    """,
    "models/kinds.yml": "models: [{name: asked, columns: [{name: id, data_tests: [unique]}]}]",
}
WINDOW = ("--event-time-start", "2024-01-01", "--event-time-end", "2024-01-05")


def test_every_kind_of_node_comes_out_as_one_after_the_other(race: Race) -> None:
    race.write(KINDS)
    race.dbt("build", *WINDOW)
    race.on_main("insert into shop.source values (2)")
    with race.start("build", *WINDOW, **race.holding) as process:
        race.held(process)
        race.on_main("insert into shop.source values (3)")
        race.meanwhile("build", *WINDOW)
        race.on_main("insert into shop.source values (4)")
        race.go(1)
        race.go(2)
        outcome = process.wait()
    assert outcome.code == 0, outcome.output
    assert "nodes are run again" in outcome.output
    tables = race.tables()
    assert sorted(tables["shop.keyed"]) == [(1, 100), (2, 200), (3, 300), (4, 400)]
    assert [row[0] for row in tables["shop.by_day"]] == [1, 2, 3, 4]
    assert tables["shop.asked"] == [(2, 4), (4, 4), (6, 4), (8, 4)]
    assert tables["shop.counted"] == [(4,)]
    assert sorted((row[0], row[1]) for row in tables["shop.snap"] if row[-1] is None) == tables["shop.keyed"]
    said = results(race)
    assert sorted(said) == ["asked", "by_day", "counted", "events", "keyed", "snap", "unique_asked_id"]
    assert len(said["by_day"]["batch_results"]["successful"]) == 4
    race.dbt("build", *WINDOW)
    assert {name: rows for name, rows in race.tables().items() if name != "shop.snap"} == {
        name: rows for name, rows in tables.items() if name != "shop.snap"
    }


def test_what_a_serializable_run_read_runs_its_readers_again(race: Race) -> None:
    chain(race)
    race.outputs(strict={"isolation": "serializable"})
    with race.start("build", "--target", "strict", **race.holding) as process:
        race.held(process)
        race.on_main("insert into shop.source values (2)")
        race.go(1)
        race.go(2)
        outcome = process.wait()
    assert outcome.code == 0, outcome.output
    assert "3 nodes are run again: main moved to" in outcome.output
    assert race.tables() == IN_ORDER
