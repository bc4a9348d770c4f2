"""Random changes of a lake table and of a table of plain DuckDB must agree, row by row and count by count."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import RunRequest
from dbt.adapters.lakehouse.settings import LakeSettings, PublishMode

_NUMBERS = itertools.count()

texts = st.sampled_from(["NULL", "''", "'a'", "'it''s'", "'é🦆'", "'x;--y'"])
numbers = st.one_of(st.just("NULL"), st.integers(-3, 12).map(str))
rows = st.tuples(numbers, numbers, texts).map(lambda row: f"({', '.join(row)})")
simple = st.one_of(
    numbers.map(lambda n: f"id = {n}"),
    numbers.map(lambda n: f"k < {n}"),
    texts.map(lambda t: f"name = {t}"),
    st.sampled_from(
        [
            "k IS NULL",
            "name LIKE '%a%'",
            "id % 2 = 0",
            "true",
            "false",
            "id IN (SELECT id FROM {u})",
            "k > (SELECT avg(k) FROM {t})",
            "id = (SELECT max(id) FROM {v})",
            "EXISTS (SELECT 1 FROM {u} AS o WHERE o.id = {t}.k)",
        ]
    ),
)
conditions = st.recursive(
    simple,
    lambda inner: st.one_of(inner.map("NOT ({})".format), st.tuples(inner, inner).map(" OR ".join)),
    max_leaves=3,
)
expressions = st.sampled_from(["k = k + 1", "k = NULL", "name = name || '!'", "id = id, name = 'b'", "k = id, id = k"])
changes = st.one_of(
    st.lists(rows, min_size=1, max_size=4).map(lambda some: f"INSERT INTO {{t}} VALUES {', '.join(some)}"),
    st.lists(rows, min_size=1, max_size=2).map(
        lambda some: f"INSERT INTO {{t}} (k, id, name) VALUES {', '.join(some)}"
    ),
    conditions.map(lambda where: f"INSERT INTO {{t}} SELECT id + 1, k, name FROM {{t}} WHERE {where}"),
    st.tuples(expressions, conditions).map(lambda pair: f"UPDATE {{t}} SET {pair[0]} WHERE {pair[1]}"),
    expressions.map(lambda change: f"UPDATE {{t}} SET {change}"),
    conditions.map(lambda where: f"DELETE FROM {{t}} WHERE {where}"),
    st.just("UPDATE {t} AS a SET k = u.v FROM {u} AS u WHERE a.id = u.id"),
    st.just("DELETE FROM {t} AS a USING {u} AS u WHERE a.id = u.id AND u.v > 20"),
    st.just("INSERT INTO {t} SELECT id, k, name FROM {v}"),
    st.just(
        "MERGE INTO {t} AS a USING {u} AS u ON a.id = u.id WHEN MATCHED AND a.k IS NULL THEN DELETE "
        "WHEN MATCHED THEN UPDATE SET k = u.v WHEN NOT MATCHED THEN INSERT VALUES (u.id, u.v, 'new')"
    ),
    st.just("TRUNCATE {t}"),
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunSession]:
    folder = tmp_path_factory.mktemp("lake")
    lake = EmbeddedLake.open(
        LakeSettings(warehouse=f"file://{folder}", catalog=f"sqlite:///{folder}/c.sqlite", memory_limit="500MB")
    )
    request = RunRequest(id="one-run", command="x", branch="main", publish=PublishMode.EACH_NODE, default_schema="s")
    session = lake.open_run(request).session()
    session.execute("CREATE SCHEMA s")
    yield session
    session.close()
    lake.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(rows, max_size=6), st.lists(changes, min_size=1, max_size=5))
def test_the_lake_and_duckdb_agree(live: RunSession, first: list[str], steps: list[str]) -> None:
    number = next(_NUMBERS)
    names = {"t": f"s.t{number}", "u": f"s.u{number}", "v": f"s.v{number}"}
    plain = duckdb.connect()
    plain.execute("CREATE SCHEMA s")
    for template in (
        "CREATE TABLE {t} (id INTEGER, k INTEGER, name VARCHAR)",
        "CREATE TABLE {u} AS SELECT i AS id, i * 10 AS v FROM range(1, 6) AS r(i)",
        "CREATE VIEW {v} AS SELECT * FROM {t} WHERE k IS NOT NULL",
        *([f"INSERT INTO {{t}} VALUES {', '.join(first)}"] if first else []),
        *steps,
    ):
        statement = template.format(**names)
        count = live.execute(statement).rows_affected
        answer = plain.execute(statement).fetchall()
        if template in steps and answer:
            assert count == answer[0][0], statement
        query = f"SELECT * FROM {names['t']} ORDER BY ALL"
        assert live.execute(query).rows == plain.execute(query).fetchall(), statement
    plain.close()
