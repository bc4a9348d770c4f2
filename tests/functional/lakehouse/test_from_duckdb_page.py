"""The page for those who come from dbt-duckdb: its session can be typed in, its fragments are profiles, no key is left out."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt_shop import Shop
from docs_session import alike, steps, typed, with_ids

from dbt.adapters.lakehouse.profile import lake_settings

PAGE = (Path(__file__).parents[3] / "docs" / "from-dbt-duckdb.md").read_text(encoding="utf-8")
FRAGMENTS = [
    yaml.safe_load(re.sub(r"\{\{.*?\}\}", "said", text)) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
]


def test_the_session_can_be_typed_in(tmp_path: Path) -> None:
    session = steps(PAGE)
    assert len(session) > 5
    known: dict[str, str] = {}
    for step in session:
        printed = typed(with_ids(step.command, known), tmp_path)
        ids = alike(step.shown, printed)
        assert ids is not None, f"$ {step.command}\nprinted:\n{printed}\nand the page shows:\n{step.shown}"
        known.update(ids)


def outputs() -> list[dict[str, Any]]:
    """All outputs of profiles that the page shows, in whole or by some of their keys."""
    found = []
    for fragment in FRAGMENTS:
        for name, value in fragment.items():
            if isinstance(value, dict) and "outputs" in value:
                found += list(value["outputs"].values())
            elif name == "sources":
                assert value[0]["tables"]
    keys = [fragment for fragment in FRAGMENTS if {"attach", "plugins"} & fragment.keys()]
    return [*found, *({"type": "lakehouse", "warehouse": "./lake", "schema": "main", **fragment} for fragment in keys)]


def test_the_fragments_are_right(tmp_path: Path) -> None:
    settings = [lake_settings(output, tmp_path) for output in outputs()]
    assert len(settings) >= 3
    assert any(one.attached for one in settings)
    assert any(one.plugins for one in settings)


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(DuckDBCredentials)])
def test_every_key_of_a_dbt_duckdb_profile_is_on_the_page(key: str) -> None:
    table = PAGE.partition("## The profile, key by key")[2].partition("```")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert any(f"`{key}`" in cell for cell in first)


def test_tables_of_an_attached_database_are_brought_in_together_or_not_at_all(shop: Shop) -> None:
    shop.outputs(dev={"attach": "[{path: old.duckdb, alias: before}]"})
    with duckdb.connect(str(shop.root / "old.duckdb")) as connection:
        connection.execute("CREATE TABLE a AS SELECT 1 AS x; CREATE TABLE b AS SELECT 2 AS x; CREATE VIEW v AS FROM a")

    def bring_in(arguments: str, code: int) -> str:
        return shop.dbt("run-operation", "bring_in", "--args", arguments, code=code).output

    assert "no table c in before.main; it has: a, b" in bring_in("{database: before, schema: main, tables: [a, c]}", 1)
    bring_in("{database: before, schema: main, tables: b}", 0)
    assert "exists already" in bring_in("{database: before, schema: main}", 1)
    assert shop.tables() == {"shop.b": [(2,)]}
