"""Functions in a worker's jobs: bound for the jobs that name them, their Python in processes of their own."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dbt.adapters.lakehouse.errors import FunctionError, JobCancelled, SandboxError, SqlError
from dbt.adapters.lakehouse.jobs import function_process, python_cell
from dbt.adapters.lakehouse.jobs.function import Argument, Definition, Signature, from_raw, shown, to_raw
from dbt.adapters.lakehouse.jobs.function_sql import has_scopes, transport
from dbt.adapters.lakehouse.jobs.job import Describe, Input, Job, LogLine, Query, job_from_json, job_to_json
from dbt.adapters.lakehouse.jobs.worker import Worker
from dbt.adapters.lakehouse.settings import LakeSettings

PID = "import os\ndef f(x):\n    return os.getpid()\n"
Workers = Callable[..., Worker]


def function(
    name: str, body: str, *arguments: str, language: Any = "python", returns: str = "BIGINT", **more: Any
) -> Input:
    """A function whose arguments are all BIGINT."""
    signature = Signature(
        arguments=tuple(Argument(name=one, type="BIGINT") for one in arguments), returns=returns, body=body
    )
    if language == "python":
        more = {"entry_point": "f", "path": f"functions/{name}.py", **more}
    made = Definition(**{"language": language, "type": "scalar", "signatures": (signature,), **more})
    return Input(database="lake", schema="s", name=f"{name}()", function=made)


def job(sql: str, *functions: Input) -> Job:
    return Job(key="k", database="lake", default_schema="s", action=Query(sql=sql), inputs=functions)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    made: list[Worker] = []

    def make(*, sandbox: bool = False, **more: Any) -> Worker:
        (tmp_path / "lake").mkdir(exist_ok=True)
        settings = LakeSettings(warehouse=f"file://{tmp_path}/lake", catalog="none", sandbox=sandbox, **more)
        worker = Worker(settings, isolate_python=sandbox)
        worker.begin()
        made.append(worker)
        return worker

    yield make
    for worker in made:
        worker.close()


def one(worker: Worker, sql: str, *functions: Input) -> Any:
    return worker.run(job(sql, *functions)).rows[0][0]


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_definition_and_a_job_with_one_survive_json():
    item = function("f", "x + 1", "x", language="sql")
    assert item.function is not None
    assert from_raw(to_raw(item.function)) == item.function
    assert job_from_json(job_to_json(job("SELECT 1", item))) == job("SELECT 1", item)
    assert shown("s.f()", item.function.signatures) == "s.f(x BIGINT) → BIGINT"


@pytest.mark.parametrize("sandbox", [False, True])
def test_functions_are_there_for_the_jobs_that_name_them_alone(workers: Workers, sandbox: bool):
    worker = workers(sandbox=sandbox)
    plus, twice = (
        function("plus", "x + 1", "x", language="sql"),
        function("twice", "def f(x):\n    return x * 2\n", "x"),
    )
    assert one(worker, "SELECT plus(1) + s.twice(5)", plus, twice) == 12
    assert one(worker, "SELECT plus(1)", function("plus", "x + 2", "x", language="sql")) == 3
    with pytest.raises(SqlError, match="plus does not exist"):
        one(worker, "SELECT plus(1)")
    assert one(worker, "SELECT plus(twice(2))", twice, plus) == 5


@pytest.mark.parametrize(
    "body", ["(SELECT count(*) FROM read_text('/etc/passwd'))", "getenv('HOME')", "1), (y) AS (2", "1; SELECT 2"]
)
def test_the_sandbox_lets_no_body_reach_out(workers: Workers, body: str):
    worker = workers(sandbox=True)
    with pytest.raises(SandboxError):
        one(worker, "SELECT f(1)", function("f", body, "x", language="sql", returns="VARCHAR"))
    assert one(worker, "SELECT 1") == 1


def test_python_in_a_service_sees_nothing_of_the_worker(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OF_THE_SERVICE", "secret")
    code = "import os\ndef f(x):\n    return len([n for n in os.environ if n == 'OF_THE_SERVICE']) + int(os.getpid() == %d)\n"
    assert one(workers(sandbox=True), "SELECT f(1)", function("f", code % python_cell.os.getpid(), "x")) == 0
    if python_cell.bubblewrap("auto") is not None:
        (tmp_path / "lake" / "secret").write_text("x")
        code = f"from pathlib import Path\ndef f(x):\n    return int(Path({str(tmp_path / 'lake' / 'secret')!r}).exists())\n"
        assert one(workers(sandbox=True), "SELECT f(1)", function("f", code, "x")) == 0


def test_a_process_is_kept_for_later_jobs_and_ends_with_the_worker(workers: Workers, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(function_process, "KEPT", 1)
    worker = workers(python_sandbox="off")  # in bubblewrap a process does not know its number
    first = one(worker, "SELECT f(1)", function("f", PID, "x"))
    assert one(worker, "SELECT f(2)", function("f", PID, "x")) == first
    others = [one(worker, "SELECT f(1)", function("f", PID + f"# {number}\n", "x")) for number in range(3)]
    assert len({first, *others}) == 4
    assert not lives(first)
    assert lives(others[-1])
    worker.close()
    assert not any(map(lives, others))


def test_in_a_service_a_process_ends_with_the_session(workers: Workers):
    worker = workers(sandbox=True, python_sandbox="off")
    first = one(worker, "SELECT f(1)", function("f", PID, "x"))
    assert lives(first)
    worker.end()
    assert not lives(first)
    worker.begin()
    assert one(worker, "SELECT f(1)", function("f", PID, "x")) != first


def test_what_a_function_prints_is_told_and_a_great_deal_of_it_does_not_block(workers: Workers):
    heard: list[str] = []
    code = "import sys\ndef f(x):\n    print('row', x)\n    print('y' * 100, file=sys.stderr)\n    return x\n"
    sql = "SELECT sum(f(x)) FROM range(5000) t(x)"
    told = lambda event: heard.append(event.text) if isinstance(event, LogLine) else None  # noqa: E731
    workers().run(job(sql, function("f", code, "x")), told)
    assert heard.count("y" * 100) == 5000
    assert {"row 0", "row 4999"} <= set(heard)


def test_a_job_is_cancelled_in_the_middle_of_a_call(workers: Workers):
    worker = workers()
    code = "import time\ndef f(x):\n    print('begun')\n    time.sleep(600)\n"
    begun, raised = threading.Event(), []

    def run() -> None:
        try:
            worker.run(
                job("SELECT f(1)", function("f", code, "x")),
                lambda event: begun.set() if "begun" in str(event) else None,
            )
        except JobCancelled as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(60)
    started = time.monotonic()
    worker.cancel()
    thread.join(60)
    assert len(raised) == 1
    assert time.monotonic() - started < 30
    worker.end()
    worker.begin()
    assert one(worker, "SELECT f(1)", function("f", "def f(x):\n    return x\n", "x")) == 1


def test_an_answer_that_is_none_is_not_believed(workers: Workers):
    code = (
        "import gc, socket\n"
        "def f(x):\n"
        "    for channel in (o for o in gc.get_objects() if isinstance(o, socket.socket)):\n"
        "        channel.sendall((5).to_bytes(8, 'big') + b'+abcd')\n"
        "    return x\n"
    )
    with pytest.raises(FunctionError, match="cannot be read"):
        one(workers(), "SELECT f(1)", function("f", code, "x"))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("DATE", "'infinity'"),
        ("DATE", "'20000-01-01'"),
        ("TIMESTAMP", "'-infinity'"),
        ("TIMESTAMPTZ", "'infinity'"),
        ("DATE[]", "['infinity'::DATE]"),
    ],
)
def test_values_that_python_does_not_have_are_refused_with_their_argument(workers: Workers, kind: str, value: str):
    taken = Signature(arguments=(Argument(name="x", type=kind),), returns="BIGINT", body="def f(x):\n    return 1\n")
    item = function("f", "", "x")
    assert item.function is not None
    item = dataclasses.replace(item, function=dataclasses.replace(item.function, signatures=(taken,)))
    worker = workers()
    with pytest.raises(FunctionError, match="its argument x has a value that Python does not have"):
        one(worker, f"SELECT f({value}::{kind})", item)
    assert one(worker, f"SELECT f(NULL::{kind})", item) == 1


def test_code_is_loaded_when_a_call_is_described(workers: Workers):
    worker = workers()
    item = function("f", "def g(x):\n    return x\n", "x")
    asked = Job(key="k", database="lake", default_schema="s", action=Describe(sql="SELECT f(1)"), inputs=(item,))
    with pytest.raises(FunctionError, match=r"s\.f failed: functions/f\.py has no function 'f'"):
        worker.run(asked)


def test_where_nothing_holds_a_process_that_is_said_once(workers: Workers, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(python_cell, "_probe", lambda: (None, "there is no bwrap on the PATH"))
    heard: list[str] = []
    worker = workers()
    for factor in (2, 3):
        item = function("f", f"def f(x):\n    return x * {factor}\n", "x")
        assert worker.run(job("SELECT f(1)", item), lambda event: heard.append(str(event))).rows == [(factor,)]
    assert len([text for text in heard if "functions in Python run in processes of their own" in text]) == 1


def test_modules_of_the_profiles_folders_are_imported(workers: Workers, tmp_path: Path):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "of_mine.py").write_text("FACTOR = 3\n")
    worker = workers(module_paths=(str(tmp_path / "modules"),))
    code = "import of_mine\ndef f(x):\n    return x * of_mine.FACTOR\n"
    assert one(worker, "SELECT f(2)", function("f", code, "x")) == 6
    (tmp_path / "modules" / "of_mine.py").write_text("FACTOR = 4\n")
    worker.end()
    worker.begin()
    assert one(worker, "SELECT f(2)", function("f", code, "x")) == 8


@pytest.mark.parametrize(
    ("kind", "sent"), [("JSON", "VARCHAR"), ("HUGEINT", "VARCHAR"), ("JSON[]", "JSON[]"), ("DATE", "DATE")]
)
def test_some_types_travel_as_texts(kind: str, sent: str):
    assert transport(kind) == sent


@pytest.mark.parametrize(
    ("body", "scoped"),
    [("x + 1", False), ("SELECT x", False), ("SELECT max(y) FROM t", True), ("list_transform(l, y -> x)", True)],
)
def test_bodies_with_names_of_their_own_are_told_apart(body: str, scoped: bool):
    item = function("f", body, "x", language="sql")
    assert item.function is not None
    assert has_scopes(item.function) is scoped
