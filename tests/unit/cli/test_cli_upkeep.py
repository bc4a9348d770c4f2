"""``gc`` and ``compact`` on the command line: lengths of time, what is printed, JSON, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import click
import pytest

from dbt.adapters.lakehouse.cli.upkeep import Span
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.values import RunRequest
from dbt.adapters.lakehouse.settings import LakeSettings, PublishMode

Lakehouse = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[EmbeddedLake]:
    folder = tmp_path / "lake"
    opened = EmbeddedLake.open(
        LakeSettings(warehouse=f"file://{folder}", catalog=f"sqlite:///{folder}/catalog.sqlite", memory_limit="500MB")
    )
    session = opened.open_run(
        RunRequest(id="made", command="x", branch="main", publish=PublishMode.EACH_NODE)
    ).session()
    session.execute("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS id; INSERT INTO s.t SELECT 2")
    session.execute("CREATE TABLE s.gone AS SELECT 1 AS id")
    session.close()
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("2W", 1_209_600), (" 1 d ", 86_400)],
)
def test_lengths_of_time(text: str, seconds: int) -> None:
    assert Span().convert(text, None, None) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "7", "-1d", "1.5h", "d", "7 years", "99999999999w", "1d12h"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Span().convert(text, None, None)


def test_compacting_tells_before_and_after(lake: EmbeddedLake, lakehouse: Lakehouse) -> None:
    code, out, _ = lakehouse("compact", "--all", "--branch", "main", "--dry-run")
    assert (code, "would compact 1 table on main" in out, "1 table had nothing to gain" in out) == (0, True, True)
    code, out, _ = lakehouse("compact", "s.t", "--branch", "main")
    assert code == 0
    row = next(line for line in out.splitlines() if line.startswith("s.t"))
    assert row.split()[1:4] == ["2", "→", "1"]
    head = lake.catalog.resolve("main")
    assert f"commit {head.id[:8]}" in out
    assert head.author == "ada"
    answer = json.loads(lakehouse("compact", "s.t", "--branch", "main", "--json")[1])
    assert answer == {"branch": "main", "considered": 1, "tables": [], "commit": None}


def test_compact_wants_to_know_which_tables(lake: EmbeddedLake, lakehouse: Lakehouse) -> None:
    for arguments in (("compact", "--branch", "main"), ("compact", "s.t", "--all", "--branch", "main")):
        code, _, err = lakehouse(*arguments)
        assert (code, "--all" in err) == (2, True)
    code, _, err = lakehouse("compact", "s.none", "--branch", "main")
    assert (code, "s.none does not exist" in err) == (1, True)
    assert lakehouse("compact", "nothing", "--branch", "main")[0] == 1


def test_garbage_is_told_then_collected(lake: EmbeddedLake, lakehouse: Lakehouse, tmp_path: Path) -> None:
    session = lake.open_run(RunRequest(id="more", command="x", branch="main", publish=PublishMode.EACH_NODE)).session()
    session.execute("DROP TABLE s.gone")
    session.close()
    now = ("--keep-history", "0", "--grace", "0", "--nothing-else-runs")
    code, _, err = lakehouse("gc", "--keep-history", "0", "--grace", "59m")
    assert (code, "--nothing-else-runs" in err) == (1, True)
    code, out, _ = lakehouse("gc", "--dry-run", *now)
    assert (code, "s.gone" in out, "would be deleted" in out) == (0, True, True)
    planned = json.loads(lakehouse("gc", "--dry-run", "--json", *now)[1])
    folder = tmp_path / "lake" / "s" / "gone"
    assert folder.exists()
    done = json.loads(lakehouse("gc", "--json", *now)[1])
    assert not folder.exists()
    assert [table["name"] for table in planned["tables"]] == [table["name"] for table in done["tables"]]
    assert (planned["dry_run"], done["dry_run"], done["files"]) == (True, False, planned["files"])
    assert lakehouse("query", "SELECT count(*) FROM s.t", "--ref", "main", "--format", "csv")[1].split()[-1] == "2"
    code, out, _ = lakehouse("gc", *now)
    assert (code, "0 files deleted" in out) == (0, True)
