"""Modules of ``module_paths`` count for a Python model as those of its project do."""

from __future__ import annotations

from pathlib import Path

from dbt.adapters.lakehouse.run.python_parts import look_at
from dbt.adapters.lakehouse.run.values import PythonSource


def test_modules_of_other_folders_count(tmp_path: Path) -> None:
    lib = tmp_path / "lib"
    (tmp_path / "shop" / "models").mkdir(parents=True)
    (tmp_path / "shop" / "dbt_project.yml").touch()
    (lib / "rates").mkdir(parents=True)
    (lib / "rates" / "__init__.py").write_text("from base import X\n")
    (lib / "base.py").write_text("X = 1\n")
    path = str(tmp_path / "shop" / "models" / "m.py")
    source = PythonSource(code="import rates\ndef model(dbt, session): ...", path=path)

    assert any("not found from here" in why for why in look_at(source, "m").obstacles)
    first = look_at(source, "m", folders=[str(lib)])
    assert first.obstacles == ()
    assert "module rates" in first.parts
    (lib / "base.py").write_text("X = 2\n")
    assert look_at(source, "m", folders=[str(lib)]).parts != first.parts
    (lib / "base.py").write_text("import random\nX = random.random()\n")
    assert any("left to chance" in why for why in look_at(source, "m", folders=[str(lib)]).obstacles)
