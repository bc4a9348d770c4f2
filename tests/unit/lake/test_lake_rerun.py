"""Runs done again from what their commits keep, without dbt."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dbt.adapters.lakehouse.catalog.model import Key, RefKind, Retention, RunStatus, TableEntry
from dbt.adapters.lakehouse.errors import (
    Collected,
    ConfigError,
    ConflictError,
    NotInLake,
    RefExists,
    RefNotFound,
    TaintedError,
)
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.lake.rerun import Rerun, RerunRequest, Retold, rerun
from dbt.adapters.lakehouse.run.going_back import ResetRequest
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import Batch, Build, Name, PythonSource, RunRequest, Wish
from dbt.adapters.lakehouse.settings import LakeSettings, PublishMode
from dbt.adapters.lakehouse.tables.values import Constraints, TimeRange


def name(table: str, schema: str = "s") -> Name:
    return Name(database="lake", schema=schema, name=table)


def build(table: str, sql: str | None, **more: Any) -> Build:
    return Build(name=name(table), sql=sql, node=f"model.p.{table}", **more)


Work = Callable[[RunSession], object]


class Workshop:
    """A lake, and runs on it one after another."""

    def __init__(self, lake: EmbeddedLake) -> None:
        self.lake = lake
        self._numbers = itertools.count(1)

    def open(self, **more: Any) -> LakeRun:
        keys = {
            "id": f"{next(self._numbers):04}-run",
            "command": "dbt build",
            "branch": "main",
            "author": "ann",
            **more,
        }
        return self.lake.open_run(RunRequest(default_schema="s", **keys))

    def run(self, *work: Build | str | Work, **more: Any) -> str:
        """Do builds, statements and other work in one run, and publish; the run's id."""
        run = self.open(**more)
        nodes: dict[str, Any] = {}
        for one in work:
            with closing(run.session()) as session:
                if isinstance(one, str):
                    session.execute(one)
                elif isinstance(one, Build):
                    built = session.build(one)
                    nodes[str(one.node)] = {"status": "success", "seconds": 0.1}
                    if built.reused is not None:
                        nodes[str(one.node)]["reused"] = dataclasses.asdict(built.reused)
                else:
                    one(session)
        run.publish(nodes)
        return str(run.request.id)

    def again(self, run: str, **more: Any) -> Rerun:
        return rerun(self.lake, RerunRequest(run=run, author="bob", **more))

    def location(self, table: str, ref: str) -> str:
        """Where a table's metadata is at a ref, or after a run."""
        record = self.lake.catalog.run(ref) if ref.endswith("-run") else None
        commit = self.lake.catalog.resolve((record and record.published) or ref)
        entry = self.lake.catalog.lookup(commit.id, [Key("s", table)])[Key("s", table)]
        assert isinstance(entry, TableEntry)
        return entry.metadata_location

    def rows(self, sql: str, ref: str = "main") -> list[tuple[Any, ...]]:
        with closing(self.lake.read(ref, "s")) as session:
            return sorted(session.execute(sql).rows)


def settings(folder: Path, **more: Any) -> LakeSettings:
    where = {"warehouse": f"file://{folder}/lake", "catalog": f"sqlite:///{folder}/lake/catalog.sqlite"}
    return LakeSettings(**where, memory_limit="1GB", **more)


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    (tmp_path / "lake").mkdir()
    lake = EmbeddedLake.open(settings(tmp_path))
    yield Workshop(lake)
    lake.close()


def outcomes(found: Rerun) -> dict[str, str]:
    return {table.name: table.outcome for table in found.tables}


def told(found: Rerun, table: str) -> Retold:
    return next(one for one in found.tables if one.name == table)


def test_a_past_run_is_done_again_on_the_data_that_it_saw(workshop: Workshop) -> None:
    workshop.run("create table s.raw as select range as id from range(5)")
    first = workshop.run(
        build("a", "select id, id * 2 as twice from s.raw"), build("b", "select sum(twice) as n from s.a")
    )
    workshop.run("insert into s.raw values (100)", build("a", "select id, 0 as twice from s.raw"))
    main = workshop.lake.catalog.resolve("main")
    found = workshop.again(first, keep=True)
    assert found.equal
    assert outcomes(found) == {"a": "equal", "b": "equal"}
    assert found.branch == "rerun/0002-run"
    assert workshop.rows("select n from s.b", found.branch) == [(20,)]
    # They were computed, not found: the tables are others of the same content.
    made = {workshop.location(table, found.branch) for table in ("a", "b")}
    assert made.isdisjoint({workshop.location(table, first) for table in ("a", "b")})
    assert workshop.lake.catalog.resolve("main") == main


