"""What a hostile user of a service might ask of a worker."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from dbt.adapters.lakehouse.errors import ConfigError, TableError
from dbt.adapters.lakehouse.jobs import sound
from dbt.adapters.lakehouse.jobs.job import PythonCode
from dbt.adapters.lakehouse.jobs.python_env import Environments


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program that leaves a mark when it is run."""
    file = tmp_path / "bin" / "python"
    file.parent.mkdir()
    file.write_text(f"#!/bin/sh\ntouch {tmp_path / 'was-run'}\n")
    file.chmod(0o755)
    return file


def test_python_version_names_no_program_to_run(tmp_path: Path, program: Path) -> None:
    environments = Environments(tmp_path / "environments", wheels_only=True)
    up = "/".join([".."] * 20)
    wanted = [str(program), str(program.parent), str(program.parents[1]), f"--directory={tmp_path}"]
    wanted += [f"{up}{str(tmp_path)[:-1]}?", "", "3", "3.12\n", "*", ">=3", "cpython", "3.12.1"]
    for version in wanted:
        with pytest.raises(ConfigError, match="is no version of Python"):
            environments.get(PythonCode(code="", path="m.py", python_version=version))
    assert not (tmp_path / "was-run").exists()


def said_to_be(values: pa.Array, extension: str, meta: str) -> pa.Table:
    """A column whose values claim to be of another type, as they come out of a file."""
    metadata = {"ARROW:extension:name": extension, "ARROW:extension:metadata": meta}
    sink = pa.BufferOutputStream()
    table = pa.table([values], schema=pa.schema([pa.field("a", values.type, metadata=metadata)]))
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def opaque(name: str) -> str:
    return f'{{"type_name": "{name}", "vendor_name": "DuckDB"}}'


@pytest.mark.parametrize("name", ["hugeint", "uhugeint", "time_tz", "bit", "bignum", "anything"])
def test_a_column_is_not_read_as_what_it_is_not(name: str) -> None:
    small = pa.array([1] * 1000, pa.int8())
    with pytest.raises(TableError, match="says that it is"):
        sound.check(said_to_be(small, "arrow.opaque", opaque(name)))
    nested = said_to_be(small, "arrow.opaque", opaque(name))
    with pytest.raises(TableError, match="says that it is"):
        sound.check(pa.table({"l": pa.StructArray.from_arrays([nested["a"].chunk(0)], fields=[nested.schema[0]])}))


def test_what_duckdb_itself_writes_is_sound() -> None:
    with duckdb.connect() as connection:
        connection.execute("SET arrow_lossless_conversion = true")
        rows = connection.sql("SELECT * EXCLUDE (time, time_ns, time_tz) FROM test_all_types()").to_arrow_table()
        sound.check(rows)
        assert connection.from_arrow(rows).fetchall() is not None
