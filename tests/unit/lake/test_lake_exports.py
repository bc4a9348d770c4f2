"""Tables that become files beside the lake: whole or not at all, once what they are of is published."""

from __future__ import annotations

import dataclasses
import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dbt.adapters.lakehouse.errors import ConfigError, SqlError, StorageError
from dbt.adapters.lakehouse.lake import exported_files
from dbt.adapters.lakehouse.lake.base import Build, CollectRequest, Name, Run, RunRequest
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.lake.exports import Export, Exports
from dbt.adapters.lakehouse.profile import lake_settings


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[EmbeddedLake]:
    with closing(EmbeddedLake.open(lake_settings({"type": "lakehouse", "warehouse": "./lake"}, tmp_path))) as lake:
        yield lake


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def built(lake: EmbeddedLake, sql: str, *, continues: str | None = None) -> Run:
    """A run, still open, that made the table t."""
    request = RunRequest(id=uuid.uuid4().hex, command="dbt run", branch="main", continues=continues)
    run = lake.open_run(request)
    with closing(run.session()) as session:
        session.build(Build(name=Name(database="lake", schema="main", name="t"), sql=sql))
    return run


def publish(lake: EmbeddedLake, sql: str) -> Run:
    run = built(lake, sql)
    run.publish()
    return run


def export(location: Path | str, **options: str) -> Export:
    return Export(
        node="model.shop.t",
        schema="main",
        name="t",
        branch="main",
        location=str(location),
        options=options or {"format": "csv"},
    )


