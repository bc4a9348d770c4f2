"""Files outside of the lake count as inputs where their author declares them, and only those."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from s3_server import S3

from dbt.adapters.lakehouse.errors import SqlError
from dbt.adapters.lakehouse.run import files
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.values import Build, Built, Name, PythonSource
from dbt.adapters.lakehouse.settings import LakeSettings
from dbt.adapters.lakehouse.storage import storage_for

NAME = Name(database="lake", schema="s", name="t")
SETTINGS = LakeSettings(warehouse="file:///nowhere", catalog="sqlite://")


@pytest.fixture
def built(open_run: Callable[..., LakeRun]) -> Callable[..., Built]:
    """Build a table that reads files, in a run of its own."""

    def build(sql: str, *declared: Any, **more: Any) -> Built:
        this = open_run()
        with closing(this.session()) as session:
            found = session.build(Build(name=NAME, sql=sql or None, files=tuple(map(str, declared)), **more))
        this.publish()
        return found

    return build


def test_declared_files_are_inputs(built: Callable[..., Built], tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    for sql in (
        f"SELECT * FROM read_csv('{file}')",
        f"SELECT * FROM '{file}'",
        f"SELECT * FROM read_csv(['{file}', '{file}'], header = true)",
        f"SELECT * FROM read_csv('{tmp_path}/*.csv')",
        f"SELECT * FROM read_csv('{tmp_path}/' || 'a.csv')",
        f"WITH q AS (FROM read_csv('{file}', header = true)) FROM q",
    ):
        file.write_text("x\n1\n")
        assert built(sql, file).why_not == (), sql
        assert built(sql, file).reused is not None, sql
        file.write_text("x\n2\n")
        assert built(sql, file).reused is None, sql
        before = file.stat()
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000_000))
        assert built(sql, file).reused is not None, "the same bytes"
        after = file.stat()
        file.write_text("x\n3\n")
        os.utime(file, ns=(after.st_atime_ns, after.st_mtime_ns))
        assert built(sql, file).reused is None, "the same size and time of change, but other bytes"
        file.write_text("x\n1\n")
        assert built(sql, file).reused is not None, sql


def test_the_time_of_a_change_counts_where_it_is_read(built: Callable[..., Built], tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("x\n1\n")
    sql = f"SELECT last_modified FROM read_text('{file}')"
    first = built(sql, file)
    assert built(sql, file).entry == first.entry
    os.utime(file, ns=(0, 1_000_000_000))
    assert built(sql, file).reused is None


def test_patterns_and_folders_stand_for_all_that_is_there(built: Callable[..., Built], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("x\n1\n")
    sql = f"SELECT * FROM read_csv('{tmp_path}/in/*.csv')"
    for declared in (tmp_path / "in" / "*.csv", tmp_path / "in", f"{tmp_path}/**/*.csv"):
        built(sql, declared)
        assert built(sql, declared).reused is not None
        (tmp_path / "in" / "b.csv").write_text("x\n2\n")
        more = built(sql, declared)
        assert (more.reused, more.entry.rows) == (None, 2)
        (tmp_path / "in" / "b.csv").unlink()


def test_hidden_files_count_as_duckdb_reads_them(built: Callable[..., Built], tmp_path: Path) -> None:
    (tmp_path / "in" / ".day").mkdir(parents=True)
    (tmp_path / "in" / ".day" / "a.csv").write_text("x\n1\n")
    (tmp_path / "in" / "a.csv").write_text("x\n1\n")
    for pattern, hidden in (("*.csv", ".b.csv"), ("**/*.csv", ".day/b.csv"), ("*/*.csv", ".day/.c.csv")):
        sql = f"SELECT count(*) AS n FROM read_csv('{tmp_path}/in/{pattern}')"
        before = built(sql, tmp_path / "in" / pattern)
        (tmp_path / "in" / hidden).write_text("x\n2\n")
        after = built(sql, tmp_path / "in" / pattern)
        assert before.why_not == after.why_not == ()
        assert after.reused is None, pattern
        assert before.entry.content != after.entry.content, "DuckDB reads it"  # type: ignore[union-attr]


def test_what_a_computed_path_names_is_not_known_from_sources(built: Callable[..., Built], tmp_path: Path) -> None:
    source, other = tmp_path / "a.csv", tmp_path / "b.csv"
    source.write_text("x\n1\n")
    other.write_text("x\n1\n")
    sql = f"SELECT * FROM '{source}' UNION ALL SELECT * FROM read_csv('{tmp_path}/' || 'b.csv')"
    found = built(sql, source, more_files=True)
    assert found.why_not == ("it calls read_csv with a computed path; declare what it reads in `reuse: {files: …}`",)
    assert built(sql, source, other).why_not == (), "its author says which"
    assert built(f"SELECT * FROM '{source}'", source, more_files=True).why_not == ()

    code = (
        f"def model(dbt, session):\n    with open({str(other)!r}) as f:\n        found = f.read().split()[1]\n"
        "    return session.sql(f'select {found} as x')\n"
    )
    model = PythonSource(code=code + PYTHON_REST, path=str(tmp_path / "p.py"))
    assert built("", source, python=model, more_files=True).why_not == (
        "its code names open, which is not in the lake",
        f"its code names {other}, which is not in the lake",
    )
    assert built("", source, other, python=model).why_not == ()


def test_other_files_are_still_in_the_way(built: Callable[..., Built], tmp_path: Path) -> None:
    one, two = tmp_path / "a.csv", tmp_path / "b.csv"
    one.write_text("x\n1\n")
    two.write_text("x\n1\n")
    for sql in (
        f"SELECT * FROM '{two}'",
        f"SELECT * FROM read_csv(['{one}', '{two}'])",
        f"SELECT a.x FROM '{one}' a, '{two}'",
    ):
        for _ in range(2):
            found = built(sql, one)
            assert found.reused is None
            assert any(str(two) in why for why in found.why_not), found.why_not
    assert built(f"SELECT * FROM '{one}'").why_not
    assert any("duckdb_settings" in why for why in built("SELECT count(*) AS n FROM duckdb_settings()", one).why_not)
    assert any("volatile" in why for why in built(f"SELECT random() AS r FROM '{one}'", one).why_not)
    missing = built("SELECT 1 AS x", tmp_path / "none.csv")
    assert missing.why_not == (f"there is no declared file {tmp_path}/none.csv",)


@pytest.mark.parametrize("sql", ["SELECT * FROM '{file}'", "WITH q AS (FROM read_csv('{file}')) FROM q"])
def test_a_view_of_a_file_has_the_columns_that_the_file_has_now(
    open_run: Callable[..., LakeRun], tmp_path: Path, sql: str
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("x\n1\n")
    this = open_run()

    def viewed() -> tuple[bool, list[str]]:
        with closing(this.session()) as session:
            found = session.create_view(NAME, sql.format(file=file))
            return found.reused is not None, [column.name for column in found.entry.columns]  # type: ignore[union-attr]

    assert viewed() == (False, ["x"])
    assert viewed() == (True, ["x"])
    file.write_text("x,y\n1,2\n")
    assert viewed() == (False, ["x", "y"])
    file.unlink()
    with pytest.raises(SqlError, match=r"a\.csv"):
        viewed()


def test_a_file_that_changes_while_it_is_read_leaves_no_result(built: Callable[..., Built], tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("1")
    code = (
        f"def model(dbt, session):\n    with open({str(file)!r}) as f:\n        found = f.read()\n"
        f"    with open({str(file)!r}, 'w') as f:\n        f.write('2')\n"
        "    return session.sql(f'select {found} as x')\n"
    )
    source = PythonSource(code=code + PYTHON_REST, path=str(tmp_path / "p.py"))
    assert built("", file, python=source).why_not == ()
    file.write_text("1")
    assert built("", file, python=source).reused is None


PYTHON_REST = """
# This part is user provided model code
def ref(*args, **kwargs):
    pass

