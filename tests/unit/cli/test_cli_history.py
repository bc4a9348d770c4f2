"""History with its provenance, runs, and refs at every door, told of a real lake."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from dbt.adapters.lakehouse.catalog.model import Commit, Key, RefKind, TableEntry
from dbt.adapters.lakehouse.cli.graph import graph
from dbt.adapters.lakehouse.cli.output import Output
from dbt.adapters.lakehouse.errors import InvalidRef
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.values import Build, Name, RunRequest
from dbt.adapters.lakehouse.settings import LakeSettings

Lakehouse = Callable[..., tuple[int, str, str]]

GIT = {"commit": "1234567890" * 4, "branch": "trunk", "dirty": True}


class Shop:
    """A lake, and runs on it one after another."""

    def __init__(self, lake: EmbeddedLake) -> None:
        self.lake = lake
        self._numbers = itertools.count(1)

    def open(self, **more: Any) -> LakeRun:
        run = f"{next(self._numbers):04}-run"
        provenance = {"command": "dbt build", "invocation": run, "git": GIT, "versions": {"dbt": "1.10.1"}}
        keys = {"id": run, "command": "dbt build", "branch": "main", "author": "ann", "provenance": provenance, **more}
        return self.lake.open_run(RunRequest(default_schema="s", **keys))

    def build(self, table: str, sql: str, **more: Any) -> Commit:
        """Publish one table; the commit that did it."""
        run = self.open(**more)
        said = {"raw_code": f"-- as written\n{sql}", "path": f"models/{table}.sql"}
        name = Name(database="lake", schema="s", name=table)
        with closing(run.session()) as session:
            session.build(Build(name=name, sql=sql, node=f"model.shop.{table}", provenance=said))
        nodes = {f"model.shop.{table}": {"status": "success", "seconds": 0.25, "rows": 3, "message": "CREATE TABLE 3"}}
        commit = run.publish(nodes)
        assert commit is not None
        return commit


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    (tmp_path / "lake").mkdir()
    settings = LakeSettings(
        warehouse=f"file://{tmp_path}/lake", catalog=f"sqlite:///{tmp_path}/lake/catalog.sqlite", memory_limit="1GB"
    )
    lake = EmbeddedLake.open(settings)
    yield Shop(lake)
    lake.close()


def answer(called: tuple[int, str, str]) -> Any:
    code, out, err = called
    assert code == 0, err
    return json.loads(out)


def made(shop: Shop, published: Commit) -> Commit:
    """The commit that a published one brought."""
    return shop.lake.catalog.resolve(published.parents[1])


def test_show_says_how_a_table_came_about(shop: Shop, lakehouse: Lakehouse) -> None:
    raw = made(shop, shop.build("raw", "select range as id from range(3)"))
    commit = made(shop, shop.build("orders", "select id, id + 1 as next from s.raw"))
    said = answer(lakehouse("show", commit.id, "--json"))
    provenance = said["provenance"]
    assert provenance["node"] == "model.shop.orders"
    assert provenance["sql"] == "select id, id + 1 as next from s.raw"
    assert provenance["raw_code"].startswith("-- as written")
    assert provenance["git"] == GIT
    assert provenance["versions"].keys() == {"dbt", "duckdb", "dbt-lakehouse", "python"}
    assert (provenance["rows_written"], provenance["rows_deleted"]) == (3, 0)
    assert provenance["seconds"] > 0
    assert len(provenance["fingerprint"]) == 64
    entry = shop.lake.catalog.lookup(raw.id, [Key("s", "raw")])[Key("s", "raw")]
    assert isinstance(entry, TableEntry)
    assert [
        (one["relation"], one["kind"], one["rows"], one["snapshot_id"], one["metadata_location"], one["commit"])
        for one in said["inputs"]
    ] == [("s.raw", "table", 3, entry.snapshot_id, entry.metadata_location, raw.id)]
    out = lakehouse("show", commit.id[:8])[1]
    for text in (
        "model.shop.orders (create)",
        "models/orders.sql",
        "git 12345678 on trunk, with changes",
        "dbt 1.10.1",
        "DuckDB ",
        "3 written, 0 deleted",
        str(entry.snapshot_id),
        raw.id[:8],
        "-- as written",
        "code as it was compiled",
        "+ s.orders",
    ):
        assert text in out, text


def test_a_published_commit_says_what_its_run_ran_on(shop: Shop, lakehouse: Lakehouse) -> None:
    published = shop.build("orders", "select 1 as id")
    said = answer(lakehouse("show", published.id, "--json"))
    assert (said["provenance"]["command"], said["provenance"]["git"]) == ("dbt build", GIT)
    assert "duckdb" in said["provenance"]["versions"]


def test_statements_say_what_they_read_and_changed(shop: Shop, lakehouse: Lakehouse) -> None:
    shop.build("raw", "select range as id from range(3)")
    run = shop.open()
    with closing(run.session()) as session:
        session.execute("create table s.log as select 0::bigint as id")
        session.execute("insert into s.log select id from s.raw where id > 0")
    run.publish()
    commit = made(shop, shop.lake.catalog.resolve("main"))
    said = answer(lakehouse("show", commit.id, "--json"))
    assert said["provenance"]["statement"] == "insert into s.log select id from s.raw where id > 0"
    assert (said["provenance"]["rows_written"], said["provenance"]["rows_deleted"]) == (2, 0)
    assert said["provenance"]["seconds"] > 0
    assert {one["relation"] for one in said["inputs"]} >= {"s.raw"}
    assert "insert into s.log" in lakehouse("show", commit.id)[1]


def test_the_log_of_one_table_names_the_commits_that_made_it(shop: Shop, lakehouse: Lakehouse) -> None:
    first = made(shop, shop.build("orders", "select 1 as id"))
    shop.build("other", "select 1 as id")
    second = made(shop, shop.build("orders", "select 2 as id"))
    run = shop.open()
    with closing(run.session()) as session:
        session.execute("drop table s.orders")
    run.publish()
    drop = made(shop, shop.lake.catalog.resolve("main"))
    found = answer(lakehouse("log", "--table", "s.orders", "--json"))
    assert [commit["id"] for commit in found] == [drop.id, second.id, first.id]
    assert len(answer(lakehouse("log", "main", "--table", "S.Orders", "-n", "1", "--json"))) == 1
    assert [commit["id"] for commit in answer(lakehouse("log", "main~1", "--table", "s.orders", "--json"))] == [
        second.id,
        first.id,
    ]
    code, _, err = lakehouse("log", "--table", "s.nothing")
    assert (code, "has to do with s.nothing" in err) == (1, True)
    assert lakehouse("log", "--table", "s.orders", "--all")[0] == 2


def test_a_graph_shows_what_merges_brought(shop: Shop, lakehouse: Lakehouse) -> None:
    shop.build("a", "select 1 as id")
    run = shop.open()
    with closing(run.session()) as session:
        session.execute("create table s.b as select 1 as x")
        session.execute("create table s.c as select 1 as x")
    run.publish()
    lines = lakehouse("log", "--graph")[1].splitlines()[1:]
    assert [line[:4].rstrip() for line in lines] == ["*", "|\\", "| *", "| *", "|/", "*", "|\\", "| *", "|/", "*"]
    assert "Publish dbt build" in lines[0]
    assert "Create table s.c" in lines[2]
    assert len(answer(lakehouse("log", "--graph", "--json"))) == 6


def test_a_graph_of_lines_that_cross(shop: Shop) -> None:
    catalog = shop.lake.catalog
    catalog.create_ref("dev", RefKind.BRANCH, "main")
    for branch in ("main", "dev"):
        catalog.commit(branch, [], author="a", message=branch)
    catalog.merge("dev", "main", author="a", message="one")
    catalog.commit("dev", [], author="a", message="dev again")
    catalog.merge("dev", "main", author="a", message="two")
    commits = catalog.log(catalog.resolve("main").id, first_parent=False)
    drawn = list(graph(commits))
    assert [commit for _, commit in drawn if commit is not None] == commits
    assert all(len(lines) <= 5 for lines, _ in drawn)
    assert drawn[-1][0] == "*"


def test_a_run_shows_nodes_code_and_what_it_published_or_left(shop: Shop, lakehouse: Lakehouse) -> None:
    shop.build("orders", "select 1 as id")
    run = shop.open()
    with closing(run.session()) as session:
        session.execute("create table s.left_over as select 1 as x")
    run.fail("1 failed: model.shop.bad", {"model.shop.bad": {"status": "error", "message": "no"}})
    again = shop.open(continues=run.request.id)
    with closing(again.session()) as session:
        session.execute("create table s.more as select 1 as x")

    said = answer(lakehouse("run", "show", "0001", "--json"))
    assert (said["status"], said["git"], said["continued_by"]) == ("published", GIT, None)
    assert "duckdb" in said["versions"]
    assert [change["name"] for change in said["changes"]] == ["", "orders"]
    out = lakehouse("run", "show", "0001")[1]
    for text in ("model.shop.orders", "success", "0.25 s", "CREATE TABLE 3", "+ s.orders", "git 12345678", "DuckDB"):
        assert text in out, text

    said = answer(lakehouse("run", "show", "0002", "--json"))
    assert (said["status"], said["continued_by"]) == ("failed", again.request.id)
    assert [change["name"] for change in said["changes"]] == ["left_over"]
    out = lakehouse("run", "show", "0002")[1]
    for text in ("left on   run/0002-run", "1 failed: model.shop.bad", "continued by 0003-run", "+ s.left_over"):
        assert text in out, text

    branches = {one["name"]: one for one in answer(lakehouse("branch", "list", "--all", "--json"))}
    assert (branches["run/0002-run"]["state"], branches["run/0003-run"]["state"]) == ("failed", "open")
    assert (branches["run/0002-run"]["command"], branches["run/0002-run"]["target"]) == ("dbt build", "main")
    assert "dbt build for main, just now" in lakehouse("branch", "list", "--all")[1]
    again.publish()
    assert answer(lakehouse("run", "show", "0002", "--json"))["status"] == "continued"

    shop.lake.catalog.delete_ref("run/0002-run", expected=shop.lake.catalog.resolve("run/0002-run").id)
    assert "left on   run/0002-run, which is gone" in lakehouse("run", "show", "0002")[1]


# refs


class Doors:
    """Every place that takes a ref, and what is seen through it: the number of rows of ``s.t``."""

    def __init__(self, shop: Shop, lakehouse: Lakehouse, folder: Path) -> None:
        self.shop = shop
        self.lakehouse = lakehouse
        self.folder = folder

    def through(self, door: str, ref: str) -> int:
        """What is seen at a ref through a door."""
        found: int = getattr(self, f"_{door}")(ref)
        return found

    def _at(self, commit: str) -> int:
        entry = self.shop.lake.catalog.lookup(commit, [Key("s", "t")])[Key("s", "t")]
        assert isinstance(entry, TableEntry)
        return entry.rows

    def _log(self, ref: str) -> int:
        return self._at(answer(self.lakehouse("log", ref, "--json"))[0]["id"])

    def _log_table(self, ref: str) -> int:
        return self._at(answer(self.lakehouse("log", ref, "--table", "s.t", "--json"))[0]["id"])

    def _show(self, ref: str) -> int:
        return self._at(answer(self.lakehouse("show", ref, "--json"))["id"])

    def _diff(self, ref: str) -> int:
        (change,) = answer(self.lakehouse("diff", "empty", ref, "--json"))[1:]
        return int(change["rows_after"])

    def _diff_rows(self, ref: str) -> int:
        found = {one["name"]: one for one in answer(self.lakehouse("diff", ref, "other", "--rows", "--json"))}
        return int(found["t"]["comparison"]["rows_before"])

    def _tables(self, ref: str) -> int:
        (table,) = answer(self.lakehouse("tables", "--ref", ref, "--json"))
        return int(table["rows"])

    def _table(self, ref: str) -> int:
        return int(answer(self.lakehouse("table", "s.t", "--ref", ref, "--json"))["rows"])

    def _query_option(self, ref: str) -> int:
        return len(answer(self.lakehouse("query", "from s.t", "--ref", ref, "--json")))

    def _query_sql(self, ref: str) -> int:
        return len(answer(self.lakehouse("query", f'from "lake@{ref}".s.t', "--json")))

    def _build_sql(self, ref: str) -> int:
        self.shop.build("copy", f'select * from "lake@{ref}"."s"."t"', branch="copies")
        return len(answer(self.lakehouse("query", "from s.copy", "--ref", "copies", "--json")))

    def _clone_sql(self, ref: str) -> int:
        run = self.shop.open(branch="clones")
        with closing(run.session()) as session:
            session.execute(f'create table s.copy clone "lake@{ref}".s.t')
        run.publish()
        return len(answer(self.lakehouse("query", "from s.copy", "--ref", "clones", "--json")))

    def _tag(self, ref: str) -> int:
        return self._at(answer(self.lakehouse("tag", "create", "t1", "--at", ref, "--json"))["commit"])

    def _branch(self, ref: str) -> int:
        return self._at(answer(self.lakehouse("branch", "create", "b1", "--from", ref, "--json"))["head"])

    def _merge(self, ref: str) -> int:
        self.shop.lake.catalog.create_ref("into", RefKind.BRANCH, "empty")
        answer(self.lakehouse("merge", ref, "--into", "into", "--json"))
        return self._at(self.shop.lake.catalog.resolve("into").id)

    def _from_branch(self, ref: str) -> int:
        """The profile's key, for a target whose branch does not exist yet."""
        output = {"type": "lakehouse", "warehouse": str(self.folder / "lake"), "branch": "fresh", "from_branch": ref}
        profile = {"shop": {"target": "dev", "outputs": {"dev": output}}}
        (self.folder / "profiles.yml").write_text(json.dumps(profile))
        return int(answer(self.lakehouse("tables", "--profiles-dir", str(self.folder), "--json"))[0]["rows"])

    def _run_from_branch(self, ref: str) -> int:
        self.shop.build("x", "select 1 as x", branch="later", from_branch=ref)
        return self._at(self.shop.lake.catalog.resolve("later").id)


