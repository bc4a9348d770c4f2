"""When two changes of one table become one unasked, and when only because somebody said so."""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from service_thread import TOKEN, OpenGate, serving

from dbt.adapters.lakehouse.catalog.model import Conflict, Entry, Key, Put, RefKind, TableEntry, content_id, identity
from dbt.adapters.lakehouse.executors.local import LocalExecutor
from dbt.adapters.lakehouse.jobs.function import Definition, Signature
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.lake.remote.lake import RemoteLake
from dbt.adapters.lakehouse.run import combining
from dbt.adapters.lakehouse.run.combining import NotCombined
from dbt.adapters.lakehouse.run.values import Build, Function, Merged, MergeRequest, Name, RunRequest
from dbt.adapters.lakehouse.service.config import ServiceConfig
from dbt.adapters.lakehouse.service.core import Service
from dbt.adapters.lakehouse.service.store import ServiceStore
from dbt.adapters.lakehouse.settings import LakeSettings, ServiceSettings
from dbt.adapters.lakehouse.storage import storage_for
from dbt.adapters.lakehouse.tables import maintenance

ORDERS = Key("s", "orders")
NAME = Name(database="lake", schema="s", name="orders")

Do = Callable[..., None]


@pytest.fixture
def do(open_run: Any) -> Do:
    """One published run on a branch: statements, builds, or functions."""

    def done(branch: str, *steps: str | Build | Function) -> None:
        run = open_run(branch=branch)
        with contextlib.closing(run.session()) as session:
            for step in steps:
                if isinstance(step, Function):
                    session.create_function(step)
                else:
                    session.build(step) if isinstance(step, Build) else session.execute(step)
        run.publish()

    return done


@pytest.fixture
def forked(lake: EmbeddedLake, do: Do) -> None:
    """Table ``s.orders`` with one row, and sources to fill it from, on ``main`` and its branch ``dev``."""
    do(
        "main",
        "CREATE TABLE s.orders AS SELECT 1 AS id, 'x' AS name",
        "CREATE TABLE s.fresh AS SELECT 2 AS id, 'y' AS name",
    )
    do("main", "CREATE TABLE s.other AS SELECT 3 AS id, 'z' AS name", "CREATE VIEW s.behind AS SELECT * FROM s.orders")
    lake.catalog.create_ref("dev", RefKind.BRANCH, "main")


def added(sql: str, **more: Any) -> Build:
    return Build(name=NAME, mode="append", sql=sql, **more)


def imported(*files: str) -> Build:
    """As ``lakehouse import --append`` makes it."""
    number = "".join(filter(str.isdigit, files[0]))
    return added(f"SELECT {number} AS id, '{files[0]}' AS name", local=True, provenance={"files": list(files)})


def conflict(lake: EmbeddedLake, source: str = "dev", target: str = "main") -> Conflict:
    (found,) = lake.catalog.merge(source, target, author="a", message="m", dry_run=True).conflicts
    return found


def combined(lake: EmbeddedLake, *, asked: bool = False) -> Entry | NotCombined:
    return combining.combine(lake.catalog, lake.settings, conflict(lake), asked=asked, dry_run=True)


def merge(lake: EmbeddedLake, source: str = "dev", target: str = "main", **more: Any) -> Merged:
    return lake.versions.merge(MergeRequest(source=source, target=target, author="ann", **more))


def ids(lake: EmbeddedLake, ref: str = "main") -> list[int]:
    with contextlib.closing(lake.read(ref, "s")) as session:
        return [row[0] for row in session.execute("SELECT id FROM orders ORDER BY 1").rows]


