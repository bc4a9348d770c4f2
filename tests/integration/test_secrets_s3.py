"""A lake on local disk that reads and writes S3 by the secrets of its profile, through DuckDB and through fsspec."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from s3_server import S3

from dbt.adapters.lakehouse.lake.base import Build, Built, Name, RunRequest
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.lake.exports import Export, Exports
from dbt.adapters.lakehouse.profile import lake_settings


def secret(s3: S3) -> dict[str, Any]:
    return {
        "type": "s3",
        "key_id": s3.key,
        "secret": s3.secret,
        "endpoint": s3.endpoint,
        "url_style": "path",
        "use_ssl": False,
        "region": "us-east-1",
        "scope": s3.uri,
    }


@pytest.fixture
def lake(tmp_path: Path, s3: S3) -> Iterator[EmbeddedLake]:
    wrong = {**secret(s3), "key_id": "nobody", "scope": "s3://"}
    profile = {"type": "lakehouse", "warehouse": "./lake", "secrets": [wrong, secret(s3)]}
    with closing(EmbeddedLake.open(lake_settings(profile, tmp_path))) as lake:
        yield lake


def build(lake: EmbeddedLake, sql: str, *files: str) -> Built:
    run = lake.open_run(RunRequest(id=uuid.uuid4().hex, command="dbt run", branch="main"))
    with closing(run.session()) as session:
        built = session.build(Build(name=Name(database="lake", schema="main", name="t"), sql=sql, files=files))
    run.publish()
    return built


def put(s3: S3, name: str, body: bytes) -> None:
    bucket, _, prefix = s3.uri.removeprefix("s3://").partition("/")
    s3.client().put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=body)


def test_files_in_s3_are_read_and_known_by_the_same_secret(lake: EmbeddedLake, s3: S3) -> None:
    put(s3, "in/a.csv", b"x\n1\n")
    pattern = f"{s3.uri}/in/*.csv"
    sql = f"SELECT * FROM read_csv('{pattern}')"
    assert build(lake, sql, pattern).why_not == ()
    assert build(lake, sql, pattern).reused is not None
    put(s3, "in/b.csv", b"x\n2\n")
    changed = build(lake, sql, pattern)
    assert changed.reused is None
    assert changed.rows_written == 2


def test_tables_become_files_in_s3(lake: EmbeddedLake, s3: S3) -> None:
    exports = Exports(lake)
    export = Export(
        node="model.shop.t",
        schema="main",
        name="t",
        branch="main",
        location=f"{s3.uri}/out/t.parquet",
        options={"format": "parquet"},
    )
    build(lake, "SELECT 1 AS a")
    exports.check(export, "main")
    assert s3.names() == set()
    assert exports.write(export)
    assert not exports.write(export)
    put(s3, "out/t.parquet", b"by another")
    assert exports.write(export)
    with closing(lake.read("main")) as session:
        assert session.execute(f"FROM '{s3.uri}/out/t.parquet'").rows == [(1,)]
    parts = Export(
        node="model.shop.t",
        schema="main",
        name="t",
        branch="main",
        location=f"{s3.uri}/parts",
        options={"format": "csv", "partition_by": "a"},
    )
    build(lake, "SELECT range AS a, 1 AS b FROM range(2)")
    assert exports.write(parts)
    assert not exports.write(parts)
    assert s3.names() == {"out/t.parquet", "parts/a=0/data_0.csv", "parts/a=1/data_0.csv"}


def test_no_secret_is_kept_where_others_read(lake: EmbeddedLake, s3: S3, tmp_path: Path) -> None:
    put(s3, "in/a.csv", b"x\n1\n")
    build(lake, f"SELECT * FROM read_csv('{s3.uri}/in/a.csv')", f"{s3.uri}/in/a.csv")
    lake.close()
    kept = [path for path in (tmp_path / "lake").rglob("*") if path.is_file()]
    assert any(path.name == "catalog.sqlite" for path in kept)
    assert not [path for path in kept if s3.secret.encode() in path.read_bytes()]


def test_a_warehouse_in_s3_keeps_notes_and_receipts_there(s3: S3, tmp_path: Path) -> None:
    catalog = f"sqlite:///{tmp_path}/catalog.sqlite"
    profile = {
        "type": "lakehouse",
        "warehouse": f"{s3.uri}/lake",
        "catalog": catalog,
        "storage_options": s3.options,
    }
    export = Export(
        node="model.shop.t",
        schema="main",
        name="t",
        branch="main",
        location=str(tmp_path / "out" / "t.csv"),
        options={"format": "csv"},
    )
    with closing(EmbeddedLake.open(lake_settings(profile, tmp_path))) as lake:
        exports = Exports(lake)
        for rows in (1, 2):
            run = lake.open_run(RunRequest(id=uuid.uuid4().hex, command="dbt run", branch="main"))
            with closing(run.session()) as session:
                sql = f"SELECT {rows} AS a"
                session.build(Build(name=Name(database="lake", schema="main", name="t"), sql=sql))
            exports.check(export, run.branch or "main")
            exports.note(export, run.request.id)
            run.publish()
            assert exports.finish(run.request.id).written == (export,)
            assert exports.finish(run.request.id).written == ()
            assert (tmp_path / "out" / "t.csv").read_text().split() == ["a", str(rows)]
        noted = [name for name in s3.names() if ".exports/" in name]
        assert len(noted) == 1
        assert noted[0].startswith("lake/.exports/done/")
