"""Python models with packages of their own, through dbt."""

from __future__ import annotations

from pathlib import Path

import pytest
from dbt_shop import Shop

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


def test_a_model_with_packages_and_what_it_prints(orders: Shop) -> None:
    frame(orders, "frame['version'] = pandas.__version__")
    outcome = orders.dbt("build")
    assert "pandas is 2.2." in outcome.output
    assert orders.rows("SELECT count(*), min(version) LIKE '2.2.%' FROM shop.frame") == [(10, True)]


def test_an_incremental_model_with_packages(orders: Shop) -> None:
    frame(orders, "frame['id'] += 10 if dbt.is_incremental else 0", materialized="incremental")
    orders.dbt("build")
    orders.dbt("build")
    assert orders.rows("SELECT count(*), max(id) FROM shop.frame") == [(20, 19)]


def test_what_goes_wrong_is_said_and_nothing_is_published(orders: Shop) -> None:
    frame(orders, "raise ValueError('no such order')")
    outcome = orders.dbt("build", code=1)
    assert 'models/frame.py", line 7' in outcome.output
    assert "ValueError: no such order" in outcome.output
    frame(orders, more="python_version='3.99'")
    assert "no such interpreter is installed" in orders.dbt("build", code=1).output
    assert orders.tables() == {}
