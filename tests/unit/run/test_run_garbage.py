"""Garbage collection on a lake: whatever something leads to can still be read in full, and every other file is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyiceberg.table import StaticTable
from s3_server import BUCKET, S3

from dbt.adapters.lakehouse.catalog.model import RefKind, TableEntry
from dbt.adapters.lakehouse.errors import Collected, ConfigError, RefNotFound, StorageError
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.batches import unjoined_files
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.upkeep import CollectRequest, CompactRequest, Garbage
from dbt.adapters.lakehouse.run.values import Batch, Build, Name, RunRequest
from dbt.adapters.lakehouse.settings import LakeSettings, PublishMode
from dbt.adapters.lakehouse.storage import storage_for
from dbt.adapters.lakehouse.tables import metadata, reader
from dbt.adapters.lakehouse.tables.values import TimeRange

OpenRun = Callable[..., LakeRun]

NOTHING = timedelta(0)
LONG = timedelta(days=365)


def collect(lake: EmbeddedLake, **more: Any) -> Garbage:
    """Collect all that nothing names right now."""
    wish = {"history": NOTHING, "failed_runs": LONG, "results": NOTHING, "grace": NOTHING, "alone": True, **more}
    return lake.maintenance.collect(CollectRequest(**wish))


def tables_at(lake: EmbeddedLake, ref: str) -> list[TableEntry]:
    found = lake.catalog.entries(lake.catalog.resolve(ref).id).values()
    return [entry for entry in found if isinstance(entry, TableEntry)]


def files_of(lake: EmbeddedLake) -> set[str]:
    """Every file of the warehouse but the catalog's."""
    folder = Path(lake.settings.warehouse.removeprefix("file://"))
    return {f"file://{path}" for path in folder.rglob("*") if path.is_file() and ".sqlite" not in path.name}


def needed(entries: list[TableEntry]) -> set[str]:
    """The files that tables consist of, as pyiceberg has it."""
    found: set[str] = set()
    for entry in entries:
        table = StaticTable.from_metadata(entry.metadata_location)
        found.add(entry.metadata_location)
        for snapshot in table.snapshots():
            found.add(snapshot.manifest_list)
            for manifest in snapshot.manifests(table.io):
                found.add(manifest.manifest_path)
                found.update(item.data_file.file_path for item in manifest.fetch_manifest_entry(table.io))
    return found


def check_readable(entries: list[TableEntry]) -> None:
    for entry in entries:
        with duckdb.connect() as con:
            rows = con.execute(reader.select_sql(entry.metadata_location)).fetchall()
        assert len(rows) == entry.rows
        assert StaticTable.from_metadata(entry.metadata_location).scan().to_arrow().num_rows == entry.rows


def make(session: RunSession, name: str, sql: str, **more: Any) -> None:
    session.build(Build(name=Name(database="lake", schema="s", name=name), sql=sql, node=f"model.p.{name}", **more))


def published(open_run: OpenRun, *tables: tuple[str, str], **more: Any) -> LakeRun:
    """A run that builds tables and passes."""
    run = open_run(**more)
    session = run.session()
    for name, sql in tables:
        make(session, name, sql)
    session.close()
    run.publish()
    return run


