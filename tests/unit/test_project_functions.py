"""From dbt's nodes to functions of the lake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dbt.adapters.lakehouse.catalog.model import FunctionEntry, ViewEntry
from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.project_functions import function, listed
from dbt.adapters.lakehouse.run.values import Name

NAME = Name(database="lake", schema="s", name="f")


def node(**more: Any) -> dict[str, Any]:
    config = {"type": "scalar", "volatility": None, **more.pop("config", {})}
    return {
        "unique_id": "function.p.f",
        "language": "sql",
        "original_file_path": "functions/f.sql",
        "description": "says what",
        "compiled_code": "SELECT x + 1;\n",
        "arguments": [{"name": "x", "data_type": "int", "default_value": None}],
        "returns": {"data_type": "int"},
        "config": config,
        **more,
    }


def test_a_node_in_sql() -> None:
    arguments = [
        {"name": "a", "data_type": "int", "default_value": 1},
        {"name": "b", "data_type": "varchar", "default_value": "'x'"},
        {"name": "c", "data_type": "boolean", "default_value": True},
    ]
    config = {
        "volatility": "stable",
        "persist_docs": {"relation": True},
        "entry_point": "no",
        "runtime_version": "3.11",
    }
    made = function(node(arguments=arguments, config=config), NAME, None, {"path": "x"})
    (signature,) = made.definition.signatures
    assert str(signature) == "(a int DEFAULT 1, b varchar DEFAULT 'x', c boolean DEFAULT true) → int"
    assert signature.body == "SELECT x + 1"
    assert (made.comment, made.node, made.definition.volatility) == ("says what", "function.p.f", "stable")
    assert (made.definition.entry_point, made.definition.python_version, made.definition.path) == (None, None, "")


def test_a_node_in_python_keeps_the_lines_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("\n\ndef f(x): return x\n")
    config = {"entry_point": "f", "runtime_version": "3.12", "packages": ["numpy"]}
    said = {"language": "python", "root_path": str(tmp_path), "original_file_path": "f.py", "config": config}
    made = function(node(**said), NAME, None, {}).definition
    assert (made.line, made.path, made.python_version, made.packages) == (2, "f.py", "3.12", ("numpy",))


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"language": "javascript"}, "a scalar function in javascript"),
        ({"config": {"type": "table"}}, "a table function in sql"),
        (
            {"language": "python", "arguments": [], "config": {"type": "aggregate"}},
            "an aggregate in Python needs an argument",
        ),
        ({"language": "python", "config": {"runtime_version": "3"}}, "python_version"),
        ({"language": "python", "config": {"packages": "numpy"}}, "packages"),
    ],
)
def test_what_no_function_can_be_made_of(more: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        function(node(**more), NAME, None, {})


def test_overloads_are_one_function_whichever_of_them_dbt_is_at() -> None:
    text = {"arguments": [{"name": "x", "data_type": "varchar"}], "compiled_body": "x || '1'", "returns": None}
    first = function(node(overloads=[text]), NAME, None, {})
    assert [signature.arguments[0].type for signature in first.definition.signatures] == ["int", "varchar"]
    standing = FunctionEntry(schema="s", name="f()", definition=first.definition)
    second = node(overloads=[text], arguments=text["arguments"], compiled_code="x || '1'")
    assert function(second, NAME, standing, {}).definition == first.definition


def test_a_relation_goes_before_a_function_of_its_name() -> None:
    definition = function(node(), NAME, None, {}).definition
    view = ViewEntry(schema="s", name="F", sql="SELECT 1 AS x", columns=())
    functions = [FunctionEntry(schema="s", name=f"{name}()", definition=definition) for name in ("f", "g")]
    assert listed([view, *functions]) == [view, functions[1]]
