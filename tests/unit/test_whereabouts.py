"""From DuckDB's line numbers to the lines of the user's files."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from dbt.adapters.lakehouse.whereabouts import Whereabouts

RAW = "select\n  1 as a,\n  {{ broken() }} as b,\n  nope as c\nfrom x"
COMPILED = "select\n  1 as a,\n  (\n  cast('abc' as integer)) as b,\n  nope as c\nfrom x"
MACRO = "{% macro broken() %}\n  (\n  cast('abc' as integer))\n{% endmacro %}"


@pytest.fixture
def where(tmp_path: Path) -> Whereabouts:
    (tmp_path / "models").mkdir()
    (tmp_path / "macros").mkdir()
    (tmp_path / "models" / "m.sql").write_text("{# first #}\n" + RAW)
    (tmp_path / "macros" / "b.sql").write_text("\n\n" + MACRO)
    none = SimpleNamespace(nodes=[], macros=[])
    macro = SimpleNamespace(
        name="broken", package_name="p", original_file_path="macros/b.sql", macro_sql=MACRO, depends_on=none
    )
    node = SimpleNamespace(
        name="m",
        package_name="p",
        original_file_path="models/m.sql",
        raw_code=RAW,
        compiled_code=COMPILED,
        resource_type="model",
        depends_on=SimpleNamespace(nodes=[], macros=["macro.p.broken", "macro.p.gone"]),
        config=SimpleNamespace(pre_hook=[SimpleNamespace(sql="select  hooked\nfrom y")], post_hook=[]),
    )
    manifest = SimpleNamespace(nodes={"model.p.m": node}, macros={"macro.p.broken": macro})
    return Whereabouts(lambda: manifest, tmp_path, "p", "dbt_packages")


def test_a_line_of_the_model(where: Whereabouts) -> None:
    said = "Binder Error: no nope\n\nLINE 7:   nope as c\n          ^\nand more"
    assert where.placed(said, "model.p.m") == (
        "Binder Error: no nope\n\nmodels/m.sql, line 5:\n  nope as c\n  ^\nand more"
    )


def test_a_line_of_a_hook(where: Whereabouts) -> None:
    said = "Binder Error: no\n\nLINE 1: select hooked from\n               ^"
    assert where.placed(said, "model.p.m").endswith("models/m.sql, in a pre-hook:\nselect hooked from\n       ^")


def test_a_part_of_a_long_line(where: Whereabouts) -> None:
    said = "Binder Error: no\n\nLINE 9: ...pe as ...\n          ^"
    assert "models/m.sql, line 5:\n...pe as ...\n  ^" in where.placed(said, "model.p.m")


def test_sql_of_our_own_is_not_shown(where: Whereabouts) -> None:
    said = "Conversion Error: of column n\n\nLINE 1: COPY (SELECT CAST(n AS INTEGER) AS n...\n                      ^"
    assert where.placed(said, "model.p.m") == "Conversion Error: of column n"


def test_what_cannot_be_placed_is_left(where: Whereabouts) -> None:
    said = "Parser Error: x\n\nLINE 1: something else\n        ^"
    assert where.placed(said, "model.p.m") == said
    assert where.placed(said, None) == said
    assert where.placed("Catalog Error: no lines", "model.p.m") == "Catalog Error: no lines"
