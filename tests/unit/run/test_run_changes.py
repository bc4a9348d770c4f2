"""Statements on tables of the lake do what they do on DuckDB's own tables."""

from __future__ import annotations

import duckdb
import pytest

from dbt.adapters.lakehouse.catalog.model import TableEntry
from dbt.adapters.lakehouse.errors import LakehouseError, NotInLake, SqlError
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import Build, Name

SETUP = (
    "CREATE SCHEMA s",
    "CREATE TABLE s.t AS SELECT i AS id, i % 3 AS k, 'r' || i AS name FROM range(10) AS r(i)",
    "CREATE TABLE s.u AS SELECT i AS id, i * 10 AS v FROM range(3, 7) AS r(i)",
    "CREATE VIEW s.big AS SELECT * FROM s.t WHERE id > (SELECT avg(id) FROM s.t)",
)


def both(session: RunSession, *statements: str) -> tuple[list[object], list[object]]:
    """The rows of s.t after the statements: in the lake, and in a plain DuckDB. Their counts must agree on the way."""
    plain = duckdb.connect()
    plain.execute("ATTACH ':memory:' AS lake; CREATE SCHEMA IF NOT EXISTS lake.s; USE lake.s")
    for statement in SETUP[1:]:
        session.execute(statement)
        plain.execute(statement)
    for statement in statements:
        result = session.execute(statement)
        rows = plain.execute(statement).fetchall()
        if plain.description and plain.description[0][0] == "Count":
            assert result.rows_affected == (rows[0][0] if rows else 0), statement
        elif result.rows:
            assert sorted(result.rows) == sorted(rows)
    query = "SELECT * FROM s.t ORDER BY ALL"
    return list(session.execute(query).rows), plain.execute(query).fetchall()


@pytest.mark.parametrize(
    "statements",
    [
        ["INSERT INTO s.t VALUES (100, 1, 'new')"],
        ["INSERT INTO s.t (name, id) SELECT 'x' || v, id FROM s.u"],
        ["INSERT INTO s.t BY NAME SELECT 'x' AS name, 5 AS id"],
        ["INSERT INTO t SELECT * FROM t"],
        ["INSERT INTO s.t SELECT id + 100, k, name FROM s.big"],
        ["WITH c AS (SELECT max(id) AS m FROM s.t) INSERT INTO s.t SELECT m + 1, 0, 'c' FROM c"],
        ["INSERT INTO s.t VALUES (1, 1, 'a'), (2, 2, 'b') RETURNING id, name"],
        ["UPDATE s.t SET name = 'even' WHERE id % 2 = 0"],
        ["UPDATE s.t SET k = k + 1"],
        ["UPDATE s.t SET name = name WHERE id < 5"],
        ["UPDATE lake.s.t AS x SET name = u.v FROM s.u AS u WHERE x.id = u.id"],
        ["UPDATE s.t SET name = (SELECT max(name) FROM s.t) WHERE k = 1"],
        ["UPDATE s.t SET k = 9 WHERE s.t.id = 1"],
        ["UPDATE t SET k = NULL WHERE t.id IN (SELECT id FROM s.u)", "UPDATE s.t SET k = -1 WHERE k IS NULL"],
        ["DELETE FROM s.t WHERE id > (SELECT avg(id) FROM s.t)"],
        ["DELETE FROM s.t WHERE id > (SELECT avg(id) FROM s.big)"],
        ["DELETE FROM s.t AS x USING s.u WHERE x.id = u.id"],
        ["DELETE FROM s.t WHERE k"],
        ["DELETE FROM s.t WHERE id IN (SELECT id FROM s.u) RETURNING *"],
        ["DELETE FROM s.t"],
        ["DELETE FROM s.t WHERE false"],
        ["TRUNCATE s.t", "INSERT INTO s.t VALUES (1, 2, '3')"],
        [
            """MERGE INTO s.t AS t USING s.u AS u ON t.id = u.id WHEN MATCHED AND u.id > 4 THEN DELETE
               WHEN MATCHED THEN UPDATE SET k = u.v WHEN NOT MATCHED THEN INSERT VALUES (u.id, u.v, 'm')"""
        ],
        ["MERGE INTO s.t USING s.u ON t.id = u.id + 5 WHEN NOT MATCHED BY SOURCE THEN DELETE"],
        ["ALTER TABLE s.t ADD COLUMN extra INTEGER DEFAULT 7", "UPDATE s.t SET extra = 8 WHERE id = 1"],
        ["ALTER TABLE s.t ADD COLUMN extra DATE", "INSERT INTO s.t VALUES (1, 1, 'a', DATE '2020-01-01')"],
        ["ALTER TABLE s.t DROP COLUMN k", "INSERT INTO s.t VALUES (11, 'a')"],
        ["ALTER TABLE s.t RENAME COLUMN k TO \"a key\"", 'UPDATE s.t SET "a key" = 5 WHERE id = 2'],
        ["ALTER TABLE s.t ALTER COLUMN k TYPE VARCHAR", "INSERT INTO s.t VALUES (11, 'k', 'a')"],
        ["ALTER TABLE s.t ALTER k SET DATA TYPE DOUBLE USING k / 2"],
        ["ALTER TABLE s.t ADD COLUMN IF NOT EXISTS k INTEGER", "ALTER TABLE s.t DROP COLUMN IF EXISTS nope"],
        ["ALTER TABLE s.t ADD COLUMN IF NOT EXISTS e INTEGER", "ALTER TABLE s.t DROP COLUMN IF EXISTS K"],
        ["CREATE OR REPLACE TABLE s.t AS SELECT 1 AS one"],
        ["DROP TABLE s.t", "CREATE TABLE s.t (a INTEGER NOT NULL, b VARCHAR)", "INSERT INTO s.t VALUES (1, 'x')"],
        ["CREATE TEMP TABLE tt AS SELECT * FROM s.t WHERE id < 3", "INSERT INTO tt SELECT * FROM tt",
         "DELETE FROM s.t", "INSERT INTO s.t SELECT * FROM tt"],
        ["CREATE TEMP TABLE t AS SELECT 5 AS id", "INSERT INTO t VALUES (6)", "DELETE FROM s.t WHERE id IN (FROM t)",
         "DROP TABLE t", "DELETE FROM t WHERE id = 7"],
        ["BEGIN", "DELETE FROM s.t WHERE id = 1", "COMMIT"],
    ],
)  # fmt: skip
def test_as_in_duckdb(session: RunSession, statements: list[str]) -> None:
    ours, plain = both(session, *statements)
    assert ours == plain


