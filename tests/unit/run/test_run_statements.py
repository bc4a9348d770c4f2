"""What a statement does and what it reads, from its text alone."""

from __future__ import annotations

import threading

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbt.adapters.lakehouse.run.statements import Kind, Reference, Statement, parse, parser, reads, requalify

identifiers = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=10)
references = st.builds(lambda parts: Reference.of(tuple(parts)), st.lists(identifiers, min_size=1, max_size=3))


def written(reference: Reference) -> str:
    parts = [part for part in (reference.database, reference.schema, reference.name) if part]
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


@settings(deadline=None)
@given(
    references,
    st.sampled_from(
        [
            ("INSERT INTO {} VALUES (1)", Kind.INSERT),
            ("insert or ignore into {} select 1", Kind.INSERT),
            ("/* why */ INSERT INTO {} (a, b) SELECT 1, 2", Kind.INSERT),
            ("COPY {} FROM 'a.csv'", Kind.INSERT),
            ("COPY {} (a, b) FROM 'a.csv' (header)", Kind.INSERT),
            ("WITH c AS (SELECT 1) INSERT INTO {} SELECT * FROM c", Kind.INSERT),
            ("UPDATE {} SET a = 1", Kind.UPDATE),
            ("UPDATE {} AS x SET a = 1 WHERE b", Kind.UPDATE),
            ("DELETE FROM {}", Kind.DELETE),
            ("DELETE FROM {} x USING other WHERE a = b", Kind.DELETE),
            ("MERGE INTO {} t USING s ON t.a = s.a WHEN MATCHED THEN DELETE", Kind.MERGE),
            ("TRUNCATE {}", Kind.TRUNCATE),
            ("TRUNCATE TABLE {}", Kind.TRUNCATE),
            ("CREATE TABLE {} AS SELECT 1", Kind.CREATE_TABLE),
            ("CREATE OR REPLACE TABLE {} (a int)", Kind.CREATE_TABLE),
            ("CREATE TABLE IF NOT EXISTS {} (a int)", Kind.CREATE_TABLE),
            ("CREATE OR REPLACE VIEW {} AS SELECT 1", Kind.CREATE_VIEW),
            ("DROP TABLE {}", Kind.DROP_TABLE),
            ("DROP VIEW IF EXISTS {} CASCADE", Kind.DROP_VIEW),
            ("ALTER TABLE {} ADD COLUMN a int", Kind.ALTER),
            ("ALTER VIEW IF EXISTS {} RENAME TO b", Kind.ALTER),
            ("COMMENT ON TABLE {} IS 'x'", Kind.COMMENT),
        ]
    ),
)
def test_the_target_of_a_statement(reference: Reference, form: tuple[str, Kind]) -> None:
    statement = parse(form[0].format(written(reference)))
    assert (statement.kind, statement.target) == (form[1], reference)


@settings(deadline=None)
@given(
    st.text(alphabet="abc \"';-/*\n().,=$é", max_size=40),
    st.sampled_from(
        [
            "",
            "INSERT INTO ",
            "WITH a AS (",
            "CREATE TABLE ",
            "ALTER TABLE a ",
            "COMMENT ON ",
            "MERGE INTO a ",
            "UPDATE a SET ",
        ]
    ),
)
def test_strange_sql_is_left_to_duckdb(text: str, head: str) -> None:
    parse(head + text)
    reads(head + text)
    requalify(head + text, lambda _: ("x", "y", "z"))


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("select 1", Kind.SELECT),
        ("(select 1)", Kind.SELECT),
        ("from x", Kind.SELECT),
        ("with a as (select 1) select * from a", Kind.SELECT),
        ("with insert_ as (select 1) select * from insert_", Kind.SELECT),
        ("values (1)", Kind.SELECT),
        ("describe x", Kind.SELECT),
        ("summarize x", Kind.SELECT),
        ("show tables", Kind.SELECT),
        ("pivot x on y using sum(z)", Kind.SELECT),
        ("explain select 1", Kind.SELECT),
        ("BEGIN", Kind.TRANSACTION),
        ("begin transaction", Kind.TRANSACTION),
        ("COMMIT;", Kind.TRANSACTION),
        ("rollback", Kind.ROLLBACK),
        ("abort", Kind.ROLLBACK),
        ("EXPORT DATABASE 'x' (format parquet)", Kind.DATABASE),
        ("import database 'x'", Kind.DATABASE),
        ("set threads = 2", Kind.OTHER),
        ("attach 'x.db'", Kind.OTHER),
        ("copy (select 1) to 'x.csv'", Kind.OTHER),
        ("copy x to 'x.csv'", Kind.OTHER),
        ("create macro f() as 1", Kind.DEFINE),
        ("create or replace function f(a) as table from a", Kind.DEFINE),
        ("create temp macro f() as 1", Kind.OTHER),
        ("", Kind.OTHER),
        ("create", Kind.OTHER),
        ("insert", Kind.OTHER),
    ],
)
def test_kinds(sql: str, kind: Kind) -> None:
    assert parse(sql).kind is kind


