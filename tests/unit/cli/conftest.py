"""The command line in this process, on a lake in a temporary folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dbt.adapters.lakehouse.catalog.sql_catalog import SqlCatalog
from dbt.adapters.lakehouse.cli.main import main


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[SqlCatalog]:
    """The catalog of the lake that ``lakehouse`` works on."""
    (tmp_path / "lake").mkdir()
    opened = SqlCatalog.open(f"sqlite:///{tmp_path}/lake/catalog.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def lakehouse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs one command: its exit code, and what it printed on stdout and stderr."""
    monkeypatch.delenv("LAKEHOUSE_SERVICE", raising=False)
    monkeypatch.setenv("LAKEHOUSE_WAREHOUSE", str(tmp_path / "lake"))
    monkeypatch.setenv("LAKEHOUSE_AUTHOR", "ada")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
