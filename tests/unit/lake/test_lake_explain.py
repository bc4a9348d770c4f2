"""Why nodes ran, told of real runs without dbt."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dbt.adapters.lakehouse.cli.explain import advice, summary
from dbt.adapters.lakehouse.errors import InvalidRef, NotInLake
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.lake.explain import Explanation, explain
from dbt.adapters.lakehouse.run.values import Batch, Build, FileSource, Name, PythonSource, RunRequest, Wish
from dbt.adapters.lakehouse.settings import LakeSettings, PublishMode
from dbt.adapters.lakehouse.tables.values import TimeRange


def build(table: str, sql: str | None, schema: str = "s", **more: Any) -> Build:
    return Build(name=Name(database="lake", schema=schema, name=table), sql=sql, node=f"model.p.{table}", **more)


class Workshop:
    """A lake, and runs on it one after another."""

    def __init__(self, lake: EmbeddedLake) -> None:
        self.lake = lake
        self._numbers = itertools.count(1)

    def open(self, **more: Any) -> Any:
        keys = {
            "id": f"{next(self._numbers):04}-run",
            "command": "dbt build",
            "branch": "main",
            "author": "ann",
            **more,
        }
        return self.lake.open_run(RunRequest(default_schema="s", **keys))

    def run(self, *builds: Build, status: str = "success", **more: Any) -> str:
        """Run builds and publish; the run's id."""
        run = self.open(**more)
        nodes: dict[str, Any] = {}
        with closing(run.session()) as session:
            for one in builds:
                built = session.build(one)
                nodes[str(one.node)] = {"status": status, "seconds": 0.1}
                if built.reused is not None:
                    nodes[str(one.node)]["reused"] = dataclasses.asdict(built.reused)
        run.publish(nodes)
        return str(run.request.id)

    def say(self, *statements: str) -> None:
        """Change main from outside of dbt."""
        with closing(self.open(publish=PublishMode.EACH_NODE).session()) as session:
            for statement in statements:
                session.execute(statement)

    def why(self, node: str, branch: str = "main", run: str | None = None) -> Explanation:
        catalog = self.lake.catalog
        return explain(catalog, node, state=catalog.resolve(branch).id, branch=branch, run=run)


def settings(folder: Path, **more: Any) -> LakeSettings:
    where = {"warehouse": f"file://{folder}/lake", "catalog": f"sqlite:///{folder}/lake/catalog.sqlite"}
    return LakeSettings(**where, memory_limit="1GB", **more)


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    (tmp_path / "lake").mkdir()
    lake = EmbeddedLake.open(settings(tmp_path))
    yield Workshop(lake)
    lake.close()


def parts(found: Explanation) -> list[tuple[str, str | None, str | None]]:
    return [(one.part, one.before, one.after) for one in found.differences]


def test_configuration_modes_and_the_engine(workshop: Workshop, tmp_path: Path) -> None:
    workshop.run(build("a", "SELECT 1 AS x"))
    assert workshop.why("a").reason == "first"
    workshop.run(build("a", "SELECT 1 AS x", partition_by=("x",), comment="ones"))
    found = workshop.why("a")
    assert parts(found) == [("comment", None, "ones"), ("partition_by", None, '["x"]')]
    assert summary(found.differences) == "its configuration changed (comment) (and 1 more difference)"
    workshop.run(build("a", "SELECT 2 AS x", mode="append", partition_by=("x",), comment="ones"))
    assert summary(workshop.why("a").differences).startswith("it added to what is there, instead of making it anew")
    workshop.run(build("a", "SELECT 2 AS x", mode="append", partition_by=("x",), comment="ones"))
    assert summary(workshop.why("a").differences) == "the table that it starts from changed"

    workshop.lake.close()
    other = Workshop(EmbeddedLake.open(settings(tmp_path, duckdb_settings={"null_order": "nulls_first"})))
    try:
        other.run(build("b", "SELECT 1 AS x"), id="other")
        other.run(build("a", "SELECT 3 AS x", comment="ones", partition_by=("x",)), id="another")
        assert ("engine: settings.null_order", None, "nulls_first") in parts(other.why("a"))
    finally:
        other.lake.close()


