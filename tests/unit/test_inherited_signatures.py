"""Macros of dbt-adapters and dbt-duckdb call this adapter, and ours stand in the place of some: with the arguments they expect.

Read from the macros' syntax trees, so that another version of either package cannot break anything in silence.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from pathlib import Path

import dbt.include.duckdb
import dbt.include.global_project
import pytest
from dbt.adapters.base.relation import BaseRelation
from dbt.context.providers import BaseDatabaseWrapper, RuntimeDatabaseWrapper
from dbt_common.clients.jinja import get_environment
from jinja2 import nodes

import dbt.include.lakehouse
from dbt.adapters.lakehouse.impl import LakehouseAdapter
from dbt.adapters.lakehouse.relation import LakehouseRelation

ORIGINS = {"dbt": dbt.include.global_project, "duckdb": dbt.include.duckdb, "lakehouse": dbt.include.lakehouse}
PREFIX = "dbt_macro__"

_WITHOUT_PREFIX = {
    # dbt-duckdb's, in the place of dbt's
    "build_snapshot_staging_table": ("dbt", "duckdb"),
    "create_table_as": ("dbt", "duckdb"),
    "run_hooks": ("dbt", "duckdb"),
}
"""Macros that take the place of others without dispatch, and in which packages they stand."""


@functools.cache
def templates(origin: str) -> tuple[nodes.Template, ...]:
    folder = Path(next(iter(ORIGINS[origin].__path__))) / "macros"
    environment = get_environment(None, capture_macros=False)
    return tuple(environment.parse(path.read_text()) for path in sorted(folder.rglob("*.sql")))


def macros(origin: str) -> dict[str, nodes.Macro]:
    """Macros and materializations by their names."""
    found = {}
    for template in templates(origin):
        for macro in template.find_all(nodes.Macro):
            found[macro.name.removeprefix(PREFIX)] = macro
    return found


def calls(origin: str) -> Iterator[tuple[str, nodes.Call]]:
    """Calls of the adapter's methods."""
    for template in templates(origin):
        for call in template.find_all(nodes.Call):
            method = call.node
            if (
                isinstance(method, nodes.Getattr)
                and isinstance(method.node, nodes.Name)
                and method.node.name == "adapter"
            ):
                yield method.attr, call


def dispatched(origin: str) -> Iterator[tuple[str, nodes.Call]]:
    """Calls of what ``adapter.dispatch`` finds, by the name that it looks for."""
    for template in templates(origin):
        for call in template.find_all(nodes.Call):
            inner = call.node
            if not (isinstance(inner, nodes.Call) and isinstance(inner.node, nodes.Getattr)):
                continue
            if inner.node.attr == "dispatch" and inner.args and isinstance(inner.args[0], nodes.Const):
                yield inner.args[0].value, call


def takes(macro: nodes.Macro, call: nodes.Call) -> bool:
    """Whether a macro can be called like this."""
    names = [argument.name for argument in macro.args]
    used = {name.name for name in macro.find_all(nodes.Name)}
    if call.dyn_args is not None or call.dyn_kwargs is not None:
        return True
    given = names[: len(call.args)]
    keywords = [keyword.key for keyword in call.kwargs]
    enough = len(call.args) <= len(names) or "varargs" in used
    known = all(keyword in names or "kwargs" in used for keyword in keywords)
    return enough and known and not set(given) & set(keywords)


def method_of(name: str) -> object | None:
    """What dbt calls for ``adapter.<name>``: a method that is offered, or one of its wrapper."""
    if name in LakehouseAdapter._available_:
        return inspect.getattr_static(LakehouseAdapter, name)
    return getattr(RuntimeDatabaseWrapper, name, None) or getattr(BaseDatabaseWrapper, name, None)


def accepts(method: object, call: nodes.Call) -> bool:
    if isinstance(method, property) or call.dyn_args is not None or call.dyn_kwargs is not None:
        return True
    function = method.__func__ if isinstance(method, classmethod | staticmethod) else method
    assert callable(function)
    own = () if isinstance(method, staticmethod) else (None,)
    try:
        inspect.signature(function).bind(*own, *call.args, **{keyword.key: None for keyword in call.kwargs})
    except TypeError:
        return False
    return True


@pytest.mark.parametrize("origin", ORIGINS)
def test_the_adapters_methods_take_what_macros_give(origin):
    found = [(name, call) for name, call in calls(origin) if (method_of(name)) is not None]
    assert len(found) > 20
    assert [(name, call.lineno) for name, call in found if not accepts(method_of(name), call)] == []


def test_dbts_own_macros_call_nothing_that_is_not_offered():
    assert {name for name, _ in calls("dbt") if method_of(name) is None} == set()


@pytest.mark.parametrize(
    ("prefix", "above"), [("lakehouse", ("dbt", "duckdb", "lakehouse")), ("duckdb", ("dbt", "duckdb"))]
)
def test_what_stands_in_the_place_of_another_macro_is_looked_for_and_takes_the_same(prefix, above):
    """A macro that is renamed above would leave ours behind unused."""
    wanted: dict[str, list[nodes.Call]] = {}
    for origin in above:
        for name, call in dispatched(origin):
            wanted.setdefault(name, []).append(call)
    ours = {
        name.removeprefix(f"{prefix}__"): macro
        for name, macro in macros(prefix).items()
        if name.startswith(f"{prefix}__")
    }
    assert len(ours) > 5
    assert set(ours) - set(wanted) - _named_otherwise(prefix, above) == set()
    assert [name for name, macro in ours.items() for call in wanted.get(name, ()) if not takes(macro, call)] == []


def _named_otherwise(prefix: str, above: tuple[str, ...]) -> set[str]:
    """Names that are not looked for as they are written: those that are put together, and those that are called in full."""
    strategies = {
        name.removeprefix("default__")
        for origin in above
        for name in macros(origin)
        if name.removeprefix("default__").startswith("get_incremental_")
    }
    kinds = {f"{kind}_function_{said}" for kind in ("scalar", "aggregate") for said in ("sql", "python", "javascript")}
    direct = {
        call.node.name.removeprefix(f"{prefix}__")
        for template in templates(prefix)
        for call in template.find_all(nodes.Call)
        if isinstance(call.node, nodes.Name)
    }
    return strategies | kinds | direct


def test_macros_that_hide_others_of_the_same_name():
    named = {origin: {name for name in macros(origin) if not name.startswith("materialization_")} for origin in ORIGINS}
    hidden = {}
    for name in set.union(*named.values()):
        holders = tuple(origin for origin in ORIGINS if name in named[origin])
        if len(holders) > 1:
            hidden[name] = holders
    assert hidden == _WITHOUT_PREFIX


def test_relations_have_what_macros_ask_of_them():
    relations = (
        "this",
        "relation",
        "target_relation",
        "existing_relation",
        "old_relation",
        "from_relation",
        "to_relation",
    )
    fields = set(BaseRelation.__dataclass_fields__) | {"is_table", "is_view"}
    for origin in ORIGINS:
        asked = {
            part.attr
            for template in templates(origin)
            for part in template.find_all(nodes.Getattr)
            if isinstance(part.node, nodes.Name) and part.node.name in relations
        }
        assert {name for name in asked if name not in fields and not hasattr(LakehouseRelation, name)} == set(), origin
