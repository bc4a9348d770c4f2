"""Damaged lakes, missing rights and room, odd names and wrong configuration: a clear error, and nothing half done."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from dbt_shop import Shop

from dbt.adapters.lakehouse.catalog.model import RunStatus

GARBAGE = b"not a database at all" * 500


@pytest.mark.parametrize("damage", ["garbage", "foreign", "folder"])
def test_a_catalog_that_is_none(shop: Shop, damage: str) -> None:
    shop.models(a="select 1 as id")
    file = shop.root / "lake" / "catalog.sqlite"
    file.parent.mkdir()
    if damage == "garbage":
        file.write_bytes(GARBAGE)
    elif damage == "foreign":
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE orders (id INT)")
        connection.close()
    else:
        file.mkdir()
    outcome = shop.dbt("run", code=None)
    assert outcome.code in (1, 2)
    expected = "is a folder, not a file" if damage == "folder" else "is not a lakehouse catalog"
    assert expected in " ".join(outcome.output.split())
    assert "Traceback" not in outcome.output
    if damage == "garbage":
        assert file.read_bytes() == GARBAGE
    if damage == "foreign":
        with sqlite3.connect(file) as connection:
            assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("orders",)]
        connection.close()


def test_a_warehouse_that_is_a_file(shop: Shop) -> None:
    shop.models(a="select 1 as id")
    (shop.root / "lake").write_text("I am a file")
    outcome = shop.dbt("run", code=None)
    assert outcome.code in (1, 2)
    assert f"cannot write file://{shop.root}/lake" in " ".join(outcome.output.split())
    assert "Traceback" not in outcome.output


def test_a_warehouse_without_the_right_to_write(shop: Shop) -> None:
    shop.models(a="select 1 as id")
    shop.dbt("run")
    head = shop.head()
    lake = shop.root / "lake"
    folders = [lake, *(path for path in lake.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    outcome = shop.dbt("run", code=None, WITHOUT_PRIVILEGES="1")
    for folder in folders:
        folder.chmod(0o755)
    assert outcome.code in (1, 2), outcome.output
    assert "check the permissions" in outcome.output or "permission is denied" in outcome.output.lower()
    assert "Traceback" not in outcome.output
    assert shop.head() == head
    shop.dbt("run")
    assert shop.tables() == {"shop.a": [(1,)]}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(shop: Shop, small_disk: Path) -> None:
    shop.outputs(small={"warehouse": f"{small_disk}/lake"})
    shop.models(a="select 1 as id", b="select 1 as id -- {{ ref('a') }}")
    shop.dbt("run", "--target", "small")
    keys = {"warehouse": f"{small_disk}/lake"}
    with shop.lake(**keys) as lake:
        head = lake.catalog.resolve("main").id
    shop.models(a="select 2 as id", b="select hash(i) as h from range(2000000) r(i) -- {{ ref('a') }}")
    outcome = shop.dbt("run", "--target", "small", code=None)
    assert outcome.code in (1, 2)
    assert "No space left on device" in outcome.output or "disk is full" in outcome.output
    with shop.lake(**keys) as lake:
        assert lake.catalog.resolve("main").id == head
        assert lake.runs()[0].status in (RunStatus.FAILED, RunStatus.ABANDONED)
    shop.models(b="select hash(i) as h from range(100) r(i) -- {{ ref('a') }}")
    shop.dbt("run", "--target", "small")
    with shop.lake(**keys) as lake:
        session = lake.read("main", "shop")
        assert session.execute("select (select id from a), count(*) from b").rows == [(2, 100)]
        session.close()


COLUMNS = 'select 1 as "a b", 2 as "select", 3 as "Ünï.cödé", 4 as "q""uote", 5 as "it\'s", 6 as "MiXed", 7 as "🦆"'


def test_odd_names(shop: Shop) -> None:
    names = ["order", "two words", "dot.ted", "Ünïcödé", "MixedCase", "it's", "per%cent", "a;b", "🦆", "x" * 100]
    models = {}
    for number, name in enumerate(names):
        head = f"""{{{{ config(materialized='table', alias="{name}", schema='odd.Schema') }}}}"""
        below = f" from {{{{ ref('m{number - 1}') }}}}" if number else ""
        select = 'select "a b", "select", "Ünï.cödé", "q""uote", "it\'s", "MiXed", "🦆"'
        models[f"m{number}"] = head + (select if number else COLUMNS) + below
    models["grown"] = """
        {{ config(materialized='incremental', unique_key='"a b"', alias='in cre.mental', incremental_strategy='merge') }}
        select * from {{ ref('m3') }}"""
    models["seen"] = "{{ config(materialized='view', alias='a view') }} select * from {{ ref('grown') }}"
    shop.models(**models)
    macro = "{% macro generate_schema_name(name, node) %}{{ name or 'Shop Floor' }}{% endmacro %}"
    shop.write({"macros/schema.sql": macro})
    shop.dbt("run")
    shop.dbt("run")
    tables = shop.tables()
    expected = {f"odd.Schema.{name}" for name in names} | {"Shop Floor.in cre.mental", "Shop Floor.a view"}
    assert set(tables) == expected
    assert all(rows == [(1, 2, 3, 4, 5, 6, 7)] for rows in tables.values())


def test_wrong_configuration_names_what_would_be_right(shop: Shop) -> None:
    shop.models(
        a="{{ config(materialized='incremental', on_schema_change='maybe') }} select 1 as id",
        b="{{ config(materialized='table', partition_by='nope(id)') }} select 1 as id",
        c="{{ config(materialized='incremental', incremental_strategy='wild') }} select 1 as id",
        d="{{ config(materialized='table', partition_by='missing') }} select 1 as id",
        e="{{ config(materialized='table', table_properties='x') }} select 1 as id",
        good="select 1 as id",
    )
    outcome = shop.dbt("run", code=1)
    text = " ".join(outcome.output.split())
    for words in ("maybe", "nope(id)", "wild", "missing", "table_properties"):
        assert words in text
    assert "append_new_columns" in text
    assert "Done. PASS=1 WARN=0 ERROR=5" in text
    assert shop.tables() == {}


def test_more_memory_than_there_is(shop: Shop) -> None:
    shop.outputs(
        spills={"memory_limit": "150MB", "threads": 1},
        full={"memory_limit": "60MB", "threads": 1, "settings": "{max_temp_directory_size: 0KB}"},
    )
    big = "select hash(i) as h, repeat('x', 80) || i as s from range(1500000) r(i) order by h"
    shop.models(big=big, after="select count(*) as n from {{ ref('big') }}")
    shop.dbt("run", "--target", "spills")
    assert shop.tables()["shop.after"] == [(1500000,)]
    shop.models(big=big, after="select 1 as n")
    outcome = shop.dbt("run", "--target", "full", code=1)
    assert "needs more memory than its limit of 60MB" in outcome.output
    assert "Done. PASS=1" in outcome.output


RAISES = """
def deeper(value):
    return 1 / value


def model(dbt, session):
    dbt.config(materialized="table")
    return deeper(0)
"""


def test_python_models_that_are_wrong(shop: Shop) -> None:
    shop.write(
        {
            "models/raises.py": RAISES,
            "models/wrong.py": "def model(dbt, session):\n    return {'not': 'a table'}\n",
            "models/nothing.py": "def model(dbt, session):\n    return None\n",
            "models/syntax.sql": "{{ config(materialized='table') }} selec 1",
        }
    )
    outcome = shop.dbt("run", code=1, LAKEHOUSE_PREFLIGHT="warn")
    assert "models/raises.py" in outcome.output
    assert "line 3, in deeper" in outcome.output
    assert "ZeroDivisionError: division by zero" in outcome.output
    assert "worker.py" not in outcome.output
    assert "the model returned a builtins.dict; return a DuckDB relation" in outcome.output
    assert "the model returned a builtins.NoneType" in outcome.output
    assert shop.tables() == {}