DOORS = [name.removeprefix("_") for name in vars(Doors) if name.startswith("_") and name not in ("__init__", "_at")]
DOORS = [name for name in DOORS if not name.startswith("_")]


@pytest.fixture
def doors(shop: Shop, lakehouse: Lakehouse, tmp_path: Path) -> Doors:
    """Two states of ``s.t``: of two rows, called by many names, and of three rows, which are newer."""
    catalog = shop.lake.catalog
    catalog.create_ref("empty", RefKind.TAG, "main")
    shop.build("t", "select range as id from range(2)")
    catalog.create_ref("v1", RefKind.TAG, "main")
    catalog.create_ref("old", RefKind.BRANCH, "main")
    shop.build("t", "select range as id from range(3)")
    shop.build("t", "select range as id from range(5)", branch="other")
    return Doors(shop, lakehouse, tmp_path)


@pytest.mark.parametrize("door", DOORS)
def test_every_door_takes_every_kind_of_ref(doors: Doors, door: str) -> None:
    catalog = doors.shop.lake.catalog
    commit = catalog.resolve("v1")
    time = f"main@{commit.time.replace(tzinfo=None).isoformat()}"
    makes_names = door in ("tag", "branch", "merge", "from_branch", "run_from_branch", "build_sql", "clone_sql")
    refs = ["v1", "old", "main~1", "main~", commit.id, commit.id[:6], f"main@{commit.id[:6]}", time, "v1~0"]
    for number, ref in enumerate(refs):
        assert doors.through(door, ref) == 2, ref
        if makes_names:
            for name in ("t1", "b1", "into", "later", "copies", "clones"):
                for known in catalog.refs():
                    if known.name == name:
                        catalog.delete_ref(name, expected=known.commit)
        assert number < len(refs)