@pytest.fixture
def story(lake: EmbeddedLake, open_run: OpenRun) -> list[str]:
    """Branches, tags, runs that passed, failed and wait; the refs that are to be kept."""
    published(open_run, ("a", "SELECT 1 AS x"), ("b", "SELECT x + 1 AS x FROM s.a"))
    lake.catalog.create_ref("v1", RefKind.TAG, "main")
    published(open_run, ("a", "SELECT 2 AS x"), ("gone", "SELECT 1 AS x"))
    published(open_run, ("a", "SELECT 22 AS x"))
    lake.catalog.create_ref("dev", RefKind.BRANCH, "main~1")
    published(open_run, ("a", "SELECT 3 AS x"), ("c", "SELECT range AS x FROM range(100)"), branch="dev")
    session = open_run(publish=PublishMode.EACH_NODE).session()
    session.execute("DROP TABLE s.gone; INSERT INTO s.a SELECT 23; DELETE FROM s.a WHERE x = 22")
    session.close()
    published(open_run, ("a", "SELECT 4 AS x"), ("once", "SELECT 77 AS y"), branch="left")
    lake.catalog.delete_ref("left", expected=lake.catalog.resolve("left").id)
    failed = open_run()
    make(failed.session(), "d", "SELECT 5 AS x")
    failed.fail("a test failed")
    waiting = open_run(publish=PublishMode.MANUAL)
    make(waiting.session(), "e", "SELECT 6 AS x")
    waiting.publish()
    assert failed.branch is not None
    assert waiting.branch is not None
    return ["main", "v1", "dev", failed.branch, waiting.branch]


def test_what_refs_lead_to_stays_and_all_else_goes(lake: EmbeddedLake, story: list[str]) -> None:
    kept = [entry for ref in story for entry in tables_at(lake, ref)]
    wanted = needed(kept)
    everything = files_of(lake)
    assert wanted < everything
    folder = Path(lake.settings.warehouse.removeprefix("file://"))
    (folder / "notes.txt").write_text("somebody's")
    (folder / "s" / "a" / "readme.md").write_text("somebody's")
    (folder / ".staging" / "lakehouse-dead").mkdir(parents=True)
    (folder / ".staging" / "lakehouse-dead" / "0.parquet").write_text("left")
    planned = collect(lake, dry_run=True)
    assert files_of(lake) > everything
    done = collect(lake)
    foreign = {f"file://{folder}/notes.txt", f"file://{folder}/s/a/readme.md"}
    assert files_of(lake) == wanted | foreign
    assert (done.files, done.kept) == (len(everything) + 1 - len(wanted), len(wanted))
    assert (done.foreign, done.foreign_files) == (("notes.txt", "s/a/readme.md"), 2)
    assert done.tables == planned.tables
    assert (done.commits, done.results) == (planned.commits, planned.results)
    assert {(table.schema, table.name) for table in done.tables} >= {("s", "a"), ("s", "once"), ("", "")}
    assert not (folder / "s" / "once").exists()
    assert not (folder / ".staging").exists()
    check_readable(kept)
    for ref in story:
        assert lake.read(ref, default_schema="s").execute("SELECT count(*) FROM a").rows == [(1,)]
    again = collect(lake)
    assert (again.files, again.commits, again.branches, again.results) == (0, 0, (), 0)


def test_what_was_collected_can_be_told_of_but_not_read(
    lake: EmbeddedLake, story: list[str], open_run: OpenRun
) -> None:
    old = lake.catalog.resolve("main~2")
    assert collect(lake).commits > 0
    assert lake.catalog.resolve(old.id).collected
    assert [change.key for change in lake.catalog.changes(old.id)] != []
    with pytest.raises(Collected, match="its history remains"):
        lake.read("main~2")
    session = open_run().session()
    with pytest.raises(Collected, match="collected"):
        session.execute(f'SELECT * FROM "lake@{old.id}".s.a')
    for act in (
        lambda: lake.catalog.create_ref("back", RefKind.BRANCH, old.id),
        lambda: lake.catalog.create_ref("then", RefKind.TAG, old.id),
    ):
        with pytest.raises(Collected):
            act()
    session.close()


def test_history_keeps_what_branches_showed(lake: EmbeddedLake, story: list[str]) -> None:
    old = lake.catalog.resolve("main~4").id
    before = files_of(lake)
    done = collect(lake, history=timedelta(days=7))
    # All that is younger stays, what no branch leads to any more included.
    assert (done.commits, done.branches) == (0, ())
    assert lake.read(old, default_schema="s").execute("SELECT * FROM a").rows == [(2,)]
    # Tables that no commit ever held: writes were given up, or made anew before they were committed.
    assert files_of(lake) <= before


