"""Fixtures of projects that real dbt processes work on."""

from __future__ import annotations

from pathlib import Path

import pytest
from dbt_shop import Shop


@pytest.fixture(scope="session")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dbt's parse of nothing but its own macros, which takes seconds and is the same for every project."""
    shop = Shop(tmp_path_factory.mktemp("parsed"))
    shop.dbt("--quiet", "parse")
    return shop.root / "target" / "partial_parse.msgpack"


@pytest.fixture
def shop(tmp_path: Path, parsed: Path) -> Shop:
    """An empty project on a lake that does not exist yet."""
    return Shop(tmp_path, parsed)
