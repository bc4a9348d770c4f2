"""Commands that need the catalog alone, in this process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dbt.adapters.lakehouse.catalog.model import ANY, Entry, Key, Put, TableEntry, ViewEntry, key_of
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.cli.main import lakehouse as lakehouse_group
from dbt.adapters.lakehouse.tables.values import Column

Lakehouse = Callable[..., tuple[int, str, str]]


def table(name: str = "t", rows: int = 1, **columns: str) -> TableEntry:
    return TableEntry(
        schema="raw",
        name=name,
        metadata_location=f"file:///lake/raw/{name}/{rows}.json",
        table_uuid="u",
        snapshot_id=rows,
        location=f"file:///lake/raw/{name}",
        columns=tuple(Column(name=key, type=value) for key, value in (columns or {"id": "BIGINT"}).items()),
        rows=rows,
        size_bytes=rows * 10,
    )


def view(sql: str = "SELECT 1 AS x") -> ViewEntry:
    return ViewEntry(schema="raw", name="v", sql=sql, columns=(Column(name="x", type="INTEGER"),))


def put(catalog: SqlCatalog, *entries: Entry, branch: str = "main", drop: str | None = None) -> str:
    puts = [Put(key=key_of(entry), entry=entry, expected=ANY) for entry in entries]
    if drop is not None:
        puts.append(Put(key=Key("raw", drop), entry=None, expected=ANY))
    return catalog.commit(branch, puts, author="grace", message="Change it\nwith details").id


def answer(called: tuple[int, str, str]) -> Any:
    code, out, err = called
    assert code == 0, err
    return json.loads(out)


# branches and tags


def test_branches_come_and_go(catalog: SqlCatalog, lakehouse: Lakehouse) -> None:
    head = put(catalog, table())
    created = answer(lakehouse("branch", "create", "dev", "--json"))
    assert (created["name"], created["head"], created["state"]) == ("dev", head, "active")
    assert [branch["name"] for branch in answer(lakehouse("--json", "branch", "list"))] == ["dev", "main"]
    code, out, _ = lakehouse("branch", "list")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["dev", head[:8]], ["*", "main"]]
    code, out, err = lakehouse("branch", "delete", "dev")
    assert (code, head[:8] in out) == (0, True)
    assert f"lakehouse branch create dev --from {head[:8]}" in err
    assert [branch["name"] for branch in answer(lakehouse("branch", "list", "--json"))] == ["main"]


def test_a_branch_may_start_anywhere(catalog: SqlCatalog, lakehouse: Lakehouse) -> None:
    first = put(catalog, table(rows=1))
    put(catalog, table(rows=2))
    assert answer(lakehouse("branch", "create", "old", "--from", "main~1", "--json"))["head"] == first


def test_protected_branches_need_force_and_main_stays(catalog: SqlCatalog, lakehouse: Lakehouse) -> None:
    lakehouse("branch", "create", "prod")
    assert answer(lakehouse("branch", "protect", "prod", "--json"))["protected"] is True
    assert "prod (protected)" in lakehouse("branch", "list")[1]
    code, _, err = lakehouse("branch", "delete", "prod")
    assert (code, "protected" in err) == (1, True)
    assert lakehouse("branch", "protect", "prod", "--off")[0] == 0
    assert lakehouse("branch", "protect", "prod")[0] == 0
    assert lakehouse("branch", "delete", "prod", "--force")[0] == 0
    assert lakehouse("branch", "delete", "main", "--force")[0] == 1


def test_branches_that_are_not_there(catalog: SqlCatalog, lakehouse: Lakehouse) -> None:
    lakehouse("branch", "create", "feature")
    lakehouse("tag", "create", "v1")
    code, out, err = lakehouse("branch", "delete", "featur", "--json")
    error = json.loads(err)["error"]
    assert (code, out, error["kind"]) == (1, "", "ref_not_found")
    assert "did you mean 'feature'" in error["message"]
    assert "is a tag" in lakehouse("branch", "delete", "v1")[2]
    assert lakehouse("branch", "create", "feature")[0] == 1
    assert json.loads(lakehouse("branch", "create", "a b", "--json")[2])["error"]["kind"] == "invalid_ref"


def test_tags(catalog: SqlCatalog, lakehouse: Lakehouse) -> None:
    head = put(catalog, table())
    lakehouse("tag", "create", "v1", "--at", "main~1")
    assert answer(lakehouse("tag", "create", "v2", "--json"))["commit"] == head
    assert [tag["name"] for tag in answer(lakehouse("tag", "list", "--json"))] == ["v1", "v2"]
    assert "v2" in lakehouse("tag", "list")[1]
    assert lakehouse("tag", "delete", "v2")[0] == 0
    assert [tag["name"] for tag in answer(lakehouse("tag", "list", "--json"))] == ["v1"]


# history


def test_log(catalog: SqlCatalog, lakehouse: Lakehouse) -> None:
    first, second = put(catalog, table(rows=1)), put(catalog, table(rows=2))
    commits = answer(lakehouse("log", "--json"))
    assert [commit["id"] for commit in commits[:2]] == [second, first]
    assert commits[0]["parents"] == [first]
    assert (commits[0]["author"], commits[0]["message"]) == ("grace", "Change it\nwith details")
    assert commits[0]["time"].endswith("+00:00")
    assert len(answer(lakehouse("log", "main~1", "-n", "1", "--json"))) == 1
    code, out, err = lakehouse("log", "-n", "1")
    assert (code, len(out.splitlines()), "there are more" in err) == (0, 2, True)
    assert "Change it (main)" in out


def test_show_and_diff_say_what_changed(catalog: SqlCatalog, lakehouse: Lakehouse) -> None:
    old = put(catalog, table("t", 10, id="INTEGER", gone="DATE"), table("dropped", 5))
    new = put(catalog, table("t", 12, id="BIGINT", added="VARCHAR"), view(), drop="dropped")
    changes = {change["name"]: change for change in answer(lakehouse("diff", old, new, "--json"))}
    assert {name: change["change"] for name, change in changes.items()} == {
        "t": "changed",
        "v": "added",
        "dropped": "dropped",
    }
    assert (changes["t"]["rows_before"], changes["t"]["rows_after"]) == (10, 12)
    assert {column["name"]: column["change"] for column in changes["t"]["columns"]} == {
        "id": "changed",
        "gone": "dropped",
        "added": "added",
    }
    out = lakehouse("diff", old[:8], "main")[1]
    for text in ("~ raw.t", "10 → 12", "+2 rows", "INTEGER → BIGINT", "+ raw.v", "- raw.dropped"):
        assert text in out
    assert out.splitlines()[-1] == "1 added, 1 dropped, 1 changed"
    shown = answer(lakehouse("show", new, "--json"))
    assert (shown["id"], {change["name"] for change in shown["changes"]}) == (new, {"t", "v", "dropped"})
    out = lakehouse("show", "main")[1]
    assert new in out
    assert "    with details" in out
    assert "no differences" in lakehouse("diff", "main", new)[1]


def test_merge(catalog: SqlCatalog, lakehouse: Lakehouse) -> None:
    put(catalog, table(rows=1))
    lakehouse("branch", "create", "dev")
    put(catalog, table("u"), branch="dev")
    head = catalog.resolve("main").id
    dry = answer(lakehouse("merge", "dev", "--into", "main", "--dry-run", "--json"))
    assert (dry["commit"], [change["name"] for change in dry["changes"]]) == (None, ["u"])
    assert catalog.resolve("main").id == head
    assert "would merge dev into main" in lakehouse("merge", "dev", "--into", "main", "--dry-run")[1]
    done = answer(lakehouse("merge", "dev", "--into", "main", "-m", "Bring u", "--json"))
    assert catalog.resolve("main").id == done["commit"]["id"]
    assert (done["commit"]["message"], done["commit"]["author"]) == ("Bring u", "ada")
    assert "nothing to merge" in lakehouse("merge", "dev", "--into", "main")[1]


def test_conflicts_are_shown_and_nothing_is_merged(catalog: SqlCatalog, lakehouse: Lakehouse) -> None:
    put(catalog, table(rows=1))
    lakehouse("branch", "create", "dev")
    put(catalog, table(rows=2), table("u"), branch="dev")
    head = put(catalog, table(rows=3))
    code, out, err = lakehouse("merge", "dev", "--into", "main")
    assert (code, "raw.t" in out, "changed on both sides" in out) == (1, True, True)
    assert "1 conflict between 'dev' and 'main'; nothing was merged" in err
    code, out, err = lakehouse("merge", "dev", "--into", "main", "--json")
    result = json.loads(out)
    assert (code, err, result["commit"]) == (1, "", None)
    assert [(conflict["name"], conflict["kind"]) for conflict in result["conflicts"]] == [("t", "both_changed")]
    assert catalog.resolve("main").id == head


# tables


def test_tables_and_one_table(catalog: SqlCatalog, lakehouse: Lakehouse) -> None:
    old = put(catalog, table(rows=7))
    put(catalog, table(rows=8), view())
    assert [(entry["name"], entry["kind"]) for entry in answer(lakehouse("tables", "--json"))] == [
        ("t", "table"),
        ("v", "view"),
    ]
    shown = answer(lakehouse("table", "RAW.T", "--ref", old, "--json"))
    assert (shown["schema_name"], shown["name"], shown["kind"], shown["rows"]) == ("raw", "t", "table", 7)
    assert shown["schema"] == [{"name": "id", "type": "BIGINT", "required": False, "comment": None}]
    for key in ("metadata_location", "snapshot_id", "table_uuid", "location", "size_bytes", "comment"):
        assert key in shown
    assert answer(lakehouse("table", "raw.v", "--json"))["sql"] == "SELECT 1 AS x"
    out = lakehouse("table", "raw.t", "--sample", "0")[1]
    assert "file:///lake/raw/t/8.json" in out
    assert json.loads(lakehouse("table", "raw.none", "--json")[2])["error"]["kind"] == "not_in_lake"


def test_rows_that_cannot_be_read_do_not_hide_the_rest(catalog: SqlCatalog, lakehouse: Lakehouse) -> None:
    put(catalog, table())
    code, out, err = lakehouse("table", "raw.t")
    assert (code, "raw.t (table)" in out, "rows cannot be read" in err) == (0, True, True)


# the command line itself


def test_options_stand_before_or_after_the_command(catalog: SqlCatalog, lakehouse: Lakehouse, tmp_path: Path) -> None:
    warehouse = ["--warehouse", str(tmp_path / "none")]
    for arguments in (
        [*warehouse, "branch", "list"],
        ["branch", *warehouse, "list"],
        ["branch", "list", *warehouse],
    ):
        code, _, err = lakehouse(*arguments)
        assert (code, f"no lake is at {tmp_path}/none" in err) == (1, True)
    assert not (tmp_path / "none").exists()


def test_no_command_has_a_parameter_by_the_name_of_a_global_one() -> None:
    def check(command: click.Command) -> None:
        names = [parameter.name for parameter in command.params]
        assert len(names) == len(set(names)), command.name
        for child in command.commands.values() if isinstance(command, click.Group) else ():
            check(child)

    check(lakehouse_group)


def test_usage_errors_have_code_2(lakehouse: Lakehouse) -> None:
    assert lakehouse("nonsense")[0] == 2
    assert lakehouse("branch", "create")[0] == 2
    code, out, err = lakehouse("log", "-n", "0", "--json")
    assert (code, out, json.loads(err)["error"]["kind"]) == (2, "", "usage")
    assert lakehouse("--help")[0] == 0
    assert "Options of every command" in lakehouse("branch", "list", "--help")[1]


def test_a_broken_catalog_is_an_error_not_a_traceback(lakehouse: Lakehouse, tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "catalog.sqlite").write_text("not a database, by any means" * 50)
    code, _, err = lakehouse("branch", "list")
    assert (code, err.startswith("error: ")) == (1, True)
    assert "Traceback" not in err
    assert "Traceback" in lakehouse("branch", "list", "--debug")[2]


def test_control_characters_stay_harmless(catalog: SqlCatalog, lakehouse: Lakehouse) -> None:
    catalog.commit("main", [], author="\x1b[31mred", message="a [bold]b[/bold]")
    out = lakehouse("log")[1]
    assert "\x1b" not in out
    assert "a [bold]b[/bold]" in out


def test_listing_branches_starts_fast(catalog: SqlCatalog, tmp_path: Path) -> None:
    heavy = ("dbt.cli", "duckdb", "pyarrow", "pyiceberg", "sqlglot", "rich.progress", "pandas", "jinja2")
    script = (
        "import sys; from dbt.adapters.lakehouse.cli.main import main; "
        f"main(['--warehouse', {str(tmp_path / 'lake')!r}, 'branch', 'list', '--json']); "
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ended.stderr.strip() == "[]"
    assert [branch["name"] for branch in json.loads(ended.stdout)] == ["main"]
