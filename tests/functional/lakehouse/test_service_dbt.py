"""dbt on a lake behind a service: what a run promises holds there too, whoever dies."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dbt_shop import PROFILE, Shop
from service_process import ServiceProcess

from dbt.adapters.lakehouse.catalog.model import RunRecord, RunStatus

pytestmark = pytest.mark.kills

Serve = Callable[..., ServiceProcess]

ENDLESS = """
{{ config(materialized='table') }}
select sum(hash(i * j)) as n from range(400000) a(i), range(400000) b(j)
"""
SECONDS = """
{{ config(materialized='table') }}
select sum(hash(i * j)) % 2 + 5 as n from range(30000) a(i), range(30000) b(j)
"""


@pytest.fixture
def serve(shop: Shop) -> Iterator[Serve]:
    """Starts a service on the shop's lake, and lets the shop's profile name it."""
    started: list[ServiceProcess] = []

    def start(*flags: str, role: str = "admin", **keys: str) -> ServiceProcess:
        process = ServiceProcess(shop.root / "lake", *flags).start()
        started.append(process)
        shop.environment["SHOP_TOKEN"] = process.token(role=role)
        more = "".join(f", {key}: {value}" for key, value in keys.items())
        where = f'service: "{process.url}", token: "{{{{ env_var(\'SHOP_TOKEN\') }}}}"{more}'
        shop.write({"profiles.yml": PROFILE.replace("warehouse: ./lake", where)})
        return process

    yield start
    for process in started:
        if process.process.poll() is None:
            process.end(signal.SIGKILL)


def test_what_did_not_change_is_reused(shop: Shop, serve: Serve) -> None:
    serve()
    shop.write({"seeds/raw.csv": "id,v\n1,a\n2,b\n"})
    shop.models(
        orders="select id + 1 as id from {{ ref('raw') }}", totals="select sum(id) as n from {{ ref('orders') }}"
    )
    assert "reused" not in shop.dbt("build").output
    again = shop.dbt("build").output
    assert again.count("REUSED (run ") >= 2, again
    shop.models(totals="select sum(id) + 1 as n from {{ ref('orders') }}")
    edited = shop.dbt("build").output
    assert "shop.orders" in edited
    assert "CREATE TABLE 1" in edited
    assert shop.tables()["shop.totals"] == [(6,)]


def test_what_would_break_is_known_there_too(shop: Shop, serve: Serve) -> None:
    serve()
    shop.write({"seeds/raw.csv": "id,v\n1,a\n2,b\n", "data.csv": "a\n1\n"})
    shop.models(
        orders="select id + 1 as id, v from {{ ref('raw') }}",
        seen="{{ config(materialized='view') }}\nselect *, null as more from {{ ref('orders') }}",
        bad="select upper(more) as u,\n  idd\nfrom {{ ref('seen') }}",
        outside="select * from read_csv('data.csv')",
    )
    refused = shop.dbt("build", "--exclude", "outside", code=2).output
    assert "Pre-flight found 1 problem in 1 of 4 nodes" in refused, refused
    assert 'model bad (models/bad.sql:3)\n    Binder Error: Referenced column "idd" not found' in refused
    shop.models(bad="select upper(more) as u, id from {{ ref('seen') }}")
    passed = shop.dbt("build", "--exclude", "outside").output
    assert "could not be checked" not in passed
    # What the sandbox refuses, it refuses as ever, when it comes to it.
    said = shop.dbt("build", "--select", "outside", code=1).output
    assert "1 of 1 nodes could not be checked ahead" in said


def test_seeds_and_tests_are_reused_by_what_the_service_saw(shop: Shop, serve: Serve) -> None:
    serve()
    checks = "[{name: id, data_tests: [not_null, unique]}]"
    shop.write(
        {
            "seeds/raw.csv": "id,v\n1,a\n2,b\n",
            "models/schema.yml": f"models: [{{name: orders, columns: {checks}}}]\n",
        }
    )
    shop.models(orders="select id from {{ ref('raw') }}")

    def reused() -> set[str]:
        results = json.loads(shop.read("target/run_results.json"))["results"]
        return {r["unique_id"].split(".")[2] for r in results if r["adapter_response"].get("code") == "REUSED"}

    shop.dbt("build")
    assert reused() == set()
    shop.dbt("build")
    assert reused() == {"raw", "orders", "not_null_orders_id", "unique_orders_id"}
    shop.write({"seeds/raw.csv": "id,v\n1,a\n2,c\n"})
    shop.dbt("build")
    assert "raw" not in reused()
    shop.write({"seeds/raw.csv": "id,v\n2,a\n2,c\n"})
    for _ in range(2):
        assert "Got 1 result" in shop.dbt("build", code=1).output
        assert "unique_orders_id" not in reused()


def test_every_kind_of_node(shop: Shop, serve: Serve) -> None:
    serve()
    shop.write(
        {
            "seeds/prices.csv": "id,price,day\n1,1.50,2026-01-31\n2,,2026-02-01\n",
            "models/doubled.py": (
                "def model(dbt, session):\n"
                "    dbt.config(materialized='table')\n"
                "    prices = dbt.ref('prices')\n"
                "    print('said by the model')\n"
                "    return prices.project('id, price * 2 as price')\n"
            ),
            "snapshots/kept.yml": (
                "snapshots: [{name: kept, relation: ref('prices'), config: {unique_key: id, strategy: check, "
                "check_cols: all}}]\n"
            ),
            "models/tests.yml": "models: [{name: seen, columns: [{name: id, data_tests: [not_null, unique]}]}]\n",
        }
    )
    shop.models(
        seen="{{ config(materialized='view') }} select * from {{ ref('prices') }}",
        hooked="{{ config(materialized='table', post_hook='insert into {{ this }} values (99)') }} select 1::bigint as n",
        grown="""{{ config(materialized='incremental', unique_key='id') }}
            select id, count(*) as n from {{ ref('seen') }} group by 1""",
    )
    assert "said by the model" in shop.dbt("build").output
    shop.dbt("build")
    assert shop.rows("select id, price::varchar, day::varchar from prices") == [
        (1, "1.5", "2026-01-31"),
        (2, None, "2026-02-01"),
    ]
    assert shop.rows("select n from hooked") == [(1,), (99,)]
    assert shop.rows("select id, n from grown") == [(1, 1), (2, 1)]
    assert shop.rows("select id, price from doubled") == [(1, 3.0), (2, None)]
    assert shop.rows("select count(*) from kept") == [(2,)]
    assert {run.status for run in shop.runs()} == {RunStatus.PUBLISHED}
    assert {run.owner for run in shop.runs()} == {"service:anna"}
    assert {commit.author for commit in shop.log()[:-1]} == {"anna"}


def test_a_failed_test_publishes_nothing_and_a_retry_goes_on(shop: Shop, serve: Serve) -> None:
    serve()
    shop.models(a="select 1 as id", b="select nullif(id, {{ env_var('N', '1') }}) as id from {{ ref('a') }}")
    shop.write({"models/tests.yml": "models: [{name: b, columns: [{name: id, data_tests: [not_null]}]}]\n"})
    before = shop.head()
    outcome = shop.dbt("build", code=1)
    assert "Nothing was published" in outcome.output
    assert shop.head() == before
    [failed] = shop.runs()
    assert failed.status is RunStatus.FAILED
    assert shop.rows("select * from b", failed.branch) == [(None,)]
    alone = shop.dbt("build", "--select", "b", N="2", code=2)  # without a: this run does not continue the other
    assert "is not on branch main, and no node of this run makes it" in alone.output
    shop.dbt("build", N="2")
    assert shop.rows("select * from b") == [(1,)]


def test_a_retry_continues_the_failed_run(shop: Shop, serve: Serve) -> None:
    serve()
    shop.models(a="select 1 as id", b="select 1 / {{ env_var('N', '1') }}, error('on purpose') from {{ ref('a') }}")
    shop.dbt("build", code=1)
    shop.models(b="select id from {{ ref('a') }}")
    outcome = shop.dbt("retry")
    assert "1 of 1 OK created sql table model shop.b" in outcome.output
    assert shop.tables() == {"shop.a": [(1,)], "shop.b": [(1,)]}
    assert [run.status for run in shop.runs()] == [RunStatus.PUBLISHED, RunStatus.CONTINUED]


def test_publishing_each_node_and_by_hand(shop: Shop, serve: Serve) -> None:
    serve(publish="each_node")
    shop.models(a="select 1 as id", b="select error('on purpose') as id from {{ ref('a') }}")
    shop.dbt("build", code=1)
    assert shop.tables() == {"shop.a": [(1,)]}
    shop.models(a="select 2 as id", b="select id from {{ ref('a') }}")
    shop.write({"profiles.yml": shop.read("profiles.yml").replace("each_node", "manual")})
    outcome = shop.dbt("build")
    assert "Left on branch run/" in outcome.output
    assert shop.tables() == {"shop.a": [(1,)]}
    assert shop.rows("select id from b", shop.runs()[0].branch) == [(2,)]


def test_a_conflict_publishes_nothing(shop: Shop, serve: Serve) -> None:
    serve()
    shop.models(a="select 1 as n")
    shop.dbt("build")
    shop.models(a="select 2 as n", b=SECONDS + "-- {{ ref('a') }}")
    with shop.start("build") as process:
        process.until(lambda: "OK created sql table model shop.a" in process.output)
        shop.on_main("update a set n = 3")
        outcome = process.wait()
    assert outcome.code != 0
    assert "changed on both sides" in outcome.output
    assert shop.rows("select n from a") == [(3,)]


def test_a_server_that_is_killed_and_comes_back_does_not_end_the_run(shop: Shop, serve: Serve) -> None:
    service = serve()
    shop.models(
        a="select 1 as n",
        b=SECONDS + "-- {{ ref('a') }}",
        c="select n from {{ ref('b') }}",
        d="{{ config(materialized='incremental', unique_key='n') }} select n from {{ ref('c') }}",
    )
    with shop.start("build", "--threads", "1") as process:
        process.until(lambda: "START sql table model shop.b" in process.output)
        time.sleep(0.3)
        service.kill()
        time.sleep(0.5)
        service.start()
        outcome = process.wait()
    assert outcome.code == 0, outcome.output
    assert set(shop.tables()) == {"shop.a", "shop.b", "shop.c", "shop.d"}
    [run] = shop.runs()
    assert run.status is RunStatus.PUBLISHED
    assert shop.branches() == ["main"]
    merged = shop.log()[0]
    with shop.lake() as lake:
        own = lake.catalog.log(merged.parents[1])
    built = [commit.message for commit in own if commit.message.startswith("Build")]
    assert sorted(built) == ["Build shop.a", "Build shop.b", "Build shop.c", "Build shop.d"]


def test_a_client_that_is_killed_has_its_run_abandoned(shop: Shop, serve: Serve) -> None:
    service = serve("--lease", "2")
    shop.models(a="select 1 as n", b=ENDLESS + "-- {{ ref('a') }}")
    before = shop.head()
    with shop.start("build", "--threads", "1") as process:
        process.until(lambda: "START sql table model shop.b" in process.output)
        time.sleep(3)  # longer than the lease: the client's heartbeats keep it open
        assert shop.log(shop_run(shop).branch)[0].message == "Build shop.a"
        assert shop_run(shop).status is RunStatus.OPEN
        process.kill()
        service.wait_for("is abandoned")
    until(lambda: shop_run(shop).status is RunStatus.ABANDONED)
    assert shop.head() == before
    assert shop.rows("select n from a", shop_run(shop).branch) == [(1,)]
    shop.models(b="select 5 as n")
    shop.dbt("build")
    assert shop.rows("select n from b") == [(5,)]


def shop_run(shop: Shop) -> RunRecord:
    """The first run, as it is recorded; looking must not sweep."""
    with shop.lake() as lake:
        return lake.catalog.runs()[-1]


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ctrl_c_stops_the_work(shop: Shop, serve: Serve) -> None:
    serve()
    shop.models(a=ENDLESS)
    before = shop.head()
    with shop.start("build") as process:
        process.until(lambda: "START sql table model shop.a" in process.output)
        time.sleep(1)
        started = time.monotonic()
        process.send(signal.SIGINT)
        outcome = process.wait()
    assert outcome.code != 0
    assert time.monotonic() - started < 10
    assert shop.head() == before
    assert shop_run(shop).status is RunStatus.ABANDONED


def test_draining_lets_a_model_finish(shop: Shop, serve: Serve) -> None:
    service = serve("--drain-seconds", "60")
    shop.models(a=SECONDS)
    with shop.start("build") as process:
        process.until(lambda: "START sql table model shop.a" in process.output)
        time.sleep(0.3)
        service.process.send_signal(signal.SIGTERM)
        service.wait_for("finishing what is in flight")
        code = service.process.wait(timeout=60)
        assert code == 0
        service.start()
        outcome = process.wait()
    assert outcome.code == 0, outcome.output
    assert shop.rows("select count(*) from a") == [(1,)]
    assert "abandoned" not in Path(service.log).read_text()


def test_who_may_not_publish_is_told_before_anything_runs(shop: Shop, serve: Serve) -> None:
    service = serve(role="reader")
    shop.models(a="select 1 as n")
    outcome = shop.dbt("build", code=None)
    assert outcome.code != 0
    assert "role 'reader'" in outcome.output
    assert "role 'publisher'" in outcome.output or "ask who runs the service" in outcome.output
    assert shop.runs() == []
    shop.environment["SHOP_TOKEN"] = service.token("bob", "developer")
    profile = shop.read("profiles.yml").replace("schema: shop", "schema: shop, branch: dev/bob")
    shop.write({"profiles.yml": profile})
    shop.dbt("build")
    assert shop.rows("select n from a", "dev/bob") == [(1,)]


def test_a_wrong_token_is_refused(shop: Shop, serve: Serve) -> None:
    serve()
    shop.models(a="select 1 as n")
    outcome = shop.dbt("build", code=None, SHOP_TOKEN="lh_0123456789ab_" + "x" * 43)
    assert outcome.code != 0
    assert "the token is not valid" in outcome.output
    assert "LAKEHOUSE_TOKEN" in outcome.output


def test_a_service_that_is_not_there(shop: Shop, serve: Serve) -> None:
    service = serve()
    service.kill()
    outcome = shop.dbt("debug", code=None)
    assert outcome.code != 0
    assert f"the service at {service.url} does not answer" in outcome.output
