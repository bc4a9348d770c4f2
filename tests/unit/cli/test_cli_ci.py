"""``lakehouse ci``: which of its commands is meant, and what is told of a comparison as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dbt.adapters.lakehouse.cli import shapes
from dbt.adapters.lakehouse.cli.main import main
from dbt.adapters.lakehouse.lake.compare import ColumnChange, Comparison, RowChange, Rows


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is no project, in a job that is about no pull request."""
    for name in ("GITHUB_REF", "GITHUB_EVENT_PATH", "GITHUB_HEAD_REF", "CI_MERGE_REQUEST_IID", "DBT_PROFILES_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LAKEHOUSE_WAREHOUSE", str(tmp_path / "lake"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles.yml").write_text(
        "shop: {target: dev, outputs: {dev: {type: lakehouse, warehouse: ./lake, schema: shop}}}"
    )
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    assert main(["ci", *arguments]) == code
    written = capsys.readouterr()
    return written.out + written.err


@pytest.mark.parametrize("arguments", [(), ("build",), ("--report", "x.md"), ("--", "--full-refresh"), ("--base", "x")])
def test_building_is_what_is_meant(
    nowhere: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert "name a branch for it: --branch ci/NAME; `lakehouse ci build --help`" in said(capsys, *arguments, code=2)


def test_commands_by_name(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Commands:\n  build" in said(capsys, "--help", code=0)
    assert "[-- DBT_ARGUMENTS]" in said(capsys, "publish", "--help", code=0)
    assert "`lakehouse ci close --help` shows how" in said(capsys, "close", code=2)
    assert "there is no dbt project at" in said(capsys, "publish", code=1)
    assert "--catalog is not for this command" in said(capsys, "--branch", "ci/x", "--catalog", "sqlite:///x", code=2)
    assert not (nowhere / "lake").exists()


def test_a_comparison_as_json() -> None:
    row: dict[str, Any] = {"id": 1, "a": float("nan")}
    value = Comparison(
        schema="s",
        name="t",
        before="b",
        after="a",
        kind_before="table",
        kind_after="view",
        rows_before=1,
        rows_after=2,
        columns=(ColumnChange(name="x", change="added", before=None, after="DATE"),),
        rows=Rows(
            key=("id",), added=1, columns=(("a", 2),), samples=(RowChange(change="added", before=None, after=row),)
        ),
        notes=("n",),
    )
    document = json.loads(json.dumps(shapes.comparison(value)))
    assert document["columns"] == [{"name": "x", "change": "added", "before": None, "after": "DATE"}]
    assert document["rows"] == {
        "key": ["id"],
        "added": 1,
        "removed": 0,
        "changed": 0,
        "columns": {"a": 2},
        "samples": [{"change": "added", "before": None, "after": {"id": 1, "a": "NaN"}, "columns": [], "times": 1}],
    }
    assert (document["change"], document["kind_after"], document["notes"]) == ("changed", "view", ["n"])
