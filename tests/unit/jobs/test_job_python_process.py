"""Python models in a process of their own: what they get, what they give, and that nothing they do harms the worker."""

from __future__ import annotations

import http.server
import importlib.metadata
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dbt.adapters.lakehouse.errors import (
    ConfigError,
    JobCancelled,
    JobTimeout,
    LakehouseError,
    OutOfMemory,
    PythonModelError,
    SqlError,
)
from dbt.adapters.lakehouse.jobs import python_cell
from dbt.adapters.lakehouse.jobs.job import Create, Input, Job, JobResult, LogLine, PythonCode, Query, Resources
from dbt.adapters.lakehouse.jobs.python_process import amount
from dbt.adapters.lakehouse.jobs.worker import Worker
from dbt.adapters.lakehouse.settings import LakeSettings, PythonSandbox
from dbt.adapters.lakehouse.tables.values import TableSpec

UUID = "4c6f1c6e-0000-4000-8000-000000000001"
HEAD = """
class dbtObj:
    def __init__(self, load):
        self.ref = lambda name: load(f'"lake"."s"."{name}"')
"""
BUBBLEWRAP = python_cell.bubblewrap("auto") is not None
needs_bubblewrap = pytest.mark.skipif(not BUBBLEWRAP, reason=f"bubblewrap does not work here: {python_cell.why_not()}")


class Bench:
    """A worker, the tables it made, and what the models printed."""

    def __init__(self, folder: Path, sandbox: PythonSandbox = "auto", **settings: Any) -> None:
        self.folder = folder
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.worker = Worker(
            LakeSettings(
                warehouse=f"file://{folder}",
                catalog="",
                memory_limit="300MB",
                temp_directory=str(self.scratch),
                environments=str(folder / "environments"),
                python_sandbox=sandbox,
                **settings,
            )
        )
        self.worker.begin()
        self.said: list[LogLine] = []
        self.count = 0

    def table(self, sql: str) -> Input:
        return self._create(Resources(), (), sql=sql)

    def run(self, body: str, *inputs: Input, resources: Resources | None = None, **code: Any) -> Input:
        """Run a model of this body, in a process of its own, and give its table."""
        text = HEAD + "def model(dbt, session):\n" + "".join(f"    {line}\n" for line in body.strip().splitlines())
        python = PythonCode(code=text, path="models/shop/m.py", **{"isolated": True, **code})
        return self._create(resources or Resources(), inputs, python=python)

    def _create(self, resources: Resources, inputs: tuple[Input, ...], **rows: Any) -> Input:
        self.count += 1
        name = f"t{self.count}"
        action = Create(spec=TableSpec(location=f"file://{self.folder}/{name}", table_uuid=UUID), **rows)
        job = Job(
            key=name, database="lake", default_schema="s", action=action, inputs=inputs, resources=resources, label=name
        )
        written = self.worker.run(job, self._listen).written
        assert written is not None
        return Input(database="lake", schema="s", name=name, metadata_location=written.metadata_location)

    def _listen(self, event: object) -> None:
        if isinstance(event, LogLine):
            self.said.append(event)

    def query(self, sql: str, *inputs: Input) -> JobResult:
        return self.worker.run(Job(key="q", database="lake", default_schema="s", action=Query(sql=sql), inputs=inputs))

    def rows(self, table: Input) -> Any:
        return list(self.query(f"SELECT * FROM {table.name}", table).rows)

    def lines(self, stream: str) -> list[str]:
        return [line.text for line in self.said if line.stream == stream]

    def left(self) -> list[str]:
        return [path.name for path in self.scratch.glob("lakehouse-python-*")]


