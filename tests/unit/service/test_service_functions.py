"""Functions through a service: the same answers as in an embedded lake."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from service_thread import TOKEN, open_service, serving

from dbt.adapters.lakehouse.catalog.model import FunctionEntry
from dbt.adapters.lakehouse.errors import FunctionError, NotInLake, SqlError
from dbt.adapters.lakehouse.executors.limits import PoolOptions
from dbt.adapters.lakehouse.executors.pool import PoolExecutor
from dbt.adapters.lakehouse.jobs.function import Argument, Definition, Signature
from dbt.adapters.lakehouse.lake.base import Build, Function, Lake, Name, RunRequest
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake
from dbt.adapters.lakehouse.service.config import ServiceConfig
from dbt.adapters.lakehouse.service.start import open_service as open_configured
from dbt.adapters.lakehouse.settings import LakeSettings, ServiceSettings

MEAN = """
class average:
    def __init__(self):
        self.values = []
    def accumulate(self, value):
        if value is not None:
            self.values.append(value)
    def finish(self):
        return sum(self.values) / len(self.values) if self.values else None
"""
QUERIES = (
    "SELECT k, twice(k), shout(v), priced(k) FROM t ORDER BY k",
    "SELECT k % 2 AS odd, average_of(k), average_of(NULL), spread(k) FROM t GROUP BY 1 ORDER BY 1",
    "SELECT twice(), twice(price := 4), typeof(twice(1)), shout(NULL)",
    "FROM v ORDER BY ALL",
)


@pytest.fixture(params=["embedded", "service"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lake]:
    if request.param == "embedded":
        (tmp_path / "lake").mkdir()
        settings = LakeSettings(warehouse=f"file://{tmp_path}/lake", catalog=f"sqlite:///{tmp_path}/lake/c.sqlite")
        with closing(EmbeddedLake.open(settings)) as embedded:
            yield embedded
        return
    pool = PoolExecutor(
        LakeSettings(warehouse=f"file://{tmp_path}", catalog="", workers=1, sandbox=True), PoolOptions()
    )
    with open_service(tmp_path, executor=pool) as service:
        service.start()
        with serving(service) as url, closing(RemoteLake(ServiceSettings(url=url, token=TOKEN))) as remote:
            yield remote


def function(name: str, body: str, *arguments: tuple[str, ...], returns: str, **more: Any) -> Function:
    known = tuple(Argument(**dict(zip(("name", "type", "default"), one, strict=False))) for one in arguments)
    signature = Signature(arguments=known, returns=returns, body=body)
    definition = Definition(**{"language": "sql", "type": "scalar", "signatures": (signature,), **more})
    return Function(
        name=Name(database="lake", schema="main", name=name), definition=definition, node=f"function.p.{name}"
    )


def test_functions_give_the_same_in_both_deployments(lake: Lake) -> None:
    run = lake.open_run(RunRequest(id=str(uuid.uuid4()), command="test", branch="main"))
    in_python = {"language": "python", "path": "functions/f.py"}
    table = Name(database="lake", schema="main", name="t")
    with closing(run.session()) as session:
        session.build(Build(name=table, sql="SELECT range AS k, 'v' || range AS v FROM range(5)", node="model.p.t"))
        made = (
            function("twice", "price * 2", ("price", "double", "100"), returns="double"),
            function("priced", "SELECT max(k) * 10 FROM t WHERE k = wanted", ("wanted", "int"), returns="int"),
            function("spread", "max(x) - min(x)", ("x", "int"), returns="int", type="aggregate"),
            function(
                "shout",
                "def f(text):\n    return None if text is None else text.upper()\n",
                ("text", "varchar"),
                returns="varchar",
                entry_point="f",
                **in_python,
            ),
            function(
                "average_of",
                MEAN,
                ("value", "double"),
                returns="double",
                entry_point="average",
                type="aggregate",
                **in_python,
            ),
        )
        for one in made:
            entry = session.create_function(one).entry
            assert isinstance(entry, FunctionEntry)
            assert session.lookup(Name(database="lake", schema="main", name=f"{one.name.name}()")) == entry
        assert session.create_function(made[0]).reused is not None
        assert {entry.kind for entry in session.relations("lake")} == {"table", "function"}
        view = Name(database="lake", schema="main", name="v")
        session.create_view(view, "SELECT shout(v) AS loud, twice(k) AS double FROM main.t", node="model.p.v")
        found = [[tuple(row) for row in session.execute(sql).rows] for sql in QUERIES]
        broken = function("half", "f = lambda x: 1 / x", ("x", "int"), returns="double", entry_point="f", **in_python)
        session.create_function(broken)
        said = r"main\.half failed: called with x=0(?s:.)*functions/f\.py\", line 1(?s:.)*ZeroDivision"
        with pytest.raises(FunctionError, match=said):
            session.execute("SELECT half(0)")
        with pytest.raises(SqlError, match="nonsense does not exist"):
            session.create_function(function("bad", "nonsense(1)", returns="int"))
    run.publish()
    assert found == [
        [(k, k * 2.0, f"V{k}", k * 10) for k in range(5)],
        [(0, 2.0, None, 4), (1, 2.0, None, 2)],
        [(200.0, 8.0, "DOUBLE", None)],
        [(f"V{k}", k * 2.0) for k in range(5)],
    ]
    with closing(lake.read("main", "main")) as reader:
        assert [tuple(row) for row in reader.execute("SELECT sum(twice(k)) FROM t").rows] == [(20.0,)]


def test_who_reads_granted_views_calls_what_they_call_and_nothing_beside(tmp_path: Path) -> None:
    roles = {"analyst": {"read": ["*"], "reads": "granted"}}
    config = ServiceConfig.of({"roles": roles, "workers": {"count": 1, "memory": "1GB"}})
    settings = LakeSettings(warehouse=f"file://{tmp_path}/lake", catalog=f"sqlite:///{tmp_path}/lake/c.sqlite")
    service = open_configured(settings, config)
    service.start()

    def client(user: str, role: str) -> RemoteLake:
        token = service.store.create_token(name="t", user=user, role=role, created_by="test")[1]
        return RemoteLake(ServiceSettings(url=url, token=token))

    with serving(service) as url, closing(client("root", "admin")) as root, closing(client("ann", "analyst")) as ann:
        request = RunRequest(id=str(uuid.uuid4()), command="test", branch="main", default_schema="main")
        run = root.open_run(request)
        with closing(run.session()) as session:
            session.execute("CREATE TABLE secret AS SELECT 7 AS pin")
            session.create_function(function("pin", "SELECT max(pin) FROM secret", returns="int"))
            session.create_view(Name(database="lake", schema="main", name="v"), "SELECT pin() + 1 AS x")
            session.execute('GRANT SELECT ON main.v TO "ann"')
        run.publish()
        with closing(ann.read("main", "main")) as session:
            assert [tuple(row) for row in session.execute("SELECT x FROM v").rows] == [(8,)]
            assert [tuple(row) for row in session.execute('SELECT x FROM "lake@main".main.v').rows] == [(8,)]
            for sql in ("SELECT pin()", "SELECT x, main.pin() FROM v", 'SELECT x, "lake"."main"."pin"() FROM v'):
                with pytest.raises((SqlError, NotInLake)):
                    session.execute(sql)
    service.close()
