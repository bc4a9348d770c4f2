"""Python models with packages of their own, through dbt."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from dbt_shop import PROFILE, Shop
from service_process import ServiceProcess

MODEL = """
def model(dbt, session):
    dbt.config(materialized="{materialized}", packages=["pandas==2.2.*"], {more})
    import pandas
    print("pandas is", pandas.__version__)
    frame = dbt.ref("orders").df()
    {body}
    return frame
"""


@pytest.fixture
def orders(shop: Shop, tmp_path: Path) -> Shop:
    shop.environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    shop.models(orders="SELECT range AS id, range % 3 AS kind FROM range(10)")
    return shop


def frame(shop: Shop, body: str = "pass", materialized: str = "table", more: str = "") -> None:
    shop.write({"models/frame.py": MODEL.format(body=body, materialized=materialized, more=more)})


@pytest.fixture(params=["embedded", "service"])
def anywhere(request: pytest.FixtureRequest, orders: Shop, tmp_path: Path) -> Iterator[Shop]:
    """The lake in dbt's own process, and behind a service."""
    if request.param == "embedded":
        yield orders
        return
    service = ServiceProcess(orders.root / "lake").start(XDG_CACHE_HOME=str(tmp_path / "cache"))
    try:
        where = f'service: "{service.url}", token: "{service.token()}"'
        orders.write({"profiles.yml": PROFILE.replace("warehouse: ./lake", where)})
        yield orders
    finally:
        service.end()


def test_a_model_with_packages_and_what_it_prints(anywhere: Shop) -> None:
    frame(anywhere, "frame['version'] = pandas.__version__")
    outcome = anywhere.dbt("build")
    assert "frame: pandas is 2.2." in outcome.output
    assert anywhere.rows("SELECT count(*), min(version) LIKE '2.2.%' FROM shop.frame") == [(10, True)]


def test_an_incremental_model_with_packages(orders: Shop) -> None:
    frame(orders, "frame['id'] += 10 if dbt.is_incremental else 0", materialized="incremental")
    orders.dbt("build")
    orders.dbt("build")
    assert orders.rows("SELECT count(*), max(id) FROM shop.frame") == [(20, 19)]


def test_what_goes_wrong_is_said_and_nothing_is_published(anywhere: Shop) -> None:
    frame(anywhere, "raise ValueError('no such order')")
    outcome = anywhere.dbt("build", code=1)
    # The file begins with an empty line, which dbt cuts off.
    assert 'models/frame.py", line 7' in outcome.output
    assert "ValueError: no such order" in outcome.output
    frame(anywhere, more="python_version='3.99'")
    assert "no such interpreter is installed" in anywhere.dbt("build", code=1).output
    assert anywhere.tables() == {}


def test_environments_are_made_while_earlier_models_run(anywhere: Shop, tmp_path: Path) -> None:
    frame(anywhere)
    anywhere.dbt("build", "--select", "orders")
    folder = tmp_path / "cache" / "dbt-lakehouse" / "environments"
    assert list(folder.glob("*/environment.json")) == []  # nothing is made for models that dbt has not selected
    anywhere.models(orders="select sum(hash(i * j)) as id from range(400000) a(i), range(400000) b(j)")
    with anywhere.start("build") as process:
        process.until(lambda: "START sql table model shop.orders" in process.output)
        process.until(lambda: list(folder.glob("*/environment.json")))
        assert "START python" not in process.output
        process.send(signal.SIGINT)
        assert process.wait().code != 0