@pytest.mark.parametrize(
    "arguments",
    [
        ("merge", "old", "--into", "v1"),
        ("merge", "old", "--into", "main~1"),
        ("branch", "delete", "v1"),
        ("branch", "protect", "main~1"),
        ("tag", "delete", "main"),
        ("import", "s.x", "x.csv", "--branch", "v1"),
        ("import", "s.x", "x.csv", "--branch", "main~1"),
    ],
    ids=" ".join,
)
def test_where_a_branch_is_needed_the_message_says_so(doors: Doors, arguments: tuple[str, ...]) -> None:
    (doors.folder / "x.csv").write_text("id\n1\n")
    refs = doors.shop.lake.catalog.refs()
    code, out, err = doors.lakehouse(*arguments)
    assert (code, out) == (1, "")
    word = "tag" if arguments[0] == "tag" else "branch"
    assert word in err
    assert doors.shop.lake.catalog.refs() == refs


def test_a_run_for_a_tag_is_refused_before_it_works(doors: Doors) -> None:
    run = doors.shop.open(branch="v1")
    with closing(run.session()) as session:
        assert len(session.execute("from s.t").rows) == 2
        with pytest.raises(InvalidRef, match=r"'v1' is a tag.*from_branch: v1"):
            session.execute("create table s.x as select 1 as x")
    assert doors.shop.lake.catalog.run(run.request.id) is None


def test_code_is_shown_to_the_letter_in_colours_and_harmless() -> None:
    text = "{{ config(a='b') }}\n\nselect [bold] :tada: -- \x1b[2J"
    for terminal in (False, True):
        output, file = Output(), io.StringIO()
        output.__dict__["_console"] = Console(
            file=file, force_terminal=terminal, width=20, highlight=False, emoji=False, markup=False
        )
        output.code(text, "sql+jinja")
        shown = file.getvalue()
        assert ("\x1b[" in shown) is terminal
        assert "\x1b[2J" not in shown
        assert Text.from_ansi(shown).plain.rstrip() == text.replace("\x1b", "\\x1b")
