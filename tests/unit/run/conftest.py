"""A lake in a folder, and runs on it without dbt."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.lifecycle import LakeRun
from dbt.adapters.lakehouse.run.session import RunSession
from dbt.adapters.lakehouse.run.values import RunRequest
from dbt.adapters.lakehouse.settings import LakeSettings, PublishMode

_NUMBERS = itertools.count(1)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[EmbeddedLake]:
    (tmp_path / "lake").mkdir()
    settings = LakeSettings(
        warehouse=f"file://{tmp_path}/lake", catalog=f"sqlite:///{tmp_path}/lake/catalog.sqlite", memory_limit="1GB"
    )
    lake = EmbeddedLake.open(settings)
    yield lake
    lake.close()


OpenRun = Callable[..., LakeRun]


@pytest.fixture
def open_run(lake: EmbeddedLake) -> OpenRun:
    """A run on main (or as the keywords say), by the id ``0001-run``, ``0002-run``…"""

    def opened(**more: Any) -> LakeRun:
        keys = {"id": f"{next(_NUMBERS):04}-run", "command": "test", "branch": "main", "default_schema": "s", **more}
        return lake.open_run(RunRequest(**keys))

    return opened


@pytest.fixture
def session(open_run: OpenRun) -> Iterator[RunSession]:
    """A session whose every statement is visible on main at once."""
    session = open_run(publish=PublishMode.EACH_NODE).session()
    yield session
    session.close()