@pytest.fixture(params=["auto", "off"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, request.param)
    yield bench
    assert bench.left() == []
    bench.worker.close()


@pytest.fixture
def walled(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, "require")
    yield bench
    assert bench.left() == []
    bench.worker.close()


TYPES = """SELECT true AS b, 1::TINYINT AS t, 2::UBIGINT AS ub, 3::HUGEINT AS h, 1.5::DECIMAL(9, 2) AS d, 'x' AS v,
    '\\x00z'::BLOB AS bl, DATE '2024-02-29' AS da, TIME '12:34:56.5' AS ti, TIMESTAMP '2024-01-01 01:02:03.4' AS ts,
    TIMESTAMPTZ '2024-01-01 01:02:03+00' AS tz, '4c6f1c6e-0000-4000-8000-000000000001'::UUID AS u, INTERVAL 3 DAY AS iv,
    [1, NULL]::INTEGER[] AS l, {'a': 1, 'b': [2]} AS st, MAP {'k': 1} AS m, '{"j": 1}'::JSON AS j, '101'::BIT AS bi,
    'a'::ENUM('a', 'b') AS e, [1, 2]::INTEGER[2] AS ar, TIMETZ '01:02:03+02' AS tt, NULL::VARCHAR AS n,
    TIMESTAMP_MS '2024-01-01 00:00:00' AS ms, 4::UINTEGER AS ui, 5::FLOAT AS f"""


def test_every_type_comes_out_as_it_does_in_process(bench: Bench) -> None:
    inside = bench.run(f'return session.sql(r"""{TYPES}""")', isolated=False)
    outside = bench.run(f'return session.sql(r"""{TYPES}""")')
    assert bench.rows(outside) == bench.rows(inside)
    again = bench.run(f"return dbt.ref('{outside.name}')", outside)
    assert bench.rows(again) == bench.rows(inside)
    kinds = [bench.query(f"DESCRIBE {table.name}", table).rows for table in (inside, outside, again)]
    # Arrow has the values of an ENUM, but DuckDB reads them as text.
    kinds = [[(row[0], "VARCHAR" if row[1].startswith("ENUM") else row[1]) for row in rows] for rows in kinds]
    assert kinds[0] == kinds[1] == kinds[2]


@pytest.mark.parametrize("how", ["", ".df()", ".pl()", ".pl(lazy=True)", ".to_arrow_table()", ".to_arrow_reader()"])
def test_inputs_and_results_of_every_kind(bench: Bench, how: str) -> None:
    table = bench.table("SELECT range AS a, 'x' || range AS s FROM range(300000)")
    view = Input(database="lake", schema="s", name="v", sql="SELECT a + 1 AS a, s FROM s.t1", is_view=True)
    made = bench.run(f"return dbt.ref('v'){how}", table, view)
    counted = "SELECT count(*), sum(a), min(s), max(s) FROM "
    assert bench.query(counted + made.name, made).rows == bench.query(counted + "v", table, view).rows


def test_inputs_of_many_files_are_copied_into_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_cell, "MOST_FILES", 0)
    table = bench.table("SELECT range AS a, uuid() AS u FROM range(300000)")
    view = Input(database="lake", schema="s", name="v", sql="SELECT a, u, 1::HUGEINT AS h FROM s.t1", is_view=True)
    # What a model can read, dbt writes into its code.
    made = bench.run('# "lake"."s"."v"\nreturn dbt.ref(\'v\')', table, view)
    difference = f"SELECT count(*) FROM (FROM v EXCEPT FROM {made.name})"
    assert bench.query(difference, table, view, made).rows == [(0,)]


def test_the_session_is_the_workers(bench: Bench) -> None:
    table = bench.table("SELECT 1 AS a")
    bench.query("CREATE TEMP TABLE mine AS SELECT 7::HUGEINT AS b")
    bench.query("CREATE TEMP VIEW seen AS SELECT b + 1 AS c FROM mine")
    bench.query("SET TimeZone = 'Asia/Tokyo'")
    made = bench.run(
        f"return session.sql(\"SELECT a, b, c, current_setting('TimeZone') AS z FROM {table.name}, mine, seen\")", table
    )
    assert bench.rows(made) == [(1, 7, 8, "Asia/Tokyo")]


def test_output_is_passed_on_line_by_line(bench: Bench) -> None:
    bench.run(
        "import sys\nprint('one')\nprint('two', end='')\nprint('three', file=sys.stderr)\nreturn session.sql('SELECT 1 a')"
    )
    assert bench.lines("stdout") == ["one", "two"]
    assert bench.lines("stderr") == ["three"]


