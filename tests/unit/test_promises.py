"""A contract's constraints, from where dbt has them to where a write looks at them."""

import pytest

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.promises import constraints
from dbt.adapters.lakehouse.tables.values import Constraints, ForeignKey


def node(*model, columns=None, enforced=True):
    declared = {name: {"name": name, "constraints": list(items)} for name, items in (columns or {}).items()}
    return {
        "unique_id": "model.p.orders",
        "config": {"contract": {"enforced": enforced}},
        "relation_name": '"lake"."shop"."orders"',
        "columns": declared,
        "constraints": list(model),
    }


def test_without_a_contract_nothing_is_promised():
    assert constraints(node(columns={"id": [{"type": "not_null"}]}, enforced=False)) == Constraints()


def test_constraints_of_columns_and_of_the_model():
    found = constraints(
        node(
            {"type": "primary_key", "columns": ["id", "day"], "name": "pk"},
            {"type": "check", "expression": "id < 100", "name": "small"},
            {"type": "custom", "expression": "something else"},
            columns={"id": [{"type": "not_null", "name": "there"}], "color": [{"type": "unique"}, {"type": "check"}]},
        )
    )
    assert found.not_null == ("id", "day")
    assert found.unique == (("color",), ("id", "day"))
    assert found.primary_key == ("id", "day")
    assert found.checks == (("", "true"), ("small", "id < 100"))
    assert found.name_of("not_null", ["ID"]) == "there"
    assert found.name_of("primary_key", ("id", "day")) == "pk"
    assert found.name_of("unique", ("color",)) == ""


@pytest.mark.parametrize(
    "said",
    [
        {"to": '"lake"."shop"."people"', "to_columns": ["id"]},
        {"expression": '"lake"."shop"."people" ("id")'},
        {"expression": ' references "lake"."shop"."people"(id) '},
    ],
)
def test_a_foreign_key(said):
    found = constraints(node(columns={"person": [{"type": "foreign_key", **said}]}))
    assert found.foreign == (ForeignKey(columns=("person",), relation='"lake"."shop"."people"', to=("id",)),)
    assert found.reads == ('SELECT "id" FROM "lake"."shop"."people"',)


def test_a_foreign_key_of_the_table_itself():
    key = {"type": "foreign_key", "columns": ["a", "b"], "to": '"lake"."shop"."orders"', "to_columns": ["x", "y"]}
    found = constraints(node(key))
    assert found.foreign == (ForeignKey(columns=("a", "b"), relation="", to=("x", "y")),)
    assert not found.reads


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"to": "people"},
        {"to": "people", "to_columns": ["a", "b"]},
        {"expression": "people"},
        {"expression": "a(b) c"},
    ],
)
def test_a_foreign_key_that_does_not_say_what_it_means(said):
    with pytest.raises(
        ConfigError, match=r"model\.p\.orders: the foreign key of person .* write `to: ref\('parent'\)`"
    ):
        constraints(node(columns={"person": [{"type": "foreign_key", **said}]}))