def test_files_of_seeds_and_modules_of_python_models(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").touch()
    (tmp_path / "models").mkdir()
    helper = tmp_path / "helper.py"

    def python() -> Build:
        code = (
            "import helper\n\ndef model(dbt, session):\n    return session.sql('SELECT 1 AS x')\n"
            "class dbtObj:\n    def __init__(self, load): pass\n"
        )
        return build("p", None, python=PythonSource(code=code, path=str(tmp_path / "models" / "p.py")))

    def seed(digest: str) -> Build:
        return build("raw", f"SELECT '{digest}' AS x", file=FileSource(digest=digest, how="as csv"))

    helper.write_text("X = 1\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        workshop.run(python(), seed("1"))
        helper.write_text("X = 2\n")
        workshop.run(python(), seed("2"))
    found = workshop.why("p")
    assert [(one.part, one.kind) for one in found.differences] == [("module helper", "environment")]
    assert parts(workshop.why("raw")) == [("file", "1", "2")]


def test_what_changed_beneath_a_view_that_was_not_made_anew(workshop: Workshop) -> None:
    workshop.say("CREATE TABLE s.raw AS SELECT 1 AS x", "CREATE VIEW s.v AS SELECT x + 1 AS y FROM s.raw")
    workshop.run(build("a", "SELECT y FROM lake.s.v"))
    workshop.say("INSERT INTO s.raw SELECT 2")
    workshop.run(build("a", "SELECT y FROM lake.s.v"))
    (view,) = workshop.why("a").differences
    assert view.because is not None
    assert (view.because.relation, view.because.kind) == ("s.v", "view")
    workshop.say("CREATE OR REPLACE VIEW s.v AS SELECT x + 2 AS y FROM s.raw")
    workshop.run(build("a", "SELECT y FROM lake.s.v"))
    assert summary(workshop.why("a").differences) == "s.v was changed from outside of dbt"


def test_a_diamond_is_told_of_once(workshop: Workshop) -> None:
    def all_of(root: str) -> list[Build]:
        return [
            build("root", root),
            build("left", "SELECT x + 1 AS x FROM lake.s.root"),
            build("right", "SELECT x + 2 AS x FROM lake.s.root"),
            build("end", "SELECT * FROM lake.s.left UNION ALL SELECT * FROM lake.s.right"),
        ]

    workshop.run(*all_of("SELECT 1 AS x"))
    workshop.run(*all_of("SELECT 2 AS x"))
    left, right = workshop.why("end").differences
    assert left.because is not None
    assert right.because is not None
    assert left.because.differences[0].because is not None
    assert left.because.differences[0].because.differences[0].diff[-2:] == ("-SELECT 1 AS x", "+SELECT 2 AS x")
    assert right.because.differences[0].because is not None
    assert right.because.differences[0].because.told


def test_what_was_put_in_place_without_being_compiled_has_the_code_of_its_result(workshop: Workshop) -> None:
    workshop.run(build("a", "SELECT 1 AS x\n\nFROM range(1)"))
    run = workshop.open(branch="dev", author="bob")
    with closing(run.session()) as session:
        (put,) = session.recall([Wish(id="model.p.b", build=build("a", "SELECT 1 AS x\n\nFROM range(1)", schema="t"))])
    assert put is not None
    run.publish({"model.p.a": {"status": "success", "reused": dataclasses.asdict(put.reused)}})
    found = workshop.why("t.a", "dev")
    assert (found.reason, found.reused and found.reused.author, found.reused and found.reused.branch) == (
        "reused",
        "ann",
        "main",
    )
    workshop.run(build("a", "SELECT 2 AS x\n\nFROM range(1)", schema="t"), branch="dev")
    (code,) = workshop.why("t.a", "dev").differences
    assert [line for line in code.diff if line[0] in "+-"] == ["-SELECT 1 AS x", "+SELECT 2 AS x"]


def test_a_run_that_waited_for_another_says_so(workshop: Workshop) -> None:
    slow = build("a", "SELECT count(*) AS n FROM range(30000) a(i), range(20000) b(j) WHERE (i * j) % 7 = 1")
    first, second = workshop.open(), workshop.open(branch="dev")
    worker = threading.Thread(target=lambda: first.session().build(slow))
    worker.start()
    with closing(second.session()) as session:
        while not second.catalog.run("0001-run"):
            time.sleep(0.01)
        built = session.build(slow)
    worker.join()
    first.publish({"model.p.a": {"status": "success"}})
    second.publish({"model.p.a": {"status": "success"}})
    assert built.reused is not None
    assert workshop.why("a", "dev").waited_for == "0001-run"


def test_a_result_whose_files_are_gone_is_the_same_and_was_made_again(workshop: Workshop, tmp_path: Path) -> None:
    workshop.run(build("a", "SELECT 1 AS x"))
    workshop.run(build("a", "SELECT 2 AS x"))
    shutil.rmtree(tmp_path / "lake" / "s")
    workshop.say("DROP TABLE s.a")
    workshop.run(build("a", "SELECT 2 AS x"))
    found = workshop.why("a")
    assert found.reason == "differs"
    assert not found.in_place
    assert [line for line in found.differences[0].diff if line[0] in "+-"] == ["-SELECT 1 AS x", "+SELECT 2 AS x"]


def test_batches(workshop: Workshop) -> None:
    def batch(first: int, how: str = "i", **more: Any) -> Build:
        time = TimeRange(
            column="ts", start=f"2024-01-{first:02} 00:00:00+00:00", end=f"2024-01-{first + 1:02} 00:00:00+00:00"
        )
        rows = f"SELECT {how} AS id, timestamp '2024-01-01' + to_hours(i::INT * 8) AS ts FROM range(30) r(i)"
        sql = f"SELECT * FROM ({rows}) WHERE {time.condition}"
        return build("t", sql, batch=Batch(range=time), provenance={"raw_code": f"select {how}"}, **more)

    def later(first: int, how: str = "i") -> Build:
        this = batch(first, how)
        assert this.batch is not None
        when = this.batch.range.condition
        statements = (
            f"DELETE FROM {this.name} WHERE {when}",
            f"INSERT INTO {this.name} SELECT * FROM new WHERE {when}",
        )
        return dataclasses.replace(this, mode="merge", source="new", statements=statements, matching=when)

    workshop.run(batch(1))
    workshop.run(later(2))
    workshop.run(later(3))
    assert workshop.why("t").reason == "batches"
    workshop.run(later(3, "i + 1"))
    assert workshop.why("t").differences[0].diff[-2:] == ("-select i", "+select i + 1")


def test_names(workshop: Workshop) -> None:
    workshop.run(build("a", "SELECT 1 AS x"), build("a.v2", "SELECT 2 AS x"))
    assert workshop.why("model.p.a").relation == "s.a"
    assert workshop.why("s.a").node == "model.p.a"
    with pytest.raises(InvalidRef, match=r"may be model\.p\.a, model\.p\.a\.v2"):
        workshop.why("a")
    assert workshop.why("a.v2").node == "model.p.a.v2"
    with pytest.raises(NotInLake, match="nothing is known of 'b'"):
        workshop.why("b")
    live = workshop.open(publish=PublishMode.EACH_NODE)
    with closing(live.session()) as session:
        session.build(build("live", "SELECT 3 AS x"))
        session.build(build("live", "SELECT 4 AS x"))
    found = workshop.why("live")
    assert (found.run, found.reason) == (None, "differs")


def test_every_obstacle_has_advice_of_its_own(workshop: Workshop) -> None:
    workshop.run(
        build("r", "SELECT random() AS x"),
        build("t", "SELECT now() AS x"),
        build("f", "SELECT * FROM (FROM range(9)) USING SAMPLE 3"),
        build("i", "SELECT count(*) AS n FROM information_schema.tables"),
    )
    given = {name: [advice(why) for why in workshop.why(f"s.{name}").obstacles] for name in "rtfi"}
    assert all(given.values())
    assert len({told[0] for told in given.values()}) == 4
