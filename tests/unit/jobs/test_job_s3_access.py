"""Workers on a warehouse in S3: what DuckDB is given, and what a sandboxed job can still reach."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from s3_faults import Faults
from s3_server import BUCKET, ROLE, S3

from dbt.adapters.lakehouse.errors import ConstraintViolated, LakehouseError, SqlError, StorageError
from dbt.adapters.lakehouse.jobs.job import Action, Append, Create, Edit, Input, Job, JobResult, Query
from dbt.adapters.lakehouse.jobs.s3_access import Grant, unreachable
from dbt.adapters.lakehouse.jobs.worker import Worker
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.storage.places import s3_storage
from dbt.adapters.lakehouse.tables.values import Constraints, TableSpec


def settings(s3: S3, folder: Path, *, sandbox: bool = False, **options: str) -> LakeSettings:
    folder.mkdir(exist_ok=True)
    return LakeSettings(
        warehouse=s3.uri,
        catalog="",
        memory_limit="500MB",
        temp_directory=str(folder),
        storage_options={**s3.options, **options},
        sandbox=sandbox,
    )


def run(worker: Worker, action: Action, *inputs: Input) -> JobResult:
    worker.begin()
    try:
        return worker.run(
            Job(key=uuid.uuid4().hex, database="lake", default_schema="main", action=action, inputs=inputs)
        )
    finally:
        worker.end()


def table(result: JobResult, name: str) -> Input:
    assert result.written is not None
    return Input(database="lake", schema="main", name=name, metadata_location=result.written.metadata_location)


def new(s3: S3, name: str, **rest: Any) -> TableSpec:
    return TableSpec(location=f"{s3.uri}/{name}", table_uuid=str(uuid.uuid4()), **rest)


@pytest.mark.parametrize("sandbox", [False, True])
@pytest.mark.parametrize("role", [False, True])
def test_a_worker_writes_changes_and_reads(s3: S3, tmp_path: Path, sandbox: bool, role: bool) -> None:
    more = {"assume_role": ROLE} if role else {}
    worker = Worker(settings(s3, tmp_path / "spill", sandbox=sandbox, **more))
    try:
        query = "SELECT i AS id, i % 2 AS p FROM range(30000) r(i)"
        made = table(run(worker, Create(sql=query, spec=new(s3, "t", partition_by=("p",)))), "t")
        edit = Edit(target=made, matching=None, statements=("DELETE FROM lake.main.t WHERE id % 3 = 0",))
        changed = table(run(worker, edit, made), "t")
        found = run(worker, Query(sql="SELECT count(*), sum(id) FROM t"), changed)
        assert found.rows == [(20_000, sum(i for i in range(30_000) if i % 3))]
    finally:
        worker.close()
    assert list((tmp_path / "spill").iterdir()) == []


@pytest.mark.parametrize("sandbox", [False, True])
def test_a_worker_reads_back_what_it_wrote(s3: S3, tmp_path: Path, sandbox: bool) -> None:
    worker = Worker(settings(s3, tmp_path / "spill", sandbox=sandbox))
    try:
        wanted = Constraints(not_null=("id",), unique=(("id",),), checks=(("", "id < 10"),))
        made = table(run(worker, Create(sql="SELECT 1 AS id", spec=new(s3, "t", constraints=wanted))), "t")
        assert made.metadata_location is not None
        for sql in ("SELECT 1 AS id", "SELECT NULL::INTEGER AS id"):
            with pytest.raises(ConstraintViolated):
                run(worker, Append(base=made.metadata_location, sql=sql, constraints=wanted))
        wider = Append(base=made.metadata_location, sql="SELECT 5000000000 AS id", on_schema_change="sync_all_columns")
        changed = table(run(worker, wider), "t")
        assert run(worker, Query(sql="SELECT sum(id) FROM t"), changed).rows == [(5_000_000_001,)]
    finally:
        worker.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_parquet('{uri}/other/*.parquet')",
        "SELECT * FROM read_text('{uri}/secret.txt')",
        "SELECT * FROM '{uri}/secret.parquet'",
        "SELECT * FROM glob('s3://{bucket}/**')",
        "SELECT * FROM read_text('{file}?s3_endpoint={canary}&s3_use_ssl=false')",
        "SELECT * FROM duckdb_secrets()",
        "CREATE OR REPLACE SECRET x (TYPE s3, KEY_ID 'a', SECRET 'b', ENDPOINT '{canary}', SCOPE '{uri}')",
        "COPY (SELECT 1) TO '{uri}/out.parquet'",
    ],
)
def test_a_sandboxed_job_reaches_its_inputs_alone(s3: S3, faults: Faults, tmp_path: Path, sql: str) -> None:
    storage = s3_storage(s3.uri, s3.options)
    storage.write(f"{s3.uri}/secret.txt", b"the canary sings")
    worker = Worker(settings(s3, tmp_path / "spill", sandbox=True))
    try:
        made = table(run(worker, Create(sql="SELECT 1 AS id", spec=new(s3, "t"))), "t")
        before = s3.names()
        file = next(f"{s3.uri}/{name}" for name in before if name.endswith(".parquet"))
        text = sql.format(uri=s3.uri, bucket=BUCKET, file=file, canary=faults.endpoint)
        with pytest.raises(LakehouseError) as caught:
            run(worker, Query(sql=text), made)
        assert "sings" not in str(caught.value)
        assert run(worker, Query(sql="SELECT * FROM t"), made).rows == [(1,)]
    finally:
        worker.close()
    assert faults.seen == []
    assert s3.names() == before


@pytest.mark.parametrize("locked", [False, True])
def test_new_credentials_reach_a_duckdb_that_has_old_ones(s3: S3, tmp_path: Path, locked: bool) -> None:
    wanted = settings(s3, tmp_path, assume_role=ROLE)
    storage = s3_storage(s3.uri, wanted.storage_options)
    storage.write(f"{s3.uri}/a", b"here")
    with duckdb.connect() as con:
        grant = Grant(con, wanted)

        def key() -> str:
            return str(con.execute("SELECT secret_string FROM duckdb_secrets()").fetchall())

        first = key()
        if locked:
            con.execute(f"SET allowed_paths = ['{s3.uri}/a']; SET enable_external_access = false")
            con.execute("SET lock_configuration = true")
        grant.renew()
        assert key() == first
        storage.access._session_and_client()[0].get_credentials()._expiry_time = datetime.now(UTC) + timedelta(
            minutes=5
        )
        grant.renew()
        assert key() != first
        assert f"scope={s3.uri}/" in key()
        assert con.execute(f"SELECT content FROM read_text('{s3.uri}/a')").fetchall() == [("here",)]


def test_credentials_with_quotes_stay_out_of_errors(s3: S3, tmp_path: Path) -> None:
    with duckdb.connect() as con:
        Grant(con, settings(s3, tmp_path, secret_access_key='it\'s "quoted"'))
        with pytest.raises(duckdb.HTTPException) as caught:
            con.execute(f"SELECT * FROM read_text('{s3.uri}/a')")
    assert "quoted" not in str(caught.value)


def test_a_job_fails_for_a_passing_reason_when_the_store_does(s3: S3, faults: Faults, tmp_path: Path) -> None:
    worker = Worker(settings(s3.at(faults.endpoint), tmp_path / "spill", retries="1", timeout="1"))
    try:
        query = "SELECT i AS id FROM range(300000) r(i)"
        made = table(run(worker, Create(sql=query, spec=new(s3, "t"))), "t")
        faults.add("slow_down", path=".parquet")
        with pytest.raises(StorageError) as caught:
            run(worker, Query(sql="SELECT sum(id) FROM t"), made)
        assert caught.value.passing
        faults.heal()
        with pytest.raises(SqlError):
            run(worker, Query(sql="SELECT nope FROM t"), made)
        assert run(worker, Query(sql="SELECT sum(id) FROM t"), made).rows == [(sum(range(300_000)),)]
    finally:
        worker.close()


def test_which_errors_of_duckdb_pass() -> None:
    with duckdb.connect() as con:
        for sql in ("SELECT error('HTTP 503')", "SELECT * FROM read_csv('/nowhere')", "SELEC"):
            with pytest.raises(duckdb.Error) as caught:
                con.execute(sql).fetchall()
            assert unreachable(caught.value) is None
