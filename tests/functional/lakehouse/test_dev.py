"""``lakehouse dev``: real processes that watch real files."""

from __future__ import annotations

import signal
import time

import pytest
from dbt_shop import Shop
from dev_process import developing
from service_process import ServiceProcess

from dbt.adapters.lakehouse.catalog.model import RunStatus

ORDERS = "select * from (values (1, 'ann', 10), (2, 'bob', 20), (3, 'cid', 30)) as t(id, who, amount)"
SCHEMA = """
models:
  - name: orders
    columns:
      - name: id
        data_tests: [unique, not_null]
"""


AGAIN_AND_AGAIN = """
import gc
from pathlib import Path

from dbt.adapters.lakehouse.dev.resident import Resident, Told

resident = Resident(Told(project_dir=Path.cwd(), target="ann"), print, print)
for number in range(4):
    Path("models/other.sql").write_text(f"select {number} as one")
    assert resident.build(resident.parse(), ["other"], []).ok
gc.collect()
projects = [found for found in gc.get_objects() if type(found).__name__ == "Manifest"]
assert len(projects) == 1, len(projects)
"""


@pytest.fixture
def own(shop: Shop) -> Shop:
    """A shop with three models, built on main, and a target whose branch is another."""
    shop.models(
        orders=ORDERS,
        totals="select who, sum(amount) as total from {{ ref('orders') }} group by who",
        other="select 1 as one",
    )
    shop.write({"models/schema.yml": SCHEMA})
    shop.dbt("build")
    shop.outputs(ann={"branch": "ann"})
    return shop


def test_a_save_shows_rows_and_what_is_other_than_on_the_base_branch(own: Shop) -> None:
    with developing(own, "--target", "ann") as dev:
        dev.expect(
            "project shop, target ann: building on branch ann, compared with main", "3 reused.*published", "waiting"
        )

        own.models(orders=ORDERS.replace("20)", "25)").replace("(3, 'cid', 30)", "(4, 'dan', 40), (5, 'eve', 50)"))
        text = dev.expect("waiting")
        assert "models/orders.sql changed" in text
        assert "bob" in text
        assert "totals" not in text, "children are built when that is asked for"
        assert "orders against main: 3 → 4 rows, 2 added, 1 removed, 1 changed (amount in 1)" in text
        assert "~ id=2  amount: 20 → 25" in text
        assert "2 tests passed; published to ann" in text
        assert (4, "dan", 40) in own.rows("select * from orders", "ann")
        assert (4, "dan", 40) not in own.rows("select * from orders", "main")

        own.models(orders="select id, who, amount * 1.5 as amount, true as paid from (" + ORDERS + ")")
        text = dev.expect("waiting")
        assert "~ amount INTEGER → DECIMAL(12,1)" in text
        assert "+ paid BOOLEAN" in text

        assert dev.end() == 130
        assert "stopped" in dev.output
        assert "Traceback" not in dev.output


def test_what_is_wrong_is_shown_and_watching_goes_on(own: Shop) -> None:
    with developing(own, "--target", "ann", "--no-initial") as dev:
        dev.expect("waiting")

        own.models(orders="select 1 as id,\n  nonsense as who,\n  {{ 3 }} as amount")
        text = dev.expect("waiting")
        assert "models/orders.sql:3 cannot be built" in text  # the first line is the config
        assert 'Referenced column "nonsense" was not found' in text

        own.models(orders="select 1 as id,\n  cast('ten' as integer) as amount")
        assert "Could not convert string 'ten' to INT32" in dev.expect(
            "1 in error, 2 skipped; nothing was published", "waiting"
        )

        own.models(orders="select {{ 1 as id")
        assert "models/orders.sql" in dev.expect("cannot be built", "waiting")

        own.models(orders=ORDERS)
        own.write({"models/schema.yml": SCHEMA.replace("- name: id", "- name: [")})
        assert "models/schema.yml" in dev.expect(r"schema\.yml:\d+ cannot be built", "waiting")
        own.write({"models/schema.yml": SCHEMA})
        dev.expect("waiting")

        # A test that fails keeps back what was built, but it can be looked at.
        own.models(orders=ORDERS.replace("(2, 'bob'", "(1, 'bob'"))
        text = dev.expect("unique_orders_id failed", "nothing was published", "waiting")
        assert "orders against main" in dev.output
        assert " 1  bob" in dev.output
        assert own.rows("select id from orders", "ann") != [(1,), (1,), (3,)]

        own.write({"dbt_project.yml": "name: shop\nprofile: [\n"})
        dev.expect("cannot be built", "waiting")
        own.write({"profiles.yml": own.read("profiles.yml").replace("type: lakehouse", "type: lakehose")})
        dev.expect("cannot be built", "waiting")
        own.outputs(ann={"branch": "ann"})
        own.write({"dbt_project.yml": 'name: shop\nversion: "1.0"\nprofile: shop\n'})
        dev.expect("dbt_project.yml.*: nothing to build", "waiting")

        # What failed stands in nobody's way: what has to do with it brings it back.
        own.models(other="select 2 as one")
        assert "orders" not in dev.expect("1 built; published to ann", "waiting")
        own.models(orders=ORDERS.replace("10", "11"))
        dev.expect("published to ann", "waiting")
        assert (1, "ann", 11) in own.rows("select * from orders", "ann")
        assert dev.process.poll() is None


