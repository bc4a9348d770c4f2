"""Models that become files beside the lake, as ``materialized='external'`` of dbt-duckdb does."""

from __future__ import annotations

import signal
from typing import Any

import duckdb
import pytest
from dbt_shop import Shop

from dbt.adapters.lakehouse.lake.base import MergeRequest

MODELS = {
    "models/people.sql": """
        {{ config(materialized='external', location='out/people.parquet') }}
        select range as id, 'p' || range as name from range({{ var('people', 3) }})
    """,
    "models/plain.sql": "{{ config(materialized='external', format='csv', delimiter=';') }} select 1 as a, 2 as b",
    "models/parts.sql": """
        {{ config(materialized='external', location="{{ target.external_root }}/parts", format='parquet',
                  options={'partition_by': 'id', 'compression': 'zstd'}) }}
        select * from {{ ref('people') }}
    """,
    "models/again.py": """
def model(dbt, session):
    dbt.config(materialized="external", location="out/again.json")
    return dbt.ref("people").df()
""",
    "models/reader.sql": "{{ config(materialized='table') }} select count(*) as n from {{ ref('parts') }}",
}
PROFILE = {"external_root": "files"}


def rows(shop: Shop, path: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return sorted(connection.execute(f"FROM '{shop.root / path}'").fetchall())


def files(shop: Shop) -> list[str]:
    found = [path for folder in ("out", "files") for path in (shop.root / folder).rglob("*") if path.is_file()]
    return sorted(str(path.relative_to(shop.root)) for path in found)


@pytest.fixture
def project(shop: Shop) -> Shop:
    shop.write(MODELS)
    shop.outputs(dev=PROFILE, feature={**PROFILE, "branch": "feature"})
    return shop


def test_models_become_files_when_their_run_is_published(project: Shop) -> None:
    project.write({"tests/fails.sql": "select * from {{ ref('people') }} where {{ var('broken', false) }}"})
    outcome = project.dbt("build", "--vars", "{broken: true}", code=1)
    assert "Nothing was published" in outcome.output
    assert files(project) == []

    # What had passed is not built again by the retry, and is written all the same.
    project.dbt("retry", "--vars", "{broken: false}")
    assert files(project) == [
        "files/parts/id=0/data_0.parquet",
        "files/parts/id=1/data_0.parquet",
        "files/parts/id=2/data_0.parquet",
        "files/plain.csv",
        "out/again.json",
        "out/people.parquet",
    ]
    assert rows(project, "out/people.parquet") == [(0, "p0"), (1, "p1"), (2, "p2")]
    assert rows(project, "out/again.json") == [(0, "p0"), (1, "p1"), (2, "p2")]
    assert (project.root / "files" / "plain.csv").read_text() == "a;b\n1;2\n"
    assert project.rows("from shop.reader") == [(3,)]

    # Nothing changed: no file is touched. Then one of them is gone, and comes back.
    before = (project.root / "out" / "people.parquet").stat().st_mtime_ns
    (project.root / "files" / "plain.csv").unlink()
    outcome = project.dbt("run")
    assert (project.root / "out" / "people.parquet").stat().st_mtime_ns == before
    assert "plain was written to" in outcome.output
    assert "people was written to" not in outcome.output
    assert (project.root / "files" / "plain.csv").exists()

    # Another branch has files of its own.
    project.dbt("run", "--target", "feature", "--select", "people", "parts", "--vars", "{people: 1}")
    assert rows(project, "out/@feature/people.parquet") == [(0, "p0")]
    assert rows(project, "out/people.parquet") == [(0, "p0"), (1, "p1"), (2, "p2")]
    assert "files/@feature/parts/id=0/data_0.parquet" in files(project)


def test_a_process_that_is_killed_before_it_writes_leaves_that_to_the_next(project: Shop) -> None:
    point = "before dbt.adapters.lakehouse.lake.exports:Exports.finish"
    project.dbt("run", "--select", "people", code=-signal.SIGKILL, DIE_AT=point)
    assert project.rows("select count(*) from shop.people") == [(3,)]
    assert files(project) == []
    # It need not be the same model.
    project.dbt("run", "--select", "plain")
    assert files(project) == ["files/plain.csv", "out/people.parquet"]


def test_what_cannot_be_written_fails_before_anything_is_published(shop: Shop) -> None:
    wrong = {
        "format": "location='out/x.avro'",
        "options": "location='out/x.parquet', options={'compression': 'lzx'}",
        "folder": "location='models', format='csv'",
        "two": "location='out/same.csv'",
        "more": "location='./out/same.csv'",
        "glue": "glue_register=true",
    }
    head = "{{{{ config(materialized='external', {}) }}}} select 1 as a"
    shop.write({f"models/{name}.sql": head.format(config) for name, config in wrong.items()})
    outcome = shop.dbt("run", code=1)
    for said in (
        "model.shop.format: format 'avro' of out/x.avro is none that is written; parquet, csv and json are",
        f"model.shop.options cannot be written to {shop.root}/out/x.parquet: ",
        f"{shop.root}/models is a folder, and one file is to be written",
        f"are both to be written to {shop.root}/out/same.csv",
        "model.shop.glue: glue_register is not known here",
        "Nothing was published",
    ):
        assert said in " ".join(outcome.output.split()), outcome.output
    assert not (shop.root / "out").exists()


def test_other_ways_to_publish(project: Shop) -> None:
    project.models(late="select error('late') as x from {{ ref('plain') }}")
    # Each node counts as it ends, and so does its file.
    project.dbt("run", "--select", "plain", "late", code=1, LAKEHOUSE_PUBLISH="each_node", LAKEHOUSE_PREFLIGHT="off")
    assert files(project) == ["files/plain.csv"]
    # What is left on its branch is written by nobody, until the model runs where it was merged to.
    outcome = project.dbt("run", "--select", "people", LAKEHOUSE_PUBLISH="manual")
    assert files(project) == ["files/plain.csv"]
    (run,) = {word.rstrip(";") for word in outcome.output.replace("`", " ").split() if word.startswith("run/")}
    with project.lake() as lake:
        lake.versions.merge(MergeRequest(source=run, target="main", author="ann"))
    project.dbt("run", "--select", "people")
    assert files(project) == ["files/plain.csv", "out/people.parquet"]
