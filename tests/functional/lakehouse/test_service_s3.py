"""dbt on a service whose warehouse is in an S3 that is slow, overloaded or cut off."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from dbt_shop import PROFILE, Shop
from s3_faults import Faults
from s3_server import S3
from service_process import ServiceProcess

from dbt.adapters.lakehouse.catalog.model import RunRecord, RunStatus

ORDERS = """
{{ config(materialized='incremental', unique_key='id', incremental_strategy='merge') }}
select i as id, i * {{ var('factor', 1) }} as amount from range(300) r(i)
"""
MANY = "select i, hash(i) as h from range(300000) r(i) -- {{ ref('orders') }}"
AFTER = "select count(*) as n, (select sum(amount) from {{ ref('orders') }}) as amount from {{ ref('many') }}"


class Served:
    """A shop behind a service that alone knows the way to the bucket."""

    def __init__(self, shop: Shop, s3: S3, faults: Faults) -> None:
        self.shop = shop
        self.s3 = s3
        self.folder = shop.root / "served"
        self.folder.mkdir()
        options = {**s3.at(faults.endpoint).options, "retries": "1", "timeout": "2"}
        said = ", ".join(f"{key}: '{value}'" for key, value in options.items())
        keys = f"warehouse: '{s3.uri}', catalog: '{self.catalog}', storage_options: {{{said}}}"
        (self.folder / "profiles.yml").write_text(PROFILE.replace("warehouse: ./lake", keys))
        self.process = ServiceProcess(self.folder)
        self.process.lake = ["--profiles-dir", str(self.folder), "--profile", "shop"]
        self.process.start()
        where = f'service: "{self.process.url}", token: "{self.process.token()}"'
        shop.write({"profiles.yml": PROFILE.replace("warehouse: ./lake", where)})
        shop.models(orders=ORDERS, many=MANY, after=AFTER)

    @property
    def catalog(self) -> str:
        return f"sqlite:///{self.folder}/catalog.sqlite"

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows on main, past the service and its faults."""
        with self.shop.lake(warehouse=self.s3.uri, catalog=self.catalog, storage_options=self.s3.options) as lake:
            session = lake.read("main", "shop")
            try:
                return session.execute(sql).rows
            finally:
                session.close()

    def runs(self) -> list[RunRecord]:
        with self.shop.lake(warehouse=self.s3.uri, catalog=self.catalog, storage_options=self.s3.options) as lake:
            return lake.catalog.runs()


@pytest.fixture
def served(shop: Shop, s3: S3, faults: Faults) -> Iterator[Served]:
    made = Served(shop, s3, faults)
    yield made
    made.process.end(signal.SIGKILL)


def expected(factor: int) -> list[tuple[int, int]]:
    return [(300_000, sum(range(300)) * factor)]


def test_a_store_that_stumbles(served: Served, faults: Faults) -> None:
    met = [
        faults.add("slow_down", method="PUT", path=".parquet", times=3),
        faults.add("slow_down", method="GET", times=2),
        faults.add("lost", method="PUT", path="metadata", times=2),
        faults.add("cut", method="GET", path=".parquet", times=2),
        faults.add("late", method="PUT", times=4, seconds=0.3),
    ]
    outcome = served.shop.dbt("build")
    assert "Traceback" not in outcome.output
    assert all(fault.met for fault in met)
    assert served.rows("select * from after") == expected(1)
    met = [faults.add("slow_down", times=2), faults.add("lost", method="PUT", times=1)]
    served.shop.dbt("build", "--vars", "{factor: 10}")
    assert all(fault.met for fault in met)
    assert served.rows("select * from after") == expected(10)
    assert served.rows("select count(*), count(distinct id) from orders") == [(300, 300)]
    assert served.s3.unfinished() == []


@pytest.mark.parametrize(
    ("kind", "says"), [("slow_down", "overloaded or out of order"), ("lost", "cannot be reached"), ("late", "")]
)
def test_a_store_that_stays_away(served: Served, faults: Faults, kind: str, says: str) -> None:
    served.shop.dbt("build")
    before = served.s3.names()
    faults.add(kind, method="PUT", seconds=3)
    outcome = served.shop.dbt("build", "--vars", "{factor: 10}", code=1)
    assert says in " ".join(outcome.output.split())
    assert "Traceback" not in outcome.output
    assert [run.status for run in served.runs()] == [RunStatus.FAILED, RunStatus.PUBLISHED]
    assert served.rows("select * from after") == expected(1)
    assert served.s3.unfinished() == []
    if kind != "late":  # what arrives after it was given up, and removed, is for a clean-up to find
        assert served.s3.names() == before
    faults.heal()
    served.shop.dbt("build", "--vars", "{factor: 10}")
    assert served.rows("select * from after") == expected(10)


def test_the_client_holds_no_way_to_the_store(served: Served, s3: S3) -> None:
    outcome = served.shop.dbt("--debug", "build")
    said = outcome.output + (served.shop.root / "logs" / "dbt.log").read_text()
    for secret in (s3.secret, s3.key, s3.endpoint):
        assert secret not in said
    log = served.process.log.read_text()
    assert s3.secret not in log
