"""dbt-duckdb's macros are inherited: what they call on the adapter must be there, or be out of reach for a known reason."""

from __future__ import annotations

import re
from pathlib import Path

import dbt.include.duckdb
from dbt.context.providers import BaseDatabaseWrapper

import dbt.include.lakehouse
from dbt.adapters.lakehouse.impl import LakehouseAdapter

_CALL = re.compile(r"\badapter\.(\w+)")
_SEEDS = "only the macro that loads seeds calls it; seeds have a materialization of their own here"
_PLUGINS = "only plugins that store external models need it; such models are refused here"
_INDEXES = "only DuckDB's own indexes need it; Iceberg tables have none"
_MOTHERDUCK = "only MotherDuck needs it, which has no temporary tables"

_NOT_OFFERED = {
    "convert_datetimes_to_strs": _SEEDS,
    "get_seed_file_path": _SEEDS,
    "store_relation": _PLUGINS,
    "parse_index": _INDEXES,
    "get_temp_relation_path": _MOTHERDUCK,
}


def _called(folder: Path) -> set[str]:
    return {name for path in folder.rglob("*.sql") for name in _CALL.findall(path.read_text())}


def _inherited() -> set[str]:
    return _called(Path(dbt.include.duckdb.__file__).parent / "macros")


def _offered(name: str) -> bool:
    return name in LakehouseAdapter._available_ or hasattr(BaseDatabaseWrapper, name)


def test_what_inherited_macros_call_is_offered_or_known_not_to_be():
    assert {name for name in _inherited() if not _offered(name)} == set(_NOT_OFFERED)


def test_what_our_macros_call_is_offered():
    ours = _called(Path(dbt.include.lakehouse.__file__).parent / "macros")
    assert [name for name in sorted(ours) if not _offered(name)] == []


def test_a_materialization_of_dbt_duckdb_that_makes_no_sense_here_is_refused():
    macros = Path(dbt.include.lakehouse.__file__).parent / "macros" / "materializations.sql"
    assert "{% materialization table_function, adapter='lakehouse'" in macros.read_text()