UNASKED: dict[str, tuple[Any, Any]] = {
    "values": ("INSERT INTO s.orders VALUES (10, 'a')", "INSERT INTO s.orders VALUES (11, 'a')"),
    "imports": (imported("10.csv"), imported("11.csv")),
    "an import and a statement": (imported("10.csv"), "INSERT INTO orders SELECT * FROM s.fresh"),
    "other sources": ("INSERT INTO orders SELECT * FROM fresh", "INSERT INTO orders SELECT * FROM s.other"),
    "a node and an import": (added("SELECT * FROM s.fresh", node="model.p.orders"), imported("10.csv")),
    "a remark": ("COMMENT ON TABLE s.orders IS 'all'", imported("10.csv")),
}
ASKED: dict[str, tuple[Any, Any, str]] = {
    "the same node": (
        added("SELECT 10 AS id, 'a' AS name", node="model.p.orders"),
        added("SELECT 11 AS id, 'a' AS name", node="model.p.orders"),
        "both sides added rows, and both by means of the node model.p.orders, so that they may be the same",
    ),
    "the same source": (
        "INSERT INTO s.orders SELECT id, name FROM s.fresh",
        "INSERT INTO s.orders SELECT id + 1, name FROM s.fresh",
        "both sides added rows, and both by means of table s.fresh, so that they may be the same",
    ),
    "the same statement": (
        "INSERT INTO s.orders SELECT (random() * 1000)::INTEGER, 'r'",
        "INSERT INTO s.orders  SELECT (random() * 1000)::INTEGER, 'r'",
        "both by means of the statement",
    ),
    "the same file": (
        imported("10.csv", "12.csv"),
        imported("12.csv"),
        "both sides added rows, and both by means of file 12.csv, so that they may be the same",
    ),
    "the same rows": (
        imported("10.csv"),
        "INSERT INTO s.orders VALUES (10, '10.csv')",
        "both sides added the same rows",
    ),
    "its own rows": (
        "INSERT INTO s.orders SELECT max(id) + 1, 'n' FROM s.orders",
        imported("11.csv"),
        "on the source what to add was found by reading the table itself",
    ),
    "its own rows behind a view": (
        "INSERT INTO s.orders SELECT max(id) + 1, 'n' FROM s.behind",
        imported("11.csv"),
        "nothing tells what 'INSERT INTO s.orders SELECT max(id) + 1, 'n' FROM s.behind' read",
    ),
    "a node that reads itself": (
        imported("11.csv"),
        added("SELECT max(id) + 1 AS id, 'n' AS name FROM s.orders", node="model.p.orders"),
        "on the target what to add was found by reading the table itself",
    ),
}


@pytest.mark.parametrize("name", UNASKED)
def test_put_together_unasked(lake: EmbeddedLake, do: Do, forked: None, name: str) -> None:
    on_dev, on_main = UNASKED[name]
    do("dev", on_dev)
    do("main", on_main)
    wanted = sorted(ids(lake) + ids(lake, "dev")[1:])
    found = combined(lake)
    assert isinstance(found, TableEntry), found
    assert found.rows == len(wanted)
    merged = merge(lake)
    assert merged.commit is not None
    assert ids(lake) == wanted


@pytest.mark.parametrize("name", ASKED)
def test_put_together_when_asked(lake: EmbeddedLake, do: Do, forked: None, name: str) -> None:
    on_dev, on_main, why = ASKED[name]
    do("dev", on_dev)
    do("main", on_main)
    found = combined(lake)
    assert isinstance(found, NotCombined)
    assert why in found.why.replace('"', "'")
    before = lake.catalog.resolve("main").id
    refused = merge(lake)
    assert refused.conflicts
    assert [one.why for one in refused.not_settled] == [found.why]
    assert lake.catalog.resolve("main").id == before
    wanted = sorted(ids(lake) + ids(lake, "dev")[1:])
    assert merge(lake, take={ORDERS: "both"}).commit is not None
    assert ids(lake) == wanted


def test_partitions_need_no_asking(lake: EmbeddedLake, do: Do) -> None:
    """Two branches that ran one model for different days."""

    def build(mode: Any, *days: int) -> Build:
        rows = ", ".join(f"(DATE '2026-11-{day:02}', {day})" for day in days)
        sql = f"SELECT * FROM (VALUES {rows}) AS v(day, id)"
        return Build(name=NAME, mode=mode, sql=sql, node="model.p.orders", partition_by=("day",))

    do("main", build("create", 1, 2, 3))
    lake.catalog.create_ref("dev", RefKind.BRANCH, "main")
    do("dev", build("overwrite", 2, 2), build("append", 5))
    do("main", build("overwrite", 3), build("append", 6))
    assert merge(lake).settled[0].how == "combined"
    assert ids(lake) == [1, 2, 2, 3, 5, 6]
    do("dev", build("append", 2))
    do("main", "DELETE FROM s.orders WHERE id = 2")
    for found in (merge(lake), merge(lake, take_all="both")):
        assert found.not_settled[0].why == (
            "both sides touched partition day=2026-11-02, and rows there were changed or deleted on the target"
        )
    assert ids(lake) == [1, 3, 5, 6]


