"""Columns within columns: their paths from a type, and a contract's types from their names."""

import pytest

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.nested_columns import contract_columns, paths


def columns(**types):
    return {
        name.replace("__", "."): {"name": name.replace("__", "."), "data_type": kind} for name, kind in types.items()
    }


def test_paths_of_a_type():
    kind = 'STRUCT(city VARCHAR, "a,b" STRUCT(lat DOUBLE, d DECIMAL(18,3))[], "x""y z" MAP(VARCHAR, INTEGER))[3]'
    assert list(paths("a", kind)) == [
        ("a.city", "VARCHAR"),
        ("a.a,b", "STRUCT(lat DOUBLE, d DECIMAL(18,3))[]"),
        ("a.a,b.lat", "DOUBLE"),
        ("a.a,b.d", "DECIMAL(18,3)"),
        ('a.x"y z', "MAP(VARCHAR, INTEGER)"),
    ]
    assert list(paths("a", "VARCHAR")) == list(paths("a", "DECIMAL(18,3)[]")) == []


def test_fields_are_put_into_the_type_of_their_column():
    found = contract_columns(columns(id="int", a="struct", a__city="varchar", a__geo="struct[]", a__geo__lat="double"))
    assert {name: one["data_type"] for name, one in found.items()} == {
        "id": "int",
        "a": 'struct("city" varchar, "geo" struct("lat" double)[])',
    }
    whole = columns(b="struct(x int)", b__x="int")
    assert contract_columns(whole)["b"]["data_type"] == "struct(x int)"
    quoted = {"a.b": {"name": "a.b", "quote": True, "data_type": "int"}}
    assert contract_columns(quoted) == quoted


def test_a_field_without_its_column():
    with pytest.raises(ConfigError, match=r"column 'a\.city' and no column 'a' that it is in"):
        contract_columns(columns(id="int", a__city="varchar"))
