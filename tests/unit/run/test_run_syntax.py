"""DuckDB's syntax trees, as whichever DuckDB is installed makes them, and as 2.0 does."""

from __future__ import annotations

import json

import pytest

from dbt.adapters.lakehouse.run.normal import normal
from dbt.adapters.lakehouse.run.statements import Reference, reads, requalify
from dbt.adapters.lakehouse.run.syntax import in_one_form

OF_2_0 = """
{"error": false, "statements": [{"node": {"type": "SELECT_NODE", "select_list": [
  {"class": "FUNCTION", "type": "FUNCTION", "alias": "", "query_location": 7, "query_location_length": 10,
   "function_name": "f", "schema": "", "catalog": "", "qualified_name": {"path": ["f"]},
   "arguments": [
     {"name": "", "expression": {"class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", "query_location": 9,
                                 "query_location_length": 1, "literal": {"kind": "INTEGER", "text": "1"}}},
     {"name": "y", "expression": {"class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", "query_location": 12,
                                  "query_location_length": 3, "literal": {"kind": "STRING", "text": "x"}}}]}],
 "from_table": {"type": "BASE_TABLE", "catalog_name": "lake", "schema_name": "s", "table_name": "t", "query_location": 22,
                "query_location_length": 8, "qualified_name": {"path": ["lake", "s", "t"]}}}}]}
"""


def test_a_tree_of_2_0_in_the_form_of_1_5():
    node = in_one_form(OF_2_0)["statements"][0]["node"]
    called, relation = node["select_list"][0], node["from_table"]
    assert [child["value"]["value"] for child in called["children"]] == [None, "x"]
    assert [child["alias"] for child in called["children"]] == ["", "y"]
    assert relation == {
        "type": "BASE_TABLE",
        "catalog_name": "lake",
        "schema_name": "s",
        "table_name": "t",
        "query_location": 22,
    }
    assert "arguments" not in called
    assert "query_location_length" not in json.dumps(node)


def label(reference: Reference) -> str | None:
    return reference.name if reference.schema in ("dev", "prod") else None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("select a, f(b) from lake.dev.t", "SELECT  a,\n f( b ) FROM lake.prod.t -- more"),
        (
            "select lake.dev.t.a from lake.dev.t where a::int = 1",
            "select lake.prod.t.a from lake.prod.t where a :: int=1",
        ),
        ("select sum(a) over (partition by b) from dev.t", "select sum( a ) over ( partition by b ) from prod.t"),
        ("with c as (from dev.t) from c join dev.u using (id)", "with c as (from prod.t) from c join prod.u using(id)"),
    ],
)
def test_neither_layout_nor_schemas_count(one, other):
    assert normal(one, label).exact
    assert normal(one, label).text == normal(other, label).text


@pytest.mark.parametrize(
    "other",
    [
        "select g(1, y := 'x') from dev.t",
        "select f(2, y := 'x') from dev.t",
        "select f(1, y := 'z') from dev.t",
        "select f(1, y := 'x') from dev.u",
        "select f(1, 'x') from dev.t",
        "select f(1, y := 'x') as z from dev.t",
    ],
)
def test_all_else_counts(other):
    assert normal("select f(1, y := 'x') from dev.t", label).text != normal(other, label).text


def test_what_is_called_and_read():
    found = normal("select random(), sum(a) from read_csv('x.csv', header = true), range(3), dev.t", label)
    assert found.calls == {"random", "sum"}
    assert found.table_calls == {"read_csv", "range"}
    assert found.reads == [("read_csv", ("x.csv",)), ("range", ())]
    listed = normal("from read_parquet(['a', 'b'], union_by_name = true)", label)
    assert listed.reads == [("read_parquet", ("a", "b"))]
    assert normal("from read_csv(1)", label).reads == [("read_csv", ())]
    described = reads("select * from pragma_table_info('x')").relations
    assert described == {Reference(database="", schema="", name="x")}
    assert reads("select * from lake.s.t, u").relations == {
        Reference(database="lake", schema="s", name="t"),
        Reference(database="", schema="", name="u"),
    }


def test_names_are_written_in_full():
    named = requalify("select t.a, lake.s.u.b from t join lake.s.u using (id)", lambda one: ("l", "z", one.name))
    assert named == 'select t.a, "l"."z"."u".b from "l"."z"."t" AS "t" join "l"."z"."u" using (id)'
