"""Where external models go and with which options, said as for dbt-duckdb."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import duckdb
import pytest
from dbt.adapters.duckdb.impl import DuckDBAdapter

from dbt.adapters.lakehouse.external import ExternalModels, copy_options, place

SAID: list[tuple[str, dict[str, Any]]] = [
    ("out/a.parquet", {}),
    ("out/a", {}),
    ("out/a", {"delimiter": "|"}),
    ("out/a.csv", {}),
    ("out/a.csv", {"delimiter": ";", "header": 0}),
    ("out/a.json", {}),
    ("out/a.CSV.gz", {}),
    ("out/a.json.zst", {"compression": "gzip"}),
    ("out/a.bin", {"format": "parquet", "codec": "zstd"}),
    ("out/a", {"partition_by": "b, c", "overwrite_or_ignore": True}),
    ("out/a", {"partition_by": "(b, c)", "per_thread_output": "true"}),
    ("s3://bucket/a.csv", {"quote": '"', "escape": "'x'", "null": "NULL"}),
]


@pytest.mark.parametrize(("location", "said"), SAID)
def test_options_are_what_dbt_duckdb_makes_of_them(location: str, said: dict[str, Any]) -> None:
    theirs: dict[str, Any] = dict(said)
    sql = DuckDBAdapter.external_write_options(cast("Any", None), location, theirs)
    assert copy_options(location, said) == dict(part.split(" ", 1) for part in _parts(sql))
    ours: dict[str, Any] = dict(said)
    assert ExternalModels.external_write_options(cast("Any", None), location, ours) == sql
    assert ExternalModels.external_read_location(
        cast("Any", None), location, ours
    ) == DuckDBAdapter.external_read_location(cast("Any", None), location, theirs)


def _parts(sql: str) -> list[str]:
    """Options between commas that stand in no parentheses."""
    found, depth = [""], 0
    for char in sql:
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            found.append("")
        else:
            found[-1] += char
    return [part.strip() for part in found]


def test_a_quote_as_a_delimiter_is_one() -> None:
    assert copy_options("a.csv", {"delimiter": "x'"})["delimiter"] == "'x'''"
    assert copy_options("a.ndjson", {}) == {"format": "json"}


@pytest.mark.parametrize(
    ("location", "branch", "where"),
    [
        ("out/a.csv", "main", "out/a.csv"),
        ("out/a.csv", "dev", "out/@dev/a.csv"),
        ("a.csv", "dev", "@dev/a.csv"),
        ("/a.csv", "dev", "/@dev/a.csv"),
        ("out/parts/", "dev", "out/@dev/parts"),
        ("out/a.csv", "ann/fix", "out/@ann%2Ffix/a.csv"),
        ("s3://b/out/a.csv", "dev", "s3://b/out/@dev/a.csv"),
        ("out/{branch}/a.csv", "main", "out/main/a.csv"),
        ("out/{branch}.csv", "ann/fix", "out/ann%2Ffix.csv"),
    ],
)
def test_each_branch_has_a_place_of_its_own(location: str, branch: str, where: str) -> None:
    assert place(location, branch, "main") == where


def test_whether_a_location_is_there_is_asked_of_duckdb(tmp_path: Any) -> None:
    class Session:
        def describe(self, sql: str) -> object:
            try:
                return duckdb.execute(f"DESCRIBE {sql}").fetchall()
            except duckdb.Error as error:
                raise SqlError(str(error)) from error

    from dbt.adapters.lakehouse.errors import SqlError

    (tmp_path / "a.csv").write_text("a\n1\n")
    adapter = cast("Any", SimpleNamespace(connections=SimpleNamespace(session=Session)))
    assert ExternalModels.location_exists(adapter, str(tmp_path / "a.csv"))
    assert not ExternalModels.location_exists(adapter, str(tmp_path / "b.csv"))