def test_merges_follow_upon_merges(lake: EmbeddedLake, do: Do, forked: None) -> None:
    """To and fro, nothing is lost and nothing is there twice."""
    expected = [1]
    for number in range(10, 40, 10):
        do("dev", imported(f"{number}.csv"))
        do("main", imported(f"{number + 1}.csv"))
        do("dev", imported(f"{number + 2}.csv"))
        expected += [number, number + 1, number + 2]
        assert merge(lake).commit is not None
        assert ids(lake) == expected
    do("dev", imported("50.csv"))
    do("main", imported("51.csv"))
    assert merge(lake, "main", "dev").commit is not None
    assert ids(lake, "dev") == [*expected, 50, 51]
    do("main", imported("52.csv"))
    do("dev", imported("53.csv"))
    assert merge(lake).commit is not None
    assert ids(lake) == [*expected, 50, 51, 52, 53]


def test_a_third_branch(lake: EmbeddedLake, do: Do, forked: None) -> None:
    """What came to both sides from a third stands there once, and is not taken for something done twice."""
    lake.catalog.create_ref("third", RefKind.BRANCH, "main")
    do("third", imported("20.csv"))
    do("dev", imported("21.csv"))
    do("main", imported("22.csv"))
    for target in ("dev", "main"):
        assert merge(lake, "third", target).commit is not None
    assert merge(lake).commit is not None
    assert ids(lake) == [1, 20, 21, 22]


def test_what_was_given_up_does_not_count(lake: EmbeddedLake, do: Do, forked: None) -> None:
    lake.catalog.create_ref("third", RefKind.BRANCH, "main")
    do("third", imported("20.csv"))
    do("main", imported("12.csv", "13.csv"))
    assert merge(lake, "third", take_all="theirs").commit is not None
    do("dev", imported("12.csv"))
    assert merge(lake).commit is not None
    assert ids(lake) == [1, 12, 20]


