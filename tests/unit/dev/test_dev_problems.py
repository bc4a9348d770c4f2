"""What dbt says, made short; the texts are dbt's and DuckDB's own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from dbt.adapters.lakehouse.dev.problems import problem_of

MODEL = """\
{{ config(materialized='table') }}

select
    id,
    nonsense,
    {{ twice('amount') }} as amount
from {{ ref('orders') }}
"""
COMPILED = """\


select
    id,
    nonsense,
    amount
     * 2 as amount
from "lake"."shop"."orders"
"""
BINDER = """\
Database Error in model totals (models/totals.sql)
  Binder Error: Referenced column "nonsense" not found in FROM clause!
  Candidate bindings: "id", "amount"

  LINE {number}: {text}
              ^
  compiled code at target/run/shop/models/totals.sql"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "totals.sql").write_text(MODEL)
    (tmp_path / "models" / "schema.yml").write_text("models: [")
    (tmp_path / "dbt_project.yml").write_text("name: shop")
    return tmp_path


def node(raw: str = MODEL.strip(), compiled: str = COMPILED) -> SimpleNamespace:
    return SimpleNamespace(original_file_path="models/totals.sql", raw_code=raw, compiled_code=compiled)


def test_sql_is_found_in_the_file_that_it_comes_from(root: Path) -> None:
    said = BINDER.format(number=5, text="    nonsense,")
    problem = problem_of(said, root, node())
    assert (problem.path, problem.line) == ("models/totals.sql", 5)
    assert problem.message.startswith('Binder Error: Referenced column "nonsense" not found')
    assert "compiled code at" not in problem.message


@pytest.mark.parametrize(
    ("number", "text", "line"),
    [
        (9, "    nonsense,", 5),  # the statement began with lines of the adapter's
        (6, "    amount", None),  # two lines come from one
        (3, "no such line", None),
    ],
)
def test_lines_of_rendered_sql(root: Path, number: int, text: str, line: int | None) -> None:
    assert problem_of(BINDER.format(number=number, text=text), root, node()).line == line


def test_a_line_that_is_rendered_between_two_that_are_not(root: Path) -> None:
    said = BINDER.format(number=6, text="    amount * 2 as amount")
    compiled = COMPILED.replace("amount\n     * 2", "amount * 2").replace(
        '"lake"."shop"."orders"', "{{ ref('orders') }}"
    )
    assert problem_of(said, root, node(compiled=compiled)).line == 6


def test_what_was_found_before_anything_ran(root: Path) -> None:
    said = (
        "Pre-flight found 1 problem in 1 of 1 nodes; no node was run\n\nmodel totals (models/totals.sql:5)\n"
        '  Binder Error: Referenced column "nonsense" not found in FROM clause!\n  5 | nonsense,'
    )
    problem = problem_of(said, root)
    assert (problem.path, problem.line) == ("models/totals.sql", 5)


def test_long_lines_that_duckdb_cuts(root: Path) -> None:
    long = "select " + ", ".join(f"column_{number}" for number in range(60)) + ", nonsense from t"
    (root / "models" / "totals.sql").write_text(f"-- a comment\n{long}\n")
    said = BINDER.format(number=2, text="...n_57, column_58, column_59, nonsense from t")
    assert problem_of(said, root, node(f"-- a comment\n{long}", f"-- a comment\n{long}")).line == 2


def test_jinja_that_cannot_be_read(root: Path) -> None:
    said = "Compilation Error in model totals (models/totals.sql)\n  unexpected '}'\n    line 6\n      {{ twice(} }}"
    problem = problem_of(RuntimeError(said), root)
    assert (problem.path, problem.line) == ("models/totals.sql", 6)
    assert problem.message == "unexpected '}'\n  line 6\n    {{ twice(} }}"


def test_macros_that_do_not_exist(root: Path) -> None:
    said = (
        "Compilation Error in model totals (models/totals.sql)\n"
        "  'twice' is undefined. This can happen when calling a macro that does not exist.\n"
        "\n"
        "  > in macro wrapper (macros/wrapper.sql)\n"
        "  > called by model totals (models/totals.sql)"
    )
    problem = problem_of(said, root, node())
    assert problem.message == "'twice' is undefined. This can happen when calling a macro that does not exist."
    assert problem.path == "models/totals.sql"


def test_yaml_that_cannot_be_read(root: Path) -> None:
    said = (
        "Parsing Error\n  Error reading shop: models/schema.yml - Runtime Error\n    Syntax error near line 1\n    ---"
    )
    problem = problem_of(said, root)
    assert (problem.path, problem.line) == ("models/schema.yml", 1)


def test_python_has_the_last_line_in_the_model(root: Path) -> None:
    said = (
        "Database Error in model score (models/score.py)\n"
        "  Python model failed: ValueError: no\n"
        f'    File "{root}/models/score.py", line 4, in model\n'
        f'    File "{root}/models/score.py", line 9, in inner\n'
        '    File "/usr/lib/python3/json/__init__.py", line 300, in loads'
    )
    assert problem_of(said, root).line == 9


def test_what_has_no_place_has_none(root: Path) -> None:
    assert problem_of(None, root).message == "dbt ended without a word"
    problem = problem_of("Runtime Error\n  Could not find profile named 'shop'", root)
    assert (problem.path, problem.line) == (None, None)
    assert problem_of("Got 1 result, configured to fail if != 0", root, node()).path == "models/totals.sql"