def test_files_come_and_go(own: Shop) -> None:
    with developing(own, "--target", "ann", "--no-initial", "--children") as dev:
        dev.expect("waiting")
        (own.root / "models" / "orders.sql").rename(own.root / "models" / "bought.sql")
        dev.expect("cannot be built", "waiting")
        own.models(totals="select who, count(*) as n from {{ ref('bought') }} group by who")
        own.write({"models/schema.yml": SCHEMA.replace("orders", "bought")})
        dev.expect("orders is gone from the project", "published to ann")
        assert own.rows("select * from totals", "ann") == [("ann", 1), ("bob", 1), ("cid", 1)]
        dev.expect("waiting")

        # A folder that was not there is watched once it is; what depends on a seed is built with --children.
        own.write({"seeds/regions.csv": "id,name\n1,north\n"})
        dev.expect("regions  shop.regions", "north", "published to ann", "waiting")
        own.models(named="select * from {{ ref('regions') }}")
        dev.expect("named  shop.named", "published to ann", "waiting")
        own.write({"seeds/regions.csv": "id,name\n1,south\n"})
        dev.expect("south", "2 built", "published to ann", "waiting")
        assert own.rows("select name from named", "ann") == [("south",)]

        # A macro changes the models that call it.
        own.write({"macros/twice.sql": "{% macro twice(x) %}{{ x }} * 2{% endmacro %}"})
        own.models(other="select {{ twice(4) }} as one")
        dev.expect(r"other  shop\.other", "8", "published", "waiting")
        own.write({"macros/twice.sql": "{% macro twice(x) %}{{ x }} * 2 + 1{% endmacro %}"})
        dev.expect("macros/twice.sql changed", r"other  shop\.other", "9", "1 built", "waiting")

        # What editors, dbt and the lake write is no change.
        before = dev.output
        for name in (
            "models/.orders.sql.swp",
            "models/orders.sql~",
            "models/#orders.sql#",
            "models/4913",
            "target/run.sql",
        ):
            own.write({name: "select 1"})
        own.write({"models/__pycache__/x.pyc": "1", "logs/dbt.log": "x"})
        (own.root / "models" / "other.sql").unlink()
        dev.expect("other: gone|other is gone", "waiting")
        assert "swp" not in dev.output.removeprefix(before)
        assert dev.output.removeprefix(before).count("waiting") == 1


def test_a_save_overtakes_the_build_that_runs(own: Shop) -> None:
    slow = "select count(*) as n from range(100000000) as a(x), range(100000) as b(y) where x % 7 = y % 5"
    with developing(own, "--target", "ann", "--no-initial") as dev:
        dev.expect("waiting")
        own.models(other=slow)
        deadline = time.monotonic() + 30
        while not [run for run in own.runs() if run.target == "ann" and run.status is RunStatus.OPEN]:
            assert time.monotonic() < deadline, dev.output
            time.sleep(0.05)
        own.models(other="select 5 as one")
        dev.expect("cancelled", "other.sql changed", "5", "published to ann", "waiting")
        assert own.rows("select * from other", "ann") == [(5,)]

        # Ctrl-C in the midst of a build leaves the branch as it was, and no run that looks open.
        own.models(other=slow)
        while not [run for run in own.runs() if run.status is RunStatus.OPEN]:
            assert time.monotonic() < deadline, dev.output
            time.sleep(0.05)
        assert dev.end() == 130
    assert own.rows("select * from other", "ann") == [(5,)]
    assert own.runs()[0].status is RunStatus.ABANDONED


def test_json_tells_of_each_build_on_a_line(own: Shop) -> None:
    with developing(own, "--target", "ann", "--json", "--rows", "2", "--select", "orders other") as dev:
        assert dev.documents("started")["branch"] == "ann"
        first = dev.documents("build")
        assert first["ok"] is True
        assert {node["id"] for node in first["nodes"] if node["kind"] == "model"} == {
            "model.shop.orders",
            "model.shop.other",
        }
        dev.documents("waiting")
        own.models(orders=ORDERS.replace("20)", "25)"), totals="select 1 as x")
        build = dev.documents("build")
        assert build["files"] == ["models/orders.sql", "models/totals.sql"]
        (orders,) = [node for node in build["nodes"] if node["kind"] == "model"]
        assert orders["rows"] == [{"id": 1, "who": "ann", "amount": 10}, {"id": 2, "who": "bob", "amount": 25}]
        assert orders["diff"]["rows"]["changed"] == 1
        assert orders["diff"]["rows"]["samples"][0]["before"] == {"id": 2, "who": "bob", "amount": 20}
        dev.documents("waiting")
        own.models(orders="select 1 as id, x.y from {{ nothing() }}")
        assert dev.documents("(build|problem)")
        assert dev.end(signal.SIGTERM) == 130