def test_much_output_is_cut(bench: Bench) -> None:
    bench.run("for _ in range(200_000):\n    print('x' * 1000)\nreturn session.sql('SELECT 1 a')")
    assert sum(map(len, bench.lines("stdout"))) <= 10_100_000
    assert "more than 10 MB" in bench.lines("executor")[-1]


def test_a_traceback_points_at_the_users_line(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text("\n\n" + HEAD.lstrip())
    texts = []
    for isolated in (False, True):
        with pytest.raises(PythonModelError) as caught:
            bench.run("return 1 / 0", isolated=isolated)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
    assert 'File "models/shop/m.py", line 6, in model' in texts[1]
    assert "return 1 / 0" in texts[1]


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        ("raise SystemExit(3)", PythonModelError, "SystemExit: 3"),
        ("import os\nos._exit(3)", PythonModelError, "exited with code 3"),
        ("import os\nos._exit(0)", PythonModelError, "ended before the model had returned"),
        ("import ctypes\nctypes.string_at(0)", PythonModelError, "SIGSEGV"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGABRT)", PythonModelError, "SIGABRT"),
        ("x = bytearray(5_000_000_000)", OutOfMemory, "MemoryError"),
        ("return 7", PythonModelError, "returned a builtins.int"),
        ("return None", PythonModelError, "returned a builtins.NoneType"),
        ("return session.sql(\"SELECT error('boom ' || range) AS b FROM range(10)\")", SqlError, "boom 0"),
        ("import no_such_module", PythonModelError, "No module named 'no_such_module'"),
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\nreturn 7", PythonModelError, "int"),
    ],
)  # fmt: skip
def test_what_a_model_does_wrong(bench: Bench, body: str, error: type[LakehouseError], says: str) -> None:
    with pytest.raises(error, match=says):
        bench.run(body)
    assert bench.rows(bench.run("return session.sql('SELECT 1 a')")) == [(1,)]


def test_closed_descriptors_do_no_harm(bench: Bench) -> None:
    made = bench.run("import os\nos.closerange(0, 3)\nreturn session.sql('SELECT 1 a')")
    assert bench.rows(made) == [(1,)]


def test_children_of_a_model_end_with_it(bench: Bench) -> None:
    mark = "77.125"
    bench.run(
        f"import subprocess\nsubprocess.Popen(['sleep', '{mark}'], start_new_session=True)\nreturn session.sql('SELECT 1 a')"
    )
    until = time.monotonic() + 2
    while sleeping(mark) and time.monotonic() < until:
        time.sleep(0.02)
    assert sleeping(mark) == []


def sleeping(mark: str) -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        try:
            if mark.encode() in (process / "cmdline").read_bytes().split(b"\0"):
                found.append(process.name)
        except OSError:
            continue
    return found


def test_too_many_processes_are_stopped(bench: Bench) -> None:
    # Few enough that a failing test harms nobody.
    body = """
import os, time
for _ in range(300):
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
time.sleep(20)
"""
    with pytest.raises(PythonModelError, match="more than 256 processes"):
        bench.run(body)


def test_a_timeout_ends_it(bench: Bench) -> None:
    started = time.monotonic()
    with pytest.raises(JobTimeout, match="timeout of 1 s"):
        bench.run(
            "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)",
            resources=Resources(timeout=1),
        )
    assert time.monotonic() - started < 3


def test_cancel_ends_it_within_a_second(bench: Bench) -> None:
    def cancel() -> None:
        while "started" not in bench.lines("stdout"):
            time.sleep(0.01)
        cancelled.append(time.monotonic())
        bench.worker.cancel()

    cancelled: list[float] = []
    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(JobCancelled):
        bench.run("import time\nprint('started')\nwhile True:\n    pass", resources=Resources(timeout=20))
    assert time.monotonic() - cancelled[0] < 1
    thread.join()