def rows(path: Path | str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return sorted(connection.execute(f"FROM '{path}'").fetchall())


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_files_are_written_when_the_run_is_published_and_not_before(lake: EmbeddedLake, out: Path) -> None:
    exports, wanted = Exports(lake), export(out / "t.csv")
    run = built(lake, "SELECT 1 AS a")
    assert run.branch is not None
    exports.check(wanted, run.branch)
    exports.note(wanted, run.request.id)
    assert not out.exists()

    run.publish()
    assert exports.finish(run.request.id).written == (wanted,)
    assert (out / "t.csv").read_text().split() == ["a", "1"]
    assert exports.finish(run.request.id) == type(exports.finish(None))()
    assert names(out) == ["t.csv"]


@pytest.mark.parametrize("kind", ["parquet", "json", "csv"])
def test_each_format_gives_the_rows(lake: EmbeddedLake, out: Path, kind: str) -> None:
    publish(lake, "SELECT range AS a, 'it''s' AS b FROM range(3)")
    assert Exports(lake).write(export(out / f"t.{kind}", format=kind))
    assert rows(out / f"t.{kind}") == [(0, "it's"), (1, "it's"), (2, "it's")]


def test_files_that_are_right_are_left_alone(lake: EmbeddedLake, out: Path) -> None:
    exports, wanted = Exports(lake), export(out / "t.csv")
    publish(lake, "SELECT 1 AS a")
    assert exports.write(wanted)
    before = (out / "t.csv").stat()
    assert not exports.write(wanted)
    assert (out / "t.csv").stat().st_mtime_ns == before.st_mtime_ns
    # As soon as rows, options or the file are others, it is written.
    assert exports.write(dataclasses.replace(wanted, options={"format": "csv", "delimiter": "';'"}))
    publish(lake, "SELECT 2 AS a")
    assert exports.write(wanted)
    (out / "t.csv").write_text("by hand")
    assert exports.write(wanted)
    (out / "t.csv").unlink()
    assert exports.write(wanted)
    assert (out / "t.csv").read_text().split() == ["a", "2"]


def test_a_run_that_failed_writes_nothing_nor_does_one_that_failed_again(lake: EmbeddedLake, out: Path) -> None:
    exports, wanted = Exports(lake), export(out / "t.csv")
    failed = built(lake, "SELECT 1 AS a")
    exports.note(wanted, failed.request.id)
    failed.fail("a test failed")
    publish(lake, "SELECT 0 AS b")
    assert exports.finish(None).written == ()
    assert not out.exists()

    again = lake.open_run(
        RunRequest(id=uuid.uuid4().hex, command="dbt retry", branch="main", continues=failed.request.id, again=())
    )
    with closing(again.session()) as session:
        session.build(Build(name=Name(database="lake", schema="main", name="other"), sql="SELECT 1 AS x"))
    again.fail("again")
    assert exports.finish(None).written == ()


def test_what_nobody_will_publish_is_forgotten_after_long(
    lake: EmbeddedLake, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = built(lake, "SELECT 1 AS a")
    Exports(lake).note(export(out / "t.csv"), failed.request.id)
    failed.fail("a test failed")
    assert Exports(lake).finish(None).written == ()
    assert names(tmp_path / "lake" / ".exports" / "waiting")
    monkeypatch.setattr(f"{Exports.__module__}._KEPT", timedelta(0))
    assert Exports(lake).finish(None).written == ()
    assert not names(tmp_path / "lake" / ".exports" / "waiting")


def test_a_retry_writes_what_the_failed_run_noted(lake: EmbeddedLake, out: Path) -> None:
    exports, wanted = Exports(lake), export(out / "t.csv")
    failed = built(lake, "SELECT 1 AS a")
    exports.note(wanted, failed.request.id)
    failed.fail("a test failed")
    again = lake.open_run(
        RunRequest(id=uuid.uuid4().hex, command="dbt retry", branch="main", continues=failed.request.id)
    )
    with closing(again.session()) as session:
        session.build(Build(name=Name(database="lake", schema="main", name="other"), sql="SELECT 1 AS x"))
    again.publish()
    assert exports.finish(again.request.id).written == (wanted,)
    assert (out / "t.csv").exists()


def test_what_a_killed_process_left_is_written_by_the_next_run(lake: EmbeddedLake, out: Path) -> None:
    exports, wanted = Exports(lake), export(out / "t.csv")
    run = built(lake, "SELECT 1 AS a")
    exports.note(wanted, run.request.id)
    run.publish()
    # Here the process ends. Another run publishes other rows, and is the one that writes.
    publish(lake, "SELECT 2 AS a")
    assert exports.finish(None).written == (wanted,)
    assert (out / "t.csv").read_text().split() == ["a", "2"]


def test_the_rows_that_stand_at_the_end_stay(lake: EmbeddedLake, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exports, wanted = Exports(lake), export(out / "t.csv")
    publish(lake, "SELECT 1 AS a")
    copy, moved = Exports._copy, []

    def slow(self: Exports, *arguments: Any, **more: Any) -> None:
        copy(self, *arguments, **more)
        if not moved:
            moved.append(publish(lake, "SELECT 2 AS a"))

    monkeypatch.setattr(Exports, "_copy", slow)
    assert exports.write(wanted)
    assert (out / "t.csv").read_text().split() == ["a", "2"]


def test_what_cannot_be_written_is_kept_for_later(lake: EmbeddedLake, out: Path) -> None:
    exports, wanted = Exports(lake), export(out / "t.csv")
    run = built(lake, "SELECT 1 AS a")
    exports.note(wanted, run.request.id)
    run.publish()
    (out / "t.csv").mkdir(parents=True)
    ((failed, why),) = exports.finish(run.request.id).failed
    assert failed == wanted
    assert f"{out / 't.csv'} is a folder, and one file is to be written" in why
    (out / "t.csv").rmdir()
    assert exports.finish(None).written == (wanted,)


def test_nothing_changes_at_the_location_where_writing_fails(
    lake: EmbeddedLake, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exports, wanted = Exports(lake), export(out / "t.csv")
    publish(lake, "SELECT 1 AS a")
    exports.write(wanted)
    publish(lake, "SELECT 2 AS a")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(StorageError, match="No space left on device"):
            exports.write(wanted)
    assert (out / "t.csv").read_text().split() == ["a", "1"]
    assert names(out) == ["t.csv"]
    assert exports.write(wanted)


# folders


PARTS = "SELECT range AS a, range % 2 AS p FROM range(4)"


def killed_at(moment: str) -> Any:
    """In the place of a function: the end, as of a process, when it is called (of ``_files``, once folders were swapped)."""
    original = getattr(exported_files, moment)

    def killed(place: Path, *more: Any) -> Any:
        if moment == "_files" and (place.name.endswith(".tmp") or not (place / f"p={len(moment)}").exists()):
            return original(place, *more)
        raise KeyboardInterrupt

    return killed


def test_partitions_are_a_folder_that_is_replaced_as_a_whole(
    lake: EmbeddedLake, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exports, wanted = Exports(lake), export(out / "t", format="parquet", partition_by="p")
    publish(lake, PARTS)
    assert exports.write(wanted)
    assert names(out / "t") == ["p=0/data_0.parquet", "p=1/data_0.parquet"]
    assert not exports.write(wanted)
    publish(lake, f"{PARTS} WHERE range % 2 = 1")
    assert exports.write(wanted)
    assert names(out) == ["t/p=1/data_0.parquet"]
    assert rows(out / "t/*/*.parquet") == [(1, 1), (3, 1)]
    # A process that is killed right before it swaps folders, or right after, is not in the way of the next.
    for moment in ("_swap_folder", "_files"):
        publish(lake, f"{PARTS} UNION ALL SELECT 0, {len(moment)}")
        with monkeypatch.context() as patched:
            patched.setattr(exported_files, moment, killed_at(moment))
            with pytest.raises(KeyboardInterrupt):
                exports.write(wanted)
        assert exports.write(wanted)
        assert (0, len(moment)) in rows(out / "t/*/*.parquet")
    # What somebody else put there is not lost.
    (out / "t" / "mine.txt").write_text("precious")
    publish(lake, PARTS)
    with pytest.raises(ConfigError, match=r"holds files that this model did not write .mine\.txt."):
        exports.write(wanted)
    assert exports.write(dataclasses.replace(wanted, options={**wanted.options, "overwrite": "true"}))
    assert names(out / "t") == ["p=0/data_0.parquet", "p=1/data_0.parquet"]


def test_partitions_beside_what_stands_there(lake: EmbeddedLake, out: Path) -> None:
    exports = Exports(lake)
    wanted = export(out / "t", format="csv", partition_by="p", overwrite_or_ignore="true")
    (out / "t").mkdir(parents=True)
    (out / "t" / "mine.txt").write_text("precious")
    publish(lake, PARTS)
    assert exports.write(wanted)
    publish(lake, f"{PARTS} WHERE range % 2 = 1")
    assert exports.write(wanted)
    assert names(out / "t") == ["mine.txt", "p=0/data_0.csv", "p=1/data_0.csv"]


def test_rows_that_are_added_are_added_once(lake: EmbeddedLake, out: Path) -> None:
    exports, wanted = Exports(lake), export(out / "t", format="parquet", partition_by="p", append="true")
    publish(lake, PARTS)
    assert exports.write(wanted)
    (Path(lake.settings.warehouse.removeprefix("file://")) / ".exports" / "done").rename(out / "gone")
    assert exports.write(wanted)  # as after a process that was killed before it wrote its receipt
    assert rows(out / "t/*/*.parquet") == [(0, 0), (1, 1), (2, 0), (3, 1)]
    publish(lake, "SELECT 9 AS a, 0 AS p")
    assert exports.write(wanted)
    assert rows(out / "t/*/*.parquet") == [(0, 0), (1, 1), (2, 0), (3, 1), (9, 0)]


def test_no_rows_are_a_folder_without_files(lake: EmbeddedLake, out: Path) -> None:
    publish(lake, f"{PARTS} LIMIT 0")
    exports, wanted = Exports(lake), export(out / "t", format="parquet", partition_by="p")
    assert exports.write(wanted)
    assert (out / "t").is_dir()
    assert not exports.write(wanted)


# what shows before anything is published


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"format": "parquet", "compression": "lzx"}, SqlError),
        ({"format": "csv", "no_such_option": "1"}, SqlError),
        ({"format": "parquet", "partition_by": "nobody"}, SqlError),
    ],
)
def test_options_that_duckdb_refuses(lake: EmbeddedLake, out: Path, options: dict[str, str], error: type) -> None:
    publish(lake, PARTS)
    with pytest.raises(error):
        Exports(lake).check(export(out / "t", **options), "main")
    assert not out.exists()


def test_places_that_cannot_be_written_to(lake: EmbeddedLake, out: Path) -> None:
    publish(lake, PARTS)
    exports = Exports(lake)
    out.mkdir()
    (out / "file").touch()
    with pytest.raises(ConfigError, match="is a folder, and one file is to be written"):
        exports.check(export(out), "main")
    with pytest.raises(ConfigError, match="is a file, and a folder of files is to be written"):
        exports.check(export(out / "file", format="csv", partition_by="p"), "main")
    with pytest.raises(ConfigError, match=f"{out / 'file'} is no folder, or may not be written to"):
        exports.check(export(out / "file" / "below.csv"), "main")
    if os.getuid() != 0:
        out.chmod(0o500)
        with pytest.raises(ConfigError, match="may not be written to"):
            exports.check(export(out / "t.csv"), "main")


def test_what_was_left_long_ago_is_removed(lake: EmbeddedLake, out: Path) -> None:
    publish(lake, "SELECT 1 AS a")
    out.mkdir()
    for name, age in (
        (".t.csv.00000000.tmp", 2 * 86400),
        (".t.csv.11111111.tmp", 0),
        (".u.csv.00000000.tmp", 2 * 86400),
    ):
        (out / name).touch()
        then = (out / name).stat().st_mtime - age
        os.utime(out / name, (then, then))
    Exports(lake).write(export(out / "t.csv"))
    assert names(out) == [".t.csv.11111111.tmp", ".u.csv.00000000.tmp", "t.csv"]


def test_a_table_that_is_gone_is_not_written(lake: EmbeddedLake, out: Path) -> None:
    publish(lake, "SELECT 1 AS a")
    exports = Exports(lake)
    assert not exports.write(dataclasses.replace(export(out / "t.csv"), name="nothing"))
    assert not exports.write(dataclasses.replace(export(out / "t.csv"), branch="nowhere"))
    assert not out.exists()


def test_what_is_noted_is_no_garbage(lake: EmbeddedLake, out: Path) -> None:
    run = built(lake, "SELECT 1 AS a")
    exports = Exports(lake)
    exports.note(export(out / "t.csv"), run.request.id)
    run.publish()
    found = lake.maintenance.collect(CollectRequest(dry_run=True))
    assert ".exports" not in repr(found)
    assert len(exports.finish(None).written) == 1
