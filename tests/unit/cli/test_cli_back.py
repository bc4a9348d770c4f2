"""``revert``, ``reset`` and ``check``: what they print, as JSON too, and their exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dbt.adapters.lakehouse.catalog.model import ANY, Key, Put, TableEntry, ViewEntry, content_id
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.tables.values import Column

Lakehouse = Callable[..., tuple[int, str, str]]


def write(catalog: SqlCatalog, version: int, **reads: tuple[str, ...]) -> str:
    """A commit that writes tables of which is known what they read; a later name may read an earlier one."""
    entries: dict[str, TableEntry | ViewEntry] = {}
    for name, read in reads.items():
        standing = catalog.lookup(catalog.resolve("main").id, [Key("s", one) for one in read])
        known = {key.name: entry for key, entry in standing.items()} | entries
        inputs = {f"s.{one}": content_id(known[one]) for one in read}
        columns = (Column(name="a", type="BIGINT"),)
        if name.startswith("v"):
            entries[name] = ViewEntry(schema="s", name=name, sql=f"SELECT a FROM s.{read[0]}", columns=columns)
            continue
        entries[name] = TableEntry(
            schema="s",
            name=name,
            metadata_location=f"file:///lake/{name}/{version}.json",
            table_uuid=name,
            snapshot_id=version,
            location=f"file:///lake/{name}",
            columns=columns,
            rows=version,
            size_bytes=1,
            node=f"model.shop.{name}",
            inputs=inputs,
            content=f"{name}-{version}",
        )
    puts = [Put(key=Key("s", name), entry=entry, expected=ANY) for name, entry in entries.items()]
    return catalog.commit("main", puts, author="grace", message=f"Version {version}").id


@pytest.fixture
def versions(catalog: SqlCatalog) -> list[str]:
    """Two versions of t1 and t2, and t3 that was made of the second."""
    return [
        write(catalog, 1, t1=(), t2=("t1",)),
        write(catalog, 2, t1=(), t2=("t1",)),
        write(catalog, 3, t3=("t2",)),
    ]


def document(called: tuple[int, str, str], code: int = 0) -> Any:
    assert called[0] == code, called
    return json.loads(called[1])


def test_what_would_stand_on_nothing_is_listed_with_the_next_step(
    catalog: SqlCatalog, lakehouse: Lakehouse, versions: list[str]
) -> None:
    code, out, err = lakehouse("revert", "s.t1", "--to", versions[0][:8])
    assert code == 1
    lines = [line.split("  ") for line in out.splitlines()[1:]]
    assert [line[0] for line in lines] == ["s.t2", ""]
    assert "computed from s.t1" in out
    assert "grace: Version 2" in out
    assert "dropped: it was not there then" in out
    assert f"`lakehouse revert s.t1 --to {versions[0][:8]} --with-dependants`" in err
    assert "--knowingly" in err
    said = document(lakehouse("revert", "s.t1", "--to", versions[0], "--json"), 1)
    assert (said["refused"], said["commit"], said["before"]) == (True, None, versions[2])
    assert [(one["name"], one["of"], one["depth"], one["becomes"]) for one in said["dependants"]] == [
        ("t2", "s.t1", 1, "restored"),
        ("t3", "s.t2", 2, "dropped"),
    ]
    assert said["dependants"][0]["commit"]["id"] == versions[1]
    assert catalog.resolve("main").id == versions[2]


def test_reverting_says_how_to_undo_it(catalog: SqlCatalog, lakehouse: Lakehouse, versions: list[str]) -> None:
    code, out, err = lakehouse("revert", versions[1], "--with-dependants", "--dry-run")
    assert (code, catalog.resolve("main").id) == (0, versions[2])
    assert "would be reverted on main" in out
    code, out, err = lakehouse("revert", versions[1], "--with-dependants", "-m", "Back to before")
    assert code == 0
    head = catalog.resolve("main")
    assert (head.message, head.author) == ("Back to before", "ada")
    assert f"reverted on main: commit {head.id[:8]}" in out
    assert f"`lakehouse reset main --to {versions[2][:8]}` undoes this" in err
    assert "main is like that already" in lakehouse("revert", versions[1])[1]
    said = document(lakehouse("reset", "main", "--to", versions[2], "--json"))
    assert said["commit"]["id"] == versions[2] == catalog.resolve("main").id
    assert {change["name"]: change["change"] for change in said["changes"]} == {
        "t1": "changed",
        "t2": "changed",
        "t3": "added",
    }
    assert "nothing to reset" in lakehouse("reset", "main", "--to", versions[2])[1]
    assert "would reset main to" in lakehouse("reset", "main", "--to", versions[0], "--dry-run")[1]


def test_what_was_changed_since_is_listed_with_its_commit(
    catalog: SqlCatalog, lakehouse: Lakehouse, versions: list[str]
) -> None:
    write(catalog, 4, t1=())
    code, out, err = lakehouse("revert", versions[1])
    assert code == 1
    assert "s.t1" in out
    assert "grace: Version 4" in out
    assert "nothing was reverted" in err
    (conflict,) = document(lakehouse("revert", versions[1], "--json"), 1)["conflicts"]
    assert (conflict["name"], conflict["target_commit"]["message"]) == ("t1", "Version 4")


def test_check_lists_what_is_stale_and_why(catalog: SqlCatalog, lakehouse: Lakehouse, versions: list[str]) -> None:
    assert lakehouse("check")[:2] == (0, "all that main holds stands on what it was computed from\n")
    assert document(lakehouse("check", "--json")) == []
    write(catalog, 5, t1=())
    catalog.commit("main", [Put(key=Key("s", "t2"), entry=None, expected=ANY)], author="linus", message="Drop it")
    code, out, err = lakehouse("check", "main~1")
    assert code == 1
    assert "s.t1 is another one (snapshot 2 → 5)" in out
    assert "grace: Version 5" in out
    assert "through s.t2" in out
    assert "`dbt build --select t2+`" in err
    (gone,) = document(lakehouse("check", "--json"), 1)
    assert (gone["name"], gone["inputs"][0]["what"], gone["inputs"][0]["commit"]["author"]) == (
        "t3",
        "dropped",
        "linus",
    )


def test_what_makes_no_sense(lakehouse: Lakehouse, versions: list[str]) -> None:
    code, _, err = lakehouse("revert", "s.t1")
    assert (code, "`lakehouse revert s.t1 --to REF`" in err) == (1, True)
    assert lakehouse("revert", "s.t1", "s.t2")[0] == 2
    assert lakehouse("reset", "main")[0] == 2
    code, _, err = lakehouse("revert", "s.t9", "--to", "main")
    assert (code, "did you mean s.t" in err) == (1, True)
    code, _, err = lakehouse("revert", "main", "--on", "mian")
    assert (code, "did you mean 'main'?" in err) == (1, True)