def test_a_link_in_the_place_of_the_result_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('{"kind": "sql", "message": "the secret"}')
    body = f"import os\nos.symlink('{tmp_path}/secret', 'outcome.json')\nos._exit(0)"
    with pytest.raises(PythonModelError) as caught:
        bench.run(body)
    assert "the secret" not in str(caught.value)


def test_rows_that_are_none_are_refused(bench: Bench) -> None:
    body = """
import json, os
open('result.arrow', 'wb').write(b'no rows at all' * 100)
open('outcome.json', 'w').write(json.dumps({'kind': 'ok'}))
os._exit(0)
"""
    with pytest.raises(PythonModelError, match="cannot be read"):
        bench.run(body)


def test_without_bubblewrap_the_log_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    python_cell._probe.cache_clear()
    try:
        bench = Bench(tmp_path)
        for _ in range(2):
            bench.run("return session.sql('SELECT 1 a')")
        assert [line for line in bench.lines("executor") if "no bwrap on the PATH" in line] == bench.lines("executor")
        assert len(bench.lines("executor")) == 1
        bench.worker.close()
        (tmp_path / "strict").mkdir()
        strict = Bench(tmp_path / "strict", "require")
        with pytest.raises(ConfigError, match="python_sandbox is 'require'"):
            strict.run("return session.sql('SELECT 1 a')")
        strict.worker.close()
    finally:
        python_cell._probe.cache_clear()


@needs_bubblewrap
def test_files_outside_are_not_there(walled: Bench, tmp_path: Path) -> None:
    one, other = walled.table("SELECT 1 AS a"), walled.table("SELECT 2 AS a")
    (tmp_path / "canary").write_text("secret")
    data = next((tmp_path / other.name).rglob("*.parquet"))
    own = next((tmp_path / one.name).rglob("*.parquet"))
    paths = [
        str(tmp_path / "canary"),
        str(data),
        "/etc/passwd",
        "/etc/shadow",
        str(Path(__file__)),
        str(Path.home() / ".bashrc"),
    ]
    body = f"""
import os
found = [path for path in {paths!r} if os.path.exists(path)]
assert found == [], found
assert os.path.exists({str(own)!r})
assert os.listdir(os.path.dirname({str(own)!r})) == [os.path.basename({str(own)!r})]
return dbt.ref('{one.name}')
"""
    assert walled.rows(walled.run(body, one)) == [(1,)]


@needs_bubblewrap
def test_nothing_outside_can_be_written(walled: Bench, tmp_path: Path) -> None:
    one = walled.table("SELECT 1 AS a")
    own = next((tmp_path / one.name).rglob("*.parquet"))
    body = f"""
import duckdb, os, sys
places = [{str(own)!r}, duckdb.__file__, os.path.join(os.path.dirname(duckdb.__file__), 'new'), '/usr/new', '/new',
          sys.executable, os.path.expanduser('~') + '/../specification.json']
for place in places:
    try:
        open(place, 'ab').close()
    except OSError:
        continue
    raise AssertionError(place)
open('mine', 'w').close()
open('/tmp/mine', 'w').close()
try:
    open(os.path.dirname({str(own)!r}) + '/new', 'w').close()
except OSError:
    pass
return dbt.ref('{one.name}')
"""
    assert walled.rows(walled.run(body, one)) == [(1,)]
    assert not own.with_name("new").exists()
    assert not Path("/tmp/mine").exists()