def test_rows_are_picked_once_even_by_chance(session: RunSession) -> None:
    session.execute("CREATE TABLE s.t AS SELECT i AS id FROM range(10000) AS r(i)")
    session.execute("DELETE FROM s.t WHERE random() < 0.5")
    ((left,),) = session.execute("SELECT count(*) FROM s.t").rows
    assert 4500 < left < 5500


@pytest.mark.parametrize(
    ("statement", "error", "words"),
    [
        ("INSERT INTO s.missing VALUES (1)", NotInLake, '"lake"."s"."missing" does not exist on this branch'),
        ("INSERT INTO missing VALUES (1)", NotInLake, "missing"),
        ("DROP TABLE s.missing", NotInLake, "missing"),
        ("DROP VIEW s.t", SqlError, "is a table, not a view"),
        ("DROP TABLE s.big", SqlError, "is a view, not a table"),
        ("DROP SCHEMA s", SqlError, "holds 3 relations"),
        ("CREATE TABLE s.t AS SELECT 1 AS a", SqlError, "exists already"),
        ("CREATE SCHEMA s", SqlError, "exists already"),
        ("DELETE FROM s.big", SqlError, "is a view"),
        ("ALTER TABLE s.t RENAME TO u", SqlError, "exists already"),
        ("ALTER TABLE s.t ADD PRIMARY KEY (id)", SqlError, "not supported on lake tables"),
        ('DELETE FROM "lake@main".s.t', LakehouseError, "is read-only"),
        ('CREATE TABLE "lake@main".s.x AS SELECT 1 AS a', LakehouseError, "is read-only"),
        ('DROP TABLE "lake@main".s.t', LakehouseError, "is read-only"),
        ('DROP SCHEMA "lake@main".s CASCADE', LakehouseError, "is read-only"),
        ('CREATE SCHEMA "lake@main".x', LakehouseError, "is read-only"),
        ("COMMENT ON TABLE \"lake@main\".s.t IS 'x'", LakehouseError, "is read-only"),
        ("DROP TABLE s.t, s.u", SqlError, "one object at a time"),
        ("CREATE TABLE s.x (a INT CHECK (a > 1))", SqlError, "CHECK"),
        ("CREATE TABLE s.x (a INT DEFAULT 5, b INT)", SqlError, "a DEFAULT 5: lake tables have neither"),
        ("ROLLBACK", SqlError, "the run is the transaction"),
        ("INSERT INTO s.t VALUES (1)", SqlError, "3 columns"),
        ("UPDATE s.t SET nope = 1", SqlError, "nope"),
        ("DELETE FROM s.t WHERE id = 'abc", SqlError, "unterminated"),
        ("INSERT INTO s.t SELECT 1, 2, 'x' FROM nowhere", SqlError, "nowhere"),
        ("COMMENT ON COLUMN s.t.nope IS 'x'", NotInLake, "nope"),
        ("COPY s.t FROM '/nowhere.csv'", SqlError, "/nowhere.csv"),
    ],
)
def test_what_is_refused_changes_nothing(
    lake: EmbeddedLake, session: RunSession, statement: str, error: type[Exception], words: str
) -> None:
    for one in SETUP:
        session.execute(one)
    before = lake.catalog.resolve("main").id
    with pytest.raises(error, match=f"(?s){words}"):
        session.execute(statement)
    assert lake.catalog.resolve("main").id == before
    assert len(session.execute("SELECT * FROM s.t").rows) == 10  # the session works on
    session.execute("DELETE FROM s.t WHERE id = 1")


@pytest.mark.parametrize("alteration", ["ALTER COLUMN id TYPE VARCHAR", "ADD COLUMN c INTEGER DEFAULT 5"])
def test_an_alteration_that_writes_rows_anew_keeps_partitions_and_descriptions(
    session: RunSession, alteration: str
) -> None:
    name = Name(database="lake", schema="s", name="p")
    sql = "SELECT i AS id, i % 2 AS part FROM range(6) AS r(i)"
    comments = {"id": "the key"}
    session.build(Build(name=name, sql=sql, partition_by=("part",), comment="the table", column_comments=comments))
    session.execute("ALTER TABLE s.p ALTER COLUMN id SET NOT NULL")
    session.execute(f"ALTER TABLE s.p {alteration}")
    entry = session.lookup(name)
    assert isinstance(entry, TableEntry)
    assert (entry.comment, entry.columns[0].comment, entry.columns[0].required) == ("the table", "the key", True)
    session.build(Build(name=name, mode="overwrite", sql="SELECT * REPLACE ('9' AS id) FROM s.p WHERE id = '1'"))
    assert session.execute("SELECT id::VARCHAR FROM s.p ORDER BY 1").rows == [("0",), ("2",), ("4",), ("9",)]
