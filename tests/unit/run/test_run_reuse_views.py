"""When a view that says the same is left as it is: its columns must be what they would be now."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from contextlib import closing

import pytest

from dbt.adapters.lakehouse.errors import SqlError
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.values import Build, Built, Name, RunRequest

_numbers = itertools.count(1)

Make = Callable[..., Built]


def name(table: str) -> Name:
    return Name(database="lake", schema="s", name=table)


@pytest.fixture
def make(lake: EmbeddedLake) -> Make:
    """Makes the view v in a run of a lake with such settings of DuckDB, after other statements."""

    def once(sql: str, *first: str, **duckdb_settings: str) -> Built:
        with closing(EmbeddedLake.open(dataclasses.replace(lake.settings, duckdb_settings=duckdb_settings))) as other:
            run = other.open_run(
                RunRequest(id=f"{next(_numbers):06}-run", command="test", branch="main", default_schema="s")
            )
            with closing(run.session()) as session:
                for statement in first:
                    session.execute(statement)
            with closing(run.session()) as session:
                session.build(Build(name=name("t"), sql="SELECT 7 AS x"))
                built = session.create_view(name("v"), sql, node="v")
            run.publish()
            return built

    return once


def test_a_view_that_says_the_same_is_left_as_it_is(make: Make) -> None:
    assert make("SELECT x FROM lake.s.t").reused is None
    assert make("SELECT x FROM lake.s.t").reused is not None
    assert make("SELECT x + 1 AS x FROM lake.s.t").reused is None


def test_types_that_depend_on_settings_are_found_anew(make: Make) -> None:
    assert make("SELECT x / 2 AS y FROM lake.s.t").entry.columns[0].type == "DOUBLE"
    whole = make("SELECT x / 2 AS y FROM lake.s.t", integer_division="true")
    assert whole.reused is None
    assert whole.entry.columns[0].type == "INTEGER"
    assert make("SELECT x / 2 AS y FROM lake.s.t", integer_division="true").reused is not None


def test_a_view_that_may_call_a_macro_of_another_run_is_made_anew(make: Make) -> None:
    sql = "SELECT twice(x) AS y FROM lake.s.t"
    assert make(sql, "CREATE MACRO twice(x) AS x * 2").entry.columns[0].type == "INTEGER"
    assert make(sql, "CREATE MACRO twice(x) AS x::VARCHAR").entry.columns[0].type == "VARCHAR"
    with pytest.raises(SqlError, match="twice"):
        make(sql)
