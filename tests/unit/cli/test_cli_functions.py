"""Functions on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable

from dbt.adapters.lakehouse.catalog.model import ANY, FunctionEntry, Put, key_of
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.jobs.function import Argument, Definition, Signature

Lakehouse = Callable[..., tuple[int, str, str]]


def put(catalog: SqlCatalog, body: str) -> str:
    arguments = (Argument(name="price", type="DOUBLE", default="1"),)
    signature = Signature(arguments=arguments, returns="DOUBLE", body=body)
    definition = Definition(language="sql", type="scalar", signatures=(signature,), volatility="deterministic")
    entry = FunctionEntry(schema="s", name="f()", definition=definition, node="function.p.f")
    return catalog.commit("main", [Put(key=key_of(entry), entry=entry, expected=ANY)], author="a", message="m").id


def test_functions_are_listed_shown_and_compared(catalog: SqlCatalog, lakehouse: Lakehouse) -> None:
    before = put(catalog, "price\n* 2")
    put(catalog, "price * 3")
    (shown,) = json.loads(lakehouse("tables", "--json")[1])
    assert (shown["kind"], shown["name"]) == ("function", "f()")
    assert shown["definition"]["signatures"][0]["returns"] == "DOUBLE"
    assert "(price DOUBLE DEFAULT 1) → DOUBLE" in lakehouse("tables")[1]
    for name in ("s.f", "s.f()"):
        said = lakehouse("table", name, "--ref", before)[1]
        assert "s.f() (sql scalar function, deterministic)" in said
        assert "    * 2" in said
    assert "s.f()" in lakehouse("diff", before, "main")[1]
    code, _, err = lakehouse("table", "s.g()")
    assert code == 1
    assert "no table, view or function s.g" in err
