"""The ``lakehouse`` command as a process of its own, on lakes with real tables."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

COMMAND = str(Path(sys.executable).with_name("lakehouse"))


class Folder:
    """A folder with a lake in it, and the command called there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        unset = {"LAKEHOUSE_WAREHOUSE", "DBT_PROFILES_DIR", "DBT_PROFILE", "DBT_TARGET", "DBT_PROJECT_DIR"}
        kept = {key: value for key, value in os.environ.items() if key not in unset}
        self.environment = {**kept, "LAKEHOUSE_WAREHOUSE": str(path / "lake"), "HOME": str(path)}

    def write(self, name: str, text: str) -> str:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return name

    def start(self, *arguments: str, stdin: str = "", code: int | None = 0) -> subprocess.CompletedProcess[bytes]:
        ended = subprocess.run(
            [COMMAND, *arguments], cwd=self.path, env=self.environment, input=stdin.encode(), capture_output=True
        )
        assert code is None or ended.returncode == code, ended.stderr.decode()
        assert b"Traceback" not in ended.stderr
        return ended

    def text(self, *arguments: str, stdin: str = "") -> str:
        return self.start(*arguments, stdin=stdin).stdout.decode()

    def json(self, *arguments: str, stdin: str = "") -> Any:
        return json.loads(self.start(*arguments, "--json", stdin=stdin).stdout)

    def error(self, *arguments: str, code: int = 1) -> str:
        ended = self.start(*arguments, code=code)
        assert ended.stdout == b""
        message = ended.stderr.decode()
        assert message.startswith("error: ")
        return message

    def heads(self) -> dict[str, str]:
        return {branch["name"]: branch["head"] for branch in self.json("branch", "list", "--all")}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A lake with one table, for tests that only read."""
    folder = Folder(tmp_path_factory.mktemp("shared"))
    folder.write("f.csv", "id,name,amount,day\n1,one,1.5,2020-01-01\n2,two,2.25,2020-01-02\n3,,,\n")
    folder.start("import", "raw.f", "f.csv")
    return folder


# import


def test_import_makes_a_lake_a_table_and_one_commit(folder: Folder) -> None:
    folder.write("flights.csv.gz", "id,carrier\n" + "".join(f"{n},AA\n" for n in range(1000)))
    done = folder.json("import", "raw.flights", "flights.csv.gz", "-m", "First load")
    assert (done["rows"], done["rows_written"], done["branch"], done["mode"]) == (1000, 1000, "main", "new")
    assert folder.heads() == {"main": done["commit"]}
    assert [entry["name"] for entry in folder.json("tables")] == ["flights"]
    shown = folder.json("table", "raw.flights")
    assert (shown["rows"], [column["type"] for column in shown["schema"]]) == (1000, ["BIGINT", "VARCHAR"])
    assert Path(shown["metadata_location"].removeprefix("file://")).is_file()
    assert folder.json("query", "select count(*) as n, min(id) as first from raw.flights") == [{"n": 1000, "first": 0}]


def test_import_says_rows_size_time_branch_and_commit(folder: Folder) -> None:
    folder.write("a.csv", "x\n1\n")
    line = folder.text("import", "raw.a", "a.csv", "--branch", "loads").strip()
    for text in ("imported 1 row (4 B) to raw.a in ", " s · branch loads (new) · commit "):
        assert text in line
    assert line.endswith(folder.heads()["loads"][:8])


def test_import_appends_and_replaces_only_when_told(folder: Folder) -> None:
    folder.write("a.csv", "zip,n\n01234,1\nAB,2\n")
    folder.write("b.csv", "n,zip\n3,00007\n")
    folder.start("import", "raw.t", "a.csv")
    message = folder.error("import", "raw.t", "b.csv")
    assert "raw.t exists on branch 'main'; --append adds rows to it, --replace" in message
    folder.start("import", "raw.t", "b.csv", "--append")
    rows = folder.json("query", "select zip, n from raw.t order by n")
    assert rows == [{"zip": "01234", "n": 1}, {"zip": "AB", "n": 2}, {"zip": "00007", "n": 3}]
    folder.write("c.csv", "n,new\n1,2\n")
    assert "has columns that raw.t has not: new" in folder.error("import", "raw.t", "c.csv", "--append")
    folder.start("import", "raw.t", "c.csv", "--replace")
    assert folder.json("query", "select * from raw.t") == [{"n": 1, "new": 2}]
    assert folder.json("query", "select * from raw.t order by n", "--ref", "main~1") == rows


def test_an_import_goes_to_a_protected_branch_by_a_merge_alone(folder: Folder) -> None:
    folder.write("a.csv", "x\n1\n")
    folder.start("import", "raw.a", "a.csv")
    folder.start("branch", "protect", "main")
    heads = folder.heads()
    for more in (["--append"], ["--replace"]):
        message = folder.error("import", "raw.a", "a.csv", *more)
        assert (
            "branch 'main' is protected and changes by merges alone; import to another one (--branch NAME)" in message
        )
    assert folder.heads() == heads
    folder.start("import", "raw.a", "a.csv", "--append", "--branch", "loads")
    folder.start("merge", "loads", "--into", "main")
    assert folder.json("query", "select count(*) as n from raw.a", "--ref", "main") == [{"n": 2}]


def test_import_of_json_and_parquet_by_glob(folder: Folder) -> None:
    folder.write("d/1.jsonl", '{"id": 1, "tags": ["a", "b"], "at": {"x": 1.5}}\n')
    folder.write("d/2.jsonl", '{"id": 2, "tags": [], "at": null}\n')
    folder.start("import", "raw.j", "d/*.jsonl")
    assert folder.json("query", "select * from raw.j order by id") == [
        {"id": 1, "tags": ["a", "b"], "at": {"x": 1.5}},
        {"id": 2, "tags": [], "at": None},
    ]
    duckdb.sql("SELECT range AS n, 12.50::DECIMAL(6, 2) AS d FROM range(5)").write_parquet(
        str(folder.path / "p.parquet")
    )
    folder.start("import", "raw.p", "p.parquet")
    assert folder.json("query", "select sum(n) as n, any_value(d) as d from raw.p") == [{"n": 10, "d": "12.50"}]


def test_import_looks_at_all_rows_where_the_first_mislead(folder: Folder) -> None:
    folder.write("late.csv", "x\n" + "1\n" * 100_000 + "NA\n")
    folder.start("import", "raw.late", "late.csv")
    assert folder.json("table", "raw.late")["schema"][0]["type"] == "VARCHAR"
    folder.start("import", "raw.nulls", "late.csv", "--null", "NA")
    assert folder.json("query", "select count(*) - count(x) as nulls from raw.nulls") == [{"nulls": 1}]


def test_imports_that_fail_leave_nothing(folder: Folder) -> None:
    folder.write("a.csv", "x\n1\n")
    folder.write("a.json", "[]")
    folder.write("bad.parquet", "hello, not parquet at all")
    for arguments, says in (
        (["raw.t", "missing.csv"], "there is no file missing.csv"),
        (["raw.t", "*.tsv"], "no file matches *.tsv"),
        (["raw.t", "a.csv", "a.json"], "different formats"),
        (["raw.t", "bad.parquet"], "bad.parquet cannot be read as parquet"),
        (["flights", "a.csv"], "write SCHEMA.NAME"),
        (["raw.../x", "a.csv"], "write SCHEMA.NAME"),
        (['"../.."."x"', "a.csv"], "cannot name a schema or table"),
        (["information_schema.t", "a.csv"], "belongs to the database itself"),
        (["raw.t", "a.csv", "--branch", "a b"], "cannot name a branch"),
    ):
        assert says in folder.error("import", *arguments)
    assert "different things" in folder.error("import", "raw.t", "a.csv", "--append", "--replace", code=2)
    assert not (folder.path / "lake").exists() or folder.heads().keys() == {"main"}


def test_an_import_that_fails_half_way_leaves_the_branch_alone(folder: Folder) -> None:
    folder.write("a.csv", "x\n1\n")
    folder.start("import", "raw.a", "a.csv")
    before = folder.heads()
    folder.write("torn.csv", "x,y\n" + "1,2\n" * 200_000 + "3\n")
    message = folder.error("import", "raw.torn", "torn.csv", "--branch", "other")
    assert "torn.csv cannot be read as csv" in message
    assert "Line: 200002" in message
    assert folder.heads() == before
    assert [entry["name"] for entry in folder.json("tables")] == ["a"]


def test_an_import_that_is_interrupted_leaves_the_branch_alone(folder: Folder) -> None:
    folder.write("a.csv", "x\n1\n")
    folder.start("import", "raw.a", "a.csv")
    before = folder.heads()
    size = 3_000_000
    duckdb.sql(f"SELECT range AS a, range::VARCHAR AS b, random() AS c FROM range({size})").write_csv(
        str(folder.path / "big.csv")
    )
    process = subprocess.Popen(
        [COMMAND, "import", "raw.big", "big.csv", "--branch", "other"],
        cwd=folder.path,
        env=folder.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    data = folder.path / "lake" / "raw" / "big"
    while process.poll() is None and not list(data.rglob("*.parquet")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out, err.strip()) == (130, b"", b"error: interrupted")
    assert folder.heads() == before


def test_imports_at_the_same_moment_all_arrive(folder: Folder) -> None:
    folder.write("a.csv", "x\n1\n")
    command = [COMMAND, "import", "--json"]
    processes = [
        subprocess.Popen(
            [*command, f"raw.t{n}", "a.csv"], cwd=folder.path, env=folder.environment, stdout=subprocess.PIPE
        )
        for n in range(3)
    ]
    for process in processes:
        out, _ = process.communicate()
        assert (process.returncode, json.loads(out)["rows"]) == (0, 1)
    assert [entry["name"] for entry in folder.json("tables")] == ["t0", "t1", "t2"]


# query


def test_query_formats(shared: Folder) -> None:
    sql = "select id, name, amount, day from raw.f order by id"
    rows = shared.json("query", sql)
    assert rows[0] == {"id": 1, "name": "one", "amount": 1.5, "day": "2020-01-01"}
    assert rows[2] == {"id": 3, "name": None, "amount": None, "day": None}
    assert shared.text("query", sql, "--format", "csv").splitlines() == [
        "id,name,amount,day",
        "1,one,1.5,2020-01-01",
        "2,two,2.25,2020-01-02",
        "3,,,",
    ]
    stream = pa.ipc.open_stream(shared.start("query", sql, "--format", "arrow").stdout)
    assert stream.read_all().column("id").to_pylist() == [1, 2, 3]
    parquet = pq.read_table(pa.BufferReader(shared.start("query", sql, "--format", "parquet").stdout))
    assert parquet.column("name").to_pylist() == ["one", "two", None]


def test_query_writes_files_by_their_name(shared: Folder, tmp_path: Path) -> None:
    sql = "select 1 as a, 'x' as a union all select 2, 'y' order by 1"
    for name in ("o.csv", "o.json", "o.parquet", "o.arrow", "o.txt"):
        assert shared.text("query", sql, "--output", str(tmp_path / name)) == ""
    assert json.loads((tmp_path / "o.json").read_text()) == [{"a": 1, "a_1": "x"}, {"a": 2, "a_1": "y"}]
    assert pq.read_table(tmp_path / "o.parquet").column_names == ["a", "a_1"]
    assert pa.ipc.open_file(tmp_path / "o.arrow").read_all().num_rows == 2
    assert (tmp_path / "o.csv").read_text() == "a,a\n1,x\n2,y\n"
    assert (tmp_path / "o.txt").read_text().splitlines()[2].split() == ["2", "y"]
    assert len(list(tmp_path.iterdir())) == 5


def test_query_reads_stdin_limits_and_shows_all_of_a_wide_row(shared: Folder) -> None:
    assert shared.json("query", "-", "--limit", "2", stdin="select id from raw.f order by id") == [{"id": 1}, {"id": 2}]
    wide = shared.text("query", "select repeat('x', 5000) as long, 1.50::decimal(4,2) as d, null as nothing")
    assert "x" * 5000 in wide
    assert wide.splitlines()[1].split() == ["x" * 5000, "1.50", "NULL"]
    lines = shared.text("query", "select range as n from range(3000)").splitlines()
    assert len(lines) == 3001


def test_query_errors(shared: Folder, tmp_path: Path) -> None:
    assert "nothing" in shared.error("query", "select * from raw.nothing")
    assert "only reads" in shared.error("query", "delete from raw.f")
    shared.error("query", "select 1", "--format", "xml", code=2)
    assert shared.start("query", "select 1", "--json", "--format", "csv", code=2).stdout == b""
    shared.error("query", "select 1", "--output", str(tmp_path / "none" / "x.csv"))
    shared.error("query", "select 1", "--ref", "nowhere")
    shared.error("query", "  ", code=2)
    target = tmp_path / "kept.csv"
    target.write_text("kept")
    shared.error("query", "select error('no')", "--output", str(target))
    assert target.read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.csv"]
    assert len(shared.json("runs")) == 1


def test_numbers_are_exact(shared: Folder) -> None:
    huge = "12345678901234567890123456789012345678"
    answer = shared.start("query", f"select {huge}::hugeint as h, 0.1::decimal(38, 20) as d, 1e300 as e", "--json")
    (row,) = json.loads(answer.stdout)
    assert row == {"h": int(huge), "d": "0.10000000000000000000", "e": 1e300}
    assert Decimal(row["d"]) == Decimal("0.1")


# the rest, end to end


def test_branch_import_diff_merge_and_runs(folder: Folder) -> None:
    folder.write("a.csv", "x\n1\n")
    folder.write("b.csv", "x\n2\n3\n")
    folder.start("import", "raw.t", "a.csv")
    folder.start("branch", "create", "dev")
    folder.start("import", "raw.t", "b.csv", "--append", "--branch", "dev")
    (change,) = folder.json("diff", "main", "dev")
    assert (change["name"], change["change"], change["rows_before"], change["rows_after"]) == ("t", "changed", 1, 3)
    assert "1 → 3" in folder.text("diff", "main", "dev")
    merged = folder.json("merge", "dev", "--into", "main")
    assert folder.json("query", "select count(*) as n from raw.t") == [{"n": 3}]
    assert folder.json("log")[0]["id"] == merged["commit"]["id"]
    runs = folder.json("runs")
    assert [(run["command"], run["status"], run["target"]) for run in runs] == [
        ("lakehouse import", "published", "dev"),
        ("lakehouse import", "published", "main"),
    ]
    shown = folder.json("run", "show", runs[0]["id"][:8])
    assert (shown["id"], shown["nodes"]["raw.t"]["rows"]) == (runs[0]["id"], 2)
    assert [change["name"] for change in shown["changes"]] == ["t"]
    text = folder.text("run", "show", runs[0]["id"])
    assert "raw.t" in text
    assert runs[0]["published"] in text
    assert "no run 'abcdef'" in folder.error("run", "show", "abcdef")


def test_a_diff_of_rows(folder: Folder) -> None:
    folder.write("a.csv", "id,x\n1,a\n2,b\n3,c\n")
    folder.write("b.csv", "id,x,y\n1,a,7\n2,B,7\n4,d,7\n5,e,7\n")
    folder.start("import", "raw.t", "a.csv")
    folder.start("import", "raw.same", "a.csv")
    folder.start("branch", "create", "dev")
    folder.start("import", "raw.t", "b.csv", "--replace", "--branch", "dev")
    folder.start("import", "raw.same", "a.csv", "--replace", "--branch", "dev")
    folder.start("import", "raw.fresh", "a.csv", "--branch", "dev")
    changes = {change["name"]: change for change in folder.json("diff", "main", "dev", "--rows", "--key", "ID")}
    found = changes["t"]["comparison"]
    assert {kind: found["rows"][kind] for kind in ("added", "removed", "changed", "columns")} == {
        "added": 2,
        "removed": 1,
        "changed": 1,
        "columns": {"x": 1},
    }
    assert changes["fresh"]["comparison"] is None
    assert "comparison" not in folder.json("diff", "main", "dev")[0]
    lines = [line.rstrip() for line in folder.text("diff", "main", "dev", "--rows", "--key", "id").splitlines()]
    (change,) = [line for line in lines if line.startswith("~ raw.t")]
    assert change.endswith("2 rows added, 1 row removed, 1 row changed")
    (column,) = [line for line in lines if line.startswith("    ~ x")]
    assert column.endswith("in 1 row")
    assert not [line for line in lines if line.startswith("~ raw.same") and not line.endswith("the same rows")]
    assert "3 rows added, 2 rows removed" in folder.text("diff", "main", "dev", "--rows")
    assert "key column 'no' is not on both sides" in folder.text("diff", "main", "dev", "--rows", "--key", "no")
    assert "add --rows" in folder.error("diff", "main", "dev", "--key", "id", code=2)


def test_a_table_on_another_branch_in_sql(folder: Folder) -> None:
    folder.write("a.csv", "x\n1\n")
    folder.start("import", "raw.t", "a.csv")
    folder.start("branch", "create", "dev")
    folder.start("import", "raw.t", "a.csv", "--append", "--branch", "dev")
    sql = 'select (select count(*) from raw.t) as here, (select count(*) from "lake@main".raw.t) as there'
    assert folder.json("query", sql, "--ref", "dev") == [{"here": 2, "there": 1}]


def test_reading_makes_no_lake(folder: Folder) -> None:
    for arguments in (
        ["branch", "list"],
        ["tables"],
        ["log"],
        ["query", "select 1"],
        ["runs"],
        ["branch", "create", "x"],
    ):
        assert f"no lake is at {folder.path}/lake; `lakehouse import" in folder.error(*arguments)
    assert list(folder.path.iterdir()) == []


def test_a_profile_names_lake_branch_and_schema(folder: Folder) -> None:
    folder.environment.pop("LAKEHOUSE_WAREHOUSE")
    folder.environment["SHOP_LAKE"] = "./shop_lake"
    folder.write("dbt_project.yml", "profile: shop")
    folder.write(
        "profiles.yml",
        "shop:\n  target: dev\n  outputs:\n    dev: {type: lakehouse, warehouse: \"{{ env_var('SHOP_LAKE') }}\", "
        "branch: dev, schema: shop}\n",
    )
    folder.write("a.csv", "x\n1\n")
    folder.start("import", "shop.t", "a.csv")
    assert folder.heads().keys() == {"main", "dev"}
    assert folder.json("query", "select * from t") == [{"x": 1}]
    assert folder.json("tables", "--ref", "main") == []
    assert folder.text("branch", "list").splitlines()[1].startswith("*  dev")
    folder.write(
        "profiles.yml",
        (folder.path / "profiles.yml").read_text().replace("branch: dev", "branch: later, from_branch: dev"),
    )
    ended = folder.start("tables", "--json")
    assert [entry["name"] for entry in json.loads(ended.stdout)] == ["t"]
    assert b"branch 'later' does not exist yet; this is 'dev'" in ended.stderr


def test_branch_names_complete_in_the_shell(folder: Folder) -> None:
    folder.write("a.csv", "x\n1\n")
    folder.start("import", "raw.t", "a.csv")
    folder.start("branch", "create", "feature/prices")
    for words, expected in (
        ("lakehouse branch delete fea", "feature/prices"),
        ("lakehouse table raw", "raw.t"),
        ("lakehouse merge dev --into m", "main"),
        ("lakehouse --warehouse none branch delete m", ""),
    ):
        folder.environment |= {
            "_LAKEHOUSE_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        offered = [line.partition(",")[2] for line in folder.text().splitlines()]
        assert offered == [expected]


def test_a_reader_that_stops_early_is_no_error(shared: Folder) -> None:
    ended = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {COMMAND} query 'select range from range(200000)' --format csv | head -1"],
        cwd=shared.path,
        env=shared.environment,
        capture_output=True,
    )
    assert ended.stdout == b"range\n"
    assert ended.stderr == b""