def test_more_history_than_the_last_time_brings_nothing_back(lake: EmbeddedLake, story: list[str]) -> None:
    collect(lake)
    before = files_of(lake)
    done = collect(lake, history=timedelta(days=7), results=LONG)
    assert (done.unreadable, done.files, done.commits) == ((), 0, 0)
    assert files_of(lake) == before


def test_young_files_stay(lake: EmbeddedLake, story: list[str]) -> None:
    before = files_of(lake)
    done = collect(lake, grace=timedelta(hours=1), alone=False)
    assert files_of(lake) == before
    assert (done.files, done.young > 0) == (0, False)  # all of it is history that young commits hold
    folder = Path(lake.settings.warehouse.removeprefix("file://")) / "s" / "z" / "0123abcd" / "data" / "x"
    folder.mkdir(parents=True)
    (folder / "0.parquet").write_text("just being written")
    assert collect(lake, grace=timedelta(hours=1)).young == 1
    assert (folder / "0.parquet").exists()
    os.utime(folder / "0.parquet", (0, 0))
    assert collect(lake, grace=timedelta(hours=1)).files == 1
    assert not folder.exists()


def test_failed_runs_are_kept_for_a_while(lake: EmbeddedLake, story: list[str], open_run: OpenRun) -> None:
    failed = story[3]
    done = collect(lake, failed_runs=NOTHING)
    assert done.branches == (failed,)
    assert files_of(lake) == needed([entry for ref in story if ref != failed for entry in tables_at(lake, ref)])
    with pytest.raises(RefNotFound):
        lake.catalog.resolve(failed)
    with pytest.raises(RefNotFound, match="cannot be continued"):
        open_run(continues=failed.removeprefix("run/")).session()


def test_results_can_be_reused_as_long_as_they_are_kept(lake: EmbeddedLake, open_run: OpenRun) -> None:
    published(open_run, ("a", "SELECT 1 AS x"))
    published(open_run, ("a", "SELECT 2 AS x"))
    collect(lake, results=LONG)
    run = open_run()
    session = run.session()
    build = Build(name=Name(database="lake", schema="s", name="a"), sql="SELECT 1 AS x", node="model.p.a")
    assert session.build(build).reused is not None
    run.publish()
    check_readable(tables_at(lake, "main"))
    session.close()
    collect(lake)  # now the result of SELECT 2 goes
    session = open_run().session()
    other = Build(name=Name(database="lake", schema="s", name="a"), sql="SELECT 2 AS x", node="model.p.a")
    assert session.build(other).reused is None
    assert session.execute("SELECT * FROM s.a").rows == [(2,)]
    session.close()


def test_an_open_run_keeps_what_it_reads_and_wrote(lake: EmbeddedLake, open_run: OpenRun) -> None:
    published(open_run, ("a", "SELECT 1 AS x"), ("b", "SELECT 1 AS x"))
    run = open_run()
    session = run.session()
    make(session, "mine", "SELECT x FROM s.a")
    folder = Path(lake.settings.warehouse.removeprefix("file://"))
    written = folder / "s" / "mine" / "0123abcd" / "data" / "y" / "0.parquet"
    written.parent.mkdir(parents=True)
    written.write_text("of a job that has not ended yet")
    # Meanwhile its target moves on, and what it reads is named by nobody else.
    published(open_run, ("a", "SELECT 2 AS x"), ("b", "SELECT 2 AS x"))
    done = collect(lake)
    assert written.exists()
    assert done.young > 0
    assert session.execute("SELECT a.x, b.x, mine.x FROM s.a, s.b, s.mine").rows == [(1, 1, 1)]
    make(session, "late", "SELECT x FROM s.b")
    session.close()
    run.publish()
    collect(lake)
    assert not written.exists()
    assert lake.read("main").execute("SELECT a.x, late.x FROM s.a, s.late").rows == [(2, 1)]
    assert files_of(lake) == needed(tables_at(lake, "main"))