class dbtObj:
    def __init__(self, load_df_function) -> None:
        pass
"""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A server of one text, with the headers that are in the dictionary."""
    headers: dict[str, str] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200 if self.path != "/none" else 404)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", headers
    server.shutdown()
    server.server_close()
    thread.join()


def look(pattern: str) -> files.Declared:
    return files.look([pattern], SETTINGS, external_access=False)


def test_files_behind_http_count_by_what_their_server_says(web: tuple[str, dict[str, str]]) -> None:
    url, headers = web
    headers["ETag"] = '"1"'
    first = look(f"{url}/a.csv")
    assert first.obstacles == ()
    assert first.covers(f"{url}/a.csv")
    assert look(f"{url}/a.csv") == first
    headers["ETag"] = '"2"'
    assert look(f"{url}/a.csv").digest != first.digest
    headers["ETag"] = 'W/"2"'
    assert "neither an ETag" in look(f"{url}/a.csv").obstacles[0]
    headers |= {"Last-Modified": "Wed, 01 Jan 2025 00:00:00 GMT", "Content-Length": "5"}
    assert look(f"{url}/a.csv").obstacles == ()
    assert "404" in look(f"{url}/none").obstacles[0]
    assert "patterns are for" in look(f"{url}/*.csv").obstacles[0]
    assert "only local files" in look("gs://bucket/a.csv").obstacles[0]


def test_files_in_s3_count_by_what_the_store_says(s3: S3) -> None:
    storage_for(s3.uri, s3.options)
    bucket, _, prefix = s3.uri.removeprefix("s3://").partition("/")
    s3.client().put_object(Bucket=bucket, Key=f"{prefix}/in/a.csv", Body=b"x\n1\n")
    first = look(f"{s3.uri}/in/*.csv")
    assert first.obstacles == ()
    assert first.covers(f"{s3.uri}/in/a.csv")
    assert not first.covers(f"{s3.uri}/other/a.csv")
    assert look(f"{s3.uri}/in/a.csv").obstacles == ()
    s3.client().put_object(Bucket=bucket, Key=f"{prefix}/in/a.csv", Body=b"x\n2\n")
    second = look(f"{s3.uri}/in/*.csv")
    assert second.digest != first.digest
    s3.client().put_object(Bucket=bucket, Key=f"{prefix}/in/b.csv", Body=b"x\n2\n")
    assert look(f"{s3.uri}/in/*.csv").digest != second.digest
    assert "no declared file" in look(f"{s3.uri}/none.csv").obstacles[0]


def test_a_sandbox_looks_at_nothing_that_its_jobs_may_not_read(tmp_path: Path) -> None:
    import dataclasses

    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "a.csv").write_text("x\n")
    (tmp_path / "secret.csv").write_text("x\n")
    (tmp_path / "open" / "link.csv").symlink_to(tmp_path / "secret.csv")
    held = dataclasses.replace(SETTINGS, sandbox=True, external_access=(f"{tmp_path}/open",))

    def allowed(pattern: str, *, external_access: bool = True) -> bool:
        return not files.look([pattern], held, external_access=external_access).obstacles

    assert allowed(f"{tmp_path}/open/a.csv")
    assert not allowed(f"{tmp_path}/open/a.csv", external_access=False)
    for pattern in ("secret.csv", "open/../secret.csv", "open/link.csv", "open/*.csv", "*"):
        assert not allowed(f"{tmp_path}/{pattern}"), pattern
    assert not allowed("http://127.0.0.1:1/a.csv")
    assert not allowed("s3://bucket/a.csv")