def test_the_base_branch_itself_is_left_alone(own: Shop) -> None:
    with developing(own) as dev:
        assert dev.process.wait(60) == 1
        assert "the target 'dev' builds on 'main', the branch to compare with" in dev.output
    with developing(own, "--on-base", "--once") as dev:
        assert dev.process.wait(60) == 0
        assert "reused" in dev.output
    with own.lake() as lake:
        lake.catalog.create_ref("release", lake.catalog.refs()[0].kind, "main")
        lake.catalog.protect("release", True)
    own.outputs(release={"branch": "release"})
    with developing(own, "--target", "release") as dev:
        assert dev.process.wait(60) == 1
        assert "'release', which is protected" in dev.output


def test_once_fails_with_the_build(own: Shop) -> None:
    own.models(totals="select nonsense from {{ ref('orders') }}")
    with developing(own, "--target", "ann", "--once") as dev:
        assert dev.process.wait(60) == 1
        assert "models/totals.sql:2 cannot be built" in dev.output


def test_a_lake_behind_a_service(own: Shop) -> None:
    with ServiceProcess(own.root / "lake") as service:
        own.environment["LAKEHOUSE_TOKEN"] = service.token("ann", "developer")
        own.write(
            {
                "profiles.yml": "shop:\n  target: dev\n  outputs:\n    dev: {type: lakehouse, schema: shop, branch: ann/dev, "
                f'threads: 2, service: "{service.url}"}}\n'
            }
        )
        with developing(own, "--no-initial") as dev:
            dev.expect("waiting")
            own.models(orders=ORDERS.replace("20)", "25)"))
            text = dev.expect("published to ann/dev", "waiting")
            assert "bob      25" in text
            assert "~ id=2  amount: 20 → 25" in text
            assert dev.end() == 130


def test_python_models_and_the_modules_that_they_import(own: Shop) -> None:
    head = "def model(dbt, session):\n    dbt.config(materialized='table')\n"
    own.write(
        {
            "helpers.py": "FACTOR = 2\n",
            "models/scored.py": f"import helpers\n\n\n{head}    return session.sql(f'select {{helpers.FACTOR}} as factor')\n",
            "models/plain.py": f"{head}    return session.sql('select 7 as seven')\n",
        }
    )
    with developing(own, "--target", "ann") as dev:
        dev.expect("2 built, 3 reused", "waiting")
        own.write({"helpers.py": "FACTOR = 3\n"})
        text = dev.expect("published to ann", "waiting")
        assert "helpers.py changed" in text
        assert "1 built, 1 reused" in text
        assert "scored  shop.scored" in text
        assert "plain" not in text, "it does not import what was saved"
        assert own.rows("select * from scored", "ann") == [(3,)]
        own.write(
            {
                "models/plain.py": f"{head}    raise ValueError('no such thing')\n    return session.sql('select 1 as x')\n"
            }
        )
        text = dev.expect("nothing was published", "waiting")
        assert "plain in error  models/plain.py:3" in text
        assert "no such thing" in text


def test_the_branch_that_git_has_checked_out(own: Shop) -> None:
    own.write({".git/HEAD": "ref: refs/heads/feature\n"})
    own.outputs(own={"branch": "git"})
    with developing(own, "--target", "own", "--select", "orders") as dev:
        dev.expect("building on branch feature", "1 reused, 2 tests passed; published to feature", "waiting")
        own.write({".git/HEAD": "ref: refs/heads/other\n"})
        dev.expect("building on branch other", "published to other", "waiting")
        own.write({".git/HEAD": "ref: refs/heads/main\n"})
        dev.expect("builds on 'main', the branch to compare with", "waiting")
        before = own.head()
        own.models(orders=ORDERS.replace("20)", "25)"))
        dev.expect("builds on 'main'", "waiting")
        assert own.head() == before
        own.write({".git/HEAD": "ref: refs/heads/other\n"})
        dev.expect("~ id=2  amount: 20 → 25", "published to other", "waiting")


def test_the_keyboard(own: Shop) -> None:
    with developing(own, "--target", "ann", "--no-initial", terminal=True) as dev:
        dev.expect("waiting")
        own.models(orders=ORDERS.replace("20)", "25)"))
        dev.expect("orders.sql changed", "published to ann", "waiting")
        dev.type("")
        assert "orders  shop.orders, as built before" in dev.expect("once more", "1 reused", "waiting")
        dev.type("q")
        assert dev.process.wait(60) == 0


def test_an_invocation_leaves_no_project_in_memory(own: Shop) -> None:
    own.python(AGAIN_AND_AGAIN)
