"""``lakehouse run explain`` on a catalog alone: what people read, and the JSON that programs do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dbt.adapters.lakehouse.catalog.model import (
    Put,
    RefKind,
    ReusableResult,
    RunRecord,
    RunStatus,
    TableEntry,
    content_id,
    key_of,
)
from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog

Lakehouse = Callable[..., tuple[int, str, str]]
DOCUMENTED = Path(__file__).parents[3] / "docs" / "cli.md"


class Runs:
    """Runs as their commits, results and records tell of them."""

    def __init__(self, catalog: SqlCatalog) -> None:
        self._catalog = catalog
        self._number = 0

    def ran(self, **nodes: str) -> str:
        """A run of nodes with this SQL, each of which reads all before it."""
        self._number += 1
        run, start = f"{self._number:08}-run", datetime.now(UTC) - timedelta(hours=10 - self._number)
        record: dict[str, Any] = {
            "id": run,
            "branch": f"run/{run}",
            "target": "main",
            "base": self._catalog.resolve("main").id,
            "command": "dbt build",
            "owner": "host:1:1",
            "started_at": start,
            "heartbeat_at": start,
        }
        self._catalog.save_run(RunRecord(**record, status=RunStatus.OPEN))
        self._catalog.create_ref(f"run/{run}", RefKind.BRANCH, "main", run=run)
        made: dict[str, str] = {}
        for name, sql in nodes.items():
            made[f"s.{name}"] = self._put(run, name, sql, dict(made))
        commit = self._catalog.merge(f"run/{run}", "main", author="ann", message="Publish", run=run).commit
        assert commit is not None
        told = {f"model.p.{name}": {"status": "success", "seconds": 1.5} for name in nodes}
        self._catalog.save_run(
            RunRecord(**record, status=RunStatus.PUBLISHED, finished_at=start, published=commit.id, nodes=told)
        )
        return run

    def _put(self, run: str, name: str, sql: str, inputs: dict[str, str]) -> str:
        entry = TableEntry(
            schema="s",
            name=name,
            metadata_location=f"file:///lake/{name}/{run}.json",
            table_uuid="u",
            snapshot_id=self._number,
            location=f"file:///lake/{name}",
            columns=(),
            rows=1,
            size_bytes=1,
            node=f"model.p.{name}",
            inputs=inputs,
            content=f"rows:{sql}:{inputs}",
        )
        parts = {"code": f"sha256:{sql}", **{f"input {one[2:]}": content for one, content in inputs.items()}}
        provenance = {"node": entry.node, "sql": sql, "fingerprint": f"{run}/{name}", "mode": "create"}
        put = Put(key=key_of(entry), entry=entry, expected="*")
        self._catalog.commit(f"run/{run}", [put], author="ann", message="Build", run=run, provenance=provenance)
        self._catalog.remember(
            ReusableResult(
                fingerprint=f"{run}/{name}",
                parts=parts,
                node=str(entry.node),
                entry=entry,
                run=run,
                author="ann",
                made_at=datetime.now(UTC),
                seconds=1.5,
            )
        )
        return content_id(entry)


@pytest.fixture
def runs(catalog: SqlCatalog) -> Runs:
    return Runs(catalog)


def test_people_read_a_sentence_and_a_tree(runs: Runs, lakehouse: Lakehouse) -> None:
    first = runs.ran(a="select 1 as x", b="select x\nfrom a")
    runs.ran(a="select 2 as x", b="select x\nfrom a")
    code, out, err = lakehouse("run", "explain", "b")
    assert (code, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[0] == "model.p.b  s.b"
    assert re.fullmatch(r"run 00000002 \(dbt build on main, .* ago\): success, 1.5 s", lines[1])
    assert lines[3] == "It ran because s.a changed, because a's code changed."
    assert f"(run {first[:8]} by ann on main" in lines[4]
    assert re.fullmatch(r"└─ input a: s\.a has other rows \(run 00000002 by ann, .*\)", lines[6])
    assert lines[7:] == ["   └─ code", "      @@ -1 +1 @@", "      -select 1 as x", "      +select 2 as x"]
    assert "no earlier result" in lakehouse("run", "explain", "b", "--run", "00000001")[1]


def test_the_json_has_the_keys_that_are_documented(runs: Runs, lakehouse: Lakehouse) -> None:
    runs.ran(a="select 1 as x", b="select x from a")
    runs.ran(a="select 2 as x", b="select x from a")
    _, out, _ = lakehouse("run", "explain", "s.b", "--json")
    found = json.loads(out)
    table = DOCUMENTED.read_text()
    for thing, value in (("explanation", found), ("difference", found["differences"][0])):
        (row,) = re.findall(rf"^\| {thing} \| (.*) \|$", table, re.MULTILINE)
        named = set(re.findall(r"`([a-z_]+)`", row))
        assert value.keys() <= named
    assert found["differences"][0]["because"].keys() <= named
    assert found["reason"] == "differs"
    reasons = re.search(r"`reason` is ([^|]*)", table)
    assert reasons is not None
    from typing import get_args

    from dbt.adapters.lakehouse.lake.explain import Reason

    assert set(re.findall(r"`([a-z_]+)`", reasons[1])) == set(get_args(Reason))


def test_what_is_not_known_is_an_error(runs: Runs, lakehouse: Lakehouse) -> None:
    runs.ran(a="select 1 as x")
    assert lakehouse("run", "explain", "nothing")[0] == 1
    code, out, err = lakehouse("run", "explain", "a", "--run", "99999999", "--json")
    assert (code, out) == (1, "")
    assert "no run '99999999'" in json.loads(err)["error"]["message"]
    assert lakehouse("run", "explain")[0] == 2


def test_long_diffs_are_cut_for_people_alone(runs: Runs, lakehouse: Lakehouse) -> None:
    runs.ran(a="\n".join(f"line {n}" for n in range(200)))
    runs.ran(a="\n".join(f"other {n}" for n in range(200)))
    _, out, _ = lakehouse("run", "explain", "a")
    assert out.rstrip().endswith("more lines; `--json` has all")
    _, out, _ = lakehouse("run", "explain", "a", "--json")
    assert len(json.loads(out)["differences"][0]["diff"]) == 401