@needs_bubblewrap
def test_other_processes_and_the_environment_are_hidden(walled: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-in-the-environment")
    body = f"""
import os
everything = str(dict(os.environ))
for process in filter(str.isdigit, os.listdir('/proc')):
    try:
        everything += open(f'/proc/{{process}}/environ').read()
    except OSError:
        pass
assert 'canary' not in everything
assert len([p for p in os.listdir('/proc') if p.isdigit()]) <= 3
assert os.getuid() != 0
try:
    os.kill({os.getpid()}, 0)
    raise AssertionError('sees the worker')
except ProcessLookupError:
    pass
return session.sql('SELECT 1 a')
"""
    assert walled.rows(walled.run(body)) == [(1,)]


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", asked
        httpd.shutdown()
        thread.join()


@needs_bubblewrap
def test_the_network_is_there_for_whom_declares_it(walled: Bench, server: tuple[str, list[str]]) -> None:
    url, asked = server
    body = f"import urllib.request\ntext = urllib.request.urlopen('{url}/x', timeout=5).read().decode()\n"
    body += "return session.sql(f\"SELECT '{text}' AS a\")"
    with pytest.raises(PythonModelError, match="URLError"):
        walled.run(body)
    assert asked == []
    assert walled.rows(walled.run(body, internet_access=True)) == [("hello",)]
    assert asked == ["/x"]


def test_every_model_of_an_isolating_worker_is_isolated(tmp_path: Path) -> None:
    settings = LakeSettings(
        warehouse=f"file://{tmp_path}", catalog="", memory_limit="300MB", temp_directory=str(tmp_path)
    )
    for isolate in (True, False):
        worker = Worker(settings, isolate_python=isolate)
        worker.begin()
        code = HEAD + "import os\ndef model(dbt, session):\n    return session.sql(f'SELECT {os.getpid()} AS pid')\n"
        spec = TableSpec(location=f"file://{tmp_path}/{isolate}", table_uuid=UUID)
        action = Create(spec=spec, python=PythonCode(code=code, path="m.py"))
        written = worker.run(Job(key="k", database="lake", default_schema="s", action=action)).written
        assert written is not None
        made = Input(database="lake", schema="s", name="t", metadata_location=written.metadata_location)
        query = Job(key="q", database="lake", default_schema="s", action=Query(sql="FROM t"), inputs=(made,))
        assert (worker.run(query).rows[0][0] != os.getpid()) is isolate
        worker.close()


@pytest.mark.parametrize(
    ("text", "size"), [("1GB", 10**9), ("1.5 GiB", 3 * 2**29), ("512 bytes", 512), ("18.8 GiB", int(18.8 * 2**30))]
)
def test_amounts(text: str, size: int) -> None:
    assert amount(text) == size


def test_modules_are_there_for_whoever_imports_them_last(bench: Bench) -> None:
    table = bench.table("SELECT range AS a FROM range(5)")
    late = bench.run(
        "def rounded(a):\n    import numpy\n    return float(numpy.sqrt(a))\n"
        "session.create_function('root', rounded, ['BIGINT'], 'DOUBLE')\n"
        "return dbt.ref('t1').project('root(a * a) AS a')",
        table,
    )
    assert bench.rows(late) == [(float(number),) for number in range(5)]
    known = bench.run(
        "import importlib.metadata, duckdb\n"
        "found = [duckdb.__version__, importlib.metadata.version('duckdb'), importlib.metadata.version('numpy')]\n"
        "return session.sql(f'SELECT unnest({found}) AS v')",
        table,
    )
    versions = [importlib.metadata.version(name) for name in ("duckdb", "duckdb", "numpy")]
    assert bench.rows(known) == [(version,) for version in versions]


def test_long_lines_arrive_whole_and_lines_are_counted_from_the_files_top(bench: Bench) -> None:
    with pytest.raises(PythonModelError, match=r'models/shop/m\.py", line 12, in model'):
        bench.run("print('x' * 100_000)\nraise ValueError('here')", line=5)
    assert sum(map(len, bench.lines("stdout"))) == 100_000
    with pytest.raises(PythonModelError, match="here"):
        bench.run("raise ValueError('here')", line=10**15)


def test_folders_of_modules_are_within_reach(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> None:
    lib = tmp_path_factory.mktemp("lib")
    (lib / "faraway.py").write_text("X = 42\n")
    table = bench.table("SELECT 1 AS a")
    made = bench.run(
        "import faraway\nreturn session.sql(f'SELECT {faraway.X} AS v')", table, modules=(str(lib), str(lib / "none"))
    )
    assert bench.rows(made) == [(42,)]
    with pytest.raises(PythonModelError, match="No module named 'faraway'"):
        bench.run("import faraway", table)
