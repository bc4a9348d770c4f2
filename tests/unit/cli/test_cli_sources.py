from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dbt.adapters.lakehouse.cli.sources import CsvDialect, Source, check_columns, describe, find, types_to_keep
from dbt.adapters.lakehouse.errors import ConfigError, LakehouseError, SchemaMismatch, SqlError, StorageError
from dbt.adapters.lakehouse.tables.values import Column


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return name


def looked_up(*sources: str, wanted: str | None = None, **dialect: Any) -> Source:
    return find(sources, wanted, CsvDialect(**dialect))


def rows(source: Source) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return sorted(connection.execute(source.select()).fetchall(), key=repr)


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.csv", "x,y\n1,a\n", "csv"),
        ("a.CSV", "x,y\n1,a\n", "csv"),
        ("a.tsv", "x\ty\n1\ta\n", "csv"),
        ("a.csv.gz", "x,y\n1,a\n", "csv"),
        ("a.json", '[{"x": 1, "y": "a"}]', "json"),
        ("a.jsonl", '{"x": 1, "y": "a"}\n', "json"),
        ("a.ndjson.gz", '{"x": 1, "y": "a"}\n', "json"),
        ("it's.csv", "x,y\n1,a\n", "csv"),
        ("a[1]*.csv", "x,y\n1,a\n", "csv"),
    ],
)
def test_formats_by_name(name: str, text: str, kind: str) -> None:
    source = looked_up(write(name, text))
    assert source.format == kind
    assert rows(source) == [(1, "a")]


def test_parquet_and_a_format_that_is_told() -> None:
    duckdb.sql("SELECT 1 AS x").write_parquet("a.dat")
    source = looked_up("a.dat", wanted="parquet")
    assert rows(source) == [(1,)]


def test_globs_find_each_file_once_in_order_and_match_columns_by_name() -> None:
    write("d/2.csv", "y,x\nb,2\n")
    write("d/1.csv", "x,y\n1,a\n")
    source = looked_up("d/*.csv", "./d/1.csv")
    assert source.files == ("d/1.csv", "d/2.csv")
    assert rows(source) == [(1, "a"), (2, "b")]


def test_folders_below_a_glob_may_be_partitions_and_those_above_are_not(folder: Path) -> None:
    write("env=prod/year=2013/a.csv", "x\n1\n")
    assert rows(looked_up("env=prod/*/a.csv")) == [(1, 2013)]
    assert rows(looked_up("*/*/a.csv")) == [(1, "prod", 2013)]
    assert rows(looked_up("env=prod/year=2013/*.csv")) == [(1,)]
    assert rows(looked_up("env=prod/year=2013/a.csv")) == [(1,)]


@pytest.mark.parametrize(
    ("sources", "error", "says"),
    [
        (["missing.csv"], StorageError, "there is no file missing.csv"),
        (["*.csv"], StorageError, "no file matches *.csv"),
        (["folder"], ConfigError, "name its files: folder/*.csv"),
        (["https://example.org/a.csv"], ConfigError, "not a local file"),
        (["empty.csv"], ConfigError, "empty.csv is empty"),
        (["notes.txt"], ConfigError, "says no format"),
        (["a.parquet.gz"], ConfigError, "says no format"),
        (["a.csv", "a.json"], ConfigError, "csv (a.csv), json (a.json)"),
    ],
)
def test_what_cannot_be_imported(sources: list[str], error: type[LakehouseError], says: str, folder: Path) -> None:
    (folder / "folder").mkdir()
    for name in ("notes.txt", "a.parquet.gz"):
        write(name, "x")
    write("empty.csv", "") if "*.csv" not in sources else None
    if len(sources) == 2:
        write("a.csv", "x\n1\n")
        write("a.json", "[]")
    with pytest.raises(error) as caught:
        looked_up(*sources)
    assert says in str(caught.value)


def test_an_unreadable_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.csv", "x\n1\n")

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageError, match=r"a\.csv cannot be read: Permission denied"):
        looked_up("a.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"hello, not parquet"),
        ("a.json", b'{"x": '),
        ("a.csv.gz", b"not gzip"),
        ("b.csv", b"a,b\n1,Z\xfcrich\n"),
    ],
)
def test_files_that_are_not_what_their_name_says(name: str, content: bytes) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(SqlError) as caught:
        describe(looked_up(name))
    assert str(caught.value).startswith(f"{name} cannot be read as ")
    assert "\n" not in str(caught.value)


def test_rows_are_never_skipped_to_make_a_file_regular() -> None:
    source = looked_up(write("ragged.csv", "a,b\n1,2\n3\n4,5,6\n"))
    with pytest.raises(SchemaMismatch, match="different numbers of fields"):
        describe(source)


def test_the_first_line_is_the_header_unless_told_otherwise() -> None:
    write("a.csv", "1,x\n2,NA\n")
    assert [column.name for column in describe(looked_up("a.csv"))] == ["1", "x"]
    assert rows(looked_up("a.csv", header=False, null="NA")) == [(1, "x"), (2, None)]


def test_a_delimiter_that_is_told() -> None:
    source = looked_up(write("a.csv", "x~y\n1~2\n"), delimiter="~")
    assert rows(source) == [(1, 2)]


def test_all_rows_can_be_looked_at_for_types() -> None:
    write("a.csv", "x\n" + "1\n" * 100_000 + "NA\n")
    source = looked_up("a.csv")
    assert describe(source)[0].type == "BIGINT"
    assert describe(source, sample_all=True)[0].type == "VARCHAR"


def test_types_of_a_table_that_fields_join() -> None:
    source = looked_up(write("a.csv", "ZIP,n,tags\n007,1,x\n"))
    table = [
        Column(name="zip", type="VARCHAR"),
        Column(name="n", type="DECIMAL(10,2)"),
        Column(name="tags", type="INTEGER[]"),
    ]
    kept = types_to_keep(source, describe(source), table)
    assert kept == {"ZIP": "VARCHAR", "n": "DECIMAL(10,2)"}
    with duckdb.connect() as connection:
        assert connection.execute(source.select(types=kept)).fetchall()[0][0] == "007"


def test_columns_that_a_table_lacks_are_refused_and_missing_ones_told() -> None:
    source = looked_up(write("a.csv", "a,b\n1,2\n"))
    columns = describe(source)
    with pytest.raises(SchemaMismatch, match=r"columns that raw\.t has not: b"):
        check_columns(source, columns, [Column(name="A", type="BIGINT")], "raw.t")
    table = [Column(name=name, type="BIGINT") for name in "abc"]
    assert check_columns(source, columns, table, "raw.t") == ["c"]