def test_commits_say_the_same_of_their_code(workshop: Workshop) -> None:
    said = {"raw_code": "select {{ 1 }} as x", "path": "models/a.sql"}
    first = workshop.run(
        build("a", "select 1 as x", provenance=said),
        lambda session: session.create_view(name("v"), "select 2 as y", node="model.p.v", provenance=said),
    )
    found = workshop.again(first, keep=True)
    catalog = workshop.lake.catalog
    for key in (Key("s", "a"), Key("s", "v")):
        commit = catalog.last_change(found.commit, key)
        assert commit is not None
        assert commit.run == found.run
        assert said.items() <= commit.provenance.items()
        assert commit.provenance["rerun_of"] == first
    # It can be done again as well.
    assert outcomes(workshop.again(found.run)) == {"a": "equal", "v": "equal"}


def test_an_interrupted_rerun_leaves_no_branch_of_its_own(workshop: Workshop) -> None:
    first = workshop.run(
        build("a", "select 1 as x"), build("b", "select sum(a.range * b.range) from range(9) a, range(9) b")
    )
    names = {ref.name for ref in workshop.lake.catalog.refs()}
    heard: list[str] = []

    def interrupt(what: str) -> None:
        heard.append(what)
        if what.startswith("2 of 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rerun(workshop.lake, RerunRequest(run=first, author="bob", branch="look"), tell=interrupt)
    assert heard == ["1 of 2: model.p.a", "2 of 2: model.p.b"]
    left = {ref.name for ref in workshop.lake.catalog.refs()} - names
    assert [name.startswith("run/") for name in left] == [True]
    assert workshop.lake.runs()[0].status is RunStatus.ABANDONED


def test_the_branch_goes_where_all_is_equal_and_nobody_wants_it(workshop: Workshop) -> None:
    first = workshop.run(build("a", "select 1 as x"))
    names = {ref.name for ref in workshop.lake.catalog.refs()}
    found = workshop.again(first)
    assert (found.equal, found.branch) == (True, None)
    assert {ref.name for ref in workshop.lake.catalog.refs()} == names
    assert workshop.again(first, branch="look").branch == "look"
    with pytest.raises(RefExists):
        workshop.again(first, branch="look")


def test_chance_is_named_with_the_columns_it_changed(workshop: Workshop) -> None:
    first = workshop.run(
        build("a", "select range as id, random() as luck from range(3)"),
        build("b", "select max(luck) as most, count(*) as n from s.a"),
        build("c", "select 1 as x"),
    )
    found = workshop.again(first)
    assert outcomes(found) == {"a": "differs", "b": "differs", "c": "equal"}
    a, b = told(found, "a"), told(found, "b")
    assert (a.values, a.rows_before, a.rows_after) == (("luck",), 3, 3)
    assert a.why == ("it calls random, which is volatile",)
    assert (b.values, b.why) == (("most",), ("it reads s.a, which came out otherwise",))
    assert found.branch is not None
    assert workshop.rows("select count(*) from s.a", found.branch) == [(3,)]


def test_reused_nodes_are_computed_too(workshop: Workshop) -> None:
    workshop.run(build("a", "select 1 as x"), build("b", "select x + 1 as y from s.a"))
    wish = build("b", "select x + 1 as y from s.a")
    other = dataclasses.replace(wish, name=name("c"), node="model.p.c")

    def recall(session: RunSession) -> None:
        assert session.recall([Wish(id="c", build=other)])[0] is not None

    # One stands there already, one is put in place by a look beforehand, one by its own build.
    second = workshop.run(wish, recall, dataclasses.replace(other, name=name("d"), node="model.p.d"))
    commits = workshop.lake.catalog.log(workshop.lake.catalog.resolve("main").parents[1])
    assert {"Reuse s.c", "Reuse s.d"} <= {commit.message for commit in commits}
    found = workshop.again(second, keep=True)
    assert outcomes(found) == {"b": "equal", "c": "equal", "d": "equal"}
    assert found.branch is not None
    assert len({workshop.location(table, found.branch) for table in "abcd"}) == 4


def test_statements_views_macros_and_renames_are_repeated(workshop: Workshop) -> None:
    workshop.run("create table s.raw as select range as id from range(5)")
    second = workshop.run(
        "create macro plus(x) as x + 10",
        "create table s.log (id bigint, what varchar)",
        lambda session: session.create_view(name("v"), "select plus(id) as id from s.raw", setup=(), node="model.p.v"),
        build("a", "select plus(id) as id from s.v"),
        "insert into log select id, 'x' from s.a",
        "update s.log set what = 'y' where id > 22",
        "delete from s.raw where id = 0",
        "alter table s.log add column more integer",
        "create table s.gone as select 1 as x",
        "drop table s.gone",
        "alter table s.log rename to journal",
        "comment on table s.journal is 'what happened'",
    )
    before = workshop.rows("select * from s.journal")
    found = workshop.again(second, keep=True)
    assert found.branch is not None
    assert {table.name: table.why for table in found.tables if table.outcome != "equal"} == {}
    assert workshop.rows("select * from s.journal", found.branch) == before
    assert workshop.rows("select count(*) from s.raw", found.branch) == [(4,)]


def test_other_refs_are_read_as_they_were(workshop: Workshop) -> None:
    workshop.run(build("a", "select 1 as x"))
    workshop.lake.catalog.create_ref("dev", RefKind.BRANCH, "main")
    second = workshop.run(
        build("b", 'select x from "lake@main"."s"."a"'),
        "create table s.c as select x, 'lake@main' as t from \"lake@main\".s.a",
        branch="dev",
    )
    workshop.run(build("a", "select 2 as x"))
    found = workshop.again(second, keep=True)
    assert outcomes(found) == {"b": "equal", "c": "equal"}
    assert found.branch is not None
    assert workshop.rows("select x, t from s.c", found.branch) == [(1, "lake@main")]


def test_incremental_writes_start_from_what_was_there(workshop: Workshop) -> None:
    workshop.run(build("t", "select range as id, 'old' as v from range(4)"))
    merge = build(
        "t",
        "select 3 as id, 'new' as v union all select 9, 'new'",
        mode="merge",
        source="t__new",
        statements=(
            "delete from lake.s.t where id in (select id from t__new)",
            "insert into lake.s.t select * from t__new",
        ),
        matching="t.id in (select id from t__new)",
    )
    second = workshop.run(merge, build("t", "select 10 as id, 'app' as v", mode="append"))
    before = workshop.rows("from s.t")
    workshop.run(build("t", "select 0 as id, 'other' as v"))
    found = workshop.again(second, keep=True)
    assert outcomes(found) == {"t": "equal"}
    assert found.branch is not None
    assert workshop.rows("from s.t", found.branch) == before


def test_batches_are_built_again_one_by_one(workshop: Workshop) -> None:
    days = [f"2024-01-0{day}" for day in range(1, 6)]
    workshop.run(build("t", "select timestamp '2023-12-31' as day, 0 as n"))

    def batch(number: int) -> Build:
        time = TimeRange(column="day", start=days[number - 1], end=days[number])
        return build(
            "t",
            f"select timestamp '{days[number - 1]}' as day, {number} as n",
            mode="merge",
            source="t__batch",
            statements=("insert into lake.s.t select * from t__batch",),
            matching="false",
            batch=Batch(range=time, number=number, of=4),
        )

    second = workshop.run(*(batch(number) for number in range(1, 5)))
    commits = workshop.lake.catalog.log(workshop.lake.catalog.resolve("main").parents[1])
    assert commits[0].provenance["batches"] == 4
    before = workshop.rows("from s.t")
    assert len(before) == 5
    found = workshop.again(second, keep=True)
    assert outcomes(found) == {"t": "equal"}
    assert found.branch is not None
    assert workshop.rows("from s.t", found.branch) == before


def test_data_is_taken_as_it_was(workshop: Workshop, tmp_path: Path) -> None:
    file = tmp_path / "seed.csv"
    file.write_text("id,v\n1,a\n2,b\n")
    seed = build("seed", f"select * from read_csv('{file}')", local=True)
    first = workshop.run(seed, build("b", "select count(*) as n from s.seed"))
    file.unlink()
    workshop.run(build("seed", "select 1 as id"))
    found = workshop.again(first, keep=True)
    assert outcomes(found) == {"seed": "taken", "b": "equal"}
    assert found.equal
    assert "data" in told(found, "seed").why[0]
    assert found.branch is not None
    assert workshop.rows("from s.seed", found.branch) == [(1, "a"), (2, "b")]


def test_python_models_run_from_their_stored_source(workshop: Workshop, tmp_path: Path) -> None:
    code = (
        "def model(dbt, session):\n"
        "    return session.sql('select 42 as x')\n"
        "class dbtObj:\n"
        "    def __init__(self, load): pass\n"
    )
    source = PythonSource(code=code, path=str(tmp_path / "gone.py"))
    first = workshop.run(build("p", None, python=source))
    assert outcomes(workshop.again(first)) == {"p": "equal"}


def test_constraints_and_layout_are_as_they_were(workshop: Workshop) -> None:
    first = workshop.run(
        build(
            "t",
            "select range as id, range % 2 as part from range(6)",
            partition_by=("part",),
            sort_by=("id desc",),
            properties={"write.parquet.compression-codec": "zstd"},
            comment="six",
            constraints=Constraints(not_null=("id",), unique=(("id",),)),
        )
    )
    found = workshop.again(first, keep=True)
    assert found.equal
    assert found.branch is not None
    catalog = workshop.lake.catalog
    key = Key("s", "t")
    then, now = (catalog.lookup(catalog.resolve(ref).id, [key])[key] for ref in ("main", found.branch))
    assert isinstance(then, TableEntry)
    assert isinstance(now, TableEntry)
    assert (now.layout, now.comment, now.columns) == (then.layout, "six", then.columns)
    assert now.metadata_location != then.metadata_location


def test_a_failed_run_is_done_again_as_far_as_it_came(workshop: Workshop) -> None:
    run = workshop.open()
    with closing(run.session()) as session:
        session.build(build("a", "select 1 as x"))
    run.fail("a test failed", {"model.p.a": {"status": "success"}})
    found = workshop.again(run.request.id)
    assert outcomes(found) == {"a": "equal"}
    assert any("as far as it came" in note for note in found.notes)


def test_a_failed_run_done_again_is_as_tainted_as_it_was(workshop: Workshop) -> None:
    run = workshop.open()
    with closing(run.session()) as session:
        session.build(build("a", "select 1 as x"))
    run.fail("a test failed", {"model.p.a": {"status": "success"}})
    found = workshop.again(run.request.id, keep=True)
    catalog = workshop.lake.catalog
    assert found.branch == f"rerun/{run.request.id[:8]}"
    assert catalog.resolve(found.branch).id == found.commit
    with pytest.raises(TaintedError, match=found.run[:8]):
        catalog.merge(found.branch, "main", author="ada", message="merge")
    assert [ref.name for ref in catalog.refs() if ref.name == f"run/{found.run}"] == []


def test_what_cannot_be_done_again_is_told_and_takes_its_readers_along(workshop: Workshop, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("id\n1\n")
    first = workshop.run(
        build("a", f"select * from read_csv('{file}')", external_access=True),
        build("b", "select * from s.a"),
        build("c", "select 1 as x"),
    )
    file.unlink()
    main = workshop.lake.catalog.resolve("main")
    found = workshop.again(first)
    assert outcomes(found) == {"a": "failed", "b": "skipped", "c": "equal"}
    assert "x.csv" in told(found, "a").why[0]
    assert told(found, "b").why == ("it counts on s.a",)
    assert found.branch is not None
    assert found.branch.startswith("run/")
    assert workshop.lake.catalog.resolve("main") == main


def test_another_engine_is_named(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    from dbt.adapters.lakehouse.run import facts

    there = dict(facts._here())
    monkeypatch.setattr(facts, "_here", lambda: {**there, "duckdb": "1.0.0"})
    run = workshop.run(build("a", "select random() as x", reuse="never"))
    monkeypatch.setattr(facts, "_here", lambda: there)
    assert told(workshop.again(run), "a").why == (f"DuckDB was 1.0.0 and is {there['duckdb']}",)


def test_runs_that_cannot_be_done_again(workshop: Workshop) -> None:
    with pytest.raises(RefNotFound, match="no run 'nowhere'"):
        workshop.again("nowhere")
    run = workshop.open()
    with closing(run.session()) as session:
        session.build(build("a", "select 1 as x"))
        with pytest.raises(ConflictError, match="still at work"):
            workshop.again(run.request.id)
    run.fail("no")
    assert run.branch is not None
    workshop.lake.catalog.delete_ref(run.branch, expected=workshop.lake.catalog.resolve(run.branch).id)
    with pytest.raises(RefNotFound, match="is gone"):
        workshop.again(run.request.id)
    empty = workshop.open()
    empty.begin()
    empty.publish()
    with pytest.raises((NotInLake, RefNotFound)):
        workshop.again(empty.request.id)
    assert not [ref for ref in workshop.lake.catalog.refs() if ref.name.startswith("rerun/")]


def test_data_that_was_collected_is_named(workshop: Workshop) -> None:
    workshop.run("create table s.raw as select 1 as x")
    first = workshop.run(build("a", "select x from s.raw"))
    workshop.run("create or replace table s.raw as select 2 as x", build("a", "select x from s.raw"))
    none = timedelta(0)
    retention = Retention(history=none, failed_runs=none, results=none, grace=none)
    workshop.lake.catalog.collect(retention, dry_run=False)
    refs = workshop.lake.catalog.refs()
    with pytest.raises(Collected, match=r"run 0002-run .* garbage"):
        workshop.again(first)
    assert workshop.lake.catalog.refs() == refs


def test_settings_of_a_session_are_not_repeated_which_is_said(workshop: Workshop) -> None:
    def hook(session: RunSession) -> None:
        session.execute("set timezone = 'Asia/Tokyo'")
        session.execute("create temp table mine as select 7 as n")
        session.execute("create table s.kept as select n from mine")
        session.execute("create table s.free as select 1 as n")

    found = workshop.again(workshop.run(hook))
    assert outcomes(found) == {"kept": "failed", "free": "equal"}
    assert "mine" in told(found, "kept").why[0]
    assert any("settings and temporary tables" in note for note in found.notes)


def test_what_computed_nothing_cannot_be_done_again(workshop: Workshop) -> None:
    workshop.run("create table s.t as select 1 as x")
    before = workshop.lake.catalog.resolve("main")
    workshop.run("create or replace table s.t as select 2 as x")
    workshop.lake.catalog.protect("main", True)
    workshop.lake.versions.reset(ResetRequest(branch="main", to=before.id, author="ann"))
    run = workshop.lake.runs()[0]
    assert run.command == "lakehouse reset"
    with pytest.raises(NotInLake, match=r"was `lakehouse reset`, which puts back what others computed"):
        workshop.again(run.id)


def test_what_a_commit_does_not_tell_is_taken_and_said(workshop: Workshop) -> None:
    workshop.run("create table s.old as select 1 as x", "create table s.gone as select 1 as x")
    entry = workshop.lake.catalog.lookup(workshop.lake.catalog.resolve("main").id, [Key("s", "old")])[Key("s", "old")]
    assert isinstance(entry, TableEntry)

    def as_before(run: LakeRun, name: str = "new") -> None:
        moved = dataclasses.replace(entry, name=name)
        run.commit([(Key("s", name), moved), (Key("s", "gone"), None)], "Build s.new", {"node": "n"}, seen={})

    run = workshop.open()
    run.begin()
    as_before(run)
    run.publish()
    with pytest.raises(NotInLake, match="earlier versions"):
        workshop.again(run.request.id)
    workshop.run("create table s.gone as select 1 as x")

    run = workshop.open()
    run.begin()
    as_before(run, "newer")
    with closing(run.session()) as session:
        session.build(build("b", "select x from s.newer"))
    run.publish()
    found = workshop.again(run.request.id, keep=True)
    assert outcomes(found) == {"newer": "taken", "gone": "taken", "b": "equal"}
    assert "does not say how" in told(found, "newer").why[0]
    assert found.branch is not None
    assert workshop.rows("from s.newer", found.branch) == [(1,)]
    assert Key("s", "gone") not in workshop.lake.catalog.entries(found.commit)


def test_sql_that_calls_the_lake_otherwise_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    lake = EmbeddedLake.open(settings(tmp_path, database="house"))
    try:
        workshop = Workshop(lake)
        target = Name(database="house", schema="s", name="a")
        run = workshop.run(dataclasses.replace(build("a", "select 1 as x"), name=target))
        with pytest.raises(ConfigError, match=r"'house'.*--profile"):
            workshop.again(run)
        assert rerun(lake, RerunRequest(run=run, author="bob"), database="house").equal
    finally:
        lake.close()


def test_a_live_run_leaves_no_record_to_do_again(workshop: Workshop) -> None:
    run = workshop.run(build("a", "select 1 as x"), publish=PublishMode.EACH_NODE)
    with pytest.raises(RefNotFound, match="no run"):
        workshop.again(run)