def test_batches_that_a_failed_run_could_not_join_stay_with_its_branch(lake: EmbeddedLake, open_run: OpenRun) -> None:
    published(open_run, ("events", "SELECT 1 AS id, TIMESTAMP '2026-01-01 10:00' AS ts"))
    run = open_run()
    session = run.session()
    make(
        session,
        "events",
        "SELECT 2 AS id, TIMESTAMP '2026-01-02 10:00' AS ts",
        mode="merge",
        statements=("DELETE FROM s.events", "INSERT INTO s.events FROM fresh"),
        source="fresh",
        batch=Batch(range=TimeRange(column="ts", start="2026-01-02", end="2026-01-03"), number=1, of=2),
        reuse="never",
    )
    session.close()
    run.fail("interrupted", {}, abandoned=True)
    record = lake.catalog.run(run.request.id)
    assert record is not None
    (staged,) = unjoined_files(record.nodes)
    collect(lake)
    assert Path(staged.removeprefix("file://")).exists()
    again = open_run(continues=run.request.id)
    assert again.session().execute("SELECT id FROM s.events ORDER BY id").rows == [(1,), (2,)]
    again.publish()
    assert collect(lake, failed_runs=NOTHING).branches == (record.branch,)
    # The table has them now.
    assert files_of(lake) == needed(tables_at(lake, "main"))
    assert lake.read("main").execute("SELECT count(*) FROM s.events").rows == [(2,)]


def test_requests_and_places_that_would_do_harm(lake: EmbeddedLake, story: list[str], tmp_path: Path) -> None:
    before = files_of(lake)
    with pytest.raises(ConfigError, match="--nothing-else-runs"):
        collect(lake, grace=timedelta(minutes=59), alone=False)
    with pytest.raises(ConfigError, match="below nothing"):
        collect(lake, history=timedelta(seconds=-1))
    # By way of a link, no file would have the name that its table knows.
    (tmp_path / "link").symlink_to(tmp_path / "lake")
    linked = LakeSettings(warehouse=f"file://{tmp_path}/link", catalog=lake.settings.catalog, memory_limit="200MB")
    other = EmbeddedLake.open(linked)
    with pytest.raises(ConfigError, match="not below its warehouse"):
        collect(other)
    other.close()
    # Another catalog over the same folder knows none of its tables.
    foreign = LakeSettings(
        warehouse=lake.settings.warehouse, catalog=f"sqlite:///{tmp_path}/other.sqlite", memory_limit="200MB"
    )
    other = EmbeddedLake.open(foreign)
    with pytest.raises(ConfigError, match="belongs to one catalog"):
        collect(other)
    other.close()
    assert files_of(lake) == before


def test_a_table_that_cannot_be_read_is_left_alone(lake: EmbeddedLake, story: list[str]) -> None:
    damaged = next(entry for entry in tables_at(lake, "main") if entry.name == "a")
    listing = metadata.load(damaged.metadata_location).metadata.current_snapshot()
    assert listing is not None
    Path(listing.manifest_list.removeprefix("file://")).write_bytes(b"not Avro")
    before = files_of(lake)
    done = collect(lake)
    (why,) = done.unreadable
    assert listing.manifest_list in why
    left = {uri for uri in before if uri.startswith(damaged.location + "/")}
    assert left <= files_of(lake)
    assert not any("/s/once/" in uri for uri in files_of(lake))


# killed in the middle, two at once, other processes

_COLLECT = """
import sys
from dbt.adapters.lakehouse.cli.main import main
sys.exit(main(["gc", "--keep-history", "0", "--keep-results", "0", "--grace", "0", "--nothing-else-runs", "--json"]))
"""


