"""With real dbt: what commits say of how they came about, and runs that are done again from that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dbt_shop import Shop

from dbt.adapters.lakehouse.catalog.model import Commit, RunRecord

WHO = ("-c", "user.name=ann", "-c", "user.email=ann@example.com", "-c", "commit.gpgsign=false")
SNAPSHOT = """
{% snapshot history %}
{{ config(unique_key='id', strategy='check', check_cols=['v']) }}
select id, v from {{ ref('raw') }}
{% endsnapshot %}
"""


def lakehouse(shop: Shop, *arguments: str, code: int = 0) -> str:
    """What a real `lakehouse` prints; if it fails without a result, what it says of that."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lakehouse")), *arguments],
        cwd=shop.root,
        env={**os.environ, **shop.environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout or done.stderr


def again(shop: Shop, run: str, *arguments: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lakehouse(shop, "rerun", run, "--json", *arguments, code=code))
    return found


def built(shop: Shop, run: RunRecord) -> list[Commit]:
    """The commits of a run that is published."""
    with shop.lake() as lake:
        assert run.published is not None
        head = lake.catalog.resolve(run.published).parents[1]
        return [commit for commit in lake.catalog.log(head) if commit.run == run.id]


def outcomes(found: dict[str, Any]) -> dict[str, str]:
    return {table["name"]: table["outcome"] for table in found["tables"]}


@pytest.fixture
def project(shop: Shop) -> Shop:
    """A project in git that has been built, with a seed, a snapshot, a view, hooks, and models of several kinds."""
    shop.write(
        {
            "seeds/raw.csv": "id,v\n1,a\n2,b\n",
            "snapshots/history.sql": SNAPSHOT,
            ".gitignore": "target\nlogs\nlake\noutput\n",
        }
    )
    shop.models(
        staged="{{ config(materialized='view') }} select id, v from {{ ref('raw') }}",
        orders="{{ config(materialized='table', post_hook=\"insert into {{ this }} values (0, 'hook')\") }} "
        "select id, v from {{ ref('staged') }}",
        grown="{{ config(materialized='incremental', unique_key='id') }} select id, v from {{ ref('staged') }}",
        lucky="select id, random() as luck from {{ ref('orders') }}",
    )
    shop.write(
        {
            "models/py.py": "def model(dbt, session):\n    orders = dbt.ref('orders')\n    return orders.filter('id > 0')\n"
        }
    )
    for arguments in (["init", "-b", "trunk"], ["add", "."], ["commit", "-m", "first"]):
        subprocess.run(["git", *WHO, *arguments], cwd=shop.root, check=True, capture_output=True)
    shop.dbt("build", LAKEHOUSE_AUTHOR="ann")
    return shop


def test_a_past_run_is_done_again_and_chance_is_named(project: Shop) -> None:
    shop = project
    first = shop.runs()[0]
    before = shop.tables("main")

    # What commits say of the code that they came from.
    made = [commit for commit in built(shop, first) if commit.provenance.get("node")]
    for commit in made:
        said = commit.provenance
        assert said["git"]["branch"] == "trunk"
        assert (len(said["git"]["commit"]), said["git"]["dirty"]) == (40, False)
        assert said["versions"].keys() == {"duckdb", "dbt", "dbt-lakehouse", "python"}
        assert (said["command"], said["invocation"]) == ("dbt build", first.id)
        assert "reused" in said or said["seconds"] >= 0

    shop.write({"seeds/raw.csv": "id,v\n1,z\n3,c\n"})
    shop.models(orders="select id, 'edited' as v from {{ ref('staged') }}")
    shop.dbt("build")
    second = shop.runs()[0]
    main = shop.tables("main")
    assert main != before
    edited = next(c for c in built(shop, second) if c.provenance.get("node") == "model.shop.orders")
    assert edited.provenance["git"]["dirty"] is True

    found = again(shop, first.id[:8], code=1)
    outcome = outcomes(found)
    assert outcome["lucky"] == "differs"
    # The time at which a row came is written into the snapshot.
    assert outcome["history"] == "differs"
    assert outcome["raw"] == "taken"
    others = {name: said for name, said in outcome.items() if name not in ("lucky", "history", "raw")}
    assert others == dict.fromkeys(("staged", "orders", "grown", "py"), "equal")
    why = {table["name"]: (table["values"], table["why"]) for table in found["tables"]}
    assert why["lucky"] == (["luck"], ["it calls random, which is volatile"])
    assert {"dbt_valid_from", "dbt_updated_at"} <= set(why["history"][0])
    assert any("depends on the time" in text for text in why["history"][1])
    assert shop.tables("main") == main
    then = {name: rows for name, rows in before.items() if name not in ("shop.lucky", "shop.history")}
    assert {name: rows for name, rows in shop.tables(found["branch"]).items() if name in then} == then

    # The second run, in which incremental tables and the snapshot started from what stood there.
    outcome = outcomes(again(shop, second.id, "--branch", "second", code=1))
    assert {name for name, said in outcome.items() if said not in ("equal", "taken")} == {"lucky", "history"}
    assert shop.rows("select id, v from grown", "second") == shop.rows("select id, v from grown")

    text = lakehouse(shop, "rerun", first.id, code=1)
    assert "shop.lucky" in text
    assert "other values in luck; it calls random, which is volatile" in text
    assert "error: no run" in lakehouse(shop, "rerun", "ffffffff", code=1)
