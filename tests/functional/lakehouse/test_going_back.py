"""Going back in a project that real dbt processes build: the commands, what is stale, and dbt's warning of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from dbt_shop import Shop

WARNING = "stale: shop."


def lakehouse(shop: Shop, *arguments: str, code: int = 0) -> str:
    program = Path(sys.executable).parent / "lakehouse"
    done = subprocess.run(
        [program, *arguments, "--profiles-dir", str(shop.root)],
        cwd=shop.root,
        env={**os.environ, "LAKEHOUSE_AUTHOR": "ada"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_dbt_warns_of_what_it_reads_without_building_it(shop: Shop) -> None:
    shop.models(
        a="select 1 as id",
        b="select id + 10 as id from {{ ref('a') }}",
        between="{{ config(materialized='ephemeral') }} select id from {{ ref('b') }}",
        c="select id + 100 as id from {{ ref('between') }}",
        over="{{ config(materialized='view') }} select id from {{ ref('b') }}",
        d="select id + 1000 as id from {{ ref('over') }}",
    )
    shop.write({"models/b.yml": "models: [{name: b, columns: [{name: id, data_tests: [not_null]}]}]"})
    assert WARNING not in shop.dbt("build").output
    shop.models(a="select 2 as id")
    assert WARNING not in shop.dbt("build").output
    tables = shop.tables()
    assert (tables["shop.a"], tables["shop.b"], tables["shop.c"]) == ([(2,)], [(12,)], [(112,)])
    lakehouse(shop, "branch", "protect", "main")
    lakehouse(shop, "revert", "shop.a", "--to", "main~1", "--knowingly")

    # c stands on b through a model that is nowhere, d through a view; b was computed from the other a.
    for arguments in (("run", "--select", "c"), ("run", "--select", "d"), ("test",)):
        output = shop.dbt(*arguments).output
        assert output.count("1 table is read but not built by this run, and stale: shop.b.") == 1
        assert "`lakehouse check main` shows why" in output
    assert "shop.b" not in shop.dbt("--warn-error", "run", "--select", "a+").output.partition("stale")[2]
    (first, *_) = json.loads(lakehouse(shop, "check", "main~1", "--json", code=1))
    assert (first["name"], first["inputs"][0]["input"]) == ("b", "shop.a")
    lakehouse(shop, "check")
    assert WARNING not in shop.dbt("test").output
