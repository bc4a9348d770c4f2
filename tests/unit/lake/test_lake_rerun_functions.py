"""Runs with functions are done again with the functions that they had."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from dbt.adapters.lakehouse.jobs.function import Argument, Definition, Signature
from dbt.adapters.lakehouse.lake.base import Build, Function, Name, RunRequest
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.lake.rerun import RerunRequest, rerun
from dbt.adapters.lakehouse.settings import LakeSettings


def work(lake: EmbeddedLake, number: int, body: str) -> str:
    run = lake.open_run(
        RunRequest(id=f"000{number}-run", command="dbt build", branch="main", default_schema="s", author="ann")
    )
    signature = Signature(arguments=(Argument(name="x", type="INTEGER"),), returns="INTEGER", body=body)
    definition = Definition(language="sql", type="scalar", signatures=(signature,))
    with closing(run.session()) as session:
        session.create_function(
            Function(name=Name(database="lake", schema="s", name="f"), definition=definition, node="function.p.f")
        )
        sql = "SELECT f(range::INTEGER) AS y FROM range(3)"
        session.build(Build(name=Name(database="lake", schema="s", name="t"), sql=sql, node="model.p.t"))
    run.publish({"model.p.t": {"status": "success"}})
    return str(run.request.id)


def test_a_past_run_calls_the_function_that_it_made(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    settings = LakeSettings(warehouse=f"file://{tmp_path}/lake", catalog=f"sqlite:///{tmp_path}/lake/c.sqlite")
    with closing(EmbeddedLake.open(settings)) as lake:
        first = work(lake, 1, "x * 2")
        work(lake, 2, "x * 3")
        found = rerun(lake, RerunRequest(run=first, author="bob", keep=True))
        assert {table.name: table.outcome for table in found.tables}["t"] == "equal"
        assert found.equal
        assert found.branch is not None
        for ref, factor in ((found.branch, 2), ("main", 3)):
            with closing(lake.read(ref, "s")) as session:
                assert sorted(session.execute("SELECT y, f(10) FROM t").rows) == [
                    (n * factor, 10 * factor) for n in range(3)
                ]
