"""Which columns tell rows apart: what tests say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from dbt.adapters.lakehouse.row_keys import row_key

ORDERS = SimpleNamespace(unique_id="model.shop.orders", resource_type="model", config=SimpleNamespace(), columns={})


def check(name: str, *, about: str = ORDERS.unique_id, where: str | None = None, **kwargs: Any) -> SimpleNamespace:
    return SimpleNamespace(
        test_metadata=SimpleNamespace(name=name, kwargs=kwargs),
        attached_node=about,
        column_name=None,
        config=SimpleNamespace(where=where),
    )


def test_one_column_is_taken_before_several() -> None:
    pair = check("unique_combination_of_columns", combination_of_columns=["day", '"id"'])
    assert row_key(ORDERS, [pair]) == ("day", "id")
    assert row_key(ORDERS, [pair, check("unique", column_name="number")]) == ("number",)


def test_tests_of_a_part_of_the_rows_or_of_others_say_nothing() -> None:
    assert row_key(ORDERS, [None, check("unique", column_name="id", where="day > 1")]) == ()
    assert row_key(ORDERS, [check("unique", column_name="id", about="model.shop.other")]) == ()
    assert row_key(ORDERS, [check("not_null", column_name="id")]) == ()
