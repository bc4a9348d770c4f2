"""What is selected for what changed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dbt.adapters.lakehouse.dev.changed import buildable, key_of, node_of, selection


def node(name: str, kind: str = "model", **more: Any) -> SimpleNamespace:
    found = SimpleNamespace(
        unique_id=f"{kind}.shop.{name}",
        resource_type=kind,
        name=name,
        alias=name,
        schema="shop",
        fqn=["shop", "marts", name],
        original_file_path=f"models/{name}.sql",
        is_ephemeral_model=False,
        config=SimpleNamespace(unique_key=None),
        constraints=[],
        columns={},
    )
    vars(found).update(more)
    return found


def manifest(*nodes: SimpleNamespace, children: dict[str, list[str]] | None = None) -> Any:
    return SimpleNamespace(
        nodes={one.unique_id: one for one in nodes}, child_map=children or {}, unit_tests={}, functions={}
    )


def unique(column: str, of: str, **more: Any) -> SimpleNamespace:
    metadata = SimpleNamespace(name="unique", kwargs={})
    return node(f"unique_{column}", "test", test_metadata=metadata, attached_node=of, column_name=column, **more)


def constraint(kind: str, *columns: str) -> SimpleNamespace:
    return SimpleNamespace(type=kind, columns=list(columns))


def test_nodes_are_selected_by_their_full_names() -> None:
    project = manifest(node("orders"), node("totals"))
    names = ["model.shop.totals", "model.shop.orders", "model.shop.gone"]
    assert selection(project, names) == ("fqn:shop.marts.orders", "fqn:shop.marts.totals")
    assert selection(project, names[:1], children=True) == ("fqn:shop.marts.totals+",)
    assert selection(project, []) == ()


def test_a_narrower_choice_is_an_intersection_with_each_of_its_alternatives() -> None:
    project = manifest(node("orders"))
    assert selection(project, ["model.shop.orders"], within=("tag:a,path:models +totals", "orders")) == (
        "fqn:shop.marts.orders,tag:a,path:models",
        "fqn:shop.marts.orders,+totals",
        "fqn:shop.marts.orders,orders",
    )


def test_an_ephemeral_model_is_built_in_those_that_read_it() -> None:
    project = manifest(
        node("a", is_ephemeral_model=True),
        node("b", is_ephemeral_model=True),
        node("c"),
        node("d"),
        unique("id", "model.shop.a"),
        children={
            "model.shop.a": ["model.shop.b", "model.shop.c", "test.shop.unique_id"],
            "model.shop.b": ["model.shop.d", "exposure.shop.e"],
            "model.shop.c": ["model.shop.d"],
        },
    )
    assert buildable(project, ["model.shop.a", "model.shop.gone"]) == {
        "model.shop.c",
        "model.shop.d",
        "test.shop.unique_id",
    }


def test_what_leaves_nothing_in_the_lake_has_no_relation() -> None:
    project = manifest()
    assert node_of(project, node("orders")).relation == ("shop", "orders")
    assert node_of(project, node("orders", is_ephemeral_model=True)).relation is None
    assert node_of(project, node("t", "test")).relation is None


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (node("a"), ()),
        (node("a", config=SimpleNamespace(unique_key="id")), ("id",)),
        (node("a", config=SimpleNamespace(unique_key=["id", "day"])), ("id", "day")),
        (node("a", constraints=[constraint("not_null", "x"), constraint("primary_key", "id", "day")]), ("id", "day")),
        (node("a", columns={"id": SimpleNamespace(name="id", constraints=[constraint("unique")])}), ("id",)),
        (node("a", "snapshot"), ("dbt_scd_id",)),
        (
            node("a", "snapshot", config=SimpleNamespace(snapshot_meta_column_names=SimpleNamespace(dbt_scd_id="scd"))),
            ("scd",),
        ),
    ],
)
def test_keys_of_configuration_and_contract(given: SimpleNamespace, key: tuple[str, ...]) -> None:
    assert key_of(manifest(given), given) == key


def test_keys_of_tests() -> None:
    orders = node("orders")
    elsewhere = unique("who", "model.shop.other")
    pair = node(
        "pair",
        "test",
        test_metadata=SimpleNamespace(
            name="unique_combination_of_columns", kwargs={"combination_of_columns": ["id", "day"]}
        ),
        attached_node=orders.unique_id,
    )
    for tests, key in (
        ((elsewhere,), ()),
        ((elsewhere, unique("id", orders.unique_id)), ("id",)),
        ((pair,), ("id", "day")),
    ):
        children = {orders.unique_id: [one.unique_id for one in tests]}
        assert key_of(manifest(orders, *tests, children=children), orders) == key