def test_what_cannot_be_seen_may_be_anything(
    lake: EmbeddedLake, do: Do, forked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_dev, on_main = UNASKED["other sources"]
    do("dev", on_dev)
    do("main", on_main)
    hidden = lake.catalog.lookup(lake.catalog.resolve("main").id, [Key("s", "fresh")])[Key("s", "fresh")]
    real = lake.catalog.contents
    monkeypatch.setattr(lake.catalog, "contents", lambda ids: {one: e for one, e in real(ids).items() if e != hidden})
    found = combined(lake)
    assert isinstance(found, NotCombined)
    assert "nothing tells what" in found.why


def compact(lake: EmbeddedLake, branch: str) -> TableEntry:
    """Let the same rows stand in other files, as ``lakehouse compact`` does."""
    head = lake.catalog.resolve(branch).id
    entry = lake.catalog.lookup(head, [ORDERS])[ORDERS]
    assert isinstance(entry, TableEntry)
    with duckdb.connect() as con:
        written = maintenance.compact(con, entry.metadata_location)
    assert written.metadata_location != entry.metadata_location
    new = dataclasses.replace(
        entry,
        metadata_location=written.metadata_location,
        snapshot_id=written.snapshot_id,
        size_bytes=written.size_bytes,
        content=identity(entry),
    )
    put = Put(key=ORDERS, entry=new, expected=content_id(entry))
    lake.catalog.commit(branch, [put], author="gc", message="Compact", provenance={"mode": "compact"})
    return new


def test_compaction_is_no_change_of_rows(lake: EmbeddedLake, do: Do, forked: None) -> None:
    do("main", imported("10.csv"))
    lake.catalog.assign("dev", "main", expected=lake.catalog.resolve("dev").id)
    do("dev", "DELETE FROM s.orders WHERE id = 1")
    before = lake.catalog.lookup(lake.catalog.resolve("dev").id, [ORDERS])[ORDERS]
    compact(lake, "main")
    assert merge(lake).settled[0].how == "combined"
    assert lake.catalog.lookup(lake.catalog.resolve("main").id, [ORDERS])[ORDERS] == before
    assert ids(lake) == [10]
    lake.catalog.assign("dev", "main", expected=lake.catalog.resolve("dev").id)
    do("main", imported("11.csv"))
    lake.catalog.assign("dev", "main", expected=lake.catalog.resolve("dev").id)
    compact(lake, "main")
    do("main", imported("12.csv"))
    do("dev", imported("13.csv"))
    assert merge(lake).settled[0].how == "combined"
    assert ids(lake) == [10, 11, 12, 13]
    lake.catalog.assign("dev", "main", expected=lake.catalog.resolve("dev").id)
    compacted = compact(lake, "main")
    compact(lake, "dev")
    assert merge(lake).settled[0].how == "combined"
    assert lake.catalog.lookup(lake.catalog.resolve("main").id, [ORDERS])[ORDERS] == compacted


def test_what_the_entry_says(lake: EmbeddedLake, do: Do, forked: None) -> None:
    """Its node and inputs are those of the side that computed it; its content is known, and another than before."""
    do("dev", added("SELECT * FROM s.fresh", node="model.p.orders"))
    do("main", imported("10.csv"))
    seen = conflict(lake)
    assert merge(lake).commit is not None
    entry = lake.catalog.lookup(lake.catalog.resolve("main").id, [ORDERS])[ORDERS]
    assert isinstance(entry, TableEntry)
    assert content_id(entry) not in (seen.base, seen.source, seen.target)
    assert entry.node == "model.p.orders"
    assert set(entry.inputs) == {"s.fresh"}
    assert entry.content is not None
    assert entry.rows == 3


@pytest.mark.parametrize(
    ("base", "source", "target", "found"),
    [
        ({"a": "1"}, {"a": "2"}, {"a": "1"}, {"a": "2"}),
        ({"a": "1"}, {"a": "1"}, {"a": "2"}, {"a": "2"}),
        ({"a": "1"}, {"a": "2"}, {"a": "3"}, {"a": "3"}),
        ({}, {"a": "1"}, {"b": "2"}, {"a": "1", "b": "2"}),
        ({"a": "1"}, {"a": "2"}, {}, {"a": "2"}),
    ],
)
def test_inputs_of_both(base: Any, source: Any, target: Any, found: Any) -> None:
    assert combining._inputs(base, source, target) == found


def test_nothing_is_written_to_look(lake: EmbeddedLake, do: Do, forked: None) -> None:
    do("dev", imported("10.csv"))
    do("main", imported("11.csv"))
    warehouse = lake.settings.warehouse

    def files() -> set[str]:
        return {file.uri for file in storage_for(warehouse).list_prefix(warehouse) if "catalog.sqlite" not in file.uri}

    before = files()
    assert merge(lake, dry_run=True).settled[0].how == "combined"
    assert files() == before
    assert merge(lake).commit is not None
    assert files() > before


def test_only_tables_that_were_one(lake: EmbeddedLake, do: Do, forked: None) -> None:
    for branch in ("dev", "main"):
        do(
            branch,
            f"CREATE TABLE s.new AS SELECT '{branch}' AS b",
            "DROP TABLE s.other" if branch == "dev" else "SELECT 1",
        )
    do("main", "INSERT INTO s.other VALUES (4, 'w')")
    found = merge(lake, take_all="both")
    assert {str(one.key): one.why for one in found.not_settled} == dict.fromkeys(
        ["s.new", "s.other"], "only what both sides have, and had when they were last one, can be put together"
    )
    do("main", "CREATE OR REPLACE VIEW s.behind AS SELECT 1 AS one")
    do("dev", "CREATE OR REPLACE VIEW s.behind AS SELECT 2 AS two")
    found = merge(lake, take={Key("s", "behind"): "both"})
    assert "only tables can be put together" in {one.why for one in found.not_settled}


def test_views_and_functions_that_say_the_same_on_both_sides(lake: EmbeddedLake, do: Do, forked: None) -> None:
    """Their entries tell what they read, which is another state of it on either side."""
    body = Signature(arguments=(), returns="BIGINT", body="SELECT count(*) FROM s.fresh, s.other")
    counted = Function(
        name=Name(database="lake", schema="s", name="counted"),
        definition=Definition(language="sql", type="scalar", signatures=(body,)),
    )
    view = "CREATE OR REPLACE VIEW s.apart AS SELECT f.id + o.id AS id, s.counted() AS n FROM s.fresh f, s.other o"
    do("main", counted, view)
    lake.catalog.create_ref("topic", RefKind.BRANCH, "main")
    do("topic", "INSERT INTO s.fresh VALUES (10, 'a')", counted, view)
    do("main", "INSERT INTO s.other VALUES (100, 'b')", counted, view)
    dry = merge(lake, "topic", dry_run=True)
    assert {str(one.key): one.how for one in dry.settled} == {"s.apart": "combined", "s.counted()": "combined"}
    assert merge(lake, "topic").commit is not None
    with contextlib.closing(lake.read("main", "s")) as session:
        assert sorted(session.execute("FROM apart").rows) == [(5, 4), (13, 4), (102, 4), (110, 4)]
    # What they say that they read is what stands there now.
    assert lake.versions.stale("main") == []


def test_grants_of_both_sides_on_other_relations(lake: EmbeddedLake, do: Do, forked: None) -> None:
    do("main", "GRANT select ON s.other TO old")
    do("main", "CREATE TABLE s.gone AS SELECT 1 AS a", "GRANT select ON s.gone TO old")
    lake.catalog.create_ref("topic", RefKind.BRANCH, "main")
    do("topic", "GRANT select ON s.orders TO ann", "REVOKE select ON s.other FROM old")
    do("main", "GRANT select ON s.fresh TO bob", "DROP TABLE s.gone")
    assert {str(one.key): one.how for one in merge(lake, "topic", dry_run=True).settled} == {"s": "combined"}
    assert merge(lake, "topic").commit is not None
    with contextlib.closing(lake.read("main", "s")) as session:
        granted = {name: session.execute(f"SHOW GRANTS ON {name}").rows for name in ("orders", "fresh", "other")}
    assert granted == {"orders": [("ann", "select")], "fresh": [("bob", "select")], "other": []}

    do("topic", "GRANT select ON s.orders TO cid")
    do("main", "GRANT select ON s.orders TO dan")
    refused = merge(lake, "topic")
    assert refused.commit is None
    assert [one.why for one in refused.not_settled] == ["both sides changed the grants on orders"]


def test_a_table_that_moved_while_it_was_merged(lake: EmbeddedLake, do: Do, forked: None, tmp_path: Path) -> None:
    """The plan is made anew on what is there now."""
    do("dev", imported("10.csv"))
    do("main", imported("11.csv"))
    moved = []
    real = lake.catalog.merge

    def racing(*args: Any, **more: Any) -> Any:
        if not more.get("dry_run") and not moved:
            moved.append(True)
            do("main", imported("12.csv"))
        return real(*args, **more)

    lake.catalog.merge = racing  # type: ignore[method-assign]
    assert merge(lake).commit is not None
    assert ids(lake) == [1, 10, 11, 12]


def test_on_s3_and_behind_a_service(s3: Any, tmp_path: Path) -> None:
    """Whoever merges reads and writes metadata where the lake is; its clients need no access to it."""
    settings = LakeSettings(
        warehouse=s3.uri, catalog=f"sqlite:///{tmp_path}/c.sqlite", storage_options=s3.options, memory_limit="1GB"
    )
    lake = EmbeddedLake.open(settings)
    store = ServiceStore.open(f"sqlite:///{tmp_path}/store.sqlite")
    gate = OpenGate(lake.catalog)
    executor = LocalExecutor(settings)
    service = Service(settings, lake.catalog, executor, gate, store, config=ServiceConfig(), lease=60.0)
    with contextlib.closing(service), serving(service) as url:
        client = RemoteLake(ServiceSettings(url=url, token=TOKEN))

        def done(branch: str, sql: str) -> None:
            run = client.open_run(RunRequest(id=str(uuid.uuid4()), command="test", branch=branch, default_schema="s"))
            with contextlib.closing(run.session()) as session:
                session.execute(sql)
            run.publish()

        with contextlib.closing(client):
            done("main", "CREATE TABLE s.orders AS SELECT 1 AS id")
            client.catalog.create_ref("dev", RefKind.BRANCH, "main")
            done("dev", "INSERT INTO s.orders VALUES (2)")
            done("main", "INSERT INTO s.orders VALUES (3)")
            merged = client.versions.merge(MergeRequest(source="dev", target="main", author="ann"))
            assert [one.how for one in merged.settled] == ["combined"]
        assert ids(lake) == [1, 2, 3]
    lake.close()
