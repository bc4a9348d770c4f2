"""From lines of compiled SQL to lines of the user's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbt.adapters.lakehouse.preflight.findings import Finding, Report
from dbt.adapters.lakehouse.preflight.lines import line_in_file, raw_line, text_at, yaml_line

RAW = """{{ config(materialized='table') }}

with x as (
  select * from {{ ref('a') }}
)
{% for n in names %}
select '{{ n }}' as n,
  id
from x
{% endfor %}
where id = 1"""
COMPILED = """

with x as (
  select * from "lake"."s"."a"
)

select 'one' as n,
  id
from x

select 'two' as n,
  id
from x

where id = 1"""


@pytest.mark.parametrize(
    ("compiled", "raw"),
    [(3, 3), (4, 4), (5, 5), (15, 11), (0, None), (99, None)],
)
def test_equal_lines_and_those_between_them(compiled: int, raw: int | None) -> None:
    assert raw_line(COMPILED, RAW, compiled) == raw


def test_lines_of_a_loop_are_those_of_one_turn_or_none() -> None:
    for line in (7, 8, 9, 11, 12, 13):
        assert raw_line(COMPILED, RAW, line) in (7, 8, 9, None)
    assert {raw_line(COMPILED, RAW, line) for line in (8, 12)} & {8}


def test_nothing_is_made_up() -> None:
    assert raw_line("select 1\nfrom x", "{{ everything() }}", 2) is None
    assert raw_line("", "select 1", 1) is None


def test_lines_before_the_code_count(tmp_path: Path) -> None:
    file = tmp_path / "m.sql"
    file.write_text("\n\n" + RAW + "\n")
    assert line_in_file(file, RAW, 3) == 5
    assert text_at(file, 5) == "with x as ("
    assert text_at(file, 99) == text_at(tmp_path / "gone.sql", 1) == ""
    assert line_in_file(file, "something else", 1) is None
    assert line_in_file(tmp_path / "gone.sql", RAW, 1) is None


def test_items_of_yaml(tmp_path: Path) -> None:
    file = tmp_path / "s.yml"
    file.write_text(
        "version: 2\nmodels:\n  - name: a\n  - name: b\n    columns:\n      - name: id\n        data_tests:\n"
        "          - unique\n          - accepted_values:\n              values: [1]\n    tests: [dbt_utils.at_least_one]\n"
        "unit_tests:\n  - name: u\n    model: b\n"
    )
    tests, column = ("data_tests", "tests"), (("columns",), "id")
    model = (("models", "seeds"), "b")
    assert yaml_line(file, model) == 4
    assert yaml_line(file, model, column, (tests, "unique")) == 8
    assert yaml_line(file, model, column, (tests, "accepted_values")) == 9
    assert yaml_line(file, model, (tests, "dbt_utils.at_least_one")) == 11
    assert yaml_line(file, (("unit_tests",), "u")) == 13
    # As far as the way leads.
    assert yaml_line(file, model, (("columns",), "gone"), (tests, "unique")) == 4
    assert yaml_line(file, (("models",), "gone")) is None
    file.write_text("models: [")
    assert yaml_line(file, model) is None


def test_reports_say_what_where_and_how_many() -> None:
    one = Finding(
        node="model.p.a", kind="model", name="a", message="Wrong\n\t+(A) -> A", file="models/a.sql", line=3, text="x"
    )
    many = Finding(
        node="model.p.b",
        kind="model",
        name="b",
        file="models/b.sql",
        compiled_line=7,
        message="\n".join(["None fits", *(f"\t+({n}) -> {n}" for n in range(9)), "Bye"]),
    )
    report = Report(findings=(one, many), nodes=9, unchecked=(("model.p.c", "why"), ("model.p.d", "why")))
    assert report.problems() == "2 problems in 2 of 9 nodes"
    assert report.skipped() == "2 of 9 nodes could not be checked ahead: why"
    text = "\n".join(report.lines())
    assert "model a (models/a.sql:3)\n  Wrong\n      +(A) -> A\n  3 | x\n" in text
    assert "model b (models/b.sql, compiled line 7)" in text
    assert "… and 4 more\n  Bye" in text