def start_collecting(lake: EmbeddedLake) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "LAKEHOUSE_WAREHOUSE": lake.settings.warehouse.removeprefix("file://")}
    return subprocess.Popen(
        [sys.executable, "-c", _COLLECT], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def litter(lake: EmbeddedLake, count: int = 1500) -> Path:
    """Many files of a write that never came to a commit."""
    folder = Path(lake.settings.warehouse.removeprefix("file://")) / "s" / "litter" / "0123abcd" / "data"
    for number in range(count):
        place = folder / f"{number:032x}"
        place.mkdir(parents=True)
        (place / "00000.parquet").write_bytes(b"x")
    return folder


def wait_for(what: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not what() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("moment", ["before it deletes", "while it deletes"])
def test_killed_in_the_middle_the_next_one_finishes(lake: EmbeddedLake, story: list[str], moment: str) -> None:
    kept = [entry for ref in story for entry in tables_at(lake, ref)]
    wanted = needed(kept)
    folder = litter(lake)
    old = lake.catalog.resolve("main~2").id
    with start_collecting(lake) as process:
        if moment == "before it deletes":
            wait_for(lambda: lake.catalog.resolve(old).collected, process)
        else:
            wait_for(lambda: sum(1 for _ in os.scandir(folder)) < 1500, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    if moment == "while it deletes":
        assert wanted < files_of(lake), "it was killed too late to be a test"
    check_readable(kept)
    assert wanted <= files_of(lake)
    collect(lake)
    assert files_of(lake) == wanted
    check_readable(kept)


def test_two_at_once_do_each_other_no_harm(lake: EmbeddedLake, story: list[str]) -> None:
    kept = [entry for ref in story for entry in tables_at(lake, ref)]
    wanted = needed(kept)
    litter(lake, 500)
    with start_collecting(lake) as one, start_collecting(lake) as other:
        answers = [process.communicate() for process in (one, other)]
    assert [one.returncode, other.returncode] == [0, 0], answers
    assert files_of(lake) == wanted
    check_readable(kept)


_BUILD = """
import sys
from pathlib import Path
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.values import Build, Name, RunRequest
from dbt.adapters.lakehouse.settings import LakeSettings

folder, count, enough = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
settings = LakeSettings(warehouse=f"file://{folder}", catalog=f"sqlite:///{folder}/catalog.sqlite", memory_limit="300MB")
lake = EmbeddedLake.open(settings)
number = 0
while number < count or not enough.exists():
    run = lake.open_run(RunRequest(id=f"other-{number:03}", command="x", branch="main", default_schema="s"))
    session = run.session()
    name = Name(database="lake", schema="s", name="log")
    if number == 0:
        session.build(Build(name=name, sql="SELECT 0 AS n", node="model.p.log"))
    else:
        session.execute(f"INSERT INTO s.log SELECT {number}")
    session.build(Build(name=Name(database="lake", schema="s", name="copy"), sql="SELECT * FROM s.log", node="model.p.copy"))
    session.close()
    run.publish()
    number += 1
print(number)
lake.close()
"""


def test_collecting_beside_runs_of_another_process(lake: EmbeddedLake, tmp_path: Path) -> None:
    folder = lake.settings.warehouse.removeprefix("file://")
    enough = tmp_path / "enough"
    taken = 0
    with subprocess.Popen(
        [sys.executable, "-c", _BUILD, folder, "12", str(enough)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        while process.poll() is None:
            taken += collect(lake, grace=timedelta(seconds=1)).files
            if taken > 20:
                enough.touch()
        out, err = process.communicate()
    assert process.returncode == 0, err.decode()
    count = int(out)
    assert count >= 12
    assert taken > 20
    collect(lake)
    assert lake.read("main").execute("SELECT count(*), sum(n) FROM s.log").rows == [(count, sum(range(count)))]
    assert lake.read("main").execute("SELECT count(*) FROM s.copy").rows == [(count,)]
    assert files_of(lake) == needed(tables_at(lake, "main"))
    check_readable(tables_at(lake, "main"))


# S3


@pytest.fixture
def lake_on_s3(tmp_path: Path, s3: S3) -> Iterator[EmbeddedLake]:
    settings = LakeSettings(
        warehouse=s3.uri,
        catalog=f"sqlite:///{tmp_path}/catalog.sqlite",
        storage_options=s3.options,
        memory_limit="500MB",
    )
    lake = EmbeddedLake.open(settings)
    yield lake
    lake.close()


def test_a_bucket(lake_on_s3: EmbeddedLake, s3: S3) -> None:
    lake = lake_on_s3
    session = lake.open_run(
        RunRequest(id="made", command="x", branch="main", publish=PublishMode.EACH_NODE, default_schema="s")
    ).session()
    session.execute("CREATE SCHEMA s; CREATE TABLE s.a AS SELECT 1 AS x; CREATE TABLE s.b AS SELECT 1 AS x")
    session.execute("INSERT INTO s.a SELECT 2; DROP TABLE s.b")
    session.close()
    s3.client().create_multipart_upload(Bucket=BUCKET, Key=f"{s3.folder}/s/a/begun")
    storage_for(s3.uri).write(f"{s3.uri}/notes.txt", b"somebody's")
    time.sleep(1.1)  # the store tells times in whole seconds
    done = collect(lake)
    assert (done.leftovers, s3.unfinished()) == (1, [])
    assert done.foreign == ("notes.txt",)
    assert not any(name.startswith("s/b/") for name in s3.names())
    (entry,) = tables_at(lake, "main")
    found = metadata.load(entry.metadata_location)
    assert len(s3.names()) == 1 + done.kept
    assert {f.path.removeprefix(f"{s3.uri}/") for f in found.data} < s3.names()
    assert lake.read("main").execute("SELECT x FROM s.a ORDER BY x").rows == [(1,), (2,)]


def test_a_session_whose_state_is_collected_under_it_says_so(lake: EmbeddedLake, open_run: OpenRun) -> None:
    published(open_run, ("a", "SELECT 1 AS x"))
    session = lake.read("main")
    assert session.execute("SELECT 1").rows == [(1,)]
    published(open_run, ("a", "SELECT 2 AS x"))
    (old,) = tables_at(lake, "main~1")
    metadata.load(old.metadata_location)  # so that only the rows are gone
    collect(lake)
    with pytest.raises(StorageError, match="collected as garbage meanwhile"):
        session.execute("SELECT * FROM s.a")
    session.close()


def test_no_other_engine_may_collect_by_itself(lake: EmbeddedLake, open_run: OpenRun) -> None:
    """Iceberg's own clean-up knows one table's history, and would take files that other branches hold."""
    session = open_run(publish=PublishMode.EACH_NODE).session()
    make(session, "a", "SELECT 1 AS x", properties={"write.parquet.compression-codec": "zstd"})
    session.execute("INSERT INTO s.a SELECT 2; ALTER TABLE s.a ADD COLUMN y INTEGER; UPDATE s.a SET y = 1 WHERE x = 2")
    session.execute("CREATE OR REPLACE TABLE s.b AS SELECT 1 AS x; CREATE OR REPLACE TABLE s.b AS SELECT 2 AS x")
    session.execute("INSERT INTO s.b SELECT 3")
    session.close()
    lake.maintenance.compact(CompactRequest(branch="main", snapshots=1))
    written = [uri for uri in files_of(lake) if uri.endswith(".metadata.json")]
    assert len(written) >= 8
    for uri in written:
        properties = StaticTable.from_metadata(uri).properties
        assert properties["gc.enabled"] == "false"
        assert properties["write.metadata.delete-after-commit.enabled"] == "false"
    for name, value in (("gc.enabled", "true"), ("write.metadata.delete-after-commit.enabled", "true")):
        session = open_run().session()
        with pytest.raises(ConfigError, match="the lake's own"):
            make(session, "c", "SELECT 1 AS x", properties={name: value})
        session.close()
