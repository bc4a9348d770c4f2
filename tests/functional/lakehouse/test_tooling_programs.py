"""dbt as orchestrators use it: many times in a process, with a manifest of their own, and as a process for each node."""

from __future__ import annotations

import contextlib
import json
import shutil

from dbt_shop import Shop

MANY = """
import gc, os, tempfile, threading
from dbt.cli.main import dbtRunner
from dbt_common.events.event_manager_client import get_event_manager

finished = []
def heard(event):
    if event.info.name == "NodeFinished":
        finished.append(event.data.node_info.unique_id)

def used():
    gc.collect()
    return {
        "threads": threading.active_count(),
        "threads of libraries": len(os.listdir("/proc/self/task")),
        "files": len(os.listdir("/proc/self/fd")),
        "callbacks": len(get_event_manager().callbacks),
        "temporary": len(os.listdir(tempfile.gettempdir())),
    }

runner = dbtRunner(callbacks=[heard])
manifests = {}
for project in ("one", "two"):
    parsed = dbtRunner().invoke(["parse", "--project-dir", project, "--profiles-dir", project])
    assert parsed.success, parsed.exception
    manifests[project] = parsed.result
seen = []
for number in range(10):
    project = ("one", "two")[number % 2]
    os.environ["WHICH_NUMBER"] = str(number)
    where = ["--project-dir", project, "--profiles-dir", project]
    if number in (6, 7):
        done = dbtRunner(manifest=manifests[project], callbacks=[heard]).invoke(["run", *where])
    else:
        done = runner.invoke(["run", *where])
    assert done.success, done.exception
    assert [result.node.name for result in done.result] == ["a"]
    seen.append(used())
assert len(finished) == 10, finished
os.environ["WHICH_NUMBER"] = "error('on purpose')"
failed = runner.invoke(["run", "--project-dir", "one", "--profiles-dir", "one"])
assert not failed.success and "on purpose" in failed.result.results[0].message
print(seen)
for what in seen[4]:
    assert seen[9][what] <= max(seen[3][what], seen[4][what], seen[5][what]), (what, seen)
"""


AT_ONCE = """
import threading
from dbt.cli.main import dbtRunner

began, over = threading.Event(), threading.Event()
def heard(event):
    if event.info.name == "LogStartLine":
        began.set()
        assert over.wait(60)

first = []
thread = threading.Thread(target=lambda: first.append(dbtRunner(callbacks=[heard]).invoke(["build"])))
thread.start()
assert began.wait(60)
second = dbtRunner().invoke(["run", "--select", "b"])
over.set()
thread.join()
for done in (first[0], second):
    assert not done.success
    assert "`dbt build` and another dbt command ran in this process at the same time" in str(done.exception), done
"""


def test_two_commands_at_once_in_a_process_publish_nothing(shop: Shop) -> None:
    shop.models(a="select 1 as x", b="select 2 as x")
    shop.python(AT_ONCE)
    assert shop.tables() == {}
    assert [run.status.value for run in shop.runs()] in ([], ["abandoned"])
    shop.python(
        "from dbt.cli.main import dbtRunner\n"
        "import threading\n"
        "for number in range(2):\n"
        "    done = []\n"
        "    thread = threading.Thread(target=lambda: done.append(dbtRunner().invoke(['build'])))\n"
        "    thread.start()\n"
        "    thread.join()\n"
        "    assert done[0].success, done[0].exception\n"
    )
    assert set(shop.tables()) == {"shop.a", "shop.b"}


def test_one_process_runs_dbt_many_times(shop: Shop) -> None:
    """Two projects in turn, each with a lake of its own: nothing is left of an invocation when the next one begins."""
    shop.models(a="select {{ env_var('WHICH_NUMBER', '0') }} as id")
    for name in ("one", "two"):
        shutil.copytree(shop.root / "models", shop.root / name / "models")
        shutil.copy(shop.root / "dbt_project.yml", shop.root / name)
        profile = shop.read("profiles.yml").replace("./lake", str(shop.root / name / "lake"))
        shop.write({f"{name}/profiles.yml": profile, "temporary/.keep": ""})
    shop.environment["TMPDIR"] = str(shop.root / "temporary")
    shop.python(MANY)
    one, two = Shop.__new__(Shop), Shop.__new__(Shop)
    one.root, two.root = shop.root / "one", shop.root / "two"
    assert one.rows("from shop.a") == [(8,)]
    assert two.rows("from shop.a") == [(9,)]
    assert sorted(path.name for path in (shop.root / "temporary").iterdir()) == [".keep"]


def test_a_process_for_each_node(shop: Shop) -> None:
    """What Airflow's Cosmos does: list the nodes, then build each one by itself, some at once, all on one branch."""
    shop.models(
        a="select 1 as id",
        b="select id + 1 as id from {{ ref('a') }}",
        c="select id + 2 as id from {{ ref('a') }}",
        d="select id + 3 as id from {{ ref('a') }}",
        e="select b.id + c.id + d.id as id from {{ ref('b') }} b, {{ ref('c') }} c, {{ ref('d') }} d",
    )
    listed = shop.dbt("--quiet", "ls", "--output", "json", "--output-keys", "unique_id", "name", "depends_on").output
    nodes = {one["name"]: one for one in map(json.loads, listed.splitlines())}
    assert nodes["e"]["depends_on"]["nodes"] == ["model.shop.b", "model.shop.c", "model.shop.d"]

    def command(name: str) -> tuple[str, ...]:
        own = ("--target-path", f"targets/{name}", "--log-path", f"logs/{name}")
        return ("--log-format", "json", "build", "--select", name, *own)

    said = {"a": shop.dbt(*command("a")).output}
    with contextlib.ExitStack() as stack:
        started = {name: stack.enter_context(shop.start(*command(name))) for name in "bcd"}
        outcomes = {name: process.wait() for name, process in started.items()}
    assert {name: outcome.code for name, outcome in outcomes.items()} == dict.fromkeys("bcd", 0), outcomes
    said |= {name: outcome.output for name, outcome in outcomes.items()}
    said["e"] = shop.dbt(*command("e")).output
    for name, output in said.items():
        assert [line for line in output.splitlines() if not line.startswith("{")] == []
        events = [json.loads(line) for line in output.splitlines()]
        results = [event["data"] for event in events if event["info"]["name"] == "LogModelResult"]
        assert [result["node_info"]["node_name"] for result in results] == [name]
        assert any("Published to branch main" in event["info"]["msg"] for event in events)
    assert shop.rows("from shop.e") == [(9,)]
    assert len(shop.log()) == 6  # the first one makes the lake
    assert shop.branches() == ["main"]
