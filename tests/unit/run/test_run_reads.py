"""What a statement reads without naming it, what it was computed from, and what may not be misunderstood."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dbt.adapters.lakehouse.errors import HeadMoved, InvalidRef, SqlError
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import Build, Name
from dbt.adapters.lakehouse.settings import PublishMode

OpenRun = Callable[..., LakeRun]


@pytest.fixture
def table(session: RunSession) -> RunSession:
    session.execute("create table t as select range as id, range as v from range(4)")
    return session


def rows(session: RunSession, sql: str = "select * from t order by all") -> list[tuple[object, ...]]:
    return list(session.execute(sql).rows)


def test_a_macro_that_reads_the_target_sees_all_of_it(table: RunSession) -> None:
    table.execute("create macro newest() as (select max(id) from lake.s.t)")
    table.execute("update t set v = newest() where id = 2")
    table.execute("create macro twice() as table select id + 10 as id, v from lake.s.t")
    table.execute("insert into t select * from twice()")
    assert rows(table, "select v from t where id = 2") == [(3,)]
    assert rows(table, "select count(*) from t") == [(8,)]


def test_query_table_and_query_see_the_target(table: RunSession) -> None:
    table.execute("insert into t select id + 10, v from query_table('lake.s.t')")
    table.execute("insert into t select id + 100, v from query('from lake.s.t')")
    assert rows(table, "select count(*) from t") == [(16,)]


@pytest.mark.parametrize("text", ["use lake.other", "set schema = 'other'", "SET SESSION search_path = 'other'"])
def test_another_default_schema_is_refused(table: RunSession, text: str) -> None:
    table.execute("create schema other; create table other.t as select 1 as id")
    with pytest.raises(SqlError, match="name relations in full"):
        table.execute(f"{text}; delete from t")
    assert rows(table, "select count(*) from t") == [(4,)]


@pytest.mark.parametrize("text", ["export database 'FOLDER'", "import database 'FOLDER'"])
def test_a_database_that_would_lack_the_lake_is_refused(table: RunSession, tmp_path: Path, text: str) -> None:
    with pytest.raises(SqlError, match="COPY a table TO a file"):
        table.execute(text.replace("FOLDER", str(tmp_path / "all")))
    assert not (tmp_path / "all").exists()


def test_rollback_is_refused_before_anything_ran(table: RunSession) -> None:
    with pytest.raises(SqlError, match="ROLLBACK"):
        table.execute("begin; delete from t; rollback")
    assert rows(table, "select count(*) from t") == [(4,)]


def test_a_view_cannot_read_itself(table: RunSession) -> None:
    table.execute("create view a as select * from t; create view b as select * from a")
    for sql in ("create or replace view a as select * from a", "create or replace view a as select * from b"):
        with pytest.raises(SqlError, match="would read itself"):
            table.execute(sql)
    assert rows(table, "select count(*) from b") == [(4,)]


def test_a_column_may_be_called_count(session: RunSession) -> None:
    assert rows(session, 'select count(*) as "Count" from range(5)') == [(5,)]
    session.execute("create temp table x (a int)")
    assert session.execute("insert into x values (1), (2)").rows_affected == 2


def test_an_error_far_down_shows_although_rows_are_not_wanted(session: RunSession) -> None:
    sql = "select case when i = 2999999 then error('found it') end from range(3000000) r(i)"
    with pytest.raises(SqlError, match="found it"):
        session.execute(sql, fetch=False)


def test_refs_that_differ_in_case_alone_are_not_mixed_up(lake: EmbeddedLake, table: RunSession) -> None:
    from dbt.adapters.lakehouse.catalog.model import RefKind

    lake.catalog.create_ref("dev", RefKind.BRANCH, "main")
    lake.catalog.create_ref("Dev", RefKind.BRANCH, "main~1")
    reader = lake.read("main", "s")
    with pytest.raises(InvalidRef, match="differ only in case"):
        reader.execute('select (select count(*) from "lake@dev".s.t), (select count(*) from "lake@Dev".s.t)')
    reader.close()


def test_a_header_with_a_macro_runs_once_in_a_session(session: RunSession) -> None:
    setup = ("create temp macro plus(a) as a + 1",)
    sql = "select plus(1) as two"
    assert [column.name for column in session.describe(sql, setup)] == ["two"]
    session.build(Build(name=Name(database="lake", schema="s", name="h"), sql=sql, setup=setup))
    assert rows(session, "select * from h") == [(2,)]


def test_changes_on_two_threads_of_a_run_all_count(open_run: OpenRun) -> None:
    run = open_run()
    first = run.session()
    first.execute("create table audit (n int)")

    def work(statement: str, times: int) -> None:
        session = run.session()
        for number in range(times):
            session.execute(statement.format(number))
        session.close()

    inserts = threading.Thread(target=work, args=("insert into audit (n) values ({})", 8))
    alters = threading.Thread(target=work, args=("alter table audit add column c{} int", 5))
    inserts.start(), alters.start()
    inserts.join(), alters.join()
    assert rows(first, "select count(*) from audit") == [(8,)]
    assert len(first.describe("select * from audit")) == 6
    first.close()


def test_a_write_computed_from_what_has_moved_is_refused(open_run: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = open_run(publish=PublishMode.EACH_NODE), open_run(publish=PublishMode.EACH_NODE)
    session, other = one.session(), two.session()
    session.execute("create table t as select 1 as id")
    submit = session.submit

    def meanwhile(*arguments: object, **more: object) -> object:
        answer = submit(*arguments, **more)  # type: ignore[arg-type]
        other.execute("insert into t values (100)")
        one.own()  # another thread of the first process looks at the branch
        return answer

    monkeypatch.setattr(session, "submit", meanwhile)
    with pytest.raises(HeadMoved):
        session.build(Build(name=Name(database="lake", schema="s", name="t"), mode="append", sql="select 2 as id"))
    assert rows(other) == [(1,), (100,)]
    session.close(), other.close()