@pytest.mark.parametrize(
    ("sql", "where"),
    [
        ("DELETE FROM t", None),
        ("DELETE FROM t WHERE a = 1", "a = 1"),
        ("delete from t where a in (select b from u where c) returning *", "a in (select b from u where c)"),
        ("UPDATE t SET a = 1 WHERE \"wh ere\" = 'where' -- end", "\"wh ere\" = 'where' -- end"),
        ("UPDATE t SET a = (SELECT 1 WHERE x) WHERE b", "b"),
        ("UPDATE t SET a = u.a FROM u WHERE t.b = u.b", None),
        ("DELETE FROM t USING u WHERE t.b = u.b", None),
        ("WITH c AS (SELECT 1) DELETE FROM t WHERE a IN (FROM c)", None),
    ],
)
def test_conditions_are_cut_out_to_the_letter(sql: str, where: str | None) -> None:
    assert parse(sql).where == where


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("CREATE TEMP TABLE t AS SELECT 1", {"temporary": True, "body": "SELECT 1"}),
        ("CREATE OR REPLACE TEMPORARY VIEW t AS SELECT 1", {"temporary": True, "or_replace": True}),
        ("CREATE TABLE t (a int, b decimal(3, 2))", {"columns": "a int, b decimal(3, 2)", "body": None}),
        ("CREATE VIEW v (a, b) AS SELECT 1, 2", {"columns": "a, b", "body": "SELECT 1, 2"}),
        ("CREATE TABLE t CLONE s.u", {"clone_of": Reference(schema="s", name="u")}),
        ("DROP SCHEMA s CASCADE", {"cascade": True, "if_exists": False}),
        (
            "COMMENT ON COLUMN s.t.c IS NULL",
            {"columns": "c", "body": "NULL", "target": Reference(schema="s", name="t")},
        ),
        ("UPDATE s.t AS x SET a = 1", {"alias": "x"}),
        ("DELETE FROM t x WHERE a", {"alias": "x"}),
        ("MERGE INTO t AS d USING s ON true WHEN MATCHED THEN DELETE", {"alias": "d"}),
    ],
)
def test_parts(sql: str, expected: dict[str, object]) -> None:
    statement: Statement = parse(sql)
    assert {key: getattr(statement, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT * FROM lake.s.t JOIN u USING (a)", {("lake", "s", "t"), ("", "", "u")}),
        ('SELECT * FROM "lake@main".s.t', {("lake@main", "s", "t")}),
        ("DESCRIBE s.t", {("", "s", "t")}),
        ("SUMMARIZE s.t", {("", "s", "t")}),
        ("SELECT (SELECT max(a) FROM x) FROM y WHERE b IN (FROM z)", {("", "", n) for n in "xyz"}),
    ],
)
def test_a_select_reads_what_duckdb_says(sql: str, names: set[tuple[str, str, str]]) -> None:
    found = reads(sql)
    assert found.exact
    assert {(r.database, r.schema, r.name) for r in found.relations} == names


@pytest.mark.parametrize(
    "sql", ["PIVOT lake.s.t ON a USING sum(b)", "EXPLAIN SELECT * FROM lake.s.t", "COPY (FROM lake.s.t) TO 'x'"]
)
def test_other_statements_read_at_least_what_they_name(sql: str) -> None:
    assert Reference(database="lake", schema="s", name="t") in reads(sql).relations


@pytest.mark.parametrize(
    ("sql", "catalog"),
    [
        ("select * from information_schema.tables", True),
        ("select * from lake.information_schema.columns", True),
        ("select * from duckdb_tables()", True),
        ("select * from pg_catalog.pg_tables", True),
        ("show tables", True),
        ("show all tables", True),
        ("select * from a", False),
        ("describe a", False),
        ("select 'information_schema'", False),
    ],
)
def test_questions_to_the_catalog_are_seen(sql: str, catalog: bool) -> None:
    assert reads(sql).catalog is catalog


@pytest.mark.parametrize(
    ("sql", "there"),
    [
        ("select a from s.t", 'select a from "x"."s"."t" AS "t"'),
        ("select s.t.a, t.b from s.t", 'select s.t.a, t.b from "x"."s"."t" AS "t"'),
        ("select lake.s.t.a from lake.s.t", 'select "x"."s"."t".a from "x"."s"."t"'),
        ("with c as (select * from lake.s.t) select * from c", 'with c as (select * from "x"."s"."t") select * from c'),
        ('select "é" from /* lake.s.t */ lake.s."t u" as q', 'select "é" from /* lake.s.t */ "x"."s"."t u" as q'),
    ],
)
def test_requalified_text_keeps_everything_else(sql: str, there: str) -> None:
    assert requalify(sql, lambda r: ("x", r.schema, r.name)) == there


def test_a_thread_that_ends_leaves_its_duckdb_to_the_next() -> None:
    """One that ended with it, while Python ends too, would abort the process."""
    seen: list[duckdb.DuckDBPyConnection] = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: seen.append(parser()))
        thread.start()
        thread.join()
    assert seen[0] is seen[1]
    assert seen[0] is not parser()
    assert seen[0].execute("SELECT 1").fetchall() == [(1,)]
