"""An embedded lake: made on first use, read at any ref, checked for real."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbt.adapters.lakehouse.errors import CatalogError, ConfigError, RefNotFound, StorageError
from dbt.adapters.lakehouse.lake.embedded import EmbeddedLake
from dbt.adapters.lakehouse.run.values import Name, RunRequest
from dbt.adapters.lakehouse.settings import LakeSettings, PublishMode


def settings(folder: Path) -> LakeSettings:
    return LakeSettings(
        warehouse=f"file://{folder}", catalog=f"sqlite:///{folder}/catalog.sqlite", memory_limit="200MB"
    )


def test_reading_at_refs_and_writing_nowhere(tmp_path: Path) -> None:
    lake = EmbeddedLake.open(settings(tmp_path / "lake"))
    request = RunRequest(id="one-run", command="x", branch="main", publish=PublishMode.EACH_NODE)
    writer = lake.open_run(request).session()
    writer.execute("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS a")
    before = lake.catalog.resolve("main").id
    writer.execute("UPDATE s.t SET a = 2; CREATE VIEW s.v AS SELECT a * 10 AS a FROM s.t")
    reader = lake.read(before, default_schema="s")
    assert reader.execute('SELECT t.a, m.a, v.a FROM t, "lake@main".s.t m, "lake@main".s.v v').rows == [(1, 2, 20)]
    assert reader.lookup(Name(database="lake", schema="s", name="v")) is None
    assert reader.schemas("lake@main") == ["s"]
    assert reader.arrow("SELECT a FROM t").to_pylist() == [{"a": 1}]
    with pytest.raises(ConfigError, match="only reads"):
        reader.execute("DELETE FROM s.t")
    with pytest.raises(RefNotFound, match="nowhere"):
        lake.read("nowhere")
    assert [check.ok for check in lake.check()] == [True, True, True]
    lake.close()


def test_a_lake_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no catalog"):
        EmbeddedLake.open(settings(tmp_path / "lake"), create=False)
    assert not (tmp_path / "lake").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot write"):
        EmbeddedLake.open(settings(tmp_path / "file"))
