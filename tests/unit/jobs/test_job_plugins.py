"""dbt-duckdb's plugins in workers: what they load, which functions they add, what of them shapes results."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest

from dbt.adapters.lakehouse.errors import ConfigError, PluginError
from dbt.adapters.lakehouse.jobs import plugins
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.profile import lake_settings, service_settings
from dbt.adapters.lakehouse.run import attached
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import Build, Name, PythonSource, RunRequest

MODULE = """
import pyarrow as pa
from dbt.adapters.duckdb.plugins import BasePlugin


class Plugin(BasePlugin):
    loads = 0

    def initialize(self, config):
        self.step = int(config.get("step", 1))
        self.password = config.get("password"), config.get("auth")

    def configure_connection(self, conn):
        conn.create_function("plus_step", lambda x: x + self.step, ["BIGINT"], "BIGINT")

    def configure_cursor(self, cursor):
        cursor.execute("SET VARIABLE of_cursor = 'here'")

    def load(self, source):
        if source.identifier == "broken":
            raise RuntimeError(f"no such thing with {self.password[0]}, {self.password[1]}")
        Plugin.loads += 1
        return pa.table({"name": [source.name] * source["rows"], "loads": [Plugin.loads] * source["rows"]})
"""

NESTED = {"auth": {"user": "ada", "tokens": ["n3st3d"]}}
Opener = Callable[..., EmbeddedLake]


@pytest.fixture
def open_lake(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Opener]:
    opened: list[EmbeddedLake] = []
    (tmp_path / "lib").mkdir()
    # A name of its own: modules stay imported.
    module = f"steps_{abs(hash(request.node.name))}"
    (tmp_path / "lib" / f"{module}.py").write_text(MODULE)

    def open_with(*entries: dict[str, Any], **more: Any) -> EmbeddedLake:
        said = entries or (
            {"module": module, "alias": "steps", "config": {"step": 10, "password": "s3cr3t", **NESTED}},
        )
        profile = {"type": "lakehouse", "warehouse": "lake", "memory_limit": "1GB", "module_paths": ["lib"]}
        opened.append(EmbeddedLake.open(lake_settings({**profile, "plugins": [*said], **more}, tmp_path)))
        return opened[-1]

    yield open_with
    for lake in opened:
        lake.close()


def run(lake: EmbeddedLake, number: str = "1") -> Any:
    return lake.open_run(RunRequest(id=f"{number}-run", command="test", branch="main", default_schema="s"))


def declare(plugin: str, name: str, **meta: Any) -> str:
    database = plugins.database_of(plugin)
    fields = {"name": name, "identifier": name, "schema": "raw", "database": "lake", "tags": []}
    plugins.declare(database, "raw", name, {**fields, "meta": {"plugin": plugin, **meta}})
    return str(Name(database=database, schema="raw", name=name))


@pytest.fixture
def session(open_lake: Opener) -> Iterator[RunSession]:
    session = run(open_lake()).session()
    yield session
    session.close()


def test_functions_of_a_plugin_are_in_every_session(open_lake: Opener) -> None:
    one = run(open_lake())
    sessions = [one.session() for _ in range(2)]
    for session in sessions:
        assert session.execute("SELECT plus_step(1), getvariable('of_cursor')").rows == [(11, "here")]
    for session in sessions:
        session.close()


def test_what_a_plugin_loads_is_loaded_once_a_run(open_lake: Opener) -> None:
    lake, people = open_lake(), declare("steps", "people", rows=3)
    seen = []
    for number in ("1", "2"):
        one = run(lake, number)
        for _ in range(2):
            session = one.session()
            seen += session.execute(f"SELECT DISTINCT loads FROM {people}").rows
            session.close()
    first, again, second, _ = (loads for (loads,) in seen)
    assert first == again
    assert second == first + 1


def test_builds_views_and_python_read_it(session: RunSession) -> None:
    people = declare("steps", "people", rows=2)
    session.create_view(Name(database="lake", schema="s", name="v"), f"SELECT name FROM {people}")
    built = session.build(Build(name=Name(database="lake", schema="s", name="t"), sql="SELECT * FROM s.v"))
    assert built.rows_written == 2
    assert "attached database" in built.why_not[0]
    code = "class dbtObj:\n    def __init__(self, load): self.load = load\n"
    code += f"def model(dbt, session):\n    return dbt.load({people!r}).df()"
    source = PythonSource(code=code, path="models/p.py", reads=(people,))
    assert session.build(Build(name=Name(database="lake", schema="s", name="p"), python=source)).rows_written == 2
    (found,) = attached.find(session, [Name(database="plugin:steps", schema="raw", name="people")])
    assert [column.name for column in found.columns] == ["name", "loads"]


def test_a_source_is_not_written_to(session: RunSession) -> None:
    people = declare("steps", "people", rows=2)
    with pytest.raises(ConfigError, match="which is only read"):
        session.execute(f"INSERT INTO {people} VALUES ('x', 1)")


def test_what_calls_its_functions_is_not_reused(open_lake: Opener, tmp_path: Path) -> None:
    lake = open_lake()

    def build(number: str, sql: str, **more: Any) -> Any:
        session = run(lake, number).session()
        try:
            name = Name(database="lake", schema="s", name="t")
            return session.build(Build(name=name, sql=sql, node="model.p.t", **more))
        finally:
            session.close()

    assert build("1", "SELECT plus_step(1) AS a").why_not == (
        "it calls plus_step, which a plugin of the profile makes",
    )
    assert build("2", "SELECT plus_step(1) AS a").reused is None
    assert build("3", "SELECT abs(1) AS a").why_not == ()
    assert build("4", "SELECT abs(1) AS a").reused is not None
    # Whose author says that it is constant gets it anew when the plugin's code changes.
    assert build("5", "SELECT plus_step(1) AS a", reuse="always").reused is None
    assert build("6", "SELECT plus_step(1) AS a", reuse="always").reused is not None
    (module,) = (tmp_path / "lib").glob("steps_*.py")
    module.write_text(MODULE + "\n# changed\n")
    assert build("7", "SELECT plus_step(1) AS a", reuse="always").reused is None


def test_a_failure_of_a_plugin_is_said_without_its_password(session: RunSession) -> None:
    broken = declare("steps", "broken")
    with pytest.raises(PluginError) as caught:
        session.execute(f"SELECT * FROM {broken}")
    said = "plugin 'steps' failed while loading source raw.broken: RuntimeError: no such thing with …, {'user': 'ada', "
    assert str(caught.value).startswith(said + "'tokens': ['…']} (steps_")
    assert session.execute("SELECT 1").rows == [(1,)]
    with pytest.raises(PluginError, match="nothing is known of a source"):
        session.execute('SELECT * FROM "plugin:steps"."raw"."unheard"')


def test_a_plugin_that_is_not_there_is_said(open_lake: Opener) -> None:
    for module, fault in (("no_such_module_at_all", "cannot be imported"), ("json", "has no class Plugin")):
        session = run(open_lake({"module": module})).session()
        with pytest.raises(ConfigError, match=fault):
            session.execute("SELECT 1")
        session.close()


def test_excel(open_lake: Opener, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in (("name", "born"), ("Ada", 1815), ("Grace", 1906)):
        book.active.append(row)
    book.save(tmp_path / "people.xlsx")
    session = run(open_lake({"module": "excel"})).session()
    people = declare("excel", "people", external_location=f"{tmp_path}/{{name}}.xlsx")
    assert session.execute(f"SELECT * FROM {people} ORDER BY born").rows == [("Ada", 1815), ("Grace", 1906)]
    session.close()


def test_sqlalchemy(open_lake: Opener, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.sqlite") as other:
        other.execute("CREATE TABLE orders (id INTEGER, total DOUBLE)")
        other.execute("INSERT INTO orders VALUES (1, 2.5), (2, 4)")
    other.close()
    url = f"sqlite:///{tmp_path}/shop.sqlite"
    session = run(open_lake({"module": "sqlalchemy", "alias": "sql", "config": {"connection_url": url}})).session()
    assert session.execute(f"SELECT * FROM {declare('sql', 'o', table='orders')}").rows == [(1, 2.5), (2, 4.0)]
    query = declare("sql", "q", query="SELECT sum(total) AS s FROM orders WHERE id > :least", params={"least": 1})
    assert session.execute(f"SELECT * FROM {query}").rows == [(4.0,)]
    session.close()


def test_iceberg(open_lake: Opener, tmp_path: Path) -> None:
    from pyiceberg.catalog.sql import SqlCatalog

    options = {"type": "sql", "uri": f"sqlite:///{tmp_path}/ice.db", "warehouse": f"file://{tmp_path}/ice"}
    catalog = SqlCatalog("ice", **options)
    catalog.create_namespace("raw")
    rows = pa.table({"id": [1, 2], "name": ["Ada", "Grace"]})
    catalog.create_table("raw.people", rows.schema).append(rows)
    catalog.close()
    session = run(open_lake({"module": "iceberg", "alias": "ice", "config": {"catalog": "ice", **options}})).session()
    people = declare("ice", "people", row_filter="id > 1")
    assert session.execute(f"SELECT * FROM {people}").rows == [(2, "Grace")]
    session.close()


def test_delta(open_lake: Opener, tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    path = str(tmp_path / "people_delta")
    deltalake.write_deltalake(path, pa.table({"id": [1, 2]}))
    session = run(open_lake({"module": "delta"})).session()
    people = declare("delta", "people", delta_table_path=path)
    assert session.execute(f"SELECT sum(id) FROM {people}").rows == [(3,)]
    session.close()


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("excel", "is no list"),
        (["excel"], "an entry is a mapping with a module"),
        ([{"module": "excel", "pasword": "s3cr3t"}], "'pasword' is not known"),
        ([{"module": "motherduck"}], "MotherDuck has no part"),
        ([{"module": "a.b"}, {"module": "b"}], "the name 'b' is there twice"),
        ([{"module": "excel", "config": "s3cr3t"}], "its 'config' must be a mapping"),
    ],
)
def test_a_wrong_entry_is_refused_without_its_secrets(tmp_path: Path, said: Any, fault: str) -> None:
    with pytest.raises(ConfigError, match=r"profile key 'plugins'") as caught:
        lake_settings({"warehouse": "lake", "plugins": said}, tmp_path)
    assert fault in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_beside_a_service_they_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="let a Python model read what a plugin would load"):
        service_settings({"service": "https://lake.example.com", "plugins": [{"module": "excel"}]}, tmp_path)
