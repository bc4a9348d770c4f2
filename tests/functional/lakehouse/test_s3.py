"""A project whose warehouse is in S3, from debug to query, with real dbt and a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbt_shop import Shop
from s3_faults import Faults
from s3_server import READER_KEY, READER_SECRET, ROLE, S3

from dbt.adapters.lakehouse.catalog.model import RunStatus

PYTHON = """
def model(dbt, session):
    dbt.config(materialized="table")
    orders = dbt.ref("orders")
    return orders.aggregate("kind, count(*) AS n, sum(amount) AS amount")
"""
ORDERS = """
{{ config(materialized='incremental', unique_key='id', incremental_strategy='merge', partition_by='kind') }}
select i as id, i % 3 as kind, i * {{ var('factor', 1) }} as amount from range({{ var('low', 0) }}, {{ var('high', 300) }}) r(i)
"""


def keys(s3: S3, **options: Any) -> dict[str, Any]:
    """What a profile says of a lake in S3."""
    said = ", ".join(f"{key}: '{value}'" for key, value in {**s3.options, **options}.items())
    return {"warehouse": s3.uri, "catalog": "sqlite:///catalog.sqlite", "storage_options": f"{{{said}}}"}


def lake(shop: Shop, s3: S3) -> Any:
    return shop.lake(warehouse=s3.uri, catalog="sqlite:///catalog.sqlite", storage_options=s3.options)


def rows(shop: Shop, s3: S3, sql: str, ref: str = "main") -> list[tuple[Any, ...]]:
    with lake(shop, s3) as opened:
        session = opened.read(ref, "shop")
        try:
            return session.execute(sql).rows
        finally:
            session.close()


@pytest.fixture
def s3_shop(shop: Shop, s3: S3) -> Shop:
    shop.outputs(s3=keys(s3))
    shop.environment["DBT_TARGET"] = "s3"
    return shop


def test_a_project_from_debug_to_query(s3_shop: Shop, s3: S3) -> None:
    shop = s3_shop
    shop.models(
        orders=ORDERS,
        seen="{{ config(materialized='view') }} select kind, sum(amount) as amount from {{ ref('orders') }} group by all",
    )
    shop.write(
        {
            "models/totals.py": PYTHON,
            "seeds/kinds.csv": "kind,name\n0,none\n1,one\n2,two\n",
            "tests/all_kinds_are_known.sql": "select * from {{ ref('orders') }} anti join {{ ref('kinds') }} using (kind)",
        }
    )
    debug = shop.dbt("debug")
    assert "All checks passed" in debug.output
    assert s3.uri in debug.output
    assert "lake-secret" not in debug.output
    shop.dbt("build")
    assert rows(shop, s3, "select * from totals order by 1") == [(0, 100, 14850), (1, 100, 14950), (2, 100, 15050)]
    head = rows(shop, s3, "select count(*), sum(amount) from orders")
    shop.dbt("build", "--vars", "{low: 250, high: 320, factor: 100}")
    assert rows(shop, s3, "select count(*), sum(amount) from orders") == [
        (320, sum(range(250)) + sum(range(250, 320)) * 100)
    ]
    assert rows(shop, s3, "select count(*), sum(amount) from orders", "main~1") == head
    assert rows(shop, s3, "select sum(amount) from seen") == rows(shop, s3, "select sum(amount) from orders")
    assert not [path for path in shop.root.rglob("*.parquet") if "site-packages" not in str(path)]
    assert s3.unfinished() == []


def test_a_failing_test_leaves_nothing_visible(s3_shop: Shop, s3: S3) -> None:
    shop = s3_shop
    shop.models(orders=ORDERS)
    shop.dbt("build")
    shop.write({"tests/small.sql": "select * from {{ ref('orders') }} where amount > 1000"})
    shop.dbt("build", "--vars", "{factor: 100}", code=1)
    assert rows(shop, s3, "select max(amount) from orders") == [(299,)]
    with lake(shop, s3) as opened:
        assert [run.status for run in opened.runs()] == [RunStatus.FAILED, RunStatus.PUBLISHED]


def test_a_model_that_fails_leaves_no_object(s3_shop: Shop, s3: S3) -> None:
    shop = s3_shop
    shop.models(orders=ORDERS)
    shop.dbt("build")
    before = s3.names()
    shop.models(bad="select i, case when i = 2999999 then error('no') end as x from range(3000000) r(i)")
    assert "no" in shop.dbt("run", "-s", "bad", code=1).output
    assert s3.names() == before
    assert s3.unfinished() == []


def test_the_command_line(s3_shop: Shop, s3: S3, tmp_path: Path) -> None:
    shop = s3_shop
    (tmp_path / "people.csv").write_text("id,name\n1,Ada\n2,Grace\n")

    def lakehouse(*arguments: str) -> str:
        done = subprocess.run(
            [Path(sys.executable).with_name("lakehouse"), "--target", "s3", *arguments],
            cwd=shop.root,
            env={**os.environ, **shop.environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    lakehouse("import", "shop.people", str(tmp_path / "people.csv"))
    assert "people" in lakehouse("tables")
    assert "Grace" in lakehouse("query", "select * from people where id = 2")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"secret_access_key": "wrong"}, "the secret does not belong to the key"),
        ({"access_key_id": "nobody"}, "does not know the access key"),
        ({"access_key_id": READER_KEY, "secret_access_key": READER_SECRET}, "access is denied"),
        ({"endpoint": "http://127.0.0.1:9", "retries": "0"}, "cannot be reached"),
        ({"acces_key_id": "x"}, "did you mean 'access_key_id'"),
    ],
)
def test_debug_says_what_is_wrong(shop: Shop, s3: S3, options: dict[str, str], says: str) -> None:
    shop.outputs(s3=keys(s3, **options))
    outcome = shop.dbt("debug", "--target", "s3", code=None)
    assert outcome.code
    assert says in " ".join(outcome.output.split())
    assert "Traceback" not in outcome.output
    assert "lake-secret" not in outcome.output


def test_credentials_that_reach_the_warehouse_alone(shop: Shop, s3: S3) -> None:
    shop.outputs(s3=keys(s3, assume_role=ROLE))
    shop.models(orders=ORDERS, after="select count(*) as n from {{ ref('orders') }}")
    shop.dbt("build", "--target", "s3")
    assert rows(shop, s3, "select n from after") == [(300,)]


def test_a_run_survives_an_overloaded_store(shop: Shop, s3: S3, faults: Faults) -> None:
    shop.outputs(s3=keys(s3.at(faults.endpoint)))
    shop.models(orders=ORDERS, after="select count(*) as n from {{ ref('orders') }}")
    refused = [faults.add("slow_down", method=method, times=3) for method in ("PUT", "GET", "HEAD")]
    lost = faults.add("lost", method="PUT", path="metadata", times=1)
    shop.dbt("build", "--target", "s3")
    assert rows(shop, s3, "select n from after") == [(300,)]
    assert len(refused[0].met) == 3
    assert len(lost.met) == 1


def test_a_run_on_a_store_that_stays_away_changes_nothing(shop: Shop, s3: S3, faults: Faults) -> None:
    shop.outputs(s3=keys(s3.at(faults.endpoint), retries=1))
    shop.models(orders=ORDERS)
    shop.dbt("build", "--target", "s3")
    before, objects = rows(shop, s3, "select count(*), sum(amount) from orders"), s3.names()
    faults.add("slow_down", method="PUT")
    outcome = shop.dbt("build", "--target", "s3", "--vars", "{factor: 100}", code=1)
    assert "overloaded or out of order" in " ".join(outcome.output.split())
    assert "Traceback" not in outcome.output
    assert rows(shop, s3, "select count(*), sum(amount) from orders") == before
    assert s3.names() == objects
    faults.heal()
    shop.dbt("build", "--target", "s3", "--vars", "{factor: 100}")
    assert rows(shop, s3, "select sum(amount) from orders") == [(sum(range(300)) * 100,)]


@pytest.fixture
def service(shop: Shop, s3: S3) -> Iterator[str]:
    """The URL of a service on the lake in S3; its clients have a token and no key."""
    shop.outputs(s3=keys(s3, assume_role=ROLE))
    (shop.root / "server").mkdir()
    (shop.root / "profiles.yml").rename(shop.root / "server" / "profiles.yml")
    shop.write({"server/dbt_project.yml": shop.read("dbt_project.yml")})
    command = [str(Path(sys.executable).with_name("lakehouse")), "--target", "s3", "serve", "--port", "0"]
    environment = {**os.environ, "LAKEHOUSE_TOKEN": ""}
    with (shop.root / "service.log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=shop.root / "server", env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith("lakehouse service on "), (shop.root / "service.log").read_text()
        yield line.split()[-1]
    finally:
        server.terminate()
        server.wait(timeout=30)
        assert server.stdout is not None
        server.stdout.close()


def test_a_project_on_a_service_whose_lake_is_in_s3(shop: Shop, s3: S3, service: str) -> None:
    from dbt.adapters.lakehouse.service.store import ServiceStore

    store = ServiceStore.open(f"sqlite:///{shop.root}/server/catalog.sqlite")
    token = store.create_token(name="test", user="anna", role="admin", created_by="test")[1]
    store.close()
    remote = f'{{type: lakehouse, service: "{service}", token: "{token}", schema: shop, threads: 2}}'
    shop.write({"profiles.yml": f"shop: {{target: remote, outputs: {{remote: {remote}}}}}"})
    shop.models(orders=ORDERS, after="select count(*) as n, max(amount) as most from {{ ref('orders') }}")
    shop.dbt("build")
    shop.dbt("build", "--vars", "{low: 250, high: 320, factor: 100}")
    settings = {"warehouse": s3.uri, "catalog": "sqlite:///server/catalog.sqlite", "storage_options": s3.options}
    with shop.lake(**settings) as opened:
        session = opened.read("main", "shop")
        assert session.execute("select n, most from after").rows == [(320, 31900)]
        session.close()
